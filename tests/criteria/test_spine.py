"""Scores of the spine: ranges as wide as what is not known. Truth is SINS' and Genant's own tables, added by hand."""

from __future__ import annotations

import pytest

from imaging_pipeline.config import LesionEntry
from imaging_pipeline.criteria.spine import not_understood, score_spine
from imaging_pipeline.domain.case import Outcome
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.lesions import Kind
from tests.criteria.nouns import lesion, measured, seen, visits

UNKNOWN = ("pain", "alignment", "posterolateral")


def vertebra(site="L4", **fields):
    return lesion("L4", Kind.BONE, site=SITES[site] if site else None, **fields)


def share(quantity, value, margin=None, visit=0):
    bounds = {} if margin is None else {"lower95": value - margin, "upper95": value + margin}
    return measured(value, visit, "L4", quantity, **bounds)


def scores(measurements=(), told=(), one=None, visit=0, outcome=Outcome.MEASURED):
    found = score_spine((one or vertebra(),), visits(), (seen(visit, "L4", outcome),), tuple(measurements), told)
    return {each.score: each for each in found if each.visit == visit}


def entry(*reported, **fields):
    return LesionEntry.model_validate(
        {"id": "L4", "kind": "bone", "site": "L4", "reported": [{"source": "letter", **each} for each in reported]}
        | fields
    )


# ---- Genant


@pytest.mark.parametrize(
    ("loss", "margin", "expected", "category"),
    [
        (22.0, None, (1, 1, 1), "mild"),
        (22.0, 1.5, (1, 1, 1), "mild"),
        (22.0, 4.0, (1, 0, 2), "normal to moderate"),
        (-3.0, 5.0, (0, 0, 0), "normal"),
        (38.0, 4.0, (2, 2, 3), "moderate to severe"),
    ],
)
def test_a_grade_has_the_range_of_grades_that_its_height_loss_may_have(loss, margin, expected, category):
    grade = scores([share("height_loss", loss, margin)])["genant"]
    assert (grade.value, grade.least, grade.most) == expected
    assert grade.category == category


def test_without_heights_there_is_no_grade():
    assert set(scores([share("lytic_fraction", 80.0)])) == {"sins"}


# ---- SINS


def test_the_reference_case_is_six_to_twelve_once_its_report_is_stated():
    # L4 2, lytic 2, slight flattening 2, alignment 0; pain 0 to 3, posterolateral 0 to 3.
    told = entry(
        {"quantity": "sins_collapse", "statement": "<50%"},
        {"quantity": "sins_alignment", "statement": "normal"},
    )
    found = scores([share("lytic_fraction", 90.0, 3.0), share("sclerotic_fraction", 4.0, 2.0)], (told,))["sins"]
    assert (found.least, found.most, found.value) == (6, 12, None)
    assert found.category == "stable to potentially unstable"
    assert found.missing == ("pain", "posterolateral")


def test_of_a_site_alone_all_else_is_named_as_not_known():
    found = scores()["sins"]
    assert (found.least, found.most, found.value) == (2, 18 - 3 + 2, None)
    assert found.missing == ("pain", "lesion", "alignment", "collapse", "posterolateral")
    assert found.reasons == ("location: mobile (L4)",)


@pytest.mark.parametrize(
    ("site", "points"),
    [("C2", {3}), ("C4", {2}), ("T2", {3}), ("T4", {1}), ("T11", {3}), ("L5", {3}), ("sacrum", {0, 3})],
)
def test_the_location_follows_from_the_level(site, points):
    found = scores(one=vertebra(site))["sins"]
    assert {found.least, found.most - 15} == points


@pytest.mark.parametrize("site", ["rib", "ilium", None])
def test_what_lies_in_no_known_vertebra_has_no_sins(site):
    assert "sins" not in scores(one=vertebra(site))


