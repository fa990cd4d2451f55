"""Outlines by a trained network, where one is at hand: a segmenter like any other, named `network`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.prompts import Box, Line, Mark, Outline, Outside, Point, Prompt, middle_lps
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.errors import ConfigurationError, StageError
from imaging_pipeline.io.models import Network, open_network
from imaging_pipeline.numerics.expectation import Limited
from imaging_pipeline.numerics.pyramid import Bools
from imaging_pipeline.numerics.segmentation import (
    AGREEMENT_MM,
    failed,
    firmest,
    require_agreement,
    require_in_view,
)
from imaging_pipeline.numerics.windows import Recipe, looked_at, region_around, resampled, touches_side


def segment(volume: Volume, prompt: Prompt, config: SegmentConfig) -> Mask:
    """Lesions were outlined by a trained network: of its answer around the prompt, the piece the prompt lies in.

    Parameters
    ----------
    volume : Volume
        CT in HU or MR, as the network was trained on.
    prompt : Prompt
        What is known of the lesion in this volume. A click on what is not the lesion cuts off what lies behind it.
    config : SegmentConfig
        `model` is the folder of the network, `model_digest` what its files must be, `labels` the classes that count.

    Returns
    -------
    Mask
        On a crop of the volume's grid. Its confidence is the overlap (Dice) with what the network answers when
        left and right are exchanged.

    Raises
    ------
    ConfigurationError, PluginError
        As `imaging_pipeline.io.models.open_network`; E-NETWORK-LABELS when a label is none of the network's.
    StageError
        E-NETWORK-MODALITY when it was trained on other scans, E-PROMPT-OUTSIDE, E-PROMPT-FORM and E-PROMPT-DISAGREE
        as without a network, E-SEG-EMPTY when nothing is found at the prompt, E-SEG-LEAK when what is found goes on
        beyond what the network saw.
    """
    network = open_network(Path(config.model), config.model_digest)
    labels = _labels(network.recipe, config)
    volume.grid.require_patient("segmentation")
    require_in_view(volume.grid, prompt)
    _require_modality(volume, network.recipe)
    look = _Look.at(volume, prompt, network.recipe)
    piece, mirrored = (look.piece(look.answer(network, labels, mirror)) for mirror in (False, True))
    if not piece.any():
        raise failed("E-SEG-EMPTY", "nothing by the network at the prompt", "a lesion there", "at its middle")
    if touches_side(piece, look.box, volume.grid.shape):
        raise failed(
            "E-SEG-LEAK", "an outline that goes on beyond what the network saw", "a closed outline", "by a line"
        )
    share = 2.0 * np.count_nonzero(piece & mirrored) / (np.count_nonzero(piece) + np.count_nonzero(mirrored))
    found = Mask(piece, look.grid, f"network {config.model_digest[:12]}", confidence=round(float(share), 4))
    require_agreement(found, prompt)
    return found.crop(found.box(1))


@dataclass(frozen=True, eq=False)
class _Look:
    """One look at a lesion: the network's view of it, and the scan's own voxels there."""

    prompt: Prompt
    mark: Point | Line | Box | Outline
    view: NDArray[np.float32]
    view_grid: Grid
    box: tuple[slice, slice, slice]
    grid: Grid

    @classmethod
    def at(cls, volume: Volume, prompt: Prompt, recipe: Recipe) -> Self:
        """Around what the firmest mark of a prompt spans."""
        mark = firmest(prompt)
        if isinstance(mark, Outline) and not mark.mask.array.any():
            raise failed("E-SEG-EMPTY", "a carried outline out of view", "an outline in this scan", "at that visit")
        lattice = recipe.lattice(volume.grid)
        there = lattice.crop(region_around(lattice, _extent_lps(mark), recipe.patch))
        corners_lps = there.to_lps(np.array(np.meshgrid(*((0, size - 1) for size in there.shape))).reshape(3, -1).T)
        box = volume.grid.box_around(corners_lps, 0.0)
        view = resampled(recipe.prepared(volume.array), volume.grid, there)
        return cls(prompt, mark, view, there, box, volume.grid.crop(box))

    def answer(self, network: Network, labels: tuple[str, ...], mirror: bool) -> Bools:
        """Which of the scan's voxels are of the wanted classes; asked with left and right exchanged if so wished."""
        sideways = int(np.argmax(np.abs(self.view_grid.directions[0])))
        view = np.flip(self.view, sideways) if mirror else self.view
        scores = looked_at(np.ascontiguousarray(view), network.recipe.patch, network.predict)
        wanted = network.recipe.wanted(np.flip(scores, sideways + 1) if mirror else scores, labels)
        answer = resampled(wanted, self.view_grid, self.grid) > 0
        clicks_lps = np.array([mark.point_lps for mark in self.prompt.marks if isinstance(mark, Outside)])
        if len(clicks_lps):
            behind = Limited(_Anywhere(_extent_lps(self.mark)), clicks_lps)
            places_lps = self.grid.to_lps(np.argwhere(answer))
            answer[answer] = behind.log_odds(places_lps) > 0
        return answer

    def piece(self, answer: Bools) -> Bools:
        """The piece of an answer that a mark lies in: no farther off than a hand errs, or most overlapped."""
        labels, count = ndimage.label(answer)
        if isinstance(self.mark, Outline):
            shared = np.bincount(labels[self.mark.mask.on(self.grid).array], minlength=count + 1)[1:]
            return np.asarray(labels == (1 + np.argmax(shared) if shared.any() else -1))
        places = np.argwhere(answer)
        away_mm = np.linalg.norm(self.grid.to_lps(places) - middle_lps(self.mark), axis=1)
        if not count or away_mm.min() > AGREEMENT_MM:
            return np.zeros(answer.shape, dtype=bool)
        return np.asarray(labels == labels[tuple(places[np.argmin(away_mm)])])


