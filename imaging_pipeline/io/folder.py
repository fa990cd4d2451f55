"""What a scan folder holds: patients, visits, series, and every file that was refused."""

from __future__ import annotations

import marshal
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from imaging_pipeline.config import Config
from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.domain.images import Instance
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.archives import opened
from imaging_pipeline.io.dicom import SeriesRecord, verdict_on
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import File, Header
from imaging_pipeline.io.memory import headers_as_document, headers_from_document, keep, kept
from imaging_pipeline.io.patients import PatientRecord, patients_of
from imaging_pipeline.io.prescan import Scanner
from imaging_pipeline.io.walk import Found, Stamp, regular_files, sha256_of, stamps
from imaging_pipeline.memory import no_collection
from imaging_pipeline.stages import code_version

if TYPE_CHECKING:
    from imaging_pipeline.io.offers import Offered

_DICOMDIR = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Index:
    """A scan folder; `rejected` holds one problem for each file that was not used, its name the subject."""

    patients: tuple[PatientRecord, ...]
    rejected: tuple[Problem, ...]
    problems: tuple[Problem, ...] = ()


@no_collection()
def index(root: Path, config: Config, memory: Path | None = None, archives: Path | None = None) -> Index:
    """Find out what a folder tree holds, from headers alone; no pixel is decoded.

    Parameters
    ----------
    memory
        A folder in which indexes are kept. An unchanged tree is recalled from it whole; of a changed one only files
        that are new or changed are opened.
    archives
        A folder to which zip and tar files among the scans are unpacked; without it they are no scans.
    """
    found = list(regular_files(root))
    if archives is not None:
        found = [each for file in found for each in opened(file, archives)]
    if memory is None:
        return _index(_opened(found, {}), config)
    keys = stamps(found)
    whole = _key(root, found, keys, config)
    before = kept(memory / "index.json", whole)
    if before is not None:
        return _adapter().validate_python(before)
    known = headers_from_document(kept(memory / "headers.json", code_version()))
    files = _opened(found, {file.path: known[key] for file, key in zip(found, keys, strict=True) if key in known})
    made = _index(files, config)
    headers = {key: file.header for file, key in zip(files, keys, strict=True)}
    keep(memory / "headers.json", code_version(), headers_as_document(headers))
    keep(memory / "index.json", whole, _adapter().dump_python(made, mode="json"))
    return made


def _opened(found: Sequence[Found], known: Mapping[str, Header]) -> list[File]:
    """Every file with its header: known already, or read now."""
    scanner = Scanner()
    return [
        File(path, name, Header(fault=refusal) if refusal else known.get(path) or scanner.scan(path, name))
        for path, name, refusal, _ in found
    ]


def _index(opened: Sequence[File], config: Config) -> Index:
    # The walk is the authority, not what a directory file says of it.
    rejected = [_fault(file) for file in opened]
    used = [file for file in opened if file.header.media_storage_sop_class_uid != _DICOMDIR]
    files = [file for file in used if file.header.series_instance_uid]
    strays = [file for file in used if not file.header.series_instance_uid]
    patients = patients_of(files, strays, config)
    return Index(
        patients, tuple(filter(None, rejected)), tuple(problem for patient in patients for problem in patient.problems)
    )


def _fault(file: File) -> Problem | None:
    if file.header.media_storage_sop_class_uid == _DICOMDIR:
        return finding("N-FS-DICOMDIR", file.name, "a directory file")
    return file.header.fault


def _key(root: Path, found: Sequence[Found], keys: list[Stamp], config: Config) -> str:
    """What changes whenever the index may."""
    about = (code_version(), os.fspath(root), config.series_roles, config.visits, config.pseudonym_key)
    refusals = [(file.name, file.refusal) for file in found if file.refusal]
    # Format 2 says the same of equal values, always.
    return sha256(ascii((about, refusals)).encode() + marshal.dumps(keys, 2)).hexdigest()


@cache
def _adapter() -> TypeAdapter[Index]:
    return TypeAdapter(Index)


def with_digests(record: SeriesRecord) -> SeriesRecord:
    """The record with the sha256 of each of its files, without which a result cannot say what it was made from."""
    instances = tuple(
        Instance(instance.sop_instance_uid, sha256_of(path))
        for instance, path in zip(record.series.instances, record.paths, strict=True)
    )
    return replace(record, series=replace(record.series, instances=instances))


def index_document(found: Index, offered: Mapping[str, Offered] | None = None) -> dict[str, Any]:
    """The index as `index --json` prints it.

    Parameters
    ----------
    offered
        What the objects of a series offer, by SeriesInstanceUID; without it the document speaks of no offers.
    """
    return {
        "patients": [
            {
                "case": patient.case,
                "visits": [
                    {"date": visit.date, "series": [_series_document(record, offered) for record in visit.series]}
                    for visit in patient.visits
                ],
            }
            for patient in found.patients
        ],
        "rejected_files": [{**problem.document, "path": problem.subject} for problem in found.rejected],
        "issues": [problem.document for problem in found.problems],
    }


def _series_document(record: SeriesRecord, offered: Mapping[str, Offered] | None) -> dict[str, Any]:
    series = record.series
    of_objects = (offered or {}).get(series.series_instance_uid)
    problems = (*record.problems, *(of_objects.problems if of_objects else ()))
    offers = [offer.document for offer in of_objects.offers] if of_objects else []
    return {
        "series_uid": series.series_instance_uid,
        "modality": series.modality,
        "role": series.role,
        "slices": series.grid.shape[0] if series.grid else len(series.instances),
        "spacing_mm": _spacing_mm(series.grid),
        "verdict": verdict_on(problems).value,
        "issues": [problem.document for problem in problems],
        **({} if offered is None else {"offers": offers}),
    }


def _spacing_mm(grid: Grid | None) -> list[float | None] | None:
    """Slice, row and column spacing as far as they mean millimetres: the frames of a plane have no distance."""
    if grid is None or grid.space is Space.PIXELS:
        return None
    slice_mm, *in_plane_mm = grid.spacing_mm
    return [slice_mm if grid.space is Space.PATIENT else None, *in_plane_mm]
