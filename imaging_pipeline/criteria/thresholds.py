"""Relatives of RECIST that measure something else: WHO's products of diameters, and volumes."""

from __future__ import annotations

from decimal import Decimal

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.assessment import criterion
from imaging_pipeline.criteria.best import Course, course
from imaging_pipeline.criteria.evidence import View, designated
from imaging_pipeline.criteria.exact import ZERO, change_pct, exactly, plain, signed_pct
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.recist import Asked, Bounds, first_that_holds
from imaging_pipeline.criteria.response import History, Ruler, Tally, Verdict, judge_visits
from imaging_pipeline.criteria.timeline import PATHOLOGICAL_NODE_MM, Finding, ListedLesion, Timeline

# WHO. Source: WHO handbook for reporting results of cancer treatment, Offset Publication 48, 1979;
# Miller et al., Cancer 1981; 47: 207-214.

WHO_PR_RATIO = Decimal("0.5")
WHO_PD_RATIO = Decimal("1.25")


def product(_lesion: ListedLesion, finding: Finding) -> Decimal | None:
    """Longest diameter times the greatest perpendicular one; of a node its short axis."""
    across = finding.perpendicular_diameter_mm
    across = finding.short_axis_mm if across is None else across
    if finding.longest_diameter_mm is None or across is None:
        return None
    return finding.longest_diameter_mm * across


def _vanished(_lesion: ListedLesion, _finding: Finding, size: Decimal) -> bool:
    return size == ZERO


def _two_diameters(_: ListedLesion) -> tuple[str, ...]:
    return "longest_diameter_mm", "perpendicular_diameter_mm"


PRODUCTS = Ruler("mm2", _two_diameters, product, recist.TOO_SMALL_MM**2, _vanished)


@exactly
def judge_who(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by WHO 1979: products of two diameters added up, half is response, a quarter more progression."""
    return course(
        "who", timeline, judge_visits(timeline, PRODUCTS, who_target, recist.overall_response, params), params
    )


def who_target(tally: Tally, history: History, params: Params) -> Verdict:
    """WHO 1979: its NC is written SD; PD is one lesion's growth, or the sum's, as the parameter says."""
    if tally.baseline is None or tally.nadir is None:
        return recist.no_baseline(history)
    bounds = Bounds(WHO_PR_RATIO * tally.baseline, WHO_PD_RATIO * tally.nadir, "mm2")
    growth = _one_lesion_grew if params.who_pd_basis == "any_lesion" else _sum_grew
    tests = (
        ("CR", recist.complete),
        ("PD", recist.reappeared),
        ("PD", growth),
        ("NE", recist.not_evaluable),
        ("PR", recist.small_enough),
        ("SD", recist.stable),
    )
    return first_that_holds(tests, Asked(tally, history, params, bounds), "WHO 1979")


def _one_lesion_grew(asked: Asked) -> str:
    """One lesion, or several merged into it, at a quarter above the smallest it was."""
    for lesion in asked.tally.targets:
        size, smallest = asked.tally.sizes[lesion.id], _smallest_before(lesion, asked)
        if size > smallest and size >= WHO_PD_RATIO * smallest:
            return f"{lesion.id} {plain(size)} mm2, {signed_pct(change_pct(size, smallest))} from its smallest"
    return ""


def _smallest_before(lesion: ListedLesion, asked: Asked) -> Decimal:
    findings = asked.tally.visit.measurements
    merged = [lesion_id for lesion_id, finding in findings.items() if finding.merged_into == lesion.id]
    return sum(
        (
            min(before.sizes[part] for before in asked.history.tallies if part not in before.missing)
            for part in (lesion.id, *merged)
        ),
        ZERO,
    )


def _sum_grew(asked: Asked) -> str:
    return recist.progressed(asked) if asked.tally.total else ""


# Volumes. Source: RECIST 1.1's thresholds for a sphere; the limits of a real change are recalled from the QIBA
# profile "CT Tumor Volume Change" and are to be confirmed there before they are quoted as QIBA's.

#: Volume of a sphere of 5 mm, RECIST's size of what is too small to measure.
TOO_SMALL_MM3 = Decimal("65.45")
#: Longest diameter from, and the change of volume in percent above which it is real with 95 % confidence.
REAL_CHANGE_PCT = ((Decimal(50), Decimal(24)), (Decimal(35), Decimal(29)), (Decimal(10), Decimal(39)))
REAL_CHANGE_LARGEST_MM = Decimal(100)


def volume(_lesion: ListedLesion, finding: Finding) -> Decimal | None:
    """Volume in cubic millimetres."""
    return finding.volume_mm3


def _volume_gone(lesion: ListedLesion, finding: Finding, size: Decimal) -> bool:
    normal_node = lesion.node and finding.short_axis_mm is not None and finding.short_axis_mm < PATHOLOGICAL_NODE_MM
    return normal_node or size == ZERO


def _volume_field(_: ListedLesion) -> tuple[str, ...]:
    return ("volume_mm3",)


VOLUMES = Ruler("mm3", _volume_field, volume, TOO_SMALL_MM3, _volume_gone)


@exactly
def judge_volumetric(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by volume: RECIST 1.1 with the cubes of its ratios, and whether each change is real."""
    judgements = judge_visits(timeline, VOLUMES, volumetric_target, recist.overall_response, params)
    return course("volumetric", timeline, judgements, params)


def volumetric_target(tally: Tally, history: History, params: Params) -> Verdict:
    """RECIST's tests on volumes; from a nadir of 0, what is too small to measure is already PD."""
    if tally.baseline is None or tally.nadir is None:
        return recist.no_baseline(history)
    progression = params.pd_volume_ratio * tally.nadir or TOO_SMALL_MM3
    bounds = Bounds(params.pr_volume_ratio * tally.baseline, progression, "mm3")
    verdict = first_that_holds(recist.TARGET_TESTS, Asked(tally, history, params, bounds), "RECIST 1.1 by volume")
    return verdict.adding(*_real_changes(tally, history.tallies[0]))


def _real_changes(tally: Tally, baseline: Tally) -> tuple[str, ...]:
    """For each lesion whether its change of volume exceeds what measuring twice may give."""
    sentences = []
    for lesion in tally.targets:
        before = baseline.visit.measurements.get(lesion.id)
        limit = _limit_pct(before.longest_diameter_mm) if before else None
        change = change_pct(tally.sizes[lesion.id], baseline.sizes[lesion.id])
        if limit is not None and change is not None and lesion.id not in tally.missing:
            real = "a real change" if abs(change) > limit else "not beyond measurement error"
            sentences.append(f"{lesion.id} {signed_pct(change)} by volume: {real} (limit {limit} %, 95 %)")
    return tuple(sentences)


def _limit_pct(longest_diameter_mm: Decimal | None) -> Decimal | None:
    if longest_diameter_mm is None or longest_diameter_mm > REAL_CHANGE_LARGEST_MM:
        return None
    return next((limit for least, limit in REAL_CHANGE_PCT if longest_diameter_mm >= least), None)


assess_who = criterion(judge_who, View(designated))
assess_volumetric = criterion(judge_volumetric, View(designated))
