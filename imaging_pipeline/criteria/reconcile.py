"""What a radiologist wrote beside what was measured: contradictions are shown with their consequence, not averaged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Literal

from imaging_pipeline.config import LesionEntry, ReportedEntry
from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.evidence import MEASURING, Believed, believed, value_of
from imaging_pipeline.criteria.exact import ZERO, as_decimal, change_pct, exactly, plain, signed_pct
from imaging_pipeline.domain.case import Assessment, Measurement, Reported, Visit
from imaging_pipeline.domain.lesions import Kind, Role
from imaging_pipeline.domain.quantities import CATALOGUE, MM
from imaging_pipeline.errors import Problem

Direction = Literal["unchanged", "smaller", "larger", "gone"]

#: What one reader gives where another gives 1.
BETWEEN_READERS = (Decimal("0.779"), Decimal("1.254"))

_MM_PER_UNIT = {"mm": Decimal(1), "cm": Decimal(10)}
_RESPONSES = ("CR", "PR", "SD", "PD", "NE", "NON-CR/NON-PD", "NED")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(mm|cm)\b")
#: Words about size, in the order they are looked for: "no significant alteration" before "alteration".
_DIRECTIONS: tuple[tuple[Direction, re.Pattern[str]], ...] = (
    (
        "unchanged",
        re.compile(r"\bno (significant |relevant )?(change|alteration|difference|growth)|\b(unchanged|stable)\b"),
    ),
    ("gone", re.compile(r"\b(disappeared|vanished|gone|resolved)\b|\bno longer (seen|visible)\b")),
    ("smaller", re.compile(r"\b(smaller|decreas\w+|reduc\w+|regress\w+|shr[aiu]nk\w*)\b")),
    ("larger", re.compile(r"\b(larger|bigger|increas\w+|enlarg\w+|grown|grew|progress\w+)\b")),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a statement says of size or response, as far as it says it in words that are known."""

    entry: ReportedEntry
    response: str = ""
    direction: Direction | None = None
    change_mm: Decimal | None = None

    @property
    def words(self) -> str:
        """The reading with its source; the statement itself may hold what should not leave."""
        if self.response:
            return f"{self.response} stated ({self.entry.source})"
        amount = f" by {plain(abs(self.change_mm))} mm" if self.change_mm is not None else ""
        return f"{self.direction}{amount} ({self.entry.source})"

    @property
    def says_something(self) -> bool:
        """Whether anything was understood."""
        return bool(self.response or self.direction)


def read_statement(entry: ReportedEntry) -> Reading:
    """A response code, or whether a lesion became larger or smaller and by how much; other words are left alone."""
    text = entry.statement.strip()
    if text.upper() in _RESPONSES:
        return Reading(entry, response=text.upper())
    direction = next((found for found, words in _DIRECTIONS if words.search(text.lower())), None)
    amount = _AMOUNT.search(text.lower())
    if amount is None or direction not in ("smaller", "larger"):
        return Reading(entry, direction=direction)
    size = Decimal(amount[1]) * _MM_PER_UNIT[amount[2]]
    return Reading(entry, direction=direction, change_mm=-size if direction == "smaller" else size)


def is_length(entry: ReportedEntry) -> bool:
    """Whether a reported value is a length in a unit that is known."""
    quantity = CATALOGUE.get(entry.quantity)
    return entry.value is not None and entry.unit in _MM_PER_UNIT and quantity is not None and quantity.unit == MM


def size_mm(entry: ReportedEntry) -> Decimal:
    """A reported length in millimetres."""
    return (entry.value or ZERO) * _MM_PER_UNIT[entry.unit]


def reported(lesions: Sequence[LesionEntry], visits: tuple[Visit, ...]) -> tuple[Measurement, ...]:
    """Reported lengths as measurements, in the catalogue's unit, with their source as evidence."""
    return tuple(
        Measurement(
            lesion_id=lesion.id,
            visit=visit.number,
            quantity=entry.quantity,
            value=CATALOGUE[entry.quantity].rounded(float(size_mm(entry))),
            unit=MM,
            evidence=Reported(entry.source),
            modality=entry.modality,
        )
        for lesion in lesions
        for visit in visits
        for entry in lesion.reported
        if is_length(entry) and _is_of(entry, visit, visits[0])
    )


