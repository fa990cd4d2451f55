"""RECIST 1.1: Eisenhauer et al., Eur J Cancer 2009; 45: 228-247. Section and table numbers are that paper's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from imaging_pipeline.criteria.assessment import criterion
from imaging_pipeline.criteria.best import Course, course
from imaging_pipeline.criteria.candidates import selection_problems
from imaging_pipeline.criteria.evidence import View, designated
from imaging_pipeline.criteria.exact import ZERO, change_pct, exactly, plain, signed_pct
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.response import (
    Components,
    History,
    Ruler,
    Tally,
    Verdict,
    judge_visits,
    tallies,
)
from imaging_pipeline.criteria.timeline import (
    MEASURABLE_NODE_MM,
    PATHOLOGICAL_NODE_MM,
    Finding,
    ListedLesion,
    Timeline,
)

NAME = "recist-1.1"

#: Present but too faint to measure: 5 mm (4.2, 4.3.2).
TOO_SMALL_MM = Decimal(5)
#: PR: at least 30 % below baseline (4.3.1).
PR_RATIO = Decimal("0.7")
#: PD: at least 20 % and 5 mm above the nadir (4.3.1).
PD_RATIO = Decimal("1.2")
PD_INCREASE_MM = Decimal(5)


@exactly
def judge(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by RECIST 1.1: the targets' diameters added up, against baseline and nadir; non-targets; new lesions."""
    judgements = judge_visits(timeline, DIAMETERS, target_response, overall_response, params)
    return course(NAME, timeline, judgements, params, selection_problems(next(tallies(timeline, DIAMETERS)), params))


def diameter(lesion: ListedLesion, finding: Finding) -> Decimal | None:
    """What RECIST measures: the short axis of a node, the longest diameter of anything else (4.2)."""
    return finding.short_axis_mm if lesion.node else finding.longest_diameter_mm


def diameter_field(lesion: ListedLesion) -> tuple[str, ...]:
    """The name of what is measured."""
    return ("short_axis_mm",) if lesion.node else ("longest_diameter_mm",)


def gone(lesion: ListedLesion, _: Finding, size: Decimal) -> bool:
    """Disappeared, or, for a node, back to normal (4.3.1)."""
    return size < PATHOLOGICAL_NODE_MM if lesion.node else size == ZERO


DIAMETERS = Ruler("mm", diameter_field, diameter, TOO_SMALL_MM, gone)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The sums at which the answer changes: PR at or below `partial`, PD at or above `progression`."""

    partial: Decimal
    progression: Decimal
    unit: str = "mm"


@dataclass(frozen=True, slots=True)
class Asked:
    """One visit's targets, and all there is to judge them by."""

    tally: Tally
    history: History
    params: Params
    bounds: Bounds


Test = Callable[[Asked], str]


def target_response(tally: Tally, history: History, params: Params) -> Verdict:
    """The first test that holds, in the order CR, reappearance, PD, NE, PR, SD.

    *Source*: RECIST 1.1, 4.3.1; PD before PR, since growth is measured from the nadir.
    """
    if tally.baseline is None or tally.nadir is None:
        return no_baseline(history)
    bounds = Bounds(PR_RATIO * tally.baseline, progression_mm(tally.nadir))
    verdict = first_that_holds(TARGET_TESTS, Asked(tally, history, params, bounds), "RECIST 1.1, 4.3.1")
    return verdict.adding(*_doubtful_nodes(tally)) if verdict.code == "PD" and history.complete else verdict


def no_baseline(history: History) -> Verdict:
    """What was not evaluated at baseline leaves nothing to compare with."""
    unknown = ", ".join(history.tallies[0].missing)
    return Verdict("NE", (f"target NE: {unknown} not evaluated at baseline, no sum can be compared",))


def progression_mm(nadir: Decimal) -> Decimal:
    """The smallest sum that is PD: 20 % and 5 mm above the nadir."""
    return max(PD_RATIO * nadir, nadir + PD_INCREASE_MM)


# Each test answers with the sentence that makes it true, or with nothing.


def complete(asked: Asked) -> str:
    """No target is left; a node counts as gone below 10 mm, so a complete response may have a sum above 0."""
    if asked.tally.missing or asked.tally.remaining:
        return ""
    return "every target has disappeared" if not asked.tally.total else "targets gone, target nodes below 10 mm"


def reappeared(asked: Asked) -> str:
    """After an overall CR any target that is back is progression (4.4.4)."""
    if not (asked.history.complete and asked.tally.remaining):
        return ""
    return f"{', '.join(asked.tally.remaining)} came back after a complete response"


