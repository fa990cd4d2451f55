"""The mission on one page: scans of one patient in, a case out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar

import numpy as np

from imaging_pipeline import __version__, plugins
from imaging_pipeline.config import Config, LesionEntry
from imaging_pipeline.criteria.reconcile import reconcile, reported
from imaging_pipeline.criteria.roles import decide_roles
from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Measurement,
    Outcome,
    Provenance,
    Sighting,
    Values,
    Visit,
)
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Transform
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.prompts import Outline, Placed, Prompt
from imaging_pipeline.errors import Problem, SpaceError, StageError
from imaging_pipeline.numerics.measurement import compared, measure
from imaging_pipeline.numerics.registration import refine, register
from imaging_pipeline.numerics.segmentation import carry
from imaging_pipeline.store import Store

#: Half the side of the cut-out kept around each lesion, for pictures and for the reader.
VIEW_MARGIN_MM = 40.0

Result = TypeVar("Result")
Load = Callable[[Series], Volume]


#: Marks by lesion and visit number.
Marks = Mapping[tuple[str, int], Placed]


def follow(
    case: str,
    visits: tuple[Visit, ...],
    lesions: tuple[Lesion, ...],
    marks: Marks,
    told: tuple[LesionEntry, ...],
    load: Load,
    config: Config,
    store: Store | None = None,
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
    """
    stages = _Stages(load, config, store or Store())
    sightings, problems = _look_for(lesions, visits, marks, stages)
    measurements: tuple[Measurement, ...] = ()
    for sighting in sightings:
        measurements += stages.measured(sighting, lesions)
    measurements = (*compared(measurements, visits), *reported(told, visits))
    lesions, role_problems = decide_roles(lesions, visits, sightings, measurements)
    assessments: tuple[Assessment, ...] = ()
    for criterion in config.assess.criteria:
        judge = plugins.load("criteria", criterion)
        assessments += judge(lesions, visits, sightings, measurements, config.assess)
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
            problems=(*problems, *role_problems, *reconcile(told, visits, measurements, assessments)),
        ),
        stages.values,
    )


def _look_for(
    lesions: tuple[Lesion, ...], visits: tuple[Visit, ...], marks: Marks, stages: _Stages
) -> tuple[tuple[Sighting, ...], tuple[Problem, ...]]:
    # Visit by visit, so that the volumes of one visit are in memory together and then let go.
    sightings: list[Sighting] = []
    problems: list[Problem] = []
    first_seen: dict[str, tuple[Series, Mask]] = {}
    for visit in visits:
        for lesion in lesions:
            sighting, found = _look_at(lesion, visit, marks, first_seen, stages)
            sightings.append(sighting)
            problems += found
    return tuple(sightings), tuple(problems)


def _look_at(
    lesion: Lesion, visit: Visit, marks: Marks, first_seen: dict[str, tuple[Series, Mask]], stages: _Stages
) -> tuple[Sighting, tuple[Problem, ...]]:
    nothing = Sighting(lesion.lesion_id, visit.number, Outcome.NOT_IMAGED)
    placed = marks.get((lesion.lesion_id, visit.number))
    transform: Transform | None = None
    if placed is not None:
        series = placed.series
    elif lesion.lesion_id in first_seen:
        candidates = _same_role(first_seen[lesion.lesion_id][0], visit)
        if not candidates:
            return nothing, (_not_imaged(lesion, visit),)
        series = candidates[0]
    else:
        return nothing, ()
    nothing = replace(nothing, outcome=Outcome.NOT_EVALUABLE, series_uid=series.series_instance_uid)
    if placed is None:
        baseline, shape = first_seen[lesion.lesion_id]
        found = stages.registered(baseline, series, shape, lesion)
        if isinstance(found, Problem):
            return nothing, (_of(lesion, visit, found),)
        transform = found
        outline = stages.carried(shape, transform, series)
        if isinstance(outline, Problem):
            return nothing, (_of(lesion, visit, outline),)
        placed = Placed(series, (Outline(outline),))
    mask = stages.segmented(series, Prompt(lesion.kind, placed.marks), given=transform is None)
    if isinstance(mask, Problem):
        return replace(nothing, transform=transform), (_of(lesion, visit, mask),)
    first_seen.setdefault(lesion.lesion_id, (series, mask))
    sighting = replace(
        nothing,
        outcome=Outcome.MEASURED,
        mask=mask.digest,
        view=stages.viewed(series, mask).digest,
        transform=transform,
        confidence=mask.confidence,
        method=mask.maker,
    )
    return sighting, stages.doubts(lesion, visit, mask)


