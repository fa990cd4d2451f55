"""What CDISC calls things: variables of the tumour datasets, tests, units, methods, codelists.

Source: SDTM 3.4 (TU, TR, RS; RELREC, SUPP--); NCI controlled terminology: TUTESTCD C96784, TUIDRS C123650,
TRTESTCD C96779, RSTESTCD C96782, METHOD C85492, ONCRSCAT C124415.
"""

from __future__ import annotations

from imaging_pipeline.domain.quantities import HU, MG, MM, MM2, MM3, ONE, PERCENT
from imaging_pipeline.io.datasets import Column

#: What CDISC names; every other TRTESTCD of the catalogue is the sponsor's own.
TESTS = {
    "LDIAM": "Longest Diameter",
    "LPERP": "Longest Perpendicular",
    "DIAMETER": "Diameter",
    "VOLUME": "Volume",
    "SUMDIAM": "Sum of Diameter",
    "TUMSTATE": "Tumor State",
}
UNITS = {MM: "mm", MM2: "mm2", MM3: "mm3", HU: "HU", MG: "mg", PERCENT: "%", ONE: ""}
METHODS = {
    "CT": "CT SCAN",
    "MR": "MRI",
    "US": "ULTRASOUND",
    "NM": "SCINTIGRAPHY",
    "PT": "PET SCAN",
    "CR": "X-RAY",
    "DX": "X-RAY",
    "RG": "X-RAY",
}
#: Sites of which CDISC has the bare word; any other is the sponsor's own, as SNOMED says it.
LOCATIONS = {
    "91470000": "AXILLA",
    "113197003": "RIB",
    "22356005": "ILIUM",
    "39607008": "LUNG",
    "10200004": "LIVER",
    "59441001": "LYMPH NODE",
}
CATEGORIES = {"recist-1.1": "RECIST 1.1", "irecist": "iRECIST", "who": "WHO"}

_SUBJECT = (Column("STUDYID", "Study Identifier"), Column("DOMAIN", "Domain Abbreviation"))
_VISIT = (Column("VISITNUM", "Visit Number", "integer"), Column("VISIT", "Visit Name"))


def _columns(prefix: str, *parts: tuple[str, str] | Column) -> tuple[Column, ...]:
    own = [part if isinstance(part, Column) else Column(prefix + part[0], part[1]) for part in parts]
    return (
        *_SUBJECT,
        Column("USUBJID", "Unique Subject Identifier"),
        Column(f"{prefix}SEQ", "Sequence Number", "integer"),
        *own,
    )


_EVALUATOR = (("EVAL", "Evaluator"), ("EVALID", "Evaluator Identifier"), ("ACPTFL", "Accepted Record Flag"))

TU = _columns(
    "TU",
    ("GRPID", "Group ID"),
    ("REFID", "Reference ID"),
    ("SPID", "Sponsor-Defined Identifier"),
    ("LNKID", "Link ID"),
    ("TESTCD", "Tumor/Lesion ID Short Name"),
    ("TEST", "Tumor/Lesion ID Test Name"),
    ("ORRES", "Tumor/Lesion ID Result"),
    ("STRESC", "Tumor/Lesion ID Result Std. Format"),
    ("LOC", "Location of the Tumor/Lesion"),
    ("LAT", "Laterality"),
    ("METHOD", "Method of Identification"),
    ("LOBXFL", "Last Observation Before Exposure Flag"),
    *_EVALUATOR,
    *_VISIT,
    ("DTC", "Date/Time of Tumor/Lesion Identification"),
    Column("TUDY", "Study Day of Tumor/Lesion Identification", "integer"),
)
TR = _columns(
    "TR",
    ("GRPID", "Group ID"),
    ("REFID", "Reference ID"),
    ("SPID", "Sponsor-Defined Identifier"),
    ("LNKID", "Link ID"),
    ("LNKGRP", "Link Group ID"),
    ("TESTCD", "Tumor/Lesion Assessment Short Name"),
    ("TEST", "Tumor/Lesion Assessment Test Name"),
    ("ORRES", "Result or Finding in Original Units"),
    ("ORRESU", "Original Units"),
    ("STRESC", "Character Result/Finding in Std Format"),
    Column("TRSTRESN", "Numeric Result/Finding in Standard Units", "decimal"),
    ("STRESU", "Standard Units"),
    ("STAT", "Completion Status"),
    ("REASND", "Reason Not Done"),
    ("METHOD", "Method Used to Identify the Tumor/Lesion"),
    ("LOBXFL", "Last Observation Before Exposure Flag"),
    *_EVALUATOR,
    *_VISIT,
    ("DTC", "Date/Time of Tumor/Lesion Measurement"),
    Column("TRDY", "Study Day of Tumor/Lesion Measurement", "integer"),
)
RS = _columns(
    "RS",
    ("LNKGRP", "Link Group ID"),
    ("TESTCD", "Assessment Short Name"),
    ("TEST", "Assessment Name"),
    ("CAT", "Category for Assessment"),
    ("ORRES", "Result or Finding in Original Units"),
    ("STRESC", "Character Result/Finding in Std Format"),
    *_EVALUATOR,
    *_VISIT,
    ("DTC", "Date/Time of Assessment"),
    Column("RSDY", "Study Day of Assessment", "integer"),
)
#: Codelists of the NCI by the variables they govern, and their terms that this package writes; "" where the
#: term is CDISC's but its code was not verified.
TERMINOLOGY = {
    "TUTESTCD": ("C96784", {"TUMIDENT": "C94523", "TUSPLIT": "C96642", "TUMERGE": "C94525"}),
    "TUORRES": ("C123650", {"TARGET": "C94520", "NON-TARGET": "", "NEW": ""}),
    "TRTESTCD": (
        "C96779",
        {
            "LDIAM": "C96684",
            "LPERP": "C96685",
            "DIAMETER": "",
            "VOLUME": "",
            "SUMDIAM": "",
            "TUMSTATE": "C96643",
        },
    ),
    "RSTESTCD": (
        "C96782",
        {
            "TRGRESP": "C94534",
            "NTRGRESP": "C94535",
            "NEWLPROG": "C103420",
            "OVRLRESP": "C96613",
            "BESTRESP": "C94536",
        },
    ),
}

RELREC = tuple(
    Column(name, label)
    for name, label in (
        ("STUDYID", "Study Identifier"),
        ("RDOMAIN", "Related Domain Abbreviation"),
        ("USUBJID", "Unique Subject Identifier"),
        ("IDVAR", "Identifying Variable"),
        ("IDVARVAL", "Identifying Variable Value"),
        ("RELTYPE", "Relationship Type"),
        ("RELID", "Relationship Identifier"),
    )
)
SUPPTU = (
    *RELREC[:5],
    *(
        Column(name, label)
        for name, label in (
            ("QNAM", "Qualifier Variable Name"),
            ("QLABEL", "Qualifier Variable Label"),
            ("QVAL", "Data Value"),
            ("QORIG", "Origin"),
            ("QEVAL", "Evaluator"),
        )
    ),
)
