"""Lesions: the exact border of each at one visit, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import moved
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.phantom.canvas import Canvas, Matrix4, covered
from imaging_pipeline.phantom.shapes import Array, Coordinates, Triple, Waves, both, patches
from imaging_pipeline.phantom.skeleton import Vertebra
from imaging_pipeline.phantom.surfaces import Surface

RIM_PATCH_MM = 14.0
RIM_SD_HU = 45.0
REMNANT_PATCH_MM = 7.0


@dataclass(frozen=True, slots=True)
class Island:
    """A ball of mineral; `centre` counts from the lesion's centre."""

    centre: Triple
    radius_mm: float
    hu: float


@dataclass(frozen=True, slots=True)
class Rim:
    """A sclerotic shell just inside the border, over a share (0 to 1) of it; its density varies by `RIM_SD_HU`."""

    width_mm: float
    hu: float
    share: float
    seed: int


@dataclass(frozen=True, slots=True)
class Wall:
    """A vertebra's wall rebuilt where the lesion had taken it, over a share (0 to 1)."""

    vertebra: Vertebra
    thickness_mm: float
    hu: float
    share: float
    seed: int


@dataclass(frozen=True, slots=True)
class Tissue:
    """What a lesion is made of.

    `core_hu` is added towards the middle; `remnant` is the share (0 to 1) of
    bone left standing in a moth-eaten pattern. Islands, rim and rebuilt wall are its mineral.
    """

    hu: float
    texture_hu: float
    texture_mm: tuple[float, float]
    seed: int
    core_hu: float = 0.0
    remnant: float = 0.0
    remnant_hu: float = 0.0
    islands: tuple[Island, ...] = ()
    rim: Rim | None = None
    wall: Wall | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same about a lesion through all visits, as a reader would put it down.

    `bone` names the bone it moves with, `series_role` the series that shows it, `prompt` is "line" or "point".
    """

    lesion_id: str
    label: str
    site: str
    laterality: str
    kind: Kind
    organ: str
    bone_type: str
    series_role: str
    bone: str
    prompt: str


@dataclass(frozen=True)
class LesionState:
    """One lesion at one visit; border and tissue lie in the anatomy's frame."""

    plan: Plan
    surface: Surface
    tissue: Tissue

    @cached_property
    def bounds(self) -> tuple[Triple, Triple]:
        """A box that holds the lesion."""
        vertices = self.surface.vertices(3)
        low, high = (vertices.min(axis=0) - 1.0).tolist(), (vertices.max(axis=0) + 1.0).tolist()
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def paint(self, canvas: Canvas, to_scanner: Matrix4) -> None:
        """Paint the lesion over what lies there; `to_scanner` comes from the anatomy's frame."""
        window = canvas.window(to_scanner, *self.bounds)
        if window is None:
            return
        points = canvas.coordinates(to_scanner, window)
        distance = self.surface.distance(points)
        canvas.paint(window, distance, self.hu(points, -distance, canvas.edge_mm))

    def hu(self, points: Coordinates, depth_mm: Array, edge_mm: float) -> Array:
        """CT numbers at 120 kVp of what the lesion is made of.

        `depth_mm` is how deep points lie inside the border, `edge_mm` the width of borders within the lesion.
        """
        tissue = self.tissue
        values: Array = tissue.hu + tissue.texture_hu * Waves(tissue.seed, tissue.texture_mm)(points)
        if tissue.core_hu:
            values = values + tissue.core_hu * np.clip((depth_mm - 3.0) / 8.0, 0.0, 1.0)
        if tissue.remnant:
            left = patches(points, tissue.seed + 1, REMNANT_PATCH_MM, tissue.remnant)
            values = values + covered(left, edge_mm) * (tissue.remnant_hu - values)
        for distance, hu in self._minerals(points, depth_mm):
            values = values + covered(distance, edge_mm) * (hu - values)
        return values

    def mineral_distance(self, points: Coordinates, depth_mm: Array) -> Array:
        """Distance to the nearest mineral, negative in it."""
        result: Array = np.full_like(depth_mm, np.inf)
        for distance, _ in self._minerals(points, depth_mm):
            result = np.minimum(result, distance)
        return result

    def rim_distance(self, points: Coordinates, depth_mm: Array) -> Array:
        """Distance to the rim, negative in it; infinite without one."""
        rim = self.tissue.rim
        if rim is None:
            return np.full_like(depth_mm, np.inf)
        return both(depth_mm - rim.width_mm, patches(points, rim.seed, RIM_PATCH_MM, rim.share))

    def wall_distance(self, points: Coordinates) -> Array:
        """Distance to the rebuilt vertebral wall, negative in it; infinite without one."""
        wall = self.tissue.wall
        if wall is None:
            return np.full_like(points[0], np.inf)
        local = moved(np.linalg.inv(wall.vertebra.frame), np.stack(points, axis=-1)).astype(points[0].dtype)
        outside = wall.vertebra.body_distance(columns(local))
        shell = both(outside, -outside - wall.thickness_mm)
        return both(shell, patches(points, wall.seed, RIM_PATCH_MM, wall.share))

    def _minerals(self, points: Coordinates, depth_mm: Array) -> list[tuple[Array, float | Array]]:
        """Each mineral part's distance and CT number, in the order they are painted."""
        tissue = self.tissue
        parts: list[tuple[Array, float | Array]] = []
        if tissue.rim:
            hu = tissue.rim.hu + RIM_SD_HU * Waves(tissue.rim.seed + 1, tissue.texture_mm)(points)
            parts.append((self.rim_distance(points, depth_mm), hu))
        low, high = float(points[2].min()), float(points[2].max())
        for island in tissue.islands:
            x, y, z = (middle + offset for middle, offset in zip(self.surface.centre, island.centre, strict=True))
            reach = island.radius_mm + 1.0
            if low - reach < z < high + reach:
                square = (points[0] - x) ** 2 + (points[1] - y) ** 2 + (points[2] - z) ** 2
                parts.append((np.sqrt(square) - island.radius_mm, island.hu))
        return [*parts, (self.wall_distance(points), tissue.wall.hu)] if tissue.wall else parts


def columns(points: NDArray[np.floating]) -> Coordinates:
    """An (..., 3) array as three arrays."""
    return points[..., 0], points[..., 1], points[..., 2]
