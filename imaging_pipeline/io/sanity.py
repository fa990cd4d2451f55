"""Whether CT numbers look like CT numbers: air at its place, no slice off its neighbours.

Source: the Hounsfield scale, air at -1000 and water at 0 HU; the project's HAZARDS, table 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.images import Volume
from imaging_pipeline.domain.quantities import HU, ONE
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.findings import finding

#: Another offset or slope moves all of a slice's densities by hundreds; anatomy never moves the low, the middle and
#: the high ones together.
JUMP_HU = 100.0
PERCENTILES = (5, 50, 95)
#: Scanners put air within 50 HU of -1000; padding lies far below.
AIR_HU = (-1050.0, -900.0)
BELOW_AIR_HU = (-2100.0, -1100.0)
#: A body has fat, and around it is air.
LOW_HU = -50.0
#: Shares of the voxels that are no accident.
SHARE = 0.01
#: So many rows and columns tell as much of a slice's percentiles as all.
SAMPLE = 32


def density_problems(volume: Volume) -> tuple[Problem, ...]:
    """What is odd about the densities of a CT volume, seen as a whole."""
    if volume.unit != HU:
        return ()
    _, rows, columns = volume.array.shape
    sample = np.ascontiguousarray(volume.array[:, :: max(1, rows // SAMPLE), :: max(1, columns // SAMPLE)])
    found = [_jump(sample, volume.series.series_instance_uid), _air(sample, volume.series.series_instance_uid)]
    return tuple(problem for problem in found if problem is not None)


def _jump(sample: NDArray[Any], subject: str) -> Problem | None:
    ordered = np.sort(sample.reshape(len(sample), -1), axis=1).astype(np.float32)
    ranks = [share * (ordered.shape[1] - 1) // 100 for share in PERCENTILES]
    steps = np.diff(ordered[:, ranks].T, axis=1)
    together = np.where((np.sign(steps) == np.sign(steps[:1])).all(axis=0), np.abs(steps).min(axis=0), 0.0)
    if together.size == 0 or together.max() <= JUMP_HU:
        return None
    where = int(np.argmax(together))
    found = f"all densities {together[where]:.0f} HU apart or more in slices {where} and {where + 1}"
    return finding("W-HU-JUMP", subject, found)


def _air(sample: NDArray[Any], subject: str) -> Problem | None:
    below = np.mean((sample > BELOW_AIR_HU[0]) & (sample < BELOW_AIR_HU[1]))
    air = np.mean((sample > AIR_HU[0]) & (sample < AIR_HU[1]))
    if below > SHARE and below > air:
        found = f"{below:.0%} of the voxels below air"
    elif np.mean(sample < LOW_HU) < SHARE / 10:
        found = "neither air nor fat"
    else:
        return None
    return finding("W-HU-OFFSET", subject, found)


def unit_of(array: NDArray[Any], subject: str) -> tuple[str, tuple[Problem, ...]]:
    """The unit of a file that does not state one: HU where there are values only CT has, below air's neighbourhood.

    MR signal, counts and uptake are never negative; CT has fat at -100 and air at -1000 HU.
    """
    low = float(array.min())
    if not -4096 <= low < -150:
        return ONE, ()
    return HU, (finding("W-UNIT-ASSUMED", subject, f"no unit; taken as HU, as values go down to {low:.0f}"),)
