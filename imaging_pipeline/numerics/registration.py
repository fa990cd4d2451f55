"""Finding the baseline's place in another scan: rigid, whole field first, then around the lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from imaging_pipeline.config import RegisterConfig
from imaging_pipeline.domain.geometry import Grid, PointLps, Transform, as_matrix, moved
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.crossing import register_across
from imaging_pipeline.numerics.outline import SignedDistance
from imaging_pipeline.numerics.pyramid import Bools, Floats, Level, body, finest

#: What is emptier than fat or denser than cortical bone guides nothing: lung moves with breath, metal shines.
WINDOW_HU = (-250.0, 600.0)
#: Points of the steepest contrast that carry the fit; more cost time and add no precision.
POINTS = 20_000
#: Coarse levels are this many times the finest spacing.
COARSENING = (4, 2, 1)
#: Width of the smoothing in voxels of a level: slices of different thickness become alike, and noise no longer pulls
#: the fit towards places between voxels.
SMOOTHING = 0.7
#: Cortical bone, blurred, is denser than this; trabecular bone and contrast-filled vessels mostly are not.
BONE_HU = 250.0
#: The rim of a lesion changes with it.
RIM_MM = 3.0
#: Skin and what it slides on.
SKIN_MM = 6.0
#: Half the height of a lumbar vertebra with its disc: starts nearer than this fall into one basin.
HALF_LEVEL_MM = 15.0
#: Cells of the field whose own displacement is estimated: about one vertebra.
CELL_MM = 30.0
#: The same around a lesion.
LOCAL_CELL_MM = 15.0
#: The least share of the smaller body that two scans of one region have in common.
MIN_OVERLAP = 0.25
#: Fewer say nothing.
MIN_LANDMARKS = 100
#: Correlation of two scans of one patient at the landmarks; of different regions it stays below.
MIN_AGREEMENT = 0.6
#: Standard errors by which one alignment must fit better than another to be called better.
MIN_ADVANTAGE = 3.0


@dataclass(frozen=True, eq=False)
class _View:
    """A scan at one resolution, values windowed, and which of its voxels are patient."""

    level: Level
    inside: Bools


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """Points of the fixed scan, their values, and the change of these under a small motion about `centre_lps`."""

    points_lps: NDArray[np.float64]
    values: NDArray[np.float32]
    gradients: NDArray[np.float32]
    centre_lps: NDArray[np.float64]

    def where(self, chosen: Bools) -> _Landmarks:
        """Some of the landmarks."""
        return replace(
            self, points_lps=self.points_lps[chosen], values=self.values[chosen], gradients=self.gradients[chosen]
        )

    @property
    def jacobian(self) -> NDArray[np.float32]:
        """(N, 6): change per radian about, then per mm along, left, posterior and superior."""
        arms = (self.points_lps - self.centre_lps).astype(np.float32)
        return np.hstack([np.cross(arms, self.gradients), self.gradients])


def register(
    fixed: Volume, moving: Volume, config: RegisterConfig, same: Sequence[tuple[PointLps, PointLps]] = ()
) -> Transform:
    """Follow-up scans were aligned rigidly to the baseline, from labelled levels or several starts along the body axis.

    Parameters
    ----------
    fixed, moving : Volume
        Baseline and later scan; any spacing, orientation and field of view.
    config : RegisterConfig
    same : places known to be the same in both, baseline first: vertebrae that were labelled in both.

    Returns
    -------
    Transform
        Baseline points to points of the later scan. `residual_mm` is the median displacement that cells of the
        body, each on its own, would still like to make; `overlap` the share of the baseline's body seen later.

    Raises
    ------
    StageError
        E-REG-FAILED when nothing fits, E-REG-AMBIGUOUS when another place along the body fits as well, E-REG-LEVEL when
        what fits is not what was labelled.
    """
    fixed.grid.require_patient("registration")
    moving.grid.require_patient("registration")
    if fixed.unit != moving.unit:
        across = register_across(fixed, moving, config)
        _require_same(same, np.array(across.matrix), moving)
        return across
    fixed_views, moving_views = _views(fixed, config), _views(moving, config)
    landmarks = [_landmarks(view.level, _beneath_skin(view)) for view in fixed_views]
    starts = [_shift(same)] if same else _starts(fixed_views[0], moving_views[0], config)
    if not starts:
        raise _failed(moving, "no shift at which a quarter of both bodies overlap", "one field of view in common")
    # On the coarsest level vertebrae blur into a column, along which a start that is right slips.
    for points, view in list(zip(landmarks, moving_views, strict=True))[1 if same else 0 :]:
        starts = _distinct([_aligned(points, view.level, start) for start in starts], points.centre_lps)
    finest_points, finest_level = landmarks[-1], moving_views[-1].level
    best = _most_plausible(starts, finest_points, finest_level, moving)
    _require_same(same, best, moving)
    return Transform(
        as_matrix(best),
        fixed.grid.frame_of_reference_uid,
        moving.grid.frame_of_reference_uid,
        residual_mm=_residual_mm(finest_points, finest_level, best),
        overlap=_overlap(fixed_views[-1], moving.grid, best),
    )


def refine(
    fixed: Volume, moving: Volume, start: Transform, lesion: Mask, kind: Kind, config: RegisterConfig
) -> Transform:
    """Around each lesion the alignment was refined on what surrounds it: on bone alone for lesions of bone.

    Parameters
    ----------
    fixed, moving : Volume
        Baseline and later scan.
    start : Transform
        Their alignment as a whole.
    lesion : Mask
        The lesion in the baseline; it takes no part, because it is what changes.
    kind : Kind
        Bone is a rigid body of its own; soft tissue goes with all that surrounds it.
    config : RegisterConfig

    Returns
    -------
    Transform
        `residual_mm` is the root mean square displacement that parts of the neighbourhood would still like to make.
        Between CT and MR the start itself, which is as exact: around a lesion too little is alike.

    Raises
    ------
    StageError
        E-REG-FAILED when the neighbourhood is out of view, runs off to another level or stays unaligned.
    """
    if fixed.unit != moving.unit:
        return start
    place_lps = lesion.grid.to_lps(np.argwhere(lesion.array))
    centre_lps = place_lps.mean(axis=0)
    spacing_mm = config.spacing_mm / 2
    near = fixed.crop(fixed.grid.box_around(place_lps, config.local_margin_mm))
    there = moving.crop(moving.grid.box_around(start.apply(place_lps), config.local_margin_mm + HALF_LEVEL_MM))
    # The same place as `near`: with its wider margin `there` may hold brighter tissue.
    alike = moving.crop(moving.grid.box_around(start.apply(place_lps), config.local_margin_mm))
    smoothing_mm = SMOOTHING * config.spacing_mm
    view = _view(near, spacing_mm, smoothing_mm)
    other_view = _view(there, spacing_mm, smoothing_mm, as_bright_as=alike)
    landmarks, other = _landmarks(view.level, _surroundings(view, lesion, kind, fixed.unit)), other_view.level
    matrix = _aligned(landmarks, other, whole := np.array(start.matrix))
    own_fit, whole_fit = (_fit(landmarks, other, candidate) for candidate in (matrix, whole))
    if _advantage(landmarks, own_fit, whole_fit, LOCAL_CELL_MM) < MIN_ADVANTAGE:
        # Little contrast, or a neighbourhood torn apart by an arm that was raised: the whole knows better.
        matrix = whole
    travel_mm = float(np.linalg.norm(moved(matrix, centre_lps) - start.apply(centre_lps)))
    residual_mm = _residual_mm(landmarks, other, matrix)
    if travel_mm > HALF_LEVEL_MM or residual_mm > config.max_residual_mm:
        raise _failed(
            moving,
            f"a neighbourhood of the lesion {travel_mm:.1f} mm off with {residual_mm:.1f} mm left",
            f"at most {HALF_LEVEL_MM:.0f} mm and {config.max_residual_mm} mm",
        )
    return replace(start, matrix=as_matrix(matrix), residual_mm=residual_mm)


def _shift(same: Sequence[tuple[PointLps, PointLps]]) -> NDArray[np.float64]:
    """From places in one scan to the same ones in another, on average: of a column they tell no turn."""
    shift = np.eye(4)
    shift[:3, 3] = np.mean([np.subtract(there, here) for here, there in same], axis=0)
    return shift


def _require_same(same: Sequence[tuple[PointLps, PointLps]], matrix: Floats, moving: Volume) -> None:
    """Refuse an alignment of other vertebrae than those of one name."""
    off_mm = [float(np.linalg.norm(moved(matrix, here) - there)) for here, there in same]
    if off_mm and (usual_mm := float(np.median(off_mm))) > HALF_LEVEL_MM:
        raise _failed(
            moving,
            f"vertebrae of one label {usual_mm:.0f} mm apart after alignment",
            f"at most {HALF_LEVEL_MM:.0f} mm",
            code="E-REG-LEVEL",
            remedy="check the label maps of both visits, or give a prompt at that visit",
        )


def _failed(
    moving: Volume,
    found: str,
    expected: str,
    code: str = "E-REG-FAILED",
    remedy: str = "give a prompt at that visit, or check that the scan shows the same region",
) -> StageError:
    return StageError(
        code,
        f"series {moving.series.series_instance_uid}",
        found=found,
        expected=expected,
        remedy=remedy,
    )


def _surroundings(view: _View, lesion: Mask, kind: Kind, unit: str) -> Bools:
    """Where landmarks may lie: near the lesion but not in it, for lesions of bone on bone."""
    level = view.level
    points_lps = level.grid.to_lps(np.indices(level.array.shape).reshape(3, -1).T)
    outside = (SignedDistance(lesion)(points_lps) < -RIM_MM).reshape(level.array.shape)
    if kind is Kind.BONE and unit == HU:
        return outside & ndimage.binary_dilation(level.array > BONE_HU, iterations=2)
    return outside & view.inside


def _views(volume: Volume, config: RegisterConfig) -> tuple[_View, ...]:
    """From coarse to fine."""
    fine = _view(volume, config.spacing_mm)
    share = Level(fine.inside.astype(np.float32), fine.level.grid)
    views = []
    for times in COARSENING:
        width_mm = config.spacing_mm * times
        level, inside = fine.level, fine.inside
        if times > 1:
            level, inside = level.coarser(width_mm), share.coarser(width_mm).array > 0.5
        views.append(_View(level.smoothed(SMOOTHING * width_mm), inside))
    return tuple(views)


def _view(volume: Volume, spacing_mm: float, smoothing_mm: float = 0.0, as_bright_as: Volume | None = None) -> _View:
    """A volume as block means, values windowed so that the same tissue has the same value in every scan."""
    level = finest(volume, spacing_mm)
    inside = body(level, volume.unit)
    if volume.unit == HU:
        array = np.clip(level.array, *WINDOW_HU)
    else:
        # MR has no unit: bright tissue takes the top of the CT window, so that one set of constants serves both.
        array = np.clip(level.array / _bright(as_bright_as or volume, spacing_mm), 0.0, 1.5) * WINDOW_HU[1]
    windowed = Level(array, level.grid)
    return _View(windowed.smoothed(smoothing_mm) if smoothing_mm else windowed, inside)


def _bright(volume: Volume, spacing_mm: float) -> float:
    """What bright tissue measures."""
    level = finest(volume, spacing_mm)
    inside = body(level, volume.unit)
    return float(np.percentile(level.array[inside], 95)) if inside.any() else 1.0


def _beneath_skin(view: _View) -> Bools:
    """The body without its surface, which the table dents, clothes press and a raised arm stretches."""
    # Where the scan ends is no skin.
    open_sides = np.pad(view.inside, 1, mode="edge")
    depth_mm = ndimage.distance_transform_edt(open_sides, view.level.grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray(depth_mm > SKIN_MM)


def _landmarks(level: Level, allowed: Bools, count: int = POINTS) -> _Landmarks:
    """The `count` allowed voxels of the steepest contrast."""
    gradients = level.gradient_lps()
    steepness = np.where(allowed, np.linalg.norm(gradients, axis=-1), 0.0).ravel()
    count = min(count, int(np.count_nonzero(steepness)))
    chosen = np.sort(np.argpartition(steepness, -count)[-count:]) if count else np.empty(0, dtype=int)
    points_lps = level.grid.to_lps(np.stack(np.unravel_index(chosen, level.array.shape), axis=-1))
    centre = points_lps.mean(axis=0) if count else np.zeros(3)
    return _Landmarks(points_lps, level.array.ravel()[chosen], gradients.reshape(-1, 3)[chosen], centre)


def _aligned(landmarks: _Landmarks, moving: Level, matrix: Floats, iterations: int = 30) -> NDArray[np.float64]:
    """The motion nearest to `matrix` that makes the landmarks' values agree.

    Inverse-compositional Gauss-Newton with Geman-McClure weights on the median absolute deviation.
    Source: Baker and Matthews, Lucas-Kanade 20 years on, Int J Comput Vis 2004.
    """
    jacobian = landmarks.jacobian
    for _ in range(iterations):
        values, inside = moving.sampled(moved(matrix, landmarks.points_lps))
        weights = _weights(values - landmarks.values, inside)
        weighted = jacobian * weights[:, None]
        normal = weighted.T @ jacobian + 1e-6 * np.eye(6)
        step = np.linalg.solve(normal, weighted.T @ (values - landmarks.values))
        matrix = matrix @ np.linalg.inv(_motion(step, landmarks.centre_lps))
        if np.abs(step[3:]).max() < 0.005 and np.abs(step[:3]).max() < 5e-5:
            break
    return np.asarray(matrix)


def _weights(residual: Floats, inside: Bools) -> NDArray[np.float32]:
    """Weights that let go of what does not match: table, arms, calcified lesions."""
    size = np.abs(residual)
    scale = 1.4826 * float(np.median(size[inside])) + 1.0 if inside.any() else 1.0
    result: NDArray[np.float32] = np.where(inside, 1.0 / (1.0 + (size / (2.0 * scale)) ** 2) ** 2, 0.0)
    return result.astype(np.float32)


def _motion(step: Floats, centre_lps: Floats) -> NDArray[np.float64]:
    """A rotation vector about a centre and a shift as a homogeneous matrix."""
    rotation = Rotation.from_rotvec(step[:3]).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre_lps - rotation @ centre_lps + step[3:]
    return matrix


def _starts(fixed: _View, moving: _View, config: RegisterConfig) -> list[NDArray[np.float64]]:
    """The best shifts at several heights, by correlation of the bodies over every shift that overlaps."""
    spacing_mm = config.spacing_mm * COARSENING[0]
    fixed_grid, moving_grid = (_upright(view.level.grid, spacing_mm) for view in (fixed, moving))
    parts = [_resampled(fixed, fixed_grid), _resampled(moving, moving_grid)]
    correlation = _correlation(*parts[0], *parts[1])
    # One shift per height: the best in the plane.
    profile = correlation.max(axis=(1, 2))
    heights: list[int] = []
    for height in np.argsort(-profile):
        if profile[height] > -1 and all(abs(height - other) * spacing_mm >= HALF_LEVEL_MM for other in heights):
            heights.append(int(height))
    origin = np.array(moving_grid.to_lps((0, 0, 0))) - np.array(fixed_grid.to_lps((0, 0, 0)))
    starts = []
    for height in heights[: config.starts]:
        row, column = np.unravel_index(np.argmax(correlation[height]), correlation.shape[1:])
        lag = np.array([height, row, column]) - (np.array(fixed_grid.shape) - 1)
        start = np.eye(4)
        start[:3, 3] = origin + moving_grid.matrix[:3, :3] @ lag
        starts.append(start)
    return starts


def _upright(grid: Grid, spacing_mm: float) -> Grid:
    """A grid along the body's axes that holds another: slices go up, rows back, columns left."""
    corners = grid.to_lps(np.array(np.meshgrid(*((0, size - 1) for size in grid.shape))).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    columns, rows, slices = (int(count) for count in np.maximum(1, np.floor((high - low) / spacing_mm + 1)))
    matrix = np.zeros((4, 4))
    matrix[2, 0] = matrix[1, 1] = matrix[0, 2] = spacing_mm
    matrix[:3, 3], matrix[3, 3] = low, 1.0
    return Grid((slices, rows, columns), as_matrix(matrix))


def _resampled(view: _View, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values and body of a view on another grid."""
    points_lps = grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)
    values, seen = view.level.sampled(points_lps)
    within, _ = Level(view.inside.astype(np.float32), view.level.grid).sampled(points_lps)
    return values.reshape(grid.shape), ((within > 0.5) & seen).astype(np.float32).reshape(grid.shape)


def _correlation(fixed: Floats, fixed_body: Floats, moving: Floats, moving_body: Floats) -> NDArray[np.float64]:
    """Normalised correlation within both bodies at every shift; -1 where they overlap too little.

    Source: Padfield, Masked object registration in the Fourier domain, IEEE Trans Image Process 2012.
    """
    shape = np.array(fixed.shape) + moving.shape - 1
    fast = [fft.next_fast_len(int(size), real=True) for size in shape]

    def spectrum(array: Floats, reverse: bool = False) -> NDArray[np.complex128]:
        turned = array[::-1, ::-1, ::-1] if reverse else array
        return np.asarray(fft.rfftn(turned.astype(np.float64), fast))

    def summed(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.asarray(fft.irfftn(first * second, fast))[tuple(slice(0, size) for size in shape)]

    fixed, moving = fixed * fixed_body, moving * moving_body
    one, value, square = (spectrum(part, reverse=True) for part in (fixed_body, fixed, fixed**2))
    other_one, other_value, other_square = (spectrum(part) for part in (moving_body, moving, moving**2))
    count = np.maximum(summed(one, other_one), 1.0)
    fixed_sum, moving_sum = summed(value, other_one), summed(one, other_value)
    fixed_spread = summed(square, other_one) - fixed_sum**2 / count
    moving_spread = summed(one, other_square) - moving_sum**2 / count
    covariance = summed(value, other_value) - fixed_sum * moving_sum / count
    product = np.maximum(fixed_spread, 1.0) * np.maximum(moving_spread, 1.0)
    enough = count >= MIN_OVERLAP * min(fixed_body.sum(), moving_body.sum())
    return np.where(enough, covariance / np.sqrt(product), -1.0)


def _distinct(matrices: list[NDArray[np.float64]], centre_lps: Floats) -> list[NDArray[np.float64]]:
    """One of each group of alignments that agree where the body is."""
    kept: list[NDArray[np.float64]] = []
    for matrix in matrices:
        place = moved(matrix, centre_lps)
        if all(np.linalg.norm(place - moved(other, centre_lps)) > HALF_LEVEL_MM / 2 for other in kept):
            kept.append(matrix)
    return kept


def _most_plausible(
    matrices: list[NDArray[np.float64]], landmarks: _Landmarks, moving: Level, scan: Volume
) -> NDArray[np.float64]:
    """The alignment that explains most of both scans, when no other is nearly as good.

    Raises
    ------
    StageError
        E-REG-FAILED, E-REG-AMBIGUOUS.
    """
    fits = sorted((_fit(landmarks, moving, matrix) for matrix in matrices), key=lambda fit: fit.evidence, reverse=True)
    best, *others = fits
    if best.correlation < MIN_AGREEMENT:
        found = f"a correlation with the baseline of {best.correlation:.2f} at best"
        raise _failed(scan, found, f"at least {MIN_AGREEMENT}")
    for other in others:
        if (advantage := _advantage(landmarks, best, other)) < MIN_ADVANTAGE:
            apart_mm = np.linalg.norm(
                moved(best.matrix, landmarks.centre_lps) - moved(other.matrix, landmarks.centre_lps)
            )
            raise StageError(
                "E-REG-AMBIGUOUS",
                f"series {scan.series.series_instance_uid}",
                found=f"a second alignment {apart_mm:.0f} mm away that fits as well ({advantage:.1f} standard errors)",
                expected=f"one alignment better than all others by {MIN_ADVANTAGE} standard errors",
                remedy="give a prompt at that visit",
            )
    return best.matrix


@dataclass(frozen=True, eq=False)
class _Fit:
    """How the landmarks look in the moving scan under one alignment."""

    matrix: NDArray[np.float64]
    values: NDArray[np.float32]
    inside: Bools
    correlation: float

    @property
    def evidence(self) -> float:
        """Mutual information in nats, as of Gaussian values, summed over the landmarks both scans see."""
        return -0.5 * float(np.log(1.0 - self.correlation**2)) * np.count_nonzero(self.inside)


def _fit(landmarks: _Landmarks, moving: Level, matrix: Floats) -> _Fit:
    values, inside = moving.sampled(moved(matrix, landmarks.points_lps))
    correlation = 0.0
    if np.count_nonzero(inside) >= MIN_LANDMARKS:
        correlation = float(np.corrcoef(values[inside], landmarks.values[inside])[0, 1])
    return _Fit(np.asarray(matrix), values, inside, min(max(correlation, 0.0), 0.9999))


def _advantage(landmarks: _Landmarks, best: _Fit, other: _Fit, cell_mm: float = CELL_MM) -> float:
    """By how many standard errors, over cells of the body, the first alignment fits better than the second.

    Alignments so far apart that they show no landmarks in common cannot be compared cell by cell: there one that
    explains less than half as much is out of the question, and one that explains more is not.
    """
    common = best.inside & other.inside
    if np.count_nonzero(common) < MIN_OVERLAP * np.count_nonzero(best.inside):
        return np.inf if other.evidence < best.evidence / 2 else 0.0
    residuals = [np.abs(fit.values - landmarks.values)[common] for fit in (best, other)]
    scale = 1.4826 * np.median(residuals[0]) + 1.0
    losses = [residual**2 / (residual**2 + (2.0 * scale) ** 2) for residual in residuals]
    cells = _cells(landmarks.points_lps[common], cell_mm)
    gains = np.bincount(cells, losses[1] - losses[0]) / np.bincount(cells)
    return float(gains.mean() / (gains.std(ddof=1) / np.sqrt(gains.size) + 1e-9))


def _cells(points_lps: Floats, cell_mm: float = CELL_MM) -> NDArray[np.intp]:
    """The number of the cell each point lies in."""
    _, cells = np.unique(np.floor(points_lps / cell_mm).astype(int), axis=0, return_inverse=True)
    return np.asarray(cells).ravel()


def _displacements(
    landmarks: _Landmarks, moving: Level, matrix: Floats, cells: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shift (cells, 3) in mm that each cell, left to itself, would still like to make, and what holds it there."""
    gradients = landmarks.gradients.astype(np.float64)
    shifts = np.zeros((cells.max() + 1, 3))
    firmness = np.zeros((cells.max() + 1, 3, 3))
    for _ in range(5):
        values, inside = moving.sampled(moved(matrix, landmarks.points_lps + shifts[cells]))
        residual = values - landmarks.values
        weighted = gradients * _weights(residual, inside)[:, None]
        for axis in range(3):
            for other in range(3):
                firmness[:, axis, other] = np.bincount(cells, weighted[:, axis] * gradients[:, other])
        pull = np.stack([np.bincount(cells, weighted[:, axis] * residual) for axis in range(3)], axis=-1)
        # A cell without contrast of its own stays where the whole puts it.
        anchor = (1.4826 * np.median(np.abs(residual[inside])) + 1.0) ** 2 * np.eye(3)
        shifts -= np.linalg.solve(firmness + anchor, pull[..., None])[..., 0]
    return shifts, firmness


def _residual_mm(landmarks: _Landmarks, moving: Level, matrix: Floats) -> float:
    """Root mean square displacement of the cells, each weighted by how firmly its contrast holds it."""
    _, inside = moving.sampled(moved(matrix, landmarks.points_lps))
    if not inside.any():
        return float("inf")
    seen = landmarks.where(inside)
    shifts, firmness = _displacements(seen, moving, matrix, _cells(seen.points_lps))
    weighted = np.einsum("ci,cij,cj->", shifts, firmness, shifts)
    return float(np.sqrt(3.0 * weighted / np.trace(firmness.sum(axis=0))))


def _overlap(fixed: _View, moving: Grid, matrix: Floats) -> float:
    """The share of the fixed body that the moving scan shows."""
    index = moving.to_index(moved(matrix, fixed.level.grid.to_lps(np.argwhere(fixed.inside))))
    return float(np.all((index >= -0.5) & (index <= np.array(moving.shape) - 0.5), axis=1).mean())