@exactly
def reconcile(
    lesions: Sequence[LesionEntry],
    visits: tuple[Visit, ...],
    measurements: tuple[Measurement, ...],
    assessments: tuple[Assessment, ...],
) -> tuple[Problem, ...]:
    """Reported values and statements are compared with each other and with the measurements; nothing is averaged.

    Parameters
    ----------
    lesions
        What the lesion file says, with the reported entries of each lesion.
    visits, measurements
        What was acquired and measured.
    assessments
        RECIST 1.1's judgements of the measurements, for the responses that were stated.
    """
    return tuple(
        problem
        for lesion in lesions
        for problem in _of_lesion(_Told(lesion, visits, measurements, assessments), assessments)
    )


class _Told:
    """What is reported and measured of one lesion, by visit."""

    def __init__(
        self,
        lesion: LesionEntry,
        visits: tuple[Visit, ...],
        measurements: tuple[Measurement, ...],
        assessments: tuple[Assessment, ...],
    ) -> None:
        self.lesion = lesion
        self.visits = visits
        self._entries = {
            visit.number: [entry for entry in lesion.reported if _is_of(entry, visit, visits[0])] for visit in visits
        }
        self._measured = [
            measurement
            for measurement in measurements
            if measurement.lesion_id == lesion.id and not isinstance(measurement.evidence, Reported)
        ]
        by_recist = (judgement for judgement in assessments if judgement.criterion == recist.NAME)
        self._added_up = {used for judgement in by_recist for used in judgement.measurements}

    def counts(self, quantity: str) -> bool:
        """Whether RECIST adds this quantity up: as it was judged; if never measured, as the lesion file has it."""
        lesion = self.lesion
        if self._measured:
            return f"{lesion.id}/{quantity}" in self._added_up
        hole = lesion.kind is Kind.BONE and lesion.role is not Role.TARGET
        diameter = "short_axis" if lesion.kind is Kind.NODE else "longest_diameter"
        return quantity == diameter and lesion.role is not Role.NON_TARGET and not hole

    def sizes(self, visit: Visit) -> list[ReportedEntry]:
        return [entry for entry in self._entries[visit.number] if is_length(entry)]

    def readings(self, visit: Visit) -> list[Reading]:
        read = [read_statement(entry) for entry in self._entries[visit.number] if entry.statement]
        return [reading for reading in read if reading.says_something]

    def measured(self, visit: Visit) -> Believed:
        return believed(measurement for measurement in self._measured if measurement.visit == visit.number)

    def place(self, visit: Visit) -> str:
        return f"{self.lesion.id} at {visit.date}"

    def sizes_before(self, visit: Visit) -> Mapping[str, Decimal]:
        """The longest diameters a stated change may be counted from: the one measured before, and those reported."""
        earlier = [before for before in self.visits if before.number < visit.number]
        known = {
            f"reported by {entry.source}": size_mm(entry)
            for before in earlier
            for entry in self.sizes(before)
            if entry.quantity == "longest_diameter"
        }
        if earlier and (last := value_of(self.measured(earlier[-1]), "longest_diameter")) is not None:
            known["measured"] = last
        return known


def _is_of(entry: ReportedEntry, visit: Visit, baseline: Visit) -> bool:
    return visit is baseline if entry.visit == "baseline" else entry.visit == visit.date


def _of_lesion(told: _Told, assessments: Iterable[Assessment]) -> Iterator[Problem]:
    judged = {judgement.visit: judgement for judgement in assessments if judgement.criterion == recist.NAME}
    yield from _not_understood(told)
    for visit in told.visits:
        yield from _sizes_against_each_other(told, visit)
        yield from _sizes_against_measured(told, visit)
        yield from _statements_against_each_other(told, visit)
        yield from _method_changed(told, visit)
        for reading in told.readings(visit):
            if reading.response:
                yield from _response_against_judgement(told, visit, reading, judged.get(visit.number))
            else:
                yield from _statement_against_measured(told, visit, reading)


