"""Key images: the acquired slice that was measured, hung as radiologists hang it, with what was drawn on it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import affine_transform
from skimage.measure import find_contours

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.geometry import Grid, PointLps, as_point
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.quantities import HU

#: Side of a picture in pixels: about twice what a 0.8 mm CT pixel needs for a 100 mm field.
PICTURE_PIXELS = 320

#: Mineral is tinted on pictures above this CT number, in islands of at least this size.
#: Source: the pipeline's own default threshold; Agatston's smallest island.
MINERAL_HU = MeasureConfig().calcium_threshold_hu
SMALLEST_ISLAND_MM2 = 1.0

#: Tissue shown around the lesion on each side.
MARGIN_MM = 22.0

Point2 = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Window:
    """Grey levels: `level` is mid-grey, `width` spans black to white."""

    level: float
    width: float
    name: str

    def grey(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Values as 8-bit grey."""
        scaled = (values - self.level) / self.width + 0.5
        return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)

    def __str__(self) -> str:
        return f"{self.name} W {self.width:.0f} L {self.level:.0f}"


BONE, SOFT_TISSUE, LUNG = CT_WINDOWS = (
    Window(400.0, 1800.0, "bone"),
    Window(40.0, 400.0, "soft tissue"),
    Window(-600.0, 1500.0, "lung"),
)


