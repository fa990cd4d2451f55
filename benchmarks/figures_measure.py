"""The measurements against analytic truth: `python benchmarks/figures_measure.py [SHAPES]`.

Prints, for SHAPES (200) random bodies or phantom lesions a row, bias and the
95th percentile of the error of each quantity, the coverage of the intervals,
what is published of real masks and of the IBSI phantom beside what is measured,
and the time of one lesion. No constant of the package was set on these seeds.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from imaging_pipeline.config import MeasureConfig  # noqa: E402
from imaging_pipeline.domain.images import Mask  # noqa: E402
from imaging_pipeline.domain.lesions import Kind, Lesion  # noqa: E402
from imaging_pipeline.io.loaders import open_series  # noqa: E402
from imaging_pipeline.io.masks import read_mask  # noqa: E402
from imaging_pipeline.numerics.intensity import densities  # noqa: E402
from imaging_pipeline.numerics.measurement import measure  # noqa: E402
from imaging_pipeline.numerics.size import sizes  # noqa: E402
from imaging_pipeline.numerics.uncertainty import noise_sd  # noqa: E402
from imaging_pipeline.phantom.patient import draw_patient  # noqa: E402
from imaging_pipeline.phantom.protocols import Machine, Protocol, Region  # noqa: E402
from imaging_pipeline.phantom.scanner import noise_field, scan, true_mask  # noqa: E402
from imaging_pipeline.phantom.truth import lesion_truth  # noqa: E402
from tests.numerics.bodies import (  # noqa: E402
    crescent,
    ct,
    ellipsoid,
    imaged,
    lobulated,
    mask_on,
    random_grid,
    sampled,
    star,
    true_axes,
)

SEED = 31
PHANTOM_SEED = 29
BONE = Lesion("L4", "1.2.3", "L4", Kind.BONE)
MASS = Lesion("T1", "1.2.3", "mass", Kind.SOFT_TISSUE)


def line(name: str, errors: np.ndarray, unit: str, covered: list | None = None) -> None:
    """One row: bias, median and 95th percentile of the size of the error, coverage."""
    errors = np.asarray(errors, dtype=float)
    cover = "" if covered is None else f"  in its interval {100.0 * np.mean(covered):5.1f} %"
    size = np.abs(errors)
    print(
        f"{name:48s} n {len(errors):4d}  bias {errors.mean():+7.3f}  median {np.median(size):6.3f}  "
        f"p95 {np.percentile(size, 95):6.3f} {unit}{cover}",
        flush=True,
    )


def smooth_body(random, lengths_mm=(10.0, 50.0)):
    size = random.uniform(*lengths_mm)
    if random.random() < 0.5:
        shares = np.array([1.0, random.uniform(0.5, 1.0), random.uniform(0.5, 1.0)])
        return ellipsoid(size / 2 * shares, Rotation.random(rng=random)), True
    return lobulated(random, size), True


def angular_body(random):
    size, angle = random.uniform(12.0, 50.0), random.uniform(0.0, 2.0 * np.pi)
    if random.random() < 0.5:
        return star(int(random.integers(4, 8)), size, angle), False
    return crescent(size / 2, size / 2 * random.uniform(0.8, 1.0), size / 2 * random.uniform(0.3, 0.6), angle), False


def diameters(name, draw, shapes) -> None:
    """Longest diameter and perpendicular of masks alone, grids oblique, pixels oblong, slices of 1-5 mm."""
    random, errors, relative, covered = np.random.default_rng(SEED), [], [], []
    while len(errors) < shapes:
        body, oblique = draw(random)
        grid = random_grid(random, body.reach_mm, oblique=oblique)
        marked = sampled(body, grid)
        if np.count_nonzero(marked) < 30:
            continue
        truth = np.array(true_axes(body, grid, marked))
        found = sizes(marked, grid)
        pair = [found["longest_diameter"], found["perpendicular_diameter"]]
        errors.append(np.array([item.value for item in pair]) - truth)
        relative.append(errors[-1] / truth)
        covered.append([item.lower95 <= value <= item.upper95 for item, value in zip(pair, truth, strict=True)])
    for index, quantity in enumerate(("longest diameter", "perpendicular")):
        line(f"{quantity}, {name}", np.array(errors)[:, index], "mm", np.array(covered)[:, index])
        line(f"{quantity}, {name}, relative", 100.0 * np.array(relative)[:, index], "%")


def volumes(shapes, contrast_to_noise=None, lengths_mm=(10.0, 50.0)) -> None:
    """Volume at 0.8 x 0.8 x 2.5 mm, from the mask alone or with an image of that contrast to noise."""
    random, errors, covered = np.random.default_rng(SEED + 1), [], []
    while len(errors) < shapes:
        body, _ = smooth_body(random, lengths_mm)
        grid = random_grid(random, body.reach_mm, slice_mm=2.5, pixel_mm=0.8, margin_mm=10.0)
        marked = sampled(body, grid)
        if np.count_nonzero(marked) < 30:
            continue
        image, noise = None, 0.0
        if contrast_to_noise:
            size = max(grid.shape[1:]) + max(grid.shape[1:]) % 2
            field = np.stack([noise_field(random, size, 0.8, 0.55) for _ in range(grid.shape[0])])
            field = field[:, : grid.shape[1], : grid.shape[2]] * 150.0 / contrast_to_noise
            image = np.rint(150.0 * imaged(body, grid, random.uniform(0.4, 0.7)) - 100.0 + field).astype(np.int16)
            noise = noise_sd(image)
        found = sizes(marked, grid, image, noise)["volume"]
        errors.append(100.0 * (found.value / body.volume_mm3 - 1.0))
        covered.append(found.lower95 <= body.volume_mm3 <= found.upper95)
    source = f"image of contrast to noise {contrast_to_noise}" if contrast_to_noise else "mask alone"
    line(f"volume of {lengths_mm[0]:.0f}-{lengths_mm[1]:.0f} mm, {source}", errors, "%", covered)


def scanned(number: int, visit: int, machine: Machine, half_mm: float):
    """A CT around a phantom's L4 lesion, the true mask and the true values."""
    patient = draw_patient(PHANTOM_SEED, number)
    vertices = patient.lesion(visit, "L4").surface.vertices(3)
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    region = Region("lumbar_ct", "", "LSPINE", *middle[:2].tolist(), middle[2] - half_mm, middle[2] + half_mm)
    protocol = Protocol(region, machine, table=False)
    volume = scan(patient, visit, protocol)
    mask = true_mask(patient, visit, "L4", volume.grid)
    return volume, mask.crop(mask.box()), lesion_truth(patient, visit, "L4", machine.mineral)["quantities"]


