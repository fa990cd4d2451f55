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


@dataclass(frozen=True, slots=True)
class Quantity:
    """One entry of the catalogue. `decimals` is the last digit printed, everywhere alike."""

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
        return round(float(value), self.decimals)


_ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


_ENTRIES = (
    Quantity("longest_diameter", MM, 2, Needs.MASK, "The longest line inside the outline in one acquired plane, never between planes (RECIST 1.1).", _sct("103339001", "Long axis"), cdisc="LDIAM"),
    Quantity("perpendicular_diameter", MM, 2, Needs.MASK, "The longest line at a right angle to the longest diameter, in the same plane.", _sct("131188004", "Minor axis"), cdisc="LPERP"),
    Quantity("short_axis", MM, 2, Needs.MASK, "The longest line perpendicular to the longest diameter in its plane; what RECIST 1.1 measures of a lymph node.", _sct("103340004", "Short axis"), cdisc="DIAMETER"),
    Quantity("extent_left_right", MM, 2, Needs.MASK, "Size along the patient's left-right axis."),
    Quantity("extent_anterior_posterior", MM, 2, Needs.MASK, "Size along the patient's anterior-posterior axis."),
    Quantity("extent_superior_inferior", MM, 2, Needs.MASK, "Size along the patient's superior-inferior axis."),
    Quantity("max_3d_diameter", MM, 2, Needs.MASK, "The largest distance between two points of the surface.", _sct("81827009", "Diameter")),
    Quantity("volume", MM3, 1, Needs.MASK, "Volume of the lesion.", _sct("118565006", "Volume"), cdisc="VOLUME"),
    Quantity("surface_area", MM2, 1, Needs.MASK, "Area of the lesion's surface."),
    Quantity("mean_density", HU, 1, Needs.CT, "Mean CT number inside the outline.", _ATTENUATION, _sct("373098007", "Mean")),
    Quantity("median_density", HU, 1, Needs.CT, "Median CT number inside the outline.", _ATTENUATION, _sct("373099004", "Median")),
    Quantity("sd_density", HU, 1, Needs.CT, "Standard deviation of the CT numbers inside the outline.", _ATTENUATION, _sct("386136009", "Standard Deviation")),
    Quantity("p05_density", HU, 1, Needs.CT, "5th percentile of the CT numbers inside the outline."),
    Quantity("p95_density", HU, 1, Needs.CT, "95th percentile of the CT numbers inside the outline."),
    Quantity("min_density", HU, 1, Needs.CT, "Lowest CT number inside the outline.", _ATTENUATION, _sct("255605001", "Minimum")),
    Quantity("max_density", HU, 1, Needs.CT, "Highest CT number inside the outline.", _ATTENUATION, _sct("56851009", "Maximum")),
    Quantity("reference_density", HU, 1, Needs.REFERENCE, "Mean CT number of healthy trabecular bone of a neighbouring vertebra in the same scan."),
    Quantity("normalised_density", ONE, 3, Needs.REFERENCE, "Mean density over reference density: what treatment does to normal bone taken out."),
    Quantity("lytic_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion less dense than the reference vertebra's range."),
    Quantity("mixed_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion as dense as the reference vertebra's range."),
    Quantity("sclerotic_fraction", PERCENT, 1, Needs.REFERENCE, "Share of the lesion denser than the reference vertebra's range."),
    Quantity("calcified_volume", MM3, 1, Needs.CT, "Volume of mineral in the lesion above a stated threshold."),
    Quantity("calcified_fraction", PERCENT, 1, Needs.CT, "Calcified share of the lesion's volume.", Code("112019", "DCM", "Calcification extent")),
    Quantity("calcium_score", ONE, 1, Needs.CT, "Agatston-like score: area above 130 HU times a factor of its peak, scaled to 3 mm slices."),
    Quantity("calcium_mass", MG, 1, Needs.CT, "Hydroxyapatite-equivalent mass of the calcified volume; uncalibrated unless a calibration is configured."),
    Quantity("rim_density", HU, 1, Needs.BONE, "Mean CT number of a shell at the lesion's border."),
    Quantity("rim_continuity", PERCENT, 1, Needs.BONE, "Share of the lesion's border that a sclerotic rim covers."),
    Quantity("cortical_continuity", PERCENT, 1, Needs.BONE, "Share of the vertebral wall beside the lesion with intact cortex."),
    Quantity("height_anterior", MM, 2, Needs.BONE, "Anterior height of the vertebral body."),
    Quantity("height_middle", MM, 2, Needs.BONE, "Middle height of the vertebral body."),
    Quantity("height_posterior", MM, 2, Needs.BONE, "Posterior height of the vertebral body."),
    Quantity("height_loss", PERCENT, 1, Needs.BONE, "Height lost against the neighbouring vertebrae, at the worst of the three places."),
    Quantity("signal_ratio_muscle", ONE, 3, Needs.MR, "Lesion signal over muscle signal, same slice and sequence."),
    Quantity("signal_ratio_reference", ONE, 3, Needs.MR, "Lesion signal over a healthy vertebra's signal, same slice and sequence."),
    Quantity("uptake_ratio", ONE, 3, Needs.SCINTIGRAPHY, "Lesion counts over the counts of the opposite side or a neighbour; below 1 is cold."),
    Quantity("soft_tissue_diameter", MM, 2, Needs.BONE, "Longest diameter of the soft-tissue part outside the bone."),
)  # fmt: skip

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
