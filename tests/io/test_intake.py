"""Prompts out of the scan folder, and visits whose series cannot all be used."""

import numpy as np
import pydicom
import pytest

from imaging_pipeline.config import Config, LesionEntry, PatientLesions
from imaging_pipeline.domain.prompts import Line, Outline, Outside, Point
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.intake import take_in
from tests.io.build import drop, put, write_series
from tests.io.test_folder import RULES, series
from tests.io.test_masks import BALL, segmentation, squares, structure_set
from tests.io.test_sr import ACROSS, DOWN, LONG, SHORT, at, group, number, on_slice, polyline, presentation, report


@pytest.fixture
def scans(tmp_path):
    write_series(tmp_path / "ct")
    return tmp_path


def taken(folder, *prompts, **settings):
    (patient,) = index(folder, Config(**settings)).patients
    entry = LesionEntry.model_validate({"id": "L4", "kind": "bone", "prompts": list(prompts)})
    return take_in(patient, PatientLesions(lesions=(entry,)), folder, Config(**settings))


def only_mark(intake):
    ((placed,),) = intake.marks.values()
    (mark,) = placed.marks
    return mark


def ends_of(points_lps):
    return tuple(pytest.approx(point, abs=1e-6) for point in points_lps)


def test_a_line_of_a_report_marks_the_lesion_it_tracks(scans):
    others = group(number(LONG, on_slice(DOWN, 5)), name="T4", uid="2.25.8")
    report(scans, group(number(LONG, on_slice(ACROSS)), number(SHORT, on_slice(DOWN))), others)
    mark = only_mark(taken(scans, {"from": "sr"}))
    assert isinstance(mark, Line)
    assert mark.long_axis_lps == ends_of([at(2, 20, 10), at(2, 20, 30)])


def test_a_report_may_call_the_lesion_something_else(scans):
    report(scans, group(number(LONG, on_slice(ACROSS)), name="lesion 1", uid="2.25.9"))
    for label in ("lesion 1", "2.25.9"):
        assert only_mark(taken(scans, {"from": "sr", "label": label}))
    with pytest.raises(ConfigurationError, match="E-PROMPT-DRAWN"):
        taken(scans, {"from": "sr"})


def test_the_only_line_of_a_presentation_state_needs_no_name(scans):
    presentation(scans, polyline(ACROSS))
    assert only_mark(taken(scans, {"from": "gsps"})).long_axis_lps == ends_of([at(2, 20, 10), at(2, 20, 30)])


def test_two_nameless_lines_are_a_question(scans):
    presentation(scans, polyline(ACROSS), polyline(DOWN))
    with pytest.raises(ConfigurationError, match=r"E-PROMPT-DRAWN.*0 marks"):
        taken(scans, {"from": "gsps"})


def test_a_structure_set_in_the_scans_outlines_the_lesion_of_its_name(tmp_path):
    slices = write_series(tmp_path / "ct")
    path = structure_set(tmp_path / "rs.dcm", squares(), name="L4")
    drawn, scanned = pydicom.dcmread(path), pydicom.dcmread(slices[0])
    drawn.PatientID, drawn.PatientName = scanned.PatientID, scanned.PatientName
    drawn.StudyInstanceUID, drawn.StudyDate = scanned.StudyInstanceUID, scanned.StudyDate
    drawn.save_as(path)
    mark = only_mark(taken(tmp_path, {"from": "rtstruct"}))
    assert isinstance(mark, Outline)
    assert mark.mask.array.sum() == 300


def test_a_segment_in_the_scans_outlines_the_lesion_it_is_named_for(tmp_path):
    segmentation(tmp_path, BALL.astype(np.uint8))
    assert np.array_equal(only_mark(taken(tmp_path, {"from": "seg", "label": "lesion 1"})).mask.array, BALL)
    with pytest.raises(ConfigurationError, match=r"E-PROMPT-DRAWN.*0 marks of 'L4' in SEG"):
        taken(tmp_path, {"from": "seg"})


def test_an_outline_has_no_other_mark_beside_it(tmp_path):
    segmentation(tmp_path, BALL.astype(np.uint8))
    with pytest.raises(ConfigurationError, match=r"E-PROMPT-FORM lesion L4 at .*an outline and another mark"):
        taken(tmp_path, {"from": "seg", "label": "lesion 1"}, {"point": [0, 0, 40]})


def test_a_prompt_is_one_thing(scans):
    with pytest.raises(ConfigurationError, match="E-PROMPT-FORM"):
        taken(scans, {"from": "sr", "point": [0, 0, 40]})


def test_a_click_on_what_is_not_the_lesion_goes_with_a_click_in_it(scans):
    where = [{"slice": 2, "row": 20, "column": column} for column in (10, 30)]
    ((placed,),) = taken(scans, {"point": where[0]}, {"outside": where[1]}).marks.values()
    assert [type(mark) for mark in placed.marks] == [Point, Outside]
    assert ends_of(mark.point_lps for mark in placed.marks) == (at(2, 20, 10), at(2, 20, 30))


def test_a_click_in_a_healthy_vertebra_is_no_mark_of_the_lesion(scans):
    where = [{"slice": 2, "row": 20, "column": column} for column in (10, 30)]
    ((placed,),) = taken(scans, {"point": where[0]}, {"reference": where[1]}).marks.values()
    assert [type(mark) for mark in placed.marks] == [Point]
    assert placed.reference_lps == pytest.approx(at(2, 20, 30), abs=1e-6)


def test_a_reference_stands_beside_an_outline_too(tmp_path):
    segmentation(tmp_path, BALL.astype(np.uint8))
    ((placed,),) = taken(tmp_path, {"from": "seg", "label": "lesion 1"}, {"reference": [0, 0, 40]}).marks.values()
    assert [type(mark) for mark in placed.marks] == [Outline]
    assert placed.reference_lps == (0, 0, 40)


def test_one_reference_a_visit(scans):
    with pytest.raises(ConfigurationError, match=r"E-PROMPT-REFERENCE .*several references"):
        taken(scans, {"point": [0, 0, 40]}, {"reference": [0, 0, 41]}, {"reference": [0, 0, 42]})


def test_a_reference_alone_marks_no_lesion(scans):
    with pytest.raises(ConfigurationError, match=r"E-PROMPT-SERIES .*no mark of it"):
        taken(scans, {"reference": [0, 0, 41]})


def codes(intake):
    return [problem.code for problem in intake.problems]


def test_a_visit_whose_series_are_all_refused_says_that_it_gives_no_number(tmp_path):
    later = dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20231018")
    write_series(tmp_path / "a", series("1.1"))
    write_series(tmp_path / "b", series("1.2", **later), drop("PixelSpacing"))
    intake = taken(tmp_path, series_roles=RULES)
    assert [len(visit.series) for visit in intake.visits] == [1, 0]
    assert codes(intake) == ["E-GEOM-SPACING", "W-VISIT-REFUSED"]


def test_two_series_of_one_role_at_a_visit_are_noted(tmp_path):
    write_series(tmp_path / "a", series("1.1"))
    write_series(tmp_path / "b", series("1.2"), put(ConvolutionKernel="B70"))
    assert codes(taken(tmp_path, series_roles=RULES)) == ["N-VISIT-SEVERAL"]
