"""Where the slices of a series lie, and whether millimetres may be taken from them.

Every tolerance stands here, with its reason. Slice spacing comes from positions
only; nothing is assumed that the files do not state.

Source: DICOM PS3.3 C.7.6.2 (Image Plane module).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.errors import Problem, Severity
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import Header

#: Direction cosines come with six decimals; a thousandth turns a 500 mm plane by half a pixel.
ORIENTATION = 1e-3
#: A fifth of the smallest pixel in use; the noise of written positions stays far below.
IN_PLANE_DRIFT_MM = 0.1
#: Positions are written with two or three decimals.
SAME_POSITION_MM = 0.01
EVEN_MM = 0.01
EVEN_FRACTION = 0.01
#: Up to here uneven slices are interpolated from their true positions; beyond, one may be missing.
UNEVEN_FRACTION = 0.1
#: Two neighbours this much further apart than the others lack a slice between them.
GAP_FRACTION = 1.5
#: 0.1 degrees shear a 300 mm stack by half a pixel; no gantry tilts beyond 35.
TILT_DEGREES = 0.1
MAX_TILT_DEGREES = 35.0
PIXEL_SPACING_MM = (0.01, 10.0)
#: A hundred metres from the scanner is nobody; far beyond, positions lose the digits that tell slices apart.
FARTHEST_MM = 1e5
#: Thickness and spacing come rounded; reconstructions overlap by up to half a slice.
THICKNESS_FRACTION = 0.05
OVERLAP = 2.0


@dataclass(frozen=True)
class Stack:
    """The slices of a series in order along their normal.

    `order` sorts the headers it was made from; `grid` is None where a problem
    is an error. Where the slices do not lie on the grid as they are, `places`
    (S,) holds their true places along the grid's first axis and `shifts` (S, 2)
    their displacement along its rows and columns, all in voxels.
    """

    order: tuple[int, ...]
    grid: Grid | None
    problems: tuple[Problem, ...]
    places: NDArray[np.float64] | None = None
    shifts: NDArray[np.float64] | None = None


def plane_problem(header: Header, subject: str) -> Problem | None:
    """Why a slice has no place of its own, if it has none."""
    if not _perpendicular(header.image_orientation_patient):
        return finding("E-GEOM-ORIENT", subject, "no usable ImageOrientationPatient")
    if not is_place(header.image_position_patient):
        return finding("E-GEOM-POS", subject, "no usable ImagePositionPatient")
    low, high = PIXEL_SPACING_MM
    if len(header.pixel_spacing) != 2 or not all(low <= length <= high for length in header.pixel_spacing):
        detector = header.imager_pixel_spacing and not header.pixel_spacing
        found = "only the spacing at the detector, ImagerPixelSpacing" if detector else "no usable PixelSpacing"
        return finding("E-GEOM-SPACING", subject, found)
    return None


def is_place(position: tuple[float, ...]) -> bool:
    """Whether a position is three numbers of a scanner's room."""
    return len(position) == 3 and abs(position[0]) + abs(position[1]) + abs(position[2]) <= FARTHEST_MM


@lru_cache
def _perpendicular(cosines: tuple[float, ...]) -> bool:
    if len(cosines) != 6:
        return False
    along, down = np.reshape(cosines, (2, 3))
    errors = np.array([along @ along - 1.0, down @ down - 1.0, along @ down])
    return bool(np.isfinite(errors).all() and np.abs(errors).max() <= ORIENTATION)


def heights(headers: Sequence[Header]) -> NDArray[np.float64]:
    """Where each slice lies along the normal of the first, mm."""
    found: NDArray[np.float64] = np.array([header.image_position_patient for header in headers]) @ axes_of(headers[0])
    return found[:, 0]


def axes_of(header: Header) -> NDArray[np.float64]:
    """Unit vectors along the normal, down the rows and along the columns, as the columns of a (3, 3) array."""
    along, down = np.reshape(header.image_orientation_patient, (2, 3))
    normal = np.cross(along, down)
    return np.column_stack([vector / np.linalg.norm(vector) for vector in (normal, down, along)])


def stack(headers: Sequence[Header], subject: str) -> Stack:
    """Order slices along their normal and hold them against an even, straight stack.

    Parameters
    ----------
    headers
        Each with a place of its own (`plane_problem`), of one orientation, matrix and frame of reference,
        no two at one position.
    """
    axes = axes_of(headers[0])
    distances = np.array([header.image_position_patient for header in headers]) @ axes
    order = np.argsort(distances[:, 0], kind="stable")
    distances = distances[order]
    step = _step(headers, distances)
    problems = _problems(headers, distances, step, subject)
    if any(item.severity is Severity.ERROR for item in problems):
        return Stack(tuple(order.tolist()), None, tuple(problems))
    codes = {item.code for item in problems}
    straighten = "W-GEOM-TILT" in codes
    shifts = _shifts(distances, headers[0].pixel_spacing) if straighten else None
    if straighten:
        step = np.array([step[0], 0.0, 0.0])
    places = (distances[:, 0] - distances[0, 0]) / step[0] if "W-GEOM-UNEVEN" in codes else None
    grid = _grid(headers[0], axes, distances[0], step, len(headers), shifts)
    return Stack(tuple(order.tolist()), grid, tuple(problems), places, shifts)


