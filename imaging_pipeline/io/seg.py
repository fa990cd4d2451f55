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
from pydicom.dataset import Dataset
from pydicom.tag import Tag

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
    coded,
    derived_uid,
    document,
    item,
    named,
    outlined,
)

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

    dataset: Dataset
    series: Series
    segments: dict[str, int]


def segmentations(case: Case, values: Values, visit: Visit) -> tuple[tuple[Segmentation, ...], tuple[Problem, ...]]:
    """The outlines of a visit, series by series, and why a series has none: it has no place in the patient."""
    found = sorted(outlined(case, values, visit), key=_series_uid)
    written: list[Segmentation] = []
    problems: list[Problem] = []
    for number, (_, group) in enumerate(groupby(found, key=_series_uid)):
        members = tuple(group)
        segments = {member.lesion.lesion_id: place for place, member in enumerate(members, start=1)}
        try:
            dataset = _segmentation(case, visit, members, number)
        except SpaceError as refusal:
            problems.append(refusal.problem)
        else:
            written.append(Segmentation(dataset, members[0].source.series, segments))
    return tuple(written), tuple(problems)


def _series_uid(seen: Outlined) -> str:
    # One series may have given several stacks; each is a source of its own.
    return f"{seen.source.series.series_instance_uid} {seen.source.series.grid}"


def _segmentation(case: Case, visit: Visit, members: Sequence[Outlined], number: int) -> Dataset:
    series = members[0].source.series
    grid = _placed(series)
    dataset = document(case, visit, series, modality="SEG", sop_class_uid=SOP_CLASS_UID, number=9000 + number)
    dataset.update(_image(grid))
    dataset.FrameOfReferenceUID = members[0].source.frame_of_reference_uid
    dataset.SeriesDescription = "Lesion outlines"
    dataset.SegmentSequence = [_segment(member, place) for place, member in enumerate(members, start=1)]
    frames = [
        (place, member, slice_index, pixels)
        for place, member in enumerate(members, start=1)
        for slice_index, pixels in _slices(member.mask, grid)
    ]
    used = sorted({slice_index for _, _, slice_index, _ in frames})
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(member, place, slice_index, used.index(slice_index) + 1, grid)
        for place, member, slice_index, _ in frames
    ]
    dataset.SharedFunctionalGroupsSequence = [_shared(grid)]
    dataset.ReferencedSeriesSequence = [_referenced(members, used)]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = _packed([pixels for *_, pixels in frames])
    dataset["PixelData"].VR = "OB"
    return named(dataset)


def _placed(series: Series) -> Grid:
    grid = series.grid
    assert grid is not None
    grid.require_patient(f"the DICOM SEG of {series.series_instance_uid}")
    return grid


def _image(grid: Grid) -> Dataset:
    """What all frames share: their size and kind, and the two dimensions that order them."""
    organisation = derived_uid("dimensions of a SEG", grid)
    pointers = ((0x0062000B, 0x0062000A, "Segment"), (0x00200032, 0x00209113, "Position"))
    return item(
        ImageType=["DERIVED", "PRIMARY"],
        PositionReferenceIndicator="",
        Rows=grid.shape[1],
        Columns=grid.shape[2],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        LossyImageCompression="00",
        SegmentationType="BINARY",
        ContentLabel="LESIONS",
        ContentDescription="Lesion outlines",
        ContentCreatorName="",
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=organisation)],
        DimensionIndexSequence=[
            item(
                DimensionOrganizationUID=organisation,
                DimensionIndexPointer=Tag(pointer),
                FunctionalGroupPointer=Tag(group),
                DimensionDescriptionLabel=label,
            )
            for pointer, group, label in pointers
        ],
    )


