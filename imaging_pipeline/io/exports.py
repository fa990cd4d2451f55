"""What leaves for other programs, format by format; each names beside its files what it could not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from imaging_pipeline import plugins
from imaging_pipeline.config import Config
from imaging_pipeline.domain.case import Case, Measurement, Reported, Values
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.cdisc import datasets
from imaging_pipeline.io.datasets import dataset_json
from imaging_pipeline.io.define_xml import define_xml
from imaging_pipeline.io.objects import Written
from imaging_pipeline.io.record import safe_name
from imaging_pipeline.io.seg import Segmentation, segmentations
from imaging_pipeline.io.structured_report import structured_report
from imaging_pipeline.io.tables import chosen, write_tables
from imaging_pipeline.io.wide import pyrecist_csv, wide_csv
from imaging_pipeline.io.xpt import xpt
from imaging_pipeline.store import write_whole

#: Beside the files of a format: what of the case is not in them, and why.
LEFT_OUT = "left_out.json"


def export_csv(case: Case, values: Values, folder: Path, config: Config | None = None) -> tuple[Path, ...]:  # noqa: ARG001
    """Write the tables of one case: tidy, one row per lesion, and as pyrecist reads them."""
    place = folder / "csv"
    pyrecist, unsaid = pyrecist_csv(case)
    shaped = {"lesions_wide.csv": wide_csv(case), "pyrecist.csv": pyrecist}
    for name, content in shaped.items():
        write_whole(place / name, content)
    return (*write_tables((case,), place), *(place / name for name in shaped), write_left_out(unsaid, place))


def export_dicom(case: Case, values: Values, folder: Path, config: Config | None = None) -> tuple[Path, ...]:
    """Write each visit's outlines as DICOM SEG and its measurements as a TID 1500 report."""
    patient_id = config.trial.patient_ids.get(case.case, "") if config else ""
    place = folder / "dicom"
    written: list[Path] = []
    followed = {(each.lesion_id, each.visit, each.series_uid) for each in case.sightings}

    def held(number: Measurement) -> bool:
        place = number.lesion_id, number.visit, number.series_uid
        return CATALOGUE[number.quantity].code is not None and (not number.series_uid or place in followed)

    problems = [*left_out(case, "DICOM SR", held)]
    for visit in case.visits:
        outlines, refusals = segmentations(case, values, visit, patient_id)
        problems += refusals
        report = structured_report(case, values, visit, outlines, patient_id)
        objects = {**_by_name(outlines), **({} if report is None else {"sr": report})}
        for name, file in objects.items():
            written.append(place / f"{visit.date or f'visit-{visit.number}'}_{name}.dcm")
            write_whole(written[-1], file.content)
    return (*written, write_left_out(problems, place))


def export_sdtm(case: Case, values: Values, folder: Path, config: Config) -> tuple[Path, ...]:  # noqa: ARG001
    """Write a case as SDTM datasets, as Dataset-JSON and as transport files, with their define.xml.

    Each case has a set of its own, numbered for itself: a study's datasets are
    those of all its cases, one after the other.
    """
    place = folder / "sdtm"
    trial = config.trial
    day = max((visit.date for visit in case.visits if visit.date), default="1970-01-01")
    made = datetime.fromisoformat(f"{day}T00:00:00")  # the last visit: a clock would give other bytes each time
    tables = datasets(case, trial)
    files: dict[str, bytes | str] = {"define.xml": define_xml(tables, trial.study_id, made.isoformat())}
    for table in tables:
        files[f"{table.name.lower()}.json"] = dataset_json(table, trial.study_id, made.isoformat())
        files[f"{table.name.lower()}.xpt"] = xpt(table, made)
    for name, content in files.items():
        write_whole(place / name, content)
    stated = (problem for problem in left_out(case, "SDTM", lambda number: bool(CATALOGUE[number.quantity].cdisc)))
    return (*(place / name for name in files), write_left_out(stated, place))


def export_all(case: Case, values: Values, folder: Path, config: Config) -> tuple[Path, ...]:
    """Write every format there is a plug-in for."""
    names = (name for name in plugins.names("exporters") if name != "all")
    return tuple(path for name in names for path in plugins.load("exporters", name)(case, values, folder, config))


def left_out(case: Case, format_name: str, holds: Callable[[Measurement], bool]) -> Iterable[Problem]:
    """What of a case's numbers a format has no place for: each number by its name, then what it tells of none.

    Parameters
    ----------
    holds
        Whether the format has a place for a number.
    """
    kept = {id(measurement) for measurement in chosen(case.measurements).values()}
    dates = {visit.number: visit.date for visit in case.visits}
    for measurement in case.measurements:
        subject = f"{measurement.lesion_id}/{measurement.quantity} at {dates[measurement.visit]}"
        if isinstance(measurement.evidence, Reported):
            yield _left_out(subject, "a value somebody stated, not measured here", format_name)
        elif id(measurement) not in kept:
            yield _left_out(
                subject, "a value that a reader's own, or one from another image, takes the place of", format_name
            )
        elif not holds(measurement):
            yield _left_out(subject, "no code for this quantity, or no place beside its outline", format_name)
    if case.measurements:
        yield _left_out("every measurement", "a 95 % interval, flags and comparability", format_name)


def _left_out(subject: str, found: str, format_name: str) -> Problem:
    expected = f"one coded number per lesion, visit and quantity in {format_name}"
    return Problem("N-EXPORT-LEFT-OUT", subject, found, expected, "find it in case.json or measurements.csv")


def write_left_out(problems: Iterable[Problem], folder: Path) -> Path:
    """Write what a format does not hold; an empty list says that it holds everything."""
    path = folder / LEFT_OUT
    write_whole(path, json.dumps([problem.document for problem in problems], indent=1, sort_keys=True) + "\n")
    return path


def _by_name(outlines: Iterable[Segmentation]) -> dict[str, Written]:
    """A file name for each SEG: the role of its series, numbered where a visit has several of one role."""
    objects: dict[str, Written] = {}
    for outline in outlines:
        stem = f"seg_{safe_name(outline.series.role or outline.series.modality.lower())}"
        number = sum(name.partition("-")[0] == stem for name in objects) + 1
        objects[stem if number == 1 else f"{stem}-{number}"] = outline.file
    return objects
