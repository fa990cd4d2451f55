"""Bodies known by formula, the grids that sample them, and their true sizes: no voxel takes part in the truth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask, Series, Technique, Volume
from imaging_pipeline.domain.quantities import HU

#: Step at which a plane's true border is traced; between steps it is interpolated.
TRACE_MM = 0.2


@dataclass(frozen=True)
class Body:
    """A body around the origin: `level` of points (..., 3) is negative inside, in about mm; `reach_mm` bounds it."""

    level: Callable[[np.ndarray], np.ndarray]
    reach_mm: float
    volume_mm3: float = float("nan")


def ellipsoid(semi_axes_mm, turn=None) -> Body:
    axes = np.asarray(semi_axes_mm, dtype=float)
    matrix = Rotation.identity().as_matrix() if turn is None else turn.as_matrix()

    def level(points):
        return (np.sqrt(np.sum((points @ matrix / axes) ** 2, axis=-1)) - 1.0) * axes.min()

    return Body(level, float(axes.max()), float(4.0 / 3.0 * np.pi * axes.prod()))


def lobulated(random, length_mm: float) -> Body:
    """Six smooth bulges and notches on a ball."""
    towards = random.normal(size=(6, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    heights, widths = random.uniform(-0.2, 0.25, 6), random.uniform(2.0, 6.0, 6)
    base = length_mm / 2.6

    def radius(directions):
        return base * (1.0 + (heights * np.exp(widths * (directions @ towards.T - 1.0))).sum(axis=-1))

    def level(points):
        distance = np.linalg.norm(points, axis=-1) + 1e-12
        return distance - radius(points / distance[..., None])

    cosine, weight = np.polynomial.legendre.leggauss(80)
    around = np.linspace(0.0, 2.0 * np.pi, 160, endpoint=False)
    sine = np.sqrt(1.0 - cosine**2)[:, None]
    sphere = np.stack(np.broadcast_arrays(sine * np.cos(around), sine * np.sin(around), cosine[:, None]), axis=-1)
    volume = float((radius(sphere) ** 3 / 3.0 * weight[:, None]).sum() * 2.0 * np.pi / len(around))
    return Body(level, 1.5 * base, volume)


def crescent(radius_mm: float, hollow_mm: float, shift_mm: float, angle: float, half_height_mm: float = 8.0) -> Body:
    """A disc from which another is cut, extended along z."""
    away = shift_mm * np.array([np.cos(angle), np.sin(angle)])

    def level(points):
        outer = np.linalg.norm(points[..., :2], axis=-1) - radius_mm
        hollow = hollow_mm - np.linalg.norm(points[..., :2] - away, axis=-1)
        return np.maximum.reduce([outer, hollow, np.abs(points[..., 2]) - half_height_mm])

    return Body(level, max(radius_mm, half_height_mm))


def star(points_count: int, length_mm: float, angle: float, half_height_mm: float = 8.0) -> Body:
    """A disc with rounded points, extended along z."""

    def level(points):
        around = np.arctan2(points[..., 1], points[..., 0]) - angle
        border = length_mm / 2.0 * (1.0 + 0.35 * np.cos(points_count * around)) / 1.35
        return np.maximum(np.linalg.norm(points[..., :2], axis=-1) - border, np.abs(points[..., 2]) - half_height_mm)

    return Body(level, max(length_mm / 2.0, half_height_mm))


def random_grid(random, reach_mm: float, *, slice_mm=None, pixel_mm=None, oblique=True, margin_mm=8.0) -> Grid:
    """A grid around the origin: pixels 0.5-1.0 mm, a third not square, slices 1-5 mm, turned and shifted at random."""
    square = np.full(2, random.uniform(0.5, 1.0))
    pixel = square if random.random() < 0.67 else random.uniform(0.5, 1.0, 2)
    steps = np.array([slice_mm or random.uniform(1.0, 5.0), *(pixel if pixel_mm is None else (pixel_mm, pixel_mm))])
    turn = Rotation.random(rng=random).as_matrix() if oblique else np.eye(3)[:, ::-1]
    half = np.ceil((reach_mm + margin_mm) / steps).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = turn * steps
    affine[:3, 3] = affine[:3, :3] @ (random.uniform(-0.5, 0.5, 3) - half)
    return Grid(tuple(int(size) for size in 2 * half + 1), as_matrix(affine))


def points_of(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij"), axis=-1)
    return grid.to_lps(index)


def sampled(body: Body, grid: Grid) -> np.ndarray:
    """Which voxel centres lie inside."""
    return body.level(points_of(grid)) < 0.0


def ct(array: np.ndarray, grid: Grid, technique: Technique | None = None) -> Volume:
    series = Series("1.2.3", "1.2", "", "CT", "20240101", "ct", (), grid, technique or Technique())
    return Volume(array, grid, HU, series)


def mask_on(marked: np.ndarray, grid: Grid) -> Mask:
    return Mask(marked.copy(), grid, "test")


def true_axes(body: Body, grid: Grid, marked: np.ndarray) -> tuple[float, float]:
    """The longest line in any of the grid's planes, and the longest at a right angle to it in that plane, in mm."""
    best = (0.0, 0.0)
    bounds = {index: _coarse_length(plane, grid) for index, plane in enumerate(marked) if plane.any()}
    for index in sorted(bounds, key=lambda key: -bounds[key]):
        if bounds[index] < best[0] - 2.0:
            break
        origin, first, second = _plane_frame(grid, index)
        length, angle = _longest(body, origin, first, second)
        if length > best[0]:
            along = np.cos(angle) * first + np.sin(angle) * second
            across = -np.sin(angle) * first + np.cos(angle) * second
            best = (length, _widest(body, origin, along, across))
    return best


