"""Scans as the page shows them: turned in quarter turns so that they hang as radiologists hang them, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.io.masks import placed
from imaging_pipeline.io.report.figures import Plane, hung


def hung_grid(grid: Grid) -> Grid:
    """The same voxels in the order (slice, down, right) of a picture as it hangs."""
    corner = [0, 0, 0]
    steps = []
    for axis, forward in _axes(grid):
        steps.append(grid.matrix[:3, axis] if forward else -grid.matrix[:3, axis])
        corner[axis] = 0 if forward else grid.shape[axis] - 1
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack(steps)
    matrix[:3, 3] = grid.to_lps(corner)
    slices, down, right = (grid.shape[axis] for axis, _ in _axes(grid))
    return Grid((slices, down, right), as_matrix(matrix), grid.space, grid.frame_of_reference_uid)


def hung_pixels(view: Volume) -> bytes:
    """The pixels of a view in the order of `hung_grid`, little-endian, of the type `pixel_type` names."""
    kind = "<i2" if pixel_type(view) == "int16" else "<f4"
    return _turned(view.array, view.grid).astype(kind).tobytes()


def pixel_type(view: Volume) -> str:
    """The type of `hung_pixels`."""
    return "int16" if view.array.dtype == np.int16 else "float32"


def hung_outline(mask: Mask, view: Volume) -> bytes:
    """An outline on the voxels of a view in the order of `hung_grid`, one bit a voxel, the first one lowest."""
    return np.packbits(_turned(mask.on(view.grid).array, view.grid), bitorder="little").tobytes()


def painted(bits: bytes, view: Volume, maker: str) -> Mask | None:
    """The outline a reader painted on a view, on the scan's own voxels; None when the bits do not fit the view."""
    grid = hung_grid(view.grid)
    count = math.prod(grid.shape)
    if len(bits) != (count + 7) // 8:
        return None
    array = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count, bitorder="little").astype(bool)
    return placed(Mask(array.reshape(grid.shape), grid, maker), view.grid, "the painted outline")


def plane_of(grid: Grid) -> Plane:
    """How the picture hangs; its name is axial, coronal or sagittal, its letters the patient's sides."""
    return Plane((0.0, 0.0, 0.0), *hung(grid), 1.0)


def _axes(grid: Grid) -> tuple[tuple[int, bool], ...]:
    """Which axis of the array runs along slices, down and right of the picture, and whether forward."""
    right_lps, down_lps = hung(grid)
    axes = [(0, True)]
    for wanted_lps in (down_lps, right_lps):
        along = grid.directions.T @ np.array(wanted_lps)
        axis = int(np.abs(along).argmax())
        axes.append((axis, bool(along[axis] > 0)))
    return tuple(axes)


def _turned(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    axes = _axes(grid)
    backward = tuple(place for place, (_, forward) in enumerate(axes) if not forward)
    turned: NDArray[Any] = np.flip(array.transpose([axis for axis, _ in axes]), backward)
    return turned
