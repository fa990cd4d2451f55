"""Criteria by the plug-in door: the pipeline's nouns in, assessments out, with what a reader should know."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from imaging_pipeline.config import AssessConfig
from imaging_pipeline.criteria import choi, irecist, mda, recist, thresholds
from imaging_pipeline.criteria.disagreement import criteria_differ
from imaging_pipeline.criteria.documents import answer
from imaging_pipeline.domain.case import Outcome
from imaging_pipeline.domain.lesions import Kind, Role
from imaging_pipeline.errors import ConfigurationError, StageError
from tests.criteria.nouns import judged, lesion, measured, reported, seen, visits

PLUGINS = {
    "recist-1.1": recist.assess,
    "irecist": irecist.assess,
    "choi": choi.assess_choi,
    "modified-choi": choi.assess_modified,
    "inverse-choi": choi.assess_inverse,
    "who": thresholds.assess_who,
    "volumetric": thresholds.assess_volumetric,
    "mda-bone": mda.assess,
}

L4 = lesion("L4", Kind.BONE, bone_type="lytic", organ="bone")
AX = lesion("AX", organ="axilla")


def overall(assessments):
    return [assessment.overall for assessment in assessments]


def reasons(assessments, visit=-1):
    return "\n".join(assessments[visit].reasons)


def test_the_reference_case_as_measured():
    """RULES 11: the mass is stable, the vertebra heals, nothing is new."""
    measurements = (
        measured(50.0),
        measured(40.0, 1),
        measured(39.0, 2),
        measured(34.0, name="L4"),
        measured(33.0, 1, "L4"),
        measured(33.5, 2, "L4"),
    )
    sightings = tuple(seen(visit, name) for visit in range(3) for name in ("AX", "L4"))
    first, october, february = judged(recist.assess, (AX, L4), measurements, sightings)
    assert (october.overall, february.overall) == ("SD", "SD")
    assert (october.target, october.non_target, october.new_lesion) == ("SD", "NON-CR/NON-PD", "no")
    assert (october.sum_mm, october.nadir_mm, october.change_from_baseline_pct) == (40, 50, -20)
    assert str(october.change_from_baseline_pct) == "-20"
    assert october.measurements == ("AX/longest_diameter",)
    assert (first.overall, first.sum_mm, first.visit) == ("", 50, 0)
    assert (first.best_overall_response, february.best_overall_response) == ("", "SD")
    assert {assessment.evaluator for assessment in (first, october, february)} == {"imaging_pipeline"}


def test_the_reference_case_as_published_cannot_be_recomputed():
    """The published baseline is ultrasound, which never measures: no sum and no category, and the method's change."""
    measurements = (reported(32.0), measured(30.0, 1))
    mass = lesion("AX", role=Role.TARGET, organ="axilla")
    _, october, _ = judged(recist.assess, (mass, L4), measurements, (seen(0, "L4"), seen(1, "L4")))
    assert (october.target, october.overall) == ("NE", "NE")
    assert "METHOD_CHANGED: AX by US at baseline, by CT at this visit" in october.reasons


def healing(visit, lytic, rim, along=30.0, across=22.0):
    values = {
        "lytic_fraction": lytic,
        "rim_continuity": rim,
        "longest_diameter": along,
        "perpendicular_diameter": across,
    }
    return tuple(measured(value, visit, "L4", quantity) for quantity, value in values.items())


def test_a_healing_vertebra_is_a_response_by_md_anderson():
    measurements = (*healing(0, 90, 10), *healing(1, 75, 50), *healing(2, 60, 80))
    sightings = tuple(seen(visit, "L4") for visit in range(3))
    assessments = judged(mda.assess, (L4,), measurements, sightings)
    assert overall(assessments) == ["", "PR", "PR"]
    assert "L4 PR: sclerotic rim seen, lytic fill in partial" in reasons(assessments)
    assert overall(judged(recist.assess, (L4,), measurements, sightings)) == ["", "NON-CR/NON-PD", "NON-CR/NON-PD"]


