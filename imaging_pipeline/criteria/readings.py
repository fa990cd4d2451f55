"""Two readings of the same patients, each from a table: what both measured and judged, where they differ, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.checks import refuse
from imaging_pipeline.criteria.disagreement import deciding
from imaging_pipeline.criteria.evidence import believed
from imaging_pipeline.criteria.exact import plain
from imaging_pipeline.criteria.table import Row, answer_table, from_table
from imaging_pipeline.criteria.timeline import SIZES
from imaging_pipeline.domain.case import Drawn, Edited, Evidence, Measurement, Segmented
from imaging_pipeline.errors import Problem

Rows = Sequence[Row]

#: What a results folder calls measured; what is only reported there is no reading of the images.
_MEASURED: Mapping[str, Evidence] = {"edited": Edited("", ""), "drawn": Drawn(()), "segmented": Segmented("")}
_DIAMETERS = ("longest_diameter", "short_axis")


class Place(NamedTuple):
    """One patient's scans of one day."""

    patient: str
    date: str


@dataclass(frozen=True, slots=True)
class Response:
    """What one reading says of one visit after baseline."""

    overall: str
    target: str
    non_target: str
    new_lesion: str
    sum_mm: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader, or the pipeline, says of a number of patients.

    `sizes` are by place, lesion and quantity. `progression` holds the date of
    each patient who was judged, "" where there was none; `problems` say who
    could not be judged.
    """

    sizes: Mapping[tuple[Place, str, str], float]
    responses: Mapping[Place, Response]
    progression: Mapping[str, str]
    problems: tuple[Problem, ...] = ()


class Difference(NamedTuple):
    """A visit, or a patient's progression, on which two readings differ."""

    place: Place
    first: str
    second: str
    why: tuple[str, ...]


def read_table(rows: Rows) -> Reading:
    """A table as `assess` takes it, judged by RECIST 1.1.

    Raises
    ------
    ConfigurationError
        When the table itself is wrong; a patient who cannot be judged is a problem of the reading.
    """
    sizes = {
        (Place(document["patient"], visit["date"]), lesion_id, SIZES[field]): float(value)
        for document in from_table(rows)
        for visit in document["visits"]
        for lesion_id, finding in visit["measurements"].items()
        for field, value in finding.items()
        if isinstance(value, Decimal) and value.is_finite()
    }
    responses: dict[Place, Response] = {}
    progression: dict[str, str] = {}
    problems = []
    for answered in answer_table(rows, (recist.NAME,)):
        patient = answered["patient"]
        if "error" in answered:
            problem = Problem(**answered["error"])
            problems.append(replace(problem, subject=f"{patient}, {problem.subject}"))
        else:
            responses |= {Place(patient, visit["date"]): _response(visit) for visit in answered["visits"][1:]}
            progression[patient] = answered["progression_date"] or ""
    return Reading(sizes, responses, progression, tuple(problems))


def _response(visit: Mapping[str, object]) -> Response:
    said = {name: str(visit[name] or "") for name in ("overall", "target", "non_target", "new_lesion")}
    total = visit["sum_mm"]
    reasons = visit["reasons"]
    assert isinstance(reasons, list)
    return Response(**said, sum_mm=plain(total) if isinstance(total, Decimal) else "", reasons=tuple(reasons))


def read_results(measurements: Rows, assessments: Rows) -> Reading:
    """The tables of a results folder: what is believed of several measurements, and what RECIST 1.1 said.

    Raises
    ------
    ConfigurationError
        For a row that lacks what the pipeline writes in every one.
    """
    groups: dict[tuple[Place, str], list[Measurement]] = {}
    for row in measurements:
        if _written(row, "evidence") in _MEASURED:
            groups.setdefault((_place(row), _written(row, "lesion")), []).append(_measurement(row))
    sizes = {
        (place, lesion_id, quantity): measurement.value
        for (place, lesion_id), group in groups.items()
        for quantity, measurement in believed(group).items()
    }
    judged = [row for row in assessments if row.cells.get("criterion") == recist.NAME]
    responses = {_place(row): _stated(row) for row in judged if "overall" in row.cells}
    # Rows are in order of time: of several dates the first stands.
    progression = {_written(row, "case"): "" for row in judged}
    for place, response in responses.items():
        if response.overall == "PD":
            progression[place.patient] = progression[place.patient] or place.date
    dated = (row for row in judged if "progression_date" in row.cells)
    progression |= {_written(row, "case"): row.cells["progression_date"] for row in dated}
    return Reading(sizes, responses, progression)


