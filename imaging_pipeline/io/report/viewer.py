"""What the viewer scrolls through: the scans around each lesion, small enough to lie inside the page."""

from __future__ import annotations

import math
import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.case import Values
from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.errors import one_line
from imaging_pipeline.io.report import figures
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.io.report.pictures import Seen, axes_of, seen_of

#: Voxels of all scans of a page together: with their outlines about 4 MB of page.
VOXELS_PER_PAGE = 4_500_000
#: Voxel sizes tried, the finest first; what was acquired coarser stays as it is.
STEPS_MM = tuple(0.7 * 1.2**number for number in range(16))
#: CT numbers and the byte each is kept as: 4 HU a step for soft tissue, 16 to 79 HU for air, bone and metal.
CT_CODES = ((-1024.0, 0), (-200.0, 50), (300.0, 175), (1500.0, 235), (3071.0, 255))

Matrix4 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The box the viewer shows: along the voxel axes of the first scan, around the lesion's centre in it.

    `to_lps` maps millimetres (left, posterior, superior of the centre) to the first scan's LPS.
    """

    to_lps: Matrix4
    sides_mm: NDArray[np.float64]
    steps_mm: tuple[float, ...]
    normal: int


@dataclass(frozen=True, slots=True)
class _Cut:
    """The part of one visit's scan that lies in the box. `to_lps` maps the box to this visit's LPS."""

    seen: Seen
    to_lps: Matrix4
    box: tuple[slice, slice, slice]

    @property
    def grid(self) -> Grid:
        """The voxels as acquired."""
        return self.seen.view.grid.crop(self.box)

    def shape(self, step_mm: float) -> tuple[int, ...]:
        """Voxels along each axis when none is smaller than `step_mm`."""
        spacing_mm = np.array(self.grid.spacing_mm)
        return tuple(
            math.floor((size - 1) * step / max(step, step_mm) + 1e-6) + 1
            for size, step in zip(self.grid.shape, spacing_mm, strict=True)
        )


def scenes(lookup: Lookup, values: Values) -> dict[str, dict[str, Any]]:
    """Each lesion's scene by its name, as the page's script reads it; all scenes of a page fit its size."""
    seen = {lesion.lesion_id: seen_of(lesion, lookup, values) for lesion in lookup.case.lesions}
    frames = {name: _frame(each) for name, each in seen.items() if each}
    cuts = {name: [_cut(frame, each, seen[name][0]) for each in seen[name]] for name, frame in frames.items()}
    step_mm = _fitting([cut for each in cuts.values() for cut in each])
    lesions = {lesion.lesion_id: lesion for lesion in lookup.case.lesions}
    return {name: _scene(frame, cuts[name], lesions[name], lookup, step_mm) for name, frame in frames.items()}


def _frame(seen: list[Seen]) -> _Frame:
    grid = seen[0].view.grid
    order = _order(grid.directions)
    axes = grid.directions[:, order] * np.sign(np.diag(grid.directions[:, order]))
    # On a voxel's centre, so that steps along the slice axis fall on acquired slices.
    origin = grid.to_lps(np.rint(grid.to_index(figures.centroid_lps(seen[0].mask))))
    extents_mm = [np.ptp(each.mask.grid.to_lps(np.argwhere(each.mask.array)) @ axes, axis=0) for each in seen]
    sides_mm = 10 * np.ceil((np.max(extents_mm, axis=0) + 2 * figures.MARGIN_MM) / 10)
    to_lps = np.eye(4)
    to_lps[:3, :3], to_lps[:3, 3] = axes, origin
    return _Frame(to_lps, sides_mm, tuple(grid.spacing_mm[axis] for axis in order), order.index(0))


def _order(directions: NDArray[np.float64]) -> list[int]:
    """Which voxel axis runs most nearly left-right, front-back and up-down."""
    order = [0, 0, 0]
    strength = np.abs(directions)
    for _ in range(3):
        patient, voxel = np.unravel_index(int(strength.argmax()), (3, 3))
        order[patient] = int(voxel)
        strength[patient, :] = strength[:, voxel] = -1.0
    return order


def _cut(frame: _Frame, seen: Seen, first: Seen) -> _Cut:
    moved = np.eye(4)
    if seen.sighting.transform is not None:
        moved = np.array(seen.sighting.transform.matrix)
    else:
        # Without a registration the visits are laid centre on centre; at the first this is no move at all.
        moved[:3, 3] = np.subtract(figures.centroid_lps(seen.mask), figures.centroid_lps(first.mask))
    to_lps = moved @ frame.to_lps
    corners = np.array(np.meshgrid(*((-side / 2, side / 2) for side in frame.sides_mm))).reshape(3, -1).T
    return _Cut(seen, to_lps, seen.view.grid.box_around(corners @ to_lps[:3, :3].T + to_lps[:3, 3], 0.0))


def _fitting(cuts: list[_Cut]) -> float:
    """The finest voxel size at which all cuts together are small enough."""
    return next(
        (step for step in STEPS_MM if sum(math.prod(cut.shape(step)) for cut in cuts) <= VOXELS_PER_PAGE), STEPS_MM[-1]
    )


def _scene(frame: _Frame, cuts: list[_Cut], lesion: Lesion, lookup: Lookup, step_mm: float) -> dict[str, Any]:
    return {
        "name": one_line(f"{lesion.lesion_id} {lesion.laterality}".strip()),
        "sides_mm": frame.sides_mm.tolist(),
        "steps_mm": frame.steps_mm,
        "normal": frame.normal,
        "visits": [_visit(cut, lesion, lookup, step_mm) for cut in cuts],
    }


def _visit(cut: _Cut, lesion: Lesion, lookup: Lookup, step_mm: float) -> dict[str, Any]:
    seen, shape = cut.seen, cut.shape(step_mm)
    visit = lookup.visits[seen.sighting.visit]
    grid = _coarse(cut.grid, shape, step_mm)
    array = _sampled(seen.view.array[cut.box].astype(np.float32), cut.grid, grid)
    inside = _sampled(255.0 * seen.mask.on(cut.grid).array.astype(np.float32), cut.grid, grid)
    codes = CT_CODES if seen.view.unit == HU else ((float(array.min()), 0), (float(array.max()) + 1e-6, 255))
    values, bytes_ = zip(*codes, strict=True)
    voxels = np.stack([np.interp(array, values, bytes_), inside]).round().astype(np.uint8)
    # Differences along a row deflate better than values.
    deflated = zlib.compress(np.diff(voxels, axis=-1, prepend=np.uint8(0)).tobytes())
    return {
        "label": one_line(visit.label),
        "date": one_line(visit.date),
        "shape": shape,
        "to_index": _rows(np.linalg.inv(grid.matrix) @ cut.to_lps),
        "to_lps": _rows(cut.to_lps),
        "slices": _slices(seen, grid),
        "codes": codes,
        "unit": "HU" if seen.view.unit == HU else "",
        "windows": [(window.name, window.level, window.width) for window in _windows(seen, lesion)],
        "lines": list(_lines(cut, lookup)),
        "voxels": b64encode(deflated).decode("ascii"),
    }


def _coarse(grid: Grid, shape: tuple[int, ...], step_mm: float) -> Grid:
    factors = [max(step, step_mm) / step for step in grid.spacing_mm]
    return Grid((shape[0], shape[1], shape[2]), as_matrix(grid.matrix @ np.diag([*factors, 1.0])), grid.space)


def _sampled(array: NDArray[np.float32], acquired: Grid, wanted: Grid) -> NDArray[np.float32]:
    factors = np.array(wanted.spacing_mm) / acquired.spacing_mm
    # What the coarser voxels cannot hold is blurred away first.
    smooth = ndimage.gaussian_filter(array, np.where(factors > 1.01, 0.5 * np.sqrt(factors**2 - 1), 0.0))
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        smooth, factors, output_shape=wanted.shape, order=1, mode="nearest"
    )
    return sampled


def _windows(seen: Seen, lesion: Lesion) -> Iterator[figures.Window]:
    """The window of the key image first, then the other usual ones of CT."""
    first = figures.window_for(seen.view, lesion.kind)
    yield first
    if seen.view.unit == HU:
        yield from (window for window in figures.CT_WINDOWS if window != first)


def _lines(cut: _Cut, lookup: Lookup) -> Iterator[list[list[float]]]:
    """The measured lines in the box."""
    back = np.linalg.inv(cut.to_lps)
    for points_lps in axes_of(cut.seen.sighting, lookup):
        yield np.round(np.array(points_lps) @ back[:3, :3].T + back[:3, 3], 2).tolist()


def _slices(seen: Seen, grid: Grid) -> list[float]:
    """First slice and slices a voxel along the slice axis, and how many the series has; [] where that is unknown."""
    series = seen.view.series.grid
    if series is None:
        return []
    first, second = (float(series.to_index(grid.to_lps((index, 0, 0)))[0]) for index in (0, 1))
    return [round(first, 4), round(second - first, 4), series.shape[0]]


def _rows(matrix: Matrix4) -> list[list[float]]:
    rows: list[list[float]] = np.round(matrix[:3], 6).tolist()
    return rows
