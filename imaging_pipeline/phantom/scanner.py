"""A CT scanner: slices of the patient through a point spread, a slice profile and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask, Series, Technique, Volume
from imaging_pipeline.domain.quantities import HU
from imaging_pipeline.phantom.canvas import Canvas
from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.lesions import columns
from imaging_pipeline.phantom.patient import CHEST_CT, LUMBAR_CT, Patient
from imaging_pipeline.phantom.shapes import both

AIR_HU = -1000.0
#: What the scanner writes outside its field of view, and the lowest CT number it can write.
FLOOR_HU = -1024
CEILING_HU = 3071
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
#: Planes a slice is averaged from lie at most this far apart.
PROFILE_STEP_MM = 1.0

#: Mineral's CT number against 120 kVp.
#: Source: attenuation of hydroxyapatite relative to water at the spectra's mean energies, rounded.
MINERAL_AT_KVP = {100: 1.12, 110: 1.05, 120: 1.0, 130: 0.96, 140: 0.93}


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one series is acquired. Heights in mm in the patient's anatomical frame, spreads as standard deviations."""

    role: str
    description: str
    body_part: str
    field_of_view_mm: float
    matrix: int
    thickness_mm: float
    kernel: str
    spread_mm: float
    kvp: int
    noise_hu: float
    centre_x_mm: float
    centre_y_mm: float
    bottom_mm: float
    top_mm: float
    table: bool = True

    @property
    def pixel_mm(self) -> float:
        """Distance between pixels."""
        return self.field_of_view_mm / self.matrix

    @property
    def mineral(self) -> float:
        """Effect of the tube voltage on mineral."""
        return MINERAL_AT_KVP[self.kvp]


def protocols(patient: Patient, visit: int, scale: str = "full") -> tuple[Protocol, Protocol]:
    """The two series of a visit; scanners, and so field of view, slice, kernel and voltage, change between visits.

    `scale` is "full" (512 x 512) or "mini" (a coarse cut-out around the spine and the axilla).
    """
    height = {vertebra.name: vertebra.centre[2] for vertebra in patient.anatomy.vertebrae}
    bottom, top = height["L5"] - 70.0, height["T12"] + 2.0
    chest_bottom, chest_top = height["T9"] - 16.0, height["T1"] + 12.0
    mass = patient.anatomy.cage.section(np.array(height["T4"]))
    chest_y = float(mass[2])
    machine = visit % 3
    if scale == "mini":
        return (
            Protocol(LUMBAR_CT, "Lumbar CT", "LSPINE", 208.0, 104, 4.0, *_SOFT[machine], (120, 120, 100)[machine],
                     14.0, 0.0, -4.0, height["L5"] - 68.0, height["L1"] - 4.0, False),
            Protocol(CHEST_CT, "Chest CT", "CHEST", 224.0, 112, 4.0, *_SOFT[machine], (120, 120, 100)[machine],
                     14.0, -64.0, chest_y, height["T7"] - 6.0, height["T1"] + 4.0, False),
        )  # fmt: skip
    return (
        Protocol(LUMBAR_CT, "Lumbar CT", "LSPINE", (240.0, 320.0, 280.0)[machine], 512, (2.0, 2.5, 1.5)[machine],
                 *_SHARP[machine], (120, 130, 110)[machine], (17.0, 14.0, 22.0)[machine], 0.0, -18.0, bottom, top),
        Protocol(CHEST_CT, "Chest CT", "CHEST", (380.0, 400.0, 360.0)[machine], 512, (2.5, 3.0, 2.0)[machine],
                 *_SOFT[machine], (120, 120, 110)[machine], (13.0, 12.0, 18.0)[machine], -10.0, chest_y,
                 chest_bottom, chest_top),
    )  # fmt: skip


#: Kernel name and point spread (standard deviation in mm) of each visit's scanner.
_SOFT = (("B30f", 0.62), ("Br40f", 0.56), ("STANDARD", 0.66))
_SHARP = (("B50f", 0.46), ("Br49f", 0.50), ("DETAIL", 0.42))


def series_grid(patient: Patient, visit: int, protocol: Protocol) -> Grid:
    """Where the voxels of a series lie: axial, centred as an operator would, to the nearest 5 mm."""
    to_scanner = patient.to_scanner(visit, "pelvis" if protocol.role == LUMBAR_CT else "T4")
    ends = np.array(
        [(protocol.centre_x_mm, protocol.centre_y_mm, z, 1.0) for z in (protocol.bottom_mm, protocol.top_mm)]
    )
    low, high = (ends @ to_scanner.T)[:, :3]
    centre = np.round((low + high) / 2 / 5.0) * 5.0
    count = int(np.ceil((high[2] - low[2]) / protocol.thickness_mm))
    corner = centre[:2] - (protocol.matrix - 1) / 2 * protocol.pixel_mm
    start = round(float(low[2]), 1)
    affine = np.array(
        [
            (0.0, 0.0, protocol.pixel_mm, corner[0]),
            (0.0, protocol.pixel_mm, 0.0, corner[1]),
            (protocol.thickness_mm, 0.0, 0.0, start),
            (0.0, 0.0, 0.0, 1.0),
        ]
    )
    frame = identifier(patient.seed, visit, protocol.role, "frame of reference")
    return Grid((count, protocol.matrix, protocol.matrix), as_matrix(affine), frame_of_reference_uid=frame)


