"""The walk every size criterion shares: add the targets up, compare, judge each part, then the whole visit.

A criterion brings a ruler (what of a lesion is added up), a rule for the
targets, and a table that joins target, non-target and new lesions.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from imaging_pipeline.criteria.exact import ZERO, change_pct, plain
from imaging_pipeline.criteria.params import Params
from imaging_pipeline.criteria.timeline import (
    NOT_EVALUATED,
    PATHOLOGICAL_NODE_MM,
    SIZES,
    Finding,
    ListedLesion,
    State,
    Timeline,
    Timepoint,
)


@dataclass(frozen=True, slots=True)
class Ruler:
    """What of a lesion a criterion adds up.

    `fields` are those of a finding that decide, `size` what of it is added up, None
    where it lacks a field; `too_small` is what a lesion counts that is present but
    too faint to measure, `gone` whether one of that finding and size has disappeared.
    """

    unit: str
    fields: Callable[[ListedLesion], tuple[str, ...]]
    size: Callable[[ListedLesion, Finding], Decimal | None]
    too_small: Decimal
    gone: Callable[[ListedLesion, Finding, Decimal], bool]


@dataclass(frozen=True, slots=True)
class Tally:
    """The targets of one visit added up, and what the sum is compared with.

    Where `missing` names a target, its entry in `sizes` and the `total` are lower
    bounds. `remaining` names the targets that were seen and have not disappeared.
    `baseline` is None when a target was not evaluated there; `nadir` is the
    smallest complete sum before this visit, the baseline's included.
    """

    visit: Timepoint
    targets: tuple[ListedLesion, ...]
    sizes: Mapping[str, Decimal]
    missing: tuple[str, ...]
    remaining: tuple[str, ...]
    total: Decimal
    baseline: Decimal | None
    nadir: Decimal | None

    @property
    def sum(self) -> Decimal | None:
        """The sum, where every target was evaluated."""
        return None if self.missing else self.total


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer of a rule: its code, why, by which rule, and the values that bound the other answers."""

    code: str | None
    reasons: tuple[str, ...] = ()
    rule: str = ""
    thresholds: Mapping[str, Decimal] = field(default_factory=dict)

    def adding(self, *reasons: str) -> Verdict:
        """The same answer with more to say."""
        return replace(self, reasons=(*self.reasons, *reasons))


