"""An MR scanner: sagittal spin echoes of the lumbar spine, signal from each tissue's relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from imaging_pipeline.domain.geometry import Grid, as_matrix, moved
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.canvas import Canvas, Pixels, Window, covered
from imaging_pipeline.phantom.disease import L4
from imaging_pipeline.phantom.files import Shelf, begun, fill, save
from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.lesions import LesionState, columns
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.shapes import Array
from imaging_pipeline.phantom.skeleton import CORD_HU, DISC_HU, MUSCLE_HU
from imaging_pipeline.phantom.thorax import BLOOD_HU, CARTILAGE_HU, FAT_HU, LUNG_HU
from imaging_pipeline.phantom.trunk import BOWEL_HU, KIDNEY_HU, LIVER_HU, SKIN_HU, SPLEEN_HU
from imaging_pipeline.phantom.truth import LATTICE_MM, rounded

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
#: Signal over the stored value's unit, and the noise of each of the two channels.
GAIN = 1500.0
NOISE = 18.0
BLUR_PIXELS = 0.45
#: What fat saturation leaves of fat.
FAT_LEFT = 0.06
#: Relative signal per HU of a tissue's texture.
TEXTURE_PER_HU = 0.004


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A tissue at 1.5 T: times in ms, proton density against water, share of its signal that is fat.

    T2 of fat and marrow are those a train of echoes shows, longer than in a single echo.
    Source: after Stanisz 2005 (muscle, cord), de Bazelaire 2004 (marrow, fat, liver, spleen, kidney), rounded.
    """

    t1_ms: float
    t2_ms: float
    density: float
    fat: float = 0.0


AIR = Relaxation(1000.0, 50.0, 0.0)
CORTEX = Relaxation(500.0, 10.0, 0.1)
FLOWING = Relaxation(1500.0, 200.0, 0.08)
FAT = Relaxation(340.0, 110.0, 0.95, 1.0)
MARROW = Relaxation(550.0, 85.0, 0.85, 0.5)
MUSCLE = Relaxation(1000.0, 42.0, 0.9)
#: Long T1, T2 equal to marrow's or longer, no fat: bright where fat is saturated.
LESION = Relaxation(1300.0, 90.0, 1.0)

#: Homogeneous tissue by the CT number it is painted with; whatever is not listed goes by `_kind`.
_BY_HU = {
    MUSCLE_HU: MUSCLE,
    BLOOD_HU: FLOWING,
    CORD_HU: Relaxation(3800.0, 1100.0, 1.0),  # the lumbar canal holds mostly cerebrospinal fluid
    DISC_HU: Relaxation(1000.0, 75.0, 0.85),
    CARTILAGE_HU: Relaxation(1000.0, 40.0, 0.6),
    SKIN_HU: Relaxation(900.0, 30.0, 0.6),
    LIVER_HU: Relaxation(590.0, 48.0, 0.85),
    SPLEEN_HU: Relaxation(1060.0, 79.0, 0.9),
    KIDNEY_HU: Relaxation(970.0, 88.0, 0.9),
    BOWEL_HU: Relaxation(1000.0, 70.0, 0.85),
}


@dataclass(frozen=True, slots=True)
class Echo:
    """One pulse sequence; times in ms."""

    role: str
    description: str
    number: int
    repetition_ms: float
    echo_ms: float
    train: int
    fat_saturated: bool = False

    def signal(self, tissue: Relaxation) -> float:
        """Signal of a spin echo, 0 to 1."""
        grown = 1.0 - np.exp(-self.repetition_ms / tissue.t1_ms)
        left = 1.0 - (1.0 - FAT_LEFT) * tissue.fat if self.fat_saturated else 1.0
        return float(tissue.density * grown * np.exp(-self.echo_ms / tissue.t2_ms) * left)


ECHOES = (
    Echo("lumbar_mr_t1", "T1 TSE sag", 5, 560.0, 11.0, 3),
    Echo("lumbar_mr_t2", "T2 TSE sag", 6, 3600.0, 102.0, 17),
    Echo("lumbar_mr_t2fs", "T2 TSE FS sag", 7, 3800.0, 84.0, 15, fat_saturated=True),
)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much is shown: slices, their matrix (square), sizes in mm, planes across one slice."""

    slices: int
    thickness_mm: float
    spacing_mm: float
    matrix: int
    pixel_mm: float
    planes: int


COVERAGES = {"full": Coverage(15, 4.0, 4.4, 384, 0.75, 4), "mini": Coverage(7, 6.0, 6.0, 72, 2.8, 4)}


class SignalCanvas(Canvas):
    """A canvas on which CT numbers are tissues, painted as the signals of several echoes: `hu` is (R, C, echoes).

    While `in_lesion` is set, texture is a lesion's.
    """

    in_lesion = False

    def paint(self, place: Window | Pixels, distance: Array, value: float | Array) -> None:
        """Cover what lies there by a tissue's signals."""
        under = self.hu[place]
        share = covered(distance, self.edge_mm)[..., np.newaxis]
        self.hu[place] = under + share * (signals(value, self.in_lesion) - under)