def _not_understood(told: _Told) -> Iterator[Problem]:
    for entry in told.lesion.reported:
        if entry.value is not None and not is_length(entry):
            yield Problem(
                "N-REPORTED-NOT-COMPARED",
                told.lesion.id,
                f"{entry.quantity or 'a value'} in '{entry.unit}' ({entry.source})",
                "a length of the catalogue in mm or cm",
                "compare it by eye",
            )


def _sizes_against_each_other(told: _Told, visit: Visit) -> Iterator[Problem]:
    for first, second in combinations(told.sizes(visit), 2):
        comparable = (first.quantity, first.modality) == (second.quantity, second.modality)
        if comparable and size_mm(first) != size_mm(second):
            smaller, larger = sorted((size_mm(first), size_mm(second)))
            yield Problem(
                "W-REPORTED-CONTRADICTION",
                told.place(visit),
                f"{CATALOGUE[first.quantity].label} {plain(size_mm(first))} mm ({first.source}) and"
                f" {plain(size_mm(second))} mm ({second.source}):"
                f" {consequence(smaller, larger, told.counts(first.quantity))}",
                "one value",
                "ask which holds; both are kept, neither is used",
            )


def consequence(before: Decimal, after: Decimal, counts: bool) -> str:
    """What taking one size for the other would do to the response of this lesion alone.

    `counts` says that RECIST adds the size up.
    """
    change = change_pct(after, before)
    effects = []
    if counts and (code := _category(before, after)) != "SD":
        effects.append(f"RECIST {code}")
    if change is not None and abs(change) >= 10:  # Choi's bound of size
        effects.append(f"Choi {'PD' if change > 0 else 'PR'} by size")
    return f"{signed_pct(change)}, which by itself is {' and '.join(effects) or 'no change of category'}"


def _sizes_against_measured(told: _Told, visit: Visit) -> Iterator[Problem]:
    measured = told.measured(visit)
    for entry in told.sizes(visit):
        here = measured.get(entry.quantity)
        if here is None:
            continue
        both = f"{plain(size_mm(entry))} mm reported ({entry.source}), {plain(as_decimal(here.value))} mm measured"
        if entry.modality and entry.modality != here.modality:
            if entry.quantity == "longest_diameter":  # one flag a method says it all
                yield _other_method(told.place(visit), f"{both}; {entry.modality} against {here.modality}")
        elif contradicts(size_mm(entry), as_decimal(here.value)):
            effect = consequence(as_decimal(here.value), size_mm(entry), told.counts(entry.quantity))
            yield Problem(
                "W-REPORTED-DIFFERS",
                told.place(visit),
                f"{CATALOGUE[entry.quantity].label} {both}: {effect}",
                "a difference two readers may have, without another category",
                "check the outline, or the report; the measured size is used",
            )


def contradicts(reported_mm: Decimal, measured_mm: Decimal) -> bool:
    """Whether a reported size is more than another reader's view of the measured one, or changes the category.

    Source: Yoon 2016, 95 % limits of agreement between readers of one lesion's longest diameter; what would be a
    partial response lies below the lower one.
    """
    low, high = measured_mm * BETWEEN_READERS[0], measured_mm * BETWEEN_READERS[1]
    return reported_mm >= recist.progression_mm(measured_mm) or not low <= reported_mm <= high


def _other_method(place: str, found: str) -> Problem:
    return Problem(
        "W-METHOD-CHANGED",
        place,
        found,
        "the same method at every visit; ultrasound and palpation never measure (RECIST 1.1, 3.2)",
        "compare CT with CT; a change between methods is no response",
    )


