"""How far a scan blurs, read off noise of known correlation, and borders of known blur taken apart."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm

from imaging_pipeline.numerics.unmixing import SPREAD_MM, Sharpness, own_share, sharpness, unmixed
from imaging_pipeline.phantom.scanner import noise_field

SPACING_MM = (2.0, 0.6, 0.6)


def noise(random, spread_mm, slices=10, pixels=96):
    return np.stack([noise_field(random, pixels, SPACING_MM[1], spread_mm) for _ in range(slices)])


@pytest.mark.parametrize("spread_mm", [0.42, 0.55, 0.66])
def test_spread_and_noise_are_read_off_beside_anatomy(spread_mm):
    random = np.random.default_rng(1)
    slices, rows, columns = np.indices((10, 96, 96))
    anatomy = np.where((rows - 48) ** 2 + (columns - 48 - 2 * slices) ** 2 < 900, 55.0, -80.0) + 0.3 * rows
    anatomy[:, :20] += 400.0 * (columns[:, :20] % 7 < 3)
    image = ndimage.gaussian_filter(anatomy, (0.0, 1.0, 1.0)) + 18.0 * noise(random, spread_mm)
    found = sharpness(np.rint(image).astype(np.int16), SPACING_MM, 0.0)
    assert found.spread_mm == pytest.approx(spread_mm, rel=0.06)
    assert found.noise == pytest.approx(18.0, rel=0.06)


def test_choosing_even_squares_does_not_make_the_noise_less():
    random = np.random.default_rng(2)
    found = [sharpness(20.0 * noise(random, 0.5), SPACING_MM, 0.0).noise for _ in range(8)]
    assert np.mean(found) == pytest.approx(20.0, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 96, 96), (4, 5, 5), (4, 32, 32)])
def test_where_nothing_tells_them_the_usual_spread_and_the_noise_given_are_taken(shape):
    assert sharpness(np.full(shape, 40, dtype=np.int16), SPACING_MM, 12.0) == Sharpness(SPREAD_MM, 12.0)


def test_pixels_of_2_mm_tell_no_spread():
    random = np.random.default_rng(4)
    image = 15.0 * np.stack([noise_field(random, 64, 2.0, 0.6) for _ in range(6)])
    assert sharpness(image, (4.0, 2.0, 2.0), 14.0) == Sharpness(SPREAD_MM, 14.0)


def test_smoothing_leaves_the_noise_it_is_said_to_leave():
    random = np.random.default_rng(3)
    smoothed = ndimage.gaussian_filter(noise(random, 0.5), (0.0, 0.6 / SPACING_MM[1], 0.6 / SPACING_MM[2]))
    expected = Sharpness(0.5, 1.0).smoothed(0.6)
    assert expected.spread_mm == pytest.approx(np.hypot(0.5, 0.6))
    assert smoothed.std() == pytest.approx(expected.noise, rel=0.05)


def test_the_own_share_across_a_flat_border_is_the_integral_of_the_point_spread():
    marked = np.zeros((7, 60, 60), dtype=bool)
    marked[:, :, 30:] = True
    share = own_share(marked, SPACING_MM, 0.55)[3, 30]
    distance_mm = (np.arange(60) - 29.5) * SPACING_MM[2]
    np.testing.assert_allclose(share, norm.cdf(distance_mm / 0.55), atol=0.03)


def test_the_own_share_keeps_the_volume():
    marked = np.zeros((12, 60, 60), dtype=bool)
    marked[4:8, 20:38, 22:41] = True
    assert own_share(marked, SPACING_MM, 0.6).sum() == pytest.approx(marked.sum(), rel=1e-4)


@pytest.mark.parametrize("spread_mm", [0.45, 0.65])
def test_unmixing_gives_a_lesion_back_its_own_density(spread_mm):
    fine, pixel_mm = 4, SPACING_MM[1]
    rows, columns = np.indices((60 * fine, 60 * fine)) - (30 * fine - 0.5)
    inside = np.hypot(rows, columns) * pixel_mm / fine < 9.0
    blurred = ndimage.gaussian_filter(np.where(inside, 55.0, 400.0), spread_mm * fine / pixel_mm)
    image, share = (array.reshape(1, 60, fine, 60, fine).mean(axis=(2, 4)) for array in (blurred, inside))
    marked = share > 0.5
    pure = unmixed(image.astype(np.float32), marked, SPACING_MM, spread_mm)
    assert abs(pure[marked].mean() - 55.0) < 0.25 * abs(image[marked].mean() - 55.0)
