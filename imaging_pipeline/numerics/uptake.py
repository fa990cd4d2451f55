"""Uptake of a lesion on a planar bone scan, against the opposite side of the body or the vertebrae next to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.numerics.uncertainty import Estimate, within

#: From one vertebra to the next. Source: heights of bodies and discs, Panjabi 1992; rounded.
PITCH_MM = {"lumbar vertebra": 35.0, "thoracic vertebra": 25.0, "cervical vertebra": 18.0}
#: Error of a ratio by where its reference happens to lie, as a share of it. Source: phantom patients of other seeds
#: than those of the tests.
PLACE_SD = 0.06

Pixels = NDArray[np.bool_]


def uptake_ratio(volume: Volume, mask: Mask, lesion: Lesion) -> dict[str, Estimate]:
    """Mean counts of a lesion over those of its reference, each the geometric mean of both views; below 1 is cold.

    A vertebra is compared with both its neighbours, anything else with the opposite side. A view in which the lesion
    is not marked takes the mark of the other, mirrored, for one is seen from behind.

    Parameters
    ----------
    volume : (1 or 2, R, C) counts, anterior first, rows from the head down.
    mask : the lesion, on the volume's lattice.
    lesion : its site decides what it is compared with.

    Returns
    -------
    dict
        Empty where no reference lies inside the image or none has counts.

    Notes
    -----
    Source: geometric mean of opposite views, which depends little on depth (Sorenson 1974).
    """
    views = volume.array.astype(np.float64)
    twice_middle = _twice_middle_column(views)
    marked = _both_views(mask.on(volume.grid).array, twice_middle)
    pitch_mm = _pitch_mm(lesion)
    if pitch_mm is None:
        references = [_mirrored(marked, twice_middle)]
    else:
        tall = int(np.count_nonzero(marked.any(axis=(0, 2))))
        rows = max(round(pitch_mm / volume.grid.spacing_mm[1]), tall)
        references = [_shifted(marked, rows), _shifted(marked, -rows)]
    references = [one for one in references if np.count_nonzero(one) == np.count_nonzero(marked)]
    if not references or any((one & marked).any() for one in references):
        return {}
    reference = float(np.mean([_counts(views, one) for one in references]))
    if reference <= 0.0:
        return {}
    ratio = _counts(views, marked) / reference
    chance = np.hypot(*(1.0 / np.sqrt(max(1.0, views[one].sum())) for one in (marked, np.any(references, axis=0))))
    sd = ratio * float(np.hypot(PLACE_SD, chance))
    flags = ("one_view",) if len(views) == 1 else ()
    return {"uptake_ratio": within(ratio, sd, lowest=0.0).flagged(*flags)}


def _pitch_mm(lesion: Lesion) -> float | None:
    meaning = lesion.site.meaning.casefold() if lesion.site else ""
    return next((pitch for word, pitch in PITCH_MM.items() if meaning.endswith(word)), None)


def _counts(views: NDArray[np.float64], marked: Pixels) -> float:
    """Geometric mean over the views of the mean counts in a mask."""
    means = [float(view[own].mean()) for view, own in zip(views, marked, strict=True)]
    return float(np.prod(means) ** (1.0 / len(means)))


def _twice_middle_column(views: NDArray[np.float64]) -> int:
    """Twice the column of the body's middle: where all views are most like their mirror images."""
    flat = np.sqrt(views).sum(axis=0)
    width = flat.shape[1]

    def likeness(twice: int) -> float:
        columns = np.arange(max(0, twice - width + 1), min(width, twice + 1))
        return float((flat[:, columns] * flat[:, twice - columns]).sum())

    return max(range(width // 2, 3 * width // 2), key=likeness)


def _mirrored(marked: Pixels, twice_middle: int) -> Pixels:
    result = np.zeros_like(marked)
    views, rows, columns = np.nonzero(marked)
    beyond = twice_middle - columns
    seen = (beyond >= 0) & (beyond < marked.shape[2])
    result[views[seen], rows[seen], beyond[seen]] = True
    return result


def _shifted(marked: Pixels, rows: int) -> Pixels:
    result = np.zeros_like(marked)
    views, own, columns = np.nonzero(marked)
    seen = (own + rows >= 0) & (own + rows < marked.shape[1])
    result[views[seen], own[seen] + rows, columns[seen]] = True
    return result


def _both_views(marked: Pixels, twice_middle: int) -> Pixels:
    if len(marked) == 1 or marked.any(axis=(1, 2)).all():
        return marked
    return np.asarray(marked | _mirrored(marked, twice_middle)[::-1])
