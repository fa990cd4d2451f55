"""Lesions keep their names through fifty synthetic patients; what cannot be known is left to a reader."""

import numpy as np

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.matching import Fate, matched
from tests.numerics.scenes import grid_of, points_of

SPACING_MM = 1.5


def ball(centre, radius) -> Mask:
    """On a grid of its own, as masks come."""
    grid = grid_of((20, 20, 20), (SPACING_MM,) * 3, centre=np.rint(np.asarray(centre) / SPACING_MM) * SPACING_MM)
    inside = np.linalg.norm(points_of(grid) - centre, axis=1) < radius
    return Mask(inside.reshape(grid.shape), grid, "test")


def places(random, count) -> list[np.ndarray]:
    """Centres at least 15 mm apart, and a lesion's width from the border."""
    found: list[np.ndarray] = []
    while len(found) < count:
        place = random.uniform(-55.0, 55.0, 3)
        if all(np.linalg.norm(place - other) >= 15.0 for other in found):
            found.append(place)
    return found


def fates_of(matches) -> dict[Fate, int]:
    return {fate: sum(match.fate is fate for match in matches) for fate in Fate}


class Patient:
    """Lesions of two visits, what truly became of them, and nothing moved by more than registration leaves."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.earlier: list[Mask] = []
        self.later: list[Mask] = []
        self.truth: set[tuple[Fate, tuple[int, ...], tuple[int, ...]]] = set()
        for place in places(random, int(random.integers(1, 9))):
            self._live(random, place, random.uniform(4.5, 7.0))

    def _live(self, random, place, radius):
        fate = random.choice([Fate.SAME, Fate.SAME, Fate.SAME, Fate.NEW, Fate.VANISHED, Fate.SPLIT, Fate.MERGED])
        half = np.array((0.0, 0.0, 0.62 * radius))
        off = random.normal(0.0, 1.0, 3)
        whole, pieces = [(place, radius)], [(place - half, 0.55 * radius), (place + half, 0.55 * radius)]
        before, after = {
            Fate.SAME: (whole, [(place, radius * random.uniform(0.75, 1.2))]),
            Fate.NEW: ([], whole),
            Fate.VANISHED: (whole, []),
            Fate.SPLIT: (whole, pieces),
            Fate.MERGED: (pieces, whole),
        }[fate]
        numbers = []
        for masks, balls, shift in ((self.earlier, before, 0.0), (self.later, after, off)):
            numbers.append(tuple(range(len(masks), len(masks) + len(balls))))
            masks += [ball(centre + shift, size) for centre, size in balls]
        self.truth.add((fate, *numbers))

    def found(self):
        return matched(tuple(self.earlier), tuple(self.later))


def test_identities_and_events_hold_over_fifty_patients_and_the_rest_is_flagged():
    events = {True: 0, False: 0}
    identities = {True: 0, False: 0}
    silent = []
    for seed in range(50):
        patient = Patient(seed)
        if not (patient.earlier or patient.later):
            continue
        for match in patient.found():
            right = (match.fate, match.earlier, match.later) in patient.truth
            events[right] += 1
            if match.fate is Fate.SAME:
                identities[right] += 1
            if not right and match.certain:
                silent.append((seed, match))
    assert identities[True] >= 0.99 * sum(identities.values())
    assert events[True] >= 0.95 * sum(events.values())
    assert not silent


def test_two_neighbours_that_both_moved_halfway_are_left_to_a_reader():
    earlier = (ball((0, 0, 0), 6.0), ball((15, 0, 0), 6.0))
    later = (ball((7.5, 0, 0), 6.0),)
    assert not all(match.certain for match in matched(earlier, later))


def test_a_lesion_far_from_all_others_is_surely_new():
    (match,) = matched((), (ball((0, 0, 0), 6.0),))
    assert match.fate is Fate.NEW
    assert match.certain


def test_every_lesion_is_in_exactly_one_match():
    patient = Patient(7)
    matches = patient.found()
    assert sorted(n for match in matches for n in match.earlier) == list(range(len(patient.earlier)))
    assert sorted(n for match in matches for n in match.later) == list(range(len(patient.later)))
    assert sum(fates_of(matches).values()) == len(matches)
