"""Coded concepts: what a word means in SNOMED CT, DICOM, UCUM or the NCI Thesaurus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept, as DICOM PS3.16 writes it.

    `scheme` is SCT, DCM, UCUM, NCIt or UMLS; `meaning` is for people and takes
    no part in what the code says.
    """

    value: str
    scheme: str
    meaning: str


LESION = Code("52988006", "SCT", "Lesion")
MASS = Code("4147007", "SCT", "Mass")
SECONDARY_NEOPLASM = Code("14799000", "SCT", "Neoplasm, secondary")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BILATERAL = Code("51440002", "SCT", "Right and left")

LYMPH_NODE = Code("59441001", "SCT", "Lymph node")

#: Finding sites by the words a lesion file uses. Source: DICOM PS3.16 CID 4031, SNOMED CT.
SITES = {
    "L4": Code("11994002", "SCT", "Fourth lumbar vertebra"),
    "T4": Code("73071006", "SCT", "Fourth thoracic vertebra"),
    "axilla": Code("91470000", "SCT", "Axilla"),
    "rib": Code("113197003", "SCT", "Rib"),
    "ilium": Code("22356005", "SCT", "Ilium"),
    "axillary lymph node": Code("68171009", "SCT", "Axillary lymph node"),
    "lung": Code("39607008", "SCT", "Lung"),
    "liver": Code("10200004", "SCT", "Liver"),
}