def _coarse_length(plane, grid):
    rows_columns = np.argwhere(plane) * np.array(grid.spacing_mm[1:])
    return float(np.linalg.norm(np.ptp(rows_columns, axis=0)))


def _plane_frame(grid, index):
    """The point of a plane nearest the origin, and two unit vectors in it."""
    first = grid.directions[:, 2]
    normal = np.cross(grid.directions[:, 1], first)
    normal /= np.linalg.norm(normal)
    return normal * (normal @ grid.to_lps((index, 0, 0))), first, np.cross(normal, first)


def _longest(body, origin, first, second):
    points = _border(body, origin, first, second)
    hull = points[ConvexHull(points).vertices]
    steps = hull[:, None] - hull[None]
    lengths = np.linalg.norm(steps, axis=-1)
    row, column = np.unravel_index(int(lengths.argmax()), lengths.shape)
    return float(lengths[row, column]), float(np.arctan2(*steps[row, column][::-1]))


def _lattice(body):
    return np.arange(-body.reach_mm - 1.0, body.reach_mm + 1.0, TRACE_MM)


def _border(body, origin, first, second):
    """Where the border crosses a fine lattice, as (N, 2) in mm along the two vectors."""
    steps = _lattice(body)
    level = body.level(origin + steps[:, None, None] * first + steps[None, :, None] * second)
    rows, columns = np.nonzero((level[:-1] < 0) != (level[1:] < 0))
    share = level[rows, columns] / (level[rows, columns] - level[rows + 1, columns])
    down = np.column_stack([steps[rows] + share * TRACE_MM, steps[columns]])
    rows, columns = np.nonzero((level[:, :-1] < 0) != (level[:, 1:] < 0))
    share = level[rows, columns] / (level[rows, columns] - level[rows, columns + 1])
    return np.concatenate([down, np.column_stack([steps[rows], steps[columns] + share * TRACE_MM])])


def _widest(body, origin, along, across):
    steps = _lattice(body)
    level = body.level(origin + steps[:, None, None] * along + steps[None, :, None] * across)
    inside = level < 0
    rows = np.flatnonzero(inside.any(axis=1))
    widths = []
    for row in rows:
        marked = np.flatnonzero(inside[row])
        low, high = marked[0], marked[-1]
        start = steps[low] - TRACE_MM * level[row, low] / (level[row, low] - level[row, low - 1])
        end = steps[high] + TRACE_MM * level[row, high] / (level[row, high] - level[row, high + 1])
        widths.append(end - start)
    return float(max(widths))


def imaged(body: Body, grid: Grid, spread_mm: float, planes: int = 5, finer: int = 3) -> np.ndarray:
    """Share of each voxel inside, as a scanner sees it: a box across the slice, a normal blur in the plane."""
    slices, rows, columns = grid.shape
    _, row_mm, column_mm = grid.spacing_mm
    steps = (np.arange(finer) + 0.5) / finer - 0.5
    fine_rows, fine_columns = ((np.arange(size)[:, None] + steps).ravel() for size in (rows, columns))
    share = np.zeros(grid.shape)
    for offset in (np.arange(planes) + 0.5) / planes - 0.5:
        for index in range(slices):
            points = np.stack(np.broadcast_arrays(index + offset, fine_rows[:, None], fine_columns[None]), axis=-1)
            # A soft edge a fine pixel wide keeps the border where it is between fine pixels.
            inside = np.clip(0.5 - body.level(grid.to_lps(points)) * finer / row_mm, 0.0, 1.0)
            blurred = gaussian_filter(inside, (spread_mm / row_mm * finer, spread_mm / column_mm * finer))
            share[index] += blurred[finer // 2 :: finer, finer // 2 :: finer] / planes
    return share
