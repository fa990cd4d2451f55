"""What role each of the pipeline's lesions has: RECIST's rules for candidates, on what baseline shows of a lesion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from imaging_pipeline.criteria.candidates import (
    BoneType,
    Candidate,
    CandidateKind,
    Modality,
    Ruling,
    choose,
    organ_of,
    passed_over,
    rule,
)
from imaging_pipeline.criteria.evidence import believed, value_of
from imaging_pipeline.criteria.exact import as_decimal
from imaging_pipeline.domain.case import Measurement, Outcome, Sighting, Visit
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.errors import ConfigurationError, Problem

_MODALITIES: Mapping[str, Modality] = {"CT": "CT", "MR": "MRI", "US": "US", "NM": "BONE_SCAN", "CR": "XR", "DX": "XR"}
_BONE_TYPES: Mapping[str, BoneType] = {"lytic": "lytic", "mixed": "mixed", "blastic": "blastic"}
_KINDS: Mapping[Kind, CandidateKind] = {Kind.BONE: "bone", Kind.NODE: "node", Kind.SOFT_TISSUE: "soft_tissue"}


def decide_roles(
    lesions: tuple[Lesion, ...],
    visits: tuple[Visit, ...],
    sightings: tuple[Sighting, ...],
    measurements: tuple[Measurement, ...],
) -> tuple[tuple[Lesion, ...], tuple[Problem, ...]]:
    """Lesions that RECIST 1.1 calls measurable at baseline become targets, at most five and two per organ.

    A role the reader stated is kept; a target that is not measurable is said so
    in its reason and as a problem. A lesion first seen after baseline is new.
    """
    known = [lesion for lesion in lesions if not _is_new(lesion, visits[0].number, sightings)]
    candidates = {lesion.lesion_id: candidate_of(lesion, visits[0], measurements) for lesion in known}
    rulings = {lesion_id: _ruled(candidate) for lesion_id, candidate in candidates.items()}
    stated = [candidates[lesion.lesion_id] for lesion in known if lesion.role is Role.TARGET]
    free = [
        candidates[lesion.lesion_id]
        for lesion in known
        if lesion.role is Role.AUTO and rulings[lesion.lesion_id].measurable
    ]
    chosen = {candidate.id for candidate in choose(free, rulings, stated)}
    for candidate in free:
        if candidate.id not in chosen:
            rulings[candidate.id] = passed_over(candidate, rulings[candidate.id])
    decided = tuple(_with_role(lesion, rulings.get(lesion.lesion_id)) for lesion in lesions)
    contradicted = tuple(
        _not_measurable(lesion.lesion_id, rulings[lesion.lesion_id].reason)
        for lesion in known
        if lesion.role is Role.TARGET and not rulings[lesion.lesion_id].measurable
    )
    return decided, contradicted


def _is_new(lesion: Lesion, baseline: int, sightings: tuple[Sighting, ...]) -> bool:
    """Seen only after baseline: not there then, or its region not scanned (4.3.5)."""
    if lesion.role is not Role.AUTO:
        return lesion.role is Role.NEW
    mine = [sighting for sighting in sightings if sighting.lesion_id == lesion.lesion_id]
    at_baseline = {sighting.outcome for sighting in mine if sighting.visit == baseline}
    seen_later = any(sighting.visit > baseline and sighting.outcome is Outcome.MEASURED for sighting in mine)
    return seen_later and at_baseline <= {Outcome.ABSENT, Outcome.NOT_IMAGED}


def candidate_of(lesion: Lesion, baseline: Visit, measurements: tuple[Measurement, ...]) -> Candidate:
    """A lesion as baseline shows it, by the measurements believed there, with the slices they were taken from."""
    here = believed(
        measurement
        for measurement in measurements
        if measurement.lesion_id == lesion.lesion_id and measurement.visit == baseline.number
    )
    source = next(iter(here.values()), None)
    in_lung = lesion.kind is Kind.SOFT_TISSUE and organ_of(lesion.organ, node=False) == "lung"
    return Candidate(
        lesion.lesion_id,
        organ=lesion.organ,
        kind="lung" if in_lung else _KINDS[lesion.kind],
        modality=_MODALITIES.get(source.modality, "CT") if source else "CT",
        slice_mm=_slice_mm(source.series_uid, baseline) if source else None,
        long_mm=value_of(here, "longest_diameter"),
        short_mm=value_of(here, "short_axis"),
        bone_type=_BONE_TYPES.get(lesion.bone_type),
        soft_tissue_mm=value_of(here, "soft_tissue_diameter"),
    )


def _slice_mm(series_uid: str, baseline: Visit) -> Decimal | None:
    """The slice thickness, or the distance of the slices where that is larger: what lies between was not seen."""
    series = next((series for series in baseline.series if series.series_instance_uid == series_uid), None)
    if series is None:
        return None
    stated = series.technique.slice_thickness
    known = [value for value in (stated, series.grid.spacing_mm[0] if series.grid else None) if value is not None]
    return as_decimal(round(max(known), 3)) if known else None


def _ruled(candidate: Candidate) -> Ruling:
    try:
        return rule(candidate)
    except ConfigurationError as error:
        field = error.problem.subject.rpartition(".")[2]
        return Ruling(candidate.id, False, "non_target", f"not measured at baseline: no {field}")


def _with_role(lesion: Lesion, ruling: Ruling | None) -> Lesion:
    if ruling is None:
        return replace(lesion, role=Role.NEW, role_reason="first seen after baseline")
    if lesion.role is not Role.AUTO:
        measurable = "" if ruling.measurable else "not measurable: "
        return replace(lesion, role_reason=f"stated by the reader; {measurable}{ruling.reason}")
    role = Role.TARGET if ruling.role == "target" else Role.NON_TARGET
    return replace(lesion, role=role, role_reason=ruling.reason)


def _not_measurable(lesion_id: str, reason: str) -> Problem:
    return Problem(
        "W-ROLE-NOT-MEASURABLE",
        lesion_id,
        f"a target that is not measurable: {reason}",
        "a measurable lesion (RECIST 1.1, 3.1)",
        "make it a non-target, or measure a part that is measurable",
    )
