"""Closed contours to voxels.

A voxel is inside if its centre is, by the even-odd rule over all contours of
its slice, so that a contour within another is a hole and a keyhole leaves none.
A centre on a contour is inside: planning systems draw through the centres of the
outermost voxels, and half of them would be lost otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Coordinates are written in hundredths or thousandths of a millimetre.
ON_CONTOUR = 0.005

Polygon = NDArray[np.float64]


def filled(polygons: Iterable[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels inside closed polygons of one slice.

    Parameters
    ----------
    polygons
        Each (N, 2): row and column of its corners, in pixels; what lies off the slice is cut.
    shape
        (R, C).
    """
    inside = np.zeros(shape, dtype=bool)
    touched = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            _cross(inside, start, end)
            _touch(touched, start, end)
    return inside | touched


def _cross(inside: NDArray[np.bool_], start: Polygon, end: Polygon) -> None:
    """Turn inside and outside round for every centre left of an edge; each edge owns its upper end only."""
    (top, first), (bottom, last) = sorted((tuple(start), tuple(end)))
    rows = np.arange(max(0, int(np.ceil(top))), min(len(inside), int(np.ceil(bottom))))
    if rows.size == 0:
        return
    columns = first + (rows - top) * (last - first) / (bottom - top)
    inside[rows] ^= np.arange(inside.shape[1]) < columns[:, None]


def _touch(touched: NDArray[np.bool_], start: Polygon, end: Polygon) -> None:
    """Mark the centres on an edge."""
    low = np.maximum(np.ceil(np.minimum(start, end) - ON_CONTOUR), 0).astype(int)
    high = np.minimum(np.floor(np.maximum(start, end) + ON_CONTOUR), np.array(touched.shape) - 1).astype(int)
    if (low > high).any():
        return
    along, length = end - start, float(np.hypot(*(end - start)))
    box = (slice(low[0], high[0] + 1), slice(low[1], high[1] + 1))
    rows, columns = np.ogrid[box]
    off = np.abs((rows - start[0]) * along[1] - (columns - start[1]) * along[0])
    touched[box] |= off <= ON_CONTOUR * length if length else True
