"""How the acts of a journal stand against the case as it is now: which hold, which are stale, what is settled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Case, Review, Sighting
from imaging_pipeline.domain.digests import digest


class Standing(StrEnum):
    """What a reader has settled of a lesion at a visit."""

    OPEN = "open"
    ACCEPTED = "accepted"
    ADJUSTED = "adjusted"
    ADDED = "added"
    REJECTED = "rejected"
    STALE = "stale"


_SETTLED = {
    "accept": Standing.ACCEPTED,
    "adjust": Standing.ADJUSTED,
    "add": Standing.ADDED,
    "reject": Standing.REJECTED,
}


def visible(acts: Iterable[Review], reader: str, *, adjudicates: bool) -> tuple[Review, ...]:
    """The acts a reader may see: his own, so that readers judge apart; an adjudicator sees all."""
    return tuple(act for act in acts if adjudicates or act.reader == reader)


def stale(case: Case, acts: Sequence[Review]) -> frozenset[str]:
    """The digests of acts that judged what is no longer there.

    An act on an outline holds when the outline it judged was the present one
    after the acts before it; a signature while the visit's measurements are
    those signed; an added lesion while the series it was drawn on is the same.
    """
    scans = {series.digest for visit in case.visits for series in visit.series}
    lost = [act for act in acts if act.act == "add" and act.judged not in scans]
    lost += [act for act in acts if act.act == "sign" and act.judged != signature(case.measurements, act.visit)]
    for sighting in case.sightings:
        on = _acts_on(acts, sighting.lesion_id, sighting.visit)
        present = _first_outline(present_outline(case, sighting, acts), on)
        for act in on:
            if act.judged != present:
                lost.append(act)
            elif act.mask:
                present = act.mask
    return frozenset(digest(act) for act in lost)


def present_outline(case: Case, sighting: Sighting, acts: Sequence[Review]) -> str:
    """The digest a judgement of a sighting must name.

    The sighting's outline, or the one last rejected; and where acts wait to be
    computed, what they put in its place.
    """
    on = _acts_on(acts, sighting.lesion_id, sighting.visit)
    present = sighting.mask or next((act.judged for act in reversed(on) if act.act == "reject"), "")
    for act in on:
        if act.mask and act.judged == present and act not in case.reviews:
            present = act.mask
    return present


def _acts_on(acts: Iterable[Review], lesion_id: str, visit: int) -> list[Review]:
    on_outlines = ("accept", "adjust", "reject")
    return [act for act in acts if act.act in on_outlines and (act.lesion_id, act.visit) == (lesion_id, visit)]


def _first_outline(outline: str, acts: Sequence[Review]) -> str:
    """What was there before anybody's correction: from the present outline back through the acts that led to it."""
    for act in reversed(acts):
        if act.mask == outline:
            outline = act.judged
    return outline


def standing(lesion_id: str, visit: int, acts: Iterable[Review], stale_acts: frozenset[str]) -> Standing:
    """What the last act on a lesion at a visit settled."""
    last = None
    for act in acts:
        if (act.lesion_id, act.visit) == (lesion_id, visit) and act.act in _SETTLED:
            last = act
    if last is None:
        return Standing.OPEN
    return Standing.STALE if digest(last) in stale_acts else _SETTLED[last.act]


def last_signature(visit: int, acts: Iterable[Review]) -> Review | None:
    """The last signature of a visit."""
    signed = [act for act in acts if act.act == "sign" and act.visit == visit]
    return signed[-1] if signed else None


def disputed(acts: Iterable[Review]) -> frozenset[tuple[str, int]]:
    """Lesions at visits where the last acts of two readers differ in more than their words."""
    last: dict[tuple[str, int], dict[str, tuple[object, ...]]] = {}
    for act in acts:
        if act.act in _SETTLED:
            verdict = (act.act, act.quantity, act.points_lps, act.mask, act.finding)
            last.setdefault((act.lesion_id, act.visit), {})[act.reader] = verdict
    return frozenset(at for at, verdicts in last.items() if len(set(verdicts.values())) > 1)
