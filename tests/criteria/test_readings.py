"""Two readings of the same patients: what is read from either table, and why they differ."""

from __future__ import annotations

import pytest

from imaging_pipeline.criteria.readings import (
    Place,
    progression_differences,
    read_results,
    read_table,
    response_differences,
)
from imaging_pipeline.criteria.table import read_rows
from imaging_pipeline.errors import ConfigurationError

READER = """\
patient,visit,date,lesion,role,organ,node,longest_diameter_mm,short_axis_mm,mean_hu,state,non_target,new_lesions
P1,baseline,2024-01-01,T1,target,liver,no,30,,55,,,
P1,baseline,2024-01-01,T2,target,axilla,yes,,20,,,,
P1,V1,2024-03-01,T1,target,liver,no,36,,50,,,no
P1,V1,2024-03-01,T2,target,axilla,yes,,24,,,,
P1,V2,2024-05-01,T1,target,liver,no,,,,absent,,
P1,V2,2024-05-01,T2,target,axilla,yes,,9,,,,
"""
PLACES = [Place("P1", date) for date in ("2024-01-01", "2024-03-01", "2024-05-01")]


def reading(*changes):
    text = READER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_table(read_rows(text))


def test_a_table_is_read_with_its_sizes_and_judged():
    read = reading()
    assert read.sizes[PLACES[0], "T1", "longest_diameter"] == 30
    assert read.sizes[PLACES[0], "T1", "mean_density"] == 55
    assert read.sizes[PLACES[1], "T2", "short_axis"] == 24
    assert (PLACES[2], "T1", "longest_diameter") not in read.sizes
    assert [read.responses[place].overall for place in PLACES[1:]] == ["PD", "CR"]
    assert PLACES[0] not in read.responses
    assert read.responses[PLACES[1]].sum_mm == "60"
    assert (read.progression, read.problems) == ({"P1": "2024-03-01"}, ())


def test_a_patient_who_cannot_be_judged_is_a_problem_and_still_has_sizes():
    read = reading(("2024-03-01,T1,target,liver,no,36,", "2024-03-01,T1,target,liver,no,-36,"))
    (problem,) = read.problems
    assert problem.subject == "P1, visits.V1.measurements.T1.longest_diameter_mm"
    assert (read.responses, read.progression) == ({}, {})
    assert read.sizes[PLACES[0], "T1", "longest_diameter"] == 30


def test_readings_that_agree_differ_in_nothing():
    assert response_differences(reading(), reading()) == ()
    assert progression_differences(reading(), reading()) == ()


def test_a_visit_judged_otherwise_says_by_which_parts_and_sizes():
    other = reading(("T1,target,liver,no,36,", "T1,target,liver,no,35,"))
    (difference,) = response_differences(reading(), other)
    assert (difference.place, difference.first, difference.second) == (PLACES[1], "PD", "SD")
    assert difference.why == (
        "A: target PD: 10 mm (+20.0 %) above the nadir of 50 mm",
        "B: target SD: +18.0 % against baseline, neither response nor progression",
        "target PD against SD",
        "sum 60 against 59 mm",
        "T1 longest diameter 36 against 35 mm",
    )
    (dated,) = progression_differences(reading(), other)
    assert (dated.place, dated.first, dated.second, dated.why) == (PLACES[1], "2024-03-01", "", difference.why)


def test_a_new_lesion_seen_by_one_is_the_reason():
    stable = (("36,,50", "31,,50"), ("yes,,24", "yes,,20"))
    (difference,) = response_differences(reading(*stable), reading(*stable, ("50,,,no", "50,,,unequivocal")))
    assert (difference.first, difference.second) == ("SD", "PD")
    assert difference.why[1] == "B: overall PD by the new lesion; without, SD"
    assert difference.why[2:] == ("new lesion no against unequivocal",)


def test_a_lesion_that_only_one_measures_is_named():
    other = reading(("P1,V1,2024-03-01,T2,target,axilla,yes,,24,,,,\n", ""))
    (difference,) = response_differences(reading(), other)
    assert (difference.first, difference.second) == ("PD", "NE")
    assert difference.why[-2:] == ("sum 60 against not known mm", "only A measures T2")


def test_progression_on_a_day_that_one_does_not_judge_says_so():
    lines = [line for line in READER.splitlines() if not line.startswith("P1,V1")]
    other = read_table(read_rows("\n".join(lines)))
    (dated,) = progression_differences(other, reading())
    assert (dated.first, dated.second, dated.why) == ("", "2024-03-01", ("only B judges that day",))


