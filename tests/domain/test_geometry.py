"""A grid maps an index straight to LPS millimetres, whatever its spacing and direction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_pipeline.domain.geometry import Grid, Space, Transform, as_matrix
from imaging_pipeline.errors import SpaceError


def rotation(axis: int, degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = cosine, -sine, sine, cosine
    return matrix


def oblique_grid(degrees: float = 20.0) -> Grid:
    matrix = np.eye(4)
    # Columns are the steps of slice, row and column: superior, posterior, left before the rotation.
    axes = np.array([[0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]]).T
    matrix[:3, :3] = rotation(0, degrees) @ axes @ np.diag([2.5, 0.7, 0.8])
    matrix[:3, 3] = (-100.0, -120.0, 300.0)
    return Grid((10, 20, 30), as_matrix(matrix), frame_of_reference_uid="1.2.3")


def test_an_axial_slice_steps_left_by_column_posterior_by_row_and_superior_by_slice():
    grid = oblique_grid(0.0)
    origin = grid.to_lps((0, 0, 0))
    assert np.allclose(grid.to_lps((0, 0, 1)) - origin, (0.8, 0, 0))
    assert np.allclose(grid.to_lps((0, 1, 0)) - origin, (0, 0.7, 0))
    assert np.allclose(grid.to_lps((1, 0, 0)) - origin, (0, 0, 2.5))
    assert np.allclose(grid.spacing_mm, (2.5, 0.7, 0.8))
    assert grid.voxel_volume_mm3 == pytest.approx(2.5 * 0.7 * 0.8)


@given(st.tuples(*[st.floats(-500, 500) for _ in range(3)]), st.floats(-80, 80))
def test_going_to_an_index_and_back_returns_the_point(point, degrees):
    grid = oblique_grid(degrees)
    assert np.allclose(grid.to_lps(grid.to_index(point)), point, atol=1e-8)


def test_a_crop_keeps_every_voxel_where_it_was():
    grid = oblique_grid()
    cropped = grid.crop((slice(2, 5), slice(3, 9), slice(4, 6)))
    assert cropped.shape == (3, 6, 2)
    assert np.allclose(cropped.to_lps((1, 2, 1)), grid.to_lps((3, 5, 5)))


def test_a_box_around_points_is_cut_to_the_grid_and_never_empty():
    grid = oblique_grid()
    box = grid.box_around(grid.to_lps([(0, 0, 0), (2, 4, 4)]), margin_mm=1.0)
    assert [(part.start, part.stop) for part in box] == [(0, 4), (0, 7), (0, 7)]
    outside = grid.box_around(grid.to_lps((-50, -50, -50)), margin_mm=1.0)
    assert all(part.stop - part.start == 1 for part in outside)


def test_a_point_is_inside_up_to_half_a_voxel_beyond_the_last_centre():
    grid = oblique_grid()
    assert grid.contains(grid.to_lps((-0.49, 0, 29.49)))
    assert not grid.contains(grid.to_lps((-0.51, 0, 0)))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Grid((10, 20, 31), oblique_grid().affine, frame_of_reference_uid="1.2.3"), "shape"),
        (Grid((10, 20, 30), oblique_grid().affine, frame_of_reference_uid="1.2.4"), "frame of reference"),
        (Grid((10, 20, 30), oblique_grid(20.1).affine, frame_of_reference_uid="1.2.3"), "mm apart"),
    ],
)
def test_another_place_is_refused_by_what_differs(other, named):
    with pytest.raises(SpaceError, match=named):
        oblique_grid().require_same_place(other, "mask")


def test_the_same_place_passes_also_when_one_side_states_no_frame():
    grid = oblique_grid()
    grid.require_same_place(Grid(grid.shape, grid.affine), "mask")


def test_a_planar_image_refuses_what_needs_a_place_in_the_patient():
    with pytest.raises(SpaceError, match="pixels space"):
        Grid((1, 4, 4), oblique_grid().affine, Space.PIXELS).require_patient("registration")


def test_a_transform_and_its_inverse_undo_each_other():
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(2, 7.0)
    matrix[:3, 3] = (10, -20, 30)
    transform = Transform(as_matrix(matrix), "1.2", "1.3")
    assert np.allclose(transform.inverse().apply(transform.apply([(1.0, 2, 3)])), [(1, 2, 3)])
    assert (transform.inverse().fixed_frame_uid, transform.inverse().moving_frame_uid) == ("1.3", "1.2")
