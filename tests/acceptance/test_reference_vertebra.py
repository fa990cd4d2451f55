"""A healthy vertebra that a reader names: compared with at every visit, whichever way the lesion is found there."""

from dataclasses import replace
from functools import cache

import pytest

from imaging_pipeline.domain.geometry import as_point
from imaging_pipeline.numerics.reference import healthy_neighbours
from imaging_pipeline.pipeline import follow
from tests.io.exported import mini, mini_intake


def l4():
    (lesion,) = [each for each in mini_intake()[3].lesions if each.lesion_id == "L4"]
    return lesion


@cache
def below_lps(visit=0):
    """The middle of the vertebra below L4 in a visit's scan."""
    case, values = mini()
    (sighting,) = [each for each in case.sightings if (each.lesion_id, each.visit) == ("L4", visit)]
    (series,) = [each for each in case.visits[visit].series if each.series_instance_uid == sighting.series_uid]
    volume = mini_intake()[3].load(series)
    return as_point(healthy_neighbours(volume, values[sighting.mask]).bodies[-1].middle_lps)


@cache
def followed(**named):
    """L4 alone, a reference named at the visits of these numbers."""
    config, patient, _, intake = mini_intake()
    marks = {("L4", 0): (replace(intake.marks["L4", 0][0], reference_lps=named.get("baseline")),)}
    if "later" in named:
        marks["L4", 1] = (replace(marks["L4", 0][0], series=series_at(1), marks=(), reference_lps=named["later"]),)
    case, _ = follow(patient.case, intake.visits, (l4(),), marks, (), intake.load, config)
    densities = {each.visit: each for each in case.measurements if each.quantity == "reference_density"}
    return densities, [each for each in case.problems if each.code == "W-REFERENCE-PROMPT"]


def series_at(visit):
    (sighting,) = [each for each in mini()[0].sightings if (each.lesion_id, each.visit) == ("L4", visit)]
    visits = mini()[0].visits
    return next(each for each in visits[visit].series if each.series_instance_uid == sighting.series_uid)


def test_a_vertebra_named_at_baseline_is_compared_with_at_every_visit():
    densities, problems = followed(baseline=below_lps())
    assert problems == []
    assert sorted(densities) == [0, 1, 2]
    assert all("reference_named" in each.flags for each in densities.values())


def test_a_vertebra_named_at_a_visit_holds_there():
    densities, _ = followed(later=below_lps(1))
    assert ["reference_named" in densities[visit].flags for visit in (0, 1, 2)] == [False, True, False]


def test_what_is_named_in_no_healthy_vertebra_is_said_at_every_visit():
    middle_lps = mini_intake()[3].marks["L4", 0][0].marks[0].long_axis_lps[0]
    densities, problems = followed(baseline=as_point(middle_lps))
    assert densities == {}
    assert [each.subject.partition(" at ")[0] for each in problems] == ["L4"] * 3


def test_marks_of_a_visits_own_need_a_reference_of_their_own():
    config, patient, _, intake = mini_intake()
    baseline = replace(intake.marks["L4", 0][0], reference_lps=below_lps())
    (sighting,) = [each for each in mini()[0].sightings if (each.lesion_id, each.visit) == ("L4", 1)]
    moved = replace(
        baseline.marks[0],
        long_axis_lps=tuple(as_point(sighting.transform.apply(p)) for p in baseline.marks[0].long_axis_lps),
    )
    own = replace(baseline, series=series_at(1), marks=(moved,), reference_lps=None)
    marks = {("L4", 0): (baseline,), ("L4", 1): (own,)}
    case, _ = follow(patient.case, intake.visits, (l4(),), marks, (), intake.load, config)
    (problem,) = [each for each in case.problems if each.code == "W-REFERENCE-PROMPT"]
    assert "no reference among them" in problem.found


@pytest.mark.parametrize("quantity", ["height_loss", "height_anterior"])
def test_heights_are_compared_with_both_neighbours_whatever_is_named(quantity):
    whole = {(each.visit, each.quantity): each.value for each in mini()[0].measurements if each.lesion_id == "L4"}
    config, patient, _, intake = mini_intake()
    baseline = replace(intake.marks["L4", 0][0], reference_lps=below_lps())
    case, _ = follow(patient.case, intake.visits[:1], (l4(),), {("L4", 0): (baseline,)}, (), intake.load, config)
    assert [each.value for each in case.measurements if each.quantity == quantity] == [
        value for (visit, name), value in whole.items() if (visit, name) == (0, quantity)
    ]


@pytest.mark.parametrize("visit", [0, 1, 2])
def test_what_is_left_of_its_own_vertebra_is_no_neighbour(visit):
    case, values = mini()
    (sighting,) = [each for each in case.sightings if (each.lesion_id, each.visit) == ("L4", visit)]
    neighbours = healthy_neighbours(mini_intake()[3].load(series_at(visit)), values[sighting.mask])
    # The phantom's lumbar levels lie about 35 mm apart.
    assert [body.above_mm for body in neighbours.bodies] == pytest.approx([35.0, -35.0], abs=3.0)
