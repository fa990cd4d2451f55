"""RECIST 1.1: Eisenhauer et al., Eur J Cancer 2009; 45: 228-247. Section and table numbers are that paper's."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from imaging_pipeline.criteria.best import Course, course
from imaging_pipeline.criteria.exact import ZERO, change_pct, exactly, plain, signed_pct
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.response import (
    Components,
    History,
    Ruler,
    Tally,
    Verdict,
    judge_visits,
)
from imaging_pipeline.criteria.roles import MEASURABLE_NODE_MM, PATHOLOGICAL_NODE_MM, selection_problems
from imaging_pipeline.criteria.timeline import Finding, ListedLesion, Timeline

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
    """Judge each visit by RECIST 1.1, then all visits together."""
    judgements = judge_visits(timeline, DIAMETERS, target_response, overall_response, params)
    return course(NAME, timeline, judgements, params, selection_problems(timeline, params))


def diameter(lesion: ListedLesion, finding: Finding) -> Decimal | None:
    """What RECIST measures: the short axis of a node, the longest diameter of anything else (4.2)."""
    return finding.short_axis_mm if lesion.node else finding.longest_diameter_mm


def gone(lesion: ListedLesion, _: Finding, size: Decimal) -> bool:
    """Disappeared, or, for a node, back to normal (4.3.1)."""
    return size < PATHOLOGICAL_NODE_MM if lesion.node else size == ZERO


def diameter_name(lesion: ListedLesion) -> str:
    """The catalogue's name of what is measured."""
    return "short_axis" if lesion.node else "longest_diameter"


DIAMETERS = Ruler("mm", diameter, TOO_SMALL_MM, gone, diameter_name)


# Target response (4.3.1): each test answers with the sentence that makes it true, or with nothing.


def _complete(tally: Tally, _history: History, _params: Params) -> str:
    if tally.missing or tally.remaining:
        return ""
    return "every target has disappeared" if not tally.total else "all targets gone, target nodes below 10 mm"


def _reappeared(tally: Tally, history: History, _params: Params) -> str:
    """After an overall CR any target that is back is progression (4.4.4)."""
    if not (history.complete and tally.remaining):
        return ""
    return f"{', '.join(tally.remaining)} came back after a complete response"


def _progressed(tally: Tally, _history: History, _params: Params) -> str:
    """Also from a partial sum, to which what was not seen can only add (4.4.2)."""
    if tally.nadir is None or tally.total < progression_mm(tally.nadir):
        return ""
    partial = ", even without the lesions not evaluated" if tally.missing else ""
    growth, percent = tally.total - tally.nadir, signed_pct(change_pct(tally.total, tally.nadir))
    return f"{plain(growth)} mm ({percent}) above the nadir of {plain(tally.nadir)} mm{partial}"


def _not_evaluable(tally: Tally, _history: History, _params: Params) -> str:
    return "what was evaluated does not decide" if tally.missing else ""


def _partial(tally: Tally, history: History, params: Params) -> str:
    if _thirty_percent_smaller(tally):
        return _against_baseline(tally)
    if params.pr_retention == "eortc" and _responding(history):
        return f"{_against_baseline(tally)}; a response stays PR until progression (EORTC)"
    return ""


def _stable(tally: Tally, _history: History, _params: Params) -> str:
    return f"{_against_baseline(tally)}, neither response nor progression"


TARGET_TESTS = (
    ("CR", _complete),
    ("PD", _reappeared),
    ("PD", _progressed),
    ("NE", _not_evaluable),
    ("PR", _partial),
    ("SD", _stable),
)


def target_response(tally: Tally, history: History, params: Params) -> Verdict:
    """The first test that holds, in the order CR, reappearance, PD, NE, PR, SD.

    *Source*: RECIST 1.1, 4.3.1; PD before PR, since growth is measured from the nadir.
    """
    if tally.baseline is None or tally.nadir is None:
        return Verdict("NE", ("target NE: a target was not evaluated at baseline, no sum can be compared",))
    code, sentence = next((code, words) for code, test in TARGET_TESTS if (words := test(tally, history, params)))
    thresholds = {"PR": PR_RATIO * tally.baseline, "PD": progression_mm(tally.nadir)}
    reasons = (f"target {code}: {sentence}", _bounds(thresholds, history), *_caveats(code, tally, history, params))
    return Verdict(code, reasons, "RECIST 1.1, 4.3.1", thresholds)


def _bounds(thresholds: Mapping[str, Decimal], history: History) -> str:
    """What would have changed the answer."""
    if history.complete:
        return "after a complete response any target that is back is PD"
    return f"PR at {plain(thresholds['PR'])} mm or less, PD at {plain(thresholds['PD'])} mm or more"


def progression_mm(nadir: Decimal) -> Decimal:
    """The smallest sum that is PD: 20 % and 5 mm above the nadir."""
    return max(PD_RATIO * nadir, nadir + PD_INCREASE_MM)


def _thirty_percent_smaller(tally: Tally) -> bool:
    return tally.baseline is not None and tally.total <= PR_RATIO * tally.baseline


def _responding(history: History) -> bool:
    """Whether the targets responded and have not progressed since."""
    since = next((index for index, code in enumerate(reversed(history.targets)) if code == "PD"), len(history.targets))
    return any(code in ("CR", "PR") for code in history.targets[len(history.targets) - since :])


def _against_baseline(tally: Tally) -> str:
    return f"{signed_pct(change_pct(tally.total, tally.baseline))} against baseline"


def _caveats(code: str, tally: Tally, history: History, params: Params) -> tuple[str, ...]:
    """What a reader should know beside the answer: the other reading of PR, a node that may not be disease."""
    caveats = []
    if code in ("PR", "SD") and not _thirty_percent_smaller(tally) and _responding(history):
        caveats.append(
            "read literally, visit by visit, this would be SD"
            if params.pr_retention == "eortc"
            else "by the EORTC reading, PR until progression, this would still be PR"
        )
    if code == "PD" and history.complete and (nodes := _doubtful_nodes(tally)):
        caveats.append(f"review: {', '.join(nodes)} between 10 and 15 mm may not be disease")
    return tuple(caveats)


def _doubtful_nodes(tally: Tally) -> list[str]:
    return [
        lesion.id
        for lesion in tally.targets
        if lesion.node and PATHOLOGICAL_NODE_MM <= tally.sizes[lesion.id] < MEASURABLE_NODE_MM
    ]


def overall_response(parts: Components, _tally: Tally | None = None) -> Verdict:
    """Join target, non-target and new lesions (4.4.1).

    *Source*: RECIST 1.1, Table 1 (with targets) and Table 2 (non-target disease only).
    """
    table = "Table 1" if parts.target else "Table 2"
    if parts.new_lesion or parts.non_target == "PD" != parts.target:
        otherwise = _joined(parts.target, "NON-CR/NON-PD" if parts.non_target == "PD" else parts.non_target)
        cause = "the new lesion" if parts.new_lesion else "non-target progression"
        return Verdict("PD", (f"overall PD by {cause}; without it {otherwise}",), table)
    overall = _joined(parts.target, parts.non_target)
    if parts.target == "CR" != overall:
        return Verdict(overall, (f"overall {overall}: non-target disease is not known to be gone",), table)
    return Verdict(overall, (), table)


def _joined(target: str | None, non_target: str | None) -> str:
    if target is None:
        return "NED" if non_target is None else non_target
    return "PR" if target == "CR" and non_target not in ("CR", None) else target
