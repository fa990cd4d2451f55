"""One record, many translations: every format gives the same numbers back, and says what it cannot hold."""

import csv
import json
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pydicom
import pyreadstat
import pytest

from imaging_pipeline import plugins
from imaging_pipeline.config import AssessConfig, Config, ExportConfig
from imaging_pipeline.corrections import signature
from imaging_pipeline.criteria.documents import answer
from imaging_pipeline.domain.case import Edited, Outcome, Review
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Kind, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.datasets import Column, dataset_json, dataset_of
from imaging_pipeline.io.exports import export_all, export_csv, export_dicom, export_sdtm
from imaging_pipeline.io.masks import read_mask
from imaging_pipeline.io.readback import readings, timeline
from imaging_pipeline.io.record import write_case
from imaging_pipeline.io.tables import chosen, number
from imaging_pipeline.io.wide import patient_number, pyrecist_csv, wide_csv
from imaging_pipeline.numerics.measurement import measure
from imaging_pipeline.results import RunOutcome, write_run
from imaging_pipeline.testing import check_exporter
from tests.io.cases import HOSTILE
from tests.io.exported import by_hand, mini, mini_intake


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


@pytest.mark.parametrize("name", ["all", "csv", "dicom", "nifti", "sdtm"])
def test_every_exporter_keeps_the_promises_of_its_door(name):
    check_exporter(plugins.load("exporters", name))


def test_every_path_returned_is_there_and_every_file_is_returned(tmp_path):
    case, values = by_hand()
    for write in (export_csv, export_dicom, export_sdtm, export_all):
        folder = tmp_path / write.__name__
        paths = write(case, values, folder, Config())
        assert len(set(paths)) == len(paths)
        assert set(paths) == {path for path in folder.rglob("*") if path.is_file()}


def test_two_exports_of_one_case_are_byte_identical(tmp_path):
    for name in ("first", "again"):
        export_all(*by_hand(hostile=HOSTILE), tmp_path / name, Config())
    first = {path.relative_to(tmp_path / "first"): path.read_bytes() for path in (tmp_path / "first").rglob("*.*")}
    again = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.*")}
    assert first == again


def test_no_format_names_the_patient(exported):
    for path in exported.rglob("*"):
        if path.is_file():
            assert b"SAMPLE-001" not in path.read_bytes()


def test_what_a_format_leaves_out_is_named(exported):
    numbers = mini()[0].measurements
    stated = sum(each.evidence.kind == "reported" for each in numbers)
    aside = [each for each in numbers if each.evidence.kind != "reported" and each.modality != "CT"]
    second_sizes = sum(each.quantity.endswith("diameter") for each in aside)
    for name, beside in (("dicom", len(aside)), ("sdtm", second_sizes)):
        left = json.loads((exported / name / "left_out.json").read_text())
        assert len(left) == stated + beside + 1
        assert sum("stated" in problem["found"] for problem in left) == stated
        assert sum("another image" in problem["found"] for problem in left) == second_sizes == 2
        assert (left[-1]["subject"], "interval" in left[-1]["found"]) == ("every measurement", True)


def test_objects_that_go_back_to_their_archive_bear_its_patient_id(tmp_path):
    case, values = mini()
    trial = ExportConfig(patient_ids={case.case: "HOSPITAL-7"})
    kinds = set()
    for path in export_dicom(case, values, tmp_path, Config(trial=trial)):
        if path.suffix == ".dcm":
            dataset = pydicom.dcmread(path)
            kinds.add(dataset.Modality)
            assert (dataset.PatientID, dataset.PatientName, dataset.PatientIdentityRemoved) == ("HOSPITAL-7", "", "NO")
            assert "DeidentificationMethod" not in dataset
            assert case.case.encode() not in path.read_bytes()
    assert kinds == {"SEG", "SR"}


def test_a_run_does_not_tell_the_patient_ids_of_an_archive(tmp_path):
    case, _ = mini()
    trial = ExportConfig(study_id="MPNST01", patient_ids={case.case: "HOSPITAL-7"})
    write_run(tmp_path, RunOutcome((), ()), {}, Config(trial=trial))
    written = (tmp_path / "run.json").read_text()
    assert "MPNST01" in written
    assert "HOSPITAL-7" not in written


# ---- Read back


@pytest.fixture(scope="module")
def printed():
    """Every measured number of the case, as it is printed: lesion, visit, quantity."""
    return {key: number(each.value, key[2]) for key, each in chosen(mini()[0].measurements).items()}


def told(reading):
    """The numbers of a reading."""
    return {key: number(each.value, key[2]) for key, each in chosen(reading.measurements).items()}


