"""Stored pixel values out of one file's bytes, whatever its transfer syntax.

A compressed stream states its own size; a decoder allocates what it says. So it
is held against Rows and Columns first, and the number of RLE segments against
the one the pixels need.

Source: DICOM PS3.5 A.4 and G (RLE); ITU-T T.81 B.2.2, T.87 C.2.2, T.800 A.5.1 (frame and SIZ headers).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, RLELossless

from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.header import Header
from imaging_pipeline.io.prescan import EXPLICIT_BIG, NATIVE

#: The quickest plug-in first, by trial; what none of them decodes is refused.
_PLUGINS = ("pyjpegls", "pylibjpeg", "gdcm")

#: Red, green and blue. Source: DICOM PS3.3 C.7.6.3.1.2 (Y of YBR_FULL; ITU-R BT.601).
_LUMINANCE = np.array([0.299, 0.587, 0.114])

_JPEG, _J2K, _JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}

Stored = NDArray[np.int16 | np.uint16]


def stored_pixels(content: bytes, header: Header, subject: str, frame: int = 0) -> Stored:
    """The stored values of one grey frame of 16 allocated bits, (R, C), unused bits cleared.

    Parameters
    ----------
    content
        A whole file, `inflated` if it was deflated.
    header
        What `prescan` read from it, without a fault.

    Raises
    ------
    RefusedError
        When the pixels cannot be decoded, or are not of the size the header states.
    """
    assert header.rows is not None
    assert header.columns is not None
    kind = "i2" if header.pixel_representation else "u2"
    if header.transfer_syntax_uid in NATIVE:
        order = ">" if header.transfer_syntax_uid == EXPLICIT_BIG else "<"
        count = header.rows * header.columns
        stored = np.frombuffer(content, f"{order}{kind}", count, header.pixel_offset + 2 * count * frame)
    else:
        fragments = content[header.pixel_offset :][: header.pixel_length]
        stored = _decoded(fragments, header, subject, frame)
    return _right_justified(stored.astype(kind, copy=False).reshape(header.rows, header.columns), header.bits_stored)


def picture(document: Dataset, header: Header, subject: str, frame: int = 0) -> NDArray[Any]:
    """The values of one frame of a grey or colour image of 8 or 16 bits, (R, C); colour becomes luminance, uint8.

    Parameters
    ----------
    document
        The whole file, its header without a fault.

    Raises
    ------
    RefusedError
        As `stored_pixels`.
    """
    if header.transfer_syntax_uid in NATIVE:
        decoder, plugin = get_decoder(UID(header.transfer_syntax_uid)), ""
    else:
        decoder, plugin = _decoder_of(document.PixelData, header, subject, frame)
    stored = _run(decoder, document, plugin, frame, subject)
    if header.photometric_interpretation == "PALETTE COLOR":
        stored = _coloured(_right_justified(stored, header.bits_stored), document, subject)
    if stored.ndim == 2:
        return _right_justified(stored, header.bits_stored)
    luminance: NDArray[np.uint8] = np.rint(stored @ _LUMINANCE).astype(np.uint8)
    return luminance


def _coloured(stored: NDArray[Any], document: Dataset, subject: str) -> NDArray[np.uint8]:
    """Numbers of a palette as its colours, (R, C, 3)."""
    try:
        colours = apply_color_lut(stored, document)
    except Exception as error:
        raise _refusal(subject, f"a palette that cannot be used ({type(error).__name__})") from error
    # A palette of 16 bits has its colours in the upper eight. Source: DICOM PS3.3 C.7.6.3.1.6.
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize == 2 else colours


def _right_justified(stored: NDArray[Any], bits: int | None) -> NDArray[Any]:
    """Values without what other uses (overlays) left in the bits above them."""
    allocated = 8 * stored.dtype.itemsize
    if bits is None or bits == allocated:
        return stored
    unused = allocated - bits
    right: NDArray[Any] = (stored << unused) >> unused
    return right


def _decoded(fragments: bytes, header: Header, subject: str, number: int) -> NDArray[Any]:
    decoder, plugin = _decoder_of(fragments, header, subject, number)
    options: dict[str, Any] = {
        "pixel_keyword": "PixelData",
        "number_of_frames": int(header.number_of_frames or 1),
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.photometric_interpretation,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": header.pixel_representation,
    }
    return _run(decoder, fragments, plugin, number, subject, raw=True, **options)


def _decoder_of(fragments: bytes, header: Header, subject: str, number: int) -> tuple[Decoder, str]:
    """What decodes a compressed frame whose own header agrees with the file's."""
    try:
        frame = get_frame(fragments, number, number_of_frames=int(header.number_of_frames or 1))
    except Exception as error:
        raise _refusal(subject, "fragments that make no frame") from error
    _check_stream(frame, header, subject)
    try:
        decoder = get_decoder(UID(header.transfer_syntax_uid))
        plugin = next(name for name in _PLUGINS if name in decoder.available_plugins)
    except (NotImplementedError, StopIteration) as error:
        found = f"{UID(header.transfer_syntax_uid).name}, for which no decoder is installed"
        raise _refusal(subject, found) from error
    return decoder, plugin


def _run(
    decoder: Decoder, source: bytes | Dataset, plugin: str, number: int, subject: str, **options: Any
) -> NDArray[Any]:
    try:
        array: NDArray[Any] = decoder.as_array(source, index=number, decoding_plugin=plugin, **options)[0]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders may fail in any way; a panic of one in Rust is no Exception
        raise _refusal(
            subject, f"a stream that {plugin or 'pydicom'} cannot decode ({type(error).__name__})"
        ) from error
    return array


def _check_stream(frame: bytes, header: Header, subject: str) -> None:
    if header.transfer_syntax_uid == RLELossless:
        segments = struct.unpack_from("<I", frame)[0] if len(frame) >= 64 else 0
        needed = (header.samples_per_pixel or 1) * (header.bits_allocated or 16) // 8
        if segments != needed:
            raise _refusal(subject, f"{segments} RLE segments where the pixels need {needed}")
        return
    size = _stated_size(frame)
    if size != (header.rows, header.columns):
        raise _refusal(
            subject, f"a compressed stream of another size ({size})" if size else "no known compressed stream"
        )


def _stated_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the compressed stream's own header; None if it has none."""
    try:
        if frame.startswith(_JPEG):
            return _jpeg_size(frame)
        start = frame.index(_J2K) if frame.startswith(_JP2) else 0
        if frame[start : start + 4] != _J2K:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    except (struct.error, ValueError, IndexError):
        return None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    offset = 2
    while frame[offset] == 0xFF:
        marker, length = frame[offset + 1], struct.unpack_from(">H", frame, offset + 2)[0]
        if marker in _FRAMES:
            rows, columns = struct.unpack_from(">2H", frame, offset + 5)
            return rows, columns
        offset += 2 + length
    return None


def _refusal(subject: str, found: str) -> RefusedError:
    return RefusedError(
        "E-PIX-DECODE",
        subject,
        found=found,
        expected="pixels as the header says",
        remedy="export the file uncompressed",
    )
