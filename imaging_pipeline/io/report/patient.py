"""What the page of one patient shows, in the order it shows it; the template only lays it out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Edited,
    Measurement,
    Outcome,
    Reported,
    Score,
    Segmented,
    Values,
    Visit,
)
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.domain.quantities import CATALOGUE, Quantity
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.attention import Statement, attention, concerns, statements
from imaging_pipeline.io.report.figures import MINERAL_HU
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.io.report.pictures import Picture, pictures, seen_of, slice_words, span_words
from imaging_pipeline.io.report.plots import Chart, Course, Sample, chart
from imaging_pipeline.io.report.reading import Change, changes, signatures
from imaging_pipeline.io.report.viewer import scenes
from imaging_pipeline.io.tables import number as as_printed
from imaging_pipeline.io.tables import size_quantity

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

#: Visits that a line of the overview has room for.
GLANCE = 5

OUTCOMES = {
    Outcome.MEASURED: "measured",
    Outcome.ABSENT: "no longer there",
    Outcome.NOT_IMAGED: "not imaged at this visit",
    Outcome.NOT_EVALUABLE: "imaged, but not evaluable",
}

#: What of a number's evidence is said while a pointer rests on it; a click shows all.
BRIEF = ("value", "95 % interval", "series", "slice", "slices", "line, LPS mm")

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

    @property
    def brief(self) -> str:
        """The evidence in a line, for a pointer that rests on the number."""
        return "; ".join(f"{term}: {text}" for term, text in self.evidence if term in BRIEF)


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry of a scan's technique; `changed` is against the lesion's first scan."""

    name: str
    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class LesionVisit:
    """One lesion at one visit: a picture and a row."""

    visit: Visit
    elapsed: str
    outcome: str
    confidence: str
    picture: Picture | None
    technique: tuple[Setting, ...]
    numbers: dict[str, Number]
    scores: tuple[Score, ...]

    def flags(self, quantities: tuple[Quantity, ...]) -> tuple[str, ...]:
        """Every flag of these quantities once."""
        numbers = (self.numbers[quantity.name] for quantity in quantities if quantity.name in self.numbers)
        return tuple(dict.fromkeys(flag for number in numbers for flag in number.flags))


@dataclass(frozen=True, slots=True)
class LesionSection:
    """All of one lesion. `columns` are the quantities of its table, `quantities` all that were measured."""

    lesion: Lesion
    columns: tuple[Quantity, ...]
    quantities: tuple[Quantity, ...]
    visits: tuple[LesionVisit, ...]
    charts: tuple[Chart, ...]
    statements: tuple[Statement, ...]
    changes: tuple[Change, ...]

    @property
    def pictured(self) -> bool:
        """Whether there is anything to see."""
        return any(each.picture for each in self.visits)

    @property
    def scored(self) -> bool:
        """Whether it has a score at any visit."""
        return any(each.scores for each in self.visits)

    @property
    def across(self) -> int:
        """How many pictures stand side by side: all up to four, else rows of nearly equal length."""
        return math.ceil(len(self.visits) / math.ceil(len(self.visits) / 4))

    @property
    def role(self) -> str:
        """Its part in the judgement."""
        return ROLES[self.lesion.role.value]

    @property
    def size(self) -> str:
        """The diameter that speaks for it, visit by visit."""
        return self.course(size_quantity(self.lesion.kind))

    def course(self, quantity: str) -> str:
        """A quantity visit by visit, of many visits the first and the latest; empty where it was never measured."""
        texts = [each.numbers[quantity].text if quantity in each.numbers else "–" for each in self.visits]
        if set(texts) == {"–"}:
            return ""
        if len(texts) > GLANCE:
            texts = [texts[0], "…", *texts[2 - GLANCE :]]
        return " → ".join(texts)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One criterion's judgement of one visit, the measurements it stands on by lesion, and what speaks against them."""

    assessment: Assessment
    visit: Visit
    elapsed: str
    used: tuple[str, ...]
    incomparable: tuple[str, ...]

    @property
    def certainty(self) -> tuple[str, ...]:
        """How sure it is, in few words."""
        return tuple(wording.other_categories(self.assessment))

    @property
    def change(self) -> str:
        """The sum, if there is one, and its changes from baseline and from a nadir below it."""
        if self.assessment.sum_mm is None:
            return ""
        baseline = wording.percent(self.assessment.change_from_baseline_pct)
        nadir = wording.percent(self.assessment.change_from_nadir_pct)
        parts = [f"sum {self.assessment.sum_mm}{wording.NARROW}mm"]
        if baseline:
            parts.append(f"{baseline} from baseline")
        if nadir and nadir != baseline:
            parts.append(f"{nadir} from nadir")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion through all visits."""

    name: str
    judgements: tuple[Judgement, ...]
    chart: Chart | None

    @property
    def best(self) -> str:
        """The best overall response so far."""
        return self.judgements[-1].assessment.best_overall_response

    def at(self, visit: Visit) -> Judgement | None:
        """Its judgement of a visit."""
        return next((each for each in self.judgements if each.visit is visit), None)


@dataclass(frozen=True, slots=True)
class PatientPage:
    """Everything on the page of one patient."""

    case: Case
    concerns: tuple[tuple[Problem, ...], ...]
    criteria: tuple[Criterion, ...]
    lesions: tuple[LesionSection, ...]
    scenes: dict[str, dict[str, Any]]

    @property
    def mineral_hu(self) -> float:
        """Above this CT number pictures are tinted."""
        return MINERAL_HU

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Every quantity on the page, in the catalogue's order."""
        shown = {quantity.name for section in self.lesions for quantity in section.quantities}
        return tuple(quantity for name, quantity in CATALOGUE.items() if name in shown)

    @property
    def signed(self) -> str:
        """Who stands by it."""
        return signatures(self.case)

    def label(self, number: int) -> str:
        """A visit's name."""
        return next(visit.label for visit in self.case.visits if visit.number == number)


