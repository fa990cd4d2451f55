"""How large a lesion is: diameters in one plane, extents, volume, surface.

Diameters are taken between points of a sub-voxel outline that has gone through
the grid's affine, so pixels need not be square nor planes axial. Extents,
largest distance and surface come from the triangle mesh of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes

from imaging_pipeline.domain.geometry import Grid, Matrix, Space, as_point
from imaging_pipeline.numerics.border import shares
from imaging_pipeline.numerics.contour import contours, smoothest
from imaging_pipeline.numerics.uncertainty import Estimate, shell_sides, within

#: Standard deviations over random smooth bodies, in pixels: of the longest diameter, of its perpendicular (which also
#: turns with it), and of one end of an extent, which lies anywhere between two centres (1 / sqrt 12, in slices too).
#: Source: benchmarks/figures_measure.py.
LONGEST_SD_PIXELS = 0.16
PERPENDICULAR_SD_PIXELS = 0.25
END_SD_VOXELS = 0.29
#: Standard deviation of the share of a voxel that the border cuts off or leaves out, where places are independent.
COUNTING_SD = 0.27
#: The same of a volume corrected for partial voxels, as a share of it, without noise.
CORRECTED_SD = 0.001
#: A lesion in one slice only: how far off its middle that slice is taken to be at most, as a share of half its height.
MOST_OFF_MIDDLE = 0.8
#: Directions in which the reach of every slice is taken before its outline is drawn.
SHADOWS = 8
#: How far smoothing moves an end of a line outwards at most, in pixels.
MOST_OUTWARDS_PIXELS = 0.1
#: Fewer points are not worth a hull.
FEW_POINTS = 50
#: A mesh of whole voxels is larger than the body by up to this share of its area. Source: as above.
STEPS_AREA = 0.2

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axes:
    """The longest diameter of a lesion and its perpendicular, as ends (2, 3) in LPS mm, and the slice they lie in."""

    slice_index: int
    long_lps: Points
    perpendicular_lps: Points


def sizes(
    marked: NDArray[np.bool_], grid: Grid, array: NDArray[Any] | None = None, noise: float = 0.0
) -> dict[str, Estimate]:
    """Every size of a mask: diameters, extents, volume, surface.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked; voxels beyond its edges count as outside.
    grid : its place.
    array : (S, R, C) image, if the volume is to be corrected for partial volume where the image allows.
    noise : standard deviation of the image's noise.

    Returns
    -------
    dict
        Estimates by quantity, in mm, mm2, mm3.
    """
    corrected = None if array is None else shares(array, marked, grid.spacing_mm, noise)
    volume = _counted_volume(marked, grid)
    if corrected is not None:
        volume = min(volume, _corrected_volume(*corrected, grid), key=_width)
    return {**sizes_in_plane(marked, grid), **_mesh_sizes(marked, grid), "volume": volume}


def sizes_in_plane(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Longest diameter, perpendicular and short axis: all that an image without a place in the patient has.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked.
    grid : its place.
    """
    return _diameters(axes(marked, grid), marked, grid)


def axes(marked: NDArray[np.bool_], grid: Grid) -> Axes:
    """The longest line within one plane and one connected piece, and the longest at a right angle to it there.

    A line runs between two points of the outline and may leave it in between, as calipers do on a crescent.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked.
    grid : its place.

    Notes
    -----
    Source: RECIST 1.1 (Eisenhauer 2009), longest diameter in the plane of measurement; WHO 1979, greatest
    perpendicular diameter.
    """
    end_mm = MOST_OUTWARDS_PIXELS * max(grid.spacing_mm[1:])
    best: _Plane | None = None
    for rough in sorted(_planes(marked, grid), key=lambda plane: -plane.length_mm):
        if best is not None and rough.length_mm + 2.0 * end_mm < best.length_mm:
            break
        plane = _plane(tuple(smoothest(contour) for contour in rough.contours), rough.slice_index, grid)
        best = plane if best is None or plane.length_mm > best.length_mm else best
    assert best is not None
    return Axes(best.slice_index, best.ends_lps, _perpendicular(best, grid))


