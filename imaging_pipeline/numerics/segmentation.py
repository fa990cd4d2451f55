"""From a prompt to an outline, and an outline carried from one scan to another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.domain.geometry import Grid, Transform, as_matrix
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.prompts import Box, Line, Outline, Outside, Point, Prompt, middle_lps
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.competition import Contest, logistic
from imaging_pipeline.numerics.expectation import Expectation, Limited, of_box, of_line, of_outline, of_point
from imaging_pipeline.numerics.halfway import halfway
from imaging_pipeline.numerics.outline import SignedDistance
from imaging_pipeline.numerics.pyramid import Bools, Level

MAKER = "competition"
#: How often appearance and shape are learned anew from the outline: coarsely, then finely.
ROUNDS, FINE_ROUNDS = 4, 3
#: Voxels of the neighbourhood that is cut out; bounds time and memory for lesions of any size. Fewer suffice to choose
#: among expectations.
MAX_VOXELS, TRIAL_VOXELS = 250_000, 80_000
#: Surroundings in which a lesion competes.
MARGIN_MM = 8.0
#: Marks from the firmest to the loosest: what a reader draws in this scan comes before what is carried here.
FIRMNESS = (Line, Box, Point, Outline)
#: Marks of one lesion agree when the middle of each lies inside its outline, or no farther off than a hand errs.
AGREEMENT_MM = 3.0
#: Support below which nothing speaks for a lesion still being where it was.
MIN_SUPPORT = 0.2


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
        On a crop of the volume's grid. Its confidence is high where edges follow the outline, and where what the prompt
        leaves open changes it little.

    Raises
    ------
    StageError
        E-PROMPT-OUTSIDE when a mark lies outside the scan, E-SEG-EMPTY when nothing is found,
        E-SEG-LEAK when the outline runs out of its neighbourhood,
        E-PROMPT-DISAGREE when the firmest of several marks gives an outline that another one contradicts,
        E-PROMPT-FORM when no mark says where the lesion is.
    """
    volume.grid.require_patient("segmentation")
    outline = next((mark.mask for mark in prompt.marks if isinstance(mark, Outline)), None)
    require_in_view(volume.grid, prompt)
    if outline is not None and not outline.array.any():
        raise failed("E-SEG-EMPTY", "a carried outline out of view", "an outline in this scan", "at that visit")
    if outline is not None and prompt.kind is Kind.BONE:
        # As bone heals its density no longer shows where the lesion was: the shape at baseline does.
        found = replace(outline, maker=MAKER)
    else:
        found = _drawn(volume, prompt, config)
    require_agreement(found, prompt)
    return found


def _drawn(volume: Volume, prompt: Prompt, config: SegmentConfig) -> Mask:
    """The outline of the expectation that the image supports best, first in view of all around it, then finely."""
    trials = [
        _grown(_patch(volume, expected.extent_lps, TRIAL_VOXELS), expected, config, ROUNDS)
        for expected in _expectations(volume, prompt)
    ]
    expected, trial = max(trials, key=_merit)
    if any(isinstance(mark, Outline) for mark in prompt.marks) and trial.support < MIN_SUPPORT:
        raise failed("E-SEG-EMPTY", "no edge where the lesion was", "a lesion there", "at that visit")
    # No farther than the lesion and what is next to it, so that its voxels are as fine as can be.
    near_lps = trial.marked_lps if trial.piece.any() else expected.extent_lps
    _, outcome = _grown(_patch(volume, near_lps, MAX_VOXELS), expected, config, FINE_ROUNDS)
    found = halfway(volume, _settled(outcome, volume.grid))
    # By the best of the other trials: some sizes are tried that no lesion has.
    *_, agreement = sorted((_overlap(found, each) for _, each in trials), reverse=True)[:2]
    return replace(found, confidence=round(float(np.sqrt(outcome.support * agreement)), 4))


