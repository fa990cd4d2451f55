"""Lesion and surroundings compete for each voxel: appearance, edges and expected place in one convex minimum cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.numerics.pyramid import Bools, Floats

#: No single voxel may outweigh its neighbourhood: what it looks like counts at most as odds of twenty to one.
MAX_APPEARANCE = 3.0
#: Beyond this the place alone decides.
MAX_LOG_ODDS = 6.0
#: Steps of the solver; the outline moves less than a tenth of a voxel after that.
STEPS = 80
#: Width in voxels of the smoothing before values are compared.
SMOOTHING = 0.7
#: Classes of value, and how many spreads of the lesion's own values they reach to either side of its median.
CLASSES, RANGE = 32, 8.0
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
        self._values = ndimage.gaussian_filter(values, SMOOTHING)
        self._flatness = _flatness(self._values, noise_of(values))
        self._smoothness = smoothness

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
        return _cut(odds, self._smoothness * self._flatness, share)

    def support(self, marked: Bools) -> float:
        """How well the image speaks for an outline: edges along it, less edges inside it; 1 at best.

        It tells a good outline from one that is too small (no edges), too large (edges inside) or guessed.
        """
        if not marked.any():
            return 0.0
        edges = 1.0 - self._flatness
        border = ndimage.binary_dilation(marked) & ~ndimage.binary_erosion(marked)
        inner = ndimage.binary_erosion(marked, iterations=2)
        # An outline may miss the crest of its edge by a voxel.
        along = float(ndimage.maximum_filter(edges, 3)[border].mean())
        return max(0.0, along - (float(edges[inner].mean()) if inner.any() else 0.0))

    def _appearance(self, share: Floats, near: Bools) -> NDArray[np.float32]:
        """Log-odds of being lesion by value alone: the lesion's values as a whole against the values nearby.

        What surrounds a lesion differs from side to side: at each place only the surroundings near it are the rival.
        A voxel on an edge is a mixture, looks like neither side, and neither teaches nor is judged.
        """
        if not (share > 0.5).any():
            return np.zeros_like(self._values)
        classes = self._classes(share)
        inside = _normalised(np.bincount(classes.ravel(), (share * self._flatness).ravel(), CLASSES).astype(np.float64))
        around = _normalised(_counted_nearby(classes, (1 - share) * near * self._flatness))
        blocks = np.meshgrid(*((np.arange(size) + 0.5) / BLOCK - 0.5 for size in share.shape), indexing="ij")
        rival = ndimage.map_coordinates(around, [classes, *blocks], order=1, mode="nearest")
        odds = np.log((inside[classes] + UNSEEN) / (rival + UNSEEN))
        return np.asarray(np.clip(odds, -MAX_APPEARANCE, MAX_APPEARANCE) * self._flatness, dtype=np.float32)

    def _classes(self, share: Floats) -> NDArray[np.intp]:
        """Values as classes, finest where the lesion's own values lie."""
        own = self._values[share > 0.5]
        middle = float(np.median(own))
        spread = 1.4826 * float(np.median(np.abs(own - middle))) + 1e-3
        position = np.clip((self._values - middle) / (2 * RANGE * spread) + 0.5, 0.0, 1.0)
        return np.asarray(np.rint(position * (CLASSES - 1)), dtype=np.intp)


def logistic(odds: Floats) -> NDArray[np.float32]:
    """Odds as a share."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -30.0, 30.0))), dtype=np.float32)


def noise_of(values: Floats) -> float:
    """Standard deviation of noise, from differences of neighbours that lie in one tissue."""
    differences = np.abs(np.diff(values, axis=-1))
    return max(float(np.median(differences)) / (0.6745 * 2**0.5), 1e-3)


def _flatness(smooth: Floats, noise: float) -> NDArray[np.float32]:
    """1 where values stay, towards 0 where they change by more than noise: the outline likes to lie there."""
    steepness = np.sqrt(sum(part**2 for part in np.gradient(smooth)))
    return np.asarray(1.0 / (1.0 + (steepness / (2.0 * noise)) ** 2), dtype=np.float32)


def _normalised(counts: Floats) -> NDArray[np.float32]:
    """Frequencies of classes (along the first axis), each shared with its neighbours."""
    shares = counts / np.maximum(counts.sum(axis=0), 1e-6)
    return np.asarray(ndimage.gaussian_filter1d(shares, 1.0, axis=0, mode="nearest"), dtype=np.float32)


def _counted_nearby(classes: NDArray[np.intp], weights: Floats) -> NDArray[np.float32]:
    """How much weight each class has near each block: (classes, S / BLOCK, R / BLOCK, C / BLOCK)."""
    blocks = [-(-size // BLOCK) for size in classes.shape]
    s, r, c = (np.arange(size) // BLOCK for size in classes.shape)
    block = (s[:, None, None] * blocks[1] + r[:, None]) * blocks[2] + c
    place = classes * int(np.prod(blocks)) + block
    counts = np.bincount(place.ravel(), weights.ravel(), CLASSES * int(np.prod(blocks))).reshape(CLASSES, *blocks)
    return np.asarray(ndimage.gaussian_filter(counts, (0.0, NEARBY, NEARBY, NEARBY), mode="constant"), dtype=np.float32)


def _cut(odds: Floats, weights: Floats, share: Floats) -> NDArray[np.float32]:
    """Minimise the weighted area of the outline minus the odds inside it."""
    pace = np.float32(1 / np.sqrt(12))
    # Flows are kept in units of the pace and arrays written over: most of a lesion's time is spent here.
    limit = np.maximum(weights, 1e-6) / pace
    gain = (pace * odds).astype(np.float32)
    share = share.astype(np.float32)
    ahead, following = share.copy(), np.empty_like(share)
    flows = np.zeros((3, *share.shape), dtype=np.float32)
    for _ in range(STEPS):
        for axis, flow in enumerate(flows):
            flow[_leading(axis)] += ahead[_trailing(axis)] - ahead[_leading(axis)]
        flows *= limit / np.maximum(np.sqrt(sum(flow * flow for flow in flows)), limit)
        np.add(share, gain, out=following)
        following += pace**2 * _divergence(flows)
        np.clip(following, 0.0, 1.0, out=following)
        np.subtract(2 * following, share, out=ahead)
        share, following = following, share
    return share


def _divergence(flows: Floats) -> NDArray[np.float32]:
    result: NDArray[np.float32] = flows[0] + flows[1] + flows[2]
    for axis, flow in enumerate(flows):
        result[_trailing(axis)] -= flow[_leading(axis)]
    return result


def _leading(axis: int) -> tuple[slice, ...]:
    return tuple(slice(0, -1) if other == axis else slice(None) for other in range(3))


def _trailing(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
