"""From the headers of one series to what was acquired: which files form one stack, and whether to trust it.

Source: DICOM PS3.3 (A.3 and A.4, C.7.6.3 pixels, C.11.1 rescale).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray

from imaging_pipeline import plugins
from imaging_pipeline.config import SeriesRule
from imaging_pipeline.domain.images import Instance, Series, Technique
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io import geometry
from imaging_pipeline.io.dates import OF_DOCUMENTS, PRECEDENCE, date_of
from imaging_pipeline.io.frames import frame_headers
from imaging_pipeline.io.header import Header

#: Objects about images, without a geometry of their own to judge.
DOCUMENTS = frozenset({"SR", "SEG", "RTSTRUCT", "PR", "KO", "REG", "RWV", "RTPLAN", "RTDOSE", "DOC", "FID"})

_LOCALIZER = "W-GEOM-LOCALIZER"
_AGAIN = "export the series again from its source"


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


class File(NamedTuple):
    """One file of a scan folder: where it is, what messages call it, what it says."""

    path: Path
    name: str
    header: Header


@dataclass(frozen=True)
class SeriesRecord:
    """A series, the files it lies in (in the order of its instances), and what is to be said of it."""

    series: Series
    paths: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What its problems come to."""
        return verdict_on(self.problems)

    @property
    def is_localizer(self) -> bool:
        """Whether it only shows where the slices lie."""
        return any(problem.code == _LOCALIZER for problem in self.problems)


def records_of(files: Sequence[File], rules: Sequence[SeriesRule]) -> tuple[SeriesRecord, ...]:
    """One record for each stack among the files that name one SeriesInstanceUID.

    Parameters
    ----------
    files
        At least one; those with a fault too, so that a stack that lost a slice knows it.
    """
    uid = files[0].header.series_instance_uid
    sound = [file for file in files if file.header.fault is None]
    lost = [file for file in files if file.header.fault is not None]
    if not sound:
        found = Problem("E-SERIES-DAMAGED", uid, f"{len(lost)} files, all damaged", "readable files", _AGAIN)
        return (_record(lost, rules, (found,)),)
    if sound[0].header.modality in DOCUMENTS or sound[0].header.rows is None:
        return (_record(sound, rules),)
    sound, problems = _without_copies(sound, uid)
    if _is_multi_frame(sound):
        sound, more = _frames(sound, uid)
        problems += more
    problems += _refusals(sound, uid)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return (_record(sound, rules, problems),)
    return _stacks(sound, lost, rules, problems, uid)


def _stacks(
    files: list[File], lost: list[File], rules: Sequence[SeriesRule], problems: list[Problem], uid: str
) -> tuple[SeriesRecord, ...]:
    stacks: list[list[File]] = []
    planes = _planes(files)
    if _is_multi_frame(files) and (len(planes) > 1 or _crowd(files) > 1):
        return (_record(files, rules, (*problems, _unsupported(uid, "several stacks in one multi-frame file"))),)
    for part in planes:
        separated = _separated(part, _TELLING)
        if separated is None:
            single = _without_twins(part)
            separated = _separated(single, _TELLING)
            problems = [*problems, *_copied(len(part) - len(single), uid)]
        if separated is None:
            return (_record(files, rules, (*problems, _ambiguous(part, uid))),)
        stacks += separated
    if len(stacks) > 1:
        found = f"stacks of {' and '.join(str(len(part)) for part in stacks)} slices that differ"
        problems = [*problems, Problem("W-SERIES-SPLIT", uid, found, "one stack", _SPLIT)]
    return tuple(_stack_record(part, lost, rules, problems, uid) for part in stacks)


_SPLIT = "nothing to do: each stack is taken as a series of its own"


def _stack_record(
    files: list[File], lost: list[File], rules: Sequence[SeriesRule], problems: list[Problem], uid: str
) -> SeriesRecord:
    stack = geometry.stack([file.header for file in files], uid)
    ordered = [files[number] for number in stack.order]
    found = (*problems, *stack.problems, *_lost_slices(files, lost, uid), *_mixed(ordered, uid))
    record = _record(ordered, rules, found)
    return replace(record, series=replace(record.series, grid=stack.grid))


def _record(files: Sequence[File], rules: Sequence[SeriesRule], problems: Iterable[Problem] = ()) -> SeriesRecord:
    header = files[0].header
    uid = header.series_instance_uid
    date, oddities = date_of(header, uid, OF_DOCUMENTS if header.modality in DOCUMENTS else PRECEDENCE)
    cautions = [caution for file in files for caution in file.header.cautions]
    found = [*problems, *oddities, *_gathered(cautions, uid), *_kind_problems(header, uid)]
    series = Series(
        series_instance_uid=uid,
        study_instance_uid=header.study_instance_uid,
        sop_class_uid=header.sop_class_uid,
        modality=header.modality,
        date=date,
        role="" if _is_localizer(header) else _role(header, rules),
        instances=tuple(Instance(name, "") for name in dict.fromkeys(file.header.sop_instance_uid for file in files)),
        technique=_technique(header),
    )
    return SeriesRecord(series, tuple(dict.fromkeys(file.path for file in files)), tuple(found))


