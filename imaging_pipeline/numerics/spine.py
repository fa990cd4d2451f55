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
#: That shows within this distance of the middle of a shell, or of the first of two slices that share it.
BESIDE_MM = 5.0
TWO_SLICES = 2.2
#: Gas in a disc is at least this dense when the disc's mean is taken.
THINNEST_DISC_HU = -150.0
#: Half the thickness of an endplate or wall: from the middle of what is seen to its outer face; as it may be.
HALF_SHELL_MM = 0.7
HALF_SHELLS_MM = (0.3, 1.0)
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
#: their spread. What is unusual weighs as much as this; voxels farther off than that count less and less. A hollow so
#: many times the spread off is none.
USUAL_FACE, FACE_SPREAD = np.array([0.0, 1.5, 0.0]), np.array([1.0, 0.7, 1.0])
USUAL_WEIGHT_HU = 1000.0
OUTLIER_HU = 40.0
UNUSUAL = 4.0
#: A face found line by line between thick slices may be off by this: each is a start, and the best fit is taken.
FACE_SHIFTS_MM = (-1.2, 0.0, 1.2)
#: Walls lie within this distance of a body's middle, and no face nearer to it than this.
LONGEST_HALF_MM = 36.0
NEAREST_FACE_MM = 1.5
STEP_MM = 0.25
#: Where a body's faces are looked for, in shares of half its depth. A face shows where it is found this near to where
#: the others say, and it must at so many of them.
FACE_PLACES = np.linspace(-0.8, 0.8, 9)
FACE_SCATTER_MM = 1.5
FEWEST_PLACES = 6
#: The steepest tilt of a body against the line between its neighbours that is believed: 20 degrees.
STEEPEST_TILT = 0.36

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """A vertebral body's own axes in LPS, its middle, its height there, half its depth and half its width.

    `reach_mm` is how far from its middle a face may lie.
    """

    middle: Vector
    upwards: Vector
    backwards: Vector
    sideways: Vector
    height_mm: float = 0.0
    half_depth_mm: float = 0.0
    half_width_mm: float = 0.0
    reach_mm: float = LONGEST_HALF_MM


def body_frame(
    image: Level, upwards: Vector, near: Vector, reach_mm: float = LONGEST_HALF_MM, usual_mm: float = 0.0
) -> Frame | None:
    """The frame of the vertebral body around a point: its middle half-way between its faces, upwards its own axis.

    Parameters
    ----------
    image : a CT around the body.
    upwards : (3,) unit vector along the spine.
    near : (3,) a point near the body's middle, in LPS mm.
    reach_mm : how far from its middle a face may lie; what shows beyond is another body's.
    usual_mm : half the width of its neighbours, where one of its own side walls may be gone.

    Returns
    -------
    Frame or None
        None where an endplate, the front or the back does not show, or the body would lean as none does.
    """
    frame = _frame_along(image, upwards, near, reach_mm, usual_mm)
    for _ in range(2):
        if frame is None:
            return None
        leant = frame.upwards - _tilt(image, frame) * frame.backwards
        leaning = _frame_along(image, leant, frame.middle, reach_mm, usual_mm)
        # Where faces do not show along its own axis, the spine's is as good.
        frame = leaning or frame
    return frame if frame is not None and frame.upwards @ upwards > np.cos(STEEPEST_TILT) else None


def _frame_along(image: Level, direction: Vector, near: Vector, reach_mm: float, usual_mm: float) -> Frame | None:
    upwards = direction / np.linalg.norm(direction)
    leftwards = np.array([1.0, 0.0, 0.0])
    sideways = leftwards - (leftwards @ upwards) * upwards
    sideways /= np.linalg.norm(sideways)
    backwards = np.cross(upwards, sideways)
    top, bottom = (
        _face_mm(image, near, way, (sideways, backwards), (4.0, 2.0), reach_mm) for way in (upwards, -upwards)
    )
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
    return Frame(middle, upwards, backwards, sideways, top + bottom, 0.5 * (back + front), half_width_mm, reach_mm)


def _tilt(image: Level, frame: Frame) -> float:
    """Rise of a body's mid-plane, half-way between its faces, from front to back; 0 where the faces do not show."""
    top, bottom = _faces(image, frame)
    rise = 0.0 if top is None or bottom is None else 0.5 * (top[1] - bottom[1]) / frame.half_depth_mm
    return float(np.clip(rise, -STEEPEST_TILT, STEEPEST_TILT))


