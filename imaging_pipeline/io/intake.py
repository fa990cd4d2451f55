"""From an indexed patient to what the pipeline follows: visits, lesions, marks, and a way to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from imaging_pipeline.config import Config, MaskSource, PatientLesions
from imaging_pipeline.domain.case import Treatment, Visit
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion, tracking_uid
from imaging_pipeline.domain.prompts import Placed
from imaging_pipeline.errors import ConfigurationError, Problem
from imaging_pipeline.io import loaders
from imaging_pipeline.io.dicom import DOCUMENTS, SeriesRecord, Verdict
from imaging_pipeline.io.folder import with_digests
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.patients import PatientRecord
from imaging_pipeline.io.prompts import lesion_of, placements


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
    lesions = tuple(lesion_of(entry, tracking_uid(patient.case, entry.id)) for entry in asked.lesions)
    marks: dict[tuple[str, int], Placed] = {}
    for entry in asked.lesions:
        for number, series, mark in placements(entry, visits, find_mask):
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
        problems=tuple(problem for record in patient.series for problem in record.problems),
        treatments=tuple(
            Treatment(entry.label, entry.start.isoformat(), entry.end.isoformat() if entry.end else "")
            for entry in asked.treatments
        ),
    )


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
