"""How a patient lies: as one piece, and in the joints of the spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imaging_pipeline.domain.geometry import Matrix
from imaging_pipeline.phantom.canvas import Canvas, Matrix4, Window
from imaging_pipeline.phantom.shapes import Coordinates, step
from imaging_pipeline.phantom.skeleton import LUMBAR, Vertebra

#: The pieces that move as one: the pelvis, five lumbar vertebrae, and everything from the twelfth thoracic upwards.
PELVIS, THORAX = "pelvis", "thorax"


def rotation(about: int, angle_rad: float) -> Matrix4:
    """A 4 x 4 rotation about an axis through the origin (0 left, 1 posterior, 2 superior)."""
    matrix = np.eye(4)
    first, second = [axis for axis in range(3) if axis != about]
    sine = np.sin(angle_rad) * (-1.0 if about != 1 else 1.0)
    matrix[first, first] = matrix[second, second] = np.cos(angle_rad)
    matrix[first, second], matrix[second, first] = sine, -sine
    return matrix


def about_point(turn: Matrix4, point: ArrayLike) -> Matrix4:
    """A rotation about a point instead of the origin."""
    matrix = turn.copy()
    matrix[:3, 3] = np.asarray(point) - turn[:3, :3] @ np.asarray(point)
    return matrix


@dataclass(frozen=True, slots=True)
class Posture:
    """One way to lie.

    `body` moves the anatomy's frame to the scanner's LPS; each of the six joints
    from L5/S1 to T12/L1 bends forward by `flexion_deg`; breathing in lowers the
    diaphragm.
    """

    body: Matrix
    flexion_deg: tuple[float, ...]
    arms_up: bool
    breath_mm: float

    def pieces(self, vertebrae: tuple[Vertebra, ...]) -> dict[str, Matrix4]:
        """For each moving piece the map from the anatomy's frame to the scanner's."""
        centres = {vertebra.name: np.array(vertebra.centre) for vertebra in vertebrae}
        chain = [*LUMBAR, "T12"]
        below = 2 * centres["L5"] - centres["L4"]
        moved = np.array(self.body)
        pieces = {PELVIS: moved}
        for name, angle in zip(chain, self.flexion_deg, strict=True):
            joint = (below + centres[name]) / 2
            moved = moved @ about_point(rotation(0, float(np.radians(angle))), joint)
            pieces[THORAX if name == "T12" else name] = moved
            below = centres[name]
        return pieces


def piece_of(bone: str) -> str:
    """The moving piece a vertebra or other bone belongs to."""
    return bone if bone in LUMBAR or bone == PELVIS else THORAX


def soft_points(
    canvas: Canvas, window: Window, pelvis: Matrix4, thorax: Matrix4, bend_mm: tuple[float, float]
) -> Coordinates:
    """Anatomical coordinates of soft tissue: with the pelvis below, with the thorax above, blended over the loin."""
    low = canvas.coordinates(pelvis, window)
    if float(low[2].max()) <= bend_mm[0]:
        return low
    high = canvas.coordinates(thorax, window)
    if float(low[2].min()) >= bend_mm[1]:
        return high
    share = step(low[2], *bend_mm)
    x, y, z = (lower + share * (upper - lower) for lower, upper in zip(low, high, strict=True))
    return x, y, z
