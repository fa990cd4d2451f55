"""Which lesion is which, and what became of each from one visit to the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import Problem
from imaging_pipeline.numerics.outline import SignedDistance

#: Two lesions whose centres are as far apart as balls of their volumes that touch are not one lesion.
NO_MATCH = 1.0
#: A second choice this near to the first (in the same units) leaves the match to a reader.
EQUIVOCAL = 0.25
#: Outlines of two visits disagree by about this much, by registration and by hand.
TOLERANCE_MM = 3.0


class Fate(StrEnum):
    """What became of a lesion, or where one came from."""

    SAME = "same"
    NEW = "new"
    VANISHED = "vanished"
    SPLIT = "split"
    MERGED = "merged"


_DOUBTS = {
    Fate.SAME: "an outline that could be another lesion's",
    Fate.NEW: "an outline where no lesion was expected",
    Fate.VANISHED: "no outline where the lesion was expected",
    Fate.SPLIT: "several outlines where one lesion was",
    Fate.MERGED: "one outline where several lesions were",
}


@dataclass(frozen=True, slots=True)
class Match:
    """Lesions of the earlier visit and of the later one that belong together, by their place in the given order.

    `certain` is False where a second reading is nearly as good: a reader should look.
    """

    fate: Fate
    earlier: tuple[int, ...]
    later: tuple[int, ...]
    certain: bool = True


def matched(earlier: tuple[Mask, ...], later: tuple[Mask, ...]) -> tuple[Match, ...]:
    """Lesions of two visits were matched by place and size, each with at most one other, unless they split or merged.

    Parameters
    ----------
    earlier, later : tuple of Mask
        Lesions of two visits, none empty, all carried into the baseline's space.

    Returns
    -------
    tuple of Match
        Every lesion of both visits in exactly one of them.
    """
    cost = _costs(earlier, later)
    links = _assigned(cost)
    for i, j in np.ndindex(*cost.shape):
        # A part of a lesion that has no partner of its own fell off it, or was swallowed by it.
        fell_off = not links[:, j].any() and _share_within(later[j], earlier[i]) > 0.5
        swallowed = not links[i].any() and _share_within(earlier[i], later[j]) > 0.5
        if fell_off or swallowed:
            links[i, j] = True
    return tuple(_match(group, links.shape, cost) for group in _groups(links))


@dataclass(frozen=True, slots=True)
class Track:
    """A lesion as it was outlined in one scan, and as it was carried there; nothing was carried of a new one."""

    lesion_id: str
    mask: Mask
    carried: Mask | None = None
    new: bool = False


def check_identities(tracks: Iterable[Track], date: str) -> tuple[Problem, ...]:
    """Each lesion was checked to be where it was carried to, and no other lesion there.

    Parameters
    ----------
    tracks
        Lesions outlined in one scan. One that a reader marked again there is the reader's to name, and left out.

    Returns
    -------
    tuple of Problem
        W-TRACK for each lesion, or group of lesions, whose identity a reader should decide.
    """
    tracks = tuple(tracks)
    earlier = [(track.lesion_id, track.carried) for track in tracks if track.carried is not None]
    later = [track for track in tracks if track.carried is not None or track.new]
    new = {track.lesion_id for track in later if track.new}
    problems = []
    for match in matched(tuple(mask for _, mask in earlier), tuple(track.mask for track in later)):
        before = {earlier[number][0] for number in match.earlier}
        after = {later[number].lesion_id for number in match.later}
        if not match.certain or before != after - new or (before and after & new):
            problems.append(_doubt(match.fate, f"{', '.join(sorted(before | after))} at {date}"))
    return tuple(problems)


def _doubt(fate: Fate, subject: str) -> Problem:
    return Problem(
        "W-TRACK",
        subject,
        _DOUBTS[fate],
        "each lesion in its own place",
        "compare the visits on the review page, and mark what split, merged or is new",
    )


def _costs(earlier: tuple[Mask, ...], later: tuple[Mask, ...]) -> NDArray[np.float64]:
    """Distance of centres in units of the sum of both radii: 1 where balls would touch."""
    places = [[_place(mask) for mask in masks] for masks in (earlier, later)]
    cost = np.zeros((len(earlier), len(later)))
    for i, (centre, radius) in enumerate(places[0]):
        for j, (other_centre, other_radius) in enumerate(places[1]):
            cost[i, j] = np.linalg.norm(centre - other_centre) / (radius + other_radius)
    return cost


def _place(mask: Mask) -> tuple[NDArray[np.float64], float]:
    """Centre in LPS and radius of the ball of the same volume in mm."""
    centre = mask.grid.to_lps(np.argwhere(mask.array).mean(axis=0))
    return centre, float((3000.0 * mask.volume_ml / (4.0 * np.pi)) ** (1 / 3))


def _assigned(cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The cheapest one-to-one assignment in which any lesion may stay alone for half of `NO_MATCH`."""
    count, other_count = cost.shape
    whole = np.full((count + other_count, count + other_count), NO_MATCH / 2)
    whole[:count, :other_count] = cost
    whole[count:, other_count:] = 0.0
    links = np.zeros(cost.shape, dtype=bool)
    for i, j in zip(*linear_sum_assignment(whole), strict=True):
        if i < count and j < other_count:
            links[i, j] = True
    return links


def _share_within(part: Mask, whole: Mask) -> float:
    """The share of one mask that lies inside another, within `TOLERANCE_MM`."""
    points_lps = part.grid.to_lps(np.argwhere(part.array))
    return float((SignedDistance(whole)(points_lps) > -TOLERANCE_MM).mean())


def _groups(links: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Lesions linked to one another; later ones are numbered on from the earlier ones."""
    count, other_count = links.shape
    graph = np.zeros((count + other_count, count + other_count), dtype=bool)
    graph[:count, count:] = links
    number, labels = connected_components(graph, directed=False)
    return [np.flatnonzero(labels == label) for label in range(number)]


def _match(group: NDArray[np.intp], shape: tuple[int, ...], cost: NDArray[np.float64]) -> Match:
    earlier = tuple(int(number) for number in group if number < shape[0])
    later = tuple(int(number) - shape[0] for number in group if number >= shape[0])
    fates = {(1, 1): Fate.SAME, (1, 0): Fate.VANISHED, (0, 1): Fate.NEW}
    fate = fates.get((len(earlier), len(later)), Fate.SPLIT if len(earlier) == 1 else Fate.MERGED)
    rivals = cost.copy()
    rivals[np.ix_(earlier, later)] = np.inf
    nearest = min(float(part.min(initial=np.inf)) for part in (rivals[list(earlier)], rivals[:, list(later)]))
    chosen = float(cost[np.ix_(earlier, later)].max(initial=0.0)) if fate is Fate.SAME else 0.0
    alone = not (earlier and later)
    certain = nearest > NO_MATCH + EQUIVOCAL if alone else min(nearest, NO_MATCH) - chosen > EQUIVOCAL
    return Match(fate, earlier, later, certain)
