"""Tables with one row per lesion and visit, as a spreadsheet writes them, and answers as rows again."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import NamedTuple, NoReturn, TypeAlias

from imaging_pipeline.criteria.checks import refuse
from imaging_pipeline.criteria.documents import DEFAULT, answer_or_error
from imaging_pipeline.criteria.kinds import Json
from imaging_pipeline.criteria.timeline import SIZES
from imaging_pipeline.errors import Problem

#: The columns of a table of measurements, in the order the contract names them.
COLUMNS = (
    "patient",
    "visit",
    "date",
    "lesion",
    "role",
    "organ",
    "node",
    "longest_diameter_mm",
    "short_axis_mm",
    "perpendicular_diameter_mm",
    "mean_hu",
    "volume_mm3",
    "state",
    "non_target",
    "new_lesions",
)
_KNOWN = frozenset(COLUMNS)
_REQUIRED = ("visit", "date")
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Cell: TypeAlias = str | Decimal | None


class Row(NamedTuple):
    """One line of a table: what stands in it, by column; a cell left empty is left out."""

    line: int
    cells: Mapping[str, str]


def read_rows(text: str) -> list[Row]:
    """The rows of a CSV.

    Raises
    ------
    ConfigurationError
        For a column twice, or a row with more cells than columns: a comma within a number would shift them.
    """
    reader = csv.reader(io.StringIO(text))
    try:
        columns = [column.strip() for column in next(reader, ())]
        _check_header(columns)
        rows = []
        for cells in reader:
            if len(cells) > len(columns):
                _refuse_ragged(reader.line_num, len(cells), len(columns))
            named = zip(columns, cells, strict=False)
            rows.append(
                Row(reader.line_num, {column: text for column, cell in named if cell and (text := cell.strip())})
            )
    except csv.Error as error:
        refuse("table", f"no CSV: {error}", "rows of cells with commas between", "save it as CSV again")
    return [row for row in rows if row.cells]


def _check_header(columns: Sequence[str]) -> None:
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        refuse(f"column {twice}", "this column twice", "each once", "remove or rename one")


def _refuse_ragged(line: int, cells: int, columns: int) -> NoReturn:
    found = f"{cells} cells under {columns} columns"
    refuse(f"line {line}", found, "one cell a column", "write decimals with a point; quote text with commas")


def answer_table(rows: Iterable[Row], criteria: Sequence[str] = (DEFAULT,)) -> Iterator[Json]:
    """One answer a patient of a table; one that cannot be judged answers its error, the rest go on.

    Raises
    ------
    ConfigurationError
        When the table itself is wrong: a column unknown, a date missing.
    """
    for patient, own in _by_patient(rows).items():
        yield {"patient": patient, **answer_or_error(partial(_timeline, patient, own), criteria)}


def from_table(rows: Iterable[Row]) -> tuple[Json, ...]:
    """A timeline document per patient, from rows with one lesion and visit each.

    Rows may come in any order: a patient's earliest visit is the baseline. A row
    without a lesion states only the visit.

    Raises
    ------
    ConfigurationError
        For an unknown or missing column, a lesion or visit stated differently in two rows, or a row twice.
    """
    return tuple(_timeline(patient, own) for patient, own in _by_patient(rows).items())


def _by_patient(rows: Iterable[Row]) -> dict[str, list[Row]]:
    patients: dict[str, list[Row]] = {}
    for row in rows:
        _check_columns(row)
        patients.setdefault(row.cells.get("patient", ""), []).append(row)
    return patients


def _check_columns(row: Row) -> None:
    for column in row.cells.keys() - _KNOWN:
        near = difflib.get_close_matches(column, COLUMNS, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"use {', '.join(COLUMNS)}"
        refuse(f"column {column}", "an unknown column", "a column of the contract", remedy)
    for column in _REQUIRED:
        if column not in row.cells:
            refuse(f"line {row.line}, {column}", "nothing", "a value in every row", "fill it in")


def _timeline(patient: str, rows: Iterable[Row]) -> Json:
    lesions: dict[str, Json] = {}
    visits: dict[str, Json] = {}
    for row in sorted(rows, key=lambda row: row.cells["date"]):
        name, lesion_id = row.cells["visit"], row.cells.get("lesion")
        visit = visits.setdefault(name, {"id": name, "measurements": {}, "non_targets": {}})
        _state(visit, ("date", "new_lesions"), row)
        if lesion_id is not None:
            _add_lesion(lesions.setdefault(lesion_id, {"id": lesion_id}), row)
            _add_finding(visit, lesion_id, row)
    return {"kind": "timeline", "patient": patient, "lesions": list(lesions.values()), "visits": list(visits.values())}


def _state(entry: Json, columns: Iterable[str], row: Row) -> None:
    """Take in what a row states of a visit or lesion; every row that states it must state the same."""
    for column in columns:
        value = row.cells.get(column)
        if value is not None and entry.setdefault(column, value) != value:
            expected = f"the same for {entry['id']}"
            refuse(f"line {row.line}, {column}", "another value than before", expected, "correct it")


def _add_lesion(lesion: Json, row: Row) -> None:
    _state(lesion, ("role", "organ"), row)
    stated = row.cells.get("node")
    if stated is None:
        return
    node = _YES.get(stated.lower())
    if node is None:
        refuse(f"line {row.line}, node", "neither yes nor no", "true or false", "correct it")
    if lesion.setdefault("node", node) != node:
        refuse(f"line {row.line}, node", "another value than before", f"the same for {lesion['id']}", "correct it")


def _add_finding(visit: Json, lesion_id: str, row: Row) -> None:
    finding: Json = {size: _number(row.cells[size]) for size in SIZES if size in row.cells}
    if "state" in row.cells:
        finding["state"] = row.cells["state"]
    if lesion_id in visit["measurements"] or lesion_id in visit["non_targets"]:
        found = f"{lesion_id} at {visit['id']} twice"
        refuse(f"line {row.line}", found, "one row per lesion and visit", "remove one")
    if finding:
        visit["measurements"][lesion_id] = finding
    if "non_target" in row.cells:
        visit["non_targets"][lesion_id] = row.cells["non_target"]


def _number(cell: str) -> Decimal | str:
    """A cell as a number; what is none is refused with its field when the document is read."""
    try:
        return Decimal(cell)
    except InvalidOperation:
        return cell


def to_rows(answers: Iterable[Json]) -> Iterator[dict[str, Cell]]:
    """Answers of timelines as rows of a table, one per visit and criterion; an error is a row of its own.

    Raises
    ------
    ConfigurationError
        For an answer that has no visits.
    """
    for answered in answers:
        patient = answered.get("patient", "")
        if "error" in answered:
            yield {"patient": patient, "reasons": str(Problem(**answered["error"]))}
            continue
        for course in answered.get("criteria", [answered]):
            if "visits" not in course:
                refuse("kind", "an answer without visits", "a timeline", "ask for JSON")
            for visit in course["visits"]:
                yield {"patient": patient, "criterion": course["criterion"], **_visit_row(visit), **_best_row(course)}


def _visit_row(visit: Json) -> dict[str, Cell]:
    shown = {name: value for name, value in visit.items() if not isinstance(value, (list, dict))}
    return {**shown, "reasons": "; ".join(visit["reasons"])}


def _best_row(course: Json) -> dict[str, Cell]:
    best = course["best_overall_response"]
    return {
        "best_unconfirmed": best["unconfirmed"],
        "best_confirmed": best["confirmed"],
        "progression_date": course["progression_date"],
    }
