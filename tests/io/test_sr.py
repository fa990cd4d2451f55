"""Lines and numbers of structured reports and presentation states, put where their readers drew them."""

from decimal import Decimal

import numpy as np
import pytest
from pydicom.dataset import Dataset

from imaging_pipeline.config import Config
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.masks import read_segment
from imaging_pipeline.io.sr import read_lines, read_measurements
from tests.io.build import ORIGIN_LPS, SERIES_UID, SPACING_MM, ct_slice, density, drop, move, save, write_series

COMPREHENSIVE_3D, PRESENTATION = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.11.1"
FRAME = "1.2.3.4.9"
PIXELS = ("PixelData", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
LONG, OLD_LONG, SHORT = ("103339001", "SCT"), ("G-A185", "SRT"), ("103340004", "SCT")
MEAN = ("373098007", "SCT")
#: Column and row as DICOM counts them, from the corner of the first pixel: here between pixel centres 10 and 30.
ACROSS, DOWN = (10.5, 20.5, 30.5, 20.5), (20.5, 15.5, 20.5, 25.5)


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value, scheme, meaning="as the test says"):
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def content(value_type, name, **values):
    return item(RelationshipType="CONTAINS", ValueType=value_type, ConceptNameCodeSequence=code(*name), **values)


def on_slice(points, slice_=2):
    image = item(
        RelationshipType="SELECTED FROM",
        ValueType="IMAGE",
        ReferencedSOPSequence=[
            item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=f"{SERIES_UID}.{slice_ + 1}")
        ],
    )
    return item(
        RelationshipType="INFERRED FROM",
        ValueType="SCOORD",
        GraphicType="POLYLINE",
        GraphicData=list(points),
        ContentSequence=[image],
    )


def in_space(points_lps, frame=FRAME):
    return item(
        RelationshipType="INFERRED FROM",
        ValueType="SCOORD3D",
        GraphicType="POLYLINE",
        GraphicData=list(np.ravel(points_lps)),
        ReferencedFrameOfReferenceUID=frame,
    )


def number(name, *places, value="16.0", unit="mm", derivation=None):
    children = list(places)
    if derivation:
        children.append(content("CODE", ("121401", "DCM"), ConceptCodeSequence=code(*derivation)))
    measured = item(NumericValue=value, MeasurementUnitsCodeSequence=code(unit, "UCUM"))
    return content("NUM", name, MeasuredValueSequence=[measured], ContentSequence=children)


def group(*items, name="L4", uid="2.25.7"):
    tracking = [
        content("TEXT", ("112039", "DCM"), TextValue=name),
        content("UIDREF", ("112040", "DCM"), UID=uid),
    ]
    return content("CONTAINER", ("125007", "DCM"), ContentSequence=[*tracking, *items])


def wrote(path, sop_class, modality, **values):
    file = ct_slice(0, density()[0])
    drop(*PIXELS)(file, 0)
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = sop_class
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    file.Modality, file.SeriesInstanceUID = modality, "1.2.3.4.7"
    for keyword, value in values.items():
        setattr(file, keyword, value)
    save(file, path)
    return path


def report(folder, *groups):
    measurements = content("CONTAINER", ("126010", "DCM"), ContentSequence=list(groups))
    root = {"ValueType": "CONTAINER", "ConceptNameCodeSequence": code("126000", "DCM")}
    return wrote(folder / "report", COMPREHENSIVE_3D, "SR", ContentSequence=[measurements], **root)


def presentation(folder, *drawn, slice_=2):
    image = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=f"{SERIES_UID}.{slice_ + 1}")
    annotation = item(ReferencedImageSequence=[image], GraphicLayer="LINES", GraphicObjectSequence=list(drawn))
    return wrote(folder / "state", PRESENTATION, "PR", GraphicAnnotationSequence=[annotation])


def polyline(points, units="PIXEL", **tracking):
    return item(
        GraphicAnnotationUnits=units,
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(points) // 2,
        GraphicData=list(points),
        GraphicType="POLYLINE",
        **tracking,
    )


@pytest.fixture
def scans(tmp_path):
    write_series(tmp_path / "ct")
    return tmp_path


def record_of(folder):
    (record,) = [record for patient in index(folder / "ct", Config()).patients for record in patient.series]
    return record


def at(slice_, row, column):
    """The centre of a pixel, by hand."""
    left, posterior, superior = ORIGIN_LPS
    slice_mm, row_mm, column_mm = SPACING_MM
    return left + column * column_mm, posterior + row * row_mm, superior + slice_ * slice_mm


def refusal_of(path, record):
    with pytest.raises(RefusedError) as refusal:
        read_lines(path, record)
    return refusal.value.problem.code


# ---- Lines


@pytest.mark.parametrize("long", [LONG, OLD_LONG], ids=["SNOMED CT", "SNOMED RT"])
def test_a_line_on_an_image_lies_between_the_pixels_it_names(long, scans):
    path = report(scans, group(number(SHORT, on_slice(DOWN)), number(long, on_slice(ACROSS))))
    (found,) = read_lines(path, record_of(scans))
    assert (found.tracking_uid, found.tracking_identifier) == ("2.25.7", "L4")
    assert np.allclose(found.line.long_axis_lps, [at(2, 20, 10), at(2, 20, 30)], atol=1e-6)
    assert np.allclose(found.line.short_axis_lps, [at(2, 15, 20), at(2, 25, 20)], atol=1e-6)


