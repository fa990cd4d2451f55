"""Which slice of which scan is shown of a lesion, and how the visits' pictures lie beside one another."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass

import numpy as np

from imaging_pipeline.domain.case import Drawn, Edited, Segmented, Sighting, Values
from imaging_pipeline.domain.geometry import PointLps, Space, as_point
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.io.record import lesion_folder
from imaging_pipeline.io.report import figures
from imaging_pipeline.io.report.histograms import Histogram, histograms
from imaging_pipeline.io.report.lookup import Lookup


@dataclass(frozen=True, slots=True)
class Picture:
    """A key image, where it lies in its scan, and the file it is also written to."""

    key: figures.KeyImage
    where: str
    file: str
    histogram: Histogram | None

    @property
    def source(self) -> str:
        """The picture inside the page."""
        return "data:image/png;base64," + b64encode(self.key.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Seen:
    """A lesion at a visit with all that a picture of it needs."""

    sighting: Sighting
    mask: Mask
    view: Volume


def pictures(lesion: Lesion, lookup: Lookup, values: Values) -> dict[int, Picture]:
    """The lesion's pictures by visit: all of one scale, all centred on one place of the patient."""
    seen = seen_of(lesion, lookup, values)
    if not seen:
        return {}
    side_mm = 10.0 * math.ceil((max(figures.extent_mm(each.mask) for each in seen) + 2 * figures.MARGIN_MM) / 10)
    origin = figures.centroid_lps(seen[0].mask)
    bars = histograms([each.view.array[each.mask.on(each.view.grid).array] for each in seen if each.view.unit == HU])
    return {
        each.sighting.visit: _picture(
            each, lesion, lookup, origin, side_mm, next(bars) if each.view.unit == HU else None
        )
        for each in seen
    }


def slice_words(series: Series, point_lps: PointLps) -> str:
    """Which slice of a series shows a point, counted from 1 as viewers do."""
    if series.grid is None:
        return "slice not known"
    index = round(float(series.grid.to_index(point_lps)[0]))
    return f"slice {index + 1} of {series.grid.shape[0]}"


def span_words(seen: Seen) -> str:
    """Which slices of its series an outline spans, counted from 1."""
    grid = seen.view.series.grid
    if grid is None:
        return "slices not known"
    marked = np.flatnonzero(seen.mask.array.any(axis=(1, 2)))
    ends = (round(float(grid.to_index(seen.mask.grid.to_lps((end, 0, 0)))[0])) + 1 for end in (marked[0], marked[-1]))
    return f"slices {'–'.join(map(str, sorted(ends)))} of {grid.shape[0]}"


def seen_of(lesion: Lesion, lookup: Lookup, values: Values) -> list[Seen]:
    """The visits at which there is something of a lesion to show."""
    found = []
    for visit in lookup.case.visits:
        sighting = lookup.sighting(lesion.lesion_id, visit.number)
        if sighting is None:
            continue
        mask, view = values.get(sighting.mask), values.get(sighting.view)
        if not isinstance(mask, Mask) or not isinstance(view, Volume) or not mask.array.any():
            continue
        # An image without a place in the patient has no left and right to write on it.
        if view.grid.space is Space.PATIENT:
            found.append(Seen(sighting, mask, view))
    return found


def _picture(
    seen: Seen, lesion: Lesion, lookup: Lookup, origin: PointLps, side_mm: float, histogram: Histogram | None
) -> Picture:
    axes_lps = axes_of(seen.sighting, lookup)
    level = axes_lps[0][0] if axes_lps else figures.widest_slice_lps(seen.mask)
    centre = figures.in_slice(_centre(seen, origin, side_mm), level, seen.view.grid)
    plane = figures.Plane(centre, *figures.hung(seen.view.grid), side_mm)
    key = figures.key_image(seen.view, seen.mask, axes_lps, plane, figures.window_for(seen.view, lesion.kind))
    where = f"{plane.name}, {slice_words(seen.view.series, centre)}, {figures.position(centre, plane)}"
    return Picture(key, where, f"{lesion_folder(lookup.case, seen.sighting)}/key_{plane.name}.png", histogram)


def _centre(seen: Seen, origin: PointLps, side_mm: float) -> PointLps:
    own = figures.centroid_lps(seen.mask)
    if seen.sighting.transform is None:
        return own
    carried = as_point(seen.sighting.transform.apply(origin))
    # The same place of the patient, unless that would push the lesion out of the picture.
    return carried if np.linalg.norm(np.subtract(carried, own)) < side_mm / 5 else own


def axes_of(sighting: Sighting, lookup: Lookup) -> tuple[tuple[PointLps, ...], ...]:
    """The ends of the measured lines, the longest first."""
    numbers = (
        lookup.number(sighting.lesion_id, sighting.visit, quantity)
        for quantity in ("longest_diameter", "perpendicular_diameter")
    )
    return tuple(
        number.evidence.points_lps
        for number in numbers
        if number and isinstance(number.evidence, (Segmented, Drawn, Edited)) and number.evidence.points_lps
    )
