"""Healthy bone to compare a lesion with: the vertebral bodies above and below it, or one a reader names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.geometry import PointLps
from imaging_pipeline.domain.images import Mask, MaskRole, Volume
from imaging_pipeline.numerics.pyramid import Level, finest

#: Where neighbours are looked for: this far around the lesion, this far above and below, in steps of about this; in
#: thin slices in slightly less, for pairs of 2 mm hide discs and bodies of the upper spine.
REACH_ACROSS_MM = 44.0
REACH_ALONG_MM = 62.0
#: A body that is named is looked for this far above and below, so that what it may have grown into is cut off.
REACH_NAMED_MM = 24.0
STEP_MM, THIN_STEP_MM = 3.0, 2.9
THIN_SLICE_MM = 2.0
#: Bone with its marrow is denser than this; discs, muscle and fat are not.
BONE_HU = 115.0
#: A ball of this radius fits into a vertebral body; arches, ribs and the walls of broken bodies are thinner.
BALL_MM = 7.5
#: What lies this deep in a body, and this far from anything denser by that share, is trabecular: neither shell nor
#: blur reaches it. No farther from the body's middle than the pedicles.
SHELL_MM = 4.5
SHELL_DENSER = 0.45
CORE_MM = 13.0
#: Sizes of a body without its rims; what is longer along the spine is a vessel full of contrast, or two bodies.
SMALLEST_ML, LARGEST_ML = 3.0, 70.0
TALLEST_MM = 46.0
#: A neighbour keeps a disc's distance from the lesion, and lies no farther to the side than the spine bends.
NEAREST_MM = 4.0
FARTHEST_ASIDE_MM = 30.0
#: Healthy trabecular bone is seldom outside this range.
HEALTHY_HU = (60.0, 350.0)
#: Muscle beside the spine: CT numbers, the ball that fits into it, and where it lies, away from a body's middle, behind
#: and aside; in front are vessels and bowel, next to the middle discs and the canal.
MUSCLE_HU = (0.0, 110.0)
MUSCLE_BALL_MM = 5.0
BEHIND_ARCH_MM = 38.0
BESIDE_BODY_MM = 28.0
SMALLEST_MUSCLE_ML = 1.0
#: Of two neighbours that differ by more than this share, only the one more like common bone is taken.
ALIKE = 0.3
COMMON_HU = 160.0


@dataclass(frozen=True, eq=False)
class Body:
    """A vertebral body on a coarse level: all of it, its trabecular core with density and middle, how far off it is."""

    whole: NDArray[np.bool_]
    core: NDArray[np.bool_]
    core_hu: float
    middle_lps: NDArray[np.float64]
    from_lesion_mm: NDArray[np.float64]

    @property
    def above_mm(self) -> float:
        """Its height above the lesion."""
        return float(self.from_lesion_mm[2])


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The part of a CT around a lesion, and the nearest healthy vertebral bodies in it, from above downwards."""

    part: Volume
    level: Level
    bodies: tuple[Body, ...]

    @property
    def bone(self) -> Mask:
        """The trabecular bone of the bodies, of two unlike ones only that which is more like common bone."""
        core = np.any([body.core for body in _alike(self.bodies)], axis=0)
        return Mask(_finer(core, self.level, self.part), self.part.grid, "neighbours", MaskRole.REFERENCE)


def healthy_neighbours(volume: Volume, lesion: Mask) -> Neighbours | None:
    """The nearest healthy vertebral bodies above and below a lesion.

    Parameters
    ----------
    volume : a CT in HU, placed in the patient.
    lesion : the lesion's mask, on the volume's lattice.

    Returns
    -------
    Neighbours or None
        None where no healthy body is found.
    """
    lesion_lps = lesion.grid.to_lps(np.argwhere(lesion.array))
    part, level = _around(volume, lesion_lps.mean(axis=0), REACH_ALONG_MM)
    chosen = _nearest(bodies(level, lesion_lps))
    return Neighbours(part, level, chosen) if chosen else None


def vertebra_at(volume: Volume, lesion: Mask, place_lps: PointLps) -> Neighbours | None:
    """The healthy vertebral body at a place, however far from the lesion.

    Parameters
    ----------
    volume : a CT in HU, placed in the patient.
    lesion : the lesion's mask, on the volume's lattice.
    place_lps : a point inside the body.

    Returns
    -------
    Neighbours or None
        None where the place lies in no healthy body.
    """
    part, level = _around(volume, np.array(place_lps), REACH_NAMED_MM)
    index = tuple(np.rint(level.grid.to_index(place_lps)).astype(int))
    if min(index) < 0 or any(place >= size for place, size in zip(index, level.array.shape, strict=True)):
        return None
    found = bodies(level, lesion.grid.to_lps(np.argwhere(lesion.array)))
    named = tuple(body for body in found if body.whole[index])
    return Neighbours(part, level, named) if named else None


def _around(volume: Volume, middle_lps: NDArray[np.float64], along_mm: float) -> tuple[Volume, Level]:
    """The part of a volume in which bodies are looked for, and its coarse level."""
    reach = np.array([REACH_ACROSS_MM, REACH_ACROSS_MM, along_mm])
    corners = middle_lps + reach * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T
    part = volume.crop(volume.grid.box_around(corners, 0.0))
    thin = part.grid.spacing_mm[0] <= THIN_SLICE_MM
    return part, finest(part, THIN_STEP_MM if thin else STEP_MM)


