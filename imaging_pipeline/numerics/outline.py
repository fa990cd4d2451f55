"""How far a point lies from a mask's outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.numerics.pyramid import Floats


class SignedDistance:
    """Distance of points to a mask's outline in mm: positive inside, negative outside.

    Between voxels the distance is interpolated, so that the outline is smoother than its voxels; beyond the mask's
    grid it is counted from the grid's edge, which is a lower bound of its size.
    """

    def __init__(self, mask: Mask) -> None:
        # One empty voxel around, so that the outline is closed where the mask touches its grid.
        marked = np.pad(mask.array, 1)
        self._grid, self._spacing_mm = mask.grid, np.array(mask.grid.spacing_mm)
        inside, outside = (ndimage.distance_transform_edt(part, self._spacing_mm) for part in (marked, ~marked))
        self._field = inside - outside

    def __call__(self, points_lps: Floats) -> NDArray[np.float32]:
        """At LPS points (N, 3)."""
        index = self._grid.to_index(points_lps).T + 1
        nearest = np.clip(index, 0, np.array(self._field.shape)[:, None] - 1)
        beyond_mm = np.linalg.norm((index - nearest) * self._spacing_mm[:, None], axis=0)
        values = ndimage.map_coordinates(self._field, nearest, order=1, mode="nearest") - beyond_mm
        return np.asarray(values, dtype=np.float32)
