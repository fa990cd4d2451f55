"""Outlines of other programs: voxel for voxel on the image they were drawn on, or refused."""

import os
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import RefusedError, SpaceError
from imaging_pipeline.io.contours import filled
from imaging_pipeline.io.loaders import open_series
from imaging_pipeline.io.masks import placed, read_mask, read_mask_on, read_segment
from imaging_pipeline.io.nifti import write_nifti
from tests.io.build import ORIGIN_LPS, SPACING_MM, write_series

GRID = Grid(
    (8, 40, 48),
    as_matrix(
        [
            [0, 0, SPACING_MM[2], ORIGIN_LPS[0]],
            [0, SPACING_MM[1], 0, ORIGIN_LPS[1]],
            [SPACING_MM[0], 0, 0, ORIGIN_LPS[2]],
            [0, 0, 0, 1],
        ]
    ),
    frame_of_reference_uid="1.2.3.4.9",
)
BALL = ((np.indices(GRID.shape) - np.array([4, 18, 22])[:, None, None, None]) ** 2).sum(axis=0) <= 9


# ---- Contours


def square(low, high):
    return np.array([[low, low], [low, high], [high, high], [high, low]], dtype=float)


def test_a_contour_around_centres_holds_them():
    assert filled([square(1.5, 6.5)], (10, 10)).sum() == 25


def test_a_contour_through_centres_holds_those_it_touches():
    assert filled([square(2, 6)], (10, 10)).sum() == 25
    assert filled([square(2, 6)[::-1]], (10, 10)).sum() == 25


def test_a_contour_within_another_is_a_hole():
    hole = filled([square(0.5, 8.5), square(3.5, 5.5)], (10, 10))
    assert hole.sum() == 64 - 4
    assert not hole[4, 4]


def test_a_keyhole_is_a_hole_and_its_channel_leaves_none():
    outer, inner = square(0.5, 8.5), square(3.5, 5.5)
    keyhole = np.concatenate([outer, outer[:1], inner[::-1], inner[-1:], outer[:1]])
    assert np.array_equal(filled([keyhole], (10, 10)), filled([outer, inner], (10, 10)))


def test_what_lies_off_the_slice_is_cut():
    assert filled([square(-5.5, 2.5)], (10, 10)).sum() == 9


def test_an_area_is_counted_without_bias():
    # Ellipses of known area at random places: their centres inside count the area, pi a b, on average.
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ratios = []
    for _ in range(60):
        along, across = rng.uniform(6, 18, 2)
        middle = rng.uniform(24, 26, 2)
        ellipse = middle + np.column_stack([along * np.cos(angle), across * np.sin(angle)])
        ratios.append(filled([ellipse], (50, 50)).sum() / (np.pi * along * across))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.002)


# ---- RTSTRUCT