def progressed(asked: Asked) -> str:
    """Growth from the nadir; also of a partial sum, to which what was not seen can only add (4.4.2)."""
    tally, nadir = asked.tally, asked.tally.nadir
    if nadir is None or tally.total < asked.bounds.progression:
        return ""
    partial = ", even without the lesions not evaluated" if tally.missing else ""
    growth, unit = plain(tally.total - nadir), asked.bounds.unit
    percent = signed_pct(change_pct(tally.total, nadir))
    return f"{growth} {unit} ({percent}) above the nadir of {plain(nadir)} {unit}{partial}"


def not_evaluable(asked: Asked) -> str:
    """A part of the targets never makes CR, PR or SD (4.4.2)."""
    return "what was evaluated does not decide" if asked.tally.missing else ""


def small_enough(asked: Asked) -> str:
    """The sum has shrunk to the bound of a partial response."""
    return against_baseline(asked) if asked.tally.total <= asked.bounds.partial else ""


def partial(asked: Asked) -> str:
    """Small enough now, or, as the EORTC reads it, once small enough and not progressed since."""
    if asked.params.pr_retention == "literal" or small_enough(asked) or not _responding(asked.history):
        return small_enough(asked)
    return f"{against_baseline(asked)}; a response stays PR until progression (EORTC)"


def stable(asked: Asked) -> str:
    """None of the others."""
    return f"{against_baseline(asked)}, neither response nor progression"


TARGET_TESTS: tuple[tuple[str, Test], ...] = (
    ("CR", complete),
    ("PD", reappeared),
    ("PD", progressed),
    ("NE", not_evaluable),
    ("PR", partial),
    ("SD", stable),
)


def first_that_holds(tests: tuple[tuple[str, Test], ...], asked: Asked, rule: str) -> Verdict:
    """The code of the first test that holds, with its sentence, the bounds and what else a reader should know."""
    code, sentence = next((code, words) for code, test in tests if (words := test(asked)))
    reasons = (f"target {code}: {sentence}", _what_would_change(asked), *_other_reading(code, asked))
    return Verdict(code, reasons, rule, {"PR": asked.bounds.partial, "PD": asked.bounds.progression})


def against_baseline(asked: Asked) -> str:
    """The change from baseline in words."""
    return f"{signed_pct(change_pct(asked.tally.total, asked.tally.baseline))} against baseline"


def _what_would_change(asked: Asked) -> str:
    if asked.history.complete:
        return "after a complete response any target that is back is PD"
    smaller, larger, unit = plain(asked.bounds.partial), plain(asked.bounds.progression), asked.bounds.unit
    return f"PR at {smaller} {unit} or less, PD at {larger} {unit} or more"


def _responding(history: History) -> bool:
    """Whether the targets responded and have not progressed since."""
    decisive = (code for code in reversed(history.targets) if code in ("CR", "PR", "PD"))
    return next(decisive, "PD") != "PD"


def _other_reading(code: str, asked: Asked) -> tuple[str, ...]:
    """What the other reading of PR would say, where it differs."""
    if code not in ("PR", "SD") or small_enough(asked) or not _responding(asked.history):
        return ()
    if code == "PR":
        return ("read literally, visit by visit, this would be SD",)
    return ("by the EORTC reading, PR until progression, this would be PR",)


def _doubtful_nodes(tally: Tally) -> tuple[str, ...]:
    """A node back at 10 to 15 mm may not be disease."""
    return tuple(
        f"review: node {lesion.id} of {plain(tally.sizes[lesion.id])} mm, below 15 mm, may not be disease"
        for lesion in tally.targets
        if lesion.node and PATHOLOGICAL_NODE_MM <= tally.sizes[lesion.id] < MEASURABLE_NODE_MM
    )


def overall_response(parts: Components, _tally: Tally | None = None) -> Verdict:
    """Join target, non-target and new lesions (4.4.1).

    *Source*: RECIST 1.1, Table 1 (with targets) and Table 2 (non-target disease only).
    """
    table = f"RECIST 1.1, Table {1 if parts.target else 2}"
    causes = ["the new lesion"] * parts.new_lesion + ["non-target progression"] * (parts.non_target == "PD")
    if causes and parts.target != "PD":
        otherwise = _joined(parts.target, "NON-CR/NON-PD" if parts.non_target == "PD" else parts.non_target)
        return Verdict("PD", (f"overall PD by {' and '.join(causes)}; without, {otherwise}",), table)
    overall = _joined(parts.target, parts.non_target)
    if overall == "NED":
        return Verdict(overall, ("overall NED: no disease is known from baseline",), table)
    if parts.target == "CR" != overall:
        return Verdict(overall, (f"overall {overall}: non-target disease is not known to be gone",), table)
    return Verdict(overall, (), table)


def _joined(target: str | None, non_target: str | None) -> str:
    if target is None:
        return "NED" if non_target is None else non_target
    return "PR" if target == "CR" and non_target not in ("CR", None) else target


assess = criterion(judge, View(designated))