@pytest.mark.parametrize(
    ("later", "response"),
    [
        (healing(1, 90, 10), "SD"),
        (healing(1, 80.1, 34.9), "SD"),
        (healing(1, 80, 10), "PR"),
        (healing(1, 90, 35), "PR"),
        (healing(1, 90, 10, 37.5), "PD"),
        (healing(1, 90, 10, 37.4), "SD"),
        (healing(1, 70, 10, 38.0), "review"),
        (healing(1, 90, 10, 15.0), "PR"),
        ((measured(5, 1, "L4", "height_loss"),), "NE"),
        ((*healing(1, 90, 10), measured(20, 1, "L4", "calcified_fraction")), "PR"),
        ((*healing(1, 90, 10), measured(14, 1, "L4", "soft_tissue_diameter")), "SD"),
        ((*healing(1, 90, 10), measured(19, 1, "L4", "soft_tissue_diameter")), "PD"),
        ((*healing(1, 90, 10), measured(9.8, 1, "L4", "soft_tissue_diameter")), "PR"),
    ],
)
def test_findings_of_bone_come_from_the_measurements(later, response):
    before = (
        *healing(0, 90, 10),
        measured(2, 0, "L4", "calcified_fraction"),
        measured(14, 0, "L4", "soft_tissue_diameter"),
    )
    bone = lesion("L4", Kind.BONE, Role.NON_TARGET, bone_type="lytic")
    assessments = judged(mda.assess, (bone,), before + later, at=visits("2023-05-28", "2023-10-18"))
    assert overall(assessments) == ["", response]


def test_extent_is_a_product_and_needs_both_diameters():
    two = visits("2023-05-28", "2023-10-18")
    turned = (*healing(0, 90, 10, 30.0, 22.0), *healing(1, 90, 10, 44.0, 15.0))
    assert overall(judged(mda.assess, (L4,), turned, at=two)) == ["", "SD"]
    half_known = (*healing(0, 90, 10), measured(90, 1, "L4", "lytic_fraction"), measured(60.0, 1, "L4"))
    assert overall(judged(mda.assess, (L4,), half_known, at=two)) == ["", "SD"]


def test_md_anderson_looks_at_bone_only():
    sightings = tuple(seen(visit, name) for visit in range(2) for name in ("AX", "L4"))
    measurements = (*healing(0, 90, 10), *healing(1, 90, 40), measured(50.0), measured(90.0, 1))
    assessments = judged(mda.assess, (AX, L4), measurements, sightings, visits("2023-05-28", "2023-10-18"))
    assert overall(assessments) == ["", "PR"]
    assert "AX" not in reasons(assessments)


def test_md_anderson_takes_a_new_lesion_for_progression():
    lesions = (L4, lesion("NEW", Kind.BONE, bone_type="lytic"))
    measurements = (*healing(0, 90, 10), *healing(1, 90, 40), measured(20.0, 1, "NEW"))
    sightings = (seen(0, "L4"), seen(1, "L4"), seen(1, "NEW"))
    assessments = judged(mda.assess, lesions, measurements, sightings, visits("2023-05-28", "2023-10-18"))
    assert overall(assessments) == ["", "PD"]
    assert "overall PD: an unequivocal new lesion" in assessments[1].reasons


def test_a_blastic_lesion_is_judged_by_its_extent():
    bone = lesion("L4", Kind.BONE, bone_type="blastic")
    two = visits("2023-05-28", "2023-10-18")
    grown = (*healing(0, 10, 10), *healing(1, 10, 10, 40.0))
    assert overall(judged(mda.assess, (bone,), grown, at=two)) == ["", "PD"]
    shrunk = (*healing(0, 10, 10), *healing(1, 10, 10, 15.0))
    assert overall(judged(mda.assess, (bone,), shrunk, at=two)) == ["", "PR"]


