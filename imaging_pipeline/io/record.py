"""The record of one patient on disk: case.json and, beside it, the arrays it names, as NIfTI.

NIfTI holds voxels and roughly their place; what it cannot hold exactly (the
affine to the last bit, the frame of reference, maker, unit, data type) stands
in case.json, so that a case comes back equal, digests included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from imaging_pipeline.config import Config
from imaging_pipeline.domain.case import Case, Sighting, Values
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask, MaskRole, Series, Volume
from imaging_pipeline.errors import PipelineError, RefusedError
from imaging_pipeline.io.nifti import read_nifti, write_nifti
from imaging_pipeline.store import write_whole

SCHEMA_VERSION = 1

# Names Windows keeps for its devices, whatever follows a dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a NIfTI file does not say of the array in it. `path` is relative to case.json."""

    path: str
    digest: str
    grid: Grid
    dtype: str


@dataclass(frozen=True, slots=True)
class StoredVolume(Stored):
    """A cut-out of a scan; its series is one of the case's visits."""

    unit: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class StoredMask(Stored):
    """An outline."""

    maker: str
    role: MaskRole
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Record(Case):
    """A case and where its arrays lie: the content of case.json."""

    arrays: tuple[StoredMask | StoredVolume, ...] = ()


def write_case(case: Case, values: Values, folder: Path) -> None:
    """Write case.json and the arrays it names.

    case.json comes last, so that a folder that has one is complete.
    """
    arrays = tuple(_stored(path, values[key]) for path, key in _array_paths(case, values))
    record = Record(**_fields(case), arrays=arrays)
    document = _json(_adapter().dump_python(record, mode="json"))
    export_nifti(case, values, folder)
    write_whole(folder / "case.json", document)


def read_case(folder: Path, known: Values | None = None) -> tuple[Case, dict[str, Mask | Volume]]:
    """The case and the values that were written; arrays that are `known` by their digest are not read again.

    Raises
    ------
    RefusedError
        When case.json is missing, of another schema or damaged, or an array is
        not the one that was written.
    """
    record = _record(folder)
    series = {each.series_instance_uid: each for visit in record.visits for each in visit.series}
    known = known or {}
    values = {stored.digest: known.get(stored.digest) or _restored(stored, series, folder) for stored in record.arrays}
    return Case(**_fields(record)), values


def read_record(folder: Path) -> Case:
    """The case alone, without its arrays.

    Raises
    ------
    RefusedError
        As `read_case`.
    """
    return Case(**_fields(_record(folder)))


def export_nifti(case: Case, values: Values, folder: Path, config: Config | None = None) -> tuple[Path, ...]:  # noqa: ARG001
    """Write each lesion's outline and the cut-out of the scan around it as NIfTI, by visit and lesion."""
    paths = []
    for path, key in _array_paths(case, values):
        paths.append(folder / path)
        write_nifti(values[key], paths[-1])
    return tuple(paths)


def case_schema() -> dict[str, Any]:
    """The JSON Schema of case.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema(mode="serialization")}


def safe_name(text: str) -> str:
    """A file name for any text: the text itself where every file system takes it, else a short digest."""
    if _SAFE.fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    return "x" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def lesion_folder(case: Case, sighting: Sighting) -> str:
    """Where the files of a lesion at a visit lie, relative to the case's folder."""
    visit = next(visit for visit in case.visits if visit.number == sighting.visit)
    return f"visits/{safe_name(visit.date)}/{safe_name(sighting.lesion_id)}"


def _array_paths(case: Case, values: Values) -> Iterator[tuple[str, str]]:
    """Path and digest of every array to keep; a lesion seen twice at a visit has a second pair of files."""
    taken: set[str] = set()
    for sighting in case.sightings:
        folder = lesion_folder(case, sighting)
        for name, key in (("mask", sighting.mask), ("image", sighting.view)):
            if key in values:
                yield _free(f"{folder}/{name}", taken), key
    named = {key for sighting in case.sightings for key in (sighting.mask, sighting.view)}
    for key in sorted(set(values) - named):
        yield f"arrays/{key[:16]}.nii.gz", key


def _free(stem: str, taken: set[str]) -> str:
    path, number = f"{stem}.nii.gz", 1
    while path in taken:
        number += 1
        path = f"{stem}_{number}.nii.gz"
    taken.add(path)
    return path


def _stored(path: str, value: Mask | Volume) -> StoredMask | StoredVolume:
    common = (path, value.digest, value.grid, value.array.dtype.str)
    if isinstance(value, Mask):
        return StoredMask(*common, value.maker, value.role, value.confidence)
    return StoredVolume(*common, value.unit, value.series.series_instance_uid)


def _restored(stored: StoredMask | StoredVolume, series: dict[str, Series], folder: Path) -> Mask | Volume:
    value: Mask | Volume
    try:
        array = read_nifti(folder / stored.path).array.astype(stored.dtype)
        if isinstance(stored, StoredMask):
            value = Mask(array, stored.grid, stored.maker, stored.role, stored.confidence)
        else:
            value = Volume(array, stored.grid, stored.unit, series[stored.series_instance_uid])
    except (PipelineError, OSError, ValueError, KeyError) as error:
        raise _refusal(stored.path, f"an array that cannot be read ({type(error).__name__})") from error
    if value.digest != stored.digest:
        raise _refusal(stored.path, "voxels changed since the case was written")
    return value


def _record(folder: Path) -> Record:
    try:
        content = (folder / "case.json").read_bytes()
        version = json.loads(content).get("schema_version")
    except (OSError, ValueError, AttributeError) as error:
        raise _refusal("case.json", f"no readable record ({type(error).__name__})") from error
    if version != SCHEMA_VERSION:
        raise _refusal("case.json", "another schema version")
    try:
        return _adapter().validate_json(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise _refusal("case.json", f"a value that does not fit at {where}") from error


def _refusal(subject: str, found: str) -> RefusedError:
    return RefusedError(
        "E-RECORD",
        subject,
        found=found,
        expected=f"a case as this version writes it (schema {SCHEMA_VERSION})",
        remedy="run the pipeline again on this patient",
    )


def _fields(case: Case) -> dict[str, Any]:
    return {item.name: getattr(case, item.name) for item in fields(Case)}


def _json(document: object) -> str:
    # An infinite number has no place in a record: it stops here and not at the reader.
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)
