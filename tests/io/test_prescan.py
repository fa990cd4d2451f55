"""The header reader: agrees with pydicom on sound files, and believes nothing it cannot check."""

import math
import os
import struct
import time
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from imaging_pipeline.io.header import ATTRIBUTES, Header
from imaging_pipeline.io.prescan import MAX_DEPTH, MAX_ELEMENTS, Scanner
from tests.io.build import ct_slice, density, nested, private, put, put_text, save

#: pydicom reads these, but they contradict themselves or lack what every image has; each is refused with a reason.
REFUSED_BY_NAME = {
    "E-FILE-DUPTAG": {"winter.dcm"},
    "E-FILE-TS": {"SC_rgb_jpeg.dcm", "meta_missing_tsyntax.dcm"},
    "E-PIX-FORMAT": {"badVR.dcm"},
    "E-PIX-SIZE": {"MR_small_padded.dcm", "nested_priv_SQ.dcm"},
    "E-FILE-TRUNCATED": {
        "chrJapMultiExplicitIR6.dcm",
        "chrJapMulti.dcm",
        "chrKoreanMulti.dcm",
        "rtplan_truncated.dcm",
        "MR_truncated.dcm",
        "DICOMDIR-nooffset",
    },
}


def scan(path):
    return Scanner().scan(path, Path(path).name)


def parse(content):
    return Scanner().parse(content, "file")


def shipped_with_pydicom():
    root = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def assert_agrees(path):
    """What the two readers say of one file is the same, or the strict one says why not."""
    header = scan(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = pydicom.dcmread(path)
        except (pydicom.errors.InvalidDicomError, EOFError):
            assert header.fault is not None
            return
        if header.fault is not None:
            lacks_a_uid = header.fault.code == "E-FILE-UID"
            lacks_pixels = header.fault.code == "E-FILE-TRUNCATED" and "PixelData" not in theirs
            known = path.name in REFUSED_BY_NAME.get(header.fault.code, ())
            assert lacks_a_uid or lacks_pixels or known, str(header.fault)
            return
        for tag, (name, _) in ATTRIBUTES.items():
            ours = getattr(header, name)
            theirs_said = in_the_words_of(ours, theirs.file_meta if tag >> 16 == 2 else theirs, tag)
            assert ours == theirs_said or both_nan(ours, theirs_said), f"{path.name}: {keyword_for_tag(tag)}"


def in_the_words_of(ours, dataset, tag):
    """pydicom's value as the header would put it."""
    value = dataset[tag].value if tag in dataset else None
    several = list(value) if isinstance(value, MultiValue) else [] if value in (None, "") else [value]
    if isinstance(ours, tuple):
        return tuple(item.strip() if isinstance(item, str) else float(item) for item in several)
    if tag == 0x00280120 and several:
        return int(several[0]) & 0xFFFF  # signed where the pixels are, which is for the loader to know
    if isinstance(ours, str):
        # Text is only compared, so its character set is not resolved.
        resolved = "\\".join(map(str, several)).strip()
        return resolved if resolved.isascii() else ours
    return float(several[0]) if len(several) == 1 else None if not several else math.nan


def both_nan(ours, theirs):
    return isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours) and math.isnan(theirs)


@pytest.mark.parametrize("path", shipped_with_pydicom(), ids=lambda path: path.name)
def test_agrees_with_pydicom_on_its_own_files(path):
    assert_agrees(path)


def test_agrees_with_pydicom_on_real_scans(real_scans):
    paths = sorted(path for path in real_scans.rglob("*") if path.is_file())
    assert len(paths) > 300
    for path in paths:
        assert_agrees(path)


def written(*edits):
    slice_ = ct_slice(0, density()[0])
    for edit in edits:
        edit(slice_, 0)
    stream = BytesIO()
    save(slice_, stream)
    return stream.getvalue()


def test_the_header_of_a_slice_is_read_whole():
    header = parse(written())
    assert header.fault is None
    assert header.cautions == ()
    assert header.pixel_length == 40 * 48 * 2
    assert header.image_position_patient == (-10.0, -20.0, 30.0)
    assert header.rescale_intercept == -1024.0


