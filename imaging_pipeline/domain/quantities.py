"""The catalogue of every number this package gives: name, unit, digits, codes, one sentence.

Exporters, report and documentation read it; a quantity that is not here does
not exist. Names are public interface: add, never rename.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from imaging_pipeline.domain.codes import Code

MM = "mm"
MM2 = "mm2"
MM3 = "mm3"
HU = "[hnsf'U]"
ONE = "1"
PERCENT = "%"
MG = "mg"
COUNTS = "{counts}"


class Needs(StrEnum):
    """What must be at hand before a quantity applies."""

    MASK = "mask"
    CT = "ct"
    REFERENCE = "reference"  # CT and a healthy vertebra
    BONE = "bone"  # CT and a bone lesion
    MR = "mr"
    SCINTIGRAPHY = "scintigraphy"
    RADIOGRAPH = "radiograph"  # and the outline of a vertebral body


@dataclass(frozen=True, slots=True)
class Quantity:
    """One entry of the catalogue. `decimals` is the last digit printed, everywhere alike.

    `code` and `derivation` are DICOM's (PS3.16 CID 7470, 7464), `cdisc` the TRTESTCD
    (C96779, or a sponsor's own where CDISC has none). Viewers know the two axes by
    the capitals of their meaning.
    """

    name: str
    unit: str
    decimals: int
    needs: Needs
    sentence: str
    code: Code | None = None
    derivation: Code | None = None
    cdisc: str = ""

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")

    def rounded(self, value: float) -> float:
        """A value to the last printed digit, so that every output holds the same number."""
        return round(float(value), self.decimals) + 0.0  # a nought has no sign


_ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")


#: What no public scheme names bears a code of our own, declared in every object that uses it.
OWN_SCHEME = "99IMGPIPE"


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, OWN_SCHEME, meaning)


_ENTRIES = (
    Quantity("longest_diameter", MM, 2, Needs.MASK, "The longest line inside the outline in one acquired plane, never between planes (RECIST 1.1).", _sct("103339001", "Long Axis"), cdisc="LDIAM"),
    Quantity("perpendicular_diameter", MM, 2, Needs.MASK, "The longest line at a right angle to the longest diameter, in the same plane.", _sct("131188004", "Minor axis"), cdisc="LPERP"),
    Quantity("short_axis", MM, 2, Needs.MASK, "The longest line perpendicular to the longest diameter in its plane; what RECIST 1.1 measures of a lymph node.", _sct("103340004", "Short Axis"), cdisc="DIAMETER"),
    Quantity("extent_left_right", MM, 2, Needs.MASK, "Size along the patient's left-right axis.", _own("EXTLR", "Extent left right"), cdisc="EXTLR"),
    Quantity("extent_anterior_posterior", MM, 2, Needs.MASK, "Size along the patient's anterior-posterior axis.", _own("EXTAP", "Extent anterior posterior"), cdisc="EXTAP"),
    Quantity("extent_superior_inferior", MM, 2, Needs.MASK, "Size along the patient's superior-inferior axis.", _own("EXTSI", "Extent superior inferior"), cdisc="EXTSI"),
    Quantity("max_3d_diameter", MM, 2, Needs.MASK, "The largest distance between two points of the surface.", _sct("81827009", "Diameter"), cdisc="DIAM3D"),
    Quantity("volume", MM3, 1, Needs.MASK, "Volume of the lesion.", _sct("118565006", "Volume"), cdisc="VOLUME"),
    Quantity("surface_area", MM2, 1, Needs.MASK, "Area of the lesion's surface.", _own("SURFAREA", "Surface area"), cdisc="SURFAREA"),
    Quantity("mean_density", HU, 1, Needs.CT, "Mean CT number inside the outline.", _ATTENUATION, _sct("373098007", "Mean"), cdisc="DENSMEAN"),
    Quantity("median_density", HU, 1, Needs.CT, "Median CT number inside the outline.", _ATTENUATION, _sct("373099004", "Median"), cdisc="DENSMED"),
    Quantity("sd_density", HU, 1, Needs.CT, "Standard deviation of the CT numbers inside the outline.", _ATTENUATION, _sct("386136009", "Standard Deviation"), cdisc="DENSSD"),
    Quantity("p05_density", HU, 1, Needs.CT, "5th percentile of the CT numbers inside the outline.", _own("DENSP05", "P05 density"), cdisc="DENSP05"),
    Quantity("p95_density", HU, 1, Needs.CT, "95th percentile of the CT numbers inside the outline.", _own("DENSP95", "P95 density"), cdisc="DENSP95"),
    Quantity("min_density", HU, 1, Needs.CT, "Lowest CT number inside the outline.", _ATTENUATION, _sct("255605001", "Minimum"), cdisc="DENSMIN"),
    Quantity("max_density", HU, 1, Needs.CT, "Highest CT number inside the outline.", _ATTENUATION, _sct("56851009", "Maximum"), cdisc="DENSMAX"),
    Quantity("reference_density", HU, 1, Needs.REFERENCE, "Mean CT number of healthy trabecular bone of a neighbouring vertebra in the same scan.", _own("DENSREF", "Reference density"), cdisc="DENSREF"),
    Quantity("normalised_density", ONE, 3, Needs.REFERENCE, "Mean density of the lesion's tissue, what blur brings in from outside taken out, over reference density: what treatment does to normal bone taken out.", _own("DENSNORM", "Normalised density"), cdisc="DENSNORM"),
    Quantity("muscle_density", HU, 1, Needs.REFERENCE, "Median CT number of the muscle beside the spine in the same scan, which treatment of bone leaves alone.", _own("MUSCDENS", "Muscle density"), cdisc="MUSCDENS"),
    Quantity("lytic_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion less dense than the reference vertebra's range.", _own("FRACLYT", "Lytic fraction"), cdisc="FRACLYT"),
    Quantity("mixed_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion as dense as the reference vertebra's range.", _own("FRACMIX", "Mixed fraction"), cdisc="FRACMIX"),
    Quantity("sclerotic_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion denser than the reference vertebra's range.", _own("FRACSCL", "Sclerotic fraction"), cdisc="FRACSCL"),
    Quantity("calcified_volume", MM3, 1, Needs.CT, "Volume of mineral in the lesion above a stated threshold.", _own("CALCVOL", "Calcified volume"), cdisc="CALCVOL"),
    Quantity("calcified_fraction", PERCENT, 1, Needs.CT, "Calcified share of the lesion's volume.", Code("112019", "DCM", "Calcification extent"), cdisc="CALCFRAC"),
    Quantity("calcium_score", ONE, 1, Needs.CT, "Agatston-like score: area above 130 HU times a factor of its peak, scaled to 3 mm slices.", _own("CALCSCOR", "Calcium score"), cdisc="CALCSCOR"),
    Quantity("calcium_mass", MG, 1, Needs.CT, "Hydroxyapatite-equivalent mass of the calcified volume; uncalibrated unless a calibration is configured.", _own("CALCMASS", "Calcium mass"), cdisc="CALCMASS"),
    Quantity("rim_density", HU, 1, Needs.BONE, "Mean CT number of a shell at the lesion's border.", _own("RIMDENS", "Rim density"), cdisc="RIMDENS"),
    Quantity("rim_continuity", PERCENT, 1, Needs.BONE, "Share of the lesion's border that a sclerotic rim covers.", _own("RIMCONT", "Rim continuity"), cdisc="RIMCONT"),
    Quantity("cortical_continuity", PERCENT, 1, Needs.BONE, "Share of the vertebral wall beside the lesion with intact cortex.", _own("CORTCONT", "Cortical continuity"), cdisc="CORTCONT"),
    Quantity("cortical_thickness", MM, 2, Needs.BONE, "Mean thickness of what cortex is left of the vertebral wall beside the lesion, as cortex of a stated density.", _own("CORTTHCK", "Cortical thickness"), cdisc="CORTTHCK"),
    Quantity("height_anterior", MM, 2, Needs.BONE, "Anterior height of the vertebral body.", _own("HGTANT", "Height anterior"), cdisc="HGTANT"),
    Quantity("height_middle", MM, 2, Needs.BONE, "Middle height of the vertebral body.", _own("HGTMID", "Height middle"), cdisc="HGTMID"),
    Quantity("height_posterior", MM, 2, Needs.BONE, "Posterior height of the vertebral body.", _own("HGTPOST", "Height posterior"), cdisc="HGTPOST"),
    Quantity("height_loss", PERCENT, 1, Needs.BONE, "Height lost against the neighbouring vertebrae, at the worst of the three places.", _own("HGTLOSS", "Height loss"), cdisc="HGTLOSS"),
    Quantity("height_ratio_ends", ONE, 3, Needs.RADIOGRAPH, "Lower over higher of the anterior and posterior heights of the vertebral body outlined on a radiograph.", _own("HGTREND", "Height ratio ends"), cdisc="HGTREND"),
    Quantity("height_ratio_middle", ONE, 3, Needs.RADIOGRAPH, "Middle height over the higher of the anterior and posterior heights of the vertebral body outlined on a radiograph.", _own("HGTRMID", "Height ratio middle"), cdisc="HGTRMID"),
    Quantity("signal_ratio_muscle", ONE, 3, Needs.MR, "Lesion signal over muscle signal, same slice and sequence.", _own("SIGMUSC", "Signal ratio muscle"), cdisc="SIGMUSC"),
    Quantity("signal_ratio_reference", ONE, 3, Needs.MR, "Lesion signal over a healthy vertebra's signal, same slice and sequence.", _own("SIGREF", "Signal ratio reference"), cdisc="SIGREF"),
    Quantity("signal_ratio_disc", ONE, 3, Needs.MR, "Lesion signal over the signal of the discs next to its vertebra, same slice and sequence.", _own("SIGDISC", "Signal ratio disc"), cdisc="SIGDISC"),
    Quantity("uptake_ratio", ONE, 3, Needs.SCINTIGRAPHY, "Lesion counts over the counts of the opposite side or a neighbour; below 1 is cold.", _own("UPTAKE", "Uptake ratio"), cdisc="UPTAKE"),
    Quantity("soft_tissue_diameter", MM, 2, Needs.BONE, "Longest diameter of the soft-tissue part outside the bone.", _own("SOFTDIAM", "Soft tissue diameter"), cdisc="SOFTDIAM"),
)  # fmt: skip

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
