"""Junk among the scans: files that every archive's export holds sooner or later, and some that mean harm."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.random import Generator

from imaging_pipeline.phantom.identifiers import identifier

NOT_DICOM, TRUNCATED, SKIPPED = "E-FILE-NOT-DICOM", "E-FILE-TRUNCATED", "W-FS-SKIPPED"
_PIXELS = b"\xe0\x7f\x10\x00"
_DICOMDIR = "1.2.840.10008.1.3.10"

#: Names that a careless program would run, split, turn around or cut off.
HOSTILE_NAMES = (
    'it\'s "quoted".txt',
    "two\nlines.txt",
    "a; rm -rf $HOME `id` $(id).txt",
    "gnp.\u202emcd.txt",
    "<img src=x onerror=alert(1)>.txt",
    "=HYPERLINK(A1).txt",
    "-rf",
    "CON.txt",
    "n" * 251 + ".txt",
)


@dataclass(frozen=True, slots=True)
class _Maker:
    """One kind of junk.

    `expected_code` is what an index must list the file with, None where it must be used or passed over without a
    word. `content` makes it from a slice and its random numbers. Junk that bears a series of its own in its header is
    laid `beside` the slice and named like one; other junk of that name and place would look like a lost slice.
    """

    kind: str
    expected_code: str | None
    content: Callable[[bytes, Generator], bytes]
    beside: bool = False
    names: tuple[str, ...] = ("IMG{}.dcm", "{}", "scan {}.dcm", "{}.bin")


def _renamed(content: bytes, random: Generator) -> bytes:
    """The same under another instance UID, as long as the old one."""
    old = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID.encode()
    new = identifier((int(random.integers(2**31)), 0), "junk").encode().ljust(len(old), b"1")[: len(old)]
    return content.replace(old, new)


def _truncated(content: bytes, random: Generator) -> bytes:
    start = content.rindex(_PIXELS) + 64
    return _renamed(content, random)[: int(random.integers(start, len(content) - 32))]


def _bomb(content: bytes, random: Generator) -> bytes:
    """A slice that states 65535 rows and columns."""
    changed = _renamed(content, random)
    for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
        place = changed.index(tag) + len(tag)
        changed = changed[:place] + b"\xff\xff" + changed[place + 2 :]
    return changed


def _noise(content: bytes, random: Generator) -> bytes:
    del content
    return random.bytes(int(random.integers(1, 20000)))


def _text(content: bytes, random: Generator) -> bytes:
    del content
    return f"exported {int(random.integers(10**9))}\n".encode() * 3


def _archive(content: bytes, random: Generator) -> bytes:
    """A zip whose member would leave the folder it is unpacked in."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../" * 4 + f"slip{int(random.integers(10**6))}.dcm"), content[:500])
    return stream.getvalue()


