"""The shape a prompt lets expect, how sure of it one may be, and what the image teaches about the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.domain.prompts import Box, Line, Point
from imaging_pipeline.numerics.outline import SignedDistance
from imaging_pipeline.numerics.pyramid import Floats

Doubles = NDArray[np.float64]

#: Second and third diameter of a lesion as shares of the longest, each tried where the prompt does not say.
ASPECTS = (0.55, 0.75, 1.0)
#: Radii tried around a click.
CLICK_RADII_MM = (5.0, 7.5, 11.0, 16.0, 24.0, 36.0)
#: Sizes tried of an outline carried from another visit: from deep response to clear progression.
SCALES = (0.5, 0.63, 0.8, 1.0, 1.25, 1.6)
#: How far the surface of such an outline may still lie off: its form changes too.
CARRIED_LOOSENESS_MM = 3.0
#: Support by which a ball half as large again must be better: who clicks means what lies under the click.
DOUBT_PER_SIZE = 0.05
#: How far the surface may lie from the expected one, as a share of the radius: along an axis the prompt gives
#: (a reader's hand, and lesions are no ellipsoids), and along one it leaves open.
GIVEN_LOOSENESS, OPEN_LOOSENESS = 0.12, 0.30
#: No hand is surer than this.
MIN_LOOSENESS_MM = 1.0
#: Share of what the image teaches that is believed, along an axis the prompt gives and one it leaves open.
GIVEN_LEARNING, OPEN_LEARNING = 0.2, 0.8
#: Surroundings that matter, in radii.
REACH = 1.8


class Expectation(Protocol):
    """A shape that the image may still correct. `doubt` counts against it when several are tried."""

    @property
    def doubt(self) -> float:
        """Support by which it must be better than one without doubt."""
        ...

    @property
    def extent_lps(self) -> Doubles:
        """Points (N, 3) whose box holds the surroundings that matter."""
        ...

    def log_odds(self, points_lps: Doubles) -> NDArray[np.float32]:
        """Of points (N, 3) to lie in the lesion, by place alone: distance to the surface over its looseness."""
        ...

    def taught(self, share: Floats, points_lps: Doubles) -> Expectation:
        """The shape after a look at the image, which found these shares of lesion at these points."""
        ...


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """The shape a mark suggests.

    `frame` holds the prompt's axes as rows, `radii_mm` the lesion's size along them, `given` which of these the
    prompt states. `spread` is the second moment (3, 3) in mm2 of the present shape, which may be turned against the
    frame once the image has taught it.
    """

    centre_lps: Doubles
    frame: Doubles
    radii_mm: Doubles
    given: NDArray[np.bool_]
    shift_lps: Doubles
    spread: Doubles
    doubt: float = 0.0

    @classmethod
    def of(cls, centre_lps: Doubles, frame: Doubles, radii_mm: Doubles, given: tuple[bool, bool, bool]) -> Ellipsoid:
        """As the prompt says it."""
        radii = np.maximum(np.asarray(radii_mm, dtype=np.float64), 1.0)
        spread = (frame.T * (radii**2 / 5)) @ frame
        return cls(np.asarray(centre_lps), np.asarray(frame), radii, np.array(given), np.zeros(3), spread)

    @property
    def extent_lps(self) -> Doubles:
        """Corners of the surroundings that matter."""
        arms = self.frame * self.radii_mm[:, None] * REACH
        return np.vstack([self.centre_lps + arms, self.centre_lps - arms])

    def log_odds(self, points_lps: Doubles) -> NDArray[np.float32]:
        """Signed distance to the expected surface, along the ray from the centre, in units of its looseness there."""
        offset = (points_lps - self.centre_lps - self.shift_lps).astype(np.float32)
        to_ball = np.linalg.cholesky(np.linalg.inv(5 * self.spread))
        length = _length(offset) + 1e-6
        radius = _length(offset @ to_ball.astype(np.float32)) + 1e-6  # from the centre, 1 on the surface
        share = np.where(self.given, GIVEN_LOOSENESS, OPEN_LOOSENESS)
        loose_mm = np.maximum(share * self.radii_mm, MIN_LOOSENESS_MM)
        across = _length(offset @ (self.frame.T * loose_mm).astype(np.float32)) / length
        return np.asarray((1 - radius) * length / radius / np.maximum(across, 1e-3), dtype=np.float32)

    def taught(self, share: Floats, points_lps: Doubles) -> Ellipsoid:
        """The shape after a look at the image: what the prompt gives is kept, what it leaves open is learned."""
        if (seen := _moments(share, points_lps)) is None:
            return self
        found, spread = seen
        belief = np.where(self.given, GIVEN_LEARNING, OPEN_LEARNING)
        stated = (self.frame.T * (self.radii_mm**2 / 5)) @ self.frame
        root = (self.frame.T * np.sqrt(belief)) @ self.frame
        learned = stated + root @ (spread - stated) @ root
        return replace(self, shift_lps=(root @ root) @ (found - self.centre_lps), spread=learned)


@dataclass(frozen=True, eq=False)
class Carried:
    """The outline of another visit, moved and scaled by growth or response but of the same form.

    `centre_lps` and `size_mm` (geometric mean of the root mean square widths) are those of the outline, `shift_lps`
    and `scale` what became of them.
    """

    distance: SignedDistance
    centre_lps: Doubles
    size_mm: float
    shift_lps: Doubles
    scale: float = 1.0
    doubt: float = 0.0

    @property
    def extent_lps(self) -> Doubles:
        """A ball that holds it with its surroundings."""
        # The root mean square width of a ball is its radius over the square root of 5.
        reach_mm = REACH * self.size_mm * np.sqrt(5.0) * max(1.0, self.scale)
        return np.vstack([self.centre_lps - reach_mm, self.centre_lps + reach_mm])

    def log_odds(self, points_lps: Doubles) -> NDArray[np.float32]:
        """Signed distance to the outline in units of its looseness."""
        origin_lps = self.centre_lps + (points_lps - self.centre_lps - self.shift_lps) / self.scale
        return np.asarray(self.distance(origin_lps) * self.scale / CARRIED_LOOSENESS_MM, dtype=np.float32)

    def taught(self, share: Floats, points_lps: Doubles) -> Carried:
        """Moved and scaled as the image says."""
        if (seen := _moments(share, points_lps)) is None:
            return self
        centre_lps, spread = seen
        scale = float(np.linalg.det(spread)) ** (1 / 6) / self.size_mm
        return replace(self, shift_lps=centre_lps - self.centre_lps, scale=min(max(scale, SCALES[0]), SCALES[-1]))


@dataclass(frozen=True, eq=False)
class Limited:
    """An expectation that ends at clicks (N, 3) on what is not the lesion.

    What lies behind a click as the middle of the lesion sees it, in a cone of 45 degrees, is not the lesion either.
    """

    within: Expectation
    clicks_lps: Doubles

    @property
    def doubt(self) -> float:
        """As without clicks."""
        return self.within.doubt

    @property
    def extent_lps(self) -> Doubles:
        """As without clicks."""
        return self.within.extent_lps

    def log_odds(self, points_lps: Doubles) -> NDArray[np.float32]:
        """Behind a click the distance into its cone, over the looseness of a hand, speaks against the lesion."""
        odds = self.within.log_odds(points_lps)
        middle_lps = self.extent_lps.mean(axis=0)
        for click_lps in self.clicks_lps:
            sight = (click_lps - middle_lps) / max(float(np.linalg.norm(click_lps - middle_lps)), 1e-6)
            offset = (points_lps - click_lps).astype(np.float32)
            behind_mm = offset @ sight.astype(np.float32)
            aside_mm = np.sqrt(np.maximum(_length(offset) ** 2 - behind_mm**2, 0.0))
            odds = np.minimum(odds, (aside_mm - behind_mm) / MIN_LOOSENESS_MM - 1.0)
        return odds

    def taught(self, share: Floats, points_lps: Doubles) -> Limited:
        """The shape learns, the clicks stay."""
        return replace(self, within=self.within.taught(share, points_lps))


def _length(offset: Floats) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.einsum("ni,ni->n", offset, offset)), dtype=np.float32)


def _moments(share: Floats, points_lps: Doubles) -> tuple[Doubles, Doubles] | None:
    """Centre and second moment (3, 3) of what is more lesion than not; None when nothing is."""
    weights = np.where(share > 0.5, share, 0.0).ravel().astype(np.float64)
    if not weights.any():
        return None
    weights /= weights.sum()
    centre_lps = weights @ points_lps
    offset = points_lps - centre_lps
    # A voxel wide at least, so that a plane of voxels has a volume too.
    return centre_lps, (offset * weights[:, None]).T @ offset + np.eye(3) / 5


def of_line(line: Line, grid: Grid) -> tuple[Ellipsoid, ...]:
    """Ellipsoids on the RECIST line; what the prompt does not say is a usual share of it."""
    ends = np.array(line.long_axis_lps)
    centre, arm = ends.mean(axis=0), (ends[1] - ends[0]) / 2
    length = max(float(np.linalg.norm(arm)), 1.0)
    along = arm / np.linalg.norm(arm)
    normal = grid.directions[:, 0]
    up = normal - (normal @ along) * along
    up /= np.linalg.norm(up)
    across = np.cross(up, along)
    wide = high = 0.0
    if line.short_axis_lps is not None:
        short = np.array(line.short_axis_lps)
        wide = float(np.linalg.norm(short[1] - short[0])) / 2
        centre = centre + ((short.mean(axis=0) - centre) @ across) * across
    if line.span_lps is not None:
        levels = (np.array(line.span_lps) - centre) @ up
        # The first and the last slice lie inside the lesion with half their thickness.
        high = float(np.ptp(levels) + grid.spacing_mm[0]) / 2
        centre = centre + levels.mean() * up
    frame = np.stack([along, across, up])
    given = (True, wide > 0, high > 0)
    return tuple(
        Ellipsoid.of(centre, frame, np.array([length, wide or aspect * length, high or aspect * length]), given)
        for aspect in (ASPECTS if not all(given) else ASPECTS[:1])
    )


def of_box(box: Box) -> tuple[Ellipsoid, ...]:
    """The ellipsoid that touches the box's sides."""
    corners = np.array(box.corners_lps)
    radii_mm = np.abs(corners[1] - corners[0]) / 2
    return (Ellipsoid.of(corners.mean(axis=0), np.eye(3), radii_mm, given=(True, True, True)),)


def of_point(point: Point) -> tuple[Ellipsoid, ...]:
    """Balls of several sizes around a click."""
    centre = np.array(point.point_lps)
    return tuple(
        replace(
            Ellipsoid.of(centre, np.eye(3), np.full(3, radius_mm), given=(False, False, False)),
            doubt=DOUBT_PER_SIZE * step,
        )
        for step, radius_mm in enumerate(CLICK_RADII_MM)
    )


def of_outline(outline: Mask) -> tuple[Carried, ...]:
    """The outline of another visit in several sizes."""
    marked_lps = outline.grid.to_lps(np.argwhere(outline.array))
    if (seen := _moments(np.ones(len(marked_lps)), marked_lps)) is None:
        return ()
    centre_lps, spread = seen
    size_mm = float(np.linalg.det(spread)) ** (1 / 6)
    distance = SignedDistance(outline)
    same = SCALES.index(1.0)
    return tuple(
        Carried(distance, centre_lps, size_mm, np.zeros(3), scale, DOUBT_PER_SIZE * abs(step - same))
        for step, scale in enumerate(SCALES)
    )
