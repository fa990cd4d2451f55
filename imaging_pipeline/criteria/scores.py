"""Scores of the spine: SINS for stability, Genant's grade for collapse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

# SINS. Source: Fisher et al., Spine 2010; 35: E1221-E1229.

#: Points of each item by its answer.
SINS_ITEMS: Mapping[str, Mapping[str, int]] = {
    "location": {"junctional": 3, "mobile": 2, "semirigid": 1, "rigid": 0},
    "pain": {"mechanical": 3, "non-mechanical": 1, "none": 0},
    "lesion": {"lytic": 2, "mixed": 1, "blastic": 0},
    "alignment": {"subluxation": 4, "deformity": 2, "normal": 0},
    "collapse": {">50%": 3, "<50%": 2, "none, >50% body involved": 1, "none": 0},
    "posterolateral": {"bilateral": 3, "unilateral": 1, "none": 0},
}
SINS_UNSTABLE_FROM = 13
SINS_DOUBTFUL_FROM = 7

# Genant. Source: Genant et al., J Bone Miner Res 1993; 8: 1137-1148; 25 and 40 % belong to grade 2 (decision).
GENANT_MILD_PCT = Decimal(20)
GENANT_MODERATE_PCT = Decimal(25)
GENANT_SEVERE_PCT = Decimal(40)
GENANT_CATEGORIES = ("normal", "mild", "moderate", "severe")


@dataclass(frozen=True, slots=True)
class Sins:
    """A SINS total from least to most; the two differ where items are not stated, or open."""

    least: int
    most: int
    missing: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """The total, where every item is known."""
        return self.least if self.least == self.most else None

    @property
    def category(self) -> str:
        """The category, or both where the range spans them."""
        lowest, highest = _stability(self.least), _stability(self.most)
        return lowest if lowest == highest else f"{lowest} to {highest}"


def sins(items: Mapping[str, str]) -> Sins:
    """Spinal Instability Neoplastic Score; an item left out widens the range by all it could be."""
    return sins_between({item: (answer,) for item, answer in items.items()})


def sins_between(items: Mapping[str, Collection[str]]) -> Sins:
    """The same from all the answers each item may have; an item left out may have any."""
    points = {
        item: [worth for answer, worth in answers.items() if answer in items.get(item, answers)]
        for item, answers in SINS_ITEMS.items()
    }
    missing = tuple(item for item in SINS_ITEMS if item not in items)
    return Sins(sum(map(min, points.values())), sum(map(max, points.values())), missing)


def _stability(total: int) -> str:
    if total >= SINS_UNSTABLE_FROM:
        return "unstable"
    return "potentially unstable" if total >= SINS_DOUBTFUL_FROM else "stable"


def genant(height_loss_pct: Decimal) -> int:
    """Genant's semiquantitative grade of a vertebra's height loss."""
    if height_loss_pct > GENANT_SEVERE_PCT:
        return 3
    if height_loss_pct >= GENANT_MODERATE_PCT:
        return 2
    return 1 if height_loss_pct >= GENANT_MILD_PCT else 0
