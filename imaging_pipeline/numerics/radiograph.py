"""Heights of a vertebral body outlined on a radiograph, as ratios, which no magnification changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.numerics.contour import contours, smoothest
from imaging_pipeline.numerics.uncertainty import Estimate, within

#: Where heights are taken, as a share of the depth: near either end, for the corners are round, and in the middle.
END_SHARE = 0.15
#: Error of a ratio where the outline is that of the body. Source: bodies drawn by formula, of other seeds than those
#: of the tests; pixels of 0.2-0.6 mm;
#: most of it is where the ends of the depth are seen.
RATIO_SD = 0.015

Points = NDArray[np.float64]


def height_ratios(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Lower over higher end, and middle over higher end, of an outlined vertebral body seen from the side.

    A radiograph need not say which side is the front, so the ends are told apart by their height alone.

    Parameters
    ----------
    marked : (1, R, C) boolean array, the outline of the body.
    grid : its place; only the ratio of row to column spacing matters.

    Returns
    -------
    dict
        Empty for an outline of several pieces or of a few pixels.

    Notes
    -----
    Source: Genant 1993 (semiquantitative grading), Eastell 1991 (wedge and biconcavity ratios).
    """
    parts = contours(marked[0])
    if len(parts) != 1 or len(parts[0]) < 16:
        return {}
    outline = smoothest(parts[0]) * np.array(grid.spacing_mm[1:])
    along = _depth_direction(outline)
    where, height = outline @ along, outline @ np.array([along[1], -along[0]])
    start, depth = where.min(), np.ptp(where)
    first, middle, last = (_chord(where, height, start + share * depth) for share in (END_SHARE, 0.5, 1.0 - END_SHARE))
    higher = max(first, last)
    return {
        "height_ratio_ends": _ratio(min(first, last) / higher, highest=1.0),
        "height_ratio_middle": _ratio(middle / higher),
    }


def _depth_direction(outline: Points) -> Points:
    """Of the two directions of the smallest rectangle around an outline, the one nearer to the image's rows."""
    hull = outline[ConvexHull(outline).vertices]
    edges = np.roll(hull, -1, axis=0) - hull
    edges /= np.linalg.norm(edges, axis=1, keepdims=True)
    areas = [np.ptp(hull @ edge) * np.ptp(hull @ np.array([edge[1], -edge[0]])) for edge in edges]
    row, column = edges[int(np.argmin(areas))]
    return np.array([row, column]) if abs(column) >= abs(row) else np.array([column, -row])


def _chord(where: Points, height: Points, place: float) -> float:
    """How high the outline is at a place along its depth."""
    first, second = where[:-1], where[1:]
    crossed = (first <= place) != (second <= place)
    share = (place - first[crossed]) / (second[crossed] - first[crossed])
    hits = height[:-1][crossed] + share * (height[1:][crossed] - height[:-1][crossed])
    return float(np.ptp(hits))


def _ratio(value: float, highest: float = np.inf) -> Estimate:
    estimate = within(value, RATIO_SD, lowest=0.0)
    return Estimate(estimate.value, estimate.lower95, min(highest, estimate.upper95 or highest))