def patient_page(case: Case, values: Values) -> PatientPage:
    """The page of one patient."""
    lookup = Lookup(case)
    criteria = dict.fromkeys(each.criterion for each in case.assessments)
    return PatientPage(
        case,
        concerns(attention(lookup)),
        tuple(_criterion(name, lookup) for name in criteria),
        tuple(_section(lesion, lookup, values) for lesion in case.lesions),
        scenes(lookup, values),
    )


def _criterion(name: str, lookup: Lookup) -> Criterion:
    assessments = [each for each in lookup.case.assessments if each.criterion == name]
    sums = [
        Sample(lookup.days[each.visit], float(each.sum_mm), f"{lookup.visits[each.visit].date}: {each.sum_mm} mm")
        for each in assessments
        if each.sum_mm is not None
    ]
    judgements = tuple(_judgement(each, lookup) for each in assessments)
    return Criterion(name, judgements, _chart(SUMS, [Course("sum", tuple(sums))], lookup))


def _judgement(assessment: Assessment, lookup: Lookup) -> Judgement:
    references = (reference.rpartition("/") for reference in assessment.measurements)
    found = (lookup.number(lesion_id, assessment.visit, quantity) for lesion_id, _, quantity in references)
    numbers = [number for number in found if number is not None]
    return Judgement(
        assessment,
        lookup.visits[assessment.visit],
        _elapsed(assessment.visit, lookup),
        tuple(_used(numbers, lookup)),
        tuple(dict.fromkeys(each.lesion_id for each in numbers if each.comparable is False)),
    )


def _used(numbers: list[Measurement], lookup: Lookup) -> Iterator[str]:
    """The numbers behind a judgement: a line for each lesion."""
    for lesion_id in dict.fromkeys(number.lesion_id for number in numbers):
        own = [number for number in numbers if number.lesion_id == lesion_id]
        sighting = lookup.sighting(lesion_id, own[0].visit)
        sure = wording.confidence(sighting.confidence) if sighting and sighting.confidence is not None else ""
        yield f"{lesion_id}: " + "; ".join((*(_named(number) for number in own), *((sure,) if sure else ())))


def _named(number: Measurement) -> str:
    bounds = wording.interval(number)
    return f"{CATALOGUE[number.quantity].label} {wording.with_unit(number)}" + (f" ({bounds})" if bounds else "")


def _section(lesion: Lesion, lookup: Lookup, values: Values) -> LesionSection:
    measured = {name for lesion_id, _, name in lookup.numbers if lesion_id == lesion.lesion_id}
    # The perpendicular diameter and the short axis are one line; a node goes by the latter name.
    twin = "perpendicular_diameter" if lesion.kind is Kind.NODE else "short_axis"
    shots = pictures(lesion, lookup, values)
    spans = {each.sighting.mask: span_words(each) for each in seen_of(lesion, lookup, values)}
    charts = (_chart(plot, _courses(plot, lesion, lookup), lookup) for plot in PLOTS)
    return LesionSection(
        lesion,
        tuple(CATALOGUE[name] for name in COLUMNS if name in measured and name != twin),
        tuple(quantity for name, quantity in CATALOGUE.items() if name in measured),
        tuple(_lesion_visit(lesion, visit, shots.get(visit.number), spans, lookup) for visit in lookup.case.visits),
        tuple(each for each in charts if each is not None),
        tuple(each for each in statements(lookup) if each.stated.lesion_id == lesion.lesion_id),
        tuple(changes(lesion.lesion_id, lookup)),
    )


def _courses(plot: Plot, lesion: Lesion, lookup: Lookup) -> list[Course]:
    return [
        Course(
            name,
            tuple(
                Sample(lookup.days[visit.number], each.value, _note(visit, each), each.lower95, each.upper95)
                for visit, each in lookup.course(lesion.lesion_id, quantity)
            ),
        )
        for quantity, name in plot.courses.items()
    ]


