"""What every image file of the sample says, whatever made it: preface, patient, study, pixels as JPEG-LS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, JPEGLSLossless

from imaging_pipeline.phantom.identifiers import identifier
from imaging_pipeline.phantom.patient import Patient

#: The synthetic hospital's machines, in turn at the visits.
MODELS = ("Phantom One", "Phantom Two", "Phantom One Plus")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where a series stands: its role, its study, its number and what it is called.

    `study` is what study UIDs are drawn for; the two CT of a visit share one.
    """

    role: str
    modality: str
    sop_class_uid: str
    study: tuple[str, ...]
    study_description: str
    number: int
    description: str
    protocol_name: str
    body_part_examined: str
    time: int

    def folder(self, patient: Patient, visit: int) -> Path:
        """Where it lies below the sample's folder: patient/date/series, as an archive exports it."""
        words = f"{self.number:02d} {self.description}".replace(" ", "_")
        return Path(patient.patient_id) / patient.visits[visit].date / words

    def series_instance_uid(self, patient: Patient, visit: int) -> str:
        """The series' UID."""
        return identifier(patient.seed, visit, self.role, "series")


def begun(patient: Patient, visit: int, shelf: Shelf, index: int) -> FileDataset:
    """A file with its preface, patient, study and series; the image is still to be described."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(shelf.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(identifier(patient.seed, visit, shelf.role, "image", index))
    meta.TransferSyntaxUID = JPEGLSLossless
    meta.ImplementationClassUID = UID(identifier((0, 0), "implementation"))
    meta.ImplementationVersionName = "IMAGING_PIPELINE"
    dataset = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _describe_patient(dataset, patient, visit)
    _describe_series(dataset, patient, visit, shelf)
    return dataset


def _describe_patient(dataset: Dataset, patient: Patient, visit: int) -> None:
    state = patient.visits[visit]
    age = (date.fromisoformat(state.date) - date.fromisoformat(patient.birth_date)).days // 365.25
    dataset.PatientName = f"Synthetic^{patient.patient_id}"
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = patient.birth_date.replace("-", "")
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{int(age):03d}Y"


def _describe_series(dataset: Dataset, patient: Patient, visit: int, shelf: Shelf) -> None:
    day = patient.visits[visit].date.replace("-", "")
    dataset.StudyInstanceUID = identifier(patient.seed, visit, *shelf.study, "study")
    dataset.StudyID = "-".join((f"{visit + 1}", *shelf.study))
    dataset.AccessionNumber = f"S{day[2:]}{patient.seed[1] + 1:03d}{''.join(shelf.study)}"
    dataset.StudyDate = day
    dataset.StudyTime = "100000"
    dataset.StudyDescription = shelf.study_description
    dataset.ReferringPhysicianName = ""
    dataset.Modality = shelf.modality
    dataset.SeriesInstanceUID = shelf.series_instance_uid(patient, visit)
    dataset.SeriesNumber = shelf.number
    dataset.SeriesDescription = shelf.description
    dataset.ProtocolName = shelf.protocol_name
    dataset.BodyPartExamined = shelf.body_part_examined
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = f"{shelf.time:06d}"
    dataset.Manufacturer = "imaging_pipeline"
    dataset.ManufacturerModelName = MODELS[visit % len(MODELS)]
    dataset.StationName = f"{shelf.modality}{visit % len(MODELS) + 1}"
    dataset.SoftwareVersions = "1"
    dataset.ImageComments = "Synthetic: drawn from formulas, no person"


def fill(dataset: Dataset, frames: Sequence[NDArray[np.unsignedinteger]], bits_stored: int) -> None:
    """Put pixels in: one frame or several of one size (R, C), grey, unsigned, each a JPEG-LS stream."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames[0].shape
    dataset.BitsAllocated = 8 * frames[0].dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([_compressed(frame) for frame in frames])
    dataset["PixelData"].is_undefined_length = True


def _compressed(frame: NDArray[np.unsignedinteger]) -> bytes:
    # A precision of 8 bits or less would make the encoder take 16-bit words for bytes.
    bits = max(int(frame.max()).bit_length(), 8 * frame.dtype.itemsize - 7)
    rows, columns = frame.shape
    return bytes(jpeg_ls.encode_buffer(frame.tobytes(), rows, columns, 1, bits))


def save(dataset: FileDataset, path: Path) -> None:
    """Write a file that is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """One coded concept as an item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def items(*datasets: Dataset) -> Items:
    """Items as a sequence."""
    return Items(datasets)
