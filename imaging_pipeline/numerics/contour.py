"""The outline of one plane, finer than its pixels.

A mask says of each pixel's centre on which side of the border it lies, and no
more. Among the closed curves between those centres the smoothest is taken, for
the steps between pixels are no part of a lesion's shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

#: A border at random between two pixel centres lies farther than this from half-way, in pixels, along this share of its
#: length at most: with less the curve keeps the steps between pixels (diameters 0.05 mm long), with more it cuts tips.
#: Source: bodies of other seeds than those of benchmarks/figures_measure.py.
OFF_MIDDLE_PIXELS = 0.35
SHARE_OFF_MIDDLE = 0.1
#: Harmonics kept, from little more than an ellipse to nearly every step.
HARMONICS = np.array([1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0])[:, None]

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
    """The curve with the fewest harmonics that passes between the pixel centres on either side of a contour.

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
    centre, rounding = _rounding(polygon)
    back = np.linalg.inv(rounding)
    stepped = _resampled((polygon - centre) @ rounding)
    spectrum = np.fft.fft(stepped @ np.array([1.0, 1.0j]))
    harmonic = np.maximum(np.abs(np.fft.fftfreq(len(spectrum), 1.0 / len(spectrum))) - 1.0, 0.0)
    curves = np.fft.ifft(spectrum / (1.0 + (harmonic / HARMONICS) ** 6))
    curves_index = np.stack([curves.real, curves.imag], axis=-1) @ back
    off = _share_off_middle(curves_index, stepped @ back)
    return _closed(curves_index[np.argmax(off <= max(SHARE_OFF_MIDDLE, off[-1]))] + centre)


def _share_off_middle(curves: Points, stepped: Points) -> Points:
    """How much of each curve (K, M, 2) lies far from half-way between pixel centres, where the contour has its steps.

    Along the grid's axis nearer to its normal, for on that axis the two centres are a pixel apart.
    """
    along, away = np.roll(curves, -1, axis=1) - np.roll(curves, 1, axis=1), curves - stepped
    rows, columns = along[..., 0], along[..., 1]
    across = np.abs(away[..., 0] * columns - away[..., 1] * rows)
    return np.asarray(np.mean(across > OFF_MIDDLE_PIXELS * np.maximum(np.abs(rows), np.abs(columns)), axis=1))


def _rounding(polygon: Points) -> tuple[Points, Points]:
    """Centre (2,) and the (2, 2) matrix that makes a contour as wide as long."""
    corners = polygon[:-1]
    centre = corners.mean(axis=0)
    spread, directions = np.linalg.eigh((corners - centre).T @ (corners - centre))
    return centre, directions * np.sqrt(spread.max() / spread)


def _resampled(polygon: Points) -> Points:
    """About as many points at equal steps along a closed polygon, the last not repeating the first.

    A multiple of 16 of them, for Fourier transforms of prime length are slow.
    """
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(polygon, axis=0).T))])
    steps = np.linspace(0.0, length[-1], max(32, -(-len(polygon) // 16) * 16), endpoint=False)
    return np.column_stack([np.interp(steps, length, part) for part in polygon.T])


def _closed(points: Points) -> Points:
    return np.concatenate([points, points[:1]])
