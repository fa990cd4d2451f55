"""Tables: the tidy measurements, assessments and scores of many cases, and the few lines a terminal shows."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from imaging_pipeline.criteria.evidence import rank
from imaging_pipeline.domain.case import Case, Measurement, Reported
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Severity
from imaging_pipeline.store import write_whole

Cell: TypeAlias = str | int | float | Decimal | bool | None
Row: TypeAlias = dict[str, Cell]

# The columns are public interface: add, never rename.
MEASUREMENT_COLUMNS: dict[str, Any] = {
    "case": pa.string(),
    "visit": pa.string(),
    "visit_date": pa.string(),
    "lesion": pa.string(),
    "role": pa.string(),
    "site": pa.string(),
    "laterality": pa.string(),
    "modality": pa.string(),
    "quantity": pa.string(),
    "value": pa.float64(),
    "unit": pa.string(),
    "lower95": pa.float64(),
    "upper95": pa.float64(),
    "evidence": pa.string(),
    "comparable": pa.bool_(),
    "flags": pa.string(),
    "series_uid": pa.string(),
    "reader_lower95": pa.float64(),
    "reader_upper95": pa.float64(),
}
ASSESSMENT_COLUMNS: dict[str, Any] = {
    "case": pa.string(),
    "visit": pa.string(),
    "visit_date": pa.string(),
    "criterion": pa.string(),
    "overall": pa.string(),
    "target": pa.string(),
    "non_target": pa.string(),
    "new_lesion": pa.string(),
    "sum_mm": pa.float64(),
    "nadir_mm": pa.float64(),
    "change_from_baseline_pct": pa.float64(),
    "change_from_nadir_pct": pa.float64(),
    "best_overall_response": pa.string(),
    "measurements": pa.string(),
    "reasons": pa.string(),
    "evaluator": pa.string(),
    "other_categories_pct": pa.string(),
    "other_reader_categories_pct": pa.string(),
}
SCORE_COLUMNS: dict[str, Any] = {
    "case": pa.string(),
    "visit": pa.string(),
    "visit_date": pa.string(),
    "lesion": pa.string(),
    "score": pa.string(),
    "value": pa.int64(),
    "least": pa.int64(),
    "most": pa.int64(),
    "category": pa.string(),
    "missing": pa.string(),
    "reasons": pa.string(),
}

#: Between several texts in one cell.
SEPARATOR = "; "


#: What a terminal shows of a lesion at a visit.
SUMMARY_COLUMNS = ("lesion", "visit", "diameter mm", "mean density HU", "calcified %")

#: What it shows of each of several cases.
COHORT_COLUMNS = ("case", "visits", "lesions", "errors", "warnings", "latest", "change of sum %", "best response")


def measurement_rows(case: Case) -> tuple[Row, ...]:
    """One row per measurement, in the case's order."""
    visits = {visit.number: visit for visit in case.visits}
    lesions = {lesion.lesion_id: lesion for lesion in case.lesions}
    rows = []
    for measurement in case.measurements:
        visit, lesion = visits[measurement.visit], lesions[measurement.lesion_id]
        row: Row = {
            "case": case.case,
            "visit": visit.label,
            "visit_date": visit.date,
            "lesion": lesion.lesion_id,
            "role": lesion.role.value,
            "site": lesion.place.meaning if lesion.place else "",
            "laterality": lesion.laterality,
            "modality": measurement.modality,
            "quantity": measurement.quantity,
            "value": measurement.value,
            "unit": measurement.unit,
            "lower95": measurement.lower95,
            "upper95": measurement.upper95,
            "evidence": measurement.evidence.kind,
            "comparable": measurement.comparable,
            "flags": SEPARATOR.join(measurement.flags),
            "series_uid": measurement.series_uid,
            "reader_lower95": measurement.reader_lower95,
            "reader_upper95": measurement.reader_upper95,
        }
        rows.append(row)
    return tuple(rows)