def _thumbnail(content: bytes, random: Generator) -> bytes:
    del content
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + random.bytes(900) + b"\xff\xd9"


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _headed(class_uid: str, instance_uid: str, rest: bytes) -> bytes:
    meta = (
        _element(2, 2, b"UI", class_uid.encode())
        + _element(2, 3, b"UI", instance_uid.encode())
        + _element(2, 16, b"UI", b"1.2.840.10008.1.2.1")
    )
    length = _element(2, 0, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + rest


def _crafted(class_uid: str, rest: bytes) -> Callable[[bytes, Generator], bytes]:
    """Makes a file of a few elements that no scanner wrote."""

    def content(_: bytes, random: Generator) -> bytes:
        return _headed(class_uid, identifier((int(random.integers(2**31)), 0), "junk"), rest)

    return content


_CT = "1.2.840.10008.5.1.4.1.1.2"
_NESTED = (struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 300
_ENDLESS = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFF0) + b"\0" * 64

_MAKERS = (
    _Maker("truncated", TRUNCATED, _truncated, beside=True),
    _Maker("empty", TRUNCATED, lambda content, random: b""),  # noqa: ARG005 - a maker's signature
    _Maker("random bytes", NOT_DICOM, _noise),
    _Maker("text", NOT_DICOM, _text, names=("README{}.txt", "notes {}.csv", "desktop{}.ini")),
    _Maker("wrong magic", NOT_DICOM, lambda content, random: content[:128] + b"DICX" + content[132:]),  # noqa: ARG005
    _Maker("zip", NOT_DICOM, _archive, names=("study{}.zip",)),
    _Maker("thumbnail", NOT_DICOM, _thumbnail, names=("thumb{}.jpg", "{}.jpeg")),
    _Maker("hostile name", NOT_DICOM, _text, names=HOSTILE_NAMES),
    _Maker("directory file", "N-FS-DICOMDIR", _crafted(_DICOMDIR, b""), names=("DICOMDIR", "DICOMDIR{}")),
    _Maker("deep nesting", "E-FILE-DEPTH", _crafted(_CT, _NESTED)),
    _Maker("length bomb", "E-FILE-LENGTH", _crafted(_CT, _ENDLESS)),
    _Maker("size bomb", "E-PIX-SIZE", _bomb, beside=True),
    _Maker("copy with a program's preamble", None, lambda content, random: b"MZ" + content[2:], beside=True),  # noqa: ARG005
    _Maker("exact copy", None, lambda content, random: content, beside=True),  # noqa: ARG005
    _Maker("pipe", SKIPPED, _noise),
    _Maker("link", SKIPPED, _noise),
)


def salt(folder: Path, fraction: float, seed: int) -> list[dict[str, Any]]:
    """Lay junk among the scans; returns each file's path, kind and the code an index must list it with.

    Parameters
    ----------
    fraction
        Junk files over image files; every kind comes before any comes again.

    Notes
    -----
    Names and places are drawn, and the same for the same folder, fraction and seed.
    """
    slices = [path for path in sorted(folder.rglob("*.dcm")) if _is_slice(path)]
    count = round(fraction * sum(1 for _ in folder.rglob("*.dcm")))
    random = np.random.default_rng((seed, 0x6A756E6B))
    rooms = sorted({parent for path in slices for parent in path.relative_to(folder).parents if len(parent.parts) < 3})
    deep = [Path(*["export"] * depth) / f"disc{depth}" for depth in (1, 4, 24)]
    listed = []
    for maker, number in _drawn(count, random):
        donor = slices[int(random.integers(len(slices)))]
        places = [donor.parent] if maker.beside else [folder / room for room in (*rooms, *deep)]
        path = _free(places[int(random.integers(len(places)))], maker, number, random)
        path.parent.mkdir(parents=True, exist_ok=True)
        _lay(path, maker, donor, random)
        listed.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "kind": maker.kind,
                "expected_code": maker.expected_code,
            }
        )
    return sorted(listed, key=lambda entry: str(entry["path"]))


def _is_slice(path: Path) -> bool:
    return "ImagePositionPatient" in pydicom.dcmread(path, specific_tags=["ImagePositionPatient"])


def _drawn(count: int, random: Generator) -> Iterator[tuple[_Maker, int]]:
    """Kinds in a random order, round after round."""
    # No pipes where the system has none.
    makers = [maker for maker in _MAKERS if maker.kind != "pipe" or hasattr(os, "mkfifo")]
    for number in range(count):
        if number % len(makers) == 0:
            order = random.permutation(len(makers))
        yield makers[int(order[number % len(makers)])], number


def _free(place: Path, maker: _Maker, number: int, random: Generator) -> Path:
    """A path with one of the kind's names that is not taken."""
    form = maker.names[number % len(maker.names)]
    path = place / (form.format(int(random.integers(10**6))) if "{}" in form else form)
    while os.path.lexists(path):
        path = path.with_name(f"{number}")
        place, number = path.parent, number + 1
    return path


def _lay(path: Path, maker: _Maker, donor: Path, random: Generator) -> None:
    if maker.kind == "pipe":
        os.mkfifo(path)
    elif maker.kind == "link":
        path.symlink_to(os.path.relpath(donor, path.parent))
    else:
        path.write_bytes(maker.content(donor.read_bytes(), random))
