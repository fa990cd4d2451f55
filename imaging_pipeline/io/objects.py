"""What every DICOM object this package writes shares: whose it is, where it belongs, a name derived from content.

No clock and no chance: equal cases give equal bytes. The patient goes by the
case's pseudonym, or by the PatientID of the archive the object may go back to;
study, series and images are named as in the source, so that a viewer puts the
object where it belongs.

Source: DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.2 (patient, study, series, equipment); PS3.5 B.2 (UIDs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike

from imaging_pipeline import __version__
from imaging_pipeline.domain.case import Case, Outcome, Sighting, Values, Visit
from imaging_pipeline.domain.codes import BILATERAL, LEFT, LESION, MASS, RIGHT, Code
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Mask, Series
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.io.part10 import EXPLICIT_LITTLE_ENDIAN, Item, elements, file_of

PRODUCT = "imaging_pipeline"

#: What each kind of lesion is called as a finding, without a word on its histology. Source: PS3.16 CID 7159.
FINDINGS = {Kind.BONE: LESION, Kind.NODE: LESION, Kind.SOFT_TISSUE: MASS}
LATERALITIES = {"left": LEFT, "right": RIGHT, "bilateral": BILATERAL}

#: The visit's series whose slices were interpolated: a voxel of the volume is then no pixel of an image.
_MOVED = frozenset({"W-GEOM-TILT", "W-GEOM-UNEVEN"})

#: What DICOM asks for and a case does not hold, or must not tell.
_UNTOLD = (
    "PatientBirthDate",
    "PatientSex",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class Written:
    """A DICOM object as its file, and the names others refer to it by."""

    content: bytes
    sop_instance_uid: str
    sop_class_uid: str
    series: Series


def coded(code: Code) -> list[Item]:
    """A code sequence."""
    return [{"CodeValue": code.value, "CodingSchemeDesignator": code.scheme, "CodeMeaning": code.meaning}]


def reference(sop_class_uid: str, sop_instance_uid: str) -> Item:
    """A reference to an object. Source: PS3.3 table 10-11."""
    return {"ReferencedSOPClassUID": sop_class_uid, "ReferencedSOPInstanceUID": sop_instance_uid}


def derived_uid(*content: object) -> str:
    """A UID that says nothing but that its content is this."""
    return f"2.25.{UUID(hex=digest(content)[:32], version=4).int}"


@dataclass(frozen=True)
class Source:
    """A series that an object speaks of; `exact` when its slices lie on the lattice of its volume."""

    series: Series
    exact: bool

    def image(self, slice_index: int) -> Item | None:
        """A reference to the image that is this slice; None where no one image is."""
        series = self.series
        if not self.exact or not 0 <= slice_index < len(series.frames or series.instances):
            return None
        if series.frames:
            return {**self._named(0), "ReferencedFrameNumber": series.frames[slice_index]}
        return self._named(slice_index)

    @property
    def frame_of_reference_uid(self) -> str:
        """The series' own; where it states none, one that only what is drawn on this series shares."""
        stated = self.series.grid.frame_of_reference_uid if self.series.grid else ""
        return stated or derived_uid("frame of reference", self.series.series_instance_uid)

    def images(self) -> list[Item]:
        """References to all instances of the series."""
        return [self._named(number) for number in range(len(self.series.instances))]

    def _named(self, number: int) -> Item:
        return reference(self.series.sop_class_uid, self.series.instances[number].sop_instance_uid)


@dataclass(frozen=True)
class Outlined:
    """A lesion outlined at a visit, and the series it was outlined in."""

    lesion: Lesion
    sighting: Sighting
    mask: Mask
    source: Source


def outlined(case: Case, values: Values, visit: Visit) -> Iterator[Outlined]:
    """The lesions that were outlined at a visit, in the case's order."""
    lesions = {lesion.lesion_id: lesion for lesion in case.lesions}
    for sighting in case.sightings:
        mask = values.get(sighting.mask)
        if sighting.visit == visit.number and sighting.outcome is Outcome.MEASURED and isinstance(mask, Mask):
            corners = mask.grid.to_lps([(0, 0, 0), [size - 1 for size in mask.grid.shape]])
            source = source_of(case, visit, sighting.series_uid, corners)
            assert source is not None
            yield Outlined(lesions[sighting.lesion_id], sighting, mask, source)


