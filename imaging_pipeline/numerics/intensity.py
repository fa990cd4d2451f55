"""What the voxels of a lesion are worth: density statistics and the cautions that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.uncertainty import NOISE_CORRELATION_MM, Estimate, independent_count, within
from imaging_pipeline.numerics.unmixing import unmixed

#: Below this a voxel holds air, above it metal. Source: HAZARDS 4 (metal); -300 HU is half-way from air to soft tissue.
AIR_HU = -300.0
METAL_HU = 3000.0
#: Error of a mean whose blur was taken out, as a share of all that was taken out and of the slice thickness.
#: Source: phantom lesions of other seeds than those of benchmarks/figures_measure.py.
UNMIXING_DOUBT_PER_MM = 0.08
#: Scanners keep water within this many HU. Source: IEC 61223-3-5 allows 4 HU; taken as two standard deviations.
CALIBRATION_HU = 2.0
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
    Values are those of the voxels. Their intervals speak of the tissue: noise widens a distribution, and blur brings
    in what lies outside. Source: IBSI reference manual, intensity-based statistics (SD of the population).
    """
    values = array[marked].astype(np.float64)
    pure = unmixed(array.astype(np.float32), marked, grid.spacing_mm)[marked]
    low, middle, high = np.percentile(values, (5.0, 50.0, 95.0))
    mean, spread = float(values.mean()), float(values.std())
    count = independent_count(marked, grid.spacing_mm, NOISE_CORRELATION_MM)
    chance = float(np.hypot(spread, noise) / np.sqrt(count))
    # What the noise of `count` independent values reaches at most, on average.
    extreme = noise * float(np.sqrt(2.0 * np.log(count)))
    found = {
        "mean_density": _reaching(mean, within(*_tissue(values, pure, grid, noise / float(np.sqrt(count))))),
        "median_density": within(float(middle), float(np.hypot(1.2533 * chance, middle - np.median(pure)))),
        "sd_density": Estimate(spread, float(np.sqrt(max(spread**2 - noise**2, 0.0))), spread + chance),
        "p05_density": Estimate(float(low), float(low) - 4.0 * chance, float(low) + 1.645 * noise + 4.0 * chance),
        "p95_density": Estimate(float(high), float(high) - 1.645 * noise - 4.0 * chance, float(high) + 4.0 * chance),
        "min_density": Estimate(float(values.min()), float(values.min()), float(values.min()) + extreme),
        "max_density": Estimate(float(values.max()), float(values.max()) - extreme, float(values.max())),
    }
    cautions = cautions_of(values)
    return {name: estimate.flagged(*cautions) for name, estimate in found.items()}


def _reaching(value: float, other: Estimate) -> Estimate:
    """A value whose interval is another's, widened to hold it."""
    bounds = [value, *(bound for bound in (other.lower95, other.upper95) if bound is not None)]
    return Estimate(value, min(bounds), max(bounds))


def tissue_density(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, noise: float) -> tuple[float, float]:
    """Mean CT number of a lesion's tissue, what blur brought in from outside taken out, and its error; both in HU.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU, with a margin around the mask.
    marked : (S, R, C) boolean.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    """
    pure = unmixed(array.astype(np.float32), marked, grid.spacing_mm)[marked]
    count = independent_count(marked, grid.spacing_mm, NOISE_CORRELATION_MM)
    return _tissue(array[marked], pure, grid, noise / float(np.sqrt(count)))


def _tissue(values: NDArray[Any], pure: NDArray[np.float32], grid: Grid, chance: float) -> tuple[float, float]:
    """Mean of the pure values, and its error: by chance, and by how much was taken out of the values."""
    doubt = UNMIXING_DOUBT_PER_MM * grid.spacing_mm[0] * float(np.abs(values - pure).mean())
    return float(pure.mean()), float(np.hypot(chance, doubt))


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


def muscle_density(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, noise: float) -> Estimate:
    """Median CT number of muscle in a mask of it: fat between its fibres lowers the mean.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, at least one voxel marked.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    """
    count = independent_count(marked, grid.spacing_mm, NOISE_CORRELATION_MM)
    return within(float(np.median(array[marked])), float(np.hypot(1.2533 * noise / np.sqrt(count), CALIBRATION_HU)))


def normalised(tissue_hu: float, error_hu: float, reference: Reference) -> dict[str, Estimate]:
    """Reference density, and the density of a lesion's tissue divided by it."""
    ratio = tissue_hu / reference.mean_hu
    error = np.hypot(error_hu, ratio * reference.error_hu) / reference.mean_hu
    return {
        "reference_density": within(reference.mean_hu, reference.error_hu),
        "normalised_density": within(ratio, float(error)),
    }


def cautions_of(values: NDArray[np.float64]) -> tuple[str, ...]:
    """Air or metal among CT numbers, with its share in percent."""
    shares = {"W-HU-AIR": np.mean(values < AIR_HU), "W-HU-METAL": np.mean(values > METAL_HU)}
    return tuple(f"{code} {100.0 * share:.1f}%" for code, share in shares.items() if share > 0.0)
