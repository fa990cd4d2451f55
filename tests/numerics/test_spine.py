"""A vertebral body drawn by formula: its tilt is found and its heights hold between thick slices."""

import numpy as np
import pytest

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.numerics.pyramid import Level
from imaging_pipeline.numerics.spine import body_frame, heights_mm

HEIGHT_MM, HALF_DEPTH_MM, HALF_WIDTH_MM = 27.0, 17.0, 23.0
SHELL_MM = 1.4


def body_in_discs(tilt_degrees: float, slice_mm: float, phase: float) -> Level:
    """A box of trabecular bone in a thin shell, leaning forwards, seen in slices as thick as they lie apart."""
    count = int(56.0 / slice_mm)
    grid_affine = np.array([[0, 0, 0.8, -30.0], [0, 0.8, 0, -30.0], [slice_mm, 0, 0, 0.0], [0, 0, 0, 1.0]])
    grid_affine[2, 3] = (phase - 0.5 * (count - 1)) * slice_mm
    grid = Grid((count, 76, 76), as_matrix(grid_affine))
    slices, rows, columns = np.indices(grid.shape)
    tilt, image = np.radians(tilt_degrees), np.zeros(grid.shape)
    for offset in (np.arange(10) + 0.5) / 10 - 0.5:
        points = grid.to_lps(np.stack([slices + offset, rows, columns], axis=-1))
        up = points @ [0.0, -np.sin(tilt), np.cos(tilt)]
        back = points @ [0.0, np.cos(tilt), np.sin(tilt)]
        outside = np.maximum.reduce(
            [np.abs(up) - HEIGHT_MM / 2, np.abs(back) - HALF_DEPTH_MM, np.abs(points[..., 0]) - HALF_WIDTH_MM]
        )
        image += np.where(outside > 0.0, 80.0, np.where(outside > -SHELL_MM, 800.0, 165.0)) / 10
    return Level(image.astype(np.float32), grid)


def heights(image, frame):
    return heights_mm(image, frame, (0.15, 0.5, 0.85), np.ones(image.array.shape, dtype=bool), 800.0)


@pytest.mark.parametrize("tilt_degrees", [-12.0, 0.0, 8.0])
def test_a_bodys_own_axis_is_found_from_the_line_between_its_neighbours(tilt_degrees):
    frame = body_frame(body_in_discs(tilt_degrees, 1.0, 0.0), np.array([0.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    assert frame is not None
    leaning = np.degrees(np.arctan2(-frame.upwards[1], frame.upwards[2]))
    assert leaning == pytest.approx(tilt_degrees, abs=1.0)
    assert frame.half_depth_mm == pytest.approx(HALF_DEPTH_MM, abs=0.5)


@pytest.mark.parametrize(("slice_mm", "within_mm"), [(1.0, 0.3), (2.5, 0.5)])
def test_heights_of_a_leaning_body_hold_wherever_the_slices_fall(slice_mm, within_mm):
    for phase in (0.0, 0.25, 0.5, 0.75):
        image = body_in_discs(8.0, slice_mm, phase)
        frame = body_frame(image, np.array([0.0, 0.0, 1.0]), np.zeros(3))
        assert frame is not None
        assert heights(image, frame) == pytest.approx(HEIGHT_MM, abs=within_mm)


def test_a_body_is_centred_between_its_sides_and_by_one_of_them_where_the_other_is_gone():
    image, up, aside = body_in_discs(0.0, 1.0, 0.0), np.array([0.0, 0.0, 1.0]), np.array([6.0, 0.0, 0.0])
    whole = body_frame(image, up, aside)
    assert whole.middle[0] == pytest.approx(0.0, abs=0.3)
    assert whole.half_width_mm == pytest.approx(HALF_WIDTH_MM, abs=0.5)
    left = image.grid.to_lps(np.indices(image.grid.shape).reshape(3, -1).T)[:, 0].reshape(image.grid.shape) > 16.0
    gone = Level(np.where(left, np.float32(60.0), image.array), image.grid)
    assert body_frame(gone, up, aside, usual_mm=HALF_WIDTH_MM).middle[0] == pytest.approx(0.0, abs=0.5)


def test_heights_are_not_given_where_no_face_shows():
    image = body_in_discs(0.0, 1.0, 0.0)
    frame = body_frame(image, np.array([0.0, 0.0, 1.0]), np.zeros(3))
    assert frame is not None
    bare = Level(np.full_like(image.array, 165.0), image.grid)
    assert np.isnan(heights(bare, frame)).all()
