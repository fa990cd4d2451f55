"""From a prompt to an outline, and an outline carried from one scan to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.domain.geometry import Grid, Transform, as_matrix
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.prompts import Box, Line, Outline, Point, Prompt
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.competition import Contest, logistic, noise_of
from imaging_pipeline.numerics.expectation import Expectation, ball, of_box, of_line
from imaging_pipeline.numerics.outline import signed_distance_mm
from imaging_pipeline.numerics.pyramid import Bools, Floats, Level

MAKER = "competition"
#: How often appearance and shape are learned anew from the outline.
ROUNDS = 4
#: Voxels of the neighbourhood that is cut out; bounds time and memory for lesions of any size.
MAX_VOXELS = 300_000
#: Radii tried around a click.
CLICK_RADII_MM = (5.0, 7.5, 11.0, 16.0, 24.0)
#: Surroundings in which a lesion competes.
MARGIN_MM = 8.0
#: How far a carried outline may be off: registration, growth and response between visits.
CARRIED_LOOSENESS_MM = 3.0


def segment(volume: Volume, prompt: Prompt, config: SegmentConfig) -> Mask:
    """Lesions were outlined by a minimum cut of appearance, edges and the shape the prompt suggests.

    Parameters
    ----------
    volume : Volume
        CT or MR.
    prompt : Prompt
        What is known of the lesion in this volume.
    config : SegmentConfig

    Returns
    -------
    Mask
        On a crop of the volume's grid, with a confidence.

    Raises
    ------
    StageError
        E-SEG-EMPTY when nothing is found, E-SEG-LEAK when the outline runs out of its neighbourhood.
    """
    volume.grid.require_patient("segmentation")
    outline = next((mark.mask for mark in prompt.marks if isinstance(mark, Outline)), None)
    if outline is None:
        return _grown(volume, _expected(volume, prompt), config)
    if not outline.array.any():
        raise _failed("E-SEG-EMPTY", "a carried outline out of view", "an outline in this scan", "at that visit")
    if prompt.kind is Kind.BONE:
        # As bone heals its density no longer shows where the lesion was: the shape at baseline does.
        return replace(outline, maker=MAKER)
    return _regrown(volume, outline, config)


def _grown(volume: Volume, expected: Expectation, config: SegmentConfig) -> Mask:
    """From an expected shape; appearance and shape learn from each other in rounds."""
    patch = _patch(volume, expected.extent_lps)
    points_lps = _points(patch.grid)
    contest = Contest(patch.array, config.smoothness)
    place = expected.log_odds(points_lps).reshape(patch.array.shape)
    share = logistic(place)
    for _ in range(ROUNDS):
        share = contest.cut(place, share)
        expected = expected.taught(share, points_lps)
        place = expected.log_odds(points_lps).reshape(patch.array.shape)
    return _settled(share, place, patch.grid, volume.grid)


def _regrown(volume: Volume, outline: Mask, config: SegmentConfig) -> Mask:
    """From the outline of another visit; its surface may have moved by growth or response."""
    patch = _patch(volume, outline.grid.to_lps(np.argwhere(outline.array)))
    place = signed_distance_mm(outline, _points(patch.grid)).reshape(patch.array.shape) / CARRIED_LOOSENESS_MM
    contest = Contest(patch.array, config.smoothness)
    share = logistic(place)
    for _ in range(ROUNDS):
        share = contest.cut(place, share)
    return _settled(share, place, patch.grid, volume.grid)


def _expected(volume: Volume, prompt: Prompt) -> Expectation:
    """What the firmest mark of a prompt lets expect: a line, else a box, else a click."""
    for mark in prompt.marks:
        if isinstance(mark, Line):
            return of_line(mark, volume.grid)
    for mark in prompt.marks:
        if isinstance(mark, Box):
            return of_box(mark)
    point = next(mark for mark in prompt.marks if isinstance(mark, Point))
    return _around_point(volume, np.array(point.point_lps))


def _around_point(volume: Volume, point_lps: NDArray[np.float64]) -> Expectation:
    """The ball around a click whose inside differs most from its surroundings."""
    balls = [ball(point_lps, radius_mm) for radius_mm in CLICK_RADII_MM]
    patch = _patch(volume, balls[-1].extent_lps)
    noise = noise_of(patch.array)
    values, points_lps = patch.array.ravel(), _points(patch.grid)
    contrasts = []
    for candidate in balls:
        radius = candidate.radius(points_lps)
        inside, around = values[radius < 0.9], values[(radius > 1.1) & (radius < 1.5)]
        contrasts.append(abs(np.median(inside) - np.median(around)) / (inside.std() + noise))
    return balls[int(np.argmax(contrasts))]


def _patch(volume: Volume, extent_lps: ArrayLike) -> Level:
    """The neighbourhood of some points on voxels of equal edges."""
    near = volume.crop(volume.grid.box_around(extent_lps, MARGIN_MM))
    lengths_mm = (np.array(near.grid.shape) - 1) * near.grid.spacing_mm
    edge_mm = max(min(near.grid.spacing_mm), float(np.prod(np.maximum(lengths_mm, 1.0)) / MAX_VOXELS) ** (1 / 3))
    slices, rows, columns = (int(size) for size in np.maximum(1, np.floor(lengths_mm / edge_mm) + 1))
    steps = edge_mm / np.array(near.grid.spacing_mm)
    array = ndimage.affine_transform(
        near.array.astype(np.float32), steps, output_shape=(slices, rows, columns), order=1, mode="nearest"
    )
    return Level(array, Grid((slices, rows, columns), as_matrix(near.grid.matrix @ np.diag([*steps, 1.0]))))


def _points(grid: Grid) -> NDArray[np.float64]:
    return grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)


def _settled(share: Floats, place: Floats, patch: Grid, lattice: Grid) -> Mask:
    """The piece of the competition's outcome that the prompt lies in, on the voxels of the volume."""
    labels, _ = ndimage.label(share > 0.5)
    best = labels[np.unravel_index(np.argmax(np.where(labels > 0, place, -np.inf)), labels.shape)]
    piece = ndimage.binary_fill_holes(labels == best) if best else np.zeros(share.shape, dtype=bool)
    expected = float(np.count_nonzero(place > 0))
    _require_sound(piece, expected)
    corners = patch.to_lps(np.array(np.meshgrid(*((0, size - 1) for size in patch.shape))).reshape(3, -1).T)
    there = lattice.crop(lattice.box_around(corners, 0.0))
    soft = np.where(ndimage.binary_dilation(piece), np.maximum(share, np.where(piece, 0.51, 0.0)), 0.0)
    moved = ndimage.map_coordinates(soft, patch.to_index(_points(there)).T, order=1, mode="constant")
    mask = Mask((moved > 0.5).reshape(there.shape), there, MAKER, confidence=_confidence(share, piece))
    return mask.crop(mask.box(1))


