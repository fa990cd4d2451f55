"""NRRD in: the format of 3D Slicer's volumes and segmentations, raw or gzipped, header and voxels in one file.

Source: the NRRD format definition, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.images import Volume
from imaging_pipeline.io.foreign import (
    RAS_TO_LPS,
    check_size,
    content_of,
    file_series,
    refusal,
    require_affine,
    require_numbers,
    slice_axis,
    unpacked,
    volume_of,
)

MAX_HEADER_BYTES = 2**20

_HEADER = re.compile(rb"NRRD000\d\r?\n(.*?)\r?\n\r?\n", re.DOTALL)
_FIELD = re.compile(r"([^#:=]+): (.*)")
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), np.eye(4)),
    **dict.fromkeys(("right-anterior-superior", "ras"), RAS_TO_LPS),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([1.0, -1.0, 1.0, 1.0])),
}


def read_nrrd(path: Path, unit: str = "1", modality: str = "") -> Volume:
    """An NRRD file as a volume; what its numbers mean the file does not say, the caller does.

    Raises
    ------
    RefusedError
        When the file is damaged, has several frames, or no valid place.
    """
    raw = content_of(path)
    fields, start = _header(raw, path.name)
    try:
        shape, matrix = _place(fields, path.name)
        voxels = _voxels(raw[start:], fields, shape, path.name)
    except (KeyError, ValueError) as error:
        raise refusal("E-FILE-NRRD", path.name, "a header field missing or malformed", "the fields of NRRD") from error
    return volume_of(voxels, matrix, slice_axis(matrix), file_series(raw, modality), unit)


def _header(raw: bytes, subject: str) -> tuple[dict[str, str], int]:
    """The fields by name, and where the voxels begin."""
    header = _HEADER.match(raw, 0, MAX_HEADER_BYTES)
    if header is None:
        raise refusal("E-FILE-NRRD", subject, "no NRRD header", "header and voxels in one file")
    lines = header[1].decode("latin-1").splitlines()
    return {field[1].lower(): field[2].strip() for field in map(_FIELD.match, lines) if field}, header.end()


def _place(fields: dict[str, str], subject: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """The three sizes, fastest first, and the affine from (i, j, k) to LPS mm."""
    if fields.get("space", "").lower() not in _SPACES:
        raise refusal("E-GEOM-AFFINE", subject, "no space of the patient", "LPS, RAS or LAS")
    if not set(re.findall(r"\w+", fields.get("space units", ""))) <= {"mm"}:
        raise refusal("E-GEOM-AFFINE", subject, "another unit of length", "millimetres")
    sizes = [int(size) for size in fields["sizes"].split()]
    directions = fields["space directions"].lower().replace("none", "()").replace(") (", ")|(").split("|")
    axes = [(size, _vector(text)) for size, text in zip(sizes, directions, strict=True)]
    if min(sizes) < 1 or any(size != 1 for size, direction in axes if not direction):
        raise refusal("E-PIX-SIZE", subject, f"sizes {sizes}", "one volume of three axes")
    placed = [(size, direction) for size, direction in axes if direction]
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose([direction for _, direction in placed])
    matrix[:3, 3] = _vector(fields["space origin"])
    matrix = _SPACES[fields["space"].lower()] @ matrix
    require_affine(matrix, subject)
    return tuple(size for size, _ in placed), matrix


def _vector(text: str) -> list[float]:
    numbers = text.strip().strip("()")
    return [float(number) for number in numbers.split(",")] if numbers else []


def _voxels(raw: bytes, fields: dict[str, str], shape: tuple[int, ...], subject: str) -> NDArray[Any]:
    if fields["encoding"].lower() not in ("raw", "gzip", "gz") or "data file" in fields or "datafile" in fields:
        raise refusal("E-FILE-NRRD", subject, "voxels elsewhere or in another encoding", "raw or gzip, in this file")
    if any(int(fields.get(name, 0)) for name in ("byte skip", "line skip", "byteskip", "lineskip")):
        raise refusal("E-FILE-NRRD", subject, "something else before the voxels", "voxels right after the header")
    code = _TYPES[fields["type"].lower()]
    dtype = np.dtype(code if code[1] == "1" else {"little": "<", "big": ">"}[fields["endian"].lower()] + code)
    count = math.prod(shape)
    length = count * dtype.itemsize
    check_size(count, length, len(raw), subject, packed=fields["encoding"].lower() != "raw")
    content = unpacked(raw, length, subject)
    if len(content) < length:
        raise refusal("E-FILE-TRUNCATED", subject, f"{len(content)} bytes of voxels", f"{length}, as its header says")
    voxels = np.frombuffer(content, dtype, count).reshape(shape, order="F")
    require_numbers(voxels, subject)
    return voxels
