"""How certain a category is: the same judgement on measurements drawn from their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from imaging_pipeline.criteria.best import Course
from imaging_pipeline.criteria.evidence import Record, View
from imaging_pipeline.domain.case import Measurement
from imaging_pipeline.domain.quantities import HU

DRAWS = 400
_SEED = 20231018
#: Half a 95 % interval in standard deviations, if the error is normal.
_HALF_WIDTH_IN_SD = 1.959964

#: Probability of each other category at one visit, in percent; None where an interval it rests on is not known.
Others = Mapping[str, float] | None

#: What one of a measurement's two intervals says: where the true value lies, or where another reader's would.
Interval = Callable[[Measurement], tuple[float | None, float | None]]


def of_the_value(measurement: Measurement) -> tuple[float | None, float | None]:
    """Where the true value lies, as far as this outline of it can tell."""
    return measurement.lower95, measurement.upper95


def between_readers(measurement: Measurement) -> tuple[float | None, float | None]:
    """Where another reader's value would lie.

    *Source*: limits of agreement of Yoon et al. 2016. Drawn anew at each visit they give a change
    that scatters as widely as published for changes between readers, -31 to +30 %.
    """
    return measurement.reader_lower95, measurement.reader_upper95


def other_categories(
    record: Record, view: View, course: Course, judge: Callable[[Record], Course], interval: Interval
) -> tuple[Others, ...]:
    """For each visit the share of draws, in percent, that fell into each other category.

    Errors are taken as normal and independent; between visits they are not quite,
    so the shares are rather too large than too small.
    """
    known = _intervals_known(record, course, interval)
    if not any(known):
        return (None,) * len(known)
    counts: list[Counter[str]] = [Counter() for _ in known]
    for drawn in _drawn(record, view.quantities, interval):
        for count, judgement, stated in zip(counts, judge(drawn).judgements, course.judgements, strict=True):
            if judgement.overall is not None and judgement.overall != stated.overall:
                count[judgement.overall] += 1
    shares = ({code: 100 * number / DRAWS for code, number in count.most_common()} for count in counts)
    return tuple(share if is_known else None for share, is_known in zip(shares, known, strict=True))


def _intervals_known(record: Record, course: Course, interval: Interval) -> list[bool]:
    """For each visit after baseline whether it rests on measurements, and all, there and before, have intervals."""
    used = [
        [record.named(name, visit) for name in judgement.used]
        for judgement, visit in zip(course.judgements, record.visits, strict=True)
    ]
    bounded = [
        all(measurement is not None and None not in interval(measurement) for measurement in here) for here in used
    ]
    return [number > 0 and bool(here) and all(bounded[: number + 1]) for number, here in enumerate(used)]


def _deviation(measurement: Measurement, interval: Interval) -> float:
    """The standard deviation of a value, from the longer side of its interval: nature's bound may cut the other."""
    bounds = [bound for bound in interval(measurement) if bound is not None]
    return max((abs(bound - measurement.value) for bound in bounds), default=0.0) / _HALF_WIDTH_IN_SD


def _drawn(record: Record, quantities: frozenset[str], interval: Interval) -> Iterator[Record]:
    """The record with each value of these quantities drawn anew from its interval, as often as there are draws."""
    uncertain = [
        (place, quantity)
        for place, believed in sorted(record.believed.items())
        for quantity in sorted(quantities & believed.keys())
        if _deviation(believed[quantity], interval) > 0
    ]
    measurements = [record.believed[place][quantity] for place, quantity in uncertain]
    least = [-np.inf if measurement.unit == HU else 0.0 for measurement in measurements]
    means, deviations = [item.value for item in measurements], [_deviation(item, interval) for item in measurements]
    random = np.random.default_rng(_SEED)
    for _ in range(DRAWS):
        values = random.normal(means, deviations)
        drawn = {place: dict(believed) for place, believed in record.believed.items()}
        rounded = np.round(np.maximum(values, least), 3).tolist()
        for (place, quantity), measurement, value in zip(uncertain, measurements, rounded, strict=True):
            drawn[place][quantity] = replace(measurement, value=value)
        yield replace(record, believed=drawn)
