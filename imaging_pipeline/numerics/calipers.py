"""The longest line of a lesion within one plane, and its perpendicular.

Both run between points of a sub-voxel outline that has gone through the grid's
affine, so pixels need not be square nor planes axial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.contour import contours, smoothest

#: Directions in which the reach of every slice is taken before its contour is drawn.
SHADOWS = 16
#: So many of the longest slices are outlined finely: a third changes nothing. Lines so many pixels short of the longest
#: may be it; the perpendiculars of so many of each slice are taken, from every so manieth corner of its outline.
LONGEST_SLICES = 2
LONGEST_REACH_PIXELS = 0.35
SEVERAL_LINES = 5
THINNED = 4

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axes:
    """The longest diameter of a lesion and its perpendicular, as ends (2, 3) in LPS mm, and the slice they lie in.

    By `perpendicular_spread_mm` the perpendicular would be shorter (0 or less) and longer were another line taken, here
    or in another slice, that is nearly as long.
    """

    slice_index: int
    long_lps: Points
    perpendicular_lps: Points
    perpendicular_spread_mm: tuple[float, float]


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
    flat = _flat(grid)
    planes = [
        _plane([smoothest(contour) for contour in plane.contours], plane.slice_index, flat)
        for plane in _planes(marked, grid, flat)[:LONGEST_SLICES]
    ]
    found = max(planes, key=lambda plane: plane.length_mm)
    line = _lines(found, found.length_mm)[:1]
    across = _perpendiculars(found, line)
    least_mm = found.length_mm - LONGEST_REACH_PIXELS * max(grid.spacing_mm[1:])
    others_mm = np.concatenate([_across_mm(plane, _several(plane, least_mm)) for plane in planes])
    changes_mm = others_mm - _across_mm(found, line)
    long_lps, perpendicular_lps = (
        grid.to_lps(np.column_stack([np.full(2, found.slice_index), ends @ np.linalg.inv(flat)]))
        for ends in (line[0], across[0])
    )
    spread_mm = (min(0.0, float(changes_mm.min())), max(0.0, float(changes_mm.max())))
    return Axes(found.slice_index, long_lps, perpendicular_lps, spread_mm)


def _flat(grid: Grid) -> Points:
    """The (2, 2) matrix from (row, column) to mm in the plane, one axis along the step between rows."""
    row, column = grid.matrix[:3, 1:3].T
    row_mm = np.linalg.norm(row)
    along = float(column @ row / row_mm)
    return np.array([[row_mm, 0.0], [along, np.sqrt(column @ column - along**2)]])


@dataclass(frozen=True, slots=True)
class _Plane:
    """One piece in one slice: closed contours (N, 2) of (row, column), and in mm the corners of their hull (H, 2)."""

    slice_index: int
    contours: Sequence[Points]
    flat: Points
    hull_mm: Points
    length_mm: float


def _plane(contours_index: Sequence[Points], slice_index: int, flat: Points) -> _Plane:
    points = np.concatenate(contours_index)
    hull = points[ConvexHull(points).vertices] @ flat
    return _Plane(slice_index, contours_index, flat, hull, float(cdist(hull, hull).max()))


def _planes(marked: NDArray[np.bool_], grid: Grid, flat: Points) -> list[_Plane]:
    """Every slice of every connected piece whose contour is nearly as long as the longest; that one first."""
    pieces, _ = ndimage.label(marked, np.ones((3, 3, 3)))
    boxes = ndimage.find_objects(pieces)
    reaches = [_reach_mm(pieces[box] == piece, flat) for piece, box in enumerate(boxes, 1)]
    nearly_mm = max(float(reach.max()) for reach in reaches) - LONGEST_REACH_PIXELS * max(grid.spacing_mm[1:])
    found = []
    for piece, (box, reach_mm) in enumerate(zip(boxes, reaches, strict=True), 1):
        corner = np.array([part.start for part in box[1:]])
        for offset in np.flatnonzero(reach_mm / np.cos(np.pi / (2 * SHADOWS)) >= nearly_mm):
            parts = [part + corner for part in contours(pieces[box][offset] == piece)]
            found.append(_plane(parts, box[0].start + int(offset), flat))
    found.sort(key=lambda plane: -plane.length_mm)
    return found


def _reach_mm(marked: NDArray[np.bool_], flat: Points) -> NDArray[np.float64]:
    """The longest shadow of each slice's contour: its longest line is longer by 1 / cos(pi / 2 SHADOWS) at most."""
    index = np.arange(marked.shape[2])
    ends = np.stack([marked.argmax(axis=2), index[-1] - marked[:, :, ::-1].argmax(axis=2)], axis=-1)
    angles = np.arange(SHADOWS) * np.pi / SHADOWS
    row_mm, column_mm = flat @ np.stack([np.cos(angles), np.sin(angles)])
    places = np.arange(marked.shape[1])[:, None, None] * row_mm + ends[..., None] * column_mm
    known = np.asarray(marked.any(axis=2))[..., None, None]
    farthest = np.where(known, places, -np.inf).max(axis=(1, 2))
    nearest = np.where(known, places, np.inf).min(axis=(1, 2))
    # A contour ends half a pixel from the outermost centres, along one of the grid's axes.
    return np.asarray((farthest - nearest + np.maximum(np.abs(row_mm), np.abs(column_mm))).max(axis=1))


