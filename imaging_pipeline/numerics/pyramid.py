"""Coarser views of a volume that keep their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Volume
from imaging_pipeline.domain.quantities import HU

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

#: Between fat and air, halfway: what is denser belongs to the body. Source: definition of the HU scale.
BODY_HU = -300.0


@dataclass(frozen=True, eq=False)
class Level:
    """Values of one resolution: a float32 (S, R, C) array on its grid."""

    array: NDArray[np.float32]
    grid: Grid

    def sampled(self, points_lps: ArrayLike) -> tuple[NDArray[np.float32], Bools]:
        """Values at LPS points (N, 3) by linear interpolation, and which points lie inside."""
        index = self.grid.to_index(points_lps).T
        inside = np.all((index >= 0) & (index <= np.array(self.array.shape)[:, None] - 1), axis=0)
        values = ndimage.map_coordinates(self.array, index, order=1, mode="nearest", output=np.float32)
        return values, inside

    def gradient_lps(self) -> NDArray[np.float32]:
        """Change per mm along left, posterior, superior: (S, R, C, 3)."""
        along_index = [_difference(self.array, axis) for axis in range(3)]
        to_lps = np.linalg.inv(self.grid.matrix[:3, :3]).astype(np.float32)
        result: NDArray[np.float32] = np.stack(along_index, axis=-1) @ to_lps
        return result

    def smoothed(self, width_mm: float) -> Level:
        """Convolved with a Gaussian of that standard deviation, the same in every direction."""
        return Level(ndimage.gaussian_filter(self.array, [width_mm / step for step in self.grid.spacing_mm]), self.grid)

    def coarser(self, spacing_mm: float) -> Level:
        """The mean of blocks about `spacing_mm` wide; an axis already that coarse stays as it is."""
        factors = [max(1, round(spacing_mm / step)) for step in self.grid.spacing_mm]
        factors = [min(factor, size) for factor, size in zip(factors, self.array.shape, strict=True)]
        return Level(block_mean(self.array, factors), _block_grid(self.grid, factors))


def finest(volume: Volume, spacing_mm: float) -> Level:
    """A volume as block means about `spacing_mm` wide."""
    factors = [max(1, round(spacing_mm / step)) for step in volume.grid.spacing_mm]
    factors = [min(factor, size) for factor, size in zip(factors, volume.array.shape, strict=True)]
    return Level(block_mean(volume.array, factors), _block_grid(volume.grid, factors))


def block_mean(array: NDArray[Any], factors: list[int]) -> NDArray[np.float32]:
    """Means over blocks of `factors` voxels along (slice, row, column); incomplete blocks at the end are dropped."""
    slices, rows, columns = (size // factor for size, factor in zip(array.shape, factors, strict=True))
    per_slice, per_row, per_column = factors
    result = np.zeros((slices, rows, columns), dtype=np.float32)
    # Slice by slice, so that a scan of several hundred megabytes is read once and never copied.
    for number in range(slices * per_slice):
        plane = array[number, : rows * per_row, : columns * per_column]
        wide = plane[0::per_row].astype(np.float32)
        for row in range(1, per_row):
            wide += plane[row::per_row]
        for column in range(per_column):
            result[number // per_slice] += wide[:, column::per_column]
    result /= per_slice * per_row * per_column
    return result


def body(level: Level, unit: str) -> Bools:
    """The patient without table, clothes and air: the largest piece denser than `BODY_HU`, lungs included."""
    threshold = BODY_HU if unit == HU else _half_mean(level.array)
    dense = ndimage.binary_opening(level.array > threshold)
    labels, count = ndimage.label(dense)
    if not count:
        return np.zeros(level.array.shape, dtype=bool)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.stack([ndimage.binary_fill_holes(plane) for plane in largest])


def _half_mean(array: Floats) -> float:
    # MR background is dark and large; half the mean of what is above the mean separates it from tissue.
    return 0.5 * float(array[array > array.mean()].mean())


def _block_grid(grid: Grid, factors: list[int]) -> Grid:
    scale = np.diag([*map(float, factors), 1.0])
    scale[:3, 3] = (np.array(factors) - 1) / 2  # the centre of a block lies between its voxels
    slices, rows, columns = (size // factor for size, factor in zip(grid.shape, factors, strict=True))
    return Grid((slices, rows, columns), as_matrix(grid.matrix @ scale), grid.space, grid.frame_of_reference_uid)


def _difference(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    if array.shape[axis] < 2:
        return np.zeros_like(array)
    result: NDArray[np.float32] = np.gradient(array, axis=axis).astype(np.float32)
    return result
