"""From the headers of one series to what was acquired: which files form one stack, and whether to trust it.

Source: DICOM PS3.3 (A.3 and A.4, C.7.6.3 pixels, C.11.1 rescale).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from math import isfinite

import pydicom

from imaging_pipeline.config import SeriesRule
from imaging_pipeline.domain.images import Instance, Series, Technique
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io import acceptance, geometry, planar, sorting
from imaging_pipeline.io.dates import OF_DOCUMENTS, PRECEDENCE, date_of
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.frames import frame_headers
from imaging_pipeline.io.header import File, Header

#: Objects about images, without a geometry of their own to judge.
DOCUMENTS = frozenset({"SR", "SEG", "RTSTRUCT", "PR", "KO", "REG", "RWV", "RTPLAN", "RTDOSE", "DOC", "FID"})

#: Stacks that a message counts one by one.
MAX_NAMED = 8


class Verdict(StrEnum):
    """Whether millimetres and intensities may be taken from a series."""

    OK = "ok"
    WARN = "warn"
    REJECT = "reject"


def verdict_on(problems: Iterable[Problem]) -> Verdict:
    """Reject with an error, warn with a warning."""
    severities = {problem.severity for problem in problems}
    if Severity.ERROR in severities:
        return Verdict.REJECT
    return Verdict.WARN if Severity.WARNING in severities else Verdict.OK


@dataclass(frozen=True)
class SeriesRecord:
    """A series, the files it lies in (in the order of its instances), and what is to be said of it."""

    series: Series
    paths: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What its problems come to."""
        return verdict_on(self.problems)

    @property
    def is_localizer(self) -> bool:
        """Whether it only shows where the slices lie."""
        return any(problem.code == "W-GEOM-LOCALIZER" for problem in self.problems)


def records_of(files: Sequence[File], strays: Sequence[File], rules: Sequence[SeriesRule]) -> tuple[SeriesRecord, ...]:
    """One record for each stack among the files that name one SeriesInstanceUID.

    Parameters
    ----------
    files
        At least one; those with a fault too, so that a stack that lost a slice knows it.
    strays
        Files with a fault that hides what series they belong to.
    """
    uid = files[0].header.series_instance_uid
    sound = [file for file in files if file.header.fault is None]
    damaged = [file for file in files if file.header.fault is not None]
    if not sound:
        found = finding("E-SERIES-DAMAGED", uid, f"{len(damaged)} files, all damaged")
        return (_record(damaged, rules, (found,)),)
    if all(file.header.modality in DOCUMENTS for file in sound):
        return (_record(sound, rules),)
    try:
        if all(file.header.modality in planar.MODALITIES for file in sound):
            return _images(sound, rules, uid)
        stacks, problems = _stacks(sound, uid)
    except _RefusalError as refusal:
        return (_record(sound, rules, refusal.problems),)
    return tuple(_stack_record(stack, damaged, strays, rules, problems, uid) for stack in stacks)


