"""How the pages say things: numbers with their units, response words, what needs attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from imaging_pipeline.domain.case import Case, Measurement, Reported, Visit
from imaging_pipeline.domain.quantities import CATALOGUE, MM3
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.tables import chosen, number, printed

#: UCUM as people read it.
UNITS = {"[hnsf'U]": "HU", "mm2": "mm²", "mm3": "mm³", "1": ""}

#: Between a number and its unit, which must not part at the end of a line.
NARROW = "\u202f"

RESPONSES = {
    "CR": "complete response",
    "PR": "partial response",
    "SD": "stable disease",
    "PD": "progressive disease",
    "UPD": "unconfirmed progression",
    "CPD": "confirmed progression",
    "NE": "not evaluable",
    "NED": "no evidence of disease",
    "NON-CR/NON-PD": "neither complete response nor progression",
    "REVIEW": "a reader must decide",
}

#: Colour of a response on the page: good, same, bad or open.
TONES = {
    **dict.fromkeys(("CR", "PR", "NED"), "good"),
    **dict.fromkeys(("SD", "NON-CR/NON-PD"), "same"),
    **dict.fromkeys(("PD", "UPD", "CPD"), "bad"),
}

_MARKS = {Severity.ERROR: "✕", Severity.WARNING: "▲", Severity.NOTE: "i"}


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing to look at, worst first on the page."""

    severity: Severity
    code: str
    subject: str
    found: str
    expected: str
    remedy: str

    @property
    def mark(self) -> str:
        """A sign beside the colour, so that colour is not needed."""
        return _MARKS[self.severity]


def attention(case: Case) -> tuple[Attention, ...]:
    """What a reader should see first: problems, contradictions with the report, visits that do not compare."""
    items = [*of_problems(case.problems), *_contradictions(case), *_incomparable(case)]
    return tuple(sorted(items, key=_urgency))


def of_problems(problems: Iterable[Problem]) -> tuple[Attention, ...]:
    """Problems as things to look at, worst first."""
    items = [
        Attention(each.severity, each.code, each.subject, each.found, each.expected, each.remedy) for each in problems
    ]
    return tuple(sorted(items, key=_urgency))


def contradicts(reported: Measurement, measured: Measurement) -> bool:
    """Whether a stated value lies outside the interval of the measured one, or differs where there is no interval."""
    low = measured.value if measured.lower95 is None else measured.lower95
    high = measured.value if measured.upper95 is None else measured.upper95
    return not low <= reported.value <= high


def reported_beside(case: Case) -> tuple[tuple[Measurement, Measurement | None], ...]:
    """Every stated value with the measured one of the same lesion, visit and quantity, where there is one."""
    numbers = chosen(case.measurements)
    return tuple(
        (each, numbers.get((each.lesion_id, each.visit, each.quantity)))
        for each in case.measurements
        if isinstance(each.evidence, Reported)
    )


def days(visits: tuple[Visit, ...]) -> tuple[float, ...]:
    """Days since the first visit; the visits' numbers where a date is not one."""
    try:
        dates = [date.fromisoformat(visit.date) for visit in visits]
    except ValueError:
        return tuple(float(visit.number) for visit in visits)
    return tuple(float((each - dates[0]).days) for each in dates)


def unit(ucum: str) -> str:
    """A unit as people read it."""
    return UNITS.get(ucum, ucum)


def shown(value: float, quantity: str) -> str:
    """A number as the tables of a page show it: as printed everywhere, but volumes in ml."""
    if CATALOGUE[quantity].unit == MM3:
        return signed(f"{value / 1000:.{2 if abs(value) >= 1000 else 3}f}")
    return signed(number(value, quantity))


def shown_unit(quantity: str) -> str:
    """The unit of `shown`."""
    return "ml" if CATALOGUE[quantity].unit == MM3 else unit(CATALOGUE[quantity].unit)


def with_unit(measurement: Measurement) -> str:
    """A value and its unit."""
    return f"{signed(printed(measurement))}{NARROW}{unit(measurement.unit)}".strip()


def interval(measurement: Measurement, written: Callable[[float, str], str] = shown) -> str:
    """The 95 % interval; empty where the uncertainty is unknown."""
    if measurement.lower95 is None or measurement.upper95 is None:
        return ""
    low, high = (signed(written(bound, measurement.quantity)) for bound in (measurement.lower95, measurement.upper95))
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def change(measurement: Measurement, baseline: Measurement | None) -> str:
    """The change from baseline: of sizes in per cent, of all else in its own unit, as shares of near zero mislead."""
    if baseline is None or baseline is measurement:
        return ""
    if measurement.unit.startswith("mm") and baseline.value > 0:
        return percent((measurement.value / baseline.value - 1) * 100)
    decimals = CATALOGUE[measurement.quantity].decimals
    points = "points" if measurement.unit == "%" else unit(measurement.unit)
    return f"{signed(f'{measurement.value - baseline.value:+.{decimals}f}')}{NARROW}{points}".strip()


def percent(value: Decimal | float | None) -> str:
    """A change in percent with its sign; empty for none."""
    return "" if value is None else f"{signed(f'{value:+.1f}')}{NARROW}%"


def signed(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def response_words(code: str) -> str:
    """What a response code means; iRECIST's codes are RECIST's with an i before."""
    return RESPONSES.get(code.removeprefix("i"), "")


def tone(code: str) -> str:
    """The colour of a response: good, same, bad or open."""
    return TONES.get(code.removeprefix("i"), "open") if code else "none"


def _contradictions(case: Case) -> list[Attention]:
    visits = {visit.number: visit for visit in case.visits}
    return [
        Attention(
            Severity.WARNING,
            "W-REPORTED",
            f"{stated.lesion_id} at {visits[stated.visit].date}",
            f"{CATALOGUE[stated.quantity].label} {with_unit(stated)} reported ({stated.evidence.source}"
            + (f", {stated.modality}" if stated.modality else "")
            + f"), {with_unit(measured)} measured"
            + (f" on {measured.modality}" if measured.modality else ""),
            "the reported value inside the measured interval",
            "check which of the two is right",
        )
        for stated, measured in reported_beside(case)
        if measured is not None and isinstance(stated.evidence, Reported) and contradicts(stated, measured)
    ]


def _incomparable(case: Case) -> list[Attention]:
    visits = {visit.number: visit for visit in case.visits}
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for each in case.measurements:
        if each.comparable is False:
            groups.setdefault((each.lesion_id, each.visit), []).append(each)
    return [
        Attention(
            Severity.WARNING,
            "W-COMPARE",
            f"{lesion_id} at {visits[visit].date}",
            f"{_listed(CATALOGUE[each.quantity].label for each in group)} not comparable with baseline"
            + (f" ({_listed(flag for each in group for flag in each.flags)})" if any(g.flags for g in group) else ""),
            "the baseline's technique",
            "do not read the change as response",
        )
        for (lesion_id, visit), group in groups.items()
    ]


def _listed(words: Iterable[str], most: int = 4) -> str:
    distinct = list(dict.fromkeys(words))
    rest = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + rest


def _urgency(item: Attention) -> int:
    return [Severity.ERROR, Severity.WARNING, Severity.NOTE].index(item.severity)
