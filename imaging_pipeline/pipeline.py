"""The mission on one page: scans of one patient in, a case out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from imaging_pipeline import __version__, plugins
from imaging_pipeline.config import AssessConfig, Config, LesionEntry
from imaging_pipeline.corrections import Acts, corrected, rejection
from imaging_pipeline.criteria.reconcile import reconcile, reported
from imaging_pipeline.criteria.roles import decide_roles
from imaging_pipeline.criteria.spine import not_understood, score_spine
from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Measurement,
    Outcome,
    Provenance,
    Sighting,
    Treatment,
    Values,
    Visit,
)
from imaging_pipeline.domain.geometry import PointLps, Space, Transform, as_point
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.prompts import Line, Outline, Outside, Placed, Prompt
from imaging_pipeline.errors import Problem, SpaceError, StageError
from imaging_pipeline.numerics.aside import measure_line, only_aside
from imaging_pipeline.numerics.comparability import compared
from imaging_pipeline.numerics.matching import Track, check_identities
from imaging_pipeline.numerics.measurement import Findings, measure
from imaging_pipeline.numerics.registration import refine, register
from imaging_pipeline.numerics.segmentation import carry
from imaging_pipeline.stages import Stages
from imaging_pipeline.store import Store

#: Marks by lesion and visit number, series by series.
Marks = Mapping[tuple[str, int], tuple[Placed, ...]]

NO_ACTS = Acts()
NO_LEVELS: Mapping[Series, Mapping[str, PointLps]] = {}


def follow(
    case: str,
    visits: tuple[Visit, ...],
    lesions: tuple[Lesion, ...],
    marks: Marks,
    told: tuple[LesionEntry, ...],
    load: Callable[[Series], Volume],
    config: Config,
    store: Store | None = None,
    acts: Acts = NO_ACTS,
    treatments: tuple[Treatment, ...] = (),
    levels: Mapping[Series, Mapping[str, PointLps]] = NO_LEVELS,
) -> tuple[Case, Values]:
    """Follow every lesion through every visit.

    Parameters
    ----------
    case
        The patient's pseudonym.
    visits
        In order of time; the first is the baseline.
    lesions, marks
        What to follow, and where a reader marked it.
    told
        What the lesion file says, with what was reported of each lesion.
    load
        Gives a series' volume; called only when a stage needs pixels.
    store
        Keeps the results of stages; without one everything is computed.
    acts
        What readers accepted, corrected, added and signed.
    treatments
        What the patient was given; response is counted from the first of them.
    levels
        Middles of vertebrae by level, in scans where another program labelled them.
    """
    stages = Stages(load, config, store or Store(), levels)
    for lesion, number, series, mask in acts.added(case, visits):
        lesions = (*lesions, lesion)
        marks = {**marks, (lesion.lesion_id, number): (Placed(series, (Outline(mask),)),)}
    looks = _look_for(lesions, visits, marks, acts, stages)
    sightings = tuple(look.sighting for look in looks)
    measured = tuple(item for look in looks for item in look.measurements)
    measurements = (*compared(measured, visits), *reported(told, visits))
    lesions, role_problems = decide_roles(lesions, visits, sightings, measurements)
    assessments: tuple[Assessment, ...] = ()
    assess = _from_treatment(config.assess, treatments, visits)
    for criterion in assess.criteria:
        judge = plugins.load("criteria", criterion)
        assessments += judge(lesions, visits, sightings, measurements, assess)
    return (
        Case(
            case=case,
            visits=visits,
            lesions=lesions,
            sightings=sightings,
            measurements=measurements,
            assessments=assessments,
            provenance=Provenance(
                version=__version__,
                configuration=config.digest,
                inputs=tuple(series.digest for visit in visits for series in visit.series),
                methods=_methods(config),
            ),
            problems=(
                *(problem for look in looks for problem in look.problems),
                *_confused(looks, visits),
                *role_problems,
                *reconcile(told, visits, measurements, assessments),
                *not_understood(told),
                *acts.stale(visits, measurements),
            ),
            reviews=acts.reviews,
            treatments=treatments,
            scores=score_spine(lesions, visits, sightings, measurements, told),
        ),
        stages.values,
    )


def _from_treatment(config: AssessConfig, treatments: tuple[Treatment, ...], visits: tuple[Visit, ...]) -> AssessConfig:
    """A patient's own first day of treatment goes before one for all; what ended before the baseline is no start."""
    starts = [treatment.start for treatment in treatments if not treatment.end or treatment.end >= visits[0].date]
    if not starts:
        return config
    return config.model_copy(update={"params": {**config.params, "treatment_start": min(starts)}})


