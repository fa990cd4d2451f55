"""Time of all quantities of one lesion against pyradiomics: `python benchmarks/bench_measure.py [PYTHON] [PAIRS]`.

PYTHON is an interpreter that has pyradiomics (it needs numpy < 2, so it lives in an environment of its own); without
one, scikit-image's regionprops and SimpleITK's label shape and intensity filters in this process stand in for it.
Ours measures from the whole CT of 512 x 512 x 300 with the mask given on its own box; the peer gets the lesion's
crop, its fastest. Both run in turns, in one run; the figure is the median of the pairs' ratios.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from imaging_pipeline.config import MeasureConfig  # noqa: E402
from imaging_pipeline.domain.images import Mask  # noqa: E402
from imaging_pipeline.domain.lesions import Kind, Lesion  # noqa: E402
from imaging_pipeline.numerics.measurement import measure  # noqa: E402
from tests.numerics.bodies import ct, lobulated, mask_on, random_grid, sampled  # noqa: E402

PEER = Path(__file__).parent / "peers" / "pyradiomics_peer.py"
MASS = Lesion("T1", "1.2.3", "mass", Kind.SOFT_TISSUE)
#: Slice thickness of a chest CT and of a thin one: about 11,000 and 27,000 voxels in 40 mm.
SLICES_MM = (2.5, 1.0)


def scene(slice_mm):
    """A body 40 mm long in noise, in a CT of 512 x 512 x 300, and its mask on its own box."""
    random = np.random.default_rng(31)
    body = lobulated(random, 40.0)
    grid = random_grid(random, body.reach_mm, slice_mm=slice_mm, pixel_mm=0.8, oblique=False)
    whole = replace(grid, shape=(300, 512, 512))
    marked = np.zeros(whole.shape, dtype=bool)
    marked[tuple(slice(0, size) for size in grid.shape)] = sampled(body, grid)
    array = np.where(marked, 45.0, -90.0) + random.normal(0.0, 15.0, whole.shape)
    mask = mask_on(marked, whole)
    return ct(array.astype(np.int16), whole), mask.crop(mask.box())


def ours(volume, mask):
    """Milliseconds of one measurement, and its values."""
    fresh = Mask(mask.array, mask.grid, "given")
    start = time.perf_counter()
    found = measure(volume, fresh, MASS, 0, MeasureConfig()).measurements
    return 1000.0 * (time.perf_counter() - start), {item.quantity: item.value for item in found}


def crop_of(volume, mask):
    """The lesion's box with one voxel around it: what the peer is given."""
    box = volume.grid.box_around(mask.grid.to_lps(np.argwhere(mask.array)), 2.5)
    return volume.array[box], mask.on(volume.grid.crop(box)).array


class Pyradiomics:
    """The peer's process, kept running, so that no start-up is timed."""

    name = "pyradiomics shape + firstorder"

    def __init__(self, python, volume, mask):
        array, marked = crop_of(volume, mask)
        with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as file:
            np.savez(file, array=array, marked=marked, spacing_mm=np.array(volume.grid.spacing_mm))
        self._file = file.name
        self._process = subprocess.Popen(
            [python, str(PEER), file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self):
        """Milliseconds and values."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        self.name = f"pyradiomics {answer['version']} shape + firstorder"
        return answer["ms"], answer["values"]

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        Path(self._file).unlink()


class Toolkits:
    """scikit-image and SimpleITK: fewer features than pyradiomics, none of them sub-voxel."""

    name = "skimage regionprops + SimpleITK label shape and intensity"

    def __init__(self, volume, mask):
        import SimpleITK as sitk  # noqa: N813

        array, marked = crop_of(volume, mask)
        self._array, self._labels, self._spacing = array, marked.astype(np.uint8), volume.grid.spacing_mm
        self._images = [sitk.GetImageFromArray(one) for one in (array, self._labels)]
        for image in self._images:
            image.SetSpacing([float(step) for step in reversed(self._spacing)])

    def __call__(self):
        """Milliseconds and values."""
        import SimpleITK as sitk  # noqa: N813
        from skimage.measure import regionprops

        start = time.perf_counter()
        region = regionprops(self._labels, self._array, spacing=self._spacing)[0]
        values = {"FeretSkimage": region.feret_diameter_max, "Mean": region.intensity_mean}
        shape, intensity = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
        shape.ComputeFeretDiameterOn()
        shape.Execute(self._images[1])
        intensity.Execute(self._images[1], self._images[0])
        values |= {"MeshVolume": shape.GetPhysicalSize(1), "Maximum3DDiameter": shape.GetFeretDiameter(1)}
        return 1000.0 * (time.perf_counter() - start), values

    def close(self):
        """Nothing to end."""


#: Ours against the peer's: what both give, said side by side before anything is timed.
SAME = {
    "volume": "MeshVolume",
    "max_3d_diameter": "Maximum3DDiameter",
    "surface_area": "SurfaceArea",
    "mean_density": "Mean",
    "median_density": "Median",
    "min_density": "Minimum",
    "max_density": "Maximum",
    "longest_diameter": "Maximum2DDiameterSlice",
}


def main():
    """Print, for each lesion, the values side by side and the ratio of times."""
    python = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PYRADIOMICS_PYTHON", "")
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    for slice_mm in SLICES_MM:
        volume, mask = scene(slice_mm)
        peer = Pyradiomics(python, volume, mask) if python else Toolkits(volume, mask)
        (_, mine), (_, theirs) = ours(volume, mask), peer()
        print(
            f"40 mm lesion, slices of {slice_mm} mm, {np.count_nonzero(mask.array)} voxels, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print(f"  ours {len(mine)} quantities with intervals; {peer.name}: {len(theirs)} features without")
        for name, other in SAME.items():
            if other in theirs:
                print(f"    {name:18s} {mine[name]:10.2f}   {other:22s} {theirs[other]:10.2f}")
        times = [(ours(volume, mask)[0], peer()[0]) for _ in range(pairs)]
        ratios = [other / own for own, other in times]
        own, other = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"  ours {own:.1f} ms, peer {other:.1f} ms: {statistics.median(ratios):.1f} times faster "
            f"(pairs {min(ratios):.1f}-{max(ratios):.1f}); bar 4"
        )
        peer.close()


if __name__ == "__main__":
    main()
