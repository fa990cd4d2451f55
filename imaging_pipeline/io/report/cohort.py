"""What the page of all patients shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from imaging_pipeline.domain.case import Assessment, Case
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.attention import urgency
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.io.report.plots import Tick, nice_ticks, tick_label

#: Problems of one code written out; the rest is counted, and stands in issues.json.
SHOWN_PER_CODE = 20

#: More threads than this are drawn fainter, so that the crowd shows as shade.
CROWD = 150

#: RECIST 1.1: partial response at 30 % below baseline; progression at 20 % above (drawn, not judged, here).
RECIST_LINES = (-30.0, 20.0)

#: Lanes of the swimmer plot; of more patients the longest followed are shown.
SWIMMERS = 30
SWIMMER_WIDTH, SWIMMER_LEFT, LANE = 1160.0, 120.0, 20.0

#: The widest bar of a waterfall, and what the code of a response needs beside it.
WIDEST_BAR = 60.0
ROOM_FOR_CODE = 24.0

WIDTH, HEIGHT = 560.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 46.0, 12.0, 28.0


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One patient on the cohort page."""

    case: str
    visits: int
    lesions: int
    first: str
    last: str
    latest: str
    best: str
    change: float | None
    best_change: float | None
    errors: int
    warnings: int

    @property
    def link(self) -> str:
        """The patient's page."""
        return _link(self.case)


@dataclass(frozen=True, slots=True)
class Bar:
    """One patient's best change in the waterfall."""

    left: float
    width: float
    top: float
    height: float
    tone: str
    note: str
    link: str
    label: str


@dataclass(frozen=True, slots=True)
class Thread:
    """One patient's change over time in the spider plot."""

    points: str
    end: tuple[float, float]
    tone: str
    note: str
    link: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Time under one response, or under one treatment, in a lane of the swimmer plot."""

    left: float
    width: float
    tone: str
    label: str
    note: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One patient's time in the swimmer plot."""

    top: float
    case: str
    link: str
    responses: tuple[Stretch, ...]
    treatments: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Swimmer:
    """Patients' times beside one another, the longest first."""

    lanes: tuple[Lane, ...]
    of: int
    across: tuple[Tick, ...]
    height: float
    width: float = SWIMMER_WIDTH
    left: float = SWIMMER_LEFT
    lane: float = LANE


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes around bars or threads."""

    up: tuple[Tick, ...]
    across: tuple[Tick, ...]
    guides: tuple[Tick, ...]
    zero: float
    bars: tuple[Bar, ...] = ()
    threads: tuple[Thread, ...] = ()
    crowded: bool = False
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Found:
    """A problem and the patient it belongs to; "" for one of the whole run."""

    item: Problem
    case: str

    @property
    def link(self) -> str:
        """The patient's page."""
        return _link(self.case)


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """Problems of one code."""

    shown: tuple[Found, ...]
    count: int


@dataclass(frozen=True, slots=True)
class CohortPage:
    """Everything on the page of all patients."""

    rows: tuple[PatientRow, ...]
    problems: tuple[ProblemGroup, ...]
    responses: tuple[tuple[str, int], ...]
    waterfall: Frame | None
    spider: Frame | None
    swimmer: Swimmer | None
    criterion: str


def cohort_page(cases: Sequence[Case], problems: Sequence[Problem]) -> CohortPage:
    """The page of all patients; the patients with problems come first."""
    rows = sorted((_row(case) for case in cases), key=lambda row: (-row.errors, -row.warnings, row.case))
    counts = Counter(row.best or "none" for row in rows)
    criteria = sorted({case.assessments[0].criterion for case in cases if case.assessments})
    return CohortPage(
        tuple(rows),
        _grouped(cases, problems),
        tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        _waterfall(rows),
        _spider(cases, {row.case: row for row in rows}),
        _swimmer(cases),
        ", ".join(criteria),
    )


def _row(case: Case) -> PatientRow:
    assessments = _first_criterion(case)
    changes = [
        float(each.change_from_baseline_pct) for each in assessments if each.change_from_baseline_pct is not None
    ]
    last = assessments[-1] if assessments else None
    severities = Counter(problem.severity for problem in case.problems)
    return PatientRow(
        case.case,
        len(case.visits),
        len(case.lesions),
        case.visits[0].date if case.visits else "",
        case.visits[-1].date if case.visits else "",
        last.overall if last else "",
        last.best_overall_response if last else "",
        changes[-1] if changes else None,
        min(changes) if changes else None,
        severities[Severity.ERROR],
        severities[Severity.WARNING],
    )


def _first_criterion(case: Case) -> tuple[Assessment, ...]:
    return tuple(each for each in case.assessments if each.criterion == case.assessments[0].criterion)


def _grouped(cases: Sequence[Case], problems: Sequence[Problem]) -> tuple[ProblemGroup, ...]:
    """All problems by code, worst first; each names its patient where it has one."""
    of_cases = {problem for case in cases for problem in case.problems}
    found = [Found(problem, "") for problem in problems if problem not in of_cases]
    found += [Found(problem, case.case) for case in cases for problem in case.problems]
    groups: dict[str, list[Found]] = {}
    for each in sorted(found, key=lambda each: urgency(each.item)):
        groups.setdefault(each.item.code, []).append(each)
    return tuple(ProblemGroup(tuple(group[:SHOWN_PER_CODE]), len(group)) for group in groups.values())


