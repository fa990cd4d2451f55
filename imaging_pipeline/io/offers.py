"""What the objects among the scans draw and state, so that a reader can name it in a lesion file.

Labels are what a person typed into another program: shown to who asks for an index, kept in no result.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from imaging_pipeline.domain.geometry import Space
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import PipelineError, Problem, RefusedError
from imaging_pipeline.io.dicom import DOCUMENTS, SeriesRecord, Verdict
from imaging_pipeline.io.documents import document_of
from imaging_pipeline.io.folder import Index
from imaging_pipeline.io.guard import ONE_IMAGE, guarded
from imaging_pipeline.io.patients import PatientRecord
from imaging_pipeline.io.sr import StatedValue, read_lines, read_measurements

#: What a lesion file's `from` calls the objects of a modality.
SOURCES = {"SEG": "seg", "RTSTRUCT": "rtstruct", "SR": "sr", "PR": "gsps"}


@dataclass(frozen=True, slots=True)
class Offer:
    """One lesion in an object: a prompt's `from` and `label`, the series it was drawn on, what is stated of it.

    `source` is "" where the object draws nothing in these scans, `label` where it names nothing, `series_uid` where
    it does not say.
    """

    source: str
    label: str
    series_uid: str
    stated: tuple[StatedValue, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The offer in the words of the lesion file."""
        return {
            "from": self.source,
            "label": self.label,
            "series_uid": self.series_uid,
            "reported": [
                {"quantity": each.quantity, "value": each.value, "unit": CATALOGUE[each.quantity].unit}
                for each in self.stated
            ],
        }


@dataclass(frozen=True, slots=True)
class Offered:
    """What one series of objects offers, and why some of it offers nothing."""

    offers: tuple[Offer, ...]
    problems: tuple[Problem, ...]


def offers_among(found: Index) -> dict[str, Offered]:
    """What each series of objects in a scan folder offers, by its SeriesInstanceUID."""
    return {
        record.series.series_instance_uid: offers_of(record, patient)
        for patient in found.patients
        for record in patient.series
        if record.series.modality in SOURCES and record.verdict is not Verdict.REJECT
    }


def offers_of(record: SeriesRecord, patient: PatientRecord) -> Offered:
    """What a series of objects offers for the images of its patient, read within limits."""
    uid = record.series.series_instance_uid
    images = [
        each
        for each in patient.series
        if each.series.modality not in DOCUMENTS
        and each.verdict is not Verdict.REJECT
        and each.series.grid is not None
        and each.series.grid.space is Space.PATIENT
    ]
    try:
        return guarded(_offered, uid, ONE_IMAGE, record, images)
    except PipelineError as error:
        return Offered((), (error.problem,))


def _offered(record: SeriesRecord, images: Sequence[SeriesRecord]) -> Offered:
    offers: list[Offer] = []
    problems: list[Problem] = []
    for path in map(Path, record.paths):
        try:
            of_file = _of_file(path, SOURCES[record.series.modality], images)
            offers += of_file.offers
            problems += of_file.problems
        except PipelineError as error:
            # A report on something else than lesions is not damaged.
            problems += [] if error.problem.code == "E-LINE-KIND" else [error.problem]
    return Offered(tuple(offers), tuple(problems))


def _of_file(path: Path, source: str, images: Sequence[SeriesRecord]) -> Offered:
    if source in ("sr", "gsps"):
        return _of_lines(path, source, images)
    try:
        document = document_of(path)
        return Offered(tuple(_of_segments(document) if source == "seg" else _of_rois(document)), ())
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        raise RefusedError(
            "E-MASK-DAMAGED",
            path.name,
            found=f"an attribute missing or malformed ({type(error).__name__})",
            expected="a complete object",
            remedy="write the object again from its source",
        ) from error


def _of_lines(path: Path, source: str, images: Sequence[SeriesRecord]) -> Offered:
    """The lesions a report or presentation state draws lines of, then those it only states numbers of."""
    stated: dict[tuple[str, str], list[StatedValue]] = defaultdict(list)
    for value in read_measurements(path) if source == "sr" else ():
        stated[value.tracking_uid, value.tracking_identifier].append(value)
    drawn: list[tuple[str, str, str]] = []
    misplaced: list[Problem] = []
    for image in images:
        try:
            lines = read_lines(path, image)
        except RefusedError as error:
            if error.problem.code != "E-LINE-PLACE":
                raise
            misplaced.append(error.problem)  # its numbers hold all the same
        else:
            uid = image.series.series_instance_uid
            drawn += [(line.tracking_uid, line.tracking_identifier, uid) for line in lines]
    lined = [Offer(source, name or uid, series, tuple(stated[uid, name])) for uid, name, series in drawn]
    of_lines = {(uid, name) for uid, name, _ in drawn}
    unlined = [
        Offer("", name or uid, "", tuple(values))
        for (uid, name), values in stated.items()
        if (uid, name) not in of_lines
    ]
    return Offered((*lined, *unlined), tuple(dict.fromkeys(misplaced)))


def _of_segments(document: pydicom.Dataset) -> Iterator[Offer]:
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in document.SegmentSequence}
    series_uid = _only(document.get("ReferencedSeriesSequence") or ())
    return (Offer("seg", label, series_uid) for label in _labels(names).values())


def _of_rois(document: pydicom.Dataset) -> Iterator[Offer]:
    """The ROIs that have contours. Source: DICOM PS3.3 C.8.8.5, C.8.8.6."""
    drawn = {int(roi.ReferencedROINumber) for roi in document.ROIContourSequence if roi.get("ContourSequence")}
    rois = {int(item.ROINumber): item for item in document.StructureSetROISequence}
    labels = _labels({number: str(item.get("ROIName", "")) for number, item in rois.items()})
    for number, item in rois.items():
        if number in drawn:
            yield Offer("rtstruct", labels[number], _only(_series_of(item, document)))


def _series_of(roi: pydicom.Dataset, document: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The series in the frame of reference an ROI was drawn in."""
    return [
        series
        for frame in document.get("ReferencedFrameOfReferenceSequence") or ()
        if frame.get("FrameOfReferenceUID") == roi.get("ReferencedFrameOfReferenceUID")
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    ]


def _labels(names: dict[int, str]) -> dict[int, str]:
    """What finds each segment or ROI: its name; its number where it has none of its own."""
    shared = Counter(names.values())
    return {number: name if name and shared[name] == 1 else str(number) for number, name in names.items()}


def _only(references: Sequence[pydicom.Dataset]) -> str:
    """The series that is referred to, if it is one."""
    uids = {str(series.SeriesInstanceUID) for series in references}
    return uids.pop() if len(uids) == 1 else ""
