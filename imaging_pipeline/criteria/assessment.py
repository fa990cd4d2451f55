"""The door every criterion enters by: the pipeline's nouns in, a timeline judged, assessments out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from imaging_pipeline.config import AssessConfig
from imaging_pipeline.criteria.best import Course
from imaging_pipeline.criteria.certainty import Others, between_readers, of_the_value, other_categories
from imaging_pipeline.criteria.evidence import (
    Record,
    View,
    modality_of,
    quantities_of,
    record_of,
    timeline_of,
    value_of,
)
from imaging_pipeline.criteria.exact import change_pct, signed_pct
from imaging_pipeline.criteria.params import Params, read_params
from imaging_pipeline.criteria.response import Judgement
from imaging_pipeline.criteria.timeline import SIZES, Timeline
from imaging_pipeline.domain.case import Assessment, Measurement, Reported, Sighting, Visit
from imaging_pipeline.domain.lesions import Lesion, Role

#: Growth of a non-target, by its diameter, that is comparable to progression of measurable disease (4.3.4).
NOTABLE_GROWTH = Decimal("1.2")

Judge = Callable[[Timeline, Params], Course]


class Criterion(Protocol):
    """What the plug-in group `imaging_pipeline.criteria` holds. The docstring's first line is the report's sentence."""

    def __call__(
        self,
        lesions: tuple[Lesion, ...],
        visits: tuple[Visit, ...],
        sightings: tuple[Sighting, ...],
        measurements: tuple[Measurement, ...],
        config: AssessConfig,
    ) -> tuple[Assessment, ...]:
        """Judge every visit of one patient, the baseline included."""
        ...


def criterion(judge: Judge, view: View) -> Criterion:
    """The plug-in of a criterion that judges timelines."""

    def assess(
        lesions: tuple[Lesion, ...],
        visits: tuple[Visit, ...],
        sightings: tuple[Sighting, ...],
        measurements: tuple[Measurement, ...],
        config: AssessConfig,
    ) -> tuple[Assessment, ...]:
        return assess_by(judge, view, record_of(lesions, visits, sightings, measurements), config)

    assess.__doc__ = judge.__doc__
    return assess


def assess_by(judge: Judge, view: View, record: Record, config: AssessConfig) -> tuple[Assessment, ...]:
    """Judge what the pipeline found by one criterion, with what a reader should know beside each answer."""
    params = read_params(config.params, "assess.params")

    def judged(record: Record) -> Course:
        return judge(timeline_of(record, view, params), params)

    course = judged(record)
    pairs = zip(course.judgements, record.visits, strict=True)
    judgements = tuple(replace(judgement, used=_measured(judgement, record, view, visit)) for judgement, visit in pairs)
    course = replace(course, judgements=judgements)
    others = other_categories(record, view, course, judged, of_the_value)
    readers = other_categories(record, view, course, judged, between_readers)
    return tuple(
        _assessment(course, judgement, visit, _caveats(record, view, visit), other, reader)
        for judgement, visit, other, reader in zip(course.judgements, record.visits, others, readers, strict=True)
    )


def _measured(judgement: Judgement, record: Record, view: View, visit: Visit) -> tuple[str, ...]:
    """What was used, as far as it was measured, by its own name: what Choi calls a diameter, a finding of bone."""
    behind: dict[str, tuple[str, ...]] = {}
    for lesion in record.lesions:
        sizes = {SIZES[field]: (quantity,) for field, quantity in quantities_of(lesion, view).items()}
        behind |= {f"{lesion.lesion_id}/{name}": names for name, names in {**sizes, **view.behind}.items()}
    names = (f"{used.rpartition('/')[0]}/{quantity}" for used in judgement.used for quantity in behind[used])
    return tuple(dict.fromkeys(name for name in names if record.named(name, visit)))


def _assessment(
    course: Course, judgement: Judgement, visit: Visit, caveats: Iterator[str], others: Others, readers: Others
) -> Assessment:
    in_mm = judgement.unit == "mm"
    last = judgement.visit == course.judgements[-1].visit
    return Assessment(
        criterion=course.criterion,
        visit=visit.number,
        overall=judgement.overall or "",
        target=judgement.target or "",
        non_target=judgement.non_target or "",
        new_lesion=judgement.new_lesion,
        sum_mm=judgement.sum if in_mm else None,
        nadir_mm=judgement.nadir if in_mm else None,
        change_from_baseline_pct=judgement.change_from_baseline_pct,
        change_from_nadir_pct=judgement.change_from_nadir_pct,
        measurements=judgement.used,
        reasons=(*judgement.reasons, *caveats, *_certainty(others, readers), *(_ending(course) if last else ())),
        best_overall_response=(course.summary.unconfirmed or "") if last else "",
        progression_date=str(course.summary.progression_date or "") if last else "",
        rule=judgement.rule,
        thresholds=judgement.thresholds,
        other_categories=others,
        other_reader_categories=readers,
    )


def _certainty(others: Others, readers: Others) -> Iterator[str]:
    if others:
        yield f"from the intervals of the measurements, the probability of another category: {_shares(others)}"
    elif others is not None:
        yield "the intervals of the measurements leave no other category likely"
    if readers:
        yield f"were each visit measured by another reader, the probability of another category: {_shares(readers)}"
    elif readers is not None:
        yield "were each visit measured by another reader, no other category is likely"


def _shares(others: Mapping[str, float]) -> str:
    return ", ".join(f"{code} {share:.0f} %" if share >= 1 else f"{code} below 1 %" for code, share in others.items())


def _ending(course: Course) -> tuple[str, ...]:
    problems = tuple(str(problem) for problem in course.problems)
    confirmed = course.summary.confirmed
    if confirmed == course.summary.unconfirmed:
        return problems
    return (f"where response must be confirmed, the best overall response is {confirmed or 'none'}", *problems)


def _caveats(record: Record, view: View, visit: Visit) -> Iterator[str]:
    """What the comparison with baseline has to bear: another method or technique, a value only reported, no search."""
    if visit is record.visits[0]:
        return
    otherwise: list[str] = []
    for lesion in record.lesions:
        if view.is_target(lesion):
            yield from _target_caveats(record, lesion, visit)
            if any(measurement.comparable is False for measurement in record.at(lesion, visit).values()):
                otherwise.append(lesion.lesion_id)
        elif lesion.role is Role.NON_TARGET:
            yield from _non_target_caveats(record, lesion, visit)
    if otherwise:
        yield f"the technique of {', '.join(otherwise)} differs from baseline"
    if not any(lesion.role is Role.NEW for lesion in record.lesions):
        yield "no lesion is marked as new; the scans were not searched for any"


def _target_caveats(record: Record, lesion: Lesion, visit: Visit) -> Iterator[str]:
    then, here = record.at(lesion, record.visits[0]), record.at(lesion, visit)
    before, now = modality_of(then), modality_of(here)
    if before and now and before != now:
        yield f"METHOD_CHANGED: {lesion.lesion_id} by {before} at baseline, by {now} at this visit"
    if any(isinstance(measurement.evidence, Reported) for measurement in here.values()):
        yield f"{lesion.lesion_id} is known from a report only, not measured"


def _non_target_caveats(record: Record, lesion: Lesion, visit: Visit) -> Iterator[str]:
    """Growth is shown to a reader: whether it is unequivocal progression is not for a machine to say (4.3.4)."""
    before = value_of(record.at(lesion, record.visits[0]), "longest_diameter")
    now = value_of(record.at(lesion, visit), "longest_diameter")
    if before and now is not None and now >= NOTABLE_GROWTH * before:
        grown = signed_pct(change_pct(now, before))
        yield f"review: non-target {lesion.lesion_id} {grown} against baseline; whether it progresses, a reader says"