def _statements_against_each_other(told: _Told, visit: Visit) -> Iterator[Problem]:
    directed = [reading for reading in told.readings(visit) if reading.direction]
    for first, second in combinations(directed, 2):
        if first.direction != second.direction:
            effects = "; ".join(_stated_effects(told, visit, (first, second))) or "no size to count from"
            yield Problem(
                "W-REPORTED-CONTRADICTION",
                told.place(visit),
                f"{first.words} and {second.words}: {effects}",
                "statements that agree",
                "review this visit; no category is taken from either",
            )


def _stated_effects(told: _Told, visit: Visit, readings: Iterable[Reading]) -> Iterator[str]:
    """What each statement would make of the sizes known before; a category only where RECIST adds them up."""
    counts = told.counts("longest_diameter")
    for reading in readings:
        if reading.change_mm is not None:
            for source, before in told.sizes_before(visit).items():
                after = max(before + reading.change_mm, ZERO)
                code = f", {_category(before, after)}" if counts else ""
                percent = signed_pct(change_pct(after, before))
                yield f"from {plain(before)} mm {source} to {plain(after)} mm, {percent}{code}"
        elif reading.direction == "unchanged":
            yield "unchanged is SD" if counts else "unchanged"


def _category(before: Decimal, after: Decimal) -> str:
    """RECIST's answer, were this lesion the only target."""
    if after >= recist.progression_mm(before):
        return "PD"
    return "PR" if after <= recist.PR_RATIO * before else "SD"


def _statement_against_measured(told: _Told, visit: Visit, reading: Reading) -> Iterator[Problem]:
    before, now = told.sizes_before(visit).get("measured"), value_of(told.measured(visit), "longest_diameter")
    if before is None or now is None or not _contradicted(reading, before, now):
        return
    yield Problem(
        "W-REPORTED-DIFFERS",
        told.place(visit),
        f"{reading.words}; measured {plain(before)} and now {plain(now)} mm ({signed_pct(change_pct(now, before))})",
        "a statement that the images bear out",
        "review this visit; the measured sizes are used",
    )


def _contradicted(reading: Reading, before: Decimal, now: Decimal) -> bool:
    """Whether the images say otherwise: another direction, another category, or 5 mm beside the stated amount."""
    if reading.change_mm is not None:
        return abs(now - before - reading.change_mm) >= recist.PD_INCREASE_MM
    if reading.direction == "unchanged":
        return now >= recist.progression_mm(before) or now <= recist.PR_RATIO * before
    if reading.direction == "gone":
        return now > ZERO
    return now >= before if reading.direction == "smaller" else now <= before


def _method_changed(told: _Told, visit: Visit) -> Iterator[Problem]:
    """A statement on CT about a lesion whose reported baseline was not CT."""
    stated = next((reading.entry for reading in told.readings(visit) if reading.entry.modality in MEASURING), None)
    baseline = {entry.modality for entry in told.sizes(told.visits[0]) if entry.quantity == "longest_diameter"}
    if stated is not None and baseline and visit is not told.visits[0] and not baseline & set(MEASURING):
        found = f"reported by {' and '.join(sorted(baseline))} at baseline, stated on {stated.modality} at this visit"
        yield _other_method(told.place(visit), found)


def _response_against_judgement(
    told: _Told, visit: Visit, reading: Reading, judgement: Assessment | None
) -> Iterator[Problem]:
    computed = judgement.target if judgement is not None else ""
    if computed == reading.response or (judgement is not None and judgement.overall == reading.response):
        return
    if computed in ("", "NE"):
        yield Problem(
            "W-STATED-NOT-VERIFIABLE",
            told.place(visit),
            f"{reading.words}, no comparable sizes to recompute it",
            "the sizes the response rests on, by one method",
            "take the stated response as stated; measure baseline and this visit on CT to verify it",
        )
    else:
        yield Problem(
            "W-REPORTED-DIFFERS",
            told.place(visit),
            f"{reading.words}, {computed} computed from the measurements",
            "the same response",
            "review this visit; both are kept",
        )
