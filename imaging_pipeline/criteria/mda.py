"""MD Anderson bone criteria: Hamaoka et al., J Clin Oncol 2004; 22: 2942-2953.

Healing bone fills in and hardens, so what RECIST cannot measure is judged by
signs. Signs that contradict each other are given to a reader, not averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from imaging_pipeline.criteria.assessment import criterion
from imaging_pipeline.criteria.best import Course, course
from imaging_pipeline.criteria.evidence import Believed, View, in_bone, modality_of, value_of
from imaging_pipeline.criteria.exact import exactly
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.recist import PR_RATIO, progression_mm
from imaging_pipeline.criteria.response import Judgement, new_lesion_reasons
from imaging_pipeline.criteria.timeline import BoneFindings, BoneLook, Timeline, Timepoint, Trend
from imaging_pipeline.domain.lesions import Lesion

NAME = "mda-bone"
REVIEW = "review"
_SOURCE = "MD Anderson bone criteria (Hamaoka 2004)"

_GONE = ("disappeared", "normalized")
_LESS = ("regressed", "decreased")
_MORE = ("increased",)
_XR_CT = ("XR", "CT")
_SLICED = ("CT", "MRI")
_ANY = ("XR", "CT", "MRI", "SS")


@dataclass(frozen=True, slots=True)
class Sign:
    """One line of the criteria: on these modalities, a finding of these values means this response.

    Where `unless` names a finding that is not stated to be excluded, the sign may mislead and a reader decides.
    """

    code: str
    modalities: tuple[str, ...]
    finding: str
    values: tuple[Any, ...]
    unless: str = ""


SIGNS = (
    Sign("CR", _XR_CT, "lytic_fill_in", ("complete",)),
    Sign("CR", _XR_CT, "blastic", _GONE),
    Sign("CR", _SLICED, "tumor_signal", _GONE),
    Sign("CR", ("SS",), "hot_spots", _GONE),
    Sign("PR", _XR_CT, "sclerotic_rim", (True,)),
    Sign("PR", _XR_CT, "lytic_fill_in", ("partial",)),
    Sign("PR", _XR_CT, "sclerosis_of_previously_undetected", (True,)),
    Sign("PR", _XR_CT, "blastic", _LESS),
    Sign("PR", _ANY, "measurable_lesion", (*_GONE, *_LESS)),
    Sign("PR", _SLICED, "tumor_signal", _LESS),
    Sign("PR", ("XR", "CT", "MRI"), "lesion", (*_GONE, *_LESS)),
    Sign("PR", ("SS",), "hot_spots", _LESS, "rapid_regression_excluded"),
    Sign("PR", ("SS",), "lesion", (*_GONE, *_LESS), "rapid_regression_excluded"),
    Sign("PR", ("SS",), "activity", (*_GONE, *_LESS), "rapid_regression_excluded"),
    Sign("PD", _ANY, "measurable_lesion", _MORE),
    Sign("PD", _XR_CT, "blastic", _MORE),
    Sign("PD", _SLICED, "tumor_signal", _MORE),
    Sign("PD", ("XR", "CT", "MRI"), "lesion", _MORE),
    Sign("PD", ("XR", "CT", "MRI"), "new_lesion", (True,)),
    Sign("PD", ("SS",), "new_lesion", (True,), "flare_excluded"),
    Sign("PD", ("SS",), "hot_spots", _MORE, "flare_excluded"),
    Sign("PD", ("SS",), "lesion", _MORE, "flare_excluded"),
    Sign("PD", ("SS",), "activity", _MORE, "flare_excluded"),
)
#: A complete response needs each of these that is stated to be complete.
_COMPLETE = {
    "lytic_fill_in": ("complete",),
    "blastic": _GONE,
    "tumor_signal": _GONE,
    "hot_spots": _GONE,
    "measurable_lesion": _GONE,
}
_FINDINGS = tuple(dict.fromkeys(sign.finding for sign in SIGNS))


@exactly
def judge(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response of bone lesions by the MD Anderson criteria: fill-in, rim, extent; contradictions go to a reader."""
    lesions = tuple(dict.fromkeys(lesion_id for visit in timeline.visits for lesion_id in visit.bone))
    judgements = tuple(_judge_visit(visit, lesions, params, visit is timeline.baseline) for visit in timeline.visits)
    return course(NAME, timeline, judgements, params)


def _judge_visit(visit: Timepoint, lesions: Sequence[str], params: Params, first: bool) -> Judgement:
    looks = {lesion_id: visit.bone.get(lesion_id) for lesion_id in lesions}
    verdicts = {lesion_id: lesion_response(look) for lesion_id, look in looks.items()}
    overall = None if first else _joined([code for code, _ in verdicts.values()], visit.new_lesion == "unequivocal")
    reasons = [f"{lesion_id} {code}: {words}" for lesion_id, (code, words) in verdicts.items()]
    if not lesions:
        reasons.append("overall NE: no finding of a bone lesion at any visit")
    if visit.new_lesion == "unequivocal":
        reasons.append("overall PD: an unequivocal new lesion")
    else:
        reasons += new_lesion_reasons(visit)
    return Judgement(
        visit.id,
        visit.date,
        target=None,
        non_target=None,
        new_lesion=visit.new_lesion,
        overall=overall,
        unit="mm",
        reasons=("baseline: nothing to compare with",) if first else tuple(reasons),
        rule=_SOURCE,
        thresholds={
            "fill_in_points": params.mda_fill_in_points,
            "rim_points": params.mda_rim_points,
            "extent_pct": params.mda_extent_pct,
        },
        used=tuple(f"{lesion_id}/{finding}" for lesion_id, look in looks.items() for finding in _stated(look)),
    )


