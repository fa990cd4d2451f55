"""The stage: what it measures of which image, what it refuses, what it flags, and what compares between visits."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.case import Measurement, Segmented, Visit
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.geometry import Grid, Space, as_matrix
from imaging_pipeline.domain.images import Mask, Series, Technique, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import SpaceError, StageError
from imaging_pipeline.numerics.comparability import changes, compared
from imaging_pipeline.numerics.measurement import measure
from tests.numerics.bodies import ct, ellipsoid, mask_on, random_grid, sampled

MASS = Lesion("T1", "1.2.3", "mass", Kind.SOFT_TISSUE)
SIZES = {name for name, entry in CATALOGUE.items() if entry.needs == "mask"}


@pytest.fixture(scope="module")
def scene():
    random = np.random.default_rng(1)
    body = ellipsoid((14.0, 10.0, 11.0))
    grid = random_grid(random, 14.0, slice_mm=2.0, pixel_mm=0.8, oblique=False, margin_mm=20.0)
    marked = sampled(body, grid)
    array = np.where(marked, 45, -90) + random.normal(0.0, 12.0, grid.shape)
    return ct(array.astype(np.int16), grid), mask_on(marked, grid)


def names(measurements):
    return {item.quantity for item in measurements}


def test_a_mass_on_ct_has_sizes_densities_and_mineral_each_with_an_interval(scene):
    found = measure(*scene, MASS, 2, MeasureConfig()).measurements
    assert names(found) >= SIZES
    assert {"mean_density", "calcified_volume"} <= names(found)
    assert not {"rim_density", "lytic_fraction", "height_loss"} & names(found)
    for item in found:
        assert item.lower95 is not None
        assert item.upper95 is not None
        assert item.lower95 <= item.value <= item.upper95
        assert (item.lesion_id, item.visit, item.modality, item.series_uid) == ("T1", 2, "CT", "1.2.3")
        assert item.value == CATALOGUE[item.quantity].rounded(item.value)


def test_a_diameter_has_a_second_interval_in_which_another_readers_lies(scene):
    found = {item.quantity: item for item in measure(*scene, MASS, 0, MeasureConfig()).measurements}
    longest = found["longest_diameter"]
    # Yoon 2016: -22.1 to +25.4 % between readers.
    assert longest.reader_lower95 == pytest.approx(0.779 * longest.value, abs=0.01)
    assert longest.reader_upper95 == pytest.approx(1.254 * longest.value, abs=0.01)
    assert longest.reader_lower95 < longest.lower95 < longest.upper95 < longest.reader_upper95
    assert (found["volume"].reader_lower95, found["volume"].reader_upper95) == (None, None)


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("L4", {"W-MEASURE-REFERENCE", "W-MEASURE-MUSCLE", "W-MEASURE-HEIGHTS", "W-MEASURE-WALL"}),
        # No heights and no muscle beside the spine are missed where there is no spine.
        ("rib", {"W-MEASURE-REFERENCE"}),
        ("ilium", {"W-MEASURE-REFERENCE"}),
        ("", {"W-MEASURE-REFERENCE"}),
    ],
)
def test_what_a_bone_lesion_lacks_is_said_where_it_applies(scene, site, said):
    volume, mask = scene
    findings = measure(volume, mask, replace(MASS, kind=Kind.BONE, site=SITES.get(site)), 0, MeasureConfig())
    assert {problem.code for problem in findings.problems} == said
    assert {problem.subject for problem in findings.problems} == {"T1"}
    assert measure(volume, mask, MASS, 0, MeasureConfig()).problems == ()


def test_the_evidence_holds_mask_and_ends_of_the_line(scene):
    volume, mask = scene
    found = {item.quantity: item for item in measure(volume, mask, MASS, 0, MeasureConfig()).measurements}
    longest = found["longest_diameter"]
    assert isinstance(longest.evidence, Segmented)
    assert longest.evidence.mask == mask.digest
    start, end = np.array(longest.evidence.points_lps)
    assert np.linalg.norm(end - start) == pytest.approx(longest.value, abs=0.01)


def test_a_mask_on_its_own_box_gives_the_same_numbers(scene):
    volume, mask = scene
    whole = measure(volume, mask, MASS, 0, MeasureConfig()).measurements
    part = measure(volume, mask.crop(mask.box(1)), MASS, 0, MeasureConfig()).measurements
    assert [item.value for item in whole] == [item.value for item in part]


def test_the_same_input_gives_the_same_measurements(scene):
    assert measure(*scene, MASS, 0, MeasureConfig()) == measure(*scene, MASS, 0, MeasureConfig())


def test_an_image_without_hounsfield_units_has_sizes_only(scene):
    volume, mask = scene
    signal = Volume(volume.array, volume.grid, "1", volume.series)
    assert names(measure(signal, mask, MASS, 0, MeasureConfig()).measurements) == SIZES


def test_an_empty_mask_is_refused(scene):
    volume, mask = scene
    with pytest.raises(StageError, match="E-MASK-EMPTY"):
        measure(volume, mask_on(np.zeros_like(mask.array), mask.grid), MASS, 0, MeasureConfig())


def test_an_image_without_millimetres_is_refused(scene):
    volume, mask = scene
    pixels = Volume(volume.array, replace(volume.grid, space=Space.PIXELS), volume.unit, volume.series)
    with pytest.raises(SpaceError, match="E-SPACE"):
        measure(pixels, mask, MASS, 0, MeasureConfig())


@pytest.mark.parametrize("shift_mm", [0.3, 500.0])
def test_a_mask_of_other_voxels_is_refused(scene, shift_mm):
    volume, mask = scene
    matrix = mask.grid.matrix
    matrix[:3, 3] += shift_mm
    moved = Mask(mask.array, replace(mask.grid, affine=as_matrix(matrix)), "test")
    with pytest.raises(SpaceError, match="E-SPACE-MISMATCH"):
        measure(volume, moved, MASS, 0, MeasureConfig())


def test_a_mask_of_another_frame_of_reference_is_refused(scene):
    volume, mask = scene
    here = Volume(volume.array, replace(volume.grid, frame_of_reference_uid="1.1"), volume.unit, volume.series)
    elsewhere = Mask(mask.array, replace(mask.grid, frame_of_reference_uid="1.2"), "test")
    with pytest.raises(SpaceError, match="frame of reference"):
        measure(here, elsewhere, MASS, 0, MeasureConfig())


def test_a_lesion_at_the_images_edge_is_called_truncated(scene):
    volume, mask = scene
    box = mask.box()
    cut = (
        slice(box[0].start + 2, volume.array.shape[0]),
        slice(0, volume.array.shape[1]),
        slice(0, volume.array.shape[2]),
    )
    found = measure(volume.crop(cut), mask.crop(cut), MASS, 0, MeasureConfig()).measurements
    assert all("truncated" in item.flags for item in found)
    assert not any("truncated" in item.flags for item in measure(volume, mask, MASS, 0, MeasureConfig()).measurements)


def test_one_slice_images_are_measured_in_their_plane():
    grid = Grid((1, 60, 60), as_matrix(np.diag([1.0, 0.4, 0.4, 1.0])), Space.PLANE)
    rows, columns = np.indices((60, 60)) - np.array([30.2, 29.7]).reshape(2, 1, 1)
    marked = ((rows / 20.4) ** 2 + (columns / 14.1) ** 2 < 1.0)[None]
    series = Series("1.2", "1", "", "US", "20240101", "ultrasound", ())
    found = measure(
        Volume(np.zeros(grid.shape, dtype=np.int16), grid, "1", series), mask_on(marked, grid), MASS, 0, MeasureConfig()
    ).measurements
    values = {item.quantity: item for item in found}
    assert values["longest_diameter"].value == pytest.approx(16.32, abs=0.2)
    assert values["perpendicular_diameter"].value == pytest.approx(11.28, abs=0.2)
    assert values["longest_diameter"].flags == ()


REAL = (
    ("sts_dicom/STS_008", 27.636, (39.03, 40.37)),
    ("sts_dicom/STS_042", 34.849, (47.62, 48.83)),
)


@pytest.mark.parametrize(("scan", "volume_ml", "between_mm"), REAL)
def test_real_masks_keep_their_volume_and_their_diameter_lies_between_centres_and_corners(
    real_scans, scan, volume_ml, between_mm
):
    from imaging_pipeline.io.loaders import open_series
    from imaging_pipeline.io.masks import read_mask

    folder = real_scans / scan / "CT"
    contours = next(path for path in sorted(folder.rglob("*.dcm")) if path.parent.name == "mask")
    volume, _, _ = open_series(folder / "image", None)
    found = measure(volume, read_mask(contours, volume), MASS, 0, MeasureConfig()).measurements
    values = {item.quantity: item.value for item in found}
    assert round(values["volume"] / 1000.0, 3) == volume_ml
    assert between_mm[0] <= values["longest_diameter"] <= between_mm[1]


def test_a_real_lung_nodule_keeps_its_volume(real_scans):
    from imaging_pipeline.io.loaders import open_series
    from imaging_pipeline.io.masks import read_mask

    volume, _, _ = open_series(real_scans / "lidc0001" / "ct", None)
    mask = read_mask(next((real_scans / "lidc0001" / "seg").glob("*.dcm")), volume)
    values = {item.quantity: item.value for item in measure(volume, mask, MASS, 0, MeasureConfig()).measurements}
    assert round(values["volume"] / 1000.0, 3) == 6.795
    assert 31.8 <= values["longest_diameter"] <= 33.7


def test_the_ibsi_phantom_is_measured_as_an_image(real_scans):
    folder = real_scans / "ibsi_digital_phantom" / "nifti"
    array = np.asarray(nib.load(folder / "image" / "phantom.nii.gz").dataobj).T.astype(np.int16)
    marked = np.asarray(nib.load(folder / "mask" / "mask.nii.gz").dataobj).T > 0
    grid = Grid(marked.shape, as_matrix(np.eye(4)[:, [2, 1, 0, 3]] * [2.0, 2.0, 2.0, 1.0]))
    values = {
        item.quantity: item.value
        for item in measure(ct(array, grid), mask_on(marked, grid), MASS, 0, MeasureConfig()).measurements
    }
    assert values["volume"] == 592.0
    assert values["surface_area"] == pytest.approx(388.0, abs=3.0)
    assert values["max_3d_diameter"] == pytest.approx(13.1, abs=0.1)
    assert values["mean_density"] == pytest.approx(2.15, abs=0.1)


THIN = Technique(120.0, "B30f", 1.25, None, "scanner A")


def row(quantity, visit, series_uid, value=30.0, modality="CT"):
    return Measurement(
        "T1", visit, quantity, value, CATALOGUE[quantity].unit, Segmented(""), modality=modality, series_uid=series_uid
    )


def later(quantity, technique, *, before=THIN, value=30.0, modality="CT"):
    """The second of two visits' rows, after comparison."""
    visits = tuple(
        Visit(number, "", date, (Series(uid, "", "", "CT", date, "ct", (), None, used),))
        for number, date, uid, used in ((0, "2024-01-01", "a", before), (1, "2024-04-01", "b", technique))
    )
    first, second = compared((row(quantity, 0, "a"), row(quantity, 1, "b", value, modality)), visits)
    assert (first.comparable, first.flags) == (None, ())
    return second


