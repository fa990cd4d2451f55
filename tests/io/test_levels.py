"""Label maps of vertebrae: names and places as the labelling program meant them, else a refusal."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.levels import read_levels
from imaging_pipeline.io.nifti import read_nifti

DATA = Path(os.environ.get("IMAGING_PIPELINE_DATA", Path(__file__).parents[3] / "shared" / "data"))
SCAN = Grid((40, 50, 60), as_matrix(np.diag([2.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]))


def label_map(path: Path, blocks: dict[int, tuple[slice, slice, slice]], dtype=np.uint8) -> Path:
    """A NIfTI of the scan's box in RAS, as TotalSegmentator writes it; blocks are (left, posterior, superior) in mm."""
    array = np.zeros((60, 50, 80), dtype=dtype)
    for value, block in blocks.items():
        array[block] = value
    nib.save(
        nib.Nifti1Image(array[::-1, ::-1], np.array([(1, 0, 0, -59), (0, 1, 0, -49), (0, 0, 1, 0), (0, 0, 0, 1)])), path
    )
    return path


L4 = (slice(20, 31), slice(10, 21), slice(10, 31))
L3 = (slice(20, 31), slice(10, 21), slice(40, 61))
LIVER = (slice(40, 50), slice(10, 21), slice(40, 61))


def test_levels_lie_where_their_labels_do(tmp_path):
    levels = read_levels(label_map(tmp_path / "levels.nii.gz", {28: L4, 29: L3, 5: LIVER}), SCAN, "totalsegmentator")
    assert levels.middles_lps.keys() == {"L4", "L3"}
    assert np.allclose(levels.middles_lps["L4"], (25.0, 15.0, 20.0))
    assert np.allclose(levels.middles_lps["L3"], (25.0, 15.0, 50.0))
    assert levels.at((22.0, 12.0, 28.0)) == "L4"
    assert [levels.at(point) for point in ((45.0, 15.0, 50.0), (0.0, 0.0, 0.0), (0.0, 0.0, -900.0))] == ["", "", ""]


def test_the_same_values_mean_other_levels_to_another_program(tmp_path):
    path = label_map(tmp_path / "levels.nii.gz", {23: L4})
    assert read_levels(path, SCAN, "verse").middles_lps.keys() == {"L4"}
    with pytest.raises(RefusedError, match="E-LEVELS"):
        read_levels(path, SCAN, "totalsegmentator")


def test_a_vertebra_that_the_scan_cuts_off_has_no_middle(tmp_path):
    cut = (slice(20, 31), slice(10, 21), slice(0, 9))
    levels = read_levels(label_map(tmp_path / "levels.nii.gz", {28: L4, 27: cut}), SCAN, "totalsegmentator")
    assert levels.middles_lps.keys() == {"L4"}
    assert levels.at((25.0, 15.0, 4.0)) == "L5"


def test_labels_of_another_scan_are_refused(tmp_path):
    elsewhere = Grid(SCAN.shape, as_matrix(SCAN.matrix + np.array([[0, 0, 0, 500.0]] * 3 + [[0] * 4])))
    with pytest.raises(RefusedError, match="none of them in the scan"):
        read_levels(label_map(tmp_path / "levels.nii.gz", {28: L4}), elsewhere, "totalsegmentator")


def test_probabilities_are_no_labels(tmp_path):
    with pytest.raises(RefusedError, match="not whole"):
        read_levels(label_map(tmp_path / "levels.nii.gz", {28: L4}, np.float32), SCAN, "totalsegmentator")


def test_what_is_no_label_map_is_refused(tmp_path):
    (tmp_path / "levels.txt").write_text("L4")
    with pytest.raises(RefusedError, match="NIfTI or NRRD"):
        read_levels(tmp_path / "levels.txt", SCAN, "totalsegmentator")


@pytest.mark.skipif(not (DATA / "tptbox").is_dir(), reason="needs the real scans of IMAGING_PIPELINE_DATA")
def test_a_real_vertebra_is_found_in_the_scan_it_was_labelled_in():
    folder = DATA / "tptbox" / "sample_ct"
    scan = read_nifti(folder / "sub-ct_label-22_ct.nii.gz")
    levels = read_levels(folder / "sub-ct_seg-vert_label-22_msk.nii.gz", scan.grid, "verse")
    assert "L3" in levels.middles_lps
    assert levels.at(levels.middles_lps["L3"]) in ("L3", "")
