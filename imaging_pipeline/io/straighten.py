"""Slices that do not lie on a grid, put onto one: tilted gantries, uneven spacing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.io.geometry import Stack


def straightened(array: NDArray[Any], grid: Grid, stack: Stack) -> NDArray[Any]:
    """Slices moved to where the grid has them, by linear interpolation; what no slice covers has the lowest value.

    Parameters
    ----------
    array
        (S, R, C), the slices as they lie in the files.
    """
    if stack.shifts is not None:
        array = _moved_in_plane(array, grid.shape, stack.shifts)
    if stack.places is not None:
        array = _moved_along_normal(array, stack.places)
    return array


def _moved_in_plane(array: NDArray[Any], shape: tuple[int, int, int], shifts: NDArray[np.float64]) -> NDArray[Any]:
    background = array.min()
    moved = np.full(shape, background, array.dtype)
    for source, target, shift in zip(array, moved, shifts, strict=True):
        whole, part = np.floor(shift).astype(int), shift % 1.0
        # One row and column of background around lets the weights fall off at the edge.
        padded = np.pad(source, ((1, 1), (1, 1)), constant_values=background).astype(np.float32)
        down = (1.0 - part[0]) * padded[1:] + part[0] * padded[:-1]
        both = (1.0 - part[1]) * down[:, 1:] + part[1] * down[:, :-1]
        inside = both[: shape[1] - whole[0], : shape[2] - whole[1]]
        target[whole[0] :, whole[1] :][: inside.shape[0], : inside.shape[1]] = _as(array.dtype, inside)
    return moved


def _moved_along_normal(array: NDArray[Any], places: NDArray[np.float64]) -> NDArray[Any]:
    moved = np.empty_like(array)
    for number in range(len(array)):
        below = min(max(int(np.searchsorted(places, number, side="right")) - 1, 0), len(array) - 2)
        part = (number - places[below]) / (places[below + 1] - places[below])
        moved[number] = _as(array.dtype, (1.0 - part) * array[below] + part * array[below + 1])
    return moved


def _as(dtype: np.dtype[Any], values: NDArray[Any]) -> NDArray[Any]:
    return np.rint(values).astype(dtype) if dtype.kind == "i" else values.astype(dtype)
