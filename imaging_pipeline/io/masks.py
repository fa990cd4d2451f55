"""Outlines that other programs drew: DICOM SEG, RTSTRUCT, NIfTI and NRRD labels, on the voxels of an image.

Each is first read on the lattice it was drawn on and then put on the image's,
voxel for voxel; a mask that would have to be interpolated is refused.

Source: DICOM PS3.3 A.51 (SEG), A.19.3 (RT Structure Set), C.8.8.6 (contours).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from imaging_pipeline.domain.geometry import Grid, Space, as_matrix
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.errors import RefusedError, SpaceError
from imaging_pipeline.io.contours import filled
from imaging_pipeline.io.documents import document_of
from imaging_pipeline.io.frames import frame_headers
from imaging_pipeline.io.geometry import ORIENTATION, axes_of, plane_problem
from imaging_pipeline.io.header import Header
from imaging_pipeline.io.nifti import read_nifti
from imaging_pipeline.io.nrrd import read_nrrd

#: Affines in single precision and positions of three decimals agree far better than this part of a voxel.
OFF_LATTICE = 0.05
#: Contours are drawn on slices; a tenth of a slice is more than rounding.
OFF_SLICE = 0.1
#: Labels that were scaled in single precision are off by far less.
WHOLE = 1e-3
#: A fractional voxel is inside from half on.
HALF = 0.5

_SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OPEN = ("OPEN_PLANAR", "OPEN_NONPLANAR")


def read_mask(path: Path, volume: Volume, label: int | str = 1) -> Mask:
    """The mask of one label on the voxels of an image.

    Parameters
    ----------
    label
        A label value, a segment's number or label, an ROI's number or name; 1 also names the only one there is.

    Raises
    ------
    RefusedError
        When the file is damaged, or the label is not in it or empty.
    SpaceError
        When the mask was not drawn on this image's voxels.
    """
    return read_mask_on(path, volume.grid, label)


def read_mask_on(path: Path, grid: Grid, label: int | str = 1) -> Mask:
    """As `read_mask`, for an image that is known by its grid alone."""
    put = placed if grid.space is Space.PATIENT else _pixel_for_pixel
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return put(_labelled(read_nifti(path), label, "NIfTI", path.name), grid, path.name)
    if path.suffix.lower() == ".nrrd":
        return put(_labelled(read_nrrd(path), label, "NRRD", path.name), grid, path.name)
    grid.require_patient(f"putting {path.name} on the image")
    document = _document(path)
    with _well_formed(path.name):
        if document.SOPClassUID == _RTSTRUCT:
            return _contoured(document, grid, label, path.name)
        return placed(_segment(document, label, path.name), grid, path.name)


def read_segment(path: Path, label: int | str = 1) -> Mask:
    """One segment of a DICOM SEG on the lattice it was drawn on.

    Raises
    ------
    RefusedError
        When the file is damaged, or the segment is not in it or empty.
    """
    document = _document(path)
    with _well_formed(path.name):
        return _segment(document, label, path.name)


def placed(mask: Mask, grid: Grid, subject: str) -> Mask:
    """A mask on an image's voxels, if its own are the same: turned and shifted, never interpolated.

    Raises
    ------
    SpaceError
        When frame of reference or lattice differ.
    RefusedError
        When part of the mask lies outside the image.
    """
    mine, theirs = mask.grid.frame_of_reference_uid, grid.frame_of_reference_uid
    if mine and theirs and mine != theirs:
        raise _elsewhere(subject, "another frame of reference")
    corners = np.array(np.meshgrid(*((0, size - 1) for size in mask.grid.shape))).reshape(3, -1).T
    exact = grid.to_index(mask.grid.to_lps(corners))
    turn = np.rint(np.linalg.inv(grid.matrix[:3, :3]) @ mask.grid.matrix[:3, :3])
    offset = np.rint(exact[0])
    off = float(np.abs(exact - (corners @ turn.T + offset)).max())
    if not np.array_equal(np.abs(turn).sum(axis=0), np.ones(3)) or off > OFF_LATTICE:
        raise _elsewhere(subject, f"voxels up to {off:.2f} voxels off the image's")
    marked = np.argwhere(mask.array) @ turn.T + offset
    if (marked < 0).any() or (marked >= grid.shape).any():
        raise _refusal("E-MASK-OUTSIDE", subject, "marked voxels outside the image", "a mask inside its image")
    array = np.zeros(grid.shape, dtype=bool)
    array[tuple(marked.T.astype(int))] = True
    return Mask(array, grid, mask.maker)


# ---- Label maps


def _pixel_for_pixel(mask: Mask, grid: Grid, subject: str) -> Mask:
    """A mask of an image without a place: of the same rows and columns, whatever place its file states."""
    if mask.array.shape != grid.shape:
        sizes = " x ".join(str(size) for size in mask.array.shape)
        raise _elsewhere(subject, f"{sizes} pixels where the image has {' x '.join(str(size) for size in grid.shape)}")
    return Mask(mask.array, grid, mask.maker)


def _labelled(volume: Volume, label: int | str, maker: str, subject: str) -> Mask:
    values = np.unique(volume.array[volume.array != 0])
    if np.abs(values - np.rint(values)).max(initial=0.0) > WHOLE:
        raise _refusal("E-MASK-LABEL", subject, "shares of voxels", "whole numbers, each a label")
    wanted = float(label) if str(label).isdecimal() else np.nan
    if wanted == 1 and len(values) == 1:
        wanted = values[0]
    if wanted not in values:
        found = ", ".join(f"{value:g}" for value in values[:8]) or "no label"
        raise _refusal("E-MASK-LABEL", subject, found, f"the label {label}")
    return Mask(volume.array == wanted, volume.grid, maker)


# ---- DICOM


def _document(path: Path) -> pydicom.Dataset:
    document = document_of(path)
    if document.SOPClassUID not in (*_SEG, _RTSTRUCT):
        raise _refusal("E-MASK-KIND", path.name, "another kind of DICOM object", "a SEG or an RTSTRUCT")
    return document


@contextmanager
def _well_formed(subject: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, NotImplementedError) as error:
        found = f"an attribute missing or malformed ({type(error).__name__})"
        raise _refusal("E-MASK-DAMAGED", subject, found, "a complete object") from error


def _chosen(names: Mapping[int, str], label: int | str, subject: str) -> int:
    """The number of a segment or ROI that goes by this number or name."""
    by_name = [number for number, name in names.items() if name == label]
    if len(by_name) == 1:
        return by_name[0]
    if str(label).isdecimal() and int(label) in names:
        return int(label)
    if str(label) == "1" and len(names) == 1:
        return next(iter(names))
    found = f"{len(by_name)} of that name among numbers {', '.join(map(str, list(names)[:8]))}"
    raise _refusal("E-MASK-LABEL", subject, found, "one segment or ROI of that number or name")


def _segment(document: pydicom.Dataset, label: int | str, subject: str) -> Mask:
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in document.SegmentSequence}
    number = _chosen(names, label, subject)
    kind = str(document.SegmentationType)
    headers = frame_headers(document, Header(rows=document.Rows, columns=document.Columns))
    frames = [
        index
        for index, frame in enumerate(document.PerFrameFunctionalGroupsSequence)
        if kind == "LABELMAP" or _segment_number(document, frame) == number
    ]
    if not frames:
        raise _refusal("E-MASK-EMPTY", subject, "no frame of that segment", "a mask")
    frame_of_reference = str(document.get("FrameOfReferenceUID", ""))
    grid, places = _lattice([headers[index] for index in frames], frame_of_reference, subject)
    array = np.zeros(grid.shape, dtype=bool)
    frame = _decoder(document)
    for index, place in zip(frames, places, strict=True):
        values = frame(index)
        if kind == "FRACTIONAL":
            array[place] |= values >= HALF * float(document.MaximumFractionalValue)
        else:
            array[place] |= values == number if kind == "LABELMAP" else values != 0
    if not array.any():
        raise _refusal("E-MASK-EMPTY", subject, "no voxel of that segment", "a mask")
    return Mask(array, grid, "DICOM SEG")


def _decoder(document: pydicom.Dataset) -> Callable[[int], NDArray[Any]]:
    """A way to each frame's pixels.

    Frames of single bits are packed end to end (PS3.5 8.1.1): one that begins
    inside a byte can only be read with those before it.
    """
    rows, columns = document.Rows, document.Columns
    if document.BitsAllocated == 1 and rows * columns % 8:
        frames = pixel_array(document).reshape(-1, rows, columns)
        return lambda index: frames[index]
    return lambda index: pixel_array(document, index=index)


def _segment_number(document: pydicom.Dataset, frame: pydicom.Dataset) -> int:
    groups = frame if "SegmentIdentificationSequence" in frame else document.SharedFunctionalGroupsSequence[0]
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _lattice(headers: Sequence[Header], frame_of_reference: str, subject: str) -> tuple[Grid, list[int]]:
    """The smallest grid that holds all frames, and the slice that each of them is; slices without a frame are empty."""
    first = headers[0]
    for header in headers:
        problem = plane_problem(header, subject)
        if problem is not None:
            raise RefusedError.of(problem)
    axes = axes_of(first)
    positions = np.array([header.image_position_patient for header in headers]) @ axes
    heights = positions[:, 0] - positions[:, 0].min()
    step = _step(heights, first, subject)
    places = np.rint(heights / step).astype(int)
    drift = np.abs(positions[:, 1:] - positions[0, 1:]).max(initial=0.0)
    cosines = np.array([header.image_orientation_patient for header in headers])
    unlike = np.ptp(cosines, axis=0).max() > ORIENTATION or len({header.pixel_spacing for header in headers}) > 1
    if unlike or drift > OFF_LATTICE * min(first.pixel_spacing):
        raise _refusal("E-MASK-LATTICE", subject, "frames that do not lie upon each other", "one stack of frames")
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.array([step, *first.pixel_spacing])
    matrix[:3, 3] = headers[int(np.argmin(heights))].image_position_patient
    assert first.rows is not None
    assert first.columns is not None
    shape = (int(places.max()) + 1, first.rows, first.columns)
    return Grid(shape, as_matrix(matrix), frame_of_reference_uid=frame_of_reference), places.tolist()


def _step(heights: NDArray[np.float64], header: Header, subject: str) -> float:
    """The distance between slices: what the file states, if the frames agree, else that of the closest two."""
    gaps = np.diff(np.unique(np.round(heights, 4)))
    candidates = [header.spacing_between_slices, gaps.min() if gaps.size else header.slice_thickness]
    for step in candidates:
        if step and step > 0 and np.abs(heights / step - np.rint(heights / step)).max() <= OFF_LATTICE:
            return float(step)
    raise _refusal("E-MASK-LATTICE", subject, "frames at uneven distances", "frames on one lattice")


def _contoured(document: pydicom.Dataset, grid: Grid, label: int | str, subject: str) -> Mask:
    rois = {int(item.ROINumber): item for item in document.StructureSetROISequence}
    number = _chosen({key: str(item.get("ROIName", "")) for key, item in rois.items()}, label, subject)
    theirs = str(rois[number].get("ReferencedFrameOfReferenceUID", ""))
    if theirs and grid.frame_of_reference_uid and theirs != grid.frame_of_reference_uid:
        raise _elsewhere(subject, "another frame of reference")
    drawn = [
        contour
        for roi in document.ROIContourSequence
        if int(roi.ReferencedROINumber) == number
        for contour in roi.get("ContourSequence", ())
    ]
    contours = _each_once(contour.ContourData for contour in drawn if contour.ContourGeometricType in _CLOSED)
    if contours and any(contour.ContourGeometricType in _OPEN for contour in drawn):
        raise _refusal("E-MASK-OPEN", subject, "open contours beside closed ones", "closed contours")
    array = np.zeros(grid.shape, dtype=bool)
    for place, polygons in _by_slice(contours, grid, subject).items():
        array[place] = filled(polygons, grid.shape[1:])
    if not array.any():
        raise _refusal("E-MASK-EMPTY", subject, "no closed contour around the centre of a voxel", "a mask")
    return Mask(array, grid, "RTSTRUCT")


def _each_once(contours: Iterable[Any]) -> list[NDArray[np.float64]]:
    """Contours as (N, 3) points, one of those with the same points: drawn twice, one would undo the other."""
    points = [np.array(contour, dtype=np.float64).reshape(-1, 3) for contour in contours]
    return [*{frozenset(map(tuple, corners.tolist())): corners for corners in points}.values()]


def _by_slice(
    contours: Iterable[NDArray[np.float64]], grid: Grid, subject: str
) -> dict[int, list[NDArray[np.float64]]]:
    """The contours of each slice, as rows and columns; contours of other planes than the image's are refused."""
    slices: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for contour in contours:
        index = grid.to_index(contour)
        place = round(float(index[:, 0].mean()))
        if np.abs(index[:, 0] - place).max() > OFF_SLICE:
            raise _elsewhere(subject, "contours that lie in no slice of the image")
        if not 0 <= place < grid.shape[0] or (index < -1).any() or (index > grid.shape).any():
            raise _refusal("E-MASK-OUTSIDE", subject, "contours outside the image", "contours inside their image")
        slices[place].append(index[:, 1:])
    if len(slices) > 1 and np.diff(sorted(slices)).min() > 1:
        raise _elsewhere(subject, "contours with empty slices between all of them")
    return slices


# ---- Refusals


def _elsewhere(subject: str, found: str) -> SpaceError:
    return SpaceError(
        "E-SPACE-MISMATCH",
        subject,
        found=found,
        expected="a mask drawn on the voxels of this image",
        remedy="give the image it was drawn on, or resample it first",
    )


def _refusal(code: str, subject: str, found: str, expected: str) -> RefusedError:
    return RefusedError(code, subject, found=found, expected=expected, remedy="check label and file, or draw it again")
