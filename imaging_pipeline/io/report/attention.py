"""What a reader should see first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from imaging_pipeline.criteria.exact import as_decimal
from imaging_pipeline.criteria.reconcile import contradicts
from imaging_pipeline.domain.case import Measurement, Reported
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.lookup import Lookup

_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
#: Warnings that touch the numbers judged; the others name what could not be told beside them.
_TOUCHING = ("W-REVIEW", "W-NOT-IMAGED", "W-SEG", "W-REPORTED", "W-METHOD", "W-COMPARE")


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody stated in words, and what was measured of the same, if it was."""

    stated: Measurement
    source: str
    measured: Measurement | None

    @property
    def contradicted(self) -> bool:
        """Whether the two differ by more than readers do, or by a response category."""
        return self.measured is not None and contradicts(as_decimal(self.stated.value), as_decimal(self.measured.value))


def attention(lookup: Lookup) -> tuple[Problem, ...]:
    """The case's problems and the visits that do not compare; worst first."""
    return worst_first(
        replace(problem, subject=lookup.named(problem.subject))
        for problem in [*lookup.case.problems, *_incomparable(lookup)]
    )


def concerns(problems: Iterable[Problem]) -> tuple[tuple[Problem, ...], ...]:
    """Problems of one code together, in the order in which the codes come; what reports say, lesion by lesion."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        lesion = problem.subject.partition(" at ")[0] if problem.code.startswith("W-REPORTED") else ""
        groups.setdefault((problem.code, lesion), []).append(problem)
    return tuple(tuple(group) for group in groups.values())


def worst_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems in order of severity."""
    return tuple(sorted(problems, key=urgency))


def urgency(problem: Problem) -> tuple[int, bool]:
    """Sort key: the worst first; among equals what touches the judgement."""
    return _WORST_FIRST.index(problem.severity), not problem.code.startswith(_TOUCHING)


def statements(lookup: Lookup) -> tuple[Statement, ...]:
    """Every stated value, beside the measured one of the same lesion, visit and quantity."""
    return tuple(
        Statement(each, each.evidence.source, lookup.number(each.lesion_id, each.visit, each.quantity))
        for each in lookup.case.measurements
        if isinstance(each.evidence, Reported)
    )


def _incomparable(lookup: Lookup) -> list[Problem]:
    """One problem a visit: what was measured otherwise than at baseline, and what that touches."""
    groups: dict[int, list[Measurement]] = {}
    for each in lookup.case.measurements:
        if each.comparable is False:
            groups.setdefault(each.visit, []).append(each)
    return [
        Problem(
            "W-COMPARE",
            lookup.case.visits[number].date,
            f"{wording.listed(CATALOGUE[each.quantity].label for each in group)} of "
            f"{wording.listed((each.lesion_id for each in group), most=6)} not comparable with baseline: "
            f"{wording.listed(_differences(group), most=7) or 'no reason given'}",
            "the baseline's technique",
            "do not read the change as response",
        )
        for number, group in groups.items()
    ]


def _differences(group: Iterable[Measurement]) -> Iterator[str]:
    return (wording.flag(flag) for each in group for flag in each.flags if flag.startswith("W-COMPARE"))
