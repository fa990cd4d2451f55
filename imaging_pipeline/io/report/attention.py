"""What a reader should see first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imaging_pipeline.domain.case import Measurement, Reported
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.lookup import Lookup

_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody stated in words, and what was measured of the same, if it was."""

    stated: Measurement
    source: str
    measured: Measurement | None

    @property
    def contradicted(self) -> bool:
        """Whether the stated value lies outside the measured one's interval, or differs where there is none."""
        if self.measured is None:
            return False
        low = self.measured.value if self.measured.lower95 is None else self.measured.lower95
        high = self.measured.value if self.measured.upper95 is None else self.measured.upper95
        return not low <= self.stated.value <= high


def attention(lookup: Lookup) -> tuple[Problem, ...]:
    """The case's problems, contradictions between stated and measured, visits that do not compare; worst first."""
    contradictions = (_contradiction(each, lookup) for each in statements(lookup) if each.contradicted)
    return worst_first([*lookup.case.problems, *contradictions, *_incomparable(lookup)])


def worst_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems in order of severity."""
    return tuple(sorted(problems, key=urgency))


def urgency(problem: Problem) -> int:
    """Sort key: the worst first."""
    return _WORST_FIRST.index(problem.severity)


def statements(lookup: Lookup) -> tuple[Statement, ...]:
    """Every stated value, beside the measured one of the same lesion, visit and quantity."""
    return tuple(
        Statement(each, each.evidence.source, lookup.number(each.lesion_id, each.visit, each.quantity))
        for each in lookup.case.measurements
        if isinstance(each.evidence, Reported)
    )


def _contradiction(statement: Statement, lookup: Lookup) -> Problem:
    stated, measured = statement.stated, statement.measured
    assert measured is not None
    return Problem(
        "W-REPORTED",
        lookup.at(stated.lesion_id, stated.visit),
        f"{CATALOGUE[stated.quantity].label} {wording.with_source(stated)} reported ({statement.source}), "
        f"{wording.with_source(measured)} measured",
        "the reported value inside the measured interval",
        "check which of the two is right",
    )


def _incomparable(lookup: Lookup) -> list[Problem]:
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for each in lookup.case.measurements:
        if each.comparable is False:
            groups.setdefault((each.lesion_id, each.visit), []).append(each)
    return [
        Problem(
            "W-COMPARE",
            lookup.at(lesion_id, visit),
            f"{wording.listed(CATALOGUE[each.quantity].label for each in group)} not comparable with baseline "
            f"({wording.listed(flag for each in group for flag in each.flags) or 'no reason given'})",
            "the baseline's technique",
            "do not read the change as response",
        )
        for (lesion_id, visit), group in groups.items()
    ]
