"""What an act changed: the numbers and the responses before it and after it."""

from __future__ import annotations

from dataclasses import dataclass

from imaging_pipeline.domain.case import Case, Measurement
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.io.report.wording import with_unit
from imaging_pipeline.io.tables import chosen


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the comparison; empty text where there was or is nothing."""

    subject: str
    visit: int
    what: str
    before: str
    after: str


def changes(before: Case, after: Case) -> tuple[Change, ...]:
    """Responses first, then numbers by lesion and visit, in the order the case has them."""
    return (*_responses(before, after), *_numbers(before, after))


def _responses(before: Case, after: Case) -> tuple[Change, ...]:
    old, new = (
        {(each.criterion, each.visit): each.overall for each in case.assessments if each.overall}
        for case in (before, after)
    )
    return tuple(
        Change(criterion, visit, "response", old.get((criterion, visit), ""), new.get((criterion, visit), ""))
        for criterion, visit in {**old, **new}
        if old.get((criterion, visit)) != new.get((criterion, visit))
    )


def _numbers(before: Case, after: Case) -> tuple[Change, ...]:
    old, new = chosen(before.measurements), chosen(after.measurements)
    return tuple(
        Change(lesion_id, visit, CATALOGUE[quantity].label, _text(old.get(key)), _text(new.get(key)))
        for key in sorted({**old, **new}, key=lambda key: (key[0], key[1]))
        for lesion_id, visit, quantity in (key,)
        if _text(old.get(key)) != _text(new.get(key))
    )


def _text(measurement: Measurement | None) -> str:
    return "" if measurement is None else with_unit(measurement)