def random_machine(random) -> Machine:
    """Kernels, slices of 1-5 mm, voltages, noise of 10-25 HU; 128 mm across."""
    slice_mm = float(random.choice([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]))
    pixel_mm, spread_mm = float(random.uniform(0.5, 0.8)), float(random.uniform(0.42, 0.66))
    matrix = int(64.0 / pixel_mm) * 2
    return Machine(
        matrix * pixel_mm, matrix, slice_mm, "", spread_mm, int(random.choice([100, 110, 120, 130])),
        float(random.uniform(10.0, 25.0)),
    )  # fmt: skip


#: Source: IBSI reference manual, digital phantom (volume by counting voxels).
IBSI = (
    ("mean_density", 2.15, 0.0), ("median_density", 1.0, 0.0), ("min_density", 1.0, 0.0), ("max_density", 6.0, 0.0),
    ("volume", 592.0, 4.0), ("surface_area", 388.0, 3.0), ("max_3d_diameter", 13.1, 0.1),
)  # fmt: skip
#: Scan, outline and what is published of it: volume, diameter between centres and between corners of voxels.
REAL_MASKS = (
    ("sts_dicom/STS_008/CT/image", "sts_dicom/STS_008/CT/mask/*.dcm", "27.636 ml, 39.03-40.37 mm"),
    ("sts_dicom/STS_042/CT/image", "sts_dicom/STS_042/CT/mask/*.dcm", "34.849 ml, 47.62-48.83 mm"),
    ("lidc0001/ct", "lidc0001/seg/*.dcm", "6.795 ml, 31.8-33.7 mm"),
)

RELATIVE = ("volume", "mean_density", "calcified_volume", "calcium_mass", "reference_density", "normalised_density")
ABSOLUTE = (
    "longest_diameter", "perpendicular_diameter", "lytic_fraction", "mixed_fraction", "sclerotic_fraction",
    "rim_density", "rim_continuity", "cortical_continuity", "height_anterior", "height_loss",
)  # fmt: skip


def phantom(shapes: int) -> None:
    """Every quantity of a bone lesion over scanners, true mask, healed lesions (visits 1 and 2) and fresh ones."""
    random, errors, covered = np.random.default_rng(SEED + 2), {}, {}
    for number in range(shapes):
        volume, mask, truth = scanned(number, number % 3, random_machine(random), 68.0)
        for item in measure(volume, mask, BONE, 0, MeasureConfig()).measurements:
            true = truth.get(item.quantity)
            if item.quantity not in RELATIVE + ABSOLUTE or true is None:
                continue
            if item.quantity in ("calcified_volume", "calcium_mass") and truth["calcified_fraction"] < 5.0:
                continue
            error = 100.0 * (item.value / true - 1.0) if item.quantity in RELATIVE else item.value - true
            errors.setdefault(item.quantity, []).append(error)
            covered.setdefault(item.quantity, []).append(item.lower95 <= true <= item.upper95)
    for name in RELATIVE + ABSOLUTE:
        unit = "%" if name in RELATIVE else "mm" if name.endswith(("diameter", "anterior")) else "points or HU"
        line(f"phantom, {name}", errors[name], unit, covered[name])


