"""Datasets of a trial as Dataset-JSON 1.1, and back.

Source: CDISC Dataset-JSON 1.1 (2024-12-05), its user's guide and JSON schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from imaging_pipeline import __version__
from imaging_pipeline.errors import ConfigurationError

#: A text, a number with all its digits, or nothing.
Value = str | int | Decimal | None


@dataclass(frozen=True, slots=True)
class Column:
    """A variable: its name, what people call it, and the kind of its values."""

    name: str
    label: str
    kind: Literal["string", "integer", "decimal"] = "string"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: rows in the order of its columns; `keys` are the columns that tell rows apart."""

    name: str
    label: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def values(self, name: str) -> tuple[Value, ...]:
        """One column, row by row."""
        place = [column.name for column in self.columns].index(name)
        return tuple(row[place] for row in self.rows)

    def length(self, column: Column) -> int:
        """Characters a text column needs; 8 for a number."""
        if column.kind != "string":
            return 8
        return max((len(value) for value in self.values(column.name) if isinstance(value, str)), default=1) or 1


def item_oid(dataset: Dataset, column: Column) -> str:
    """How a variable is named across dataset and define.xml."""
    return f"IT.{dataset.name}.{column.name}"


def dataset_json(dataset: Dataset, study_id: str, made: str) -> str:
    """A dataset as Dataset-JSON; a decimal travels as text so that no digit is lost.

    Parameters
    ----------
    made
        Date and time of creation, ISO 8601.
    """
    document = {
        "datasetJSONCreationDateTime": made,
        "datasetJSONVersion": "1.1.0",
        "fileOID": f"{study_id}.{dataset.name}",
        "originator": "imaging_pipeline",
        "sourceSystem": {"name": "imaging_pipeline", "version": __version__},
        "studyOID": f"STUDY.{study_id}",
        "metaDataVersionOID": f"MDV.{study_id}",
        "metaDataRef": "define.xml",
        "itemGroupOID": f"IG.{dataset.name}",
        "records": len(dataset.rows),
        "name": dataset.name,
        "label": dataset.label,
        "columns": [_column(dataset, column) for column in dataset.columns],
        "rows": [[_plain(value) for value in row] for row in dataset.rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_dataset(path: Path) -> list[dict[str, str]]:
    """The rows of a Dataset-JSON file, each value as text and nothing as "".

    Raises
    ------
    ConfigurationError
        When it is no Dataset-JSON.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
        names = [column["name"] for column in document["columns"]]
        return [
            {name: "" if value is None else str(value) for name, value in zip(names, row, strict=True)}
            for row in document["rows"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "E-DATASET",
            path.name,
            found=f"no readable dataset ({type(error).__name__})",
            expected="Dataset-JSON 1.1, with columns and rows",
            remedy="export it again",
        ) from error


def _column(dataset: Dataset, column: Column) -> Mapping[str, object]:
    entry: dict[str, object] = {
        "itemOID": item_oid(dataset, column),
        "name": column.name,
        "label": column.label,
        "dataType": column.kind,
    }
    if column.kind == "decimal":
        entry["targetDataType"] = "decimal"
    else:
        entry["length"] = dataset.length(column)
    if column.name in dataset.keys:
        entry["keySequence"] = dataset.keys.index(column.name) + 1
    return entry


def _plain(value: Value) -> str | int | None:
    return format(value, "f") if isinstance(value, Decimal) else value


def dataset_of(
    name: str,
    label: str,
    columns: Sequence[Column],
    keys: Sequence[str],
    records: Sequence[Mapping[str, Value]],
) -> Dataset:
    """A dataset from records that leave out what they do not state."""
    names = [column.name for column in columns]
    unknown = {key for record in records for key in record} - set(names)
    assert not unknown, f"{name} has no variable {unknown}"
    rows = tuple(tuple(record.get(column) for column in names) for record in records)
    return Dataset(name, label, tuple(columns), tuple(keys), rows)