def _place(row: Row) -> Place:
    return Place(_written(row, "case"), _written(row, "visit_date"))


def _written(row: Row, column: str) -> str:
    if column not in row.cells:
        expected = "a table as the pipeline writes it into a results folder"
        refuse(f"line {row.line}, {column}", "nothing", expected, "give the table as it was written")
    return row.cells[column]


def _measurement(row: Row) -> Measurement:
    try:
        value = float(_written(row, "value"))
    except ValueError:
        refuse(f"line {row.line}, value", "no number", "a number", "correct the cell")
    return Measurement(
        _written(row, "lesion"),
        0,
        _written(row, "quantity"),
        value,
        row.cells.get("unit", ""),
        _MEASURED[_written(row, "evidence")],
        modality=row.cells.get("modality", ""),
        series_uid=row.cells.get("series_uid", ""),
    )


def _stated(row: Row) -> Response:
    said = {name: row.cells.get(name, "") for name in ("overall", "target", "non_target", "new_lesion", "sum_mm")}
    return Response(**said, reasons=tuple(row.cells.get("reasons", "").split("; ")))


def response_differences(first: Reading, second: Reading) -> tuple[Difference, ...]:
    """The visits both readings judge, otherwise, and why."""
    return tuple(
        Difference(place, one.overall, other.overall, tuple(_why(place, first, second)))
        for place in sorted(first.responses.keys() & second.responses.keys())
        if (one := first.responses[place]).overall != (other := second.responses[place]).overall
    )


def progression_differences(first: Reading, second: Reading) -> tuple[Difference, ...]:
    """The patients both readings judge whose progression they date otherwise; the place is that of the earlier date."""
    different = []
    for patient in sorted(first.progression.keys() & second.progression.keys()):
        one, other = first.progression[patient], second.progression[patient]
        if one != other:
            earlier = Place(patient, min(date for date in (one, other) if date))
            different.append(Difference(earlier, one, other, tuple(_why_dated(earlier, first, second))))
    return tuple(different)


def _why_dated(place: Place, first: Reading, second: Reading) -> Iterator[str]:
    judged = [name for name, reading in (("A", first), ("B", second)) if place in reading.responses]
    if len(judged) < 2:
        yield f"only {' and '.join(judged)} judges that day" if judged else "neither judges that day"
    elif first.responses[place].overall == second.responses[place].overall:
        yield "dated back: an equivocal new lesion of that day was confirmed later"
    else:
        yield from _why(place, first, second)


def _why(place: Place, first: Reading, second: Reading) -> Iterator[str]:
    """Each one's deciding reason, then which parts and sizes of that day differ."""
    one, other = first.responses[place], second.responses[place]
    yield f"A: {deciding(one)}"
    yield f"B: {deciding(other)}"
    for part in ("target", "non_target", "new_lesion"):
        said, otherwise = getattr(one, part), getattr(other, part)
        if said != otherwise:
            yield f"{part.replace('_', ' ')} {said or 'none'} against {otherwise or 'none'}"
    if one.sum_mm != other.sum_mm:
        yield f"sum {one.sum_mm or 'not known'} against {other.sum_mm or 'not known'} mm"
    yield from _sizes_that_differ(place, first, second)


def _sizes_that_differ(place: Place, first: Reading, second: Reading) -> Iterator[str]:
    mine, theirs = ({key[1:]: size for key, size in it.sizes.items() if key[0] == place} for it in (first, second))
    for lesion_id, quantity in sorted(mine.keys() & theirs.keys()):
        size, other = mine[lesion_id, quantity], theirs[lesion_id, quantity]
        if quantity in _DIAMETERS and size != other:
            yield f"{lesion_id} {quantity.replace('_', ' ')} {size:g} against {other:g} mm"
    lesions, others = {key[0] for key in mine}, {key[0] for key in theirs}
    for name, only in (("A", lesions - others), ("B", others - lesions)):
        if only:
            yield f"only {name} measures {', '.join(sorted(only))}"
