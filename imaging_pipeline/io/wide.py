"""Tables in the shapes other people's tools want: one row per lesion, and what pyrecist reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from imaging_pipeline.domain.case import Case, Measurement, Outcome
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.tables import chosen, csv_text, printed, size_quantity

#: What is known of a lesion whatever the visit.
LESION_COLUMNS = ("case", "lesion", "label", "kind", "role", "site", "laterality", "organ")

#: Source: pyrecist 0.1, README (input format).
PYRECIST_COLUMNS = ("patient_id", "study_date", "measurement", "lesion_label_alias", "lesion_category")

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def wide_csv(case: Case) -> str:
    """One row per lesion: a column for each quantity at each visit, named "volume mm3 2023-05-28"."""
    numbers = chosen(case.measurements)
    measured = {quantity for _, _, quantity in numbers}
    places = [(name, visit) for visit in case.visits for name in CATALOGUE if name in measured]
    head = [*LESION_COLUMNS, *(f"{name} {CATALOGUE[name].unit} {visit.date}" for name, visit in places)]
    rows: list[list[str | Decimal]] = [
        [
            *_about(case, lesion),
            *(_number(numbers.get((lesion.lesion_id, visit.number, name))) for name, visit in places),
        ]
        for lesion in case.lesions
    ]
    return csv_text([head, *rows])


def _about(case: Case, lesion: Lesion) -> tuple[str, ...]:
    site = lesion.place.meaning if lesion.place else ""
    names = (case.case, lesion.lesion_id, lesion.label, lesion.kind.value, lesion.role.value)
    return (*names, site, lesion.laterality, lesion.organ)


def _number(measurement: Measurement | None) -> str | Decimal:
    return "" if measurement is None else Decimal(printed(measurement))


def pyrecist_csv(case: Case) -> tuple[str, tuple[Problem, ...]]:
    """The target lesions as pyrecist reads them, and the visits that cannot be told in its words.

    It adds up every row of a visit, so other lesions are not its business and
    a visit in which a target was not evaluated would look like a response.
    """
    rows: list[Sequence[str | Decimal]] = [PYRECIST_COLUMNS]
    problems: list[Problem] = []
    for visit in case.visits:
        found = [*_targets(case, visit.number)]
        if None in (size for _, size in found):
            problems.append(_unsaid(visit.date))
            continue
        rows += [
            (str(patient_number(case)), visit.date.replace("-", ""), str(size), alias, "target")
            for alias, size in found
        ]
    return csv_text(rows), tuple(problems)


def _targets(case: Case, visit: int) -> Iterator[tuple[str, str | None]]:
    """Letter and size of every target at a visit; None where it was not evaluated."""
    numbers = chosen(case.measurements)
    outcomes = {sighting.lesion_id: sighting.outcome for sighting in case.sightings if sighting.visit == visit}
    targets = [lesion for lesion in case.lesions if lesion.role is Role.TARGET]
    for place, lesion in enumerate(targets):
        absent = outcomes.get(lesion.lesion_id) is Outcome.ABSENT
        size = printed(numbers.get((lesion.lesion_id, visit, size_quantity(lesion.kind))))
        yield _alias(place), "0" if absent else size or None


def _alias(place: int) -> str:
    """A to Z, then AA: as spreadsheets name their columns."""
    before = place // len(_LETTERS)
    return (_alias(before - 1) if before else "") + _LETTERS[place % len(_LETTERS)]


def patient_number(case: Case) -> int:
    """The whole number pyrecist wants for a patient, from the pseudonym."""
    return int(digest(case.case)[:12], 16)


def _unsaid(date: str) -> Problem:
    return Problem(
        "N-EXPORT-LEFT-OUT",
        f"visit of {date}",
        "a target lesion that was not evaluated",
        "every target measured or gone in pyrecist's CSV",
        "find the visit's response in assessments.csv",
    )