def muscle_beside(neighbours: Neighbours, lesion: Mask) -> Mask | None:
    """Muscle beside the spine, in the same part of the CT.

    Parameters
    ----------
    neighbours : of the lesion.
    lesion : its mask, on the volume's lattice.

    Returns
    -------
    Mask or None
        None where too little is shown.
    """
    level = neighbours.level
    middle_lps = np.mean([body.middle_lps for body in neighbours.bodies], axis=0)
    aside_mm, behind_mm = (level.grid.to_lps(np.indices(level.array.shape).reshape(3, -1).T) - middle_lps)[:, :2].T
    room = (behind_mm > BEHIND_ARCH_MM) | ((behind_mm > 0.0) & (np.abs(aside_mm) > BESIDE_BODY_MM))
    even = (level.array > MUSCLE_HU[0]) & (level.array < MUSCLE_HU[1])
    found = _opened(even & ~_near(level, lesion.grid.to_lps(np.argwhere(lesion.array))), level, MUSCLE_BALL_MM)
    found &= room.reshape(level.array.shape)
    if np.count_nonzero(found) * level.grid.voxel_volume_mm3 < 1000.0 * SMALLEST_MUSCLE_ML:
        return None
    part = neighbours.part
    return Mask(_finer(found, level, part), part.grid, "muscle", MaskRole.REFERENCE)


def bodies(level: Level, lesion_lps: NDArray[np.float64]) -> tuple[Body, ...]:
    """Healthy vertebral bodies near a lesion's points (N, 3) but apart from it, and not what is left of its own."""
    span = np.array([lesion_lps[:, 2].min(), lesion_lps[:, 2].max()]) - lesion_lps[:, 2].mean()
    solid = _opened(level.array > BONE_HU, level, BALL_MM)
    near = _near(level, lesion_lps)
    labels, count = ndimage.label(solid)
    found = []
    for number in range(1, count + 1):
        own = labels == number
        offset = level.grid.to_lps(np.argwhere(own)) - lesion_lps.mean(axis=0)
        if (
            not (own & near).any()
            and SMALLEST_ML <= len(offset) * level.grid.voxel_volume_mm3 / 1000.0 <= LARGEST_ML
            and np.ptp(offset[:, 2]) <= TALLEST_MM
            and not span[0] <= offset[:, 2].mean() <= span[1]
        ):
            core = _core(level, own)
            core_hu = float(level.array[core].mean()) if core.any() else 0.0
            if HEALTHY_HU[0] <= core_hu <= HEALTHY_HU[1]:
                core_lps = level.grid.to_lps(np.argwhere(core))
                found.append(Body(own, core, core_hu, core_lps.mean(axis=0), offset.mean(axis=0)))
    return tuple(found)


def _core(level: Level, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The trabecular middle of a body, its shell and its arch left out."""
    depth_mm = ndimage.distance_transform_edt(own, level.grid.spacing_mm)
    middle = np.unravel_index(int(np.argmax(depth_mm)), own.shape)
    steps = (np.indices(own.shape).T - np.array(middle)).T * np.reshape(level.grid.spacing_mm, (3, 1, 1, 1))
    inner = own & (np.sqrt((steps**2).sum(axis=0)) <= CORE_MM)
    common_hu = float(np.median(level.array[inner & (depth_mm >= min(SHELL_MM, depth_mm.max()))]))
    pure = own & (level.array < (1.0 + SHELL_DENSER) * common_hu)
    return np.asarray(inner & (ndimage.distance_transform_edt(pure, level.grid.spacing_mm) >= SHELL_MM))


def _opened(where: NDArray[np.bool_], level: Level, ball_mm: float) -> NDArray[np.bool_]:
    """Where a ball of that radius fits: the opening."""
    spacing_mm = level.grid.spacing_mm
    middles = ndimage.distance_transform_edt(where, spacing_mm) >= ball_mm
    if not middles.any():
        return middles
    return np.asarray(ndimage.distance_transform_edt(~middles, spacing_mm) < ball_mm)


def _near(level: Level, lesion_lps: NDArray[np.float64]) -> NDArray[np.bool_]:
    index = np.rint(level.grid.to_index(lesion_lps)).astype(int)
    index = index[np.all((index >= 0) & (index < level.array.shape), axis=1)]
    away = np.ones(level.array.shape, dtype=bool)
    away[tuple(index.T)] = False
    return np.asarray(ndimage.distance_transform_edt(away, level.grid.spacing_mm) < NEAREST_MM)


def _nearest(found: tuple[Body, ...]) -> tuple[Body, ...]:
    """The nearest above and the nearest below, no farther to the side than the spine bends."""
    beside = [body for body in found if np.hypot(*body.from_lesion_mm[:2]) <= FARTHEST_ASIDE_MM]
    sides = ([body for body in beside if body.above_mm > 0], [body for body in beside if body.above_mm <= 0])
    return tuple(min(side, key=lambda body: abs(body.above_mm)) for side in sides if side)


def _alike(found: tuple[Body, ...]) -> tuple[Body, ...]:
    if len(found) == 2 and abs(found[0].core_hu - found[1].core_hu) > ALIKE * max(body.core_hu for body in found):
        return (min(found, key=lambda body: abs(body.core_hu - COMMON_HU)),)
    return found


def _finer(core: NDArray[np.bool_], level: Level, part: Volume) -> NDArray[np.bool_]:
    """A coarse mask on the voxels its blocks were made of."""
    result = np.zeros(part.grid.shape, dtype=bool)
    steps = zip(level.grid.spacing_mm, part.grid.spacing_mm, strict=True)
    for axis, (coarse, fine) in enumerate(steps):
        core = np.repeat(core, round(coarse / fine), axis=axis)
    result[tuple(slice(0, size) for size in core.shape)] = core
    return result
