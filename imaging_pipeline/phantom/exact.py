"""Exact sizes of a closed surface from its fine mesh: no voxel takes part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from imaging_pipeline.domain.geometry import PointLps, as_point

#: Axial planes are tried this far apart, then around the best this far.
PLANE_STEP_MM = 1.0
PLANE_FINE_STEP_MM = 0.05
#: Perpendiculars tried along a longest diameter.
PERPENDICULARS = 600


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two points of the surface."""

    ends_lps: tuple[PointLps, PointLps]

    @property
    def length_mm(self) -> float:
        """Its length."""
        start, end = np.array(self.ends_lps)
        return float(np.linalg.norm(end - start))


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh in LPS mm: vertices (N, 3), triangles (M, 3) seen anticlockwise from outside."""

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume, by the divergence theorem."""
        a, b, c = (self.vertices[corner] for corner in self.triangles.T)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @property
    def area_mm2(self) -> float:
        """Surface area."""
        return float(self.triangle_areas.sum())

    @property
    def triangle_areas(self) -> NDArray[np.float64]:
        """Area of each triangle, (M,)."""
        a, b, c = (self.vertices[corner] for corner in self.triangles.T)
        areas: NDArray[np.float64] = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2.0
        return areas

    @property
    def triangle_centres(self) -> NDArray[np.float64]:
        """Middle of each triangle, (M, 3)."""
        centres: NDArray[np.float64] = self.vertices[self.triangles].mean(axis=1)
        return centres

    @property
    def extents_mm(self) -> tuple[float, float, float]:
        """Size along the left-right, anterior-posterior and superior-inferior axes."""
        x, y, z = (float(extent) for extent in np.ptp(self.vertices, axis=0))
        return x, y, z

    def max_3d_diameter(self) -> float:
        """The largest distance between two vertices: from vertex to farthest vertex until it grows no more."""
        longest = 0.0
        for start in np.unique(self.vertices.argmax(axis=0).tolist() + self.vertices.argmin(axis=0).tolist()):
            here = int(start)
            while True:
                distances = np.linalg.norm(self.vertices - self.vertices[here], axis=1)
                if distances.max() <= longest:
                    break
                here, longest = int(distances.argmax()), float(distances.max())
        return longest

    @cached_property
    def _reach(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest z of each triangle."""
        heights = self.vertices[:, 2][self.triangles]
        return heights.min(axis=1), heights.max(axis=1)

    def section(self, z: float) -> NDArray[np.float64]:
        """The border (N, 2, 2) in an axial plane, as line segments in x and y; empty where the plane misses."""
        low, high = self._reach
        crossing = np.flatnonzero((low < z) & (high >= z))
        corners = self.vertices[self.triangles[crossing]]
        heights = corners[:, :, 2] - z
        ends = np.empty((len(heights), 2, 2))
        # Each crossed triangle has one corner alone on its side: the segment runs between its two edges.
        above = heights >= 0
        alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
        rows = np.arange(len(heights))
        for number in (1, 2):
            other = (alone + number) % 3
            share = heights[rows, alone] / (heights[rows, alone] - heights[rows, other])
            start, end = corners[rows, alone, :2], corners[rows, other, :2]
            ends[:, number - 1] = start + share[:, np.newaxis] * (end - start)
        return ends

    def axial_diameter(self, z: float) -> Line | None:
        """The longest line between two points of the border in one axial plane; None where the plane misses."""
        points = self.section(z).reshape(-1, 2)
        if len(points) < 3:
            return None
        hull = points[ConvexHull(points).vertices]
        distances = cdist(hull, hull)
        first, second = np.unravel_index(int(distances.argmax()), distances.shape)
        return Line((as_point((*hull[first], z)), as_point((*hull[second], z))))

    def longest_axial_diameter(self) -> Line:
        """The longest line in any axial plane."""
        low, high = float(self.vertices[:, 2].min()), float(self.vertices[:, 2].max())
        best = self._longest(np.arange(low + PLANE_STEP_MM / 4, high, PLANE_STEP_MM))
        around = best.ends_lps[0][2] + np.arange(-PLANE_STEP_MM, PLANE_STEP_MM, PLANE_FINE_STEP_MM)
        return self._longest(around)

    def _longest(self, planes: NDArray[np.float64]) -> Line:
        lines = [line for line in (self.axial_diameter(float(z)) for z in planes) if line is not None]
        return max(lines, key=lambda line: line.length_mm)

    def perpendicular(self, longest: Line) -> Line:
        """The longest line between two points of the border at a right angle to another, in the same axial plane.

        Like the diameter itself it may leave the border in between, as calipers do.
        """
        start, end = np.array(longest.ends_lps)[:, :2]
        z = longest.ends_lps[0][2]
        along = (end - start) / longest.length_mm
        across = np.array((-along[1], along[0]))
        segments = self.section(z) - start
        positions, heights = segments @ along, segments @ across
        best = (0.0, 0.0, 0.0)
        for place in np.linspace(0.0, longest.length_mm, PERPENDICULARS + 2)[1:-1]:
            low, high = _reach(positions, heights, float(place))
            if high - low > best[2] - best[1]:
                best = (float(place), low, high)
        ends = [(*(start + best[0] * along + height * across), z) for height in best[1:]]
        return Line((as_point(ends[0]), as_point(ends[1])))


def _reach(positions: NDArray[np.float64], heights: NDArray[np.float64], place: float) -> tuple[float, float]:
    """From the lowest to the highest point of the border on the perpendicular at a place along the diameter."""
    crossed = (positions[:, 0] <= place) != (positions[:, 1] <= place)
    if np.count_nonzero(crossed) < 2:
        return 0.0, 0.0
    (first, second), (low, high) = positions[crossed].T, heights[crossed].T
    hits = low + (place - first) / (second - first) * (high - low)
    return float(hits.min()), float(hits.max())
