"""Registration of a whole field against SimpleITK: `python benchmarks/bench_register.py [--patients N] [--usual]`.

Pairs of full-size scans of synthetic patients who moved as one piece; ours and
SimpleITK, on block means of 3 mm, run in turn on one thread each. Prints the
median time, the ratio with its range, and the error at the lesion of each;
`--usual` adds SimpleITK on the whole scans. elastix is not compared: it is no
dependency of the project. Nothing is kept from one run to the next.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.figures_follow import one_piece  # noqa: E402
from imaging_pipeline.config import RegisterConfig  # noqa: E402
from imaging_pipeline.domain.geometry import moved  # noqa: E402
from imaging_pipeline.domain.images import Volume  # noqa: E402
from imaging_pipeline.numerics.registration import register  # noqa: E402
from imaging_pipeline.phantom.patient import draw_patient  # noqa: E402
from imaging_pipeline.phantom.protocols import protocols  # noqa: E402
from imaging_pipeline.phantom.scanner import scan  # noqa: E402

SEED = 880_401
SPACING_MM = 3.0


def ours(fixed: Volume, moving: Volume):
    """The project's whole-field alignment, checks included."""
    return register(fixed, moving, RegisterConfig()).apply


def image_of(volume: Volume, binned: bool) -> sitk.Image:
    """As SimpleITK holds it; binned to about 3 mm or whole."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.grid.spacing_mm[::-1])
    image.SetOrigin(tuple(volume.grid.to_lps((0, 0, 0))))
    image.SetDirection(volume.grid.directions[:, ::-1].ravel().tolist())
    if binned:
        image = sitk.BinShrink(image, [max(1, round(SPACING_MM / step)) for step in image.GetSpacing()])
    return sitk.Cast(image, sitk.sitkFloat32)


def simpleitk(fixed: Volume, moving: Volume, binned: bool = True):
    """Moments, then Mattes mutual information on three levels: what its examples recommend."""
    images = [image_of(volume, binned) for volume in (fixed, moving)]
    start = sitk.CenteredTransformInitializer(
        *images, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2 if binned else 0.01, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-4, 200, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(*images)
    return lambda points: np.array([found.TransformPoint(point) for point in points.tolist()])


def main() -> None:
    """Run in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--usual", action="store_true", help="also SimpleITK on the whole scans")
    asked = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    ways = {"ours": ours, "SimpleITK, 3 mm": simpleitk}
    if asked.usual:
        ways["SimpleITK, whole"] = lambda fixed, moving: simpleitk(fixed, moving, binned=False)
    seconds, errors = ({way: [] for way in ways} for _ in range(2))
    for number in range(asked.patients):
        patient = one_piece(draw_patient(SEED, number, visits=2))
        for place, (name, bone) in enumerate((("L4", "L4"), ("AX", "T4"))):
            fixed, moving = (scan(patient, visit, protocols(patient, visit)[place]) for visit in (0, 1))
            lesion_lps = moved(patient.to_scanner(0, bone), patient.lesion(0, name).surface.vertices(2))
            true_lps = moved(patient.movement(1, bone), lesion_lps)
            for way, align in ways.items():
                begun = time.process_time()
                found = align(fixed, moving)
                seconds[way].append(time.process_time() - begun)
                errors[way].append(np.linalg.norm(found(lesion_lps) - true_lps, axis=1).mean())
    for way in ways:
        ratio = np.array(seconds[way]) / np.array(seconds["ours"])
        print(
            f"{way:18s} CPU s {np.median(seconds[way]):6.2f}  times ours {np.median(ratio):5.1f} "
            f"({ratio.min():.1f} to {ratio.max():.1f})  error at the lesion mm: mean {np.mean(errors[way]):.2f}, "
            f"worst {np.max(errors[way]):.2f}"
        )


if __name__ == "__main__":
    main()
