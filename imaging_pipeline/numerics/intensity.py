"""What the voxels of a lesion are worth: density statistics and the cautions that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.uncertainty import NORMAL_95, Estimate, independent_count, shell_sides, within

#: Below this a voxel holds air, above it metal. Source: HAZARDS 4 (metal); -300 HU is half-way from air to soft tissue.
AIR_HU = -300.0
METAL_HU = 3000.0
#: Noise of a body kernel is alike over about this distance. Source: full width of common soft-tissue kernels.
NOISE_CORRELATION_MM = 1.5
#: Trabecular texture is alike over about this distance, and spreads by this share of its mean at least.
TEXTURE_MM = 6.0
LEAST_TEXTURE = 0.1


def densities(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, noise: float) -> dict[str, Estimate]:
    """First-order statistics of the CT numbers in a mask.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU, with a margin around the mask.
    marked : (S, R, C) boolean.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.

    Notes
    -----
    Source: IBSI reference manual, intensity-based statistics (SD of the population, no discretisation).
    """
    values = array[marked].astype(np.float64)
    low, middle, high = np.percentile(values, (5.0, 50.0, 95.0))
    spread = float(values.std())
    count = independent_count(marked, grid.spacing_mm, NOISE_CORRELATION_MM)
    error = float(np.hypot(noise / np.sqrt(count), _border_sd(array, marked, values)))
    cautions = cautions_of(values)
    found = {
        "mean_density": within(float(values.mean()), error),
        "median_density": within(float(middle), 1.2533 * error),
        "sd_density": within(spread, float(spread / np.sqrt(2.0 * count)), lowest=0.0),
        "p05_density": within(float(low), 2.113 * error),
        "p95_density": within(float(high), 2.113 * error),
        "min_density": Estimate(float(values.min())),
        "max_density": Estimate(float(values.max())),
    }
    return {name: estimate.flagged(*cautions) for name, estimate in found.items()}


@dataclass(frozen=True, slots=True)
class Reference:
    """Healthy trabecular bone: its mean, the spread of its texture without the noise, the error of the mean, in HU."""

    mean_hu: float
    sd_hu: float
    error_hu: float


def reference_density(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, noise: float) -> Reference:
    """Density of healthy bone in a mask of it.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, at least one voxel marked.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    """
    values = array[marked].astype(np.float64)
    mean = float(values.mean())
    texture = float(np.sqrt(max(values.var() - noise**2, (LEAST_TEXTURE * mean) ** 2)))
    count = independent_count(marked, grid.spacing_mm, TEXTURE_MM)
    return Reference(mean, texture, float(np.hypot(texture, noise) / np.sqrt(count)))


def normalised(mean_density: Estimate, reference: Reference) -> dict[str, Estimate]:
    """Reference density, and the lesion's mean density divided by it."""
    ratio = mean_density.value / reference.mean_hu
    lesion_sd = (mean_density.value - (mean_density.lower95 or mean_density.value)) / NORMAL_95
    error = np.hypot(lesion_sd, ratio * reference.error_hu) / reference.mean_hu
    return {
        "reference_density": within(reference.mean_hu, reference.error_hu),
        "normalised_density": within(ratio, float(error)).flagged(*mean_density.flags),
    }


def cautions_of(values: NDArray[np.float64]) -> tuple[str, ...]:
    """Air or metal among CT numbers, with its share in percent."""
    shares = {"W-HU-AIR": np.mean(values < AIR_HU), "W-HU-METAL": np.mean(values > METAL_HU)}
    return tuple(f"{code} {100.0 * share:.1f}%" for code, share in shares.items() if share > 0.0)


def _border_sd(array: NDArray[Any], marked: NDArray[np.bool_], values: NDArray[np.float64]) -> float:
    """How far the mean moves when the outline moves by a sixth of a pixel, one standard deviation of its place."""
    inner, outer = shell_sides(marked)
    core = marked & ~inner
    wide = np.concatenate([values, array[outer]])
    if not core.any():
        return float(abs(wide.mean() - values.mean())) / 6.0
    return float(abs(wide.mean() - array[core].mean())) / 12.0
