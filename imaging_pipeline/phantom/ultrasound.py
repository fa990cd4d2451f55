"""An ultrasound scanner with a linear probe: one grey frame of the axillary mass, with speckle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.canvas import covered
from imaging_pipeline.phantom.disease import AXILLA
from imaging_pipeline.phantom.exact import Line, Mesh
from imaging_pipeline.phantom.files import Shelf, begun, coded, fill, items, save
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.shapes import Array, Coordinates, Waves, both, capsule, step
from imaging_pipeline.phantom.surfaces import Lobe, Surface, triangles
from imaging_pipeline.phantom.truth import rounded

US_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.6.1"
ROLE = "axilla_us"
#: The reported size. Source: the published case.
LONGEST_MM, PERPENDICULAR_MM = 32.0, 26.0
#: Decibels between black and white, and the echo level (dB) that is shown in the middle of the greys.
DYNAMIC_RANGE_DB = 60.0
MIDDLE_DB = -26.0
#: The pulse's extent along and across the beam, standard deviations in mm.
PULSE_MM = (0.13, 0.26)
SKIN_DB, FAT_DB, SEPTUM_DB, MUSCLE_DB, MASS_DB, NERVE_DB = -8.0, -30.0, -18.0, -25.0, -38.0, -35.0


@dataclass(frozen=True, slots=True)
class View:
    """A frame, and the part of it that is the image: pixel, first column and row, size in pixels."""

    frame: tuple[int, int]
    pixel_mm: float
    left: int
    top: int
    width: int
    height: int


VIEWS = {"full": View((600, 800), 0.08, 75, 40, 650, 500), "mini": View((112, 128), 0.45, 6, 8, 116, 90)}


def mass_surface(patient: Patient) -> Surface:
    """The mass as the probe cuts it, in the plane z = 0: mm across the beam (x) and down it (y).

    Irregular, with the longest diameter and its perpendicular exactly as reported
    (the reference case) or near it.
    """
    random = np.random.default_rng((*patient.seed, crc32(b"ultrasound mass")))
    spread = (1.0, 1.0) if patient.seed == (0, 0) else random.uniform(0.86, 1.08, 2)
    wanted = (LONGEST_MM * spread[0], PERPENDICULAR_MM * spread[1])
    angles = np.arange(9) * (2 * np.pi / 9) + random.uniform(-0.25, 0.25, 9)
    lobes = [
        Lobe((float(np.cos(angle)), float(np.sin(angle)), 0.0), float(height), 20.0)
        for angle, height in zip(angles, random.uniform(-0.2, 0.2, 9), strict=True)
    ]
    surface = Surface((0.0, 0.0, 0.0), (16.0, 13.0, 12.0), tuple(lobes))
    for _ in range(12):
        longest, across = diameters(surface)
        first, second, third = surface.semi_axes
        scaled = (first * wanted[0] / longest.length_mm, second * wanted[1] / across.length_mm, third)
        surface = replace(surface, semi_axes=scaled)
    depth = 20.0 + float(random.uniform(-1.0, 1.0))
    return replace(surface, centre=(float(random.uniform(-1.5, 1.5)), depth, 0.0))


def diameters(surface: Surface) -> tuple[Line, Line]:
    """The longest line between two points of the outline, and the longest at a right angle to it."""
    mesh = Mesh(surface.vertices(), triangles())
    # A hair beside the plane of the mesh's own vertices, which no triangle crosses.
    longest = mesh.axial_diameter(surface.centre[2] + 1e-4)
    assert longest is not None
    return longest, mesh.perpendicular(longest)


def acquire(patient: Patient, scale: str, folder: Path) -> dict[str, Any]:
    """Acquire one frame at the baseline and write it; returns what is true of it by its role."""
    view = VIEWS[scale]
    surface = mass_surface(patient)
    random = np.random.default_rng((*patient.seed, crc32(ROLE.encode())))
    shelf = _shelf()
    dataset = begun(patient, 0, shelf, 0)
    _describe(dataset, view)
    fill(dataset, [frame(surface, view, random)], 8)
    save(dataset, folder / shelf.folder(patient, 0) / "IM00001.dcm")
    longest, across = diameters(surface)
    lengths = {"longest_diameter": longest.length_mm, "perpendicular_diameter": across.length_mm}
    return {
        ROLE: {
            "series_instance_uid": shelf.series_instance_uid(patient, 0),
            "series_description": shelf.description,
            "modality": shelf.modality,
            "pixel_mm": view.pixel_mm,
            "long_axis_column_row": _pixels(longest, view),
            "short_axis_column_row": _pixels(across, view),
            "quantities": {AXILLA.lesion_id: {name: CATALOGUE[name].rounded(value) for name, value in lengths.items()}},
        }
    }


def frame(surface: Surface, view: View, random: Generator) -> NDArray[np.uint8]:
    """One frame (R, C): the image in its part of it, black around."""
    across = (np.arange(view.width) - (view.width - 1) / 2) * view.pixel_mm
    down = (np.arange(view.height) + 0.5) * view.pixel_mm
    x, y = np.meshgrid(across, down)
    strength = echogenicity((x, y, np.zeros_like(x)), surface, view.pixel_mm, int(random.integers(2**31)))
    grey = 255.0 * (0.5 + (speckled(strength, view.pixel_mm, random) - MIDDLE_DB) / DYNAMIC_RANGE_DB)
    result = np.zeros(view.frame, dtype=np.uint8)
    part = slice(view.top, view.top + view.height), slice(view.left, view.left + view.width)
    result[part] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return result


def echogenicity(points: Coordinates, surface: Surface, edge_mm: float, seed: int) -> Array:
    """Echo level in dB: skin, fat with septa, muscle with fibres, the mass with its nerve, brighter behind it."""
    x, y, _ = points
    fat_end = 8.0 + 1.2 * Waves(seed, (20.0, 40.0), 3)((x, 0.0 * y, 0.0 * x))
    # Septa and fibres run nearly across the beam.
    layers = Waves(seed + 1, (2.5, 6.0), 4)((0.08 * x, y, 0.0 * x))
    level = np.where(y < fat_end, FAT_DB + (SEPTUM_DB - FAT_DB) * (layers > 1.1), MUSCLE_DB + 4.0 * layers)
    level = np.where(y < 1.4, SKIN_DB, level)
    distance = surface.distance(points)
    behind = step(y, surface.centre[1], surface.centre[1] + 12.0) * (np.abs(x - surface.centre[0]) < 11.0)
    level = level + 5.0 * behind * (distance > 0)
    for nerve in _nerves(surface):
        level = level + covered(capsule(points, *nerve), edge_mm) * (NERVE_DB - level)
    uneven = MASS_DB + 3.5 * Waves(seed + 2, (5.0, 11.0), 5)(points)
    capsule_mm = both(distance - 0.5, -distance - 0.2)
    level = level + covered(distance, edge_mm) * (uneven - level)
    result: Array = level + covered(capsule_mm, edge_mm) * (SEPTUM_DB - 4.0 - level)
    return result


def _nerves(surface: Surface) -> list[tuple[tuple[float, float, float], tuple[float, float, float], float, float]]:
    """The "rat tails": the nerve that enters and leaves at the poles, tapering (start, end, radius, end radius)."""
    x, y, z = surface.centre
    reach = surface.semi_axes[0]
    return [
        ((x + side * (reach - 5.0), y, z), (x + side * (reach + 9.0), y - 2.5 * side, z), 4.2, 0.7)
        for side in (-1.0, 1.0)
    ]


def speckled(level_db: Array, pixel_mm: float, random: Generator) -> Array:
    """Echo levels with speckle, in dB: many scatterers under one pulse, and the log compression of the scanner.

    Source: Wagner and others, IEEE Trans Sonics Ultrasonics 1983 (fully developed speckle).
    """
    amplitude = 10.0 ** (level_db / 20.0)
    spread = [width / pixel_mm for width in PULSE_MM]
    real, imaginary = (gaussian_filter(random.standard_normal(level_db.shape) * amplitude, spread) for _ in range(2))
    # Unit power, whatever the pulse: white noise under a Gaussian keeps 1 / (4 pi product of the spreads).
    power = (real**2 + imaginary**2) / 2 * max(4 * np.pi * spread[0] * spread[1], 1.0)
    result: Array = 10.0 * np.log10(power + 1e-7)
    return result


def _pixels(line: Line, view: View) -> Any:
    """Both ends as column and row of the frame."""
    corner = np.array((view.left + (view.width - 1) / 2, view.top - 0.5))
    return rounded(np.array(line.ends_lps)[:, :2] / view.pixel_mm + corner, 2)


def _shelf() -> Shelf:
    return Shelf(
        role=ROLE,
        modality="US",
        sop_class_uid=US_IMAGE_STORAGE,
        study=("US",),
        study_description="US right axilla",
        number=1,
        description="Right axilla US",
        protocol_name="Soft tissue",
        body_part_examined="AXILLA",
        time=130500,
    )


def _describe(dataset: Dataset, view: View) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.Laterality = "R"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.TransducerData = ["L12-3", "", ""]
    dataset.TransducerType = "LINEAR"
    dataset.AnatomicRegionSequence = items(coded("91470000", "SCT", "Axilla"))
    dataset.SequenceOfUltrasoundRegions = items(_region(view))


def _region(view: View) -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = view.left, view.top
    region.RegionLocationMaxX1 = view.left + view.width - 1
    region.RegionLocationMaxY1 = view.top + view.height - 1
    region.ReferencePixelX0, region.ReferencePixelY0 = view.width // 2, 0
    region.ReferencePixelPhysicalValueX = region.ReferencePixelPhysicalValueY = 0.0
    # 3: centimetres.
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = view.pixel_mm / 10.0
    region.TransducerFrequency = 9000
    return region
