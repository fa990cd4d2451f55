"""Images of one series, sorted into what can be one stack: copies used once, acquisitions told apart.

Source: DICOM PS3.3 C.7.6.2 (image planes), C.12.1 (an instance UID names one content).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from hashlib import sha256
from operator import attrgetter
from pathlib import Path

import numpy as np

from imaging_pipeline.io import geometry
from imaging_pipeline.io.header import File
from imaging_pipeline.io.prescan import inflated

_OF_ONE_STACK = attrgetter(
    "header.modality",
    "header.sop_class_uid",
    "header.rows",
    "header.columns",
    "header.frame_of_reference_uid",
    "header.is_localizer",
    "header.units",
)

_OF_ONE_IMAGE = attrgetter(
    "header.transfer_syntax_uid",
    "header.series_instance_uid",
    "header.patient_id",
    "header.image_position_patient",
    "header.image_orientation_patient",
    "header.pixel_spacing",
    "header.rows",
    "header.columns",
    "header.bits_stored",
    "header.pixel_representation",
    "header.rescale_slope",
    "header.rescale_intercept",
)

#: What may tell two images of one place apart, the most telling first.
_TELLING = (
    "header.image_type",
    "header.acquisition_number",
    "header.echo_time",
    "header.temporal_position_identifier",
    "header.diffusion_b_value",
    "header.convolution_kernel",
    "header.contrast_bolus_agent",
    "header.trigger_time",
    "header.content_time",
)


def planes(files: Iterable[File]) -> list[list[File]]:
    """Parts that no stack can mix: another kind of image, matrix, frame of reference or orientation."""
    return [plane for alike in _parts(files, _OF_ONE_STACK) for plane in _orientations(alike)]


def _orientations(files: Iterable[File]) -> list[list[File]]:
    parts = _parts(files, attrgetter("header.image_orientation_patient"))
    known = np.empty((len(parts), 6))
    found: list[list[File]] = []
    for alike in parts:
        cosines = np.array(alike[0].header.image_orientation_patient)
        near = np.flatnonzero(np.abs(known[: len(found)] - cosines).max(axis=1) <= geometry.ORIENTATION)
        if near.size:
            found[near[0]] += alike
        else:
            known[len(found)] = cosines
            found.append(alike)
    return found


def stacks(files: list[File], telling: Sequence[str] = _TELLING) -> list[list[File]] | None:
    """The files of one plane as stacks with one slice at each position; None where nothing tells the images apart."""
    images = crowd(files)
    if images == 1:
        return [files]
    for number, name in enumerate(telling, start=1):
        parts = _parts(files, attrgetter(name))
        # What differs from slice to slice says nothing: there are no more stacks than images at one position.
        if 1 < len(parts) <= images:
            found = [stacks(part, telling[number:]) for part in parts]
            if None not in found:
                return [stack for each in found if each for stack in each]
    return None


def crowd(files: Sequence[File]) -> int:
    """The greatest number of images at one position."""
    heights = np.sort(geometry.heights([file.header for file in files]))
    levels = np.cumsum(np.diff(heights, prepend=heights[0]) > geometry.SAME_POSITION_MM)
    return int(np.bincount(levels).max())


def without_copies(files: list[File]) -> list[File] | None:
    """One file for each instance UID, the least doubtful; None where one UID names two contents."""
    by_uid = _parts(files, attrgetter("header.sop_instance_uid"))
    if len(by_uid) == len(files):
        return files
    if any(len(_contents(alike)) > 1 for alike in by_uid):
        return None
    return [min(alike, key=lambda file: len(file.header.cautions)) for alike in by_uid]


def without_twins(files: Iterable[File]) -> list[File]:
    """One of each of several files with the same pixels in the same place, whatever their UIDs."""
    at_one_place = _parts(files, attrgetter("header.image_position_patient"))
    return [content[0] for place in at_one_place for content in _contents(place)]


def _contents(files: list[File]) -> list[list[File]]:
    return _parts(files, _content) if len(files) > 1 else [files]


def _content(file: File) -> Hashable:
    """What makes two files one image: pixels, place and scale; not names, numbers or the rest of the header."""
    header = file.header
    data_set = inflated(Path(file.path).read_bytes(), header.transfer_syntax_uid)
    pixels = data_set[header.pixel_offset : header.pixel_offset + header.pixel_length]
    return sha256(pixels).digest(), _OF_ONE_IMAGE(file)


def _parts(files: Iterable[File], key: Callable[[File], Hashable]) -> list[list[File]]:
    parts: dict[Hashable, list[File]] = defaultdict(list)
    for file in files:
        parts[key(file)].append(file)
    return list(parts.values())
