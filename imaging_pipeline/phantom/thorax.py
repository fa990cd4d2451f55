"""The chest: the cage and its ribs, shoulder girdle, lungs, mediastinum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imaging_pipeline.phantom.canvas import Canvas, Matrix4, Pixels, Window
from imaging_pipeline.phantom.shapes import Array, Coordinates, Triple, Waves, both, capsule, ellipsoid, radial, step
from imaging_pipeline.phantom.skeleton import ARCH_CORTEX_HU, SpineCurve

BLOOD_HU = 42.0
FAT_HU = -105.0
LUNG_HU = -855.0
AIR_HU = -1000.0
CARTILAGE_HU = 115.0
RIB_MARROW_HU = 230.0

#: How far along the cage each rib is bone, from the spine (1) to the breastbone (-1); then cartilage, or nothing.
RIB_BONE_ENDS = (-0.55, -0.5, -0.5, -0.5, -0.5, -0.5, -0.45, -0.4, -0.35, -0.25, 0.1, 0.6)
RIB_CARTILAGE_ENDS = (-0.96, -0.97, -0.97, -0.97, -0.97, -0.97, -0.95, -0.9, -0.85, -0.75, 0.05, 0.58)
#: How steeply each rib falls, as a share of the full slope: the first is nearly flat.
RIB_SLOPES = (0.40, 0.6, 0.8) + (1.0,) * 9


class CagePoint(NamedTuple):
    """Where points lie with respect to the cage.

    `outside` are mm outside its middle surface, `round` is 1 at the spine and -1 in
    front, `middle` and `spine` are the y of the section's middle and of the spine at that height.
    """

    outside: Array
    round: Array
    middle: Array
    spine: Array


@dataclass(frozen=True, slots=True)
class Cage:
    """The surface in which the ribs run: elliptic cross-sections that close like a dome at the top."""

    spine: SpineCurve
    half_width_mm: float
    half_depth_mm: float
    shoulder_z_mm: float
    apex_z_mm: float
    rib_roots_mm: tuple[float, ...]

    def section(self, z: Array) -> tuple[Array, Array, Array, Array]:
        """Half width, half depth, the middle's y and the spine's y of the cross-sections at heights z."""
        rise = np.clip((z - self.shoulder_z_mm) / (self.apex_z_mm - self.shoulder_z_mm), 0.0, 0.999)
        share = np.sqrt(1.0 - rise * rise * np.sqrt(rise))
        depth = self.half_depth_mm * share
        spine = self.spine.posterior(z)
        return self.half_width_mm * share, depth, spine + 24.0 - depth, spine

    def locate(self, points: Coordinates) -> CagePoint:
        """Points with respect to the cage."""
        x, y, z = points
        width, depth, middle, spine = self.section(z)
        offset = y - middle
        level = np.sqrt((x / width) ** 2 + (offset / depth) ** 2)
        outside = radial(np.sqrt(x * x + offset * offset), level)
        return CagePoint(outside, offset / depth / np.maximum(level, 1e-4), middle, spine)

    def place(self, rib: int, round_: float, right: bool) -> Triple:
        """The middle of a rib (1 to 12) at a place along it, from the spine (1) to the front (-1)."""
        z = np.array(self.rib_roots_mm[rib - 1] - RIB_SLOPES[rib - 1] * float(_fall(np.array(round_))))
        width, depth, middle, _ = (float(part) for part in self.section(z))
        side = -1.0 if right else 1.0
        return side * width * float(np.sqrt(1 - round_ * round_)), middle + depth * round_, float(z)

    def rib_distance(self, rib: int, at: CagePoint, z: Array) -> tuple[Array, Array]:
        """Distance to one rib's bone, and to its bone and cartilage together."""
        fall = RIB_SLOPES[rib - 1]
        height = (z + fall * _fall(at.round) - self.rib_roots_mm[rib - 1]) * (1.0 - 0.15 * fall)
        level = np.sqrt((at.outside / 3.4) ** 2 + (height / 6.2) ** 2)
        tube = (level - 1.0) * 4.0
        # The ends lie across the rib; 90 mm turn the place along it into a length well enough for a blunt end.
        return (
            both(tube, (RIB_BONE_ENDS[rib - 1] - at.round) * 90.0),
            both(tube, (RIB_CARTILAGE_ENDS[rib - 1] - at.round) * 90.0),
        )

    def paint_ribs(self, canvas: Canvas, pixels: Pixels, points: Coordinates, at: CagePoint) -> None:
        """Paint the twelve pairs on pixels near the cage."""
        x, _, z = points
        if not z.size:
            return
        beside_spine = 16.0 - np.abs(x)
        for rib, root in enumerate(self.rib_roots_mm, start=1):
            if float(z.min()) < root + 8 and float(z.max()) > root - 90:
                bone, all_of_it = (both(part, beside_spine) for part in self.rib_distance(rib, at, z))
                canvas.paint(pixels, all_of_it, CARTILAGE_HU)
                canvas.paint_layers(pixels, bone, ((0.0, ARCH_CORTEX_HU - 60.0), (1.0, RIB_MARROW_HU)))


