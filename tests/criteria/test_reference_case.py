"""The reference case, judged as its readers would: what the lesion file says, with the true sizes as measured.

The sizes are the phantom's own, so nothing here rests on an outline; the whole
chain from the scans is tests/acceptance.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from imaging_pipeline import plugins
from imaging_pipeline.config import AssessConfig, LesionFile, parse_yaml, validated
from imaging_pipeline.criteria.disagreement import criteria_differ
from imaging_pipeline.criteria.reconcile import reconcile, reported
from imaging_pipeline.criteria.roles import decide_roles
from imaging_pipeline.criteria.scores import sins
from imaging_pipeline.domain.lesions import Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from tests.criteria.nouns import measured, seen, visits

MINI = Path(__file__).parents[2] / "sample_data" / "mini"
TRUTH = json.loads((MINI / "truth.json").read_text(encoding="utf-8"))["patients"]["SAMPLE-001"]["visits"]
TOLD = validated(LesionFile, parse_yaml((MINI / "lesions.yaml").read_text(encoding="utf-8"), "lesions"), "lesions")
ENTRIES = TOLD.patients[0].lesions
OCTOBER, FEBRUARY = "2023-10-18", "2024-02-20"
AT = visits(*TRUTH)

LESIONS = tuple(
    Lesion(entry.id, entry.id, entry.label, entry.kind, organ=entry.organ, bone_type=entry.bone_type)
    for entry in ENTRIES
)
MEASUREMENTS = tuple(
    measured(value, number, name, quantity)
    for number, visit in enumerate(TRUTH.values())
    for name, lesion in visit["lesions"].items()
    for quantity, value in lesion["quantities"].items()
    if quantity in CATALOGUE and value is not None
)
SIGHTINGS = tuple(seen(number, lesion.lesion_id) for number in range(len(AT)) for lesion in LESIONS)


@pytest.fixture(scope="module")
def roles():
    return decide_roles(LESIONS, AT, SIGHTINGS, (*MEASUREMENTS, *reported(ENTRIES, AT)))[0]


@pytest.fixture(scope="module")
def judged(roles):
    """Every built-in criterion, by the door it enters the pipeline."""

    def by(name, measurements=MEASUREMENTS):
        everything = (*measurements, *reported(ENTRIES, AT))
        return plugins.load("criteria", name)(roles, AT, SIGHTINGS, everything, AssessConfig())

    return by


def test_the_mass_is_the_target_and_every_bone_lesion_is_not(roles):
    assert {lesion.lesion_id: lesion.role for lesion in roles} == {
        "AX": Role.TARGET,
        "L4": Role.NON_TARGET,
        "T4": Role.NON_TARGET,
        "RIB1": Role.NON_TARGET,
        "ILIUM": Role.NON_TARGET,
    }
    reason = next(lesion.role_reason for lesion in roles if lesion.lesion_id == "L4")
    assert reason == "a bone lesion without a soft-tissue part: the size of the hole is not a diameter"


def test_october_and_february_are_stable_by_recist(judged):
    baseline, *later = judged("recist-1.1")
    assert baseline.overall == ""
    for assessment, expected in zip(later, list(TRUTH.values())[1:], strict=True):
        assert assessment.overall == expected["expected"]["recist-1.1"]["overall"] == "SD"
        assert (assessment.target, assessment.non_target, assessment.new_lesion) == ("SD", "NON-CR/NON-PD", "no")
        assert assessment.sum_mm == Decimal(str(expected["expected"]["recist-1.1"]["sum_mm"]))
    assert later[-1].best_overall_response == "SD"
    assert later[-1].progression_date == ""


def test_the_stated_response_of_october_rests_on_another_method(judged):
    """The published baseline is ultrasound and palpation, the follow-up CT; without CT sizes SD is not recomputed."""
    found = {(item.code, item.subject) for item in reconcile(ENTRIES, AT, MEASUREMENTS, judged("recist-1.1"))}
    assert ("W-METHOD-CHANGED", f"AX at {OCTOBER}") in found
    assert ("W-STATED-NOT-VERIFIABLE", f"AX at {OCTOBER}") not in found
    unmeasured = tuple(item for item in MEASUREMENTS if item.lesion_id != "AX")
    told = reconcile(ENTRIES, AT, unmeasured, judged("recist-1.1", unmeasured))
    (unverified,) = (item for item in told if item.code == "W-STATED-NOT-VERIFIABLE")
    assert unverified.found == "SD stated (report text), no comparable sizes to recompute it"


def test_what_was_reported_of_february_contradicts_itself_and_the_images(judged):
    found = [
        item
        for item in reconcile(ENTRIES, AT, MEASUREMENTS, judged("recist-1.1"))
        if item.subject == f"AX at {FEBRUARY}"
    ]
    contradiction = next(item for item in found if item.code == "W-REPORTED-CONTRADICTION")
    assert "unchanged (report text) and smaller by 20 mm (figure legend)" in contradiction.found
    assert "unchanged is SD" in contradiction.found
    assert "from 32 mm reported by ultrasound report to 12 mm, -62.5 %, PR" in contradiction.found
    assert "W-REPORTED-DIFFERS" in {item.code for item in found}


def test_the_two_widths_of_l4_are_both_kept_and_would_fake_a_progression_by_choi(judged):
    widths = {item.value for item in reported(ENTRIES, AT) if item.quantity == "extent_left_right"}
    assert widths == {30.0, 34.0}
    told = reconcile(ENTRIES, AT, MEASUREMENTS, judged("recist-1.1"))
    (contradiction,) = (item for item in told if item.subject == f"L4 at {next(iter(TRUTH))}")
    assert "+13.3 %, which by itself is Choi PD by size" in contradiction.found


def test_the_vertebra_heals_by_the_bone_criteria_and_only_by_them(judged):
    assert [item.overall for item in judged("mda-bone")[1:]] == ["PR", "PR"]
    assert any(
        reason.startswith("L4 PR: ") and "lytic fill in partial" in reason for reason in judged("mda-bone")[1].reasons
    )
    assert [item.overall for item in judged("inverse-choi")[1:]] == ["PR", "PR"]
    # Choi's own criteria never judge bone: of the mass they say what RECIST's 10 % say.
    assert "L4" not in " ".join(judged("choi")[1].measurements)


def test_where_recist_and_the_bone_criteria_differ_both_say_why(judged):
    told = criteria_differ((*judged("recist-1.1"), *judged("mda-bone")), AT)
    assert [item.subject for item in told] == [OCTOBER, FEBRUARY]
    assert told[0].found.startswith("recist-1.1 SD (target SD: ")
    assert "mda-bone PR (L4 PR: " in told[0].found


def test_the_stability_of_l4_is_a_range_while_pain_and_posterior_parts_are_not_stated():
    stated = {"location": "mobile", "lesion": "lytic", "alignment": "normal", "collapse": "<50%"}
    score = sins(stated)
    assert (score.least, score.most, score.total) == (6, 12, None)
    assert score.category == "stable to potentially unstable"
