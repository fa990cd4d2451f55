"""From the files of a series to a volume: pixels decoded, scaled, in place.

Source: DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from imaging_pipeline import plugins
from imaging_pipeline.config import Config
from imaging_pipeline.domain.images import Instance, Series, Volume
from imaging_pipeline.domain.quantities import COUNTS, HU, ONE
from imaging_pipeline.errors import ConfigurationError, NothingToDoError, Problem, RefusedError, Severity
from imaging_pipeline.io import geometry, planar
from imaging_pipeline.io.acceptance import PET_UNITS
from imaging_pipeline.io.decode import Stored, picture, stored_pixels
from imaging_pipeline.io.dicom import DOCUMENTS, SeriesRecord, Verdict, verdict_on
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.foreign import compact
from imaging_pipeline.io.frames import frame_headers
from imaging_pipeline.io.header import Header
from imaging_pipeline.io.nifti import read_nifti, write_nifti
from imaging_pipeline.io.nrrd import read_nrrd
from imaging_pipeline.io.prescan import PLAINLY, Scanner, inflated
from imaging_pipeline.io.sanity import density_problems, unit_of
from imaging_pipeline.io.straighten import straightened

#: Gives the bytes of an instance's file.
Read = Callable[[Instance], bytes]

_INT16 = np.iinfo(np.int16)

#: No CT scale goes lower; padding does.
LOWEST_HU = -1024.0
AIR_HU = -1000


def load_ct(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """CT numbers were taken from the stored values by each slice's own slope and intercept."""
    return _volume(series, read, HU)


