"""What a series is refused for or used with caution, apart from where its slices lie.

Source: DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (rescale), C.8.2.1.1.1 (localizers).
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline import plugins
from imaging_pipeline.domain.quantities import COUNTS
from imaging_pipeline.errors import Problem
from imaging_pipeline.io import geometry
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import File, Header

#: A stack of one technique has one value of each.
_TECHNIQUE = ("kvp", "convolution_kernel", "contrast_bolus_agent", "slice_thickness", "echo_time")
#: Modalities whose stored values mean nothing without a rescale.
_SCALED = ("CT", "PT")

#: What a single slice is judged by, but for its position.
_JUDGED = attrgetter(
    *(
        f"header.{name}"
        for name in (
            *("image_orientation_patient", "pixel_spacing", "imager_pixel_spacing", "modality", "units"),
            *("bits_allocated", "bits_stored", "high_bit", "pixel_representation", "samples_per_pixel"),
            *("photometric_interpretation", "rescale_slope", "rescale_intercept"),
        )
    )
)

#: Slices of a head show a face once they are rendered.
_HEADS_IN = ("CT", "MR", "PT")
_HEAD = re.compile("HEAD|BRAIN|SKULL|FACE|ORBIT")

#: Units of PET (0054,1001) in UCUM. Source: DICOM PS3.3 C.8.9.1.1.3.
PET_UNITS = {"BQML": "Bq/mL", "CNTS": COUNTS, "GML": "g/mL"}

#: No unit in use needs a larger slope or intercept; single precision holds what comes of them.
LARGEST = 1e9
#: Grey slices have 10 to 16 bits, some derived ones 8; fewer are a lie that would cut values off.
FEWEST_BITS = 8

#: JPEG baseline and extended, which know no lossless form, whatever the header says of it.
_ALWAYS_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")

#: Slices that agree, as a part of all, before the others are odd.
MOST = 0.75


def gathered(problems: Iterable[Problem], subject: str) -> list[Problem]:
    """Problems of single files, one for each code."""
    by_code: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_code[problem.code].append(problem)
    return [
        replace(alike[0], subject=subject, found=f"{alike[0].found}, in {len(alike)} files")
        for alike in by_code.values()
    ]


def refusals(files: Sequence[File], uid: str) -> list[Problem]:
    """Why no number is taken from a series, each reason once."""
    unknown = {file.header.modality for file in files} - set(plugins.names("loaders"))
    if unknown:
        return [finding("E-UNSUPPORTED", uid, f"modality {', '.join(filter(str.isalnum, sorted(unknown))) or '?'}")]
    if any(file.header.rows is None for file in files):
        return [finding("E-UNSUPPORTED", uid, "an object that is no image")]
    # Slices that are judged alike are judged once.
    kinds = {(_JUDGED(file), geometry.is_place(file.header.image_position_patient)): file.header for file in files}
    for check in (geometry.plane_problem, _format, rescale_problem, _units):
        if any(check(header, uid) for header in kinds.values()):
            return gathered((problem for file in files if (problem := check(file.header, uid))), uid)
    return []


def _format(header: Header, uid: str) -> Problem | None:
    stored = header.bits_stored or 0
    sound = (
        header.bits_allocated == 16
        and FEWEST_BITS <= stored <= 16
        and header.high_bit == stored - 1
        and header.pixel_representation in (0, 1)
        and header.samples_per_pixel == 1
        and header.photometric_interpretation == "MONOCHROME2"
    )
    return None if sound else finding("E-PIX-FORMAT", uid, f"another format, {stored} bits stored")


def rescale_problem(header: Header, uid: str) -> Problem | None:
    """Why stored values cannot be scaled, if they cannot."""
    slope, intercept = header.rescale_slope, header.rescale_intercept
    if slope is None and intercept is None and header.modality not in _SCALED:
        return None
    if slope is not None and intercept is not None and 0 < slope <= LARGEST and abs(intercept) <= LARGEST:
        return None
    return finding("E-HU-RESCALE" if header.modality == "CT" else "E-PIX-RESCALE", uid, "no usable rescale")


def _units(header: Header, uid: str) -> Problem | None:
    known = header.modality != "PT" or header.units in PET_UNITS
    return None if known else finding("E-PIX-UNITS", uid, "no known Units")


def doubts(header: Header, uid: str) -> list[Problem]:
    """What sort of image asks for caution."""
    burned = header.burned_in_annotation
    is_lossy = header.transfer_syntax_uid in _ALWAYS_LOSSY
    head = header.modality in _HEADS_IN and bool(_HEAD.search(header.body_part_examined.upper()))
    kinds = (
        ("W-PHI-BURNED", burned == "YES" or (header.modality == "US" and burned != "NO"), "text within the image"),
        ("W-PHI-FACE", head, "a scan of the head"),
        ("W-GEOM-LOCALIZER", header.is_localizer, "a localizer"),
        ("W-GEOM-MOSAIC", "MOSAIC" in header.image_type, "slices tiled into one image"),
        ("W-HU-TYPE", header.modality == "CT" and header.rescale_type not in ("", "HU"), "another RescaleType"),
        ("N-PIX-PADDING", header.modality == "CT" and header.pixel_padding_value is not None, "a padding value"),
        ("W-PIX-LOSSY", header.lossy_image_compression == "01" or is_lossy, "lossy compression"),
    )
    return [finding(code, uid, found) for code, is_so, found in kinds if is_so]


def mixed(files: Sequence[File], uid: str) -> list[Problem]:
    """What changes within a stack though it should not."""
    several = [name for name in _TECHNIQUE if len({getattr(file.header, name) for file in files}) > 1]
    # Some scanners scale every slice by itself; a few slices that differ from all others are odd.
    scales = Counter((file.header.rescale_slope, file.header.rescale_intercept) for file in files)
    if len(files) > max(scales.values()) > MOST * len(files):
        several.append("rescale, in a few slices")
    return [finding("W-SERIES-MIXED", uid, f"several values of {', '.join(several)}")] if several else []


def lost(files: Sequence[File], damaged: Sequence[File], strays: Sequence[File], uid: str) -> list[Problem]:
    """Slices that a stack lost to damaged files, or may have lost to refused files beside its own.

    A gap within the stack shows itself; a slice lost at its end leaves only the file.
    """
    instances = {file.header.sop_instance_uid for file in files}
    places = np.array([file.header.image_position_patient for file in files])
    missing = [
        file
        for file in damaged
        if file.header.sop_instance_uid not in instances and not _is_at(places, file.header.image_position_patient)
    ]
    found = []
    if missing:
        text = f"{len(missing)} slices in damaged files, the first {missing[0].name}"
        found.append(finding("E-GEOM-GAP", uid, text))
    beside = {_sort_of_file(file) for file in files} if strays else set()
    suspects = [file for file in strays if _sort_of_file(file) in beside and _instance(file.header) not in instances]
    if suspects:
        text = f"{len(suspects)} refused files beside it that may be slices of it, the first {suspects[0].name}"
        found.append(finding("W-GEOM-LOST", uid, text))
    return found


def _sort_of_file(file: File) -> tuple[str, str]:
    return os.path.dirname(file.path), os.path.splitext(file.path)[1]  # noqa: PTH120, PTH122 - quick, for thousands


def _instance(header: Header) -> str:
    return header.sop_instance_uid or header.media_storage_sop_instance_uid


def _is_at(places: NDArray[np.float64], position: tuple[float, ...]) -> bool:
    return len(position) == 3 and bool(np.linalg.norm(places - position, axis=1).min() <= geometry.SAME_POSITION_MM)
