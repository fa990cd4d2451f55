"""Images without a place in the patient (ultrasound, radiographs, planar scintigraphy), and the size of their pixels.

A size is believed where the file says that it holds in the patient. All else is
an image of bare pixels, and says so.

Source: DICOM PS3.3 C.8.5.5 (ultrasound regions), C.8.4.11 (NM detectors), 10.7.1.3 (pixel spacing of radiographs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isclose
from typing import BinaryIO

import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from imaging_pipeline.domain.geometry import Grid, Space
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.acceptance import rescale_problem
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.geometry import PIXEL_SPACING_MM
from imaging_pipeline.io.header import Header

RADIOGRAPHS = frozenset({"CR", "DX", "RG"})
MODALITIES = RADIOGRAPHS | {"US", "NM"}

#: From the detector's plane to the patient's: a tube stands further from the detector than from the patient.
MAGNIFICATION = (1.0, 5.0)
#: A chest on its detector is magnified by more; digits that differ are not.
SCALED = 1.01
#: Deltas of one scale, written with six digits or more.
SAME_DELTA = 1e-4

_GREY = frozenset({"MONOCHROME2"})
_PHOTOMETRIC = dict.fromkeys(RADIOGRAPHS, _GREY | {"MONOCHROME1"}) | {
    "US": _GREY | {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"},
    "NM": _GREY,
}
#: Kinds of nuclear medicine image that are no tomogram. Source: DICOM PS3.3 C.8.4.9.1.1.
_PLANAR_KINDS = frozenset({"STATIC", "WHOLE BODY"})
_VIEWS = (codes.SCT.AnteriorProjection, codes.SCT.PosteriorProjection)
#: RegionSpatialFormat 2D, PhysicalUnits centimetres. Source: DICOM PS3.3 C.8.5.5.1.
_TWO_DIMENSIONAL, _CENTIMETRES = 1, 3

_Size = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """One file's frames as the slices of a volume.

    `order` gives the frame of each slice; `grid` is None where a problem is an
    error. The grid's slice axis has no length: frames lie side by side in time
    or in view, and its unit step stands for nothing.
    """

    order: tuple[int, ...]
    grid: Grid | None
    problems: tuple[Problem, ...]


def plane(file: str | BinaryIO, header: Header) -> Plane:
    """How the frames of one file are ordered, and whether and how their pixels have a size.

    Parameters
    ----------
    file
        Its path, or its content.
    header
        What `prescan` read from it, without a fault, of one of `MODALITIES`.
    """
    uid = header.series_instance_uid
    try:
        refusal = _format(header) or _kind(header) or rescale_problem(header, uid)
        if refusal is not None:
            return Plane((), None, (refusal,))
        document = pydicom.dcmread(file, stop_before_pixels=True)
        order = _by_view(document, header) if header.modality == "NM" else tuple(range(_frames(header)))
        if len(order) != _frames(header):
            return Plane((), None, (finding("E-NM-VIEWS", uid, "frames whose views cannot be told apart"),))
        size, problems = _SIZES[header.modality](document, header)
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        found = f"a header that cannot be read ({type(error).__name__})"
        return Plane((), None, (finding("E-UNSUPPORTED", uid, found),))
    if header.photometric_interpretation == "MONOCHROME1":
        problems.append(finding("N-PIX-INVERTED", uid, "MONOCHROME1, in which high values are dark"))
    return Plane(order, _grid(header, len(order), size), tuple(problems))


def _format(header: Header) -> Problem | None:
    allocated, stored = header.bits_allocated or 0, header.bits_stored or 0
    one = header.photometric_interpretation.startswith(("MONOCHROME", "PALETTE"))
    sound = (
        allocated in ((8, 16) if one else (8,))
        and 1 <= stored <= allocated
        and header.high_bit == stored - 1
        and header.pixel_representation in (0, 1)
        and header.samples_per_pixel == (1 if one else 3)
        and header.photometric_interpretation in _PHOTOMETRIC[header.modality]
    )
    return None if sound else finding("E-PIX-PLANAR", header.series_instance_uid, f"another format, {stored} bits")


def _kind(header: Header) -> Problem | None:
    tomogram = header.modality == "NM" and not _PLANAR_KINDS.intersection(header.image_type)
    moving = header.modality in RADIOGRAPHS and _frames(header) > 1
    if not tomogram and not moving:
        return None
    found = "another nuclear medicine image than a planar one" if tomogram else "a radiograph of several frames"
    return finding("E-UNSUPPORTED", header.series_instance_uid, found)


def _frames(header: Header) -> int:
    return int(header.number_of_frames or 1)


def _grid(header: Header, slices: int, size: _Size | None) -> Grid:
    assert header.rows is not None
    assert header.columns is not None
    row, column = size or (1.0, 1.0)
    matrix = ((0.0, 0.0, column, 0.0), (0.0, row, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    space = Space.PIXELS if size is None else Space.PLANE
    return Grid((slices, header.rows, header.columns), matrix, space)


def _by_view(document: pydicom.Dataset, header: Header) -> tuple[int, ...]:
    """Frames in the order anterior, posterior; empty where several frames do not name a view each of their own."""
    if _frames(header) == 1:
        return (0,)
    detectors = document.get("DetectorInformationSequence") or ()
    vector = document.get("DetectorVector") or range(1, len(detectors) + 1)
    views = [_view(detectors[int(number) - 1]) for number in vector]
    return tuple(views.index(view) for view in _VIEWS) if sorted(map(str, views)) == sorted(map(str, _VIEWS)) else ()


def _view(detector: pydicom.Dataset) -> Code | None:
    for item in detector.get("ViewCodeSequence") or ():
        # SNOMED RT was called SNM3 too.
        scheme = "SRT" if item.CodingSchemeDesignator in ("SNM3", "99SDM") else item.CodingSchemeDesignator
        stated = Code(item.CodeValue, scheme, "")
        return next((view for view in _VIEWS if view == stated), None)
    return None


def _regions_size(document: pydicom.Dataset, header: Header) -> tuple[_Size | None, list[Problem]]:
    """The pixel size all regions of an ultrasound image agree on."""
    regions = document.get("SequenceOfUltrasoundRegions") or ()
    sizes = [_region_size(region) for region in regions]
    if sizes and None not in sizes and all(_alike(sizes[0], size) for size in sizes):
        return sizes[0], []
    if not sizes:
        found = "no ultrasound region"
    else:
        found = "ultrasound regions of several scales" if None not in sizes else "an ultrasound region not in cm"
    return None, [finding("W-GEOM-PIXELS", header.series_instance_uid, found)]


def _region_size(region: pydicom.Dataset) -> _Size | None:
    units = {region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection}
    if region.RegionSpatialFormat != _TWO_DIMENSIONAL or units != {_CENTIMETRES}:
        return None
    # A delta's sign is the direction in which its axis counts.
    return _usable([10.0 * abs(float(region.PhysicalDeltaY)), 10.0 * abs(float(region.PhysicalDeltaX))])


def _alike(first: _Size | None, second: _Size | None) -> bool:
    assert first is not None
    assert second is not None
    return all(isclose(one, other, rel_tol=SAME_DELTA) for one, other in zip(first, second, strict=True))


def _camera_size(_document: pydicom.Dataset, header: Header) -> tuple[_Size | None, list[Problem]]:
    """The pixel size of a gamma camera, whose parallel holes magnify nothing."""
    size = _usable(header.pixel_spacing)
    return size, [] if size else [finding("W-GEOM-PIXELS", header.series_instance_uid, "no usable PixelSpacing")]


def _exposed_size(document: pydicom.Dataset, header: Header) -> tuple[_Size | None, list[Problem]]:
    """The pixel size of a radiograph in the patient: as calibrated, or the detector's without the magnification."""
    size, detector = _usable(header.pixel_spacing), _usable(header.imager_pixel_spacing)
    calibrated = document.get("PixelSpacingCalibrationType") in ("FIDUCIAL", "GEOMETRY")
    if size and (calibrated or _is_corrected(size, detector)):
        return size, []
    uid = header.series_instance_uid
    if not detector:
        found = "a PixelSpacing that may be the detector's" if size else "no usable pixel spacing"
        return None, [finding("W-GEOM-PIXELS", uid, found)]
    factor = _magnification(document)
    if factor is None:
        return None, [finding("W-GEOM-MAGNIFICATION", uid, "the detector's pixel spacing, magnification unknown")]
    said = finding("W-GEOM-MAGNIFICATION", uid, f"the detector's pixel spacing, magnified {factor:.3f} times")
    return (detector[0] / factor, detector[1] / factor), [said]


