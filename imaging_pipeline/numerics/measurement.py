"""The stage that turns one mask in one volume into every number that applies, and says which it cannot give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.case import Measurement, Segmented
from imaging_pipeline.domain.geometry import Grid, PointLps, Space
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE, COUNTS, HU, Needs
from imaging_pipeline.errors import Problem, SpaceError, StageError
from imaging_pipeline.numerics.bone import rim, vertebra
from imaging_pipeline.numerics.calcification import calcifications, tissue_shares
from imaging_pipeline.numerics.comparability import compared
from imaging_pipeline.numerics.intensity import (
    densities,
    muscle_density,
    normalised,
    reference_density,
    tissue_density,
)
from imaging_pipeline.numerics.radiograph import height_ratios
from imaging_pipeline.numerics.reference import Neighbours, healthy_neighbours, muscle_beside, vertebra_at
from imaging_pipeline.numerics.signal import signal_ratios
from imaging_pipeline.numerics.size import cautions_of, sizes, sizes_in_plane
from imaging_pipeline.numerics.uncertainty import Estimate, between_readers, noise_sd
from imaging_pipeline.numerics.uptake import uptake_ratio

__all__ = ["Findings", "compared", "measure"]

RADIOGRAPHS = frozenset({"CR", "DX", "RG"})

#: How far around a lesion its surroundings are looked at.
MARGIN_MM = 6.0
#: More than so many slices, rows and columns around it no filter reaches.
MARGIN_VOXELS = (3, 8, 8)


@dataclass(frozen=True, slots=True)
class Region:
    """A lesion cut out of its volume: CT numbers (or signal), mask, place, and whether the image ends at the lesion."""

    array: NDArray[Any]
    marked: NDArray[np.bool_]
    grid: Grid
    truncated: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured of one lesion at one visit, and what could not be measured, and why."""

    measurements: tuple[Measurement, ...]
    problems: tuple[Problem, ...] = ()


def measure(
    volume: Volume,
    mask: Mask,
    lesion: Lesion,
    visit: int,
    config: MeasureConfig,
    reference_lps: PointLps | None = None,
) -> Findings:
    """Size, density and mineral content of each lesion were measured on its mask, each with a 95 % interval.

    Every quantity that applies is given, and a problem for each that should be and cannot.

    Parameters
    ----------
    volume : the image the mask was drawn on.
    mask : the lesion, on the volume's grid or a part of it.
    lesion, visit : what is measured and when; the lesion's kind and site decide what applies.
    config : constants.
    reference_lps : a point in the healthy vertebra to compare a bone lesion with; without one, its neighbours are.

    Raises
    ------
    StageError
        For an empty mask.
    SpaceError
        When the mask's voxels are not the volume's, or nothing of it can be given without millimetres.
    """
    region = cut_out(volume, mask, lesion.lesion_id)
    found = _quantities(volume, mask, region, lesion, config, reference_lps)
    if not found:
        _require_millimetres(volume.grid, lesion.lesion_id)
    flags = cautions_of(region.marked, region.truncated, volume.grid.space)
    measurements = tuple(
        _measurement(CATALOGUE[name].name, estimate.flagged(*flags), volume, mask, lesion, visit)
        for name, estimate in found.items()
    )
    return Findings(measurements, _lacking(volume, lesion, frozenset(found), named=reference_lps is not None))


def _quantities(
    volume: Volume,
    mask: Mask,
    region: Region,
    lesion: Lesion,
    config: MeasureConfig,
    reference_lps: PointLps | None,
) -> dict[str, Estimate]:
    own = (region.array, region.marked, region.grid)
    found: dict[str, Estimate] = {}
    if volume.grid.space is Space.PLANE:
        found = sizes_in_plane(region.marked, region.grid)
    elif volume.grid.space is Space.PATIENT:
        noise = noise_sd(region.array)
        found = sizes(region.marked, region.grid, region.array, noise)
        if volume.unit == HU:
            found |= densities(*own, noise)
            found |= calcifications(*own, noise, config, volume.series.technique.kvp)
            if lesion.kind is Kind.BONE:
                found |= _in_bone(volume, mask, region, noise, found["mean_density"], lesion, config, reference_lps)
        elif volume.series.modality == "MR" and lesion.kind is Kind.BONE:
            found |= signal_ratios(volume, mask)
    if volume.unit == COUNTS and volume.grid.space is Space.PLANE:
        found |= uptake_ratio(volume, mask, lesion)
    if volume.series.modality in RADIOGRAPHS and lesion.kind is Kind.BONE:
        found |= height_ratios(region.marked, region.grid)
    return found