def scan(patient: Patient, visit: int, protocol: Protocol) -> Volume:
    """Acquire one series: CT numbers as int16 on an axial grid."""
    grid = series_grid(patient, visit, protocol)
    slices = [scan_slice(patient, visit, protocol, grid, index) for index in range(grid.shape[0])]
    return Volume(np.stack(slices), grid, HU, _series(patient, visit, protocol, grid))


def scan_slice(patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int) -> NDArray[np.int16]:
    """Acquire one slice (R, C), noise included; each slice draws its own, so that any may be acquired alone."""
    random = np.random.default_rng((*patient.seed, visit, crc32(protocol.role.encode()), index))
    hu = slice_hu(patient, visit, protocol, grid, index)
    hu += noise_field(random, protocol.matrix, protocol.pixel_mm, protocol.spread_mm) * protocol.noise_hu
    hu[outside_field(protocol.matrix)] = FLOOR_HU
    result: NDArray[np.int16] = np.clip(np.rint(hu), FLOOR_HU, CEILING_HU).astype(np.int16)
    return result


def slice_hu(patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int) -> NDArray[np.float32]:
    """One slice without noise, (R, C): the mean of planes through its thickness, blurred by the point spread.

    Soft tissue is painted once a slice; bones and lesions, whose borders are measured, on every plane.
    """
    state = patient.visits[visit]
    z = float(grid.affine[2][3]) + index * protocol.thickness_mm
    base = _blank(grid, protocol, z)
    if protocol.table:
        paint_table(base, patient.back_mm(visit))
    near_cage = patient.anatomy.paint_soft(base, state.posture, state.bowel)
    pieces = {lesion.plan.bone: patient.to_scanner(visit, lesion.plan.bone) for lesion in state.lesions}
    planes = int(np.ceil(protocol.thickness_mm / PROFILE_STEP_MM))
    total = np.zeros_like(base.hu)
    for plane in range(planes):
        canvas = base.at(z + ((plane + 0.5) / planes - 0.5) * protocol.thickness_mm)
        patient.anatomy.paint_bones(canvas, state.posture, state.marrow_hu, near_cage)
        for lesion in state.lesions:
            lesion.paint(canvas, pieces[lesion.plan.bone])
        total += canvas.hu
    blurred: NDArray[np.float32] = gaussian_filter(
        total / np.float32(planes), protocol.spread_mm / protocol.pixel_mm, truncate=3.0
    )
    return blurred


def true_mask(patient: Patient, visit: int, lesion_id: str, grid: Grid) -> Mask | None:
    """The voxels whose centres lie inside a lesion's border; None when it is not there."""
    state = patient.lesion(visit, lesion_id)
    if state is None:
        return None
    to_scanner = patient.to_scanner(visit, state.plan.bone)
    surface = state.surface.vertices(3) @ to_scanner[:3, :3].T + to_scanner[:3, 3]
    box = grid.box_around(surface, 2.0)
    part = grid.crop(box)
    index = np.stack(np.meshgrid(*(np.arange(size) for size in part.shape), indexing="ij"), axis=-1)
    inverse = np.linalg.inv(to_scanner)
    points = part.to_lps(index.reshape(-1, 3)) @ inverse[:3, :3].T + inverse[:3, 3]
    array = np.zeros(grid.shape, dtype=bool)
    array[box] = (state.surface.distance(columns(points)) < 0).reshape(part.shape)
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
    x = (affine[0, 3] + np.arange(columns_) * protocol.pixel_mm).astype(np.float32)
    y = (affine[1, 3] + np.arange(rows) * protocol.pixel_mm).astype(np.float32)
    hu = np.full((rows, columns_), AIR_HU, dtype=np.float32)
    return Canvas(x, y, z, hu, protocol.pixel_mm, protocol.mineral)


def _series(patient: Patient, visit: int, protocol: Protocol, grid: Grid) -> Series:
    return Series(
        series_instance_uid=identifier(patient.seed, visit, protocol.role, "series"),
        study_instance_uid=identifier(patient.seed, visit, "study"),
        sop_class_uid=CT_IMAGE_STORAGE,
        modality="CT",
        date=patient.visits[visit].date,
        role=protocol.role,
        instances=(),
        grid=grid,
        technique=Technique(float(protocol.kvp), protocol.kernel, protocol.thickness_mm),
    )