def test_a_growing_non_target_is_shown_to_a_reader_and_never_called_progression():
    measurements = (measured(50.0), measured(50.0, 1), measured(30.0, name="L4"), measured(36.0, 1, "L4"))
    assessments = judged(recist.assess, (AX, L4), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert assessments[1].non_target == "NON-CR/NON-PD"
    assert "review: non-target L4 +20.0 % against baseline; whether it progresses, a reader says" in reasons(
        assessments
    )
    steady = (*measurements[:3], measured(35.9, 1, "L4"))
    assert "review" not in reasons(judged(recist.assess, (AX, L4), steady, at=visits("2023-05-28", "2023-10-18")))


@pytest.mark.parametrize(
    ("outcome", "target", "non_target"),
    [
        (Outcome.ABSENT, "CR", "CR"),
        (Outcome.NOT_IMAGED, "NE", "NE"),
        (Outcome.NOT_EVALUABLE, "NE", "NE"),
    ],
)
def test_what_was_looked_for_and_not_measured(outcome, target, non_target):
    sightings = (seen(0), seen(0, "L4"), seen(1, outcome=outcome), seen(1, "L4", outcome))
    measurements = (measured(50.0), measured(30.0, name="L4"))
    assessments = judged(recist.assess, (AX, L4), measurements, sightings, visits("2023-05-28", "2023-10-18"))
    assert (assessments[1].target, assessments[1].non_target) == (target, non_target)


def test_a_visit_that_was_not_looked_at_is_not_evaluated():
    assert overall(judged(recist.assess, (AX,), (measured(50.0), measured(20.0, 2)))) == ["", "NE", "PR"]


def test_the_soft_tissue_of_a_bone_target_is_what_is_followed():
    bone = lesion("L4", Kind.BONE, bone_type="lytic")
    part = "soft_tissue_diameter"
    measurements = tuple(
        measured(value, visit, "L4", quantity)
        for visit, sizes in enumerate(((30.0, 20.0), (30.0, 12.0)))
        for quantity, value in zip(("longest_diameter", part), sizes, strict=True)
    )
    assessments = judged(recist.assess, (bone,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert (assessments[1].target, assessments[1].sum_mm) == ("PR", 12)
    assert assessments[1].measurements == ("L4/soft_tissue_diameter",)


def test_nodes_are_followed_by_their_short_axis():
    node = lesion("N", Kind.NODE, organ="axilla")
    measurements = tuple(
        measured(value, visit, "N", quantity)
        for visit, sizes in enumerate(((40.0, 20.0), (40.0, 9.0)))
        for quantity, value in zip(("longest_diameter", "short_axis"), sizes, strict=True)
    )
    assert overall(judged(recist.assess, (node,), measurements, at=visits("2023-05-28", "2023-10-18"))) == ["", "CR"]


# New lesions


def with_new(new, sizes, quantity="longest_diameter", criterion=recist.assess):
    measurements = [measured(50.0, visit) for visit in range(3)]
    measurements += [measured(size, visit, "NEW", quantity) for visit, size in sizes.items()]
    sightings = [seen(visit) for visit in range(3)] + [seen(visit, "NEW") for visit in sizes]
    return judged(criterion, (AX, new), tuple(measurements), tuple(sightings))


def test_a_new_mass_is_progression_once():
    assessments = with_new(lesion("NEW"), {1: 12.0, 2: 12.0})
    assert [assessment.new_lesion for assessment in assessments] == ["no", "unequivocal", "no"]
    assert overall(assessments) == ["", "PD", "SD"]


def test_a_new_sclerotic_focus_may_be_healing():
    assessments = with_new(lesion("NEW", Kind.BONE, bone_type="blastic"), {1: 12.0, 2: 12.0})
    assert [assessment.new_lesion for assessment in assessments] == ["no", "equivocal", "no"]
    assert overall(assessments) == ["", "SD", "SD"]


def test_a_new_lytic_lesion_is_progression():
    assert overall(with_new(lesion("NEW", Kind.BONE, bone_type="lytic"), {2: 12.0})) == ["", "SD", "PD"]


def test_a_new_node_is_doubted_until_it_is_large_and_then_dated_back():
    node = lesion("NEW", Kind.NODE, organ="neck")
    assessments = with_new(node, {1: 12.0, 2: 16.0}, "short_axis")
    assert [assessment.new_lesion for assessment in assessments] == ["no", "equivocal", "unequivocal"]
    assert overall(assessments) == ["", "SD", "PD"]
    assert "the equivocal new lesion of visit 1 is confirmed" in reasons(assessments)
    assert assessments[-1].best_overall_response == "PD"


@pytest.mark.parametrize(
    ("short_axis", "stated"), [(9.9, "no"), (10.0, "equivocal"), (14.9, "equivocal"), (15.0, "unequivocal")]
)
def test_a_new_node_is_disease_by_its_short_axis(short_axis, stated):
    assessments = with_new(lesion("NEW", Kind.NODE), {1: short_axis}, "short_axis")
    assert assessments[1].new_lesion == stated


def test_a_new_node_whose_short_axis_is_not_known_is_nothing_yet():
    assert with_new(lesion("NEW", Kind.NODE), {1: 20.0})[1].new_lesion == "no"


def test_irecist_follows_the_new_lesion_by_its_own_size():
    grown = with_new(lesion("NEW"), {1: 12.0, 2: 17.0}, criterion=irecist.assess)
    assert overall(grown) == ["", "iUPD", "iCPD"]
    steady = with_new(lesion("NEW"), {1: 12.0, 2: 16.9}, criterion=irecist.assess)
    assert overall(steady) == ["", "iUPD", "iUPD"]


# What a reader should know


def test_a_change_from_ct_to_mri_is_said():
    measurements = (measured(50.0), measured(45.0, 1, modality="MR", series_uid="mr"))
    assessments = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert assessments[1].overall == "SD"
    assert "METHOD_CHANGED: AX by CT at baseline, by MR at this visit" in reasons(assessments)


def test_where_nothing_was_measured_no_method_changed():
    two = visits("2023-05-28", "2023-10-18")
    sightings = (seen(0), seen(1, outcome=Outcome.NOT_EVALUABLE))
    assert "METHOD" not in reasons(judged(recist.assess, (AX,), (measured(50.0),), sightings, two))


def test_another_technique_is_said():
    measurements = (measured(50.0), measured(45.0, 1, comparable=False))
    assessments = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert "the technique of AX differs from baseline" in reasons(assessments)


def test_that_nobody_looked_for_new_lesions_is_said_until_one_is_marked():
    two, measurements = visits("2023-05-28", "2023-10-18"), (measured(50.0), measured(45.0, 1))
    baseline, follow_up = judged(recist.assess, (AX,), measurements, at=two)
    assert "the scans were not searched for any" in reasons((follow_up,))
    assert "searched" not in reasons((baseline,))
    marked = (AX, replace(AX, lesion_id="NEW", role=Role.NEW))
    assert "searched" not in reasons(judged(recist.assess, marked, measurements, at=two))


def test_a_reported_size_on_ct_is_used_where_nothing_was_measured_and_said():
    measurements = (measured(50.0), reported(34.0, 1, modality="CT"))
    assessments = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert (assessments[1].overall, assessments[1].sum_mm) == ("PR", 34)
    assert "AX is known from a report only, not measured" in reasons(assessments)


def test_choi_leaves_out_a_density_of_another_technique():
    def run(criterion, comparable):
        measurements = (
            measured(50.0),
            measured(80.0, quantity="mean_density"),
            measured(50.0, 1),
            measured(40.0, 1, quantity="mean_density", comparable=comparable),
        )
        return overall(judged(criterion, (AX,), measurements, at=visits("2023-05-28", "2023-10-18")))

    assert run(choi.assess_choi, comparable=True) == ["", "PR"]
    assert run(choi.assess_choi, comparable=False) == ["", "NE"]
    assert run(choi.assess_modified, comparable=True) == ["", "SD"]
    assert run(choi.assess_modified, comparable=False) == ["", "SD"]


def test_modified_choi_leaves_out_a_density_of_another_technique():
    measurements = (
        measured(50.0),
        measured(80.0, quantity="mean_density"),
        measured(40.0, 1),
        measured(40.0, 1, quantity="mean_density", comparable=False),
    )
    two = visits("2023-05-28", "2023-10-18")
    assert overall(judged(choi.assess_modified, (AX,), measurements, at=two)) == ["", "NE"]


def test_inverse_choi_takes_what_no_technique_explains_and_says_so():
    measurements = tuple(
        measured(value, visit, "L4", quantity, comparable=None if visit == 0 else False)
        for visit, hu in enumerate((50.0, 300.0))
        for quantity, value in (("longest_diameter", 30.0), ("mean_density", hu))
    )
    assessments = judged(choi.assess_inverse, (L4,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert overall(assessments) == ["", "PR"]
    assert "the technique of L4 differs from baseline" in reasons(assessments)


def test_choi_follows_only_targets_outside_bone():
    lesions = (
        lesion("AX", role=Role.TARGET),
        lesion("SMALL", role=Role.NON_TARGET),
        lesion("L4", Kind.BONE, Role.TARGET, bone_type="lytic"),
    )
    measurements = tuple(measured(30.0, visit, one.lesion_id) for one in lesions for visit in range(2))
    assessments = judged(choi.assess_choi, lesions, measurements, at=visits("2023-05-28", "2023-10-18"))
    assert assessments[1].sum_mm == 30


def test_choi_never_judges_bone_and_inverse_choi_nothing_else():
    measurements = tuple(
        measured(value, visit, name, quantity)
        for name in ("AX", "L4")
        for visit, hu in enumerate((50.0, 90.0))
        for quantity, value in (("longest_diameter", 30.0), ("mean_density", hu))
    )
    two = visits("2023-05-28", "2023-10-18")
    plain = judged(choi.assess_choi, (AX, L4), measurements, at=two)
    inverse = judged(choi.assess_inverse, (AX, L4), measurements, at=two)
    assert (plain[1].target, plain[1].measurements) == ("SD", ("AX/longest_diameter", "AX/mean_density"))
    assert (inverse[1].target, inverse[1].measurements) == ("PR", ("L4/longest_diameter", "L4/mean_density"))


def test_sums_in_other_units_are_not_called_millimetres():
    measurements = tuple(
        measured(value, visit, quantity=quantity)
        for visit in range(2)
        for quantity, value in (("longest_diameter", 30.0), ("perpendicular_diameter", 20.0), ("volume", 9000.0))
    )
    for criterion in (thresholds.assess_who, thresholds.assess_volumetric):
        assessments = judged(criterion, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
        assert (assessments[1].overall, assessments[1].sum_mm) == ("SD", None)


def test_parameters_come_from_the_configuration_and_are_checked():
    measurements = (measured(50.0), measured(30.0, 1), measured(40.0, 2))
    assert overall(judged(recist.assess, (AX,), measurements)) == ["", "PR", "PD"]
    assert overall(judged(thresholds.assess_volumetric, (AX,), measurements)) == ["", "NE", "NE"]
    with pytest.raises(ConfigurationError, match=r"assess\.params: pr_retenton.*did you mean 'pr_retention'"):
        judged(recist.assess, (AX,), measurements, pr_retenton="literal")


def test_a_lesion_without_a_role_is_refused():
    with pytest.raises(StageError, match="AX: found no role"):
        judged(recist.assess, (AX,), (measured(50.0),), roles=False)


def test_confirmed_and_unconfirmed_best_response_are_both_said():
    two = visits("2023-05-28", "2023-10-18")
    assessments = judged(recist.assess, (AX,), (measured(50.0), measured(30.0, 1)), at=two)
    assert assessments[-1].best_overall_response == "PR"
    assert "where response must be confirmed, the best overall response is SD" in reasons(assessments)


def test_a_non_target_that_only_a_bone_scan_shows_is_present():
    """No size of it counts, but that it is there does (4.3.2): not 'not evaluated'."""
    hot = [measured(3.0, visit, "IL", quantity="uptake_ratio", modality="NM") for visit in range(2)]
    iliac = lesion("IL", Kind.BONE, organ="bone")
    two, sightings = visits("2023-05-28", "2023-10-18"), tuple(seen(visit, "IL") for visit in range(2))
    (_, october) = judged(recist.assess, (iliac,), tuple(hot), sightings, at=two)
    assert (october.non_target, october.overall) == ("NON-CR/NON-PD", "NON-CR/NON-PD")


def test_problems_of_the_baseline_are_said_at_the_end():
    assessments = judged(recist.assess, (AX,), (measured(50.0), measured(50.0, 1)), treatment_start="2023-09-01")
    assert "W-BASELINE-AGE" in reasons(assessments)


# Certainty


def bounded(value, visit, half_width, **fields):
    return measured(value, visit, lower95=value - half_width, upper95=value + half_width, **fields)


def test_a_size_on_the_border_may_as_well_be_the_other_category():
    measurements = (bounded(50.0, 0, 0.01), bounded(35.01, 1, 2.0))
    two = visits("2023-05-28", "2023-10-18")
    sentence = reasons(judged(recist.assess, (AX,), measurements, at=two))
    code, share = sentence.partition("another category: ")[2].split()[:2]
    assert code == "PR"
    assert 44 <= float(share) <= 56  # one half, within three standard errors of 400 draws and 0.4 points of offset


def test_the_probability_is_that_of_the_normal_distribution():
    """33 mm with a deviation of 2 mm lies one deviation below the bound of 35 mm: 15.9 % of SD."""
    unbounded = (measured(50.0, quantity="mean_density"), measured(50.0, 1, quantity="mean_density"))
    measurements = (bounded(50.0, 0, 0.001), bounded(33.0, 1, 2 * 1.959964), *unbounded)
    sentence = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))[1].reasons
    share = next(float(reason.split("SD ")[1].split()[0]) for reason in sentence if "another category" in reason)
    assert abs(share - 15.87) < 3 * 1.83  # three standard errors of 400 draws


def test_a_size_far_from_every_border_is_certain():
    measurements = (bounded(50.0, 0, 1.0), bounded(45.0, 1, 1.0))
    assessments = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert "leave no other category likely" in reasons(assessments)


def test_certainty_is_the_same_each_time():
    measurements = (bounded(50.0, 0, 2.0), bounded(36.0, 1, 2.0))
    first = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert first == judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))


def test_without_intervals_nothing_is_claimed():
    assessments = judged(recist.assess, (AX,), (measured(50.0), measured(45.0, 1)))
    assert "categor" not in reasons(assessments)
    assert {assessment.other_categories for assessment in assessments} == {None}


def test_one_interval_that_is_not_known_leaves_the_certainty_of_all_later_visits_open():
    node = lesion("N", Kind.NODE, organ="axilla")
    sizes = [bounded(20.0, visit, 1.0, name="N", quantity="short_axis") for visit in range(3)]
    known = [bounded(50.0, 0, 1.0), bounded(30.0, 1, 2.0), bounded(30.0, 2, 2.0)]
    first, october, february = judged(recist.assess, (AX, node), (*known, *sizes))
    assert first.other_categories is None
    assert october.other_categories
    assert february.other_categories
    known[1] = measured(30.0, 1)
    _, october, february = judged(recist.assess, (AX, node), (*known, *sizes))
    assert october.other_categories is None
    assert february.other_categories is None


def test_a_visit_judged_without_measurements_claims_no_certainty():
    measurements = (bounded(30.0, 0, 1.0, name="L4"), bounded(30.0, 1, 1.0, name="L4"))
    sightings = tuple(seen(visit, "L4") for visit in range(2))
    (_, october) = judged(recist.assess, (L4,), measurements, sightings, at=visits("2023-05-28", "2023-10-18"))
    assert (october.overall, october.other_categories) == ("NON-CR/NON-PD", None)


def test_the_findings_of_bone_are_as_certain_as_what_they_are_taken_from():
    """A fall of 11 points, its error of 5 points at either visit: partial fill-in in 55.6 % of draws."""
    before = [replace(item, lower95=item.value - 9.8, upper95=item.value + 9.8) for item in healing(0, 50, 10)]
    after = [replace(item, lower95=item.value - 9.8, upper95=item.value + 9.8) for item in healing(1, 39, 10)]
    bone = [replace(item, lower95=item.value, upper95=item.value) for item in (*before[1:], *after[1:])]
    assessments = judged(mda.assess, (L4,), (before[0], after[0], *bone), at=visits("2023-05-28", "2023-10-18"))
    assert assessments[1].overall == "PR"
    (code, share), *none = assessments[1].other_categories.items()
    assert (code, none) == ("SD", [])
    assert abs(share - 44.4) < 3 * 2.5  # three standard errors of 400 draws


def test_another_reader_may_find_another_category_where_the_intervals_leave_none():
    """33 mm, where readers deviate by 2 mm, lies one deviation below the bound of 35 mm: 15.9 % of SD."""
    alone = {"reader_lower95": 49.999, "reader_upper95": 50.001}
    limits = {"reader_lower95": 33.0 - 2 * 1.959964, "reader_upper95": 33.0 + 2 * 1.959964}
    measurements = (bounded(50.0, 0, 0.001, **alone), bounded(33.0, 1, 0.1, **limits))
    (_, october) = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert (october.overall, october.other_categories) == ("PR", {})
    assert abs(october.other_reader_categories["SD"] - 15.87) < 3 * 1.83
    assert "were each visit measured by another reader, the probability of another category: SD" in reasons([october])


def test_what_no_limits_of_agreement_are_published_for_claims_nothing_of_other_readers():
    (_, october) = judged(
        recist.assess, (AX,), (bounded(50.0, 0, 1.0), bounded(45.0, 1, 1.0)), at=visits("2023-05-28", "2023-10-18")
    )
    assert october.other_categories == {}
    assert october.other_reader_categories is None
    assert "reader" not in reasons([october])


def test_readers_who_agree_leave_one_category():
    measurements = tuple(
        bounded(size, visit, 1.0, reader_lower95=size - 2.0, reader_upper95=size + 2.0)
        for visit, size in enumerate((50.0, 45.0))
    )
    (_, october) = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert october.other_reader_categories == {}
    assert "were each visit measured by another reader, no other category is likely" in reasons([october])


def test_a_share_too_small_to_round_is_not_called_none():
    measurements = (bounded(50.0, 0, 0.001), bounded(37.0, 1, 0.75 * 1.959964))
    (_, october) = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert 0 < october.other_categories["PR"] < 1
    assert "PR below 1 %" in reasons([october])


def test_a_value_cut_at_zero_keeps_its_whole_error():
    """An interval that nature cuts on one side is as wide as the other side says."""
    cut = measured(33.0, 1, lower95=32.9, upper95=33.0 + 2 * 1.959964)
    assessments = judged(recist.assess, (AX,), (bounded(50.0, 0, 0.001), cut), at=visits("2023-05-28", "2023-10-18"))
    assert abs(assessments[1].other_categories["SD"] - 15.87) < 3 * 1.83


def test_an_assessment_cites_its_rule_and_the_values_that_bound_it():
    measurements = (measured(50.0), measured(34.0, 1), measured(50.0, 2))
    first, october, february = judged(recist.assess, (AX,), measurements)
    assert october.rule == "RECIST 1.1, 4.3.1; RECIST 1.1, Table 1"
    assert october.thresholds == {"PR": 35, "PD": 60}
    assert february.thresholds == {"PR": 35, "PD": Decimal("40.8")}
    assert (first.thresholds, first.rule) == ({}, "")
    assert (first.progression_date, october.progression_date, february.progression_date) == ("", "", "2024-02-20")


def test_an_assessment_names_what_was_measured_by_its_own_name():
    measurements = (*healing(0, 90, 10), *healing(1, 75, 50)[:3])
    sightings = tuple(seen(visit, "L4") for visit in range(2))
    (_, october) = judged(mda.assess, (L4,), measurements, sightings, at=visits("2023-05-28", "2023-10-18"))
    assert october.measurements == ("L4/lytic_fraction", "L4/rim_continuity")
    assert october.rule == "MD Anderson bone criteria (Hamaoka 2004)"
    assert october.thresholds == {"fill_in_points": 10, "rim_points": 25, "extent_pct": 25}


# Criteria beside each other


def test_criteria_that_differ_say_why_in_the_case():
    """Healing bone is no response by RECIST, one by the MD Anderson criteria; progression is the same to both."""
    measurements = (*healing(0, 90, 10), *healing(1, 75, 50))
    sightings = tuple(seen(visit, "L4") for visit in range(2))
    at = visits("2023-05-28", "2023-10-18")
    told = [
        assessment
        for judge in (recist.assess, irecist.assess, mda.assess)
        for assessment in judged(judge, (L4,), measurements, sightings, at=at)
    ]
    (problem,) = criteria_differ(told, at)
    assert (problem.code, problem.subject) == ("N-CRITERIA-DIFFER", "2023-10-18")
    assert problem.found == (
        "recist-1.1 NON-CR/NON-PD (non-target NON-CR/NON-PD: L4 persists); "
        "irecist NON-iCR/NON-iUPD (non-target NON-CR/NON-PD: L4 persists); "
        "mda-bone PR (L4 PR: sclerotic rim seen, lytic fill in partial)"
    )
    assert criteria_differ([assessment for assessment in told if "recist" in assessment.criterion], at) == ()


def test_neither_response_nor_progression_is_stable_by_any_name():
    measurements = (*healing(0, 90, 10), *healing(1, 90, 10))
    at = visits("2023-05-28", "2023-10-18")
    told = (*judged(recist.assess, (L4,), measurements, at=at), *judged(mda.assess, (L4,), measurements, at=at))
    assert [assessment.overall for assessment in told] == ["", "NON-CR/NON-PD", "", "SD"]
    assert criteria_differ(told, at) == ()


# The same engine, whichever door


def test_the_pipeline_and_the_document_give_one_answer():
    sizes = {"longest_diameter": (50.0, 36.1, 33.3), "perpendicular_diameter": (30.0, 22.2, 20.1)}
    sizes |= {"mean_density": (80.0, 71.5, 60.25), "volume": (20000.0, 12345.6, 8000.1)}
    measurements = tuple(
        measured(value, visit, quantity=quantity)
        for quantity, values in sizes.items()
        for visit, value in enumerate(values)
    )
    fields = {"longest_diameter": "longest_diameter_mm", "perpendicular_diameter": "perpendicular_diameter_mm"}
    fields |= {"mean_density": "mean_hu", "volume": "volume_mm3"}
    document = {
        "kind": "timeline",
        "lesions": [{"id": "AX", "role": "target"}],
        "visits": [
            {
                "id": f"visit {visit}",
                "date": date,
                "measurements": {"AX": {fields[quantity]: values[visit] for quantity, values in sizes.items()}},
            }
            for visit, date in enumerate(("2023-05-28", "2023-10-18", "2024-02-20"))
        ],
    }
    for name, criterion in PLUGINS.items():
        if name not in ("inverse-choi", "mda-bone"):
            assessments = judged(criterion, (AX,), measurements)
            visits_out = answer(document, (name,))["visits"]
            assert [one.overall for one in assessments[1:]] == [visit["overall"] for visit in visits_out[1:]]
            assert [one.sum_mm for one in assessments] == [visit["sum_mm"] for visit in visits_out]


@pytest.mark.parametrize("name", PLUGINS)
def test_every_plugin_says_its_method_in_one_sentence_and_judges_every_visit(name):
    criterion = PLUGINS[name]
    assert criterion.__doc__.splitlines()[0].startswith("Response")
    assessments = criterion((), visits(), (), (), AssessConfig())
    assert [assessment.visit for assessment in assessments] == [0, 1, 2]
    assert {assessment.criterion for assessment in assessments} == {name}
    assert overall(assessments) == ["", *(["NE"] * 2 if name == "mda-bone" else ["NED"] * 2)]


def test_measured_floats_are_the_decimals_they_print():
    measurements = (measured(14.0), measured(9.8, 1))
    assessments = judged(recist.assess, (AX,), measurements, at=visits("2023-05-28", "2023-10-18"))
    assert (assessments[1].overall, assessments[1].sum_mm) == ("PR", Decimal("9.8"))


def test_a_bone_lesion_of_which_nothing_is_stated_has_no_finding():
    look = {"L4": {"modality": "CT", "findings": {"flare_excluded": True}}}
    document = {
        "kind": "timeline",
        "visits": [{"id": "b", "date": "2024-01-01"}, {"id": "V1", "date": "2024-03-01", "bone": look}],
    }
    visit = answer(document, ("mda-bone",))["visits"][1]
    assert (visit["overall"], visit["reasons"]) == ("NE", ["L4 NE: no finding stated"])
    visit = answer(
        {**document, "visits": [{**document["visits"][0]}, {"id": "V1", "date": "2024-03-01"}]}, ("mda-bone",)
    )["visits"][1]
    assert (visit["overall"], visit["reasons"]) == ("NE", ["overall NE: no finding of a bone lesion at any visit"])


def test_without_disease_at_baseline_the_reason_says_so():
    (_, october) = judged(recist.assess, (lesion("NEW", role=Role.NEW),), (), at=visits("2023-05-28", "2023-10-18"))
    assert (october.overall, october.reasons) == ("NED", ("overall NED: no disease is known from baseline",))
