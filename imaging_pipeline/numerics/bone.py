"""What a lesion does to its bone: the rim around it, the wall of its vertebral body, the body's heights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.intensity import Reference
from imaging_pipeline.numerics.pyramid import Level
from imaging_pipeline.numerics.reference import Neighbours
from imaging_pipeline.numerics.size import sizes_in_plane
from imaging_pipeline.numerics.spine import Frame, body_frame, heights_mm
from imaging_pipeline.numerics.uncertainty import NORMAL_95, Estimate, within
from imaging_pipeline.numerics.unmixing import unmixed
from imaging_pipeline.numerics.wall import Wall, cortex, fitted_wall

#: A rim is looked for this far to either side of the border, in the plane.
RIM_REACH_MM = 1.0
#: Standard deviations over scanners. Source for these and those below: phantom lesions of other seeds than those of
#: benchmarks/figures_measure.py.
RIM_HU_SD = 8.0
RIM_SD_PERCENT = 8.0

#: Places where heights of a body are taken, as a share of its depth from front to back.
HEIGHT_PLACES = {"height_anterior": 0.15, "height_middle": 0.5, "height_posterior": 0.85}
#: Thicker slices do not show where an endplate ends.
THICKEST_SLICE_MM = 3.0
#: Error of one height, to which this times the cube of the slice thickness is added: the thicker slices are, the fewer
#: of them an endplate crosses; and what all heights of a spine share, for how dense endplates are is not seen.
HEIGHT_SD_MM = 0.1
HEIGHT_SD_PER_MM = 0.018
COMMON_HEIGHT_SD_MM = 0.35
#: No endplate lies farther from its body's middle than this share of the distance of the bodies above and below.
FARTHEST_FACE = 0.32
#: Where the middle of a lesion's body is looked for, off half-way between its neighbours, in shares of that.
OWN_MIDDLES = (0.0, -0.2, 0.2)
#: Discs in mid-plane, in shares of the bodies' height, the hollows of the endplates counted in: a body that has lost
#: height leaves more room, a body left out as much again as its own height. Heights of healthy neighbours differ less.
THINNEST_DISC, THICKEST_DISC = 0.05, 1.0
UNLIKE = 0.3
#: What a lesion's own voxels count as when its body's outline is sought: bone that was.
FORMER_BONE_HU = 160.0

WALL_SD_PERCENT = 4.5
THICKNESS_SD_MM = 0.1
THICKNESS_SD = 0.15

#: A lesion has left its body where it lies this far outside the wall as fitted, and is no denser than this.
SOFT_BEYOND_MM = 2.0
DENSEST_SOFT_HU = 130.0
SOFT_SD_MM = 1.5
#: As wide may a part be that does not reach as far.
HIDDEN_MM = 8.0


def rim(
    array: NDArray[Any], marked: NDArray[np.bool_], grid: Grid, reference: Reference, config: MeasureConfig
) -> dict[str, Estimate]:
    """Density of the shell at a lesion's border, and the share of the border that a sclerotic rim covers.

    There is a rim where the border is denser than the reference's range and denser than the bone just outside: dense
    bone outside alone only looks like one.

    Parameters
    ----------
    array : (S, R, C) CT numbers in HU, with a margin of several voxels around the mask.
    marked : (S, R, C) boolean, the lesion.
    grid : the place of both.
    reference : healthy trabecular bone of the same scan.
    config : width of the shell, how many standard deviations off the reference sclerosis lies.
    """
    _, row_mm, column_mm = grid.spacing_mm
    values = ndimage.gaussian_filter(array.astype(np.float32), (0.0, 0.3 / row_mm, 0.3 / column_mm))
    depth_mm = ndimage.distance_transform_edt(np.pad(marked, 1), grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    # The border lies half a pixel outside the outermost centres.
    shell = marked & (depth_mm < config.rim_width_mm + 0.5 * row_mm)
    density_hu = float(unmixed(values, marked, grid.spacing_mm)[shell].mean())
    size = [1, *(2 * max(1, round(RIM_REACH_MM / step)) + 1 for step in (row_mm, column_mm))]
    inside = ndimage.maximum_filter(np.where(marked, values, -np.inf), size)
    outside = ndimage.maximum_filter(np.where(marked, -np.inf, values), size)
    dense = inside > reference.mean_hu + config.sclerotic_sd * reference.sd_hu
    faces_mm2 = _faces_mm2(marked, grid)
    covered = 100.0 * float(faces_mm2[dense & (inside > outside)].sum() / faces_mm2.sum())
    return {"rim_density": within(density_hu, RIM_HU_SD), "rim_continuity": _percent(covered, RIM_SD_PERCENT)}


def _faces_mm2(marked: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Area of each marked voxel's faces to voxels that are not."""
    padded = np.pad(marked, 1)
    areas = np.zeros(marked.shape)
    for axis, step_mm in enumerate(grid.spacing_mm):
        for shift in (1, -1):
            beyond = np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
            areas += (marked & ~beyond) * (grid.voxel_volume_mm3 / step_mm)
    return areas