def lesion_response(look: BoneLook | None) -> tuple[str, str]:
    """The response of one bone lesion, and why."""
    stated = _stated(look)
    if look is None or not stated:
        return "NE", "no finding stated"
    shown = [sign for sign in SIGNS if look.modality in sign.modalities and stated.get(sign.finding) in sign.values]
    doubtful = [sign for sign in shown if sign.unless and not getattr(look.findings, sign.unless)]
    words = ", ".join(f"{_spoken(sign.finding)} {_word(stated[sign.finding])}" for sign in shown) or "no change"
    codes = {sign.code for sign in shown}
    if doubtful:
        return REVIEW, f"{words}; not stated: {', '.join(dict.fromkeys(_spoken(sign.unless) for sign in doubtful))}"
    if "PD" in codes and len(codes) > 1:
        return REVIEW, f"signs of response and of progression together: {words}"
    if "CR" in codes:
        complete = all(stated[finding] in values for finding, values in _COMPLETE.items() if finding in stated)
        return "CR" if complete else "PR", words
    judged = any(look.modality in sign.modalities and sign.finding in stated for sign in SIGNS)
    return next(iter(codes), "SD" if judged else "NE"), words if judged else f"not judged on {look.modality}"


def _stated(look: BoneLook | None) -> dict[str, Any]:
    if look is None:
        return {}
    values = {finding: getattr(look.findings, finding) for finding in _FINDINGS}
    return {finding: value for finding, value in values.items() if value is not None}


def _spoken(finding: str) -> str:
    return finding.replace("_", " ")


def _word(value: Any) -> str:
    return "seen" if value is True else str(value)


def _joined(codes: list[str], new_lesion: bool) -> str:
    """All bone lesions together: the worst that was found, a response when some respond and none does worse."""
    if new_lesion or "PD" in codes:
        return "PD"
    for undecided in (REVIEW, "NE"):
        if undecided in codes:
            return undecided
    if not codes:
        return "NE"
    if "SD" in codes and len(set(codes)) == 1:
        return "SD"
    return "CR" if set(codes) == {"CR"} else "PR"


# Findings from measurements


def look_at(baseline: Believed, now: Believed, lesion: Lesion, params: Params) -> BoneLook:
    """What two visits' measurements say of one bone lesion; fill-in is at most partial, complete is a reader's word."""
    extent = _extent_trend(baseline, now, params)
    blastic = lesion.bone_type == "blastic"
    findings = BoneFindings(
        lytic_fill_in=None if blastic else _fill_in(baseline, now, params),
        sclerotic_rim=_rise(baseline, now, "rim_continuity", params.mda_rim_points),
        measurable_lesion=_soft_tissue_trend(baseline, now),
        blastic=extent if blastic else None,
        lesion=None if blastic else extent,
    )
    return BoneLook("MRI" if modality_of(now) == "MR" else "CT", findings)


def _fill_in(baseline: Believed, now: Believed, params: Params) -> Any:
    """Partial when the lytic share falls, or the calcified share rises, by the points required."""
    less_lytic = _rise(now, baseline, "lytic_fraction", params.mda_fill_in_points)
    more_calcium = _rise(baseline, now, "calcified_fraction", params.mda_fill_in_points)
    if less_lytic is None and more_calcium is None:
        return None
    return "partial" if less_lytic or more_calcium else "none"


def _rise(before: Believed, after: Believed, quantity: str, points: Decimal) -> bool | None:
    first, second = value_of(before, quantity), value_of(after, quantity)
    return None if first is None or second is None else second - first >= points


def _extent_trend(baseline: Believed, now: Believed, params: Params) -> Trend | None:
    """Growth, or halving, of the product of perpendicular diameters (Hamaoka 2004, quantitative option)."""
    before, after = _product(baseline), _product(now)
    if before is None or after is None:
        return None
    if after * 100 >= before * (100 + params.mda_extent_pct):
        return "increased"
    return "regressed" if after * 2 <= before else "unchanged"


def _product(measured: Believed) -> Decimal | None:
    along, across = value_of(measured, "longest_diameter"), value_of(measured, "perpendicular_diameter")
    return None if along is None or across is None else along * across


def _soft_tissue_trend(baseline: Believed, now: Believed) -> Trend | None:
    before, after = value_of(baseline, "soft_tissue_diameter"), value_of(now, "soft_tissue_diameter")
    if not before or after is None:
        return None
    if after >= progression_mm(before):
        return "increased"
    return "regressed" if after <= PR_RATIO * before else "unchanged"


#: The quantities each finding is taken from.
BEHIND = {
    "lytic_fill_in": ("lytic_fraction", "calcified_fraction"),
    "sclerotic_rim": ("rim_continuity",),
    "measurable_lesion": ("soft_tissue_diameter",),
    "lesion": ("longest_diameter", "perpendicular_diameter"),
    "blastic": ("longest_diameter", "perpendicular_diameter"),
}

assess = criterion(judge, View(in_bone, look=look_at, behind=BEHIND))
