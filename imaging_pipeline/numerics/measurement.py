"""The stage that turns one mask in one volume into every number that applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.case import Measurement, Segmented
from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE, HU
from imaging_pipeline.errors import SpaceError, StageError
from imaging_pipeline.numerics.bone import rim, vertebra
from imaging_pipeline.numerics.calcification import calcifications, tissue_shares
from imaging_pipeline.numerics.comparability import compared
from imaging_pipeline.numerics.intensity import densities, normalised, reference_density
from imaging_pipeline.numerics.reference import healthy_neighbours
from imaging_pipeline.numerics.size import cautions_of, sizes
from imaging_pipeline.numerics.uncertainty import Estimate, noise_sd

__all__ = ["compared", "measure"]

#: How far around a lesion its surroundings are looked at.
MARGIN_MM = 6.0


@dataclass(frozen=True, slots=True)
class Region:
    """A lesion cut out of its volume: CT numbers (or signal), mask, place, and whether the image ends at the lesion."""

    array: NDArray[Any]
    marked: NDArray[np.bool_]
    grid: Grid
    truncated: bool


def measure(volume: Volume, mask: Mask, lesion: Lesion, visit: int, config: MeasureConfig) -> tuple[Measurement, ...]:
    """Size, density and mineral content of each lesion were measured on its mask, each with a 95 % interval.

    Parameters
    ----------
    volume : the image the mask was drawn on.
    mask : the lesion, on the volume's grid or a part of it.
    lesion, visit : what is measured and when.
    config : constants.

    Raises
    ------
    StageError
        For an empty mask.
    SpaceError
        When the mask's voxels are not the volume's, or the image has no millimetres.
    """
    region = cut_out(volume, mask, lesion.lesion_id)
    noise = noise_sd(region.array)
    found = sizes(region.marked, region.grid, region.array, noise)
    if volume.unit == HU:
        found |= densities(region.array, region.marked, region.grid, noise)
        found |= calcifications(region.array, region.marked, region.grid, noise, config)
        if lesion.kind is Kind.BONE:
            found |= _beside_healthy_bone(volume, mask, region, noise, found["mean_density"], config)
    flags = cautions_of(region.marked, region.truncated)
    return tuple(
        _measurement(CATALOGUE[name].name, estimate.flagged(*flags), volume, mask, lesion, visit)
        for name, estimate in found.items()
    )


def _beside_healthy_bone(
    volume: Volume, mask: Mask, region: Region, noise: float, mean_density: Estimate, config: MeasureConfig
) -> dict[str, Estimate]:
    neighbours = healthy_neighbours(volume, mask)
    if neighbours is None:
        return {"mean_density": mean_density.flagged("no_reference")}
    bone = cut_out(volume, neighbours.bone, "reference", margin_mm=0.0)
    reference = reference_density(bone.array, bone.marked, bone.grid, noise)
    own = (region.array, region.marked, region.grid)
    return {
        **normalised(mean_density, reference),
        **tissue_shares(*own, noise, reference, config),
        **rim(*own, reference, config),
        **vertebra(neighbours, mask),
    }


def cut_out(volume: Volume, mask: Mask, subject: str, margin_mm: float = MARGIN_MM) -> Region:
    """The part of volume and mask around the lesion.

    Raises
    ------
    StageError
        For an empty mask.
    SpaceError
        When the mask's voxels are not the volume's, or the image has no millimetres.
    """
    if not mask.array.any():
        raise StageError(
            "E-MASK-EMPTY",
            subject,
            found="a mask without a marked voxel",
            expected="at least one",
            remedy="segment the lesion again, or give another mask",
        )
    if volume.grid.space is Space.PIXELS:
        raise SpaceError(
            "E-SPACE",
            subject,
            found="an image without a pixel size",
            expected="an image in millimetres",
            remedy="calibrate the image, or measure on CT or MR",
        )
    tight = mask.crop(mask.box())
    box = _box_in(volume.grid, tight.grid, subject)
    truncated = any(
        size > 1 and (part.start == 0 or part.stop == size) for part, size in zip(box, volume.grid.shape, strict=True)
    )
    wide = _widened(box, volume.grid, margin_mm)
    grid = volume.grid.crop(wide)
    return Region(volume.array[wide], tight.on(grid).array, grid, truncated)


def _box_in(grid: Grid, part: Grid, subject: str) -> tuple[slice, slice, slice]:
    """Where a grid of the same lattice lies in another."""
    start = np.rint(grid.to_index(part.to_lps((0, 0, 0)))).astype(int)
    stop = start + part.shape
    slices, rows, columns = (slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    if np.any(start < 0) or np.any(stop > grid.shape):
        raise SpaceError(
            "E-SPACE-MISMATCH",
            subject,
            found="marked voxels outside the image",
            expected="a mask inside the image it was drawn on",
            remedy="give the series the mask was drawn on",
        )
    grid.crop((slices, rows, columns)).require_same_place(part, subject)
    return slices, rows, columns


def _widened(box: tuple[slice, slice, slice], grid: Grid, margin_mm: float) -> tuple[slice, slice, slice]:
    slices, rows, columns = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size, margin in zip(
            box, grid.shape, (int(np.ceil(margin_mm / mm)) for mm in grid.spacing_mm), strict=True
        )
    )
    return slices, rows, columns


def _measurement(
    quantity: str, estimate: Estimate, volume: Volume, mask: Mask, lesion: Lesion, visit: int
) -> Measurement:
    entry = CATALOGUE[quantity]
    return Measurement(
        lesion.lesion_id,
        visit,
        entry.name,
        entry.rounded(estimate.value),
        entry.unit,
        Segmented(mask.digest, estimate.points_lps),
        None if estimate.lower95 is None else entry.rounded(estimate.lower95),
        None if estimate.upper95 is None else entry.rounded(estimate.upper95),
        volume.series.modality,
        volume.series.series_instance_uid,
        flags=estimate.flags,
    )
