"""Thousands of files, a fifth of them junk: every patient as without it, every junk file listed once with its reason.

`python -m tests.io.junk` does it with 10,000 files.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from imaging_pipeline.config import Config
from imaging_pipeline.io.folder import Index, index
from imaging_pipeline.io.loaders import load
from imaging_pipeline.phantom.garbage import salt
from tests.io.build import save
from tests.io.hazards import drawn

JUNK_PART = 0.2
#: What may be said of a series only because of junk: a copy counts once, a program's preamble is named.
_OF_JUNK = {"N-FILE-COPY", "W-FILE-PREAMBLE"}


def write_patients(folder: Path, slices: int, seed: int) -> int:
    """Patients with a series or two each until there are so many slices; how many were written."""
    written = number = 0
    while written < slices:
        case = drawn(seed * 100_000 + number, folder)
        for place, slice_ in enumerate(case.slices):
            slice_.PatientID, slice_.PatientName = f"JUNK-{number // 2:05}-X", f"Doe^{number // 2}"
            slice_.StudyInstanceUID = f"1.2.99.{number}"
            slice_.SeriesInstanceUID, instance = f"1.2.99.{number}.1", f"1.2.99.{number}.1.{place + 1}"
            slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # what the makers of junk can change
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = instance
            path = folder / f"p{number // 2}" / "visit" / f"s{number}" / f"IM{place:03}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(slice_, path)
        written += len(case.slices)
        number += 1
    return written


def numbers(found: Index) -> dict[str, Any]:
    """All that is measured on: each patient's series, where they lie, and every voxel."""
    config = Config()
    said: dict[str, Any] = {}
    for patient in found.patients:
        for record in patient.series:
            problems = {problem.code for problem in record.problems} - _OF_JUNK
            voxels = None if record.verdict == "reject" else load(record, config).array
            said[record.series.series_instance_uid] = (patient.case, record.series.grid, problems, voxels)
    return said


def differences(clean: dict[str, Any], salted: dict[str, Any]) -> list[str]:
    """What junk changed, one line each."""
    wrong = [f"{uid}: only in one of both" for uid in clean.keys() ^ salted.keys()]
    for uid in clean.keys() & salted.keys():
        *about, voxels = clean[uid]
        *about_now, voxels_now = salted[uid]
        if about != about_now or not np.array_equal(voxels, voxels_now):
            wrong.append(f"{uid}: {about} became {about_now}")
    return wrong


def junk_campaign(folder: Path, *, files: int, seed: int) -> list[str]:
    """Index and load patients without junk and with it; what went wrong, one line each."""
    scans = folder / "scans"
    with warnings.catch_warnings(action="ignore"):
        written = write_patients(scans, round(files * (1 - JUNK_PART)), seed)
    clean = numbers(index(scans, Config()))
    listed = salt(scans, JUNK_PART / (1 - JUNK_PART), seed)
    found = index(scans, Config())
    wrong = differences(clean, numbers(found))
    times = Counter(problem.subject for problem in found.rejected)
    codes = {problem.subject: problem.code for problem in found.rejected}
    for junk in listed:
        expected = junk["expected_code"]
        if times[junk["path"]] != (expected is not None) or codes.get(junk["path"]) != expected:
            wrong.append(
                f"{junk['kind']}: listed {times[junk['path']]} times by {codes.get(junk['path'])}, not {expected}"
            )
    strangers = codes.keys() - {junk["path"] for junk in listed}
    wrong += [f"a scan refused: {codes[name]}" for name in strangers]
    kinds = {junk["kind"] for junk in listed}
    print(f"{written} slices and {len(listed)} junk files of {len(kinds)} kinds; {len(clean)} series compared")
    return wrong


def main() -> None:
    """Do it, print, and fail if anything changed."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        wrong = junk_campaign(Path(folder), files=10_000, seed=3)
    print("\n".join(wrong) or "every series as without junk, every junk file listed once with its reason")
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