def _kind_problems(header: Header, uid: str) -> list[Problem]:
    kinds = (
        (_LOCALIZER, _is_localizer(header), "a localizer", "take no measurement from it"),
        ("W-GEOM-MOSAIC", "MOSAIC" in header.image_type, "slices tiled into one image", "take no position from it"),
        ("W-PIX-LOSSY", header.lossy_image_compression == "01", "lossy compression", "do not compare its densities"),
    )
    return [Problem(code, uid, found, "slices as acquired", remedy) for code, is_so, found, remedy in kinds if is_so]


def _gathered(problems: Iterable[Problem], subject: str) -> list[Problem]:
    """Problems of single files, one for each code."""
    by_code: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_code[problem.code].append(problem)
    return [
        replace(alike[0], subject=subject, found=f"{alike[0].found}, in {len(alike)} files")
        for alike in by_code.values()
    ]


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


# ---- What a whole series is refused for


def _refusals(files: list[File], uid: str) -> list[Problem]:
    header = files[0].header
    if header.modality not in plugins.names("loaders"):
        return [_unsupported(uid, f"modality {header.modality!r}")]
    for check in (geometry.plane_problem, _format_problem, _rescale_problem):
        found = [problem for file in files if (problem := check(file.header, uid)) is not None]
        if found:
            return _gathered(found, uid)
    return []


def _unsupported(uid: str, found: str) -> Problem:
    expected = f"one stack of slices, of modality {' or '.join(plugins.names('loaders'))}"
    return Problem("E-UNSUPPORTED", uid, found, expected, "leave it out, or export it as classic DICOM")


def _format_problem(header: Header, uid: str) -> Problem | None:
    stored = header.bits_stored or 0
    sound = (
        header.bits_allocated == 16
        and 1 <= stored <= 16
        and header.high_bit == stored - 1
        and header.pixel_representation in (0, 1)
        and header.samples_per_pixel == 1
        and header.photometric_interpretation == "MONOCHROME2"
    )
    if sound:
        return None
    found = f"{header.photometric_interpretation or 'no photometric interpretation'} of {stored} bits"
    return Problem("E-PIX-FORMAT", uid, found, "MONOCHROME2, up to 16 bits, right-justified in 16", _AGAIN)


def _rescale_problem(header: Header, uid: str) -> Problem | None:
    slope, intercept = header.rescale_slope, header.rescale_intercept
    stated = slope is not None or intercept is not None
    if not stated and header.modality != "CT":
        return None
    if slope is not None and intercept is not None and isfinite(slope) and isfinite(intercept) and slope > 0:
        return None
    code = "E-HU-RESCALE" if header.modality == "CT" else "E-PIX-RESCALE"
    return Problem(code, uid, "no usable RescaleSlope and RescaleIntercept", "both, the slope above 0", _AGAIN)


# ---- Frames


def _is_multi_frame(files: Sequence[File]) -> bool:
    return any(file.header.number_of_frames not in (None, 1) for file in files)


def _frames(files: list[File], uid: str) -> tuple[list[File], list[Problem]]:
    """The frames of a multi-frame file, each as if it were a file."""
    if len(files) > 1:
        return files, [_unsupported(uid, "several multi-frame files in one series")]
    path, name, header = files[0]
    try:
        headers = frame_headers(pydicom.dcmread(path, stop_before_pixels=True), header)
    except (AttributeError, TypeError, ValueError):
        return files, [_unsupported(uid, "frames without a place")]
    if len(headers) != header.number_of_frames:
        return files, [_unsupported(uid, f"places for {len(headers)} of {header.number_of_frames:g} frames")]
    return [File(path, name, frame) for frame in headers], []


# ---- Copies and conflicts


def _without_copies(files: list[File], uid: str) -> tuple[list[File], list[Problem]]:
    """The files without exact copies; an error where one instance UID names two contents."""
    by_instance = _partition(files, attrgetter("sop_instance_uid"))
    if len(by_instance) == len(files):
        return files, []
    if any(len({_content(file) for file in copies}) > 1 for copies in by_instance if len(copies) > 1):
        found = "an instance UID with two contents"
        return files, [
            Problem("E-UID-CONFLICT", uid, found, "one content for each UID", "find out which file is right")
        ]
    return [copies[0] for copies in by_instance], _copied(len(files) - len(by_instance), uid)


def _copied(count: int, uid: str) -> list[Problem]:
    remedy = "nothing to do: one of each is used"
    return [Problem("N-FILE-COPY", uid, f"{count} exact copies", "each slice once", remedy)] if count else []


def _content(file: File) -> Hashable:
    """What makes two files the same image: pixels, place and scale; not names, numbers or encoding of the header."""
    with file.path.open("rb") as stream:
        stream.seek(file.header.pixel_offset)
        pixels = sha256(stream.read(file.header.pixel_length)).digest()
    return pixels, attrgetter(*_OF_ONE_IMAGE)(file.header)