def first_of(pairs):
    """Of two numbers of one name the first: a scan's goes before that of an image beside it."""
    return dict(reversed(list(pairs)))


def from_csv(folder):
    return told(*readings(folder / "csv" / "measurements.csv"))


def from_parquet(folder):
    rows = pd.read_parquet(folder / "csv" / "measurements.parquet").to_dict("records")
    visits = {visit.label: visit.number for visit in mini()[0].visits}
    return first_of(
        ((row["lesion"], visits[row["visit"]], row["quantity"]), number(row["value"], row["quantity"]))
        for row in rows
        if row["evidence"] != "reported"
    )


def from_json(folder):
    write_case(*mini(), folder / "record")
    document = json.loads((folder / "record" / "case.json").read_text())
    return first_of(
        ((each["lesion_id"], each["visit"], each["quantity"]), number(each["value"], each["quantity"]))
        for each in document["measurements"]
        if each["evidence"]["kind"] != "reported"
    )


def from_wide(folder):
    visits = {visit.date: visit.number for visit in mini()[0].visits}
    return {
        (row["lesion"], visits[column.rpartition(" ")[2]], column.partition(" ")[0]): value
        for row in rows_of(folder / "csv" / "lesions_wide.csv")
        for column, value in row.items()
        if column.rpartition(" ")[2] in visits and value
    }


def from_reports(folder):
    return told(*readings(folder / "dicom"))


def from_results(folder):
    return told(*readings(folder / "sdtm" / "tr.json"))


def from_transport_file(folder):
    frame, _ = pyreadstat.read_xport(str(folder / "sdtm" / "tr.xpt"))
    names = {quantity.cdisc: name for name, quantity in CATALOGUE.items()}
    return {
        (row["TRSPID"], int(row["VISITNUM"]) - 1, names[row["TRTESTCD"]]): number(
            row["TRSTRESN"], names[row["TRTESTCD"]]
        )
        for row in frame.to_dict("records")
        if row["TRTESTCD"] in names
    }


def from_outlines(folder):
    """Every outline of the SEGs, put on its scan and measured again."""
    case, _ = mini()
    config, _, _, intake = mini_intake()
    lesions = {lesion.lesion_id: lesion for lesion in intake.lesions}
    found = {}
    for sighting in case.sightings:
        visit = case.visits[sighting.visit]
        (series,) = [each for each in visit.series if each.series_instance_uid == sighting.series_uid]
        volume = intake.load(series)
        outlines = folder / "dicom" / f"{visit.date}_seg_{series.role}.dcm"
        mask = read_mask(outlines, volume, sighting.lesion_id)
        for each in measure(volume, mask, lesions[sighting.lesion_id], sighting.visit, config.measure).measurements:
            found[each.lesion_id, each.visit, each.quantity] = number(each.value, each.quantity)
    return found


SOURCES = (
    from_csv,
    from_parquet,
    from_json,
    from_wide,
    from_reports,
    from_results,
    from_transport_file,
    from_outlines,
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__.removeprefix("from_"))
def test_every_format_gives_every_number_to_the_last_printed_digit(exported, printed, source):
    assert {quantity for _, _, quantity in printed} >= {"longest_diameter", "volume", "mean_density", "rim_density"}
    beside = {key for key, each in chosen(mini()[0].measurements).items() if each.modality != "CT"}
    assert len(beside) == 5
    # Reports and outlines hold what was measured on the outlined scan; the rest is named as left out.
    held = printed.keys() - (beside if source in (from_reports, from_outlines) else set())
    assert source(exported) == {key: printed[key] for key in held}


READ_BACK = ("csv/measurements.csv", "sdtm/tr.json", "dicom")


@pytest.mark.parametrize("place", READ_BACK)
@pytest.mark.parametrize("criterion", ["recist-1.1", "irecist", "who", "volumetric", "choi"])
def test_what_is_read_back_is_judged_alike(exported, place, criterion):
    (reading,) = readings(exported / place)
    case, _ = mini()
    judge, config = plugins.load("criteria", criterion), AssessConfig(criteria=(criterion,))
    expected = judge(case.lesions, case.visits, case.sightings, case.measurements, config)
    found = judge(reading.lesions, reading.visits, reading.sightings, reading.measurements, config)
    assert [(each.visit, each.overall, each.target, each.non_target, each.sum_mm) for each in found] == [
        (each.visit, each.overall, each.target, each.non_target, each.sum_mm) for each in expected
    ]