@dataclass(frozen=True, slots=True)
class Plane:
    """A square cut out of one acquired slice: its centre, and where right and down of the picture point, in LPS."""

    centre_lps: PointLps
    right_lps: PointLps
    down_lps: PointLps
    side_mm: float

    def to_picture(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Points (N, 3) as (N, 2) millimetres right of and below the picture's upper left corner."""
        offset = np.asarray(points_lps, dtype=np.float64) - self.centre_lps
        axes = np.column_stack([self.right_lps, self.down_lps])
        picture: NDArray[np.float64] = offset @ axes + self.side_mm / 2
        return picture

    def to_lps(self, points: ArrayLike) -> NDArray[np.float64]:
        """Millimetres (N, 2) in the picture as points (N, 3)."""
        axes = np.array([self.right_lps, self.down_lps])
        points_lps: NDArray[np.float64] = self.centre_lps + (np.asarray(points) - self.side_mm / 2) @ axes
        return points_lps

    @property
    def letters(self) -> dict[str, str]:
        """The patient's side at each edge of the picture."""
        right, down = np.array(self.right_lps), np.array(self.down_lps)
        return {"left": _side(-right), "right": _side(right), "top": _side(-down), "bottom": _side(down)}

    @property
    def name(self) -> str:
        """Axial, coronal or sagittal, whichever is nearest."""
        normal = np.cross(self.right_lps, self.down_lps)
        return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


@dataclass(frozen=True, slots=True)
class KeyImage:
    """A picture of one lesion at one visit; lines and outlines in millimetres from its upper left corner."""

    png: bytes
    plane: Plane
    window: Window
    outlines: tuple[tuple[Point2, ...], ...]
    mineral: tuple[tuple[Point2, ...], ...]
    axes: tuple[tuple[Point2, Point2], ...]

    @property
    def scale_bar_mm(self) -> int:
        """A round length of about a fifth of the picture."""
        return next(length for length in (100, 50, 20, 10, 5, 1) if length <= self.plane.side_mm / 4 or length == 1)


def key_image(
    view: Volume, mask: Mask, axes_lps: tuple[tuple[PointLps, ...], ...], plane: Plane, window: Window
) -> KeyImage:
    """Picture of the slice `plane` lies in, with the outline and the measured lines."""
    return KeyImage(
        _png(window.grey(_sampled(view, plane, black=window.level - window.width))),
        plane,
        window,
        _outlines(mask, plane),
        _mineral(view, mask, plane) if view.unit == HU else (),
        tuple(_line(points, plane) for points in axes_lps if len(points) == 2),
    )


def hung(grid: Grid) -> tuple[PointLps, PointLps]:
    """Where right and down of a picture point so that it hangs as usual, in LPS.

    Axial and coronal: the patient's left on the right; axial: posterior below;
    sagittal: anterior on the left; coronal and sagittal: inferior below. The
    picture is turned and mirrored in quarter turns only, never resampled askew.
    """
    slice_axis, row_axis, column_axis = grid.directions.T
    normal = int(np.abs(slice_axis).argmax())
    wanted_right = np.eye(3)[1 if normal == 0 else 0]
    wanted_down = np.array([0.0, 1.0, 0.0]) if normal == 2 else np.array([0.0, 0.0, -1.0])
    if abs(row_axis @ wanted_right) > abs(column_axis @ wanted_right):
        row_axis, column_axis = column_axis, row_axis
    right = column_axis * (1.0 if column_axis @ wanted_right >= 0 else -1.0)
    down = row_axis * (1.0 if row_axis @ wanted_down >= 0 else -1.0)
    return as_point(right), as_point(down)


def window_for(view: Volume, kind: Kind) -> Window:
    """The usual window of a lesion's kind on CT; without a physical unit the 1st to 99th percentile."""
    if view.unit != HU:
        low, high = np.percentile(view.array, [1, 99])
        return Window(float(low + high) / 2, max(float(high - low), 1.0), "1st to 99th percentile")
    return BONE if kind is Kind.BONE else SOFT_TISSUE


def extent_mm(mask: Mask) -> float:
    """The larger in-plane side of the box around a mask."""
    _, rows, columns = mask.box()
    _, row_mm, column_mm = mask.grid.spacing_mm
    return max(float(rows.stop - rows.start) * row_mm, float(columns.stop - columns.start) * column_mm)


def centroid_lps(mask: Mask) -> PointLps:
    """The centre of the marked voxels."""
    return as_point(mask.grid.to_lps(np.argwhere(mask.array)).mean(axis=0))


def widest_slice_lps(mask: Mask) -> PointLps:
    """A point in the slice with the largest cross-section."""
    areas = mask.array.sum(axis=(1, 2))
    return as_point(mask.grid.to_lps((int(areas.argmax()), 0, 0)))


def in_slice(point_lps: PointLps, level_lps: PointLps, grid: Grid) -> PointLps:
    """A point moved along the slice axis into the slice that `level_lps` lies in."""
    index = grid.to_index(point_lps)
    index[0] = np.rint(grid.to_index(level_lps)[0])
    return as_point(grid.to_lps(index))


def position(point_lps: PointLps, plane: Plane) -> str:
    """Where a slice lies along its normal, in the patient: "I 212.0 mm"."""
    normal = np.cross(plane.right_lps, plane.down_lps)
    axis = int(np.abs(normal).argmax())
    return f"{('RL', 'AP', 'IS')[axis][int(point_lps[axis] >= 0)]} {abs(point_lps[axis]):.1f} mm"


def _sampled(view: Volume, plane: Plane, black: float) -> NDArray[np.float64]:
    """The picture's pixels in the scan's unit, interpolated in the slice; black where the cut-out ends."""
    step = plane.side_mm / PICTURE_PIXELS
    first = step / 2
    corner, below, beside = view.grid.to_index(
        plane.to_lps([(first, first), (first, first + step), (first + step, first)])
    )
    slab = view.array[int(np.clip(np.rint(corner[0]), 0, view.grid.shape[0] - 1))]
    sampled: NDArray[np.float64] = affine_transform(
        slab.astype(np.float64),
        np.column_stack([below - corner, beside - corner])[1:],
        corner[1:],
        (PICTURE_PIXELS, PICTURE_PIXELS),
        order=1,
        cval=black,
    )
    return sampled


def _outlines(mask: Mask, plane: Plane) -> tuple[tuple[Point2, ...], ...]:
    index = int(np.rint(mask.grid.to_index(plane.centre_lps)[0]))
    if not 0 <= index < mask.grid.shape[0]:
        return ()
    # One voxel of background, so that an outline that touches the grid's edge closes.
    padded = np.pad(mask.array[index], 1).astype(np.float64)
    return tuple(_outline(contour - 1, index, mask.grid, plane) for contour in find_contours(padded, 0.5))


def _mineral(view: Volume, mask: Mask, plane: Plane) -> tuple[tuple[Point2, ...], ...]:
    """Borders, holes included, of what is denser than mineral's threshold inside the outline."""
    index = int(np.rint(view.grid.to_index(plane.centre_lps)[0]))
    if not 0 <= index < view.grid.shape[0]:
        return ()
    dense = np.where(mask.on(view.grid).array[index], view.array[index].astype(np.float64), -1024.0)
    borders = find_contours(np.pad(dense, 1, constant_values=-1024.0), MINERAL_HU)
    shapes = (_outline(border - 1, index, view.grid, plane) for border in borders)
    return tuple(shape for shape in shapes if _area_mm2(shape) >= SMALLEST_ISLAND_MM2)


def _area_mm2(shape: tuple[Point2, ...]) -> float:
    right, down = np.array(shape).T
    return float(abs(np.dot(right, np.roll(down, 1)) - np.dot(down, np.roll(right, 1)))) / 2


def _outline(contour: NDArray[np.float64], index: int, grid: Grid, plane: Plane) -> tuple[Point2, ...]:
    voxels = np.column_stack([np.full(len(contour), index), contour])
    return tuple(_rounded(point) for point in plane.to_picture(grid.to_lps(voxels)))


def _line(points_lps: tuple[PointLps, ...], plane: Plane) -> tuple[Point2, Point2]:
    first, last = plane.to_picture(points_lps)
    return _rounded(first), _rounded(last)


def _rounded(point: NDArray[np.float64]) -> Point2:
    # A hundredth of a millimetre is far below what a screen shows and keeps the page small.
    return round(float(point[0]), 2), round(float(point[1]), 2)


def _side(direction: NDArray[np.float64]) -> str:
    order = np.argsort(-np.abs(direction))
    # A second letter for pictures more than 20 degrees askew.
    return "".join(
        ("RL", "AP", "IS")[axis][int(direction[axis] > 0)]
        for place, axis in enumerate(order)
        if place == 0 or abs(direction[axis]) > 0.34
    )


def _png(grey: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()