def _waterfall(rows: Sequence[PatientRow]) -> Frame | None:
    changed = sorted((row for row in rows if row.best_change is not None), key=lambda row: (-_best(row), row.case))
    if not changed:
        return None
    place, up = _vertical([_best(row) for row in changed])
    step = min((WIDTH - LEFT - RIGHT) / len(changed), WIDEST_BAR)
    bars = tuple(
        Bar(
            round(LEFT + number * step, 2),
            # A gap between bars while they are wide enough to show one.
            round(step * 0.8 if step > 4 else step, 2),
            min(place(_best(row)), place(0)),
            max(round(abs(place(_best(row)) - place(0)), 1), 0.6),
            wording.tone(row.best),
            f"{row.case}: best change {wording.percent(row.best_change)}, best response {row.best or 'none'}",
            row.link,
            row.best if step > ROOM_FOR_CODE else "",
        )
        for number, row in enumerate(changed)
    )
    return Frame(up, (), _guides(place), place(0), bars=bars)


def _spider(cases: Sequence[Case], rows: dict[str, PatientRow]) -> Frame | None:
    courses = {case.case: course for case in cases if len(course := _course(case)) > 1}
    if not courses:
        return None
    place, up = _vertical([change for course in courses.values() for _, change in course])
    ticks = nice_ticks(0.0, max(course[-1][0] for course in courses.values()))
    threads = []
    for name, course in courses.items():
        points = [(_across(day, ticks), place(change)) for day, change in course]
        row = rows[name]
        note = (
            f"{name}: {wording.percent(course[-1][1])} at day {course[-1][0]:.0f}, best response {row.best or 'none'}"
        )
        path = " ".join(f"{left},{top}" for left, top in points)
        threads.append(Thread(path, points[-1], wording.tone(row.best), note, row.link))
    across = tuple(Tick(_across(day, ticks), f"{day:.0f}") for day in ticks)
    return Frame(up, across, _guides(place), place(0), threads=tuple(threads), crowded=len(threads) > CROWD)


def _course(case: Case) -> list[tuple[float, float]]:
    """Day and change from baseline of each judged visit; the baseline itself is day 0 and no change."""
    days = Lookup(case).days
    course = [
        (days[each.visit], float(each.change_from_baseline_pct))
        for each in _first_criterion(case)
        if each.change_from_baseline_pct is not None and days[each.visit] > 0
    ]
    return [(0.0, 0.0), *course]


def _swimmer(cases: Sequence[Case]) -> Swimmer | None:
    lookups = [Lookup(case) for case in cases if len(case.visits) > 1]
    if not lookups:
        return None
    longest = sorted(lookups, key=lambda each: (-_followed(each), each.case.case))[:SWIMMERS]
    ticks = nice_ticks(0.0, max(map(_followed, longest)), 8)
    place = partial(_along, last=ticks[-1])
    return Swimmer(
        tuple(_lane(each, number, place) for number, each in enumerate(longest)),
        len(lookups),
        tuple(Tick(place(day), f"{day:.0f}") for day in ticks),
        len(longest) * LANE + 22,
    )


def _followed(lookup: Lookup) -> float:
    return max(lookup.days.values())


def _along(day: float, last: float) -> float:
    return round(SWIMMER_LEFT + (SWIMMER_WIDTH - SWIMMER_LEFT - 20) * day / last, 1)


def _lane(lookup: Lookup, number: int, place: Callable[[float], float]) -> Lane:
    end = _followed(lookup)
    case = lookup.case
    overall = {each.visit: each.overall for each in _first_criterion(case)}
    starts = [lookup.days[visit.number] for visit in case.visits]
    responses = tuple(
        # Nothing is known beyond the last visit: its response is a narrow stretch with its code beside it.
        _stretch(start, stop, overall.get(visit.number, ""), f"{case.case}, {visit.date}", place)
        for visit, start, stop in zip(case.visits, starts, [*starts[1:], 1.01 * end], strict=True)
    )
    treatments = tuple(
        Stretch(
            place(max(each.start, 0.0)), place(min(each.end, end)) - place(max(each.start, 0.0)), "", "", each.label
        )
        for each in lookup.periods
    )
    return Lane(number * LANE, case.case, _link(case.case), responses, treatments)


def _stretch(start: float, stop: float, code: str, where: str, place: Callable[[float], float]) -> Stretch:
    width = round(place(stop) - place(start), 1)
    note = f"{where}, day {start:.0f}: {code or 'no response'}"
    return Stretch(place(start), width, wording.tone(code), code, note)


class _Vertical:
    def __init__(self, low: float, high: float) -> None:
        self._low, self._factor = low, (HEIGHT - BOTTOM - TOP) / (high - low)

    def __call__(self, change: float) -> float:
        return round(HEIGHT - BOTTOM - (change - self._low) * self._factor, 1)


def _vertical(changes: Sequence[float]) -> tuple[_Vertical, tuple[Tick, ...]]:
    ticks = nice_ticks(min(*changes, *RECIST_LINES), max(*changes, *RECIST_LINES))
    place = _Vertical(ticks[0], ticks[-1])
    return place, tuple(Tick(place(tick), tick_label(tick, ticks)) for tick in ticks)


def _across(day: float, ticks: Sequence[float]) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * day / ticks[-1], 1)


def _guides(place: _Vertical) -> tuple[Tick, ...]:
    return tuple(Tick(place(line), f"{wording.signed(f'{line:+.0f}')} %") for line in RECIST_LINES)


def _link(case: str) -> str:
    return f"cases/{quote(case, safe='')}/report.html"


def _best(row: PatientRow) -> float:
    assert row.best_change is not None
    return row.best_change
