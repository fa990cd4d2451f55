"""Tables are read row by row and answered patient by patient; what contradicts itself is refused by its line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imaging_pipeline.criteria.documents import answer
from imaging_pipeline.criteria.table import COLUMNS, Row, answer_table, from_table, read_rows, to_rows
from imaging_pipeline.errors import ConfigurationError

TABLE = """\
patient,visit,date,lesion,role,organ,node,longest_diameter_mm,short_axis_mm,state,non_target,new_lesions
P2,V1,2024-03-01,T1,target,liver,no,,,absent,,no
P2,b,2024-01-01,T1,target,liver,no,30.5,,,,
P1,b,2024-01-01,T1,target,liver,,30,,,,
P1,b,2024-01-01,T2,target,axilla,yes,,20,,,
P1,b,2024-01-01,N1,non_target,bone,,,,,present,
P1,V1,2024-03-01,T1,target,,,20,,,,unequivocal
P1,V1,2024-03-01,T2,target,,true,,12,,,
P1,V1,2024-03-01,N1,,,,,,,absent,
P1,V2,2024-05-01,,,,,,,,,no
"""


def table(text=TABLE):
    return read_rows(text)


def test_a_table_is_answered_patient_by_patient():
    answers = list(answer_table(table()))
    assert [answered["patient"] for answered in answers] == ["P2", "P1"]
    assert [visit["overall"] for visit in answers[0]["visits"]] == [None, "CR"]
    assert [visit["overall"] for visit in answers[1]["visits"]] == [None, "PD", "NE"]
    assert answers[1]["visits"][1]["target"] == "PR"
    assert answers[0]["visits"][0]["sum_mm"] == Decimal("30.5")


def test_a_table_of_the_contracts_columns_is_known():
    cells = ("P", "b", "2024-01-01", "T", "target", "liver", "no", 1, 2, 3, 4, 5, "", "present", "no")
    (document,) = from_table(table(",".join(COLUMNS) + "\n" + ",".join(map(str, cells))))
    sizes = {
        "longest_diameter_mm": 1,
        "short_axis_mm": 2,
        "perpendicular_diameter_mm": 3,
        "mean_hu": 4,
        "volume_mm3": 5,
    }
    assert document["visits"][0]["measurements"] == {"T": sizes}
    assert document["visits"][0]["non_targets"] == {"T": "present"}
    assert document["visits"][0]["new_lesions"] == "no"
    assert document["lesions"] == [{"id": "T", "role": "target", "organ": "liver", "node": False}]


def test_a_node_may_be_said_in_many_words():
    for word, node in (("true", True), ("YES", True), ("1", True), ("false", False), ("no", False), ("0", False)):
        (document,) = from_table(table(f"visit,date,lesion,role,node\nb,2024-01-01,T1,target,{word}"))
        assert document["lesions"][0]["node"] is node


def test_answers_leave_as_rows():
    rows = list(to_rows(answer_table(table())))
    assert len(rows) == 5
    first = rows[1]
    assert (first["patient"], first["criterion"], first["id"], first["overall"]) == ("P2", "recist-1.1", "V1", "CR")
    assert (first["sum_mm"], first["best_unconfirmed"], first["best_confirmed"]) == (0, "CR", "SD")
    assert rows[3]["progression_date"] == "2024-03-01"
    assert "sum 32 mm (T1 20 + T2 12)" in rows[3]["reasons"]


def test_several_criteria_and_errors_leave_as_rows_too():
    spoilt = TABLE.replace("30.5", "30.5 mm")
    rows = list(to_rows(answer_table(table(spoilt), ("recist-1.1", "irecist"))))
    assert "visits.b.measurements.T1.longest_diameter_mm" in rows[0]["reasons"]
    assert rows[0]["patient"] == "P2"
    assert [row["criterion"] for row in rows[1:]] == ["recist-1.1"] * 3 + ["irecist"] * 3


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("longest_diameter_mm", "longest_diameter_cm", "did you mean 'longest_diameter_mm'"),
        ("date,", "when,", "column when"),
        ("P1,V2,2024-05-01", "P1,V2,", "line 10, date"),
        ("P1,V1,2024-03-01,T2", "P1,V1,2024-03-02,T2", "line 8, date"),
        ("P1,V1,2024-03-01,T1,target", "P1,V1,2024-03-01,T1,non_target", "line 7, role"),
        ("P1,V1,2024-03-01,T2", "P1,V1,2024-03-01,T1", "line 8: found T1 at V1 twice"),
        ("axilla,yes", "axilla,maybe", "line 5, node"),
        ("T2,target,,true", "T2,target,,false", "line 8, node"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_by_line(old, new, named):
    with pytest.raises(ConfigurationError) as refused:
        from_table(table(TABLE.replace(old, new)))
    assert named in str(refused.value)


def test_a_patient_who_contradicts_himself_spoils_no_other():
    spoilt = TABLE.replace("P1,V1,2024-03-01,T2", "P1,V1,2024-03-01,T1")
    answers = list(answer_table(table(spoilt)))
    assert answers[0]["visits"][1]["overall"] == "CR"
    assert answers[1]["patient"] == "P1"
    assert answers[1]["error"]["subject"] == "line 8"


def test_errors_leave_as_one_line():
    (row,) = to_rows(answer_table(table("visit,date,lesion,role,longest_diameter_mm\nb,2024-01-01,T1,target,-3\n")))
    assert row["reasons"].startswith("E-ASSESS visits.b.measurements.T1.longest_diameter_mm: found")
    assert "\n" not in row["reasons"]


def test_only_visits_leave_as_rows():
    with pytest.raises(ConfigurationError, match="ask for JSON"):
        list(to_rows([answer({"kind": "scores", "rows": []})]))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("visit,date,visit\nb,2024-01-01,b", "column visit: found this column twice"),
        ("visit,date,longest_diameter_mm\nb,2024-01-01,30,5", "line 2: found 4 cells under 3 columns"),
        ("visit,date\nb,2024-01-01\n\nV1,2024-02-01,30,5", "line 4: found 4 cells under 2 columns"),
        ("visit;date\nb;2024-01-01", "column visit;date: found an unknown column"),
        ("visit,date\n" + "x" * 200_000 + ",2024-01-01", "table: found no CSV"),
    ],
)
def test_what_is_no_table_is_refused(text, named):
    with pytest.raises(ConfigurationError) as refused:
        from_table(read_rows(text))
    assert named in str(refused.value)


def test_rows_may_end_early_and_lines_may_be_empty():
    rows = read_rows(" visit , date ,lesion\n\nb,2024-01-01\n")
    assert rows == [Row(3, {"visit": "b", "date": "2024-01-01"})]
    assert read_rows("") == []


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("NaN", "finite"),
        ("3.4 cm", "a number"),
        ("-1", "0 or more"),
        ("99999", "below 10 metres"),
    ],
)
def test_a_bad_cell_is_named_with_its_remedy(cell, named):
    (answered,) = answer_table(read_rows(f"visit,date,lesion,role,longest_diameter_mm\nb,2024-01-01,T1,target,{cell}"))
    assert answered["error"]["subject"] == "visits.b.measurements.T1.longest_diameter_mm"
    assert named in answered["error"]["expected"]
    assert answered["error"]["remedy"]


def test_a_target_that_appears_after_baseline_is_named_and_nothing_is_judged_on_it():
    text = "visit,date,lesion,role,longest_diameter_mm\nb,2024-01-01,T1,target,30\nV1,2024-03-01,TI,target,20"
    (answered,) = answer_table(read_rows(text))
    assert answered["visits"][1]["target"] == "NE"
    assert "target NE: TI not evaluated at baseline, no sum can be compared" in answered["visits"][1]["reasons"]
