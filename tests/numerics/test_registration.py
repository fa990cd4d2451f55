"""Motions known in closed form are found again, and what cannot be known is said to be so."""

import numpy as np
import pytest

from imaging_pipeline.config import RegisterConfig
from imaging_pipeline.domain.geometry import Grid, Space, Transform, as_matrix, as_point, moved
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.errors import SpaceError, StageError
from imaging_pipeline.numerics.registration import refine, register
from tests.numerics.scenes import column, ellipsoid_level, grid_of, points_of, rigid, torso, volume_of

CONFIG = RegisterConfig()
SHAPE, SPACING = (60, 90, 110), (3.0, 2.2, 2.2)
SAGITTAL = np.array([(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)])


def worst_mm(transform, motion, grid):
    """The largest error of a transform over the middle of a grid."""
    points = points_of(grid)
    points = points[np.linalg.norm(points / (80.0, 50.0, 60.0), axis=1) < 1.0]
    return float(np.linalg.norm(transform.apply(points) - moved(motion, points), axis=1).max())


@pytest.fixture(scope="module")
def baseline():
    return volume_of(torso(1), grid_of(SHAPE, SPACING), noise=15.0, seed=2)


@pytest.mark.parametrize(
    ("rotation", "shift"),
    [((0, 0, 0), (0, 0, 0)), ((5, -4, 4), (12, -9, 22)), ((-4, 3, -6), (-8, 16, -24)), ((8, 0, 0), (0, 0, 30))],
)
def test_a_rigid_motion_is_recovered_to_a_third_of_a_millimetre(baseline, rotation, shift):
    motion = rigid(rotation, shift)
    later = volume_of(torso(1), grid_of(SHAPE, SPACING, centre=shift), noise=20.0, seed=3, motion=motion)
    found = register(baseline, later, CONFIG)
    assert worst_mm(found, motion, baseline.grid) < 0.3
    assert found.residual_mm is not None
    assert found.residual_mm < 1.0


def test_other_spacing_and_field_of_view_do_not_disturb(baseline):
    motion = rigid((3, 2, -5), (6, 4, -10))
    later = volume_of(torso(1), grid_of((26, 70, 96), (5.0, 3.0, 2.6), (10, 5, 20)), noise=15.0, seed=4, motion=motion)
    found = register(baseline, later, CONFIG)
    assert worst_mm(found, motion, baseline.grid) < 0.6
    assert found.overlap is not None
    assert found.overlap < 0.9


def test_a_sagittal_scan_is_aligned_with_an_axial_one(baseline):
    motion = rigid((2, -3, 4), (5, -6, 9))
    grid = grid_of((60, 70, 60), (3.5, 2.6, 2.6), directions=SAGITTAL.T)
    later = volume_of(torso(1), grid, noise=15.0, seed=5, motion=motion)
    assert worst_mm(register(baseline, later, CONFIG), motion, baseline.grid) < 0.5


def test_magnetic_resonance_of_another_gain_is_aligned():
    grid = grid_of(SHAPE, SPACING)
    motion = rigid((-3, 4, 2), (4, 8, -12))

    trunk = torso(1)

    def signal(points):
        return np.maximum(trunk(points) + 200.0, 0.0)

    first = volume_of(signal, grid, noise=10.0, unit="1")
    later = volume_of(lambda points: 3.0 * signal(points), grid, noise=30.0, seed=6, unit="1", motion=motion)
    assert worst_mm(register(first, later, CONFIG), motion, grid) < 0.5


def test_overlap_is_the_share_of_the_body_seen_later(baseline):
    upper_half = volume_of(torso(1), grid_of((30, 90, 110), SPACING, (0, 0, 45.0)), noise=15.0, seed=7)
    assert register(baseline, upper_half, CONFIG).overlap == pytest.approx(0.5, abs=0.03)


def test_the_same_scans_give_the_same_transform(baseline):
    later = volume_of(torso(1), grid_of(SHAPE, SPACING), noise=15.0, seed=8, motion=rigid((1, 2, 3), (4, 5, 6)))
    assert register(baseline, later, CONFIG) == register(baseline, later, CONFIG)


def test_equal_vertebrae_without_a_mark_are_ambiguous():
    grid = grid_of((50, 64, 80), (3.0, 3.0, 3.0))
    first = volume_of(column(), grid, noise=15.0)
    later = volume_of(column(), grid, noise=15.0, seed=1, motion=rigid((0, 0, 0), (0, 0, 12.5)))
    with pytest.raises(StageError) as refusal:
        register(first, later, CONFIG)
    assert refusal.value.problem.code == "E-REG-AMBIGUOUS"
    assert "prompt" in refusal.value.problem.remedy


@pytest.mark.parametrize("shift_mm", [-37.5, 12.5, 25.0])
def test_labelled_levels_tell_equal_vertebrae_apart(shift_mm):
    grid = grid_of((50, 64, 80), (3.0, 3.0, 3.0))
    motion = rigid((2, 0, 3), (5, 0, shift_mm))
    first = volume_of(column(), grid, noise=15.0)
    later = volume_of(column(), grid, noise=15.0, seed=1, motion=motion)
    middles = [(0.0, 0.0, height_mm) for height_mm in (-25.0, 0.0, 25.0)]
    # A label's middle lies where another program's voxels do, not where ours would.
    same = [(middle, as_point(np.add(moved(motion, middle), (1.0, -2.0, 2.0)))) for middle in middles]
    assert worst_mm(register(first, later, CONFIG, same), motion, grid) < 1.0