def source_of(case: Case, visit: Visit, series_uid: str, points_lps: ArrayLike) -> Source | None:
    """The series something was drawn on: the stack that holds its points (N, 3), where one series gave several."""
    named = [series for series in visit.series if series.series_instance_uid == series_uid]
    holding = [series for series in named if series.grid and all(map(series.grid.contains, np.atleast_2d(points_lps)))]
    if not named:
        return None
    series = (holding or named)[0]
    moved = {problem.subject for problem in case.problems if problem.code in _MOVED}
    whole = series.grid is not None and series.grid.shape[0] == (len(series.frames) or len(series.instances))
    return Source(series, exact=whole and series_uid not in moved)


def written(
    case: Case,
    visit: Visit,
    series: Series,
    content: Item,
    *,
    modality: str,
    sop_class_uid: str,
    number: int,
    patient_id: str = "",
) -> Written:
    """An object of the study a series belongs to, named by all that it says.

    Parameters
    ----------
    patient_id
        The patient's in the archive the scans came from; empty: the case's pseudonym.
    """
    series_uid = derived_uid(modality, patient_id or case.case, visit.number, series.series_instance_uid)
    encoded = elements({**_head(visit, series, sop_class_uid), **_patient(case, patient_id), **content})
    encoded |= elements({"Modality": modality, "SeriesInstanceUID": series_uid, "SeriesNumber": number})
    name = derived_uid(*(encoded[tag] for tag in sorted(encoded)))
    encoded |= elements({"SOPInstanceUID": name})
    meta = {
        "MediaStorageSOPClassUID": sop_class_uid,
        "MediaStorageSOPInstanceUID": name,
        "TransferSyntaxUID": EXPLICIT_LITTLE_ENDIAN,
        "ImplementationClassUID": derived_uid(PRODUCT),
        "ImplementationVersionName": PRODUCT[:16].upper(),
    }
    own = Series(series_uid, series.study_instance_uid, sop_class_uid, modality, visit.date, "", ())
    return Written(file_of(encoded, meta), name, sop_class_uid, own)


def _patient(case: Case, patient_id: str) -> Item:
    if patient_id:
        return {"PatientName": "", "PatientID": patient_id, "PatientIdentityRemoved": "NO"}
    return {
        "PatientName": case.case,
        "PatientID": case.case,
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "written under a pseudonym",
    }


def _head(visit: Visit, series: Series, sop_class_uid: str) -> Item:
    return {
        "SOPClassUID": sop_class_uid,
        "SpecificCharacterSet": "ISO_IR 192",
        **dict.fromkeys(_UNTOLD, ""),
        "StudyInstanceUID": series.study_instance_uid,
        "StudyDate": series.date.replace("-", ""),
        "InstanceNumber": 1,
        "ContentDate": visit.date.replace("-", ""),
        "ContentTime": "000000",
        "Manufacturer": PRODUCT,
        "ManufacturerModelName": PRODUCT,
        "DeviceSerialNumber": PRODUCT,
        "SoftwareVersions": __version__,
    }


def by_study(references: Iterable[tuple[Series, Item]]) -> list[Item]:
    """References arranged by study and series, each once. Source: PS3.3 table 10-11 and C.17.2.1."""
    studies: dict[str, dict[str, dict[str, Item]]] = {}
    for series, referred in references:
        of_series = studies.setdefault(series.study_instance_uid, {}).setdefault(series.series_instance_uid, {})
        of_series.setdefault(referred["ReferencedSOPInstanceUID"], referred)
    return [
        {
            "StudyInstanceUID": study,
            "ReferencedSeriesSequence": [
                {"SeriesInstanceUID": uid, "ReferencedSOPSequence": [*instances.values()]}
                for uid, instances in of_study.items()
            ],
        }
        for study, of_study in studies.items()
    ]
