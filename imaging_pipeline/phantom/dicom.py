"""Slices as DICOM: CT Image Storage as a scanner writes it, JPEG-LS lossless."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.phantom.disease import CHEST_CT, LUMBAR_CT
from imaging_pipeline.phantom.files import MODELS, Shelf, begun, fill, save
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.protocols import Protocol
from imaging_pipeline.phantom.scanner import CT_IMAGE_STORAGE, FLOOR_HU

_START_TIMES = {LUMBAR_CT: 101500, CHEST_CT: 102200}

#: SeriesNumber by role.
_NUMBERS = {LUMBAR_CT: 2, CHEST_CT: 3}


def series_folder(patient: Patient, visit: int, protocol: Protocol) -> Path:
    """Where a series lies below the sample's folder."""
    return _shelf(protocol).folder(patient, visit)


def write_slice(
    path: Path, pixels: NDArray[np.int16], patient: Patient, visit: int, protocol: Protocol, grid: Grid, index: int
) -> None:
    """Write one slice, CT numbers (R, C)."""
    dataset = begun(patient, visit, _shelf(protocol), index)
    _describe_acquisition(dataset, visit, protocol)
    _place(dataset, grid, protocol, index)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = FLOOR_HU, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    fill(dataset, [(pixels.astype(np.int32) - FLOOR_HU).astype(np.uint16)], 12)
    save(dataset, path)


def _shelf(protocol: Protocol) -> Shelf:
    region = protocol.region
    return Shelf(
        role=region.role,
        modality="CT",
        sop_class_uid=CT_IMAGE_STORAGE,
        study=(),
        study_description="CT lumbar spine and chest",
        number=_NUMBERS[region.role],
        description=protocol.series_description,
        protocol_name=region.description,
        body_part_examined=region.body_part_examined,
        time=_START_TIMES[region.role],
    )


def _describe_acquisition(dataset: Dataset, visit: int, protocol: Protocol) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientPosition = "HFS"
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
    dataset.XRayTubeCurrent = 180 + 20 * (visit % len(MODELS))
    dataset.Exposure = 90 + 10 * (visit % len(MODELS))
    dataset.FilterType = "BODY"


def _place(dataset: Dataset, grid: Grid, protocol: Protocol, index: int) -> None:
    x, y, z = grid.to_lps((index, 0, 0))
    # Numbered from the head down, as most scanners do; the files' order is not the stack's.
    dataset.InstanceNumber = grid.shape[0] - index
    dataset.FrameOfReferenceUID = grid.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = [f"{x:.6g}", f"{y:.6g}", f"{z:.6g}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = f"{z:.6g}"
    dataset.PixelSpacing = [f"{protocol.machine.pixel_mm:.10g}"] * 2
