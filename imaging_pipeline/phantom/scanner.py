"""A CT scanner: slices of the patient through a point spread, a slice profile and noise."""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from imaging_pipeline.domain.geometry import Grid, as_matrix, moved
from imaging_pipeline.domain.images import Mask, Series, Technique, Volume
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.phantom.canvas import Canvas
from imaging_pipeline.phantom.disease import LUMBAR_CT
from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.lesions import columns
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.protocols import Protocol
from imaging_pipeline.phantom.shapes import both

AIR_HU = -1000.0
#: What the scanner writes outside its field of view, and the lowest CT number it can write.
FLOOR_HU = -1024
CEILING_HU = 3071
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
#: Planes a slice is averaged from lie at most this far apart.
PROFILE_STEP_MM = 1.0


def series_grid(patient: Patient, visit: int, protocol: Protocol) -> Grid:
    """Where the voxels of a series lie: axial, centred as an operator would, to the nearest 5 mm."""
    region, machine = protocol.region, protocol.machine
    to_scanner = patient.to_scanner(visit, "pelvis" if region.role == LUMBAR_CT else "T4")
    ends = [(region.centre_x_mm, region.centre_y_mm, z) for z in (region.bottom_mm, region.top_mm)]
    low, high = moved(to_scanner, ends)
    centre = np.round((low + high) / 2 / 5.0) * 5.0
    count = int(np.ceil((high[2] - low[2]) / machine.thickness_mm))
    first_x, first_y = centre[:2] - (machine.matrix - 1) / 2 * machine.pixel_mm
    affine = (
        (0.0, 0.0, machine.pixel_mm, first_x),
        (0.0, machine.pixel_mm, 0.0, first_y),
        (machine.thickness_mm, 0.0, 0.0, round(float(low[2]), 1)),
        (0.0, 0.0, 0.0, 1.0),
    )
    frame = identifier(patient.seed, visit, region.role, "frame of reference")
    return Grid((count, machine.matrix, machine.matrix), as_matrix(affine), frame_of_reference_uid=frame)


def scan(patient: Patient, visit: int, protocol: Protocol) -> Volume:
    """Acquire one series: CT numbers as int16 on an axial grid."""
    grid = series_grid(patient, visit, protocol)
    slices = [scan_slice(patient, visit, protocol, grid, index) for index in range(grid.shape[0])]
    return Volume(np.stack(slices), grid, HU, _series(patient, visit, protocol, grid))


def scan_slice(patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int) -> NDArray[np.int16]:
    """Acquire one slice (R, C), noise included; each slice draws its own, so that any may be acquired alone."""
    machine = protocol.machine
    random = np.random.default_rng((*patient.seed, visit, crc32(protocol.region.role.encode()), index))
    hu = slice_hu(patient, visit, protocol, grid, index)
    hu += noise_field(random, machine.matrix, machine.pixel_mm, machine.spread_mm) * machine.noise_hu
    hu[outside_field(machine.matrix)] = FLOOR_HU
    result: NDArray[np.int16] = np.clip(np.rint(hu), FLOOR_HU, CEILING_HU).astype(np.int16)
    return result


def slice_hu(patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int) -> NDArray[np.float32]:
    """One slice without noise, (R, C): the mean of planes through its thickness, blurred by the point spread.

    Soft tissue is painted once a slice; bones and lesions, whose borders are measured, on every plane.
    """
    state = patient.visits[visit]
    z = float(grid.affine[2][3]) + index * protocol.machine.thickness_mm
    base = _blank(grid, protocol, z)
    if protocol.table:
        paint_table(base, patient.back_mm(visit))
    near_cage = patient.anatomy.paint_soft(base, state.posture, state.bowel)
    pieces = {lesion.plan.bone: patient.to_scanner(visit, lesion.plan.bone) for lesion in state.lesions}
    planes = int(np.ceil(protocol.machine.thickness_mm / PROFILE_STEP_MM))
    total = np.zeros_like(base.hu)
    for plane in range(planes):
        canvas = base.at(z + ((plane + 0.5) / planes - 0.5) * protocol.machine.thickness_mm)
        patient.anatomy.paint_bones(canvas, state.posture, state.marrow_hu, near_cage)
        for lesion in state.lesions:
            lesion.paint(canvas, pieces[lesion.plan.bone])
        total += canvas.hu
    blurred: NDArray[np.float32] = gaussian_filter(
        total / np.float32(planes), protocol.machine.spread_mm / protocol.machine.pixel_mm, truncate=3.0
    )
    return blurred


