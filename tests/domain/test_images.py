"""Nouns with arrays are frozen and compare by content."""

import numpy as np
import pytest

from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import IDENTITY, Grid, Transform
from imaging_pipeline.domain.images import Instance, Mask, Series, Volume

GRID = Grid((4, 5, 6), IDENTITY)
SERIES = Series("1.2", "1.1", "1.2.840.10008.5.1.4.1.1.2", "CT", "2023-05-28", "", (Instance("1.2.1", "00"),), GRID)


def mask_with(*voxels: tuple[int, int, int]) -> Mask:
    array = np.zeros(GRID.shape, dtype=bool)
    for voxel in voxels:
        array[voxel] = True
    return Mask(array, GRID, "test")


def test_equal_voxels_in_an_equal_place_are_equal_whoever_made_them():
    other = Mask(mask_with((1, 2, 3)).array.copy(), GRID, "someone else")
    assert mask_with((1, 2, 3)) == other
    assert hash(mask_with((1, 2, 3))) == hash(other)
    assert mask_with((1, 2, 3)) != mask_with((1, 2, 4))


def test_arrays_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        mask_with((0, 0, 0)).array[0, 0, 0] = False


def test_an_array_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(ValueError, match="shape"):
        Volume(np.zeros((4, 5, 7), np.int16), GRID, "1", SERIES)


def test_the_box_of_a_mask_holds_its_voxels_and_the_margin_within_the_grid():
    assert mask_with((1, 2, 3), (2, 2, 5)).box(margin=(1, 0, 2)) == (slice(0, 4), slice(2, 3), slice(1, 6))


def test_a_crop_put_back_on_the_whole_grid_is_the_mask_it_came_from():
    mask = mask_with((1, 2, 3), (2, 3, 5))
    assert mask.crop(mask.box()).on(GRID) == mask


def test_a_mask_beyond_the_grid_keeps_only_what_lies_inside():
    shifted = GRID.crop((slice(2, 4), slice(0, 5), slice(0, 6)))
    assert mask_with((1, 2, 3), (3, 2, 3)).on(shifted).array.sum() == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        ((1, 2), (1, (2,))),
        (1, "1"),
        (1.0, 1),
        (None, "None"),
        ({"a": 1}, {"a": 2}),
        (np.zeros(4, np.int16), np.zeros(2, np.int32)),
        (Transform(residual_mm=1.0), Transform(residual_mm=2.0)),
    ],
)
def test_different_content_has_different_digests(one, other):
    assert digest(one) != digest(other)


def test_the_order_of_a_mapping_does_not_matter_but_that_of_a_sequence_does():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_what_has_no_canonical_form_is_refused():
    with pytest.raises(TypeError, match="no canonical form"):
        digest({1, 2})