def _fall(round_: Array) -> Array:
    """How far a fully sloping rib has fallen below its root, in mm."""
    forward = (1.0 - round_) / 2
    result: Array = forward * (92.0 - 16.0 * forward)
    return result


@dataclass(frozen=True, slots=True)
class Chest:
    """What the cage holds and bears. All sizes in mm, in the anatomy's frame."""

    cage: Cage
    diaphragm_z_mm: float
    vessels: tuple[tuple[Triple, Triple, float], ...]
    lung_seed: int

    def lung_distance(self, points: Coordinates, at: CagePoint, breath_mm: float) -> Array:
        """Distance to both lungs: inside the cage, above the diaphragm, beside the mediastinum and the spine."""
        x, y, z = points
        wide = np.abs(x)
        forward = y - at.middle
        dome = self.diaphragm_z_mm - breath_mm - ((wide - 62.0) ** 2 + forward * forward) * (1 / 190.0)
        heart = step(z, 330.0, 260.0)
        between = np.sqrt((x - 12.0 * heart) ** 2 + (0.4 * (forward + 8.0)) ** 2) - 30.0
        beside_spine = 44.0 - np.sqrt(x * x + (y - at.spine - 12.0) ** 2)
        inside = both(at.outside + 6.0, (dome - z) * 0.9, 3.0)
        return both(both(inside, -between, 3.0), beside_spine * 0.8, 3.0)

    def paint(
        self, canvas: Canvas, window: Window, points: Coordinates, at: CagePoint, to_scanner: Matrix4, breath_mm: float
    ) -> None:
        """Paint lungs, mediastinum and great vessels."""
        distance = self.lung_distance(points, at, breath_mm)
        lung = np.nonzero(distance < canvas.edge_mm)
        if lung[0].size:
            inner = (points[0][lung], points[1][lung], points[2][lung])
            texture = LUNG_HU + 16.0 * Waves(self.lung_seed, (14.0, 40.0), 3)(inner)
            pixels = (lung[0] + window[0].start, lung[1] + window[1].start)
            canvas.paint(pixels, distance[lung], texture)
            self._paint_vessels(canvas, to_scanner)
        self._paint_mediastinum(canvas, to_scanner)

    def _paint_vessels(self, canvas: Canvas, to_scanner: Matrix4) -> None:
        for start, end, radius in self.vessels:
            paint_rod(canvas, to_scanner, start, end, radius, 40.0, end_radius=0.4 * radius)

    def _paint_mediastinum(self, canvas: Canvas, to_scanner: Matrix4) -> None:
        def spine(z: float) -> float:
            return float(self.cage.spine.posterior(np.array(z)))

        base = self.diaphragm_z_mm
        front = spine(base + 70) - 62.0
        paint_ellipsoid(canvas, to_scanner, (22.0, front - 8.0, base + 42.0), (55.0, 43.0, 52.0), BLOOD_HU)
        rods = (
            ((24.0, spine(base) - 24.0, base - 110.0), (24.0, spine(base + 100) - 22.0, base + 128.0), 11.5, BLOOD_HU),
            ((24.0, spine(base + 100) - 22.0, base + 128.0), (-8.0, front + 6.0, base + 132.0), 12.5, BLOOD_HU),
            ((-8.0, front + 6.0, base + 132.0), (-2.0, front, base + 80.0), 14.0, BLOOD_HU),
            ((-30.0, front + 8.0, base + 60.0), (-26.0, front + 6.0, base + 170.0), 9.0, BLOOD_HU),
            ((-40.0, front + 20.0, base + 98.0), (46.0, front + 26.0, base + 104.0), 11.0, BLOOD_HU),
            ((4.0, spine(base + 60) - 30.0, base), (2.0, spine(base + 190) - 22.0, base + 215.0), 6.0, 35.0),
            ((0.0, spine(base + 120) - 44.0, base + 122.0), (0.0, spine(base + 200) - 30.0, base + 230.0), 8.5, AIR_HU),
            ((0.0, spine(base + 120) - 44.0, base + 122.0), (-34.0, spine(base + 90) - 46.0, base + 96.0), 6.5, AIR_HU),
            ((0.0, spine(base + 120) - 44.0, base + 122.0), (38.0, spine(base + 90) - 46.0, base + 94.0), 6.0, AIR_HU),
        )
        for start, end, radius, hu in rods:
            paint_rod(canvas, to_scanner, start, end, radius, hu)

    def paint_girdle(
        self,
        canvas: Canvas,
        pixels: Pixels,
        points: Coordinates,
        at: CagePoint,
        to_scanner: Matrix4,
        arms_up: bool,
    ) -> None:
        """Paint breastbone, collar bones, shoulder blades and upper arms."""
        top = self.cage.rib_roots_mm[0]
        self._paint_scapulae(canvas, pixels, points, at, arms_up)
        _, depth, middle, _ = (float(part) for part in self.cage.section(np.array(top - 90.0)))
        front = middle - depth
        self._paint_marrow_ellipsoid(canvas, to_scanner, (0.0, front + 2.0, top - 105.0), (19.0, 7.0, 72.0))
        lift = 16.0 if arms_up else 0.0
        for side in (-1.0, 1.0):
            shoulder = (side * 148.0, middle + 22.0, top - 8.0 + lift)
            collar = ((side * 16.0, front + 16.0, top - 42.0), (side * 132.0, middle + 4.0, top - 2.0 + lift))
            elbow = (
                (side * 168.0, middle - 12.0, top + 220.0) if arms_up else (side * 196.0, middle + 40.0, top - 270.0)
            )
            self._paint_long_bone(canvas, to_scanner, *collar, 6.0)
            self._paint_long_bone(canvas, to_scanner, shoulder, elbow, 11.0)
            self._paint_marrow_ellipsoid(canvas, to_scanner, shoulder, (22.0, 22.0, 22.0))

    def _paint_scapulae(
        self, canvas: Canvas, pixels: Pixels, points: Coordinates, at: CagePoint, arms_up: bool
    ) -> None:
        top = self.cage.rib_roots_mm[0] - 12.0
        along = at.round + (0.12 if arms_up else 0.0)
        blade = np.abs(at.outside - 21.0) - (1.6 + 2.6 * step(along, 0.4, 0.2))
        # A triangle, point downwards: its lower part is narrow.
        width = 0.28 * np.clip((points[2] - (top - 125.0)) / 125.0, 0.0, 1.0)
        outline = both((np.abs(along - 0.52) - width) * 100.0, points[2] - top)
        canvas.paint_layers(pixels, both(blade, outline), ((0.0, ARCH_CORTEX_HU - 40.0), (1.2, RIB_MARROW_HU)))

    @staticmethod
    def _paint_marrow_ellipsoid(canvas: Canvas, to_scanner: Matrix4, centre: Triple, semi_axes: Triple) -> None:
        paint_ellipsoid(canvas, to_scanner, centre, semi_axes, ARCH_CORTEX_HU - 80.0)
        first, second, third = (semi - 1.3 for semi in semi_axes)
        paint_ellipsoid(canvas, to_scanner, centre, (first, second, third), RIB_MARROW_HU - 30.0)

    @staticmethod
    def _paint_long_bone(canvas: Canvas, to_scanner: Matrix4, start: Triple, end: Triple, radius: float) -> None:
        paint_rod(canvas, to_scanner, start, end, radius, 1050.0)
        paint_rod(canvas, to_scanner, start, end, radius - 3.0, 80.0)


