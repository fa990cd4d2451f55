"""The measurement report: what viewers expect of its tree, read here without the writer's help, and equal numbers."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from imaging_pipeline.domain.case import Drawn, Outcome
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.dicom import SeriesRecord
from imaging_pipeline.io.seg import segmentations
from imaging_pipeline.io.sr import read_lines, read_measurements
from imaging_pipeline.io.structured_report import LINES, UNITS, structured_report
from imaging_pipeline.io.tables import chosen, number
from tests.io.cases import HOSTILE
from tests.io.exported import REAL, by_hand, framed, mini, real


def written(tmp_path, case, values, visit=0):
    """The report of a visit as a file."""
    path = tmp_path / f"{case.case}_{visit}.dcm"
    visit = case.visits[visit]
    path.write_bytes(structured_report(case, values, visit, segmentations(case, values, visit)[0]).content)
    return path


def measured(case, visit=0):
    """Lesion and quantity of the outlined scan to the text every table prints."""
    return {
        (lesion_id, quantity): number(measurement.value, quantity)
        for (lesion_id, seen, quantity), measurement in chosen(case.measurements).items()
        if seen == visit and measurement.modality == "CT"
    }


# ---- The tree, read as a viewer reads it


def concept(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""


def find(items, value):
    return [item for item in items if concept(item) == value]


def groups_of(dataset):
    assert concept(dataset) == "126000"
    (measurements,) = find(dataset.ContentSequence, "126010")
    return find(measurements.ContentSequence, "125007")


def as_a_viewer_draws(group):
    """Tracking UID, identifier, labels and lines of a group, by the steps of OHIF's measurement report reader."""
    content = list(group.ContentSequence)
    # A group with a bare coordinate would be taken for one of TID 1410 with a single shape.
    assert not any(item.ValueType in ("SCOORD", "SCOORD3D") for item in content)
    first_uid = next(item for item in content if item.ValueType == "UIDREF")
    (identifier,) = find(content, "112039")
    labels, lines = {}, {}
    for item in content:
        if item.ValueType != "NUM":
            continue
        # The first child decides; a number without children stops the reader.
        first_child = item.ContentSequence[0]
        meaning = item.ConceptNameCodeSequence[0].CodeMeaning
        value = item.MeasuredValueSequence[0]
        labels[meaning] = (float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue)
        if first_child.ValueType in ("SCOORD", "SCOORD3D"):
            assert len(item.ContentSequence) == 1
            lines[meaning] = first_child
    return first_uid.UID, identifier.TextValue, labels, lines


def test_a_viewer_finds_each_lesion_with_its_two_axes(tmp_path):
    case, values = mini()
    lesions = {lesion.lesion_id: lesion for lesion in case.lesions}
    drawn = [as_a_viewer_draws(group) for group in groups_of(pydicom.dcmread(written(tmp_path, case, values)))]
    assert {(uid, name) for uid, name, *_ in drawn} == {
        (each.tracking_uid, each.lesion_id) for each in lesions.values()
    }
    for _, name, labels, lines in drawn:
        assert labels["Long Axis"] == (float(measured(case)[name, "longest_diameter"]), "mm")
        assert labels["Short Axis"] == (float(measured(case)[name, "short_axis"]), "mm")
        assert set(lines) == {"Long Axis", "Short Axis"}
        for line in lines.values():
            assert (line.ValueType, line.GraphicType, line.RelationshipType) == ("SCOORD", "POLYLINE", "INFERRED FROM")
            (image,) = line.ContentSequence
            assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")


def test_a_line_lies_on_its_image_where_it_was_measured(tmp_path):
    case, values = mini()
    series = {each.series_instance_uid: each for each in case.visits[0].series}
    slices = {
        instance.sop_instance_uid: (each, place)
        for each in series.values()
        for place, instance in enumerate(each.instances)
    }
    named = {"Long Axis": "longest_diameter", "Short Axis": "short_axis"}
    for group in groups_of(pydicom.dcmread(written(tmp_path, case, values))):
        _, name, _, lines = as_a_viewer_draws(group)
        for meaning, line in lines.items():
            image = line.ContentSequence[0].ReferencedSOPSequence[0]
            source, place = slices[image.ReferencedSOPInstanceUID]
            points = np.array(line.GraphicData).reshape(2, 2) - 0.5
            ends = source.grid.to_lps(np.column_stack([[place, place], points[:, 1], points[:, 0]]))
            evidence = chosen(case.measurements)[name, 0, named[meaning]].evidence
            assert np.allclose(ends, evidence.points_lps, atol=1e-3)


