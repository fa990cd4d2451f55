"""Mineral in a lesion: lytic, mixed and sclerotic shares; volume, share, score and mass of what is calcified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize
from scipy.special import erfinv, expit

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.intensity import Reference
from imaging_pipeline.numerics.uncertainty import NORMAL_95, Estimate, within
from imaging_pipeline.numerics.unmixing import Sharpness, own_share, sharpness, unmixed

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

#: Standard deviation of the smoothing in the plane before mineral is told from noise, and tissues from one another.
SMOOTHING_MM = 0.3
TISSUE_SMOOTHING_MM = 0.6
#: The blur across slices, in slices: a box's (1 / sqrt 12 = 0.289), and more for mineral thinner than a slice.
#: Source for this and the spreads: phantom lesions of other seeds than those of benchmarks/figures_measure.py.
SPREAD_SLICES = 0.37
#: Mineral stands out of the noise by this many standard deviations, or is not counted.
LOWEST_SIGNAL_TO_NOISE = 5.0
#: Around what stands out, what blur has spread of it is counted down to this share of the threshold.
SPREAD_SHARE = 0.5
#: Mineral of many densities fills more than if all were as dense as its mean by mass: 1 plus their relative variance.
MANY_DENSITIES = 1.04
#: Soft tissue is read off voxels that lie in the lesion by this share at least; its texture spreads by this much.
LEAST_OWN = 0.9
TEXTURE_HU = 5.0
#: It is sought from this quantile on, in a histogram so far below and above it, in steps of so much.
LOW_QUANTILE = 0.05
HISTOGRAM_HU = (-60.0, 200.0)
HISTOGRAM_STEP_HU = 2.0
#: Squares of a normal, half of them, at equal steps of probability.
HALF_SQUARES = np.square(erfinv((np.arange(32) + 0.5) / 32))
#: A lesion's soft tissue lies below this; where none does, it is taken to be like muscle.
DENSEST_SOFT_TISSUE_HU = 130.0
MUSCLE_HU = 55.0
#: Standard deviation of calcified volume and mass over scanners, per mm of slice thickness.
RELATIVE_SD_PER_MM = 0.015
#: The same of mineral that is none but blur from dense bone outside, as a share of the lesion.
SPILL_SD = 0.006
#: Two tissues this near to each other leave no voxel between them that is neither.
BLUR_REACH_MM = 1.5
#: The denser of the two must stand out by this many standard deviations of the noise.
NEIGHBOUR_SIGNAL_TO_NOISE = 3.0
#: Slices this thick show a rim that they cut as tissue that is neither.
THICK_SLICE_MM = 3.0
#: Standard deviation of a share over scanners, in percent of the lesion, and what each mm of slice thickness adds.
#: Source: as above.
SHARE_SD_PERCENT = 1.0
SHARE_SD_PERCENT_PER_MM = 0.35


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
    sharp = sharpness(array, grid.spacing_mm, noise)
    soft_hu = soft_tissue_hu(array, marked, grid, sharp)
    contrast = (USUAL_KVP / (kvp or USUAL_KVP)) ** VOLTAGE_POWER
    above_hu = max(contrast * (config.calcium_threshold_hu - soft_hu), LOWEST_SIGNAL_TO_NOISE * noise)
    excess = unmixed(array.astype(np.float32), marked, grid.spacing_mm, sharp.spread_mm) - np.float32(soft_hu)
    # What is dense by the blur of bone outside alone is no mineral of the lesion's own.
    certain = marked & (excess > above_hu) & (_smoothed(array, grid, SMOOTHING_MM) > soft_hu + above_hu)
    whole_mm3 = np.count_nonzero(marked) * grid.voxel_volume_mm3
    total = total_excess(excess, marked & (excess > SPREAD_SHARE * above_hu), certain, marked) * grid.voxel_volume_mm3
    density_hu = sharp_density_hu(excess, certain, marked, grid, sharp)
    volume_mm3 = min(MANY_DENSITIES * total / density_hu, whole_mm3) if density_hu > 0.0 else 0.0
    uncalibrated = () if config.hydroxyapatite_mg_per_ml_hu else ("uncalibrated",)
    to_mg = (config.hydroxyapatite_mg_per_ml_hu or HYDROXYAPATITE_MG_PER_ML_HU) / contrast / 1000.0
    mass_mg = to_mg * total
    relative = RELATIVE_SD_PER_MM * grid.spacing_mm[0]
    spill_mm3 = SPILL_SD * whole_mm3 if volume_mm3 else 0.0
    error_mm3 = float(np.hypot(relative * volume_mm3, spill_mm3))
    error_mg = float(np.hypot(relative * mass_mg, to_mg * spill_mm3 * above_hu))
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
    In thick slices one right above or below lytic tissue, and as near to sclerotic tissue as a slice is thick, is a rim
    cut by the slice: lytic in part, and in part as dense as the lesion's sclerotic voxels.

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
    sharp = sharpness(array, grid.spacing_mm, noise).smoothed(TISSUE_SMOOTHING_MM)
    image = unmixed(_smoothed(array, grid, TISSUE_SMOOTHING_MM), marked, grid.spacing_mm, sharp.spread_mm)
    dense_hu = high_hu + NEIGHBOUR_SIGNAL_TO_NOISE * noise
    least = ndimage.minimum_filter(np.where(marked, image, np.inf), _window(BLUR_REACH_MM, grid))[marked]
    most = ndimage.maximum_filter(np.where(marked, image, -np.inf), _window(BLUR_REACH_MM, grid))[marked]
    values = image[marked]
    between = (least < low_hu) & (most > dense_hu)
    sclerotic = np.where(between, values >= 0.5 * (least + most), values > high_hu).astype(np.float64)
    mixed = ~between & (values >= low_hu) & (values <= high_hu)
    cut = mixed & _cut_by_slices(marked & (image < low_hu), marked & (image > dense_hu), grid)[marked]
    if cut.any():
        dense = values[values > high_hu]
        sclerotic[cut] = (values[cut] - least[cut]) / (np.square(dense).sum() / dense.sum() - least[cut])
        mixed &= ~cut
    found = {
        "lytic_fraction": np.where(mixed, 0.0, 1.0 - sclerotic),
        "mixed_fraction": mixed,
        "sclerotic_fraction": sclerotic,
    }
    sd = SHARE_SD_PERCENT + SHARE_SD_PERCENT_PER_MM * grid.spacing_mm[0]
    return {name: _share(100.0 * float(np.mean(shares)), sd) for name, shares in found.items()}


def _cut_by_slices(lytic: NDArray[np.bool_], dense: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """Where thick slices, (S, R, C), blend a rim with what it encloses; nowhere in thin ones."""
    slice_mm = grid.spacing_mm[0]
    if slice_mm < THICK_SLICE_MM:
        return np.zeros_like(lytic)
    near = ndimage.maximum_filter(dense, _window(slice_mm, grid))
    return np.asarray(ndimage.maximum_filter(lytic, (3, 1, 1)) & near)


def _window(reach_mm: float, grid: Grid) -> tuple[int, int, int]:
    """A voxel's neighbourhood: the slices beside its own, and so far in the plane."""
    rows, columns = (2 * max(1, round(reach_mm / step)) + 1 for step in grid.spacing_mm[1:])
    return 3, rows, columns