def load_mr(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """MR signal was taken as stored, or scaled where the scanner states a scale."""
    return _volume(series, read, ONE)


def load_pt(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """PET activity was taken from the stored values by each slice's own slope, in the unit the file states."""
    header = Scanner().parse(read(series.instances[0]), series.instances[0].sop_instance_uid)
    return _volume(series, read, PET_UNITS.get(header.units, ONE))


def load_us(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """Ultrasound was taken as brightness, colour as its luminance, at the scale of its regions."""
    return _pictures(series, read, ONE)


def load_nm(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """Planar scintigraphy was taken as counts, the anterior view before the posterior."""
    return _pictures(series, read, COUNTS)


def load_radiograph(series: Series, read: Read, config: Config) -> Volume:  # noqa: ARG001 - a loader's signature
    """Radiographs were taken as stored, dense parts bright, at the pixel size in the patient where it is known."""
    return _pictures(series, read, ONE)


def load(record: SeriesRecord, config: Config) -> Volume:
    """A series' volume, by the loader of its modality.

    Raises
    ------
    RefusedError
        When the series was refused, its files changed, or its pixels cannot be decoded.
    """
    for problem in record.problems:
        if problem.severity is Severity.ERROR:
            raise RefusedError.of(problem)
    loader = plugins.load("loaders", record.series.modality)
    volume: Volume = loader(record.series, reader(record), config)
    return volume


def open_series(place: Path, series_uid: str | None = None) -> tuple[Volume, Verdict, tuple[Problem, ...]]:
    """One image, its verdict and what is to be said of it: a folder or file of DICOM, a NIfTI or an NRRD file.

    Parameters
    ----------
    series_uid
        Which series, where the folder holds several.

    Raises
    ------
    RefusedError
        When the image cannot be trusted.
    NothingToDoError, ConfigurationError
        When there is none, or more than one.
    """
    if place.name.lower().endswith((".nii", ".nii.gz", ".nrrd")):
        volume, problems = _open_voxels(place)
    else:
        record, about_patient = _only_image(place, series_uid)
        volume = load(record, Config())
        problems = (*about_patient, *record.problems, *density_problems(volume))
    return volume, verdict_on(problems), problems


def convert(place: Path, series_uid: str | None, out: Path) -> tuple[Verdict, tuple[Problem, ...]]:
    """Write what `open_series` opens as NIfTI in its unit; its verdict and what is to be said of it."""
    volume, verdict, problems = open_series(place, series_uid)
    write_nifti(volume, out)
    return verdict, problems


def _open_voxels(path: Path) -> tuple[Volume, tuple[Problem, ...]]:
    read = read_nrrd if path.suffix.lower() == ".nrrd" else read_nifti
    volume = read(path)
    unit, problems = unit_of(volume.array, path.name)
    series = replace(volume.series, modality="CT" if unit == HU else "")
    return replace(volume, unit=unit, series=series), problems


def _only_image(place: Path, series_uid: str | None) -> tuple[SeriesRecord, tuple[Problem, ...]]:
    found = index(place, Config())
    images = [
        (record, patient.problems)
        for patient in found.patients
        for record in patient.series
        if record.series.modality not in DOCUMENTS and series_uid in (None, record.series.series_instance_uid)
    ]
    # A localizer beside slices is no choice.
    images = [image for image in images if not image[0].is_localizer] or images
    if not images:
        first = f", the first {found.rejected[0].code}" if found.rejected else ""
        raise NothingToDoError(
            "E-NOTHING",
            place.name,
            found=f"no image series; {len(found.rejected)} files refused{first}",
            expected="a DICOM image series",
            remedy="`imaging-pipeline index` says why each file was refused",
        )
    if len(images) > 1:
        uids = sorted({record.series.series_instance_uid for record, _ in images})
        raise ConfigurationError(
            "E-SERIES-CHOICE",
            place.name,
            found=f"{len(images)} image series: {', '.join(uids[:8])}",
            expected="one, or its --series-uid",
            remedy="name one of them" if len(uids) > 1 else "separate the acquisitions at their source",
        )
    return images[0]


def reader(record: SeriesRecord) -> Read:
    """Reads the files of a record; one that changed since its digest was taken is refused."""
    paths = dict(zip(record.series.instances, record.paths, strict=True))

    def read(instance: Instance) -> bytes:
        path = paths[instance]
        descriptor = os.open(path, PLAINLY)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            content = stream.read()
        if instance.sha256 and sha256(content).hexdigest() != instance.sha256:
            raise _changed(Path(path).name)
        return content

    return read


def _volume(series: Series, read: Read, unit: str) -> Volume:
    uid = series.series_instance_uid
    array, headers = _slices(series, read)
    stack = geometry.stack(headers, uid)
    if stack.grid is None or stack.grid != series.grid:
        raise _changed(uid)
    if stack.order != tuple(range(len(headers))):
        array = array[list(stack.order)]
    return Volume(straightened(array, stack.grid, stack), stack.grid, unit, series)


def _slices(series: Series, read: Read) -> tuple[NDArray[Any], list[Header]]:
    """The scaled slices as they lie in the files: int16 as long as that holds them exactly, else float32."""
    headers: list[Header] = []
    array: NDArray[Any] = np.empty(0, np.int16)
    for header, stored in _frames(series, read):
        if not headers:
            frames = len(series.instances) * int(header.number_of_frames or 1)
            array = np.empty((frames, *stored.shape), np.int16)
        if stored.shape != array.shape[1:] or len(headers) == len(array):
            raise _changed(series.series_instance_uid)
        if array.dtype == np.int16 and not _fits(stored, header):
            array = array.astype(np.float32)
        _scale(stored, header, array[len(headers)])
        _clear_padding(stored, header, array[len(headers)])
        headers.append(header)
    return array[: len(headers)], headers


def _frames(series: Series, read: Read) -> Iterator[tuple[Header, Stored]]:
    """Header and stored values of every frame, file by file."""
    scanner = Scanner()
    for instance in series.instances:
        content = read(instance)
        header = scanner.parse(content, instance.sop_instance_uid)
        if header.fault is not None:
            raise RefusedError.of(header.fault)
        content = inflated(content, header.transfer_syntax_uid)
        frames: tuple[Header, ...] = (header,)
        if header.number_of_frames not in (None, 1):
            frames = frame_headers(pydicom.dcmread(BytesIO(content), stop_before_pixels=True), header)
        for number, frame in enumerate(frames):
            yield frame, stored_pixels(content, frame, instance.sop_instance_uid, number)


def _pictures(series: Series, read: Read, unit: str) -> Volume:
    """The frames of a planar image's one file."""
    instance = series.instances[0]
    content = read(instance)
    header = Scanner().parse(content, instance.sop_instance_uid)
    if header.fault is not None:
        raise RefusedError.of(header.fault)
    shown = planar.plane(BytesIO(content), header)
    if shown.grid is None or shown.grid != series.grid:
        raise _changed(series.series_instance_uid)
    document = pydicom.dcmread(BytesIO(content))
    frames = [_grey(picture(document, header, instance.sop_instance_uid, frame), header) for frame in shown.order]
    return Volume(compact(np.stack(frames)), shown.grid, unit, series)


def _grey(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Values scaled as stated, high ones bright."""
    if header.photometric_interpretation == "MONOCHROME1":
        assert header.bits_stored is not None
        signed = stored.dtype.kind == "i"
        stored = ~stored if signed else stored ^ stored.dtype.type((1 << header.bits_stored) - 1)
    slope, intercept = _rescale(header)
    return stored if (slope, intercept) == (1.0, 0.0) else stored * np.float32(slope) + np.float32(intercept)


def _fits(stored: Stored, header: Header) -> bool:
    """Whether int16 holds every scaled value exactly."""
    slope, intercept = _rescale(header)
    if slope != 1.0 or not intercept.is_integer():
        return False
    limits = np.iinfo(stored.dtype)
    span = 16 - (header.bits_stored or 16)
    low, high = limits.min >> span, limits.max >> span
    if low + intercept < _INT16.min:
        low = int(stored.min())
    if high + intercept > _INT16.max:
        high = int(stored.max())
    return _INT16.min <= min(low + intercept, intercept) and max(high + intercept, intercept) <= _INT16.max


def _scale(stored: Stored, header: Header, out: NDArray[Any]) -> None:
    slope, intercept = _rescale(header)
    if out.dtype == np.int16:
        # Modulo 2^16 the sum of unsigned values is the same, and it is known to fit.
        np.add(stored.view(np.int16), np.int16(intercept), out=out)
    else:
        np.multiply(stored, np.float32(slope), out=out)
        out += np.float32(intercept)


def _clear_padding(stored: Stored, header: Header, out: NDArray[Any]) -> None:
    """Make air of what lies outside the field of view, where that is stored as a density nothing has."""
    padding = header.pixel_padding_value
    if padding is None or header.modality != "CT":
        return
    slope, intercept = _rescale(header)
    value = np.uint16(padding & 0xFFFF).astype(stored.dtype)
    if float(value) * slope + intercept < LOWEST_HU:
        padded = stored == value
        if padded.any():
            out[padded] = AIR_HU


def _rescale(header: Header) -> tuple[float, float]:
    slope, intercept = header.rescale_slope, header.rescale_intercept
    return (1.0, 0.0) if slope is None or intercept is None else (slope, intercept)


def _changed(subject: str) -> RefusedError:
    return RefusedError(
        "E-FILE-CHANGED",
        subject,
        found="another content than when the folder was indexed",
        expected="files that stay as they are during a run",
        remedy="run again once nobody writes to the folder",
    )
