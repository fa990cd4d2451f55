"""Outlines as DICOM SEG: the same voxels and codes to every reader, nothing of the patient, the same bytes twice."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from imaging_pipeline.domain.case import Outcome
from imaging_pipeline.domain.geometry import Space
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.seg import segmentations
from tests.io.cases import HOSTILE
from tests.io.exported import REAL, by_hand, framed, mini, real


def written(tmp_path, case, values, visit=0):
    """The SEGs of a visit in files, by the series they outline."""
    found, problems = segmentations(case, values, case.visits[visit])
    assert problems == ()
    paths = {}
    for number, segmentation in enumerate(found):
        path = tmp_path / f"{visit}_{number}.dcm"
        path.write_bytes(segmentation.file.content)
        paths[segmentation.series.series_instance_uid] = path
    return paths


def outlines(case, values, visit=0):
    """Lesion, series and the outline on the whole series, as the case holds them."""
    series = {each.series_instance_uid: each for each in case.visits[visit].series}
    return [
        (sighting.lesion_id, series[sighting.series_uid], values[sighting.mask].on(series[sighting.series_uid].grid))
        for sighting in case.sightings
        if sighting.visit == visit and sighting.outcome is Outcome.MEASURED
    ]


def cases(real_scans):
    yield mini()
    yield framed(real_scans)
    yield from (real(real_scans, name) for name in REAL)


def test_every_voxel_comes_back(tmp_path, real_scans):
    for number, (case, values) in enumerate(cases(real_scans)):
        (tmp_path / str(number)).mkdir()
        for visit in case.visits:
            paths = written(tmp_path / str(number), case, values, visit.number)
            for lesion_id, series, mask in outlines(case, values, visit.number):
                read = read_mask_on(paths[series.series_instance_uid], series.grid, lesion_id)
                assert np.array_equal(read.array, mask.array)


def test_highdicom_sees_segments_codes_and_volumes(tmp_path):
    case, values = mini()
    paths = written(tmp_path, case, values)
    lesions = {lesion.lesion_id: lesion for lesion in case.lesions}
    for lesion_id, series, mask in outlines(case, values):
        seg = highdicom.seg.segread(paths[series.series_instance_uid])
        lesion = lesions[lesion_id]
        (number,) = seg.get_segment_numbers(tracking_uid=lesion.tracking_uid)
        description = seg.get_segment_description(number)
        assert description.tracking_id == lesion_id
        assert description.segmented_property_category.value == "49755003"
        assert description.anatomic_regions[0].value == lesion.site.value
        assert description.algorithm_identification.name == "competition"
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True)
        voxel_mm3 = np.prod(volume.spacing)
        assert np.count_nonzero(volume.array) * voxel_mm3 == pytest.approx(mask.volume_ml * 1000, rel=1e-9)


def test_pydicom_and_simpleitk_see_the_same_pixels(tmp_path):
    case, values = mini()
    for series_uid, path in written(tmp_path, case, values).items():
        frames = pydicom.dcmread(path).pixel_array
        image = SimpleITK.ReadImage(str(path))
        assert np.array_equal(SimpleITK.GetArrayViewFromImage(image) != 0, frames != 0)
        masks = [mask for _, series, mask in outlines(case, values) if series.series_instance_uid == series_uid]
        assert np.count_nonzero(frames) == sum(np.count_nonzero(mask.array) for mask in masks)


def test_only_the_slices_used_are_written(tmp_path):
    case, values = mini()
    for series_uid, path in written(tmp_path, case, values).items():
        marked = [
            np.count_nonzero(mask.array.any(axis=(1, 2)))
            for _, series, mask in outlines(case, values)
            if series.series_instance_uid == series_uid
        ]
        assert pydicom.dcmread(path).NumberOfFrames == sum(marked)


def test_each_frame_names_the_image_it_was_drawn_on(tmp_path, real_scans):
    case, values = real(real_scans, "nodule of the lung, CT")
    places = {
        str(image.SOPInstanceUID): [float(length) for length in image.ImagePositionPatient]
        for image in map(pydicom.dcmread, (real_scans / "lidc0001" / "ct").iterdir())
    }
    (path,) = written(tmp_path, case, values).values()
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        stated = [float(length) for length in frame.PlanePositionSequence[0].ImagePositionPatient]
        assert np.allclose(places[image.ReferencedSOPInstanceUID], stated, atol=1e-3)


def test_a_frame_of_a_multi_frame_image_is_named_by_its_number(tmp_path, real_scans):
    case, values = framed(real_scans)
    (image_file,) = (real_scans / "enhanced_mr" / "siemens").iterdir()
    groups = pydicom.dcmread(image_file).PerFrameFunctionalGroupsSequence
    (path,) = written(tmp_path, case, values).values()
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        theirs = groups[image.ReferencedFrameNumber - 1].PlanePositionSequence[0].ImagePositionPatient
        ours = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose([float(length) for length in theirs], [float(length) for length in ours], atol=1e-3)


def test_slices_that_were_interpolated_are_named_as_a_series_only(tmp_path):
    case, values = by_hand()
    uid = case.sightings[0].series_uid
    moved = replace(case, problems=(Problem("W-GEOM-TILT", uid, "a tilted gantry", "", ""),))
    dataset = pydicom.dcmread(written(tmp_path, moved, values)[uid])
    assert all(not frame.DerivationImageSequence for frame in dataset.PerFrameFunctionalGroupsSequence)
    (series,) = dataset.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 80


def test_a_lesion_has_one_name_at_every_visit(tmp_path):
    case, values = mini()
    names = {}
    for visit in case.visits:
        for path in written(tmp_path, case, values, visit.number).values():
            for segment in pydicom.dcmread(path).SegmentSequence:
                names.setdefault(segment.TrackingID, set()).add(segment.TrackingUID)
    assert {lesion: len(uids) for lesion, uids in names.items()} == dict.fromkeys(
        ("L4", "AX", "T4", "RIB1", "ILIUM"), 1
    )


def test_a_drawn_outline_is_no_programs_work(tmp_path):
    case, values = by_hand()
    drawn = {
        digest: replace_confidence(value) if isinstance(value, Mask) else value for digest, value in values.items()
    }
    for path in written(tmp_path, case, drawn).values():
        (segment,) = pydicom.dcmread(path).SegmentSequence
        assert segment.SegmentAlgorithmType == "MANUAL"
        assert "SegmentAlgorithmName" not in segment


def replace_confidence(mask):
    return Mask(mask.array, mask.grid, "a reader")


def test_an_image_without_a_place_is_refused_by_name():
    case, values = by_hand()
    plane = replace(case.visits[0].series[0], grid=replace(case.visits[0].series[0].grid, space=Space.PLANE))
    visit = replace(case.visits[0], series=(plane, *case.visits[0].series[1:]))
    found, problems = segmentations(case, values, visit)
    assert len(found) == 1
    assert [problem.code for problem in problems] == ["E-SPACE"]
    assert plane.series_instance_uid in problems[0].subject


def test_the_patient_goes_by_a_pseudonym_and_the_study_by_its_own_name(tmp_path):
    case, values = mini()
    for path in written(tmp_path, case, values).values():
        dataset = pydicom.dcmread(path)
        assert (dataset.PatientID, str(dataset.PatientName), dataset.PatientBirthDate) == (case.case, case.case, "")
        assert dataset.StudyInstanceUID == case.visits[0].series[0].study_instance_uid
        assert b"SAMPLE-001" not in path.read_bytes()


def test_equal_cases_give_equal_bytes_and_other_outlines_another_name(tmp_path):
    case, values = by_hand()
    first, again = (segmentations(case, values, case.visits[0])[0] for _ in range(2))
    assert [each.file.content for each in first] == [each.file.content for each in again]
    other = segmentations(case, values, case.visits[1])[0]
    names = [each.file.sop_instance_uid for each in (*first, *other)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("2.25.") and len(name) <= 64 for name in names)


def test_validators_find_no_error(tmp_path, program, real_scans):
    everything = [*cases(real_scans), by_hand(hostile=HOSTILE)]
    for number, (case, values) in enumerate(everything):
        (tmp_path / str(number)).mkdir()
        for visit in case.visits:
            for path in written(tmp_path / str(number), case, values, visit.number).values():
                assert "Error" not in program("dciodvfy", path).stderr
                assert program("dcmdump", path).returncode == 0
