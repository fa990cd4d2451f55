"""The image of a mask's own voxels, without what blur brought in from outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Standard deviation of the point spread in the plane, between body and bone kernels.
SPREAD_MM = 0.55
#: Voxels around a mask that take part in unmixing, and where its filters end, in standard deviations.
_MARGIN = (1, 4, 4)
_TRUNCATE = 3.0


def unmixed(
    array: NDArray[np.float32], marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """The image of a mask's own voxels, what blur brought in from outside taken out.

    Parameters
    ----------
    array : (S, R, C) image, with a margin of several voxels around the mask.
    marked : (S, R, C) boolean.
    spacing_mm : voxel size along slice, row, column.
    """
    box = _box_around(marked, _MARGIN)
    result = array.copy()
    result[box] = _unmixed(array[box], marked[box], spacing_mm)
    return result


def _unmixed(
    array: NDArray[np.float32], marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    width = [SPREAD_MM / step for step in spacing_mm]
    own = ndimage.gaussian_filter(marked.astype(np.float32), [0.0, *width[1:]], truncate=_TRUNCATE)
    # A slice is a box: of a border between two slices each sees an eighth of the other on average.
    own = np.clip(ndimage.correlate1d(own, [0.125, 0.75, 0.125], 0), np.float32(0.5), np.float32(1))
    ring = ndimage.maximum_filter(marked, (1, 7, 7)) & ~ndimage.maximum_filter(marked, (1, 3, 3))
    near = [1.5 / step for step in spacing_mm]
    weight = ndimage.gaussian_filter(ring.astype(np.float32), near, truncate=_TRUNCATE)
    beyond = ndimage.gaussian_filter(np.where(ring, array, np.float32(0)), near, truncate=_TRUNCATE)
    beyond /= np.maximum(weight, np.float32(1e-6))
    known = marked & (weight > 1e-6)
    return np.where(known, (array - (1.0 - own) * beyond) / own, array)


def _box_around(marked: NDArray[np.bool_], margin: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    (found,) = ndimage.find_objects(marked.view(np.uint8), 1)
    slices, rows, columns = (
        slice(max(0, part.start - more), part.stop + more) for part, more in zip(found, margin, strict=True)
    )
    return slices, rows, columns
