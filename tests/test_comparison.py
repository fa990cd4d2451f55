"""Two tables side by side: numbers from the statistics, differences with their reasons, refusals in one line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.comparison import compare_files
from imaging_pipeline.errors import ConfigurationError
from tests.criteria.test_readings import ASSESSMENTS, MEASUREMENTS, READER


@pytest.fixture
def table(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return written


def column(patients, sizes, new="no"):
    """A table of patients with one target, its diameter at baseline and at one visit."""
    lines = ["patient,visit,date,lesion,role,longest_diameter_mm,new_lesions"]
    for patient, (before, after) in zip(patients, sizes, strict=True):
        lines.append(f"{patient},baseline,2024-01-01,T1,target,{before},")
        lines.append(f"{patient},V1,2024-03-01,T1,target,{after},{new}")
    return "\n".join(lines)


def test_sizes_and_responses_of_two_readers(table):
    """Differences 1, -1, 2, 2, 1, 3: mean 4/3; responses SD-SD, PR-SD, SD-SD."""
    first = table("a.csv", column("XYZ", [(30, 31), (50, 35), (40, 42)]))
    second = table("b.csv", column("XYZ", [(31, 30), (52, 37), (41, 45)]))
    document = compare_files(first, second)
    sizes = document["quantities"]["longest_diameter"]
    assert (sizes["unit"], sizes["pairs"]) == ("mm", 6)
    assert sizes["bias"]["value"] == pytest.approx(4 / 3, abs=1e-6)
    assert sizes["upper_limit"]["value"] > sizes["bias"]["value"] > sizes["lower_limit"]["value"]
    assert 0.9 < sizes["icc"]["value"] < 1
    responses = document["responses"]
    assert (responses["pairs"], responses["same"], responses["weighted_pairs"]) == (3, 2, 3)
    assert responses["table"] == [{"a": "PR", "b": "SD", "visits": 1}, {"a": "SD", "b": "SD", "visits": 2}]
    assert responses["kappa"]["value"] == 0  # B says SD always: no more than chance
    (difference,) = document["response_differences"]
    assert [difference[key] for key in ("patient", "date", "a", "b")] == ["Y", "2024-03-01", "PR", "SD"]
    assert "T1 longest diameter 35 against 37 mm" in difference["why"]
    assert document["progression_differences"] == []
    assert document["only_in_a"] == {"sizes": 0, "visits": 0}


def test_one_pair_of_visits_has_no_kappa(table):
    first = table("a.csv", column("X", [(50, 50)]))
    document = compare_files(first, table("b.csv", column("X", [(50, 70)])))["responses"]
    assert (document["pairs"], document["same"]) == (1, 0)
    assert document["kappa"] is document["weighted_kappa"] is None


@pytest.mark.parametrize(("patients", "cautions"), [("STUV", ["longest diameter"]), ("STUVW", [])])
def test_limits_of_fewer_than_ten_pairs_come_with_a_caution(table, patients, cautions):
    sizes = [(30 + number, 31 + 2 * number) for number in range(len(patients))]
    first, second = table("a.csv", column(patients, sizes)), table("b.csv", column(patients, sizes))
    issues = [issue for issue in compare_files(first, second)["issues"] if issue["code"] == "W-COMPARE-FEW"]
    assert [issue["subject"] for issue in issues] == cautions
    assert all(issue["found"] == "8 pairs" for issue in issues)


def test_kappa_counts_categories_and_weights_only_those_in_order(table):
    """Pairs SD-SD, PD-PD, PR-PR and one NE: unweighted 4 pairs, weighted 3, both full agreement."""
    sizes = [(50, 50), (50, 70), (50, 30), (50, "")]
    first = table("a.csv", column("WXYZ", sizes))
    document = compare_files(first, table("b.csv", column("WXYZ", sizes)))["responses"]
    assert (document["pairs"], document["weighted_pairs"]) == (4, 3)
    assert document["kappa"]["value"] == document["weighted_kappa"]["value"] == 1


def test_what_only_one_table_holds_is_counted(table):
    first = table("a.csv", column("XYZ", [(30, 31), (50, 35), (40, 42)]))
    document = compare_files(first, table("b.csv", column("XY", [(30, 31), (50, 35)])))
    assert document["only_in_a"] == {"sizes": 2, "visits": 1}
    assert document["only_in_b"] == {"sizes": 0, "visits": 0}


def test_the_pipelines_results_are_compared_with_a_reader(table):
    measured = table("results/measurements.csv", MEASUREMENTS)
    table("results/assessments.csv", ASSESSMENTS)
    document = compare_files(measured, table("reader.csv", READER))
    assert document["quantities"]["longest_diameter"]["pairs"] == 2
    (difference,) = document["response_differences"]
    assert (difference["a"], difference["b"]) == ("SD", "PD")
    assert [(item["a"], item["b"]) for item in document["progression_differences"]] == [(None, "2024-03-01")]


def test_measurements_alone_are_compared_in_size_only(table):
    document = compare_files(table("measurements.csv", MEASUREMENTS), table("reader.csv", READER))
    assert document["responses"]["pairs"] == 0
    assert document["responses"]["kappa"] is None
    assert document["quantities"]["longest_diameter"]["pairs"] == 2


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (column("Q", [(30, 31)]), "a.csv, b.csv"),
        ("", "a.csv, b.csv"),
        ("case,lesion,quantity,value\nP1,T1,longest_diameter,3", "line 2, evidence"),
        ("patient,visit,date,lession\nP1,V1,2024-01-01,T1", "column lession"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused_in_one_line(table, text, subject):
    with pytest.raises(ConfigurationError) as refusal:
        compare_files(table("a.csv", column("X", [(30, 31)])), table("b.csv", text))
    assert refusal.value.problem.subject == subject
    assert "\n" not in str(refusal.value)


def test_the_command_prints_tables_or_json(table):
    first = table("a.csv", column("XY", [(30, 31), (50, 35)]))
    second = table("b.csv", column("XY", [(30, 31), (50, 36)]))
    printed = CliRunner().invoke(cli, ["compare", str(first), str(second)])
    assert printed.exit_code == 0
    assert "responses: the same at 1 of 2 visits" in printed.output
    assert "longest diameter" in printed.output
    machine = CliRunner().invoke(cli, ["compare", str(first), str(second), "--json"])
    assert json.loads(machine.output) == compare_files(first, second)


def test_a_patient_who_cannot_be_judged_is_named(table):
    first = table("a.csv", column("XY", [(30, 31), (50, 35)]))
    second = table("b.csv", column("XY", [(30, 31), (50, "-3")]))
    document = compare_files(first, second)
    subjects = [issue["subject"] for issue in document["issues"]]
    assert subjects == ["Y, visits.V1.measurements.T1.longest_diameter_mm", "longest diameter"]
    assert document["responses"]["pairs"] == 1