class _RefusalError(Exception):
    """A series of which no stack can be made."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


def _stacks(files: list[File], uid: str) -> tuple[list[list[File]], list[Problem]]:
    """The stacks in a series, and what is to be said of all of them."""
    single = _once(files, uid)
    frames = _frames(single, uid)
    refusals = acceptance.refusals(frames, uid)
    if refusals:
        raise _RefusalError(*refusals)
    planes = sorting.planes(frames)
    if len(frames) > len(single) and (len(planes) > 1 or sorting.crowd(frames) > 1):
        raise _RefusalError(finding("E-UNSUPPORTED", uid, "several stacks in one multi-frame file"))
    stacks = [stack for plane in planes for stack in _told_apart(plane, uid)]
    problems = _copies(len(files) - len({file.path for stack in stacks for file in stack}), uid)
    if len(stacks) > 1:
        sizes = " and ".join(str(len(stack)) for stack in stacks[:MAX_NAMED])
        more = f" and {len(stacks) - MAX_NAMED} more" if len(stacks) > MAX_NAMED else ""
        problems.append(finding("W-SERIES-SPLIT", uid, f"stacks of {sizes} slices that differ{more}"))
    return stacks, problems


def _images(files: list[File], rules: Sequence[SeriesRule], uid: str) -> tuple[SeriesRecord, ...]:
    """The records of a series of images that form no stack: one for each file."""
    single = _once(files, uid)
    problems = _copies(len(files) - len(single), uid)
    if len(single) > 1:
        problems.append(finding("N-SERIES-IMAGES", uid, f"{len(single)} images"))
    records = []
    for file in single:
        shown = planar.plane(file.path, file.header)
        record = _record([file], rules, [*problems, *shown.problems])
        records.append(replace(record, series=replace(record.series, grid=shown.grid)))
    return tuple(records)


def _once(files: list[File], uid: str) -> list[File]:
    single = sorting.without_copies(files)
    if single is None:
        raise _RefusalError(finding("E-UID-CONFLICT", uid, "an instance UID with two contents"))
    return single


def _copies(number: int, uid: str) -> list[Problem]:
    return [finding("N-FILE-COPY", uid, f"{number} exact copies")] if number else []


def _told_apart(plane: list[File], uid: str) -> list[list[File]]:
    stacks = sorting.stacks(plane) or sorting.stacks(sorting.without_twins(plane))
    if stacks is None:
        raise _RefusalError(finding("E-GEOM-AMBIGUOUS", uid, f"up to {sorting.crowd(plane)} images at a position"))
    return stacks


def _frames(files: list[File], uid: str) -> list[File]:
    """The frames of a multi-frame file, each as if it were a file; any other files as they are."""
    if all(file.header.number_of_frames in (None, 1) for file in files):
        return files
    if len(files) > 1:
        raise _RefusalError(finding("E-UNSUPPORTED", uid, "several multi-frame files in one series"))
    path, name, header = files[0]
    try:
        headers = frame_headers(pydicom.dcmread(path, stop_before_pixels=True), header)
    except (AttributeError, TypeError, ValueError):
        headers = ()
    if len(headers) != header.number_of_frames:
        raise _RefusalError(finding("E-UNSUPPORTED", uid, "frames without a place"))
    return [File(path, name, frame) for frame in headers]


def _stack_record(
    files: list[File],
    damaged: Sequence[File],
    strays: Sequence[File],
    rules: Sequence[SeriesRule],
    problems: list[Problem],
    uid: str,
) -> SeriesRecord:
    stack = geometry.stack([file.header for file in files], uid)
    ordered = [files[number] for number in stack.order]
    lost = acceptance.lost(files, damaged, strays, uid)
    record = _record(ordered, rules, [*problems, *stack.problems, *lost, *acceptance.mixed(ordered, uid)])
    return replace(record, series=replace(record.series, grid=stack.grid))


def _record(files: Sequence[File], rules: Sequence[SeriesRule], problems: Iterable[Problem] = ()) -> SeriesRecord:
    header = files[0].header
    uid = header.series_instance_uid
    date, oddities = date_of(header, uid, OF_DOCUMENTS if header.modality in DOCUMENTS else PRECEDENCE)
    cautions = [caution for file in files for caution in file.header.cautions]
    found = [*problems, *oddities, *acceptance.gathered(cautions, uid), *acceptance.doubts(header, uid)]
    series = Series(
        series_instance_uid=uid,
        study_instance_uid=header.study_instance_uid,
        sop_class_uid=header.sop_class_uid,
        modality=header.modality,
        date=date,
        role="" if header.is_localizer else _role(header, rules),
        instances=tuple(Instance(name, "") for name in dict.fromkeys(file.header.sop_instance_uid for file in files)),
        technique=_technique(header),
        frames=tuple(file.header.frame_number for file in files if file.header.frame_number),
    )
    return SeriesRecord(series, tuple(dict.fromkeys(file.path for file in files)), tuple(found))


def _role(header: Header, rules: Sequence[SeriesRule]) -> str:
    """The role of the first rule that matches."""
    said = {
        "modality": header.modality,
        "series_description": header.series_description,
        "protocol_name": header.protocol_name,
        "body_part_examined": header.body_part_examined,
        "image_type": "\\".join(header.image_type),
    }
    for rule in rules:
        if all(fnmatchcase(text.lower(), getattr(rule, name).lower()) for name, text in said.items()):
            return rule.role
    return ""


def _technique(header: Header) -> Technique:
    return Technique(
        kvp=_finite(header.kvp),
        convolution_kernel="\\".join(header.convolution_kernel) or None,
        slice_thickness=_finite(header.slice_thickness),
        contrast_bolus_agent=header.contrast_bolus_agent or None,
        manufacturer_model_name=header.manufacturer_model_name or None,
        repetition_time=_finite(header.repetition_time),
        echo_time=_finite(header.echo_time),
        scanning_sequence="\\".join(header.scanning_sequence) or None,
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and isfinite(number) else None
