"""Documents as text: JSON with every digit kept, one document a line, or a table with one row per lesion and visit."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic import ValidationError

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.checks import refuse, refuse_invalid
from imaging_pipeline.criteria.exact import exactly, plain
from imaging_pipeline.criteria.kinds import CRITERIA, DOCUMENTS, Json
from imaging_pipeline.criteria.params import read_params
from imaging_pipeline.criteria.timeline import SIZES
from imaging_pipeline.errors import PipelineError

DEFAULT = recist.NAME

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


@exactly
def answer(document: Any, criteria: Sequence[str] = (DEFAULT,), params: Mapping[str, Any] | None = None) -> Json:
    """Judge one document.

    Parameters
    ----------
    document
        The parsed document; numbers best read by `loads`, which keeps every digit.
    criteria
        Criteria by name. Several give one answer each, side by side, and where they disagree.
    params
        Parameters that hold unless the document states its own.

    Returns
    -------
    dict
        Plain values, numbers as exact decimals; `dumps` writes them.

    Raises
    ------
    ConfigurationError
        Naming the field that is wrong and the remedy; nothing is judged on a guess.
    """
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        refuse("kind", "nothing" if kind is None else "an unknown kind", f"one of {', '.join(DOCUMENTS)}", "add it")
    for name in criteria:
        _check_criterion(name)
    try:
        read = DOCUMENTS[kind].model_validate(document)
    except ValidationError as error:
        refuse_invalid(error, document, DOCUMENTS[kind])
    answered = read.answer(criteria, read_params({**(params or {}), **read.params}))
    return {"patient": read.patient, **answered} if read.patient else answered


def _check_criterion(name: str) -> None:
    if name not in CRITERIA:
        near = [known for known in CRITERIA if known.startswith(name)] or difflib.get_close_matches(name, CRITERIA, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "choose one of them"
        refuse("criterion", f"'{name}'", f"one of {', '.join(CRITERIA)}", remedy)


def loads(text: str) -> Any:
    """A JSON document, its numbers as exact decimals.

    Raises
    ------
    ConfigurationError
        When it is not JSON, or states a key twice.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=Decimal, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "it"
        refuse("document", "no JSON", "one JSON document", f"correct the syntax at {where}")


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        refuse(twice, "this key twice in one object", "each key once", "remove one of the two")
    return document


def dumps(value: Any) -> str:
    """Plain values as JSON on one line, decimals with all their digits (`json.dumps` would need floats)."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return (
            "{" + ", ".join([f"{encode_basestring_ascii(key)}: {dumps(inner)}" for key, inner in value.items()]) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join([dumps(inner) for inner in value]) + "]"
    return json.dumps(value)


def answer_lines(
    lines: Iterable[str], criteria: Sequence[str] = (DEFAULT,), params: Mapping[str, Any] | None = None
) -> Iterator[Json]:
    """One answer for one document a line, in order; a bad document answers its error, the rest go on."""
    for line in lines:
        if line.strip():
            yield _answer_or_error(line, criteria, params)


def answer_table(
    rows: Iterable[Mapping[str, str]], criteria: Sequence[str] = (DEFAULT,), params: Mapping[str, Any] | None = None
) -> Iterator[Json]:
    """One answer a patient of a table; one that cannot be judged answers its error, the rest go on.

    Raises
    ------
    ConfigurationError
        When the table itself is wrong: a column unknown, a lesion stated differently in two rows.
    """
    for document in from_table(rows):
        answered = _answer_or_error(document, criteria, params)
        yield {"patient": document["patient"], **answered}


def _answer_or_error(document: str | Json, criteria: Sequence[str], params: Mapping[str, Any] | None) -> Json:
    try:
        return answer(loads(document) if isinstance(document, str) else document, criteria, params)
    except PipelineError as error:
        return {"error": asdict(error.problem)}


# Tables


def from_table(rows: Iterable[Mapping[str, str]]) -> tuple[Json, ...]:
    """A timeline document per patient, from rows with one lesion and visit each.

    Rows may come in any order: a patient's earliest visit is the baseline. A row
    without a lesion states only the visit.

    Raises
    ------
    ConfigurationError
        For an unknown or missing column, a lesion or visit stated differently in two rows, or a row twice.
    """
    patients: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows, start=2):  # line 1 is the header
        cells = {column: (cell or "").strip() for column, cell in row.items() if column}
        _check_columns(cells, number)
        patients.setdefault(cells.get("patient", ""), []).append({**cells, "line": str(number)})
    return tuple(_timeline(patient, cells) for patient, cells in patients.items())


def _check_columns(cells: Mapping[str, str], number: int) -> None:
    for column in cells:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"use {', '.join(COLUMNS)}"
            refuse(f"column {column}", "an unknown column", "a column of the contract", remedy)
    for column in _REQUIRED:
        if not cells.get(column):
            refuse(f"line {number}, {column}", "nothing", "a value in every row", "fill it in")


def _timeline(patient: str, rows: list[dict[str, str]]) -> Json:
    rows.sort(key=lambda row: row["date"])
    lesions: dict[str, Json] = {}
    visits: dict[str, Json] = {}
    for row in rows:
        visit = visits.setdefault(row["visit"], {"id": row["visit"], "measurements": {}, "non_targets": {}})
        _state(visit, "date", row["date"], row)
        _state(visit, "new_lesions", row.get("new_lesions", ""), row)
        if row.get("lesion"):
            _add_lesion(lesions.setdefault(row["lesion"], {"id": row["lesion"]}), row)
            _add_finding(visit, row)
    return {"kind": "timeline", "patient": patient, "lesions": list(lesions.values()), "visits": list(visits.values())}


def _state(entry: Json, field: str, value: Any, row: Mapping[str, str]) -> None:
    """Take in what a row states of a visit or lesion; every row that states it must state the same."""
    if value == "":
        return
    if entry.setdefault(field, value) != value:
        refuse(f"line {row['line']}, {field}", "another value than before", f"the same for {entry['id']}", "correct it")


def _add_lesion(lesion: Json, row: Mapping[str, str]) -> None:
    _state(lesion, "role", row.get("role", ""), row)
    _state(lesion, "organ", row.get("organ", ""), row)
    node = row.get("node", "").lower()
    if node not in _YES:
        refuse(f"line {row['line']}, node", "neither yes nor no", "true or false", "correct it")
    _state(lesion, "node", _YES[node] if node else "", row)


def _add_finding(visit: Json, row: Mapping[str, str]) -> None:
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


def to_rows(answers: Iterable[Json]) -> Iterator[dict[str, str]]:
    """Answers of timelines as rows of a table, one per visit and criterion; an error is a row of its own."""
    for answered in answers:
        patient = answered.get("patient", "")
        if "error" in answered:
            yield {"patient": patient, "reasons": " ".join(str(part) for part in answered["error"].values())}
        for course in answered.get("criteria", [answered] if "visits" in answered else []):
            for visit in course["visits"]:
                yield {"patient": patient, "criterion": course["criterion"], **_visit_row(visit), **_best_row(course)}


def _visit_row(visit: Json) -> dict[str, str]:
    shown = {name: value for name, value in visit.items() if not isinstance(value, (list, dict))}
    return {**{name: _cell(value) for name, value in shown.items()}, "reasons": "; ".join(visit["reasons"])}


def _best_row(course: Json) -> dict[str, str]:
    best = course["best_overall_response"]
    return {
        "best_unconfirmed": _cell(best["unconfirmed"]),
        "best_confirmed": _cell(best["confirmed"]),
        "progression_date": _cell(course["progression_date"]),
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return plain(value) if isinstance(value, Decimal) else str(value)
