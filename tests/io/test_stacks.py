"""Slices that are missing, doubled, tilted, uneven or of several acquisitions."""

import time

import numpy as np
import pytest

from imaging_pipeline.config import Config
from imaging_pipeline.errors import ConfigurationError, RefusedError
from imaging_pipeline.io import sorting
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.header import File, Header
from imaging_pipeline.io.loaders import load, open_series
from tests.io.build import (
    ORIGIN_LPS,
    SHAPE,
    SPACING_MM,
    density,
    move,
    only,
    put,
    write_series,
)


def series_of(folder):
    return [record for patient in index(folder, Config()).patients for record in patient.series]


def codes_of(record):
    return {problem.code for problem in record.problems}


def test_a_missing_slice_is_a_gap_at_a_stated_place(tmp_path):
    paths = write_series(tmp_path)
    paths[3].unlink()
    with pytest.raises(RefusedError) as refusal:
        open_series(tmp_path)
    assert refusal.value.problem.code == "E-GEOM-GAP"
    assert "5.000 mm" in refusal.value.problem.found
    assert f"after {ORIGIN_LPS[2] + 2 * SPACING_MM[0]:.2f} mm" in refusal.value.problem.found


def test_a_damaged_slice_at_the_end_is_missed_too(tmp_path):
    paths = write_series(tmp_path)
    content = paths[-1].read_bytes()
    paths[-1].write_bytes(content[:-100])
    (record,) = series_of(tmp_path)
    assert codes_of(record) == {"E-GEOM-GAP"}


def test_a_damaged_copy_of_a_slice_costs_nothing(tmp_path):
    paths = write_series(tmp_path)
    (tmp_path / "copy").write_bytes(paths[2].read_bytes()[:-100])
    (record,) = series_of(tmp_path)
    assert record.verdict is Verdict.OK
    assert [problem.code for problem in index(tmp_path, Config()).rejected] == ["E-FILE-TRUNCATED"]


def test_exact_copies_are_used_once(tmp_path):
    paths = write_series(tmp_path)
    for number, path in enumerate(paths[:5]):
        (tmp_path / f"copy of {number}").write_bytes(path.read_bytes())
    volume, verdict, problems = open_series(tmp_path)
    assert np.array_equal(volume.array, density())
    assert verdict is Verdict.OK
    assert [problem.code for problem in problems] == ["N-FILE-COPY"]


def test_copies_under_new_uids_are_used_once(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, lambda slice_, number: put(SOPInstanceUID=f"1.9.{number}")(slice_, number), name="again{}")
    volume, _, problems = open_series(tmp_path)
    assert np.array_equal(volume.array, density())
    assert "N-FILE-COPY" in {problem.code for problem in problems}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
        ({"EchoTime": 10}, {"EchoTime": 80}),
        ({"ConvolutionKernel": "B30"}, {"ConvolutionKernel": "B70"}),
        ({"ContrastBolusAgent": "IV"}, {"ContrastBolusAgent": ""}),
        ({"ContentTime": "120000"}, {"ContentTime": "120500"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
    ],
)
def test_two_acquisitions_in_one_series_are_taken_apart(first, second, tmp_path):
    def later(slice_, number):
        put(SOPInstanceUID=f"1.9.{number}", **second)(slice_, number)
        stored = np.frombuffer(slice_.PixelData, "<i2") + 7
        slice_.PixelData = stored.astype("<i2").tobytes()

    write_series(tmp_path, put(**first))
    write_series(tmp_path, later, name="later{}")
    one, two = series_of(tmp_path)
    assert "W-SERIES-SPLIT" in codes_of(one) & codes_of(two)
    arrays = sorted((load(record, Config()).array for record in (one, two)), key=np.sum)
    assert np.array_equal(arrays[0], density())
    assert np.array_equal(arrays[1], density() + 7)


def test_what_nothing_tells_apart_is_refused(tmp_path):
    def other(slice_, number):
        slice_.SOPInstanceUID = f"1.9.{number}"
        slice_.PixelData = bytes(len(slice_.PixelData))

    write_series(tmp_path)
    write_series(tmp_path, other, name="other{}")
    (record,) = series_of(tmp_path)
    assert "E-GEOM-AMBIGUOUS" in codes_of(record)


