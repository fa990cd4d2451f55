"""The sample case on disk: scans as DICOM, and beside them the truth and a reader's prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.phantom.dicom import series_folder, write_slice
from imaging_pipeline.phantom.disease import AXILLA
from imaging_pipeline.phantom.garbage import salt
from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.magnetic import acquire as acquire_magnetic
from imaging_pipeline.phantom.patient import Patient, draw_patient
from imaging_pipeline.phantom.prompts import lesion_entries
from imaging_pipeline.phantom.protocols import Protocol, protocols
from imaging_pipeline.phantom.radiograph import acquire as acquire_radiograph
from imaging_pipeline.phantom.scanner import scan_slice, series_grid, true_mask
from imaging_pipeline.phantom.scintigram import acquire as acquire_scintigram
from imaging_pipeline.phantom.truth import DEFINITIONS, expected_response, lesion_truth, rounded
from imaging_pipeline.phantom.ultrasound import acquire as acquire_ultrasound
from imaging_pipeline.store import write_whole

WriteMask = Callable[[Mask, Path], None]
#: Acquires and writes all series of a modality at the baseline, at a scale, below a folder; their truth by role.
Acquire = Callable[[Patient, str, Path], dict[str, Any]]
BEYOND_CT: tuple[Acquire, ...] = (acquire_magnetic, acquire_radiograph, acquire_ultrasound, acquire_scintigram)
#: Slices of one task: few enough that two workers end together.
SLICES_A_TASK = 16


@dataclass(frozen=True, eq=False)
class _SlicesTask:
    """Some slices of one series, to be acquired and written."""

    patient: Patient
    visit: int
    protocol: Protocol
    first: int
    stop: int

    def work(self, folder: Path, write_mask: WriteMask) -> int:
        """Write the slices; returns how many."""
        del write_mask
        grid = series_grid(self.patient, self.visit, self.protocol)
        place = folder / series_folder(self.patient, self.visit, self.protocol)
        for index in range(self.first, self.stop):
            pixels = scan_slice(self.patient, self.visit, self.protocol, grid, index)
            path = place / f"IM{grid.shape[0] - index:05d}.dcm"
            write_slice(path, pixels, self.patient, self.visit, self.protocol, grid, index)
        return self.stop - self.first


@dataclass(frozen=True, eq=False)
class _LesionTask:
    """One lesion at one visit: its true mask to be written, its true quantities to be found."""

    patient: Patient
    visit: int
    protocol: Protocol
    lesion_id: str

    @property
    def day(self) -> str:
        """The visit's date."""
        return self.patient.visits[self.visit].date

    def work(self, folder: Path, write_mask: WriteMask) -> dict[str, Any]:
        """Write the mask; returns the truth."""
        grid = series_grid(self.patient, self.visit, self.protocol)
        mask = true_mask(self.patient, self.visit, self.lesion_id, grid)
        if mask is not None:
            path = folder / "truth" / self.patient.patient_id / self.day / f"{self.lesion_id}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(mask, path)
        return lesion_truth(self.patient, self.visit, self.lesion_id, self.protocol.machine.mineral)


@dataclass(frozen=True, eq=False)
class _BaselineTask:
    """The series of another modality, which only the baseline holds."""

    patient: Patient
    scale: str
    acquire: Acquire

    def work(self, folder: Path, write_mask: WriteMask) -> dict[str, Any]:
        """Acquire and write them; returns their truth by role."""
        del write_mask
        return self.acquire(self.patient, self.scale, folder)


_Task = _SlicesTask | _LesionTask | _BaselineTask