def paint_rod(
    canvas: Canvas,
    to_scanner: Matrix4,
    start: Triple,
    end: Triple,
    radius: float,
    hu: float,
    end_radius: float | None = None,
) -> None:
    """Paint a homogeneous rod; only the stretch of it near the plane is looked at."""
    ends = np.array((start, end)) @ to_scanner[:3, :3].T + to_scanner[:3, 3]
    reach = radius + canvas.edge_mm
    rise = float(ends[1, 2] - ends[0, 2])
    share = np.array((0.0, 1.0))
    if abs(rise) > 1e-6:
        share = np.clip(np.sort((canvas.z + np.array((-reach, reach)) - ends[0, 2]) / rise), 0.0, 1.0)
    stretch = ends[0] + share[:, np.newaxis] * (ends[1] - ends[0])
    low, high = stretch.min(axis=0) - reach, stretch.max(axis=0) + reach
    window = canvas.window(np.eye(4), tuple(low.tolist()), tuple(high.tolist()))
    if window is not None:
        points = canvas.coordinates(to_scanner, window)
        canvas.paint(window, capsule(points, start, end, radius, end_radius), hu)


def paint_ellipsoid(canvas: Canvas, to_scanner: Matrix4, centre: Triple, semi_axes: Triple, hu: float) -> None:
    """Paint a homogeneous ellipsoid."""
    low = (centre[0] - semi_axes[0], centre[1] - semi_axes[1], centre[2] - semi_axes[2])
    high = (centre[0] + semi_axes[0], centre[1] + semi_axes[1], centre[2] + semi_axes[2])
    window = canvas.window(to_scanner, low, high)
    if window is not None:
        canvas.paint(window, ellipsoid(canvas.coordinates(to_scanner, window), centre, semi_axes), hu)