@pytest.mark.parametrize(
    ("lytic", "sclerotic", "margin", "answer"),
    [
        (90.0, 5.0, 2.0, "lytic"),
        (5.0, 90.0, 2.0, "blastic"),
        (40.0, 40.0, 5.0, "mixed"),
        (75.0, 25.0, 6.0, "lytic or mixed"),
        (0.0, 0.0, 0.0, "mixed"),
    ],
)
def test_a_lesion_is_of_the_kind_its_shares_say_and_of_both_where_they_leave_it_open(lytic, sclerotic, margin, answer):
    found = scores([share("lytic_fraction", lytic, margin), share("sclerotic_fraction", sclerotic, margin)])["sins"]
    assert found.reasons[1].startswith(f"lesion: {answer} (lytic fraction {lytic} %, ")


@pytest.mark.parametrize(
    ("loss", "margin", "points"),
    [(2.0, 5.0, (0, 1)), (30.0, 5.0, (2, 2)), (60.0, 5.0, (3, 3)), (22.0, 5.0, (0, 2)), (50.0, 5.0, (2, 3))],
)
def test_collapse_is_open_where_the_height_loss_leaves_it_open(loss, margin, points):
    found = scores([share("height_loss", loss, margin)])["sins"]
    # Location 2; pain, lesion, alignment and posterolateral add up to 12 at most.
    assert (found.least - 2, found.most - 2 - 12) == points


def test_a_reader_decides_what_the_measurements_leave_open_and_not_against_them():
    loss = share("height_loss", 30.0, 5.0)
    within = scores([share("height_loss", 2.0, 5.0)], (entry({"quantity": "sins_collapse", "statement": "none"}),))
    against = scores([loss], (entry({"quantity": "sins_collapse", "statement": "none"}),))
    assert "collapse: none (height loss 2.0 %, -3.0 to 7.0; none stated: letter)" in within["sins"].reasons
    assert "collapse: <50% (height loss 30.0 %, 25.0 to 35.0; none stated: letter)" in against["sins"].reasons


def test_with_every_item_known_it_is_one_number():
    said = {"pain": "mechanical", "alignment": "normal", "posterolateral": "unilateral"}
    told = entry(*({"quantity": f"sins_{item}", "statement": answer} for item, answer in said.items()))
    shares = [share("lytic_fraction", 90.0), share("sclerotic_fraction", 4.0), share("height_loss", 30.0, 5.0)]
    found = scores(shares, (told,))["sins"]
    assert (found.value, found.category, found.missing) == (2 + 3 + 2 + 0 + 2 + 1, "potentially unstable", ())


def test_what_is_stated_holds_for_its_own_visit():
    told = entry(
        {"quantity": "sins_pain", "statement": "none"},
        {"visit": "2023-10-18", "quantity": "sins_pain", "statement": "mechanical"},
    )
    assert "pain: none (stated: letter)" in scores(told=(told,))["sins"].reasons
    assert "pain: mechanical (stated: letter)" in scores(told=(told,), visit=1)["sins"].reasons
    assert "pain" in scores(told=(told,), visit=2)["sins"].missing


def test_the_kind_a_lesion_file_states_speaks_at_baseline_where_nothing_was_measured():
    lytic = vertebra(bone_type="lytic")
    assert "lesion: lytic (stated: lesion file)" in scores(one=lytic)["sins"].reasons
    assert "lesion" in scores(one=lytic, visit=1)["sins"].missing


def test_a_lesion_that_was_not_seen_has_no_score():
    assert scores(outcome=Outcome.NOT_EVALUABLE) == {}


@pytest.mark.parametrize(("item", "answer"), [("sins_pain", "some"), ("sins_colour", "red")])
def test_a_statement_that_sins_does_not_have_is_named(item, answer):
    (problem,) = not_understood((entry({"quantity": item, "statement": answer}),))
    assert (problem.code, problem.subject) == ("W-SINS-STATED", "lesion L4")
    assert answer not in problem.expected.split(", ")
