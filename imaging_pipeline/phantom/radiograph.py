"""An X-ray room: the lateral view of the lumbar spine, the body's attenuation summed along x."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter, zoom

from imaging_pipeline.domain.geometry import moved
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.canvas import Canvas
from imaging_pipeline.phantom.files import Shelf, begun, coded, fill, items, save
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.scanner import AIR_HU
from imaging_pipeline.phantom.shapes import Array
from imaging_pipeline.phantom.skeleton import LUMBAR, Vertebra
from imaging_pipeline.phantom.truth import HEIGHT_PLACES, rounded

DX_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1.1"
ROLE = "lumbar_xr"
SOURCE_TO_DETECTOR_MM, SOURCE_TO_PATIENT_MM = 1150.0, 920.0
MAGNIFICATION = SOURCE_TO_DETECTOR_MM / SOURCE_TO_PATIENT_MM
#: Attenuation of water for a filtered lumbar beam, and how much more than its CT number mineral takes from it.
WATER_PER_MM = 0.019
MINERAL_GAIN = 1.5
#: Photons that a detector pixel would get without a patient.
PHOTONS = 3.0e6
#: Planes of bones and of soft tissue lie this far apart in the patient; points of a plane along and across the beam.
BONE_STEP_MM, SOFT_STEP_MM, ALONG_MM = 1.0, 2.0, 2.5


@dataclass(frozen=True, slots=True)
class Film:
    """The detector: rows, columns, pixel in its own plane."""

    rows: int
    columns: int
    pixel_mm: float

    @property
    def object_mm(self) -> float:
        """A pixel's size in the patient's middle plane."""
        return self.pixel_mm / MAGNIFICATION


FILMS = {"full": Film(640, 448, 0.625), "mini": Film(144, 104, 2.5)}


def acquire(patient: Patient, scale: str, folder: Path) -> dict[str, Any]:
    """Take the lateral view at the baseline and write it; returns what is true of it by its role."""
    film = FILMS[scale]
    patient = patient.lying_again(0, "XR")
    corner = _corner(patient, film)
    random = np.random.default_rng((*patient.seed, crc32(ROLE.encode())))
    shelf = _shelf()
    dataset = begun(patient, 0, shelf, 0)
    _describe(dataset, film)
    fill(dataset, [developed(attenuation(patient, film, corner), random)], 12)
    save(dataset, folder / shelf.folder(patient, 0) / "IM00001.dcm")
    return {
        ROLE: {
            "series_instance_uid": shelf.series_instance_uid(patient, 0),
            "series_description": shelf.description,
            "modality": shelf.modality,
            "magnification": MAGNIFICATION,
            "pixel_at_patient_mm": film.object_mm,
            "centre_column_row": {
                name: _pixel(patient, name, film, corner) for name in LUMBAR if _shown(patient, name, film, corner)
            },
            "quantities": {name: _heights(patient.anatomy.vertebra(name)) for name in LUMBAR},
        }
    }


def attenuation(patient: Patient, film: Film, corner: tuple[float, float]) -> NDArray[np.float32]:
    """Line integrals (R, C) along x: a parallel beam, magnified as the middle plane is."""
    state = patient.visits[0]
    height, width = film.rows * film.object_mm, film.columns * film.object_mm
    step = max(BONE_STEP_MM, film.object_mm)
    # Soft tissue to the sides of the spine only shades the picture; the beam is sampled coarsely.
    x = np.arange(-220.0, 220.0, ALONG_MM, dtype=np.float32)
    y = np.arange(corner[0], corner[0] + width, step, dtype=np.float32)
    pieces = {lesion.plan.bone: patient.to_scanner(0, lesion.plan.bone) for lesion in state.lesions}
    rows = []
    soft_z = np.inf
    for z in np.arange(corner[1], corner[1] - height, -step):
        if soft_z - z >= SOFT_STEP_MM:
            soft_z = float(z)
            soft = Canvas(x, y, soft_z, np.full((len(y), len(x)), AIR_HU, dtype=np.float32), step)
            near_cage = patient.anatomy.paint_soft(soft, state.posture, state.bowel)
        canvas = soft.at(float(z))
        patient.anatomy.paint_bones(canvas, state.posture, state.marrow_hu, near_cage)
        for lesion in state.lesions:
            lesion.paint(canvas, pieces[lesion.plan.bone])
        rows.append(_per_mm(canvas.hu).sum(axis=1) * ALONG_MM)
    coarse = np.stack(rows)
    full: NDArray[np.float32] = zoom(
        coarse, (film.rows / coarse.shape[0], film.columns / coarse.shape[1]), order=1, grid_mode=True, mode="nearest"
    )
    return full


def _per_mm(hu: Array) -> Array:
    result: Array = WATER_PER_MM * (1.0 + hu / 1000.0 * np.where(hu > 100.0, MINERAL_GAIN, 1.0))
    return np.maximum(result, 0.0)


def developed(integrals: NDArray[np.float32], random: Generator) -> NDArray[np.uint16]:
    """The picture (R, C) of 12 bits: photons counted, the logarithm taken, edges raised as for presentation."""
    photons = random.poisson(PHOTONS * np.exp(-np.minimum(integrals, 12.0)) + 3.0)
    logarithm = np.log(PHOTONS / np.maximum(photons, 1))
    shown = logarithm - 0.55 * gaussian_filter(logarithm, 0.06 * integrals.shape[0])
    low, high = np.percentile(shown, (1.0, 99.8))
    result: NDArray[np.uint16] = np.clip(np.rint((shown - low) / (high - low) * 4000.0), 0, 4095).astype(np.uint16)
    return result


def _corner(patient: Patient, film: Film) -> tuple[float, float]:
    """Where the picture's first row and column lie in the patient, y and z: L3 in the middle of the height."""
    _, y, z = moved(patient.to_scanner(0, "L3"), patient.anatomy.vertebra("L3").centre)
    return round(float(y)) - 0.55 * film.columns * film.object_mm, round(float(z)) + 0.5 * film.rows * film.object_mm