def write_sample(
    folder: Path,
    write_mask: WriteMask,
    seed: int = 0,
    visits: int = 3,
    patients: int = 1,
    scale: str = "full",
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
    garbage: float = 0.0,
) -> None:
    """Write synthetic patients: scans as DICOM, `truth.json`, masks under `truth/`, `lesions.yaml`.

    Parameters
    ----------
    write_mask : writes a mask to a file; a module's function, so that workers can call it.
    scale : "full", or "mini" for a coarse cut-out of at most 3 MB.
    progress : called with the tasks done and the tasks in all.
    garbage : junk files to lay among the scans, as a fraction of the image files; `truth.json` lists each.

    Notes
    -----
    The same seed writes the same bytes; patient 0 of seed 0 is the reference case.
    """
    drawn = [draw_patient(seed, number, visits) for number in range(patients)]
    tasks = [task for patient in drawn for task in _tasks(patient, scale)]
    found: list[tuple[_Task, Any]] = []
    for task, result in _worked(tasks, folder, write_mask, workers):
        found.append((task, result))
        if progress is not None:
            progress(len(found), len(tasks))
    truth: dict[str, Any] = {
        "schema_version": 1,
        "seed": seed,
        "definitions": DEFINITIONS,
        "patients": {patient.patient_id: _patient_truth(patient, scale, found) for patient in drawn},
    }
    if garbage:
        truth["garbage"] = salt(folder, garbage, seed)
    write_whole(folder / "truth.json", json.dumps(truth, indent=1) + "\n")
    lesions = {
        "patients": [
            lesion_entries(patient, protocols(patient, 0, scale), _beyond_ct(patient, found)) for patient in drawn
        ]
    }
    write_whole(folder / "lesions.yaml", yaml.safe_dump(lesions, sort_keys=False, default_flow_style=None, width=120))


def _tasks(patient: Patient, scale: str) -> Iterator[_Task]:
    # The longest first, so that the workers end together.
    for acquire in BEYOND_CT:
        yield _BaselineTask(patient, scale, acquire)
    for visit in range(len(patient.visits)):
        for protocol in protocols(patient, visit, scale):
            count = series_grid(patient, visit, protocol).shape[0]
            for first in range(0, count, SLICES_A_TASK):
                yield _SlicesTask(patient, visit, protocol, first, min(first + SLICES_A_TASK, count))
            for lesion_id in patient.lesion_ids(protocol.region.role):
                yield _LesionTask(patient, visit, protocol, lesion_id)


def _worked(tasks: list[_Task], folder: Path, write_mask: WriteMask, workers: int) -> Iterator[tuple[_Task, Any]]:
    """Each task with its result, in whatever order they end."""
    if workers <= 1:
        yield from ((task, task.work(folder, write_mask)) for task in tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(task.work, folder, write_mask): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _patient_truth(patient: Patient, scale: str, found: list[tuple[_Task, Any]]) -> dict[str, Any]:
    lesions: list[dict[str, Any]] = [{} for _ in patient.visits]
    for task, result in found:
        if isinstance(task, _LesionTask) and task.patient is patient:
            lesions[task.visit][task.lesion_id] = result
    targets = [visit[AXILLA.lesion_id]["quantities"]["longest_diameter"] for visit in lesions]
    return {
        "course": patient.course.value,
        "target": AXILLA.lesion_id,
        "visits": {
            state.date: {
                "number": state.number,
                "label": state.label,
                "series": {
                    protocol.region.role: _series_truth(patient, state.number, protocol)
                    for protocol in protocols(patient, state.number, scale)
                }
                | (_beyond_ct(patient, found) if state.number == 0 else {}),
                "movement": {
                    bone: rounded(patient.movement(state.number, bone), 9) for bone in ("pelvis", "L4", "L3", "T4")
                },
                "expected": {
                    "recist-1.1": expected_response(targets[: state.number + 1], patient.has_new(state.number))
                },
                "lesions": dict(sorted(lesions[state.number].items())),
            }
            for state in patient.visits
        },
    }


def _beyond_ct(patient: Patient, found: list[tuple[_Task, Any]]) -> dict[str, Any]:
    """What is true of the baseline's series of other modalities, by role."""
    truths = [truth for task, truth in found if isinstance(task, _BaselineTask) and task.patient is patient]
    return dict(sorted((role, about) for truth in truths for role, about in truth.items()))


def _series_truth(patient: Patient, visit: int, protocol: Protocol) -> dict[str, Any]:
    return {
        "series_instance_uid": identifier(patient.seed, visit, protocol.region.role, "series"),
        "series_description": protocol.series_description,
        "modality": "CT",
        "kvp": protocol.machine.kvp,
        "noise_hu": protocol.machine.noise_hu,
        "point_spread_mm": protocol.machine.spread_mm,
    }
