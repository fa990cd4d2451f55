"""Bodies known by formula are outlined from what a reader marks, followed as they change, and refused by name."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.domain.geometry import Transform, as_matrix, as_point, moved
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.prompts import Box, Line, Outline, Outside, Point, Prompt
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.segmentation import carry, segment
from tests.numerics.scenes import ellipsoid_level, grid_of, overlap_of, points_of, rigid, volume_of

CONFIG = SegmentConfig()
GRID = grid_of((30, 64, 64), (2.5, 1.2, 1.2))
RADII = np.array((16.0, 11.0, 13.0))
TURN = Rotation.from_rotvec((0.0, 0.0, 0.5))


#: The middle of a second lesion, beyond the end of the first and open to it.
SECOND = TURN.apply((17.0, 0.0, 0.0))


def level(points, scale=1.0, centre=(0.0, 0.0, 0.0)):
    return ellipsoid_level(points, centre, RADII * scale, TURN)


def mass(scale=1.0, hu=48.0, centre=(0.0, 0.0, 0.0)):
    """A mass in fat that leans on a sheet of muscle of nearly its own density."""

    def field(points):
        values = np.where(points[:, 1] > 9.0, 58.0, -95.0)
        return np.where(level(points, scale, centre) < 0, hu, values)

    return field


def hole(points):
    """A lytic lesion in spongy bone."""
    return np.where(level(points) < 0, 50.0, 210.0)


def scanned(field, seed=0):
    return volume_of(field, GRID, noise=14.0, seed=seed)


def line(scale=1.0, off_mm=0.0):
    arm = TURN.apply((RADII[0] * scale + off_mm, 0.0, 0.0))
    return Line((as_point(-arm), as_point(arm)))


def outline_of(scale=1.0):
    return Mask((level(points_of(GRID), scale) < 0).reshape(GRID.shape), GRID, "test")


def refused(volume, prompt):
    with pytest.raises(StageError) as refusal:
        segment(volume, prompt, CONFIG)
    return refusal.value.problem.code


@pytest.mark.parametrize("off_mm", [-1.5, 1.5])
@pytest.mark.parametrize(("field", "kind"), [(mass(), Kind.SOFT_TISSUE), (hole, Kind.BONE)])
def test_a_line_gives_the_body(field, kind, off_mm):
    found = segment(scanned(field), Prompt(kind, (line(off_mm=off_mm),)), CONFIG)
    assert overlap_of(found, level, GRID) > 0.93
    assert found.confidence is not None
    assert found.confidence > CONFIG.min_confidence


def test_a_box_gives_the_body():
    reach = np.abs(TURN.as_matrix()) @ RADII
    box = Box((as_point(-reach), as_point(reach)))
    assert overlap_of(segment(scanned(hole), Prompt(Kind.BONE, (box,)), CONFIG), level, GRID) > 0.92


def test_a_click_off_the_middle_gives_the_body():
    found = segment(scanned(hole), Prompt(Kind.BONE, (Point((2.0, -1.0, 1.0)),)), CONFIG)
    assert overlap_of(found, level, GRID) > 0.92


def test_the_same_prompt_gives_the_same_outline():
    prompt = Prompt(Kind.BONE, (line(),))
    assert segment(scanned(hole), prompt, CONFIG) == segment(scanned(hole), prompt, CONFIG)


def test_marks_of_one_lesion_that_agree_give_it():
    marks = (line(), Point((4.0, 2.0, 3.0)))
    assert overlap_of(segment(scanned(hole), Prompt(Kind.BONE, marks), CONFIG), level, GRID) > 0.93


def test_marks_of_two_lesions_are_refused_by_name():
    assert refused(scanned(hole), Prompt(Kind.BONE, (line(), Point((4.0, 26.0, 3.0))))) == "E-PROMPT-DISAGREE"


def holes(points):
    """A lytic lesion with another of the same density that it runs into."""
    return np.where((level(points) < 0) | (level(points, 1.0, SECOND) < 0), 50.0, 210.0)


def test_a_click_on_what_is_not_the_lesion_keeps_it_out():
    click, beside = Point((0.0, 0.0, 0.0)), Outside(as_point(TURN.apply((17.5, 0.0, 0.0))))
    alone, limited = (
        segment(scanned(holes), Prompt(Kind.BONE, marks), CONFIG) for marks in ((click,), (click, beside))
    )
    assert overlap_of(alone, level, GRID) < 0.85
    assert overlap_of(limited, level, GRID) > 0.90


def test_a_click_said_to_be_outside_in_the_middle_of_the_lesion_is_refused_by_name():
    carried = Outline(outline_of())
    assert refused(scanned(hole), Prompt(Kind.BONE, (carried, Outside((0.0, 0.0, 0.0))))) == "E-PROMPT-DISAGREE"


def test_only_what_is_not_the_lesion_is_refused_by_name():
    assert refused(scanned(hole), Prompt(Kind.BONE, (Outside((0.0, 0.0, 0.0)),))) == "E-PROMPT-FORM"


@pytest.mark.parametrize("scale", [0.65, 1.0, 1.3])
def test_a_carried_outline_follows_response_and_growth(scale):
    found = segment(scanned(mass(scale), seed=1), Prompt(Kind.SOFT_TISSUE, (Outline(outline_of()),)), CONFIG)
    assert overlap_of(found, lambda points: level(points, scale), GRID) > 0.92


def test_bone_keeps_its_carried_outline_as_it_fills_in():
    carried = Outline(outline_of())
    found = segment(scanned(lambda points: np.full(len(points), 300.0)), Prompt(Kind.BONE, (carried,)), CONFIG)
    assert found == carried.mask


@pytest.mark.parametrize("mark", [Point((2000.0, 0.0, 0.0)), Line(((900.0, 0.0, 0.0), (930.0, 0.0, 0.0)))])
def test_a_mark_outside_the_scan_is_refused_by_name(mark):
    assert refused(scanned(hole), Prompt(Kind.BONE, (mark,))) == "E-PROMPT-OUTSIDE"


def test_a_mass_that_went_is_refused_by_name():
    gone = scanned(lambda points: np.where(points[:, 1] > 9.0, 58.0, -95.0))
    assert refused(gone, Prompt(Kind.SOFT_TISSUE, (Outline(outline_of(0.7)),))) == "E-SEG-EMPTY"


def test_an_outline_carried_out_of_view_is_refused_by_name():
    empty = Mask(np.zeros(GRID.shape, dtype=bool), GRID, "test")
    assert refused(scanned(mass()), Prompt(Kind.SOFT_TISSUE, (Outline(empty),))) == "E-SEG-EMPTY"


def test_an_outline_is_carried_with_the_body():
    motion = rigid((4, -3, 6), (5, -8, 12))
    there = grid_of((40, 90, 90), (2.0, 1.2, 1.2), centre=(5.0, -8.0, 12.0))
    carried = carry(outline_of(), Transform(as_matrix(motion)), there)
    assert overlap_of(carried, lambda points: level(moved(np.linalg.inv(motion), points)), there) > 0.96


def test_an_outline_carried_beyond_the_scan_is_empty():
    away = carry(outline_of(), Transform(as_matrix(rigid((0, 0, 0), (0, 0, 500)))), GRID)
    assert not away.array.any()
