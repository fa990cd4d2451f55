"""Lesion and surroundings compete for each voxel: appearance, edges and expected place in one convex minimum cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.numerics.pyramid import Bools, Floats, block_mean

#: No single voxel may outweigh its neighbourhood: what it looks like counts at most as odds of twenty to one.
MAX_APPEARANCE = 3.0
#: Beyond this the place alone decides.
MAX_LOG_ODDS = 6.0
#: Steps of the solver; the outline moves less than a tenth of a voxel after that.
STEPS = 80
#: Blocks of voxels in which the values around are counted, and the width in blocks over which counts are shared.
BLOCK, NEARBY = 4, 1.5
#: A value never seen is not impossible.
UNSEEN = 0.01


class Contest:
    """One neighbourhood, (S, R, C) on voxels of equal edges, ready to be cut.

    Notes
    -----
    *Source*: the cut is the convex form of Chan, Esedoglu and Nikolova (SIAM J Appl Math 2006), solved by the
    primal-dual method of Chambolle and Pock (J Math Imaging Vis 2011); appearance is learned from the outline in
    rounds, after Rother et al. (GrabCut, 2004), against local surroundings, after Lankton and Tannenbaum (2008).
    """

    def __init__(self, values: Floats, smoothness: float) -> None:
        noise = noise_of(values)
        smooth = ndimage.gaussian_filter(values, 0.7)
        self._bins, self._index = _binned(smooth, noise)
        self._weights = smoothness * _edge_weights(smooth, noise)

    def cut(self, place: Floats, share: Floats) -> NDArray[np.float32]:
        """Share (0 to 1) of each voxel that belongs to the lesion; the outline lies at 0.5.

        Parameters
        ----------
        place : (S, R, C)
            Log-odds of being lesion by place alone.
        share : (S, R, C)
            What was held before: appearance is learned from it.
        """
        odds = np.clip(self._appearance(share, place > -MAX_LOG_ODDS) + place, -MAX_LOG_ODDS, MAX_LOG_ODDS)
        return _cut(odds, self._weights, share)

    def _appearance(self, share: Floats, near: Bools) -> NDArray[np.float32]:
        """Log-odds of being lesion by value alone: the lesion's values as a whole against the values nearby.

        What surrounds a lesion differs from side to side: at each place only the surroundings near it are the rival.
        """
        inside = np.bincount(self._index.ravel(), share.ravel(), self._bins)
        inside = ndimage.gaussian_filter1d(inside / inside.sum(), 1.0, mode="nearest")
        counts = _counted_nearby(self._index, (1 - share) * near, self._bins)
        around = ndimage.gaussian_filter1d(counts / np.maximum(counts.sum(axis=0), 1e-6), 1.0, axis=0, mode="nearest")
        blocks = np.meshgrid(*((np.arange(size) + 0.5) / BLOCK - 0.5 for size in share.shape), indexing="ij")
        rival = ndimage.map_coordinates(around, [self._index, *blocks], order=1, mode="nearest")
        odds = np.log((inside[self._index] + UNSEEN) / (rival + UNSEEN))
        return np.asarray(np.clip(odds, -MAX_APPEARANCE, MAX_APPEARANCE), dtype=np.float32)


def logistic(odds: Floats) -> NDArray[np.float32]:
    """Odds as a share."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -30.0, 30.0))), dtype=np.float32)


def noise_of(values: Floats) -> float:
    """Standard deviation of noise, from differences of neighbours that lie in one tissue."""
    differences = np.abs(np.diff(values, axis=-1))
    return max(float(np.median(differences)) / (0.6745 * 2**0.5), 1e-3)


def _edge_weights(smooth: Floats, noise: float) -> NDArray[np.float32]:
    """Small where values change, so that the outline likes to lie there."""
    steepness = np.sqrt(sum(part**2 for part in np.gradient(smooth)))
    result: NDArray[np.float32] = (1.0 / (1.0 + (steepness / (2.0 * noise)) ** 2)).astype(np.float32)
    return result


def _binned(smooth: Floats, noise: float) -> tuple[int, NDArray[np.intp]]:
    """Values as classes about as wide as noise."""
    low, high = np.percentile(smooth, [0.5, 99.5])
    bins = int(np.clip((high - low) / noise, 8, 32))
    position = (smooth - low) / max(high - low, 1e-6) * (bins - 1)
    return bins, np.rint(np.clip(position, 0, bins - 1)).astype(np.intp)


def _counted_nearby(index: NDArray[np.intp], weights: Floats, bins: int) -> NDArray[np.float32]:
    """How much weight each class has near each block: (bins, S / BLOCK, R / BLOCK, C / BLOCK)."""
    margins = [(0, -size % BLOCK) for size in index.shape]
    index, weights = np.pad(index, margins), np.pad(weights, margins)
    counts = (block_mean(np.where(index == number, weights, 0.0), [BLOCK] * 3) for number in range(bins))
    return np.stack([ndimage.gaussian_filter(count, NEARBY, mode="constant") for count in counts])


def _cut(odds: Floats, weights: Floats, share: Floats) -> NDArray[np.float32]:
    """Minimise the weighted area of the outline minus the odds inside it."""
    share = share.astype(np.float32)
    ahead = share.copy()
    flows = np.zeros((3, *share.shape), dtype=np.float32)
    pace = np.float32(1 / np.sqrt(12))
    for _ in range(STEPS):
        for axis, flow in enumerate(flows):
            inner = _leading(axis)
            flow[inner] += pace * np.diff(ahead, axis=axis)
        length = np.sqrt(np.einsum("i...,i...->...", flows, flows))
        flows /= np.maximum(1.0, length / np.maximum(weights, 1e-6))
        previous = share
        share = np.clip(share + pace * (_divergence(flows) + odds), 0.0, 1.0)
        ahead = 2 * share - previous
    return share


def _divergence(flows: Floats) -> NDArray[np.float32]:
    result: NDArray[np.float32] = flows.sum(axis=0)
    for axis, flow in enumerate(flows):
        result[_trailing(axis)] -= flow[_leading(axis)]
    return result


def _leading(axis: int) -> tuple[slice, ...]:
    return tuple(slice(0, -1) if other == axis else slice(None) for other in range(3))


def _trailing(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
