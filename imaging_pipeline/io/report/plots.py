"""Charts as geometry: where lines, bars and ticks lie, for the templates to draw in the reader's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 12.0, 26.0
#: Height of the lane above the plot that names a treatment.
LANE = 14.0
#: Room a date needs below the axis.
DATE_WIDTH = 68.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a course, its interval, and what it says when pointed at."""

    day: float
    value: float
    note: str
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """One quantity over time."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A sample on the chart; `low` and `high` are the ends of its interval bar."""

    left: float
    top: float
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Line:
    """A course on the chart."""

    name: str
    marks: tuple[Mark, ...]

    @property
    def points(self) -> str:
        """The line as SVG writes it."""
        return " ".join(f"{mark.left},{mark.top}" for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Period:
    """A treatment: its days, and its name."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """A treatment behind the plot, and the lane above it that names it."""

    left: float
    width: float
    lane: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Courses over time in a common frame."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    bands: tuple[Band, ...]
    height: float
    top: float
    bottom: float
    width: float = WIDTH
    left: float = LEFT
    right: float = WIDTH - RIGHT


def chart(
    title: str,
    unit: str,
    courses: Sequence[Course],
    dates: Sequence[tuple[float, str]],
    *,
    from_zero: bool,
    least_span: float,
    periods: Sequence[Period] = (),
) -> Chart | None:
    """A chart of the courses that have values; None when none has two, for one value is no course.

    Parameters
    ----------
    dates
        Day and label of each visit.
    from_zero
        Whether the axis starts at zero, as it must for sizes and shares.
    least_span
        What the axis covers at least, so that noise does not look like change.
    periods
        Treatments, drawn as bands behind the lines.
    """
    courses = [course for course in courses if course.samples]
    if all(len(course.samples) < 2 for course in courses):
        return None
    samples = [sample for course in courses for sample in course.samples]
    bounds = [bound for each in samples for bound in (each.value, each.lower, each.upper) if bound is not None]
    low = 0.0 if from_zero else min(bounds)
    ticks = nice_ticks(low, max(*bounds, low + least_span))
    top = TOP + LANE * len(periods)
    bottom = top + HEIGHT - TOP - BOTTOM
    scale = _Scale(ticks[0], ticks[-1], bottom, top)
    time = _Scale(dates[0][0], max(dates[-1][0], dates[0][0] + 1), LEFT + 16, WIDTH - RIGHT - 22)
    return Chart(
        title,
        unit,
        tuple(Line(course.name, tuple(_mark(sample, time, scale) for sample in course.samples)) for course in courses),
        _dated(dates, time),
        tuple(Tick(scale(value), tick_label(value, ticks)) for value in ticks),
        tuple(_band(period, lane, time) for lane, period in enumerate(periods)),
        bottom + BOTTOM,
        top,
        bottom,
    )


def nice_ticks(low: float, high: float, count: int = 4) -> tuple[float, ...]:
    """Round numbers, about `count` steps of them, that enclose the range."""
    span = max(high - low, abs(high) * 1e-3, 1e-6)
    magnitude = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude * count >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(number * step for number in range(first, max(last, first + 1) + 1))


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """A tick's number with no more decimals than its step needs, and a true minus sign."""
    step = ticks[1] - ticks[0]
    decimals = next(digits for digits in range(10) if abs(round(step, digits) - step) < step * 1e-6)
    return f"{value:.{decimals}f}".replace("-", "\u2212")


class _Scale:
    """A value's place between two ends, in tenths of a unit: finer would only make the page larger."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._factor = (end - start) / (high - low)

    def __call__(self, value: float) -> float:
        # What lies below the axis, as the interval of a share near zero may, ends at the axis.
        return round(self._start + (max(value, self._low) - self._low) * self._factor, 1)


def _mark(sample: Sample, time: _Scale, scale: _Scale) -> Mark:
    low, high = (None if bound is None else scale(bound) for bound in (sample.lower, sample.upper))
    return Mark(time(sample.day), scale(sample.value), low, high, sample.note)


def _band(period: Period, lane: int, time: _Scale) -> Band:
    left, right = (min(max(time(day), LEFT), WIDTH - RIGHT) for day in (period.start, period.end))
    return Band(left, round(right - left, 1), TOP - 4 + lane * LANE, period.label)


def _dated(dates: Sequence[tuple[float, str]], time: _Scale) -> tuple[Tick, ...]:
    # Every visit has a tick; a label only where there is room for it.
    ticks: list[Tick] = []
    free_from = -math.inf
    for day, label in dates:
        place = time(day)
        ticks.append(Tick(place, label if place >= free_from else ""))
        free_from = place + DATE_WIDTH if place >= free_from else free_from
    return tuple(ticks)
