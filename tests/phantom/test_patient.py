"""Patients drawn from seeds: how they move, and how their disease goes."""

import numpy as np
import pytest

from imaging_pipeline.phantom.disease import AXILLA, Course
from imaging_pipeline.phantom.patient import draw_patient
from imaging_pipeline.phantom.truth import expected_response, true_form

SEEDS = range(16)


def diameters(patient):
    states = [patient.lesion(visit.number, AXILLA.lesion_id) for visit in patient.visits]
    return [
        0.0 if state is None else true_form(patient, visit, state).longest.length_mm
        for visit, state in enumerate(states)
    ]


@pytest.fixture(scope="module")
def patients():
    """Sixteen patients, each with the true diameters of its mass at four visits."""
    drawn = [draw_patient(seed, visits=4) for seed in SEEDS]
    return {patient: diameters(patient) for patient in drawn}


def test_equal_seeds_draw_equal_patients_and_others_draw_others():
    assert draw_patient(5, 2) == draw_patient(5, 2)
    assert draw_patient(5, 2).anatomy != draw_patient(5, 3).anatomy
    assert draw_patient(5, 2).anatomy != draw_patient(6, 2).anatomy


def test_more_visits_leave_the_first_ones_as_they_were():
    assert draw_patient(3, visits=5).visits[:3] == draw_patient(3, visits=3).visits


def test_visits_follow_the_reference_case_and_then_every_three_months():
    dates = [visit.date for visit in draw_patient(0, visits=5).visits]
    assert dates == ["2023-05-28", "2023-10-18", "2024-02-20", "2024-05-21", "2024-08-20"]


def test_the_reference_mass_is_about_50_mm_shrinks_by_15_to_25_percent_and_stays(patients):
    baseline, *later = next(iter(patients.values()))
    assert baseline == pytest.approx(50, abs=2)
    assert all(0.75 <= size / baseline <= 0.85 for size in later)


def test_the_reference_lesion_of_l4_has_the_reported_size():
    patient = draw_patient(0)
    vertices = patient.lesion(0, "L4").surface.vertices()
    assert np.ptp(vertices, axis=0) == pytest.approx((30, 20, 22), abs=0.01)


def test_every_course_shows_the_category_it_stands_for(patients):
    last = {
        Course.STABLE: "SD",
        Course.RESPONSE: "PR",
        Course.COMPLETE: "PR",  # the mass is gone, bone lesions are not
        Course.PROGRESSION: "PD",
        Course.NEW_LESION: "PD",
    }
    assert {patient.course for patient in patients} == set(Course)
    for patient, sizes in patients.items():
        assert expected_response(sizes, patient.has_new(3))["overall"] == last[patient.course]


def test_categories_stand_clear_of_their_borders(patients):
    for baseline, *later in patients.values():
        shares = [size / baseline for size in later if size]
        assert all(abs(share - 0.7) > 0.02 for share in shares)


def test_bodies_turn_up_to_8_degrees_and_shift_up_to_30_mm(patients):
    for patient in patients:
        for visit in patient.visits[1:]:
            turn = np.array(visit.posture.body)[:3, :3]
            angle = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
            middle = np.array(patient.anatomy.vertebra("T12").centre) * (0, 0, 1)
            shift = np.array(visit.posture.body) @ (*middle, 1) - (*middle, 1)
            assert 0.5 < angle < 8.01
            assert np.linalg.norm(shift) < 30.01


def test_movement_from_the_baseline_is_rigid_and_differs_between_bones():
    patient = draw_patient(0)
    moves = [patient.movement(1, bone) for bone in ("pelvis", "L4", "T4")]
    for move in moves:
        assert move[:3, :3] @ move[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
    assert not np.allclose(moves[0], moves[2], atol=0.005)
    assert patient.movement(0, "T4") == pytest.approx(np.eye(4), abs=1e-12)


@pytest.mark.parametrize(
    ("sizes", "new", "overall"),
    [
        ([50], False, ""),
        ([50, 40], False, "SD"),
        ([50, 35], False, "PR"),
        ([50, 35.1], False, "SD"),
        ([50, 30, 36], False, "PD"),
        ([50, 30, 35.9], False, "SD"),
        ([20, 10, 12], False, "PR"),  # 20 % more, but only 2 mm
        ([50, 0], False, "PR"),
        ([50, 30], True, "PD"),
    ],
)
def test_expected_response_follows_recist(sizes, new, overall):
    assert expected_response(sizes, new)["overall"] == overall
