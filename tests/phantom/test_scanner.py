"""What the scanner shows is what the formulas say."""

from functools import partial

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from imaging_pipeline.domain.geometry import moved
from imaging_pipeline.phantom.canvas import Canvas
from imaging_pipeline.phantom.patient import draw_patient
from imaging_pipeline.phantom.protocols import protocols
from imaging_pipeline.phantom.scanner import noise_field, scan, series_grid, true_mask
from imaging_pipeline.phantom.surfaces import Surface
from imaging_pipeline.phantom.truth import lesion_truth


@pytest.fixture(scope="module")
def patient():
    return draw_patient(0)


@pytest.fixture(scope="module")
def lumbar(patient):
    return scan(patient, 0, protocols(patient, 0, "mini")[0])


@pytest.fixture(scope="module")
def chest(patient):
    return scan(patient, 0, protocols(patient, 0, "mini")[1])


def around(volume, to_scanner, point, radius_mm):
    """CT numbers within a radius of a point given in the patient's own frame."""
    middle = moved(to_scanner, point)
    box = volume.grid.box_around(middle, radius_mm)
    index = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), axis=-1)
    near = np.linalg.norm(volume.grid.to_lps(index.reshape(-1, 3)) - middle, axis=1) < radius_mm
    return volume.array[box].reshape(-1)[near]


def test_homogeneous_organs_have_their_stated_ct_numbers(patient, lumbar):
    pelvis = patient.to_scanner(0, "pelvis")
    spine = patient.anatomy.trunk.spine
    organs = {
        "muscle along the spine": ((34.0, float(spine.posterior(np.array(30.0))) + 42.0, 30.0), 55.0),
        "psoas": ((47.0, float(spine.posterior(np.array(0.0))) - 0.4, 0.0), 55.0),
        "aorta": ((9.0, float(spine.posterior(np.array(40.0))) - 34.0, 40.0), 42.0),
    }
    for name, (point, expected) in organs.items():
        values = around(lumbar, pelvis, point, 6.0)
        assert len(values) > 30, name
        assert values.mean() == pytest.approx(expected, abs=6), name


def test_marrow_of_a_healthy_vertebra_has_the_reference_density(patient, lumbar):
    values = around(lumbar, patient.to_scanner(0, "L3"), patient.anatomy.vertebra("L3").centre, 8.0)
    expected = lesion_truth(patient, 0, "L4", 1.0)["quantities"]["reference_density"]
    assert values.mean() == pytest.approx(expected, abs=6)


def test_lung_and_mass_differ_as_they_should(patient, chest):
    mask = true_mask(patient, 0, "AX", chest.grid)
    inner = binary_erosion(mask.array, iterations=1)
    truth = lesion_truth(patient, 0, "AX", 1.0)["quantities"]
    assert chest.array[inner].mean() == pytest.approx(truth["mean_density"], abs=5)
    assert chest.array.min() == -1024
    assert np.percentile(chest.array, 20) < -800


@pytest.mark.parametrize("lesion_id", ["L4", "AX", "ILIUM"])
def test_the_mask_holds_the_volume_of_the_border(patient, lesion_id):
    for visit in range(3):
        for protocol in protocols(patient, visit):
            if patient.lesion(visit, lesion_id).plan.series_role == protocol.region.role:
                mask = true_mask(patient, visit, lesion_id, series_grid(patient, visit, protocol))
                truth = lesion_truth(patient, visit, lesion_id, protocol.machine.mineral)["quantities"]["volume"]
                assert mask.volume_ml * 1000 == pytest.approx(truth, rel=0.02)


def test_masks_of_two_visits_overlap_after_the_stated_movement(patient):
    points = []
    for visit in (0, 1):
        grid = series_grid(patient, visit, protocols(patient, visit)[0])
        mask = true_mask(patient, visit, "L4", grid)
        points.append(grid.to_lps(np.argwhere(mask.array)).mean(axis=0))
    assert moved(patient.movement(1, "L4"), points[0]) == pytest.approx(points[1], abs=0.15)


@pytest.mark.parametrize(("spread_mm", "pixel_mm"), [(0.45, 0.5), (0.65, 0.75)])
def test_a_border_is_shown_at_its_place(spread_mm, pixel_mm):
    ball = Surface((0.17, -0.23, 0.0), (14.0, 14.0, 14.0))
    axis = ((np.arange(96) - 47.5) * pixel_mm).astype(np.float32)
    canvas = Canvas(axis, axis, 0.0, np.full((96, 96), -100.0, dtype=np.float32), pixel_mm)
    canvas.paint(canvas.whole, ball.distance(canvas.coordinates(np.eye(4), canvas.whole)), 50.0)
    shown = gaussian_filter(canvas.hu, spread_mm / pixel_mm)
    row = int(np.argmin(np.abs(axis + 0.23)))
    crossing = partial(np.interp, -25.0)
    middle = 48
    left = crossing(shown[row, :middle], axis[:middle])
    right = crossing(shown[row, :middle:-1], axis[:middle:-1])
    chord = 2 * np.sqrt(14.0**2 - (axis[row] + 0.23) ** 2)
    assert right - left == pytest.approx(chord, abs=0.1)


def test_noise_has_the_stated_spread_and_is_correlated():
    fields = np.stack([noise_field(np.random.default_rng(seed), 128, 0.7, 0.6) for seed in range(20)])
    assert fields.mean() == pytest.approx(0, abs=0.02)
    assert fields.std() == pytest.approx(1, abs=0.03)
    assert np.mean(fields[:, :, 1:] * fields[:, :, :-1]) > 0.3


def test_a_lower_voltage_makes_mineral_denser_and_leaves_tissue(patient):
    low, high = (lesion_truth(patient, 2, "L4", mineral)["quantities"] for mineral in (1.12, 0.93))
    assert low["max_density"] > 1.1 * high["max_density"]
    assert low["min_density"] == high["min_density"]
    assert low["calcium_mass"] == high["calcium_mass"]


def test_bone_heals_from_visit_to_visit(patient):
    quantities = [lesion_truth(patient, visit, "L4", 1.0)["quantities"] for visit in range(3)]
    for name in ("mean_density", "calcified_volume", "rim_continuity", "cortical_continuity", "reference_density"):
        values = [found[name] for found in quantities]
        assert values == sorted(values), name
        assert values[0] < values[2], name
    assert 40 < quantities[0]["mean_density"] < 60
    assert quantities[0]["calcified_volume"] == 0
    assert quantities[0]["height_loss"] > 3


def test_a_vanished_lesion_has_no_mask_and_no_size():
    seed = next(seed for seed in range(20) if draw_patient(seed).course == "complete response of the mass")
    gone = draw_patient(seed)
    assert true_mask(gone, 2, "AX", series_grid(gone, 2, protocols(gone, 2)[1])) is None
    truth = lesion_truth(gone, 2, "AX", 1.0)
    assert not truth["present"]
    assert truth["quantities"]["longest_diameter"] == 0