def test_the_same_technique_compares():
    assert (later("mean_density", THIN).comparable, later("mean_density", THIN).flags) == (True, ())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kvp": 100.0}, "W-COMPARE-KVP"),
        ({"convolution_kernel": "B60f"}, "W-COMPARE-KERNEL"),
        ({"slice_thickness": 5.0}, "W-COMPARE-THICKNESS"),
        ({"contrast_bolus_agent": "Iohexol"}, "W-COMPARE-CONTRAST"),
    ],
)
def test_density_does_not_compare_across_techniques(change, code):
    second = later("mean_density", replace(THIN, **change))
    assert (second.comparable, second.flags) == (False, (code,))


def test_another_scanner_is_said_but_not_held_against_a_density():
    second = later("mean_density", replace(THIN, manufacturer_model_name="scanner B"))
    assert (second.comparable, second.flags) == (True, ("W-COMPARE-SCANNER",))


def test_normalised_density_outlives_voltage_and_kernel_but_not_contrast():
    assert later("normalised_density", replace(THIN, kvp=100.0, convolution_kernel="B60f")).comparable is True
    assert later("normalised_density", replace(THIN, contrast_bolus_agent="Iohexol")).comparable is False


def test_diameters_feel_only_slices_too_thick_for_the_lesion():
    assert later("longest_diameter", replace(THIN, kvp=80.0, contrast_bolus_agent="x")).flags == ()
    assert later("longest_diameter", replace(THIN, slice_thickness=5.0)).comparable is True
    assert later("longest_diameter", replace(THIN, slice_thickness=5.0), value=9.0).comparable is False


def test_thin_slices_are_interchangeable():
    second = later("volume", replace(THIN, slice_thickness=2.5))
    assert (second.comparable, second.flags) == (True, ("W-COMPARE-THICKNESS",))


def test_another_modality_never_compares():
    assert later("longest_diameter", THIN, modality="MR").comparable is False


def test_a_value_only_one_visit_states_counts_as_a_change():
    assert "W-COMPARE-KVP" in changes(THIN, replace(THIN, kvp=None))
    assert changes(THIN, replace(THIN, convolution_kernel=" b30F ")) == ()
