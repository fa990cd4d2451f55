"""Sizes from the mesh against closed forms."""

import numpy as np
import pytest

from imaging_pipeline.domain.geometry import moved
from imaging_pipeline.phantom.exact import Mesh
from imaging_pipeline.phantom.lesions import columns
from imaging_pipeline.phantom.posture import rotation
from imaging_pipeline.phantom.surfaces import Lobe, Surface, triangles

BALL = Surface((3.0, -2.0, 5.0), (15.0, 15.0, 15.0))
EGG = Surface((0.0, 0.0, 0.0), (20.0, 10.0, 5.0))


def mesh_of(surface, turn=None):
    vertices = surface.vertices()
    return Mesh(vertices if turn is None else moved(turn, vertices), triangles())


def test_a_ball_has_the_volume_area_and_diameters_of_a_ball():
    mesh = mesh_of(BALL)
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * 15**3, rel=3e-4)
    assert mesh.area_mm2 == pytest.approx(4 * np.pi * 15**2, rel=3e-4)
    assert mesh.max_3d_diameter() == pytest.approx(30, abs=0.01)
    longest = mesh.longest_axial_diameter()
    assert longest.length_mm == pytest.approx(30, abs=0.01)
    assert mesh.perpendicular(longest).length_mm == pytest.approx(30, abs=0.01)


def test_an_ellipsoid_on_the_axes_has_its_axes_as_diameters():
    mesh = mesh_of(EGG)
    longest = mesh.longest_axial_diameter()
    assert mesh.extents_mm == pytest.approx((40, 20, 10), abs=0.01)
    assert longest.length_mm == pytest.approx(40, abs=0.01)
    assert mesh.perpendicular(longest).length_mm == pytest.approx(20, abs=0.01)
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * 20 * 10 * 5, rel=3e-4)


@pytest.mark.parametrize("degrees", [10, 35, 80])
def test_a_tilted_ellipsoid_is_cut_by_axial_planes_in_the_ellipse_of_the_closed_form(degrees):
    angle = np.radians(degrees)
    mesh = mesh_of(EGG, rotation(1, angle))
    # In the plane through the middle, along the direction (cos, 0, -+sin) of the egg's own frame.
    in_plane = 2 / np.sqrt((np.cos(angle) / 20) ** 2 + (np.sin(angle) / 5) ** 2)
    longest = mesh.longest_axial_diameter()
    expected = sorted((in_plane, 20.0))
    assert longest.length_mm == pytest.approx(expected[1], abs=0.01)
    assert mesh.perpendicular(longest).length_mm == pytest.approx(expected[0], abs=0.01)
    assert mesh.max_3d_diameter() == pytest.approx(40, abs=0.01)


def test_the_perpendicular_stays_inside_a_border_with_a_notch():
    notched = Surface((0.0, 0.0, 0.0), (20.0, 10.0, 10.0), (Lobe((0.0, 1.0, 0.0), -0.6, 60.0),))
    mesh = mesh_of(notched)
    longest = mesh.longest_axial_diameter()
    across = mesh.perpendicular(longest)
    middle = np.linspace(*np.array(across.ends_lps), 101)[1:-1]
    assert np.all(notched.distance(columns(middle)) < 0.05)


def test_vertices_lie_on_the_surface_and_extents_are_those_asked_for():
    surface = Surface(
        (0.0, 0.0, 0.0), (15.0, 10.0, 11.0), (Lobe((0.6, 0.8, 0.0), 0.3, 8.0), Lobe((0.0, -0.6, 0.8), -0.2, 5.0))
    ).with_extents((30.0, 20.0, 22.0))
    assert np.ptp(surface.vertices(), axis=0) == pytest.approx((30, 20, 22), abs=1e-9)
    assert np.abs(surface.distance(columns(surface.vertices()))).max() < 1e-9


def test_distance_is_right_near_the_surface():
    directions = np.random.default_rng(1).standard_normal((50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for offset in (-0.5, 0.3):
        points = np.array(BALL.centre) + directions * (15.0 + offset)
        assert BALL.distance(columns(points)) == pytest.approx(np.full(50, offset), abs=1e-9)