def _step(headers: Sequence[Header], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """From one slice to the next: along the normal, down the rows, along the columns, mm."""
    if len(headers) > 1:
        step: NDArray[np.float64] = (distances[-1] - distances[0]) / (len(headers) - 1)
        return step
    return np.array([headers[0].slice_thickness or np.nan, 0.0, 0.0])


def _problems(
    headers: Sequence[Header], distances: NDArray[np.float64], step: NDArray[np.float64], subject: str
) -> list[Problem]:
    first = headers[0]
    if len({header.pixel_spacing for header in headers}) > 1:
        return [finding("E-GEOM-SPACING", subject, "several pixel spacings")]
    if len(headers) == 1:
        low, high = PIXEL_SPACING_MM
        code = "W-GEOM-SINGLE" if low <= step[0] <= 5 * high else "E-GEOM-SINGLE"
        return [finding(code, subject, "a single slice")]
    found = [*_uneven(distances[:, 0], subject), *_crooked(distances, step, subject)]
    if len(headers) == 2:
        found.append(finding("W-GEOM-FEW", subject, "two slices"))
    return found + _thickness(first, float(step[0]), subject)


def _uneven(heights: NDArray[np.float64], subject: str) -> list[Problem]:
    gaps = np.diff(heights)
    usual = _median(gaps)
    if gaps.max() > GAP_FRACTION * usual:
        wide = np.flatnonzero(gaps > GAP_FRACTION * usual)
        where = ", ".join(f"{heights[number]:.2f}" for number in wide[:5])
        found = f"{len(wide)} gaps of up to {gaps.max():.3f} mm after {where} mm, where others are {usual:.3f} mm apart"
        return [finding("E-GEOM-GAP", subject, found)]
    even = np.linspace(heights[0], heights[-1], len(heights))
    error = max(float(np.abs(gaps - usual).max()), float(np.abs(heights - even).max()))
    if error <= max(EVEN_MM, EVEN_FRACTION * usual):
        return []
    code = "W-GEOM-UNEVEN" if np.abs(gaps - usual).max() <= UNEVEN_FRACTION * usual else "E-GEOM-UNEVEN"
    return [finding(code, subject, f"slices {gaps.min():.3f} to {gaps.max():.3f} mm apart")]


def _median(lengths: NDArray[np.float64]) -> float:
    # numpy's own imports its masked arrays first, which takes longer than an index.
    ordered = np.sort(lengths)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _crooked(distances: NDArray[np.float64], step: NDArray[np.float64], subject: str) -> list[Problem]:
    heights, drift = distances[:, 0] - distances[:, 0].mean(), distances[:, 1:] - distances[:, 1:].mean(axis=0)
    off_line = drift - np.outer(heights, heights @ drift / (heights @ heights))
    if np.abs(off_line).max() > IN_PLANE_DRIFT_MM:
        return [finding("E-GEOM-SHIFT", subject, f"slices up to {np.abs(off_line).max():.2f} mm beside the others")]
    angle = float(np.degrees(np.arctan2(np.linalg.norm(step[1:]), step[0])))
    if angle <= TILT_DEGREES:
        return []
    code = "W-GEOM-TILT" if angle <= MAX_TILT_DEGREES else "E-GEOM-TILT"
    return [finding(code, subject, f"slices stacked {angle:.2f} degrees off their normal")]


def _thickness(header: Header, step_mm: float, subject: str) -> list[Problem]:
    stated = header.spacing_between_slices
    # Some scanners give the spacing a sign for the direction of travel.
    if stated is not None and not abs(abs(stated) - step_mm) <= THICKNESS_FRACTION * step_mm:
        return [finding("W-GEOM-THICKNESS", subject, f"SpacingBetweenSlices {stated:g} mm, positions {step_mm:.3f} mm")]
    thickness = header.slice_thickness
    if thickness is None or stated is not None or abs(thickness - step_mm) <= THICKNESS_FRACTION * step_mm:
        return []
    code = "N-GEOM-OVERLAP" if step_mm < thickness <= (OVERLAP + THICKNESS_FRACTION) * step_mm else "W-GEOM-THICKNESS"
    return [finding(code, subject, f"SliceThickness {thickness:g} mm, positions {step_mm:.3f} mm apart")]


def _shifts(distances: NDArray[np.float64], pixel_spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """How far each slice lies down the rows and along the columns of a grid that holds them all, in pixels."""
    shifts: NDArray[np.float64] = (distances[:, 1:] - distances[:, 1:].min(axis=0)) / np.array(pixel_spacing)
    return shifts


def _grid(
    header: Header,
    axes: NDArray[np.float64],
    origin: NDArray[np.float64],
    step: NDArray[np.float64],
    slices: int,
    shifts: NDArray[np.float64] | None,
) -> Grid:
    assert header.rows is not None
    assert header.columns is not None
    row_mm, column_mm = header.pixel_spacing
    # A straightened volume is as much larger as its slices lie apart, and begins where the foremost does.
    more = np.zeros(2, dtype=int) if shifts is None else np.ceil(shifts.max(axis=0)).astype(int)
    corner = origin if shifts is None else origin - np.array([0.0, *(shifts[0] * header.pixel_spacing)])
    matrix = np.eye(4)
    matrix[:3, :3] = axes @ np.column_stack([step, (0.0, row_mm, 0.0), (0.0, 0.0, column_mm)])
    matrix[:3, 3] = axes @ corner
    shape = (slices, header.rows + int(more[0]), header.columns + int(more[1]))
    return Grid(shape, as_matrix(matrix), frame_of_reference_uid=header.frame_of_reference_uid)
