"""What the image itself says of a lesion's border: how much of the voxels there lies inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The tissue on either side is the mean of this neighbourhood; it changes slowly, so every so manieth pixel's is taken.
NEIGHBOURHOOD_MM = 12.0
APART_PIXELS = 4
#: Slices, rows and columns beyond a mask that are looked at.
REACH_VOXELS = (2, 4, 4)
#: Where contrast is lower against noise, nothing tells whether a mask follows the image's border.
LOWEST_CONTRAST_TO_NOISE = 5.0
#: Share of the border's voxels that must have that contrast, and lie on the mask's own side of half height: a mask
#: drawn by hand does not follow the image this closely, and is to be measured as drawn.
AGREEMENT = 0.97
#: Noise of a sum of voxels over that of as many independent ones; error of the sum without noise, as a share of a voxel
#: for each one at the border, where places are independent, and as a share of the whole.
#: Source: bodies of other seeds than those of benchmarks/figures_measure.py.
ALIKE = 1.6
BORDER_SD = 0.015
WHOLE_SD = 0.0005


def covered(
    array: NDArray[Any], marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float], noise: float
) -> tuple[float, float] | None:
    """How many voxels a lesion covers, by where its border's values stand between the tissues on either side.

    Parameters
    ----------
    array : (S, R, C) image, with a margin of several voxels around the mask.
    marked : (S, R, C) boolean.
    spacing_mm : voxel size along slice, row, column.
    noise : standard deviation of the image's noise.

    Returns
    -------
    Number and its standard deviation, or None
        Shares are not cut to 0 and 1, for cutting noise would add to their sum. None where the image does not help: too
        little contrast, mixed tissue, no core, or a mask that does not follow the image's border.
    """
    core, beyond = _without_blur(marked), _with_blur(marked)
    surroundings = _with_blur(beyond) & ~beyond
    least = LOWEST_CONTRAST_TO_NOISE * noise
    if not core.any() or not surroundings.any():
        return None
    outside, inside = float(array[surroundings].mean()), float(array[core].mean())
    if abs(inside - outside) <= least:
        return None
    blurred = beyond & ~core
    outside_here = _local_mean(array, surroundings, spacing_mm, outside)[blurred]
    contrast = _local_mean(array, core, spacing_mm, inside)[blurred] - outside_here
    share = (array[blurred] - outside_here) / np.where(contrast == 0.0, np.float32(1), contrast)
    border = _grown(marked) & _grown(~marked)
    if not _follows(share, contrast, border[blurred], marked[blurred], noise):
        return None
    total, cores = float(share.sum(dtype=np.float64)), np.count_nonzero(core)
    chance = np.sqrt([share.size, total**2 / cores])
    chance *= ALIKE * noise / float(np.median(np.abs(contrast)))
    return cores + total, float(np.linalg.norm([*chance, BORDER_SD * np.sqrt(share.size), WHOLE_SD * (cores + total)]))


def _follows(
    share: NDArray[np.floating[Any]],
    contrast: NDArray[np.floating[Any]],
    border: NDArray[np.bool_],
    marked: NDArray[np.bool_],
    noise: float,
) -> bool:
    """Whether a mask's border is the image's, as far as noise lets it be told."""
    if np.mean(np.abs(contrast[border]) >= LOWEST_CONTRAST_TO_NOISE * noise) < AGREEMENT:
        return False
    sure = border & (np.abs((share - 0.5) * contrast) > 2.0 * noise)
    return bool(sure.any() and np.mean((share > 0.5)[sure] == marked[sure]) >= AGREEMENT)


def _without_blur(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is farther inside than a scanner blurs a border; beyond the array is outside."""
    return ~_with_blur(~np.pad(marked, 1))[1:-1, 1:-1, 1:-1]


def _with_blur(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a scanner blurs a border over: two steps to neighbours, of which one may be to another slice."""
    return _grown(_grown(marked), across_slices=False)


def _grown(marked: NDArray[np.bool_], *, across_slices: bool = True) -> NDArray[np.bool_]:
    """With the neighbours that share a face. Shifts are far quicker than a filter's windows."""
    grown = marked.copy()
    if across_slices:
        grown[1:] |= marked[:-1]
        grown[:-1] |= marked[1:]
    grown[:, 1:] |= marked[:, :-1]
    grown[:, :-1] |= marked[:, 1:]
    grown[:, :, 1:] |= marked[:, :, :-1]
    grown[:, :, :-1] |= marked[:, :, 1:]
    return grown


def _local_mean(
    array: NDArray[Any], where: NDArray[np.bool_], spacing_mm: tuple[float, float, float], otherwise: float
) -> NDArray[np.float32]:
    """Mean of the voxels in `where` around each voxel, where there are any."""
    every = (1, APART_PIXELS, APART_PIXELS)
    slices, rows, columns = (_near(*axis) for axis in zip(array.shape, spacing_mm, every, strict=True))
    count, total = (
        np.tensordot(slices, rows @ part.astype(np.float32) @ columns.T, 1)
        for part in (where, np.where(where, array, 0))
    )
    mean = np.where(count > 0.5, total / np.maximum(count, 1.0), np.float32(otherwise))
    _, row, column = (np.arange(size) // apart for size, apart in zip(array.shape, every, strict=True))
    return np.asarray(mean[:, row][:, :, column])


def _near(size: int, step_mm: float, apart: int) -> NDArray[np.float32]:
    """Which places along an axis lie in the neighbourhood of every so manieth."""
    away_mm = step_mm * np.subtract.outer(np.arange(apart // 2, size + apart // 2, apart), np.arange(size))
    return np.asarray(2.0 * np.abs(away_mm) <= NEIGHBOURHOOD_MM, dtype=np.float32)
