"""Lines and numbers that readers left in DICOM: TID 1500 reports, and the annotations of presentation states.

Source: DICOM PS3.16 TID 1500, 1501, 1410 (measurements); PS3.3 C.18.6, C.18.9 (coordinates), C.10.5 (annotations).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from imaging_pipeline.domain.geometry import as_point
from imaging_pipeline.domain.prompts import Line
from imaging_pipeline.domain.quantities import CATALOGUE, MM, MM2, MM3
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.dicom import SeriesRecord
from imaging_pipeline.io.documents import document_of

_REPORTS = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in ("11", "22", "33", "34", "35"))
_PRESENTATION = "1.2.840.10008.5.1.4.1.1.11.1"

_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
_TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
_DERIVATION = Code("121401", "DCM", "Derivation")
_LONG = tuple(
    Code(value, "SCT", meaning)
    for value, meaning in (
        ("103339001", "Long axis"),
        ("131187009", "Major axis"),
        ("81827009", "Diameter"),
        ("410668003", "Length"),
    )
)
_SHORT = (Code("103340004", "SCT", "Short axis"), Code("131188004", "SCT", "Minor axis"))

_NAMELESS = Code("", "", "")

#: Other units a report may use, as multiples of the catalogue's. Source: UCUM.
_UNITS = {
    ("cm", MM): Decimal(10),
    ("cm2", MM2): Decimal(100),
    ("cm3", MM3): Decimal(1000),
    ("ml", MM3): Decimal(1000),
    ("mL", MM3): Decimal(1000),
}

#: What moves a series' slices off the lattice of its volume: a line on a slice is then not where its pixels say.
_MOVED = frozenset({"W-GEOM-TILT", "W-GEOM-UNEVEN"})


@dataclass(frozen=True, slots=True)
class TrackedLine:
    """A line and whose it is; identifiers are "" where the object gives none."""

    tracking_uid: str
    tracking_identifier: str
    line: Line


@dataclass(frozen=True, slots=True)
class StatedValue:
    """A number a report states of a lesion, exactly as written, in the unit of the catalogue's `quantity`."""

    tracking_uid: str
    tracking_identifier: str
    quantity: str
    value: Decimal


@dataclass(frozen=True)
class _Axis:
    """Two points: (2, 2) column and row on an image, or (2, 3) LPS mm in a frame of reference, by that UID."""

    points: NDArray[np.float64]
    place_uid: str


#: Tracking UID and identifier.
_Tracking = tuple[str, str]


def read_lines(path: Path, record: SeriesRecord) -> tuple[TrackedLine, ...]:
    """The lines of a report or presentation state that lie in a series; those on other images are left out.

    Two lines of one group are a lesion's long and short axis.

    Raises
    ------
    RefusedError
        When the object is damaged, or a line cannot be put where it was drawn.
    SpaceError
        When the series has no place in the patient.
    """
    document = _document(path, (*_REPORTS, _PRESENTATION))
    with _well_formed(path.name):
        presented = document.SOPClassUID == _PRESENTATION
        figures = list(_presented(document) if presented else _reported(document))
    found = []
    for (uid, identifier), axes in figures:
        placed = [line for axis in axes if (line := _in_series(axis, record, path.name)) is not None]
        if len(placed) > 2:
            raise _refusal(
                "E-LINE-AMBIGUOUS", path.name, f"{len(placed)} lines of one lesion", "a long and a short axis"
            )
        if placed:
            ordered = sorted(placed, key=lambda ends: -float(np.linalg.norm(ends[1] - ends[0])))
            ends = [(as_point(first), as_point(last)) for first, last in ordered]
            found.append(TrackedLine(uid, identifier, Line(*ends)))
    return tuple(found)


def read_measurements(path: Path) -> tuple[StatedValue, ...]:
    """The numbers of a TID 1500 report that this package's catalogue knows, group by group.

    Raises
    ------
    RefusedError
        When the object is damaged or no report.
    """
    document = _document(path, _REPORTS)
    with _well_formed(path.name):
        return tuple(
            StatedValue(*_tracking(group), *stated)
            for group in _groups(document)
            for item in _children(group)
            if (stated := _stated(item)) is not None
        )


def _document(path: Path, kinds: tuple[str, ...]) -> pydicom.Dataset:
    document = document_of(path)
    if document.SOPClassUID not in kinds:
        raise _refusal("E-LINE-KIND", path.name, "another kind of DICOM object", "a structured report or GSPS")
    return document


def _groups(item: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for child in _children(item):
        if _concept(child) == _GROUP:
            yield child
        else:
            yield from _groups(child)


def _children(item: pydicom.Dataset) -> Iterable[pydicom.Dataset]:
    return item.get("ContentSequence") or ()


def _concept(item: pydicom.Dataset) -> Code:
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]) if names else _NAMELESS


def _code(item: pydicom.Dataset) -> Code:
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), "")


def _tracking(group: pydicom.Dataset) -> _Tracking:
    said = {_concept(item): item for item in _children(group) if item.get("ValueType") in ("TEXT", "UIDREF")}
    uid, identifier = said.get(_TRACKING_UID), said.get(_TRACKING_IDENTIFIER)
    return (str(uid.UID) if uid else "", str(identifier.TextValue) if identifier else "")