@dataclass(frozen=True, slots=True)
class _Plane:
    """Contours (row, column) of one piece in one slice, and the two points of them farthest apart, (2, 3) in LPS mm."""

    slice_index: int
    contours: tuple[Points, ...]
    ends_lps: Points
    length_mm: float


def _plane(contours_index: tuple[Points, ...], slice_index: int, grid: Grid) -> _Plane:
    points = np.concatenate(contours_index)
    # A hull keeps its corners under any affine map, so it may be taken before the points are placed.
    ends = _farthest_pair(_placed(points[ConvexHull(points).vertices], slice_index, grid))
    return _Plane(slice_index, contours_index, ends, float(np.linalg.norm(ends[1] - ends[0])))


def _planes(marked: NDArray[np.bool_], grid: Grid) -> list[_Plane]:
    """Every slice of every connected piece that could hold the longest line."""
    pieces, _ = ndimage.label(marked, np.ones((3, 3, 3)))
    found: list[_Plane] = []
    longest_mm = 0.0
    reaches = [
        (_reach_mm(pieces[box] == piece, grid), piece, box) for piece, box in enumerate(ndimage.find_objects(pieces), 1)
    ]
    for reach_mm, piece, box in sorted(reaches, key=lambda entry: -entry[0].max()):
        longest_mm = max(longest_mm, float(reach_mm.max()))
        corner = np.array([part.start for part in box[1:]])
        for offset in np.flatnonzero(_at_most(reach_mm, grid) >= longest_mm):
            parts = contours(pieces[box][offset] == piece)
            found.append(_plane(tuple(part + corner for part in parts), box[0].start + int(offset), grid))
    return found