def test_a_scout_among_the_slices_is_set_aside(tmp_path):
    scout = put(
        SOPInstanceUID="1.9",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
    write_series(tmp_path)
    write_series(tmp_path, scout, slices=1, name="scout")
    volume, _, problems = open_series(tmp_path)
    assert np.array_equal(volume.array, density())
    assert "W-SERIES-SPLIT" in {problem.code for problem in problems}


@pytest.mark.parametrize(
    "edit",
    [put(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), put(FrameOfReferenceUID="1.9"), put(Rows=10, Columns=192)],
    ids=["orientation", "frame of reference", "matrix"],
)
def test_slices_that_cannot_be_one_stack_are_no_one_stack(edit, tmp_path):
    write_series(tmp_path, lambda slice_, number: edit(slice_, number) if number > 3 else None)
    with pytest.raises(ConfigurationError, match="E-SERIES-CHOICE"):
        open_series(tmp_path)
    assert all("W-SERIES-SPLIT" in codes_of(record) for record in series_of(tmp_path))


def test_an_odd_slice_leaves_a_gap_where_it_was(tmp_path):
    write_series(tmp_path, only(3, put(FrameOfReferenceUID="1.9")))
    assert any("E-GEOM-GAP" in codes_of(record) for record in series_of(tmp_path))


def test_a_tilted_gantry_is_straightened_and_its_angle_named(tmp_path):
    # Bars along the columns: each slice shows them where the tilt puts them, the straightened volume upright.
    degrees = 15.0
    row = np.arange(SHAPE[1])

    def tilted(slice_, number):
        drift_mm = np.tan(np.radians(degrees)) * SPACING_MM[0] * number
        move(posterior=float(drift_mm))(slice_, number)
        ramp = 10.0 * (row * SPACING_MM[1] + drift_mm)
        stored = np.repeat(np.rint(ramp + 1024)[:, None], SHAPE[2], axis=1)
        slice_.PixelData = stored.astype("<i2").tobytes()

    write_series(tmp_path, tilted)
    volume, verdict, problems = open_series(tmp_path)
    (warning,) = [problem for problem in problems if problem.code == "W-GEOM-TILT"]
    assert verdict is Verdict.WARN
    assert "15.00 degrees" in warning.found
    place = volume.grid.to_lps(np.argwhere(np.ones(volume.array.shape)))[:, 1].reshape(volume.array.shape)
    truth = 10.0 * (place - ORIGIN_LPS[1])
    inside = np.abs(truth - volume.array) < 1.0
    # Every place that was scanned in its slice shows the ramp's value there, to the rounding of two interpolations.
    assert inside.sum() >= SHAPE[0] * (SHAPE[1] - 2) * (SHAPE[2] - 2)
    assert volume.grid.directions[:, 0] == pytest.approx([0, 0, 1], abs=1e-9)


def test_slightly_uneven_slices_are_interpolated_from_their_true_places(tmp_path):
    # Density grows with height alone, so that a slice at its true height shows a straight line.
    def uneven(slice_, number):
        move(superior=0.1 if number % 2 else 0.0)(slice_, number)
        height = number * SPACING_MM[0] + (0.1 if number % 2 else 0.0)
        slice_.PixelData = np.full(slice_.Rows * slice_.Columns, round(100 * height) + 1024, "<i2").tobytes()

    write_series(tmp_path, uneven)
    volume, _, problems = open_series(tmp_path)
    assert "W-GEOM-UNEVEN" in {problem.code for problem in problems}
    heights = volume.grid.to_lps([[number, 0, 0] for number in range(SHAPE[0])])[:, 2] - ORIGIN_LPS[2]
    assert volume.array[:, 0, 0] == pytest.approx(100 * heights, abs=0.51)


def test_a_single_slice_is_measured_in_its_plane_with_a_warning(tmp_path):
    write_series(tmp_path, slices=1)
    volume, _, problems = open_series(tmp_path)
    assert "W-GEOM-SINGLE" in {problem.code for problem in problems}
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)


def test_a_single_slice_without_thickness_is_refused(tmp_path):
    write_series(tmp_path, put(SliceThickness=None), slices=1)
    with pytest.raises(RefusedError, match="E-GEOM-SINGLE"):
        open_series(tmp_path)


def test_slices_of_any_orientation_lie_where_the_scanner_put_them(tmp_path):
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    normal = np.cross(turn[:, 0], turn[:, 1])

    def oblique(slice_, number):
        slice_.ImageOrientationPatient = [round(float(cosine), 9) for cosine in (*turn[:, 0], *turn[:, 1])]
        place = np.array(ORIGIN_LPS) + number * SPACING_MM[0] * normal
        slice_.ImagePositionPatient = [round(float(length), 9) for length in place]

    write_series(tmp_path, oblique)
    volume, _, _ = open_series(tmp_path)
    assert np.array_equal(volume.array, density())
    # DICOM PS3.3 C.7.6.2.1.1: column index along the first cosine, row index along the second.
    expected = np.array(ORIGIN_LPS) + 2 * 2.5 * normal + 5 * 0.7 * turn[:, 1] + 7 * 0.8 * turn[:, 0]
    assert volume.grid.to_lps((2, 5, 7)) == pytest.approx(expected, abs=1e-6)


def test_several_hundred_slices_of_one_series_sort_by_place_not_by_name(tmp_path):
    write_series(tmp_path, lambda slice_, number: put(InstanceNumber=9 - number)(slice_, number))
    (record,) = series_of(tmp_path)
    assert [instance.sop_instance_uid.rsplit(".", 1)[1] for instance in record.series.instances] == list("12345678")


def test_thousands_of_orientations_are_told_apart_within_seconds():
    angles = np.arange(4000) * 0.0015
    cosines = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles, -np.sin(angles), np.cos(angles), 0 * angles])
    files = [File("", "", Header(image_orientation_patient=tuple(row))) for row in cosines.tolist()]
    start = time.process_time()
    assert [len(plane) for plane in sorting.planes(files)] == [1] * 4000
    assert time.process_time() - start < 5


def test_a_message_counts_a_few_stacks_only(tmp_path):
    def turned(slice_, number):
        slice_.ImageOrientationPatient = [np.cos(number), np.sin(number), 0, -np.sin(number), np.cos(number), 0]

    write_series(tmp_path, turned, slices=40)
    (patient,) = index(tmp_path, Config()).patients
    said = {problem.found for record in patient.series for problem in record.problems if "stacks" in problem.found}
    assert said == {"stacks of 1 and 1 and 1 and 1 and 1 and 1 and 1 and 1 slices that differ and 32 more"}
