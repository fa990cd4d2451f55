"""One image and one mask, or one table of measurements, without a case."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.criteria.documents import answer, answer_lines, answer_or_error, loads
from imaging_pipeline.criteria.exact import plain
from imaging_pipeline.criteria.table import answer_table, read_rows, to_rows
from imaging_pipeline.domain.case import Measurement, Segmented
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.io.text import read_text

if TYPE_CHECKING:
    from imaging_pipeline.io.readback import Reading


def measure_files(image: Path, mask_file: Path, label: str, kind: Kind, series_uid: str | None) -> dict[str, Any]:
    """Every quantity that applies to one image and one mask, as the contract's document.

    Raises
    ------
    RefusedError, SpaceError, StageError
        When image or mask cannot be trusted, or do not belong together.
    """
    from imaging_pipeline.io.loaders import open_series
    from imaging_pipeline.io.masks import read_mask
    from imaging_pipeline.numerics.measurement import measure

    volume, _, problems = open_series(image, series_uid)
    mask = read_mask(mask_file, volume, label)
    lesion = Lesion(lesion_id=mask_file.name, tracking_uid="", label=label, kind=kind)
    found = measure(volume, mask, lesion, 0, MeasureConfig())
    return {
        "quantities": {item.quantity: _value(item) for item in found.measurements},
        "evidence": _evidence(found.measurements, volume.grid.to_index),
        "issues": [problem.document for problem in (*problems, *found.problems)],
    }


def _value(item: Measurement) -> dict[str, Any]:
    entry = {"value": item.value, "unit": item.unit, "lower95": item.lower95, "upper95": item.upper95}
    readers = {"reader_lower95": item.reader_lower95, "reader_upper95": item.reader_upper95}
    return {
        **entry,
        **(readers if item.reader_lower95 is not None else {}),
        **({"flags": item.flags} if item.flags else {}),
    }


def _evidence(measurements: tuple[Measurement, ...], to_index: Any) -> dict[str, Any]:
    lines = {
        item.quantity: item.evidence.points_lps
        for item in measurements
        if isinstance(item.evidence, Segmented) and len(item.evidence.points_lps) == 2
    }
    if "longest_diameter" not in lines:
        return {}
    evidence = {
        "slice": round(float(to_index(lines["longest_diameter"][0])[0])),
        "convention": "longest line inside the sub-voxel outline in one acquired plane",
        "long_axis_lps": lines["longest_diameter"],
    }
    if "perpendicular_diameter" in lines:
        evidence["short_axis_lps"] = lines["perpendicular_diameter"]
    return evidence


def assess_file(path: Path, criteria: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The answers to a JSON document, JSON lines, a CSV with one row per lesion and visit, or an export of ours.

    Exports are told by their content: the tidy table, SDTM tumour results, a
    TID 1500 report. Each of their patients is answered alone, as those of a table.

    Raises
    ------
    ConfigurationError, RefusedError
        When the document does not say what it must; in JSON lines the answer says so instead.
    """
    exported = _exported(path)
    if exported:
        from imaging_pipeline.io.readback import timeline

        for reading in exported:
            yield {"patient": reading.case, **answer_or_error(partial(timeline, reading), criteria)}
        return
    text = read_text(path)
    if path.suffix == ".jsonl":
        yield from answer_lines(text.splitlines(), criteria)
    elif path.suffix == ".csv":
        yield from answer_table(read_rows(text), criteria)
    else:
        yield answer(loads(text), criteria)


def _exported(path: Path) -> tuple[Reading, ...]:
    """The patients of an export of ours; the readers, slow to start, are called only for what looks like one."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    columns = head.partition(b"\n")[0].removeprefix(codecs.BOM_UTF8).strip().split(b",")
    tidy = {b"case", b"lesion", b"quantity", b"value"} <= set(columns)
    if tidy or head[128:132] == b"DICM" or head.startswith(b"HEADER RECORD") or b'"datasetJSONVersion"' in head:
        from imaging_pipeline.io.readback import readings

        return readings(path)
    return ()


def answers_as_csv(answers: Iterable[dict[str, Any]]) -> str:
    """Answers of timelines as CSV, one row per patient, visit and criterion; text is disarmed for spreadsheets."""
    from imaging_pipeline.io.tables import disarmed

    rows = list(to_rows(answers))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        writer.writerow(plain(cell) if isinstance(cell, Decimal) else disarmed(cell or "") for cell in cells)
    return stream.getvalue()
