"""The baseline's other modalities: what their pixels show is what the truth says."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from imaging_pipeline.phantom import magnetic, radiograph, scintigram, ultrasound
from imaging_pipeline.phantom.patient import draw_patient
from imaging_pipeline.phantom.protocols import protocols
from imaging_pipeline.phantom.scanner import series_grid


@pytest.fixture(scope="module")
def patient():
    return draw_patient(0)


def acquired(module, patient, folder, scale="mini"):
    """The truth of a modality and its images by series UID."""
    truth = module.acquire(patient, scale, folder)
    images = {}
    for path in sorted(Path(folder).rglob("*.dcm")):
        image = pydicom.dcmread(path)
        images.setdefault(image.SeriesInstanceUID, []).append(image)
    return truth, images


@pytest.fixture(scope="module")
def magnetic_series(patient, tmp_path_factory):
    return acquired(magnetic, patient, tmp_path_factory.mktemp("mr"))


@pytest.fixture(scope="module")
def bone_scan(patient, tmp_path_factory):
    truth, images = acquired(scintigram, patient, tmp_path_factory.mktemp("nm"), "full")
    (image,) = images[truth["bone_scan"]["series_instance_uid"]]
    return truth["bone_scan"], image


def mean_around(images, place_lps, reach_mm=5.0):
    """Mean pixel within a reach of a place, found by each image's own geometry."""
    values = []
    for image in images:
        spacing = np.array(image.PixelSpacing, dtype=float)
        across, down = np.reshape(np.array(image.ImageOrientationPatient, dtype=float), (2, 3))
        corner = np.array(image.ImagePositionPatient, dtype=float)
        rows, columns = np.indices((image.Rows, image.Columns))
        points = corner + columns[..., None] * across * spacing[1] + rows[..., None] * down * spacing[0]
        values.append(image.pixel_array[np.linalg.norm(points - place_lps, axis=-1) < reach_mm])
    return float(np.mean(np.concatenate(values)))


def test_mr_shows_the_lesion_where_it_is_with_the_stated_signal_ratio(magnetic_series):
    truth, images = magnetic_series
    for role, series in truth.items():
        slices = images[series["series_instance_uid"]]
        place = np.array(series["centre_lps"]["L4"])
        # Two vertebrae higher lies healthy marrow; the body of L2 is behind and above that of L4.
        healthy = place + np.array((0.0, 12.0, 70.0))
        ratio = mean_around(slices, place, 4.5) / mean_around(slices, healthy, 4.5)
        assert ratio == pytest.approx(series["quantities"]["L4"]["signal_ratio_reference"], rel=0.12), role


def test_the_lesion_has_a_long_t1_an_equal_to_long_t2_and_is_bright_without_fat(magnetic_series):
    ratios = {role: series["quantities"]["L4"] for role, series in magnetic_series[0].items()}
    assert ratios["lumbar_mr_t1"]["signal_ratio_reference"] < 0.8
    assert 1.0 <= ratios["lumbar_mr_t2"]["signal_ratio_reference"] < 1.5
    assert ratios["lumbar_mr_t2fs"]["signal_ratio_reference"] > 2.0


def test_mr_has_a_frame_of_reference_of_its_own(magnetic_series, patient):
    frames = {image.FrameOfReferenceUID for images in magnetic_series[1].values() for image in images}
    assert len(frames) == 1
    assert frames.isdisjoint(
        {series_grid(patient, 0, protocol).frame_of_reference_uid for protocol in protocols(patient, 0)}
    )


def test_noise_where_there_is_no_signal_is_that_of_a_magnitude():
    air = magnetic.received(np.zeros((200, 200), dtype=np.float32), np.random.default_rng(0))
    # Rayleigh: the mean is sigma times the root of half pi.
    assert air.mean() == pytest.approx(magnetic.NOISE * np.sqrt(np.pi / 2), rel=0.01)


