"""The triangle mesh of a mask at level 0.5: its area, and the two points of it farthest apart.

Notes
-----
Source: IBSI reference manual, morphological features.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes

from imaging_pipeline.domain.geometry import Grid, Matrix

#: Along each edge of a cube, so many of the directions in which the largest distance is sought.
WAYS = 10

Points = NDArray[np.float64]


def mesh_area_mm2(marked: NDArray[np.bool_], grid: Grid) -> float:
    """Area of the triangle mesh of a mask at level 0.5: the sum over its cells, of which there are 256 kinds.

    Parameters
    ----------
    marked : (S, R, C) boolean array; beyond its edges is outside.
    grid : its place.
    """
    kinds: NDArray[np.integer[Any]] = np.pad(marked, 1).view(np.uint8)
    kinds = kinds[:, :, :-1] | kinds[:, :, 1:] << 1
    kinds = kinds[:, :-1] | kinds[:, 1:] << 2
    kinds = kinds[:-1] | kinds[1:] << 4
    crossed = kinds[(kinds > 0) & (kinds < 255)]
    counts = np.bincount(crossed, minlength=256)
    return float(counts @ _cell_areas_mm2(grid.affine))


def outermost_centres(marked: NDArray[np.bool_], grid: Grid) -> Points:
    """Centres (N, 3) in LPS mm of the first and last marked voxel of every line: no other bounds the mask.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked.
    grid : its place.
    """
    slices, rows = np.nonzero(marked.any(axis=2))
    lines = marked[slices, rows]
    ends = np.concatenate([lines.argmax(axis=1), marked.shape[2] - 1 - lines[:, ::-1].argmax(axis=1)])
    return grid.to_lps(np.column_stack([np.tile(slices, 2), np.tile(rows, 2), ends]))


def farthest_on_mesh(centres: Points, grid: Grid) -> Points:
    """The two points of the mesh farthest apart, (2, 3) in LPS mm: half a voxel from centres that are nearly so.

    Parameters
    ----------
    centres : (N, 3), of `outermost_centres`.
    grid : their grid.
    """
    half, longest = 0.5 * grid.matrix[:3, :3].T, max(grid.spacing_mm)
    centres = centres[_could_end_longest(centres, half)]
    distances = cdist(centres, centres)
    first, second = np.divmod(np.flatnonzero(distances >= distances.max() - longest), len(centres))
    length = np.maximum(distances[first, second], longest)
    # What the mesh adds along a line, but for terms of second order.
    reach = length + 2.0 * np.abs((centres[first] - centres[second]) @ half.T).max(axis=1) / length
    likely = np.unique(first[reach + longest**2 / length >= reach.max()])
    corners = np.concatenate([centres[likely] + offset for offset in (*half, *-half)])
    distances = cdist(corners, corners)
    return corners[list(np.unravel_index(int(np.argmax(distances)), distances.shape))]


def _could_end_longest(centres: Points, half: Points) -> NDArray[np.bool_]:
    """Whether a voxel lies so far out that the mesh around it could hold an end of its longest line.

    On the nearest of all ways a line casts a shadow that is shorter than itself by the cosine between them at most.
    """
    ways, cosine = _ways()
    places, beyond = ways @ centres.T, np.abs(ways @ half.T).max(axis=1, keepdims=True)
    low, high = places.min(axis=1, keepdims=True) - beyond, places.max(axis=1, keepdims=True) + beyond
    least = cosine * (high - low).max()
    near = (high - low >= least)[:, 0]
    first, last = (low + least - beyond)[near], (high - least + beyond)[near]
    return np.asarray(((places[near] >= first) | (places[near] <= last)).any(axis=0))


@cache
def _ways() -> tuple[Points, float]:
    """Unit vectors (D, 3) over half of all directions, and the cosine of the largest angle to the nearest of them."""
    step = 1.0 / WAYS
    places = np.arange(-1.0 + step, 1.0, 2.0 * step)
    first, second = (part.ravel() for part in np.meshgrid(places, places))
    face = np.column_stack([np.ones(first.size), first, second])
    ways = np.concatenate([np.roll(face, shift, axis=1) for shift in range(3)])
    # The half-diagonal of a square in the middle of a face, seen from the centre of the cube.
    return ways / np.linalg.norm(ways, axis=1, keepdims=True), float(np.cos(np.arctan(np.sqrt(2.0) * step)))


@lru_cache(maxsize=64)
def _cell_areas_mm2(affine: Matrix) -> Points:
    """Area of the mesh in each kind of cell of eight voxel centres."""
    corners, kind = _cells()
    first, second, third = np.moveaxis(corners @ np.array(affine)[:3, :3].T, 1, 0)
    areas = 0.5 * np.linalg.norm(np.cross(second - first, third - first), axis=1)
    return np.asarray(np.bincount(kind, areas, minlength=256), dtype=np.float64)


@cache
def _cells() -> tuple[Points, NDArray[np.intp]]:
    """The triangles (T, 3, 3) of every kind of cell, in voxels, and their kinds (T,)."""
    corners, kinds = [], []
    for kind in range(1, 255):
        cell = ((kind >> np.arange(8)) & 1).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(cell.astype(np.float32), 0.5)
        corners.append(vertices[faces])
        kinds.append(np.full(len(faces), kind))
    return np.concatenate(corners).astype(np.float64), np.concatenate(kinds)
