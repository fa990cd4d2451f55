"""Outlines as DICOM SEG: one object per visit and source series, one segment per lesion, only the slices used.

Source: DICOM PS3.3 A.51 (Segmentation IOD), C.8.20.2 (segmentation image), C.7.6.16.2 (functional groups),
C.7.6.17 (dimensions); PS3.16 CID 7150, 7151 (property category and type), CID 7162 (algorithm family).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline import __version__
from imaging_pipeline.domain.case import Case, Values, Visit
from imaging_pipeline.domain.codes import Code
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask, Series
from imaging_pipeline.errors import Problem, SpaceError
from imaging_pipeline.io.objects import (
    FINDINGS,
    LATERALITIES,
    Outlined,
    Written,
    coded,
    derived_uid,
    outlined,
    written,
)
from imaging_pipeline.io.part10 import Item

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.66.4"

_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_FAMILY = Code("123106", "DCM", "Neighborhood Analysis")

#: Red, green, blue, yellow, magenta, cyan as CIELab in 16 bits. Source: PS3.3 C.10.7.1.1.
_COLOURS = (
    (34885, 53485, 50171),
    (57496, 10743, 54279),
    (21166, 53249, 5175),
    (63632, 27358, 57166),
    (39529, 58150, 17256),
    (59714, 20537, 29266),
)


@dataclass(frozen=True)
class Segmentation:
    """A SEG, the series it was drawn on, and the number of each lesion's segment."""

    file: Written
    series: Series
    segments: dict[str, int]


def segmentations(
    case: Case, values: Values, visit: Visit, patient_id: str = ""
) -> tuple[tuple[Segmentation, ...], tuple[Problem, ...]]:
    """The outlines of a visit, series by series, and why a series has none: it has no place in the patient."""
    found = sorted(outlined(case, values, visit), key=_series_uid)
    made: list[Segmentation] = []
    problems: list[Problem] = []
    for number, (_, group) in enumerate(groupby(found, key=_series_uid)):
        members = tuple(group)
        segments = {member.lesion.lesion_id: place for place, member in enumerate(members, start=1)}
        try:
            file = _segmentation(case, visit, members, number, patient_id)
        except SpaceError as refusal:
            problems.append(refusal.problem)
        else:
            made.append(Segmentation(file, members[0].source.series, segments))
    return tuple(made), tuple(problems)


def _series_uid(seen: Outlined) -> str:
    # One series may have given several stacks; each is a source of its own.
    return f"{seen.source.series.series_instance_uid} {seen.source.series.grid}"


def _segmentation(case: Case, visit: Visit, members: Sequence[Outlined], number: int, patient_id: str) -> Written:
    source = members[0].source
    grid = _placed(source.series)
    frames = [
        (place, member, slice_index, pixels)
        for place, member in enumerate(members, start=1)
        for slice_index, pixels in _slices(member.mask, grid)
    ]
    used = sorted({slice_index for _, _, slice_index, _ in frames})
    content = {
        **_image(grid),
        "SeriesDescription": "Lesion outlines",
        "FrameOfReferenceUID": source.frame_of_reference_uid,
        "SegmentSequence": [_segment(member, place) for place, member in enumerate(members, start=1)],
        "SharedFunctionalGroupsSequence": [_shared(grid)],
        "PerFrameFunctionalGroupsSequence": [
            _frame(member, place, slice_index, used.index(slice_index) + 1, grid)
            for place, member, slice_index, _ in frames
        ],
        "ReferencedSeriesSequence": [_referenced(members, used)],
        "NumberOfFrames": len(frames),
        "PixelData": _packed([pixels for *_, pixels in frames]),
    }
    return written(
        case,
        visit,
        source.series,
        content,
        modality="SEG",
        sop_class_uid=SOP_CLASS_UID,
        number=9000 + number,
        patient_id=patient_id,
    )


def _placed(series: Series) -> Grid:
    grid = series.grid
    if grid is None:
        raise SpaceError(
            "E-SPACE",
            f"the DICOM SEG of {series.series_instance_uid}",
            found="an image without a place",
            expected="an image placed in the patient",
            remedy="use the NIfTI outline of this lesion",
        )
    grid.require_patient(f"the DICOM SEG of {series.series_instance_uid}")
    return grid


def _image(grid: Grid) -> Item:
    """What all frames share: their size and kind, and the two dimensions that order them."""
    organisation = derived_uid("dimensions of a SEG", grid)
    pointers = ((0x0062000B, 0x0062000A, "Segment"), (0x00200032, 0x00209113, "Position"))
    return {
        "ImageType": ["DERIVED", "PRIMARY"],
        "PositionReferenceIndicator": "",
        "Rows": grid.shape[1],
        "Columns": grid.shape[2],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "PixelRepresentation": 0,
        "LossyImageCompression": "00",
        "SegmentationType": "BINARY",
        "ContentLabel": "LESIONS",
        "ContentDescription": "Lesion outlines",
        "ContentCreatorName": "",
        "DimensionOrganizationSequence": [{"DimensionOrganizationUID": organisation}],
        "DimensionIndexSequence": [
            {
                "DimensionOrganizationUID": organisation,
                "DimensionIndexPointer": pointer,
                "FunctionalGroupPointer": group,
                "DimensionDescriptionLabel": label,
            }
            for pointer, group, label in pointers
        ],
    }


