"""Bones: vertebrae with their arches, discs, sacrum and iliac wings, each in its own frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.phantom.canvas import Canvas, Matrix4
from imaging_pipeline.phantom.shapes import (
    Array,
    Coordinates,
    Triple,
    Waves,
    both,
    capsule,
    either,
    ellipsoid,
    radial,
    step,
)

CORTEX_HU = 760.0
ARCH_CORTEX_HU = 680.0
ARCH_MARROW_HU = 260.0
DISC_HU = 85.0
CORD_HU = 38.0
MUSCLE_HU = 55.0
#: Standard deviation of trabecular bone's texture, and the range of its wavelengths.
TRABECULAR_SD_HU = 18.0
TRABECULAR_WAVES_MM = (5.0, 11.0)

#: Where the left wing leaves the sacrum (behind `Pelvis.y_mm`), and the direction it takes, forwards and outwards.
_JOINT_X_MM, _JOINT_BACK_MM = 56.0, 34.0
_WING_X, _WING_Y = 0.55, -0.835

LUMBAR = ("L5", "L4", "L3", "L2", "L1")
THORACIC = tuple(f"T{number}" for number in range(12, 0, -1))


@dataclass(frozen=True, slots=True)
class SpineCurve:
    """Where the middle of the spine runs: y in mm as a function of height, lordosis below, kyphosis above."""

    middle_mm: float
    swing_mm: float
    lordosis_z_mm: float
    half_period_mm: float

    def posterior(self, z: Array) -> Array:
        """The curve's y at heights z."""
        phase = (z - self.lordosis_z_mm) * (float(np.pi) / self.half_period_mm)
        result: Array = self.middle_mm - self.swing_mm * np.cos(phase)
        return result

    def tilt_rad(self, z: float) -> float:
        """Angle between the curve and the vertical at a height."""
        rate = np.pi / self.half_period_mm
        return float(np.arctan(self.swing_mm * rate * np.sin((z - self.lordosis_z_mm) * rate)))


