"""Datasets as SAS transport files, version 5, and back: what a regulator's gateway takes.

Source: SAS technical support note TS-140 (record layout of a SAS transport data set); FDA Study Data Technical
Conformance Guide (ASCII, names of 8, labels of 40, texts of 200 characters).
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from math import frexp, ldexp
from typing import Any

from imaging_pipeline.io.datasets import Column, Dataset, Value

RECORD = 80
MAX_TEXT = 200

#: How every transport file begins.
LIBRARY = b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!"

_HEADER = "HEADER RECORD*******{name:<8}HEADER RECORD!!!!!!!{numbers:0<30}  "
_MISSING = b"." + bytes(7)
_NAMESTR, _OBSERVATIONS = b"HEADER RECORD*******NAMESTR ", b"HEADER RECORD*******OBS     "
_DESCRIBED = struct.Struct(">4h8s40s8s3h2s8s2hl52s")


def xpt(dataset: Dataset, made: datetime) -> bytes:
    """A dataset as a transport file."""
    lengths = [_length(dataset, column) for column in dataset.columns]
    stamp = made.strftime("%d%b%y:%H:%M:%S").upper()
    head = [
        _HEADER.format(name="LIBRARY", numbers=""),
        f"{'SAS':<8}{'SAS':<8}{'SASLIB':<8}{'9.4':<8}{'':<8}{'':<24}{stamp}",
        f"{stamp:<80}",
        _HEADER.format(name="MEMBER", numbers="000000000000000001600000000140"),
        _HEADER.format(name="DSCRPTR", numbers=""),
        f"{'SAS':<8}{dataset.name:<8}{'SASDATA':<8}{'9.4':<8}{'':<8}{'':<24}{stamp}",
        f"{stamp:<16}{'':<16}{dataset.label[:40]:<40}{'':<8}",
        _HEADER.format(name="NAMESTR", numbers=f"000000{len(dataset.columns):04d}"),
    ]
    descriptions = b"".join(
        _description(column, number, length, sum(lengths[: number - 1]))
        for number, (column, length) in enumerate(zip(dataset.columns, lengths, strict=True), start=1)
    )
    values = b"".join(
        _value(value, column, length)
        for row in dataset.rows
        for value, column, length in zip(row, dataset.columns, lengths, strict=True)
    )
    observations = _HEADER.format(name="OBS", numbers="").encode("ascii")
    return "".join(head).encode("ascii") + _filled(descriptions, b"\0") + observations + _filled(values, b" ")


def _length(dataset: Dataset, column: Column) -> int:
    if column.kind != "string":
        return 8
    texts = (len(ascii_text(value)) for value in dataset.values(column.name) if isinstance(value, str))
    return min(max(texts, default=1) or 1, MAX_TEXT)


def _description(column: Column, number: int, length: int, position: int) -> bytes:
    name, label = column.name.encode("ascii"), column.label.encode("ascii")
    assert len(name) <= 8
    assert len(label) <= 40
    kind = 2 if column.kind == "string" else 1
    return _DESCRIBED.pack(
        *(kind, 0, length, number, name.ljust(8), label.ljust(40), b" " * 8),
        *(0, 0, 0, b"\0\0", b" " * 8, 0, 0, position, b""),
    )


def _value(value: Value, column: Column, length: int) -> bytes:
    if column.kind == "string":
        text = "" if value is None else str(value)
        return ascii_text(text).encode("ascii")[:length].ljust(length)
    return _MISSING if value is None else ibm_float(float(Decimal(value)))


def ascii_text(text: str) -> str:
    """Letters without their accents; what has no plain letter as a question mark."""
    letters = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return letters.encode("ascii", "replace").decode("ascii")


def ibm_float(number: float) -> bytes:
    """A number as IBM 370 double precision: base 16, 56 bits of fraction; a double's 53 bits fit.

    Source: TS-140, appendix. The number must lie between 16^-65 and 16^63, or be 0.
    """
    if number == 0:
        return bytes(8)
    fraction, exponent = frexp(abs(number))
    shift = -exponent % 4
    mantissa = int(fraction * 2**56) >> shift
    return (mantissa | ((exponent + shift) // 4 + 64) << 56 | (number < 0) << 63).to_bytes(8, "big")


def read_xpt(content: bytes) -> list[dict[str, str]]:
    """The rows of a transport file of one dataset, each value as text and nothing as "".

    Raises
    ------
    ValueError
        When the file is cut short or contradicts itself.
    """
    described, observed = content.find(_NAMESTR), content.find(_OBSERVATIONS)
    if not 0 < described < observed:
        raise ValueError("no description of the columns")
    number = int(content[described + 54 : described + 58])
    start = described + RECORD
    columns = [
        _DESCRIBED.unpack_from(content, place)
        for place in range(start, start + number * _DESCRIBED.size, _DESCRIBED.size)
    ]
    length = sum(column[2] for column in columns)
    values = content[observed + RECORD :]
    if length < 1 or len(values) % RECORD:
        raise ValueError("rows cut short")
    rows = [values[place : place + length] for place in range(0, len(values) - length + 1, length)]
    # What fills the last record is no row.
    return [_read_row(row, columns) for row in rows if row.strip(b" ")]


def _read_row(row: bytes, columns: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    cells = {}
    for column in columns:
        kind, length, name, place = column[0], column[2], column[4], column[14]
        cell = row[place : place + length]
        cells[name.decode("ascii").strip()] = cell.decode("ascii").strip() if kind == 2 else _read_number(cell)
    return cells


def _read_number(cell: bytes) -> str:
    """An IBM 370 number as the shortest text of the double it is; "" where it is missing (a letter, _ or a point)."""
    if len(cell) != 8:
        raise ValueError("a number that is not 8 bytes")
    if not any(cell[1:]):
        if cell[0] and chr(cell[0]) not in "._ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            raise ValueError("a number without digits")
        return "" if cell[0] else "0"
    bits = int.from_bytes(cell, "big")
    fraction, exponent = bits & (1 << 56) - 1, (bits >> 56 & 127) - 64
    value = ldexp(fraction, 4 * exponent - 56)
    return format(Decimal(repr(-value if bits >> 63 else value)).normalize(), "f")


def _filled(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % RECORD)