class _Stages:
    """The stages of one case, each remembered by its inputs."""

    def __init__(self, load: Load, config: Config, store: Store) -> None:
        self._load = load
        self._config = config
        self._store = store
        self.values: dict[str, Mask | Volume] = {}
        self._series: dict[str, Series] = {}

    def registered(self, fixed: Series, moving: Series, shape: Mask, lesion: Lesion) -> Transform | Problem:
        config = self._config.register_
        whole = self._attempt(
            "register",
            (fixed, moving, config),
            Transform,
            lambda: register(self._load(fixed), self._load(moving), config),
        )
        if isinstance(whole, Problem):
            return whole
        return self._attempt(
            "refine",
            (fixed, moving, whole, shape, lesion.kind, config),
            Transform,
            lambda: refine(self._load(fixed), self._load(moving), whole, shape, lesion.kind, config),
        )

    def carried(self, shape: Mask, transform: Transform, series: Series) -> Mask | Problem:
        return self._attempt(
            "carry",
            (shape, transform, series),
            Mask,
            lambda: carry(shape, transform, self._load(series).grid),
        )

    def segmented(self, series: Series, prompt: Prompt, *, given: bool) -> Mask | Problem:
        drawn = [mark.mask for mark in prompt.marks if isinstance(mark, Outline)]
        if given and drawn:
            return self._kept(drawn[0])  # a reader's outline is taken as it is
        config = self._config.segment
        segmenter = plugins.load("segmenters", config.segmenter)
        mask = self._attempt(
            "segment",
            (plugins.origin("segmenters", config.segmenter), series, prompt, config),
            Mask,
            lambda: segmenter(self._load(series), prompt, config),
        )
        return mask if isinstance(mask, Problem) else self._kept(mask)

    def viewed(self, series: Series, mask: Mask) -> Volume:
        self._series[mask.digest] = series

        def cut() -> Volume:
            volume = self._load(series)
            marked = mask.grid.to_lps(np.argwhere(mask.array))
            return volume.crop(volume.grid.box_around(marked, VIEW_MARGIN_MM))

        view = self._store.remember("view", self._code, (series, mask, VIEW_MARGIN_MM), Volume, cut)
        self.values[view.digest] = view
        return view

    def measured(self, sighting: Sighting, lesions: tuple[Lesion, ...]) -> tuple[Measurement, ...]:
        if sighting.outcome is not Outcome.MEASURED:
            return ()
        lesion = next(lesion for lesion in lesions if lesion.lesion_id == sighting.lesion_id)
        mask, series = self.values[sighting.mask], self._series[sighting.mask]
        assert isinstance(mask, Mask)
        config = self._config.measure
        return self._store.remember(
            "measure",
            self._code,
            (series, mask, lesion, sighting.visit, config),
            tuple[Measurement, ...],
            lambda: measure(self._load(series), mask, lesion, sighting.visit, config),
        )

    def doubts(self, lesion: Lesion, visit: Visit, mask: Mask) -> tuple[Problem, ...]:
        floor = self._config.segment.min_confidence
        if mask.confidence is None or mask.confidence >= floor:
            return ()
        return (
            Problem(
                "W-SEG-CONFIDENCE",
                f"{lesion.lesion_id} at {visit.date}",
                f"an outline of confidence {mask.confidence:.2f}",
                f"at least {floor:.2f}",
                "check the outline before using its numbers",
            ),
        )

    def _kept(self, mask: Mask) -> Mask:
        self.values[mask.digest] = mask
        return mask

    def _attempt(
        self, stage: str, inputs: object, kind: type[Result], compute: Callable[[], Result]
    ) -> Result | Problem:
        # A stage that finds no answer has found that out for good: the refusal is kept like a result.
        def outcome() -> Result | Problem:
            try:
                return compute()
            except (StageError, SpaceError) as error:
                return error.problem

        return self._store.remember(stage, self._code, inputs, kind | Problem, outcome)

    @cached_property
    def _code(self) -> str:
        return code_version()


@lru_cache
def code_version() -> str:
    """Digest of this package's source: results of other code are never taken for results of this code."""
    package = files(__package__)
    folders = (package / "numerics", package / "domain", package / "io", package)
    return digest(
        tuple(item.read_bytes() for folder in folders for item in _sorted(folder) if item.name.endswith(".py"))
    )


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda item: item.name)


def _same_role(series: Series, visit: Visit) -> list[Series]:
    """The visit's series of the same role, the most alike in technique first."""
    if not series.role:
        return []
    alike = [other for other in visit.series if other.role == series.role]
    return sorted(alike, key=partial(_unlikeness, series))


def _unlikeness(series: Series, other: Series) -> tuple[bool, float, str]:
    thickness = (series.technique.slice_thickness or 0.0) - (other.technique.slice_thickness or 0.0)
    return (
        series.technique.convolution_kernel != other.technique.convolution_kernel,
        abs(thickness),
        other.series_instance_uid,
    )


def _not_imaged(lesion: Lesion, visit: Visit) -> Problem:
    return Problem(
        "W-NOT-IMAGED",
        f"{lesion.lesion_id} at {visit.date}",
        "no series of the role it was first seen in",
        "the same kind of scan at every visit",
        "check the series roles in the configuration, or whether the scan is missing",
    )


def _of(lesion: Lesion, visit: Visit, problem: Problem) -> Problem:
    return replace(problem, subject=f"{lesion.lesion_id} at {visit.date}")


def _methods(config: Config) -> tuple[str, ...]:
    segmenter = plugins.load("segmenters", config.segment.segmenter)
    stages = [register, refine, carry, segmenter, measure, compared, decide_roles, reconcile]
    stages[-1:-1] = [plugins.load("criteria", name) for name in config.assess.criteria]
    return tuple((stage.__doc__ or stage.__name__).strip().splitlines()[0] for stage in stages)
