"""Size with density: Choi's criteria, the modified ones, and the inverse ones made for denosumab.

Size is RECIST's sum of diameters, density the mean CT number of the tumour in
the portal venous phase, averaged over the lesions with equal weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.assessment import criterion
from imaging_pipeline.criteria.best import Course, course
from imaging_pipeline.criteria.evidence import View, designated, in_bone
from imaging_pipeline.criteria.exact import ZERO, change_pct, exactly, plain, signed_pct
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.recist import DIAMETERS, Asked, Bounds
from imaging_pipeline.criteria.response import History, Tally, Verdict, judge_visits
from imaging_pipeline.criteria.timeline import Finding, ListedLesion, Timeline
from imaging_pipeline.domain.lesions import Kind, Lesion

#: Size responds at -10 % and progresses at +10 %, both against baseline: the paper knows no nadir.
SMALLER = Decimal("0.9")
LARGER = Decimal("1.1")
#: Density responds at -15 %; by the inverse rule above +15 %.
LESS_DENSE = Decimal("0.85")
DENSER = Decimal("1.15")
#: Below this baseline mean a change of density in percent says nothing (decision of this project).
MIN_DENSITY_HU = Decimal(20)


def _size_and_density_fields(lesion: ListedLesion) -> tuple[str, ...]:
    return (*recist.diameter_field(lesion), "mean_hu")


SIZES_WITH_DENSITY = replace(DIAMETERS, fields=_size_and_density_fields)


@dataclass(frozen=True, slots=True)
class ChoiRule:
    """One rule of the family: which way density must go, and whether size and density must respond together."""

    name: str
    source: str
    rising: bool = False
    both: bool = False


CHOI = ChoiRule("choi", "Choi et al., J Clin Oncol 2007; 25: 1753-1759")
MODIFIED = ChoiRule("modified-choi", "Nathan et al., Cancer Biol Ther 2010; 9: 15-19", both=True)
INVERSE = ChoiRule("inverse-choi", "Engellau et al., World J Surg Oncol 2018; 16: 191", rising=True)


@dataclass(frozen=True, slots=True)
class Density:
    """Mean densities of the lesions compared, at baseline and now; `unknown` says why there are none."""

    before_hu: Decimal = ZERO
    now_hu: Decimal = ZERO
    unknown: str = ""

    @property
    def words(self) -> str:
        """The change of density for a sentence."""
        if self.unknown:
            return self.unknown
        change = signed_pct(change_pct(self.now_hu, self.before_hu))
        return f"density {change} (mean {self.before_hu:.1f} to {self.now_hu:.1f} HU, lesions weighted equally)"

    def responds(self, rule: ChoiRule) -> bool | None:
        """Whether density responded; None where it is not known."""
        if self.unknown:
            return None
        return self.now_hu > DENSER * self.before_hu if rule.rising else self.now_hu <= LESS_DENSE * self.before_hu


@exactly
def judge_choi(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by Choi's criteria: 10 % smaller or 15 % less dense is a response."""
    return _judge(CHOI, timeline, params)