def assessment_rows(case: Case) -> tuple[Row, ...]:
    """One row per criterion and visit, in the case's order."""
    visits = {visit.number: visit for visit in case.visits}
    return tuple(
        {
            "case": case.case,
            "visit": visits[assessment.visit].label,
            "visit_date": visits[assessment.visit].date,
            "criterion": assessment.criterion,
            "overall": assessment.overall,
            "target": assessment.target,
            "non_target": assessment.non_target,
            "new_lesion": assessment.new_lesion,
            "sum_mm": assessment.sum_mm,
            "nadir_mm": assessment.nadir_mm,
            "change_from_baseline_pct": assessment.change_from_baseline_pct,
            "change_from_nadir_pct": assessment.change_from_nadir_pct,
            "best_overall_response": assessment.best_overall_response,
            "measurements": SEPARATOR.join(assessment.measurements),
            "reasons": SEPARATOR.join(assessment.reasons),
            "evaluator": assessment.evaluator,
            "other_categories_pct": _shares(assessment.other_categories),
            "other_reader_categories_pct": _shares(assessment.other_reader_categories),
        }
        for assessment in case.assessments
    )


def score_rows(case: Case) -> tuple[Row, ...]:
    """One row per score of a lesion at a visit, in the case's order."""
    visits = {visit.number: visit for visit in case.visits}
    return tuple(
        {
            "case": case.case,
            "visit": visits[score.visit].label,
            "visit_date": visits[score.visit].date,
            "lesion": score.lesion_id,
            "score": score.score,
            "value": score.value,
            "least": score.least,
            "most": score.most,
            "category": score.category,
            "missing": SEPARATOR.join(score.missing),
            "reasons": SEPARATOR.join(score.reasons),
        }
        for score in case.scores
    )


def _shares(others: Mapping[str, float] | None) -> str:
    """Each other category with its probability in percent; "none" where none is likely, empty where nobody knows."""
    if others is None:
        return ""
    likeliest = sorted(others.items(), key=lambda other: -other[1])
    return SEPARATOR.join(f"{code} {share:.1f}" for code, share in likeliest) or "none"


def summary_rows(case: Case) -> tuple[tuple[str, ...], ...]:
    """What a terminal shows of a case: one row per lesion and visit, empty where nothing was measured."""
    numbers = chosen(case.measurements)
    rows = []
    for lesion in case.lesions:
        quantities = (size_quantity(lesion.kind), "mean_density", "calcified_fraction")
        for visit in case.visits:
            values = (printed(numbers.get((lesion.lesion_id, visit.number, name))) for name in quantities)
            rows.append((lesion.lesion_id, visit.label, *values))
    return tuple(rows)


def response_lines(case: Case) -> tuple[str, ...]:
    """What a terminal says of a case's responses: one line per criterion, its word at each visit after baseline."""
    words: dict[str, list[str]] = {}
    for judged in case.assessments:
        change = judged.change_from_baseline_pct
        told = f"{case.visits[judged.visit].label} {judged.overall or '-'}"
        if judged.visit:
            words.setdefault(judged.criterion, []).append(told if change is None else f"{told} ({change:+.1f} %)")
    return tuple(f"{criterion}: {', '.join(said)}" for criterion, said in words.items())


def cohort_rows(cases: Iterable[Case]) -> tuple[tuple[str, ...], ...]:
    """What a terminal shows of several cases: one row each, those with problems first."""
    ordered = sorted(cases, key=lambda case: (*(-count for count in _severities(case)), case.case))
    return tuple(_cohort_row(case) for case in ordered)


def _cohort_row(case: Case) -> tuple[str, ...]:
    counts = (len(case.visits), len(case.lesions), *_severities(case))
    last = next((each for each in reversed(case.assessments) if each.criterion == case.assessments[0].criterion), None)
    change = "" if last is None or last.change_from_baseline_pct is None else f"{last.change_from_baseline_pct:+.1f}"
    words = ("", change, "") if last is None else (last.overall, change, last.best_overall_response)
    return (case.case, *(str(count) for count in counts), *words)


