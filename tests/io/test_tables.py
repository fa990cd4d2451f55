import csv
import io
from dataclasses import replace

import pandas as pd
import pytest

from imaging_pipeline.domain.case import Score
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.tables import (
    COHORT_COLUMNS,
    SUMMARY_COLUMNS,
    cohort_rows,
    csv_text,
    disarmed,
    measurement_rows,
    response_lines,
    summary_rows,
    write_tables,
)
from tests.io.cases import HOSTILE, mpnst_case

CONTRACT = [
    "case",
    "visit",
    "visit_date",
    "lesion",
    "role",
    "site",
    "laterality",
    "modality",
    "quantity",
    "value",
    "unit",
    "lower95",
    "upper95",
    "evidence",
    "comparable",
    "flags",
    "series_uid",
    "reader_lower95",
    "reader_upper95",
]


@pytest.fixture(scope="module")
def case():
    return mpnst_case()[0]


@pytest.fixture(scope="module")
def written(tmp_path_factory, case):
    folder = tmp_path_factory.mktemp("tables")
    write_tables((case,), folder)
    return folder


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_columns_are_the_contracts(written):
    assert (written / "measurements.csv").read_text().splitlines()[0].split(",") == CONTRACT


def test_one_row_per_measurement_says_what_was_measured(case, written):
    rows = rows_of(written / "measurements.csv")
    assert len(rows) == len(case.measurements)
    assert rows[0] == {
        "case": case.case,
        "visit": "baseline",
        "visit_date": "2023-05-28",
        "lesion": "L4",
        "role": "non_target",
        "site": "Fourth lumbar vertebra",
        "laterality": "left",
        "modality": "CT",
        "quantity": "longest_diameter",
        "value": "30.00",
        "unit": "mm",
        "lower95": "29.10",
        "upper95": "30.90",
        "evidence": "segmented",
        "comparable": "",
        "flags": "",
        "series_uid": case.visits[0].series[0].series_instance_uid,
        "reader_lower95": "",
        "reader_upper95": "",
    }


def test_a_change_of_kernel_makes_the_density_row_not_comparable(written):
    (row,) = (
        row
        for row in rows_of(written / "measurements.csv")
        if (row["lesion"], row["visit"], row["quantity"]) == ("L4", "review", "mean_density")
    )
    assert (row["comparable"], row["flags"]) == ("false", "W-COMPARE-KERNEL")


def test_what_was_reported_stands_beside_what_was_measured(written):
    values = [
        (row["evidence"], row["value"])
        for row in rows_of(written / "measurements.csv")
        if (row["lesion"], row["visit"], row["quantity"]) == ("AX", "baseline", "longest_diameter")
    ]
    assert values == [("segmented", "52.00"), ("reported", "32.00")]


def test_parquet_holds_the_same_numbers_as_numbers(case, written):
    table = pd.read_parquet(written / "measurements.parquet")
    assert list(table.columns) == CONTRACT
    assert table["value"].tolist() == [measurement.value for measurement in case.measurements]
    assert table["lower95"].dtype == "float64"


def test_sums_are_printed_as_the_exact_decimals_they_are(written):
    rows = rows_of(written / "assessments.csv")
    assert [row["sum_mm"] for row in rows] == ["52.00", "43.00", "42.00"]
    assert [row["change_from_baseline_pct"] for row in rows] == ["", "-17.3", "-19.2"]


def test_another_readers_limits_stand_behind_the_interval(tmp_path, case):
    first = replace(case.measurements[0], reader_lower95=23.37, reader_upper95=37.62)
    write_tables((replace(case, measurements=(first, *case.measurements[1:])),), tmp_path)
    row = rows_of(tmp_path / "measurements.csv")[0]
    assert (row["lower95"], row["upper95"]) == ("29.10", "30.90")
    assert (row["reader_lower95"], row["reader_upper95"]) == ("23.37", "37.62")


