"""How far a scan blurs, and the image of a mask's own voxels without what blur brought in from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import hyp1f1

#: Standard deviation of the point spread in the plane where nothing tells it: between body and bone kernels.
SPREAD_MM = 0.55
#: Those that scanners have, of which the likeliest is taken.
SPREADS_MM = np.linspace(0.3, 1.0, 141)
#: Noise is looked for in squares of this many pixels, in the share of them where two slices' sum changes least: of two
#: slices alike but for noise, sum and difference are independent, and choosing by the one does not bias the other.
NOISE_SQUARE = 8
EVENEST = 0.1
#: Pixels farther apart than this each have noise of their own, which tells no spread.
COARSEST_PIXEL_MM = 1.0
#: Voxels around a mask that take part in its unmixing, and where filters end, in standard deviations.
_MARGIN = (1, 4, 4)
_TRUNCATE = 3.0


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Standard deviations of a scan's point spread in the plane, in mm, and of its noise, in the image's unit."""

    spread_mm: float
    noise: float

    def smoothed(self, width_mm: float) -> Sharpness:
        """The same after smoothing in the plane by a normal of that standard deviation.

        Notes
        -----
        Source: integral of the noise power of filtered back-projection, a ramp times the kernel's response squared.
        """
        spread_mm = float(np.hypot(self.spread_mm, width_mm))
        return Sharpness(spread_mm, self.noise * (self.spread_mm / spread_mm) ** 1.5)


def sharpness(array: NDArray[Any], spacing_mm: tuple[float, float, float], noise: float) -> Sharpness:
    """Point spread and noise of a scan, told by how alike the noise of neighbouring pixels is: a kernel blurs both.

    Parameters
    ----------
    array : (S, R, C) image.
    spacing_mm : voxel size along slice, row, column.
    noise : its standard deviation where coarse pixels, a single slice or an image without noise do not tell it.

    Notes
    -----
    Differences of pixels two apart, against those of neighbours, cancel the level of the noise and slow anatomy.
    Source: Riederer, Pelc and Chesler 1978: the autocorrelation of a ramp times the squared response of a normal kernel
    of standard deviation s is 1F1(3/2; 1; -(d / 2 s)^2) at distance d.
    """
    slices, pixel_mm = array.astype(np.float32), float(np.sqrt(spacing_mm[1] * spacing_mm[2]))
    evenness = _squares(slices[1:] + slices[:-1]).var(axis=(1, 2))
    if not evenness.size or pixel_mm > COARSEST_PIXEL_MM:
        return Sharpness(SPREAD_MM, noise)
    even = _squares(slices[1:] - slices[:-1])[evenness <= np.quantile(evenness, EVENEST)]
    near, far = (_half_square_step(even, pixels) for pixels in (1, 2))
    if far <= 0.0:
        return Sharpness(SPREAD_MM, noise)
    by_one, by_two = (1.0 - hyp1f1(1.5, 1.0, -((0.5 * n * pixel_mm / SPREADS_MM) ** 2)) for n in (1, 2))
    best = int(np.argmin(np.abs(by_one / by_two - near / far)))
    # Two slices' difference has twice the variance of one.
    return Sharpness(float(SPREADS_MM[best]), float(np.sqrt(0.5 * near / by_one[best])))


def _squares(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """An (S, R, C) array cut into squares, (N, rows, columns)."""
    side = NOISE_SQUARE
    rows, columns = (size // side * side for size in array.shape[1:])
    cut = array[:, :rows, :columns].reshape(len(array), rows // side, side, columns // side, side)
    return cut.swapaxes(2, 3).reshape(-1, side, side)


def _half_square_step(squares: NDArray[np.float32], pixels: int) -> float:
    """Half the squared difference of pixels that far apart along rows and columns, in the middle one of the squares."""
    along_rows = np.square(squares[:, pixels:] - squares[:, :-pixels]).mean(axis=(1, 2))
    along_columns = np.square(squares[:, :, pixels:] - squares[:, :, :-pixels]).mean(axis=(1, 2))
    return 0.25 * float(np.median(along_rows + along_columns))


def unmixed(
    array: NDArray[np.float32],
    marked: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    spread_mm: float = SPREAD_MM,
) -> NDArray[np.float32]:
    """The image of a mask's own voxels, what blur brought in from outside taken out.

    Parameters
    ----------
    array : (S, R, C) image, with a margin of several voxels around the mask.
    marked : (S, R, C) boolean.
    spacing_mm : voxel size along slice, row, column.
    spread_mm : standard deviation of the point spread in the plane.
    """
    box = _box_around(marked, _MARGIN)
    result = array.copy()
    result[box] = _unmixed(array[box], marked[box], spacing_mm, spread_mm)
    return result


def _unmixed(
    array: NDArray[np.float32], marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float], spread_mm: float
) -> NDArray[np.float32]:
    own = np.clip(own_share(marked, spacing_mm, spread_mm), np.float32(0.5), np.float32(1))
    ring = ndimage.maximum_filter(marked, (1, 7, 7)) & ~ndimage.maximum_filter(marked, (1, 3, 3))
    near = [1.5 / step for step in spacing_mm]
    weight = ndimage.gaussian_filter(ring.astype(np.float32), near, truncate=_TRUNCATE)
    beyond = ndimage.gaussian_filter(np.where(ring, array, np.float32(0)), near, truncate=_TRUNCATE)
    beyond /= np.maximum(weight, np.float32(1e-6))
    known = marked & (weight > 1e-6)
    return np.where(known, (array - (1.0 - own) * beyond) / own, array)


def own_share(
    marked: NDArray[np.bool_], spacing_mm: tuple[float, float, float], spread_mm: float
) -> NDArray[np.float32]:
    """How much of what each voxel shows lies inside a mask, (S, R, C): 1 deep inside, about half at the border.

    Parameters
    ----------
    marked : (S, R, C) boolean.
    spacing_mm : voxel size along slice, row, column.
    spread_mm : standard deviation of the point spread in the plane.
    """
    width = [0.0, *(spread_mm / step for step in spacing_mm[1:])]
    own = ndimage.gaussian_filter(marked.astype(np.float32), width, truncate=_TRUNCATE)
    # A slice is a box: of a border between two slices each sees an eighth of the other on average.
    return np.asarray(ndimage.correlate1d(own, [0.125, 0.75, 0.125], 0))


def _box_around(marked: NDArray[np.bool_], margin: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    (found,) = ndimage.find_objects(marked.view(np.uint8), 1)
    slices, rows, columns = (
        slice(max(0, part.start - more), part.stop + more) for part, more in zip(found, margin, strict=True)
    )
    return slices, rows, columns