_OF_ONE_IMAGE = (
    "transfer_syntax_uid",
    "series_instance_uid",
    "patient_id",
    "image_position_patient",
    "image_orientation_patient",
    "pixel_spacing",
    "rows",
    "columns",
    "bits_stored",
    "pixel_representation",
    "rescale_slope",
    "rescale_intercept",
)


def _lost_slices(files: Sequence[File], lost: Sequence[File], uid: str) -> list[Problem]:
    """Damaged files of a series that no intact one makes up for."""
    instances = {file.header.sop_instance_uid for file in files}
    places = np.array([file.header.image_position_patient for file in files])
    missing = [
        file
        for file in lost
        if file.header.sop_instance_uid not in instances and not _is_at(places, file.header.image_position_patient)
    ]
    if not missing:
        return []
    return [geometry.problem("E-GEOM-GAP", uid, f"{len(missing)} slices in damaged files, {missing[0].name} the first")]


def _is_at(places: NDArray[np.float64], position: tuple[float, ...]) -> bool:
    return len(position) == 3 and bool(np.linalg.norm(places - position, axis=1).min() <= geometry.SAME_POSITION_MM)


# ---- Telling stacks apart

#: What may tell two images of one place apart, the most telling first.
_TELLING = (
    "image_type",
    "acquisition_number",
    "echo_time",
    "temporal_position_identifier",
    "diffusion_b_value",
    "convolution_kernel",
    "contrast_bolus_agent",
    "trigger_time",
    "content_time",
)


def _partition(files: Iterable[File], key: Callable[[Header], Hashable]) -> list[list[File]]:
    parts: dict[Hashable, list[File]] = defaultdict(list)
    for file in files:
        parts[key(file.header)].append(file)
    return list(parts.values())


def _planes(files: Sequence[File]) -> list[list[File]]:
    """Parts that no stack can mix: another kind of image, matrix, frame of reference or orientation."""
    parts = []
    for part in _partition(files, lambda header: (_is_localizer(header), *attrgetter(*_OF_ONE_STACK)(header))):
        orientations: list[tuple[NDArray[np.float64], list[File]]] = []
        for alike in _partition(part, attrgetter("image_orientation_patient")):
            cosines = np.array(alike[0].header.image_orientation_patient)
            for other, members in orientations:
                if np.abs(cosines - other).max() <= geometry.ORIENTATION:
                    members += alike
                    break
            else:
                orientations.append((cosines, alike))
        parts += [members for _, members in orientations]
    return parts


_OF_ONE_STACK = ("sop_class_uid", "rows", "columns", "frame_of_reference_uid")


def _is_localizer(header: Header) -> bool:
    return "LOCALIZER" in header.image_type


def _separated(files: list[File], telling: Sequence[str]) -> list[list[File]] | None:
    """Stacks with one slice for each position; None where nothing tells the images apart."""
    crowd = _crowd(files)
    if crowd == 1:
        return [files]
    for number, name in enumerate(telling, start=1):
        parts = _partition(files, attrgetter(name))
        # What differs from slice to slice says nothing: there are no more stacks than images at one position.
        if 1 < len(parts) <= crowd:
            separated = [_separated(part, telling[number:]) for part in parts]
            if None not in separated:
                return [stack for stacks in separated if stacks for stack in stacks]
    return None


def _crowd(files: Sequence[File]) -> int:
    """The greatest number of images at one position."""
    heights = geometry.heights([file.header for file in files])
    heights.sort()
    levels = np.cumsum(np.diff(heights, prepend=heights[0]) > geometry.SAME_POSITION_MM)
    return int(np.bincount(levels).max())


def _without_twins(files: list[File]) -> list[File]:
    """One of each of several images with the same pixels in the same place, whatever their UIDs."""
    return [
        alike[0]
        for place in _partition(files, attrgetter("image_position_patient"))
        for alike in (_distinct(place) if len(place) > 1 else [place])
    ]


def _distinct(files: list[File]) -> list[list[File]]:
    parts: dict[Hashable, list[File]] = defaultdict(list)
    for file in files:
        parts[_content(file)].append(file)
    return list(parts.values())


def _ambiguous(files: Sequence[File], uid: str) -> Problem:
    found = f"up to {_crowd(files)} images at a position, and nothing that tells them apart"
    return Problem("E-GEOM-AMBIGUOUS", uid, found, "one image a position", "separate the acquisitions at their source")


def _mixed(files: Sequence[File], uid: str) -> list[Problem]:
    """What changes within a stack though it should not."""
    names = ("kvp", "convolution_kernel", "contrast_bolus_agent", "slice_thickness", "echo_time")
    mixed = [name for name in names if len({getattr(file.header, name) for file in files}) > 1]
    if not mixed:
        return []
    return [Problem("W-SERIES-MIXED", uid, f"several values of {', '.join(mixed)}", "one technique", _MIXED)]


_MIXED = "do not compare its densities between slices"
