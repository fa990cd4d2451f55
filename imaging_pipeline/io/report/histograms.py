"""How the CT numbers of a lesion are spread, visit beside visit on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.figures import MINERAL_HU
from imaging_pipeline.io.report.plots import Tick, nice_ticks, tick_label

WIDTH, HEIGHT, BOTTOM = 240.0, 62.0, 14.0
#: Narrow enough to tell marrow from trabecular bone, wide enough not to show noise.
BIN_HU = 25.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """The CT numbers inside one outline: the bars' outline as SVG writes it, the axis, and the same in words."""

    bars: str
    ticks: tuple[Tick, ...]
    mineral: float
    words: str
    width: float = WIDTH
    height: float = HEIGHT
    base: float = HEIGHT - BOTTOM


def histograms(samples: Sequence[NDArray[Any]]) -> Iterator[Histogram]:
    """A histogram of each sample; all have the same axes, so that a shift is seen as one."""
    if not samples:
        return
    low = min(float(np.percentile(each, 0.5)) for each in samples)
    high = max(float(np.percentile(each, 99.5)) for each in samples)
    ticks = nice_ticks(min(low, 0.0), max(high, MINERAL_HU + BIN_HU), 3)
    edges = np.arange(ticks[0], ticks[-1] + BIN_HU, BIN_HU)
    shares = [np.histogram(np.clip(each, ticks[0], ticks[-1]), edges)[0] / each.size for each in samples]
    most = max(float(share.max()) for share in shares)
    for share, values in zip(shares, samples, strict=True):
        yield _histogram(share / most, values, ticks)


def _histogram(heights: NDArray[np.float64], values: NDArray[Any], ticks: Sequence[float]) -> Histogram:
    base, step = HEIGHT - BOTTOM, BIN_HU / (ticks[-1] - ticks[0]) * (WIDTH - 2)
    tops = base - heights * (base - 2)
    bars = f"M1 {base}" + "".join(f"V{top:.1f}h{step:.2f}" for top in tops) + f"V{base}Z"
    return Histogram(
        bars,
        tuple(Tick(_place(tick, ticks), tick_label(tick, ticks)) for tick in ticks),
        _place(MINERAL_HU, ticks),
        _words(values),
    )


def _place(value: float, ticks: Sequence[float]) -> float:
    return round(1 + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - 2), 1)


def _words(values: NDArray[Any]) -> str:
    low, middle, high = np.percentile(values, [5, 50, 95])
    above = 100 * float(np.mean(values > MINERAL_HU))
    return wording.signed(
        f"median {middle:.0f} HU, 5th to 95th percentile {low:.0f} to {high:.0f} HU, "
        f"{above:.0f} % of voxels above {MINERAL_HU:.0f} HU"
    )