def structure_set(path, contours, frame="1.2.3.4.9", kind="CLOSED_PLANAR", name="GTV"):
    """An RTSTRUCT with one ROI; each contour (N, 3) in LPS mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    meta.MediaStorageSOPInstanceUID = "1.7"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=None, is_little_endian=None)
    document.SOPClassUID, document.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.7"
    document.StudyInstanceUID, document.SeriesInstanceUID, document.Modality = "1.2.3.4", "1.7.1", "RTSTRUCT"
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 7, name, frame
    document.StructureSetROISequence = [roi]
    drawn = Dataset()
    drawn.ReferencedROINumber = 7
    drawn.ContourSequence = []
    for contour in contours:
        item = Dataset()
        item.ContourGeometricType = kind
        item.NumberOfContourPoints = len(contour)
        item.ContourData = [f"{length:.3f}" for length in np.ravel(contour)]
        drawn.ContourSequence.append(item)
    document.ROIContourSequence = [drawn]
    document.save_as(path, enforce_file_format=True)
    return path


def squares(places=(2, 3, 4), low=5.5, high=15.5, grid=GRID):
    return [grid.to_lps(np.column_stack([np.full(4, place), square(low, high)])) for place in places]


def test_contours_become_voxels_where_they_were_drawn(tmp_path):
    mask = read_mask_on(structure_set(tmp_path / "rs.dcm", squares()), GRID, "GTV")
    assert mask.array.sum() == 3 * 100
    assert mask.array[2:5, 6:16, 6:16].all()
    assert mask.maker == "RTSTRUCT"


@pytest.mark.parametrize("label", ["GTV", 7, "7", 1])
def test_an_roi_goes_by_name_by_number_or_as_the_only_one(label, tmp_path):
    assert read_mask_on(structure_set(tmp_path / "rs.dcm", squares()), GRID, label).array.any()


def test_contours_of_an_oblique_image_are_taken_in_its_planes(tmp_path):
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = turn * SPACING_MM
    oblique = Grid(GRID.shape, as_matrix(matrix), frame_of_reference_uid=GRID.frame_of_reference_uid)
    mask = read_mask_on(structure_set(tmp_path / "rs.dcm", squares(grid=oblique)), oblique, "GTV")
    assert mask.array.sum() == 300


@pytest.mark.parametrize(
    ("change", "refusal", "code"),
    [
        ({"frame": "1.2.9"}, SpaceError, "E-SPACE-MISMATCH"),
        ({"contours": squares(places=(2.5, 3.5))}, SpaceError, "E-SPACE-MISMATCH"),
        ({"contours": squares(places=(1, 3, 5))}, SpaceError, "E-SPACE-MISMATCH"),
        ({"contours": squares(places=(7, 8))}, RefusedError, "E-MASK-OUTSIDE"),
        ({"contours": squares(low=30.5, high=60.5)}, RefusedError, "E-MASK-OUTSIDE"),
        ({"contours": squares(low=5.6, high=5.7)}, RefusedError, "E-MASK-EMPTY"),
        ({"kind": "POINT"}, RefusedError, "E-MASK-EMPTY"),
        ({"kind": "OPEN_PLANAR"}, RefusedError, "E-MASK-EMPTY"),
        ({"contours": []}, RefusedError, "E-MASK-EMPTY"),
        ({"contours": [[[0, 0]]]}, RefusedError, "E-MASK-DAMAGED"),
    ],
    ids=[
        "another frame",
        "between slices",
        "every second slice",
        "above",
        "beside",
        "no centre",
        "point",
        "open",
        "none",
        "torn",
    ],
)
def test_contours_that_cannot_be_filled_are_refused(change, refusal, code, tmp_path):
    path = structure_set(tmp_path / "rs.dcm", **{"contours": squares(), **change})
    with pytest.raises(refusal) as error:
        read_mask_on(path, GRID, "GTV")
    assert error.value.problem.code == code


def test_sagittal_contours_on_an_axial_image_are_refused(tmp_path):
    corners = np.array([[1, 10, 20], [1, 20, 20], [5, 20, 20], [5, 10, 20]], dtype=float)
    with pytest.raises(SpaceError):
        read_mask_on(structure_set(tmp_path / "rs.dcm", [GRID.to_lps(corners)]), GRID, "GTV")


def test_a_contour_drawn_twice_is_one(tmp_path):
    once = squares()
    again = [np.roll(contour, 1, axis=0)[::-1] for contour in once]
    mask = read_mask_on(structure_set(tmp_path / "rs.dcm", [*once, *again]), GRID, "GTV")
    assert mask.array.sum() == 3 * 100


@pytest.mark.parametrize(("beside", "code"), [("OPEN_PLANAR", "E-MASK-OPEN"), ("POINT", None)])
def test_an_open_contour_beside_closed_ones_is_not_left_out_in_silence(beside, code, tmp_path):
    path = structure_set(tmp_path / "rs.dcm", squares())
    document = pydicom.dcmread(path)
    document.ROIContourSequence[0].ContourSequence[2].ContourGeometricType = beside
    document.save_as(path)
    if code is None:
        assert read_mask_on(path, GRID, "GTV").array.sum() == 200
        return
    with pytest.raises(RefusedError, match=code):
        read_mask_on(path, GRID, "GTV")


def test_an_roi_that_is_not_there_is_not_replaced_by_another(tmp_path):
    with pytest.raises(RefusedError, match="E-MASK-LABEL"):
        read_mask_on(structure_set(tmp_path / "rs.dcm", squares()), GRID, "liver")


# ---- SEG


def segmentation(folder, array, kind="BINARY", **options):
    """A DICOM SEG written by highdicom for a series of ours; array (S, R, C) of segment numbers or fractions."""
    paths = write_series(folder / "ct")
    sources = sorted((pydicom.dcmread(path) for path in paths), key=lambda each: float(each.ImagePositionPatient[2]))
    for source in sources:
        source.StudyID = source.AccessionNumber = source.StudyTime = source.PatientSex = ""
    numbers = range(1, (array.shape[3] if array.ndim == 4 else max(1, int(array.max()))) + 1)
    code = highdicom.sr.CodedConcept("52988006", "SCT", "Lesion")
    described = [
        highdicom.seg.SegmentDescription(number, f"lesion {number}", code, code, "MANUAL") for number in numbers
    ]
    written = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=array,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid="1.8",
        series_number=1,
        sop_instance_uid="1.8.1",
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    written.save_as(folder / "seg.dcm")
    volume, _, _ = open_series(folder / "ct")
    return folder / "seg.dcm", volume


def test_a_binary_segment_lies_on_the_voxels_it_was_drawn_on(tmp_path):
    path, volume = segmentation(tmp_path, BALL.astype(np.uint8))
    mask = read_mask(path, volume)
    assert np.array_equal(mask.array, BALL)
    assert mask.grid == volume.grid


def test_overlapping_segments_are_each_whole(tmp_path):
    other = np.roll(BALL, 2, axis=1)
    path, volume = segmentation(tmp_path, np.stack([BALL, other], axis=3).astype(np.uint8))
    assert np.array_equal(read_mask(path, volume, 1).array, BALL)
    assert np.array_equal(read_mask(path, volume, "lesion 2").array, other)


def test_a_fraction_counts_from_half_on(tmp_path):
    fractions = np.where(BALL, 0.5, np.roll(BALL, 3, axis=1) * 0.4)
    path, volume = segmentation(
        tmp_path, fractions, "FRACTIONAL", fractional_type="PROBABILITY", max_fractional_value=100
    )
    assert np.array_equal(read_mask(path, volume).array, BALL)


def test_a_labelmap_holds_each_segment_apart(tmp_path):
    labels = BALL.astype(np.uint8)
    labels[:, :10] = 2
    path, volume = segmentation(tmp_path, labels, "LABELMAP")
    assert np.array_equal(read_mask(path, volume, 1).array, labels == 1)
    assert np.array_equal(read_mask(path, volume, 2).array, labels == 2)


def test_a_segment_stands_on_its_own_lattice_too(tmp_path):
    path, _ = segmentation(tmp_path, BALL.astype(np.uint8))
    own = read_segment(path)
    assert own.volume_ml == pytest.approx(BALL.sum() * np.prod(SPACING_MM) / 1000)


def per_frame(path, number, group, keyword, values):
    """Give one frame of a SEG an attribute of its own."""
    document = pydicom.dcmread(path)
    shared = document.SharedFunctionalGroupsSequence[0]
    item = Dataset()
    item.update(shared[group].value[0])
    setattr(item, keyword, values)
    setattr(document.PerFrameFunctionalGroupsSequence[number], group, [item])
    document.save_as(path)


def test_an_orientation_written_with_other_digits_is_the_same(tmp_path):
    path, volume = segmentation(tmp_path, BALL.astype(np.uint8))
    per_frame(path, 1, "PlaneOrientationSequence", "ImageOrientationPatient", [1, 0, 0.000001, 0, 1, 0])
    assert np.array_equal(read_mask(path, volume).array, BALL)


def test_frames_of_two_pixel_sizes_are_no_stack(tmp_path):
    path, volume = segmentation(tmp_path, BALL.astype(np.uint8))
    per_frame(path, 1, "PixelMeasuresSequence", "PixelSpacing", [0.35, 0.4])
    with pytest.raises(RefusedError, match="E-MASK-LATTICE"):
        read_mask(path, volume)


def test_a_segment_of_another_frame_of_reference_is_refused(tmp_path):
    path, volume = segmentation(tmp_path, BALL.astype(np.uint8))
    elsewhere = replace(volume.grid, frame_of_reference_uid="1.2.9")
    with pytest.raises(SpaceError, match="frame of reference"):
        read_mask_on(path, elsewhere)


def test_a_segment_half_a_voxel_off_is_refused(tmp_path):
    path, volume = segmentation(tmp_path, BALL.astype(np.uint8))
    matrix = volume.grid.matrix
    matrix[0, 3] += SPACING_MM[2] / 2
    with pytest.raises(SpaceError, match="E-SPACE-MISMATCH"):
        read_mask_on(path, replace(volume.grid, affine=as_matrix(matrix)))


def test_an_image_is_no_mask(tmp_path):
    paths = write_series(tmp_path)
    with pytest.raises(RefusedError, match="E-MASK-KIND"):
        read_mask_on(paths[0], GRID)


# ---- NIfTI, and any order of axes


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_a_mask_in_any_order_of_axes_finds_its_voxels(order, flips, tmp_path):
    labels = (BALL * 5).astype(np.uint8)
    ras = np.diag([-1, -1, 1, 1]) @ GRID.matrix
    turned, matrix = np.transpose(labels, order), ras[:, [*order, 3]]
    for axis in flips:
        turned = np.flip(turned, axis)
        matrix[:, 3] += matrix[:, axis] * (turned.shape[axis] - 1)
        matrix[:, axis] *= -1
    nib.save(nib.Nifti1Image(turned, matrix), tmp_path / "mask.nii.gz")
    assert np.array_equal(read_mask_on(tmp_path / "mask.nii.gz", GRID, 5).array, BALL)


def test_a_crop_of_the_image_is_enough(tmp_path):
    mask = Mask(BALL, GRID, "test")
    write_nifti(mask.crop(mask.box(1)), tmp_path / "crop.nii.gz")
    assert np.array_equal(read_mask_on(tmp_path / "crop.nii.gz", GRID).array, BALL)


def test_a_mask_larger_than_the_image_is_refused_where_it_marks_the_outside():
    mask = Mask(BALL, GRID, "test")
    inside = GRID.crop((slice(2, 6), slice(0, 40), slice(0, 48)))
    with pytest.raises(RefusedError, match="E-MASK-OUTSIDE"):
        placed(mask, inside, "mask")


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nrrd", "mask.dcm"])
@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_a_pipe_a_device_and_a_folder_are_refused_at_once(name, lay, tmp_path):
    lay(tmp_path / name)
    with pytest.raises(RefusedError, match="E-FILE-UNREADABLE"):
        read_mask_on(tmp_path / name, GRID)


def test_a_label_that_is_not_there_is_refused(tmp_path):
    write_nifti(Mask(BALL, GRID, "test"), tmp_path / "mask.nii.gz")
    with pytest.raises(RefusedError, match="E-MASK-LABEL"):
        read_mask_on(tmp_path / "mask.nii.gz", GRID, 3)


def test_shares_of_voxels_are_no_labels(tmp_path):
    soft = np.where(BALL, 1.0, np.roll(BALL, 2, axis=1) * 0.4).astype(np.float32)
    image = nib.Nifti1Image(soft.transpose(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID.matrix[:, [2, 1, 0, 3]])
    nib.save(image, tmp_path / "mask.nii.gz")
    with pytest.raises(RefusedError, match="E-MASK-LABEL"):
        read_mask_on(tmp_path / "mask.nii.gz", GRID)


# ---- Real outlines (the folder's README states the truth)


@pytest.mark.parametrize(
    ("patient", "modality", "voxels", "millilitres"),
    [
        ("STS_008", "CT", 8862, 27.636),
        ("STS_008", "MR_T1", 8862, 27.636),
        ("STS_042", "CT", 11175, 34.849),
        ("STS_042", "MR_T1", 11175, 34.849),
    ],
)
def test_expert_contours_give_the_published_voxels(patient, modality, voxels, millilitres, real_scans):
    place = real_scans / "sts_dicom" / patient / modality
    volume, _, _ = open_series(place / "image")
    mask = read_mask(place / "mask" / "RS.dcm", volume)
    assert np.count_nonzero(mask.array) == voxels
    assert mask.volume_ml == pytest.approx(millilitres, abs=6e-4)


def test_a_reader_s_nodule_has_its_published_volume(real_scans):
    volume, _, _ = open_series(real_scans / "lidc0001" / "ct")
    mask = read_mask(real_scans / "lidc0001" / "seg" / "nodule_01_annotation_0.dcm", volume)
    assert mask.volume_ml == pytest.approx(6.795, abs=5e-4)


def test_a_segment_has_the_volume_its_report_states(real_scans):
    mask = read_segment(real_scans / "dcmqi" / "sr-example" / "seg.dcm")
    assert mask.volume_ml == pytest.approx(33.5824, abs=5e-5)


def test_the_same_liver_as_seg_and_as_nrrd(real_scans):
    volume, _, _ = open_series(real_scans / "dcmqi" / "ct-3slice")
    seg, nrrd = (read_mask(real_scans / "dcmqi" / name, volume) for name in ("liver.dcm", "liver_seg.nrrd"))
    assert seg == nrrd
    assert seg.array.any()


def test_an_unusual_order_of_axes_keeps_volume_and_density(real_scans):
    folder = real_scans / "tptbox" / "sample_ct"
    volume, _, _ = open_series(folder / "sub-ct_label-22_ct.nii.gz")
    mask = read_mask(folder / "sub-ct_seg-vert_label-22_msk.nii.gz", volume, 22)
    assert mask.volume_ml == pytest.approx(59.73, abs=0.005)
    assert volume.array[mask.array].mean() == pytest.approx(243.6, abs=0.05)


def test_the_ibsi_phantom_has_its_published_voxels(real_scans):
    # Source: IBSI reference manual, digital phantom: voxel volume 592 mm3, mean 2.15.
    folder = real_scans / "ibsi_digital_phantom" / "nifti"
    volume, _, _ = open_series(folder / "image" / "phantom.nii.gz")
    mask = read_mask(folder / "mask" / "mask.nii.gz", volume)
    assert mask.volume_ml == pytest.approx(0.592)
    assert volume.array[mask.array].mean() == pytest.approx(2.15, abs=0.005)
