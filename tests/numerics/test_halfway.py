"""Where an outline's border comes to lie: half-way between two even tissues, and as it was elsewhere."""

import numpy as np
import pytest
from scipy import ndimage

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.halfway import halfway
from tests.numerics.bodies import ct, ellipsoid, imaged, random_grid, sampled

BODY = ellipsoid((18.0, 13.0, 10.0))


def scene(slice_mm, inside_hu, outside_hu, noise_hu=12.0):
    """An ellipsoid as a scanner with a blur of 0.6 mm sees it, and its voxels."""
    random = np.random.default_rng(5)
    grid = random_grid(random, BODY.reach_mm, slice_mm=slice_mm, pixel_mm=0.7)
    share = imaged(BODY, grid, 0.6)
    array = outside_hu + (inside_hu - outside_hu) * share + random.normal(0.0, noise_hu, grid.shape)
    return ct(array.astype(np.int16), grid), sampled(BODY, grid)


def dice(mask, truth):
    return 2 * np.count_nonzero(mask.array & truth) / (np.count_nonzero(mask.array) + np.count_nonzero(truth))


IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], dtype=bool)


@pytest.mark.parametrize("slice_mm", [1.0, 2.5, 5.0])
@pytest.mark.parametrize("off", [ndimage.binary_erosion, ndimage.binary_dilation])
def test_an_outline_a_pixel_off_comes_to_lie_on_the_border(slice_mm, off):
    volume, truth = scene(slice_mm, 45.0, -95.0)
    found = halfway(volume, Mask(off(truth, IN_PLANE), volume.grid, "drawn")).on(volume.grid)
    # No voxel can tell more than on which side of half-way it is.
    known = (volume.array > -25) & ndimage.binary_dilation(truth, iterations=2)
    assert dice(found, truth) > dice(Mask(known, volume.grid, "known"), truth) - 0.005
    assert np.count_nonzero(found.array) == pytest.approx(np.count_nonzero(known), rel=0.015)


def test_an_outline_a_slice_short_gets_it_back():
    volume, truth = scene(2.5, 45.0, -95.0)
    short = truth.copy()
    short[: np.flatnonzero(truth.any(axis=(1, 2)))[1]] = False
    found = halfway(volume, Mask(short, volume.grid, "drawn")).on(volume.grid)
    assert dice(found, truth) > 0.98


def test_in_tissue_as_dense_as_the_lesion_an_outline_stays():
    volume, truth = scene(2.5, 45.0, 55.0)
    drawn = Mask(ndimage.binary_erosion(truth), volume.grid, "drawn")
    assert np.array_equal(halfway(volume, drawn).on(volume.grid).array, drawn.array)


def test_beside_fat_it_moves_and_beside_muscle_it_stays():
    volume, truth = scene(1.0, 45.0, -95.0)
    left = np.indices(volume.grid.shape)[2] < volume.grid.shape[2] // 2
    random = np.random.default_rng(6)
    muscle = np.where(left & ~truth, 55.0 + random.normal(0.0, 12.0, truth.shape), volume.array)
    inner = ndimage.binary_erosion(truth)
    moved = halfway(ct(muscle.astype(np.int16), volume.grid), Mask(inner, volume.grid, "drawn")).on(volume.grid).array
    beside = ndimage.binary_dilation(left, iterations=8) & ~left
    assert np.mean(moved[truth & ~inner & left]) < 0.1
    assert np.mean(moved[truth & ~inner & ~left & ~beside]) > 0.9


def test_it_grows_at_the_edge_of_a_scan_too():
    volume, truth = scene(1.0, 45.0, -95.0)
    half = volume.grid.shape[2] // 2
    cut = volume.crop((slice(0, volume.grid.shape[0]), slice(0, volume.grid.shape[1]), slice(half, 2 * half + 1)))
    inner = ndimage.binary_erosion(truth, ndimage.generate_binary_structure(3, 1))[:, :, half:]
    found = halfway(cut, Mask(inner, cut.grid, "drawn")).on(cut.grid)
    assert dice(found, truth[:, :, half:]) > 0.985