def test_an_alignment_that_contradicts_the_labels_is_refused(baseline):
    opposite = [((0.0, 0.0, -40.0), (0.0, 0.0, 40.0)), ((0.0, 0.0, 40.0), (0.0, 0.0, -40.0))]
    with pytest.raises(StageError) as refusal:
        register(baseline, baseline, CONFIG, opposite)
    assert refusal.value.problem.code == "E-REG-LEVEL"


@pytest.mark.parametrize("shift_mm", [-40.0, -25.0, 12.5, 25.0, 50.0])
def test_one_mark_tells_the_right_vertebra_from_its_neighbours(shift_mm):
    grid = grid_of((50, 64, 80), (3.0, 3.0, 3.0))
    motion = rigid((2, 0, 3), (5, 0, shift_mm))
    first = volume_of(column(mark_at_mm=5.0), grid, noise=15.0)
    later = volume_of(column(mark_at_mm=5.0), grid, noise=15.0, seed=1, motion=motion)
    assert worst_mm(register(first, later, CONFIG), motion, grid) < 1.0


def test_another_body_is_refused(baseline):
    other = volume_of(torso(77), grid_of(SHAPE, SPACING), noise=15.0)
    with pytest.raises(StageError) as refusal:
        register(baseline, other, CONFIG)
    assert refusal.value.problem.code in ("E-REG-FAILED", "E-REG-AMBIGUOUS")


def test_a_picture_without_a_place_is_refused(baseline):
    flat = Grid(baseline.grid.shape, baseline.grid.affine, Space.PLANE)
    picture = type(baseline)(baseline.array, flat, baseline.unit, baseline.series)
    with pytest.raises(SpaceError):
        register(baseline, picture, CONFIG)


class TestAroundTheLesion:
    """A vertebra that moved against the rest, with a lesion that healed in it."""

    GRID = grid_of((50, 100, 110), (2.0, 1.6, 1.6))
    CENTRE = (20.0, 0.0, 0.0)
    BEND = rigid((3, 0, 0), (0, 0, 2.5))

    @classmethod
    def scene(cls, points, lesion_hu):
        values = torso(3)(points)
        q = np.abs(points - cls.CENTRE) / (24.0, 18.0, 14.0)
        shape = np.maximum(np.linalg.norm(q[:, :2], axis=1), q[:, 2])
        values = np.where(shape < 1.0, np.where(shape > 0.86, 600.0, 170.0), values)
        return np.where(ellipsoid_level(points, cls.CENTRE, (9, 8, 8)) < 0, lesion_hu, values)

    def bent(self, points):
        """The vertebra and what is near it moved by BEND, the rest in place."""
        near = np.linalg.norm((points - self.CENTRE) / (40.0, 40.0, 30.0), axis=1) < 1.0
        return np.where(near, self.scene(moved(np.linalg.inv(self.BEND), points), 400.0), self.scene(points, 400.0))

    def lesion(self):
        level = ellipsoid_level(points_of(self.GRID), self.CENTRE, (9, 8, 8))
        return Mask((level < 0).reshape(self.GRID.shape), self.GRID, "test")

    def test_bone_is_followed_though_the_rest_stayed_and_the_lesion_filled_in(self):
        first = volume_of(lambda points: self.scene(points, 45.0), self.GRID, noise=15.0)
        later = volume_of(self.bent, self.GRID, noise=15.0, seed=1)
        found = refine(first, later, Transform(), self.lesion(), Kind.BONE, CONFIG)
        inside = points_of(self.GRID)[self.lesion().array.ravel()]
        error = np.linalg.norm(found.apply(inside) - moved(self.BEND, inside), axis=1)
        assert error.max() < 0.6

    def test_what_fits_already_is_left_as_it_is(self):
        first = volume_of(lambda points: self.scene(points, 45.0), self.GRID, noise=15.0)
        later = volume_of(lambda points: self.scene(points, 400.0), self.GRID, noise=15.0, seed=1)
        found = refine(first, later, Transform(), self.lesion(), Kind.BONE, CONFIG)
        assert np.abs(np.array(found.matrix) - np.eye(4)).max() < 0.1

    def test_a_neighbourhood_that_stays_unaligned_is_refused(self):
        first = volume_of(lambda points: self.scene(points, 45.0), self.GRID, noise=15.0)
        later = volume_of(torso(9), self.GRID, noise=15.0)
        with pytest.raises(StageError) as refusal:
            refine(first, later, Transform(), self.lesion(), Kind.BONE, CONFIG)
        assert refusal.value.problem.code == "E-REG-FAILED"

    def test_bright_tissue_beyond_the_neighbourhood_does_not_change_its_values(self):
        def signal(points):
            fluid = np.abs(points[:, 1] + 52.0) < 10.0  # 40 mm and more in front of the lesion
            return np.where(fluid, 3000.0, np.maximum(self.scene(points, 45.0) + 200.0, 0.0))

        motion = rigid((1, -1, 1), (3, -2, 2))
        first = volume_of(signal, self.GRID, noise=10.0, unit="1")
        later = volume_of(signal, self.GRID, noise=10.0, seed=1, unit="1", motion=motion)
        start = Transform(as_matrix(motion @ rigid((0, 0, 0.5), (0.5, 0.5, 0))))
        found = refine(first, later, start, self.lesion(), Kind.BONE, CONFIG)
        inside = points_of(self.GRID)[self.lesion().array.ravel()]
        error = np.linalg.norm(found.apply(inside) - moved(motion, inside), axis=1)
        assert error.max() < 0.3
