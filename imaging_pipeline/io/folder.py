"""What a scan folder holds: patients, visits, series, and every file that was refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from imaging_pipeline.config import Config
from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.domain.images import Instance
from imaging_pipeline.errors import Problem
from imaging_pipeline.io import lesions
from imaging_pipeline.io.dicom import SeriesRecord
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import File, Header
from imaging_pipeline.io.patients import PatientRecord, patients_of
from imaging_pipeline.io.prescan import Scanner

_DICOMDIR = "1.2.840.10008.1.3.10"

#: File systems keep times to the second or two.
_SETTLES_NS = 2_000_000_000


@dataclass(frozen=True)
class Index:
    """A scan folder; `rejected` holds one problem for each file that was not used, its name the subject."""

    patients: tuple[PatientRecord, ...]
    rejected: tuple[Problem, ...]
    problems: tuple[Problem, ...] = ()


def index(root: Path, config: Config) -> Index:
    """Find out what a folder tree holds, from headers alone; no pixel is decoded."""
    scanner = Scanner()
    files: list[File] = []
    strays: list[File] = []
    rejected: list[Problem] = []
    for path, name, refusal in _regular_files(root):
        header = Header(fault=refusal) if refusal else scanner.scan(path, name)
        if header.media_storage_sop_class_uid == _DICOMDIR:
            continue  # the walk is the authority
        if header.fault is not None:
            rejected.append(header.fault)
        (files if header.series_instance_uid else strays).append(File(path, name, header))
    patients = patients_of(files, strays, config)
    return Index(patients, tuple(rejected), tuple(problem for patient in patients for problem in patient.problems))


def signature(root: Path) -> str:
    """A digest that changes whenever the index of a folder tree may: equal signature, equal index.

    Names, sizes, times and inodes stand for the files' content. A file written
    within the last seconds may be written again before its time shows it: its
    content itself counts.
    """
    settled = time.time_ns() - _SETTLES_NS
    rows: list[object] = []
    for path, name, refusal in _regular_files(root):
        status = os.lstat(path)
        in_doubt = status.st_mtime_ns > settled and refusal is None
        content = _sha256(path) if in_doubt else ""
        rows.append((name, status.st_size, status.st_mtime_ns, status.st_ino, content, refusal))
    return sha256(ascii(rows).encode()).hexdigest()


def with_digests(record: SeriesRecord) -> SeriesRecord:
    """The record with the sha256 of each of its files, without which a result cannot say what it was made from."""
    instances = tuple(
        Instance(instance.sop_instance_uid, _sha256(path))
        for instance, path in zip(record.series.instances, record.paths, strict=True)
    )
    return replace(record, series=replace(record.series, instances=instances))


def _sha256(path: str) -> str:
    with Path(path).open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def index_document(found: Index) -> dict[str, Any]:
    """The index as `index --json` prints it."""
    return {
        "patients": [
            {
                "case": patient.case,
                "visits": [
                    {"date": visit.date, "series": [_series_document(record) for record in visit.series]}
                    for visit in patient.visits
                ],
            }
            for patient in found.patients
        ],
        "rejected_files": [{**problem.document, "path": problem.subject} for problem in found.rejected],
        "issues": [problem.document for problem in found.problems],
    }


def _series_document(record: SeriesRecord) -> dict[str, Any]:
    series = record.series
    return {
        "series_uid": series.series_instance_uid,
        "modality": series.modality,
        "role": series.role,
        "slices": series.grid.shape[0] if series.grid else len(series.instances),
        "spacing_mm": _spacing_mm(series.grid),
        "verdict": record.verdict.value,
        "issues": [problem.document for problem in record.problems],
    }


def _spacing_mm(grid: Grid | None) -> list[float | None] | None:
    """Slice, row and column spacing as far as they mean millimetres: the frames of a plane have no distance."""
    if grid is None or grid.space is Space.PIXELS:
        return None
    slice_mm, *in_plane_mm = grid.spacing_mm
    return [slice_mm if grid.space is Space.PATIENT else None, *in_plane_mm]


def _regular_files(root: Path) -> Iterator[tuple[str, str, Problem | None]]:
    """Path, name below the root, and a refusal where it is no plain file; links are not followed."""
    if not root.is_dir():
        yield str(root), root.name, None
        return
    start = len(str(root)) + 1
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            yield folder, folder[start:], finding("E-FILE-UNREADABLE", folder[start:], reason)
            continue
        for entry in found:
            name = entry.path[start:]
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                yield entry.path, name, finding("W-FS-SKIPPED", name, "a link, pipe or device")
            elif entry.name not in lesions.NAMES:
                yield entry.path, name, None
