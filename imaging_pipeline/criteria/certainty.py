"""How certain a category is: the same judgement on measurements drawn from their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from imaging_pipeline.criteria.best import Course
from imaging_pipeline.criteria.evidence import Record, View, quantities_of
from imaging_pipeline.criteria.exact import ZERO
from imaging_pipeline.criteria.timeline import SIZES, Finding, Timeline
from imaging_pipeline.domain.case import Measurement

DRAWS = 400
_SEED = 20231018
#: A 95 % interval is this many standard deviations wide, if its error is normal.
_WIDTH_IN_SD = 2 * 1.959964

#: Standard deviation by visit (counted from 0), lesion and field of its finding.
Spread = Mapping[tuple[int, str, str], float]


def spread_of(record: Record, view: View) -> Spread:
    """The standard deviation of each believed size, from its interval."""
    deviations = {
        (number, lesion.lesion_id, field): _deviation(record.at(lesion, visit).get(quantity))
        for number, visit in enumerate(record.visits)
        for lesion in record.lesions
        for field, quantity in quantities_of(lesion, view).items()
    }
    return {place: deviation for place, deviation in deviations.items() if deviation is not None}


def _deviation(measurement: Measurement | None) -> float | None:
    if measurement is None or measurement.lower95 is None or measurement.upper95 is None:
        return None
    return (measurement.upper95 - measurement.lower95) / _WIDTH_IN_SD


def other_categories(
    timeline: Timeline, course: Course, spread: Spread, judge: Callable[[Timeline], Course]
) -> tuple[Mapping[str, float], ...]:
    """For each visit the share of draws, in percent, that fell into each other category.

    Errors are taken as normal and independent; between visits they are not quite,
    so the shares are rather too large than too small.
    """
    random = np.random.default_rng(_SEED)
    counts: list[Counter[str]] = [Counter() for _ in timeline.visits]
    for _ in range(DRAWS):
        drawn = judge(_drawn(timeline, spread, random))
        for count, judgement, stated in zip(counts, drawn.judgements, course.judgements, strict=True):
            if judgement.overall is not None and judgement.overall != stated.overall:
                count[judgement.overall] += 1
    return tuple({code: 100 * number / DRAWS for code, number in count.most_common()} for count in counts)


def _drawn(timeline: Timeline, spread: Spread, random: np.random.Generator) -> Timeline:
    visits = tuple(
        replace(
            visit,
            measurements={
                lesion_id: _drawn_finding(finding, number, lesion_id, spread, random)
                for lesion_id, finding in visit.measurements.items()
            },
        )
        for number, visit in enumerate(timeline.visits)
    )
    return Timeline(timeline.lesions, visits)


def _drawn_finding(
    finding: Finding, visit: int, lesion_id: str, spread: Spread, random: np.random.Generator
) -> Finding:
    changed: dict[str, Any] = {}
    for field in SIZES:
        value: Decimal | None = getattr(finding, field)
        deviation = spread.get((visit, lesion_id, field))
        if value is not None and deviation is not None:
            drawn = Decimal(repr(round(random.normal(float(value), deviation), 3)))
            changed[field] = drawn if field == "mean_hu" else max(drawn, ZERO)
    return replace(finding, **changed) if changed else finding
