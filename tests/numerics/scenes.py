"""Scenes for registration and segmentation: functions of LPS millimetres, so that every motion of them is exact."""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from imaging_pipeline.domain.geometry import Grid, as_matrix, moved
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.quantities import HU

Field = Callable[[np.ndarray], np.ndarray]


def grid_of(shape, spacing, centre=(0.0, 0.0, 0.0), directions=None) -> Grid:
    """A grid around a centre; axial (slices up, rows back, columns left) unless directions are given as columns."""
    axes = np.array([(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]) if directions is None else directions
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes) * spacing
    matrix[:3, 3] = centre - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(tuple(shape), as_matrix(matrix))


def points_of(grid: Grid) -> np.ndarray:
    return grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)


def volume_of(field: Field, grid: Grid, noise=0.0, seed=0, unit=HU, motion=None) -> Volume:
    """A field sampled on a grid; `motion` moves the body from the field's space into the scan's."""
    points = points_of(grid)
    if motion is not None:
        points = moved(np.linalg.inv(motion), points)
    values = field(points) + np.random.default_rng(seed).normal(0.0, noise, len(points)) * (noise > 0)
    array = values.reshape(grid.shape)
    series = Series("1.2.3", "1.2", "", "CT" if unit == HU else "MR", "20240101", "scan", (), grid)
    return Volume(np.rint(array).astype(np.int16) if unit == HU else array.astype(np.float32), grid, unit, series)


def rigid(rotation_degrees, shift) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(rotation_degrees)).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def torso(seed, details=50) -> Field:
    """An elliptic trunk of soft tissue in air, with smooth lumps of fat and bone drawn at random."""
    random = np.random.default_rng(seed)
    places = random.uniform((-85, -55, -90), (85, 55, 90), (details, 3))
    widths = random.uniform(5.0, 12.0, details)
    heights = random.choice((-140.0, 350.0), details)

    def field(points):
        inside = np.linalg.norm(points[:, :2] / (110.0, 75.0), axis=1) < 1.0
        values = np.where(inside, 45.0, -1000.0)
        for place, width, height in zip(places, widths, heights, strict=True):
            near = np.flatnonzero(inside & (np.abs(points[:, 2] - place[2]) < 4 * width))
            values[near] += height * np.exp(-((points[near] - place) ** 2).sum(axis=1) / (2 * width**2))
        return values

    return field


def column(pitch_mm=25.0, mark_at_mm=None) -> Field:
    """A trunk with equal vertebrae one above the other for ever; one of them may bear a mark."""

    def field(points):
        edge = np.linalg.norm(points[:, :2] / (90.0, 70.0), axis=1)
        values = np.where(edge < 1.0, 45.0, -1000.0)
        height = (points[:, 2] + pitch_mm / 2) % pitch_mm - pitch_mm / 2
        across = np.linalg.norm(points[:, :2] - (0.0, 25.0), axis=1)
        values += 350.0 / (1.0 + np.exp((across - 18.0) / 1.5)) / (1.0 + np.exp((np.abs(height) - 9.0) / 1.5))
        if mark_at_mm is not None:
            values += 400.0 * np.exp(-((points - (40.0, 0.0, mark_at_mm)) ** 2).sum(axis=1) / (2 * 12.0**2))
        return values

    return field


def ellipsoid_level(points, centre, radii, turn=None):
    """Negative inside, in about mm."""
    axes = np.eye(3) if turn is None else turn.as_matrix()
    scaled = (np.asarray(points) - centre) @ axes / radii
    return (np.linalg.norm(scaled, axis=-1) - 1.0) * min(radii)


def overlap_of(mask: Mask, level, grid: Grid) -> float:
    """Dice of a mask and a body known by formula, on the voxels of a grid."""
    truth = (level(points_of(grid)) < 0).reshape(grid.shape)
    found = mask.on(grid).array
    return 2 * np.count_nonzero(truth & found) / (np.count_nonzero(truth) + np.count_nonzero(found))