@pytest.mark.parametrize("place", READ_BACK)
def test_assess_answers_what_the_run_answered(exported, place):
    (reading,) = readings(exported / place)
    judged = answer(timeline(reading))
    case, _ = mini()
    expected = [each for each in case.assessments if each.criterion == "recist-1.1"]
    for found, stated in zip(judged["visits"][1:], expected[1:], strict=True):
        assert (found["overall"], found["target"], found["non_target"], found["sum_mm"], found["nadir_mm"]) == (
            stated.overall,
            stated.target,
            stated.non_target,
            stated.sum_mm,
            stated.nadir_mm,
        )
    assert judged["best_overall_response"]["unconfirmed"] == expected[-1].best_overall_response


@pytest.mark.parametrize("place", ["sdtm/tr.json", "dicom"])
def test_a_new_lesion_read_back_is_progression(tmp_path, place):
    case, values = by_hand()
    new = replace(case.lesions[0], lesion_id="N", tracking_uid="2.25.9", kind=Kind.SOFT_TISSUE, role=Role.NEW)
    mine = [each for each in case.measurements if (each.lesion_id, each.visit) == ("AX", 2)]
    seen = replace(case.sightings[5], lesion_id="N")
    assert (seen.visit, seen.outcome) == (2, Outcome.MEASURED)
    grown = replace(
        case,
        lesions=(*case.lesions, new),
        sightings=(*case.sightings, seen),
        measurements=(*case.measurements, *(replace(each, lesion_id="N") for each in mine)),
    )
    export_all(grown, values, tmp_path, Config())
    (reading,) = readings(tmp_path / place)
    judged = answer(timeline(reading))["visits"]
    assert [visit["new_lesion"] for visit in judged] == ["no", "no", "unequivocal"]
    assert judged[-1]["overall"] == "PD"


@pytest.mark.parametrize("place", ["sdtm/tr.json", "dicom"])
def test_absent_and_unseen_lesions_are_read_back_as_such(tmp_path, place):
    case, values = by_hand()
    export_all(case, values, tmp_path, Config())
    (reading,) = readings(tmp_path / place)
    outcomes = {(each.lesion_id, each.visit): each.outcome for each in reading.sightings}
    assert outcomes == {(each.lesion_id, each.visit): each.outcome for each in case.sightings}
    assert {each.lesion_id: (each.role, each.laterality) for each in reading.lesions} == {
        each.lesion_id: (each.role, each.laterality) for each in case.lesions
    }


def test_scans_on_several_days_stay_one_visit(tmp_path):
    case, values = by_hand()
    later = replace(case.visits[1].series[1], date="2023-10-20")
    visits = (case.visits[0], replace(case.visits[1], series=(case.visits[1].series[0], later)), case.visits[2])
    export_sdtm(replace(case, visits=visits), values, tmp_path, Config())
    (reading,) = readings(tmp_path / "sdtm" / "tr.json")
    assert [(visit.number, visit.date) for visit in reading.visits] == [
        (0, "2023-05-28"),
        (1, "2023-10-18"),
        (2, "2024-02-20"),
    ]


def test_a_node_is_read_back_as_one(tmp_path):
    case, values = by_hand()
    node = replace(case.lesions[1], kind=Kind.NODE, site=None)
    export_all(replace(case, lesions=(case.lesions[0], node, case.lesions[2])), values, tmp_path, Config())
    for place in READ_BACK:
        (reading,) = readings(tmp_path / place)
        assert [lesion.kind for lesion in reading.lesions if lesion.lesion_id == "AX"] == [Kind.NODE]


def test_a_readers_number_is_read_back_before_the_machines_signed_or_not(tmp_path):
    case, values = mini()
    act = Review("reader A", "2023-05-30", "adjust", 0, "", "", lesion_id="AX")
    edited = replace(
        chosen(case.measurements)["AX", 0, "longest_diameter"], value=51.5, evidence=Edited("", digest(act))
    )
    numbers = (*case.measurements, edited)
    signed = Review("reader A", "2023-05-31", "sign", 0, signature(numbers, 0), "")
    for reviews in ((act,), (act, signed)):
        export_sdtm(replace(case, measurements=numbers, reviews=reviews), values, tmp_path, Config())
        (reading,) = readings(tmp_path / "sdtm" / "tr.json")
        assert chosen(reading.measurements)["AX", 0, "longest_diameter"].value == 51.5
        assert len(reading.visits) == 3


def test_the_tidy_table_keeps_the_intervals_and_another_readers_limits(tmp_path):
    case, values = by_hand()
    bounds = {"lower95": 29.1, "upper95": 30.9, "reader_lower95": 23.37, "reader_upper95": 37.62}
    first = replace(case.measurements[0], **bounds)
    export_csv(replace(case, measurements=(first, *case.measurements[1:])), values, tmp_path)
    (reading,) = readings(tmp_path / "csv" / "measurements.csv")
    assert {name: getattr(reading.measurements[0], name) for name in bounds} == bounds
    assert [each.lower95 for each in reading.measurements] == [29.1, *(each.lower95 for each in case.measurements[1:])]


