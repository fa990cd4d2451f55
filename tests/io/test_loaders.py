"""From files to volumes: the same numbers through every encoding, and no decoder trusted."""

import struct

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from imaging_pipeline.config import Config
from imaging_pipeline.domain.quantities import HU, ONE
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.loaders import load, open_series
from tests.io.build import as_mr, density, move, only, put, save, write_series


def only_record(folder):
    (record,) = [record for patient in index(folder, Config()).patients for record in patient.series]
    return record


# ---- Intensities


def test_int16_is_kept_where_it_holds_every_value(tmp_path):
    write_series(tmp_path)
    assert open_series(tmp_path)[0].array.dtype == np.int16


def test_unsigned_values_beyond_int16_are_not_wrapped(tmp_path):
    def bright(slice_, number):
        slice_.PixelRepresentation = 0
        stored = (density()[number].astype(int) + 1024).astype("<u2")
        stored[0, 0] = 65535
        slice_.PixelData = stored.tobytes()

    write_series(tmp_path, bright)
    volume, _, _ = open_series(tmp_path)
    assert volume.array.dtype == np.float32
    assert volume.array[0, 0, 0] == 65535 - 1024
    assert np.array_equal(volume.array[:, 1:], density()[:, 1:])


def test_signed_values_below_int16_are_not_wrapped(tmp_path):
    def dark(slice_, number):
        stored = np.frombuffer(slice_.PixelData, "<i2").copy()
        stored[0] = -32768
        slice_.PixelData = stored.tobytes()

    write_series(tmp_path, dark)
    assert open_series(tmp_path)[0].array[0, 0, 0] == -32768 - 1024


def test_a_fractional_slope_in_one_slice_keeps_the_others(tmp_path):
    def halved(slice_, number):
        slice_.RescaleSlope = 0.5
        slice_.PixelData = ((density()[number].astype(int) + 1024) * 2 + 1).astype("<i2").tobytes()

    write_series(tmp_path, only(5, halved))
    volume, _, _ = open_series(tmp_path)
    expected = density().astype(np.float32)
    expected[5] += 0.5
    assert np.array_equal(volume.array, expected)


def test_mr_signal_is_taken_as_stored_and_is_no_density(tmp_path):
    write_series(tmp_path, as_mr)
    volume, _, _ = open_series(tmp_path)
    assert volume.unit == ONE
    assert np.array_equal(volume.array, density() + 1024)


def test_an_mr_scale_that_is_stated_is_applied(tmp_path):
    write_series(tmp_path, as_mr, put(RescaleSlope=2, RescaleIntercept=1))
    assert np.array_equal(open_series(tmp_path)[0].array, 2.0 * (density().astype(np.float32) + 1024) + 1)


def test_a_slice_off_its_neighbours_is_named(tmp_path):
    write_series(tmp_path, only(4, put(RescaleIntercept=0)))
    _, verdict, problems = open_series(tmp_path)
    assert verdict is Verdict.WARN
    assert {problem.code for problem in problems} == {"W-HU-JUMP", "W-SERIES-MIXED"}


@pytest.mark.parametrize("intercept", [0, -2048])
def test_densities_off_the_scale_are_named(intercept, tmp_path):
    write_series(tmp_path, put(RescaleIntercept=intercept))
    assert "W-HU-OFFSET" in {problem.code for problem in open_series(tmp_path)[2]}


# ---- Encodings


def test_one_slice_in_nine_encodings_is_one_slice(real_scans):
    slices = [open_series(path)[0].array for path in sorted((real_scans / "dcm_qa_ts" / "In").glob("*.dcm"))]
    assert len(slices) == 9
    assert all(np.array_equal(slices[0], each) for each in slices)
    assert slices[0].mean() == pytest.approx(257.95, abs=0.005)


def swap_frame(change):
    """An edit that compresses a slice and then changes its one frame."""

    def edit(slice_, number, uid):
        slice_.compress(uid, generate_instance_uid=False)
        frame = next(pydicom.encaps.generate_frames(slice_.PixelData, number_of_frames=1))
        slice_.PixelData = encapsulate([change(frame)])

    return edit


def no_segments(frame):
    return struct.pack("<I", 0) + frame[4:]


def of_other_size(frame):
    """The compressed stream's own header says 16,000 x 16,000."""
    if frame.startswith(b"\xff\x4f"):
        place = frame.index(b"\xff\x51") + 6
        return frame[:place] + struct.pack(">2I", 16000, 16000) + frame[place + 8 :]
    place = frame.index(b"\xff\xf7") + 5
    return frame[:place] + struct.pack(">2H", 16000, 16000) + frame[place + 4 :]


