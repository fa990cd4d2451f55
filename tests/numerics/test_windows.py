"""A network is shown voxels of its own, and what it says comes back to where it was asked."""

import numpy as np
import pytest

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.numerics.windows import (
    Clip,
    Recipe,
    Scale,
    looked_at,
    region_around,
    resampled,
    touches_side,
)

AXIAL = Grid((9, 20, 24), as_matrix([[0, 0, 0.8, -50], [0, 0.8, 0, -120], [2.5, 0, 0, 300], [0, 0, 0, 1]]))
SAGITTAL = Grid((24, 20, 30), as_matrix([[4.0, 0, 0, -50], [0, 0, 0.9, -120], [0, -0.9, 0, 300], [0, 0, 0, 1]]))
OBLIQUE = Grid(
    (9, 20, 24),
    as_matrix([[-0.4, 0, 0.79, -50], [0, -0.8, 0, -120], [2.47, 0, 0.13, 300], [0, 0, 0, 1]]),
)


def recipe(orientation="", spacing_mm=None, order=(0, 1, 2), classes=("background", "lesion"), exclusive=True):
    return Recipe((4, 4, 4), spacing_mm, order, orientation, (), classes, exclusive, ct=True)


@pytest.mark.parametrize("grid", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR"])
def test_the_axes_of_a_network_grow_along_its_letters(grid, orientation):
    lattice = recipe(orientation, (1.5, 1.5, 2.0)).lattice(grid)
    letters = {"R": -np.eye(3)[0], "L": np.eye(3)[0], "A": -np.eye(3)[1], "P": np.eye(3)[1], "S": np.eye(3)[2]}
    for axis, letter in enumerate(orientation):
        assert lattice.directions[:, axis] @ letters[letter] > 0.9
    np.testing.assert_allclose(lattice.spacing_mm, (1.5, 1.5, 2.0))


@pytest.mark.parametrize("grid", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("orientation", ["", "RAS"])
def test_a_value_stays_at_its_place_in_the_patient_there_and_back(grid, orientation):
    def ramp(grid):
        points_lps = grid.to_lps(np.argwhere(np.ones(grid.shape)))
        return (points_lps @ [1.0, -2.0, 0.5]).reshape(grid.shape)

    lattice = recipe(orientation, (1.1, 1.2, 1.3), (2, 0, 1)).lattice(grid)
    inner = (slice(1, -2),) * 3  # beyond the last voxel values stay as at the border
    there = resampled(ramp(grid), grid, lattice)
    np.testing.assert_allclose(there[inner], ramp(lattice)[inner], atol=1e-3)
    back = resampled(there, lattice, grid)
    far = (slice(2, -3),) * 3
    np.testing.assert_allclose(back[far], ramp(grid)[far], atol=1e-3)


def test_without_letters_or_spacing_a_network_sees_the_acquired_voxels_in_its_own_order():
    lattice = recipe(order=(2, 1, 0)).lattice(SAGITTAL)
    assert lattice.shape == SAGITTAL.shape[::-1]
    values = np.arange(np.prod(SAGITTAL.shape), dtype=np.float32).reshape(SAGITTAL.shape)
    np.testing.assert_allclose(resampled(values, SAGITTAL, lattice), values.transpose(2, 1, 0))


def test_a_region_is_a_window_about_the_middle_and_moves_inwards_at_the_border():
    middle, corner = AXIAL.to_lps((4, 10, 12)), AXIAL.to_lps((0, 0, 23))
    assert region_around(AXIAL, middle, (5, 9, 9)) == (slice(2, 7), slice(6, 15), slice(8, 17))
    assert region_around(AXIAL, corner, (5, 9, 9)) == (slice(0, 5), slice(0, 9), slice(15, 24))


def test_a_region_grows_with_what_is_marked_but_not_beyond_the_scan():
    ends_lps = AXIAL.to_lps([(4, 10, 8), (4, 10, 18)])
    assert region_around(AXIAL, ends_lps, (5, 8, 8)) == (slice(2, 7), slice(6, 14), slice(6, 20))
    ends_lps = AXIAL.to_lps([(4, 10, 1), (4, 10, 22)])
    assert region_around(AXIAL, ends_lps, (50, 8, 8))[::2] == (slice(0, 9), slice(0, 24))


@pytest.mark.parametrize("shape", [(6, 6, 6), (4, 9, 14), (7, 3, 20)])
def test_windows_that_only_repeat_what_they_see_give_back_the_volume(shape):
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    seen = []

    def repeat(window):
        seen.append(window.shape)
        return np.stack([window, 2 * window])

    scores = looked_at(values, (6, 6, 6), repeat)
    np.testing.assert_allclose(scores, [values, 2 * values], rtol=1e-5, atol=1e-6)
    assert set(seen) == {(6, 6, 6)}


def test_the_middle_of_a_window_counts_more_than_its_rim():
    def rim_lies(window):
        scores = np.ones((1, *window.shape), dtype=np.float32)
        scores[:, :, :, [0, -1]] = -1.0
        return scores

    assert looked_at(np.zeros((8, 8, 20), dtype=np.float32), (8, 8, 8), rim_lies)[0, 4, 4, 4:16].min() > 0.5


def test_values_are_clipped_and_scaled_as_declared():
    values = np.array([-1000.0, 0.0, 40.0, 3000.0], dtype=np.float32)
    steps = (Clip(-100, 100), Scale(20.0, 40.0))
    for step in steps:
        values = step(values)
    np.testing.assert_allclose(values, [-3.0, -0.5, 0.5, 2.0])


def test_without_constants_a_scan_gets_mean_0_and_deviation_1_of_what_is_not_empty():
    values = np.array([0.0, 0.0, 0.0, 10.0, 20.0, 30.0], dtype=np.float32)
    np.testing.assert_allclose(Scale()(values).std(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(Scale(nonzero=True)(values), [0, 0, 0, -1.224745, 0, 1.224745], rtol=1e-5)
    np.testing.assert_allclose(Scale(nonzero=True)(0 * values), 0)


def test_the_likeliest_of_exclusive_classes_wins_and_regions_stand_alone():
    scores = np.log(np.array([[0.5, 0.2], [0.3, 0.5], [0.2, 0.3]], dtype=np.float32))
    exclusive = recipe(classes=("background", "organ", "lesion"))
    np.testing.assert_allclose(exclusive.wanted(scores, ("lesion",)), [-0.3, -0.2], atol=1e-6)
    np.testing.assert_allclose(exclusive.wanted(scores, ("organ", "lesion")), [-0.2, 0.3], atol=1e-6)
    regions = recipe(classes=("whole", "core"), exclusive=False)
    np.testing.assert_allclose(regions.wanted(np.array([[0.0], [9.0]]), ("whole",)), [0.0], atol=1e-6)


def test_a_piece_at_a_side_is_cut_off_only_where_the_scan_goes_on():
    piece = np.zeros((3, 4, 4), dtype=bool)
    piece[0, 2, 2] = True
    assert touches_side(piece, (slice(2, 5), slice(1, 5), slice(1, 5)), (9, 9, 9))
    assert not touches_side(piece, (slice(0, 3), slice(1, 5), slice(1, 5)), (9, 9, 9))
