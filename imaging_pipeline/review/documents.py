"""A case as the page reads it: JSON, every text made safe to show, lesions and visits by their place in the case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Drawn,
    Edited,
    Measurement,
    Review,
    Segmented,
    Sighting,
    Values,
)
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Space
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE, HU
from imaging_pipeline.errors import Problem, one_line
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.figures import window_for
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.io.report.pictures import slice_words
from imaging_pipeline.review import standing
from imaging_pipeline.review.changes import Change
from imaging_pipeline.review.hanging import hung_grid, pixel_type, plane_of

Document = dict[str, Any]

#: Level and width; the first is chosen by the lesion's kind.
_CT_WINDOWS = (
    {"name": "bone", "level": 400.0, "width": 1800.0},
    {"name": "soft tissue", "level": 40.0, "width": 400.0},
    {"name": "lung", "level": -600.0, "width": 1500.0},
)

#: What the page shows of a lesion after its diameters, where it was measured.
_SHOWN = (
    "volume", "mean_density", "calcified_fraction", "lytic_fraction", "sclerotic_fraction", "height_loss",
    "signal_ratio_muscle",
)  # fmt: skip


def case_document(case: Case, values: Values, acts: Sequence[Review], *, shows_readers: bool) -> Document:
    """All the page shows of one case; `acts` are those the reader may see."""
    lookup = Lookup(case)
    stale = standing.stale(case, acts)
    disputed = standing.disputed(acts) if shows_readers else frozenset()
    return {
        "case": case.case,
        "visits": [_visit(case, number, acts, stale) for number in range(len(case.visits))],
        "lesions": [_lesion(lesion) for lesion in case.lesions],
        "cells": [
            [_cell(lookup, values, lesion, visit.number, acts, stale, disputed) for visit in case.visits]
            for lesion in case.lesions
        ],
        "responses": [_response(each) for each in case.assessments],
        "problems": [problem_document(problem) for problem in case.problems if problem.code[:2] != "N-"],
        "acts": [_act(act, case, stale) for act in acts],
    }


def problem_document(problem: Problem) -> dict[str, str]:
    """A problem, safe to show."""
    return {key: one_line(text) for key, text in problem.document.items()}


def change_document(change: Change) -> Document:
    """A change, safe to show."""
    return {key: one_line(part) if isinstance(part, str) else part for key, part in asdict(change).items()}


def _response(assessment: Assessment) -> Document:
    return {
        "criterion": assessment.criterion,
        "visit": assessment.visit,
        "overall": assessment.overall,
        "words": wording.response_words(assessment.overall),
        "tone": wording.tone(assessment.overall),
        "sum": "" if assessment.sum_mm is None else str(assessment.sum_mm),
        "from_baseline": wording.percent(assessment.change_from_baseline_pct),
        "from_nadir": wording.percent(assessment.change_from_nadir_pct),
        "certainty": [one_line(sentence) for sentence in wording.other_categories(assessment)],
        "reasons": [one_line(reason) for reason in assessment.reasons],
    }


def _visit(case: Case, number: int, acts: Sequence[Review], stale: frozenset[str]) -> Document:
    visit = case.visits[number]
    signed = standing.last_signature(visit.number, acts)
    return {
        "number": visit.number,
        "label": one_line(visit.label),
        "date": one_line(visit.date),
        "judged": signature(case.measurements, visit.number),
        "signed": None if signed is None else {"by": one_line(signed.reader), "stale": digest(signed) in stale},
        "series": [
            {"name": one_line(f"{series.role or 'no role'}, {series.modality}"), "digest": series.digest}
            if series.grid is not None and series.grid.space is Space.PATIENT
            else None
            for series in visit.series
        ],
    }


def _lesion(lesion: Lesion) -> Document:
    return {
        "id": one_line(lesion.lesion_id),
        "label": one_line(lesion.label),
        "kind": lesion.kind.value,
        "role": lesion.role.value.replace("_", "-"),
        "site": one_line(f"{lesion.laterality} {lesion.site.meaning.lower() if lesion.site else ''}".strip()),
    }


def _cell(
    lookup: Lookup,
    values: Values,
    lesion: Lesion,
    visit: int,
    acts: Sequence[Review],
    stale: frozenset[str],
    disputed: frozenset[tuple[str, int]],
) -> Document | None:
    sighting = lookup.sighting(lesion.lesion_id, visit)
    if sighting is None:
        return None
    subject = lookup.at(lesion.lesion_id, visit)
    return {
        "outcome": sighting.outcome.value.replace("_", " "),
        "judged": standing.present_outline(lookup.case, sighting, acts),
        "standing": standing.standing(lesion.lesion_id, visit, acts, stale).value,
        "disputed": (lesion.lesion_id, visit) in disputed,
        "confidence": "" if sighting.confidence is None else wording.confidence(sighting.confidence),
        "method": one_line(sighting.method),
        "problems": [problem_document(each) for each in lookup.case.problems if each.subject == subject],
        "series": _series(lookup, sighting),
        "numbers": [
            _number(each, lookup.number(lesion.lesion_id, lookup.case.visits[0].number, name))
            for name in ("longest_diameter", _across(lesion), *_SHOWN)
            if (each := lookup.number(lesion.lesion_id, visit, name))
        ],
        "lines": _lines(lookup, lesion, visit),
        "view": _view(values, sighting, lesion.kind),
    }


def _series(lookup: Lookup, sighting: Sighting) -> int | None:
    uids = [series.series_instance_uid for series in lookup.visits[sighting.visit].series]
    return uids.index(sighting.series_uid) if sighting.series_uid in uids else None


def _number(measurement: Measurement, baseline: Measurement | None) -> Document:
    name = measurement.quantity
    return {
        "label": CATALOGUE[name].label,
        "value": f"{wording.shown(measurement.value, name)}{wording.NARROW}{wording.shown_unit(name)}".strip(),
        "interval": wording.interval(measurement),
        "change": wording.change(measurement, baseline),
        "evidence": measurement.evidence.kind,
    }


def _lines(lookup: Lookup, lesion: Lesion, visit: int) -> dict[str, list[list[float]]]:
    lines = {}
    for quantity in ("longest_diameter", _across(lesion)):
        measured = lookup.number(lesion.lesion_id, visit, quantity)
        if measured and isinstance(measured.evidence, (Segmented, Drawn, Edited)) and measured.evidence.points_lps:
            lines[quantity] = [list(point) for point in measured.evidence.points_lps]
    return lines


def _across(lesion: Lesion) -> str:
    """The second diameter: of a node it is the one that counts (RECIST 1.1)."""
    return "short_axis" if lesion.kind is Kind.NODE else "perpendicular_diameter"


def _view(values: Values, sighting: Sighting, kind: Kind) -> Document | None:
    mask, view = values.get(sighting.mask), values.get(sighting.view)
    if not isinstance(mask, Mask) or not isinstance(view, Volume) or view.grid.space is not Space.PATIENT:
        return None
    grid, plane = hung_grid(view.grid), plane_of(view.grid)
    window = window_for(view, kind)
    first = {"name": window.name, "level": window.level, "width": window.width}
    others = [each for each in _CT_WINDOWS if each["name"] != window.name] if view.unit == HU else []
    return {
        "digest": view.digest,
        "outline": mask.digest,
        "shape": grid.shape,
        "spacing_mm": grid.spacing_mm,
        "affine": grid.affine,
        "pixels": pixel_type(view),
        "unit": wording.unit(view.unit),
        "windows": [first, *others],
        "plane": plane.name,
        "letters": plane.letters,
        "slices": [slice_words(view.series, _corner(view, index)) for index in range(view.grid.shape[0])],
    }


def _corner(view: Volume, index: int) -> tuple[float, float, float]:
    left, posterior, superior = view.grid.to_lps((index, 0, 0))
    return float(left), float(posterior), float(superior)


def _act(act: Review, case: Case, stale: frozenset[str]) -> Document:
    key = digest(act)
    lesions = [lesion.lesion_id for lesion in case.lesions]
    return {
        "reader": one_line(act.reader),
        "time": one_line(act.time),
        "act": act.act,
        "lesion": lesions.index(act.lesion_id) if act.lesion_id in lesions else None,
        "name": one_line(act.lesion_id),
        "visit": act.visit,
        "what": act.quantity.replace("_", " ") or ("outline" if act.mask else ""),
        "finding": act.finding,
        "comment": one_line(act.comment),
        "digest": key,
        "stale": key in stale,
        "pending": act not in case.reviews,
    }
