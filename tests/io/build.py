"""Small CT and MR series a scanner could have written, and the hazards that befall them, one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"

SHAPE = (8, 40, 48)
SPACING_MM = (2.5, 0.7, 0.8)
ORIGIN_LPS = (-10.0, -20.0, 30.0)
SERIES_UID = "1.2.3.4.1"

Edit = Callable[[FileDataset, int], object]


def density(slices: int = SHAPE[0], rows: int = SHAPE[1], columns: int = SHAPE[2]) -> np.ndarray:
    """HU that differ in every voxel's neighbourhood: a body with air around, and a slope along each axis."""
    slice_, row, column = np.indices((slices, rows, columns))
    body = (np.abs(row - rows / 2) < rows / 3) & (np.abs(column - columns / 2) < columns / 3)
    return np.where(body, 40 + 3 * slice_ + 2 * row - column, -1000 + column).astype(np.int16)


def ct_slice(number: int, hu: np.ndarray) -> FileDataset:
    """One axial CT slice, 16 bits, stored with an intercept of -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CT_IMAGE)
    meta.MediaStorageSOPInstanceUID = UID(f"{SERIES_UID}.{number + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_ = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=None, is_little_endian=None)
    slice_.SpecificCharacterSet = "ISO_IR 192"
    slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    slice_.SOPClassUID = meta.MediaStorageSOPClassUID
    slice_.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    slice_.StudyDate = slice_.SeriesDate = slice_.AcquisitionDate = slice_.ContentDate = "20230528"
    slice_.ContentTime = f"1200{number:02}"
    slice_.Modality = "CT"
    slice_.SeriesDescription = "Lumbar spine"
    slice_.PatientName = "Doe^Jane"
    slice_.PatientID = "P1"
    slice_.PatientBirthDate = "19550101"
    slice_.PatientSex = "F"
    slice_.SliceThickness = SPACING_MM[0]
    slice_.KVP = 120
    slice_.ConvolutionKernel = "B30"
    slice_.StudyInstanceUID = "1.2.3.4"
    slice_.SeriesInstanceUID = SERIES_UID
    slice_.AcquisitionNumber = 1
    slice_.InstanceNumber = number + 1
    slice_.ImagePositionPatient = [*ORIGIN_LPS[:2], ORIGIN_LPS[2] + number * SPACING_MM[0]]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.FrameOfReferenceUID = "1.2.3.4.9"
    slice_.SamplesPerPixel = 1
    slice_.PhotometricInterpretation = "MONOCHROME2"
    slice_.Rows, slice_.Columns = hu.shape
    slice_.PixelSpacing = list(SPACING_MM[1:])
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit = 15
    slice_.PixelRepresentation = 1
    slice_.RescaleIntercept = -1024
    slice_.RescaleSlope = 1
    slice_.PixelData = (hu + 1024).astype("<i2").tobytes()
    return slice_


def as_mr(slice_: FileDataset, number: int) -> None:
    """The same slice as MR: signal instead of density, no rescale."""
    slice_.SOPClassUID = slice_.file_meta.MediaStorageSOPClassUID = MR_IMAGE
    slice_.Modality = "MR"
    slice_.EchoTime, slice_.RepetitionTime, slice_.ScanningSequence = 10, 500, "SE"
    del slice_.KVP, slice_.ConvolutionKernel, slice_.RescaleIntercept, slice_.RescaleSlope


def write_series(folder: Path, *edits: Edit, slices: int = SHAPE[0], name: str = "{}.dcm") -> list[Path]:
    """A CT series in a folder, in an order of files that says nothing; each edit changes each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = density(slices)
    paths = []
    for number in range(slices):
        slice_ = ct_slice(number, hu[number])
        for edit in edits:
            edit(slice_, number)
        paths.append(folder / name.format((number * 5 + 3) % 64 + 64 * (number // 64)))
        save(slice_, paths[-1])
    return paths


def save(slice_: pydicom.Dataset, path: Path) -> None:
    """Write a slice as it stands, nothing corrected."""
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(path, slice_, enforce_file_format=False, overwrite=True)


def only(which: int, edit: Edit) -> Edit:
    """An edit of one slice."""
    return lambda slice_, number: edit(slice_, number) if number == which else None


def put(**values: object) -> Edit:
    """An edit that sets attributes."""
    return lambda slice_, number: [setattr(slice_, keyword, value) for keyword, value in values.items()]


def put_text(keyword: str, text: str) -> Edit:
    """An edit that writes an attribute's text as it stands, valid or not."""
    element = pydicom.DataElement(keyword, dictionary_VR(keyword), text, validation_mode=IGNORE)
    return lambda slice_, number: slice_.add(element)


def drop(*keywords: str) -> Edit:
    """An edit that removes attributes."""
    return lambda slice_, number: [delattr(slice_, keyword) for keyword in keywords]


def move(left: float = 0.0, posterior: float = 0.0, superior: float = 0.0) -> Edit:
    """An edit that displaces a slice, mm."""

    def edit(slice_: FileDataset, number: int) -> None:
        place = np.array(slice_.ImagePositionPatient, dtype=float) + np.array([left, posterior, superior])
        slice_.ImagePositionPatient = [round(float(length), 6) for length in place]

    return edit


def restore(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """An edit of the stored values."""

    def edit(slice_: FileDataset, number: int) -> None:
        stored = np.frombuffer(slice_.PixelData, "<u2").reshape(slice_.Rows, slice_.Columns)
        slice_.PixelData = change(stored).astype("<u2").tobytes()

    return edit


def nested(depth: int) -> Edit:
    """An edit that adds sequences within sequences, `depth` below the first."""

    def edit(slice_: FileDataset, number: int) -> None:
        inner = pydicom.Dataset()
        inner.CodeValue = "1"
        for _ in range(depth):
            outer = pydicom.Dataset()
            outer.ConceptCodeSequence = [inner]
            inner = outer
        slice_.ProcedureCodeSequence = [inner]

    return edit


def private(length: int) -> Edit:
    """An edit that adds a private element of so many bytes."""

    def edit(slice_: FileDataset, number: int) -> None:
        block = slice_.private_block(0x0029, "TEST", create=True)
        block.add_new(0x10, "OB", bytes(length))

    return edit


def encode(uid: UID) -> Edit:
    """An edit that writes a slice in another transfer syntax."""

    def edit(slice_: FileDataset, number: int) -> None:
        if uid.is_encapsulated:
            slice_.compress(uid, generate_instance_uid=False)
        slice_.file_meta.TransferSyntaxUID = uid
        if uid == ExplicitVRBigEndian:
            slice_.PixelData = np.frombuffer(slice_.PixelData, "<i2").astype(">i2").tobytes()

    return edit
