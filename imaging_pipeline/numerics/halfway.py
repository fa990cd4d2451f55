"""The last millimetre of an outline: where two even tissues meet, the border lies half-way between their values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.numerics.pyramid import Bools, Floats

#: What a scanner blurs to either side of a border, and one slice; farther in and out, so far, each tissue shows alone.
BLUR_MM, TISSUE_MM = 1.5, 4.0
#: Width over which a tissue's values are taken together.
NEARBY_MM = 2.0
#: Tissues differ clearly by so many times the spread of the more uneven one; elsewhere the outline stays.
CLEAR = 3.0
#: Of a normal this share lies within the width: with less there is no tissue nearby.
LEAST_NEARBY = 1e-4


def halfway(volume: Volume, mask: Mask) -> Mask:
    """An outline with its border where the image puts it: nearer in value to the tissue within than to that around.

    A smooth outline cuts corners, and a coarse one slices: both make a lesion smaller than it is.

    Parameters
    ----------
    volume : Volume
        The image, (S, R, C).
    mask : Mask
        On a crop of the volume's voxels, right to about a voxel.

    Returns
    -------
    Mask
        On a crop with a margin. Unchanged where tissues are uneven or alike.
    """
    near = volume.crop(volume.grid.box_around(mask.grid.to_lps(np.argwhere(mask.array)), TISSUE_MM + NEARBY_MM))
    values, marked = near.array.astype(np.float32), mask.on(near.grid).array
    depth_mm = _depth_mm(marked, near.grid.spacing_mm)
    width = [NEARBY_MM / step for step in near.grid.spacing_mm]
    within, spread_within = _tissue(values, (depth_mm > BLUR_MM) & (depth_mm < TISSUE_MM), width)
    around, spread_around = _tissue(values, (depth_mm < -BLUR_MM) & (depth_mm > -TISSUE_MM), width)
    clear = np.abs(within - around) > CLEAR * np.maximum(spread_within, spread_around)
    inside = np.where(clear & (np.abs(depth_mm) <= BLUR_MM), np.abs(values - within) < np.abs(values - around), marked)
    return replace(mask, array=_largest(inside), grid=near.grid)


def _depth_mm(marked: Bools, spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance from the border, negative outside; a slice counts as no more than its blur."""
    steps = np.minimum(spacing_mm, BLUR_MM)
    inside, outside = (ndimage.distance_transform_edt(part, steps) for part in (marked, ~marked))
    return np.asarray(inside - outside, dtype=np.float32)


def _tissue(values: Floats, where: Bools, width: list[float]) -> tuple[Floats, Floats]:
    """Mean and spread of the values of a tissue near each voxel; a spread without end where there is none."""
    shown = [where * np.float32(1), where * values, where * values**2]
    weight, first, second = (ndimage.gaussian_filter(each, width, truncate=3.0) for each in shown)
    mean = first / np.maximum(weight, LEAST_NEARBY)
    variance = second / np.maximum(weight, LEAST_NEARBY) - mean**2
    return mean, np.where(weight > LEAST_NEARBY, np.sqrt(np.maximum(variance, 0)), np.float32(np.inf))


def _largest(marked: Bools) -> Bools:
    """The largest piece, its holes filled."""
    pieces, count = ndimage.label(marked)
    if count > 1:
        marked = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(marked))
