"""What readers made of the automatic result: who stands by which visit, and which numbers they changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Case, Edited, Measurement, Review
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.lookup import Lookup

UNSIGNED = "Automatic result. No radiologist has signed it."


@dataclass(frozen=True, slots=True)
class Change:
    """A number before and after a reader's act; `before` is empty where the pipeline had none."""

    visit: str
    quantity: str
    before: str
    after: str
    reader: str
    time: str
    reason: str


def signatures(case: Case) -> str:
    """Who signed which visits, and which nobody has; a signature of numbers that have changed since counts as none."""
    readers: dict[int, dict[str, None]] = {visit.number: {} for visit in case.visits}
    current = {number: signature(case.measurements, number) for number in readers}
    for act in case.reviews:
        if act.act == "sign" and act.judged == current.get(act.visit):
            readers[act.visit][act.reader] = None
    signed = {visit.label: ", ".join(readers[visit.number]) for visit in case.visits}
    if not any(signed.values()):
        return UNSIGNED
    if len(set(signed.values())) == 1:
        return f"Signed by {next(iter(signed.values()))}."
    return ". ".join(f"{label}: {f'signed by {names}' if names else 'not signed'}" for label, names in signed.items())


def changes(lesion_id: str, lookup: Lookup) -> Iterator[Change]:
    """The numbers of a lesion that a reader's line or outline changed."""
    acts = {digest(review): review for review in lookup.case.reviews}
    automatic = {
        (each.visit, each.quantity): each
        for each in lookup.case.measurements
        if each.lesion_id == lesion_id and each.evidence.kind == "segmented"
    }
    for (owner, visit, quantity), number in lookup.numbers.items():
        before = automatic.get((visit, quantity))
        if owner != lesion_id or not isinstance(number.evidence, Edited) or _same(before, number):
            continue
        yield _change(before, number, acts.get(number.evidence.review), lookup)


def _same(before: Measurement | None, after: Measurement) -> bool:
    return before is not None and before.value == after.value


def _change(before: Measurement | None, after: Measurement, act: Review | None, lookup: Lookup) -> Change:
    return Change(
        lookup.visits[after.visit].label,
        CATALOGUE[after.quantity].label,
        wording.with_unit(before) if before else "",
        wording.with_unit(after),
        act.reader if act else "",
        act.time if act else "",
        act.comment if act else "",
    )
