"""Vertebrae that another program labelled: which level lies where in a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imaging_pipeline.domain.codes import VERTEBRAE
from imaging_pipeline.domain.geometry import Grid, PointLps, as_point
from imaging_pipeline.domain.images import Volume
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.nifti import read_nifti
from imaging_pipeline.io.nrrd import read_nrrd

#: What label values mean. Source: TotalSegmentator 2, task "total": 50 is C1, 27 is L5; VerSe 2020: 1 is C1, 24 is L5.
SCHEMES = {
    "totalsegmentator": {50 - place: level for place, level in enumerate(VERTEBRAE)},
    "verse": {1 + place: level for place, level in enumerate(VERTEBRAE)},
}


@dataclass(frozen=True, eq=False)
class Levels:
    """Where each level lies that is shown whole, and which level lies at a point.

    `middles_lps` holds the middle of each whole vertebra, arch and all, by level: "L4".
    """

    middles_lps: dict[str, PointLps]
    labels: NDArray[Any]
    grid: Grid
    names: dict[int, str]

    def at(self, point_lps: ArrayLike) -> str:
        """The level whose label lies at a point; empty where none does."""
        index = np.rint(self.grid.to_index(point_lps)).astype(int)
        if np.any(index < 0) or np.any(index >= self.labels.shape):
            return ""
        return self.names.get(int(self.labels[tuple(index)]), "")


def read_levels(path: Path, scan: Grid, scheme: str) -> Levels:
    """The vertebrae in a label map (NIfTI or NRRD) of a scan; the lattices may differ, the place may not.

    Parameters
    ----------
    scan
        The grid of the scan that was labelled.
    scheme
        What its values mean: a key of `SCHEMES`.

    Raises
    ------
    RefusedError
        When the file is damaged, holds no vertebra, or none that lies in the scan.
    """
    labelled = _label_map(path)
    names = SCHEMES[scheme]
    middles = _middles(labelled, names)
    if not any(scan.contains(middle) for middle in middles.values()):
        found = f"{len(middles)} whole vertebrae, none of them in the scan" if middles else "no whole vertebra"
        raise _refusal(path.name, found, f"labels of {scheme} for that scan", "check the file and its `labels`")
    return Levels(middles, labelled.array, labelled.grid, names)


def _label_map(path: Path) -> Volume:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        labelled = read_nifti(path)
    elif name.endswith(".nrrd"):
        labelled = read_nrrd(path)
    else:
        raise _refusal(path.name, "another kind of file", "NIfTI or NRRD", "export the labels as one of these")
    if labelled.array.dtype.kind not in "iu":
        raise _refusal(path.name, "values that are not whole", "labels", "export the labels, not probabilities")
    return labelled


def _middles(labelled: Volume, names: dict[int, str]) -> dict[str, PointLps]:
    # A map may hold other organs, whose values mean nothing here.
    own = np.where(np.isin(labelled.array, list(names)), labelled.array, 0)
    boxes = ndimage.find_objects(own)
    found = {}
    for label, level in names.items():
        box = boxes[label - 1] if label <= len(boxes) else None
        # Of a vertebra that the scan cuts off, the middle of what is left is not its own.
        if box is not None and all(
            part.start > 0 and part.stop < size for part, size in zip(box, own.shape, strict=True)
        ):
            start = [part.start for part in box]
            found[level] = as_point(labelled.grid.to_lps(np.argwhere(own[box] == label).mean(axis=0) + start))
    return found


def _refusal(subject: str, found: str, expected: str, remedy: str) -> RefusedError:
    return RefusedError("E-LEVELS", subject, found=found, expected=expected, remedy=remedy)