@dataclass(frozen=True, eq=False)
class _Anywhere:
    """No expectation but that a lesion has a middle: the network knows its shape, the clicks limit it."""

    extent_lps: NDArray[np.float64]
    doubt: float = 0.0

    def log_odds(self, points_lps: NDArray[np.float64]) -> NDArray[np.float32]:
        """Anything may be lesion."""
        return np.full(len(points_lps), np.inf, dtype=np.float32)

    def taught(self, _share: object, _points_lps: object) -> Self:
        """Nothing to learn."""
        return self


def _extent_lps(mark: Mark) -> NDArray[np.float64]:
    """Points (N, 3) between which a mark lies."""
    if isinstance(mark, Outline):
        return mark.mask.grid.to_lps(np.argwhere(mark.mask.array))
    if isinstance(mark, Line):
        return np.array([*mark.long_axis_lps, *(mark.short_axis_lps or ()), *(mark.span_lps or ())])
    return np.array(mark.corners_lps if isinstance(mark, Box) else [mark.point_lps])


def _labels(recipe: Recipe, config: SegmentConfig) -> tuple[str, ...]:
    """The classes that count as lesion: those configured, else all but the background."""
    known = recipe.classes[1:] if recipe.exclusive else recipe.classes
    if unknown := [label for label in config.labels if label not in known]:
        raise ConfigurationError(
            "E-NETWORK-LABELS",
            "segment.labels",
            found=f"'{unknown[0]}'",
            expected=f"labels of the network: {', '.join(known)}",
            remedy="correct it",
        )
    return config.labels or known


def _require_modality(volume: Volume, recipe: Recipe) -> None:
    if (volume.unit == HU) != recipe.ct:
        raise StageError(
            "E-NETWORK-MODALITY",
            f"series {volume.series.series_instance_uid}",
            found=f"a scan of modality {volume.series.modality}",
            expected="CT in HU" if recipe.ct else "scans that are no CT",
            remedy="use a network that was trained on such scans",
        )
