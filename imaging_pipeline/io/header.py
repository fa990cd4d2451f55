"""What a DICOM header says, decoded: the attributes the index and the loaders need."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import unwrap
from typing import Any, NamedTuple

from imaging_pipeline.errors import Problem

NAN = float("nan")

_UID = re.compile(r"[0-9.]{1,64}")


class Header(NamedTuple):
    """The header of one file.

    Attributes bear their DICOM keywords; "", () and None are "not stated" (for
    the UIDs that identify the file: or malformed), and a number that is stated
    but cannot be read is NaN (-1 for a binary one).
    `fault` says why the file must not be used; what was read before it still
    stands. `pixel_offset` counts in the inflated stream of a deflated file.
    """

    size: int = 0
    fault: Problem | None = None
    cautions: tuple[Problem, ...] = ()
    pixel_offset: int = 0
    pixel_length: int = 0
    media_storage_sop_class_uid: str = ""
    media_storage_sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    image_type: tuple[str, ...] = ()
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_date: str = ""
    series_date: str = ""
    acquisition_date: str = ""
    content_date: str = ""
    content_time: str = ""
    modality: str = ""
    series_description: str = ""
    manufacturer_model_name: str = ""
    patient_name: str = ""
    patient_id: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    contrast_bolus_agent: str = ""
    body_part_examined: str = ""
    scanning_sequence: tuple[str, ...] = ()
    slice_thickness: float | None = None
    kvp: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    spacing_between_slices: float | None = None
    protocol_name: str = ""
    trigger_time: float | None = None
    imager_pixel_spacing: tuple[float, ...] = ()
    convolution_kernel: tuple[str, ...] = ()
    diffusion_b_value: float | None = None
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    acquisition_number: float | None = None
    image_position_patient: tuple[float, ...] = ()
    image_orientation_patient: tuple[float, ...] = ()
    frame_of_reference_uid: str = ""
    temporal_position_identifier: float | None = None
    samples_per_pixel: int | None = None
    photometric_interpretation: str = ""
    number_of_frames: float | None = None
    rows: int | None = None
    columns: int | None = None
    pixel_spacing: tuple[float, ...] = ()
    bits_allocated: int | None = None
    bits_stored: int | None = None
    high_bit: int | None = None
    pixel_representation: int | None = None
    pixel_padding_value: int | None = None
    rescale_intercept: float | None = None
    rescale_slope: float | None = None
    rescale_type: str = ""
    burned_in_annotation: str = ""
    lossy_image_compression: str = ""
    units: str = ""
    frame_number: int = 0

    @property
    def is_localizer(self) -> bool:
        """Whether the image only shows where slices lie."""
        return "LOCALIZER" in self.image_type


class File(NamedTuple):
    """One file of a scan folder: where it is, what messages call it, what its header says."""

    path: str
    name: str
    header: Header


# A series repeats most of its values in every slice: each is decoded once.
_remembered = lru_cache(maxsize=2**15)


@_remembered
def _text(raw: bytes) -> str:
    # Text is compared and matched, never shown: any decoding that keeps different bytes different will do.
    try:
        return raw.strip(b"\0 ").decode("utf-8")
    except UnicodeDecodeError:
        return raw.strip(b"\0 ").decode("latin-1")


@_remembered
def _uid(raw: bytes) -> str:
    text = _text.__wrapped__(raw)
    return text if _UID.fullmatch(text) else ""


@_remembered
def _texts(raw: bytes) -> tuple[str, ...]:
    return tuple(part.strip(" ") for part in _text(raw).split("\\")) if raw.strip(b"\0 ") else ()


@_remembered
def _numbers(raw: bytes) -> tuple[float, ...]:
    parts = raw.split(b"\\")
    try:
        if b"_" not in raw:
            return tuple(map(float, parts))
    except ValueError:
        pass
    return tuple(map(_decimal, parts)) if raw.strip(b"\0 ") else ()


@_remembered
def _number(raw: bytes) -> float | None:
    return _decimal(raw) if raw.strip(b"\0 ") else None


def _decimal(raw: bytes) -> float:
    try:
        # Python's own grammar allows underscores, DICOM's does not.
        return NAN if b"_" in raw else float(raw.strip(b"\0 "))
    except ValueError:
        return NAN


@_remembered
def _short(raw: bytes) -> int | None:
    if not raw:
        return None
    return int.from_bytes(raw, "little") if len(raw) == 2 else -1


@_remembered
def _double(raw: bytes) -> float | None:
    if not raw:
        return None
    return float(struct.unpack("<d", raw)[0]) if len(raw) == 8 else NAN


#: What is read of a header: the field it fills, and how its value is decoded.
ATTRIBUTES: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    0x00020002: ("media_storage_sop_class_uid", _text),
    0x00020003: ("media_storage_sop_instance_uid", _text),
    0x00020010: ("transfer_syntax_uid", _text),
    0x00080008: ("image_type", _texts),
    0x00080016: ("sop_class_uid", _uid),
    0x00080018: ("sop_instance_uid", _uid),
    0x00080020: ("study_date", _text),
    0x00080021: ("series_date", _text),
    0x00080022: ("acquisition_date", _text),
    0x00080023: ("content_date", _text),
    0x00080033: ("content_time", _text),
    0x00080060: ("modality", _text),
    0x0008103E: ("series_description", _text),
    0x00081090: ("manufacturer_model_name", _text),
    0x00100010: ("patient_name", _text),
    0x00100020: ("patient_id", _text),
    0x00100030: ("patient_birth_date", _text),
    0x00100040: ("patient_sex", _text),
    0x00180010: ("contrast_bolus_agent", _text),
    0x00180015: ("body_part_examined", _text),
    0x00180020: ("scanning_sequence", _texts),
    0x00180050: ("slice_thickness", _number),
    0x00180060: ("kvp", _number),
    0x00180080: ("repetition_time", _number),
    0x00180081: ("echo_time", _number),
    0x00180088: ("spacing_between_slices", _number),
    0x00181030: ("protocol_name", _text),
    0x00181060: ("trigger_time", _number),
    0x00181164: ("imager_pixel_spacing", _numbers),
    0x00181210: ("convolution_kernel", _texts),
    0x00189087: ("diffusion_b_value", _double),
    0x0020000D: ("study_instance_uid", _uid),
    0x0020000E: ("series_instance_uid", _uid),
    0x00200012: ("acquisition_number", _number),
    0x00200032: ("image_position_patient", _numbers),
    0x00200037: ("image_orientation_patient", _numbers),
    0x00200052: ("frame_of_reference_uid", _text),
    0x00200100: ("temporal_position_identifier", _number),
    0x00280002: ("samples_per_pixel", _short),
    0x00280004: ("photometric_interpretation", _text),
    0x00280008: ("number_of_frames", _number),
    0x00280010: ("rows", _short),
    0x00280011: ("columns", _short),
    0x00280030: ("pixel_spacing", _numbers),
    0x00280100: ("bits_allocated", _short),
    0x00280101: ("bits_stored", _short),
    0x00280102: ("high_bit", _short),
    0x00280103: ("pixel_representation", _short),
    0x00280120: ("pixel_padding_value", _short),
    0x00281052: ("rescale_intercept", _number),
    0x00281053: ("rescale_slope", _number),
    0x00281054: ("rescale_type", _text),
    0x00280301: ("burned_in_annotation", _text),
    0x00282110: ("lossy_image_compression", _text),
    0x00541001: ("units", _text),
}

#: The tags that are read; the value of any other is skipped.
TAGS = frozenset(ATTRIBUTES)

#: Those stored as binary numbers, whose bytes a big-endian file turns round.
BINARY_TAGS = frozenset(tag for tag, (_, decode) in ATTRIBUTES.items() if decode in (_short, _double))

#: What differs from slice to slice; all else is the same throughout a series.
OF_A_SLICE = frozenset({0x00020003, 0x00080018, 0x00080033, 0x00200032})

#: Where a tag's value stands in a header, and how it is decoded.
PLACES = {
    # What is another in every slice is not worth remembering.
    tag: (Header._fields.index(name), unwrap(decode) if tag in OF_A_SLICE else decode)
    for tag, (name, decode) in ATTRIBUTES.items()
}
_NOTHING = Header()


def decoded(raw: Mapping[int, bytes], size: int, pixels: tuple[int, int]) -> Header:
    """The header with these raw values, by tag; everything else "not stated"."""
    fields: list[Any] = list(_NOTHING)
    for tag, value in raw.items():
        place, decode = PLACES[tag]
        fields[place] = decode(value)
    fields[0] = size
    fields[3:5] = pixels
    return Header._make(fields)
