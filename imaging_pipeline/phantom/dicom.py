"""Slices as DICOM: CT Image Storage as a scanner writes it, JPEG-LS lossless."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLSLossless

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.phantom.disease import CHEST_CT, LUMBAR_CT
from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.protocols import Protocol
from imaging_pipeline.phantom.scanner import CT_IMAGE_STORAGE, FLOOR_HU

#: The scanners of the visits, in turn.
_MODELS = ("Phantom One", "Phantom Two", "Phantom One Plus")
_START_TIMES = {LUMBAR_CT: 101500, CHEST_CT: 102200}


#: SeriesNumber by role.
_NUMBERS = {LUMBAR_CT: 2, CHEST_CT: 3}


def series_folder(patient: Patient, visit: int, protocol: Protocol) -> Path:
    """Where a series lies below the sample's folder: patient/date/series, as an archive exports it."""
    words = f"{_NUMBERS[protocol.region.role]:02d} {protocol.series_description}".replace(" ", "_")
    return Path(patient.patient_id) / patient.visits[visit].date / words


def write_slice(
    path: Path, pixels: NDArray[np.int16], patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int
) -> None:
    """Write one slice, CT numbers (R, C)."""
    dataset = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=_file_meta(patient, visit, protocol, index))
    _describe_patient(dataset, patient, visit)
    _describe_series(dataset, patient, visit, protocol, grid)
    _describe_acquisition(dataset, visit, protocol)
    _place(dataset, grid, protocol, index)
    _fill(dataset, pixels)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _file_meta(patient: Patient, visit: int, protocol: Protocol, index: int) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CT_IMAGE_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(identifier(patient.seed, visit, protocol.region.role, "image", index))
    meta.TransferSyntaxUID = JPEGLSLossless
    meta.ImplementationClassUID = UID(identifier((0, 0), "implementation"))
    meta.ImplementationVersionName = "IMAGING_PIPELINE"
    return meta


def _describe_patient(dataset: Dataset, patient: Patient, visit: int) -> None:
    state = patient.visits[visit]
    day = state.date.replace("-", "")
    age = (date.fromisoformat(state.date) - date.fromisoformat(patient.birth_date)).days // 365.25
    dataset.PatientName = f"Synthetic^{patient.patient_id}"
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = patient.birth_date.replace("-", "")
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{int(age):03d}Y"
    dataset.StudyInstanceUID = identifier(patient.seed, visit, "study")
    dataset.StudyID = f"{visit + 1}"
    dataset.AccessionNumber = f"S{day[2:]}{patient.seed[1] + 1:03d}"
    dataset.StudyDate = day
    dataset.StudyTime = "100000"
    dataset.StudyDescription = "CT lumbar spine and chest"
    dataset.ReferringPhysicianName = ""


def _describe_series(dataset: Dataset, patient: Patient, visit: int, protocol: Protocol, grid: Grid) -> None:
    day = patient.visits[visit].date.replace("-", "")
    time = f"{_START_TIMES[protocol.region.role]:06d}"
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = identifier(patient.seed, visit, protocol.region.role, "series")
    dataset.SeriesNumber = _NUMBERS[protocol.region.role]
    dataset.SeriesDescription = protocol.series_description
    dataset.ProtocolName = protocol.region.description
    dataset.BodyPartExamined = protocol.region.body_part_examined
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = grid.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "imaging_pipeline"
    dataset.ManufacturerModelName = _MODELS[visit % len(_MODELS)]
    dataset.StationName = f"CT{visit % len(_MODELS) + 1}"
    dataset.SoftwareVersions = "1"


def _describe_acquisition(dataset: Dataset, visit: int, protocol: Protocol) -> None:
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImageComments = "Synthetic: drawn from formulas, no person"
    dataset.AcquisitionNumber = 1
    dataset.KVP = protocol.machine.kvp
    dataset.ConvolutionKernel = protocol.machine.kernel
    dataset.SliceThickness = f"{protocol.machine.thickness_mm:g}"
    dataset.ReconstructionDiameter = f"{protocol.machine.field_of_view_mm:g}"
    dataset.DataCollectionDiameter = "500"
    dataset.GantryDetectorTilt = "0"
    dataset.TableHeight = "150"
    dataset.RotationDirection = "CW"
    dataset.ExposureTime = 500
    dataset.XRayTubeCurrent = 180 + 20 * (visit % len(_MODELS))
    dataset.Exposure = 90 + 10 * (visit % len(_MODELS))
    dataset.FilterType = "BODY"


def _place(dataset: Dataset, grid: Grid, protocol: Protocol, index: int) -> None:
    x, y, z = grid.to_lps((index, 0, 0))
    # Numbered from the head down, as most scanners do; the files' order is not the stack's.
    dataset.InstanceNumber = grid.shape[0] - index
    dataset.ImagePositionPatient = [f"{x:.6g}", f"{y:.6g}", f"{z:.6g}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = f"{z:.6g}"
    dataset.PixelSpacing = [f"{protocol.machine.pixel_mm:.10g}"] * 2


def _fill(dataset: Dataset, pixels: NDArray[np.int16]) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = FLOOR_HU, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    stored = (pixels.astype(np.int32) - FLOOR_HU).astype(np.uint16)
    dataset.PixelData = encapsulate([bytes(jpeg_ls.encode_array(stored))])
    dataset["PixelData"].is_undefined_length = True
