"""What was acquired and what was drawn on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging_pipeline.domain.digests import content_of, digest
from imaging_pipeline.domain.geometry import Grid, Transform, as_matrix


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM object of a series: its UID and the sha256 of its file."""

    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Technique:
    """How a series was acquired, as far as it decides whether two visits compare.

    Attributes carry their DICOM keywords; None is "not stated".
    """

    kvp: float | None = None
    convolution_kernel: str | None = None
    slice_thickness: float | None = None
    contrast_bolus_agent: str | None = None
    manufacturer_model_name: str | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    scanning_sequence: str | None = None


@dataclass(frozen=True)
class Series:
    """What was acquired, without pixels.

    `instances` are in the order of the volume's slices; `grid` is None for
    images that have no place before they are decoded. `role` is the word the
    configuration's rules give it ("lumbar_ct"), "" when no rule matches.
    `frames` are the numbers of the slices in a multi-frame file, from 1; empty
    where each slice is an instance of its own.
    """

    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    modality: str
    date: str
    role: str
    instances: tuple[Instance, ...]
    grid: Grid | None = None
    technique: Technique = field(default_factory=Technique)
    frames: tuple[int, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Digest of what was acquired; the same scan gives the same digest wherever its files lie."""
        return content_of(self)


@dataclass(frozen=True, eq=False)
class Volume:
    """Pixels with a place and a unit.

    `array` is (S, R, C), read-only, int16 or float32; `unit` is UCUM: "[hnsf'U]"
    for HU, "1" for MR signal, "{counts}" for scintigraphy.
    """

    array: NDArray[Any]
    grid: Grid
    unit: str
    series: Series

    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}

    def __post_init__(self) -> None:
        _settle(self.array, self.grid)

    @cached_property
    def digest(self) -> str:
        """Digest of pixels, place and unit."""
        return digest((self.array, self.grid, self.unit))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def crop(self, box: tuple[slice, slice, slice]) -> Volume:
        """A part of the volume, copied so that the whole can be let go."""
        return Volume(self.array[box].copy(), self.grid.crop(box), self.unit, self.series)


class MaskRole(StrEnum):
    """What a mask marks."""

    LESION = "lesion"
    REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class Mask:
    """Which voxels: a boolean (S, R, C) array on a grid, and who made it.

    `confidence` lies between 0 and 1; None where a person or a file is the maker.
    """

    array: NDArray[np.bool_]
    grid: Grid
    maker: str
    role: MaskRole = MaskRole.LESION
    confidence: float | None = None

    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}

    def __post_init__(self) -> None:
        _settle(self.array, self.grid)

    @cached_property
    def digest(self) -> str:
        """Digest of voxels and place; not of maker or confidence."""
        return digest((self.array, self.grid))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def volume_ml(self) -> float:
        """Voxel count times voxel volume."""
        return float(np.count_nonzero(self.array)) * self.grid.voxel_volume_mm3 / 1000.0

    def box(self, margin: int | ArrayLike = 0) -> tuple[slice, slice, slice]:
        """The index box of the marked voxels and a margin in voxels, cut to the grid; the whole grid if empty."""
        margins = np.broadcast_to(margin, 3)
        parts = []
        for axis in range(3):
            marked = np.flatnonzero(self.array.any(axis=tuple(other for other in range(3) if other != axis)))
            size = self.array.shape[axis]
            first, last = (int(marked[0]), int(marked[-1])) if marked.size else (0, size - 1)
            parts.append(slice(max(0, first - int(margins[axis])), min(size, last + int(margins[axis]) + 1)))
        return parts[0], parts[1], parts[2]

    def crop(self, box: tuple[slice, slice, slice]) -> Mask:
        """A part of the mask."""
        return Mask(self.array[box].copy(), self.grid.crop(box), self.maker, self.role, self.confidence)

    def moved(self, transform: Transform) -> Mask:
        """The same voxels in another space: their grid moves, nothing is resampled."""
        affine = as_matrix(np.array(transform.matrix) @ self.grid.matrix)
        return replace(self, grid=replace(self.grid, affine=affine, frame_of_reference_uid=transform.moving_frame_uid))

    def on(self, grid: Grid) -> Mask:
        """The same voxels on a larger or shifted grid of the same lattice; what falls outside is lost."""
        offset = np.rint(grid.to_index(self.grid.to_lps((0, 0, 0)))).astype(int)
        array = np.zeros(grid.shape, dtype=bool)
        start = np.maximum(offset, 0)
        stop = np.minimum(offset + self.array.shape, grid.shape)
        if np.all(stop > start):
            inside = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
            source = tuple(slice(low, high) for low, high in zip(start - offset, stop - offset, strict=True))
            array[inside] = self.array[source]
        return Mask(array, grid, self.maker, self.role, self.confidence)


def _settle(array: NDArray[Any], grid: Grid) -> None:
    if array.shape != grid.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {grid.shape}")
    array.setflags(write=False)
