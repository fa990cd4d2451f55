"""Short ways to write the pipeline's nouns in tests."""

from __future__ import annotations

from imaging_pipeline.config import AssessConfig
from imaging_pipeline.criteria.roles import decide_roles
from imaging_pipeline.domain.case import Drawn, Edited, Measurement, Outcome, Reported, Segmented, Sighting, Visit
from imaging_pipeline.domain.geometry import IDENTITY, Grid
from imaging_pipeline.domain.images import Series, Technique
from imaging_pipeline.domain.lesions import Kind, Lesion, Role

SEGMENTED, DRAWN, EDITED = Segmented("mask"), Drawn(()), Edited("mask", "review")
UNITS = {"mean_density": "[hnsf'U]", "volume": "mm3", "lytic_fraction": "%", "rim_continuity": "%"}


def series(uid="ct", modality="CT", thickness=2.5, spacing=None):
    grid = None
    if spacing is not None:
        grid = Grid((10, 10, 10), ((spacing, 0, 0, 0), *IDENTITY[1:]))
    return Series(uid, "study", "class", modality, "2023-05-28", "role", (), grid, Technique(slice_thickness=thickness))


def visits(*dates, **kinds):
    dates = dates or ("2023-05-28", "2023-10-18", "2024-02-20")
    return tuple(
        Visit(number, f"visit {number}", date, (series(**kinds), series("mr", "MR"), series("us", "US", None)))
        for number, date in enumerate(dates)
    )


def lesion(name="AX", kind=Kind.SOFT_TISSUE, role=Role.AUTO, **fields):
    return Lesion(name, f"uid of {name}", name, kind, role, **fields)


def measured(value, visit=0, name="AX", quantity="longest_diameter", **fields):
    fields = {"evidence": SEGMENTED, "modality": "CT", "series_uid": "ct", **fields}
    return Measurement(name, visit, quantity, value, UNITS.get(quantity, "mm"), **fields)


def reported(value, visit=0, name="AX", quantity="longest_diameter", modality="US", source="ultrasound report"):
    return Measurement(name, visit, quantity, value, "mm", Reported(source), modality=modality)


def seen(visit, name="AX", outcome=Outcome.MEASURED):
    return Sighting(name, visit, outcome)


def judged(criterion, lesions, measurements, sightings=(), at=None, roles=True, **params):
    at = at or visits()
    if roles:
        lesions, _ = decide_roles(lesions, at, sightings, measurements)
    return criterion(lesions, at, sightings, measurements, AssessConfig(params=params))
