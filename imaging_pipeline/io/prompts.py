"""From a lesion file's words to marks in a series: which visit, which series, where in LPS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from imaging_pipeline.config import InSeries, LesionEntry, MaskSource, PixelPoint, Place, PromptEntry
from imaging_pipeline.domain.case import Visit
from imaging_pipeline.domain.codes import site_named
from imaging_pipeline.domain.geometry import Grid, PointLps, Space, as_point
from imaging_pipeline.domain.images import Mask, Series
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.prompts import Box, Healthy, Line, Mark, Outline, Outside, Point
from imaging_pipeline.errors import ConfigurationError

#: Finds the mask a prompt names, on the voxels of a series; the text is what to call the prompt in a refusal.
FindMask = Callable[[MaskSource, Series, str], Mask]

#: Finds what objects of a kind draw of a lesion in a series: kind, what the lesion is called there, series.
FindDrawn = Callable[[str, str, Series], Sequence[Mark]]

Placement = tuple[int, Series, Mark | Healthy]


def lesion_of(entry: LesionEntry, tracking_uid: str) -> Lesion:
    """A lesion file's entry as the lesion it names."""
    return Lesion(
        lesion_id=entry.id,
        tracking_uid=tracking_uid,
        label=entry.label or entry.id,
        kind=entry.kind,
        role=entry.role,
        site=site_named(entry.site),
        laterality=entry.laterality,
        organ=entry.organ or entry.kind.value,
        bone_type=entry.bone_type,
    )


def placements(
    entry: LesionEntry, visits: tuple[Visit, ...], find_mask: FindMask, find_drawn: FindDrawn
) -> tuple[Placement, ...]:
    """Every prompt of one lesion as (visit number, series, mark).

    Raises
    ------
    ConfigurationError
        When a prompt's visit or series is not there, or two series show its place.
    """
    found: list[Placement] = []
    for number, prompt in enumerate(entry.prompts, start=1):
        subject = f"lesion {entry.id}, prompt {number}"
        _require_one_form(prompt, subject)
        visit = visit_of(prompt, visits, subject)
        if prompt.from_:
            series, mark = _drawn(prompt, entry.id, visit, subject, find_drawn)
            found.append((visit.number, series, mark))
        else:
            series = series_of(prompt, visit, subject, _place(prompt))
            found.append((visit.number, series, _mark(prompt, series, subject, find_mask)))
    return tuple(found)


def _require_one_form(prompt: PromptEntry, subject: str) -> None:
    given = [
        name for name in ("point", "line", "box", "mask", "outside", "reference") if getattr(prompt, name) is not None
    ]
    given += ["from"] if prompt.from_ else []
    if len(given) != 1:
        raise ConfigurationError(
            "E-PROMPT-FORM",
            subject,
            found=", ".join(given) or "no place",
            expected="exactly one of point, line, box, mask, from, outside, reference",
            remedy="write one prompt entry for each",
        )


def visit_of(prompt: InSeries, visits: tuple[Visit, ...], subject: str) -> Visit:
    """The visit an entry speaks of.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    for visit in visits:
        if prompt.visit == visit.date or (prompt.visit == "baseline" and visit.number == 0):
            return visit
    raise ConfigurationError(
        "E-PROMPT-VISIT",
        subject,
        found=f"visit '{prompt.visit}'",
        expected=f"baseline or one of {', '.join(visit.date for visit in visits)}",
        remedy="correct the date",
    )


def series_of(prompt: InSeries, visit: Visit, subject: str, place: PointLps | None = None) -> Series:
    """The only series of a visit that an entry can mean, and that shows a place, if one is given.

    Raises
    ------
    ConfigurationError
        When there is none, or several.
    """
    named = _named(prompt, visit)
    showing = [series for series in named if place is None or (series.grid is not None and series.grid.contains(place))]
    if len(showing) == 1:
        return showing[0]
    if not showing:
        known = ", ".join(sorted({series.role for series in visit.series} - {""})) or "none"
        found = f"no series '{prompt.series}' (roles: {known})" if not named else "a place outside the series"
        remedy = "correct series or coordinates (LPS mm, as in 3D Slicer's LPS display)"
    else:
        found = f"{len(showing)} series that show it"
        remedy = "name the series by its role or SeriesInstanceUID"
    raise ConfigurationError(
        "E-PROMPT-SERIES", subject, found=found, expected="one series that shows it", remedy=remedy
    )


def _named(prompt: InSeries, visit: Visit) -> list[Series]:
    """Series an entry can mean: those it names, else all that have a place in the patient."""
    return [
        series
        for series in visit.series
        if series.grid is not None
        and prompt.series in ("", series.role, series.series_instance_uid)
        and (prompt.series or series.grid.space is Space.PATIENT)
    ]


def _drawn(
    prompt: PromptEntry, lesion_id: str, visit: Visit, subject: str, find_drawn: FindDrawn
) -> tuple[Series, Mark]:
    """The only mark of the lesion that an object of the scan folder draws in the visit's series."""
    label = prompt.label or lesion_id
    drawn = [(series, mark) for series in _named(prompt, visit) for mark in find_drawn(prompt.from_, label, series)]
    if len(drawn) != 1:
        raise ConfigurationError(
            "E-PROMPT-DRAWN",
            subject,
            found=f"{len(drawn)} marks of '{label}' in {prompt.from_.upper()} objects at {visit.date}",
            expected="one, on a series of that visit",
            remedy="name it by `label`, what it is called there, or name its series; or write the prompt itself",
        )
    return drawn[0]