def _segment(seen: Outlined, number: int) -> Item:
    lesion, place = seen.lesion, seen.lesion.place
    segment = {
        "SegmentNumber": number,
        "SegmentLabel": lesion.lesion_id,
        "SegmentDescription": lesion.label[:64],
        "SegmentedPropertyCategoryCodeSequence": coded(_ABNORMAL),
        "SegmentedPropertyTypeCodeSequence": coded(FINDINGS[lesion.kind]),
        "TrackingID": lesion.lesion_id,
        "TrackingUID": lesion.tracking_uid,
        "RecommendedDisplayCIELabValue": _COLOURS[(number - 1) % len(_COLOURS)],
        **_algorithm(seen),
    }
    if place is not None:
        (region,) = segment["AnatomicRegionSequence"] = coded(place)
        if lesion.laterality:
            region["AnatomicRegionModifierSequence"] = coded(LATERALITIES[lesion.laterality])
    return segment


def _algorithm(seen: Outlined) -> Item:
    """Who drew it: confidence is given by a program, never by a person or a file."""
    if seen.mask.confidence is None:
        return {"SegmentAlgorithmType": "MANUAL"}
    maker = seen.mask.maker[:64]
    identified = {
        "AlgorithmFamilyCodeSequence": coded(_FAMILY),
        "AlgorithmName": maker,
        "AlgorithmVersion": __version__,
    }
    return {
        "SegmentAlgorithmType": "SEMIAUTOMATIC",
        "SegmentAlgorithmName": maker,
        "SegmentationAlgorithmIdentificationSequence": [identified],
    }


def _slices(mask: Mask, grid: Grid) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The slices of the series a mask marks, whole: number and (R, C) pixels."""
    first, row, column = np.rint(grid.to_index(mask.grid.to_lps((0, 0, 0)))).astype(int)
    rows, columns = mask.array.shape[1:]
    for number in np.flatnonzero(mask.array.any(axis=(1, 2))):
        pixels = np.zeros(grid.shape[1:], dtype=bool)
        pixels[row : row + rows, column : column + columns] = mask.array[number]
        yield int(first + number), pixels


def _frame(seen: Outlined, number: int, slice_index: int, position: int, grid: Grid) -> Item:
    image = seen.source.image(slice_index)
    derivations = []
    if image is not None:
        named = {**image, "PurposeOfReferenceCodeSequence": coded(_SOURCE_IMAGE)}
        derivations = [{"DerivationCodeSequence": coded(_SEGMENTATION), "SourceImageSequence": [named]}]
    return {
        "FrameContentSequence": [{"DimensionIndexValues": [number, position]}],
        "PlanePositionSequence": [{"ImagePositionPatient": _decimals(grid.to_lps((slice_index, 0, 0)))}],
        "SegmentIdentificationSequence": [{"ReferencedSegmentNumber": number}],
        "DerivationImageSequence": derivations,
    }


def _shared(grid: Grid) -> Item:
    slice_mm, row_mm, column_mm = grid.spacing_mm
    down, across = grid.directions[:, 1], grid.directions[:, 2]
    measures = {
        "SliceThickness": _decimal(slice_mm),
        "SpacingBetweenSlices": _decimal(slice_mm),
        "PixelSpacing": _decimals((row_mm, column_mm)),
    }
    return {
        "PixelMeasuresSequence": [measures],
        "PlaneOrientationSequence": [{"ImageOrientationPatient": _decimals((*across, *down))}],
    }


def _referenced(members: Sequence[Outlined], used: Sequence[int]) -> Item:
    """The images drawn on, each once; frames are named by the frames that use them."""
    source = members[0].source
    images = [image for place in used if (image := source.image(place)) is not None] or source.images()
    instances = {image["ReferencedSOPInstanceUID"]: image for image in images}
    for image in instances.values():
        image.pop("ReferencedFrameNumber", None)
    return {
        "SeriesInstanceUID": source.series.series_instance_uid,
        "ReferencedInstanceSequence": [*instances.values()],
    }


def _packed(frames: Sequence[NDArray[np.bool_]]) -> bytes:
    """Frames end to end, eight pixels to a byte, the first in the lowest bit. Source: PS3.5 8.1.1 and annex D."""
    return np.packbits(np.stack(frames).ravel(), bitorder="little").tobytes()


def _decimals(numbers: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [_decimal(float(number)) for number in numbers]


def _decimal(number: float) -> str:
    """As many digits as 16 characters hold. Source: PS3.5 6.2, DS."""
    for digits in range(16, 0, -1):
        text = f"{number + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError("a number that 16 characters cannot hold")