@dataclass(frozen=True)
class _Look:
    """What came of looking for one lesion at one visit."""

    sighting: Sighting
    measurements: tuple[Measurement, ...] = ()
    problems: tuple[Problem, ...] = ()
    track: Track | None = None


@dataclass(frozen=True)
class _Seen:
    """A lesion as it was first outlined, or last corrected by a reader: what later visits are searched with."""

    series: Series
    mask: Mask
    reference_lps: PointLps | None = None


def _look_for(
    lesions: tuple[Lesion, ...], visits: tuple[Visit, ...], marks: Marks, acts: Acts, stages: Stages
) -> tuple[_Look, ...]:
    # Visit by visit, so that the volumes of one visit are in memory together and then let go.
    known: dict[str, _Seen] = {}
    return tuple(
        _look_everywhere(lesion, visit, marks.get((lesion.lesion_id, visit.number), ()), known, acts, stages)
        for visit in visits
        for lesion in lesions
    )


def _look_everywhere(
    lesion: Lesion, visit: Visit, placed: tuple[Placed, ...], known: dict[str, _Seen], acts: Acts, stages: Stages
) -> _Look:
    """In the scan the lesion is followed in, and for what other images alone tell."""
    followed = next((each for each in placed if not each.aside), None)
    look = _look_at(lesion, visit, followed, known, acts, stages)
    scan = next((each for each in visit.series if each.series_instance_uid == look.sighting.series_uid), None)
    here = _Seen(scan, look.track.mask) if scan is not None and look.track is not None else None
    for found in [_look_aside(lesion, visit, each, here, stages) for each in placed if each.aside]:
        look = replace(
            look,
            measurements=(*look.measurements, *found.measurements),
            problems=(*look.problems, *found.problems),
        )
    return look


def _look_aside(lesion: Lesion, visit: Visit, placed: Placed, here: _Seen | None, stages: Stages) -> Findings:
    """What one image beside the followed one tells of a lesion, as it was outlined `here` at the same visit."""
    name = f"{lesion.lesion_id} at {visit.date}, {placed.series.role or placed.series.modality}"
    mark, grid = placed.marks[0], placed.series.grid
    in_patient = grid is not None and grid.space is Space.PATIENT
    try:
        if isinstance(mark, Line) and not in_patient:
            return measure_line(placed.series, mark, lesion, visit.number)
        # A reader's outline stays where it came from: of an image without a place no file of ours can hold it.
        if isinstance(mark, Outline):
            mask = mark.mask
        else:
            moved = _moved_aside(lesion, placed.series, here, stages)
            mask = stages.segmented(placed.series, Prompt(lesion.kind, (*moved, *placed.marks)))
        found = only_aside(stages.measured(placed.series, mask, lesion, visit.number), placed.series.modality, name)
    except (StageError, SpaceError) as refusal:
        return Findings((), (replace(refusal.problem, subject=name),))
    return replace(found, problems=tuple(replace(problem, subject=name) for problem in found.problems))


def _moved_aside(lesion: Lesion, series: Series, here: _Seen | None, stages: Stages) -> tuple[Outline, ...]:
    """A lesion's outline moved into another scan of the visit; nothing where the two do not find each other."""
    if here is None:
        return ()
    try:
        transform = stages.registered(here.series, series, here.mask, lesion.kind)
    except StageError:
        return ()  # a reader's marks in that scan must do alone
    return (stages.carried(here.mask, transform, series),)


def _look_at(
    lesion: Lesion, visit: Visit, placed: Placed | None, known: dict[str, _Seen], acts: Acts, stages: Stages
) -> _Look:
    seen = known.get(lesion.lesion_id)
    nothing = Sighting(lesion.lesion_id, visit.number, Outcome.NOT_IMAGED)
    if placed is None and seen is None:
        return _Look(nothing)
    series = placed.series if placed else _same_role(seen, visit)
    name = f"{lesion.lesion_id} at {visit.date}"
    if series is None:
        return _Look(nothing, problems=(_not_imaged(name),))
    missed = replace(nothing, outcome=Outcome.NOT_EVALUABLE, series_uid=series.series_instance_uid)
    try:
        transform, automatic, carried = _outline(lesion, series, placed, seen, stages)
        judged = corrected(automatic, acts.on(lesion, visit), acts.outlines, name)
        if judged.rejected:
            return _Look(missed, problems=(*judged.problems, rejection(name)))
        reference_lps = _reference(placed, seen, transform)
        if seen is None:
            known[lesion.lesion_id] = _Seen(series, judged.mask, reference_lps)
        elif transform is not None and judged.author is not None:
            # Baseline stays the frame of all; only the shape that is looked for is the reader's.
            known[lesion.lesion_id] = replace(seen, mask=judged.mask.moved(transform.inverse()))
        measured = partial(stages.measured, series, lesion=lesion, visit=visit.number, reference_lps=reference_lps)
        of_own = measured(mask=automatic)
        again = of_own if judged.mask == automatic else measured(mask=judged.mask)
    except StageError as refusal:
        return _Look(missed, problems=(replace(refusal.problem, subject=name),))
    mask = stages.kept(judged.mask)
    found = replace(
        missed,
        outcome=Outcome.MEASURED,
        mask=mask.digest,
        view=stages.viewed(series, mask).digest,
        transform=transform,
        confidence=mask.confidence,
        method=mask.maker,
    )
    doubts = () if judged.settled else stages.doubts(mask, name)
    if seen is not None and seen.reference_lps and reference_lps is None:
        doubts = (*doubts, _reference_left(name))
    lacking = tuple(replace(problem, subject=name) for problem in again.problems)
    numbers = judged.measured(of_own.measurements, again.measurements)
    track = Track(lesion.lesion_id, mask, carried, new=seen is None)
    return _Look(found, numbers, (*judged.problems, *doubts, *lacking), track)


