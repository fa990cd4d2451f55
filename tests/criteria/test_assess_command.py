"""`assess` from the command line: tables, JSON or CSV out, and one line for each patient who cannot be judged."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from random import Random

import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config
from imaging_pipeline.io.exports import export_all
from imaging_pipeline.io.tables import write_tables
from tests.io.exported import mini

HEADER = "patient,visit,date,lesion,role,longest_diameter_mm,mean_hu\n"
GOOD = "P1,b,2024-01-01,T1,target,50,80\nP1,V1,2024-03-01,T1,target,30,60\n"
BAD = "=P2,b,2024-01-01,T1,target,50,80\n=P2,V1,2024-03-01,T1,target,-30,80\n"


@pytest.fixture
def assess(tmp_path):
    def call(text, *options, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CliRunner().invoke(cli, ["assess", str(path), *options])

    return call


def test_one_patient_is_shown_by_visit_with_the_best_response(assess):
    outcome = assess(HEADER + GOOD)
    assert outcome.exit_code == 0
    assert "P1 recist-1.1: best overall response PR, confirmed SD, no progression" in outcome.stdout


def test_several_criteria_are_shown_with_the_reason_they_differ(assess):
    text = (HEADER + GOOD).replace("target,30", "target,40")
    outcome = assess(text, "--criterion", "recist-1.1", "--criterion", "choi")
    assert "P1 choi: best overall response PR" in outcome.stdout
    assert "the criteria differ: V1: recist-1.1 SD (target SD" in outcome.stdout


def test_csv_goes_in_and_out_and_keeps_numbers_and_disarms_text(assess):
    outcome = assess(HEADER + GOOD + BAD, "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.stdout)))
    assert [row["overall"] for row in rows[:2]] == ["", "PR"]
    assert rows[1]["change_from_baseline_pct"] == "-40"
    assert rows[2]["patient"] == "'=P2"
    assert rows[2]["reasons"].startswith("E-ASSESS visits.V1.measurements.T1.longest_diameter_mm")


def test_one_patient_is_one_document_and_several_are_lines(assess):
    assert json.loads(assess(HEADER + GOOD, "--json").stdout)["visits"][1]["overall"] == "PR"
    outcome = assess(HEADER + GOOD + BAD, "--json")
    good, bad = (json.loads(line) for line in outcome.stdout.splitlines())
    assert (good["patient"], "error" in bad) == ("P1", True)


def test_a_patient_who_cannot_be_judged_is_one_line_and_an_exit_code(assess):
    outcome = assess(HEADER + GOOD + BAD)
    assert outcome.exit_code == 5
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.startswith("=P2 E-ASSESS visits.V1.measurements.T1.longest_diameter_mm")
    assert assess(HEADER + BAD).exit_code == 4


def test_what_the_paper_would_not_accept_at_baseline_is_said(assess):
    lesions = "".join(f"P1,b,2024-01-01,T{number},target,50,80\n" for number in range(6))
    assert "W-TARGETS-MANY lesions: found 6 targets" in assess(HEADER + lesions).stderr


def test_bytes_that_are_no_text_are_refused(assess):
    outcome = assess(b"\xff\xfe\x00")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("E-CONFIG table.csv: found bytes that are not UTF-8")


def test_scores_are_shown_as_they_are_and_do_not_leave_as_csv(assess):
    document = json.dumps({"kind": "scores", "rows": [{"score": "genant", "height_loss_percent": 25}]})
    assert json.loads(assess(document, name="scores.json").stdout)["rows"][0]["grade"] == 2
    assert assess(document, "--csv", name="scores.json").exit_code == 2


def test_the_documents_have_a_schema():
    schema = json.loads(CliRunner().invoke(cli, ["schema", "assess"]).stdout)
    assert set(schema["discriminator"]["mapping"]) == {"timeline", "responses", "components", "candidates", "scores"}


# ---- What this package exported


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    export_all(*mini(), folder, Config())
    return folder


EXPORTS = ("csv/measurements.csv", "sdtm/tr.json", "sdtm/tr.xpt", "dicom/2024-02-20_sr.dcm")


@pytest.mark.parametrize("place", EXPORTS)
def test_an_export_is_judged_as_the_run_judged(exported, place):
    outcome = CliRunner().invoke(cli, ["assess", str(exported / place), "--json"])
    assert outcome.exit_code == 0, outcome.output
    with (exported / "csv" / "assessments.csv").open(newline="") as stream:
        stated = [row for row in csv.DictReader(stream) if row["criterion"] == "recist-1.1"]
    answered = json.loads(outcome.stdout)
    assert len(answered["visits"]) == 3
    words = [(each["overall"], each["target"], each["non_target"]) for each in answered["visits"][1:]]
    assert words == [(row["overall"], row["target"], row["non_target"]) for row in stated[1:]]


def test_the_table_of_a_results_folder_answers_case_by_case(exported, tmp_path):
    case, _ = mini()
    write_tables((case, replace(case, case="p-other")), tmp_path)
    outcome = CliRunner().invoke(cli, ["assess", str(tmp_path / "measurements.csv"), "--json"])
    told = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert sorted(each.pop("patient") for each in told) == sorted([case.case, "p-other"])
    assert told[0] == told[1]


def test_a_report_without_its_baseline_is_refused(exported, tmp_path):
    shutil.copy(exported / "dicom" / "2024-02-20_sr.dcm", tmp_path)
    outcome = CliRunner().invoke(cli, ["assess", str(tmp_path / "2024-02-20_sr.dcm")])
    assert outcome.exit_code == 4
    assert outcome.stderr.startswith("E-REPORT-BASELINE 2024-02-20_sr.dcm")


def test_an_outline_is_no_table_of_measurements(exported):
    outlines, *_ = (exported / "dicom").glob("*_seg_*.dcm")
    outcome = CliRunner().invoke(cli, ["assess", str(outlines)])
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (4, 1)


@pytest.mark.parametrize("place", EXPORTS)
def test_a_damaged_export_is_refused_or_judged_but_never_breaks(exported, tmp_path, place):
    whole, chance = (exported / place).read_bytes(), Random(7)
    path = tmp_path / "damaged"
    for _ in range(60):
        content = bytearray(whole)
        if chance.random() < 0.5:
            del content[chance.randrange(len(content)) :]
        for _ in range(chance.randrange(1, 20)):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        outcome = CliRunner().invoke(cli, ["assess", str(path)])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exc_info
        assert outcome.exit_code in (0, 2, 4, 5)
