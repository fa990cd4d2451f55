"""How far to trust a number: the 95 % interval and what widens it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import PointLps

#: Half-width of a 95 % interval of a normal distribution in standard deviations.
NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, the points it was taken between, and what a reader must know of it."""

    value: float
    lower95: float | None = None
    upper95: float | None = None
    points_lps: tuple[PointLps, ...] = ()
    flags: tuple[str, ...] = ()

    def flagged(self, *flags: str) -> Estimate:
        """The same estimate with more flags."""
        return replace(self, flags=self.flags + tuple(flag for flag in flags if flag not in self.flags))


def within(value: float, sd: float, points_lps: tuple[PointLps, ...] = (), lowest: float = -np.inf) -> Estimate:
    """A value whose error is normal with this standard deviation; `lowest` is a bound nature sets."""
    return Estimate(value, max(lowest, value - NORMAL_95 * sd), value + NORMAL_95 * sd, points_lps)


#: How far another reader's value may lie from one's own, as shares of it: 95 % limits of agreement between readers.
#: Source: Yoon 2016 (12 studies), longest diameter of one lesion; of other quantities no limits are as established.
READER_LIMITS = {"longest_diameter": (-0.221, 0.254)}


def between_readers(quantity: str, estimate: Estimate) -> tuple[float, float] | None:
    """The second, wider interval: in which another reader's value lies; None where no limits are published."""
    if quantity not in READER_LIMITS:
        return None
    low, high = (estimate.value * (1.0 + share) for share in READER_LIMITS[quantity])
    own = [bound for bound in (estimate.lower95, estimate.upper95) if bound is not None]
    return min([low, *own]), max([high, *own])


#: Noise of a body kernel is alike over about this distance. Source: full width of common soft-tissue kernels.
NOISE_CORRELATION_MM = 1.5
#: Noise is looked for in squares of this many pixels, and read off the quietest: where there is only noise.
_NOISE_SQUARE = 8
_QUIETEST = 0.2


def noise_sd(array: NDArray[Any]) -> float:
    """Standard deviation of the noise of an (S, R, C) image, in the image's unit.

    From differences of neighbouring slices, whose noise is independent while anatomy changes slowly, in the fifth of
    all small squares where they scatter least. One slice alone: differences along rows, which correlated noise makes
    smaller than the truth.
    """
    axis = 0 if array.shape[0] > 1 else 1
    if array.shape[axis] < 2:
        return 0.0
    steps = np.diff(array.astype(np.float32), axis=axis)
    slices, rows, columns = steps.shape
    height, width = min(_NOISE_SQUARE, rows), min(_NOISE_SQUARE, columns)
    rows, columns = rows // height * height, columns // width * width
    steps = steps[:, :rows, :columns]

    def means(values: NDArray[np.float32]) -> NDArray[np.float32]:
        along_rows = values.reshape(slices, rows // height, height, columns).mean(axis=2)
        return np.asarray(along_rows.reshape(slices, rows // height, columns // width, width).mean(axis=3))

    variances = np.maximum(means(steps**2) - means(steps) ** 2, 0.0)
    return float(np.sqrt(np.quantile(variances, _QUIETEST) / 2.0))


def independent_count(
    marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float], correlation_mm: float
) -> float:
    """How many independent samples the marked voxels hold, when noise in a plane is alike within `correlation_mm`."""
    voxels = float(np.count_nonzero(marked))
    cell = max(1.0, correlation_mm**2 / (spacing_mm[1] * spacing_mm[2]))
    return max(1.0, voxels / cell)


def shell_sides(marked: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The outermost voxels inside and the innermost outside, counted in each plane by itself."""
    beyond = np.pad(marked, ((0, 0), (1, 1), (1, 1)))
    sides = [beyond[:, :-2, 1:-1], beyond[:, 2:, 1:-1], beyond[:, 1:-1, :-2], beyond[:, 1:-1, 2:]]
    every, some = sides[0].copy(), sides[0].copy()
    for side in sides[1:]:
        every &= side
        some |= side
    return marked & ~every, some & ~marked
