"""Finding one modality's place in another's scan, CT in MR or MR in CT: by mutual information, from several heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses
from numpy.typing import NDArray

from imaging_pipeline.config import RegisterConfig
from imaging_pipeline.domain.geometry import Transform, as_matrix, moved
from imaging_pipeline.domain.images import Volume
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.errors import StageError
from imaging_pipeline.numerics.pyramid import Bools, Level, body, finest

#: What is emptier than fat or denser than cortical bone guides nothing.
WINDOW_HU = (-250.0, 600.0)
#: Of MR the brightest percent is coil and flow; of the rest, tissue is brighter than this share.
BRIGHTEST_PERCENT = 99.0
TISSUE_SHARE = 0.15
#: The spine lies about this far in front of the skin of the back; the skin within this of the middle is its back.
SPINE_DEPTH_MM = 70.0
BACK_HALF_MM = 15.0
#: Starts lie this far apart along the body, half a lumbar vertebra with its disc; those this near to each other at the
#: end are one alignment. Only the best of them are followed to the end.
HALF_LEVEL_MM = 15.0
SAME_MM = 5.0
FOLLOWED = 6
#: At either end of the body so much must be seen in both.
LEAST_SHARED_MM = 60.0
#: Classes of value that are counted together.
BINS = 24
#: Points of the body at which an alignment is judged, one in so many.
EVERY = 3
FEWEST_POINTS = 300
#: Mutual information in nats times the share of the body seen in both. Source: phantom patients of other seeds than
#: those of benchmarks/figures_follow.py: right alignments from 0.37 on, wrong ones mostly below 0.16.
LEAST_EVIDENCE = 0.2
#: Another alignment is as good that tells this share of the best one's information of at least half as much tissue:
#: that a field of view ends sooner there does not speak against it.
AS_GOOD, AS_MUCH = 0.95, 0.5

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Scan:
    """A scan on coarse voxels, values of one window, and which voxels are tissue."""

    level: Level
    tissue: Bools

    @classmethod
    def of(cls, volume: Volume, spacing_mm: float) -> _Scan:
        level = finest(volume, spacing_mm)
        if volume.unit == HU:
            return cls(Level(np.clip(level.array, *WINDOW_HU), level.grid), body(level, volume.unit))
        bright = max(float(np.percentile(level.array, BRIGHTEST_PERCENT)), 1e-6)
        array = np.clip(level.array / bright, 0.0, 1.0)
        return cls(Level(array, level.grid), array > TISSUE_SHARE)

    @property
    def points_lps(self) -> NDArray[np.float64]:
        """Places (N, 3) of the tissue."""
        return self.level.grid.to_lps(np.argwhere(self.tissue))

    def landmarks(self) -> tuple[float, float, float, float]:
        """Middle from side to side, skin of the back there, lowest and highest tissue, in LPS mm."""
        points = self.points_lps
        middle = float(np.median(points[:, 0]))
        near = points[np.abs(points[:, 0] - middle) < BACK_HALF_MM]
        heights = np.rint(near[:, 2] / (2 * self.level.grid.spacing_mm[1]))
        back = float(np.median([near[heights == height, 1].max() for height in np.unique(heights)]))
        return middle, back, float(points[:, 2].min()), float(points[:, 2].max())


def register_across(fixed: Volume, moving: Volume, config: RegisterConfig) -> Transform:
    """CT and MR of one visit were aligned rigidly by mutual information from several heights along the body.

    Parameters
    ----------
    fixed, moving : Volume
        One a CT, the other an MR; any orientation, field of view and frame of reference.
    config : RegisterConfig

    Returns
    -------
    Transform
        Fixed points to moving points. `residual_mm` is how far apart starts end that find the same place; `overlap`
        the share of the MR's tissue that the CT shows.

    Raises
    ------
    StageError
        E-REG-FAILED when nothing fits, E-REG-AMBIGUOUS when another height fits as well.

    Notes
    -----
    Source: Mattes 2003 (mutual information), by SimpleITK.
    """
    # The MR is the smaller part of the body, and gives the points.
    from_mr = fixed.unit != HU
    slab, whole = (_Scan.of(volume, config.spacing_mm) for volume in ((fixed, moving) if from_mr else (moving, fixed)))
    if not slab.tissue.any() or not whole.tissue.any():
        raise _failed(moving, "a scan without tissue")
    best, residual_mm = _most_evident([_ended(slab, whole, start) for start in _begun(slab, whole)], slab, moving)
    return Transform(
        as_matrix(best.matrix if from_mr else np.linalg.inv(best.matrix)),
        fixed.grid.frame_of_reference_uid,
        moving.grid.frame_of_reference_uid,
        residual_mm=residual_mm,
        overlap=best.overlap,
    )


@dataclass(frozen=True, eq=False)
class _Alignment:
    """A motion of the slab into the whole, mutual information in nats of what both show, and how much that is."""

    motion: sitk.Euler3DTransform
    information: float
    overlap: float

    @property
    def evidence(self) -> float:
        """What speaks for it."""
        return self.information * self.overlap

    @property
    def matrix(self) -> Matrix:
        """The motion, homogeneous."""
        turn, centre = np.array(self.motion.GetMatrix()).reshape(3, 3), np.array(self.motion.GetCenter())
        result = np.eye(4)
        result[:3, :3] = turn
        result[:3, 3] = np.array(self.motion.GetTranslation()) + centre - turn @ centre
        return result


def _begun(slab: _Scan, whole: _Scan) -> list[_Alignment]:
    """Backs laid upon each other at every height, coarsely aligned; the most evident first."""
    here, there = slab.landmarks(), whole.landmarks()
    lowest, highest = there[2] - here[3] + LEAST_SHARED_MM, there[3] - here[2] - LEAST_SHARED_MM
    count = max(2, int((highest - lowest) / HALF_LEVEL_MM) + 1)
    starts = []
    for height_mm in np.linspace(lowest, highest, count):
        start = sitk.Euler3DTransform()
        start.SetCenter((here[0], here[1] - SPINE_DEPTH_MM, 0.5 * (here[2] + here[3])))
        start.SetTranslation((there[0] - here[0], there[1] - here[1], float(height_mm)))
        starts.append(_judged(_aligned(slab, whole, start, coarse=True), slab, whole))
    return sorted(starts, key=lambda one: -one.evidence)[:FOLLOWED]


def _ended(slab: _Scan, whole: _Scan, start: _Alignment) -> _Alignment:
    return _judged(_aligned(slab, whole, start.motion, coarse=False), slab, whole)


def _aligned(slab: _Scan, whole: _Scan, start: sitk.Euler3DTransform, *, coarse: bool) -> sitk.Euler3DTransform:
    """The motion nearest to `start` of the most mutual information; `start` itself where too little is shared."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # sums in one order: the same scans give the same transform
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.05 if coarse else 0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0 if coarse else 1.0,
        minStep=0.02,
        numberOfIterations=30 if coarse else 60,
        relaxationFactor=0.6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2 if coarse else 1])
    method.SetSmoothingSigmasPerLevel([4.0 if coarse else 1.5])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(sitk.Euler3DTransform(start), inPlace=False)
    try:
        found = method.Execute(_image(slab.level), _image(whole.level))
    except RuntimeError:  # hardly a point of the slab lies in the whole
        return start
    return sitk.Euler3DTransform(sitk.CompositeTransform(found).GetNthTransform(0))


