"""Where a lesion is: what a reader says before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

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


Mark = Point | Line | Box | Outline | Outside


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
    """What a reader marked of one lesion at one visit: in which series, and where."""

    series: Series
    marks: tuple[Mark, ...]