def test_a_table_of_before_there_were_readers_limits_is_still_read(tmp_path):
    case, values = by_hand()
    export_csv(case, values, tmp_path)
    place = tmp_path / "csv" / "measurements.csv"
    place.write_text("".join(line.rsplit(",", 2)[0] + "\n" for line in place.read_text().splitlines()))
    (reading,) = readings(place)
    assert len(reading.measurements) == len(case.measurements)


def test_other_files_are_no_exports_of_ours(tmp_path):
    (tmp_path / "other.csv").write_text("patient,visit,date,lesion\n")
    (tmp_path / "other.json").write_text('{"kind": "timeline"}')
    assert readings(tmp_path / "other.csv") == readings(tmp_path / "other.json") == ()


def test_a_damaged_or_another_dataset_is_refused(tmp_path, exported):
    with pytest.raises(ConfigurationError, match="TR"):
        readings(exported / "sdtm" / "rs.json")
    document = json.loads((exported / "sdtm" / "tr.json").read_text())
    document["rows"][0] = document["rows"][0][:-1]
    (tmp_path / "tr.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="E-DATASET"):
        readings(tmp_path / "tr.json")


def test_the_results_of_another_sponsor_are_judged_as_they_were(tmp_path, real_scans):
    """CDISC's example, the results of the reader it accepts: every overall response it states."""
    rows = {}
    for name in ("tu", "tr", "rs"):
        text = (real_scans / "sdtm" / f"{name}_onco_recist.csv").read_text(encoding="utf-8")
        rows[name] = [
            {key: None if value == "NA" else value for key, value in row.items()}
            for row in csv.DictReader(text.splitlines())
        ]
    for row in rows["tr"]:
        # Some dates lack the day; the middle of the month keeps the visits in order.
        row["TRDTC"] = row["TRDTC"] if len(row["TRDTC"]) == 10 else f"{row['TRDTC']}-15"
    for name in ("tu", "tr"):
        columns = [Column(key, key) for key in rows[name][0]]
        table = dataset_of(name.upper(), name, columns, (), rows[name])
        (tmp_path / f"{name}.json").write_text(dataset_json(table, "CDISCPILOT01", "2024-12-05T00:00:00"))
    stated = {
        (row["USUBJID"], int(row["VISITNUM"]) - 1): row["RSSTRESC"] for row in rows["rs"] if row["RSACPTFL"] == "Y"
    }
    judged = {
        (reading.case, seen.number): answered["overall"]
        for reading in readings(tmp_path / "tr.json")
        for seen, answered in zip(reading.visits, answer(timeline(reading))["visits"], strict=True)
    }
    assert len(stated) > 20
    assert {place: judged[place] for place in stated} == stated


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
    case, _ = by_hand(hostile=tuple(f"={text}" for text in HOSTILE))
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
    sums = [each.sum_mm for each in case.assessments if each.criterion == "recist-1.1"]
    assert [Decimal(row["measurement"]) for row in rows] == sums


def test_a_visit_pyrecist_would_misread_is_left_out_by_name():
    case, _ = by_hand()
    missed = [
        replace(each, outcome=Outcome.NOT_EVALUABLE) if (each.lesion_id, each.visit) == ("AX", 1) else each
        for each in case.sightings
    ]
    kept = tuple(each for each in case.measurements if (each.lesion_id, each.visit) != ("AX", 1))
    text, problems = pyrecist_csv(replace(case, sightings=tuple(missed), measurements=kept))
    assert [row["study_date"] for row in csv.DictReader(text.splitlines())] == ["20230528", "20240220"]
    assert [(problem.code, problem.subject) for problem in problems] == [("N-EXPORT-LEFT-OUT", "visit of 2023-10-18")]


def test_a_target_that_is_gone_measures_nothing():
    case, _ = by_hand()
    gone = [
        replace(each, outcome=Outcome.ABSENT) if (each.lesion_id, each.visit) == ("AX", 2) else each
        for each in case.sightings
    ]
    kept = tuple(each for each in case.measurements if (each.lesion_id, each.visit) != ("AX", 2))
    text, problems = pyrecist_csv(replace(case, sightings=tuple(gone), measurements=kept))
    assert problems == ()
    assert [*csv.DictReader(text.splitlines())][-1]["measurement"] == "0"


def test_many_targets_have_letters_of_their_own():
    case, _ = by_hand()
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
