"""How large a lesion is, from an outline finer than the voxels.

The outline of a plane is the half-height contour of its mask, smoothed by a
kernel that leaves straight and evenly curved borders where they are. Its
points go through the grid's affine before any length is taken, so pixels need
not be square nor planes axial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import find_contours, marching_cubes, mesh_surface_area

from imaging_pipeline.domain.geometry import Grid, as_point
from imaging_pipeline.numerics.uncertainty import Estimate, shell_sides, within

#: Width of the outline's smoothing kernel in pixels. Source: benchmarks/figures_measure.py, unbiased at 0.5-1.0 mm.
OUTLINE_SMOOTHING = 1.2

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axes:
    """The longest diameter of a lesion and its perpendicular, as ends (2, 3) in LPS mm, and the slice they lie in."""

    slice_index: int
    long_lps: Points
    perpendicular_lps: Points


def sizes(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Every size of a mask: diameters, extents, volume, surface.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked; voxels beyond its edges count as outside.
    grid : its place.

    Returns
    -------
    dict
        Estimates by quantity, in mm, mm2, mm3.
    """
    outline = smoothed(marked)
    found = axes(marked, grid, outline)
    return {**_diameters(found, grid), **_extents(outline, grid), **_bulk(marked, grid)}


def smoothed(marked: NDArray[np.bool_], width: float = OUTLINE_SMOOTHING) -> NDArray[np.float32]:
    """A mask smoothed within each plane; its level 0.5 is the outline.

    The kernel's second moment is zero, which keeps a curved border from shrinking, and no voxel may change sides,
    which keeps tips, thin parts and single voxels.

    Parameters
    ----------
    marked : (S, R, C) boolean array.
    width : SD of the kernel's Gaussian in pixels.

    Returns
    -------
    (S, R + 2, C + 2) array: one pixel more on each side than the mask, so that every outline closes.
    """
    reach = int(np.ceil(3.5 * width))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / width) ** 2) * (1.5 - 0.5 * (offsets / width) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(marked, ((0, 0), (1, 1), (1, 1)))
    field = padded.astype(np.float32)
    for axis in (1, 2):
        field = ndimage.correlate1d(field, kernel, axis, mode="constant")
    return np.where(padded, np.maximum(field, 0.52), np.minimum(field, 0.48))


def axes(marked: NDArray[np.bool_], grid: Grid, outline: NDArray[np.float32]) -> Axes:
    """The longest line within one plane and one connected piece, and the longest at a right angle to it there.

    The line runs between two points of the outline and may leave it in between, as calipers do on a crescent.

    Parameters
    ----------
    marked : (S, R, C) boolean array.
    grid : its place.
    outline : (S, R + 2, C + 2), of `smoothed`.

    Notes
    -----
    Source: RECIST 1.1 (Eisenhauer 2009) 3.1, longest diameter in the plane of measurement; WHO 1979, greatest
    perpendicular diameter.
    """
    pieces, count = ndimage.label(marked, np.ones((3, 3, 3)))
    boxes = ndimage.find_objects(pieces)
    pixel_mm = np.array(grid.spacing_mm[1:])
    # No line in a piece is longer than the diagonal of its box, so small pieces need not be looked at.
    reach = [
        float(np.hypot(*((part.stop - part.start + 1) * mm for part, mm in zip(box[1:], pixel_mm, strict=True))))
        for box in boxes
    ]
    longest, best = -1.0, (0, np.zeros((2, 3)), outline[0])
    for piece in sorted(range(count), key=lambda index: -reach[index]):
        if reach[piece] <= longest:
            break
        own = outline if count == 1 else np.where(_widened(pieces == piece + 1), outline, np.float32(0))
        for slice_index in range(boxes[piece][0].start, boxes[piece][0].stop):
            ends = _farthest(_in_plane(own[slice_index], slice_index, grid))
            length = float(np.linalg.norm(ends[1] - ends[0]))
            if length > longest:
                longest, best = length, (slice_index, ends, own[slice_index])
    slice_index, long_lps, plane = best
    return Axes(slice_index, long_lps, _perpendicular(plane, slice_index, grid, long_lps))


def _widened(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    plane = np.ones((1, 3, 3), dtype=bool)
    return ndimage.binary_dilation(np.pad(marked, ((0, 0), (1, 1), (1, 1))), plane)


def _in_plane(plane: NDArray[np.float32], slice_index: int, grid: Grid) -> Points:
    """Where the level 0.5 crosses the lines between neighbouring pixels, in LPS mm."""
    crossings = [_crossings(plane, axis) for axis in (0, 1)]
    return _placed(np.concatenate(crossings), slice_index, grid)


def _crossings(field: NDArray[np.float32], axis: int) -> Points:
    before, after = (np.take(field, range(part.start, part.stop), axis) for part in _neighbours(field.shape[axis]))
    index = np.nonzero((before >= 0.5) != (after >= 0.5))
    low, high = before[index], after[index]
    points = np.stack(index, axis=1).astype(np.float64)
    points[:, axis] += (0.5 - low) / (high - low)
    return points


def _neighbours(size: int) -> tuple[slice, slice]:
    return slice(0, size - 1), slice(1, size)


def _placed(row_column: Points, slice_index: float, grid: Grid) -> Points:
    index = np.column_stack([np.full(len(row_column), float(slice_index)), row_column - 1.0])
    return grid.to_lps(index)


def _farthest(points: Points) -> Points:
    """The two points (2, 3) farthest apart of points (N, 3) in one plane."""
    centred = points - points.mean(axis=0)
    basis = np.linalg.svd(centred, full_matrices=False)[2][:2]
    hull = points[ConvexHull(centred @ basis.T).vertices]
    return _farthest_pair(hull)


def _farthest_pair(points: Points) -> Points:
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    first, second = np.unravel_index(int(np.argmax(squared)), squared.shape)
    return points[[first, second]]


def _perpendicular(plane: NDArray[np.float32], slice_index: int, grid: Grid, long_lps: Points) -> Points:
    """The longest line between two points of the outline at a right angle to the long axis: its ends (2, 3)."""
    polygons = [_placed(polygon, slice_index, grid) for polygon in find_contours(plane, 0.5)]
    along = (long_lps[1] - long_lps[0]) / np.linalg.norm(long_lps[1] - long_lps[0])
    in_plane = grid.matrix[:3, 1:3]
    normal = np.cross(in_plane[:, 0], in_plane[:, 1])
    across = np.cross(normal / np.linalg.norm(normal), along)
    starts = np.concatenate([polygon[:-1] for polygon in polygons]) - long_lps[0]
    stops = np.concatenate([polygon[1:] for polygon in polygons]) - long_lps[0]
    # The width at a right angle is piecewise linear along the axis, so its maximum lies at a corner of the outline.
    where = starts @ along
    first, last = starts @ along, stops @ along
    step = np.where(first == last, 1.0, last - first)
    share = (where[:, None] - first) / step
    height = starts @ across + share * ((stops - starts) @ across)
    crossed = (share >= 0.0) & (share <= 1.0)
    top = np.where(crossed, height, -np.inf).max(axis=1)
    bottom = np.where(crossed, height, np.inf).min(axis=1)
    widest = int(np.argmax(top - bottom))
    foot = long_lps[0] + where[widest] * along
    return np.stack([foot + bottom[widest] * across, foot + top[widest] * across])


def _diameters(found: Axes, grid: Grid) -> dict[str, Estimate]:
    sd = edge_sd_mm(grid) * np.sqrt(2.0)

    def line(ends: Points) -> Estimate:
        length = float(np.linalg.norm(ends[1] - ends[0]))
        return within(length, sd, (as_point(ends[0]), as_point(ends[1])), lowest=0.0)

    perpendicular = line(found.perpendicular_lps)
    return {
        "longest_diameter": line(found.long_lps),
        "perpendicular_diameter": perpendicular,
        "short_axis": perpendicular,
    }


def edge_sd_mm(grid: Grid) -> float:
    """Standard deviation of one end of a diameter, from the pixels alone."""
    return 0.17 * float(np.sqrt(grid.spacing_mm[1] * grid.spacing_mm[2]))


def _extents(outline: NDArray[np.float32], grid: Grid) -> dict[str, Estimate]:
    """Sizes along the patient's axes; a body reaches on average half a slice beyond its outermost slices."""
    field = np.pad(outline, ((1, 1), (0, 0), (0, 0)))
    index = np.concatenate([_crossings(field, axis) for axis in (0, 1, 2)])
    points = grid.to_lps(index - 1.0)
    sd = np.sqrt(2.0) * np.linalg.norm(grid.matrix[:3, :3] * np.array([0.29, 0.17, 0.17]), axis=1)
    spans = np.ptp(points, axis=0)
    names = ("extent_left_right", "extent_anterior_posterior", "extent_superior_inferior")
    return {
        name: within(float(span), float(error), lowest=0.0) for name, span, error in zip(names, spans, sd, strict=True)
    }


def _bulk(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Largest distance and area of the triangle mesh, volume by counting voxels.

    Notes
    -----
    Source: IBSI reference manual, morphological features: mesh at level 0.5; voxel counting volume.
    """
    vertices, faces, _, _ = marching_cubes(np.pad(marked, 1).astype(np.float32), 0.5)
    points = grid.to_lps(vertices - 1.0)
    ends = _farthest_pair(points[ConvexHull(points).vertices])
    area = float(mesh_surface_area(points, faces))
    volume = float(np.count_nonzero(marked)) * grid.voxel_volume_mm3
    return {
        "max_3d_diameter": within(
            float(np.linalg.norm(ends[1] - ends[0])), edge_sd_mm(grid) * 2.0, (as_point(ends[0]), as_point(ends[1]))
        ),
        "surface_area": within(area, 0.02 * area),
        "volume": within(volume, counting_sd_mm3(marked, grid), lowest=0.0),
    }


def counting_sd_mm3(marked: NDArray[np.bool_], grid: Grid) -> float:
    """Standard deviation of a volume by counting, for a border that lies at random between voxel centres."""
    inner, outer = shell_sides(marked)
    border = 0.5 * float(np.count_nonzero(inner) + np.count_nonzero(outer))
    return float(np.sqrt(border / 12.0)) * grid.voxel_volume_mm3


def flags_of(marked: NDArray[np.bool_], at_edge: bool) -> tuple[str, ...]:
    """What a reader must know of a mask's sizes: cut off by the image's edge, or in several pieces."""
    count = ndimage.label(marked, np.ones((3, 3, 3)))[1]
    return (("truncated",) if at_edge else ()) + ((f"pieces {count}",) if count > 1 else ())