def _percent(value: float, sd: float) -> Estimate:
    return Estimate(value, max(0.0, value - NORMAL_95 * sd), min(100.0, value + NORMAL_95 * sd))


def vertebra(beside: Neighbours, lesion: Mask, config: MeasureConfig) -> dict[str, Estimate]:
    """Heights of a lesion's vertebral body, their loss against both neighbours, its wall, and what lies outside it.

    Parameters
    ----------
    beside : the healthy bodies above and below.
    lesion : the lesion's mask, on the volume's lattice.
    config : the CT number of cortical bone.

    Returns
    -------
    dict
        Only what the image shows: empty without a neighbour on either side, with thick slices, or where an endplate
        or wall is not found.
    """
    slice_mm = float(np.abs(beside.part.grid.matrix[2, :3]).max())
    if len(beside.bodies) < 2 or slice_mm > THICKEST_SLICE_MM:
        return {}
    own = lesion.on(beside.part.grid)
    image = Level(beside.part.array.astype(np.float32), beside.part.grid)
    whole = Level(np.where(own.array, np.maximum(image.array, FORMER_BONE_HU), image.array), image.grid)
    frames = _frames(whole, [body.middle_lps for body in beside.bodies])
    if frames is None:
        return {}
    places = tuple(HEIGHT_PLACES.values())
    heights = np.array([heights_mm(whole, frame, places, ~own.array, config.cortical_hu) for frame in frames])
    found = _height_estimates(heights, slice_mm) if _are_in_a_row(frames, heights) else {}
    wall = fitted_wall(image, frames)
    return found if wall is None else found | _wall_estimates(wall, own, config) | soft_tissue(image, wall, own)


def _frames(image: Level, beside_lps: Sequence[NDArray[np.float64]]) -> tuple[Frame, ...] | None:
    """The frames of a lesion's body and of those above and below it, at which the first is looked for between them."""
    above, below = beside_lps
    # The bodies' middles tell better where the spine runs than the middles of their cores.
    for _ in range(2):
        upwards = (above - below) / np.linalg.norm(above - below)
        reach_mm = FARTHEST_FACE * float(np.linalg.norm(above - below))
        beside = [frame for near in (above, below) if (frame := body_frame(image, upwards, near, reach_mm)) is not None]
        if len(beside) < 2:
            return None
        above, below = (frame.middle for frame in beside)
    widths_mm = [frame.half_width_mm for frame in beside if np.isfinite(frame.half_width_mm)]
    width_mm = float(np.mean(widths_mm)) if widths_mm else 0.0
    # A body that has lost height may lie lower, or higher, than half-way.
    starts = (0.5 * (above + below) + share * reach_mm * upwards for share in OWN_MIDDLES)
    found = (body_frame(image, upwards, start, reach_mm, width_mm) for start in starts)
    own = next((frame for frame in found if frame is not None), None)
    return None if own is None else (own, *beside)


