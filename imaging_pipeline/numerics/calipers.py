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
from scipy.spatial.distance import cdist

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.contour import contours, smoothest

#: Directions in which the reach of every slice is taken, to half a percent, before the longest are outlined.
SHADOWS = 16
#: So many slices of the longest reach are outlined: a third changes nothing. Lines so many pixels short of the longest
#: may be it; the perpendiculars of so many of each slice are taken, from every so manieth corner of its outline.
LONGEST_SLICES = 2
LONGEST_REACH_PIXELS = 0.35
SEVERAL_LINES = 5
THINNED = 3

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
    planes = _planes(marked, flat)
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
    """The outline of one piece in one slice, in mm: closed polygons, their corners (N, 2), how far those lie apart."""

    slice_index: int
    polygons_mm: Sequence[Points]
    corners_mm: Points
    apart_mm: Points

    @property
    def length_mm(self) -> float:
        return float(self.apart_mm.max())


def _plane(marked: NDArray[np.bool_], corner: tuple[int, int, int], flat: Points) -> _Plane:
    """The plane marked (R, C), whose first pixel lies there."""
    polygons = [(smoothest(contour) + corner[1:]) @ flat for contour in contours(marked)]
    corners = np.concatenate([polygon[:-1] for polygon in polygons])
    return _Plane(corner[0], polygons, corners, cdist(corners, corners))


def _planes(marked: NDArray[np.bool_], flat: Points) -> list[_Plane]:
    """The slices of the longest reach, of whichever connected piece."""
    pieces, _ = ndimage.label(marked, np.ones((3, 3, 3)))
    reaching = []
    for piece, box in enumerate(ndimage.find_objects(pieces), 1):
        own = pieces[box] == piece
        slices, rows, columns = (part.start for part in box)
        reaches = zip(_reach_mm(own, flat).tolist(), own, strict=True)
        reaching += [(reach, plane, (slices + at, rows, columns)) for at, (reach, plane) in enumerate(reaches)]
    reaching.sort(key=lambda each: -each[0])
    return [_plane(plane, corner, flat) for _, plane, corner in reaching[:LONGEST_SLICES]]


def _reach_mm(marked: NDArray[np.bool_], flat: Points) -> Points:
    """The longest shadow of each slice's contour: its longest line is longer by 1 / cos(pi / 2 SHADOWS) at most."""
    angles = np.arange(SHADOWS) * np.pi / SHADOWS
    row_mm, column_mm = flat @ np.stack([np.cos(angles), np.sin(angles)])
    slices, rows = np.nonzero(marked.any(axis=2))
    lines = marked[slices, rows]
    ends = np.column_stack([lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)])
    places = rows[:, None, None] * row_mm + ends[..., None] * column_mm
    firsts = np.flatnonzero(np.diff(slices, prepend=-1))
    # A contour ends half a pixel from the outermost centres, along one of the grid's axes.
    spans = np.maximum.reduceat(places.max(axis=1), firsts) - np.minimum.reduceat(places.min(axis=1), firsts)
    return np.asarray((spans + np.maximum(np.abs(row_mm), np.abs(column_mm))).max(axis=1))


def _lines(plane: _Plane, least_mm: float) -> Points:
    """Lines (L, 2, 2) between corners, in mm, at least so long."""
    corners = plane.corners_mm
    first, second = np.divmod(np.flatnonzero(plane.apart_mm >= least_mm), len(corners))
    return np.stack([corners[first], corners[second]], axis=1)[first < second]


def _perpendiculars(plane: _Plane, lines: Points, thinned: int = 1) -> Points:
    """For each line the longest one between points of the outline at a right angle to it: (L, 2, 2) in mm."""
    polygons = [contour[np.r_[0 : len(contour) - 1 : thinned, 0]] for contour in plane.polygons_mm]
    starts = np.concatenate([polygon[:-1] for polygon in polygons])
    stops = np.concatenate([polygon[1:] for polygon in polygons])
    along = lines[:, 1] - lines[:, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = along[:, ::-1] * [-1.0, 1.0]
    # The width at a right angle is piecewise linear along the axis, so it is greatest at a corner of the outline.
    where, height = along @ starts.T, across @ starts.T
    run, rise = along @ (stops - starts).T, across @ (stops - starts).T
    passed = where[:, :, None] - where[:, None]
    crossed = passed * (passed - run[:, None]) <= 0.0
    met = height[:, None] + passed * (rise / np.where(run == 0.0, np.inf, run))[:, None]
    top = np.max(met, axis=2, where=crossed, initial=-np.inf)
    bottom = np.min(met, axis=2, where=crossed, initial=np.inf)
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