def test_a_score_that_is_a_range_has_no_value(tmp_path, case):
    grade = Score("genant", "L4", 0, 1, 0, 1, "normal to mild", ("height loss 21.0 %, 18.0 to 24.0",))
    sins = Score("sins", "L4", 0, None, 6, 12, "stable to potentially unstable", (), ("pain", "posterolateral"))
    write_tables((replace(case, scores=(grade, sins)),), tmp_path)
    first, second = rows_of(tmp_path / "scores.csv")
    assert (first["value"], first["least"], first["most"], first["category"]) == ("1", "0", "1", "normal to mild")
    assert (second["value"], second["least"], second["most"], second["missing"]) == (
        "",
        "6",
        "12",
        "pain; posterolateral",
    )
    stored = pd.read_parquet(tmp_path / "scores.parquet")
    assert stored["least"].tolist() == [0, 6]
    assert stored["value"].isna().tolist() == [False, True]


def test_equal_cases_give_equal_bytes_in_any_order(tmp_path, case):
    other = mpnst_case("p-other")[0]
    write_tables((case, other), tmp_path / "one")
    write_tables(iter((other, case)), tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        f"{table}.{suffix}" for table in ("assessments", "measurements", "scores") for suffix in ("csv", "parquet")
    ]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_no_case_still_gives_tables_with_a_header(tmp_path):
    write_tables((), tmp_path)
    assert rows_of(tmp_path / "measurements.csv") == []
    assert list(pd.read_parquet(tmp_path / "measurements.parquet").columns) == CONTRACT


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\x00=1", "＝1", "＋1", "－1", "＠x", " =1", "\u200b=1"],
)
def test_text_that_a_spreadsheet_would_run_is_disarmed(text):
    assert disarmed(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "L4", "1-2", "a=b", "左腋窝", "SD"])
def test_other_text_stays_as_it_is(text):
    assert disarmed(text) == text


def test_hostile_labels_stay_text_and_negative_numbers_stay_numbers(tmp_path):
    case, _ = mpnst_case(hostile=tuple(f"={text}" for text in HOSTILE))
    write_tables((case,), tmp_path)
    rows = rows_of(tmp_path / "measurements.csv")
    assert {row["visit"] for row in rows} == {"baseline", "after 6 cycles", f"'={HOSTILE[1]}"}
    lowest = next(row for row in rows if row["quantity"] == "min_density")
    assert float(lowest["value"]) == -128.0


def test_a_list_of_texts_is_disarmed_too():
    rows = list(csv.reader(io.StringIO(csv_text([("case", "patient_id"), ("p-1", "=cmd")]))))
    assert rows == [["case", "patient_id"], ["p-1", "'=cmd"]]


def test_the_terminal_shows_one_row_per_lesion_and_visit(case):
    rows = summary_rows(case)
    assert len(rows) == 9
    assert all(len(row) == len(SUMMARY_COLUMNS) for row in rows)
    assert rows[1] == ("L4", "after 6 cycles", "29.60", "214.0", "21.8")
    assert rows[6] == ("R1", "baseline", "", "", "")


def test_the_terminal_says_each_criterion_in_a_line(case):
    lines = response_lines(case)
    assert len(lines) == len({each.criterion for each in case.assessments})
    (recist,) = (line for line in lines if line.startswith("recist-1.1: "))
    last = [each for each in case.assessments if each.criterion == "recist-1.1"][-1]
    assert recist.endswith(f"{case.visits[-1].label} {last.overall} ({last.change_from_baseline_pct:+.1f} %)")


def test_the_terminal_shows_several_cases_a_row_each_and_those_with_problems_first(case):
    sound = replace(case, case="a-1", problems=(), assessments=())
    failing = replace(case, case="z-9", problems=(Problem("E-REGISTER", "L4", "nothing", "something", "look"),))
    rows = cohort_rows([sound, failing])
    assert all(len(row) == len(COHORT_COLUMNS) for row in rows)
    assert [row[0] for row in rows] == ["z-9", "a-1"]
    assert rows[0][3:5] == ("1", "0")
    assert rows[0][5] == [each for each in case.assessments if each.criterion == "recist-1.1"][-1].overall
    assert rows[1][5:] == ("", "", "")


def test_every_measurement_of_the_case_has_a_row(case):
    assert [row["value"] for row in measurement_rows(case)] == [each.value for each in case.measurements]
