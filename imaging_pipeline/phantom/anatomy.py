"""One person's anatomy, drawn at random within normal bounds, and painted on a plane."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from imaging_pipeline.phantom.canvas import Canvas, Pixels
from imaging_pipeline.phantom.posture import PELVIS, THORAX, Posture, piece_of, soft_points
from imaging_pipeline.phantom.shapes import Triple
from imaging_pipeline.phantom.skeleton import LUMBAR, THORACIC, Pelvis, SpineCurve, Vertebra, paint_disc
from imaging_pipeline.phantom.thorax import Cage, Chest
from imaging_pipeline.phantom.trunk import Loop, Trunk

#: Height of body and disc together, body width, depth and height, in mm, from L5 to T1.
#: Of the order of published morphometry (Panjabi 1991, 1992): a plausible woman, not a statistic.
_PITCH_MM = (35.0, 36.5, 36.5, 35.5, 34.0, 31.0, 29.0, 27.5, 26.5, 25.5, 25.0, 24.5, 24.0, 23.5, 22.5, 21.5, 21.0)
_WIDTH_MM = (51.0, 50.0, 47.0, 44.5, 42.5, 40.0, 37.5, 35.0, 33.0, 31.5, 30.0, 29.0, 28.0, 27.5, 27.5, 29.0, 31.0)
_DEPTH_MM = (35.0, 35.0, 34.0, 33.0, 32.0, 31.0, 30.0, 29.0, 28.5, 27.5, 26.5, 25.0, 24.0, 22.5, 21.0, 20.0, 18.5)
_HEIGHT_MM = (27.5, 28.0, 27.5, 27.0, 26.0, 24.0, 22.5, 21.5, 20.5, 20.0, 19.5, 19.0, 18.5, 18.0, 17.5, 17.0, 16.0)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One person. The frame: LPS axes, millimetres, origin in the middle of the body of L4, standing straight."""

    vertebrae: tuple[Vertebra, ...]
    pelvis: Pelvis
    chest: Chest
    trunk: Trunk

    @property
    def cage(self) -> Cage:
        """The chest's cage."""
        return self.chest.cage

    def vertebra(self, name: str) -> Vertebra:
        """A vertebra by its name."""
        return next(vertebra for vertebra in self.vertebrae if vertebra.name == name)

    @property
    def bend_mm(self) -> tuple[float, float]:
        """Heights between which soft tissue passes from the pelvis's movement to the thorax's."""
        return self.vertebra("L5").centre[2] - 18.0, self.vertebra("T12").centre[2]

    def paint_soft(self, canvas: Canvas, posture: Posture, bowel: tuple[Loop, ...]) -> Pixels:
        """Paint soft tissue, lungs and vessels; returns the pixels near the cage, where ribs may lie."""
        pieces = posture.pieces(self.vertebrae)
        pelvis, thorax = pieces[PELVIS], pieces[THORAX]
        window = canvas.window(thorax, *self.trunk.bounds())
        if window is None:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
        points = soft_points(canvas, window, pelvis, thorax, self.bend_mm)
        at = self.cage.locate(points)
        self.trunk.paint_outside(canvas, window, points, at, thorax, posture.arms_up)
        self.trunk.paint_organs(canvas, thorax, self.chest.diaphragm_z_mm - posture.breath_mm, bowel)
        self.chest.paint(canvas, window, points, at, thorax, posture.breath_mm)
        self.trunk.paint_core(canvas, window, points, at)
        self.pelvis.paint_muscles(canvas, pelvis)
        rows, columns = np.nonzero(np.abs(at.outside - 9.0) < 22.0)
        return rows + window[0].start, columns + window[1].start

    def paint_bones(self, canvas: Canvas, posture: Posture, marrow_hu: float, near_cage: Pixels) -> None:
        """Paint bones, cartilage and discs."""
        pieces = posture.pieces(self.vertebrae)
        thorax = pieces[THORAX]
        points = canvas.coordinates_of(thorax, near_cage)
        at = self.cage.locate(points)
        self.cage.paint_ribs(canvas, near_cage, points, at)
        self.chest.paint_girdle(canvas, near_cage, points, at, thorax, posture.arms_up)
        self.pelvis.paint(canvas, pieces[PELVIS], marrow_hu)
        frames = {vertebra.name: pieces[piece_of(vertebra.name)] @ vertebra.frame for vertebra in self.vertebrae}
        for vertebra in self.vertebrae:
            paint_disc(canvas, frames[vertebra.name], vertebra)
        for vertebra in self.vertebrae:
            vertebra.paint(canvas, frames[vertebra.name], marrow_hu)


