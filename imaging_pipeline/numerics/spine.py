"""A vertebral body's own axes, its faces and its heights, from lines through the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.numerics.pyramid import Level

#: Cortical bone of a wall or endplate is at least this dense even when blurred; what it borders is at most that dense.
SHELL_HU = 200.0
BESIDE_SHELL_HU = 130.0
#: Half the thickness of an endplate or wall: from the middle of what is seen to its outer face.
HALF_SHELL_MM = 0.7
#: Bodies lie within this distance of their middle.
LONGEST_HALF_MM = 36.0
STEP_MM = 0.25
#: Where a body's faces are looked for, in shares of half its depth, and at how many of them they must show.
FACE_PLACES = np.linspace(-0.8, 0.8, 9)
FEWEST_PLACES = 6
#: The steepest tilt of a body against the line between its neighbours that is believed: 20 degrees.
STEEPEST_TILT = 0.36

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """A vertebral body's own axes in LPS, its middle, its height there, and half its depth from front to back."""

    middle: Vector
    upwards: Vector
    backwards: Vector
    sideways: Vector
    height_mm: float = 0.0
    half_depth_mm: float = 0.0


def body_frame(image: Level, upwards: Vector, near: Vector) -> Frame | None:
    """The frame of the vertebral body around a point: its middle half-way between its faces, upwards its own axis.

    Parameters
    ----------
    image : a CT around the body.
    upwards : (3,) unit vector along the spine.
    near : (3,) a point near the body's middle, in LPS mm.

    Returns
    -------
    Frame or None
        None where an endplate, the front or the back does not show.
    """
    frame = _frame_along(image, upwards, near)
    for _ in range(2):
        if frame is None:
            return None
        leaning = _frame_along(image, frame.upwards - _tilt(image, frame) * frame.backwards, frame.middle)
        # Where faces do not show along its own axis, the spine's is as good.
        frame = leaning or frame
    return frame


def _frame_along(image: Level, direction: Vector, near: Vector) -> Frame | None:
    upwards = direction / np.linalg.norm(direction)
    left = np.array([1.0, 0.0, 0.0])
    sideways = left - (left @ upwards) * upwards
    sideways /= np.linalg.norm(sideways)
    backwards = np.cross(upwards, sideways)
    top, bottom = (_face_mm(image, near, way, (sideways, backwards), (4.0, 2.0)) for way in (upwards, -upwards))
    if not np.isfinite(top + bottom):
        return None
    middle = near + 0.5 * (top - bottom) * upwards
    back, front = (_face_mm(image, middle, way, (sideways, upwards), (4.0, 2.0)) for way in (backwards, -backwards))
    if not np.isfinite(back + front):
        return None
    middle = middle + 0.5 * (back - front) * backwards
    return Frame(middle, upwards, backwards, sideways, top + bottom, 0.5 * (back + front))


def _tilt(image: Level, frame: Frame) -> float:
    """Rise of a body's mid-plane, half-way between its faces, from front to back; 0 where the faces do not show."""
    top, bottom = _faces(image, frame)
    rise = 0.0 if top is None or bottom is None else 0.5 * (top[1] - bottom[1]) / frame.half_depth_mm
    return float(np.clip(rise, -STEEPEST_TILT, STEEPEST_TILT))


def heights_mm(image: Level, frame: Frame, places: tuple[float, ...]) -> Vector:
    """Outer heights of a body in mid-plane, at shares of its depth from front to back; NaN if not shown.

    Each face is taken as a parabola through many places: between thick slices one place alone is seen nowhere.
    """
    top, bottom = _faces(image, frame)
    if top is None or bottom is None:
        return np.full(len(places), np.nan)
    return np.asarray(np.polynomial.polynomial.polyval(2.0 * np.array(places) - 1.0, top + bottom))


def _faces(image: Level, frame: Frame) -> list[Vector | None]:
    """Parabolas of the upper and the lower face over the depth, -1 in front to 1 behind, as distances from mid-height.

    None for a face of which too little shows.
    """
    starts = [frame.middle + share * frame.half_depth_mm * frame.backwards for share in FACE_PLACES]
    found: list[Vector | None] = []
    for way in (frame.upwards, -frame.upwards):
        away = np.array(
            [_face_mm(image, start, way, (frame.sideways, frame.backwards), (3.0, 1.0)) for start in starts]
        )
        shown = np.isfinite(away)
        enough = np.count_nonzero(shown) >= FEWEST_PLACES
        fit = np.polynomial.polynomial.polyfit(FACE_PLACES[shown], away[shown], 2) if enough else None
        found.append(fit)
    return found


def _face_mm(
    image: Level, start: Vector, along: Vector, across: tuple[Vector, Vector], half_widths_mm: tuple[float, float]
) -> float:
    """How far from a point a body's outer face lies, over a bundle of parallel lines; NaN if not shown."""
    steps = np.arange(0.0, LONGEST_HALF_MM, STEP_MM)
    first, second = (np.linspace(-width, width, int(2 * width) + 1) for width in half_widths_mm)
    bundle = first[:, None, None] * across[0] + second[None, :, None] * across[1]
    points = start + bundle.reshape(-1, 1, 3) + steps[:, None] * along
    values, _ = image.sampled(points.reshape(-1, 3))
    profile = ndimage.gaussian_filter1d(values.reshape(-1, len(steps)).mean(axis=0), 0.3 / STEP_MM)
    return _shell_mm(profile) + HALF_SHELL_MM


def _shell_mm(profile: NDArray[np.float32]) -> float:
    """Where along a profile outwards the first shell lies that something less dense follows; NaN without."""
    near, beyond = int(2.0 / STEP_MM), int(5.0 / STEP_MM)
    highest = ndimage.maximum_filter1d(profile, 2 * near + 1)
    lowest_after = np.array([profile[place : place + beyond].min() for place in range(len(profile))])
    shells = np.flatnonzero((profile == highest) & (profile > SHELL_HU) & (lowest_after < BESIDE_SHELL_HU))
    shells = shells[(shells * STEP_MM > 4.0) & (shells < len(profile) - beyond)]
    if not shells.size:
        return float("nan")
    peak = int(shells[0])
    half = 0.5 * (profile[peak] + lowest_after[peak])
    part = profile[peak - 2 * near : peak + beyond]
    weight = np.clip(part - half, 0.0, None)
    # Only the hump around the peak itself.
    own, _ = ndimage.label(weight > 0.0)
    weight = np.where(own == own[2 * near], weight, 0.0)
    return float((weight * np.arange(len(part))).sum() / weight.sum() + peak - 2 * near) * STEP_MM
