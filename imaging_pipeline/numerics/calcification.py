"""Mineral in a lesion: lytic, mixed and sclerotic shares, calcified volume, score and mass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.uncertainty import Estimate, noise_sd, within

#: Agatston's threshold, factors by peak, and slice thickness. Source: RULES 7 (Agatston 1990).
AGATSTON_HU = 130.0
AGATSTON_FACTORS = (200.0, 300.0, 400.0)
AGATSTON_SLICE_MM = 3.0
#: Hydroxyapatite per HU above the matrix at 120 kVp, mg/cm3; a typical scanner's, hence "uncalibrated".
HYDROXYAPATITE_MG_PER_ML_HU = 0.8


def calcifications(
    array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, config: MeasureConfig
) -> dict[str, Estimate]:
    """Calcified volume, its share of the lesion, Agatston-like score and hydroxyapatite-equivalent mass.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    """
    values = array[marked].astype(np.float64)
    noise = noise_sd(array)
    matrix = matrix_hu(values, config.calcium_threshold_hu)
    voxels = float(np.count_nonzero(values > config.calcium_threshold_hu))
    volume = voxels * grid.voxel_volume_mm3
    whole = len(values) * grid.voxel_volume_mm3
    excess = float((values[values > config.calcium_threshold_hu] - matrix).sum()) * grid.voxel_volume_mm3
    error = grid.voxel_volume_mm3 * np.sqrt(voxels) + 0.05 * volume
    mass = excess / 1000.0 * HYDROXYAPATITE_MG_PER_ML_HU
    mass_error = noise * np.sqrt(voxels) * grid.voxel_volume_mm3 / 1000.0 * HYDROXYAPATITE_MG_PER_ML_HU
    return {
        "calcified_volume": within(volume, error, lowest=0.0),
        "calcified_fraction": within(100.0 * volume / whole, 100.0 * error / whole, lowest=0.0),
        "calcium_score": Estimate(agatston(array, marked, grid)),
        "calcium_mass": within(mass, float(np.hypot(mass_error, 0.05 * mass)), lowest=0.0).flagged("uncalibrated"),
    }


def matrix_hu(values: NDArray[np.float64], threshold_hu: float) -> float:
    """CT number of the lesion's tissue without mineral: the median of what lies below the threshold."""
    below = values[values <= threshold_hu]
    return float(np.median(below)) if below.size else threshold_hu


def agatston(array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid) -> float:
    """Area above 130 HU in each plane times a factor of its peak, scaled to slices of 3 mm.

    Notes
    -----
    Source: Agatston 1990; islands below 1 mm2 do not count.
    """
    above = marked & (array > AGATSTON_HU)
    islands, count = ndimage.label(above, np.array([[[0, 0, 0]] * 3, [[1, 1, 1]] * 3, [[0, 0, 0]] * 3]))
    if not count:
        return 0.0
    index = np.arange(1, count + 1)
    pixel_mm2 = grid.voxel_volume_mm3 / grid.spacing_mm[0]
    areas = ndimage.sum_labels(above, islands, index) * pixel_mm2
    factors = 1 + np.searchsorted(AGATSTON_FACTORS, ndimage.maximum(array, islands, index), side="right")
    return float((areas * factors)[areas >= 1.0].sum() * grid.spacing_mm[0] / AGATSTON_SLICE_MM)
