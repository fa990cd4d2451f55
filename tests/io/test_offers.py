"""What the index offers of objects among the scans: labels a prompt finds them by, and numbers they state."""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config
from imaging_pipeline.io.folder import index, index_document
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.offers import offers_among
from imaging_pipeline.io.seg import segmentations
from imaging_pipeline.io.structured_report import structured_report
from tests.io.build import SERIES_UID, save, write_series
from tests.io.exported import real
from tests.io.test_masks import squares, structure_set
from tests.io.test_sr import ACROSS, LONG, SHORT, group, number, on_slice, polyline, presentation, report


@pytest.fixture
def scans(tmp_path):
    write_series(tmp_path / "scans" / "ct")
    return tmp_path / "scans"


def filed_with(image, path):
    """The object under the name of the image's patient, as an archive files it."""
    document, patient = pydicom.dcmread(path), pydicom.dcmread(image)
    document.PatientID, document.PatientName = patient.PatientID, patient.PatientName
    document.save_as(path)


def told(scans):
    """The series with objects as `index --json` prints them, by modality."""
    outcome = CliRunner().invoke(cli, ["index", str(scans), "--json"])
    assert outcome.exit_code == 0, outcome.output
    return {
        series["modality"]: series
        for patient in json.loads(outcome.stdout)["patients"]
        for visit in patient["visits"]
        for series in visit["series"]
    }


def brief(offers):
    return [(offer["from"], offer["label"], offer["series_uid"]) for offer in offers]


def rois(scans, *names, contours=None):
    path = structure_set(scans / "rs.dcm", squares() if contours is None else contours, name="")
    document = pydicom.dcmread(path)
    document.StudyDate, document.SpecificCharacterSet = "20240102", "ISO_IR 192"
    document.StructureSetROISequence[0].ROIName = names[0]
    for place, name in enumerate(names[1:], start=8):
        again = pydicom.Dataset()
        again.ROINumber, again.ROIName, again.ReferencedFrameOfReferenceUID = place, name, "1.2.3.4.9"
        drawn = pydicom.Dataset()
        drawn.ReferencedROINumber = place
        drawn.ContourSequence = document.ROIContourSequence[0].ContourSequence
        document.StructureSetROISequence.append(again)
        document.ROIContourSequence.append(drawn)
    document.save_as(path)
    return path


# ---- What is drawn


def test_the_rois_of_a_structure_set_are_offered_by_name(scans):
    rois(scans, "GTV", "liver")
    assert brief(told(scans)["RTSTRUCT"]["offers"]) == [("rtstruct", "GTV", ""), ("rtstruct", "liver", "")]


def test_an_roi_whose_name_is_shared_is_offered_by_its_number(scans):
    rois(scans, "GTV", "GTV", "liver")
    assert [offer["label"] for offer in told(scans)["RTSTRUCT"]["offers"]] == ["7", "8", "liver"]


def test_an_roi_without_contours_is_not_offered(scans):
    rois(scans, "GTV", contours=[])
    assert told(scans)["RTSTRUCT"]["offers"] == []


def test_the_lines_of_a_report_are_offered_with_the_numbers_it_states(scans):
    report(scans, group(number(LONG, on_slice(ACROSS), value="3.40", unit="cm")), group(number(SHORT), name="N1"))
    drawn, stated = told(scans)["SR"]["offers"]
    assert drawn == {
        "from": "sr",
        "label": "L4",
        "series_uid": SERIES_UID,
        "reported": [{"quantity": "longest_diameter", "value": 34.0, "unit": "mm"}],
    }
    assert (stated["from"], stated["label"], stated["series_uid"]) == ("", "N1", "")
    assert stated["reported"] == [{"quantity": "short_axis", "value": 16.0, "unit": "mm"}]


def test_a_lesion_without_a_name_is_offered_by_its_uid(scans):
    report(scans, group(number(LONG, on_slice(ACROSS)), name=""))
    assert brief(told(scans)["SR"]["offers"]) == [("sr", "2.25.7", SERIES_UID)]


def test_the_lines_of_a_presentation_state_are_offered(scans):
    presentation(scans, polyline(ACROSS, TrackingID="L4", TrackingUID="2.25.7"))
    assert brief(told(scans)["PR"]["offers"]) == [("gsps", "L4", SERIES_UID)]


def test_images_offer_nothing(scans):
    assert told(scans)["CT"]["offers"] == []


def test_a_line_that_cannot_be_placed_costs_no_number(scans):
    report(scans, group(number(LONG, on_slice((10.5, 20.5, 300.5, 20.5)))))
    found = told(scans)["SR"]
    assert brief(found["offers"]) == [("", "L4", "")]
    assert [each["value"] for each in found["offers"][0]["reported"]] == [16.0]
    assert [problem["code"] for problem in found["issues"]] == ["E-LINE-PLACE"]


# ---- Real objects


