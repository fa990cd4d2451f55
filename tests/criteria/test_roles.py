"""Roles of the pipeline's lesions at baseline; the rules themselves are among the vectors."""

from __future__ import annotations

import pytest

from imaging_pipeline.criteria.candidates import organ_of
from imaging_pipeline.criteria.roles import decide_roles
from imaging_pipeline.domain.case import Outcome
from imaging_pipeline.domain.lesions import Kind, Role
from tests.criteria.nouns import DRAWN, EDITED, lesion, measured, reported, seen, visits


def decide(lesions, measurements, sightings=(), at=None):
    return decide_roles(tuple(lesions), at or visits(), tuple(sightings), tuple(measurements))


def role_of(one, *measurements, at=None):
    (decided,), problems = decide([one], measurements, at=at)
    return decided.role, decided.role_reason, [problem.code for problem in problems]


def test_the_reference_case():
    lesions = [
        lesion("AX", organ="axilla"),
        lesion("L4", Kind.BONE, organ="bone", bone_type="lytic"),
        lesion("T4", Kind.BONE, organ="bone", bone_type="lytic"),
        lesion("RIB", Kind.BONE, organ="bone", bone_type="lytic"),
        lesion("ILIUM", Kind.BONE, organ="bone"),
    ]
    measurements = [measured(49.2), reported(32), measured(34, name="L4")]
    decided, problems = decide(lesions, measurements)
    assert [one.role for one in decided] == [Role.TARGET] + [Role.NON_TARGET] * 4
    assert decided[0].role_reason == "longest diameter 49.2 mm, at least 10 mm"
    assert "size of the hole is not a diameter" in decided[1].role_reason
    assert problems == ()


def test_ultrasound_alone_makes_no_target():
    role, reason, _ = role_of(lesion(), reported(32))
    assert (role, reason) == (Role.NON_TARGET, "ultrasound never measures: it depends on the operator")


def test_the_slice_comes_from_the_series_it_was_measured_on():
    thick = visits(thickness=8.0)
    assert role_of(lesion(), measured(15.9), at=thick)[0] is Role.NON_TARGET
    assert role_of(lesion(), measured(16.0), at=thick)[0] is Role.TARGET


def test_slices_further_apart_than_thick_count_by_their_distance():
    apart = visits(thickness=2.0, spacing=8.0)
    assert "below 16 mm" in role_of(lesion(), measured(15.9), at=apart)[1]


def test_a_series_without_any_thickness_measures_nothing():
    role, reason, _ = role_of(lesion(), measured(30), at=visits(thickness=None))
    assert (role, reason) == (Role.NON_TARGET, "not measured at baseline: no slice_mm")


def test_a_lesion_not_measured_is_no_target():
    assert role_of(lesion()) == (Role.NON_TARGET, "not measured at baseline: no long_mm", [])


def test_a_node_by_its_short_axis():
    node = lesion("N", Kind.NODE, organ="axilla")
    both = (measured(30, name="N"), measured(14, name="N", quantity="short_axis"))
    assert role_of(node, *both)[:2] == (Role.NON_TARGET, "short axis 14 mm, below 15 mm")
    assert role_of(node, measured(16, name="N", quantity="short_axis"))[0] is Role.TARGET


def test_bone_by_its_soft_tissue():
    bone = lesion("L4", Kind.BONE, bone_type="lytic")
    part = measured(12, name="L4", quantity="soft_tissue_diameter")
    assert role_of(bone, measured(34, name="L4"), part)[:2] == (
        Role.TARGET,
        "soft-tissue part 12 mm, at least 10 mm",
    )


def test_mri_does_not_measure_lung():
    assert role_of(lesion(organ="right lung"), measured(30, modality="MR", series_uid="mr"))[0] is Role.NON_TARGET
    assert role_of(lesion(organ="liver"), measured(30, modality="MR", series_uid="mr"))[0] is Role.TARGET


def test_a_stated_role_is_kept_and_its_contradiction_is_said():
    role, reason, problems = role_of(lesion(role=Role.TARGET), measured(9))
    assert role is Role.TARGET
    assert reason == "stated by the reader; not measurable: longest diameter 9 mm, below 10 mm"
    assert problems == ["W-ROLE-NOT-MEASURABLE"]


def test_a_stated_target_that_was_not_measured_is_a_problem():
    assert role_of(lesion(role=Role.TARGET))[2] == ["W-ROLE-NOT-MEASURABLE"]


