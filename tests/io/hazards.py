"""The hazard corpus: every kind of bad input and bad luck, each with its one defined outcome, drawn by a seed.

`python -m tests.io.hazards --cases 5000` runs as many, prints what came of them, and fails unless every one had the
outcome defined for it. A case is a small CT series in an orientation, size, place, encoding and naming of its own, and
one hazard; what is true of it is known before it is written.

A hazard is a generator: before its `yield` it changes the slices, after it the files.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import pydicom
from pydicom import uid as uids
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag

from imaging_pipeline.config import Config
from imaging_pipeline.domain.images import Volume
from imaging_pipeline.errors import PipelineError
from imaging_pipeline.io.dicom import SeriesRecord
from imaging_pipeline.io.folder import Index, index, index_document
from imaging_pipeline.io.loaders import load, open_series
from imaging_pipeline.io.sanity import density_problems
from tests.io.build import ct_slice, nested, private, save

SECONDS_PER_CASE = 20
#: Tag values that must never be said aloud.
CANARY = "CANARY"
PIXEL_DATA = struct.pack("<HH", 0x7FE0, 0x0010)
ROWS_TAG = b"\x28\0\x10\0US\x02\0"

ORIENTATIONS = (
    (1, 0, 0, 0, 1, 0),
    (-1, 0, 0, 0, 1, 0),
    (1, 0, 0, 0, -1, 0),
    (1, 0, 0, 0, 0, -1),
    (0, 1, 0, 0, 0, -1),
    (0, 1, 0, 1, 0, 0),
    (0.936117, -0.352, 0, 0.352, 0.936117, 0),
)


@dataclass
class Case:
    """A series about to be written, its truth, and the folder it goes to."""

    draw: random.Random
    folder: Path
    slices: list[FileDataset]
    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    axes: np.ndarray
    origin_lps: np.ndarray
    paths: list[Path] = field(default_factory=list)

    @property
    def inner(self) -> int:
        """A slice that is not the first or last."""
        return self.draw.randrange(1, len(self.slices) - 1)

    def step(self, number: float) -> list[float]:
        """The position of a slice, mm."""
        place = self.origin_lps + number * self.spacing_mm[0] * self.axes[:, 0]
        return [round(float(length), 6) for length in place]

    def rewrite(self, number: int, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of a file that was written."""
        path = self.paths[number]
        path.write_bytes(change(path.read_bytes()))


def drawn(seed: int, folder: Path) -> Case:
    """A series of its own for each seed."""
    draw = random.Random(seed)
    shape = (draw.randrange(6, 10), draw.randrange(33, 42), draw.randrange(33, 48))  # JPEG 2000 needs 32
    spacing = (
        draw.choice((0.625, 1.25, 2.5, 3.0, 5.0)),
        round(draw.uniform(0.4, 1.2), 4),
        round(draw.uniform(0.4, 1.2), 4),
    )
    along, down = np.reshape(draw.choice(ORIENTATIONS), (2, 3)).astype(float)
    axes = np.column_stack([np.cross(along, down), down, along])
    origin = np.array([round(draw.uniform(-300, 300), draw.randrange(4)) for _ in range(3)])
    slice_, row, column = np.indices(shape)
    body = (np.abs(row - shape[1] / 2) < shape[1] / 3) & (np.abs(column - shape[2] / 2) < shape[2] / 3)
    hu = np.where(body, 40 + 3 * slice_ + 2 * row - column, -1000 + column % 9).astype(np.int16)
    case = Case(draw, folder, [], hu, spacing, axes, origin)
    study, signed, intercept = f"1.2.{draw.randrange(10**9)}", draw.random() < 0.5, draw.choice((-1024, -1000, -1050))
    for number in range(shape[0]):
        case.slices.append(_slice(case, number, study, signed=signed, intercept=intercept))
    if draw.random() < 0.25:
        for each in case.slices:
            each.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian
    return case


def _slice(case: Case, number: int, study: str, *, signed: bool, intercept: int) -> FileDataset:
    slice_ = ct_slice(number, case.hu[number])
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, f"{study}.1"
    slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number + 1}"
    slice_.FrameOfReferenceUID = f"{study}.9"
    slice_.PixelSpacing, slice_.SliceThickness = list(case.spacing_mm[1:]), case.spacing_mm[0]
    slice_.ImageOrientationPatient = [float(x) for x in (*case.axes[:, 2], *case.axes[:, 1])]
    slice_.ImagePositionPatient = case.step(number)
    slice_.PatientName, slice_.PatientID = f"{CANARY}^Name", f"{CANARY}-1"
    slice_.RescaleIntercept, slice_.PixelRepresentation = intercept, int(signed)
    slice_.PixelData = (case.hu[number].astype(int) - intercept).astype("<i2").tobytes()
    return slice_


def written(case: Case) -> None:
    """The slices under names and in an order that say nothing."""
    case.folder.mkdir(parents=True, exist_ok=True)
    form = case.draw.choice(("IM{:05}.dcm", "{:x}", "slice ({}).DCM", "a/b/{}.ima", "ü{}"))
    for number in case.draw.sample(range(100, 999), len(case.slices)):
        case.paths.append(case.folder / form.format(number))
        case.paths[-1].parent.mkdir(parents=True, exist_ok=True)
    for slice_, path in zip(case.slices, case.paths, strict=True):
        save(slice_, path)


# ---- Outcomes


@dataclass(frozen=True)
class Outcome:
    """What must come of a hazard: the same numbers, numbers and a word, or no number and a reason.

    `codes` are the words of which one must be said; one of `listed` must be the code of some file that was not used.
    """

    kind: str
    codes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()


SAME = Outcome("same")
SPLIT = Outcome("split", ("W-SERIES-SPLIT",))


def said(*codes: str) -> Outcome:
    """The same numbers, and one of these words."""
    return Outcome("said", codes)


def near(*codes: str) -> Outcome:
    """Numbers that are interpolated or of fewer slices, and one of these words."""
    return Outcome("near", codes)


def refused(*codes: str, listed: str = "") -> Outcome:
    """No number, one of these reasons."""
    return Outcome("refused", codes, tuple(listed.split()))


def beside(code: str) -> Outcome:
    """The same numbers; a file beside them listed by this code."""
    return Outcome("same", (), (code,))


Make = Callable[[Case], Iterator[None]]
HAZARDS: dict[str, tuple[Outcome, Make]] = {}


def hazard(name: str, outcome: Outcome) -> Callable[[Make], Make]:
    """Enter a hazard under its name."""

    def enter(make: Make) -> Make:
        assert name not in HAZARDS, name
        HAZARDS[name] = (outcome, make)
        return make

    return enter


