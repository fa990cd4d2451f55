"""Signed distances of simple bodies, negative inside, in millimetres; exact at the surface, close to it nearby."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Coordinates = tuple[Array, Array, Array]
Triple = tuple[float, float, float]


def ellipsoid(points: Coordinates, centre: Triple, semi_axes: Triple) -> Array:
    """Distance to an ellipsoid along the axes: the level over the length of its gradient, right to first order."""
    scaled = [(axis - middle) / semi for axis, middle, semi in zip(points, centre, semi_axes, strict=True)]
    level = np.sqrt(sum(part * part for part in scaled))
    slope = np.sqrt(sum((part / semi) ** 2 for part, semi in zip(scaled, semi_axes, strict=True)))
    result: Array = (level - 1.0) * level / np.maximum(slope, 1e-6)
    return result


def capsule(points: Coordinates, start: Triple, end: Triple, radius: float, end_radius: float | None = None) -> Array:
    """Distance to a rod with round ends; a second radius tapers it."""
    axis = [last - first for first, last in zip(start, end, strict=True)]
    square = sum(part * part for part in axis)
    offset = [part - first for part, first in zip(points, start, strict=True)]
    along = sum(part * (direction / square) for part, direction in zip(offset, axis, strict=True))
    along = np.clip(along, 0.0, 1.0)
    away = sum((part - along * direction) ** 2 for part, direction in zip(offset, axis, strict=True))
    taper = 0.0 if end_radius is None else end_radius - radius
    result: Array = np.sqrt(away) - (radius + taper * along if taper else radius)
    return result


def radial(reach_mm: Array, level: Array) -> Array:
    """Distance along a radius to where a level that grows in proportion to the reach is 1; negative before."""
    # A hair more than the reach keeps the very middle, where both are 0, inside.
    result: Array = (reach_mm + 0.01) * (1.0 - 1.0 / np.maximum(level, 1e-4))
    return result


def both(first: Array, second: Array, rounding_mm: float = 0.0) -> Array:
    """Inside both bodies; the edge where they meet is rounded over some millimetres."""
    if not rounding_mm:
        return np.maximum(first, second)
    overlap = np.maximum(rounding_mm - np.abs(first - second), 0.0)
    result: Array = np.maximum(first, second) + overlap * overlap * (0.25 / rounding_mm)
    return result


def either(distances: Sequence[Array]) -> Array:
    """Inside at least one body."""
    result = distances[0]
    for distance in distances[1:]:
        result = np.minimum(result, distance)
    return result


def step(value: Array, start: float, end: float) -> Array:
    """0 before `start`, 1 after `end`, smooth between; `end` may lie below `start`."""
    share = np.clip((value - start) / (end - start), 0.0, 1.0)
    result: Array = share * share * (3.0 - 2.0 * share)
    return result


class Waves:
    """Smooth deterministic texture: a sum of plane waves, mean 0 and standard deviation 1 over large volumes."""

    def __init__(self, seed: int, wavelength_mm: tuple[float, float], count: int = 5) -> None:
        random = np.random.default_rng(seed)
        directions = random.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        frequencies = 2 * np.pi / random.uniform(*wavelength_mm, size=(count, 1))
        self._waves = (directions * frequencies).tolist()
        self._phases = random.uniform(0, 2 * np.pi, count).tolist()
        self._scale = float(np.sqrt(2.0 / count))

    def __call__(self, points: Coordinates) -> Array:
        """The texture at points."""
        x, y, z = points
        total = sum(
            np.cos(x * wave[0] + y * wave[1] + (z * wave[2] + phase))
            for wave, phase in zip(self._waves, self._phases, strict=True)
        )
        result: Array = total * self._scale
        return result


def patches(points: Coordinates, seed: int, wavelength_mm: float, share: float) -> Array:
    """Distance to irregular patches that fill a share (0 to 1) of space, negative in them."""
    level = NormalDist().inv_cdf(min(max(share, 1e-6), 1.0 - 1e-6))
    waves = Waves(seed, (0.8 * wavelength_mm, 1.2 * wavelength_mm))(points)
    # Waves of unit height have a mean slope of about 2 pi / wavelength.
    result: Array = (waves - level) * (wavelength_mm / 6.28)
    return result