def _lines(plane: _Plane, least_mm: float) -> Points:
    """Lines (L, 2, 2) between corners of the hull, in mm, at least so long."""
    hull = plane.hull_mm
    first, second = np.divmod(np.flatnonzero(cdist(hull, hull) >= least_mm), len(hull))
    return np.stack([hull[first], hull[second]], axis=1)[first < second]


def _perpendiculars(plane: _Plane, lines: Points, thinned: int = 1) -> Points:
    """For each line the longest one between points of the outline at a right angle to it: (L, 2, 2) in mm."""
    polygons = [contour[np.r_[0 : len(contour) - 1 : thinned, 0]] @ plane.flat for contour in plane.contours]
    starts = np.concatenate([polygon[:-1] for polygon in polygons])
    stops = np.concatenate([polygon[1:] for polygon in polygons])
    along = lines[:, 1] - lines[:, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = along[:, ::-1] * [-1.0, 1.0]
    # The width at a right angle is piecewise linear along the axis, so it is greatest at a corner of the outline.
    where, height = along @ starts.T, across @ starts.T
    run, rise = along @ (stops - starts).T, across @ (stops - starts).T
    share = (where[:, :, None] - where[:, None]) / np.where(run == 0.0, np.nan, run)[:, None]
    crossed = (share >= 0.0) & (share <= 1.0)
    met = height[:, None] + share * rise[:, None]
    top = np.where(crossed, met, height[:, :, None]).max(axis=2)
    bottom = np.where(crossed, met, height[:, :, None]).min(axis=2)
    each, widest = np.arange(len(lines)), np.argmax(top - bottom, axis=1)
    heights = np.stack([bottom[each, widest], top[each, widest]], axis=1)
    return np.asarray(where[each, widest, None, None] * along[:, None] + heights[..., None] * across[:, None])


def _several(plane: _Plane, least_mm: float) -> Points:
    """Of the lines at least so long some in all their directions."""
    lines = _lines(plane, least_mm)
    if not len(lines):
        return lines
    steps = _steps(lines)
    # Squared, for a line has no first and second end.
    turned = np.angle((steps / steps[0]) ** 2)
    few = np.argsort(turned)[np.linspace(0, len(lines) - 1, SEVERAL_LINES).astype(int)]
    return np.asarray(lines[few])


def _across_mm(plane: _Plane, lines: Points) -> Points:
    return np.asarray(np.abs(_steps(_perpendiculars(plane, lines, THINNED))))


def _steps(lines: Points) -> NDArray[np.complex128]:
    return np.asarray((lines[:, 1] - lines[:, 0]) @ np.array([1.0, 1.0j]))
