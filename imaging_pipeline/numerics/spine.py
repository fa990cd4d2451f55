"""A vertebral body's own axes, its faces and its heights, from lines through the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares

from imaging_pipeline.numerics.pyramid import Level

#: Cortical bone of a wall or endplate is at least this dense even when blurred; what it borders is at most that dense.
SHELL_HU = 200.0
BESIDE_SHELL_HU = 130.0
#: Half the thickness of an endplate or wall: from the middle of what is seen to its outer face.
HALF_SHELL_MM = 0.7
#: A face is fitted to the voxels this far inwards and outwards of it, this far to the front and back and to the sides,
#: in shares of half the depth, at steps of about this.
FACE_INWARDS_MM, FACE_OUTWARDS_MM = 5.0, 3.5
FACE_BACK, FACE_ASIDE = 0.85, 0.8
FACE_STEP_MM = 1.0
#: Bodies are so much wider than deep.
WIDER = 1.4
#: The middle of a body is known beforehand to this distance.
FARTHEST_OFF_MM = 10.0
#: An endplate's rise from front to back, its hollow and its rise to the side, in mm over half the depth: as usual, and
#: their spread. What is unusual weighs as much as this; voxels farther off than that count less and less.
USUAL_FACE, FACE_SPREAD = np.array([0.0, 1.5, 0.0]), np.array([1.0, 0.7, 1.0])
USUAL_WEIGHT_HU = 100.0
OUTLIER_HU = 40.0
#: A face found line by line between thick slices may be off by this.
FACE_SHIFTS_MM = np.arange(-1.5, 2.0, 0.5)
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
    """A vertebral body's own axes in LPS, its middle, its height there, half its depth and half its width."""

    middle: Vector
    upwards: Vector
    backwards: Vector
    sideways: Vector
    height_mm: float = 0.0
    half_depth_mm: float = 0.0
    half_width_mm: float = 0.0


def body_frame(image: Level, upwards: Vector, near: Vector, usual_mm: float = 0.0) -> Frame | None:
    """The frame of the vertebral body around a point: its middle half-way between its faces, upwards its own axis.

    Parameters
    ----------
    image : a CT around the body.
    upwards : (3,) unit vector along the spine.
    near : (3,) a point near the body's middle, in LPS mm.
    usual_mm : half the width of its neighbours, where one of its own side walls may be gone.

    Returns
    -------
    Frame or None
        None where an endplate, the front or the back does not show.
    """
    frame = _frame_along(image, upwards, near, usual_mm)
    for _ in range(2):
        if frame is None:
            return None
        leaning = _frame_along(image, frame.upwards - _tilt(image, frame) * frame.backwards, frame.middle, usual_mm)
        # Where faces do not show along its own axis, the spine's is as good.
        frame = leaning or frame
    return frame


def _frame_along(image: Level, direction: Vector, near: Vector, usual_mm: float) -> Frame | None:
    upwards = direction / np.linalg.norm(direction)
    leftwards = np.array([1.0, 0.0, 0.0])
    sideways = leftwards - (leftwards @ upwards) * upwards
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
    left, right = (_face_mm(image, middle, way, (backwards, upwards), (4.0, 2.0)) for way in (sideways, -sideways))
    half_width_mm = usual_mm or 0.5 * (left + right)
    # Where a lesion took a side wall none is found, or another bone's; the other wall tells the middle as well.
    aside = [mm for mm in (left - half_width_mm, half_width_mm - right) if abs(mm) < FARTHEST_OFF_MM]
    middle = middle + (np.mean(aside) if aside else 0.0) * sideways
    return Frame(middle, upwards, backwards, sideways, top + bottom, 0.5 * (back + front), half_width_mm)


def _tilt(image: Level, frame: Frame) -> float:
    """Rise of a body's mid-plane, half-way between its faces, from front to back; 0 where the faces do not show."""
    top, bottom = _faces(image, frame)
    rise = 0.0 if top is None or bottom is None else 0.5 * (top[1] - bottom[1]) / frame.half_depth_mm
    return float(np.clip(rise, -STEEPEST_TILT, STEEPEST_TILT))


