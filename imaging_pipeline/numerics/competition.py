"""Lesion and surroundings compete for each voxel: appearance, shape and edges in one convex minimum cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.numerics.pyramid import Floats

#: No single voxel may outweigh its neighbourhood: evidence is cut at odds of twenty to one.
MAX_LOG_ODDS = 3.0
#: Steps of the solver; the outline moves less than a tenth of a voxel after that.
STEPS = 150


def competition(
    values: NDArray[np.float32], prior: NDArray[np.float32], noise: float, smoothness: float, rounds: int = 3
) -> NDArray[np.float32]:
    """Share of each voxel that belongs to the lesion.

    Parameters
    ----------
    values : (S, R, C) float32
        The neighbourhood, on voxels of equal edges.
    prior : (S, R, C) float32
        Log-odds of being lesion by place alone.
    noise : float
        Standard deviation of the values within one tissue.
    smoothness : float
        Weight of the outline's area against the log-odds inside it.
    rounds : int
        How often appearance is learned anew from the outline.

    Returns
    -------
    (S, R, C) float32 from 0 to 1; the outline lies at 0.5.

    Notes
    -----
    *Source*: the cut is the convex form of Chan, Esedoglu and Nikolova (SIAM J Appl Math 2006), solved by the
    primal-dual method of Chambolle and Pock (J Math Imaging Vis 2011); learning in rounds follows Rother (GrabCut).
    """
    smooth = ndimage.gaussian_filter(values, 0.7)
    edges = _edge_weights(smooth, noise)
    share = _logistic(prior)
    for _ in range(rounds):
        odds = _appearance(smooth, share, prior, noise) + prior
        share = _cut(np.clip(odds, -2 * MAX_LOG_ODDS, 2 * MAX_LOG_ODDS), smoothness * edges, share)
    return share


def noise_of(values: Floats) -> float:
    """Standard deviation of noise, from differences of neighbours that lie in one tissue."""
    differences = np.abs(np.diff(values, axis=-1))
    return max(float(np.median(differences)) / (0.6745 * 2**0.5), 1e-3)


def _edge_weights(smooth: Floats, noise: float) -> NDArray[np.float32]:
    """Small where values change, so that the outline likes to lie there."""
    steepness = np.sqrt(sum(part**2 for part in np.gradient(smooth)))
    result: NDArray[np.float32] = (1.0 / (1.0 + (steepness / (2.0 * noise)) ** 2)).astype(np.float32)
    return result


def _appearance(smooth: Floats, share: Floats, prior: Floats, noise: float) -> NDArray[np.float32]:
    """Log-odds of being lesion by value alone, from the values inside and around the present outline."""
    low, high = np.percentile(smooth, [0.5, 99.5])
    bins = int(np.clip((high - low) / noise, 16, 256))
    index = np.clip((smooth - low) / (high - low) * (bins - 1), 0, bins - 1).astype(np.intp)
    near = prior > -2 * MAX_LOG_ODDS
    width = bins * noise / (high - low)
    inside, around = (
        ndimage.gaussian_filter1d(count / count.sum(), width, mode="nearest") + 1e-4
        for count in (np.bincount(index.ravel(), (part * near).ravel(), bins) for part in (share, 1 - share))
    )
    odds = np.clip(np.log(inside / around), -MAX_LOG_ODDS, MAX_LOG_ODDS)
    result: NDArray[np.float32] = odds[index].astype(np.float32)
    return result


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


def _logistic(odds: Floats) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)
    return result
