"""Height ratios of vertebral bodies on a radiograph, on bodies known by formula."""

import numpy as np
import pytest

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.errors import SpaceError
from imaging_pipeline.numerics.measurement import measure
from imaging_pipeline.phantom.patient import draw_patient

L4 = Lesion("L4", "1.2.3", "L4", Kind.BONE, site=SITES["L4"])
MASS = Lesion("T1", "1.2.3", "mass", Kind.SOFT_TISSUE)


def film(shape, pixel_mm, space=Space.PLANE):
    affine = ((0.0, 0.0, pixel_mm, 0.0), (0.0, pixel_mm, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    series = Series("1.2", "1", "", "DX", "20240101", "lumbar_xr", ())
    return Volume(np.zeros(shape, dtype=np.int16), Grid(shape, affine, space), "1", series)


def lateral(vertebra, pixel_mm, turn_deg, front_left=True):
    """The mid-plane outline of a body, turned in the picture: (1, R, C)."""
    size = int(70.0 / pixel_mm)
    rows, columns = (np.indices((size, size)) - (size - 1) / 2 + 0.3) * pixel_mm
    cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    depth, height = cosine * columns + sine * rows, sine * columns - cosine * rows
    sign = 1.0 if front_left else -1.0
    return (vertebra.body_distance((np.zeros_like(depth), sign * depth, height)) < 0)[None]


def ratios(marked, pixel_mm, space=Space.PLANE):
    volume = film(marked.shape, pixel_mm, space)
    found = measure(volume, Mask(marked, volume.grid, "reader"), L4, 0, MeasureConfig())
    return {item.quantity: item for item in found.measurements}, found.problems


@pytest.mark.parametrize("turn_deg", [-20.0, 0.0, 13.0])
@pytest.mark.parametrize("front_left", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_ratios_of_a_flattened_body_are_right_however_it_lies(number, front_left, turn_deg):
    vertebra = draw_patient(83, number).anatomy.vertebra("L4")
    anterior, middle, posterior = (vertebra.height_at(share) for share in (0.15, 0.5, 0.85))
    found, problems = ratios(lateral(vertebra, 0.4, turn_deg, front_left), 0.4)
    truth = min(anterior, posterior) / max(anterior, posterior), middle / max(anterior, posterior)
    for name, true in zip(("height_ratio_ends", "height_ratio_middle"), truth, strict=True):
        assert found[name].value == pytest.approx(true, abs=0.025)
        assert found[name].lower95 <= true <= found[name].upper95
    assert problems == ()


def test_a_film_without_a_known_magnification_has_ratios_only_and_says_so():
    marked = lateral(draw_patient(83, 0).anatomy.vertebra("L4"), 0.4, 5.0)
    found, problems = ratios(marked, 1.0, Space.PIXELS)
    calibrated, _ = ratios(marked, 0.4)
    assert set(found) == {"height_ratio_ends", "height_ratio_middle"}
    assert found["height_ratio_ends"].value == calibrated["height_ratio_ends"].value
    assert [problem.code for problem in problems] == ["W-MEASURE-PIXELS"]


def test_a_mass_on_such_a_film_is_refused():
    marked = lateral(draw_patient(83, 0).anatomy.vertebra("L4"), 0.4, 5.0)
    volume = film(marked.shape, 1.0, Space.PIXELS)
    with pytest.raises(SpaceError, match="E-SPACE"):
        measure(volume, Mask(marked, volume.grid, "reader"), MASS, 0, MeasureConfig())


def test_an_outline_of_two_pieces_is_no_body():
    marked = lateral(draw_patient(83, 0).anatomy.vertebra("L4"), 0.4, 0.0)
    two = np.concatenate([marked, np.zeros((1, 3, marked.shape[2]), dtype=bool), marked], axis=1)
    found, problems = ratios(two, 0.4)
    assert "height_ratio_ends" not in found
    assert "pieces 2" in found["longest_diameter"].flags
    assert [problem.code for problem in problems] == ["W-MEASURE-HEIGHTS"]
