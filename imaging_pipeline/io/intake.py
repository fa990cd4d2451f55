"""From an indexed patient to what the pipeline follows: visits, lesions, marks, and a way to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from imaging_pipeline.config import Config, LesionEntry, LevelsEntry, MaskSource, PatientLesions
from imaging_pipeline.domain.case import Treatment, Visit
from imaging_pipeline.domain.codes import SITES, VERTEBRAE, site_named
from imaging_pipeline.domain.geometry import PointLps, Space
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion, tracking_uid
from imaging_pipeline.domain.prompts import Healthy, Line, Mark, Outline, Outside, Placed, middle_lps
from imaging_pipeline.errors import ConfigurationError, PipelineError, Problem, RefusedError, SpaceError
from imaging_pipeline.io import loaders
from imaging_pipeline.io.dicom import DOCUMENTS, SeriesRecord, Verdict
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.folder import with_digests
from imaging_pipeline.io.levels import Levels, read_levels
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.patients import PatientRecord, VisitRecord
from imaging_pipeline.io.prompts import FindDrawn, FindMask, lesion_of, placements, series_of, visit_of
from imaging_pipeline.io.sr import TrackedLine, read_lines


@dataclass(frozen=True)
class Intake:
    """One patient, ready to be followed. `problems` speak of series, used or refused."""

    visits: tuple[Visit, ...]
    lesions: tuple[Lesion, ...]
    marks: Mapping[tuple[str, int], tuple[Placed, ...]]
    load: Callable[[Series], Volume]
    problems: tuple[Problem, ...]
    treatments: tuple[Treatment, ...] = ()
    levels: Mapping[Series, Mapping[str, PointLps]] = field(default_factory=dict)


def take_in(patient: PatientRecord, asked: PatientLesions, folder: Path, config: Config) -> Intake:
    """Prepare one patient: files digested, refused series left out by name, prompts put in their series.

    A prompt that does not fit what was acquired costs its lesion, by name; the others are followed.

    Parameters
    ----------
    folder
        Where the lesion file lies; mask files are named from it.

    Raises
    ------
    PipelineError
        When no lesion has a prompt that fits.
    """
    digested = [
        (visit, tuple(with_digests(record) for record in visit.series if record.verdict is not Verdict.REJECT))
        for visit in patient.visits
    ]
    visits = tuple(
        Visit(
            number=number,
            label="baseline" if number == 0 else f"visit {number}",
            date=visit.date,
            series=tuple(record.series for record in records if record.series.modality not in DOCUMENTS),
        )
        for number, (visit, records) in enumerate(digested)
    )
    by_series = {record.series: record for _, records in digested for record in records}
    find_mask = partial(_mask, folder)
    find_drawn = partial(_drawn, by_series)
    lesions = tuple(lesion_of(entry, tracking_uid(patient.case, entry.id)) for entry in asked.lesions)
    marks: dict[tuple[str, int], tuple[Placed, ...]] = {}
    refused: list[PipelineError] = []
    for entry in asked.lesions:
        try:
            marks |= _marked(entry, visits, find_mask, find_drawn)
        except PipelineError as error:
            refused.append(error)
    if refused and not marks:
        raise refused[0]
    levels: dict[Series, Levels] = {}
    for number, labelled in enumerate(asked.levels, start=1):
        try:
            levels |= _levels(labelled, f"levels {number}", visits, folder)
        except PipelineError as error:
            refused.append(error)
    return Intake(
        visits=visits,
        lesions=lesions,
        marks=marks,
        # Baseline and one follow-up of two roles are in memory at once.
        load=lru_cache(maxsize=4)(lambda series: loaders.load(by_series[series], config)),
        problems=(
            *(problem for record in patient.series for problem in record.problems),
            *(problem for visit in patient.visits for problem in _choices(visit)),
            *(error.problem for error in refused),
            *(problem for entry in asked.lesions for problem in _unknown_visits(entry, visits)),
            *_other_levels(lesions, marks, levels),
            *(_unknown_site(entry) for entry in asked.lesions if entry.site and site_named(entry.site) is None),
        ),
        treatments=tuple(
            Treatment(entry.label, entry.start.isoformat(), entry.end.isoformat() if entry.end else "")
            for entry in asked.treatments
        ),
        levels={series: each.middles_lps for series, each in levels.items()},
    )


def _marked(
    entry: LesionEntry, visits: tuple[Visit, ...], find_mask: FindMask, find_drawn: FindDrawn
) -> dict[tuple[str, int], tuple[Placed, ...]]:
    """The marks of one lesion by visit, series by series; first those in the series it is followed in."""
    drawn: dict[int, dict[Series, tuple[Mark | Healthy, ...]]] = {}
    for number, series, mark in placements(entry, visits, find_mask, find_drawn):
        here = drawn.setdefault(number, {})
        here[series] = (*here.get(series, ()), mark)
        of_lesion = [each for each in here[series] if not isinstance(each, Healthy)]
        if len(of_lesion) > 1 and any(isinstance(each, Outline) for each in of_lesion):
            raise _beside_an_outline(entry.id, visits[number])
    if not drawn:
        return {}
    modality = _followed_in(drawn[min(drawn)], entry.id, visits[min(drawn)])
    return {(entry.id, number): _apart(here, modality, entry.id, visits[number]) for number, here in drawn.items()}


def _followed_in(drawn: Mapping[Series, tuple[Mark | Healthy, ...]], lesion_id: str, visit: Visit) -> str:
    """The modality a lesion is followed in: of those it was first marked in that have a place, CT before all others."""
    placed = [
        series.modality
        for series, said in drawn.items()
        if series.grid is not None
        and series.grid.space is Space.PATIENT
        and not all(isinstance(each, Healthy) for each in said)
    ]
    if placed:
        return "CT" if "CT" in placed else placed[0]
    raise ConfigurationError(
        "E-PROMPT-SERIES",
        f"lesion {lesion_id} at {visit.date}",
        found="no mark of it in an image with a place in the patient",
        expected="a mark in CT or MR where the lesion is first seen",
        remedy="mark it there too; `imaging-pipeline measure` takes one image and one mask alone",
    )


def _apart(
    drawn: Mapping[Series, tuple[Mark | Healthy, ...]], modality: str, lesion_id: str, visit: Visit
) -> tuple[Placed, ...]:
    """Marks of one visit: those in the series the lesion is followed in, and those aside."""
    shown = any(series.modality == modality for series in visit.series)
    followed = [series for series in drawn if series.modality == modality or not shown]
    if len(followed) > 1:
        raise _two_series(lesion_id, visit)
    marks = [_placed(series, said, lesion_id, visit, aside=series not in followed) for series, said in drawn.items()]
    return tuple(sorted(marks, key=lambda placed: placed.aside))


def _placed(series: Series, said: tuple[Mark | Healthy, ...], lesion_id: str, visit: Visit, *, aside: bool) -> Placed:
    healthy = [each.point_lps for each in said if isinstance(each, Healthy)]
    if len(healthy) > (0 if aside else 1):
        raise ConfigurationError(
            "E-PROMPT-REFERENCE",
            f"lesion {lesion_id} at {visit.date}",
            found="a reference in another series than the lesion's" if aside else "several references",
            expected="one, in the series the lesion is followed in",
            remedy="name one healthy vertebra in that series",
        )
    marks = tuple(each for each in said if not isinstance(each, Healthy))
    return Placed(series, marks, aside, healthy[0] if healthy else None)


def _unknown_visits(entry: LesionEntry, visits: tuple[Visit, ...]) -> Iterator[Problem]:
    """What was reported of a visit that is not there, and so stands beside nothing."""
    known = {"baseline", *(visit.date for visit in visits)}
    for number, told in enumerate(entry.reported, start=1):
        if told.visit not in known:
            yield Problem(
                "W-REPORTED-VISIT",
                f"lesion {entry.id}, reported {number}",
                f"visit '{told.visit}'",
                f"baseline or one of {', '.join(visit.date for visit in visits)}",
                "correct the date",
            )


def _levels(entry: LevelsEntry, subject: str, visits: tuple[Visit, ...], folder: Path) -> dict[Series, Levels]:
    series = series_of(entry, visit_of(entry, visits, subject), subject)
    assert series.grid is not None
    return {series: read_levels(_beside(folder, entry.file, subject), series.grid, entry.labels)}


def _other_levels(
    lesions: tuple[Lesion, ...], marks: Mapping[tuple[str, int], tuple[Placed, ...]], levels: Mapping[Series, Levels]
) -> Iterator[Problem]:
    """Lesions that are marked in another vertebra than their site says."""
    sites = {lesion.lesion_id: lesion.site for lesion in lesions}
    for (lesion_id, number), series in marks.items():
        for placed in series:
            if sites[lesion_id] not in VERTEBRAE.values() or placed.series not in levels:
                continue
            inside = [mark for mark in placed.marks if not isinstance(mark, Outside)]
            there = {levels[placed.series].at(middle_lps(mark)) for mark in inside} - {""}
            if any(VERTEBRAE[level] != sites[lesion_id] for level in there):
                yield Problem(
                    "W-LEVEL",
                    f"lesion {lesion_id} at visit {number}",
                    f"a mark in {', '.join(sorted(there))} by the label map",
                    "a mark in the vertebra its site names",
                    "correct the site, the mark or the label map",
                )


def _unknown_site(entry: LesionEntry) -> Problem:
    return Problem(
        "W-SITE",
        f"lesion {entry.id}",
        "a site without a code: it is left out of reports, exports and scores",
        f"one of {', '.join(SITES)}",
        "take the nearest of these, and keep your words in `label`",
    )


def _choices(visit: VisitRecord) -> Iterator[Problem]:
    """Roles that several series of a visit play, or that none can play because each was refused."""
    for role in sorted({record.series.role for record in visit.series} - {""}):
        playing = [record for record in visit.series if record.series.role == role]
        usable = [record for record in playing if record.verdict is not Verdict.REJECT]
        subject = f"{role} at {visit.date or 'an unknown day'}"
        if not usable:
            yield finding("W-VISIT-REFUSED", subject, f"{len(playing)} series, all refused")
        elif len(playing) > 1:
            yield finding("N-VISIT-SEVERAL", subject, f"{len(playing)} series, {len(playing) - len(usable)} refused")


def _drawn(by_series: Mapping[Series, SeriesRecord], kind: str, label: str, series: Series) -> Sequence[Mark]:
    """What objects of a kind in the scans draw of a lesion in a series."""
    modality = {"sr": "SR", "gsps": "PR", "seg": "SEG", "rtstruct": "RTSTRUCT"}[kind]
    objects = [
        Path(path) for record in by_series.values() if record.series.modality == modality for path in record.paths
    ]
    if kind in ("seg", "rtstruct"):
        return [outline for path in objects for outline in _outlines_of(path, series, label)]
    return _named([line for path in objects for line in _lines_of(path, by_series[series])], label)


def _named(tracked: list[TrackedLine], label: str) -> list[Line]:
    """Those of a name; a nameless line if it is the only one."""
    named = [each.line for each in tracked if label in (each.tracking_identifier, each.tracking_uid)]
    nameless = [each.line for each in tracked if not each.tracking_identifier and not each.tracking_uid]
    return named or (nameless if len(tracked) == 1 else [])


def _lines_of(path: Path, record: SeriesRecord) -> tuple[TrackedLine, ...]:
    try:
        return read_lines(path, record)
    except RefusedError as error:
        if error.problem.code == "E-LINE-KIND":
            return ()  # a report on something else than lesions
        raise


def _outlines_of(path: Path, series: Series, label: str) -> tuple[Outline, ...]:
    assert series.grid is not None
    try:
        return (Outline(read_mask_on(path, series.grid, label)),)
    except SpaceError:
        return ()  # drawn on another series
    except RefusedError as error:
        if error.problem.code == "E-MASK-LABEL":
            return ()  # of other lesions
        raise


def _mask(folder: Path, source: MaskSource, series: Series, subject: str) -> Mask:
    assert series.grid is not None
    return read_mask_on(_beside(folder, source.file, subject), series.grid, source.label)


def _beside(folder: Path, name: str, subject: str) -> Path:
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ConfigurationError(
            "E-PROMPT-MASK",
            subject,
            found="a mask file that is not there, or outside the lesion file's folder",
            expected="a file beside the lesion file; `from: seg` and `from: rtstruct` look in the scans",
            remedy="correct the name or move the file",
        )
    return path


def _beside_an_outline(lesion_id: str, visit: Visit) -> ConfigurationError:
    return ConfigurationError(
        "E-PROMPT-FORM",
        f"lesion {lesion_id} at {visit.date}",
        found="an outline and another mark",
        expected="an outline alone: it says all",
        remedy="keep the one that holds",
    )


def _two_series(lesion_id: str, visit: Visit) -> ConfigurationError:
    return ConfigurationError(
        "E-PROMPT-SERIES",
        f"lesion {lesion_id} at {visit.date}",
        found="marks in two series of the modality it is followed in",
        expected="all marks of a visit in one of them",
        remedy="keep those in the series to be measured",
    )