def _pixel(patient: Patient, name: str, film: Film, corner: tuple[float, float]) -> Any:
    """Column and row of a vertebral body's middle."""
    _, y, z = moved(patient.to_scanner(0, name), patient.anatomy.vertebra(name).centre)
    return rounded(((y - corner[0]) / film.object_mm - 0.5, (corner[1] - z) / film.object_mm - 0.5), 2)


def _shown(patient: Patient, name: str, film: Film, corner: tuple[float, float]) -> bool:
    column, row = _pixel(patient, name, film, corner)
    return bool(0 <= column < film.columns and 0 <= row < film.rows)


def _heights(vertebra: Vertebra) -> dict[str, float]:
    """True heights in the patient, in the middle sagittal plane; the film shows them magnified."""
    return {name: CATALOGUE[name].rounded(vertebra.height_at(share)) for name, share in HEIGHT_PLACES.items()}


def _shelf() -> Shelf:
    return Shelf(
        role=ROLE,
        modality="DX",
        sop_class_uid=DX_IMAGE_STORAGE,
        study=("XR",),
        study_description="XR lumbar spine",
        number=1,
        description="Lumbar spine XR lateral",
        protocol_name="L-spine lat",
        body_part_examined="LSPINE",
        time=91500,
    )


def _describe(dataset: Dataset, film: Film) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.InstanceNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PatientOrientation = ["P", "F"]
    dataset.ImageLaterality = "U"
    dataset.PositionerType = "NONE"
    dataset.ViewPosition = "LL"
    dataset.AnatomicRegionSequence = items(coded("122496007", "SCT", "Lumbar spine"))
    view = coded("399198007", "SCT", "right lateral")
    view.ViewModifierCodeSequence = items()
    dataset.ViewCodeSequence = items(view)
    dataset.AcquisitionContextSequence = items()
    dataset.KVP, dataset.Exposure, dataset.ExposureTime = "85", 40, 200
    dataset.DistanceSourceToDetector = f"{SOURCE_TO_DETECTOR_MM:g}"
    dataset.DistanceSourceToPatient = f"{SOURCE_TO_PATIENT_MM:g}"
    dataset.EstimatedRadiographicMagnificationFactor = f"{MAGNIFICATION:g}"
    dataset.ImagerPixelSpacing = [f"{film.pixel_mm:g}"] * 2
    dataset.DetectorType = "SCINTILLATOR"
    dataset.DetectorConfiguration = "AREA"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
