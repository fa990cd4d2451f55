"""Mineral in a lesion: lytic, mixed and sclerotic shares; volume, share, score and mass of what is calcified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.intensity import Reference
from imaging_pipeline.numerics.uncertainty import NORMAL_95, Estimate, within
from imaging_pipeline.numerics.unmixing import SPREAD_MM, unmixed

#: Agatston's threshold, the steps of his factor, his slice thickness and his smallest island. Source: RULES 7.
AGATSTON_HU = 130.0
AGATSTON_STEPS_HU = (200.0, 300.0, 400.0)
AGATSTON_SLICE_MM = 3.0
AGATSTON_SMALLEST_MM2 = 1.0
#: Hydroxyapatite per HU above soft tissue at 120 kVp, mg/ml: a common scanner's, hence "uncalibrated".
HYDROXYAPATITE_MG_PER_ML_HU = 0.8

#: What stands above soft tissue does so by this power of 120 kVp over the voltage.
#: Source: 130 HU at 120 kVp are 147 HU at 100 kVp (Nakazato 2009).
VOLTAGE_POWER = 0.675
USUAL_KVP = 120.0

#: Standard deviation of the smoothing in the plane before gradients are taken, and before voxels are told apart.
SMOOTHING_MM = 0.3
TISSUE_SMOOTHING_MM = 0.6
#: The same across slices, in slices: a box's (1 / sqrt 12).
SPREAD_SLICES = 0.289
#: Mineral stands out of the noise by this many standard deviations, or is not counted.
LOWEST_SIGNAL_TO_NOISE = 5.0
#: Around what stands out, what blur has spread of it is counted down to this share of the threshold.
SPREAD_SHARE = 0.5
#: Soft tissue is sought in this share of the lesion, where the image changes least: blur has brought nothing there.
EVENEST = 0.2
#: A lesion's soft tissue lies below this; where none does, it is taken to be like muscle.
DENSEST_SOFT_TISSUE_HU = 130.0
MUSCLE_HU = 55.0
#: Standard deviation of the calcified volume over scanners, kernels and slices of 1-5 mm.
#: Source for this and the spreads: phantom lesions of other seeds than those of benchmarks/figures_measure.py.
RELATIVE_SD = 0.08
#: The same of the mass, part of which blur carries out of the lesion where its rim is mineral.
MASS_RELATIVE_SD = 0.08
#: The same of mineral that is none but blur from dense bone outside, as a share of the lesion.
SPILL_SD = 0.01
#: Two tissues this near to each other leave no voxel between them that is neither.
BLUR_REACH_MM = 1.5
#: The denser of the two must stand out by this many standard deviations of the noise.
NEIGHBOUR_SIGNAL_TO_NOISE = 3.0
#: Standard deviation of a share over scanners, in percent of the lesion. Source: as above.
SHARE_SD_PERCENT = 3.5


def calcifications(
    array: NDArray[Any],
    marked: NDArray[np.bool_],
    grid: Grid,
    noise: float,
    config: MeasureConfig,
    kvp: float | None = None,
) -> dict[str, Estimate]:
    """Calcified volume, its share of the lesion, Agatston-like score and hydroxyapatite-equivalent mass.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    config : the threshold above which mineral is sought at 120 kVp, and a calibration of its mass.
    kvp : tube voltage, if stated: threshold and mass follow it.
    """
    soft_hu = soft_tissue_hu(array, marked, grid, noise)
    contrast = (USUAL_KVP / (kvp or USUAL_KVP)) ** VOLTAGE_POWER
    above_hu = max(contrast * (config.calcium_threshold_hu - soft_hu), LOWEST_SIGNAL_TO_NOISE * noise)
    smooth = _smoothed(array, grid, SMOOTHING_MM)
    excess = smooth - np.float32(soft_hu)
    dense = (excess > above_hu) & marked
    own = unmixed(smooth, marked, grid.spacing_mm) - np.float32(soft_hu) if dense.any() else excess
    # What is dense by the blur of bone outside alone is no mineral of the lesion's own.
    certain = dense & (own > above_hu)
    # One voxel around, for there lies what blur took from it.
    around = ndimage.maximum_filter(certain, (1, 3, 3)) & marked
    whole_mm3 = np.count_nonzero(marked) * grid.voxel_volume_mm3
    volume_mm3 = min(sharp_volume_mm3(excess, around, grid), whole_mm3)
    uncalibrated = () if config.hydroxyapatite_mg_per_ml_hu else ("uncalibrated",)
    mg_per_ml_hu = config.hydroxyapatite_mg_per_ml_hu or HYDROXYAPATITE_MG_PER_ML_HU
    to_mg = mg_per_ml_hu / contrast * grid.voxel_volume_mm3 / 1000.0
    mass_mg = to_mg * total_excess(own, marked & (own > SPREAD_SHARE * above_hu), certain, marked)
    spill_mm3 = SPILL_SD * whole_mm3 if volume_mm3 else 0.0
    error_mm3 = float(np.hypot(RELATIVE_SD * volume_mm3, spill_mm3))
    error_mg = float(np.hypot(MASS_RELATIVE_SD * mass_mg, to_mg * spill_mm3 / grid.voxel_volume_mm3 * above_hu))
    return {
        "calcified_volume": within(volume_mm3, error_mm3, lowest=0.0),
        "calcified_fraction": within(100.0 * volume_mm3 / whole_mm3, 100.0 * error_mm3 / whole_mm3, lowest=0.0),
        "calcium_score": Estimate(
            agatston(array, marked, grid),
            agatston(array, marked, grid, AGATSTON_HU + 0.5 * noise),
            agatston(array, marked, grid, AGATSTON_HU - 0.5 * noise),
        ),
        "calcium_mass": within(mass_mg, error_mg, lowest=0.0).flagged(*uncalibrated),
    }


def total_excess(
    excess: NDArray[np.float32], likely: NDArray[np.bool_], certain: NDArray[np.bool_], marked: NDArray[np.bool_]
) -> float:
    """Sum of what mineral adds to the voxels of a lesion: blur spreads it, but keeps the sum.

    Parameters
    ----------
    excess : (S, R, C) CT numbers above the lesion's soft tissue, without what blur brought in from outside.
    likely : (S, R, C) boolean, mineral wherever it is joined to what is certain.
    certain : (S, R, C) boolean, the part of `likely` that is mineral for sure.
    marked : (S, R, C) boolean, the lesion.
    """
    pieces, count = ndimage.label(likely, np.ones((3, 3, 3)))
    joined = np.zeros(count + 1, dtype=bool)
    joined[pieces[certain]] = True
    around = ndimage.maximum_filter(joined[pieces], (1, 3, 3)) & marked
    return float(excess[around].sum(dtype=np.float64))


def tissue_shares(
    array: NDArray[Any],
    marked: NDArray[np.bool_],
    grid: Grid,
    noise: float,
    reference: Reference,
    config: MeasureConfig,
) -> dict[str, Estimate]:
    """Lytic, mixed and sclerotic shares of a lesion: less dense, as dense and denser than the reference's range.

    A voxel between a lytic and a sclerotic neighbour is one of the two, blurred: the half-height between them decides.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    reference : healthy trabecular bone of the same scan.
    config : how many standard deviations off the reference a lytic or sclerotic voxel lies.
    """
    reach_hu = config.sclerotic_sd * reference.sd_hu
    low_hu, high_hu = reference.mean_hu - reach_hu, reference.mean_hu + reach_hu
    values = unmixed(_smoothed(array, grid, TISSUE_SMOOTHING_MM), marked, grid.spacing_mm)
    size = [3, *(2 * max(1, round(BLUR_REACH_MM / step)) + 1 for step in grid.spacing_mm[1:])]
    least = ndimage.minimum_filter(np.where(marked, values, np.inf), size)[marked]
    most = ndimage.maximum_filter(np.where(marked, values, -np.inf), size)[marked]
    values = values[marked]
    between = (least < low_hu) & (most > high_hu + NEIGHBOUR_SIGNAL_TO_NOISE * noise)
    half = 0.5 * (least + most)
    lytic = float(np.mean(np.where(between, values < half, values < low_hu)))
    sclerotic = float(np.mean(np.where(between, values >= half, values > high_hu)))
    found = {"lytic_fraction": lytic, "mixed_fraction": 1.0 - lytic - sclerotic, "sclerotic_fraction": sclerotic}
    return {name: _share(100.0 * share) for name, share in found.items()}


def _share(percent: float) -> Estimate:
    estimate = within(percent, SHARE_SD_PERCENT, lowest=0.0)
    return replace(estimate, upper95=min(100.0, percent + NORMAL_95 * SHARE_SD_PERCENT))


def sharp_volume_mm3(excess: NDArray[np.float32], where: NDArray[np.bool_], grid: Grid) -> float:
    """Volume of bodies of one density from their blurred image, as it would be without blur.

    Blur keeps the sum of an image, but lowers the sum of its squares by the density's square times surface times
    spread / sqrt(pi), and the sum of its gradients is density times surface. From the three follow density and volume.

    Parameters
    ----------
    excess : (S, R, C) CT numbers above what surrounds the bodies.
    where : (S, R, C) boolean, the bodies and the blur around them.
    grid : the place of both.

    Notes
    -----
    Source: for a border blurred by a normal of standard deviation s, the integral of c (1 - c) across it, where c
    rises from 0 to 1, is s / sqrt(pi); the coarea formula for the surface.
    """
    _, row_mm, column_mm = grid.spacing_mm
    spread_mm = float(np.hypot(SPREAD_MM, SMOOTHING_MM))
    spread = (SPREAD_SLICES, spread_mm / row_mm, spread_mm / column_mm)
    steps = [width * _steps(excess, axis)[where] for axis, width in enumerate(spread)]
    inside = excess[where].astype(np.float64)
    total = float(inside.sum())
    sharp = total - float(np.sqrt(np.square(steps).sum(axis=0)).sum()) / np.sqrt(np.pi)
    return max(0.0, total * sharp / float(np.square(inside).sum())) * grid.voxel_volume_mm3 if inside.size else 0.0


def soft_tissue_hu(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, noise: float) -> float:
    """CT number of a lesion's tissue without mineral: the lowest peak in the histogram of its evenest voxels.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    noise : standard deviation of the image's noise in HU.
    """
    smooth = _smoothed(array, grid, TISSUE_SMOOTHING_MM)
    change = np.sqrt(sum(np.square(_steps(smooth, axis)[marked]) for axis in range(3)))
    values = smooth[marked][change <= np.quantile(change, EVENEST)]
    lowest = float(values.min())
    counts = np.bincount((values - lowest).astype(np.int64))
    # Smoothing in the plane halves the noise.
    density = ndimage.gaussian_filter1d(counts.astype(np.float64), max(8.0, 0.3 * noise), mode="constant")
    higher = np.concatenate([[True], density[1:] > density[:-1]]) & np.concatenate(
        [density[:-1] >= density[1:], [True]]
    )
    peak_hu = lowest + float(np.flatnonzero(higher & (density > 0.25 * density.max()))[0])
    return peak_hu if peak_hu <= DENSEST_SOFT_TISSUE_HU else MUSCLE_HU


def agatston(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, threshold_hu: float = AGATSTON_HU) -> float:
    """Area above 130 HU in each plane times a factor of its peak, scaled to slices of 3 mm.

    Notes
    -----
    Source: Agatston 1990.
    """
    plane = np.zeros((3, 3, 3), dtype=int)
    plane[1] = 1
    dense = marked & (array > threshold_hu)
    if not dense.any():
        return 0.0
    islands, count = ndimage.label(dense, plane)
    index = np.arange(1, count + 1)
    areas_mm2 = np.bincount(islands.ravel())[1:] * (grid.voxel_volume_mm3 / grid.spacing_mm[0])
    factors = 1 + np.searchsorted(AGATSTON_STEPS_HU, ndimage.maximum(array, islands, index), side="right")
    counted = areas_mm2 >= AGATSTON_SMALLEST_MM2
    return float((areas_mm2 * factors)[counted].sum() * grid.spacing_mm[0] / AGATSTON_SLICE_MM)


def _smoothed(array: NDArray[Any], grid: Grid, width_mm: float) -> NDArray[np.float32]:
    widths = (0.0, *(width_mm / step for step in grid.spacing_mm[1:]))
    return np.asarray(ndimage.gaussian_filter(array.astype(np.float32), widths))


def _steps(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Mean size of the steps to the two neighbours along an axis: unlike their difference, it sees narrow peaks."""
    beyond = [(1, 1) if other == axis else (0, 0) for other in range(array.ndim)]
    steps = np.abs(np.diff(np.pad(array, beyond, mode="edge"), axis=axis))
    size = array.shape[axis]
    return np.asarray(0.5 * (np.take(steps, range(size), axis) + np.take(steps, range(1, size + 1), axis)))