def _reach_mm(marked: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """The longest line between marked pixels' centres in each slice, to within `_at_most`: its longest shadow."""
    index = np.arange(marked.shape[2])
    ends = np.stack([marked.argmax(axis=2), index[-1] - marked[:, :, ::-1].argmax(axis=2)], axis=-1)
    rows, columns = grid.directions[:, 1:].T
    across = columns - (columns @ rows) * rows
    angles = np.arange(SHADOWS) * np.pi / SHADOWS
    ways = np.cos(angles)[:, None] * rows + np.sin(angles)[:, None] * across / np.linalg.norm(across)
    row_mm, column_mm = ways @ grid.matrix[:3, 1], ways @ grid.matrix[:3, 2]
    places = np.arange(marked.shape[1])[:, None, None] * row_mm + ends[..., None] * column_mm
    known = np.asarray(marked.any(axis=2))[..., None, None]
    farthest = np.where(known, places, -np.inf).max(axis=(1, 2))
    nearest = np.where(known, places, np.inf).min(axis=(1, 2))
    return np.asarray((farthest - nearest).max(axis=1))


def _at_most(reach_mm: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """What a line along the outline may measure: between two shadows, and half a pixel longer at each end."""
    pixel_mm = float(np.linalg.norm(grid.spacing_mm[1:]))
    return np.asarray(reach_mm / np.cos(np.pi / (2 * SHADOWS)) + pixel_mm)


def _placed(row_column: Points, slice_index: int, grid: Grid) -> Points:
    return grid.to_lps(np.column_stack([np.full(len(row_column), float(slice_index)), row_column]))


def _farthest_pair(points: Points) -> Points:
    distances = cdist(points, points, "sqeuclidean")
    first, second = np.unravel_index(int(np.argmax(distances)), distances.shape)
    return points[[first, second]]


def _perpendicular(plane: _Plane, grid: Grid) -> Points:
    """The longest line between two points of the outline at a right angle to the long axis: its ends (2, 3)."""
    origin, along = plane.ends_lps[0], (plane.ends_lps[1] - plane.ends_lps[0]) / plane.length_mm
    normal = np.cross(*grid.matrix[:3, 1:3].T)
    across = np.cross(normal / np.linalg.norm(normal), along)
    polygons = [_placed(contour, plane.slice_index, grid) - origin for contour in plane.contours]
    starts = np.concatenate([polygon[:-1] for polygon in polygons])
    stops = np.concatenate([polygon[1:] for polygon in polygons])
    # The width at a right angle is piecewise linear along the axis, so it is greatest at a corner of the outline.
    where = starts @ along
    first, last = starts @ along, stops @ along
    share = (where[:, None] - first) / np.where(first == last, 1.0, last - first)
    height = starts @ across + share * ((stops - starts) @ across)
    crossed = (share >= 0.0) & (share <= 1.0)
    top = np.where(crossed, height, -np.inf).max(axis=1)
    bottom = np.where(crossed, height, np.inf).min(axis=1)
    widest = int(np.argmax(top - bottom))
    foot = origin + where[widest] * along
    return np.stack([foot + bottom[widest] * across, foot + top[widest] * across])


def _diameters(found: Axes, marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    pixel_mm = float(np.sqrt(grid.spacing_mm[1] * grid.spacing_mm[2]))
    longest = _line(found.long_lps, LONGEST_SD_PIXELS * pixel_mm)
    perpendicular = _line(found.perpendicular_lps, PERPENDICULAR_SD_PIXELS * pixel_mm)
    missed = _missed_between_slices(marked)
    longest, perpendicular = (
        replace(line, upper95=(line.upper95 or line.value) + missed * line.value) for line in (longest, perpendicular)
    )
    return {"longest_diameter": longest, "perpendicular_diameter": perpendicular, "short_axis": perpendicular}


def _missed_between_slices(marked: NDArray[np.bool_]) -> float:
    """Share by which the largest section may exceed the largest that was acquired, half a slice from it.

    Of an ellipsoid through some slices, a section half a slice off the middle is shorter by that share.
    """
    if len(marked) == 1:
        return 0.0
    half_slices = min(MOST_OFF_MIDDLE, 1.0 / float(np.count_nonzero(marked.any(axis=(1, 2)))))
    return float(1.0 - np.sqrt(1.0 - half_slices**2))


def _line(ends: Points, sd_mm: float) -> Estimate:
    length = float(np.linalg.norm(ends[1] - ends[0]))
    return within(length, sd_mm, (as_point(ends[0]), as_point(ends[1])), lowest=0.0)


def _mesh_sizes(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Extents along the patient's axes, largest distance and area of the mesh at level 0.5.

    Notes
    -----
    Source: IBSI reference manual, morphological features.
    """
    centres = _outermost_centres(marked, grid)
    steps = grid.matrix[:3, :3]
    end_mm = END_SD_VOXELS * np.linalg.norm(steps, axis=1)
    names = ("extent_left_right", "extent_anterior_posterior", "extent_superior_inferior")
    # The mesh ends half a voxel from the outermost centres, along one of the grid's axes.
    spans = np.ptp(centres, axis=0) + np.abs(steps).max(axis=1)
    extents = zip(names, spans, np.sqrt(2.0) * end_mm, strict=True)
    area = mesh_area_mm2(marked, grid)
    return {
        **{name: within(float(extent), float(sd_mm), lowest=0.0) for name, extent, sd_mm in extents},
        "max_3d_diameter": _line(_farthest_on_mesh(centres, grid), float(np.sqrt(2.0) * end_mm.max())),
        "surface_area": Estimate(area, (1.0 - STEPS_AREA) * area, area),
    }


def _outermost_centres(marked: NDArray[np.bool_], grid: Grid) -> Points:
    """Centres of marked voxels, every corner of their hull among them."""
    slices, rows = np.nonzero(marked.any(axis=2))
    lines = marked[slices, rows]
    ends = np.concatenate([lines.argmax(axis=1), marked.shape[2] - 1 - lines[:, ::-1].argmax(axis=1)])
    centres = np.column_stack([np.tile(slices, 2), np.tile(rows, 2), ends]).astype(np.float64)
    if np.all(np.ptp(centres, axis=0) > 0.0) and len(centres) > FEW_POINTS:
        # Joggled, for a lattice has many corners in one plane.
        centres = centres[ConvexHull(centres, qhull_options="QJ").vertices]
    return grid.to_lps(centres)


def _farthest_on_mesh(centres: Points, grid: Grid) -> Points:
    """The two points of the mesh farthest apart, half a voxel from centres that are nearly so: (2, 3)."""
    distances = cdist(centres, centres)
    half, longest = 0.5 * grid.matrix[:3, :3].T, max(grid.spacing_mm)
    first, second = np.nonzero(distances >= distances.max() - longest)
    length = np.maximum(distances[first, second], longest)
    # What the mesh adds along a line, but for terms of second order.
    reach = length + 2.0 * np.abs((centres[first] - centres[second]) @ half.T).max(axis=1) / length
    likely = np.unique(first[reach + longest**2 / length >= reach.max()])
    return _farthest_pair(np.concatenate([centres[likely] + offset for offset in (*half, *-half)]))


def mesh_area_mm2(marked: NDArray[np.bool_], grid: Grid) -> float:
    """Area of the triangle mesh of a mask at level 0.5: the sum over its cells, of which there are 256 kinds.

    Parameters
    ----------
    marked : (S, R, C) boolean array; beyond its edges is outside.
    grid : its place.
    """
    padded = np.pad(marked, 1).view(np.uint8)
    kinds = np.zeros(tuple(size - 1 for size in padded.shape), dtype=np.uint8)
    for bit, (down, right, deep) in enumerate(product((0, 1), repeat=3)):
        part = padded[down : padded.shape[0] - 1 + down, right : padded.shape[1] - 1 + right]
        kinds |= part[:, :, deep : padded.shape[2] - 1 + deep] << bit
    counts = np.bincount(kinds.ravel(), minlength=256)
    return float(counts @ _cell_areas_mm2(grid.affine))


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


def _counted_volume(marked: NDArray[np.bool_], grid: Grid) -> Estimate:
    """Voxels times their volume; its error is that of a border lying at random between centres.

    From slice to slice the border moves by patches as many pixels wide as a slice is thick: so much fewer are the
    independent places along it.
    """
    inner, outer = shell_sides(marked)
    border = 0.5 * float(np.count_nonzero(inner) + np.count_nonzero(outer))
    patch = max(1.0, grid.spacing_mm[0] / float(np.sqrt(grid.spacing_mm[1] * grid.spacing_mm[2])))
    sd_voxels = COUNTING_SD * patch * float(np.sqrt(border))
    volume_mm3 = float(np.count_nonzero(marked)) * grid.voxel_volume_mm3
    return within(volume_mm3, sd_voxels * grid.voxel_volume_mm3, lowest=0.0)


def _width(estimate: Estimate) -> float:
    return (estimate.upper95 or estimate.value) - (estimate.lower95 or 0.0)


def _corrected_volume(share: NDArray[np.float32], share_sd: float, contrast_sd: float, grid: Grid) -> Estimate:
    """Shares of voxels times their volume; their sum is not cut to 0 and 1, for cutting noise would add to it."""
    border = share[(share != 0.0) & (share != 1.0)]
    volume = float(share.sum(dtype=np.float64)) * grid.voxel_volume_mm3
    # The tissue on either side is as uncertain as the border's own voxels.
    chance = 2.0 * share_sd * float(np.sqrt(border.size)) * grid.voxel_volume_mm3
    together = contrast_sd * float(border.sum(dtype=np.float64)) * grid.voxel_volume_mm3
    sd_mm3 = float(np.linalg.norm([chance, together, CORRECTED_SD * volume]))
    return within(volume, sd_mm3, lowest=0.0).flagged("partial_volume_corrected")


def cautions_of(marked: NDArray[np.bool_], truncated: bool, space: Space = Space.PATIENT) -> tuple[str, ...]:
    """What a reader must know of every size: cut off by the image's edge, or in several pieces."""
    if space is Space.PATIENT:
        count = ndimage.label(marked, np.ones((3, 3, 3)))[1]
    else:
        count = max(ndimage.label(plane, np.ones((3, 3)))[1] for plane in marked)
    return (("truncated",) if truncated else ()) + ((f"pieces {count}",) if count > 1 else ())
