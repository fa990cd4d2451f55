"""What a reader would say before anything is measured: one prompt per lesion at baseline, and what was reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.phantom.disease import AXILLA, L4
from imaging_pipeline.phantom.patient import DATES, Patient
from imaging_pipeline.phantom.protocols import Protocol
from imaging_pipeline.phantom.scanner import series_grid
from imaging_pipeline.phantom.truth import true_form

#: How far a reader's click may lie from the true end of the diameter, before it snaps to the pixel.
READER_MM = 0.8


def _value(quantity: str, value: int, modality: str, source: str) -> dict[str, Any]:
    return {"quantity": quantity, "value": value, "unit": "mm", "modality": modality, "source": source}


def _statement(visit: str, statement: str, source: str) -> dict[str, Any]:
    return {"visit": visit, "statement": statement, "modality": "CT", "source": source}


#: The sequence a reader marks: marrow without fat stands out in it.
MR_SEQUENCE = "lumbar_mr_t1"

#: What the report of the reference case says. It contradicts itself twice, which is left for the reader to see.
#: Source: the published case.
REPORTED: dict[str, list[dict[str, Any]]] = {
    L4.lesion_id: [
        _value("extent_left_right", 30, "CT", "report text"),
        _value("extent_anterior_posterior", 20, "CT", "report text"),
        _value("extent_superior_inferior", 22, "CT", "report text"),
        _value("extent_left_right", 34, "CT", "figure legend"),
        _statement(DATES[1], "less lysis, thicker and denser cortex, scattered calcification", "report text"),
        _statement(DATES[2], "prominent calcification in the destroyed area", "report text"),
    ],
    AXILLA.lesion_id: [
        _value("longest_diameter", 32, "US", "ultrasound report"),
        _value("perpendicular_diameter", 26, "US", "ultrasound report"),
        _value("longest_diameter", 50, "palpation", "physical examination"),
        _value("perpendicular_diameter", 30, "palpation", "physical examination"),
        _statement(DATES[1], "SD", "report text"),
        _statement(DATES[2], "no significant alteration", "report text"),
        _statement(DATES[2], "about 2 cm smaller than at the previous review", "figure legend"),
    ],
}


#: What the patient of the reference case was given. The case states cycles and the day of the change, not the first
#: day: a week after the baseline is assumed.
TREATMENTS = [
    {"label": "cisplatin, doxorubicin", "start": "2023-06-05", "end": "2023-10-08"},
    {"label": "denosumab", "start": "2023-06-05"},
    {"label": "anlotinib", "start": DATES[1]},
]


def lesion_entries(
    patient: Patient, protocols: tuple[Protocol, ...], beyond_ct: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """One patient's part of a lesion file: what is there at baseline, each with a mark in every image that shows it.

    Parameters
    ----------
    beyond_ct : what is true of the baseline's other series, by role.
    """
    grids = {protocol.region.role: series_grid(patient, 0, protocol) for protocol in protocols}
    reference = patient.seed == (0, 0)
    lesions = []
    for state in patient.visits[0].lesions:
        plan = state.plan
        entry: dict[str, Any] = {
            "id": plan.lesion_id,
            "label": plan.label,
            "site": plan.site,
            "laterality": plan.laterality,
            "kind": plan.kind.value,
            "organ": plan.organ,
            "bone_type": plan.bone_type,
            "prompts": [
                {"series": plan.series_role, **_mark(patient, plan.lesion_id, grids[plan.series_role])},
                *_beside_ct(plan.lesion_id, beyond_ct),
            ],
        }
        if reference and plan.lesion_id in REPORTED:
            entry["reported"] = REPORTED[plan.lesion_id]
        lesions.append({key: value for key, value in entry.items() if value != ""})
    treatments = {"treatments": TREATMENTS} if reference else {}
    return {"patient": patient.patient_id, "lesions": lesions, **treatments}


def _beside_ct(lesion_id: str, beyond_ct: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Calipers on ultrasound, a click on one MR sequence, a box on one view of the bone scan, each to the pixel."""
    for role, truth in sorted(beyond_ct.items()):
        if lesion_id not in truth["quantities"]:
            continue
        if truth["modality"] == "US":
            axes = ("line", truth["long_axis_column_row"]), ("short", truth["short_axis_column_row"])
            yield {"series": role, **{name: [_pixel(column, row) for column, row in ends] for name, ends in axes}}
        elif role == MR_SEQUENCE:
            yield {"series": role, "point": truth["centre_lps"][lesion_id]}
        elif truth["modality"] == "NM":
            (first_row, first_column), (stop_row, stop_column) = truth["regions"][lesion_id]["lesion"][0]
            corners = (first_column, first_row), (stop_column - 1, stop_row - 1)
            yield {"series": role, "box": [_pixel(column, row) for column, row in corners]}


def _pixel(column: float, row: float) -> dict[str, int]:
    return {"column": round(column), "row": round(row)}


def _mark(patient: Patient, lesion_id: str, grid: Grid) -> dict[str, Any]:
    """The RECIST line in the slice where it is longest, or a click in the middle; set by hand, so not exact."""
    state = patient.lesion(0, lesion_id)
    assert state is not None
    form = true_form(patient, 0, state)
    random = np.random.default_rng((*patient.seed, crc32(lesion_id.encode())))
    if state.plan.prompt == "point":
        return {"point": _clicked(form.mesh.vertices.mean(axis=0), grid, random)}
    heights = grid.to_lps([(index, 0, 0) for index in range(grid.shape[0])])[:, 2]
    lines = [line for line in (form.mesh.axial_diameter(float(z)) for z in heights) if line is not None]
    longest = max(lines, key=lambda line: line.length_mm)
    return {"line": [_clicked(np.array(end), grid, random) for end in longest.ends_lps]}


def _clicked(point: NDArray[np.float64], grid: Grid, random: Generator) -> list[float]:
    missed = point + np.append(random.uniform(-READER_MM, READER_MM, 2), 0.0)
    voxel = grid.to_lps(np.rint(grid.to_index(missed)))
    return [round(float(coordinate), 2) for coordinate in voxel]