def heights_mm(image: Level, frame: Frame, places: tuple[float, ...]) -> Vector:
    """Outer heights of a body in mid-plane, at shares of its depth from front to back; NaN if not shown."""
    rough = _faces(image, frame)
    if rough[0] is None or rough[1] is None:
        return np.full(len(places), np.nan)
    top = _settled(image, frame, frame.upwards, rough[0])
    bottom = _settled(image, frame, -frame.upwards, rough[1])
    return np.asarray(np.polynomial.polynomial.polyval(2.0 * np.array(places) - 1.0, top + bottom))


def _settled(image: Level, frame: Frame, way: Vector, rough: Vector) -> Vector:
    """A face's parabola in mid-plane, from one found line by line, as all voxels near it bear it out.

    A slice shows the mean over its thickness. Where in it an endplate lies is told by the shares of bone and disc
    beside the plate, and by how these change as the face rises through the slices; so the slices are computed from a
    hollow, tilted face between bone, shell and disc of one density each, and compared with those seen.
    """
    aside, back, along, values = _near_face(image, frame, way, rough)
    # Along the spine voxels are as thick as they lie apart, whichever way the slices run.
    half_mm = 0.5 * float(np.abs(way @ image.grid.matrix[:3, :3]).max())

    def misfit(face: Vector) -> Vector:
        rise = face[0] + face[1] * back + face[2] * (back**2 + (aside / WIDER) ** 2) + face[3] * aside
        within = along - rise
        seen = (_up_to(within + half_mm) - _up_to(within - half_mm)) / (2.0 * half_mm)
        densities = np.linalg.lstsq(seen, values, rcond=None)[0]
        unusual = USUAL_WEIGHT_HU * (face[1:] - USUAL_FACE) / FACE_SPREAD
        return np.concatenate([seen @ densities - values, unusual])

    starts = [np.array([rough[0] + shift, rough[1], rough[2], 0.0]) for shift in FACE_SHIFTS_MM]
    start = min(starts, key=lambda face: float(np.hypot(misfit(face), OUTLIER_HU).sum()))
    return np.asarray(least_squares(misfit, start, loss="soft_l1", f_scale=OUTLIER_HU, max_nfev=30).x[:3])


def _near_face(image: Level, frame: Frame, way: Vector, rough: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """Voxels near a face: aside and back in shares of half the depth, how far along the way, CT number."""
    heights = np.polynomial.polynomial.polyval(np.linspace(-1.0, 1.0, 5), rough)
    corners = [
        frame.middle
        + share * FACE_ASIDE * frame.half_depth_mm * frame.sideways
        + depth * frame.backwards
        + height * way
        for share in (-1.0, 1.0)
        for depth in (-frame.half_depth_mm, frame.half_depth_mm)
        for height in (heights.min() - FACE_INWARDS_MM, heights.max() + FACE_OUTWARDS_MM)
    ]
    steps = (1, *(max(1, round(FACE_STEP_MM / mm)) for mm in image.grid.spacing_mm[1:]))
    box = image.grid.box_around(np.array(corners), 0.0)
    axes = (np.arange(part.start, part.stop, step) for part, step in zip(box, steps, strict=True))
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    offset = image.grid.to_lps(index) - frame.middle
    aside, back = offset @ frame.sideways / frame.half_depth_mm, offset @ frame.backwards / frame.half_depth_mm
    along = offset @ way
    beyond = along - np.polynomial.polynomial.polyval(back, rough)
    near = (np.abs(aside) <= FACE_ASIDE) & (np.abs(back) <= FACE_BACK)
    near &= (beyond > -FACE_INWARDS_MM) & (beyond < FACE_OUTWARDS_MM)
    return aside[near], back[near], along[near], image.array[tuple(index[near].T)].astype(np.float64)


def _up_to(beyond_mm: Vector) -> Vector:
    """Integrals (N, 3) to a distance beyond a face: of a disc, of what bone has more than it, of what the shell has."""
    return np.stack([beyond_mm, np.minimum(beyond_mm, 0.0), np.clip(beyond_mm, -2.0 * HALF_SHELL_MM, 0.0)], axis=-1)


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
