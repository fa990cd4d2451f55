"""How large a lesion is, and how far to trust it: diameters in one plane, extents, volume, surface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.geometry import Grid, Space, as_point
from imaging_pipeline.numerics.border import REACH_VOXELS, covered
from imaging_pipeline.numerics.calipers import Axes, axes
from imaging_pipeline.numerics.mesh import farthest_on_mesh, mesh_area_mm2, outermost_centres
from imaging_pipeline.numerics.uncertainty import Estimate, shell_sides, within

#: Standard deviations over random smooth bodies and phantom lesions of other seeds than those of
#: benchmarks/figures_measure.py, in pixels: of the longest diameter, of the perpendicular to a given line, and of one
#: end of an extent, which lies anywhere between two centres (1 / sqrt 12, in slices too).
LONGEST_SD_PIXELS = 0.16
PERPENDICULAR_SD_PIXELS = 0.15
END_SD_VOXELS = 0.29
#: Standard deviation of the share of a voxel that the border cuts off or leaves out, where places are independent.
COUNTING_SD = 0.285
#: A lesion in one slice only: how far off its middle that slice is taken to be at most, as a share of half its height.
MOST_OFF_MIDDLE = 0.8
#: A mesh of whole voxels is larger than the body by up to this share of its area. Source: as above.
STEPS_AREA = 0.2

Points = NDArray[np.float64]


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
    box = _box_of(marked)
    own, place = marked[box], grid.crop(box)
    in_plane = _diameters(axes(own, place), _missed_between_slices(marked), place)
    near = tuple(
        slice(max(0, part.start - more), part.stop + more) for part, more in zip(box, REACH_VOXELS, strict=True)
    )
    volume = _volume(marked[near].copy(), grid, None if array is None else array[near].copy(), noise)
    return {**in_plane, **_mesh_sizes(own, place), "volume": volume}


def sizes_in_plane(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Longest diameter, perpendicular and short axis: all that an image without a place in the patient has.

    Parameters
    ----------
    marked : (S, R, C) boolean array, at least one voxel marked.
    grid : its place.
    """
    return _diameters(axes(marked, grid), _missed_between_slices(marked), grid)


def _diameters(found: Axes, missed: float, grid: Grid) -> dict[str, Estimate]:
    pixel_mm = float(np.sqrt(grid.spacing_mm[1] * grid.spacing_mm[2]))
    longest = _line(found.long_lps, LONGEST_SD_PIXELS * pixel_mm)
    perpendicular = _line(found.perpendicular_lps, PERPENDICULAR_SD_PIXELS * pixel_mm)
    down_mm, up_mm = found.perpendicular_spread_mm
    longest = _widened(longest, 0.0, missed * longest.value)
    perpendicular = _widened(perpendicular, down_mm, up_mm + missed * perpendicular.value)
    return {"longest_diameter": longest, "perpendicular_diameter": perpendicular, "short_axis": perpendicular}


def _line(ends: Points, sd_mm: float) -> Estimate:
    length = float(np.linalg.norm(ends[1] - ends[0]))
    return within(length, sd_mm, (as_point(ends[0]), as_point(ends[1])), lowest=0.0)


def _widened(estimate: Estimate, down: float, up: float) -> Estimate:
    lower, upper = estimate.lower95 or 0.0, estimate.upper95 or estimate.value
    return replace(estimate, lower95=max(0.0, lower + down), upper95=upper + up)


def _missed_between_slices(marked: NDArray[np.bool_]) -> float:
    """Share by which the largest section may exceed the largest that was acquired, half a slice from it.

    Of an ellipsoid through some slices, a section half a slice off the middle is shorter by that share.
    """
    if len(marked) == 1:
        return 0.0
    half_slices = min(MOST_OFF_MIDDLE, 1.0 / float(np.count_nonzero(marked.any(axis=(1, 2)))))
    return float(1.0 - np.sqrt(1.0 - half_slices**2))


def _mesh_sizes(marked: NDArray[np.bool_], grid: Grid) -> dict[str, Estimate]:
    """Extents along the patient's axes, largest distance and area of the mesh."""
    centres = outermost_centres(marked, grid)
    steps = grid.matrix[:3, :3]
    end_mm = END_SD_VOXELS * np.linalg.norm(steps, axis=1)
    names = ("extent_left_right", "extent_anterior_posterior", "extent_superior_inferior")
    # The mesh ends half a voxel from the outermost centres, along one of the grid's axes.
    spans = np.ptp(centres, axis=0) + np.abs(steps).max(axis=1)
    extents = zip(names, spans, np.sqrt(2.0) * end_mm, strict=True)
    area = mesh_area_mm2(marked, grid)
    return {
        **{name: within(float(extent), float(sd_mm), lowest=0.0) for name, extent, sd_mm in extents},
        "max_3d_diameter": _line(farthest_on_mesh(centres, grid), float(np.sqrt(2.0) * end_mm.max())),
        "surface_area": Estimate(area, (1.0 - STEPS_AREA) * area, area),
    }


def _volume(marked: NDArray[np.bool_], grid: Grid, array: NDArray[Any] | None, noise: float) -> Estimate:
    """Voxels counted, and what the image says of their border, each by its precision: the errors are independent."""
    voxels, sd = float(np.count_nonzero(marked)), _counting_sd(marked, grid)
    seen = None if array is None else covered(array, marked, grid.spacing_mm, noise)
    if seen is None:
        return within(voxels * grid.voxel_volume_mm3, sd * grid.voxel_volume_mm3, lowest=0.0)
    weights = np.array([sd, seen[1]]) ** -2.0
    voxels, sd = float(np.average([voxels, seen[0]], weights=weights)), float(weights.sum() ** -0.5)
    estimate = within(voxels * grid.voxel_volume_mm3, sd * grid.voxel_volume_mm3, lowest=0.0)
    return estimate.flagged("partial_volume_corrected")


def _counting_sd(marked: NDArray[np.bool_], grid: Grid) -> float:
    """Error of a count of voxels, in voxels, where the border lies at random between centres.

    From slice to slice the border moves by patches as many pixels wide as a slice is thick: so much fewer are the
    independent places along it.
    """
    inner, outer = shell_sides(marked)
    border = 0.5 * float(np.count_nonzero(inner) + np.count_nonzero(outer))
    patch = max(1.0, grid.spacing_mm[0] / float(np.sqrt(grid.spacing_mm[1] * grid.spacing_mm[2])))
    return COUNTING_SD * patch * float(np.sqrt(border))


def cautions_of(marked: NDArray[np.bool_], truncated: bool, space: Space = Space.PATIENT) -> tuple[str, ...]:
    """What a reader must know of every size: cut off by the image's edge, or in several pieces."""
    if space is Space.PATIENT:
        count = ndimage.label(marked[_box_of(marked)], np.ones((3, 3, 3)))[1]
    else:
        count = max(ndimage.label(plane, np.ones((3, 3)))[1] for plane in marked)
    return (("truncated",) if truncated else ()) + ((f"pieces {count}",) if count > 1 else ())


def _box_of(marked: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    plane = np.any(marked, axis=0)
    shadows = (np.any(marked, axis=(1, 2)), np.any(plane, axis=1), np.any(plane, axis=0))
    lines = (np.flatnonzero(shadow) for shadow in shadows)
    slices, rows, columns = (slice(int(line[0]), int(line[-1]) + 1) for line in lines)
    return slices, rows, columns
