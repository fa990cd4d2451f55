"""Which numbers of two visits may be compared: what a change of technique does to each quantity."""

from __future__ import annotations

from dataclasses import replace

from imaging_pipeline.domain.case import Measurement, Visit
from imaging_pipeline.domain.images import Technique
from imaging_pipeline.domain.quantities import CATALOGUE, HU, Needs

#: Slices up to this thickness measure volume and density alike; thicker ones do not. Source: RULES 8 (PMC4000020).
INTERCHANGEABLE_SLICE_MM = 2.5
#: What treatment, not the scanner, does to bone is left after division by the same scan's healthy bone.
_RELATIVE = frozenset({"normalised_density", "lytic_fraction", "mixed_fraction", "sclerotic_fraction", "height_loss"})
_DIAMETERS = frozenset({"longest_diameter", "perpendicular_diameter", "short_axis", "soft_tissue_diameter"})

KVP = "W-COMPARE-KVP"
KERNEL = "W-COMPARE-KERNEL"
THICKNESS = "W-COMPARE-THICKNESS"
CONTRAST = "W-COMPARE-CONTRAST"
SCANNER = "W-COMPARE-SCANNER"
SEQUENCE = "W-COMPARE-SEQUENCE"
MODALITY = "W-COMPARE-MODALITY"


def compared(measurements: tuple[Measurement, ...], visits: tuple[Visit, ...]) -> tuple[Measurement, ...]:
    """Each later value was checked against the baseline's technique; what a change of it could explain is flagged.

    Parameters
    ----------
    measurements : of one patient, all visits.
    visits : of the same patient; their series hold the technique.

    Returns
    -------
    tuple
        The measurements in the same order, `comparable` and flags set where the first visit that has the quantity
        is earlier.
    """
    series = {one.series_instance_uid: one for visit in visits for one in visit.series}
    first: dict[tuple[str, str], Measurement] = {}
    for one in sorted(measurements, key=lambda measurement: measurement.visit):
        first.setdefault((one.lesion_id, one.quantity), one)

    def judged(one: Measurement) -> Measurement:
        baseline = first[one.lesion_id, one.quantity]
        if baseline.visit == one.visit or one.series_uid not in series or baseline.series_uid not in series:
            return one
        if one.modality != baseline.modality:
            return replace(one, comparable=False, flags=(*one.flags, MODALITY))
        then, now = series[baseline.series_uid].technique, series[one.series_uid].technique
        flags = tuple(code for code in changes(then, now) if code in _flagging(one.quantity))
        return replace(one, comparable=not _spoiled(one, flags, then, now), flags=one.flags + flags)

    return tuple(judged(one) for one in measurements)


def changes(then: Technique, now: Technique) -> tuple[str, ...]:
    """What differs between two techniques, as W-COMPARE codes; a value only one of them states counts as different."""
    thick = (then.slice_thickness or 0.0, now.slice_thickness or 0.0)
    differs = {
        KVP: then.kvp != now.kvp,
        KERNEL: _word(then.convolution_kernel) != _word(now.convolution_kernel),
        THICKNESS: abs(thick[0] - thick[1]) > 0.1 * max(thick),
        CONTRAST: bool(_word(then.contrast_bolus_agent)) != bool(_word(now.contrast_bolus_agent)),
        SCANNER: _word(then.manufacturer_model_name) != _word(now.manufacturer_model_name),
        SEQUENCE: (then.scanning_sequence, then.repetition_time, then.echo_time)
        != (now.scanning_sequence, now.repetition_time, now.echo_time),
    }
    return tuple(code for code, changed in differs.items() if changed)


def _word(text: str | None) -> str:
    return (text or "").strip().casefold()


def _flagging(quantity: str) -> frozenset[str]:
    """Which changes of technique a quantity feels."""
    entry = CATALOGUE[quantity]
    if quantity in _RELATIVE:
        return frozenset({THICKNESS, CONTRAST})
    if entry.needs is Needs.MASK or quantity in _DIAMETERS or quantity.startswith("height"):
        return frozenset({THICKNESS})
    if entry.needs in (Needs.MR, Needs.SCINTIGRAPHY):
        return frozenset({SEQUENCE, CONTRAST, SCANNER})
    return frozenset(
        {KVP, KERNEL, THICKNESS, CONTRAST, SCANNER} if entry.unit == HU else {KVP, KERNEL, THICKNESS, CONTRAST}
    )


def _spoiled(one: Measurement, flags: tuple[str, ...], then: Technique, now: Technique) -> bool:
    """Whether the changes could explain a change of the value. Another scanner alone is said, not held against it."""
    thickest = max(then.slice_thickness or 0.0, now.slice_thickness or 0.0)
    if one.quantity in _DIAMETERS:
        # RECIST 1.1 2.2: a lesion is measurable from twice the slice thickness.
        return THICKNESS in flags and one.value < 2.0 * thickest
    harmless = {SCANNER} | ({THICKNESS} if thickest <= INTERCHANGEABLE_SLICE_MM else set())
    return bool(set(flags) - harmless)