def signals(value: float | Array, in_lesion: bool) -> Array:
    """Signals (..., echoes) of what is painted with a CT number, or with a texture of CT numbers."""
    level = float(np.mean(value))
    tissue, middle = (LESION, L4_HU) if in_lesion else _kind(level)
    found = np.array([echo.signal(tissue) for echo in ECHOES], dtype=np.float32)
    if isinstance(value, (int, float)):
        return found
    result: Array = np.maximum(1.0 + TEXTURE_PER_HU * (value - middle), 0.0)[..., np.newaxis] * found
    return result


#: The CT number about which a lesion's texture varies.
L4_HU = 50.0


def _kind(hu: float) -> tuple[Relaxation, float]:
    """The tissue of a CT number and the level about which its texture varies."""
    if hu in _BY_HU:
        return _BY_HU[hu], hu
    if hu < (FAT_HU + LUNG_HU) / 2:
        return AIR, hu
    if hu < 0:
        return FAT, FAT_HU
    if hu > 400:
        return CORTEX, hu
    return (MARROW, 155.0) if hu > 60 else (MUSCLE, hu)


def acquire(patient: Patient, scale: str, folder: Path) -> dict[str, Any]:
    """Acquire the three series at the baseline and write them; returns what is true of each by its role."""
    patient = patient.lying_again(0, "MR")
    coverage = COVERAGES[scale]
    grid = sagittal_grid(patient, coverage)
    signal = painted(patient, grid, coverage)
    truth = {}
    for number, echo in enumerate(ECHOES):
        shelf = _shelf(echo)
        place = folder / shelf.folder(patient, 0)
        for index in range(coverage.slices):
            random = np.random.default_rng((*patient.seed, crc32(echo.role.encode()), index))
            pixels = received(signal[index, :, :, number], random)
            _write_slice(place / f"IM{index + 1:05d}.dcm", pixels, patient, echo, coverage, grid, index)
        truth[echo.role] = _truth(patient, shelf, echo, number)
    return truth


def sagittal_grid(patient: Patient, coverage: Coverage) -> Grid:
    """Where the voxels lie: slices from right to left, rows from above, columns from the front; L4 in the middle."""
    centre = moved(patient.to_scanner(0, "L4"), (0.0, patient.anatomy.vertebra("L4").centre[1] - 12.0, 30.0))
    x, y, z = np.round(centre)
    half = (coverage.matrix - 1) / 2 * coverage.pixel_mm
    affine = (
        (coverage.spacing_mm, 0.0, 0.0, x - (coverage.slices - 1) / 2 * coverage.spacing_mm),
        (0.0, 0.0, coverage.pixel_mm, y - half),
        (0.0, -coverage.pixel_mm, 0.0, z + half),
        (0.0, 0.0, 0.0, 1.0),
    )
    shape = (coverage.slices, coverage.matrix, coverage.matrix)
    frame = identifier(patient.seed, 0, "lumbar_mr", "frame of reference")
    return Grid(shape, as_matrix(affine), frame_of_reference_uid=frame)


def painted(patient: Patient, grid: Grid, coverage: Coverage) -> NDArray[np.float32]:
    """Signals without noise, (S, R, C, echoes): row by row an axial plane, averaged over each slice's thickness."""
    state = patient.visits[0]
    x0, y0, z0 = grid.to_lps((0, 0, 0))
    across = ((np.arange(coverage.planes) + 0.5) / coverage.planes - 0.5) * coverage.thickness_mm
    x = (x0 + np.arange(coverage.slices)[:, np.newaxis] * coverage.spacing_mm + across).ravel().astype(np.float32)
    y = (y0 + np.arange(coverage.matrix) * coverage.pixel_mm).astype(np.float32)
    pieces = {lesion.plan.bone: patient.to_scanner(0, lesion.plan.bone) for lesion in state.lesions}
    result = np.empty((coverage.slices, coverage.matrix, coverage.matrix, len(ECHOES)), dtype=np.float32)
    for row in range(coverage.matrix):
        blank = np.zeros((len(y), len(x), len(ECHOES)), dtype=np.float32)
        canvas = SignalCanvas(x, y, float(z0) - row * coverage.pixel_mm, blank, coverage.pixel_mm)
        near_cage = patient.anatomy.paint_soft(canvas, state.posture, state.bowel)
        patient.anatomy.paint_bones(canvas, state.posture, state.marrow_hu, near_cage)
        canvas.in_lesion = True
        for lesion in state.lesions:
            lesion.paint(canvas, pieces[lesion.plan.bone])
        by_slice = canvas.hu.reshape(len(y), coverage.slices, coverage.planes, len(ECHOES)).mean(axis=2)
        result[:, row] = by_slice.transpose(1, 0, 2)
    return result