def _share(percent: float, sd: float) -> Estimate:
    return replace(within(percent, sd, lowest=0.0), upper95=min(100.0, percent + NORMAL_95 * sd))


def sharp_density_hu(
    excess: NDArray[np.float32], certain: NDArray[np.bool_], marked: NDArray[np.bool_], grid: Grid, sharp: Sharpness
) -> float:
    """Density of a lesion's mineral as it would be without blur, its mean by mass; 0 without mineral.

    Blur keeps the sum of an image, but lowers the sum of its squares by the density's square times surface times
    spread / sqrt(pi), and the sum of its gradients is density times surface. From the three follows the density.

    Parameters
    ----------
    excess : (S, R, C) CT numbers above the lesion's soft tissue, without what blur brought in from outside.
    certain : (S, R, C) boolean, what is mineral for sure.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of all.
    sharp : the scan's point spread and noise.

    Notes
    -----
    Source: for a border blurred by a normal of standard deviation s, the integral of c (1 - c) across it, where c
    rises from 0 to 1, is s / sqrt(pi); the coarea formula for the surface.
    """
    _, row_mm, column_mm = grid.spacing_mm
    where = ndimage.maximum_filter(certain, 3) & marked
    spread = (SPREAD_SLICES, sharp.spread_mm / row_mm, sharp.spread_mm / column_mm)
    steps = [width * _steps(excess, marked, axis)[where] for axis, width in enumerate(spread)]
    inside = excess[where].astype(np.float64)
    unblurred = float(inside.sum()) - float(np.sqrt(np.square(steps).sum(axis=0)).sum()) / np.sqrt(np.pi)
    return float((np.square(inside) - sharp.noise**2).sum()) / unblurred if unblurred > 0.0 else 0.0


