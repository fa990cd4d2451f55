"""How a network is shown a scan: on voxels of its own, window by window, and its answers brought back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, softmax

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.numerics.pyramid import Bools, Floats

Three = tuple[int, int, int]
#: One window of values, (patch), to the scores of each class, (classes, *patch).
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Neighbouring windows begin half a window apart, and count less towards their rims.
#: Source: Isensee et al., nnU-Net, Nat Methods 2021 (the standard deviation of the weight is an eighth of the window).
STEP, WEIGHT_WIDTH = 0.5, 0.125
#: Around what a prompt spans, the network sees at least this share of a window more on each side.
CONTEXT = 0.25
#: The directions in which an axis may grow, as LPS vectors.
_LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@dataclass(frozen=True, slots=True)
class Clip:
    """Values beyond two bounds become the bounds."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clipped."""
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values less `shift`, over `divisor`; None is the mean, and the standard deviation, of the scan itself.

    With `nonzero`, voxels of value 0 are no part of the scan and stay 0.
    """

    shift: float | None = None
    divisor: float | None = None
    nonzero: bool = False

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled."""
        known = values[values != 0] if self.nonzero else values
        shift = self.shift if self.shift is not None else float(known.mean(dtype=np.float64)) if known.size else 0.0
        divisor = (
            self.divisor if self.divisor is not None else float(known.std(dtype=np.float64)) if known.size else 1.0
        )
        scaled = (values - np.float32(shift)) / np.float32(divisor or 1.0)
        return np.where(values != 0, scaled, np.float32(0.0)) if self.nonzero else scaled


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network wants to be shown a scan, and what its answers mean.

    `orientation` names the direction in which each axis of its input grows ("RAS"); where it is empty, its axes are
    `order` of the scan's (slice, row, column). `patch` and `spacing_mm` are in the order of its axes; without a
    spacing it takes the scan's. `classes` are the names of its output channels; where they are `exclusive` the first
    is the background, else each is a region of its own.
    """

    patch: Three
    spacing_mm: tuple[float, float, float] | None
    order: Three
    orientation: str
    steps: tuple[Clip | Scale, ...]
    classes: tuple[str, ...]
    exclusive: bool
    ct: bool

    def prepared(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """A whole scan's values as the network was trained on."""
        values = array.astype(np.float32)
        for step in self.steps:
            values = step(values)
        return values

    def lattice(self, grid: Grid) -> Grid:
        """The voxels that the network sees of a scan."""
        axes, signs = _axes(grid, self.orientation) if self.orientation else (np.array(self.order), np.ones(3))
        own_mm, sizes = np.array(grid.spacing_mm)[axes], np.array(grid.shape)[axes]
        steps = np.array(self.spacing_mm or own_mm) / own_mm
        index = np.zeros((4, 4))
        index[axes, range(3)] = signs * steps
        index[axes, 3] = np.where(signs > 0, 0, sizes - 1)
        index[3, 3] = 1.0
        first, second, third = (int(size) for size in np.ceil((sizes - 1) / steps - 1e-6) + 1)
        return Grid((first, second, third), as_matrix(grid.matrix @ index))

    def wanted(self, scores: NDArray[np.float32], labels: tuple[str, ...]) -> NDArray[np.float32]:
        """By how much some classes are likelier than all else, (patch): above 0 where a voxel is of one of them."""
        chosen = np.isin(self.classes, labels)
        if not self.exclusive:
            return np.asarray(expit(scores[chosen].max(axis=0)) - 0.5)
        share = softmax(scores, axis=0)
        return np.asarray(share[chosen].max(axis=0) - share[~chosen].max(axis=0))


def _axes(grid: Grid, orientation: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which axis of a grid runs along each letter, and whether with (1) or against it (-1)."""
    along = np.array([_LETTERS[letter] for letter in orientation]) @ grid.directions
    _, axes = linear_sum_assignment(-np.abs(along))
    return axes, np.sign(along[range(3), axes])


def region_around(lattice: Grid, points_lps: Floats, patch: Three) -> tuple[slice, slice, slice]:
    """The box of a lattice in which some points are looked at: a window, or what holds them with their context."""
    index = np.atleast_2d(lattice.to_index(points_lps))
    context = CONTEXT * np.array(patch)
    sizes = np.maximum(patch, np.ceil(np.ptp(index, axis=0) + 2 * context)).astype(int)
    sizes = np.minimum(sizes, lattice.shape)
    middle = (index.min(axis=0) + index.max(axis=0)) / 2
    # At the scan's border the window moves inwards rather than looking at what is not there.
    first = np.clip(np.rint(middle - (sizes - 1) / 2), 0, np.array(lattice.shape) - sizes).astype(int)
    one, two, three = (slice(int(start), int(start + size)) for start, size in zip(first, sizes, strict=True))
    return one, two, three


def resampled(values: Floats, grid: Grid, there: Grid) -> NDArray[np.float32]:
    """Values on another grid by linear interpolation; beyond their own they are as at the border."""
    index = np.linalg.inv(grid.matrix) @ there.matrix
    return ndimage.affine_transform(
        values, index[:3, :3], index[:3, 3], there.shape, output=np.float32, order=1, mode="nearest"
    )


def looked_at(values: NDArray[np.float32], patch: Three, predict: Predict) -> NDArray[np.float32]:
    """Scores of each class, (classes, *shape): the weighted mean over overlapping windows.

    Smaller volumes are set amid zeros, as in training.
    """
    lacking = np.maximum(np.array(patch) - values.shape, 0)
    around = [(int(count) // 2, int(count) - int(count) // 2) for count in lacking]
    padded = np.pad(values, around)
    weight = _weight(patch)
    total: NDArray[np.float32] | None = None
    weights = np.zeros(padded.shape, dtype=np.float32)
    for window in _windows(padded.shape, patch):
        scores = predict(padded[window])
        if total is None:
            total = np.zeros((len(scores), *padded.shape), dtype=np.float32)
        total[:, *window] += scores * weight
        weights[window] += weight
    assert total is not None
    inside = tuple(slice(before, before + size) for (before, _), size in zip(around, values.shape, strict=True))
    return np.asarray(total[:, *inside] / weights[inside])


def _windows(shape: tuple[int, ...], patch: Three) -> Iterator[tuple[slice, ...]]:
    """Windows at even steps, the last flush with the end."""
    starts = []
    for size, length in zip(shape, patch, strict=True):
        count = int(np.ceil((size - length) / (STEP * length))) + 1
        starts.append(np.rint(np.linspace(0, size - length, count)).astype(int))
    for corner in product(*starts):
        yield tuple(slice(int(start), int(start) + length) for start, length in zip(corner, patch, strict=True))


def _weight(patch: Three) -> NDArray[np.float32]:
    """A Gaussian about the middle of a window, nowhere 0."""
    lines = []
    for length in patch:
        offset = (np.arange(length) - (length - 1) / 2) / (WEIGHT_WIDTH * length)
        lines.append(np.exp(-0.5 * offset**2))
    weight: NDArray[np.float32] = np.einsum("i,j,k->ijk", *lines).astype(np.float32)
    return np.maximum(weight, np.float32(1e-4))


def touches_side(piece: Bools, region: tuple[slice, slice, slice], shape: Three) -> bool:
    """Whether a piece found in a region of a lattice ends where the region does, and the scan goes on."""
    for axis, part in enumerate(region):
        marked = np.flatnonzero(piece.any(axis=tuple(other for other in range(3) if other != axis)))
        if (part.start > 0 and marked[0] == 0) or (part.stop < shape[axis] and marked[-1] == piece.shape[axis] - 1):
            return True
    return False
