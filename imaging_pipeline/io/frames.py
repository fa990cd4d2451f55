"""Multi-frame objects as one header for each frame, so that frames are judged like slices.

Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pydicom

from imaging_pipeline.io.header import Header

_Path = tuple[str, str]

_NUMBERS: dict[str, _Path] = {
    "slice_thickness": ("PixelMeasuresSequence", "SliceThickness"),
    "spacing_between_slices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "rescale_slope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "rescale_intercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "temporal_position_identifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "acquisition_number": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "echo_time": ("MREchoSequence", "EffectiveEchoTime"),
    "diffusion_b_value": ("MRDiffusionSequence", "DiffusionBValue"),
}
_VECTORS: dict[str, _Path] = {
    "image_position_patient": ("PlanePositionSequence", "ImagePositionPatient"),
    "image_orientation_patient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "pixel_spacing": ("PixelMeasuresSequence", "PixelSpacing"),
}


def frame_headers(document: pydicom.Dataset, header: Header) -> tuple[Header, ...]:
    """One header for each frame: the file's, with what the frame's functional groups state, or those of all frames."""
    shared = document.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    return tuple(
        _frame_header((frame, shared[0]), header._replace(frame_number=number))
        for number, frame in enumerate(document.PerFrameFunctionalGroupsSequence, start=1)
    )


def _frame_header(groups: tuple[pydicom.Dataset, ...], header: Header) -> Header:
    stated: dict[str, Any] = {}
    for name, path in _NUMBERS.items():
        for value in _values(groups, path):
            stated[name] = float(value)
    for value in _values(groups, ("PixelValueTransformationSequence", "RescaleType")):
        stated["rescale_type"] = str(value).strip()
    for name, path in _VECTORS.items():
        for value in _values(groups, path):
            stated[name] = tuple(float(number) for number in value)
    return header._replace(**stated)


def _values(groups: tuple[pydicom.Dataset, ...], path: _Path) -> Iterable[Any]:
    """The value the first group states, if any does."""
    sequence, keyword = path
    for group in groups:
        items = group.get(sequence)
        value = items[0].get(keyword) if items else None
        if value is not None:
            return [value]
    return []