def test_a_line_in_space_is_taken_as_it_is(scans):
    ends = [at(3, 5, 6), at(3, 25, 26)]
    (found,) = read_lines(report(scans, group(number(LONG, in_space(ends)))), record_of(scans))
    assert np.allclose(found.line.long_axis_lps, ends, atol=1e-5)
    assert found.line.short_axis_lps is None


def test_each_group_is_a_lesion_of_its_own(scans):
    groups = [group(number(LONG, on_slice(ACROSS, n)), name=f"T{n}", uid=f"2.25.{n + 1}") for n in range(3)]
    found = read_lines(report(scans, *groups), record_of(scans))
    assert [line.tracking_identifier for line in found] == ["T0", "T1", "T2"]
    assert [line.line.long_axis_lps[0][2] for line in found] == pytest.approx([at(n, 0, 0)[2] for n in range(3)])


@pytest.mark.parametrize(
    "place",
    [
        on_slice(ACROSS, slice_=90),
        in_space([at(3, 5, 6), at(3, 25, 26)], frame="1.2.3.4.8"),
        in_space([at(300, 5, 6), at(300, 25, 26)]),
        on_slice((1, 1, 9, 1, 9, 9, 1, 1)),
    ],
    ids=["another series", "another frame of reference", "beyond the slices", "an outline"],
)
def test_what_is_no_line_of_this_series_is_left_out(place, scans):
    assert read_lines(report(scans, group(number(LONG, place))), record_of(scans)) == ()


def test_a_line_that_leaves_its_image_is_refused(scans):
    path = report(scans, group(number(LONG, on_slice((10.5, 20.5, 300.5, 20.5)))))
    assert refusal_of(path, record_of(scans)) == "E-LINE-PLACE"


def test_a_line_on_a_slice_that_was_straightened_is_refused(tmp_path):
    write_series(tmp_path / "ct", lambda slice_, number: move(posterior=0.3 * number)(slice_, number))
    path = report(tmp_path, group(number(LONG, on_slice(ACROSS))))
    assert refusal_of(path, record_of(tmp_path)) == "E-LINE-PLACE"


def test_three_lines_of_one_lesion_are_refused(scans):
    lines = [number(LONG, on_slice(ACROSS, n)) for n in range(3)]
    assert refusal_of(report(scans, group(*lines)), record_of(scans)) == "E-LINE-AMBIGUOUS"


def test_a_line_without_its_image_is_refused(scans):
    lost = on_slice(ACROSS)
    del lost.ContentSequence
    assert refusal_of(report(scans, group(number(LONG, lost))), record_of(scans)) == "E-LINE-DAMAGED"


def test_an_image_is_no_report(scans):
    assert refusal_of(next((scans / "ct").iterdir()), record_of(scans)) == "E-LINE-KIND"


def test_lines_of_a_presentation_state_are_found(scans):
    path = presentation(scans, polyline(ACROSS), polyline(DOWN), polyline(ACROSS, units="DISPLAY"))
    found = read_lines(path, record_of(scans))
    assert [line.tracking_uid for line in found] == ["", ""]
    assert np.allclose(found[0].line.long_axis_lps, [at(2, 20, 10), at(2, 20, 30)], atol=1e-6)


def test_two_lines_of_one_tracked_lesion_are_its_axes(scans):
    tracking = {"TrackingID": "L4", "TrackingUID": "2.25.7"}
    path = presentation(scans, polyline(DOWN, **tracking), polyline(ACROSS, **tracking))
    (found,) = read_lines(path, record_of(scans))
    assert (found.tracking_uid, found.tracking_identifier) == ("2.25.7", "L4")
    assert np.allclose(found.line.long_axis_lps, [at(2, 20, 10), at(2, 20, 30)], atol=1e-6)
    assert np.allclose(found.line.short_axis_lps, [at(2, 15, 20), at(2, 25, 20)], atol=1e-6)


# ---- Numbers


def test_numbers_are_read_exactly_in_the_unit_of_the_catalogue(scans):
    density_code = ("112031", "DCM")
    path = report(
        scans,
        group(
            number(LONG, value="3.40", unit="cm"),
            number(SHORT, value="22.5"),
            number(density_code, value="-12.5", unit="[hnsf'U]", derivation=MEAN),
            number(("126401", "DCM"), value="6.0", unit="g/ml"),
            number(LONG, value="1.3", unit="[in_i]"),
        ),
    )
    found = {stated.quantity: stated.value for stated in read_measurements(path)}
    assert found == {"longest_diameter": 34, "short_axis": Decimal("22.5"), "mean_density": Decimal("-12.5")}


def test_a_real_report_states_the_volume_its_segment_holds(real_scans):
    folder = real_scans / "dcmqi" / "sr-example"
    (stated,) = read_measurements(folder / "sr.dcm")
    assert (stated.tracking_identifier, stated.quantity) == ("primary tumor", "volume")
    assert stated.value == Decimal("33582.4")  # mm3
    assert float(stated.value) / 1000 == pytest.approx(read_segment(folder / "seg.dcm").volume_ml, abs=5e-5)


def test_a_presentation_state_states_no_numbers(scans):
    with pytest.raises(RefusedError):
        read_measurements(presentation(scans, polyline(ACROSS)))
