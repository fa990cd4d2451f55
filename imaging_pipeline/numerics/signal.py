"""Signal of a lesion on MR against tissue of the same slices: raw signal has no unit and is never compared.

Bodies, discs and muscle are found by what holds in every sequence: a vertebral body is even between two ends that
differ from it alike, muscle is the even tissue behind the arches that is not like the fat under the skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.numerics.uncertainty import Estimate, within

#: A plane shows the spine, or the back, where the body's axis lies in it to within the acos of this.
IN_PLANE = 0.8
#: Slices count that show at least this share of the largest section's pixels.
LARGE_SECTION = 0.5
#: A lesion's outermost pixels are left out where this much is left without them.
SMALLEST_CORE_MM2 = 100.0
#: Where the next body is looked for, from the lesion's middle, and its tilt and height: lumbar and thoracic bodies are
#: 18-32 mm tall, discs 4-12 mm. Source: Panjabi 1992.
AWAY_MM = np.arange(22.0, 46.1, 2.0)
ASIDE_MM = np.arange(-18.0, 18.1, 3.0)
TILT_RAD = np.radians(np.arange(-30.0, 30.1, 7.5))
HEIGHT_MM = np.arange(18.0, 32.1, 2.0)
HALF_DEPTH_MM = 8.0
#: The inner part of a body's height; how far beyond its end is looked at; where the middle of a disc lies beyond it.
INNER_SHARE = 0.36
CORE_SHARE = 0.25
MORE_THAN_BODY = 1.5
BEYOND_MM = 4.0
DISC_MIDDLE_MM = 4.5
DISC_HALF_MM = 1.2
#: Both ends differ from a body by this share of its signal more than its own spread, or none is there.
LEAST_CONTRAST = 0.05
#: Muscle is looked for this far behind the lesion, this far up and down, in even discs.
BEHIND_MM = (45.0, 110.0)
SPAN_MM = 40.0
DISC_RADIUS_MM = 5.0
#: Fat is what lies this deep under the skin; it and muscle differ by that share of the brighter at least.
UNDER_SKIN_MM = (5.0, 9.0)
UNLIKE_FAT = 0.3
#: Larger pixels mix skin, fat and muscle, or a disc with its endplates.
COARSEST_MM = 2.0
#: The darkest of what lies behind the spine is air; tissue is this much brighter at least, as
#: medians of windows this wide, which keep borders in their place.
DARKEST_PERCENT = 3.0
AIR_MARGIN = 1.7
AIR_WINDOW_MM = 5.0
AIR_WINDOW_PIXELS = 5
#: Spread within one tissue besides noise, and between discs of one muscle, as shares of their signal.
EVEN = 0.1
FEWEST_PIXELS = 12
#: Error of a ratio over sequences and voxel sizes. Source: phantom patients of other seeds than those of the tests.
RATIO_SD = 0.015

Pixels = NDArray[np.bool_]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Plane:
    """The slices that show a lesion well: signal and mask (S, R, C), pixel size, in-plane directions (row, column).

    `upwards` runs along the spine, `backwards` towards the back, if `shows_back`.
    """

    signal: NDArray[np.float32]
    marked: Pixels
    pixel_mm: Floats
    middle_mm: Floats
    upwards: Floats
    backwards: Floats
    shows_back: bool

    def sampled(self, points_mm: Floats) -> Floats:
        """Mean signal over the slices at in-plane points (..., 2)."""
        index = (points_mm / self.pixel_mm).reshape(-1, 2).T
        mean = self.signal.mean(axis=0)
        return np.asarray(ndimage.map_coordinates(mean, index, order=1)).reshape(points_mm.shape[:-1])

    def offsets_mm(self, middle_mm: Floats) -> Floats:
        """From a point to each pixel's centre, (R, C, 2)."""
        index = np.moveaxis(np.indices(self.signal.shape[1:]), 0, -1)
        return np.asarray(index * self.pixel_mm - middle_mm)

    def box(self, middle_mm: Floats, along: Floats, half_along_mm: float) -> Pixels:
        """Which pixels (R, C) lie in a box as deep as bodies are looked at."""
        offset = self.offsets_mm(middle_mm)
        return np.asarray(
            (np.abs(offset @ along) <= half_along_mm) & (np.abs(offset @ _across(along)) <= HALF_DEPTH_MM)
        )


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A vertebral body next to the lesion's: its middle, its axis away from the lesion, its height, its contrast."""

    middle_mm: Floats
    away: Floats
    height_mm: float
    contrast: float


