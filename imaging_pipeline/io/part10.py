"""DICOM files written element by element: a report of thousands of small items takes milliseconds.

An object is a plain mapping from attribute keyword to value; a sequence is a
list of such mappings. Little endian, explicit VR, defined lengths, UTF-8.

Source: DICOM PS3.5 7.1 (data elements), 7.5 (sequences), 6.2 (value representations); PS3.10 7.1 (file meta).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

#: An object or an item of a sequence: keywords and values.
Item = dict[str, Any]

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_LONG = frozenset({"OB", "SQ", "UT"})
_BINARY = {"US": "H", "UL": "I", "FL": "f"}
#: Of these a backslash parts values; it cannot be part of one.
_PARTED = frozenset({"CS", "DS", "IS", "LO", "PN", "SH", "UI"})


def elements(item: Mapping[str, Any]) -> dict[int, bytes]:
    """The data elements of an object, encoded, by tag."""
    return {_known(keyword)[0]: _element(keyword, value) for keyword, value in item.items()}


def file_of(encoded: Mapping[int, bytes], meta: Mapping[str, Any]) -> bytes:
    """Elements as a file, with the file meta information that its attributes tell."""
    group = _joined(elements({"FileMetaInformationVersion": b"\0\1", **meta}))
    length = _element("FileMetaInformationGroupLength", len(group))
    return bytes(128) + b"DICM" + length + group + _joined(encoded)


def _joined(encoded: Mapping[int, bytes]) -> bytes:
    return b"".join(encoded[tag] for tag in sorted(encoded))


def _element(keyword: str, value: Any) -> bytes:
    tag, vr = _known(keyword)
    content = _ENCODERS.get(vr, _text)(value, vr)
    content += (b"\0" if vr in ("UI", "OB") else b" ") * (len(content) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + struct.pack("<HI" if vr in _LONG else "<H", *((0,) if vr in _LONG else ()), len(content)) + content


@cache
def _known(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, f"{keyword} is no DICOM attribute"
    vr = dictionary_VR(tag)
    return tag, "OB" if vr == "OB or OW" else vr


def _text(value: str | float | Sequence[str | float], vr: str) -> bytes:
    values = [str(each) for each in ([value] if isinstance(value, str | int | float) else value)]
    if vr in _PARTED:
        values = [each.replace("\\", "/") for each in values]
    return "\\".join(values).encode("utf-8", "replace")


def _numbers(value: float | Sequence[float], vr: str) -> bytes:
    values = [value] if isinstance(value, int | float) else value
    return struct.pack(f"<{len(values)}{_BINARY[vr]}", *values)


def _tag(value: int, _: str) -> bytes:
    return struct.pack("<HH", value >> 16, value & 0xFFFF)


def _bytes(value: bytes, _: str) -> bytes:
    return value


def _sequence(value: Sequence[Item], _: str) -> bytes:
    contents = [_joined(elements(item)) for item in value]
    return b"".join(_ITEM + struct.pack("<I", len(content)) + content for content in contents)


_ENCODERS: dict[str, Callable[[Any, str], bytes]] = {
    **dict.fromkeys(_BINARY, _numbers),
    "AT": _tag,
    "OB": _bytes,
    "SQ": _sequence,
}
