"""How much of a lesion its image says it covers, and when the image is not asked."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imaging_pipeline.numerics.border import covered
from tests.numerics.bodies import ellipsoid, imaged, random_grid, sampled

NOISE_HU = 2.0


@pytest.fixture(scope="module")
def lesion():
    """A body's true count of voxels, and its blurred image in noise, mask and voxel size."""
    random = np.random.default_rng(21)
    body = ellipsoid((9.0, 7.0, 8.0), Rotation.random(rng=random))
    grid = random_grid(random, body.reach_mm, slice_mm=2.5, pixel_mm=0.8, margin_mm=10.0)
    image = 150.0 * imaged(body, grid, 0.55) - 100.0 + random.normal(0.0, NOISE_HU, grid.shape)
    return body.volume_mm3 / grid.voxel_volume_mm3, image, sampled(body, grid), grid.spacing_mm


def test_the_tails_of_blur_are_counted(lesion):
    truth, image, marked, spacing_mm = lesion
    voxels, sd = covered(image, marked, spacing_mm, NOISE_HU)
    assert voxels == pytest.approx(truth, rel=0.005)
    assert abs(voxels - truth) < 2.0 * sd


def test_it_does_not_depend_on_the_unit_or_the_sign_of_the_contrast(lesion):
    _, image, marked, spacing_mm = lesion
    voxels, sd = covered(image, marked, spacing_mm, NOISE_HU)
    assert covered(500.0 - 3.0 * image, marked, spacing_mm, 3.0 * NOISE_HU) == pytest.approx((voxels, sd), rel=1e-4)


def test_a_mask_that_does_not_follow_the_image_is_left_as_drawn(lesion):
    _, image, marked, spacing_mm = lesion
    assert covered(image, np.roll(marked, 2, axis=2), spacing_mm, NOISE_HU) is None


def test_an_image_without_contrast_is_not_asked(lesion):
    _, image, marked, spacing_mm = lesion
    assert covered(image, marked, spacing_mm, 40.0) is None


def test_a_lesion_without_a_core_is_not_corrected(lesion):
    _, image, marked, spacing_mm = lesion
    marked = marked.copy()
    marked[np.arange(len(marked)) % 2 == 0] = False
    assert covered(image, marked, spacing_mm, NOISE_HU) is None
