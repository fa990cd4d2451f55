"""Densities against the IBSI phantom's reference values and images whose noise is known."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.numerics.intensity import Reference, densities, normalised, reference_density, tissue_density
from imaging_pipeline.numerics.uncertainty import Estimate, noise_sd
from imaging_pipeline.phantom.scanner import noise_field

GRID = Grid((12, 64, 64), as_matrix(np.eye(4)[:, [2, 1, 0, 3]] * [2.5, 0.7, 0.7, 1.0]))


def noise(random, sd):
    return np.stack([noise_field(random, 64, 0.7, 0.55) for _ in range(12)]) * sd


def ball(radius_voxels=20, offset=0.0):
    slices, rows, columns = np.indices(GRID.shape)
    return ((slices + offset - 6) * 3.5) ** 2 + (rows - 32) ** 2 + (columns - 32) ** 2 < radius_voxels**2


def test_the_ibsi_phantom_has_its_reference_statistics(real_scans):
    folder = real_scans / "ibsi_digital_phantom" / "nifti"
    array = np.asarray(nib.load(folder / "image" / "phantom.nii.gz").dataobj).T
    marked = np.asarray(nib.load(folder / "mask" / "mask.nii.gz").dataobj).T > 0
    grid = Grid(marked.shape, as_matrix(np.eye(4)[:, [2, 1, 0, 3]] * [2.0, 2.0, 2.0, 1.0]))
    found = densities(array, marked, grid, noise=0.0)
    assert found["mean_density"].value == pytest.approx(2.15, abs=0.005)
    assert found["sd_density"].value ** 2 == pytest.approx(3.05, abs=0.005)
    assert found["median_density"].value == 1.0
    assert (found["min_density"].value, found["max_density"].value) == (1.0, 6.0)


@pytest.mark.parametrize("sd", [10.0, 17.0, 25.0])
def test_noise_is_found_beside_anatomy(sd):
    random = np.random.default_rng(1)
    image = np.where(ball(), 50.0, -100.0) + np.where(np.arange(64) > 50, 600.0, 0.0) + noise(random, sd)
    assert noise_sd(np.rint(image).astype(np.int16)) == pytest.approx(sd, rel=0.2)


def test_one_slice_and_a_constant_image_have_a_noise_estimate():
    random = np.random.default_rng(2)
    assert noise_sd(random.normal(0.0, 10.0, (1, 64, 64))) == pytest.approx(10.0, rel=0.2)
    assert noise_sd(np.full((5, 20, 20), 40, dtype=np.int16)) == 0.0
    assert noise_sd(np.zeros((1, 1, 1))) == 0.0


def test_the_interval_of_the_mean_covers_the_tissue():
    random, covered = np.random.default_rng(3), []
    marked = ball()
    for _ in range(20):
        image = np.where(marked, 45.0, 45.0) + noise(random, 15.0)
        found = densities(image, marked, GRID, 15.0)["mean_density"]
        covered.append(found.lower95 <= 45.0 <= found.upper95)
    assert np.mean(covered) >= 0.9


def test_every_number_lies_in_its_interval():
    random = np.random.default_rng(4)
    image = np.where(ball(), 45.0, -90.0) + noise(random, 15.0)
    for estimate in densities(image, ball(), GRID, noise_sd(image)).values():
        assert estimate.lower95 <= estimate.value <= estimate.upper95


def test_air_and_metal_are_said_with_their_share():
    image = np.full(GRID.shape, 50, dtype=np.int16)
    marked = ball()
    first, second = np.argwhere(marked)[:2]
    image[tuple(first)], image[tuple(second)] = -800, 3071
    flags = densities(image, marked, GRID, 10.0)["mean_density"].flags
    assert [flag.split()[0] for flag in flags] == ["W-HU-AIR", "W-HU-METAL"]


def test_clean_tissue_has_no_cautions():
    assert densities(np.full(GRID.shape, 50.0), ball(), GRID, 10.0)["mean_density"].flags == ()


def test_reference_density_takes_the_noise_out_of_the_texture():
    random = np.random.default_rng(5)
    image = 160.0 + noise(random, 30.0)
    reference = reference_density(image, ball(), GRID, 30.0)
    assert reference.mean_hu == pytest.approx(160.0, abs=2.0)
    assert reference.sd_hu == pytest.approx(16.0, abs=6.0)  # the least texture bone is given


def test_normalised_density_is_a_ratio_with_both_errors():
    ratio = normalised(80.0, 2.0, Reference(160.0, 20.0, 4.0))["normalised_density"]
    assert ratio.value == pytest.approx(0.5)
    assert (ratio.upper95 - ratio.value) / 1.96 == pytest.approx(np.hypot(2.0, 0.5 * 4.0) / 160.0, rel=0.01)


@pytest.mark.parametrize("beyond_hu", [-90.0, 45.0, 800.0])
def test_a_tissues_density_holds_whatever_it_blurs_into(beyond_hu):
    # A slice is as thick as slices lie apart: it mixes what lies in it.
    share = np.mean([ball(offset=offset) for offset in np.linspace(-0.45, 0.45, 10)], axis=0)
    blurred_share = ndimage.gaussian_filter(share, [0.0, 0.55 / 0.7, 0.55 / 0.7])
    image, marked = beyond_hu + (45.0 - beyond_hu) * blurred_share, share > 0.5
    mean_hu, error_hu = tissue_density(image, marked, GRID, 10.0)
    assert mean_hu == pytest.approx(45.0, abs=1.96 * error_hu)
    # What IBSI calls the mean is that of the voxels as they are; its interval reaches the tissue's.
    found = densities(image, marked, GRID, 10.0)["mean_density"]
    assert found.value == pytest.approx(image[marked].mean())
    assert found.lower95 <= 45.0 <= found.upper95
    assert abs(mean_hu - 45.0) <= 0.5 * abs(found.value - 45.0)


def test_an_estimate_keeps_each_flag_once():
    assert Estimate(1.0).flagged("a").flagged("a", "b").flags == ("a", "b")
