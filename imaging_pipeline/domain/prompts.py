"""Where a lesion is: what a reader says before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import PointLps
from imaging_pipeline.domain.images import Mask, Series
from imaging_pipeline.domain.lesions import Kind


@dataclass(frozen=True, slots=True)
class Point:
    """A click inside the lesion."""

    point_lps: PointLps


@dataclass(frozen=True, slots=True)
class Line:
    """The RECIST line; optionally its perpendicular and the levels the lesion spans.

    `span_lps` holds a point in the first and one in the last slice that shows the lesion.
    """

    long_axis_lps: tuple[PointLps, PointLps]
    short_axis_lps: tuple[PointLps, PointLps] | None = None
    span_lps: tuple[PointLps, PointLps] | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """Two opposite corners of a box, along the LPS axes, that holds the lesion."""

    corners_lps: tuple[PointLps, PointLps]


@dataclass(frozen=True, slots=True)
class Outline:
    """A whole shape on the voxels of this volume."""

    mask: Mask


@dataclass(frozen=True, slots=True)
class Outside:
    """A click on what is not the lesion, though it may look like it."""

    point_lps: PointLps


@dataclass(frozen=True, slots=True)
class Healthy:
    """A click in a healthy vertebra to compare a bone lesion with; it says nothing of where the lesion is."""

    point_lps: PointLps


Mark = Point | Line | Box | Outline | Outside


def middle_lps(mark: Mark) -> NDArray[np.float64]:
    """The middle (3,) of a mark."""
    if isinstance(mark, Point | Outside):
        return np.array(mark.point_lps)
    if isinstance(mark, Outline):
        return np.asarray(mark.mask.grid.to_lps(np.argwhere(mark.mask.array).mean(axis=0)))
    ends_lps = np.array(mark.long_axis_lps if isinstance(mark, Line) else mark.corners_lps)
    return np.asarray(ends_lps.mean(axis=0))


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that is said of one lesion in one volume before it is segmented.

    Several marks must agree, and one at least says where the lesion is. An `Outline` among them is the lesion's shape
    carried here from another visit.
    """

    kind: Kind
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Placed:
    """What a reader marked of one lesion at one visit: in which series, and where.

    `aside` is what was marked beside the series the lesion is followed in, for what that image alone tells;
    `reference_lps` lies in the healthy vertebra to compare with, where the reader names one.
    """

    series: Series
    marks: tuple[Mark, ...]
    aside: bool = False
    reference_lps: PointLps | None = None
