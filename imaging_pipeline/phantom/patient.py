"""One synthetic patient: a body, its lesions through time, and how it lay at each visit; all drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from zlib import crc32

import numpy as np
from numpy.random import Generator

from imaging_pipeline.domain.geometry import as_matrix, moved
from imaging_pipeline.phantom.anatomy import Anatomy, draw_anatomy, draw_bowel
from imaging_pipeline.phantom.canvas import Matrix4
from imaging_pipeline.phantom.disease import Course, draw_lesions, lesions_at
from imaging_pipeline.phantom.lesions import LesionState
from imaging_pipeline.phantom.posture import Posture, about_point, piece_of, rotation
from imaging_pipeline.phantom.trunk import Loop

#: Dates of the reference case; later visits follow every three months.
DATES = ("2023-05-28", "2023-10-18", "2024-02-20")
LABELS = ("baseline", "after 6 cycles", "review")


@dataclass(frozen=True)
class PatientVisit:
    """One patient on one day: how it lay, what lesions there were, where the bowel was."""

    number: int
    label: str
    date: str
    posture: Posture
    marrow_hu: float
    bowel: tuple[Loop, ...]
    lesions: tuple[LesionState, ...]


@dataclass(frozen=True)
class Patient:
    """One synthetic patient through time."""

    patient_id: str
    birth_date: str
    seed: tuple[int, int]
    course: Course
    anatomy: Anatomy
    visits: tuple[PatientVisit, ...]

    def lesion(self, visit: int, lesion_id: str) -> LesionState | None:
        """A lesion as it is at a visit; None when it is not there."""
        states = self.visits[visit].lesions
        return next((state for state in states if state.plan.lesion_id == lesion_id), None)

    def lesion_ids(self, series_role: str) -> tuple[str, ...]:
        """Every lesion that a series shows at any visit, in the order of appearance."""
        states = [state for visit in self.visits for state in visit.lesions]
        return tuple(dict.fromkeys(s.plan.lesion_id for s in states if s.plan.series_role == series_role))

    def has_new(self, visit: int) -> bool:
        """Whether a lesion is there at a visit that was not there at baseline."""
        before = {state.plan.lesion_id for state in self.visits[0].lesions}
        return any(state.plan.lesion_id not in before for state in self.visits[visit].lesions)

    def to_scanner(self, visit: int, bone: str) -> Matrix4:
        """Where the piece a bone belongs to lies at a visit: anatomy's frame to scanner LPS."""
        return self.visits[visit].posture.pieces(self.anatomy.vertebrae)[piece_of(bone)]

    def back_mm(self, visit: int) -> float:
        """How far back, in scanner LPS, the patient reaches at a visit: where the table is."""
        curve = self.anatomy.trunk.spine
        deepest = (0.0, curve.middle_mm + curve.swing_mm + 68.0, curve.lordosis_z_mm + curve.half_period_mm)
        return float(moved(self.to_scanner(visit, "T6"), deepest)[1])

    def lying_again(self, visit: int, purpose: str) -> Patient:
        """The same patient on another table the same day: turned by up to 2 degrees, shifted by up to 9 mm."""
        random = _stream(*self.seed, f"posture {visit} {purpose}")
        state = self.visits[visit]
        shift = random.uniform(-9.0, 9.0, 3)
        turn = rotation(0, np.radians(random.uniform(-2.0, 2.0))) @ rotation(2, np.radians(random.uniform(-2.0, 2.0)))
        turn[:3, 3] = shift
        posture = replace(state.posture, body=as_matrix(turn @ np.array(state.posture.body)))
        visits = list(self.visits)
        visits[visit] = replace(state, posture=posture)
        return replace(self, visits=tuple(visits))

    def movement(self, visit: int, bone: str) -> Matrix4:
        """Baseline LPS to a visit's LPS, for the piece a bone belongs to."""
        moved: Matrix4 = self.to_scanner(visit, bone) @ np.linalg.inv(self.to_scanner(0, bone))
        return moved


def draw_patient(seed: int, number: int = 0, visits: int = 3) -> Patient:
    """Draw patient `number` of a seed. Patient 0 of seed 0 is the reference case: the mass shrinks and stays stable."""
    reference = seed == 0 and number == 0
    anatomy = draw_anatomy(_stream(seed, number, "anatomy"), flattened="L4")
    course = Course.STABLE if reference else Course(_stream(seed, number, "course").choice(list(Course)))
    onset = draw_lesions(_stream(seed, number, "lesions"), anatomy, reference)
    days = [_date(index) for index in range(visits)]
    return Patient(
        f"SAMPLE-{number + 1:03d}" if seed == 0 else f"SAMPLE-{seed}-{number + 1:03d}",
        "1955-02-14" if reference else _draw_birth_date(_stream(seed, number, "birth date")),
        (seed, number),
        course,
        anatomy,
        tuple(
            PatientVisit(
                index,
                LABELS[index] if index < len(LABELS) else f"follow-up {index}",
                day,
                _draw_posture(_stream(seed, number, f"posture {index}"), anatomy, index),
                155.0 * (1.0, 1.06, 1.10)[min(index, 2)],
                draw_bowel(_stream(seed, number, f"bowel {index}"), anatomy.trunk.spine),
                lesions_at(index, course, onset, anatomy, _stream(seed, number, "healing")),
            )
            for index, day in enumerate(days)
        ),
    )


def _stream(seed: int, number: int, purpose: str) -> Generator:
    """Random numbers of their own for each purpose, so that drawing more of one thing changes no other."""
    return np.random.default_rng((seed, number, crc32(purpose.encode())))


def _draw_birth_date(random: Generator) -> str:
    return (date(1935, 1, 1) + timedelta(days=int(random.integers(365 * 35)))).isoformat()


def _date(index: int) -> str:
    if index < len(DATES):
        return DATES[index]
    return (date.fromisoformat(DATES[-1]) + timedelta(days=91 * (index - len(DATES) + 1))).isoformat()


def _draw_posture(random: Generator, anatomy: Anatomy, visit: int) -> Posture:
    """The baseline lies nearly straight; later visits turn up to 8 degrees and shift up to 30 mm."""
    reach_deg, reach_mm = (2.5, 8.0) if visit == 0 else (8.0, 30.0)
    axis = random.standard_normal(3)
    angles = axis / np.linalg.norm(axis) * random.uniform(0.4, 1.0) * reach_deg
    direction = random.standard_normal(3)
    shift = direction / np.linalg.norm(direction) * random.uniform(0.4, 1.0) * reach_mm
    turn = rotation(0, np.radians(angles[0])) @ rotation(1, np.radians(angles[1])) @ rotation(2, np.radians(angles[2]))
    body = about_point(turn, (0.0, 0.0, anatomy.vertebra("T12").centre[2]))
    body[:3, 3] += shift
    flexion = (random.uniform(-0.2, 0.2) if visit == 0 else random.uniform(-0.9, 0.9)) + random.uniform(-0.15, 0.15, 6)
    return Posture(
        as_matrix(body),
        tuple(float(angle) for angle in flexion),
        visit % 2 == 0,
        float(random.uniform(-4.0, 8.0)),
    )