def draw_anatomy(random: Generator, flattened: str = "") -> Anatomy:
    """A person of random build: every vertebral pitch and size, the spine's curves, cage, fat and lung vessels.

    The vertebra `flattened` has lost a tenth of its height at the front, or a little more.
    """
    spine = SpineCurve(random.uniform(17, 22), random.uniform(18, 24), random.uniform(2, 18), random.uniform(262, 285))
    vertebrae = tuple(
        replace(vertebra, wedge=random.uniform(0.10, 0.14)) if vertebra.name == flattened else vertebra
        for vertebra in _draw_vertebrae(random, spine)
    )
    heights = {vertebra.name: vertebra.centre[2] for vertebra in vertebrae}
    roots = tuple(heights[f"T{number}"] + 5.0 for number in range(1, 13))
    cage = Cage(
        spine,
        random.uniform(124, 134),
        random.uniform(84, 92),
        heights["T11"] + random.uniform(-4, 8),
        roots[0] + random.uniform(6, 10),
        roots,
    )
    diaphragm = heights["T10"] + random.uniform(-6, 8)
    chest = Chest(cage, diaphragm, _draw_vessels(random, diaphragm, spine), _seed(random))
    trunk = Trunk(cage, random.uniform(30, 42), random.uniform(26, 40), roots[0] + 30.0, _seed(random))
    sacrum = heights["L5"] - random.uniform(33, 36)
    pelvis = Pelvis(
        float(spine.posterior(np.array(sacrum))) + 4.0, sacrum, heights["L5"] + random.uniform(10, 20), _seed(random)
    )
    return Anatomy(vertebrae, pelvis, chest, trunk)


def _draw_vertebrae(random: Generator, spine: SpineCurve) -> tuple[Vertebra, ...]:
    size = random.uniform(0.95, 1.03)
    pitch = np.array(_PITCH_MM) * size * random.uniform(0.96, 1.04, len(_PITCH_MM))
    # Origin at L4, the second from below.
    heights = np.concatenate(([-pitch[0]], [0.0], np.cumsum(pitch[1:-1])))
    vertebrae = []
    for index, name in enumerate((*LUMBAR, *THORACIC)):
        z = float(heights[index])
        y = float(spine.posterior(np.array(z)))
        jitter = random.uniform(0.97, 1.03, 3)
        vertebrae.append(
            Vertebra(
                name,
                (float(random.uniform(-1.0, 1.0)) if name != "L4" else 0.0, y, z),
                spine.tilt_rad(z),
                _WIDTH_MM[index] * size * float(jitter[0]),
                _DEPTH_MM[index] * size * float(jitter[1]),
                _HEIGHT_MM[index] * size * float(jitter[2]),
                float(random.uniform(1.0, 1.5)),
                _seed(random),
            )
        )
    return tuple(vertebrae)


def _draw_vessels(random: Generator, diaphragm: float, spine: SpineCurve) -> tuple[tuple[Triple, Triple, float], ...]:
    vessels = []
    for side in (-1.0, 1.0):
        hilum_z = diaphragm + 95.0
        hilum = (side * 36.0, float(spine.posterior(np.array(hilum_z))) - 40.0, hilum_z)
        for _ in range(16):
            end = (
                side * float(random.uniform(60, 112)),
                hilum[1] + float(random.uniform(-55, 70)),
                hilum_z + float(random.uniform(-75, 85)),
            )
            vessels.append((hilum, end, float(random.uniform(2.2, 4.5))))
    return tuple(vessels)


def draw_bowel(random: Generator, spine: SpineCurve) -> tuple[Loop, ...]:
    """Bowel as it happens to lie on one day."""
    loops = []
    for z in range(-100, 150, 22):
        for _ in range(4):
            centre = (
                float(random.uniform(-88, 88)),
                float(spine.posterior(np.array(float(z)))) - float(random.uniform(70, 125)),
                z + float(random.uniform(-8, 8)),
            )
            semi = (float(random.uniform(14, 26)), float(random.uniform(11, 18)), float(random.uniform(14, 26)))
            loops.append(Loop(centre, semi, float(random.choice((0.0, 0.0, 0.6, 1.0)))))
    return tuple(loops)


def _seed(random: Generator) -> int:
    return int(random.integers(2**31))
