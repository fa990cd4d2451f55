"""CT and MR of one body, lying differently and seen in other planes, are laid upon each other; of two bodies, not."""

import numpy as np
import pytest

from imaging_pipeline.config import RegisterConfig
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.crossing import register_across
from tests.numerics.scenes import column, grid_of, points_of, rigid, torso, volume_of

CONFIG = RegisterConfig()
SAGITTAL = np.array([(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)])
AXIAL = grid_of((60, 90, 110), (3.0, 2.2, 2.2))
SLAB = grid_of((16, 80, 80), (4.4, 2.6, 2.6), directions=SAGITTAL.T)


def resonance(body):
    """Signal of a body given in HU, as spin echoes have it: fat bright, bone dark, muscle between."""

    def signal(points):
        return np.interp(
            body(points), (-1000.0, -500.0, -100.0, 45.0, 250.0, 400.0), (0.0, 20.0, 900.0, 300.0, 550.0, 60.0)
        )

    return signal


def scans(motion, body=None, other=None):
    body = body or torso(1)
    ct = volume_of(body, AXIAL, noise=15.0)
    return ct, volume_of(resonance(other or body), SLAB, noise=15.0, seed=3, unit="1", motion=motion)


def mean_mm(transform, motion, points):
    return float(np.linalg.norm(transform.apply(points) - (points @ motion[:3, :3].T + motion[:3, 3]), axis=1).mean())


MIDDLE = points_of(grid_of((5, 5, 5), (20.0, 15.0, 10.0)))


def test_mr_is_found_in_ct_and_ct_in_mr_whatever_their_frames():
    motion = rigid((3.0, -2.0, 4.0), (-10.0, 60.0, 45.0))
    ct, mr = scans(motion)
    there, back = register_across(ct, mr, CONFIG), register_across(mr, ct, CONFIG)
    assert mean_mm(there, motion, MIDDLE) < 0.6
    assert mean_mm(back, np.linalg.inv(motion), MIDDLE) < 0.6
    assert there.residual_mm is not None
    assert there.residual_mm < 1.0
    # By the same steps: nothing but an inverse lies between the two.
    assert np.allclose(np.array(back.matrix), np.linalg.inv(np.array(there.matrix)), rtol=0, atol=1e-9)


def test_another_body_is_refused():
    ct, mr = scans(np.eye(4), other=torso(77))
    with pytest.raises(StageError) as refusal:
        register_across(ct, mr, CONFIG)
    assert refusal.value.problem.code in ("E-REG-FAILED", "E-REG-AMBIGUOUS")


def test_equal_vertebrae_are_ambiguous():
    ct, mr = scans(np.eye(4), body=column())
    with pytest.raises(StageError, match="E-REG-AMBIGUOUS"):
        register_across(ct, mr, CONFIG)


def test_nothing_but_air_is_refused():
    ct, _ = scans(np.eye(4))
    empty = volume_of(lambda points: np.zeros(len(points)), SLAB, unit="1")
    with pytest.raises(StageError, match="without tissue"):
        register_across(ct, empty, CONFIG)