def soft_tissue_hu(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, sharp: Sharpness) -> float:
    """CT number of a lesion's tissue without mineral: the one that makes the histogram of its voxels likeliest.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    sharp : the scan's point spread and noise.
    """
    smoothed = sharp.smoothed(TISSUE_SMOOTHING_MM)
    own = marked & (own_share(marked, grid.spacing_mm, smoothed.spread_mm) > LEAST_OWN)
    values = _smoothed(array, grid, TISSUE_SMOOTHING_MM)[own if own.any() else marked]
    width_hu = float(np.hypot(smoothed.noise, TEXTURE_HU))
    low_hu = float(np.quantile(values, LOW_QUANTILE))
    # Half of the voxels without mineral, which adds up to some 90 HU to the others.
    first = np.array([low_hu, 0.0, np.log(90.0)])
    found = minimize(
        _unlikelihood,
        first,
        (*_histogram(values, low_hu), width_hu),
        method="Nelder-Mead",
        options={"initial_simplex": np.vstack([first, first + np.diag([8.0, 1.0, 0.7])]), "xatol": 0.1, "fatol": 0.2},
    )
    soft_hu = float(found.x[0])
    return soft_hu if soft_hu <= DENSEST_SOFT_TISSUE_HU else MUSCLE_HU


def _histogram(values: NDArray[np.float32], low_hu: float) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Middles of bins around a CT number, how many values lie in each, how many beyond."""
    edges = np.arange(low_hu + HISTOGRAM_HU[0], low_hu + HISTOGRAM_HU[1], HISTOGRAM_STEP_HU)
    counts = np.histogram(values, edges)[0]
    return edges[:-1] + 0.5 * HISTOGRAM_STEP_HU, counts, values.size - int(counts.sum())


def _unlikelihood(
    tissue: NDArray[np.float64],
    middles: NDArray[np.float64],
    counts: NDArray[np.int64],
    beyond: int,
    width_hu: float,
) -> float:
    """Minus the logarithm of a histogram's likelihood.

    Parameters
    ----------
    tissue : CT number of soft tissue; log odds of a voxel without mineral; logarithm of what mineral adds to others.
    middles, counts, beyond : the histogram, and how many values lie above it.
    width_hu : standard deviation of noise and texture.

    Notes
    -----
    What mineral adds is taken for the square of a normal: a thick slice that crosses mineral mostly crosses little.
    """
    soft_hu, pure, most = tissue
    # From 1 HU to what metal adds.
    added = np.concatenate([[0.0], np.exp(np.clip(most, 0.0, 8.0)) * HALF_SQUARES])[:, np.newaxis]
    weight = np.concatenate([[expit(pure)], np.full(HALF_SQUARES.size, expit(-pure) / HALF_SQUARES.size)])
    density = weight @ np.exp(-0.5 * np.square((middles - soft_hu - added) / width_hu))
    share = np.maximum(density * HISTOGRAM_STEP_HU / (width_hu * np.sqrt(2.0 * np.pi)), 1e-9)
    return float(-counts @ np.log(share) - beyond * np.log(max(1.0 - share.sum(), 1e-6)))


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
    island, values = islands[dense], array[dense]
    areas_mm2 = np.bincount(island)[1:] * (grid.voxel_volume_mm3 / grid.spacing_mm[0])
    peaks_hu = ndimage.maximum(values, island, np.arange(1, count + 1))
    factors = 1 + np.searchsorted(AGATSTON_STEPS_HU, peaks_hu, side="right")
    counted = areas_mm2 >= AGATSTON_SMALLEST_MM2
    return float((areas_mm2 * factors)[counted].sum() * grid.spacing_mm[0] / AGATSTON_SLICE_MM)


def _smoothed(array: NDArray[Any], grid: Grid, width_mm: float) -> NDArray[np.float32]:
    widths = (0.0, *(width_mm / step for step in grid.spacing_mm[1:]))
    return np.asarray(ndimage.gaussian_filter(array.astype(np.float32), widths))


def _steps(array: NDArray[np.float32], marked: NDArray[np.bool_], axis: int) -> NDArray[np.float32]:
    """Mean size of the steps to the two neighbours along an axis: unlike their difference, it sees narrow peaks.

    A step out of the mask counts nothing: its border is not blurred, what lies outside having been taken out.
    """
    count = array.shape[axis]
    inside = np.take(marked, range(1, count), axis) & np.take(marked, range(count - 1), axis)
    beyond = [(1, 1) if other == axis else (0, 0) for other in range(array.ndim)]
    steps = np.pad(np.abs(np.diff(array, axis=axis)) * inside, beyond)
    return np.asarray(0.5 * (np.take(steps, range(count), axis) + np.take(steps, range(1, count + 1), axis)))