def signal_ratios(volume: Volume, mask: Mask) -> dict[str, Estimate]:
    """Lesion signal over that of muscle, of the next vertebral bodies and of the discs between, in the same slices.

    Parameters
    ----------
    volume : one MR sequence, placed in the patient.
    mask : the lesion, on the volume's lattice.

    Returns
    -------
    dict
        Only ratios whose tissue is found: a plane across the spine shows neither bodies nor discs beside the lesion's.

    Notes
    -----
    Source: RULES 7; muscle and disc as standards of the same image, Carroll 1997.
    """
    plane = _plane(volume, mask)
    if plane is None:
        return {}
    lesion = _core(plane)
    beside = [found for found in (_neighbour(plane, side) for side in (1.0, -1.0)) if found is not None]
    tissues = {"signal_ratio_muscle": _muscle(plane) if beside else None}
    if beside:
        tissues["signal_ratio_reference"] = np.any([_body(plane, one) for one in beside], axis=0) & ~plane.marked
        if plane.pixel_mm.max() <= COARSEST_MM:
            tissues["signal_ratio_disc"] = np.any([_disc(plane, one) for one in beside], axis=0) & ~plane.marked
    ratios = {name: _ratio(plane, lesion, tissue) for name, tissue in tissues.items() if tissue is not None}
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def _plane(volume: Volume, mask: Mask) -> Plane | None:
    """The lesion's slices; None where the spine runs through the plane instead of along it."""
    own = mask.on(volume.grid).array
    counts = np.count_nonzero(own, axis=(1, 2))
    slices = np.flatnonzero(counts >= LARGE_SECTION * counts.max())
    rows, columns = volume.grid.directions[:, 1:].T
    upwards = np.array([rows[2], columns[2]])
    if np.linalg.norm(upwards) < IN_PLANE:
        return None
    upwards /= np.linalg.norm(upwards)
    behind = float(_across(upwards) @ (rows[1], columns[1]))
    pixel_mm = np.array(volume.grid.spacing_mm[1:])
    return Plane(
        volume.array[slices].astype(np.float32),
        own[slices],
        pixel_mm,
        np.argwhere(own[slices])[:, 1:].mean(axis=0) * pixel_mm,
        upwards,
        np.copysign(1.0, behind) * _across(upwards),
        abs(behind) >= IN_PLANE,
    )


def _across(along: Floats) -> Floats:
    return np.array([along[1], -along[0]])


def _core(plane: Plane) -> Pixels:
    core = ndimage.binary_erosion(plane.marked, np.ones((1, 3, 3), dtype=bool))
    return np.asarray(core) if np.count_nonzero(core) * np.prod(plane.pixel_mm) >= SMALLEST_CORE_MM2 else plane.marked


def _neighbour(plane: Plane, side: float) -> Neighbour | None:
    """The body above (1) or below (-1): the most even box between two ends that differ from it alike."""
    best: Neighbour | None = None
    steps = np.stack(np.meshgrid(AWAY_MM, ASIDE_MM, indexing="ij"), axis=-1).reshape(-1, 2)
    middles = plane.middle_mm + side * steps[:, :1] * plane.upwards + steps[:, 1:] * plane.backwards
    for tilt, height in product(TILT_RAD, HEIGHT_MM):
        away = side * (np.cos(tilt) * plane.upwards + np.sin(tilt) * plane.backwards)
        inside = _patch(plane, middles, away, np.linspace(-INNER_SHARE, INNER_SHARE, 7) * height)
        level = np.maximum(inside.mean(axis=1), 1e-6)
        beyond = 0.5 * height + np.linspace(0.0, BEYOND_MM, 5)
        first, second = (
            np.log(np.maximum(_patch(plane, middles, away, end).mean(axis=1), 1e-6) / level)
            for end in (beyond, -beyond)
        )
        alike = np.where(first * second > 0.0, np.minimum(np.abs(first), np.abs(second)), 0.0)
        contrast = alike - inside.std(axis=1) / level
        most = int(np.argmax(contrast))
        if contrast[most] > (LEAST_CONTRAST if best is None else best.contrast):
            best = Neighbour(middles[most], away, float(height), float(contrast[most]))
    return best


def _patch(plane: Plane, middles: Floats, along: Floats, steps: Floats) -> Floats:
    """Signals (N, M) around each of N middles: at steps along, over the depth across."""
    depths = np.linspace(-HALF_DEPTH_MM, HALF_DEPTH_MM, 7)
    offsets = (steps[:, None, None] * along + depths[None, :, None] * _across(along)).reshape(-1, 2)
    return plane.sampled(middles[:, None] + offsets)