def _chart(plot: Plot, courses: list[Course], lookup: Lookup) -> Chart | None:
    dates = [(lookup.days[visit.number], visit.date) for visit in lookup.case.visits]
    return chart(
        plot.title,
        plot.unit,
        courses,
        dates,
        from_zero=plot.from_zero,
        least_span=plot.least_span,
        periods=lookup.periods,
    )


def _note(visit: Visit, measurement: Measurement) -> str:
    bounds = wording.interval(measurement)
    return (
        f"{visit.date}: {CATALOGUE[measurement.quantity].label} {wording.with_unit(measurement)}"
        + (f", 95 % {bounds}" if bounds else "")
        + (", not comparable with baseline" if measurement.comparable is False else "")
    )


def _lesion_visit(
    lesion: Lesion, visit: Visit, picture: Picture | None, spans: dict[str, str], lookup: Lookup
) -> LesionVisit:
    sighting = lookup.sighting(lesion.lesion_id, visit.number)
    sure = sighting.confidence if sighting else None
    return LesionVisit(
        visit,
        _elapsed(visit.number, lookup),
        OUTCOMES[sighting.outcome if sighting else Outcome.NOT_IMAGED],
        "" if sure is None else wording.confidence(sure),
        picture,
        tuple(_technique(lesion, visit, lookup)),
        {
            name: _number(each, spans, lookup)
            for (lesion_id, number, name), each in lookup.numbers.items()
            if (lesion_id, number) == (lesion.lesion_id, visit.number)
        },
        tuple(each for each in lookup.case.scores if (each.lesion_id, each.visit) == (lesion.lesion_id, visit.number)),
    )


def _technique(lesion: Lesion, visit: Visit, lookup: Lookup) -> Iterator[Setting]:
    sightings = [lookup.sighting(lesion.lesion_id, each.number) for each in lookup.case.visits]
    scans = {each.visit: lookup.series[each.series_uid] for each in sightings if each and each.series_uid}
    if visit.number not in scans:
        return
    first, this = next(iter(scans.values())).technique, scans[visit.number].technique
    for attribute, name in TECHNIQUE.items():
        value, before = getattr(this, attribute), getattr(first, attribute)
        if value is not None or before is not None:
            yield Setting(name, _plain(value), value != before)


def _number(measurement: Measurement, spans: dict[str, str], lookup: Lookup) -> Number:
    first = lookup.case.visits[0].number
    return Number(
        CATALOGUE[measurement.quantity].label,
        wording.shown(measurement.value, measurement.quantity),
        wording.interval(measurement),
        wording.change(measurement, lookup.number(measurement.lesion_id, first, measurement.quantity)),
        measurement.comparable,
        measurement.flags,
        tuple(_evidence(measurement, spans, lookup)),
    )


def _evidence(measurement: Measurement, spans: dict[str, str], lookup: Lookup) -> Iterator[tuple[str, str]]:
    """All that stands behind a number, term by term."""
    visit, evidence = lookup.visits[measurement.visit], measurement.evidence
    yield "lesion", f"{measurement.lesion_id}, {visit.label}, {visit.date}"
    yield "value", wording.with_unit(measurement)
    yield "95 % interval", wording.interval(measurement, as_printed) or "not known"
    if measurement.reader_lower95 is not None and measurement.reader_upper95 is not None:
        readers = (measurement.reader_lower95, measurement.reader_upper95)
        yield "another reader, 95 %", "–".join(as_printed(bound, measurement.quantity) for bound in readers)
    yield "convention", CATALOGUE[measurement.quantity].sentence
    yield "evidence", evidence.kind
    if isinstance(evidence, (Segmented, Edited)):
        yield "outline", _outline(evidence.mask, lookup)
    if measurement.series_uid:
        yield "series", f"{measurement.modality} {measurement.series_uid}".strip()
    points_lps = () if isinstance(evidence, Reported) else evidence.points_lps
    if points_lps:
        yield "line, LPS mm", " – ".join(f"({', '.join(f'{part:.1f}' for part in point)})" for point in points_lps)
    series = lookup.series.get(measurement.series_uid)
    if series and points_lps:
        yield "slice", slice_words(series, points_lps[0])
    elif isinstance(evidence, (Segmented, Edited)) and evidence.mask in spans:
        yield "slices", spans[evidence.mask]
    if measurement.flags:
        yield "flags", ", ".join(measurement.flags)


def _outline(mask: str, lookup: Lookup) -> str:
    makers = (sighting.method for sighting in lookup.case.sightings if sighting.mask == mask and sighting.method)
    return f"{mask[:12]} by {next(makers, 'an unnamed maker')}"


def _elapsed(visit: int, lookup: Lookup) -> str:
    return f"day {lookup.days[visit]:.0f}"


def _plain(value: object) -> str:
    if value is None:
        return "not stated"
    return f"{value:g}" if isinstance(value, float) else str(value)