def every(name: str, outcome: Outcome, edit: Callable[[FileDataset, int], object]) -> None:
    """A hazard that befalls every slice."""

    def make(case: Case) -> Iterator[None]:
        for number, slice_ in enumerate(case.slices):
            edit(slice_, number)
        yield

    hazard(name, outcome)(make)


def one(name: str, outcome: Outcome, edit: Callable[[FileDataset, int], object], *, inner: bool = False) -> None:
    """A hazard that befalls one slice, any or an inner one."""

    def make(case: Case) -> Iterator[None]:
        number = case.inner if inner else case.draw.randrange(len(case.slices))
        edit(case.slices[number], number)
        yield

    hazard(name, outcome)(make)


def damaged(name: str, outcome: Outcome, change: Callable[[bytes, random.Random], bytes]) -> None:
    """A hazard that befalls the bytes of one inner file."""

    def make(case: Case) -> Iterator[None]:
        yield
        case.rewrite(case.inner, lambda content: change(content, case.draw))

    hazard(name, outcome)(make)


def laid(name: str, outcome: Outcome, lay: Callable[[Path, Case], object]) -> None:
    """A hazard that lies beside the files."""

    def make(case: Case) -> Iterator[None]:
        yield
        lay(case.folder, case)

    hazard(name, outcome)(make)


def put_text(keyword: str, text: str) -> Callable[[FileDataset, int], object]:
    """Write an attribute's text as it stands, valid or not."""
    value = text.encode() + b" " * (len(text.encode()) % 2)
    tag = Tag(keyword)
    element = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return lambda slice_, number: slice_.__setitem__(tag, element)


def put(**values: object) -> Callable[[FileDataset, int], object]:
    """Set attributes."""
    return lambda slice_, number: [setattr(slice_, keyword, value) for keyword, value in values.items()]


def drop(*keywords: str) -> Callable[[FileDataset, int], object]:
    """Remove attributes."""
    return lambda slice_, number: [delattr(slice_, keyword) for keyword in keywords if keyword in slice_]


# ---- 1 Files and parsing


def _until(part: float) -> Callable[[bytes, random.Random], bytes]:
    return lambda content, draw: content[: int(len(content) * part)]


LOST = refused("E-GEOM-GAP")
_SYNTAX = {"big endian": uids.ExplicitVRBigEndian, "deflated": uids.DeflatedExplicitVRLittleEndian}
_SYNTAX |= {"RLE": uids.RLELossless, "JPEG-LS": uids.JPEGLSLossless, "JPEG 2000": uids.JPEG2000Lossless}


def _encode(slice_: FileDataset, uid: uids.UID) -> None:
    slice_.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    if uid.is_encapsulated:
        slice_.compress(uid, generate_instance_uid=False)
    slice_.file_meta.TransferSyntaxUID = uid
    if uid == uids.ExplicitVRBigEndian:
        slice_.PixelData = np.frombuffer(slice_.PixelData, "<i2").astype(">i2").tobytes()


for _name, _uid in _SYNTAX.items():
    every(f"encoding: {_name}", SAME, lambda slice_, number, uid=_uid: _encode(slice_, uid))