# Results of the pipeline


MEASUREMENTS = """\
case,visit,visit_date,lesion,role,site,laterality,modality,quantity,value,unit,lower95,upper95,evidence,comparable,flags,series_uid
P1,baseline,2024-01-01,T1,target,,,CT,longest_diameter,30.20,mm,29,31,segmented,,,1.2
P1,baseline,2024-01-01,T1,target,,,CT,longest_diameter,30.90,mm,,,drawn,,,1.2
P1,baseline,2024-01-01,T1,target,,,US,longest_diameter,44.00,mm,,,reported,,,
P1,V1,2024-03-01,T1,target,,,MR,longest_diameter,39.00,mm,,,segmented,,,1.4
P1,V1,2024-03-01,T1,target,,,CT,longest_diameter,36.00,mm,,,segmented,,,1.3
"""
ASSESSMENTS = """\
case,visit,visit_date,criterion,overall,target,non_target,new_lesion,sum_mm,nadir_mm,best_overall_response,reasons
P1,baseline,2024-01-01,recist-1.1,,,,,30.90,30.90,,sum 30.9 mm (T1 30.9)
P1,V1,2024-03-01,recist-1.1,SD,SD,NON-CR/NON-PD,no,36.00,30.90,SD,sum 36 mm (T1 36); target SD: +16.5 % against baseline
P1,V1,2024-03-01,choi,PD,PD,,no,,,PD,target PD: larger
"""


def results(measurements=MEASUREMENTS, assessments=ASSESSMENTS):
    return read_results(read_rows(measurements), read_rows(assessments))


def test_of_the_pipelines_measurements_the_believed_ones_are_read():
    """A reader's line before the outline, CT before MR, and never what was only reported."""
    read = results()
    assert read.sizes == {(PLACES[0], "T1", "longest_diameter"): 30.9, (PLACES[1], "T1", "longest_diameter"): 36.0}
    assert {place: response.overall for place, response in read.responses.items()} == {PLACES[1]: "SD"}
    assert read.progression == {"P1": ""}


def test_what_the_pipeline_says_is_compared_with_a_reader():
    (difference,) = response_differences(results(), reading())
    assert (difference.place, difference.first, difference.second) == (PLACES[1], "SD", "PD")
    assert difference.why[0] == "A: target SD: +16.5 % against baseline"
    assert "non target NON-CR/NON-PD against none" in difference.why
    assert difference.why[-1] == "only B measures T2"


def test_the_first_progression_of_the_pipeline_dates_it_unless_the_table_does():
    later = ASSESSMENTS.replace("recist-1.1,SD,SD", "recist-1.1,PD,PD")
    later += "P1,V2,2024-05-01,recist-1.1,PD,PD,,no,40,30.9,PD,target PD: larger\n"
    assert results(assessments=later).progression == {"P1": "2024-03-01"}
    dated = "\n".join(
        line + (",progression_date" if not number else ",2024-01-15" if "V2" in line else ",")
        for number, line in enumerate(later.splitlines())
    )
    assert results(assessments=dated).progression == {"P1": "2024-01-15"}


def test_progression_dated_back_says_so():
    """Both call March stable; A confirms in May that an equivocal lesion of March was one."""
    told = ASSESSMENTS.replace("best_overall_response", "progression_date").replace(",SD,sum 36", ",2024-03-01,sum 36")
    stable = reading(("36,,50", "31,,50"), ("yes,,24", "yes,,20"))
    assert response_differences(results(assessments=told), stable) == ()
    (dated,) = progression_differences(results(assessments=told), stable)
    assert (dated.place, dated.first, dated.second) == (PLACES[1], "2024-03-01", "")
    assert dated.why == ("dated back: an equivocal new lesion of that day was confirmed later",)


@pytest.mark.parametrize("column", ["case", "visit_date", "lesion", "quantity", "value", "evidence"])
def test_a_row_that_lacks_what_the_pipeline_writes_is_refused(column):
    with pytest.raises(ConfigurationError, match=f"line 2, {column}"):
        results(MEASUREMENTS.replace(f"{column},", "other,", 1))


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(ConfigurationError) as refusal:
        results(MEASUREMENTS.replace("39.00", "large"))
    assert refusal.value.problem.subject == "line 5, value"
