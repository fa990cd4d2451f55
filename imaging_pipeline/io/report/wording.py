"""How the pages say things: numbers with their units, responses, problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from imaging_pipeline.domain.case import Assessment, Measurement, Score
from imaging_pipeline.domain.quantities import CATALOGUE, MM3
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.tables import number, printed

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

#: What a number's flags say; the tables hold the codes.
FLAGS = {
    "W-COMPARE-KVP": "other tube voltage",
    "W-COMPARE-KERNEL": "other kernel",
    "W-COMPARE-THICKNESS": "other slice thickness",
    "W-COMPARE-CONTRAST": "other contrast",
    "W-COMPARE-SCANNER": "other scanner",
    "W-COMPARE-SEQUENCE": "other sequence",
    "W-COMPARE-MODALITY": "other modality",
    "W-HU-AIR": "air inside the outline,",
    "W-HU-METAL": "metal inside the outline,",
}

SCORES = {"genant": "Genant grade", "sins": "SINS"}

#: A sign beside the colour of a problem, so that the colour is not needed.
MARKS = {Severity.ERROR: "✕", Severity.WARNING: "▲", Severity.NOTE: "i"}


def shown(value: float, quantity: str) -> str:
    """A number as the tables of a page show it: as printed everywhere, but volumes in ml."""
    if CATALOGUE[quantity].unit == MM3:
        return signed(f"{value / 1000:.{2 if abs(value) >= 1000 else 3}f}")
    return signed(number(value, quantity))


def shown_unit(quantity: str) -> str:
    """The unit of `shown`."""
    return "ml" if CATALOGUE[quantity].unit == MM3 else unit(CATALOGUE[quantity].unit)


def unit(ucum: str) -> str:
    """A unit as people read it."""
    return UNITS.get(ucum, ucum)


def with_unit(measurement: Measurement) -> str:
    """A value as printed everywhere, and its unit."""
    return f"{signed(printed(measurement))}{NARROW}{unit(measurement.unit)}".strip()


def with_source(measurement: Measurement) -> str:
    """A value, its unit, and what it was taken on."""
    return with_unit(measurement) + (f" on {measurement.modality}" if measurement.modality else "")


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


def confidence(share: float) -> str:
    """How sure a segmenter is of its outline."""
    return f"outline confidence {share * 100:.0f}{NARROW}%"


def flag(text: str) -> str:
    """A flag in words; what follows its code, a share, stays."""
    code, _, rest = text.partition(" ")
    return f"{FLAGS.get(code, code.replace('_', ' '))} {rest}".strip()


def other_categories(assessment: Assessment) -> Iterator[str]:
    """Which other category a visit may as well be: by the intervals of the numbers, and by another reader."""
    own, readers = assessment.other_categories, assessment.other_reader_categories
    if own is not None:
        yield f"the intervals allow {_shares(own)}" if own else "the intervals leave no other category"
    if readers is not None:
        yield f"another reader might find {_shares(readers)}" if readers else "another reader would find the same"


def _shares(others: Mapping[str, float]) -> str:
    likeliest = sorted(others.items(), key=lambda other: -other[1])
    return ", ".join(f"{code} ({f'{share:.0f}' if share >= 1 else '< 1'}{NARROW}%)" for code, share in likeliest)


def score(found: Score) -> str:
    """A score with its range; the range alone where there is no one number."""
    if found.least == found.most:
        return str(found.least)
    span = f"{found.least}–{found.most}"
    return span if found.value is None else f"{found.value} ({span})"


def signed(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def subjects(problems: Sequence[Problem]) -> str:
    """What problems are about: of several, the lesions without their visits."""
    if len(problems) == 1:
        return problems[0].subject
    return listed(problem.subject.partition(" at ")[0] for problem in problems)


def alike(problems: Iterable[Problem]) -> tuple[tuple[Problem, ...], ...]:
    """Problems that differ only in what they are about, together."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.found, problem.expected, problem.remedy), []).append(problem)
    return tuple(map(tuple, groups.values()))


def where(problems: Iterable[Problem]) -> str:
    """What problems with one finding are about: each thing once, with the visits it was found at."""
    at: dict[str, list[str]] = {}
    for problem in problems:
        thing, _, visit = problem.subject.partition(" at ")
        at.setdefault(thing, []).extend([visit] if visit else [])
    return "; ".join(f"{thing} at {', '.join(visits)}" if visits else thing for thing, visits in at.items())


def listed(words: Iterable[str], most: int = 4) -> str:
    """Different words, the first few of them."""
    distinct = list(dict.fromkeys(words))
    rest = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + rest


def response_words(code: str) -> str:
    """What a response code means; iRECIST's codes are RECIST's with an i before."""
    return RESPONSES.get(code.removeprefix("i"), "")


def tone(code: str) -> str:
    """The colour of a response: good, same, bad or open."""
    return TONES.get(code.removeprefix("i"), "open") if code else "none"
