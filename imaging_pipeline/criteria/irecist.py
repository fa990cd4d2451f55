"""iRECIST: Seymour et al., Lancet Oncol 2017; 18: e143-e152, and the RECIST group's questions and answers.

RECIST 1.1 up to the first progression, which is unconfirmed (iUPD) until a later
scan shows more of it (iCPD), or is reset when the tumour shrinks instead.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.assessment import criterion
from imaging_pipeline.criteria.best import (
    BEST_FIRST,
    Course,
    Response,
    Summary,
    best_confirmed,
    best_unconfirmed,
    dated_responses,
    durations,
    marked_back,
    nothing_seen,
    start_of,
    window_of,
)
from imaging_pipeline.criteria.candidates import selection_problems
from imaging_pipeline.criteria.evidence import View, designated
from imaging_pipeline.criteria.exact import ZERO, exactly, plain
from imaging_pipeline.criteria.params import DEFAULTS, Params
from imaging_pipeline.criteria.recist import DIAMETERS, PD_INCREASE_MM, progression_mm
from imaging_pipeline.criteria.response import Components, Judgement, Tally, Verdict, judge_visits, size_of, tallies
from imaging_pipeline.criteria.timeline import Finding, ListedLesion, Timeline, Timepoint

NAME = "irecist"
_SOURCE = "iRECIST, Table 2"

#: iRECIST's words for RECIST's; UPD is progression not yet confirmed.
IMMUNE = {
    "CR": "iCR",
    "PR": "iPR",
    "SD": "iSD",
    "UPD": "iUPD",
    "PD": "iCPD",
    "NON-CR/NON-PD": "NON-iCR/NON-iUPD",
    "NE": "NE",
    "NED": "NED",
}
PLAIN = {immune: code for code, immune in IMMUNE.items()}
#: Of one component progression is always unconfirmed: only the visit as a whole is confirmed.
_COMPONENT = {**IMMUNE, "PD": "iUPD"}


@exactly
def judge(timeline: Timeline, params: Params = DEFAULTS) -> Course:
    """Response by iRECIST: as RECIST 1.1, but progression counts once a later scan shows more of it."""
    plain_codes = judge_visits(timeline, DIAMETERS, recist.target_response, Confirmation(params), params)
    responses = dated_responses(timeline, plain_codes, params, progression="UPD")
    summary = summarise(responses, start_of(timeline, params), params)
    judgements = tuple(_in_immune_words(each) for each in marked_back(timeline, plain_codes, params))
    return Course(NAME, judgements, summary, selection_problems(next(tallies(timeline, DIAMETERS)), params))


def _in_immune_words(judgement: Judgement) -> Judgement:
    return replace(
        judgement,
        target=judgement.target and _COMPONENT[judgement.target],
        non_target=judgement.non_target and _COMPONENT[judgement.non_target],
        overall=judgement.overall and IMMUNE[judgement.overall],
    )


# New lesions: measured, but apart from the baseline lesions


@dataclass(frozen=True, slots=True)
class NewLesionsNow:
    """The new lesions of one visit: the sizes measured, whether another appeared, whether those measured progressed.

    `present` says that one that was ever measured is not known to be gone.
    """

    sizes: Mapping[str, Decimal]
    another: bool
    progressed: bool
    present: bool

    def growth_since(self, sizes: Mapping[str, Decimal]) -> Decimal:
        """How much the sum of those measured both times has grown."""
        both = self.sizes.keys() & sizes.keys()
        return sum((self.sizes[name] - sizes[name] for name in both), ZERO)


@dataclass(slots=True)
class NewLesions:
    """What is known of new lesions so far: the last size of each that has a name, and the nadir of their own sum."""

    last: dict[str, Decimal | None] = field(default_factory=dict)
    nadir: Decimal | None = None

    def at(self, visit: Timepoint) -> NewLesionsNow:
        """Take one visit in."""
        sizes = {name: size for name, finding in visit.new_targets.items() if (size := _new_size(finding)) is not None}
        anew = any(size and name not in self.last for name, size in sizes.items())
        # A visit that measures only known new lesions restates them; one that names none speaks of another.
        restated = bool(visit.new_targets) and visit.new_targets.keys() <= self.last.keys()
        another = anew or (visit.new_lesion == "unequivocal" and not restated)
        self.last |= {name: self.last.get(name) for name in visit.new_targets} | sizes
        present = any(size is None or size for size in self.last.values())
        return NewLesionsNow(sizes, another, self._progressed(sizes, another), present)

    def _progressed(self, sizes: Mapping[str, Decimal], another: bool) -> bool:
        """Whether their own sum meets RECIST's PD, from their own nadir; another lesion starts the sum anew."""
        if sizes.keys() != self.last.keys() or not sizes:
            return False
        total = sum(sizes.values(), ZERO)
        progressed = not another and self.nadir is not None and total >= progression_mm(self.nadir)
        self.nadir = total if another or self.nadir is None else min(self.nadir, total)
        return progressed


