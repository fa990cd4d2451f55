"""From an indexed patient to what the pipeline follows: visits, lesions, marks, and a way to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from imaging_pipeline.config import Config, MaskSource, PatientLesions
from imaging_pipeline.domain.case import Treatment, Visit
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion, tracking_uid
from imaging_pipeline.domain.prompts import Line, Placed
from imaging_pipeline.errors import ConfigurationError, Problem, RefusedError
from imaging_pipeline.io import loaders
from imaging_pipeline.io.dicom import DOCUMENTS, SeriesRecord, Verdict
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.folder import with_digests
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.patients import PatientRecord, VisitRecord
from imaging_pipeline.io.prompts import lesion_of, placements
from imaging_pipeline.io.sr import TrackedLine, read_lines


@dataclass(frozen=True)
class Intake:
    """One patient, ready to be followed. `problems` speak of series, used or refused."""

    visits: tuple[Visit, ...]
    lesions: tuple[Lesion, ...]
    marks: Mapping[tuple[str, int], Placed]
    load: Callable[[Series], Volume]
    problems: tuple[Problem, ...]
    treatments: tuple[Treatment, ...] = ()


def take_in(patient: PatientRecord, asked: PatientLesions, folder: Path, config: Config) -> Intake:
    """Prepare one patient: files digested, refused series left out by name, prompts put in their series.

    Parameters
    ----------
    folder
        Where the lesion file lies; mask files are named from it.

    Raises
    ------
    ConfigurationError
        When a prompt does not fit what was acquired.
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
    find_mask = partial(_mask, folder, [*by_series.values()])
    find_lines = partial(_lines, by_series)
    lesions = tuple(lesion_of(entry, tracking_uid(patient.case, entry.id)) for entry in asked.lesions)
    marks: dict[tuple[str, int], Placed] = {}
    for entry in asked.lesions:
        for number, series, mark in placements(entry, visits, find_mask, find_lines):
            before = marks.get((entry.id, number), Placed(series, ()))
            if before.series != series:
                raise _two_series(entry.id, visits[number])
            marks[entry.id, number] = replace(before, marks=(*before.marks, mark))
    return Intake(
        visits=visits,
        lesions=lesions,
        marks=marks,
        # Baseline and one follow-up of two roles are in memory at once.
        load=lru_cache(maxsize=4)(lambda series: loaders.load(by_series[series], config)),
        problems=(
            *(problem for record in patient.series for problem in record.problems),
            *(problem for visit in patient.visits for problem in _choices(visit)),
        ),
        treatments=tuple(
            Treatment(entry.label, entry.start.isoformat(), entry.end.isoformat() if entry.end else "")
            for entry in asked.treatments
        ),
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


def _lines(by_series: Mapping[Series, SeriesRecord], kind: str, label: str, series: Series) -> list[Line]:
    """What reports or presentation states draw of a lesion in a series; a nameless line if it is the only one."""
    modality = {"sr": "SR", "gsps": "PR"}[kind]
    tracked = [
        line
        for record in by_series.values()
        if record.series.modality == modality
        for path in record.paths
        for line in _lines_of(Path(path), by_series[series])
    ]
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


def _mask(folder: Path, records: list[SeriesRecord], source: MaskSource, series: Series, subject: str) -> Mask:
    grid = series.grid
    assert grid is not None
    path = _in_scans(records, source, series, subject) if source.from_ else _beside(folder, source.file, subject)
    return read_mask_on(path, grid, source.label)


def _in_scans(records: list[SeriesRecord], source: MaskSource, series: Series, subject: str) -> Path:
    """The one object of that kind of the same study, or of the patient where the study has none."""
    alike = [record for record in records if record.series.modality == source.from_.upper()]
    same_study = [record for record in alike if record.series.study_instance_uid == series.study_instance_uid]
    paths = sorted({path for record in same_study or alike for path in record.paths})
    if len(paths) == 1:
        return Path(paths[0])
    raise ConfigurationError(
        "E-PROMPT-MASK",
        subject,
        found=f"{len(paths)} {source.from_.upper()} objects in the scans",
        expected="one",
        remedy="name the one you mean by `file`",
    )


def _beside(folder: Path, name: str, subject: str) -> Path:
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ConfigurationError(
            "E-PROMPT-MASK",
            subject,
            found="a mask file that is not there, or outside the lesion file's folder",
            expected="a file beside the lesion file, or `from: seg` or `from: rtstruct`",
            remedy="correct the name or move the file",
        )
    return path


def _two_series(lesion_id: str, visit: Visit) -> ConfigurationError:
    return ConfigurationError(
        "E-PROMPT-SERIES",
        f"lesion {lesion_id} at {visit.date}",
        found="marks in two series",
        expected="all marks of a lesion and visit in one series",
        remedy="keep those in the series to be measured",
    )