def test_a_stated_target_that_is_measurable_is_no_problem():
    assert role_of(lesion(role=Role.TARGET), measured(30))[1:] == (
        "stated by the reader; longest diameter 30 mm, at least 10 mm",
        [],
    )


def test_a_stated_non_target_stays_one_however_large():
    assert role_of(lesion(role=Role.NON_TARGET), measured(90))[0] is Role.NON_TARGET


def test_a_stated_non_target_takes_no_place():
    lesions = [lesion("A", role=Role.NON_TARGET, organ="liver"), *(lesion(name, organ="liver") for name in "BC")]
    decided, _ = decide(lesions, [measured(90, name="A"), measured(50, name="B"), measured(40, name="C")])
    assert [one.role for one in decided] == [Role.NON_TARGET, Role.TARGET, Role.TARGET]


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_plain_film_measures_nothing(modality):
    bone = lesion("L4", Kind.BONE, bone_type="lytic")
    seen_on_film = measured(20, name="L4", quantity="soft_tissue_diameter", modality=modality)
    assert role_of(bone, seen_on_film)[1] == "a plain film of bone shows presence, it does not measure"


def test_stated_targets_take_their_places_first():
    lesions = [lesion("A", role=Role.TARGET, organ="liver"), *(lesion(name, organ="liver") for name in "BC")]
    decided, _ = decide(lesions, [measured(12, name="A"), measured(50, name="B"), measured(40, name="C")])
    assert [one.role for one in decided] == [Role.TARGET, Role.TARGET, Role.NON_TARGET]
    assert decided[2].role_reason.endswith("not chosen: at most 5 targets, 2 in liver")


def test_five_stated_targets_leave_no_place():
    stated = [lesion(name, role=Role.TARGET, organ=name) for name in "ABCDE"]
    decided, _ = decide([*stated, lesion("F", organ="F")], [measured(30, name=name) for name in "ABCDEF"])
    assert decided[-1].role is Role.NON_TARGET


@pytest.mark.parametrize(
    "at_baseline", [(), (Outcome.ABSENT,), (Outcome.NOT_IMAGED,), (Outcome.ABSENT, Outcome.NOT_IMAGED)]
)
def test_a_lesion_first_seen_later_is_new(at_baseline):
    sightings = [*(seen(0, outcome=outcome) for outcome in at_baseline), seen(1)]
    (decided,), _ = decide([lesion()], [measured(30, visit=1)], sightings)
    assert (decided.role, decided.role_reason) == (Role.NEW, "first seen after baseline")


def test_a_lesion_that_baseline_showed_but_nobody_measured_is_not_new():
    (decided,), _ = decide([lesion()], [measured(30, visit=1)], [seen(0, outcome=Outcome.NOT_EVALUABLE), seen(1)])
    assert decided.role is Role.NON_TARGET


def test_a_lesion_that_was_never_found_is_not_new():
    (decided,), _ = decide([lesion()], [], [seen(0, outcome=Outcome.NOT_IMAGED), seen(1, outcome=Outcome.ABSENT)])
    assert decided.role is Role.NON_TARGET


def test_a_role_new_stays_new():
    (decided,), _ = decide([lesion(role=Role.NEW)], [measured(30)])
    assert decided.role is Role.NEW


@pytest.mark.parametrize(
    ("measurements", "size"),
    [
        ((measured(30), reported(50)), "30"),
        ((measured(30), reported(50, modality="CT")), "30"),
        ((measured(30), measured(40, modality="MR", series_uid="mr")), "30"),
        ((measured(30), measured(31, evidence=EDITED)), "31"),
        ((measured(30), measured(32, evidence=DRAWN)), "32"),
        ((measured(32, evidence=DRAWN), measured(31, evidence=EDITED)), "31"),
    ],
)
def test_measured_before_reported_ct_before_mri_a_hand_before_the_machine(measurements, size):
    for given in (measurements, measurements[::-1]):
        assert f"longest diameter {size} mm" in role_of(lesion(), *given)[1]


@pytest.mark.parametrize(
    ("organ", "node", "counts_for"),
    [
        ("Left Lung", False, "lung"),
        ("lungs", False, "lung"),
        ("right_kidney", False, "kidney"),
        ("ovaries", False, "ovary"),
        ("neck", True, "lymph nodes"),
        ("left liver", False, "liver"),
        ("", False, ""),
    ],
)
def test_an_organ_counts_once_with_its_pair(organ, node, counts_for):
    assert organ_of(organ, node) == counts_for