def normalised_over_scanners(shapes: int) -> None:
    """Change of density when kVp, kernel and noise change and the patient does not."""
    raw, ratio = [], []
    for number in range(shapes):
        values = []
        for kvp, spread_mm in ((120, 0.45), (100, 0.62)):
            machine = Machine(128.0, 160, 2.0, "", spread_mm, kvp, 15.0)
            volume, mask, _ = scanned(number, 0, machine, 68.0)
            values.append(
                {item.quantity: item.value for item in measure(volume, mask, BONE, 0, MeasureConfig()).measurements}
            )
        if all("normalised_density" in found for found in values):
            raw.append(values[1]["mean_density"] - values[0]["mean_density"])
            ratio.append(100.0 * (values[1]["normalised_density"] / values[0]["normalised_density"] - 1.0))
    line("mean density, 120 to 100 kVp, other kernel", raw, "HU")
    line("normalised density, the same", ratio, "%")


def published() -> None:
    """Values beside those published: the IBSI digital phantom, and masks drawn by experts on real scans."""
    folder = Path(os.environ.get("IMAGING_PIPELINE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        print("published values: no folder of real scans")
        return
    volume, _, _ = open_series(folder / "ibsi_digital_phantom" / "nifti" / "image" / "phantom.nii.gz", None)
    mask = read_mask(folder / "ibsi_digital_phantom" / "nifti" / "mask" / "mask.nii.gz", volume)
    found = densities(volume.array, mask.array, volume.grid, 0.0) | sizes(mask.array, volume.grid)
    for name, value, tolerance in IBSI:
        print(f"IBSI digital phantom, {name:20s} {found[name].value:8.2f}, reference {value} +- {tolerance}")
    for scan_folder, outline, expected in REAL_MASKS:
        volume, _, _ = open_series(folder / scan_folder, None)
        outlines = sorted((folder / outline).parent.glob((folder / outline).name))
        real = {
            item.quantity: item.value
            for item in measure(volume, read_mask(outlines[0], volume), MASS, 0, MeasureConfig()).measurements
        }
        print(
            f"{scan_folder}: {real['volume'] / 1000.0:.3f} ml, {real['longest_diameter']:.2f} mm; published {expected}"
        )


def timing() -> None:
    """All quantities of a 40 mm lesion in a CT of 512 x 512 x 300, mask given on its own box."""
    random = np.random.default_rng(SEED)
    body = lobulated(random, 40.0)
    grid = random_grid(random, body.reach_mm, slice_mm=1.0, pixel_mm=0.8, oblique=False)
    whole = replace(grid, shape=(300, 512, 512))
    marked = np.zeros(whole.shape, dtype=bool)
    marked[tuple(slice(0, size) for size in grid.shape)] = sampled(body, grid)
    mask = mask_on(marked, whole)
    mask = mask.crop(mask.box())
    array = random.normal(45.0, 15.0, whole.shape).astype(np.int16)
    volume = ct(array, whole)
    for lesion in (MASS, BONE):
        times = []
        for _ in range(7):
            fresh = Mask(mask.array, mask.grid, "phantom")
            start = time.perf_counter()
            found = measure(volume, fresh, lesion, 0, MeasureConfig()).measurements
            times.append(1000.0 * (time.perf_counter() - start))
        print(
            f"{lesion.kind.value}: {np.count_nonzero(mask.array)} voxels, {len(found)} quantities, "
            f"median {np.median(times):.1f} ms, least {min(times):.1f} ms"
        )


def main() -> None:
    """Print every row."""
    shapes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    diameters("ellipsoids and lobulated bodies", smooth_body, shapes)
    diameters("crescents and stars", angular_body, shapes)
    volumes(shapes)
    for contrast_to_noise in (75, 30, 15, 7):
        volumes(shapes, contrast_to_noise)
    for contrast_to_noise in (None, 75, 30, 15):
        volumes(shapes, contrast_to_noise, (10.0, 15.0))
    published()
    phantom(shapes)
    normalised_over_scanners(max(4, shapes // 10))
    timing()


if __name__ == "__main__":
    main()