def test_every_image_drawn_on_is_in_the_library_and_the_evidence(tmp_path):
    case, values = mini()
    dataset = pydicom.dcmread(written(tmp_path, case, values))
    (library,) = find(dataset.ContentSequence, "111028")
    listed = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in library.ContentSequence[0].ContentSequence
    }
    evidence = {
        reference.ReferencedSOPInstanceUID
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    for group in groups_of(dataset):
        *_, lines = as_a_viewer_draws(group)
        drawn_on = {
            line.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for line in lines.values()
        }
        (segment,) = find(group.ContentSequence, "121191")
        assert drawn_on <= listed <= evidence
        assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID in evidence


def test_the_frame_of_a_multi_frame_image_is_named(tmp_path, real_scans):
    case, values = framed(real_scans)
    (group,) = groups_of(pydicom.dcmread(written(tmp_path, case, values)))
    *_, lines = as_a_viewer_draws(group)
    evidence = chosen(case.measurements)["M1", 0, "longest_diameter"].evidence
    place = round(float(case.visits[0].series[0].grid.to_index(evidence.points_lps[0])[0]))
    image = lines["Long Axis"].ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedFrameNumber == case.visits[0].series[0].frames[place]


def test_a_line_on_interpolated_slices_is_given_in_space(tmp_path):
    case, values = by_hand()
    moved = replace(case, problems=(Problem("W-GEOM-UNEVEN", case.sightings[0].series_uid, "uneven slices", "", ""),))
    group = groups_of(pydicom.dcmread(written(tmp_path, moved, values)))[0]
    *_, lines = as_a_viewer_draws(group)
    evidence = chosen(case.measurements)["L4", 0, "longest_diameter"].evidence
    assert lines["Long Axis"].ValueType == "SCOORD3D"
    assert np.allclose(np.array(lines["Long Axis"].GraphicData).reshape(2, 3), evidence.points_lps, atol=1e-3)


def test_a_line_beyond_the_slices_is_given_in_space(tmp_path):
    case, values = by_hand()

    def raised(item):
        if (item.lesion_id, item.quantity) != ("L4", "longest_diameter") or item.evidence.kind == "reported":
            return item
        ends = tuple((x, y, z + 1000.0) for x, y, z in item.evidence.points_lps)
        return replace(item, evidence=replace(item.evidence, points_lps=ends))

    beyond = replace(case, measurements=tuple(map(raised, case.measurements)))
    group = groups_of(pydicom.dcmread(written(tmp_path, beyond, values)))[0]
    *_, lines = as_a_viewer_draws(group)
    assert lines["Long Axis"].ValueType == "SCOORD3D"


# ---- The numbers


@pytest.mark.parametrize("visit", [0, 1, 2])
def test_every_number_is_read_back_as_it_is_printed(tmp_path, visit):
    case, values = mini()
    stated = read_measurements(written(tmp_path, case, values, visit))
    found = {(each.tracking_identifier, each.quantity): str(each.value) for each in stated}
    assert found == measured(case, visit)
    assert len(found) > 90


def test_our_reader_finds_our_lines(tmp_path):
    case, values = mini()
    path = written(tmp_path, case, values)
    found = {}
    for series in case.visits[0].series:
        for line in read_lines(path, SeriesRecord(series, ())):
            found[line.tracking_identifier] = line.line
    for lesion in case.lesions:
        evidence = chosen(case.measurements)[lesion.lesion_id, 0, "longest_diameter"].evidence
        assert np.allclose(found[lesion.lesion_id].long_axis_lps, evidence.points_lps, atol=1e-3)


def test_every_quantity_of_the_catalogue_has_a_code_of_its_own():
    codes = {
        (quantity.code.value, quantity.code.scheme, quantity.derivation and quantity.derivation.value)
        for quantity in CATALOGUE.values()
    }
    assert len(codes) == len(CATALOGUE)
    assert all(len(quantity.code.value) <= 16 and len(quantity.code.meaning) <= 64 for quantity in CATALOGUE.values())
    assert {quantity.unit for quantity in CATALOGUE.values()} <= set(UNITS)
    assert all(CATALOGUE[name].unit == "mm" for name in LINES)


# ---- The context


def test_highdicom_reads_the_template(tmp_path):
    case, values = mini()
    dataset = highdicom.sr.srread(written(tmp_path, case, values, 1))
    groups = dataset.content.get_volumetric_roi_measurement_groups()
    lesions = {lesion.tracking_uid: lesion for lesion in case.lesions}
    assert {group.tracking_uid for group in groups} == set(lesions)
    for group in groups:
        lesion = lesions[group.tracking_uid]
        assert group.tracking_identifier == lesion.lesion_id
        assert group.finding_type.value == {"bone": "52988006", "soft_tissue": "4147007"}[lesion.kind]
        (site,) = group.finding_sites
        assert site.value.value == lesion.site.value
        assert (site.laterality.meaning if site.laterality else "").lower() == lesion.laterality
        assert group.reference_type.value == "121191"
        numbers = group.get_measurements(name=highdicom.sr.CodedConcept("118565006", "SCT", "Volume"))
        assert [str(each.value) for each in numbers] == [measured(case, 1)[lesion.lesion_id, "volume"]]


def test_the_time_point_is_told(tmp_path):
    case, values = mini()
    for visit, (kind, days) in enumerate([("C1442488", "0"), ("126074", "143"), ("126074", "268")]):
        for group in groups_of(pydicom.dcmread(written(tmp_path, case, values, visit))):
            (label,) = find(group.ContentSequence, "C2348792")
            (told,) = find(group.ContentSequence, "126072")
            (offset,) = find(group.ContentSequence, "128740")
            (order,) = find(group.ContentSequence, "126073")
            assert int(order.MeasuredValueSequence[0].NumericValue) == visit
            assert label.TextValue == case.visits[visit].label
            assert told.ConceptCodeSequence[0].CodeValue == kind
            assert str(offset.MeasuredValueSequence[0].NumericValue) == days


def test_the_response_is_told_by_criterion(tmp_path):
    case, values = mini()
    dataset = pydicom.dcmread(written(tmp_path, case, values, 1))
    (answers,) = find(dataset.ContentSequence, "C0034375")
    told = {
        (concept(item), item.ContentSequence[0].ConceptCodeSequence[0].CodeValue): item.ConceptCodeSequence[0].CodeValue
        for item in answers.ContentSequence
    }
    judged = {each.criterion: each for each in case.assessments if each.visit == 1}
    assert judged["recist-1.1"].overall == "SD"
    assert told["112048", "126081"] == "C18213"
    assert told["TRGRESP", "126081"] == "112044"
    assert told["NTRGRESP", "126081"] == "112046"
    assert ("112048", "MDABONE") in told


def test_a_lesion_that_was_not_measured_says_why(tmp_path):
    case, values = by_hand()
    states = {}
    for visit in range(3):
        for group in groups_of(pydicom.dcmread(written(tmp_path, case, values, visit))):
            for item in find(group.ContentSequence, "TUMSTATE"):
                states[visit, find(group.ContentSequence, "112039")[0].TextValue] = item.ConceptCodeSequence[
                    0
                ].CodeMeaning
    assert states == {(0, "R1"): "Not Imaged", (1, "R1"): "Absent", (2, "R1"): "Not Evaluable"}
    assert [sighting.outcome for sighting in case.sightings if sighting.lesion_id == "R1"] == [
        Outcome.NOT_IMAGED,
        Outcome.ABSENT,
        Outcome.NOT_EVALUABLE,
    ]


def test_own_codes_are_declared(tmp_path):
    case, values = mini()
    dataset = pydicom.dcmread(written(tmp_path, case, values))
    (scheme,) = dataset.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == CATALOGUE["calcium_score"].code.scheme


def test_validators_find_no_error(tmp_path, program, real_scans):
    everything = [
        mini(),
        framed(real_scans),
        *(real(real_scans, name) for name in REAL),
        by_hand(hostile=HOSTILE),
    ]
    for number_, (case, values) in enumerate(everything):
        (tmp_path / str(number_)).mkdir()
        for visit in range(len(case.visits)):
            path = written(tmp_path / str(number_), case, values, visit)
            assert "Error" not in program("dciodvfy", path).stderr
            shown = program("dsrdump", path)
            assert shown.returncode == 0
            assert "E: " not in shown.stderr
            assert program("dcmdump", path).returncode == 0


def test_equal_cases_give_equal_bytes(tmp_path):
    case, values = by_hand()
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir()
    again.mkdir()
    assert written(first, case, values).read_bytes() == written(again, *by_hand()).read_bytes()


def test_a_readers_own_line_is_drawn_where_no_outline_is(tmp_path):
    case, _ = by_hand()
    old = chosen(case.measurements)["AX", 0, "longest_diameter"]
    own = replace(old, evidence=Drawn(old.evidence.points_lps))
    drawn = replace(case, measurements=tuple(own if each is old else each for each in case.measurements))
    group = groups_of(pydicom.dcmread(written(tmp_path, drawn, {})))[1]
    _, name, labels, lines = as_a_viewer_draws(group)
    assert (name, labels["Long Axis"]) == ("AX", (52.0, "mm"))
    assert set(lines) == {"Long Axis", "Short Axis"}
    assert find(group.ContentSequence, "121191") == []


def test_an_image_without_a_place_keeps_its_numbers_and_loses_its_lines(tmp_path):
    case, values = by_hand()
    nowhere = tuple(replace(series, grid=None) for series in case.visits[0].series)
    unplaced = replace(case, visits=(replace(case.visits[0], series=nowhere), *case.visits[1:]))
    assert [problem.code for problem in segmentations(unplaced, values, unplaced.visits[0])[1]] == ["E-SPACE"] * 2
    *_, labels, lines = as_a_viewer_draws(groups_of(pydicom.dcmread(written(tmp_path, unplaced, values)))[0])
    assert labels["Long Axis"] == (30.0, "mm")
    assert lines == {}
