"""NIfTI in and out: RAS there, LPS here."""

from __future__ import annotations

import gzip
import math
from io import BytesIO
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
    raw = path.read_bytes()
    header = _header(raw, path.name)
    matrix = _affine(header, path.name)
    voxels = _voxels(raw, header, path.name)
    stated = header.get_dim_info()[2]
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
        header = kind.from_fileobj(BytesIO(start))
    except (HeaderDataError, WrapStructError) as error:
        raise refusal("E-FILE-NIFTI", subject, "no NIfTI header", "a NIfTI file") from error
    if not header["magic"].item().startswith(b"n+"):
        raise refusal("E-FILE-NIFTI", subject, "a header without its voxels", "header and voxels in one file")
    return header


def _affine(header: Any, subject: str) -> NDArray[np.float64]:
    """From (i, j, k) to LPS mm."""
    for matrix, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        if code:
            scale = _MM_PER_UNIT.get(header.get_xyzt_units()[0], 1.0)
            affine: NDArray[np.float64] = RAS_TO_LPS @ np.diag([scale, scale, scale, 1.0]) @ matrix
            require_affine(affine, subject)
            return affine
    raise refusal("E-GEOM-AFFINE", subject, "neither sform nor qform", "a place for every voxel")


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
