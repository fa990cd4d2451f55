"""What the page of one patient shows, in the order it shows it; the template only lays it out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Drawn,
    Edited,
    Measurement,
    Outcome,
    Segmented,
    Sighting,
    Values,
    Visit,
)
from imaging_pipeline.domain.geometry import PointLps
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE, Quantity
from imaging_pipeline.io.record import lesion_folder
from imaging_pipeline.io.report import figures, wording
from imaging_pipeline.io.report.plots import Chart, Course, Sample, chart
from imaging_pipeline.io.tables import chosen, size_quantity
from imaging_pipeline.io.tables import number as number_text

#: Columns of a lesion's table where at least one visit has a value.
COLUMNS = (
    "longest_diameter",
    "perpendicular_diameter",
    "short_axis",
    "soft_tissue_diameter",
    "volume",
    "mean_density",
    "calcified_fraction",
    "lytic_fraction",
    "sclerotic_fraction",
    "cortical_continuity",
    "height_loss",
    "signal_ratio_muscle",
    "uptake_ratio",
)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot over time: what it shows under which short names, and how its axis runs."""

    title: str
    unit: str
    from_zero: bool
    least_span: float
    courses: dict[str, str]


SUMS = Plot("Sum of diameters", "mm", True, 10.0, {})
PLOTS = (
    Plot("Diameter", "mm", True, 10.0, {"longest_diameter": "longest", "perpendicular_diameter": "perpendicular"}),
    Plot("Density", "HU", False, 200.0, {"mean_density": "lesion", "reference_density": "reference vertebra"}),
    Plot(
        "Composition",
        "% of the volume",
        True,
        20.0,
        {"calcified_fraction": "calcified", "lytic_fraction": "lytic", "sclerotic_fraction": "sclerotic"},
    ),
    Plot("Signal ratio", "", True, 1.0, {"signal_ratio_muscle": "to muscle", "signal_ratio_reference": "to vertebra"}),
    Plot("Uptake ratio", "", True, 1.0, {"uptake_ratio": "uptake"}),
)

OUTCOMES = {
    Outcome.MEASURED: "measured",
    Outcome.ABSENT: "no longer there",
    Outcome.NOT_IMAGED: "not imaged at this visit",
    Outcome.NOT_EVALUABLE: "imaged, but not evaluable",
}

ROLES = {"auto": "role open", "target": "target", "non_target": "non-target", "new": "new lesion"}

TECHNIQUE = {
    "kvp": "kVp",
    "convolution_kernel": "kernel",
    "slice_thickness": "slice mm",
    "contrast_bolus_agent": "contrast",
    "repetition_time": "TR ms",
    "echo_time": "TE ms",
    "scanning_sequence": "sequence",
    "manufacturer_model_name": "scanner",
}


@dataclass(frozen=True, slots=True)
class Number:
    """One measured value as the page shows it, with all that stands behind it."""

    name: str
    text: str
    interval: str
    change: str
    comparable: bool | None
    flags: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Technique:
    """How a visit's series was acquired; `differs` names what is not as at baseline."""

    entries: tuple[tuple[str, str, bool], ...]

    @property
    def differs(self) -> bool:
        """Whether anything is not as at baseline."""
        return any(changed for _, _, changed in self.entries)


@dataclass(frozen=True)
class Picture:
    """A key image as the page shows it."""

    key: figures.KeyImage
    where: str
    file: str

    @cached_property
    def source(self) -> str:
        """The picture inside the page."""
        return "data:image/png;base64," + b64encode(self.key.png).decode("ascii")


@dataclass(frozen=True)
class LesionVisit:
    """One lesion at one visit: a picture and a row."""

    visit: Visit
    elapsed: str
    outcome: str
    confidence: float | None
    picture: Picture | None
    technique: Technique
    numbers: dict[str, Number]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Reconciled:
    """A value somebody stated beside the one measured."""

    visit: Visit
    quantity: Quantity
    stated: str
    source: str
    measured: str
    differs: bool


@dataclass(frozen=True)
class LesionSection:
    """All of one lesion."""

    lesion: Lesion
    size: str
    columns: tuple[Quantity, ...]
    quantities: tuple[Quantity, ...]
    visits: tuple[LesionVisit, ...]
    charts: tuple[Chart, ...]
    reconciled: tuple[Reconciled, ...]

    @property
    def pictured(self) -> bool:
        """Whether there is anything to see."""
        return any(each.picture for each in self.visits)

    @property
    def role(self) -> str:
        """Its part in the judgement."""
        return ROLES[self.lesion.role.value]

    def course(self, quantity: str) -> str:
        """A quantity's values visit by visit, for the overview."""
        texts = [each.numbers[quantity].text if quantity in each.numbers else "–" for each in self.visits]
        return " → ".join(texts) if any(text != "–" for text in texts) else ""