@dataclass(frozen=True, slots=True)
class Vertebra:
    """One vertebra. Its frame has the middle of the body as origin and the endplates' normal as z.

    `wedge` is the share of the height lost at the front, by lowering the upper
    endplate; `cortex_mm` the thickness of the body's wall.
    """

    name: str
    centre: Triple
    tilt_rad: float
    width_mm: float
    depth_mm: float
    height_mm: float
    cortex_mm: float
    texture_seed: int
    wedge: float = 0.0

    @property
    def frame(self) -> Matrix4:
        """From the vertebra's frame to the anatomy's."""
        sine, cosine = np.sin(self.tilt_rad), np.cos(self.tilt_rad)
        matrix = np.eye(4)
        matrix[1:3, 1:3] = [[cosine, sine], [-sine, cosine]]
        matrix[:3, 3] = self.centre
        return matrix

    @property
    def thoracic(self) -> bool:
        """Whether it bears ribs."""
        return self.name.startswith("T")

    def body_distance(self, points: Coordinates) -> Array:
        """Distance to the body: waisted sides, a hollow back wall, hollow endplates, rounded rims."""
        _, y, z = points
        share, wall = self._wall(points)
        centre = np.maximum(1.0 - share * share, 0.0)
        lost = (self.wedge * self.height_mm) * np.clip(0.5 - y / self.depth_mm, 0.0, 1.0)
        half = self.height_mm / 2 - 1.3 * centre
        return both(wall, np.maximum(z - half + lost, -z - half), 2.0)

    def _wall(self, points: Coordinates) -> tuple[Array, Array]:
        x, y, z = points
        upper = z * (2 / self.height_mm)
        waist = 0.92 + 0.08 * np.minimum(upper * upper, 1.0)
        hollow = 1.0 + 0.13 * np.exp(x * x * -0.01) * (y > 0)
        u = (x * (2 / self.width_mm) / waist) ** 2
        v = (y * hollow * (2 / self.depth_mm) / waist) ** 2
        # A square with very round corners: between a circle and |u|^4 + |v|^4 = 1.
        share = np.sqrt(np.sqrt(u * u + v * v + 1.5 * u * v))
        return share, radial(np.sqrt(x * x + y * y), share)

    def arch_distance(self, points: Coordinates) -> Array:
        """Distance to pedicles, laminae and processes, the canal left free."""
        x, y, z = np.abs(points[0]), points[1], points[2]
        sided = (x, y, z)
        wide, back, tall = self.width_mm / 2, self.depth_mm / 2, self.height_mm
        bulk = 3.6 if self.thoracic else 4.8
        root = (0.70 * wide + 1.0, back + 13.0, 0.12 * tall)
        sweep = (wide * 0.7 + 19.0, back + 26.0, 0.3 * tall) if self.thoracic else (wide * 0.7 + 27.0, back + 15.0, 2.0)
        spine_drop = 0.9 * tall if self.thoracic else 0.3 * tall
        parts = [
            capsule(sided, (0.66 * wide, back - 4.0, 0.2 * tall), root, bulk),
            capsule(sided, root, (1.5, back + 23.0, -0.15 * tall), bulk * 0.8),
            capsule(sided, root, sweep, bulk * 0.85, bulk * 0.7),
            capsule(
                sided, (root[0], root[1] + 3.0, 0.5 * tall), (root[0] - 1.0, root[1] + 5.0, -0.62 * tall), bulk * 1.1
            ),
            capsule(sided, (0.0, back + 24.0, -0.2 * tall), (0.0, back + 46.0, -spine_drop), bulk * 0.75, bulk * 0.9),
        ]
        return both(either(parts), -self.canal_distance(points))

    def canal_distance(self, points: Coordinates) -> Array:
        """Distance to the spinal canal, a tube along the vertebra's z."""
        x, y, _ = points
        radius = 8.0 if self.thoracic else 10.0
        offset = y - (self.depth_mm / 2 + radius * 0.85)
        result: Array = np.sqrt(x * x + (1.3 * offset) ** 2) - radius
        return result

    def marrow(self, points: Coordinates, mean_hu: float) -> Array:
        """Trabecular CT numbers of the body."""
        result: Array = mean_hu + TRABECULAR_SD_HU * Waves(self.texture_seed, TRABECULAR_WAVES_MM)(points)
        return result

    def side_points(self, depth_mm: float) -> NDArray[np.float64]:
        """Points (N, 3) of the vertebra's frame on the body's side wall, some depth below its surface."""
        heights = np.linspace(-0.36, 0.36, 41) * self.height_mm
        angles = np.linspace(-np.pi, np.pi, 361)[:-1]
        z, angle = (part.ravel() for part in np.meshgrid(heights, angles))
        low, high = np.zeros_like(z), np.full_like(z, self.width_mm)
        for _ in range(30):
            radius = (low + high) / 2
            inside = self.body_distance((radius * np.cos(angle), radius * np.sin(angle), z)) < -depth_mm
            low, high = np.where(inside, radius, low), np.where(inside, high, radius)
        return np.column_stack((low * np.cos(angle), low * np.sin(angle), z))

    def height_at(self, share: float) -> float:
        """Height of the body in mm in its middle sagittal plane, `share` of the depth from front (0) to back (1)."""
        y = (share - 0.5) * self.depth_mm * 0.92
        z = np.linspace(-self.height_mm, self.height_mm, 40001)
        inside = self.body_distance((np.zeros_like(z), np.full_like(z, y), z)) < 0
        return float(np.count_nonzero(inside) * (z[1] - z[0]))

    def paint(self, canvas: Canvas, to_scanner: Matrix4, marrow_hu: float) -> None:
        """Paint canal, arch and body; `to_scanner` comes from the vertebra's frame."""
        wide, tall = self.width_mm / 2 + 32.0, self.height_mm
        low, high = (-wide, -self.depth_mm / 2 - 3, -1.3 * tall), (wide, self.depth_mm / 2 + 53, tall)
        arch = canvas.window(to_scanner, low, high)
        if arch is not None:
            points = canvas.coordinates(to_scanner, arch)
            tube = both(self.canal_distance(points), np.abs(points[2]) - 0.75 * tall)
            canvas.paint(arch, tube, CORD_HU)
            distance = self.arch_distance(points)
            canvas.paint_layers(arch, distance, ((0.0, ARCH_CORTEX_HU), (1.1, ARCH_MARROW_HU)))
        half = (self.width_mm / 2 + 1, self.depth_mm / 2 + 1, tall / 2 + 1)
        body = canvas.window(to_scanner, (-half[0], -half[1], -half[2]), half)
        if body is not None:
            points = canvas.coordinates(to_scanner, body)
            distance = self.body_distance(points)
            layers = ((0.0, CORTEX_HU), (self.cortex_mm, self.marrow(points, marrow_hu)))
            canvas.paint_layers(body, distance, layers)


