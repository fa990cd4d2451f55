"""How far a point lies from a mask's outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.pyramid import Floats


def signed_distance_mm(mask: Mask, points_lps: Floats) -> NDArray[np.float32]:
    """Distance of LPS points (N, 3) to the outline of a mask: positive inside, negative outside.

    Between voxels the distance is interpolated, so that the outline is smoother than its voxels; beyond the mask's
    grid it is counted from the grid's edge, which is a lower bound of its size.
    """
    # One empty voxel around, so that the outline is closed where the mask touches its grid.
    marked = np.pad(mask.array, 1)
    spacing_mm = np.array(mask.grid.spacing_mm)
    field = ndimage.distance_transform_edt(marked, spacing_mm) - ndimage.distance_transform_edt(~marked, spacing_mm)
    index = mask.grid.to_index(points_lps).T + 1
    nearest = np.clip(index, 0, np.array(marked.shape)[:, None] - 1)
    beyond_mm = np.linalg.norm((index - nearest) * spacing_mm[:, None], axis=0)
    values = ndimage.map_coordinates(field, nearest, order=1, mode="nearest") - beyond_mm
    return np.asarray(values, dtype=np.float32)