@dataclass(frozen=True, slots=True)
class Components:
    """What a table joins to the overall response; None where baseline showed no such lesion."""

    target: str | None
    non_target: str | None
    new_lesion: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One visit judged by one criterion. `sum` and `nadir` are in `unit`; None where they cannot be stated."""

    visit: str
    date: datetime.date
    target: str | None
    non_target: str | None
    new_lesion: str
    overall: str | None
    unit: str
    sum: Decimal | None = None
    nadir: Decimal | None = None
    change_from_baseline_pct: Decimal | None = None
    change_from_nadir_pct: Decimal | None = None
    reasons: tuple[str, ...] = ()
    rule: str = ""
    thresholds: Mapping[str, Decimal] = field(default_factory=dict)
    used: tuple[str, ...] = ()


@dataclass(slots=True)
class History:
    """What earlier visits established."""

    tallies: list[Tally] = field(default_factory=list)
    targets: list[str | None] = field(default_factory=list)
    complete: bool = False  # an overall complete response was reached


TargetRule = Callable[[Tally, History, Params], Verdict]
OverallRule = Callable[[Components, Tally], Verdict]


def tallies(timeline: Timeline, ruler: Ruler) -> Iterator[Tally]:
    """The sum of each visit, with the baseline and the nadir it is compared with."""
    baseline: Decimal | None = None
    nadir: Decimal | None = None
    for visit in timeline.visits:
        tally = _tally(visit, timeline.targets, ruler, baseline, nadir)
        yield tally
        if visit is timeline.baseline:
            baseline = tally.sum
        if not tally.missing:
            nadir = tally.total if nadir is None else min(nadir, tally.total)


def _tally(
    visit: Timepoint,
    targets: tuple[ListedLesion, ...],
    ruler: Ruler,
    baseline: Decimal | None,
    nadir: Decimal | None,
) -> Tally:
    sizes: dict[str, Decimal] = {}
    missing: list[str] = []
    remaining: list[str] = []
    for lesion in targets:
        holder, finding = _holder(lesion, visit, targets)
        size, evaluated = size_of(holder, finding, ruler)
        # A merged lesion is part of its holder: it adds nothing, and is evaluated and gone as the holder is.
        sizes[lesion.id] = size if holder is lesion else ZERO
        if not evaluated:
            missing.append(lesion.id)
        if not ruler.gone(holder, finding, size):
            remaining.append(lesion.id)
    return Tally(visit, targets, sizes, tuple(missing), tuple(remaining), sum(sizes.values(), ZERO), baseline, nadir)


def _holder(lesion: ListedLesion, visit: Timepoint, targets: tuple[ListedLesion, ...]) -> tuple[ListedLesion, Finding]:
    """The lesion that a merged one is measured with now, or itself, with what was found of it."""
    finding = visit.measurements.get(lesion.id, NOT_EVALUATED)
    while finding.merged_into:
        lesion = next(target for target in targets if target.id == finding.merged_into)
        finding = visit.measurements.get(lesion.id, NOT_EVALUATED)
    return lesion, finding


def size_of(lesion: ListedLesion, finding: Finding, ruler: Ruler) -> tuple[Decimal, bool]:
    """Size of one lesion (a lower bound when it was not evaluated), and whether it was evaluated."""
    if finding.fragments:
        # Source: RECIST 1.1, 4.3.2: the longest diameters of the fragments are added.
        parts = [size_of(lesion, fragment, ruler) for fragment in finding.fragments]
        return sum((size for size, _ in parts), ZERO), all(evaluated for _, evaluated in parts)
    if finding.state is State.ABSENT:
        return ZERO, True
    if finding.state is State.TOO_SMALL:
        return ruler.too_small, True
    size = ruler.size(lesion, finding) if finding.state is None else None
    return (ZERO, False) if size is None else (size, True)


def judge_visits(
    timeline: Timeline, ruler: Ruler, target_rule: TargetRule, overall_rule: OverallRule, params: Params
) -> tuple[Judgement, ...]:
    """Judge every visit after the baseline; the baseline itself has a sum but no response."""
    history = History()
    judgements = []
    for tally in tallies(timeline, ruler):
        if not history.tallies:
            judgement = _baseline_judgement(timeline, tally, ruler)
        else:
            target = target_rule(tally, history, params) if timeline.targets else Verdict(None)
            non_target = non_target_response(timeline, tally.visit, history.complete)
            parts = Components(target.code, non_target.code, tally.visit.new_lesion == "unequivocal")
            overall = overall_rule(parts, tally)
            judgement = _judgement(timeline, tally, ruler, target, non_target, overall)
            history.targets.append(target.code)
            history.complete = history.complete or overall.code == "CR"
        history.tallies.append(tally)
        judgements.append(judgement)
    return tuple(judgements)


def non_target_response(timeline: Timeline, visit: Timepoint, after_complete_response: bool) -> Verdict:
    """Non-target response of one visit.

    *Source*: RECIST 1.1, 4.3.3; reappearance after an overall CR is progression.
    """
    if not timeline.non_targets:
        return Verdict(None)
    states = {lesion.id: _non_target_state(lesion, visit) for lesion in timeline.non_targets}
    progressing, present, unseen = (_named(states, state) for state in ("progression", "present", "not_evaluated"))
    if progressing:
        return Verdict("PD", (f"non-target PD: unequivocal progression of {progressing} was stated",))
    if present and after_complete_response:
        return Verdict("PD", (f"non-target PD: {present} came back after a complete response",))
    if unseen:
        return Verdict("NE", (f"non-target NE: {unseen} not evaluated",))
    if present:
        return Verdict("NON-CR/NON-PD", (f"non-target NON-CR/NON-PD: {present} persists",))
    return Verdict("CR", ("non-target CR: none is left",))


def _non_target_state(lesion: ListedLesion, visit: Timepoint) -> str:
    """The state stated; otherwise what a measurement shows. A node below 10 mm is normal, whatever is visible of it."""
    finding = visit.measurements.get(lesion.id, NOT_EVALUATED)
    stated = visit.non_targets.get(lesion.id, "")
    short_axis = finding.short_axis_mm if lesion.node else None
    if stated in ("", "present") and short_axis is not None and short_axis < PATHOLOGICAL_NODE_MM:
        return "absent"
    if stated:
        return stated
    if finding.state is State.ABSENT:
        return "absent"
    return "not_evaluated" if finding.state is State.NOT_EVALUABLE else "present"


def _named(states: Mapping[str, str], wanted: str) -> str:
    return ", ".join(lesion_id for lesion_id, state in states.items() if state == wanted)


def _baseline_judgement(timeline: Timeline, tally: Tally, ruler: Ruler) -> Judgement:
    reasons = _sum_reasons(tally, ruler) if timeline.targets else ("baseline: no target lesion",)
    total = tally.sum if timeline.targets else None
    return Judgement(
        tally.visit.id,
        tally.visit.date,
        target=None,
        non_target=None,
        new_lesion=tally.visit.new_lesion,
        overall=None,
        unit=ruler.unit,
        sum=total,
        nadir=total,
        reasons=reasons,
        used=_used(timeline, tally, ruler),
    )


def _judgement(
    timeline: Timeline, tally: Tally, ruler: Ruler, target: Verdict, non_target: Verdict, overall: Verdict
) -> Judgement:
    has_targets = bool(timeline.targets)
    total = tally.sum if has_targets else None
    return Judgement(
        tally.visit.id,
        tally.visit.date,
        target=target.code,
        non_target=non_target.code,
        new_lesion=tally.visit.new_lesion,
        overall=overall.code,
        unit=ruler.unit,
        sum=total,
        nadir=tally.nadir if has_targets else None,
        change_from_baseline_pct=change_pct(total, tally.baseline),
        change_from_nadir_pct=change_pct(total, tally.nadir),
        reasons=(
            *(_sum_reasons(tally, ruler) if has_targets else ()),
            *target.reasons,
            *non_target.reasons,
            *new_lesion_reasons(tally.visit),
            *overall.reasons,
        ),
        rule="; ".join(rule for rule in (target.rule, overall.rule) if rule),
        thresholds=target.thresholds,
        used=_used(timeline, tally, ruler),
    )


def _sum_reasons(tally: Tally, ruler: Ruler) -> tuple[str, ...]:
    parts = " + ".join(
        f"{lesion_id} {plain(size)}" for lesion_id, size in tally.sizes.items() if lesion_id not in tally.missing
    )
    if tally.missing:
        seen = f"at least {plain(tally.total)} {ruler.unit} ({parts})" if parts else "nothing to add up"
        return (f"not evaluated: {', '.join(tally.missing)}; {seen}",)
    return (f"sum {plain(tally.total)} {ruler.unit} ({parts})",)


def new_lesion_reasons(visit: Timepoint) -> tuple[str, ...]:
    """What is said of new lesions, in a sentence."""
    if visit.confirms_new_from:
        return (f"the equivocal new lesion of {', '.join(visit.confirms_new_from)} is confirmed",)
    if visit.new_lesions == "unequivocal":
        return ("an unequivocal new lesion",)
    if visit.new_lesions == "equivocal":
        return ("an equivocal new lesion: followed up, not yet progression",)
    return ()


def _used(timeline: Timeline, tally: Tally, ruler: Ruler) -> tuple[str, ...]:
    return tuple(
        f"{lesion.id}/{SIZES[field]}"
        for lesion in timeline.targets
        if lesion.id not in tally.missing
        for field in ruler.fields(lesion)
    )
