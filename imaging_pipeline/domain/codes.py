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

_ORDINALS = (
    "First", "Second", "Third", "Fourth", "Fifth", "Sixth",
    "Seventh", "Eighth", "Ninth", "Tenth", "Eleventh", "Twelfth",
)  # fmt: skip
_SPINE = {
    "cervical": ("14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"),
    "thoracic": (
        "64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009", "11068009", "82687006",
        "7610001", "12989004", "23215003",
    ),
    "lumbar": ("66794005", "14293000", "36470004", "11994002", "49668003"),
}  # fmt: skip

#: Vertebrae by level, from the head downwards: C1 to L5. Source: DICOM PS3.16 CID 7603.
VERTEBRAE = {
    f"{region[0].upper()}{number}": Code(value, "SCT", f"{_ORDINALS[number - 1]} {region} vertebra")
    for region, values in _SPINE.items()
    for number, value in enumerate(values, start=1)
}

#: Finding sites by the words a lesion file uses. Source: DICOM PS3.16 CID 4031, SNOMED CT.
SITES = VERTEBRAE | {
    "abdomen": Code("818981001", "SCT", "Abdomen"),
    "adrenal gland": Code("23451007", "SCT", "Adrenal gland"),
    "axilla": Code("91470000", "SCT", "Axilla"),
    "axillary lymph node": Code("68171009", "SCT", "Axillary lymph node"),
    "brain": Code("12738006", "SCT", "Brain"),
    "breast": Code("76752008", "SCT", "Breast"),
    "chest": Code("816094009", "SCT", "Chest"),
    "clavicle": Code("51299004", "SCT", "Clavicle"),
    "femur": Code("71341001", "SCT", "Femur"),
    "humerus": Code("85050009", "SCT", "Humerus"),
    "ilium": Code("22356005", "SCT", "Ilium"),
    "kidney": Code("64033007", "SCT", "Kidney"),
    "liver": Code("10200004", "SCT", "Liver"),
    "lung": Code("39607008", "SCT", "Lung"),
    "lymph node": LYMPH_NODE,
    "mediastinum": Code("72410000", "SCT", "Mediastinum"),
    "muscle": Code("71616004", "SCT", "Muscle"),
    "neck": Code("45048000", "SCT", "Neck"),
    "pancreas": Code("15776009", "SCT", "Pancreas"),
    "pelvis": Code("816092008", "SCT", "Pelvis"),
    "retroperitoneum": Code("82849001", "SCT", "Retroperitoneum"),
    "rib": Code("113197003", "SCT", "Rib"),
    "sacrum": Code("54735007", "SCT", "Sacrum"),
    "scapula": Code("79601000", "SCT", "Scapula"),
    "skull": Code("89546000", "SCT", "Skull"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "sternum": Code("56873002", "SCT", "Sternum"),
    "thigh": Code("68367000", "SCT", "Thigh"),
}


def site_named(name: str) -> Code | None:
    """The finding site of that name or meaning, whatever its case; None for a name without a code."""
    wanted = name.strip().casefold()
    named = (code for known, code in SITES.items() if wanted in (known.casefold(), code.meaning.casefold()))
    return next(named, None)