def _severities(case: Case) -> tuple[int, int]:
    found = Counter(problem.severity for problem in case.problems)
    return found[Severity.ERROR], found[Severity.WARNING]


def write_tables(cases: Iterable[Case], folder: Path) -> tuple[Path, ...]:
    """Write measurements, assessments and scores of all cases, ordered by case, as CSV and Parquet."""
    ordered = sorted(cases, key=lambda case: case.case)
    written: list[Path] = []
    tables: tuple[tuple[str, Callable[[Case], tuple[Row, ...]], dict[str, Any]], ...] = (
        ("measurements", measurement_rows, MEASUREMENT_COLUMNS),
        ("assessments", assessment_rows, ASSESSMENT_COLUMNS),
        ("scores", score_rows, SCORE_COLUMNS),
    )
    for name, rows_of, columns in tables:
        rows = [row for case in ordered for row in rows_of(case)]
        for suffix, content in (("csv", _csv(rows, columns)), ("parquet", _parquet(rows, columns))):
            written.append(folder / f"{name}.{suffix}")
            write_whole(written[-1], content)
    return tuple(written)


def chosen(measurements: Iterable[Measurement]) -> dict[tuple[str, int, str], Measurement]:
    """The one measurement of several that a summary shows, by lesion, visit and quantity.

    What the criteria believe: CT goes before other images, there a reader's own before the machine's; what is only
    reported is never taken for a measurement; among equals the first stands.
    """
    measured = [each for each in measurements if not isinstance(each.evidence, Reported)]
    best: dict[tuple[str, int, str], Measurement] = {}
    for measurement in sorted(measured, key=rank):
        best.setdefault((measurement.lesion_id, measurement.visit, measurement.quantity), measurement)
    return best


def size_quantity(kind: Kind) -> str:
    """The diameter that speaks for a lesion: the short axis of a node, else the longest (RECIST 1.1)."""
    return "short_axis" if kind is Kind.NODE else "longest_diameter"


def printed(measurement: Measurement | None) -> str:
    """A value as every output prints it, without unit; empty for none."""
    return "" if measurement is None else number(measurement.value, measurement.quantity)


def number(value: float, quantity: str) -> str:
    """A number with the decimals its quantity prints."""
    return f"{value:.{CATALOGUE[quantity].decimals}f}"


def disarmed(text: str) -> str:
    """Text that a spreadsheet takes for text.

    *Source*: CWE-1236; OWASP ASVS 1.2.10. Full-width signs fold to the plain
    ones in some locales, and blanks and invisible characters before a sign do
    not stop every program.
    """
    visible = next((sign for sign in text if unicodedata.category(sign) not in ("Zs", "Cf")), "")
    sign = unicodedata.normalize("NFKC", visible)
    armed = sign.startswith(("=", "+", "-", "@", "\u2212")) or unicodedata.category(visible or " ") == "Cc"
    return f"'{text}" if armed else text


def csv_text(rows: Iterable[Sequence[str | Decimal]]) -> str:
    """Rows of text and numbers as CSV, formulas disarmed."""
    return _lines([format(cell, "f") if isinstance(cell, Decimal) else disarmed(cell) for cell in row] for row in rows)


def _csv(rows: Sequence[Row], columns: Mapping[str, Any]) -> str:
    return _lines([list(columns), *([_csv_cell(row, column) for column in columns] for row in rows)])


def _lines(rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _csv_cell(row: Row, column: str) -> str:
    cell = row[column]
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, float):
        return number(cell, str(row["quantity"]))
    return str(cell) if isinstance(cell, int) else disarmed(cell)


def _parquet(rows: Sequence[Row], columns: Mapping[str, Any]) -> bytes:
    arrays = [pa.array([_parquet_cell(row[name]) for row in rows], kind) for name, kind in columns.items()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, names=list(columns)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _parquet_cell(cell: Cell) -> Cell:
    # Parquet is typed: a text is never a formula there and stays as it is.
    return float(cell) if isinstance(cell, Decimal) else cell