def test_what_is_offered_of_real_objects_is_found_by_that_label(real_scans, tmp_path):
    for folder in ("dcmqi", "sts_dicom/STS_008/CT", "sts_dicom/STS_042/MR_T1"):
        found = index(real_scans / folder, Config())
        offered = offers_among(found)
        records = {each.series.series_instance_uid: each for patient in found.patients for each in patient.series}
        tried = 0
        for uid, each in offered.items():
            assert each.problems == ()
            for offer in each.offers:
                if offer.series_uid in records:
                    grid = records[offer.series_uid].series.grid
                    (path,) = map(Path, records[uid].paths)
                    assert read_mask_on(path, grid, offer.label).array.any()
                    tried += 1
        assert tried


def test_the_objects_of_dcmqi_are_offered(real_scans):
    found = offers_among(index(real_scans / "dcmqi", Config()))
    offers = [offer for each in found.values() for offer in each.offers]
    labels = sorted(offer.label for offer in offers if offer.source == "seg")
    assert labels == ["DARK_BLUE", "GREEN", "LIGHT_BLUE", "Liver", "Neoplasm, Primary", "ORANGE", "PURPLE"]
    (tumour,) = [offer for offer in offers if offer.stated]
    assert (tumour.source, tumour.label) == ("", "primary tumor")
    assert [(each.quantity, each.value) for each in tumour.stated] == [("volume", Decimal("33582.4"))]


def test_what_this_package_exports_is_offered(real_scans, tmp_path):
    case, values = real(real_scans, "sarcoma STS_008, CT")
    image = real_scans / "sts_dicom/STS_008/CT/image"
    shutil.copytree(image, tmp_path / "ct")
    drawn, _ = segmentations(case, values, case.visits[0])
    objects = {"seg": drawn[0].file, "sr": structured_report(case, values, case.visits[0], drawn)}
    for name, written in objects.items():
        (tmp_path / name).write_bytes(written.content)
        filed_with(next((tmp_path / "ct").iterdir()), tmp_path / name)
    series_uid = case.visits[0].series[0].series_instance_uid
    found = told(tmp_path)
    assert brief(found["SEG"]["offers"]) == [("seg", "M1", series_uid)]
    assert brief(found["SR"]["offers"]) == [("sr", "M1", series_uid)]
    reported = {each["quantity"]: each["value"] for each in found["SR"]["offers"][0]["reported"]}
    longest = next(each for each in case.measurements if each.quantity == "longest_diameter")
    assert reported["longest_diameter"] == pytest.approx(float(longest.value))


def test_the_table_shows_the_first_numbers_and_how_many_more(scans):
    density = ("112031", "DCM")
    numbers = [number(LONG, on_slice(ACROSS)), number(SHORT), number(("118565006", "SCT"), unit="mm3")]
    hounsfield = number(density, unit="[hnsf'U]", derivation=("373098007", "SCT"))
    report(scans, group(*numbers, hounsfield))
    line = CliRunner().invoke(cli, ["index", str(scans)]).stdout.splitlines()[-1]
    assert "sr    L4" in line
    assert line.rstrip().endswith("longest_diameter 16.0 mm, short_axis 16.0 mm, volume 16.0 mm3, 1 more with --json")


# ---- What is damaged or hostile


@pytest.mark.parametrize("torn", ["ROIContourSequence", "StructureSetROISequence"])
def test_a_damaged_object_offers_nothing_and_says_so(torn, scans):
    path = rois(scans, "GTV")
    document = pydicom.dcmread(path)
    delattr(document, torn)
    document.save_as(path)
    found = told(scans)["RTSTRUCT"]
    assert (found["offers"], found["verdict"]) == ([], "reject")
    assert [(problem["code"], problem["subject"]) for problem in found["issues"]] == [("E-MASK-DAMAGED", "rs.dcm")]


def test_a_damaged_report_offers_nothing_and_says_so(scans):
    lost = on_slice(ACROSS)
    del lost.ContentSequence
    report(scans, group(number(LONG, lost)))
    found = told(scans)["SR"]
    assert found["offers"] == []
    assert [problem["code"] for problem in found["issues"]] == ["E-LINE-DAMAGED"]


def test_a_report_on_something_else_is_no_problem(scans):
    path = report(scans, group(number(LONG)))
    document = pydicom.dcmread(path)
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    save(document, path)
    found = told(scans)["SR"]
    assert (found["offers"], found["issues"]) == ([], [])


def test_a_label_cannot_write_on_the_terminal(scans):
    rois(scans, "[red]GTV\u202e", "liver")
    outcome = CliRunner().invoke(cli, ["index", str(scans)], color=True)
    assert "[red]GTV\\u202e" in outcome.stdout
    assert "\u202e" not in outcome.stdout
    assert "liver" in outcome.stdout


def test_an_index_without_the_command_opens_no_object(scans):
    rois(scans, "GTV")
    document = index_document(index(scans, Config()))
    assert "GTV" not in str(document)


# ---- Nothing at all


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_folder_without_a_series_is_told_by_the_exit_code(options, tmp_path):
    (tmp_path / "notes.txt").write_text("words" * 50)
    outcome = CliRunner().invoke(cli, ["index", str(tmp_path), *options])
    assert outcome.exit_code == 3
    assert "E-NOTHING" in outcome.stderr
    if options:
        assert [each["path"] for each in json.loads(outcome.stdout)["rejected_files"]] == ["notes.txt"]
