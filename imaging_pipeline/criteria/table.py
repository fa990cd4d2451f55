"""Tables with one row per lesion and visit, as a spreadsheet writes them, and answers as rows again."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, TypeAlias

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
_REQUIRED = ("visit", "date")
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}

Row: TypeAlias = Mapping[str, str]
Cell: TypeAlias = str | Decimal | None


def read_rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV, each a cell by column.

    Raises
    ------
    ConfigurationError
        For a column twice, or a row with more cells than columns: a comma within a number would shift them.
    """
    try:
        header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    except csv.Error as error:
        refuse("table", f"no CSV: {error}", "rows of cells with commas between", "save it as CSV again")
    columns = [column.strip() for column in header]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        refuse(f"column {twice}", "this column twice", "each once", "remove or rename one")
    for number, cells in enumerate(lines, start=2):
        if len(cells) > len(columns):
            found = f"{len(cells)} cells under {len(columns)} columns"
            refuse(
                f"line {number}",
                found,
                "a cell a column",
                "write decimals with a point, put text with commas in quotes",
            )
    return [dict(zip(columns, cells, strict=False)) for cells in lines if cells]


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


def _by_patient(rows: Iterable[Row]) -> dict[str, list[dict[str, str]]]:
    patients: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows, start=2):  # line 1 is the header
        cells = {column: (cell or "").strip() for column, cell in row.items() if column}
        _check_columns(cells, number)
        patients.setdefault(cells.get("patient", ""), []).append({**cells, "line": str(number)})
    return patients


def _check_columns(cells: Row, number: int) -> None:
    for column in cells:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"use {', '.join(COLUMNS)}"
            refuse(f"column {column}", "an unknown column", "a column of the contract", remedy)
    for column in _REQUIRED:
        if not cells.get(column):
            refuse(f"line {number}, {column}", "nothing", "a value in every row", "fill it in")


def _timeline(patient: str, rows: Iterable[Row]) -> Json:
    lesions: dict[str, Json] = {}
    visits: dict[str, Json] = {}
    for row in sorted(rows, key=lambda row: row["date"]):
        visit = visits.setdefault(row["visit"], {"id": row["visit"], "measurements": {}, "non_targets": {}})
        _state(visit, "date", row["date"], row)
        _state(visit, "new_lesions", row.get("new_lesions", ""), row)
        if row.get("lesion"):
            _add_lesion(lesions.setdefault(row["lesion"], {"id": row["lesion"]}), row)
            _add_finding(visit, row)
    return {"kind": "timeline", "patient": patient, "lesions": list(lesions.values()), "visits": list(visits.values())}


def _state(entry: Json, field: str, value: Any, row: Row) -> None:
    """Take in what a row states of a visit or lesion; every row that states it must state the same."""
    if value == "":
        return
    if entry.setdefault(field, value) != value:
        refuse(f"line {row['line']}, {field}", "another value than before", f"the same for {entry['id']}", "correct it")


def _add_lesion(lesion: Json, row: Row) -> None:
    _state(lesion, "role", row.get("role", ""), row)
    _state(lesion, "organ", row.get("organ", ""), row)
    node = row.get("node", "").lower()
    if node not in _YES:
        refuse(f"line {row['line']}, node", "neither yes nor no", "true or false", "correct it")
    _state(lesion, "node", _YES[node] if node else "", row)


def _add_finding(visit: Json, row: Row) -> None:
    lesion_id = row["lesion"]
    finding = {size: _number(row[size]) for size in SIZES if row.get(size)}
    finding |= {"state": row["state"]} if row.get("state") else {}
    if lesion_id in visit["measurements"] or lesion_id in visit["non_targets"]:
        refuse(
            f"line {row['line']}", f"{lesion_id} at {visit['id']} twice", "one row per lesion and visit", "remove one"
        )
    if finding:
        visit["measurements"][lesion_id] = finding
    if row.get("non_target"):
        visit["non_targets"][lesion_id] = row["non_target"]


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