def _new_size(finding: Finding) -> Decimal | None:
    lesion = ListedLesion("new", "target", node=finding.longest_diameter_mm is None and finding.state is None)
    size, evaluated = size_of(lesion, finding, DIAMETERS)
    return size if evaluated else None


# Progression: unconfirmed, confirmed or reset


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The iUPD that waits to be confirmed: how things stood then."""

    date: datetime.date
    parts: Components
    tally: Tally
    new_sizes: Mapping[str, Decimal]
    by_new_lesion: bool

    def growth(self, now: Tally) -> Decimal:
        """How much the targets evaluated then have grown since; what is not seen now counts 0."""
        then = [lesion_id for lesion_id in self.tally.sizes if lesion_id not in self.tally.missing]
        return sum((now.sizes[lesion_id] - self.tally.sizes[lesion_id] for lesion_id in then), ZERO)


@dataclass(slots=True)
class Confirmation:
    """Assigns each visit its response, and remembers the progression that waits to be confirmed."""

    params: Params
    new_lesions: NewLesions = field(default_factory=NewLesions)
    waiting: Unconfirmed | None = None
    confirmed: bool = False
    another_since: bool = False

    def __call__(self, parts: Components, tally: Tally) -> Verdict:
        """The response of one visit.

        *Source*: iRECIST, Table 2.
        """
        new = self.new_lesions.at(tally.visit)
        if self.confirmed:
            return Verdict("PD", ("progression was confirmed before",), _SOURCE)
        if self.waiting is not None:
            return self._after_unconfirmed(self.waiting, parts, tally, new)
        causes = _progression(parts, new)
        if not causes:
            return self._without_progression(parts, new)
        self.waiting = Unconfirmed(tally.visit.date, parts, tally, new.sizes, new.another or new.progressed)
        self.another_since = False
        return Verdict("UPD", (f"overall iUPD by {' and '.join(causes)}; to be confirmed",), _SOURCE)

    def _without_progression(self, parts: Components, new: NewLesionsNow) -> Verdict:
        """RECIST's tables; a new lesion that is still there forbids iCR, not iPR or iSD."""
        verdict = recist.overall_response(replace(parts, new_lesion=False))
        if verdict.code == "CR" and new.present:
            return Verdict("PR", ("overall iPR: a new lesion is not known to be gone",), _SOURCE)
        return replace(verdict, rule=_SOURCE)

    def _after_unconfirmed(self, waiting: Unconfirmed, parts: Components, tally: Tally, new: NewLesionsNow) -> Verdict:
        self.another_since = self.another_since or new.another
        days = (tally.visit.date - waiting.date).days
        if worse := self._worse(waiting, parts, tally, new):
            if days >= self.params.icpd_min_days:
                self.confirmed = True
                return Verdict("PD", (f"overall iCPD: {'; '.join(worse)} since the iUPD",), _SOURCE)
            early = f"only {days} days after the iUPD, {self.params.icpd_min_days} are needed to confirm"
            return Verdict("UPD", (f"overall iUPD: {'; '.join(worse)}, but {early}",), _SOURCE)
        if parts.target == "PD":
            return Verdict("UPD", ("overall iUPD: still progression, no further growth of 5 mm",), _SOURCE)
        if _undecided(waiting, parts):
            return Verdict("NE", ("overall NE: the iUPD can be neither confirmed nor reset",), _SOURCE)
        vanished = bool(self.new_lesions.last) and not new.present
        if waiting.by_new_lesion and not (vanished or _improved(waiting, parts, tally)):
            return Verdict("UPD", ("overall iUPD: no change since the new lesion appeared",), _SOURCE)
        self.waiting = None
        verdict = self._without_progression(parts, new)
        return verdict.adding("the iUPD before was not confirmed and is reset")

    def _worse(self, waiting: Unconfirmed, parts: Components, tally: Tally, new: NewLesionsNow) -> list[str]:
        """What has grown further since the iUPD; small increases add up, they are measured from it."""
        growth, new_growth = waiting.growth(tally), new.growth_since(waiting.new_sizes)
        worse = []
        if waiting.parts.target == "PD" and growth >= PD_INCREASE_MM:
            worse.append(f"targets {plain(growth)} mm larger")
        if waiting.parts.target != "PD" and parts.target == "PD":
            worse.append("targets have progressed as well")
        if parts.non_target == "PD":
            worse.append("non-target disease has increased")
        if new_growth >= PD_INCREASE_MM:
            worse.append(f"new lesions {plain(new_growth)} mm larger")
        if self.another_since:
            worse.append("another new lesion")
        return worse