def _said(prompt: PromptEntry) -> tuple[Place, ...]:
    """Every place that a prompt names."""
    clicks = (click for click in (prompt.point, prompt.outside, prompt.reference) if click is not None)
    return (*clicks, *(prompt.line or ()), *(prompt.short or ()), *(prompt.box or ()))


def _place(prompt: PromptEntry) -> PointLps | None:
    """The middle of what a prompt says in LPS; None where it says nothing, or in pixels."""
    places = _said(prompt.model_copy(update={"short": None}))
    coordinates = [place for place in places if isinstance(place, tuple)]
    if not coordinates or len(coordinates) < len(places):
        return None
    return as_point([sum(along) / len(coordinates) for along in zip(*coordinates, strict=True)])


def _mark(prompt: PromptEntry, series: Series, subject: str, find_mask: FindMask) -> Mark | Healthy:
    grid = series.grid
    assert grid is not None
    if grid.space is not Space.PATIENT:
        _require_pixels(prompt, subject)
    if prompt.point is not None:
        return Point(_clicked(prompt.point, grid))
    if prompt.outside is not None:
        return Outside(_clicked(prompt.outside, grid))
    if prompt.reference is not None:
        return Healthy(_clicked(prompt.reference, grid))
    if prompt.line is not None:
        short = None if prompt.short is None else _ends(prompt.short, grid)
        return Line(_ends(prompt.line, grid), short, None if prompt.slices is None else _span(prompt.slices, grid))
    if prompt.box is not None:
        corners = _ends(prompt.box, grid)
        return Box(corners) if grid.space is Space.PATIENT else Outline(_rectangle(corners, grid, subject))
    assert prompt.mask is not None
    return Outline(find_mask(prompt.mask, series, subject))


def _require_pixels(prompt: PromptEntry, subject: str) -> None:
    """Refuse what an image without a place in the patient cannot be told."""
    drawn = prompt.line or prompt.box or prompt.mask
    if drawn and not prompt.slices and all(isinstance(place, PixelPoint) for place in _said(prompt)):
        return
    raise ConfigurationError(
        "E-PROMPT-FORM",
        subject,
        found="a place in LPS, a click or slices on an image that has no place in the patient",
        expected="a line or box in pixels ({slice, row, column}), or a mask",
        remedy="read the pixels off a viewer",
    )


def _rectangle(corners: tuple[PointLps, PointLps], grid: Grid, subject: str) -> Mask:
    """The pixels from one corner to the other, both counted."""
    index = np.rint(grid.to_index(corners)).astype(int)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    if np.any(low < 0) or np.any(high > grid.shape):
        raise ConfigurationError(
            "E-PROMPT-OUTSIDE",
            subject,
            found="a box that leaves the image",
            expected=f"slices, rows and columns below {grid.shape}",
            remedy="correct its corners",
        )
    array = np.zeros(grid.shape, dtype=bool)
    array[tuple(slice(first, last) for first, last in zip(low, high, strict=True))] = True
    return Mask(array, grid, "box")


def _ends(pair: tuple[Place, Place], grid: Grid) -> tuple[PointLps, PointLps]:
    first, second = pair
    return _clicked(first, grid), _clicked(second, grid)


def _clicked(click: Place, grid: Grid) -> PointLps:
    return as_point(grid.to_lps((click.slice, click.row, click.column))) if isinstance(click, PixelPoint) else click


def _span(slices: tuple[int, int], grid: Grid) -> tuple[PointLps, PointLps]:
    middle = ((grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2)
    first, last = (as_point(grid.to_lps((number, *middle))) for number in sorted(slices))
    return first, last