def _body(plane: Plane, one: Neighbour) -> Pixels:
    """The middle of a body, in the slices that lie in it: one at its side shows more than one tissue."""
    box = plane.box(one.middle_mm, one.away, CORE_SHARE * one.height_mm)
    spread = plane.signal[:, box].std(axis=1)
    return np.asarray(box & (spread <= MORE_THAN_BODY * spread.min())[:, None, None])


def _disc(plane: Plane, one: Neighbour) -> Pixels:
    """The middle of the disc on the lesion's side of a body."""
    middle = one.middle_mm - (0.5 * one.height_mm + DISC_MIDDLE_MM) * one.away
    return plane.box(middle, one.away, DISC_HALF_MM)


def _muscle(plane: Plane) -> Pixels | None:
    """Pixels (S, R, C) in whose surroundings is only muscle; None where the plane shows none, or no skin."""
    if not plane.shows_back or plane.pixel_mm.max() > COARSEST_MM:
        return None
    offset = plane.offsets_mm(plane.middle_mm)
    behind = offset @ plane.backwards
    region = (behind > 0.0) & (np.abs(offset @ plane.upwards) <= SPAN_MM)
    window = np.maximum(np.ceil(AIR_WINDOW_MM / plane.pixel_mm), AIR_WINDOW_PIXELS).astype(int)
    smooth = ndimage.median_filter(plane.signal, (1, *window))
    air = AIR_MARGIN * float(np.percentile(smooth[:, region], DARKEST_PERCENT))
    depth_mm = np.stack([_depth_mm(one > air, region, plane.pixel_mm) for one in smooth])
    skin_fat = region & (depth_mm >= UNDER_SKIN_MM[0]) & (depth_mm <= UNDER_SKIN_MM[1])
    room = region & (behind > BEHIND_MM[0]) & (behind < BEHIND_MM[1]) & (depth_mm > UNDER_SKIN_MM[1])
    if not skin_fat.any() or not room.any():
        return None
    mean, spread = _around(plane.signal, plane.pixel_mm)
    noise = float(np.percentile(spread[room], 10.0))
    fat = float(np.median(plane.signal[skin_fat]))
    even = room & (spread <= 1.3 * noise + EVEN * mean)
    even &= (mean > air) & (np.abs(mean - fat) > UNLIKE_FAT * np.maximum(mean, fat))
    if np.count_nonzero(even) < FEWEST_PIXELS:
        return None
    values = np.sort(mean[even])
    alike = np.searchsorted(values, values * (1.0 + EVEN)) - np.arange(len(values))
    lowest = values[int(np.argmax(alike))]
    return np.asarray(even & (mean >= lowest) & (mean <= lowest * (1.0 + EVEN)))


def _depth_mm(tissue: Pixels, region: Pixels, pixel_mm: Floats) -> Floats:
    """How deep under the skin each pixel lies: the air behind the patient is the largest dark piece in the region."""
    pieces, count = ndimage.label(~tissue)
    sizes = np.bincount(pieces[region], minlength=count + 1)[1:]
    if not count or not sizes.any():
        return np.zeros(tissue.shape)
    return np.asarray(ndimage.distance_transform_edt(pieces != 1 + int(np.argmax(sizes)), pixel_mm))


def _around(signal: NDArray[np.float32], pixel_mm: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation in a disc around each pixel of each slice."""
    half = np.ceil(DISC_RADIUS_MM / pixel_mm).astype(int)
    rows, columns = np.ogrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    disc = (rows * pixel_mm[0]) ** 2 + (columns * pixel_mm[1]) ** 2 <= DISC_RADIUS_MM**2
    weights = (disc / np.count_nonzero(disc))[None].astype(np.float32)
    mean = ndimage.convolve(signal, weights, mode="nearest")
    return mean, np.sqrt(np.maximum(ndimage.convolve(signal**2, weights, mode="nearest") - mean**2, 0.0))


def _ratio(plane: Plane, lesion: Pixels, tissue: Pixels) -> Estimate | None:
    """Mean over median, in the slices that show both: the tissue's box may hold a vessel or an edge."""
    tissue = np.broadcast_to(tissue, lesion.shape)
    both = lesion.any(axis=(1, 2)) & tissue.any(axis=(1, 2))
    own, other = plane.signal[both][lesion[both]], plane.signal[both][tissue[both]]
    if len(other) < FEWEST_PIXELS or np.median(other) <= 0.0:
        return None
    ratio = float(own.mean() / np.median(other))
    chance = [float(part.std() / (part.mean() * np.sqrt(len(part)))) for part in (own, other)]
    return within(ratio, ratio * float(np.linalg.norm([RATIO_SD, *chance])), lowest=0.0)