def _reported(document: pydicom.Dataset) -> Iterator[tuple[_Tracking, list[_Axis]]]:
    for group in _groups(document):
        numbers = [item for item in _children(group) if item.get("ValueType") == "NUM"]
        if any(_concept(item) in _LONG and _axes(item) for item in numbers):
            named = (item for item in numbers if _concept(item) in (*_LONG, *_SHORT))
            yield _tracking(group), [axis for item in named for axis in _axes(item)]


def _axes(number: pydicom.Dataset) -> list[_Axis]:
    """The lines a number was inferred from."""
    found = []
    for item in _children(number):
        if item.get("ValueType") == "SCOORD" and item.GraphicType in ("POLYLINE", "MULTIPOINT"):
            (image,) = [child for child in _children(item) if child.get("ValueType") == "IMAGE"]
            found += _axis(item.GraphicData, 2, str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID))
        elif item.get("ValueType") == "SCOORD3D" and item.GraphicType in ("POLYLINE", "MULTIPOINT"):
            found += _axis(item.GraphicData, 3, str(item.ReferencedFrameOfReferenceUID))
    return found


def _axis(numbers: Iterable[float], dimensions: int, place_uid: str) -> list[_Axis]:
    """A line, if it is one: an outline has more points."""
    points = np.array([float(number) for number in numbers]).reshape(-1, dimensions)
    return [_Axis(points, place_uid)] if len(points) == 2 else []


def _presented(document: pydicom.Dataset) -> Iterator[tuple[_Tracking, list[_Axis]]]:
    tracked: dict[tuple[_Tracking, str], list[_Axis]] = defaultdict(list)
    for annotation in document.get("GraphicAnnotationSequence") or ():
        images = list(annotation.get("ReferencedImageSequence") or ())
        for drawn in annotation.get("GraphicObjectSequence") or ():
            if len(images) != 1 or drawn.GraphicType != "POLYLINE" or drawn.GraphicAnnotationUnits != "PIXEL":
                continue
            image = str(images[0].ReferencedSOPInstanceUID)
            tracking = str(drawn.get("TrackingUID") or ""), str(drawn.get("TrackingID") or "")
            axes = _axis(drawn.GraphicData, 2, image)
            if tracking == ("", ""):
                yield from ((tracking, [axis]) for axis in axes)
            else:
                tracked[tracking, image] += axes
    yield from ((tracking, axes) for (tracking, _), axes in tracked.items())


def _in_series(axis: _Axis, record: SeriesRecord, subject: str) -> NDArray[np.float64] | None:
    """Both ends in LPS mm (2, 3), if they lie in the series."""
    series = record.series
    instances = [instance.sop_instance_uid for instance in series.instances]
    flat = axis.points.shape[1] == 2
    if series.grid is None or (flat and axis.place_uid not in instances):
        return None
    series.grid.require_patient(f"lines of {subject}")
    if not flat:
        same_frame = axis.place_uid == series.grid.frame_of_reference_uid
        return axis.points if same_frame and all(map(series.grid.contains, axis.points)) else None
    if len(instances) != series.grid.shape[0] or _MOVED & {problem.code for problem in record.problems}:
        raise _refusal("E-LINE-PLACE", subject, "a line on a slice that was moved", "slices that lie on their volume")
    # The corner of the first pixel is 0\0, its centre 0.5\0.5.
    column, row = axis.points.T - 0.5
    ends = series.grid.to_lps(np.column_stack([np.full(2, instances.index(axis.place_uid)), row, column]))
    if not all(map(series.grid.contains, ends)):
        raise _refusal("E-LINE-PLACE", subject, "a line that leaves its image", "both ends inside")
    return ends


def _stated(item: pydicom.Dataset) -> tuple[str, Decimal] | None:
    """The catalogue's name for a number, and the number in the catalogue's unit."""
    if item.get("ValueType") != "NUM" or not item.get("MeasuredValueSequence"):
        return None
    concept = _concept(item)
    derivations = [_code(child.ConceptCodeSequence[0]) for child in _children(item) if _concept(child) == _DERIVATION]
    measured = item.MeasuredValueSequence[0]
    unit = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
    for quantity in CATALOGUE.values():
        code, derivation = quantity.code, quantity.derivation
        known = [Code(derivation.value, derivation.scheme, "")] if derivation else []
        factor = Decimal(1) if unit == quantity.unit else _UNITS.get((unit, quantity.unit))
        if code and concept == Code(code.value, code.scheme, "") and derivations == known and factor:
            return quantity.name, Decimal(str(measured.NumericValue)) * factor
    return None


@contextmanager
def _well_formed(subject: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, InvalidOperation) as error:
        found = f"an attribute missing or malformed ({type(error).__name__})"
        raise _refusal("E-LINE-DAMAGED", subject, found, "a complete object") from error


def _refusal(code: str, subject: str, found: str, expected: str) -> RefusedError:
    return RefusedError(code, subject, found=found, expected=expected, remedy="write the object again from its source")