def heights_mm(
    image: Level, frame: Frame, places: tuple[float, ...], healthy: NDArray[np.bool_], cortical_hu: float
) -> Vector:
    """Outer heights of a body in mid-plane, at shares of its depth from front to back; NaN if not shown.

    Parameters
    ----------
    image : a CT around the body.
    frame : of the body.
    places : shares of its depth.
    healthy : (S, R, C) boolean, the voxels outside every lesion: only these tell where a face lies.
    cortical_hu : CT number of cortical bone.
    """
    total = np.zeros(3)
    for way, rough in zip((frame.upwards, -frame.upwards), _faces(image, frame), strict=True):
        if rough is None:
            return np.full(len(places), np.nan)
        total += _settled(_near_face(image, frame, way, rough, healthy), rough, cortical_hu)
    return np.asarray(np.polynomial.polynomial.polyval(2.0 * np.array(places) - 1.0, total))


@dataclass(frozen=True, eq=False)
class _Beside:
    """Voxels (N,) near a face: aside and back in shares of half the depth, how far along the way, CT number.

    Along the spine they are as thick as they lie apart, whichever way the slices run.
    """

    aside: Vector
    back: Vector
    along: Vector
    values: Vector
    thick_mm: float

    def shares(self, face: Vector) -> Vector:
        """What of each voxel (N, 3) is disc, bone instead of it, and shell, were this the face."""
        rise = face[0] + face[1] * self.back + face[2] * (self.back**2 + (self.aside / WIDER) ** 2)
        beyond = self.along - rise - face[3] * self.aside
        return np.asarray((_up_to(beyond + 0.5 * self.thick_mm) - _up_to(beyond - 0.5 * self.thick_mm)) / self.thick_mm)

    def densities(self, face: Vector) -> Vector:
        """CT numbers of disc, bone and shell, the latter two as what they add, that fit best."""
        return np.asarray(np.linalg.lstsq(self.shares(face), self.values, rcond=None)[0])

    def misfit(self, face: Vector) -> Vector:
        """How far off the voxels are, and how unusual the face is."""
        unusual = USUAL_WEIGHT_HU * (face[1:] - USUAL_FACE) / FACE_SPREAD
        return np.concatenate([self.shares(face) @ self.densities(face) - self.values, unusual])


def _settled(beside: _Beside, rough: Vector, cortical_hu: float) -> Vector:
    """A face's parabola in mid-plane, from one found line by line, as all voxels near it bear it out; NaN if not shown.

    A slice shows the mean over its thickness. Where in it an endplate lies is told by the shares of bone and disc
    beside the plate, and by how these change as the face rises through the slices; so the slices are computed from a
    hollow, tilted face between bone, shell and disc of one density each, and compared with those seen.
    """
    starts = ([rough[0] + shift, rough[1], rough[2], 0.0] for shift in FACE_SHIFTS_MM)
    fits = [least_squares(beside.misfit, start, loss="soft_l1", f_scale=OUTLIER_HU, max_nfev=30) for start in starts]
    fits = [fit for fit in fits if _is_endplate(fit.x, beside.densities(fit.x))]
    if not fits:
        return np.full(3, np.nan)
    face = np.asarray(min(fits, key=lambda fit: fit.cost).x)
    disc_hu, more_hu, shell_hu = beside.densities(face)
    # Blur and thick slices keep a plate's integral, not its thickness. Source: Treece 2010 (cortical bone mapping).
    half_shell_mm = HALF_SHELL_MM * shell_hu / max(cortical_hu - disc_hu - more_hu, 1.0)
    face[0] += np.clip(half_shell_mm, *HALF_SHELLS_MM) - HALF_SHELL_MM
    return face[:3]


def _is_endplate(face: Vector, densities_hu: Vector) -> bool:
    """Whether a face is as hollow as endplates are, and its shell denser than the bone within and the disc beyond."""
    disc_hu, more_hu, shell_hu = densities_hu
    hollow = abs(face[2] - USUAL_FACE[1]) < UNUSUAL * FACE_SPREAD[1]
    return bool(hollow and THINNEST_DISC_HU < disc_hu < BESIDE_SHELL_HU and disc_hu + more_hu + shell_hu > SHELL_HU)


def _near_face(image: Level, frame: Frame, way: Vector, rough: Vector, healthy: NDArray[np.bool_]) -> _Beside:
    """The healthy voxels near a face."""
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
    near = healthy[tuple(index.T)] & (np.abs(aside) <= FACE_ASIDE) & (np.abs(back) <= FACE_BACK)
    near &= (beyond > -FACE_INWARDS_MM) & (beyond < FACE_OUTWARDS_MM)
    values = image.array[tuple(index[near].T)].astype(np.float64)
    return _Beside(aside[near], back[near], along[near], values, _step_mm(image, way))