def test_ultrasound_measures_the_mass_as_reported(patient, tmp_path):
    truth, images = acquired(ultrasound, patient, tmp_path, "full")
    series = truth["axilla_us"]
    (image,) = images[series["series_instance_uid"]]
    assert series["quantities"]["AX"] == {"longest_diameter": 32.0, "perpendicular_diameter": 26.0}
    (region,) = image.SequenceOfUltrasoundRegions
    ends = np.array(series["long_axis_column_row"])
    assert np.linalg.norm(ends[1] - ends[0]) * region.PhysicalDeltaX * 10 == pytest.approx(32, abs=0.01)
    shown = image.pixel_array
    middle = ends.mean(axis=0).round().astype(int)
    inside = shown[middle[1] - 60 : middle[1] + 60, middle[0] - 60 : middle[0] + 60]
    above = shown[region.RegionLocationMinY0 + 25 : region.RegionLocationMinY0 + 60, middle[0] - 60 : middle[0] + 60]
    assert inside.mean() < above.mean() - 15
    outside = np.ones(shown.shape, dtype=bool)
    outside[
        region.RegionLocationMinY0 : region.RegionLocationMaxY1 + 1,
        region.RegionLocationMinX0 : region.RegionLocationMaxX1 + 1,
    ] = False
    assert not shown[outside].any()


def test_other_patients_have_other_masses():
    longest = {round(ultrasound.diameters(ultrasound.mass_surface(draw_patient(3, n)))[0].length_mm) for n in range(4)}
    assert len(longest) > 1


def test_the_radiograph_states_its_magnification_and_shows_bone_at_the_stated_places(patient, tmp_path):
    truth, images = acquired(radiograph, patient, tmp_path)
    series = truth["lumbar_xr"]
    (image,) = images[series["series_instance_uid"]]
    assert float(image.EstimatedRadiographicMagnificationFactor) == pytest.approx(
        float(image.DistanceSourceToDetector) / float(image.DistanceSourceToPatient)
    )
    at_patient = float(image.ImagerPixelSpacing[0]) / float(image.EstimatedRadiographicMagnificationFactor)
    assert series["pixel_at_patient_mm"] == pytest.approx(at_patient)
    centres = {name: np.array(place) for name, place in series["centre_column_row"].items()}
    for upper, lower in (("L2", "L3"), ("L3", "L4")):
        for name in (upper, lower):
            column, row = centres[name].round().astype(int)
            between = ((centres[upper] + centres[lower]) / 2).round().astype(int)
            assert image.pixel_array[row, column] > image.pixel_array[between[1], between[0]]


def test_l4_is_slightly_flattened_at_the_front(patient, tmp_path):
    heights = radiograph.acquire(patient, "mini", tmp_path)["lumbar_xr"]["quantities"]
    neighbours = (heights["L3"]["height_anterior"] + heights["L5"]["height_anterior"]) / 2
    assert 0.05 < 1 - heights["L4"]["height_anterior"] / neighbours < 0.20


def test_the_bone_scan_is_hot_and_cold_where_the_disease_is(bone_scan):
    series, image = bone_scan
    ratios = {name: found["uptake_ratio"] for name, found in series["quantities"].items()}
    assert ratios["T4"] < 0.8
    assert min(ratios["L4"], ratios["RIB1"], ratios["ILIUM"]) > 1.4
    for name, boxes in series["regions"].items():
        found = scintigram.uptake_ratio(image.pixel_array, boxes["lesion"], boxes["reference"])
        assert found == pytest.approx(ratios[name], rel=0.12), name


def test_the_posterior_view_is_seen_from_behind(bone_scan):
    series, image = bone_scan
    (first, _), (stop, _) = series["regions"]["RIB1"]["lesion"][0]
    anterior, posterior = image.pixel_array[:, first:stop].astype(float)
    right, left = slice(80, 115), slice(141, 176)
    assert anterior[:, right].max() > 1.5 * anterior[:, left].max()
    assert posterior[:, left].max() > 1.5 * posterior[:, right].max()


def test_counts_scatter_as_counts_do(patient):
    expected = scintigram.expected_counts(patient, scintigram.FIELDS["mini"])
    assert expected.sum() == pytest.approx(scintigram.COUNTS)
