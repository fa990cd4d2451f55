"""Soft parts of the trunk: skin, fat, muscle, abdominal organs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging_pipeline.phantom.canvas import Canvas, Matrix4, Window
from imaging_pipeline.phantom.shapes import Array, Coordinates, Triple, Waves, both, radial, step
from imaging_pipeline.phantom.skeleton import MUSCLE_HU, SpineCurve
from imaging_pipeline.phantom.thorax import (
    BLOOD_HU,
    FAT_HU,
    Cage,
    CagePoint,
    paint_ellipsoid,
    paint_rod,
)

SKIN_HU = 20.0
LIVER_HU = 60.0
SPLEEN_HU = 50.0
KIDNEY_HU = 33.0
BOWEL_HU = 28.0
GAS_HU = -920.0


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of bowel and the gas in it, which rises to the front."""

    centre: Triple
    semi_axes: Triple
    gas: float


@dataclass(frozen=True, slots=True)
class Trunk:
    """The outline and what fills it. Sizes in mm, in the anatomy's frame."""

    cage: Cage
    fat_side_mm: float
    fat_front_mm: float
    neck_z_mm: float
    texture_seed: int

    @property
    def spine(self) -> SpineCurve:
        """The spine's curve."""
        return self.cage.spine

    def bounds(self) -> tuple[Triple, Triple]:
        """A box that holds the trunk."""
        wide = self.cage.half_width_mm + self.fat_side_mm + 34.0
        deep = 2 * self.cage.half_depth_mm + self.fat_front_mm + 80.0
        return (-wide, -deep, -400.0), (wide, 120.0, 700.0)

    def outline_distance(self, points: Coordinates, at: CagePoint) -> Array:
        """Distance to the skin: nearly an ellipse at every height, wide at the shoulders, narrow at the neck."""
        x, y, z = points
        top = self.neck_z_mm - 30.0
        neck = step(z, self.neck_z_mm - 24.0, self.neck_z_mm + 26.0)
        shoulder = step(z, top - 160.0, top - 20.0)
        hips = 18.0 * step(z, 10.0, -70.0)
        wide = (self.cage.half_width_mm + self.fat_side_mm + 18.0 * shoulder + hips) * (1.0 - neck) + 58.0 * neck
        deep = (self.cage.half_depth_mm + 0.5 * (self.fat_front_mm + 42.0) - 26.0 * shoulder) * (
            1.0 - neck
        ) + 60.0 * neck
        back = at.spine + 66.0 - 10.0 * neck
        offset = y - (back - deep)
        u, v = (x / wide) ** 2, (offset / deep) ** 2
        # Squarer than an ellipse, as a trunk is.
        level = np.sqrt(np.sqrt(u * u + v * v + 1.6 * u * v))
        return radial(np.sqrt(x * x + offset * offset), level)

    def muscle_distance(self, points: Coordinates, at: CagePoint) -> Array:
        """Distance to the muscles of the wall: thin at the side, thick over the breast and the shoulder blade."""
        z = points[2]
        chest = step(z, 240.0, 310.0)
        breast = 11.0 * step(at.round, -0.12, -0.4) * step(at.round, -1.0, -0.8)
        blade = 30.0 * step(at.round, 0.16, 0.42)
        loin = 9.0 * (1.0 - chest)
        return at.outside - (6.0 + loin + chest * (breast + blade))

    def paint_outside(
        self, canvas: Canvas, window: Window, points: Coordinates, at: CagePoint, to_scanner: Matrix4, arms_up: bool
    ) -> None:
        """Paint skin, fat, the muscles of the wall and arms, and the fat within."""
        self._paint_arms(canvas, to_scanner, arms_up)
        skin = self.outline_distance(points, at)
        fat = FAT_HU + 5.0 * Waves(self.texture_seed, (18.0, 45.0), 2)(points)
        canvas.paint_layers(window, skin, ((0.0, SKIN_HU), (1.8, fat)))
        canvas.paint(window, both(skin + 6.0, self.muscle_distance(points, at)), MUSCLE_HU)
        self._paint_shoulders(canvas, to_scanner, arms_up)
        canvas.paint(window, at.outside + 7.0, FAT_HU)

    def _paint_arms(self, canvas: Canvas, to_scanner: Matrix4, arms_up: bool) -> None:
        top = self.cage.rib_roots_mm[0]
        y = float(self.spine.posterior(np.array(top))) - 20.0
        for side in (-1.0, 1.0):
            shoulder = (side * 146.0, y, top - (0.0 if arms_up else 24.0))
            elbow = (side * 172.0, y - 30.0, top + 220.0) if arms_up else (side * 200.0, y + 22.0, top - 270.0)
            for radius, hu in ((46.0, SKIN_HU), (44.4, FAT_HU), (36.0, MUSCLE_HU)):
                paint_rod(canvas, to_scanner, shoulder, elbow, radius, hu)

    def _paint_shoulders(self, canvas: Canvas, to_scanner: Matrix4, arms_up: bool) -> None:
        top = self.cage.rib_roots_mm[0]
        lift = 14.0 if arms_up else 0.0
        y = float(self.spine.posterior(np.array(top)))
        for side in (-1.0, 1.0):
            paint_ellipsoid(canvas, to_scanner, (side * 132.0, y - 6.0, top + lift), (46.0, 44.0, 34.0), MUSCLE_HU)
            paint_ellipsoid(canvas, to_scanner, (side * 66.0, y + 22.0, top + 4.0), (62.0, 22.0, 26.0), MUSCLE_HU)
            paint_ellipsoid(canvas, to_scanner, (side * 34.0, y - 40.0, top + 34.0), (16.0, 20.0, 50.0), MUSCLE_HU)

    def paint_core(self, canvas: Canvas, window: Window, points: Coordinates, at: CagePoint) -> None:
        """Paint the muscles along the spine."""
        wide, y, z = np.abs(points[0]), points[1] - at.spine, points[2]
        back = (np.sqrt((wide - 30.0) ** 2 + (1.5 * (y - 42.0)) ** 2) - 28.5) * 0.8
        if float(z.min()) < 110.0:
            bulk = 18.0 * step(z, 110.0, -10.0)
            psoas = np.sqrt((wide - 46.0 + 0.10 * (z - 10.0)) ** 2 + (y + 4.0 - 0.18 * (z + 20.0)) ** 2) - bulk
            back = np.minimum(back, psoas)
        canvas.paint(window, back, MUSCLE_HU)

    def paint_organs(self, canvas: Canvas, to_scanner: Matrix4, diaphragm_mm: float, bowel: tuple[Loop, ...]) -> None:
        """Paint liver, spleen, kidneys, bowel and the abdominal vessels."""
        spine = self.spine.posterior
        base = diaphragm_mm - 58.0
        y = float(spine(np.array(base))) - 62.0
        wide, deep = self.cage.half_width_mm - 9.0, self.cage.half_depth_mm
        for loop in bowel:
            paint_ellipsoid(canvas, to_scanner, loop.centre, loop.semi_axes, BOWEL_HU)
            first, second, third = loop.semi_axes
            gas = (first * 0.75, second * 0.55 * loop.gas, third * 0.75)
            if loop.gas:
                forward = (loop.centre[0], loop.centre[1] - second * 0.4, loop.centre[2])
                paint_ellipsoid(canvas, to_scanner, forward, gas, GAS_HU)
        paint_ellipsoid(canvas, to_scanner, (-0.50 * wide, y, base), (0.5 * wide, 0.86 * deep, 72.0), LIVER_HU)
        paint_ellipsoid(canvas, to_scanner, (-0.05 * wide, y - 34.0, base + 14.0), (58.0, 36.0, 34.0), LIVER_HU)
        paint_ellipsoid(canvas, to_scanner, (0.66 * wide, y + 42.0, base), (32.0, 40.0, 46.0), SPLEEN_HU)
        paint_ellipsoid(canvas, to_scanner, (0.42 * wide, y - 22.0, base), (40.0, 34.0, 42.0), BOWEL_HU)
        for side, z in ((1.0, 92.0), (-1.0, 80.0)):
            kidney = (side * 60.0, float(spine(np.array(z))) - 4.0, z)
            paint_ellipsoid(canvas, to_scanner, kidney, (26.0, 25.0, 52.0), KIDNEY_HU)
            hilum = (side * 50.0, kidney[1] - 6.0, z)
            paint_ellipsoid(canvas, to_scanner, hilum, (12.0, 9.0, 22.0), FAT_HU)
        self._paint_vessels(canvas, to_scanner)

    def _paint_vessels(self, canvas: Canvas, to_scanner: Matrix4) -> None:
        fork = (4.0, float(self.spine.posterior(np.array(0.0))) - 34.0, 2.0)
        high = (14.0, float(self.spine.posterior(np.array(130.0))) - 34.0, 130.0)
        paint_rod(canvas, to_scanner, fork, high, 9.5, BLOOD_HU)
        paint_rod(canvas, to_scanner, (-20.0, fork[1] + 4.0, -10.0), (-24.0, high[1] + 2.0, 200.0), 10.5, BLOOD_HU)
        for side in (-1.0, 1.0):
            paint_rod(canvas, to_scanner, fork, (side * 52.0, fork[1] + 10.0, -110.0), 6.0, BLOOD_HU)
            paint_rod(
                canvas, to_scanner, (-20.0, fork[1] + 6.0, -10.0), (side * 50.0, fork[1] + 20.0, -110.0), 6.5, BLOOD_HU
            )
        for share in (0.15, 0.5, 0.8):
            plaque = [low + share * (top - low) for low, top in zip(fork, high, strict=True)]
            paint_ellipsoid(canvas, to_scanner, (plaque[0] + 8.2, plaque[1] - 2.0, plaque[2]), (1.3, 3.0, 4.0), 620.0)
