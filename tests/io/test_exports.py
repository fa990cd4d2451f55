"""One record, many translations: every format gives the same numbers back, and says what it cannot hold."""

import csv
import json
from dataclasses import replace

import pytest

from imaging_pipeline import plugins
from imaging_pipeline.config import Config
from imaging_pipeline.domain.case import Outcome
from imaging_pipeline.domain.lesions import Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.io.exports import export_all, export_csv, export_dicom, export_sdtm
from imaging_pipeline.io.tables import chosen, number
from imaging_pipeline.io.wide import patient_number, pyrecist_csv, wide_csv
from tests.io.cases import HOSTILE, mpnst_case
from tests.io.exported import mini


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The mini case in every format."""
    folder = tmp_path_factory.mktemp("exported")
    export_all(*mini(), folder, Config())
    return folder


# ---- Formats


def test_the_formats_are_plug_ins():
    assert {"all", "csv", "dicom", "nifti", "sdtm"} <= set(plugins.names("exporters"))


def test_every_path_returned_is_there_and_every_file_is_returned(tmp_path):
    case, values = mpnst_case()
    for write in (export_csv, export_dicom, export_sdtm, export_all):
        folder = tmp_path / write.__name__
        paths = write(case, values, folder, Config())
        assert len(set(paths)) == len(paths)
        assert set(paths) == {path for path in folder.rglob("*") if path.is_file()}


def test_two_exports_of_one_case_are_byte_identical(tmp_path):
    for name in ("first", "again"):
        export_all(*mpnst_case(hostile=HOSTILE), tmp_path / name, Config())
    first = {path.relative_to(tmp_path / "first"): path.read_bytes() for path in (tmp_path / "first").rglob("*.*")}
    again = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.*")}
    assert first == again


def test_no_format_names_the_patient(exported):
    for path in exported.rglob("*"):
        if path.is_file():
            assert b"SAMPLE-001" not in path.read_bytes()


def test_what_a_format_leaves_out_is_named(exported):
    stated = [each for each in mini()[0].measurements if each.evidence.kind == "reported"]
    for name in ("dicom", "sdtm"):
        left = json.loads((exported / name / "left_out.json").read_text())
        assert len(left) == len(stated)
        assert all("stated" in problem["found"] for problem in left)


# ---- Tables


def test_the_wide_table_has_one_row_per_lesion_and_every_number():
    case, _ = mini()
    rows = list(csv.DictReader(wide_csv(case).splitlines()))
    assert [row["lesion"] for row in rows] == [lesion.lesion_id for lesion in case.lesions]
    dates = {visit.number: visit.date for visit in case.visits}
    for (lesion_id, visit, name), measurement in chosen(case.measurements).items():
        (row,) = [row for row in rows if row["lesion"] == lesion_id]
        column = f"{name} {CATALOGUE[name].unit} {dates[visit]}"
        assert row[column] == number(measurement.value, name)


def test_formulas_are_disarmed_and_negative_numbers_are_not():
    case, _ = mpnst_case(hostile=tuple(f"={text}" for text in HOSTILE))
    (row,) = [row for row in csv.DictReader(wide_csv(case).splitlines()) if row["lesion"] == "AX"]
    assert row["label"].startswith("'=")
    assert row["min_density [hnsf'U] 2023-05-28"] == "-132.0"


def test_pyrecist_gets_the_targets_alone_as_it_asks_for_them():
    case, _ = mini()
    text, problems = pyrecist_csv(case)
    assert problems == ()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["study_date"] for row in rows] == ["20230528", "20231018", "20240220"]
    assert {row["lesion_label_alias"] for row in rows} == {"A"}
    assert {row["lesion_category"] for row in rows} == {"target"}
    assert {int(row["patient_id"]) for row in rows} == {patient_number(case)}
    sums = [str(each.sum_mm) for each in case.assessments if each.criterion == "recist-1.1"]
    assert [row["measurement"] for row in rows] == sums


def test_a_visit_pyrecist_would_misread_is_left_out_by_name():
    case, _ = mpnst_case()
    missed = [
        replace(each, outcome=Outcome.NOT_EVALUABLE) if (each.lesion_id, each.visit) == ("AX", 1) else each
        for each in case.sightings
    ]
    kept = tuple(each for each in case.measurements if (each.lesion_id, each.visit) != ("AX", 1))
    text, problems = pyrecist_csv(replace(case, sightings=tuple(missed), measurements=kept))
    assert [row["study_date"] for row in csv.DictReader(text.splitlines())] == ["20230528", "20240220"]
    assert [(problem.code, problem.subject) for problem in problems] == [("N-EXPORT-LEFT-OUT", "visit of 2023-10-18")]


def test_a_target_that_is_gone_measures_nothing():
    case, _ = mpnst_case()
    gone = [
        replace(each, outcome=Outcome.ABSENT) if (each.lesion_id, each.visit) == ("AX", 2) else each
        for each in case.sightings
    ]
    kept = tuple(each for each in case.measurements if (each.lesion_id, each.visit) != ("AX", 2))
    text, problems = pyrecist_csv(replace(case, sightings=tuple(gone), measurements=kept))
    assert problems == ()
    assert [*csv.DictReader(text.splitlines())][-1]["measurement"] == "0"


def test_many_targets_have_letters_of_their_own():
    case, _ = mpnst_case()
    (mass,) = [lesion for lesion in case.lesions if lesion.role is Role.TARGET]
    lesions = tuple(replace(mass, lesion_id=f"L{place}") for place in range(28))
    (measured,) = [
        each
        for each in case.measurements
        if (each.lesion_id, each.visit, each.quantity, each.evidence.kind) == ("AX", 0, "longest_diameter", "segmented")
    ]
    measurements = tuple(replace(measured, lesion_id=lesion.lesion_id) for lesion in lesions)
    text, _ = pyrecist_csv(
        replace(case, lesions=lesions, measurements=measurements, sightings=(), visits=case.visits[:1])
    )
    letters = [row["lesion_label_alias"] for row in csv.DictReader(text.splitlines())]
    assert letters[:2] + letters[-3:] == ["A", "B", "Z", "AA", "AB"]
