"""Foreign voxel arrays in this package's order: (slice, row, column), the affine straight to LPS mm."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Instance, Series, Volume
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.geometry import FARTHEST_MM
from imaging_pipeline.io.prescan import MAX_VOXELS

#: What deflate can do at most, as an empty label map shows; a header that claims more is a lie. Source: zlib's notes.
MAX_DEFLATE_RATIO = 1032

#: From RAS to LPS: the first two world axes turn round.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: An axis this much coarser than the others is the one the slices were stacked along.
COARSER = 1.2

#: Axes may be this far from right angles (0.1 degrees, as the gantry tilt that needs no correction).
MAX_SHEAR = float(np.sin(np.radians(0.1)))


#: Shorter or longer voxels are of another unit than millimetres.
VOXEL_MM = (0.01, 100.0)


def content_of(path: Path) -> bytes:
    """The bytes of a plain file; a pipe is not waited for, a device not read.

    Raises
    ------
    RefusedError
        When it is something else, or cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return stream.read()
    except OSError as error:
        found = os.strerror(error.errno or 0)
    else:
        found = "a pipe or device"
    raise refusal("E-FILE-UNREADABLE", path.name, found, "a plain file that may be read")


def slice_axis(matrix: ArrayLike) -> int:
    """Which array axis the slices are stacked along: the coarsest if one stands out, else the most superior-inferior.

    Parameters
    ----------
    matrix
        (4, 4) affine from the array's own index to LPS mm.
    """
    columns = np.asarray(matrix, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    middle, longest = sorted(lengths)[1:]
    if longest > COARSER * middle:
        return int(np.argmax(lengths))
    return int(np.argmax(np.abs(columns[2]) / lengths))


def volume_of(array: NDArray[Any], matrix: ArrayLike, axis: int, series: Series, unit: str) -> Volume:
    """A file's (i, j, k) array as a volume, `axis` first: transposed, neither resampled nor flipped.

    Parameters
    ----------
    array
        Shape (I, J, K), as NIfTI and NRRD index it, the fastest axis first.
    matrix
        (4, 4) affine from (i, j, k) to LPS mm.
    """
    row, column = (other for other in (2, 1, 0) if other != axis)
    moved = array.transpose(axis, row, column)
    affine = np.asarray(matrix, dtype=np.float64)[:, [axis, row, column, 3]]
    slices, rows, columns = moved.shape
    grid = Grid((slices, rows, columns), as_matrix(affine))
    return Volume(compact(moved), grid, unit, replace(series, grid=grid))


def file_series(raw: bytes, modality: str) -> Series:
    """A file that knows no series, as one: named by its content alone."""
    return Series("", "", "", modality, "", "", (Instance("", sha256(raw).hexdigest()),))


def compact(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in the smallest kind of number a volume may hold: int16 where that holds every value, else float32."""
    limits = np.iinfo(np.int16)
    whole = array.dtype.kind in "iu" and array.min() >= limits.min and array.max() <= limits.max
    return np.array(array, dtype=np.int16 if whole else np.float32, order="C")


def unpacked(raw: bytes, length: int, subject: str) -> bytes:
    """The first bytes of a file that may be gzipped; no more is inflated than asked for.

    Raises
    ------
    RefusedError
        When the stream is damaged.
    """
    if not raw.startswith(b"\x1f\x8b"):
        return raw[:length]
    try:
        with gzip.GzipFile(fileobj=BytesIO(raw)) as packed:
            content = packed.read(length)
            packed.read(1)  # at the end of the stream this compares its checksum
    except (OSError, EOFError, zlib.error) as error:
        raise refusal("E-FILE-TRUNCATED", subject, "a damaged gzip stream", "a whole one") from error
    return content


def require_affine(matrix: NDArray[np.float64], subject: str) -> None:
    """Refuse an affine that places no voxels in a patient: not finite, flat, of another unit or sheared.

    Raises
    ------
    RefusedError
        Naming the file.
    """
    columns = matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    low_mm, high_mm = VOXEL_MM
    if not np.isfinite(matrix).all() or not ((low_mm <= lengths) & (lengths <= high_mm)).all():
        found = f"voxels that do not measure {low_mm} to {high_mm:g} mm"
    elif np.abs(matrix[:3, 3]).sum() > FARTHEST_MM:
        found = "a corner beyond any scanner's room"
    elif np.abs(np.triu((columns / lengths).T @ (columns / lengths), 1)).max() > MAX_SHEAR:
        found = "axes that do not meet at right angles"
    else:
        return
    raise refusal("E-GEOM-AFFINE", subject, found, "a box of voxels with a place")


def require_numbers(array: NDArray[Any], subject: str) -> None:
    """Refuse voxels that are not numbers.

    Raises
    ------
    RefusedError
        Naming the file.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise refusal("E-PIX-FORMAT", subject, "voxels that are not finite", "a number in every voxel")


def check_size(voxels: int, needed_bytes: int, file_bytes: int, subject: str, *, packed: bool) -> None:
    """Hold the size a header states against the file, before anything is allocated.

    Raises
    ------
    RefusedError
        Naming the file.
    """
    if voxels > MAX_VOXELS:
        raise refusal("E-PIX-SIZE", subject, f"{voxels} voxels", f"at most {MAX_VOXELS}")
    if packed and needed_bytes > MAX_DEFLATE_RATIO * file_bytes:
        limit = f"at most {MAX_DEFLATE_RATIO} to 1"
        raise refusal("E-PIX-SIZE", subject, f"{needed_bytes} bytes in {file_bytes}", limit)
    if not packed and needed_bytes > file_bytes:
        raise refusal("E-FILE-TRUNCATED", subject, f"{file_bytes} bytes", f"{needed_bytes}, as its header says")


def refusal(code: str, subject: str, found: str, expected: str) -> RefusedError:
    """A file of voxels that cannot be used."""
    return RefusedError(code, subject, found=found, expected=expected, remedy="write the file again from its source")
