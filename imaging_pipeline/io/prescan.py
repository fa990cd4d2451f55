"""A strict, quick reader of DICOM headers: whether a file is to be believed, and what it says.

Nothing is allocated on a file's word. Every length is held against the bytes
that are there before it is followed; only files without a fault are handed to
pydicom and the decoders.

Source: DICOM PS3.5 (encoding) and PS3.10 (file format); CVE-2019-11687 (preambles that are programs).
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from functools import lru_cache
from pathlib import Path

from imaging_pipeline.errors import Problem
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import BINARY_TAGS, OF_A_SLICE, PLACES, TAGS, Header, decoded

#: Limits of a header worth reading; scanners stay far below each of them.
MAX_DEPTH = 64
MAX_ELEMENTS = 100_000
MAX_HEADER_BYTES = 64 * 2**20
MAX_SIDE = 16_384
MAX_VOXELS = 2**31
MAX_COMPRESSION_RATIO = 1000

#: Layouts remembered for one file size.
MAX_LAYOUTS = 8

#: Holds the header of nearly every CT and MR slice, so that a file costs one read.
FIRST_READ_BYTES = 8192

#: How files are opened: a link is not followed, a pipe not waited for.
PLAINLY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG})

_ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(4\.\d{2,3}|5|1\.98)")
_PROGRAM = re.compile(rb"MZ|\x7fELF|#!|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe")

#: Storage classes of CT, MR, PET, ultrasound, nuclear medicine and X-ray: without pixels they are torn.
_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("1", "1.1", "2", "2.1", "2.2", "3.1", "4", "4.1", "4.4", "6.1", "20", "128", "128.1", "130")
)

_UNDEFINED = 0xFFFFFFFF
_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_BYTES, _ITEM_MARK = b"\xfe\xff\x00\xe0", b"\xe0"
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_LONG_VRS = frozenset(re.findall(b"..", b"OBODOFOLOVOWSQSVUCUNURUTUV"))
_SHORT_VRS = frozenset(re.findall(b"..", b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))


class _FaultError(Exception):
    """A header that cannot be believed: code, what was found, what was expected."""


class _Window:
    """The beginning of a file, longer when asked; without a descriptor the whole of it."""

    __slots__ = ("_descriptor", "buffer", "size")

    def __init__(self, buffer: bytes, size: int, descriptor: int = -1) -> None:
        self.buffer = buffer
        self.size = size
        self._descriptor = descriptor

    def reach(self, end: int) -> bytes:
        """The buffer, with at least `end` bytes."""
        if end > len(self.buffer):
            if end > min(self.size, MAX_HEADER_BYTES):
                raise self._beyond(end)
            have = len(self.buffer)
            self.buffer += self.at(have, max(end, 2 * have) - have)
            if end > len(self.buffer):
                raise self._beyond(end)
        return self.buffer

    def at(self, offset: int, length: int) -> bytes:
        """Some bytes anywhere in the file; fewer at its end."""
        if self._descriptor < 0:
            return self.buffer[offset : offset + length]
        return os.pread(self._descriptor, length, offset)

    def _beyond(self, end: int) -> _FaultError:
        if end <= self.size:
            return _FaultError("E-FILE-LENGTH", f"a header of {end} bytes or more", "a header of at most 64 MiB")
        return _FaultError("E-FILE-TRUNCATED", f"{self.size} bytes", f"at least {end} bytes")


class Scanner:
    """Reads headers, and recognises at a glance a file that is laid out like one it has read.

    The slices of a series differ in values, seldom in tags and lengths. What was
    walked once is kept as a layout; a later file of the same size is compared
    with it whole, and only if it differs walked by itself.
    """

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def scan(self, path: Path | str, subject: str) -> Header:
        """The header of a file; its `fault` is set where the file must not be used.

        Parameters
        ----------
        path
            A regular file; links, devices and pipes are refused without being followed or waited for.
        subject
            How messages name the file.
        """
        try:
            descriptor = os.open(path, PLAINLY)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise _FaultError("E-FILE-NOT-DICOM", "no regular file", "a file")
                window = _Window(os.pread(descriptor, FIRST_READ_BYTES, 0), status.st_size, descriptor)
                return self._header(window, subject)
            finally:
                os.close(descriptor)
        except OSError as error:
            return Header(fault=finding("E-FILE-UNREADABLE", subject, os.strerror(error.errno or 0)))
        except _FaultError as fault:
            return Header(fault=_problem(subject, fault))

    def parse(self, content: bytes, subject: str) -> Header:
        """The header of a file that is already in memory."""
        return self._header(_Window(content, len(content)), subject)

    def _header(self, window: _Window, subject: str) -> Header:
        known = self._layouts.setdefault(window.size, [])
        for place, layout in enumerate(known):
            header = layout.recognise(window)
            if header is not None:
                if place:
                    known.insert(0, known.pop(place))  # neighbours are alike: the latest is tried first
                return header if layout.is_sound and _names_itself(header) else _judged(header, window, subject)
        raw: dict[int, bytes] = {}
        try:
            walk = _Walk(window, raw)
            pixels = walk.data_set()
        except _FaultError as fault:
            return decoded(raw, window.size, (0, 0))._replace(fault=_problem(subject, fault))
        if pixels[1] and walk.syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE) and len(known) < MAX_LAYOUTS:
            known.append(_Layout(walk, pixels))
        return _judged(decoded(raw, window.size, pixels), window, subject)


def inflated(content: bytes, transfer_syntax_uid: str) -> bytes:
    """The bytes in which `Header.pixel_offset` counts: the file's own, or a deflated file's with its data set inflated.

    `content` is a file whose header has no fault.
    """
    if transfer_syntax_uid != DEFLATED_LITTLE:
        return content
    return _Walk(_Window(content, len(content)), {}).window.buffer


class _Walk:
    """One walk through the elements of a file.

    `values` are the places of all values (start, end, tag): what lies between
    them is tags, representations and lengths. `raw` receives the values wanted.
    """

    def __init__(self, window: _Window, raw: dict[int, bytes]) -> None:
        self.window = window
        self.raw = raw
        self.values: list[tuple[int, int, int]] = []
        self._elements = 0
        self._explicit, self._order = True, "<"
        self._start = self._meta()
        self.syntax = raw.get(_TRANSFER_SYNTAX, b"").strip(b"\0 ").decode("latin-1")
        if self.syntax not in NATIVE and not _ENCAPSULATED.fullmatch(self.syntax):
            raise _FaultError("E-FILE-TS", "no known transfer syntax", "a transfer syntax of DICOM PS3.5")
        self._explicit, self._order = self.syntax != IMPLICIT_LITTLE, ">" if self.syntax == EXPLICIT_BIG else "<"
        if self.syntax == DEFLATED_LITTLE:
            self.window = _inflate(window, self._start)

    def _meta(self) -> int:
        size = self.window.size
        if self.window.buffer[128:132] != b"DICM":
            code = "E-FILE-NOT-DICOM" if size else "E-FILE-TRUNCATED"
            raise _FaultError(code, f"{size} bytes without the mark DICM", "a DICOM file")
        offset = 132
        while self.window.reach(min(offset + 2, size))[offset : offset + 2] == b"\2\0":
            offset = self._skipped(*self._head(offset, size), size, 0)
        return offset

    def data_set(self) -> tuple[int, int]:
        """Walk to the pixel data; its offset and length, or zeros at the end of a file without."""
        offset, end = self._start, self.window.size
        self._check_order(offset)
        seen: set[int] = set()
        while offset < end:
            tag, vr, value, length = self._head(offset, end)
            if tag in seen:
                raise _FaultError("E-FILE-DUPTAG", f"the tag {_shown(tag)} twice", "each tag once")
            seen.add(tag)
            if tag in _PIXEL_DATA:
                return value, self._pixels(value, length)
            offset = self._skipped(tag, vr, value, length, end, 0)
        return 0, 0

    def _check_order(self, offset: int) -> None:
        # The first group is 0008: 0800 is the other byte order, whatever the transfer syntax says.
        group = self.window.at(offset, 2)
        if len(group) == 2 and 0 in group and struct.unpack(f"{self._order}H", group)[0] > 0xFF:
            raise _FaultError("E-FILE-TS", "the other byte order", "the byte order of the transfer syntax")

    def _head(self, offset: int, end: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation (b"" if implicit), offset of the value and its length."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise _FaultError("E-FILE-LENGTH", f"more than {MAX_ELEMENTS} elements", "a header within limits")
        buffer = self._reach(offset + 8, end)
        group, element, vr, length = struct.unpack_from(f"{self._order}HH2sH", buffer, offset)
        tag = group << 16 | element
        if not self._explicit or group == 0xFFFE:
            return tag, b"", offset + 8, self._long(buffer, offset + 4)
        if vr in _SHORT_VRS:
            return tag, vr, offset + 8, length
        if vr in _LONG_VRS:
            return tag, vr, offset + 12, self._long(self._reach(offset + 12, end), offset + 8)
        raise _FaultError("E-FILE-TS", f"no value representation at {_shown(tag)}", "what the transfer syntax says")

    def _long(self, buffer: bytes, offset: int) -> int:
        return int(struct.unpack_from(f"{self._order}I", buffer, offset)[0])

    def _reach(self, stop: int, end: int) -> bytes:
        if stop > end:
            code = "E-FILE-TRUNCATED" if end == self.window.size else "E-FILE-LENGTH"
            raise _FaultError(code, f"an element that ends at byte {stop}", f"its end by byte {end}")
        return self.window.reach(stop)

    def _skipped(self, tag: int, vr: bytes, value: int, length: int, end: int, depth: int) -> int:
        """The offset after an element, its value taken if it is wanted, its items walked if it has any."""
        if length == _UNDEFINED:
            return self._unclosed(tag, vr, value, end, depth)
        stop = value + length
        if stop > end:
            raise self._overrun(tag, value, length, end)
        if vr == b"SQ" or (not vr and not tag >> 16 & 1 and self._starts_item(value, stop)):
            return self._sequence(value, stop, depth + 1, closed=True, explicit=self._explicit)
        self.values.append((value, stop, 0 if depth else tag))
        if tag in TAGS and not depth:
            raw = self.window.reach(stop)[value:stop]
            self.raw[tag] = raw[::-1] if self._order == ">" and tag in BINARY_TAGS else raw
        return stop

    def _unclosed(self, tag: int, vr: bytes, value: int, end: int, depth: int) -> int:
        if vr in (b"OB", b"OW") and tag == _PIXEL_DATA[-1]:
            return value + self._fragments(value, end)  # a compressed icon
        if vr not in (b"SQ", b"UN", b"") or tag >> 16 == 0xFFFE:
            raise _FaultError("E-FILE-LENGTH", f"an undefined length at {_shown(tag)}", "a defined length")
        # Unknown representations of undefined length hold implicit items (PS3.5, 6.2.2).
        return self._sequence(value, end, depth + 1, closed=False, explicit=self._explicit and vr == b"SQ")

    def _starts_item(self, value: int, stop: int) -> bool:
        return stop - value >= 8 and self.window.reach(value + 4)[value : value + 4] == _ITEM_BYTES

    def _overrun(self, tag: int, value: int, length: int, end: int) -> _FaultError:
        if not self._explicit and self.window.at(value - 4, 2) in _SHORT_VRS | _LONG_VRS:
            return _FaultError("E-FILE-TS", "value representations", "none, as the transfer syntax says")
        # A file that was cut short lacks no more than it has, or one slice; a length out of all proportion is a lie.
        plausible = end == self.window.size and length <= max(self.window.size, 2**20)
        return _FaultError(
            "E-FILE-TRUNCATED" if plausible else "E-FILE-LENGTH",
            f"{end - value} bytes at {_shown(tag)}",
            f"the {length} bytes it states",
        )

    def _sequence(self, offset: int, end: int, depth: int, *, closed: bool, explicit: bool) -> int:
        """The offset after a sequence, which ends at `end` if it is closed, else at its delimiter."""
        if depth > MAX_DEPTH:
            raise _FaultError("E-FILE-DEPTH", f"sequences nested more than {MAX_DEPTH} deep", "a flatter header")
        outer, self._explicit = self._explicit, explicit
        while not (closed and offset == end):
            tag, _, value, length = self._head(offset, end)
            if tag == _SEQUENCE_END and not closed:
                offset = value
                break
            if tag != _ITEM:
                raise _FaultError("E-FILE-LENGTH", f"{_shown(tag)} where an item begins", "an item")
            offset = self._item(value, length, end, depth)
        self._explicit = outer
        return offset

    def _item(self, offset: int, length: int, end: int, depth: int) -> int:
        stop = end if length == _UNDEFINED else offset + length
        if stop > end:
            raise self._overrun(_ITEM, offset, length, end)
        while offset < stop or length == _UNDEFINED:
            tag, vr, value, size = self._head(offset, stop)
            if tag == _ITEM_END and length == _UNDEFINED:
                return value
            offset = self._skipped(tag, vr, value, size, stop, depth)
        return offset

    def _pixels(self, value: int, length: int) -> int:
        """The length of the pixel data, its fragments included."""
        if (length == _UNDEFINED) == (self.syntax in NATIVE):
            found = "pixels in fragments" if length == _UNDEFINED else "pixels in one piece"
            raise _FaultError("E-FILE-TS", found, "pixels as the transfer syntax says")
        if length == _UNDEFINED:
            return self._fragments(value, self.window.size)
        if value + length > self.window.size:
            raise self._overrun(_PIXEL_DATA[-1], value, length, self.window.size)
        return length

    def _fragments(self, value: int, end: int) -> int:
        offset = value
        while True:
            head = self.window.at(offset, 8)
            if offset + 8 > end or len(head) < 8:
                raise _FaultError("E-FILE-TRUNCATED", f"{self.window.size} bytes", "the end of the pixel data")
            group, element, length = struct.unpack("<HHI", head)
            offset += 8
            if group << 16 | element == _SEQUENCE_END:
                return offset - value
            if group << 16 | element != _ITEM or length == _UNDEFINED:
                raise _FaultError("E-FILE-LENGTH", "something else among the fragments of pixels", "fragments")
            offset += length


class _Layout:
    """Where everything lies in a file that was walked, and what it says, to recognise another one like it.

    Headers are compared as numbers: bits of one file that another does not share are found by one `xor`. A file of
    the same structure as the last one (tags, representations, lengths) is decoded without a walk; one that says the
    same in everything its series has in common, only in what its slice has for itself.
    """

    __slots__ = (
        "_bits",
        "_common",
        "_end",
        "_fields",
        "_items",
        "_marks",
        "_own",
        "_pixels",
        "_structure",
        "_values",
        "is_sound",
    )

    def __init__(self, walk: _Walk, pixels: tuple[int, int]) -> None:
        self._pixels, self._end = pixels, pixels[0]
        structure = bytearray(128) + bytearray(b"\xff") * (self._end - 128)
        common = bytearray(b"\xff") * self._end
        for start, stop, tag in walk.values:
            if tag != _TRANSFER_SYNTAX:
                structure[start:stop] = bytes(stop - start)
            if tag not in TAGS or tag in OF_A_SLICE:
                common[start:stop] = bytes(stop - start)
        self._values = [value for value in walk.values if value[2] in TAGS]
        self._own = [(*PLACES[tag], start, stop) for start, stop, tag in self._values if tag in OF_A_SLICE]
        self._structure, self._common = int.from_bytes(structure, "little"), int.from_bytes(common, "little")
        self._learn(walk.window)
        bare = (self._bits & self._structure).to_bytes(self._end, "little")
        self._marks, self._items = bare.count(_ITEM_MARK), bare.count(_ITEM_BYTES)

    def recognise(self, window: _Window) -> Header | None:
        """The header of a file that differs in values only."""
        end = self._end
        buffer = window.buffer if len(window.buffer) >= end else window.reach(end)
        difference = int.from_bytes(buffer[:end], "little") ^ self._bits
        if difference & self._structure:
            return None
        # A value that may hide a sequence; counting one byte is quicker, and nearly always enough.
        if buffer.count(_ITEM_MARK, 0, end) != self._marks and buffer.count(_ITEM_BYTES, 0, end) != self._items:
            return None
        if difference & self._common:
            self._learn(window)
        fields = self._fields.copy()
        for place, decode, start, stop in self._own:
            fields[place] = decode(buffer[start:stop])
        return Header._make(fields)

    def _learn(self, window: _Window) -> None:
        """Take what a file says for what its series has in common."""
        buffer = window.reach(self._end)
        self._bits = int.from_bytes(buffer[: self._end], "little")
        header = decoded({tag: buffer[start:stop] for start, stop, tag in self._values}, window.size, self._pixels)
        judged = _judged(header, window, "")
        self.is_sound = judged.fault is None and not judged.cautions
        self._fields = list(header)


def _inflate(window: _Window, start: int) -> _Window:
    meta, deflated = window.reach(start)[:start], window.at(start, window.size - start)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data_set = stream.decompress(deflated, MAX_HEADER_BYTES)
    except zlib.error as error:
        raise _FaultError("E-FILE-TRUNCATED", "a damaged deflated stream", "a whole one") from error
    if stream.unconsumed_tail:
        raise _FaultError("E-FILE-LENGTH", "more than 64 MiB once inflated", "a data set of at most 64 MiB")
    if not stream.eof:
        raise _FaultError("E-FILE-TRUNCATED", "a deflated stream without an end", "a whole one")
    return _Window(meta + data_set, len(meta) + len(data_set))


def _judged(header: Header, window: _Window, subject: str) -> Header:
    """The header, with a fault where its parts contradict each other and cautions where they raise doubts."""
    cautions = tuple(_problem(subject, doubt) for doubt in _doubts(header, window))
    if cautions:
        header = header._replace(cautions=cautions)
    try:
        # A file cut short may lack its UIDs too: what it says before its data set tells that it was an image.
        _check_size(
            not _IMAGES.isdisjoint((header.sop_class_uid, header.media_storage_sop_class_uid)),
            header.transfer_syntax_uid in NATIVE,
            header.pixel_length,
            window.size,
            header.rows,
            header.columns,
            header.number_of_frames,
            header.samples_per_pixel,
            header.bits_allocated,
            header.photometric_interpretation,
        )
        _check_identity(header)
    except _FaultError as fault:
        return header._replace(fault=_problem(subject, fault))
    return header


def _names_itself(header: Header) -> bool:
    """Whether a file has its instance UID, the same in its preface."""
    return header.sop_instance_uid == header.media_storage_sop_instance_uid != ""


def _doubts(header: Header, window: _Window) -> list[_FaultError]:
    doubts = []
    if _PROGRAM.match(window.buffer):
        doubts.append(_FaultError("W-FILE-PREAMBLE", "a preamble that starts like a program", "an empty one"))
    if header.media_storage_sop_class_uid != header.sop_class_uid:
        doubts.append(_FaultError("W-FILE-META", "another SOP class in the preface", "that of the data set"))
    elif header.media_storage_sop_instance_uid != header.sop_instance_uid:
        doubts.append(_FaultError("N-FILE-META", "another instance UID in the preface", "that of the data set"))
    return doubts


def _check_identity(header: Header) -> None:
    if not (
        header.sop_class_uid and header.sop_instance_uid and header.study_instance_uid and header.series_instance_uid
    ):
        raise _FaultError("E-FILE-UID", "a missing or malformed UID", "class, instance, study and series UIDs")


@lru_cache(maxsize=1024)
def _check_size(
    image: bool,
    native: bool,
    pixel_bytes: int,
    file_bytes: int,
    rows: int | None,
    columns: int | None,
    frames: float | None,
    samples: int | None,
    bits: int | None,
    photometric: str,
) -> None:
    """Hold the size the header states against the bytes that are there, before anything is allocated."""
    if not pixel_bytes:
        if image or rows is not None or columns is not None:
            raise _FaultError("E-FILE-TRUNCATED", "an image without pixel data", "pixel data")
        return
    if rows is None or columns is None or not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise _FaultError("E-PIX-SIZE", "no valid Rows and Columns", f"1 to {MAX_SIDE}, as unsigned short")
    count = 1 if frames is None else frames
    samples = 1 if samples is None else samples
    if not (count >= 1 and count == int(count) and samples in (1, 3, 4) and bits in (1, 8, 16, 32, 64)):
        raise _FaultError("E-PIX-FORMAT", "frames, samples or bits of no known kind", "those of DICOM PS3.3 C.7.6.3")
    voxels = rows * columns * int(count)
    if voxels > MAX_VOXELS:
        raise _FaultError("E-PIX-SIZE", f"{voxels} pixels", f"at most {MAX_VOXELS}")
    expected = (voxels * samples * bits + 7) // 8
    if photometric == "YBR_FULL_422":
        expected = expected * 2 // 3
    if native and pixel_bytes not in (expected, expected + 1):
        raise _FaultError("E-PIX-SIZE", f"{pixel_bytes} bytes of pixel data", f"{expected} from rows, columns and bits")
    if not native and expected > MAX_COMPRESSION_RATIO * file_bytes:
        raise _FaultError("E-PIX-SIZE", f"{expected} bytes out of {file_bytes}", "compression below 1000 to 1")


_REMEDIES = {
    "E-FILE-NOT-DICOM": "nothing to do if it is no scan",
    "E-FILE-TRUNCATED": "transfer the file again",
    "W-FILE-PREAMBLE": "its pixels are used; find out where the file was altered",
    "N-FILE-META": "nothing to do if the files were de-identified; their data sets are used",
}


def _problem(subject: str, fault: _FaultError) -> Problem:
    code, found, expected = fault.args
    return Problem(code, subject, found, expected, _REMEDIES.get(code, "export the file again from its source"))


def _shown(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
