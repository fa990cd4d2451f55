"""Uptake on a planar bone scan of synthetic patients, whose counts without noise are known."""

from functools import cache

import numpy as np
import pytest

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.numerics.measurement import measure
from imaging_pipeline.numerics.uptake import uptake_ratio
from imaging_pipeline.phantom import scintigram
from imaging_pipeline.phantom.patient import draw_patient

SITE_OF = {"L4": "L4", "T4": "T4", "RIB1": "rib", "ILIUM": "ilium"}
CAMERA = Series("1.2", "1", "", "NM", "20240101", "bone_scan", ())


def lesion(name):
    return Lesion(name, "1.2.3", name, Kind.BONE, site=SITES[SITE_OF[name]])


def planar(counts, pixel_mm=2.0):
    affine = ((0.0, 0.0, pixel_mm, 0.0), (0.0, pixel_mm, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return Volume(counts, Grid(counts.shape, affine, Space.PLANE), "{counts}", CAMERA)


@cache
def patient(number):
    found = draw_patient(79, number)
    expected = scintigram.expected_counts(found, scintigram.FIELDS["full"])
    counts = np.random.default_rng(number).poisson(expected).astype(np.int16)
    return found, expected, planar(counts)


def marked(boxes, volume):
    array = np.zeros(volume.array.shape, dtype=bool)
    for view, ((row, column), (row_end, column_end)) in enumerate(boxes):
        array[view, row:row_end, column:column_end] = True
    return Mask(array, volume.grid, "phantom")


@pytest.mark.parametrize("name", SITE_OF)
@pytest.mark.parametrize("number", [0, 1])
def test_hot_and_cold_lesions_have_their_ratio(number, name):
    found, expected, volume = patient(number)
    own, reference = scintigram._regions(found.anatomy, name, scintigram.FIELDS["full"])
    truth = scintigram.uptake_ratio(expected, own, reference)
    ratio = uptake_ratio(volume, marked(own, volume), lesion(name))["uptake_ratio"]
    assert ratio.value == pytest.approx(truth, rel=0.06)
    assert ratio.lower95 <= truth <= ratio.upper95
    assert (ratio.value < 1.0) == (name == "T4")


def test_one_views_mark_stands_for_both():
    found, _, volume = patient(0)
    own, _ = scintigram._regions(found.anatomy, "RIB1", scintigram.FIELDS["full"])
    both = marked(own, volume)
    front = Mask(both.array & np.array([True, False])[:, None, None], both.grid, "reader")
    one, two = (uptake_ratio(volume, mask, lesion("RIB1"))["uptake_ratio"].value for mask in (front, both))
    assert one == pytest.approx(two, rel=0.05)


def test_the_ratio_is_the_geometric_mean_of_both_views():
    counts = np.full((2, 100, 40), 100, dtype=np.int16)
    box = [[[40, 4], [50, 10]], [[40, 30], [50, 36]]]
    for view, ((row, column), (row_end, column_end)) in enumerate(box):
        counts[view, row:row_end, column:column_end] = (900, 400)[view]
    volume = planar(counts)
    assert uptake_ratio(volume, marked(box, volume), lesion("ILIUM"))["uptake_ratio"].value == pytest.approx(6.0)


def test_a_lesion_without_a_reference_in_view_has_no_ratio_and_a_reason():
    _, _, volume = patient(0)
    mask = np.zeros(volume.array.shape, dtype=bool)
    mask[:, 2:900, 118:130] = True
    found = measure(volume, Mask(mask, volume.grid, "test"), lesion("L4"), 0, MeasureConfig())
    assert "uptake_ratio" not in {item.quantity for item in found.measurements}
    assert [problem.code for problem in found.problems] == ["W-MEASURE-UPTAKE"]


def test_a_planar_image_has_lines_in_its_plane_and_no_extent_in_the_patient():
    found, _, volume = patient(0)
    own, _ = scintigram._regions(found.anatomy, "L4", scintigram.FIELDS["full"])
    names = {
        item.quantity for item in measure(volume, marked(own, volume), lesion("L4"), 0, MeasureConfig()).measurements
    }
    assert names == {"longest_diameter", "perpendicular_diameter", "short_axis", "uptake_ratio"}