def _image(level: Level) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(level.array))
    columns = level.grid.matrix[:3, :3][:, ::-1]
    image.SetOrigin(tuple(level.grid.matrix[:3, 3]))
    image.SetSpacing(level.grid.spacing_mm[::-1])
    image.SetDirection(tuple((columns / np.linalg.norm(columns, axis=0)).ravel()))
    return image


def _judged(motion: sitk.Euler3DTransform, slab: _Scan, whole: _Scan) -> _Alignment:
    """How well the tissue seen in both agrees."""
    own = slab.level.array[slab.tissue][::EVERY]
    unjudged = _Alignment(motion, 0.0, 0.0)
    other, shared = whole.level.sampled(moved(unjudged.matrix, slab.points_lps[::EVERY]))
    if np.count_nonzero(shared) < FEWEST_POINTS:
        return unjudged
    together, _, _ = np.histogram2d(other[shared], own[shared], BINS)
    together /= together.sum()
    apart = together.sum(axis=1, keepdims=True) * together.sum(axis=0, keepdims=True)
    some = together > 0
    information = float((together[some] * np.log(together[some] / apart[some])).sum())
    return _Alignment(motion, information, float(shared.mean()))


def _most_evident(found: list[_Alignment], slab: _Scan, moving: Volume) -> tuple[_Alignment, float]:
    """The alignment that most speaks for, and how far apart those lie that found the same place.

    Raises
    ------
    StageError
        E-REG-FAILED, E-REG-AMBIGUOUS.
    """
    best, *others = sorted(found, key=lambda one: -one.evidence)
    if best.evidence < LEAST_EVIDENCE:
        raise _failed(moving, f"mutual information of {best.evidence:.2f} nats at best")
    middle_lps = slab.points_lps.mean(axis=0)
    rivals = [
        one for one in others if one.information >= AS_GOOD * best.information and one.overlap >= AS_MUCH * best.overlap
    ]
    off_mm = [float(np.linalg.norm(moved(one.matrix, middle_lps) - moved(best.matrix, middle_lps))) for one in rivals]
    if max(off_mm, default=0.0) > SAME_MM:
        raise StageError(
            "E-REG-AMBIGUOUS",
            f"series {moving.series.series_instance_uid}",
            found=f"a second alignment {max(off_mm):.0f} mm away that fits as well",
            expected="one alignment better than all others",
            remedy="give a prompt in that series",
        )
    return best, max(off_mm, default=0.0)


def _failed(moving: Volume, found: str) -> StageError:
    return StageError(
        "E-REG-FAILED",
        f"series {moving.series.series_instance_uid}",
        found=found,
        expected=f"at least {LEAST_EVIDENCE} nats, of one part of one patient",
        remedy="give a prompt in that series, or check that it shows the same region",
    )
