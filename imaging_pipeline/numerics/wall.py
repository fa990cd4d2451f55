"""The wall of a lesion's vertebral body: where it should run, and where it still is cortex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.pyramid import Level
from imaging_pipeline.numerics.spine import BESIDE_SHELL_HU, SHELL_HU, Frame

#: The wall is judged up to this distance from the lesion, and this far from mid-height in shares of the height.
NEAR_MM = 3.0
HALF_SPAN = 0.36
LEVELS = 13
#: Directions around the body, and places along each.
DIRECTIONS_RAD = np.radians(np.arange(0.0, 360.0, 5.0))
STEP_MM = 0.5
REACH_MM = np.arange(6.0, 36.0, STEP_MM)
#: Cortex is looked for this far to either side of where the wall should run.
BAND_MM = 2.0
#: A shell and its blur reach this far to either side of its peak.
SHELL_REACH_MM = 2.5
#: A wall's peak counts as cortex from this share of the way from soft tissue to the wall's usual peak.
CORTEX_SHARE = 0.6
SOFT_HU = 60.0
#: The usual peak is taken from the wall this far from the lesion.
FAR_MM = 8.0
#: The body's shape differs from its neighbours' by two harmonics; where it differs by more, the wall is not seen.
LARGEST_DIFFERENCE = 0.25
USUAL_DIFFERENCE = 0.04

Radii = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Wall:
    """The wall of a vertebral body: its distance from the axis by level and direction, and the CT along those rays."""

    frame: Frame
    radius_mm: Radii
    rays: NDArray[np.float32]

    def beyond(self, points_lps: NDArray[np.float64], margin_mm: float) -> NDArray[np.bool_]:
        """Which points (N, 3) lie outside the body by more than a margin."""
        offset = points_lps - self.frame.middle
        height = offset @ self.frame.upwards
        aside, back = offset @ self.frame.sideways, offset @ self.frame.backwards
        level = (height / self.frame.height_mm + HALF_SPAN) / (2.0 * HALF_SPAN) * (LEVELS - 1)
        direction = np.degrees(np.arctan2(back, aside)) % 360.0 / 360.0 * len(DIRECTIONS_RAD)
        # The first direction again after the last, for the rays run in a circle.
        around = np.concatenate([self.radius_mm, self.radius_mm[:, :1]], axis=1)
        wall_mm = ndimage.map_coordinates(around, [level, direction], order=1, mode="nearest")
        outside = np.hypot(aside, back) > wall_mm + margin_mm
        return np.asarray(outside | (np.abs(height) > 0.5 * self.frame.height_mm + margin_mm))


def fitted_wall(image: Level, frames: tuple[Frame, ...]) -> Wall | None:
    """The wall of the first body; where it is gone its place is known from the neighbours' shape, fitted to the rest.

    Parameters
    ----------
    image : a CT around the lesion.
    frames : the lesion's body first, then its neighbours.

    Returns
    -------
    Wall or None
        None where too little of it shows.
    """
    own = _rays(image, frames[0])
    beside = np.stack([_walls(_rays(image, frame)) for frame in frames[1:]])
    radius_mm = None if np.isnan(beside).all() else _fitted(_walls(own), _expected(beside))
    return None if radius_mm is None else Wall(frames[0], radius_mm, own)


def cortex(wall: Wall, lesion: Mask, cortical_hu: float) -> tuple[float, float] | None:
    """Share in percent of the wall near a lesion that is cortex, and the mean thickness of that cortex in mm.

    Parameters
    ----------
    wall : of the lesion's body.
    lesion : its mask, on the image's grid.
    cortical_hu : CT number of cortical bone; the thickness is that of so dense a bone.

    Returns
    -------
    tuple or None
        None where the wall does not come near the lesion.

    Notes
    -----
    Blur spreads a thin shell but keeps its integral across. Source: Treece 2010 (cortical bone mapping).
    """
    away_mm = _distance_mm(_places(wall.frame, wall.radius_mm), lesion)
    in_band = np.abs(REACH_MM - wall.radius_mm[..., None]) <= BAND_MM
    peaks = np.where(in_band, wall.rays, -np.inf).max(axis=-1)
    near, far = away_mm < NEAR_MM, away_mm > FAR_MM
    if not near.any() or not far.any():
        return None
    least_hu = SOFT_HU + CORTEX_SHARE * (float(np.median(peaks[far])) - SOFT_HU)
    intact = near & (peaks > least_hu)
    thickness_mm = _thickness_mm(wall.rays[intact], wall.radius_mm[intact], cortical_hu)
    return 100.0 * float(intact.sum() / near.sum()), float(thickness_mm.mean()) if intact.any() else 0.0


def _thickness_mm(rays: NDArray[np.float32], radius_mm: Radii, cortical_hu: float) -> Radii:
    """Thickness (N,) of the shell each ray (N, M) crosses: what stands above the tissue on its two sides."""
    from_wall = REACH_MM - radius_mm[:, None]
    peak = np.where(np.abs(from_wall) <= BAND_MM, rays, -np.inf).argmax(axis=1)
    from_peak = REACH_MM - REACH_MM[peak][:, None]
    inner = np.where((from_peak < 0.0) & (from_peak >= -SHELL_REACH_MM), rays, np.inf).min(axis=1)
    outer = np.where((from_peak > 0.0) & (from_peak <= SHELL_REACH_MM), rays, np.inf).min(axis=1)
    beside = np.where(from_peak < 0.0, inner[:, None], outer[:, None])
    excess = np.where(np.abs(from_peak) <= SHELL_REACH_MM, np.maximum(rays - beside, 0.0), 0.0)
    # The tissue on either side ends in the middle of the shell.
    return np.asarray(excess.sum(axis=1) * STEP_MM / (cortical_hu - 0.5 * (inner + outer)))


def _places(frame: Frame, radii_mm: Radii) -> NDArray[np.float64]:
    """LPS points at radii around a body's axis; the first two axes of `radii_mm` are level and direction."""
    levels = np.linspace(-HALF_SPAN, HALF_SPAN, LEVELS) * frame.height_mm
    outwards = np.cos(DIRECTIONS_RAD)[:, None] * frame.sideways + np.sin(DIRECTIONS_RAD)[:, None] * frame.backwards
    beyond = (1,) * (radii_mm.ndim - 2)
    upwards = levels.reshape(-1, 1, *beyond, 1) * frame.upwards
    return np.asarray(frame.middle + upwards + radii_mm[..., None] * outwards.reshape(1, -1, *beyond, 3))