def _progression(parts: Components, new: NewLesionsNow) -> list[str]:
    causes = {
        "the targets": parts.target == "PD",
        "non-target disease": parts.non_target == "PD",
        "a new lesion": new.another,
        "growth of the new lesions": new.progressed,
    }
    return [cause for cause, holds in causes.items() if holds]


def _of_baseline(parts: Components) -> str | None:
    return recist.overall_response(replace(parts, new_lesion=False)).code


def _undecided(waiting: Unconfirmed, parts: Components) -> bool:
    """Whether what was not evaluated could have confirmed the progression."""
    return _of_baseline(parts) == "NE" or (waiting.parts.non_target == "PD" and parts.non_target == "NE")


def _improved(waiting: Unconfirmed, parts: Components, tally: Tally) -> bool:
    """Whether the lesions of baseline have shrunk since: a better category, or as much as growth would have to be."""
    pairs = ((waiting.parts.target, parts.target), (waiting.parts.non_target, parts.non_target))
    better = any(
        BEST_FIRST.index(now) < BEST_FIRST.index(then)
        for then, now in pairs
        if then not in (None, "NE") and now is not None
    )
    return better or waiting.growth(tally) <= -PD_INCREASE_MM


# All visits together


def summarise(responses: Sequence[Response], start: datetime.date, params: Params) -> Summary:
    """Best response up to the confirmed progression, which is dated where it was first seen.

    *Source*: iRECIST, Table 3; questions and answers on the duration of response.
    """
    window = window_of(responses, params)
    if not window:
        return nothing_seen(params)
    progression = progression_date(window)
    return Summary(
        IMMUNE[best_unconfirmed(window, start, params)],
        IMMUNE[best_confirmed(window, start, params)],
        progression,
        durations(window, start, progression),
    )


def progression_date(window: Sequence[Response]) -> datetime.date | None:
    """The first of the unconfirmed progressions that led to the confirmed one."""
    if not window or window[-1].code != "PD":
        return None
    date = window[-1].date
    for response in reversed(window[:-1]):
        if response.code not in ("UPD", "NE"):
            break
        date = response.date if response.code == "UPD" else date
    return date


def overall_of_row(parts: Components, previous_iupd: bool, further_increase: bool) -> Verdict:
    """The response of one row of components.

    *Source*: iRECIST, Table 2.
    """
    progressing = parts.new_lesion or "PD" in (parts.target, parts.non_target)
    if previous_iupd and further_increase:
        return Verdict("PD", ("further increase confirms the iUPD",), _SOURCE)
    if progressing:
        return Verdict("UPD", ("not confirmed",), _SOURCE)
    return replace(recist.overall_response(parts), rule=_SOURCE)


assess = criterion(judge, View(designated))