def _overlap(mask: Mask, trial: _Outcome) -> float:
    """Dice of an outline and what came of another expectation."""
    index = np.rint(mask.grid.to_index(trial.marked_lps)).astype(int)
    inside = np.all((index >= 0) & (index < mask.array.shape), axis=1)
    shared = np.count_nonzero(mask.array[tuple(index[inside].T)])
    sizes_mm3 = (
        np.count_nonzero(part) * grid.voxel_volume_mm3
        for part, grid in ((mask.array, mask.grid), (trial.piece, trial.grid))
    )
    return 2.0 * shared * trial.grid.voxel_volume_mm3 / sum(sizes_mm3)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What a competition ended with: shares, the piece the prompt lies in, what place alone said, and its support."""

    share: NDArray[np.float32]
    piece: Bools
    place: NDArray[np.float32]
    grid: Grid
    support: float

    @property
    def marked_lps(self) -> NDArray[np.float64]:
        """The places (N, 3) of the piece."""
        return self.grid.to_lps(np.argwhere(self.piece))

    @classmethod
    def of(cls, share: NDArray[np.float32], place: NDArray[np.float32], grid: Grid, contest: Contest) -> _Outcome:
        labels, count = ndimage.label(share > 0.5)
        # The piece that holds the likeliest place.
        best = labels.ravel()[np.argmax(np.where(labels > 0, place, -np.inf))] if count else -1
        piece = ndimage.binary_fill_holes(labels == best)
        return cls(share, piece, place, grid, contest.support(piece))


def _expectations(volume: Volume, prompt: Prompt) -> tuple[Expectation, ...]:
    """What the firmest mark of a prompt lets expect, within what is said not to be the lesion."""
    clicks_lps = np.array([mark.point_lps for mark in prompt.marks if isinstance(mark, Outside)])
    expected = _expected(volume, firmest(prompt))
    return tuple(Limited(each, clicks_lps) for each in expected) if len(clicks_lps) else expected


def firmest(prompt: Prompt) -> Point | Line | Box | Outline:
    """The mark that says most surely where the lesion is.

    Raises
    ------
    StageError
        E-PROMPT-FORM when none says so.
    """
    marks = [mark for mark in prompt.marks if not isinstance(mark, Outside)]
    if not marks:
        raise StageError(
            "E-PROMPT-FORM",
            "lesion",
            found="no mark that says where the lesion is",
            expected="a point, line, box or mask",
            remedy="mark the lesion itself too",
        )
    return min(marks, key=lambda mark: FIRMNESS.index(type(mark)))


def _expected(volume: Volume, mark: Point | Line | Box | Outline) -> tuple[Expectation, ...]:
    if isinstance(mark, Outline):
        return of_outline(mark.mask)
    if isinstance(mark, Line):
        return of_line(mark, volume.grid)
    if isinstance(mark, Box):
        return of_box(mark)
    return of_point(mark)


def _merit(trial: tuple[Expectation, _Outcome]) -> float:
    expected, outcome = trial
    return outcome.support - expected.doubt


def _grown(patch: Level, expected: Expectation, config: SegmentConfig, rounds: int) -> tuple[Expectation, _Outcome]:
    """From an expected shape; appearance and shape learn from each other in rounds."""
    points_lps = _points(patch.grid)
    contest = Contest(patch.array, config.smoothness)
    place = expected.log_odds(points_lps).reshape(patch.array.shape)
    share = logistic(place)
    for _ in range(rounds):
        share = contest.cut(place, share)
        expected = expected.taught(share, points_lps)
        place = expected.log_odds(points_lps).reshape(patch.array.shape)
    return expected, _Outcome.of(share, place, patch.grid, contest)


def _patch(volume: Volume, extent_lps: ArrayLike, max_voxels: int) -> Level:
    """The neighbourhood of some points on voxels of equal edges."""
    near = volume.crop(volume.grid.box_around(extent_lps, MARGIN_MM))
    lengths_mm = (np.array(near.grid.shape) - 1) * near.grid.spacing_mm
    edge_mm = max(min(near.grid.spacing_mm), float(np.prod(np.maximum(lengths_mm, 1.0)) / max_voxels) ** (1 / 3))
    slices, rows, columns = (int(size) for size in np.maximum(1, np.floor(lengths_mm / edge_mm) + 1))
    steps = edge_mm / np.array(near.grid.spacing_mm)
    array = ndimage.affine_transform(
        near.array.astype(np.float32), steps, output_shape=(slices, rows, columns), order=1, mode="nearest"
    )
    return Level(array, Grid((slices, rows, columns), as_matrix(near.grid.matrix @ np.diag([*steps, 1.0]))))


def _points(grid: Grid) -> NDArray[np.float64]:
    return grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)


def _settled(outcome: _Outcome, lattice: Grid) -> Mask:
    """The outcome on the voxels of the volume."""
    _require_sound(outcome)
    there = lattice.crop(lattice.box_around(outcome.marked_lps, max(lattice.spacing_mm)))
    near = ndimage.binary_dilation(outcome.piece)
    # A hole that was filled counts as lesion; what belongs to other pieces does not.
    soft = np.where(near, np.where(outcome.piece, np.maximum(outcome.share, 0.51), outcome.share), 0.0)
    index = outcome.grid.to_index(_points(there)).T
    share = ndimage.map_coordinates(soft, index, order=1, mode="constant")
    return Mask((share > 0.5).reshape(there.shape), there, MAKER)


def require_in_view(grid: Grid, prompt: Prompt) -> None:
    """Refuse marks that a reader cannot have made in this scan."""
    if all(grid.contains(middle_lps(mark)) for mark in prompt.marks if not isinstance(mark, Outline)):
        return
    raise StageError(
        "E-PROMPT-OUTSIDE",
        "lesion",
        found="a mark whose middle lies outside the scan",
        expected="marks in the scan they are made in",
        remedy="correct its coordinates (LPS mm), or name the series it belongs to",
    )


def require_agreement(found: Mask, prompt: Prompt) -> None:
    """Refuse marks of which one lies on the wrong side of the outline that the firmest of them gave."""
    if len(prompt.marks) == 1:
        return
    within_mm = SignedDistance(found)(np.array([middle_lps(mark) for mark in prompt.marks]))
    side = np.array([1 if isinstance(mark, Outside) else -1 for mark in prompt.marks])
    if (farthest_mm := float((side * within_mm).max())) > AGREEMENT_MM:
        raise StageError(
            "E-PROMPT-DISAGREE",
            "lesion",
            found=f"a mark {farthest_mm:.1f} mm on the wrong side of the outline another mark gives",
            expected=f"marks of one lesion, within {AGREEMENT_MM:.0f} mm",
            remedy="remove the mark that is wrong, or give the second lesion a name of its own",
        )


def _require_sound(outcome: _Outcome) -> None:
    """Refuse nothing and too much by name."""
    volume, expected = (int(np.count_nonzero(part)) for part in (outcome.piece, outcome.place > 0))
    if volume < 0.1 * expected or not volume:
        raise failed("E-SEG-EMPTY", "no tissue that stands out at the prompt", "a lesion there", "by a line")
    rim = volume - int(np.count_nonzero(outcome.piece[1:-1, 1:-1, 1:-1]))
    if rim > 0.02 * volume or volume > 4 * expected:
        raise failed(
            "E-SEG-LEAK", "an outline that runs out of its neighbourhood", "a closed outline", "with its extent along z"
        )


def failed(code: str, found: str, expected: str, how: str) -> StageError:
    """A refusal to outline, and how a reader could help."""
    return StageError(code, "lesion", found=found, expected=expected, remedy=f"mark the lesion {how}, or give its mask")


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
    distance_mm = SignedDistance(mask)(transform.inverse().apply(_points(there)))
    return replace(mask, array=(distance_mm > 0).reshape(there.shape), grid=there)