def element(group, number, vr, value, length=None):
    length = len(value) if length is None else length
    if vr in (b"OB", b"SQ", b"UN"):
        return struct.pack("<HH2sHI", group, number, vr, 0, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def before_pixels(content, *elements):
    """The same file with elements put in right before its pixel data."""
    place = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    return content[:place] + b"".join(elements) + content[place:]


UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)


#: An item of ten bytes whose only element claims ninety.
SHORT_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 10) + element(0x0008, 0x0005, b"CS", b"..", 90)


def open_sequences(depth):
    """Sequences of undefined length, each within the other, none ever closed."""
    return (element(0x0041, 0x0010, b"SQ", b"", UNDEFINED) + ITEM) * depth


SOUND = written()
DEFLATED = written(
    lambda slice_, number: setattr(slice_.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian)
)

LIES = {
    "nothing": (b"", "E-FILE-TRUNCATED"),
    "text": (b"just a note about this patient" * 10, "E-FILE-NOT-DICOM"),
    "another mark": (SOUND[:128] + b"DICX" + SOUND[132:], "E-FILE-NOT-DICOM"),
    "only a preface": (SOUND[:140], "E-FILE-TRUNCATED"),
    "cut in the header": (SOUND[:700], "E-FILE-TRUNCATED"),
    "cut in the pixels": (SOUND[:-1], "E-FILE-TRUNCATED"),
    "no pixels": (SOUND[: SOUND.index(struct.pack("<HH", 0x7FE0, 0x0010))], "E-FILE-TRUNCATED"),
    "cut between two elements": (SOUND[: SOUND.index(struct.pack("<HH", 0x0028, 0x0002))], "E-FILE-TRUNCATED"),
    "a length beyond all bounds": (
        before_pixels(SOUND, element(0x0029, 0x1010, b"OB", b"", 0xFFFFFFF0)),
        "E-FILE-LENGTH",
    ),
    "a text of undefined length": (
        before_pixels(SOUND, element(0x0029, 0x1010, b"OB", b"", UNDEFINED)),
        "E-FILE-LENGTH",
    ),
    "a sequence that never ends": (before_pixels(SOUND, open_sequences(1)), "E-FILE-TRUNCATED"),
    "sequences without a bottom": (before_pixels(SOUND, open_sequences(300)), "E-FILE-DEPTH"),
    "an element beyond its item": (before_pixels(SOUND, element(0x0041, 0x0010, b"SQ", SHORT_ITEM)), "E-FILE-LENGTH"),
    "elements without end": (
        before_pixels(SOUND, *(element(0x0029 + 2 * (n >> 16), n & 0xFFFF, b"LO", b"") for n in range(MAX_ELEMENTS))),
        "E-FILE-LENGTH",
    ),
    "a tag twice": (before_pixels(SOUND, element(0x0028, 0x0010, b"US", struct.pack("<H", 40))), "E-FILE-DUPTAG"),
    "another byte order than stated": (SOUND.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"), "E-FILE-TS"),
    "another encoding than stated": (SOUND.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"), "E-FILE-TS"),
    "a compression that is not there": (
        SOUND.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
        "E-FILE-TS",
    ),
    "a transfer syntax of nobody": (SOUND.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"), "E-FILE-TS"),
    "a representation of nobody": (SOUND.replace(b"\x08\0\x60\0CS", b"\x08\0\x60\0XX"), "E-FILE-TS"),
    "no rows": (written(put(Rows=0)), "E-PIX-SIZE"),
    "more rows than any image": (written(put(Rows=65535, Columns=65535)), "E-PIX-SIZE"),
    "more pixels than bytes": (written(put(Rows=41)), "E-PIX-SIZE"),
    "rows as a long number": (
        SOUND.replace(b"\x28\0\x10\0US\x02\0\x28\0", b"\x28\0\x10\0UL\x04\0\x28\0\0\0"),
        "E-PIX-SIZE",
    ),
    "frames without end": (written(put(NumberOfFrames=2**31 - 1)), "E-PIX-SIZE"),
    "no instance UID": (written(put(SOPInstanceUID="")), "E-FILE-UID"),
    "a UID that is a path": (written(put_text("SeriesInstanceUID", "../../etc")), "E-FILE-UID"),
    "a deflated stream cut short": (DEFLATED[:-200], "E-FILE-TRUNCATED"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_not_believed(lie):
    content, code = LIES[lie]
    header = parse(content)
    assert header.fault is not None
    assert header.fault.code == code


def test_a_deflated_bomb_is_not_inflated():
    start = DEFLATED.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    began = time.process_time()
    header = parse(DEFLATED[: start + (start % 2)] + bomb)
    assert header.fault is not None
    assert time.process_time() - began < 2.0


def test_a_bomb_of_compressed_pixels_is_not_decoded():
    def tiny(slice_, number):
        slice_.compress(RLELossless, generate_instance_uid=False)
        slice_.Rows = slice_.Columns = 16384

    assert parse(written(tiny)).fault.code == "E-PIX-SIZE"


def test_what_was_read_before_a_fault_still_stands():
    header = parse(SOUND[:-1])
    assert header.fault is not None
    assert header.series_instance_uid == parse(SOUND).series_instance_uid


def test_a_header_longer_than_the_first_read_is_read_on():
    assert parse(written(private(300_000))).fault is None


def test_nesting_within_the_limit_is_read():
    assert parse(written(nested(MAX_DEPTH - 1))).fault is None
    assert parse(written(nested(MAX_DEPTH))).fault.code == "E-FILE-DEPTH"


def test_a_pipe_a_link_and_a_folder_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(SOUND)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert scan(tmp_path / "file").fault is None
    for name in ("pipe", "link", "."):
        assert scan(tmp_path / name).fault is not None


def test_files_of_one_layout_are_told_apart_by_their_values(tmp_path):
    """What recognises a layout must not hide a difference: all values are read anew."""
    scanner = Scanner()
    for number in range(30):
        content = written(put(InstanceNumber=f"{number:02}", ImagePositionPatient=["1.00", "2.00", f"{number:04}"]))
        recognised, alone = scanner.parse(content, "file"), Scanner().parse(content, "file")
        assert recognised == alone
        assert recognised.image_position_patient == (1.0, 2.0, float(number))


def test_a_file_of_known_layout_with_a_fault_is_still_found_out():
    scanner = Scanner()
    assert scanner.parse(SOUND, "file").fault is None
    broken = SOUND.replace(b"\x28\0\x10\0US\x02\0\x28\0", b"\x28\0\x10\0US\x02\0\x27\0")
    assert len(broken) == len(SOUND)
    assert scanner.parse(broken, "file").fault.code == "E-PIX-SIZE"


# ---- Fuzz

HEADER_BYTES = SOUND.index(struct.pack("<HH", 0x7FE0, 0x0010))
FLIPS = st.tuples(st.integers(0, HEADER_BYTES + 12), st.integers(0, 255))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, len(SOUND)))
def test_any_bytes_give_a_header_or_a_reason(noise, place):
    for content in (noise, SOUND[:132] + noise, SOUND[:place] + noise + SOUND[place:], SOUND[:place] + noise):
        assert isinstance(parse(content), Header)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 3841), st.integers(0, 255)), min_size=1, max_size=8), st.booleans()
)
def test_a_file_with_flipped_bytes_never_promises_pixels_it_has_not(flips, warm):
    content = bytearray(SOUND)
    for place, value in flips:
        content[place] = value
    scanner = Scanner()
    if warm:
        scanner.parse(SOUND, "file")
    header = scanner.parse(bytes(content), "file")
    assert header == Scanner().parse(bytes(content), "file") or header.fault is not None
    if header.fault is None and header.pixel_length:
        assert header.pixel_offset + header.pixel_length <= len(content)
        assert header.rows * header.columns * header.bits_allocated // 8 <= header.pixel_length
