"""Where voxels are: indices in (slice, row, column) order, points in LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging_pipeline.errors import SpaceError

Matrix = tuple[tuple[float, ...], ...]
PointLps = tuple[float, float, float]

IDENTITY: Matrix = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


class Space(StrEnum):
    """What the millimetres of a grid mean."""

    PATIENT = "patient"  # placed in the patient, LPS
    PLANE = "plane"  # calibrated in its own plane, not placed: ultrasound, calibrated radiograph
    PIXELS = "pixels"  # not calibrated: one unit is one pixel


def as_matrix(matrix: ArrayLike) -> Matrix:
    """A 4 x 4 array as the frozen form the nouns hold."""
    return tuple(tuple(float(entry) for entry in row) for row in np.asarray(matrix, dtype=np.float64))


def as_point(point: ArrayLike) -> PointLps:
    """Three numbers as a frozen LPS point."""
    left, posterior, superior = (float(entry) for entry in np.asarray(point, dtype=np.float64))
    return left, posterior, superior


def moved(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Points (N, 3) or (3,) moved by a homogeneous 4 x 4 matrix."""
    homogeneous = np.asarray(matrix, dtype=np.float64)
    result: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ homogeneous[:3, :3].T + homogeneous[:3, 3]
    return result


@dataclass(frozen=True, slots=True)
class Grid:
    """The place of an (S, R, C) array of voxels.

    `affine` maps the index (slice, row, column) of a voxel's centre to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: Matrix
    space: Space = Space.PATIENT
    frame_of_reference_uid: str = ""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a (4, 4) array."""
        return np.array(self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along slice, row and column."""
        slice_mm, row_mm, column_mm = (float(length) for length in np.linalg.norm(self.matrix[:3, :3], axis=0))
        return slice_mm, row_mm, column_mm

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of the slice, row and column axes in LPS, as the columns of a (3, 3) array."""
        directions: NDArray[np.float64] = self.matrix[:3, :3] / np.array(self.spacing_mm)
        return directions

    def to_lps(self, index: ArrayLike) -> NDArray[np.float64]:
        """Continuous indices (N, 3) or (3,) to LPS mm."""
        return moved(self.affine, index)

    def to_index(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """LPS mm (N, 3) or (3,) to continuous indices."""
        return moved(np.linalg.inv(self.matrix), points_lps)

    def contains(self, point_lps: ArrayLike) -> bool:
        """Whether a point lies within half a voxel of the outermost voxel centres."""
        index = self.to_index(point_lps)
        return bool(np.all(index >= -0.5) and np.all(index <= np.array(self.shape) - 0.5))

    def crop(self, box: tuple[slice, slice, slice]) -> Grid:
        """The grid of `array[box]`; the box must have bounds, a step of one and lie inside."""
        start = [part.start for part in box]
        shape = (box[0].stop - start[0], box[1].stop - start[1], box[2].stop - start[2])
        matrix = self.matrix
        matrix[:3, 3] = self.to_lps(start)
        return Grid(shape, as_matrix(matrix), self.space, self.frame_of_reference_uid)

    def box_around(self, points_lps: ArrayLike, margin_mm: float) -> tuple[slice, slice, slice]:
        """The smallest index box that holds the points and a margin, cut to the grid; at least one voxel."""
        index = np.atleast_2d(self.to_index(points_lps))
        margin = margin_mm / np.array(self.spacing_mm)
        size = np.array(self.shape)
        first = np.clip(np.floor(index.min(axis=0) - margin), 0, size - 1).astype(int)
        last = np.clip(np.ceil(index.max(axis=0) + margin), 0, size - 1).astype(int)
        slices, rows, columns = (slice(int(low), int(high) + 1) for low, high in zip(first, last, strict=True))
        return slices, rows, columns

    def require_patient(self, operation: str) -> None:
        """Refuse an operation that needs a place in the patient.

        Raises
        ------
        SpaceError
            When the grid is a plane or bare pixels.
        """
        if self.space is not Space.PATIENT:
            raise SpaceError(
                "E-SPACE",
                operation,
                found=f"an image in {self.space.value} space",
                expected="an image placed in the patient",
                remedy="use a CT or MR series for this",
            )

    def require_same_place(self, other: Grid, subject: str, tolerance_mm: float = 0.01) -> None:
        """Refuse a second grid whose voxels are not these voxels, or whose frame of reference differs.

        Raises
        ------
        SpaceError
            Naming what differs.
        """
        mine, theirs = self.frame_of_reference_uid, other.frame_of_reference_uid
        corners = np.array(np.meshgrid(*((0, size - 1) for size in self.shape))).reshape(3, -1).T
        if mine and theirs and mine != theirs:
            found = "another frame of reference"
        elif self.shape != other.shape:
            found = f"shape {other.shape} against {self.shape}"
        elif np.abs(self.to_lps(corners) - other.to_lps(corners)).max() > tolerance_mm:
            found = f"voxels up to {np.abs(self.to_lps(corners) - other.to_lps(corners)).max():.3f} mm apart"
        else:
            return
        raise SpaceError(
            "E-SPACE-MISMATCH",
            subject,
            found=found,
            expected=f"the same voxels within {tolerance_mm} mm",
            remedy="give the mask drawn on this image, or resample it first",
        )


@dataclass(frozen=True, slots=True)
class Transform:
    """A map of points from fixed space to moving space, LPS mm, between two frames of reference.

    `residual_mm` and `overlap` (0 to 1) say how far to trust it; None where the
    transform was given, not found.
    """

    matrix: Matrix = IDENTITY
    fixed_frame_uid: str = ""
    moving_frame_uid: str = ""
    residual_mm: float | None = None
    overlap: float | None = None

    def apply(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Fixed-space points (N, 3) or (3,) to moving space."""
        return moved(self.matrix, points_lps)

    def inverse(self) -> Transform:
        """The map back."""
        return Transform(
            as_matrix(np.linalg.inv(np.array(self.matrix))),
            self.moving_frame_uid,
            self.fixed_frame_uid,
            self.residual_mm,
            self.overlap,
        )