def _are_in_a_row(frames: Sequence[Frame], heights_mm: NDArray[np.float64]) -> bool:
    """Whether heights (3 bodies, 3 places) are those of three bodies one above the other, a disc between each two.

    A face taken for another's makes bodies overlap or leaves room for one more between them; and of two neighbours
    that are unlike, one has lost height itself.
    """
    if not np.isfinite(heights_mm).all():
        return False
    own, above, below = frames
    upwards = (above.middle - below.middle) / np.linalg.norm(above.middle - below.middle)
    middle_mm = heights_mm[:, 1]
    beside_mm = middle_mm[1:]
    apart_mm = np.array([(above.middle - own.middle) @ upwards, (own.middle - below.middle) @ upwards])
    discs = (apart_mm - 0.5 * (middle_mm[0] + beside_mm)) / beside_mm.mean()
    unlike = np.abs(heights_mm[1] / heights_mm[2] - 1.0).max()
    return bool(discs.min() > THINNEST_DISC and discs.max() < THICKEST_DISC and unlike < UNLIKE)


def _wall_estimates(wall: Wall, lesion: Mask, config: MeasureConfig) -> dict[str, Estimate]:
    found = cortex(wall, lesion, config.cortical_hu)
    if found is None:
        return {}
    continuity, thickness_mm = found
    sd_mm = float(np.hypot(THICKNESS_SD_MM, THICKNESS_SD * thickness_mm))
    return {
        "cortical_continuity": _percent(continuity, WALL_SD_PERCENT),
        "cortical_thickness": within(thickness_mm, sd_mm, lowest=0.0),
    }


def soft_tissue(image: Level, wall: Wall, lesion: Mask) -> dict[str, Estimate]:
    """Longest diameter in one plane of the part of a lesion that is no bone and lies outside its vertebral body.

    Parameters
    ----------
    image : a CT around the lesion.
    wall : of the lesion's body.
    lesion : its mask, on the image's grid.

    Notes
    -----
    What is left of the arch cannot be told from what grew there: a part behind the body may lie in a pedicle, and the
    number is flagged. Source: RECIST 1.1 2.1.2 (soft-tissue component of a lytic bone lesion).
    """
    index = np.argwhere(lesion.array & (image.array < DENSEST_SOFT_HU))
    points_lps = image.grid.to_lps(index)
    outside = index[wall.beyond(points_lps, SOFT_BEYOND_MM)]
    marked = np.zeros(lesion.array.shape, dtype=bool)
    marked[tuple(outside.T)] = True
    # Noise and the border's blur leave crumbs.
    marked = ndimage.binary_opening(marked, np.ones((1, 3, 3), dtype=bool))
    if not marked.any():
        return {"soft_tissue_diameter": Estimate(0.0, 0.0, HIDDEN_MM)}
    longest = sizes_in_plane(marked, image.grid)["longest_diameter"]
    behind = (image.grid.to_lps(np.argwhere(marked)) - wall.frame.middle) @ wall.frame.backwards
    flags = ("behind_the_body",) if np.mean(behind > 0.8 * wall.frame.half_depth_mm) > 0.5 else ()
    found = within(longest.value, SOFT_SD_MM, longest.points_lps, lowest=0.0)
    return {"soft_tissue_diameter": found.flagged(*flags)}


def _height_estimates(heights_mm: NDArray[np.float64], slice_mm: float) -> dict[str, Estimate]:
    """Heights (3 bodies, 3 places), the lesion's own first."""
    sd_mm = float(np.hypot(HEIGHT_SD_MM, HEIGHT_SD_PER_MM * slice_mm**3))
    own, expected = heights_mm[0], heights_mm[1:].mean(axis=0)
    loss = 100.0 * float((1.0 - own / expected).max())
    # A neighbours' mean of two adds half a variance.
    loss_sd = 100.0 * sd_mm * float(np.sqrt(1.5)) / float(expected.mean())
    own_sd_mm = float(np.hypot(sd_mm, COMMON_HEIGHT_SD_MM))
    found = {name: within(float(mm), own_sd_mm, lowest=0.0) for name, mm in zip(HEIGHT_PLACES, own, strict=True)}
    return {**found, "height_loss": within(loss, loss_sd)}
