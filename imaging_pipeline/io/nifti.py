"""NIfTI in and out: RAS there, LPS here."""

from __future__ import annotations

import gzip
import logging
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.io.foreign import (
    RAS_TO_LPS,
    check_size,
    content_of,
    file_series,
    refusal,
    require_affine,
    require_numbers,
    slice_axis,
    unpacked,
    volume_of,
)
from imaging_pipeline.store import whole_file

_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
_HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348

#: Codes of a place in the patient; higher ones are those of a template, whose millimetres are not the patient's.
_IN_PATIENT = (1, 2)
#: Spacings are stated twice, in single precision.
_SAME_SPACING = 0.01

# What nibabel would say of a header that it mends.
_UNHEARD = logging.Logger("nifti", logging.CRITICAL + 1)


def read_nifti(path: Path, unit: str = "1", modality: str = "") -> Volume:
    """A NIfTI file as a volume; what its numbers mean the file does not say, the caller does.

    The lattice is kept: axes are put in (slice, row, column) order, nothing is
    resampled. Slices lie along the axis the file names, else the coarsest, else
    the most superior-inferior one.

    Parameters
    ----------
    unit
        UCUM, as `Volume.unit`.

    Raises
    ------
    RefusedError
        When the file is damaged, has several frames, or no valid place.
    """
    raw = content_of(path)
    header = _header(raw, path.name)
    try:
        # Numbers beyond all bounds become no numbers, and are refused as such.
        with np.errstate(all="ignore"):
            matrix = _affine(header, path.name)
            voxels = _voxels(raw, header, path.name)
        stated = header.get_dim_info()[2]
    except (HeaderDataError, KeyError, OverflowError, ValueError) as error:
        raise refusal("E-FILE-NIFTI", path.name, "a header field malformed", "the fields of NIfTI") from error
    return volume_of(voxels, matrix, slice_axis(matrix) if stated is None else stated, file_series(raw, modality), unit)


def write_nifti(image: Volume | Mask, path: Path) -> None:
    """Write a volume or a mask; equal voxels and place give equal bytes.

    Raises
    ------
    OutputError
        When the place cannot be written.
    SpaceError
        When the voxels have no place in the patient, which every reader of the file would believe they have.
    """
    image.grid.require_patient(f"writing {path.name}")
    array = image.array.astype(np.uint8) if isinstance(image, Mask) else image.array
    # Index (column, row, slice) is the same memory read backwards.
    affine = RAS_TO_LPS @ image.grid.matrix[:, [2, 1, 0, 3]]
    file = nib.Nifti1Image(array.transpose(), affine)
    file.header.set_xyzt_units("mm")
    file.header.set_dim_info(slice=2)
    file.set_sform(affine, code="scanner")
    file.set_qform(affine, code="scanner")
    with whole_file(path) as stream:
        if path.suffix != ".gz":
            file.to_stream(stream)
            return
        # No name and no time in the stream: they would make equal content differ.
        with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=4, mtime=0) as packed:
            file.to_stream(packed)


def _header(raw: bytes, subject: str) -> Any:
    start = unpacked(raw, _HEADER_BYTES, subject)
    kind = nib.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Header
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        header.check_fix(logger=_UNHEARD)
    except (HeaderDataError, WrapStructError) as error:
        raise refusal("E-FILE-NIFTI", subject, "no NIfTI header", "a NIfTI file") from error
    if not header["magic"].item().startswith(b"n+"):
        raise refusal("E-FILE-NIFTI", subject, "a header without its voxels", "header and voxels in one file")
    return header


def _affine(header: Any, subject: str) -> NDArray[np.float64]:
    """From (i, j, k) to LPS mm: the sform, unless only the qform is of the patient."""
    forms = [header.get_sform(coded=True), header.get_qform(coded=True)]
    coded = [(matrix, code) for matrix, code in forms if code]
    if not coded:
        raise refusal("E-GEOM-AFFINE", subject, "neither sform nor qform", "a place for every voxel")
    patient = [matrix for matrix, code in coded if code in _IN_PATIENT]
    matrix = (patient or [matrix for matrix, _ in coded])[0]
    scale = _MM_PER_UNIT.get(header.get_xyzt_units()[0], 1.0)
    affine: NDArray[np.float64] = RAS_TO_LPS @ np.diag([scale, scale, scale, 1.0]) @ matrix
    require_affine(affine, subject)
    # A program that changed one of these and not the other leaves two truths.
    stated = header["pixdim"][1:4]
    if not np.allclose(np.linalg.norm(matrix[:3, :3], axis=0), stated, rtol=_SAME_SPACING):
        raise refusal("E-GEOM-AFFINE", subject, "one spacing in pixdim, another in sform", "the same spacing in both")
    if len({np.sign(np.linalg.det(matrix[:3, :3])) for matrix in patient}) > 1:
        raise refusal("E-GEOM-AFFINE", subject, "sform and qform that mirror each other", "the same left and right")
    return affine


def _voxels(raw: bytes, header: Any, subject: str) -> NDArray[Any]:
    """The (I, J, K) array, scaled as the header says."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or any(size != 1 for size in shape[3:]):
        raise refusal("E-PIX-SIZE", subject, f"shape {shape}", "one volume of three axes")
    if dtype.kind not in "iuf":
        raise refusal("E-PIX-FORMAT", subject, "voxels that are not single numbers", "integers or floats")
    offset, count = header.get_data_offset(), math.prod(shape)
    end = offset + count * dtype.itemsize
    check_size(count, end, len(raw), subject, packed=raw.startswith(b"\x1f\x8b"))
    content = unpacked(raw, end, subject)
    if len(content) < end:
        raise refusal("E-FILE-TRUNCATED", subject, f"{len(content)} bytes", f"{end} bytes, as its header says")
    voxels = np.frombuffer(content, dtype, count, offset).reshape(shape[:3], order="F")
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        voxels = voxels * slope + intercept
    require_numbers(voxels, subject)
    return voxels
