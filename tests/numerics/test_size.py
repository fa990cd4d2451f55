"""Diameters, extents, volume and surface against bodies known by formula, real masks and the IBSI phantom."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.numerics.calipers import axes
from imaging_pipeline.numerics.size import cautions_of, sizes
from tests.numerics.bodies import crescent, ellipsoid, imaged, lobulated, random_grid, sampled, star, true_axes


def length(ends):
    return float(np.linalg.norm(ends[1] - ends[0]))


def plain(shape, spacing=(1.0, 1.0, 1.0)):
    affine = np.eye(4)[:, [2, 1, 0, 3]] * [*spacing, 1.0]
    return Grid(shape, as_matrix(affine))


def diameter_errors(draw, count, seed):
    """Errors of the longest diameter and its perpendicular over random grids, true values, half-widths of intervals."""
    random, errors, truths, reach = np.random.default_rng(seed), [], [], []
    for _ in range(count):
        body, oblique = draw(random)
        grid = random_grid(random, body.reach_mm, oblique=oblique)
        marked = sampled(body, grid)
        truth = true_axes(body, grid, marked)
        found = sizes(marked, grid)
        longest, perpendicular = found["longest_diameter"], found["perpendicular_diameter"]
        errors.append((longest.value - truth[0], perpendicular.value - truth[1]))
        truths.append(truth)
        reach.append(longest.upper95 - longest.value)
    return np.array(errors), np.array(truths), np.array(reach)


def smooth_body(random):
    size = random.uniform(14.0, 50.0)
    shares = np.array([1.0, random.uniform(0.5, 1.0), random.uniform(0.5, 1.0)])
    if random.random() < 0.5:
        return ellipsoid(size / 2 * shares, Rotation.random(rng=random)), True
    return lobulated(random, size), True


def angular_body(random):
    size, angle = random.uniform(16.0, 50.0), random.uniform(0.0, 6.28)
    if random.random() < 0.5:
        return star(int(random.integers(4, 8)), size, angle), False
    return crescent(size / 2, size / 2 * random.uniform(0.8, 1.0), size / 2 * random.uniform(0.3, 0.6), angle), False


@pytest.fixture(scope="module")
def smooth_errors():
    return diameter_errors(smooth_body, 30, seed=1)


def test_diameters_of_smooth_bodies_are_unbiased_on_oblique_grids_with_oblong_pixels(smooth_errors):
    errors, _, _ = smooth_errors
    assert np.abs(errors.mean(axis=0)).max() < 0.1
    assert np.percentile(np.abs(errors), 90, axis=0).max() < 0.4


def test_intervals_of_diameters_cover_the_truth(smooth_errors):
    errors, _, reach = smooth_errors
    assert np.mean(np.abs(errors[:, 0]) <= reach) >= 0.85


def test_diameters_of_crescents_and_stars_are_right_to_one_percent():
    errors, truths, _ = diameter_errors(angular_body, 24, seed=2)
    assert np.mean(np.abs(errors[:, 0]) / truths[:, 0]) < 0.01


def test_the_interval_of_the_perpendicular_spans_most_of_those_of_lines_as_long():
    """Of a disc without a quarter every diameter that avoids the gap is a longest line: 1.41 to 2 radii across it."""
    grid = plain((3, 80, 80))
    _, rows, columns = np.indices(grid.shape) - np.array([0.0, 39.3, 40.2])[:, None, None, None]
    marked = (np.hypot(rows, columns) < 30.0) & ~(columns > np.abs(rows))
    perpendicular = sizes(marked, grid)["perpendicular_diameter"]
    assert perpendicular.lower95 < 1.6 * 30.0
    assert perpendicular.upper95 > 1.9 * 30.0


def test_the_interval_of_the_perpendicular_is_narrow_where_one_line_is_the_longest():
    grid = plain((3, 50, 90))
    _, rows, columns = np.indices(grid.shape) - np.array([0.0, 24.3, 44.6])[:, None, None, None]
    perpendicular = sizes(np.hypot(rows / 15.0, columns / 35.0) < 1.0, grid)["perpendicular_diameter"]
    assert perpendicular.lower95 < 30.0 < perpendicular.upper95
    assert perpendicular.upper95 - perpendicular.lower95 < 3.0


def test_the_line_lies_in_one_slice_and_the_perpendicular_at_a_right_angle_in_the_same():
    random = np.random.default_rng(3)
    body = lobulated(random, 30.0)
    grid = random_grid(random, body.reach_mm)
    found = axes(sampled(body, grid), grid)
    ends = grid.to_index(np.concatenate([found.long_lps, found.perpendicular_lps]))
    assert ends[:, 0] == pytest.approx(np.full(4, found.slice_index), abs=1e-9)
    assert np.diff(found.long_lps, axis=0)[0] @ np.diff(found.perpendicular_lps, axis=0)[0] == pytest.approx(
        0.0, abs=1e-6
    )
    assert np.abs(body.level(found.long_lps)).max() < 0.6


def test_a_turned_and_shifted_grid_changes_no_length():
    body = ellipsoid((15.0, 9.0, 7.0))
    marked_on = plain((21, 60, 60), (2.0, 0.7, 0.7))
    centre = marked_on.to_lps(np.array(marked_on.shape) / 2)
    index = np.stack(np.meshgrid(*(np.arange(size) for size in marked_on.shape), indexing="ij"), axis=-1)
    marked = body.level(marked_on.to_lps(index) - centre) < 0
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = Rotation.from_euler("xyz", (0.3, -0.8, 1.1)).as_matrix(), (5.0, -7.0, 11.0)
    turned = Grid(marked_on.shape, as_matrix(turn @ marked_on.matrix))
    for name in ("longest_diameter", "perpendicular_diameter", "max_3d_diameter", "volume", "surface_area"):
        assert sizes(marked, turned)[name].value == pytest.approx(sizes(marked, marked_on)[name].value, rel=1e-9)


def test_the_largest_distance_is_that_of_all_points_of_the_mesh():
    random = np.random.default_rng(12)
    for _ in range(10):
        body = lobulated(random, random.uniform(8.0, 30.0))
        grid = random_grid(random, body.reach_mm)
        marked = sampled(body, grid)
        half = 0.5 * grid.matrix[:3, :3].T
        points = np.concatenate([grid.to_lps(np.argwhere(marked)) + offset for offset in (*half, *-half)])
        longest = pdist(points[ConvexHull(points, qhull_options="QJ").vertices]).max()
        assert sizes(marked, grid)["max_3d_diameter"].value == pytest.approx(longest, rel=1e-9)


def test_extents_follow_the_patients_axes():
    body = ellipsoid((15.0, 10.0, 12.5))
    random = np.random.default_rng(4)
    errors = []
    for _ in range(20):
        grid = random_grid(random, 15.0, slice_mm=2.5, oblique=False)
        found = sizes(sampled(body, grid), grid)
        errors.append(
            [found[f"extent_{name}"].value for name in ("left_right", "anterior_posterior", "superior_inferior")]
        )
    assert np.mean(errors, axis=0) == pytest.approx([30.0, 20.0, 25.0], abs=0.35)


def test_counting_voxels_of_an_exact_mask_is_unbiased():
    random, errors = np.random.default_rng(5), []
    for _ in range(40):
        body = ellipsoid(random.uniform(6.0, 20.0, 3), Rotation.random(rng=random))
        grid = random_grid(random, body.reach_mm, slice_mm=2.5, pixel_mm=0.8)
        errors.append(sizes(sampled(body, grid), grid)["volume"].value / body.volume_mm3 - 1.0)
    assert abs(np.mean(errors)) < 0.003
    assert np.percentile(np.abs(errors), 95) < 0.02


@pytest.mark.parametrize(("noise", "share_left"), [(2.0, 0.3), (15.0, 0.8)])
def test_the_image_corrects_the_volume_of_a_lesion_of_ten_millimetres(noise, share_left):
    random, errors, counted = np.random.default_rng(11), [], []
    for _ in range(8):
        body = ellipsoid(random.uniform(4.0, 5.5, 3), Rotation.random(rng=random))
        grid = random_grid(random, body.reach_mm, slice_mm=2.5, pixel_mm=0.8, margin_mm=10.0)
        image = 150.0 * imaged(body, grid, 0.55) + random.normal(0.0, noise, grid.shape)
        for found, array in ((errors, image), (counted, None)):
            volume = sizes(sampled(body, grid), grid, array, noise)["volume"]
            found.append(volume.value / body.volume_mm3 - 1.0)
            assert volume.lower95 <= body.volume_mm3 <= volume.upper95
    assert np.sqrt(np.mean(np.square(errors))) < share_left * np.sqrt(np.mean(np.square(counted)))


def test_one_voxel_has_a_size():
    marked = np.zeros((3, 5, 5), dtype=bool)
    marked[1, 2, 2] = True
    found = sizes(marked, plain(marked.shape, (2.0, 0.8, 0.8)))
    assert 0.0 < found["longest_diameter"].value < 0.8 * np.sqrt(2)
    assert found["volume"].value == pytest.approx(1.28)
    assert found["longest_diameter"].lower95 >= 0.0


def test_one_slice_of_one_row_has_a_size():
    marked = np.zeros((1, 5, 12), dtype=bool)
    marked[0, 2, 2:10] = True
    found = axes(marked, plain(marked.shape))
    assert 7.0 < length(found.long_lps) < 9.0
    assert length(found.perpendicular_lps) < 1.5


def test_no_line_runs_between_two_pieces():
    marked = np.zeros((3, 30, 60), dtype=bool)
    marked[1, 10:20, 5:15] = True
    marked[1, 10:20, 45:55] = True
    assert length(axes(marked, plain(marked.shape)).long_lps) < 15.0
    assert cautions_of(marked, truncated=False) == ("pieces 2",)


def test_a_line_spans_parts_of_one_piece_that_meet_in_another_slice():
    marked = np.zeros((2, 20, 40), dtype=bool)
    marked[0, 8:12, 4:36] = True
    marked[1, 5:15, 4:8] = marked[1, 5:15, 32:36] = True
    assert length(axes(marked, plain(marked.shape)).long_lps) > 31.0


def test_a_hole_changes_no_diameter():
    body = ellipsoid((15.0, 12.0, 8.0))
    grid = random_grid(np.random.default_rng(7), 15.0, slice_mm=2.0)
    marked = sampled(body, grid)
    hollow = marked & ~sampled(ellipsoid((6.0, 5.0, 4.0)), grid)
    assert length(axes(hollow, grid).long_lps) == pytest.approx(length(axes(marked, grid).long_lps))


def test_a_mask_that_fills_its_array_is_closed_at_the_edges():
    found = sizes(np.ones((4, 10, 20), dtype=bool), plain((4, 10, 20), (3.0, 1.0, 1.0)))
    assert found["volume"].value == pytest.approx(2400.0)
    assert found["extent_superior_inferior"].value == pytest.approx(12.0)


def test_hundreds_of_stray_voxels_do_not_hide_the_lesion():
    random = np.random.default_rng(8)
    marked = random.random((10, 80, 80)) < 0.01
    marked[4:7, 20:50, 30:60] = True
    assert length(axes(marked, plain(marked.shape)).long_lps) == pytest.approx(30 * np.sqrt(2), abs=2.5)


def test_the_ibsi_phantom_has_its_reference_sizes(real_scans):
    image = nib.load(real_scans / "ibsi_digital_phantom" / "nifti" / "mask" / "mask.nii.gz")
    marked = np.asarray(image.dataobj).T > 0
    found = sizes(marked, plain(marked.shape, (2.0, 2.0, 2.0)))
    assert found["surface_area"].value == pytest.approx(388.0, abs=3.0)
    assert found["max_3d_diameter"].value == pytest.approx(13.1, abs=0.1)
    assert found["volume"].value == pytest.approx(592.0, abs=4.0)