@dataclass(frozen=True)
class Judgement:
    """One criterion's judgement of one visit, with what it stands on."""

    assessment: Assessment
    visit: Visit
    elapsed: str
    used: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Criterion:
    """One criterion through all visits."""

    name: str
    judgements: tuple[Judgement, ...]
    chart: Chart | None

    @property
    def latest(self) -> Judgement:
        """The last visit's."""
        return self.judgements[-1]


@dataclass(frozen=True)
class PatientPage:
    """Everything on the page of one patient."""

    case: Case
    attention: tuple[wording.Attention, ...]
    criteria: tuple[Criterion, ...]
    lesions: tuple[LesionSection, ...]
    quantities: tuple[Quantity, ...]

    @property
    def signed_by(self) -> tuple[str, ...]:
        """Who has signed."""
        return tuple(dict.fromkeys(review.reader for review in self.case.reviews if review.act == "sign"))


def patient_page(case: Case, values: Values) -> PatientPage:
    """The page of one patient."""
    view = _View(case, values)
    sections = tuple(view.section(lesion) for lesion in case.lesions)
    shown = {quantity.name for section in sections for quantity in section.quantities}
    return PatientPage(
        case,
        wording.attention(case),
        tuple(view.criterion(name) for name in dict.fromkeys(each.criterion for each in case.assessments)),
        sections,
        tuple(quantity for name, quantity in CATALOGUE.items() if name in shown),
    )