def received(signal: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint16]:
    """One slice (R, C) as the scanner stores it: blurred, and the magnitude of two noisy channels.

    Source: Gudbjartsson and Patz, Magn Reson Med 1995 (Rician noise).
    """
    real = gaussian_filter(signal, BLUR_PIXELS) * GAIN + random.standard_normal(signal.shape) * NOISE
    imaginary = random.standard_normal(signal.shape) * NOISE
    result: NDArray[np.uint16] = np.clip(np.rint(np.hypot(real, imaginary)), 0, 4095).astype(np.uint16)
    return result


def lesion_signal(state: LesionState, number: int) -> float:
    """Mean signal of a lesion's matter in one echo, without noise and blur."""
    points = columns(state.surface.inner_points(LATTICE_MM))
    hu = state.hu(points, -state.surface.distance(points), LATTICE_MM)
    return float(np.mean(signals(hu, in_lesion=True)[..., number]))


def _truth(patient: Patient, shelf: Shelf, echo: Echo, number: int) -> dict[str, Any]:
    state = patient.lesion(0, L4.lesion_id)
    assert state is not None
    lesion = lesion_signal(state, number)
    marrow = echo.signal(MARROW) * (1.0 + TEXTURE_PER_HU * (patient.visits[0].marrow_hu - 155.0))
    ratios = {"signal_ratio_muscle": lesion / echo.signal(MUSCLE), "signal_ratio_reference": lesion / marrow}
    return {
        "series_instance_uid": shelf.series_instance_uid(patient, 0),
        "series_description": shelf.description,
        "modality": shelf.modality,
        "noise": NOISE,
        "centre_lps": {L4.lesion_id: rounded(moved(patient.to_scanner(0, L4.bone), state.surface.vertices()).mean(0))},
        "quantities": {L4.lesion_id: {name: CATALOGUE[name].rounded(value) for name, value in ratios.items()}},
    }


def _shelf(echo: Echo) -> Shelf:
    return Shelf(
        role=echo.role,
        modality="MR",
        sop_class_uid=MR_IMAGE_STORAGE,
        study=("MR",),
        study_description="MR lumbar spine",
        number=echo.number,
        description=f"Lumbar MR {echo.description}",
        protocol_name=echo.description,
        body_part_examined="LSPINE",
        time=110000 + 500 * (echo.number - ECHOES[0].number),
    )


def _write_slice(
    path: Path, pixels: NDArray[np.uint16], patient: Patient, echo: Echo, coverage: Coverage, grid: Grid, index: int
) -> None:
    dataset = begun(patient, 0, _shelf(echo), index)
    x, y, z = grid.to_lps((index, 0, 0))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.PatientPosition = "HFS"
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = index + 1
    dataset.FrameOfReferenceUID = grid.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = [f"{x:.6g}", f"{y:.6g}", f"{z:.6g}"]
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.SliceLocation = f"{x:.6g}"
    dataset.PixelSpacing = [f"{coverage.pixel_mm:g}"] * 2
    dataset.SliceThickness = f"{coverage.thickness_mm:g}"
    dataset.SpacingBetweenSlices = f"{coverage.spacing_mm:g}"
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = ["SK", "SP"]
    dataset.ScanOptions = "FS" if echo.fat_saturated else ""
    dataset.MRAcquisitionType = "2D"
    dataset.SequenceName = f"tse2d1_{echo.train}"
    dataset.RepetitionTime, dataset.EchoTime = f"{echo.repetition_ms:g}", f"{echo.echo_ms:g}"
    dataset.EchoTrainLength, dataset.EchoNumbers = echo.train, 1
    dataset.NumberOfAverages, dataset.FlipAngle = "2", "150"
    dataset.MagneticFieldStrength, dataset.ImagingFrequency, dataset.ImagedNucleus = "1.5", "63.87", "1H"
    dataset.PixelBandwidth = "180"
    dataset.ReceiveCoilName = "SPINE"
    dataset.InPlanePhaseEncodingDirection = "COL"
    dataset.WindowCenter, dataset.WindowWidth = "450", "900"
    fill(dataset, [pixels], 12)
    save(dataset, path)