def _require_sound(piece: Bools, expected: float) -> None:
    """Refuse nothing and too much by name."""
    volume = float(np.count_nonzero(piece))
    if volume < 0.1 * expected:
        raise _failed("E-SEG-EMPTY", "no tissue that stands out at the prompt", "a lesion there", "by a line")
    rim = volume - np.count_nonzero(piece[1:-1, 1:-1, 1:-1])
    if rim > 0.02 * volume or volume > 4.0 * expected:
        raise _failed(
            "E-SEG-LEAK", "an outline that runs out of its neighbourhood", "a closed outline", "with its extent along z"
        )


def _failed(code: str, found: str, expected: str, how: str) -> StageError:
    return StageError(code, "lesion", found=found, expected=expected, remedy=f"mark the lesion {how}, or give its mask")


def _confidence(share: Floats, piece: Bools) -> float:
    """Agreement of the outline with itself at stricter and looser thresholds (Dice)."""
    strict, loose = (share > 0.75) & piece, (share > 0.25) & ndimage.binary_dilation(piece, iterations=2)
    both, either = (int(np.count_nonzero(part)) for part in (strict & loose, strict | loose))
    return 2 * both / max(1, both + either)


def carry(mask: Mask, transform: Transform, grid: Grid) -> Mask:
    """The baseline's outline was moved into each later scan.

    Parameters
    ----------
    mask : Mask
        The outline in fixed space.
    transform : Transform
        Fixed-space points to moving-space points.
    grid : Grid
        The voxels of the later scan.

    Returns
    -------
    Mask
        On a crop of `grid`; empty where the lesion is out of view.
    """
    place_lps = transform.apply(mask.grid.to_lps(np.argwhere(mask.array)))
    if not len(place_lps):
        return mask
    margin_mm = max(mask.grid.spacing_mm)
    there = grid.crop(grid.box_around(place_lps, margin_mm))
    distance_mm = signed_distance_mm(mask, transform.inverse().apply(_points(there)))
    return replace(mask, array=(distance_mm > 0).reshape(there.shape), grid=there)
