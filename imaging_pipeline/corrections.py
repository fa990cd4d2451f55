"""What readers' acts make of a case: each applied to the evidence it judged, or named as stale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from imaging_pipeline.domain.case import Edited, Measurement, Review, Segmented, Visit
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Mask, Series
from imaging_pipeline.domain.lesions import Kind, Lesion, Role, tracking_uid
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem


@dataclass(frozen=True)
class Acts:
    """The acts of a case in the order they were signed, and the outlines they put in place, by digest."""

    reviews: tuple[Review, ...] = ()
    outlines: Mapping[str, Mask] = field(default_factory=dict)

    def on(self, lesion: Lesion, visit: Visit) -> tuple[Review, ...]:
        """Those that judge one lesion at one visit."""
        here = (lesion.lesion_id, visit.number)
        return tuple(act for act in self.reviews if (act.lesion_id, act.visit) == here)

    def added(self, case: str, visits: tuple[Visit, ...]) -> tuple[tuple[Lesion, int, Series, Mask], ...]:
        """Lesions that a reader added, each with the visit, the series and the outline it was added with."""
        by_digest = {series.digest: (visit.number, series) for visit in visits for series in visit.series}
        return tuple(
            (_added(case, act), *by_digest[act.judged], self.outlines[act.mask])
            for act in self.reviews
            if act.act == "add" and act.judged in by_digest
        )

    def stale(self, visits: tuple[Visit, ...], measurements: tuple[Measurement, ...]) -> tuple[Problem, ...]:
        """Signatures of numbers that have changed since, and lesions added on scans that are no longer there."""
        scans = {series.digest for visit in visits for series in visit.series}
        lost = [act for act in self.reviews if act.act == "add" and act.judged not in scans]
        signed = {(act.reader, act.visit): act for act in self.reviews if act.act == "sign"}
        present = {visit.number: signature(measurements, visit.number) for visit in visits}
        outdated = [act for act in signed.values() if act.judged != present.get(act.visit)]
        return tuple(_stale(act, f"the visit of {_date(visits, act.visit)}") for act in (*lost, *outdated))


def signature(measurements: tuple[Measurement, ...], visit: int) -> str:
    """What a signature of a visit stands for: the digest of all its measurements."""
    return digest(tuple(item for item in measurements if item.visit == visit))


@dataclass(frozen=True)
class Corrected:
    """An outline after its readers.

    `author` is the act that put the outline in its place, None for the
    pipeline's own; `lines` are those drawn on it; `settled` says that a reader
    stood by it.
    """

    mask: Mask
    author: Review | None = None
    lines: tuple[Review, ...] = ()
    rejected: bool = False
    settled: bool = False
    problems: tuple[Problem, ...] = ()

    def measured(self, automatic: Iterable[Measurement], again: Iterable[Measurement]) -> tuple[Measurement, ...]:
        """The pipeline's own numbers, and beside them the reader's: both stay, each with its evidence.

        Parameters
        ----------
        automatic
            Measured on the pipeline's outline.
        again
            Measured on the reader's, where there is one.
        """
        numbers = tuple(automatic)
        if self.author is not None:
            corrected = tuple(_edited(item, self.author) for item in again)
            # What a reader added was never outlined by the pipeline.
            numbers = corrected if self.author.act == "add" else (*numbers, *corrected)
        return (*numbers, *(_drawn(act, numbers[0]) for act in self.lines if numbers))


def corrected(mask: Mask, acts: Iterable[Review], outlines: Mapping[str, Mask], subject: str) -> Corrected:
    """Readers' acts were applied in the order they were signed, each only to the outline it judged."""
    result = Corrected(mask)
    for act in acts:
        if act.act == "add" and act.mask == mask.digest:
            result = replace(result, author=act, settled=True)
        elif act.judged != result.mask.digest:
            result = replace(result, problems=(*result.problems, _stale(act, subject)))
        elif act.act == "reject":
            result = replace(result, rejected=True)
        elif act.act == "adjust" and act.mask:
            # Lines drawn on another outline do not fit this one.
            result = Corrected(outlines[act.mask], act, settled=True, problems=result.problems)
        elif act.act == "adjust":
            others = tuple(line for line in result.lines if line.quantity != act.quantity)
            result = replace(result, lines=(*others, act), rejected=False)
        else:
            result = replace(result, settled=True, rejected=False)
    return result


def rejection(subject: str) -> Problem:
    """The reader's word that an outline is not the lesion."""
    return Problem(
        "W-REVIEW-REJECTED",
        subject,
        "an outline that a reader rejected",
        "an outline that a reader would sign",
        "outline the lesion on the review page, or leave it not evaluable",
    )


def _added(case: str, act: Review) -> Lesion:
    role = Role.NEW if act.finding == "new" else Role.AUTO
    return Lesion(act.lesion_id, tracking_uid(case, act.lesion_id), act.lesion_id, Kind(act.kind), role)


def _edited(item: Measurement, act: Review) -> Measurement:
    points_lps = item.evidence.points_lps if isinstance(item.evidence, Segmented) else ()
    return replace(item, evidence=Edited(act.mask, digest(act), points_lps))


def _drawn(act: Review, like: Measurement) -> Measurement:
    """The length of a line that a reader drew on the scan of another number."""
    length_mm = CATALOGUE[act.quantity].rounded(math.dist(*act.points_lps))
    return Measurement(
        lesion_id=like.lesion_id,
        visit=like.visit,
        quantity=act.quantity,
        value=length_mm,
        unit=CATALOGUE[act.quantity].unit,
        evidence=Edited(act.judged, digest(act), act.points_lps),
        modality=like.modality,
        series_uid=like.series_uid,
    )


def _date(visits: tuple[Visit, ...], number: int) -> str:
    return next((visit.date for visit in visits if visit.number == number), "unknown date")


def _stale(act: Review, subject: str) -> Problem:
    return Problem(
        "W-REVIEW-STALE",
        subject,
        f"a reader's '{act.act}' of what is no longer so",
        "a judgement of the present evidence",
        "look at it again on the review page; until then the act is kept and not applied",
    )
