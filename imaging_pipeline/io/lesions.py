"""The lesion file: what a reader says of each patient's lesions, as YAML, JSON or CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from imaging_pipeline.config import LesionFile, PatientLesions, parse_yaml, validated
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.text import read_text

#: Names under which a lesion file is found beside scans.
NAMES = ("lesions.yaml", "lesions.yml", "lesions.json", "lesions.csv")

# Columns of a CSV. A row says one prompt or one reported value of a lesion; places are LPS mm, separated by blanks.
_LESION = ("id", "label", "site", "laterality", "kind", "role", "organ", "bone_type")
_PLACES = ("point", "line", "short", "box", "slices")
_REPORTED = ("quantity", "value", "unit", "statement", "modality", "source")
_COLUMNS = frozenset(("patient", *_LESION, "visit", "series", *_PLACES, "mask", "mask_label", *_REPORTED))


def find(scans: Path, lesions_file: Path | None) -> tuple[LesionFile, Path]:
    """What is said of the lesions in a scan folder, and the folder that mask files are named from.

    Without a file given, those in the scan folder count: one for all, or one beside each patient's scans.

    Raises
    ------
    ConfigurationError
        When there is none, or one does not fit.
    """
    if lesions_file is not None:
        return read_lesions(lesions_file), lesions_file.parent
    patients: list[PatientLesions] = []
    for path in _beside(scans):
        patients += read_lesions(path, scans).patients
    if not patients:
        raise ConfigurationError(
            "E-LESIONS-NONE",
            scans.name,
            found="no lesion file",
            expected=f"{NAMES[0]} in the scan folder, or --lesions",
            remedy="write one: `imaging-pipeline schema lesions` says how",
        )
    return validated(LesionFile, {"patients": patients}, "the lesion files of the scan folder"), scans


def read_lesions(path: Path, base: Path | None = None) -> LesionFile:
    """A lesion file, checked; its mask files named from `base` instead of its own folder, if given.

    Raises
    ------
    ConfigurationError
        Naming file and key.
    """
    text = read_text(path)
    document = _from_table(text, path.name) if path.suffix == ".csv" else _plain(parse_yaml(text, path.name))
    if isinstance(document, dict) and "lesions" in document:
        document = {"patients": [document]}
    lesions = validated(LesionFile, document, path.name)
    folder = os.path.relpath(path.parent, base) if base is not None else "."
    return lesions if folder == "." else _named_from(lesions, folder)


def _beside(scans: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(scans):
        subfolders.sort()
        named = [Path(folder) / name for name in NAMES if name in files]
        # As with scans, a link is not followed and a pipe not waited for.
        yield from (path for path in named if path.is_file() and not path.is_symlink())


def _plain(document: Any) -> Any:
    """YAML's dates as the text they were written as."""
    if isinstance(document, dict):
        return {key: _plain(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_plain(value) for value in document]
    return document.isoformat() if isinstance(document, date) else document


def _named_from(lesions: LesionFile, folder: str) -> LesionFile:
    """The same with `folder` before the name of every mask file."""

    def renamed(document: Any) -> Any:
        if isinstance(document, dict):
            return {
                key: f"{folder}/{value}" if key == "file" and value else renamed(value)
                for key, value in document.items()
            }
        return [renamed(value) for value in document] if isinstance(document, list | tuple) else document

    return LesionFile.model_validate(renamed(lesions.model_dump(by_alias=True)))


# ---- CSV


def _from_table(text: str, subject: str) -> dict[str, Any]:
    rows = list(csv.DictReader(text.splitlines(), restkey="", restval=""))
    unknown = sorted(set(rows[0] if rows else ()) - _COLUMNS)
    if not rows or unknown:
        found = f"an unknown column '{unknown[0]}'" if unknown else "no rows"
        raise _refusal(subject, found, f"columns {', '.join(sorted(_COLUMNS))}", "correct the first line")
    patients: dict[str, dict[str, dict[str, Any]]] = {}
    for number, row in enumerate(rows, start=2):
        said = {name: value.strip() for name, value in row.items() if value and value.strip()}
        lesions = patients.setdefault(said.get("patient", ""), {})
        lesion = lesions.setdefault(said.get("id", ""), {"prompts": [], "reported": []})
        lesion.update({name: said[name] for name in _LESION if name in said})
        _add(lesion, said, f"{subject}, line {number}")
    return {"patients": [{"patient": name, "lesions": [*each.values()]} for name, each in patients.items()]}


def _add(lesion: dict[str, Any], said: Mapping[str, str], subject: str) -> None:
    """The row's prompt and its reported value, as far as it has them."""
    about = {name: said[name] for name in ("visit", "series") if name in said}
    places: dict[str, Any] = {name: _place(name, said[name], subject) for name in _PLACES if name in said}
    if "mask" in said:
        places["mask"] = {"file": said["mask"], "label": said.get("mask_label", "1")}
    if places:
        lesion["prompts"].append({**about, **places})
    reported = {name: said[name] for name in _REPORTED if name in said}
    if reported:
        lesion["reported"].append({"visit": about.get("visit", "baseline"), **reported})


def _place(name: str, text: str, subject: str) -> Any:
    try:
        numbers = [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        raise _refusal(f"{subject}: {name}", "something else than numbers", "numbers", "write mm in LPS") from None
    if name == "point":
        return numbers
    return numbers if name == "slices" else [numbers[:3], numbers[3:]]


def _refusal(subject: str, found: str, expected: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("E-CONFIG", subject, found=found, expected=expected, remedy=remedy)
