"""What an index keeps of a folder: headers, so that unchanged files are not opened again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imaging_pipeline.io.header import OF_A_SLICE, PLACES, Header
from imaging_pipeline.io.walk import Stamp
from imaging_pipeline.store import write_whole

#: Size, offset and length of the pixels, and what a slice says for itself; the rest is kept once for a series.
_OWN = (0, 3, 4, *sorted(PLACES[tag][0] for tag in OF_A_SLICE))


def kept(path: Path, key: str) -> Any:
    """The document kept under a key; None where there is none, or another."""
    try:
        found, _, document = path.read_text(encoding="ascii").partition("\n")
        return json.loads(document) if found == key else None
    except (OSError, ValueError):
        return None


def keep(path: Path, key: str, document: object) -> None:
    """Keep one document under a key, in place of the last."""
    # It names patients, as the headers do.
    write_whole(path, f"{key}\n{json.dumps(document, separators=(',', ':'))}", mode=0o600)


def headers_as_document(headers: Mapping[Stamp, Header]) -> object:
    """Headers without a fault or caution as plain values; any other file is to be opened again."""
    kinds: dict[tuple[Any, ...], int] = {}
    files = []
    for stamp, header in headers.items():
        if header.fault is None and not header.cautions:
            common = list(header)
            for place in _OWN:
                common[place] = None
            number = kinds.setdefault(tuple(common), len(kinds))
            files.append([stamp, number, *(header[place] for place in _OWN)])
    return {"kinds": list(kinds), "files": files}


def headers_from_document(document: Any) -> dict[Stamp, Header]:
    """The headers of `headers_as_document`, by the stamp of the file; none from a document of another form."""
    try:
        kinds = [_tuples(kind) for kind in document["kinds"]]
        return {tuple(stamp): _header(kinds[number], own) for stamp, number, *own in document["files"]}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def _header(common: list[Any], own: list[Any]) -> Header:
    fields = common.copy()
    for place, value in zip(_OWN, _tuples(own), strict=True):
        fields[place] = value
    return Header._make(fields)


def _tuples(values: Iterable[Any]) -> list[Any]:
    return [tuple(value) if isinstance(value, list) else value for value in values]