def _in_bone(
    volume: Volume,
    mask: Mask,
    region: Region,
    noise: float,
    mean_density: Estimate,
    lesion: Lesion,
    config: MeasureConfig,
    reference_lps: PointLps | None,
) -> dict[str, Estimate]:
    neighbours = healthy_neighbours(volume, mask)
    found = vertebra(neighbours, mask, config) if neighbours is not None and is_vertebral(lesion) else {}
    healthy = neighbours if reference_lps is None else vertebra_at(volume, mask, reference_lps)
    if healthy is None:
        return found | {"mean_density": mean_density.flagged("no_reference")}
    against = _against(healthy, volume, region, noise, config)
    against["normalised_density"] = against["normalised_density"].flagged(*mean_density.flags)
    if reference_lps is not None:
        against = {name: estimate.flagged("reference_named") for name, estimate in against.items()}
    beside = muscle_beside(healthy, mask)
    if beside is not None:
        muscle = cut_out(volume, beside, "muscle", margin_mm=0.0)
        found["muscle_density"] = muscle_density(muscle.array, muscle.marked, muscle.grid, noise)
    return found | against


def _against(
    healthy: Neighbours, volume: Volume, region: Region, noise: float, config: MeasureConfig
) -> dict[str, Estimate]:
    """What is told of a lesion by what healthy bone of the same scan is like."""
    bone = cut_out(volume, healthy.bone, "reference", margin_mm=0.0)
    reference = reference_density(bone.array, bone.marked, bone.grid, noise)
    own = (region.array, region.marked, region.grid)
    return {
        **normalised(*tissue_density(*own, noise), reference),
        **tissue_shares(*own, noise, reference, config),
        **rim(*own, reference, config),
    }


def is_vertebral(lesion: Lesion) -> bool:
    """Whether a bone lesion lies in a vertebra, as far as its site says; one without a site may."""
    return lesion.kind is Kind.BONE and (lesion.site is None or lesion.site.meaning.endswith("vertebra"))


#: For a quantity that applies and is not there: code, what was found, expected, remedy.
_LACKS = {
    "longest_diameter": (
        "W-MEASURE-PIXELS", "an image without a pixel size: ratios only", "an image in millimetres", "calibrate it",
    ),
    "reference_density": (
        "W-MEASURE-REFERENCE", "no healthy vertebral body beside it: density is not normalised, lytic and sclerotic "
        "shares are not told", "a healthy vertebra in the same scan", "use a scan that shows more of the spine",
    ),
    "muscle_density": (
        "W-MEASURE-MUSCLE", "no muscle beside the spine", "1 ml of it", "use a scan with a wider field of view",
    ),
    "height_loss": (
        "W-MEASURE-HEIGHTS", "endplates that do not show: no heights of its vertebra",
        "both neighbours, slices of 3 mm or less", "use thinner slices of more of the spine",
    ),
    "cortical_continuity": (
        "W-MEASURE-WALL", "a vertebral wall that does not show near it",
        "a lesion at the wall, both neighbours, slices of 3 mm or less", "judge the cortex by eye",
    ),
    "signal_ratio_muscle": (
        "W-MEASURE-SIGNAL", "no muscle in its slices",
        "a plane along the spine that shows muscle, fat and skin, pixels of 2 mm or less",
        "measure the sagittal series, or compare by eye",
    ),
    "signal_ratio_reference": (
        "W-MEASURE-SIGNAL", "no healthy vertebral body in its slices", "a plane along the spine",
        "measure the sagittal series, or compare by eye",
    ),
    "uptake_ratio": (
        "W-MEASURE-UPTAKE", "no reference inside the image", "the opposite side or both neighbours in view",
        "outline a smaller part, or compare by eye",
    ),
    "height_ratio_ends": (
        "W-MEASURE-HEIGHTS", "an outline of several pieces or few pixels", "the outline of one vertebral body",
        "outline the body on the lateral view",
    ),
}  # fmt: skip


