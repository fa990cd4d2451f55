"""What the image itself says of a lesion's border: how much of each voxel there lies inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.numerics.uncertainty import NOISE_CORRELATION_MM, independent_count

#: A scanner blurs a border over about this many pixels to each side, and over one slice.
BLUR_PIXELS = 2
#: The tissue on either side is the mean of this neighbourhood.
NEIGHBOURHOOD_MM = 12.0
#: Where contrast is lower against noise, counting voxels is as exact. Source: benchmarks/figures_measure.py.
LOWEST_CONTRAST_TO_NOISE = 12.0
#: Share of the border's voxels that must have that contrast, and lie on the mask's own side of half height: a mask
#: drawn by hand does not follow the image this closely, and is to be measured as drawn.
AGREEMENT = 0.97


def shares(
    array: NDArray[Any], marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float], noise: float
) -> tuple[NDArray[np.float32], float, float] | None:
    """How much of each voxel lies inside, by where its value stands between the tissues on either side.

    Parameters
    ----------
    array : (S, R, C) image, with a margin of several voxels around the mask.
    marked : (S, R, C) boolean.
    spacing_mm : voxel size along slice, row, column.
    noise : standard deviation of the image's noise.

    Returns
    -------
    (S, R, C) array and two floats, or None
        1 inside, 0 outside, in between (and by noise a little beyond) at the border; the standard deviation that noise
        gives one share; that of the contrast, by which all shares err alike. None where the image does not help: too
        little contrast, mixed tissue, no core, or a mask that does not follow the image's border.
    """
    core, beyond = _shrunk(marked, BLUR_PIXELS), _grown(marked, BLUR_PIXELS)
    surroundings = _grown(beyond, BLUR_PIXELS) & ~beyond
    least = LOWEST_CONTRAST_TO_NOISE * noise
    if not core.any() or not surroundings.any():
        return None
    between = abs(float(array[core].mean()) - float(array[surroundings].mean()))
    if between <= least:
        return None
    contrast_sd = noise / between / float(np.sqrt(independent_count(core, spacing_mm, NOISE_CORRELATION_MM)))
    border = _grown(marked, 1) & ~_shrunk(marked, 1)
    outside = _local_mean(array, surroundings, spacing_mm)[border]
    contrast = _local_mean(array, core, spacing_mm)[border] - outside
    if np.mean(np.abs(contrast) >= least) < AGREEMENT:
        return None
    share = (array[border] - outside) / np.where(contrast == 0.0, np.float32(1), contrast)
    sure = np.abs((share - 0.5) * contrast) > 2.0 * noise
    if not sure.any() or np.mean(((share > 0.5) == marked[border])[sure]) < AGREEMENT:
        return None
    result = marked.astype(np.float32)
    result[border] = share
    return result, noise / float(np.median(np.abs(contrast))), contrast_sd


def _shrunk(marked: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    return np.asarray(ndimage.minimum_filter(marked, _box(pixels), mode="constant"))


def _grown(marked: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    return np.asarray(ndimage.maximum_filter(marked, _box(pixels), mode="constant"))


def _box(pixels: int) -> tuple[int, int, int]:
    """One slice and some pixels to each side."""
    return 3, 2 * pixels + 1, 2 * pixels + 1


def _local_mean(
    array: NDArray[Any], where: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Mean of the voxels in `where` around each voxel; 0 where there are none."""
    size = [2 * int(np.ceil(0.5 * NEIGHBOURHOOD_MM / step)) + 1 for step in spacing_mm]
    weight = ndimage.uniform_filter(where.astype(np.float32), size, mode="constant")
    total = ndimage.uniform_filter(np.where(where, array, 0).astype(np.float32), size, mode="constant")
    few = 0.5 / np.prod(size)
    return np.where(weight > few, total / np.maximum(weight, few), np.float32(0))
