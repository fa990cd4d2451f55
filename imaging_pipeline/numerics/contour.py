"""The outline of one plane, finer than its pixels.

A mask says of each pixel's centre on which side of the border it lies, and no
more. Among the closed curves that agree with it the smoothest is taken, for
the steps between pixels are no part of a lesion's shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours, points_in_poly

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
    centres = np.unique(np.concatenate([np.floor(polygon), np.ceil(polygon)]), axis=0)
    inside = points_in_poly(centres, polygon)
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
        changed = np.count_nonzero(points_in_poly(centres, curve(HARMONICS[middle])) != inside)
        few, many = (few, middle) if changed <= DISAGREEMENT * len(centres) else (middle + 1, many)
    return curve(HARMONICS[few])


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
