"""The outline of one plane, finer than its pixels.

A mask says of each pixel's centre on which side of the border it lies, and no
more. Among the closed curves that agree with it the smoothest is taken, for
the steps between pixels are no part of a lesion's shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

#: Share of the pixel centres beside a contour that may change sides when it is smoothed: with none the curve keeps
#: some of the steps (diameters 0.05 mm long), with 2 % it cuts tips (0.1 mm short). Source: figures_measure.py.
DISAGREEMENT = 0.01
#: Harmonics kept, from little more than an ellipse to nearly every step.
HARMONICS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0)
#: Points per pixel along a contour while it is smoothed.
_DENSITY = 2.0

Points = NDArray[np.float64]


def contours(plane: NDArray[Any]) -> tuple[Points, ...]:
    """Where a plane's level 0.5 crosses the lines between pixel centres, as closed polygons.

    Parameters
    ----------
    plane : (R, C) share of each pixel inside, 0 to 1, of which a mask is the plainest case; beyond its edges is
        outside.

    Returns
    -------
    tuple
        Polygons (N, 2) of continuous (row, column) indices, the first point repeated as the last; holes too.
    """
    return tuple(polygon - 1.0 for polygon in find_contours(np.pad(plane.astype(np.float64), 1), 0.5))


def smoothest(polygon: Points) -> Points:
    """The curve with the fewest harmonics that leaves the pixel centres beside a contour on their sides.

    Parameters
    ----------
    polygon : (N, 2), of `contours`.

    Returns
    -------
    (M, 2) closed polygon.

    Notes
    -----
    Harmonics are counted after the shape has been made as wide as long, so that an ellipse of any length is the first
    of them and is not rounded off. Source: elliptic Fourier descriptors (Kuhl and Giardina 1982).
    """
    beside = _Beside(polygon)
    centre, rounding = _rounding(polygon)
    rounded = (polygon - centre) @ rounding
    spectrum = np.fft.fft(_resampled(rounded, len(polygon)) @ np.array([1.0, 1.0j]))
    harmonic = np.maximum(np.abs(np.fft.fftfreq(len(spectrum), 1.0 / len(spectrum))) - 1.0, 0.0)
    back = np.linalg.inv(rounding)

    def curve(kept: float) -> Points:
        points = np.fft.ifft(spectrum / (1.0 + (harmonic / kept) ** 6))
        return _closed(np.column_stack([points.real, points.imag]) @ back + centre)

    few, many = 0, len(HARMONICS) - 1
    while few < many:
        middle = (few + many) // 2
        changed = beside.changed(curve(HARMONICS[middle]))
        few, many = (few, middle) if changed <= DISAGREEMENT * beside.count else (middle + 1, many)
    return curve(HARMONICS[few])


class _Beside:
    """The pixel centres next to a contour, and on which side of it each lies."""

    def __init__(self, polygon: Points) -> None:
        low = np.floor(polygon.min(axis=0)).astype(int)
        size = np.ceil(polygon.max(axis=0)).astype(int) - low + 1
        near = np.zeros(size, dtype=bool)
        for end in (np.floor(polygon), np.ceil(polygon)):
            near[tuple((end.astype(int) - low).T)] = True
        self._low, self._size = low, size
        self._centres = np.nonzero(near)
        self._inside = self._sides(polygon)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._inside)

    def changed(self, polygon: Points) -> int:
        """How many lie on the other side of another curve."""
        return int(np.count_nonzero(self._sides(polygon) != self._inside))

    def _sides(self, polygon: Points) -> NDArray[np.bool_]:
        """Whether each centre is inside: whether a ray along its row crosses the curve an odd number of times."""
        rows, columns = (polygon - self._low).T
        upper = np.ceil(np.minimum(rows[:-1], rows[1:])).astype(int)
        spans = np.ceil(np.maximum(rows[:-1], rows[1:])).astype(int) - upper
        segment = np.repeat(np.arange(len(spans)), spans)
        row = upper[segment] + np.arange(len(segment)) - np.repeat(np.cumsum(spans) - spans, spans)
        share = (row - rows[segment]) / (rows[segment + 1] - rows[segment])
        crossing = columns[segment] + share * (columns[segment + 1] - columns[segment])
        # Each crossing turns over every centre to its right.
        after = np.clip(np.ceil(crossing).astype(int), 0, self._size[1])
        seen = (row >= 0) & (row < self._size[0])
        width = self._size[1] + 1
        turns = np.bincount(row[seen] * width + after[seen], minlength=self._size[0] * width)
        inside = np.cumsum(turns.reshape(-1, width), axis=1) % 2 == 1
        return np.asarray(inside[self._centres])


def _rounding(polygon: Points) -> tuple[Points, Points]:
    """Centre (2,) and the (2, 2) matrix that makes a contour as wide as long."""
    even = _resampled(polygon, len(polygon))
    centre = even.mean(axis=0)
    spread, directions = np.linalg.eigh(np.cov((even - centre).T))
    return centre, directions * np.sqrt(spread.max() / spread)


def _resampled(polygon: Points, corners: int) -> Points:
    """Points at equal steps along a closed polygon, the last not repeating the first."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(polygon, axis=0), axis=1))])
    steps = np.linspace(0.0, length[-1], max(32, int(_DENSITY * corners)), endpoint=False)
    return np.column_stack([np.interp(steps, length, part) for part in polygon.T])


def _closed(points: Points) -> Points:
    return np.concatenate([points, points[:1]])