def _up_to(beyond_mm: Vector) -> Vector:
    """Integrals (N, 3) to a distance beyond a face: of a disc, of what bone has more than it, of what the shell has."""
    return np.stack([beyond_mm, np.minimum(beyond_mm, 0.0), np.clip(beyond_mm, -2.0 * HALF_SHELL_MM, 0.0)], axis=-1)


def _faces(image: Level, frame: Frame) -> list[Vector | None]:
    """Parabolas of the upper and the lower face over the depth, -1 in front to 1 behind, as distances from mid-height.

    None for a face of which too little shows.
    """
    starts = [frame.middle + share * frame.half_depth_mm * frame.backwards for share in FACE_PLACES]
    across = (frame.sideways, frame.backwards)
    return [
        _parabola(np.array([_face_mm(image, start, way, across, (3.0, 1.0), frame.reach_mm) for start in starts]))
        for way in (frame.upwards, -frame.upwards)
    ]


def _parabola(away_mm: Vector) -> Vector | None:
    """The usual face through distances found at `FACE_PLACES`, single ones astray; None where too few agree."""
    shown = np.isfinite(away_mm)
    if np.count_nonzero(shown) < FEWEST_PLACES:
        return None
    basis = np.polynomial.polynomial.polyvander(FACE_PLACES[shown], 2)
    away_mm = away_mm[shown]

    def misfit(face: Vector) -> Vector:
        return np.concatenate([basis @ face - away_mm, (face[1:] - USUAL_FACE[:2]) / FACE_SPREAD[:2]])

    start = np.array([np.median(away_mm - basis[:, 1:] @ USUAL_FACE[:2]), *USUAL_FACE[:2]])
    face = least_squares(misfit, start, loss="cauchy", f_scale=0.5).x
    agreeing = np.abs(basis @ face - away_mm) < FACE_SCATTER_MM
    return np.asarray(face) if np.count_nonzero(agreeing) >= FEWEST_PLACES else None


def _face_mm(
    image: Level,
    start: Vector,
    along: Vector,
    across: tuple[Vector, Vector],
    half_widths_mm: tuple[float, float],
    reach_mm: float = LONGEST_HALF_MM,
) -> float:
    """How far from a point a body's outer face lies, over a bundle of parallel lines; NaN if not shown."""
    # A plate that two slices share is followed by what borders it only after both.
    beside_mm = max(BESIDE_MM, TWO_SLICES * _step_mm(image, along))
    steps = np.arange(0.0, reach_mm + beside_mm, STEP_MM)
    first, second = (np.linspace(-width, width, int(2 * width) + 1) for width in half_widths_mm)
    bundle = first[:, None, None] * across[0] + second[None, :, None] * across[1]
    points = start + bundle.reshape(-1, 1, 3) + steps[:, None] * along
    values, _ = image.sampled(points.reshape(-1, 3))
    profile = ndimage.gaussian_filter1d(values.reshape(-1, len(steps)).mean(axis=0), 0.3 / STEP_MM)
    return _shell_mm(profile, beside_mm) + HALF_SHELL_MM


def _step_mm(image: Level, way: Vector) -> float:
    """How far apart voxels lie along a direction, and how thick they are, whichever way the slices run."""
    return float(np.abs(way @ image.grid.matrix[:3, :3]).max())


def _shell_mm(profile: NDArray[np.float32], beside_mm: float) -> float:
    """Where along a profile outwards the first shell lies that something less dense follows; NaN without."""
    near, beyond = int(2.0 / STEP_MM), int(beside_mm / STEP_MM)
    highest = ndimage.maximum_filter1d(profile, 2 * near + 1)
    lowest_after = np.array([profile[place : place + beyond].min() for place in range(len(profile))])
    shells = np.flatnonzero((profile == highest) & (profile > SHELL_HU) & (lowest_after < BESIDE_SHELL_HU))
    shells = shells[(shells * STEP_MM > NEAREST_FACE_MM) & (shells < len(profile) - beyond)]
    if not shells.size:
        return float("nan")
    peak = int(shells[0])
    half = 0.5 * (profile[peak] + lowest_after[peak])
    first = max(0, peak - 2 * near)
    weight = np.clip(profile[first : peak + beyond] - half, 0.0, None)
    # Only the hump around the peak itself.
    own, _ = ndimage.label(weight > 0.0)
    weight = np.where(own == own[peak - first], weight, 0.0)
    return float((weight * np.arange(len(weight))).sum() / weight.sum() + first) * STEP_MM
