"""Several criteria on one set of measurements: where they disagree, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence

from imaging_pipeline.criteria.best import Course
from imaging_pipeline.criteria.response import Judgement


def disagreements(courses: Sequence[Course]) -> list[str]:
    """One sentence for each visit that the criteria judge differently, with each one's deciding reason."""
    sentences = []
    for judgements in zip(*(course.judgements for course in courses), strict=True):
        if len({_meaning(judgement.overall) for judgement in judgements}) > 1:
            said = "; ".join(
                f"{course.criterion} {judgement.overall} ({_deciding(judgement)})"
                for course, judgement in zip(courses, judgements, strict=True)
            )
            sentences.append(f"{judgements[0].visit}: {said}")
    return sentences


def _meaning(overall: str | None) -> str | None:
    """IRECIST's codes beside RECIST's: an unconfirmed progression still is one."""
    if overall is None:
        return None
    return {"UPD": "PD", "CPD": "PD"}.get(plain := overall.removeprefix("i"), plain)


def _deciding(judgement: Judgement) -> str:
    """The sentence of the part that decided: the overall one where there is one, else the targets'."""
    starts = ("overall ", "target ", "non-target ")
    named = (reason for start in starts for reason in judgement.reasons if reason.startswith(start))
    return next(named, judgement.reasons[-1] if judgement.reasons else "no reason stated")