@pytest.mark.parametrize(
    ("uid", "change"),
    [
        (RLELossless, no_segments),
        (RLELossless, lambda frame: frame[:64] + bytes(len(frame) - 64)),
        (RLELossless, lambda frame: frame[:64] + bytes([129]) * (len(frame) - 64)),
        (JPEGLSLossless, of_other_size),
        (JPEG2000Lossless, of_other_size),
        (JPEGLSLossless, lambda frame: frame[:60] + bytes(len(frame) - 60)),
        (JPEG2000Lossless, lambda frame: frame[:80]),
        (JPEGLSLossless, lambda frame: b"nothing a decoder knows, and even"),
    ],
    ids=[
        "no RLE segment",
        "empty RLE",
        "RLE without end",
        "JPEG-LS size",
        "JPEG 2000 size",
        "torn JPEG-LS",
        "torn JPEG 2000",
        "noise",
    ],
)
def test_a_compressed_stream_that_lies_is_refused(uid, change, tmp_path):
    edit = swap_frame(change)
    write_series(tmp_path, lambda slice_, number: edit(slice_, number, uid))
    with pytest.raises(RefusedError, match="E-PIX-DECODE"):
        open_series(tmp_path)


# ---- Frames


def test_frames_lie_where_they_say_in_whatever_order_they_come(real_scans):
    for name, slices in (("philips", 8), ("siemens", 8)):
        volume, verdict, _ = open_series(real_scans / "enhanced_mr" / name)
        assert volume.array.shape[0] == slices
        assert verdict is not Verdict.REJECT
        (path,) = (real_scans / "enhanced_mr" / name).glob("*.dcm")
        theirs = pydicom.dcmread(path)
        stored = theirs.pixel_array
        for frame, groups in zip(stored, theirs.PerFrameFunctionalGroupsSequence, strict=True):
            corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            place = volume.grid.to_index(corner)
            assert place == pytest.approx(np.rint(place), abs=2e-3)
            ours = volume.array[round(place[0])]
            assert np.corrcoef(ours.ravel(), frame.ravel())[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_two_stacks_in_one_file_are_not_taken_for_one(real_scans, tmp_path):
    """Two frames at one place: an echo or a phase more, which nothing in this package can pick from one file."""
    (path,) = (real_scans / "enhanced_mr" / "siemens").glob("*.dcm")
    document = pydicom.dcmread(path)
    groups = document.PerFrameFunctionalGroupsSequence
    groups[3].PlanePositionSequence[0].ImagePositionPatient = groups[2].PlanePositionSequence[0].ImagePositionPatient
    document.save_as(tmp_path / "twice.dcm")
    with pytest.raises(RefusedError, match="several stacks"):
        open_series(tmp_path)


# ---- Real scans with a known flaw


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("gantrytilting/001", "W-GEOM-TILT"),
        ("slicecount/001", "W-GEOM-FEW"),
        ("sliceincrement/001", "E-GEOM-GAP"),
        ("sliceincrement/002", "E-GEOM-GAP"),
        ("sliceorientation/001", "W-SERIES-SPLIT"),
    ],
)
def test_real_series_with_a_flaw_are_corrected_or_refused_by_name(folder, said, real_scans):
    found = index(real_scans / "dicom2nifti_failing" / folder, Config())
    codes = {problem.code for patient in found.patients for record in patient.series for problem in record.problems}
    assert said in codes


def test_the_angle_of_a_real_gantry_is_named(real_scans):
    _, _, problems = open_series(real_scans / "dicom2nifti_failing" / "gantrytilting" / "001")
    (tilt,) = [problem for problem in problems if problem.code == "W-GEOM-TILT"]
    assert "14.00 degrees" in tilt.found


def test_a_series_is_the_one_named(real_scans):
    folder = real_scans / "sts_dicom" / "STS_008"
    (ct,) = {
        record.series.series_instance_uid
        for patient in index(folder, Config()).patients
        for record in patient.series
        if record.series.modality == "CT"
    }
    volume, _, _ = open_series(folder, ct)
    assert volume.unit == HU
    assert volume.array.shape == (51, 137, 141)


# ---- What changes between index and load


def test_a_file_that_moved_since_the_index_is_refused(tmp_path):
    write_series(tmp_path)
    record = only_record(tmp_path)
    slice_ = pydicom.dcmread(record.paths[2])
    move(left=1.0)(slice_, 2)
    save(slice_, record.paths[2])
    with pytest.raises(RefusedError, match="E-FILE-CHANGED"):
        load(record, Config())


def test_a_refused_series_is_not_loaded(tmp_path):
    write_series(tmp_path, put(RescaleSlope=0))
    with pytest.raises(RefusedError, match="E-HU-RESCALE"):
        load(only_record(tmp_path), Config())
