"""Several criteria on one set of measurements: where they disagree, and why, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from imaging_pipeline.criteria import irecist
from imaging_pipeline.criteria.best import Course
from imaging_pipeline.domain.case import Assessment, Visit
from imaging_pipeline.errors import Problem


class Judged(Protocol):
    """What a criterion says of one visit."""

    @property
    def overall(self) -> str | None:
        """Its category."""
        ...

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why."""
        ...


def disagreements(courses: Sequence[Course]) -> list[str]:
    """One sentence for each visit that the criteria judge differently, with each one's deciding reason."""
    names = [course.criterion for course in courses]
    visits = zip(*(course.judgements for course in courses), strict=True)
    told = ((here[0].visit, _difference(dict(zip(names, here, strict=True)))) for here in visits)
    return [f"{visit}: {difference}" for visit, difference in told if difference]


def criteria_differ(assessments: Iterable[Assessment], visits: Sequence[Visit]) -> tuple[Problem, ...]:
    """Where criteria disagree, each visit says so with the reason that decided by each of them."""
    by_visit: dict[int, dict[str, Judged]] = {visit.number: {} for visit in visits}
    for assessment in assessments:
        by_visit[assessment.visit][assessment.criterion] = assessment
    told = ((visit.date, _difference(by_visit[visit.number])) for visit in visits)
    return tuple(
        Problem(
            "N-CRITERIA-DIFFER",
            date,
            difference,
            "one category by all criteria, or the reason they differ",
            "take the answer of the criterion the protocol names; the others stand beside it",
        )
        for date, difference in told
        if difference
    )


def _difference(judged: Mapping[str, Judged]) -> str:
    """Each criterion's category with its reason, or nothing where all mean the same."""
    if len({_meaning(judgement.overall) for judgement in judged.values()}) < 2:
        return ""
    return "; ".join(f"{name} {judgement.overall} ({deciding(judgement)})" for name, judgement in judged.items())


def _meaning(overall: str | None) -> str:
    """A category in RECIST's words: unconfirmed progression is one, what neither responds nor progresses is stable."""
    plain = irecist.PLAIN.get(overall or "", overall or "")
    return {"UPD": "PD", "NON-CR/NON-PD": "SD"}.get(plain, plain)


def deciding(judgement: Judged) -> str:
    """The sentence of the part that decided: the overall one where there is one, else the targets', else a lesion's."""
    starts = ("overall ", "target ", "non-target ")
    named = [reason for start in starts for reason in judgement.reasons if reason.startswith(start)]
    named += [reason for reason in judgement.reasons if f" {judgement.overall}: " in reason]
    return (*named, *judgement.reasons, "no reason stated")[0]