#: Said instead where a reader named the vertebra to compare with.
_NAMED_IN_VAIN = (
    "W-REFERENCE-PROMPT", "no healthy vertebral body where one was named: density is not normalised, lytic and "
    "sclerotic shares are not told", "a point inside one, apart from the lesion",
    "correct `reference`, or leave it out: the neighbours are found without it",
)  # fmt: skip
#: What only a lesion of the spine has beside it.
_OF_THE_SPINE = frozenset({"muscle_density", "height_loss", "cortical_continuity"})


def _lacking(volume: Volume, lesion: Lesion, found: frozenset[str], *, named: bool) -> tuple[Problem, ...]:
    applies = {Needs.MASK}
    applies |= {Needs.REFERENCE, Needs.BONE} if volume.unit == HU and lesion.kind is Kind.BONE else set()
    applies |= {Needs.MR} if volume.series.modality == "MR" else set()
    applies |= {Needs.SCINTIGRAPHY} if volume.unit == COUNTS else set()
    applies |= {Needs.RADIOGRAPH} if volume.series.modality in RADIOGRAPHS and lesion.kind is Kind.BONE else set()
    # Of a lesion without a site the vertebra beside it tells that it lies in the spine.
    in_spine = is_vertebral(lesion) and (lesion.site is not None or "reference_density" in found)
    lacks = {**_LACKS, "reference_density": _NAMED_IN_VAIN} if named else _LACKS
    return tuple(
        Problem(code, lesion.lesion_id, *words)
        for quantity, (code, *words) in lacks.items()
        if CATALOGUE[quantity].needs in applies
        and quantity not in found
        and (in_spine or quantity not in _OF_THE_SPINE)
    )


def cut_out(volume: Volume, mask: Mask, subject: str, margin_mm: float = MARGIN_MM) -> Region:
    """The part of volume and mask around the lesion.

    Raises
    ------
    StageError
        For an empty mask.
    SpaceError
        When the mask's voxels are not the volume's.
    """
    if not mask.array.any():
        raise StageError(
            "E-MASK-EMPTY",
            subject,
            found="a mask without a marked voxel",
            expected="at least one",
            remedy="segment the lesion again, or give another mask",
        )
    tight = mask.crop(mask.box())
    box = _box_in(volume.grid, tight.grid, subject)
    # Frames of a plane lie side by side, not behind one another: they have no edge.
    axes = (0, 1, 2) if volume.grid.space is Space.PATIENT else (1, 2)
    sizes_of = volume.grid.shape
    truncated = any(sizes_of[axis] > 1 and (box[axis].start == 0 or box[axis].stop == sizes_of[axis]) for axis in axes)
    wide = _widened(box, volume.grid, margin_mm)
    grid = volume.grid.crop(wide)
    return Region(volume.array[wide], tight.on(grid).array, grid, truncated)


def _require_millimetres(grid: Grid, subject: str) -> None:
    if grid.space is Space.PIXELS:
        raise SpaceError(
            "E-SPACE",
            subject,
            found="an image without a pixel size",
            expected="an image in millimetres",
            remedy="calibrate the image, or measure on CT or MR",
        )


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
    limits = zip(MARGIN_VOXELS, grid.spacing_mm, strict=True)
    slices, rows, columns = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size, margin in zip(
            box, grid.shape, (min(most, int(np.ceil(margin_mm / mm))) for most, mm in limits), strict=True
        )
    )
    return slices, rows, columns


def _measurement(
    quantity: str, estimate: Estimate, volume: Volume, mask: Mask, lesion: Lesion, visit: int
) -> Measurement:
    entry = CATALOGUE[quantity]
    readers = between_readers(quantity, estimate) or (None, None)
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
        reader_lower95=None if readers[0] is None else entry.rounded(readers[0]),
        reader_upper95=None if readers[1] is None else entry.rounded(readers[1]),
    )