def _rays(image: Level, frame: Frame) -> NDArray[np.float32]:
    """CT numbers by level, direction and distance from a body's axis."""
    shape = (LEVELS, len(DIRECTIONS_RAD), len(REACH_MM))
    points = _places(frame, np.broadcast_to(REACH_MM, shape))
    return image.sampled(points.reshape(-1, 3))[0].reshape(shape)


def _walls(rays: NDArray[np.float32]) -> Radii:
    """Distance of the wall by level and direction: the first peak that something less dense follows; NaN without."""
    beyond = int(5.0 / STEP_MM)
    peak = (rays == ndimage.maximum_filter1d(rays, 5, axis=-1)) & (rays > SHELL_HU)
    # The lowest of what follows: a minimum filter shifted outwards by half its size.
    lowest = ndimage.minimum_filter1d(rays, beyond, axis=-1, origin=-(beyond // 2), mode="nearest")
    wall = peak & (lowest < BESIDE_SHELL_HU)
    return np.where(wall.any(axis=-1), REACH_MM[wall.argmax(axis=-1)], np.nan)


def _expected(walls: Radii) -> Radii:
    """The neighbours' common wall: its outline around the body times its waist along the height."""
    outline = _median(walls, axis=(0, 1))
    waist = _median(walls / outline, axis=(0, 2))
    return waist[:, None] * outline


def _median(values: Radii, axis: tuple[int, int]) -> Radii:
    """Median of what is known; of the whole where along the axes nothing is."""
    nothing = np.isnan(values).all(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(nothing, np.nanmedian(values), values), axis=axis))


def _fitted(seen_mm: Radii, expected_mm: Radii) -> Radii | None:
    """The expected wall stretched by two harmonics to fit what is seen, outliers counting less and less."""
    ratio = seen_mm / expected_mm
    level, direction = np.nonzero(np.abs(ratio - 1.0) < LARGEST_DIFFERENCE)
    waves = [np.ones_like(DIRECTIONS_RAD)]
    waves += [wave(order * DIRECTIONS_RAD) for order in (1, 2) for wave in (np.cos, np.sin)]
    basis = np.column_stack(waves)
    if len(level) < ratio.size // 4:
        return None
    seen, rows = ratio[level, direction], basis[direction]
    weight = np.ones(len(seen))
    for _ in range(4):
        found = np.linalg.lstsq(rows * weight[:, None], seen * weight, rcond=None)[0]
        weight = 1.0 / (1.0 + ((seen - rows @ found) / USUAL_DIFFERENCE) ** 2)
    return np.asarray(expected_mm * (basis @ found))


def _distance_mm(points_lps: NDArray[np.float64], lesion: Mask) -> NDArray[np.float64]:
    """Distance of points (..., 3) to a lesion's border, negative inside, cut off beyond `FAR_MM`."""
    around = lesion.crop(lesion.box([np.ceil((FAR_MM + 2.0) / step) for step in lesion.grid.spacing_mm]))
    steps_mm = np.reshape(around.grid.spacing_mm, (3, 1, 1, 1))
    far_mm, nearest = ndimage.distance_transform_edt(~around.array, around.grid.spacing_mm, return_indices=True)
    way_mm = (nearest - np.indices(around.array.shape)) * steps_mm
    # The border lies half a voxel, as long as it is that way, before the nearest centre inside.
    half_mm = 0.5 * np.sqrt(((way_mm * steps_mm) ** 2).sum(axis=0)) / np.maximum(far_mm, min(around.grid.spacing_mm))
    field = np.where(around.array, -half_mm.max(), far_mm - half_mm)
    index = around.grid.to_index(points_lps.reshape(-1, 3)).T
    distance = ndimage.map_coordinates(field, index, order=1, mode="constant", cval=2.0 * FAR_MM)
    return np.asarray(distance).reshape(points_lps.shape[:-1])