def _reference(placed: Placed | None, seen: _Seen | None, transform: Transform | None) -> PointLps | None:
    """Where a reader named the vertebra to compare with: at this visit, else at the first, moved to this scan."""
    if placed is not None and placed.reference_lps is not None:
        return placed.reference_lps
    if seen is None or seen.reference_lps is None or transform is None:
        return None
    return as_point(transform.apply(seen.reference_lps))


def _outline(
    lesion: Lesion, series: Series, placed: Placed | None, seen: _Seen | None, stages: Stages
) -> tuple[Transform | None, Mask, Mask | None]:
    """A reader's own outline as it is; else one drawn from a reader's marks; else from the shape seen first.

    The last is that shape, moved to this scan. Marks that only say what is not the lesion go with it.
    """
    marks = placed.marks if placed is not None else ()
    if marks and isinstance(marks[0], Outline):
        return None, stages.kept(marks[0].mask), None
    if seen is None or not all(isinstance(mark, Outside) for mark in marks):
        return None, stages.segmented(series, Prompt(lesion.kind, marks)), None
    transform = stages.registered(seen.series, series, seen.mask, lesion.kind)
    carried = stages.carried(seen.mask, transform, series)
    return transform, stages.segmented(series, Prompt(lesion.kind, (carried, *marks))), carried.mask


def _confused(looks: tuple[_Look, ...], visits: tuple[Visit, ...]) -> Iterator[Problem]:
    """Lesions whose identity is in doubt, scan by scan after the baseline."""
    for visit in visits[1:]:
        tracks: dict[str, list[Track]] = {}
        for look in looks:
            if look.sighting.visit == visit.number and look.track is not None:
                tracks.setdefault(look.sighting.series_uid, []).append(look.track)
        for together in tracks.values():
            yield from check_identities(together, visit.date)


def _same_role(seen: _Seen | None, visit: Visit) -> Series | None:
    """The visit's series of the role a lesion was first seen in, the one most alike in technique."""
    if seen is None or not seen.series.role:
        return None
    alike = [series for series in visit.series if series.role == seen.series.role]
    return min(alike, key=lambda series: _unlikeness(seen.series, series), default=None)


def _unlikeness(series: Series, other: Series) -> tuple[bool, float, str]:
    thickness_mm = (series.technique.slice_thickness or 0.0) - (other.technique.slice_thickness or 0.0)
    other_kernel = series.technique.convolution_kernel != other.technique.convolution_kernel
    return other_kernel, abs(thickness_mm), other.series_instance_uid


def _not_imaged(name: str) -> Problem:
    return Problem(
        "W-NOT-IMAGED",
        name,
        "no series of the role it was first seen in",
        "the same kind of scan at every visit",
        "check the series roles in the configuration, or whether the scan is missing",
    )


def _reference_left(name: str) -> Problem:
    return Problem(
        "W-REFERENCE-PROMPT",
        name,
        "marks of its own, and no reference among them: its neighbours are compared with",
        "the same vertebra as at the first visit",
        "name it with `reference` here too",
    )


def _methods(config: Config) -> tuple[str, ...]:
    """The first line of each stage that had a part, as the report's Methods."""
    segmenter = plugins.load("segmenters", config.segment.segmenter)
    criteria = [plugins.load("criteria", name) for name in config.assess.criteria]
    found = [register, refine, carry, segmenter, check_identities, corrected]
    stages = [*found, measure, compared, decide_roles, *criteria, score_spine, reconcile]
    return tuple((stage.__doc__ or stage.__name__).strip().splitlines()[0] for stage in stages)