def _is_corrected(size: _Size, detector: _Size | None) -> bool:
    """Whether a pixel was scaled from the detector to the patient, where it is smaller; rounding scales nothing."""
    if detector is None:
        return False
    _, high = MAGNIFICATION
    factors = [there / here for here, there in zip(size, detector, strict=True)]
    return all(SCALED <= factor <= high for factor in factors)


def _magnification(document: pydicom.Dataset) -> float | None:
    """How much larger the detector shows the patient: as stated, or by the distances of both from the source."""
    stated = document.get("EstimatedRadiographicMagnificationFactor")
    to_detector, to_patient = document.get("DistanceSourceToDetector"), document.get("DistanceSourceToPatient")
    if stated is None and to_detector and to_patient:
        stated = to_detector / to_patient
    low, high = MAGNIFICATION
    return float(stated) if stated is not None and low <= stated <= high else None


def _usable(spacing: Sequence[float]) -> _Size | None:
    low, high = PIXEL_SPACING_MM
    if len(spacing) != 2 or not all(low <= length <= high for length in spacing):
        return None
    return spacing[0], spacing[1]


_SIZES: dict[str, Callable[[pydicom.Dataset, Header], tuple[_Size | None, list[Problem]]]] = {
    **dict.fromkeys(RADIOGRAPHS, _exposed_size),
    "US": _regions_size,
    "NM": _camera_size,
}