@exactly
def judge_modified(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by the modified Choi criteria: 10 % smaller and 15 % less dense is a response."""
    return _judge(MODIFIED, timeline, params)


@exactly
def judge_inverse(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response of bone lesions by inverse Choi density/size: 10 % smaller or more than 15 % denser is a response."""
    return _judge(INVERSE, timeline, params)


def _judge(rule: ChoiRule, timeline: Timeline, params: Params) -> Course:
    def target(tally: Tally, history: History, params: Params) -> Verdict:
        return target_response(rule, tally, history, params)

    judgements = judge_visits(timeline, SIZES_WITH_DENSITY, target, recist.overall_response, params)
    return course(rule.name, timeline, judgements, params)


def target_response(rule: ChoiRule, tally: Tally, history: History, params: Params) -> Verdict:
    """CR and PD that need no density, then what size and density say together."""
    if tally.baseline is None:
        return recist.no_baseline(history)
    bounds = Bounds(SMALLER * tally.baseline, LARGER * tally.baseline)
    asked = Asked(tally, history, params, bounds)
    first = (("CR", recist.complete), ("PD", recist.reappeared), ("PD", _nodule), ("NE", recist.not_evaluable))
    early = next(((code, words) for code, test in first if (words := test(asked))), None)
    code, words = early or _size_and_density(rule, asked, density_of(tally, history.tallies[0]))
    thresholds = {"PR": bounds.partial, "PD": bounds.progression}
    size = f"size responds at {plain(bounds.partial)} mm or less, progresses at {plain(bounds.progression)} mm or more"
    return Verdict(code, (f"target {code}: {words}", size, *_regrowth(code, tally)), rule.source, thresholds)


def _nodule(asked: Asked) -> str:
    flagged = "intratumoral_nodule" in asked.tally.visit.flags
    return "a new or growing nodule inside the tumour" if flagged else ""


def _size_and_density(rule: ChoiRule, asked: Asked, density: Density) -> tuple[str, str]:
    words = f"size {recist.against_baseline(asked)}, {density.words}"
    if not density.unknown and density.before_hu < MIN_DENSITY_HU:
        return "NE", f"{words}; baseline below {MIN_DENSITY_HU} HU, its change in percent says nothing"
    responds = density.responds(rule)
    codes = {_code(rule, asked, known) for known in ((True, False) if responds is None else (responds,))}
    if len(codes) > 1:
        return "NE", f"{words}, which would decide"
    return codes.pop(), words + _flag_words(asked)


def _code(rule: ChoiRule, asked: Asked, denser_or_less: bool) -> str:
    flags = asked.tally.visit.flags
    smaller = asked.tally.total <= asked.bounds.partial
    responds = (smaller and denser_or_less) if rule.both else (smaller or denser_or_less)
    if responds and "nonmeasurable_progression" not in flags:
        return "PR"
    if asked.tally.total >= asked.bounds.progression and not denser_or_less:
        return "PD"
    return "PD" if "symptomatic_worsening" in flags else "SD"


def _flag_words(asked: Asked) -> str:
    words = {
        "nonmeasurable_progression": "; obvious progression of non-measurable disease: no PR",
        "symptomatic_worsening": "; symptomatic worsening: no SD",
    }
    return "".join(words.get(flag, "") for flag in asked.tally.visit.flags)


def density_of(tally: Tally, baseline: Tally) -> Density:
    """Mean density of the targets still there, at baseline and now, each lesion with equal weight."""
    before, now = [], []
    for lesion_id in tally.remaining:
        finding = tally.visit.measurements[lesion_id]
        if finding.merged_into:
            continue
        then, today = _mean_hu(baseline.visit.measurements[lesion_id]), _mean_hu(finding)
        if then is None or today is None:
            return Density(
                unknown=f"density of {lesion_id} not known at {'baseline' if then is None else 'this visit'}"
            )
        before.append(then)
        now.append(today)
    if not before:
        return Density(unknown="no lesion left whose density could be compared")
    return Density(sum(before, ZERO) / len(before), sum(now, ZERO) / len(now))


def _mean_hu(finding: Finding) -> Decimal | None:
    if not finding.fragments:
        return finding.mean_hu
    parts = [_mean_hu(fragment) for fragment in finding.fragments]
    known = [part for part in parts if part is not None]
    return sum(known, ZERO) / len(known) if len(known) == len(parts) else None


def _regrowth(code: str | None, tally: Tally) -> tuple[str, ...]:
    """Growth from the smallest sum, which these criteria do not judge, is left to a reader."""
    if code in ("PR", "SD") and tally.nadir is not None and tally.total >= LARGER * tally.nadir:
        grown = signed_pct(change_pct(tally.total, tally.nadir))
        return (f"review: {grown} from the smallest sum; the criterion compares with baseline only",)
    return ()


def _soft_targets(lesion: Lesion) -> bool:
    """RECIST's targets outside bone: a healing bone lesion grows denser, which Choi would call no response."""
    return designated(lesion) and lesion.kind is not Kind.BONE


assess_choi = criterion(judge_choi, View(_soft_targets, density_must_compare=True))
assess_modified = criterion(judge_modified, View(_soft_targets, density_must_compare=True))
assess_inverse = criterion(judge_inverse, View(in_bone, bone_diameter="longest_diameter"))