class _View:
    """A case looked up by lesion, visit and quantity."""

    def __init__(self, case: Case, values: Values) -> None:
        self._case, self._values = case, values
        self._numbers = chosen(case.measurements)
        self._series = {each.series_instance_uid: each for visit in case.visits for each in visit.series}
        self._visits = {visit.number: visit for visit in case.visits}
        self._days = dict(zip(self._visits, wording.days(case.visits), strict=True))
        self._sightings: dict[tuple[str, int], Sighting] = {}
        # The first picture of a lesion at a visit speaks for it; one that was measured goes before one that was not.
        for sighting in sorted(case.sightings, key=lambda each: each.outcome is not Outcome.MEASURED):
            self._sightings.setdefault((sighting.lesion_id, sighting.visit), sighting)

    def section(self, lesion: Lesion) -> LesionSection:
        measured = {name for lesion_id, _, name in self._numbers if lesion_id == lesion.lesion_id}
        # The short axis is the perpendicular by another name except for a node, where it is the size.
        hidden = "perpendicular_diameter" if lesion.kind is Kind.NODE else "short_axis"
        pictures = self._pictures(lesion)
        return LesionSection(
            lesion,
            size_quantity(lesion.kind),
            tuple(CATALOGUE[name] for name in COLUMNS if name in measured and name != hidden),
            tuple(quantity for name, quantity in CATALOGUE.items() if name in measured),
            tuple(self._lesion_visit(lesion, visit, pictures.get(visit.number)) for visit in self._case.visits),
            self._charts(lesion),
            self._reconciled(lesion),
        )

    def criterion(self, name: str) -> Criterion:
        assessments = [each for each in self._case.assessments if each.criterion == name]
        return Criterion(name, tuple(self._judgement(each) for each in assessments), self._sums(assessments))

    def _judgement(self, assessment: Assessment) -> Judgement:
        used, cautions = [], []
        for reference in assessment.measurements:
            lesion_id, _, quantity = reference.rpartition("/")
            number = self._numbers.get((lesion_id, assessment.visit, quantity))
            if number is None:
                continue
            bounds = wording.interval(number)
            used.append(f"{lesion_id} {wording.with_unit(number)}" + (f" ({bounds})" if bounds else ""))
            sighting = self._sightings.get((lesion_id, assessment.visit))
            if sighting is not None and sighting.confidence is not None:
                used[-1] += f", outline confidence {sighting.confidence * 100:.0f}{wording.NARROW}%"
            if number.comparable is False:
                cautions.append(f"{lesion_id} not comparable with baseline")
        visit = self._visits[assessment.visit]
        return Judgement(assessment, visit, self._elapsed(visit), tuple(used), tuple(cautions))

    def _sums(self, assessments: list[Assessment]) -> Chart | None:
        samples = tuple(
            Sample(
                self._days[each.visit],
                float(each.sum_mm),
                None,
                None,
                f"{self._visits[each.visit].date}: {each.sum_mm} mm",
            )
            for each in assessments
            if each.sum_mm is not None
        )
        return self._chart(SUMS, [Course("sum", samples)])

    def _charts(self, lesion: Lesion) -> tuple[Chart, ...]:
        charts = (
            self._chart(plot, [self._course(lesion, quantity, name) for quantity, name in plot.courses.items()])
            for plot in PLOTS
        )
        return tuple(each for each in charts if each is not None)

    def _chart(self, plot: Plot, courses: list[Course]) -> Chart | None:
        dates = [(self._days[visit.number], visit.date) for visit in self._case.visits]
        return chart(plot.title, plot.unit, courses, dates, from_zero=plot.from_zero, least_span=plot.least_span)

    def _course(self, lesion: Lesion, quantity: str, name: str) -> Course:
        numbers = [
            (visit, self._numbers[key])
            for visit in self._case.visits
            if (key := (lesion.lesion_id, visit.number, quantity)) in self._numbers
        ]
        return Course(
            name,
            tuple(
                Sample(self._days[visit.number], each.value, each.lower95, each.upper95, _note(visit, each))
                for visit, each in numbers
            ),
        )

    def _lesion_visit(self, lesion: Lesion, visit: Visit, picture: Picture | None) -> LesionVisit:
        sighting = self._sightings.get((lesion.lesion_id, visit.number))
        numbers = {
            name: self._number(each)
            for (lesion_id, number, name), each in self._numbers.items()
            if (lesion_id, number) == (lesion.lesion_id, visit.number)
        }
        outcome = sighting.outcome if sighting else Outcome.NOT_IMAGED
        return LesionVisit(
            visit,
            self._elapsed(visit),
            OUTCOMES[outcome],
            sighting.confidence if sighting else None,
            picture,
            self._technique(lesion, sighting),
            numbers,
            _notes(numbers.values()),
        )

    def _number(self, measurement: Measurement) -> Number:
        baseline = self._numbers.get((measurement.lesion_id, self._case.visits[0].number, measurement.quantity))
        return Number(
            CATALOGUE[measurement.quantity].label,
            wording.shown(measurement.value, measurement.quantity),
            wording.interval(measurement),
            wording.change(measurement, baseline),
            measurement.comparable,
            measurement.flags,
            tuple(self._evidence(measurement)),
        )

    def _evidence(self, measurement: Measurement) -> Iterable[tuple[str, str]]:
        visit = self._visits[measurement.visit]
        yield "lesion", f"{measurement.lesion_id}, {visit.label}, {visit.date}"
        yield "value", wording.with_unit(measurement)
        yield "95 % interval", wording.interval(measurement, number_text) or "not known"
        yield "convention", CATALOGUE[measurement.quantity].sentence
        evidence = measurement.evidence
        if isinstance(evidence, (Segmented, Edited)):
            sighting = self._sightings.get((measurement.lesion_id, measurement.visit))
            maker = f" by {sighting.method}" if sighting and sighting.mask == evidence.mask and sighting.method else ""
            yield "evidence", f"{evidence.kind}{maker}, mask {evidence.mask[:12]}"
        else:
            yield "evidence", evidence.kind
        points = () if evidence.kind == "reported" else evidence.points_lps
        if points:
            yield "line, LPS mm", " – ".join(f"({', '.join(f'{part:.1f}' for part in point)})" for point in points)
        if measurement.series_uid:
            yield "series", f"{measurement.modality} {measurement.series_uid}".strip()
        series = self._series.get(measurement.series_uid)
        if series and points:
            yield "slice", _slice(series, points)
        if measurement.flags:
            yield "flags", ", ".join(measurement.flags)

    def _pictures(self, lesion: Lesion) -> dict[int, Picture]:
        """The lesion's pictures by visit, all of one size and centred on one place of the patient."""
        seen = {}
        for visit in self._case.visits:
            sighting = self._sightings.get((lesion.lesion_id, visit.number))
            if sighting is None:
                continue
            mask, view = self._values.get(sighting.mask), self._values.get(sighting.view)
            if isinstance(mask, Mask) and isinstance(view, Volume) and mask.array.any():
                seen[visit.number] = (sighting, mask, view)
        if not seen:
            return {}
        side_mm = 10 * np.ceil(
            (max(figures.extent_mm(mask) for _, mask, _ in seen.values()) + 2 * figures.MARGIN_MM) / 10
        )
        origin = figures.centroid_lps(next(iter(seen.values()))[1])
        return {
            number: self._picture(lesion, sighting, mask, view, origin, float(side_mm))
            for number, (sighting, mask, view) in seen.items()
        }

    def _picture(
        self, lesion: Lesion, sighting: Sighting, mask: Mask, view: Volume, origin: PointLps, side_mm: float
    ) -> Picture:
        axes_lps = self._axes(sighting)
        level = axes_lps[0][0] if axes_lps else figures.widest_slice_lps(mask)
        own = figures.centroid_lps(mask)
        centre = own
        if sighting.transform is not None:
            carried = sighting.transform.apply(origin)
            # The same place of the patient, unless that would push the lesion out of the picture.
            if np.linalg.norm(carried - own) < side_mm / 5:
                centre = (float(carried[0]), float(carried[1]), float(carried[2]))
        right, down = figures.hung(view.grid)
        plane = figures.Plane(figures.in_slice(centre, level, view.grid), right, down, side_mm)
        key = figures.key_image(view, mask, axes_lps, plane, figures.window_for(view, lesion.kind))
        series = self._series[sighting.series_uid]
        where = f"{plane.name}, {_slice(series, (plane.centre_lps,))}, {figures.position(plane.centre_lps, plane)}"
        return Picture(key, where, f"{lesion_folder(self._case, sighting)}/key_{plane.name}.png")

    def _axes(self, sighting: Sighting) -> tuple[tuple[PointLps, ...], ...]:
        lines = []
        for quantity in ("longest_diameter", "perpendicular_diameter"):
            number = self._numbers.get((sighting.lesion_id, sighting.visit, quantity))
            if number and isinstance(number.evidence, (Segmented, Drawn, Edited)) and number.evidence.points_lps:
                lines.append(number.evidence.points_lps)
        return tuple(lines)

    def _technique(self, lesion: Lesion, sighting: Sighting | None) -> Technique:
        series = self._series.get(sighting.series_uid) if sighting else None
        first = next((each for visit in self._case.visits if (each := self._scan(lesion, visit))), None)
        if series is None:
            return Technique(())
        entries = []
        for name, label in TECHNIQUE.items():
            value = getattr(series.technique, name)
            changed = first is not None and value != getattr(first.technique, name)
            if value is not None or changed:
                entries.append((label, _plain(value), changed))
        return Technique(tuple(entries))

    def _scan(self, lesion: Lesion, visit: Visit) -> Series | None:
        sighting = self._sightings.get((lesion.lesion_id, visit.number))
        return self._series.get(sighting.series_uid) if sighting else None

    def _reconciled(self, lesion: Lesion) -> tuple[Reconciled, ...]:
        return tuple(
            Reconciled(
                self._visits[stated.visit],
                CATALOGUE[stated.quantity],
                wording.with_unit(stated) + (f" ({stated.modality})" if stated.modality else ""),
                getattr(stated.evidence, "source", ""),
                wording.with_unit(measured) + (f" ({measured.modality})" if measured.modality else "")
                if measured
                else "not measured",
                measured is not None and wording.contradicts(stated, measured),
            )
            for stated, measured in wording.reported_beside(self._case)
            if stated.lesion_id == lesion.lesion_id
        )

    def _elapsed(self, visit: Visit) -> str:
        day = self._days[visit.number]
        return f"day {day:.0f}"


def _note(visit: Visit, measurement: Measurement) -> str:
    bounds = wording.interval(measurement)
    return (
        f"{visit.date}: {CATALOGUE[measurement.quantity].label} {wording.with_unit(measurement)}"
        + (f", 95 % {bounds}" if bounds else "")
        + (", not comparable with baseline" if measurement.comparable is False else "")
    )


def _notes(numbers: Iterable[Number]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag for number in numbers for flag in number.flags))


def _slice(series: Series, points_lps: tuple[PointLps, ...]) -> str:
    """Which slice of the series, counted from 1 as viewers do."""
    if series.grid is None:
        return "slice not known"
    index = round(float(series.grid.to_index(points_lps[0])[0]))
    return f"slice {index + 1} of {series.grid.shape[0]}"


def _plain(value: object) -> str:
    if value is None:
        return "not stated"
    return f"{value:g}" if isinstance(value, float) else str(value)