def true_mask(patient: Patient, visit: int, lesion_id: str, grid: Grid) -> Mask | None:
    """The voxels whose centres lie inside a lesion's border; None when it is not there."""
    state = patient.lesion(visit, lesion_id)
    if state is None:
        return None
    to_scanner = patient.to_scanner(visit, state.plan.bone)
    box = grid.box_around(moved(to_scanner, state.surface.vertices(3)), 2.0)
    part = grid.crop(box)
    index = np.stack(np.meshgrid(*(np.arange(size) for size in part.shape), indexing="ij"), axis=-1)
    points = moved(np.linalg.inv(to_scanner), part.to_lps(index))
    array = np.zeros(grid.shape, dtype=bool)
    array[box] = state.surface.distance(columns(points)) < 0
    return Mask(array, grid, "phantom")


def noise_field(random: Generator, matrix: int, pixel_mm: float, spread_mm: float) -> NDArray[np.float32]:
    """Noise of one slice with standard deviation 1, correlated as reconstruction correlates it."""
    white = random.standard_normal((matrix, matrix), dtype=np.float32)
    spectrum = scipy.fft.rfft2(white) * _noise_response(matrix, pixel_mm, spread_mm)
    coloured: NDArray[np.float32] = scipy.fft.irfft2(spectrum, s=(matrix, matrix))
    return coloured


@cache
def _noise_response(matrix: int, pixel_mm: float, spread_mm: float) -> NDArray[np.float32]:
    """A ramp cut off by the kernel.

    Source: noise power of filtered back-projection, Riederer, Pelc and Chesler, Phys Med Biol 1978.
    """
    rows = np.fft.fftfreq(matrix, pixel_mm)[:, np.newaxis]
    frequency = np.hypot(rows, np.fft.rfftfreq(matrix, pixel_mm))
    response = np.sqrt(frequency + 0.02) * np.exp(-2.0 * (np.pi * spread_mm * frequency) ** 2)
    twice = np.full(response.shape[1], 2.0)
    twice[0] = twice[-1] = 1.0
    power = np.sum(response**2 * twice) / matrix**2
    scaled: NDArray[np.float32] = (response / np.sqrt(power)).astype(np.float32)
    return scaled


@cache
def outside_field(matrix: int) -> NDArray[np.bool_]:
    """Pixels (R, C) outside the circle a scanner reconstructs."""
    offset = np.arange(matrix) - (matrix - 1) / 2
    outside: NDArray[np.bool_] = np.hypot(offset[:, np.newaxis], offset) > matrix / 2
    return outside


def paint_table(canvas: Canvas, back_mm: float) -> None:
    """The table: a shallow trough right behind the patient's back, level however the patient is turned."""
    x, y = canvas.x[np.newaxis, :], canvas.y[:, np.newaxis]
    below = y - (back_mm + 14.0 - x * x * np.float32(0.0009))
    shell = both(np.abs(below - 12.0) - 12.0, np.abs(x) - 215.0 + 0.0 * y)
    canvas.paint_layers(canvas.whole, shell, ((0.0, 10.0), (2.2, -940.0)))


def _blank(grid: Grid, protocol: Protocol, z: float) -> Canvas:
    _, rows, columns_ = grid.shape
    affine = grid.matrix
    x = (affine[0, 3] + np.arange(columns_) * protocol.machine.pixel_mm).astype(np.float32)
    y = (affine[1, 3] + np.arange(rows) * protocol.machine.pixel_mm).astype(np.float32)
    hu = np.full((rows, columns_), AIR_HU, dtype=np.float32)
    return Canvas(x, y, z, hu, protocol.machine.pixel_mm, protocol.machine.mineral)


def _series(patient: Patient, visit: int, protocol: Protocol, grid: Grid) -> Series:
    return Series(
        series_instance_uid=identifier(patient.seed, visit, protocol.region.role, "series"),
        study_instance_uid=identifier(patient.seed, visit, "study"),
        sop_class_uid=CT_IMAGE_STORAGE,
        modality="CT",
        date=patient.visits[visit].date,
        role=protocol.region.role,
        instances=(),
        grid=grid,
        technique=Technique(float(protocol.machine.kvp), protocol.machine.kernel, protocol.machine.thickness_mm),
    )
