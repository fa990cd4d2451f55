"""One plane of sample points on which structures are painted, each over what lies there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.phantom.shapes import Array, Coordinates, Triple

Matrix4 = NDArray[np.float64]
Window = tuple[slice, slice]
#: Row and column indices of single pixels, each (N,).
Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]

#: CT number from which matter counts as mineral and follows the tube voltage.
MINERAL_FROM_HU = 100.0


@dataclass
class Canvas:
    """A plane of constant z in scanner LPS mm.

    `hu` is (R, C); `edge_mm` is the width over which a painted border runs from
    outside to inside, `mineral` the tube voltage's effect on what exceeds
    `MINERAL_FROM_HU`.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: float
    hu: NDArray[np.float32]
    edge_mm: float
    mineral: float = 1.0

    def window(self, to_scanner: Matrix4, low: Triple, high: Triple) -> Window | None:
        """The part of the plane that a box, given in its own frame, can touch; None if it cannot."""
        centre = (np.array(low) + high) / 2
        reach = np.abs(to_scanner[:3, :3]) @ (np.array(high) - centre) + self.edge_mm
        middle = to_scanner[:3, :3] @ centre + to_scanner[:3, 3]
        if abs(self.z - middle[2]) > reach[2]:
            return None
        columns = _part(self.x, middle[0] - reach[0], middle[0] + reach[0])
        rows = _part(self.y, middle[1] - reach[1], middle[1] + reach[1])
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None

    @property
    def whole(self) -> Window:
        """All of the plane."""
        return slice(0, len(self.y)), slice(0, len(self.x))

    def coordinates(self, to_scanner: Matrix4, window: Window) -> Coordinates:
        """Coordinates of a window's points in the frame `to_scanner` comes from, each (r, c)."""
        rows, columns = window
        return self._mapped(to_scanner, self.x[columns][np.newaxis, :], self.y[rows][:, np.newaxis])

    def coordinates_of(self, to_scanner: Matrix4, pixels: Pixels) -> Coordinates:
        """Coordinates of single pixels in the frame `to_scanner` comes from, each (N,)."""
        rows, columns = pixels
        return self._mapped(to_scanner, self.x[columns], self.y[rows])

    def _mapped(self, to_scanner: Matrix4, x: Array, y: Array) -> Coordinates:
        inverse = np.linalg.inv(to_scanner)
        first, second, third = (
            x * float(line[0]) + (y * float(line[1]) + float(line[2] * self.z + line[3])) for line in inverse[:3]
        )
        return first, second, third

    def at(self, z: float) -> Canvas:
        """A copy at another height, with what is painted already."""
        return replace(self, z=z, hu=self.hu.copy())

    def paint(self, place: Window | Pixels, distance: Array, value: float | Array) -> None:
        """Cover what lies there by `value` where the distance is negative, in part across the border."""
        under = self.hu[place]
        self.hu[place] = under + covered(distance, self.edge_mm) * (at_voltage(value, self.mineral) - under)

    def paint_layers(
        self, place: Window | Pixels, distance: Array, layers: Iterable[tuple[float, float | Array]]
    ) -> None:
        """Paint nested layers from outside in: (depth in mm below the surface, value)."""
        for depth_mm, value in layers:
            self.paint(place, distance + depth_mm, value)


def covered(distance: Array, edge_mm: float) -> Array:
    """Share of a point's neighbourhood that lies inside: 0 to 1 over the width of the edge."""
    result: Array = np.clip(0.5 - distance / edge_mm, 0.0, 1.0)
    return result


def at_voltage(value: float | Array, mineral: float) -> float | Array:
    """A CT number at 120 kVp as another tube voltage shows it: only what exceeds soft tissue changes."""
    if mineral == 1.0:
        return value
    if isinstance(value, (int, float)):
        return value + (mineral - 1.0) * max(value - MINERAL_FROM_HU, 0.0)
    result: Array = value + (mineral - 1.0) * np.maximum(value - MINERAL_FROM_HU, 0.0)
    return result


def _part(axis: NDArray[np.float32], low: float, high: float) -> slice:
    return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, side="right")))
