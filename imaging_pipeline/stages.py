"""The stages of one case, each remembered by its inputs, so that unchanged input asks for no pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TypeVar

import numpy as np

from imaging_pipeline import plugins
from imaging_pipeline.config import Config
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import PointLps, Transform
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.prompts import Outline, Prompt
from imaging_pipeline.errors import Problem, SpaceError, StageError
from imaging_pipeline.numerics.measurement import Findings, measure
from imaging_pipeline.numerics.registration import refine, register
from imaging_pipeline.numerics.segmentation import carry
from imaging_pipeline.store import Store

#: Around each lesion so much of the scan is kept, for pictures and for the reader.
VIEW_MARGIN_MM = 40.0

Result = TypeVar("Result")


class Stages:
    """Runs a stage, or recalls what it gave for the same inputs.

    A stage's refusal is remembered like a result, and raised again. `values`
    gathers the arrays the case refers to.
    """

    def __init__(
        self,
        load: Callable[[Series], Volume],
        config: Config,
        store: Store,
        levels: Mapping[Series, Mapping[str, PointLps]],
    ) -> None:
        self._load = load
        self._config = config
        self._store = store
        self._levels = levels
        self.values: dict[str, Mask | Volume] = {}

    def registered(self, fixed: Series, moving: Series, lesion: Mask, kind: Kind) -> Transform:
        """The baseline's place in a later scan: the whole field first, then around the lesion."""
        config = self._config.register_
        here, there = self._levels.get(fixed, {}), self._levels.get(moving, {})
        same = tuple((here[level], there[level]) for level in sorted(here.keys() & there.keys()))
        whole = self._remember(
            "register",
            (fixed, moving, config, same),
            Transform,
            lambda: register(self._load(fixed), self._load(moving), config, same),
        )
        return self._remember(
            "refine",
            (fixed, moving, whole, lesion, kind, config),
            Transform,
            lambda: refine(self._load(fixed), self._load(moving), whole, lesion, kind, config),
        )

    def carried(self, mask: Mask, transform: Transform, series: Series) -> Outline:
        """A lesion's shape moved to another scan."""
        inputs = (mask, transform, series)
        return Outline(self._remember("carry", inputs, Mask, lambda: carry(mask, transform, self._load(series).grid)))

    def segmented(self, series: Series, prompt: Prompt) -> Mask:
        """The lesion's outline from its prompt."""
        config = self._config.segment
        segmenter = plugins.load("segmenters", config.segmenter)
        inputs = (plugins.origin("segmenters", config.segmenter), series, prompt, config)
        return self.kept(self._remember("segment", inputs, Mask, lambda: segmenter(self._load(series), prompt, config)))

    def kept(self, mask: Mask) -> Mask:
        """A mask the case refers to."""
        self.values[mask.digest] = mask
        return mask

    def viewed(self, series: Series, mask: Mask) -> Volume:
        """The part of the scan around a lesion."""

        def cut() -> Volume:
            volume = self._load(series)
            marked_lps = mask.grid.to_lps(np.argwhere(mask.array))
            return volume.crop(volume.grid.box_around(marked_lps, VIEW_MARGIN_MM))

        view = self._remember("view", (series, mask, VIEW_MARGIN_MM), Volume, cut)
        self.values[view.digest] = view
        return view

    def measured(
        self, series: Series, mask: Mask, lesion: Lesion, visit: int, reference_lps: PointLps | None = None
    ) -> Findings:
        """Every quantity that applies to a lesion at a visit, and what could not be given."""
        config = self._config.measure
        return self._remember(
            "measure",
            (series, mask, lesion, visit, config, reference_lps),
            Findings,
            lambda: measure(self._load(series), mask, lesion, visit, config, reference_lps),
        )

    def doubts(self, mask: Mask, subject: str) -> tuple[Problem, ...]:
        """What a reader must know of an outline before trusting its numbers."""
        floor = self._config.segment.min_confidence
        if mask.confidence is None or mask.confidence >= floor:
            return ()
        found, expected = f"an outline of confidence {mask.confidence:.2f}", f"at least {floor:.2f}"
        return (Problem("W-SEG-CONFIDENCE", subject, found, expected, "check the outline before using its numbers"),)

    def _remember(self, stage: str, inputs: object, kind: type[Result], compute: Callable[[], Result]) -> Result:
        def outcome() -> Result | Problem:
            try:
                return compute()
            except (StageError, SpaceError) as error:
                return error.problem

        found = self._store.remember(stage, code_version(), inputs, kind | Problem, outcome)
        if isinstance(found, Problem):
            raise StageError.of(found)
        return found


@lru_cache
def code_version() -> str:
    """Digest of this package's source: results of other code are never taken for results of this code."""
    package = files(__package__)
    folders = (package / "numerics", package / "domain", package / "io", package)
    sources = (item for folder in folders for item in sorted(folder.iterdir(), key=lambda item: item.name))
    return digest(tuple(item.read_bytes() for item in sources if item.name.endswith(".py")))