def paint_disc(canvas: Canvas, to_scanner: Matrix4, vertebra: Vertebra) -> None:
    """Paint the disc below a vertebra, thick enough to reach under both endplates that are painted over it."""
    wide, deep, tall = vertebra.width_mm / 2, vertebra.depth_mm / 2, vertebra.height_mm
    middle = -0.5 * tall - 4.0
    window = canvas.window(to_scanner, (-wide, -deep, middle - 10), (wide, deep, middle + 10))
    if window is not None:
        points = canvas.coordinates(to_scanner, window)
        distance = both(
            ellipsoid((points[0], points[1], 0.0 * points[2]), (0.0, 0.0, 0.0), (wide, deep, 1.0)),
            np.abs(points[2] - middle) - 9.0,
        )
        canvas.paint(window, distance, DISC_HU)


@dataclass(frozen=True, slots=True)
class Pelvis:
    """Sacrum and iliac wings, in the anatomy's frame; `z_mm` is the middle of S1."""

    y_mm: float
    z_mm: float
    crest_mm: float
    texture_seed: int

    def sacrum_distance(self, points: Coordinates) -> Array:
        """Distance to S1 to S3 with their wings."""
        x, y, z = np.abs(points[0]), points[1], points[2]
        bodies = [
            ellipsoid(
                (x, y, z),
                (0.0, self.y_mm + 13.0 * level, self.z_mm - 24.0 * level),
                (26 - 3 * level, 17 - 2 * level, 17),
            )
            for level in range(3)
        ]
        wing = ellipsoid((x, y, z), (33.0, self.y_mm + 16.0, self.z_mm - 16.0), (21.0, 16.0, 30.0))
        return either([*bodies, wing])

    def ilium_distance(self, points: Coordinates) -> Array:
        """Distance to the iliac wings: curved plates from the sacral joint forwards and outwards, below a crest."""
        x, y, z = np.abs(points[0]), points[1], points[2]
        dx, dy = x - _JOINT_X_MM, y - (self.y_mm + _JOINT_BACK_MM)
        along = _WING_X * dx + _WING_Y * dy
        across = -_WING_Y * dx + _WING_X * dy - self._bow(along, z)
        thickness = 4.0 + 4.5 * step(np.abs(along - 55.0), 25.0, 60.0)
        plate = both(np.abs(across) - thickness, np.abs(along - 55.0) - 62.0, 4.0)
        top = self.crest_mm - 0.006 * (along - 55.0) ** 2
        return both(plate, 0.8 * (z - top), 4.0)

    def wing_point(self, along_mm: float, z: float, right: bool) -> Triple:
        """The middle of a wing at a distance from its joint and a height."""
        across = float(self._bow(np.array(along_mm), np.array(z)))
        x = _JOINT_X_MM + _WING_X * along_mm - _WING_Y * across
        y = self.y_mm + _JOINT_BACK_MM + _WING_Y * along_mm + _WING_X * across
        return -x if right else x, y, z

    def _bow(self, along: Array, z: Array) -> Array:
        """How far the wing's middle lies outside a flat plate: it flares upwards and is hollow inside."""
        result: Array = (z - self.z_mm) * 0.30 + 0.0035 * (along - 45.0) ** 2 - 7.0
        return result

    def bounds(self) -> tuple[Triple, Triple]:
        """A box that holds the pelvis as far as it is drawn, with its muscles."""
        return (-158.0, self.y_mm - 115.0, self.z_mm - 120.0), (158.0, self.y_mm + 85.0, self.crest_mm + 14.0)

    def paint_muscles(self, canvas: Canvas, to_scanner: Matrix4) -> None:
        """Paint the muscles on both sides of the iliac wings."""
        window = canvas.window(to_scanner, *self.bounds())
        if window is not None:
            canvas.paint(window, self.ilium_distance(canvas.coordinates(to_scanner, window)) - 11.0, MUSCLE_HU)

    def paint(self, canvas: Canvas, to_scanner: Matrix4, marrow_hu: float) -> None:
        """Paint sacrum and wings; `to_scanner` comes from the anatomy's frame as the pelvis moves."""
        window = canvas.window(to_scanner, *self.bounds())
        if window is None:
            return
        points = canvas.coordinates(to_scanner, window)
        texture = 22.0 * Waves(self.texture_seed, TRABECULAR_WAVES_MM, 4)(points)
        for distance, cortex_mm in ((self.sacrum_distance(points), 1.2), (self.ilium_distance(points), 1.6)):
            canvas.paint_layers(window, distance, ((0.0, ARCH_CORTEX_HU), (cortex_mm, marrow_hu + 20.0 + texture)))