def _segment(seen: Outlined, number: int) -> Dataset:
    lesion, colour = seen.lesion, _COLOURS[(number - 1) % len(_COLOURS)]
    segment = item(
        SegmentNumber=number,
        SegmentLabel=lesion.lesion_id,
        SegmentDescription=lesion.label[:64],
        SegmentedPropertyCategoryCodeSequence=coded(_ABNORMAL),
        SegmentedPropertyTypeCodeSequence=coded(FINDINGS[lesion.kind]),
        TrackingID=lesion.lesion_id,
        TrackingUID=lesion.tracking_uid,
        RecommendedDisplayCIELabValue=list(colour),
    )
    segment.update(_algorithm(seen))
    if lesion.place is not None:
        (region,) = segment.AnatomicRegionSequence = coded(lesion.place)
        if lesion.laterality:
            region.AnatomicRegionModifierSequence = coded(LATERALITIES[lesion.laterality])
    return segment


def _algorithm(seen: Outlined) -> Dataset:
    """Who drew it: confidence is given by a program, never by a person or a file."""
    if seen.mask.confidence is None:
        return item(SegmentAlgorithmType="MANUAL")
    identified = item(
        AlgorithmFamilyCodeSequence=coded(_FAMILY),
        AlgorithmName=seen.mask.maker[:64],
        AlgorithmVersion=__version__,
    )
    return item(
        SegmentAlgorithmType="SEMIAUTOMATIC",
        SegmentAlgorithmName=seen.mask.maker[:64],
        SegmentationAlgorithmIdentificationSequence=[identified],
    )


def _slices(mask: Mask, grid: Grid) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The slices of the series a mask marks, whole: number and (R, C) pixels."""
    first, row, column = np.rint(grid.to_index(mask.grid.to_lps((0, 0, 0)))).astype(int)
    rows, columns = mask.array.shape[1:]
    for number in np.flatnonzero(mask.array.any(axis=(1, 2))):
        pixels = np.zeros(grid.shape[1:], dtype=bool)
        pixels[row : row + rows, column : column + columns] = mask.array[number]
        yield int(first + number), pixels


def _frame(seen: Outlined, number: int, slice_index: int, position: int, grid: Grid) -> Dataset:
    frame = item(
        FrameContentSequence=[item(DimensionIndexValues=[number, position])],
        PlanePositionSequence=[item(ImagePositionPatient=_decimals(grid.to_lps((slice_index, 0, 0))))],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
        DerivationImageSequence=[],
    )
    image = seen.source.image(slice_index)
    if image is not None:
        image.PurposeOfReferenceCodeSequence = coded(_SOURCE_IMAGE)
        frame.DerivationImageSequence = [item(DerivationCodeSequence=coded(_SEGMENTATION), SourceImageSequence=[image])]
    return frame


def _shared(grid: Grid) -> Dataset:
    slice_mm, row_mm, column_mm = grid.spacing_mm
    down, across = grid.directions[:, 1], grid.directions[:, 2]
    measures = item(
        SliceThickness=_decimal(slice_mm),
        SpacingBetweenSlices=_decimal(slice_mm),
        PixelSpacing=_decimals((row_mm, column_mm)),
    )
    return item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=_decimals((*across, *down)))],
    )


def _referenced(members: Sequence[Outlined], used: Sequence[int]) -> Dataset:
    source = members[0].source
    images = [image for place in used if (image := source.image(place)) is not None] or source.images()
    instances = {image.ReferencedSOPInstanceUID: image for image in images}
    for image in instances.values():
        # The series is named once as a whole; frames are named by the frames that use them.
        image.pop("ReferencedFrameNumber", None)
    return item(SeriesInstanceUID=source.series.series_instance_uid, ReferencedInstanceSequence=[*instances.values()])


def _packed(frames: Sequence[NDArray[np.bool_]]) -> bytes:
    """Frames end to end, eight pixels to a byte, the first in the lowest bit. Source: PS3.5 8.1.1 and annex D."""
    bits = np.packbits(np.stack(frames).ravel(), bitorder="little").tobytes()
    return bits + b"\0" * (len(bits) % 2)


def _decimals(numbers: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [_decimal(float(number)) for number in numbers]


def _decimal(number: float) -> str:
    """As many digits as 16 characters hold. Source: PS3.5 6.2, DS."""
    for digits in range(16, 0, -1):
        text = f"{number + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError("a number that 16 characters cannot hold")