damaged(
    "file: cut in the pixels", refused("E-GEOM-GAP", listed="E-FILE-TRUNCATED"), lambda c, d: c[: -d.randrange(2, 300)]
)
damaged(
    "file: cut in the header", refused("E-GEOM-GAP", listed="E-FILE-TRUNCATED"), lambda c, d: c[: d.randrange(200, 600)]
)
damaged("file: empty", refused("E-GEOM-GAP", listed="E-FILE-TRUNCATED"), lambda c, d: b"")
damaged(
    "file: another mark", refused("E-GEOM-GAP", listed="E-FILE-NOT-DICOM"), lambda c, d: c[:128] + b"DICX" + c[132:]
)
damaged("file: garbage", refused("E-GEOM-GAP", listed="E-FILE-NOT-DICOM"), lambda c, d: d.randbytes(len(c)))
damaged("file: no preface", refused("E-GEOM-GAP", listed="E-FILE-NOT-DICOM"), lambda c, d: c[132:])
damaged(
    "file: a program's preamble",
    said("W-FILE-PREAMBLE"),
    lambda c, d: (
        d.choice((b"MZ", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe")).ljust(128, b"\0") + c[128:]
    ),
)
damaged("file: a TIFF's preamble", SAME, lambda c, d: b"II*\0".ljust(128, b"\0") + c[128:])
damaged("file: a tail after the pixels", SAME, lambda c, d: c + d.randbytes(d.randrange(1, 4000) * 2))


@hazard("file: the last slice cut short", LOST)
def _(case: Case) -> Iterator[None]:
    yield
    case.rewrite(case.draw.choice((0, -1)), _until_half)


def _until_half(content: bytes) -> bytes:
    return content[: int(len(content) * 0.7)]


@hazard("file: the last slice empty", near("W-GEOM-LOST"))
def _(case: Case) -> Iterator[None]:
    yield
    case.rewrite(len(case.slices) - 1, lambda content: b"")
    case.hu = case.hu[:-1]


def _explicit(make: Make) -> Make:
    def explicit(case: Case) -> Iterator[None]:
        for slice_ in case.slices:
            slice_.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        return make(case)

    return explicit


def _element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    if vr in (b"OB", b"SQ", b"UN"):
        return struct.pack("<HH2sHI", group, number, vr, 0, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def spliced(name: str, code: str, change: Callable[[bytes, random.Random], bytes], *, all_files: bool = False) -> None:
    """A hazard in the header's bytes, of one inner file or of all; it is listed with a reason."""

    @_explicit
    def make(case: Case) -> Iterator[None]:
        yield
        for number in range(len(case.paths)) if all_files else (case.inner,):
            case.rewrite(number, lambda content: change(content, case.draw))

    reason = "E-SERIES-DAMAGED" if all_files else "E-GEOM-GAP"
    hazard(name, refused(reason, "E-NOTHING", listed=code))(make)


def before_pixels(*elements: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Put elements right before the pixel data."""
    return lambda content, draw: content.replace(PIXEL_DATA, b"".join(elements) + PIXEL_DATA, 1)


_OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
_OPEN = _element(0x0041, 0x0010, b"SQ", b"", 0xFFFFFFFF) + _OPEN_ITEM
_MANY = b"".join(_element(0x0029 + 2 * (n >> 16), n & 0xFFFF, b"LO", b"") for n in range(100_001))
_EXPLICIT_UID = b"1.2.840.10008.1.2.1\0"
for _where in (False, True):
    _of = "all files" if _where else "one file"
    spliced(
        f"header, {_of}: a length beyond the file",
        "E-FILE-LENGTH",
        before_pixels(_element(0x0029, 0x1010, b"OB", b"", 0xFFFFFFF0)),
        all_files=_where,
    )
    spliced(f"header, {_of}: a sequence never closed", "E-FILE-TRUNCATED", before_pixels(_OPEN), all_files=_where)
    spliced(f"header, {_of}: nested 250 deep", "E-FILE-DEPTH", before_pixels(_OPEN * 250), all_files=_where)
    spliced(
        f"header, {_of}: a tag twice",
        "E-FILE-DUPTAG",
        before_pixels(_element(0x0028, 0x1053, b"DS", b"2 ")),
        all_files=_where,
    )
    spliced(
        f"header, {_of}: a representation of nobody",
        "E-FILE-TS",
        lambda c, d: c.replace(b"\x08\0\x60\0CS", b"\x08\0\x60\0XX"),
        all_files=_where,
    )
    spliced(f"header, {_of}: no rows", "E-PIX-SIZE", lambda c, d: _rows(c, 0), all_files=_where)
    spliced(f"header, {_of}: 65535 rows", "E-PIX-SIZE", lambda c, d: _rows(c, 65535), all_files=_where)
    spliced(f"header, {_of}: a row too many", "E-PIX-SIZE", lambda c, d: _rows(c, 1, more=True), all_files=_where)
    spliced(
        f"header, {_of}: another byte order than stated",
        "E-FILE-TS",
        lambda c, d: c.replace(_EXPLICIT_UID, b"1.2.840.10008.1.2.2\0"),
        all_files=_where,
    )
    spliced(
        f"header, {_of}: implicit stated, explicit written",
        "E-FILE-TS",
        lambda c, d: c.replace(_EXPLICIT_UID, b"1.2.840.10008.1.2\0\0\0"),
        all_files=_where,
    )
    spliced(
        f"header, {_of}: compression stated, none there",
        "E-FILE-TS",
        lambda c, d: c.replace(_EXPLICIT_UID, b"1.2.840.10008.1.2.5\0"),
        all_files=_where,
    )
    spliced(
        f"header, {_of}: a transfer syntax of nobody",
        "E-FILE-TS",
        lambda c, d: c.replace(_EXPLICIT_UID, b"1.2.840.99999.1.2.1\0"),
        all_files=_where,
    )
spliced("header, one file: 100,001 elements", "E-FILE-LENGTH", before_pixels(_MANY))
spliced(
    "header, one file: rows as a long number",
    "E-PIX-SIZE",
    lambda c, d: c.replace(
        ROWS_TAG + c[c.index(ROWS_TAG) + 8 : c.index(ROWS_TAG) + 10],
        b"\x28\0\x10\0UL\x04\0" + c[c.index(ROWS_TAG) + 8 : c.index(ROWS_TAG) + 10] + b"\0\0",
    ),
)


def _rows(content: bytes, rows: int, *, more: bool = False) -> bytes:
    place = content.index(ROWS_TAG) + len(ROWS_TAG)
    rows += struct.unpack_from("<H", content, place)[0] if more else 0
    return content[:place] + struct.pack("<H", rows) + content[place + 2 :]


@hazard("header: implicit written, explicit stated", refused("E-GEOM-GAP", listed="E-FILE-TS"))
def _(case: Case) -> Iterator[None]:
    for slice_ in case.slices:
        slice_.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian
    yield
    case.rewrite(case.inner, _lie)


def _lie(content: bytes) -> bytes:
    # The preface's elements move two bytes on, and its group length with them.
    place = content.index(b"1.2.840.10008.1.2\0")
    head, tail = content[: place - 2], content[place + 18 :]
    length = struct.unpack_from("<I", head, 140)[0] + 2
    return head[:140] + struct.pack("<I", length) + head[144:] + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0" + tail


every("header: nested ten deep", SAME, nested(10))
every("header: a private element of 100 kB", SAME, private(100_000))
one("header: a private element in one slice", SAME, private(5000))
one("header: frames without end", refused("E-GEOM-GAP", listed="E-PIX-SIZE"), put(NumberOfFrames=2**31 - 1), inner=True)
one(
    "header: another instance UID in the preface",
    said("N-FILE-META"),
    lambda s, n: setattr(s.file_meta, "MediaStorageSOPInstanceUID", "1.2.3"),
)
one(
    "header: another class in the preface",
    said("W-FILE-META"),
    lambda s, n: setattr(s.file_meta, "MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.1.4"),
)
one("header: no instance UID", refused("E-GEOM-GAP", listed="E-FILE-UID"), put(SOPInstanceUID=""), inner=True)
one("header: no series UID", refused("E-GEOM-GAP", listed="E-FILE-UID"), put(SeriesInstanceUID=""), inner=True)
every(
    "header: a series UID that is a path",
    refused("E-NOTHING", listed="E-FILE-UID"),
    put_text("SeriesInstanceUID", "../../etc/passwd"),
)
every(
    "header: a study UID of 80 figures",
    refused("E-SERIES-DAMAGED", "E-NOTHING", listed="E-FILE-UID"),
    put_text("StudyInstanceUID", "1." + "7" * 78),
)
one("header: no pixels", refused("E-GEOM-GAP", listed="E-FILE-TRUNCATED"), drop("PixelData"), inner=True)


@hazard("header: a deflated bomb", refused("E-GEOM-GAP", listed="E-FILE-LENGTH"))
def _(case: Case) -> Iterator[None]:
    number = case.inner
    _encode(case.slices[number], uids.DeflatedExplicitVRLittleEndian)
    yield
    case.rewrite(number, _deflated_bomb)


_PACKER = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
_BOMB = b"".join(_PACKER.compress(bytes(2**20)) for _ in range(80)) + _PACKER.flush()


def _deflated_bomb(content: bytes) -> bytes:
    start = content.index(b"1.2.840.10008.1.2.1.99") + 22
    return content[: start + start % 2] + _BOMB


@hazard("header: a deflated stream cut short", refused("E-GEOM-GAP", listed="E-FILE-TRUNCATED"))
def _(case: Case) -> Iterator[None]:
    number = case.inner
    _encode(case.slices[number], uids.DeflatedExplicitVRLittleEndian)
    yield
    case.rewrite(number, lambda content: content[:-50])


# ---- Pixels

for _keyword, _value in (
    ("BitsStored", 17),
    ("BitsStored", 0),
    ("BitsStored", 1),
    ("HighBit", 11),
    ("PixelRepresentation", 2),
    ("PhotometricInterpretation", "MONOCHROME1"),
    ("PhotometricInterpretation", "RGB"),
    ("PhotometricInterpretation", "PALETTE COLOR"),
    ("PhotometricInterpretation", ""),
):
    every(f"pixels: {_keyword} {_value}", refused("E-PIX-FORMAT"), put(**{_keyword: _value}))
every(
    "pixels: eight bits allocated",
    refused("E-SERIES-DAMAGED", "E-NOTHING", listed="E-PIX-SIZE"),
    put(BitsAllocated=8, BitsStored=8, HighBit=7),
)
every("pixels: three samples", refused("E-SERIES-DAMAGED", "E-NOTHING", listed="E-PIX-SIZE"), put(SamplesPerPixel=3))
every(
    "pixels: 12 bits allocated", refused("E-SERIES-DAMAGED", "E-NOTHING", listed="E-PIX-FORMAT"), put(BitsAllocated=12)
)


@hazard("pixels: overlay in the unused bits", SAME)
def _(case: Case) -> Iterator[None]:
    for slice_ in case.slices:
        slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 12, 11, 0
        stored = np.frombuffer(slice_.PixelData, "<u2")
        slice_.PixelData = (stored & 0x0FFF | case.draw.choice((0xA000, 0xF000, 0x1000))).astype("<u2").tobytes()
    yield


@hazard("pixels: signed in some slices only", SAME)
def _(case: Case) -> Iterator[None]:
    for slice_ in case.slices:
        slice_.PixelRepresentation = case.draw.randrange(2)
    yield


@hazard("pixels: a byte of padding", SAME)
def _(case: Case) -> Iterator[None]:
    for number, slice_ in enumerate(case.slices):
        slice_.Columns -= 1 - case.hu.shape[2] % 2
        case.slices[number].PixelData = (
            (case.hu[number, :, : slice_.Columns].astype(int) - int(slice_.RescaleIntercept)).astype("<i2").tobytes()
        )
    case.hu = case.hu[:, :, : case.slices[0].Columns]
    yield


def broken_stream(name: str, uid: uids.UID, change: Callable[[bytes, random.Random], bytes], *codes: str) -> None:
    """Compressed pixels of one slice that no decoder can make sense of."""

    def make(case: Case) -> Iterator[None]:
        for slice_ in case.slices:
            _encode(slice_, uid)
        number = case.inner
        fragments = case.slices[number].PixelData
        case.slices[number].PixelData = change(fragments, case.draw)
        yield

    hazard(f"pixels: {name}", refused(*(codes or ("E-PIX-DECODE",))))(make)


def _stream(fragments: bytes) -> int:
    """Where the first frame's bytes begin: behind the offset table and the item's head."""
    return 8 + struct.unpack_from("<I", fragments, 4)[0] + 8


broken_stream(
    "RLE without segments", uids.RLELossless, lambda f, d: f[: _stream(f)] + b"\0\0\0\0" + f[_stream(f) + 4 :]
)
broken_stream(
    "RLE of 15 segments", uids.RLELossless, lambda f, d: f[: _stream(f)] + b"\x0f\0\0\0" + f[_stream(f) + 4 :]
)
broken_stream(
    "RLE offsets beyond the stream",
    uids.RLELossless,
    lambda f, d: f[: _stream(f) + 8] + b"\xff\xff\xff\x7f" + f[_stream(f) + 12 :],
)
broken_stream("JPEG-LS of another size", uids.JPEGLSLossless, lambda f, d: _jpeg_rows(f))
broken_stream(
    "JPEG-LS is noise",
    uids.JPEGLSLossless,
    lambda f, d: f[: _stream(f)] + d.randbytes(len(f) - _stream(f) - 8) + f[-8:],
)
broken_stream(
    "JPEG-LS is empty",
    uids.JPEGLSLossless,
    lambda f, d: f[: _stream(f) - 4] + b"\0\0\0\0" + f[-8:],
    "E-PIX-DECODE",
    "E-GEOM-GAP",
)
broken_stream("JPEG 2000 of another size", uids.JPEG2000Lossless, lambda f, d: _j2k_rows(f))
broken_stream(
    "JPEG 2000 is noise",
    uids.JPEG2000Lossless,
    lambda f, d: f[: _stream(f)] + d.randbytes(len(f) - _stream(f) - 8) + f[-8:],
)
broken_stream("fragments without an end", uids.RLELossless, lambda f, d: f[:-8], "E-GEOM-GAP", "E-PIX-DECODE")
broken_stream(
    "a fragment longer than the file",
    uids.RLELossless,
    lambda f, d: f[: _stream(f) - 4] + b"\xff\xff\xff\x0f" + f[_stream(f) :],
    "E-GEOM-GAP",
)


def _jpeg_rows(fragments: bytes) -> bytes:
    place = fragments.index(b"\xff\xf7") + 5
    return fragments[:place] + b"\xff\xff\xff\xff" + fragments[place + 4 :]


def _j2k_rows(fragments: bytes) -> bytes:
    place = fragments.index(b"\xff\x4f\xff\x51") + 8
    return fragments[:place] + b"\0\0\xff\xff\0\0\xff\xff" + fragments[place + 8 :]


@hazard("pixels: a bomb of RLE", refused("E-GEOM-GAP", listed="E-PIX-SIZE"))
def _(case: Case) -> Iterator[None]:
    number = case.inner
    _encode(case.slices[number], uids.RLELossless)
    case.slices[number].Rows = case.slices[number].Columns = 16384
    yield


# ---- 2 File system


def _free(folder: Path, case: Case, suffix: str = "") -> Path:
    return folder / f"junk{case.draw.randrange(10**6)}{suffix}"


laid("disk: a pipe", beside("W-FS-SKIPPED"), lambda f, c: os.mkfifo(_free(f, c, ".dcm")))
laid("disk: a link to a slice", beside("W-FS-SKIPPED"), lambda f, c: _free(f, c, ".dcm").symlink_to(c.paths[0]))
laid("disk: a link that goes round", beside("W-FS-SKIPPED"), lambda f, c: _free(f, c).symlink_to(f))
laid("disk: a link out of the folder", beside("W-FS-SKIPPED"), lambda f, c: _free(f, c).symlink_to("/etc/passwd"))
laid("disk: a link to a device", beside("W-FS-SKIPPED"), lambda f, c: _free(f, c, ".dcm").symlink_to("/dev/zero"))
laid("disk: a folder named like a file", SAME, lambda f, c: _free(f, c, ".dcm").mkdir())
laid("disk: text", beside("E-FILE-NOT-DICOM"), lambda f, c: _free(f, c, ".txt").write_text("words\n" * 50))
laid("disk: noise", beside("E-FILE-NOT-DICOM"), lambda f, c: _free(f, c, ".bin").write_bytes(c.draw.randbytes(9000)))
laid("disk: an empty file", beside("E-FILE-TRUNCATED"), lambda f, c: _free(f, c, ".tmp").touch())
laid(
    "disk: a module that would be imported",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: (f / "numpy.py").write_text("raise SystemExit(9)\n" * 20),
)
laid(
    "disk: a hidden file", beside("E-FILE-NOT-DICOM"), lambda f, c: (f / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" * 200)
)
laid(
    "disk: a zip that slips",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: _free(f, c, ".zip").write_bytes(_zip("../../slip.dcm", b"x" * 500)),
)
laid(
    "disk: a zip bomb",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: _free(f, c, ".zip").write_bytes(_zip("a.dcm", bytes(10**7))),
)
laid(
    "disk: a picture",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: _free(f, c, ".jpg").write_bytes(b"\xff\xd8\xff\xe0" + c.draw.randbytes(900)),
)
laid(
    "disk: a name with escapes",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: (f / "a\x1b[31m\nb\u202e.txt").write_text("words" * 50),
)
laid(
    "disk: a name that is no text",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: Path(os.fsdecode(os.fsencode(f) + b"/\xff\xfe.txt")).write_text("words" * 50),
)
laid(
    "disk: a name of 255 bytes",
    beside("E-FILE-NOT-DICOM"),
    lambda f, c: (f / ("n" * 251 + ".txt")).write_text("words" * 50),
)
laid("disk: a report among the scans", SAME, lambda f, c: _document(f, c))
laid("disk: a directory file", beside("N-FS-DICOMDIR"), lambda f, c: _directory_file(f / "DICOMDIR", "IMAGES\\IM1"))
laid(
    "disk: a directory file that leads out",
    beside("N-FS-DICOMDIR"),
    lambda f, c: _directory_file(f / "DICOMDIR", "..\\..\\ETC\\PASSWD"),
)


def _zip(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def _document(folder: Path, case: Case) -> None:
    slice_ = pydicom.dcmread(case.paths[0])
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if keyword in slice_:
            delattr(slice_, keyword)
    slice_.Modality, slice_.SeriesInstanceUID = "SR", f"{slice_.StudyInstanceUID}.77"
    slice_.SOPClassUID = slice_.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"{slice_.StudyInstanceUID}.77.1"
    save(slice_, folder / "report.sr")


def _directory_file(path: Path, file_id: str) -> None:
    slice_ = ct_slice(0, np.zeros((2, 2), np.int16))
    directory = pydicom.Dataset()
    directory.file_meta, directory.preamble = slice_.file_meta, bytes(128)
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    record = pydicom.Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", file_id.split("\\")
    directory.DirectoryRecordSequence = [record]
    save(directory, path)


@hazard("disk: folders 30 deep", SAME)
def _(case: Case) -> Iterator[None]:
    case.folder = case.folder.joinpath(*(str(number) for number in range(30)))
    yield


@hazard("disk: slices without an extension in many folders", SAME)
def _(case: Case) -> Iterator[None]:
    yield
    for number, path in enumerate(case.paths):
        (case.folder / f"part{number}").mkdir()
        path.rename(case.folder / f"part{number}" / "IMAGE")


# ---- 3 Geometry and stack


@hazard("stack: instance numbers in another order", SAME)
def _(case: Case) -> Iterator[None]:
    for slice_, number in zip(case.slices, case.draw.sample(range(99), len(case.slices)), strict=True):
        slice_.InstanceNumber = number
    yield


every("stack: one instance number for all", SAME, put(InstanceNumber=1))
every("stack: no instance numbers", SAME, drop("InstanceNumber"))
every("stack: no frame of reference", SAME, drop("FrameOfReferenceUID"))
every("stack: a slice location that lies", SAME, lambda s, n: setattr(s, "SliceLocation", 100 - 7 * n))


@hazard("stack: slices missing", refused("E-GEOM-GAP"))
def _(case: Case) -> Iterator[None]:
    del case.slices[case.inner]
    yield


@hazard("stack: exact copies", said("N-FILE-COPY"))
def _(case: Case) -> Iterator[None]:
    yield
    for path in case.draw.sample(case.paths, case.draw.randrange(1, len(case.paths))):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))


@hazard("stack: a copy with a program's preamble", said("N-FILE-COPY"))
def _(case: Case) -> Iterator[None]:
    yield
    path = case.draw.choice(case.paths)
    path.with_name("0" + path.name).write_bytes(b"MZ" + path.read_bytes()[2:])


@hazard("stack: copies under other names", said("N-FILE-COPY", "W-SERIES-SPLIT"))
def _(case: Case) -> Iterator[None]:
    twin = _again(case.slices[case.inner])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = "1.2.9.9"
    case.slices.append(twin)
    yield


@hazard("stack: one UID, two contents", refused("E-UID-CONFLICT"))
def _(case: Case) -> Iterator[None]:
    twin = _again(case.slices[case.inner])
    twin.PixelData = twin.PixelData[::-1]
    case.slices.append(twin)
    yield


@hazard("stack: two images at one place", refused("E-GEOM-AMBIGUOUS"))
def _(case: Case) -> Iterator[None]:
    twin = _again(case.slices[case.inner])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = "1.2.9.9"
    twin.PixelData = twin.PixelData[::-1]
    case.slices.append(twin)
    yield


def _again(slice_: FileDataset) -> FileDataset:
    stream = io.BytesIO()
    save(slice_, stream)
    stream.seek(0)
    return pydicom.dcmread(stream)


def doubled(name: str, edit: Callable[[FileDataset], object], outcome: Outcome = SPLIT) -> None:
    """Two stacks in one series, told apart by an attribute."""

    def make(case: Case) -> Iterator[None]:
        for number, slice_ in enumerate(list(case.slices)):
            other = _again(slice_)
            other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"1.2.8.{number}"
            edit(other)
            other.PixelData = (np.frombuffer(other.PixelData, "<i2") + 1).astype("<i2").tobytes()
            case.slices.append(other)
        yield

    hazard(f"stack: two {name}", outcome)(make)


doubled("acquisitions", lambda s: setattr(s, "AcquisitionNumber", 2))
doubled("kernels", lambda s: setattr(s, "ConvolutionKernel", "B70"))
doubled("contrasts", lambda s: setattr(s, "ContrastBolusAgent", "IODINE"))
doubled("phases", lambda s: setattr(s, "TemporalPositionIdentifier", 2))
doubled("trigger times", lambda s: setattr(s, "TriggerTime", 300))
doubled("kinds of image", lambda s: setattr(s, "ImageType", ["DERIVED", "PRIMARY", "MPR"]))
doubled("frames of reference", lambda s: setattr(s, "FrameOfReferenceUID", "1.2.7"))
doubled("stacks that nothing tells apart", lambda s: None, refused("E-GEOM-AMBIGUOUS"))


@hazard("stack: a scout inside", SPLIT)
def _(case: Case) -> Iterator[None]:
    scout = _again(case.slices[0])
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = "1.2.9.9"
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [float(x) for x in (*case.axes[:, 1], *case.axes[:, 0])]
    case.slices.append(scout)
    yield


@hazard("stack: another matrix inside", SPLIT)
def _(case: Case) -> Iterator[None]:
    other = _again(case.slices[0])
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.9.9"
    other.Rows, other.PixelData = other.Rows * 2, other.PixelData * 2
    case.slices.append(other)
    yield


@hazard("stack: an orientation that changes", Outcome("no silent number", ("W-SERIES-SPLIT", "E-GEOM-GAP")))
def _(case: Case) -> Iterator[None]:
    for slice_ in case.slices[len(case.slices) // 2 :]:
        slice_.ImageOrientationPatient = [float(x) for x in (*case.axes[:, 1], *case.axes[:, 0])]
    yield


def moved(
    name: str, outcome: Outcome, offset: Callable[[Case, int], float], axis: int, *, all_slices: bool = False
) -> None:
    """Slices displaced along the normal (0), the rows (1) or the columns (2), mm."""

    def make(case: Case) -> Iterator[None]:
        chosen = range(len(case.slices)) if all_slices else (case.inner,)
        for number in chosen:
            place = np.array(case.step(number)) + offset(case, number) * case.axes[:, axis]
            case.slices[number].ImagePositionPatient = [round(float(length), 6) for length in place]
        yield

    hazard(f"stack: {name}", outcome)(make)


def _sign(case: Case) -> int:
    return case.draw.choice((-1, 1))


moved("a slice beside the others", refused("E-GEOM-SHIFT"), lambda c, n: _sign(c) * c.draw.uniform(0.4, 30), 2)
moved("a slice above the others", refused("E-GEOM-SHIFT"), lambda c, n: _sign(c) * c.draw.uniform(0.4, 30), 1)
moved("drift within a twentieth of a millimetre", SAME, lambda c, n: _sign(c) * 0.04, 2)
moved("a spacing noisy by half a percent", SAME, lambda c, n: _sign(c) * 0.004 * c.spacing_mm[0], 0)
moved("a spacing off by five percent", near("W-GEOM-UNEVEN"), lambda c, n: _sign(c) * 0.05 * c.spacing_mm[0], 0)
moved("a spacing off by a quarter", refused("E-GEOM-UNEVEN"), lambda c, n: _sign(c) * 0.25 * c.spacing_mm[0], 0)
moved(
    "a spacing that grows",
    refused("E-GEOM-UNEVEN", "E-GEOM-GAP"),
    lambda c, n: 0.15 * n * n * c.spacing_mm[0],
    0,
    all_slices=True,
)
moved("a gantry tilted beyond any", refused("E-GEOM-TILT"), lambda c, n: 0.9 * n * c.spacing_mm[0], 1, all_slices=True)
moved("a gantry tilted", near("W-GEOM-TILT"), lambda c, n: 0.3 * n * c.spacing_mm[0], 1, all_slices=True)
moved("a gantry tilted by a twentieth of a degree", SAME, lambda c, n: 0.0008 * n * c.spacing_mm[0], 1, all_slices=True)

_SPACING = refused("E-GEOM-SPACING")
every("spacing: none", _SPACING, drop("PixelSpacing"))
every("spacing: zero", _SPACING, put(PixelSpacing=[0, 0.8]))
every("spacing: negative", _SPACING, put(PixelSpacing=[-0.7, 0.8]))
every("spacing: a metre", _SPACING, put(PixelSpacing=[1000, 1000]))
every("spacing: a micrometre", _SPACING, put(PixelSpacing=[0.001, 0.001]))
every("spacing: one number", _SPACING, put_text("PixelSpacing", "0.7"))
every("spacing: three numbers", _SPACING, put_text("PixelSpacing", "0.7\\0.7\\0.7"))
every("spacing: not a number", _SPACING, put_text("PixelSpacing", "nan\\nan"))
every("spacing: infinite", _SPACING, put_text("PixelSpacing", "inf\\inf"))
every("spacing: words", _SPACING, put_text("PixelSpacing", "small\\small"))
every("spacing: a decimal comma", _SPACING, put_text("PixelSpacing", "0,7\\0,7"))
every(
    "spacing: the detector's only",
    _SPACING,
    lambda s, n: (delattr(s, "PixelSpacing"), setattr(s, "ImagerPixelSpacing", [0.7, 0.7])),
)
one("spacing: another in one slice", _SPACING, put(PixelSpacing=[0.3, 0.31]))
one("spacing: none in one slice", _SPACING, drop("PixelSpacing"))
every(
    "thickness: not the spacing",
    said("W-GEOM-THICKNESS"),
    lambda s, n: setattr(s, "SliceThickness", float(s.SliceThickness) * 0.5),
)
every(
    "thickness: far more than the spacing",
    said("W-GEOM-THICKNESS"),
    lambda s, n: setattr(s, "SliceThickness", float(s.SliceThickness) * 4),
)
every(
    "thickness: overlapping slices",
    said("N-GEOM-OVERLAP"),
    lambda s, n: setattr(s, "SliceThickness", float(s.SliceThickness) * 2),
)
every("thickness: none", SAME, drop("SliceThickness"))
every("thickness: a stated spacing that lies", said("W-GEOM-THICKNESS"), put(SpacingBetweenSlices=0.1))
every(
    "thickness: a stated spacing with a sign",
    SAME,
    lambda s, n: setattr(s, "SpacingBetweenSlices", -float(s.SliceThickness)),
)

for _edit_name, _edit in (
    ("none", drop("ImagePositionPatient")),
    ("empty", put(ImagePositionPatient=None)),
    ("not a number", put_text("ImagePositionPatient", "1\\2\\nan")),
    ("infinite", put_text("ImagePositionPatient", "1\\inf\\3")),
    ("two numbers", put_text("ImagePositionPatient", "1\\2")),
    ("words", put_text("ImagePositionPatient", "left\\back\\up")),
    ("beyond the scanner's room", put_text("ImagePositionPatient", "1e15\\0\\0")),
):
    one(f"position: {_edit_name}", refused("E-GEOM-POS"), _edit)
every("position: the same for all", SPLIT, put(ImagePositionPatient=[1, 2, 3]))
every(
    "position: the same for all, at one time",
    refused("E-GEOM-AMBIGUOUS"),
    put(ImagePositionPatient=[1, 2, 3], ContentTime="120000"),
)
for _edit_name, _edit in (
    ("none", drop("ImageOrientationPatient")),
    ("zeros", put(ImageOrientationPatient=[0] * 6)),
    ("not a number", put_text("ImageOrientationPatient", "nan\\0\\0\\0\\1\\0")),
    ("three numbers", put_text("ImageOrientationPatient", "1\\0\\0")),
    ("not perpendicular", put(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0])),
    ("not unit vectors", put(ImageOrientationPatient=[2, 0, 0, 0, 2, 0])),
    ("one vector twice", put(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
):
    every(f"orientation: {_edit_name}", refused("E-GEOM-ORIENT"), _edit)
one("orientation: none in one slice", refused("E-GEOM-ORIENT"), drop("ImageOrientationPatient"))
every("orientation: a mosaic", said("W-GEOM-MOSAIC"), put(ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"]))


@hazard("stack: one slice", near("W-GEOM-SINGLE"))
def _(case: Case) -> Iterator[None]:
    case.slices, case.hu = case.slices[:1], case.hu[:1]
    yield


@hazard("stack: one slice without a thickness", refused("E-GEOM-SINGLE"))
def _(case: Case) -> Iterator[None]:
    case.slices = case.slices[:1]
    del case.slices[0].SliceThickness
    yield


@hazard("stack: two slices", near("W-GEOM-FEW"))
def _(case: Case) -> Iterator[None]:
    case.slices, case.hu = case.slices[:2], case.hu[:2]
    yield


@hazard("multi-frame: frames in another order", SAME)
def _(case: Case) -> Iterator[None]:
    order = case.draw.sample(range(len(case.slices)), len(case.slices))
    case.slices = [_enhanced(case, order)]
    yield


@hazard("multi-frame: a rescale to something else than HU", said("W-HU-TYPE"))
def _(case: Case) -> Iterator[None]:
    file = _enhanced(case, list(range(len(case.slices))))
    file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = "ED"
    case.slices = [file]
    yield


@hazard("multi-frame: a frame without a place", refused("E-GEOM-POS", "E-UNSUPPORTED"))
def _(case: Case) -> Iterator[None]:
    file = _enhanced(case, list(range(len(case.slices))))
    del file.PerFrameFunctionalGroupsSequence[case.inner].PlanePositionSequence
    case.slices = [file]
    yield


@hazard("multi-frame: fewer places than frames", refused("E-UNSUPPORTED"))
def _(case: Case) -> Iterator[None]:
    file = _enhanced(case, list(range(len(case.slices))))
    del file.PerFrameFunctionalGroupsSequence[-1]
    case.slices = [file]
    yield


def _enhanced(case: Case, order: list[int]) -> FileDataset:
    first = case.slices[0]
    file = _again(first)
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    shared, frames = pydicom.Dataset(), []
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence[0].PixelSpacing = first.PixelSpacing
    shared.PixelMeasuresSequence[0].SliceThickness = first.SliceThickness
    shared.PixelValueTransformationSequence = [pydicom.Dataset()]
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        setattr(shared.PixelValueTransformationSequence[0], keyword, first[keyword].value)
    for number in order:
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = case.slices[number].ImagePositionPatient
        frames.append(frame)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(file, keyword)
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], frames
    file.NumberOfFrames = len(order)
    file.PixelData = b"".join(case.slices[number].PixelData for number in order)
    return file


# ---- 4 Intensity, identity, time


@hazard("rescale: of each slice's own", SAME)
def _(case: Case) -> Iterator[None]:
    for number, slice_ in enumerate(case.slices):
        slice_.RescaleIntercept, slice_.PixelRepresentation = -1100 - 7 * number, 0
        slice_.PixelData = (case.hu[number].astype(int) - int(slice_.RescaleIntercept)).astype("<u2").tobytes()
    yield


@hazard("rescale: by half units", SAME)
def _(case: Case) -> Iterator[None]:
    for number, slice_ in enumerate(case.slices):
        slice_.RescaleSlope, slice_.RescaleIntercept = 0.5, -1024
        slice_.PixelData = ((case.hu[number].astype(int) + 1024) * 2).astype("<i2").tobytes()
    yield


_RESCALE = refused("E-HU-RESCALE")
for _edit_name, _edit in (
    ("none", drop("RescaleSlope", "RescaleIntercept")),
    ("no slope", drop("RescaleSlope")),
    ("no intercept", drop("RescaleIntercept")),
    ("a slope of zero", put(RescaleSlope=0)),
    ("a negative slope", put(RescaleSlope=-1)),
    ("not a number", put_text("RescaleSlope", "nan")),
    ("infinite", put_text("RescaleIntercept", "-inf")),
    ("words", put_text("RescaleIntercept", "many")),
    ("beyond all scales", put_text("RescaleSlope", "3e38")),
):
    every(f"rescale: {_edit_name}", _RESCALE, _edit)
    one(f"rescale: {_edit_name} in one slice", _RESCALE, _edit)
every("rescale: to something else than HU", said("W-HU-TYPE"), put(RescaleType="US"))
every(
    "density: all off by a thousand",
    Outcome("odd", ("W-HU-OFFSET",)),
    lambda s, n: setattr(s, "RescaleIntercept", int(s.RescaleIntercept) - 1000),
)
one(
    "density: one slice off by 400",
    Outcome("odd", ("W-HU-JUMP", "W-SERIES-MIXED")),
    lambda s, n: setattr(s, "RescaleIntercept", int(s.RescaleIntercept) + 400),
    inner=True,
)
every("density: lossy compression", said("W-PIX-LOSSY"), put(LossyImageCompression="01"))
one("technique: another kernel in one slice", said("W-SERIES-MIXED"), put(ConvolutionKernel="B70"))
one("technique: another kVp in one slice", said("W-SERIES-MIXED"), put(KVP=80))
one("technique: contrast in one slice", said("W-SERIES-MIXED"), put(ContrastBolusAgent="IODINE"))


@hazard("density: padding around the field of view", said("N-PIX-PADDING"))
def _(case: Case) -> Iterator[None]:
    for slice_ in case.slices:
        stored = np.frombuffer(slice_.PixelData, "<i2").reshape(slice_.Rows, slice_.Columns).copy()
        slice_.PixelRepresentation, slice_.PixelPaddingValue = 1, -2000
        stored[:4] = -2000
        slice_.PixelData = stored.tobytes()
    case.hu[:, :4] = -1000
    yield


one("patient: another in one slice", refused("E-PAT-MIX"), put(PatientID="OTHER"))
one("patient: another birth date in one slice", refused("E-PAT-MIX"), put(PatientBirthDate="19660606"))
one("patient: another sex in one slice", refused("E-PAT-MIX"), put(PatientSex="M"))
one("patient: another name in one slice", refused("E-PAT-MIX"), put(PatientName="Roe^Richard"))
one("patient: a name spelt differently", SAME, put(PatientName=f"{CANARY} NAME"))
one("patient: no identity in one slice", SAME, put(PatientID=""))
one("patient: blanks around the identity", SAME, put(PatientID=f" {CANARY}-1 "))
one("patient: no birth date in one slice", SAME, put(PatientBirthDate=""))
for _day_name, _day in (
    ("the thirtieth of February", "20230230"),
    ("in the future", "29990101"),
    ("before birth", "19530101"),
    ("words", "yesterday"),
    ("zeros", "00000000"),
):
    every(f"date: {_day_name}", refused("E-DATE"), put_text("AcquisitionDate", _day))
every("date: none", refused("E-DATE"), drop("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"))
every("date: another study date", said("W-DATE"), put(StudyDate="20190101"))
every("date: a time zone", SAME, put(TimezoneOffsetFromUTC="+1400"))
every("date: written with dots", SAME, lambda s, n: put_text("AcquisitionDate", "2023.05.28")(s, n))

for _modality in ("XX", "", "OT", "CTX"):
    every(f"modality: '{_modality}'", refused("E-UNSUPPORTED"), put(Modality=_modality))

every("private: text said to be in the image", said("W-PHI-BURNED"), put(BurnedInAnnotation="YES"))
every("private: a head", said("W-PHI-FACE"), put(BodyPartExamined="HEAD"))

# ---- 5 Hostile strings

for _hostile_name, _hostile in (
    ("a script", f"<script>{CANARY}</script>"),
    ("a formula", f'=HYPERLINK("http://{CANARY}")'),
    ("escapes", f"\x1b[31m{CANARY}\u202e"),
    ("a template", "{{ " + CANARY + " }}"),
    ("format codes", f"%s%n{CANARY}" + "{0}"),
):
    for _keyword in ("SeriesDescription", "ProtocolName", "ManufacturerModelName", "PatientName"):
        every(f"text: {_hostile_name} in {_keyword}", SAME, put_text(_keyword, _hostile))
every("text: another character set", SAME, put_text("SpecificCharacterSet", "ISO_IR 999"))


# ---- Running


class WrongOutcomeError(AssertionError):
    """A case that came out in another way than defined."""


def run_case(name: str, seed: int, folder: Path) -> None:
    """One hazard befalls one series; its outcome is held against the defined one.

    Raises
    ------
    WrongOutcomeError
        Saying what came out instead.
    """
    outcome, make = HAZARDS[name]
    case = drawn(seed, folder / "scans")
    befalls = make(case)
    with warnings.catch_warnings(action="ignore"):  # those of the library that writes nonsense as told
        next(befalls)
        written(case)
        next(befalls, None)
    found = index(folder / "scans", Config())
    _check(CANARY not in str(index_document(found)), "a tag's value is said aloud")
    listed = {problem.code for problem in found.rejected}
    missing = outcome.listed and listed.isdisjoint(outcome.listed)
    _check(not missing, f"{' or '.join(outcome.listed)} is not listed, but {sorted(listed)}")
    if outcome.kind == "split":
        _check_split(found, outcome)
        return
    try:
        volume, _, problems = open_series(folder / "scans")
    except PipelineError as error:
        codes = {error.problem.code, *_codes(found)}
        _check(outcome.kind in ("refused", "no silent number"), f"needlessly refused: {error}")
        _check(not codes.isdisjoint(outcome.codes), f"refused, but by {sorted(codes)}")
        _check(CANARY not in str(error), "a tag's value in a message")
        return
    codes = {problem.code for problem in problems}
    _check(outcome.kind != "refused", f"measured, with {sorted(codes)}")
    if outcome.kind == "same":
        # A file that is refused and named like the slices beside it may be one.
        needless = {code for code in codes if code.startswith("W-")} - ({"W-GEOM-LOST"} if outcome.listed else set())
        _check(not needless, f"needless words: {sorted(needless)}")
    else:
        _check(not codes.isdisjoint(outcome.codes), f"no word of it, only {sorted(codes)}")
    if outcome.kind in ("same", "said"):
        _check(np.array_equal(volume.array, case.hu), "other densities than the truth")
    if outcome.kind in ("same", "said", "odd"):
        _check_places(volume, case)
    elif "W-GEOM-TILT" not in outcome.codes:
        _check(np.abs(volume.array - case.hu).max() <= 1, "other densities than the truth, by more than 1 HU")


def _codes(found: Index) -> set[str]:
    return {problem.code for record in _records(found) for problem in record.problems}


def _records(found: Index) -> list[SeriesRecord]:
    return [record for patient in found.patients for record in patient.series]


def _check_split(found: Index, outcome: Outcome) -> None:
    """Two records or more, each said to be a part; each that is not refused loads and is what it says."""
    records = [record for record in _records(found) if record.series.modality == "CT"]
    _check(len(records) > 1, "one record, not several")
    _check(not _codes(found).isdisjoint(outcome.codes), f"no word of it, only {sorted(_codes(found))}")
    for record in records:
        if record.verdict != "reject":
            volume = load(record, Config())
            density_problems(volume)
            _check(volume.array.shape[0] == len(record.paths), "another number of slices than files")


def _check_places(volume: Volume, case: Case) -> None:
    grid = volume.grid
    _check(grid.shape == case.hu.shape, f"shape {grid.shape}, not {case.hu.shape}")
    for corner in np.ndindex(2, 2, 2):
        place = np.array(corner) * (np.array(grid.shape) - 1)
        true = case.origin_lps + case.axes @ (place * case.spacing_mm)
        off = float(np.abs(np.array(grid.to_lps(place)) - true).max())
        _check(off < 0.05, f"a corner {off:.3f} mm off")


def _check(good: bool, complaint: str) -> None:
    if not good:
        raise WrongOutcomeError(complaint)


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def campaign(cases: int, folder: Path, first_seed: int = 0) -> list[str]:
    """So many cases, every kind in turn; what went wrong, one line each."""
    wrong = []
    names = list(HAZARDS)
    for number in range(cases):
        name, seed = names[number % len(names)], first_seed + number
        place = folder / str(number)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(SECONDS_PER_CASE)
        try:
            run_case(name, seed, place)
        except WrongOutcomeError as error:
            wrong.append(f"{name}, seed {seed}: {error}")
        except TimeoutError:
            wrong.append(f"{name}, seed {seed}: hangs")
        except Exception:  # noqa: BLE001 - an uncaught exception is what this looks for
            wrong.append(f"{name}, seed {seed}: uncaught {traceback.format_exc(limit=-2)}")
        finally:
            signal.alarm(0)
            shutil.rmtree(place, ignore_errors=True)
    return wrong


def peak_mib() -> float:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run, print, and fail unless all is as defined."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clean = drawn(0, Path(folder) / "clean")
        written(clean)
        open_series(clean.folder)
        before, start = peak_mib(), time.perf_counter()
        warnings.simplefilter("error")
        wrong = campaign(asked.cases, Path(folder), asked.seed)
    kinds = Counter(outcome.kind for outcome, _ in HAZARDS.values())
    print(f"{asked.cases} cases of {len(HAZARDS)} kinds {dict(kinds)} in {time.perf_counter() - start:.0f} s")
    print(f"peak memory: clean {before:.0f} MiB, all {peak_mib():.0f} MiB")
    print(
        "\n".join(wrong)
        or "every one in its defined outcome: none uncaught, hanging, silently wrong or needlessly refused"
    )
    sys.exit(1 if wrong or peak_mib() > before + 512 else 0)


if __name__ == "__main__":
    main()
