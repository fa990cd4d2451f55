"""All visits together: best overall response with and without confirmation, date of progression, durations.

Source: RECIST 1.1 (Eur J Cancer 2009; 45: 228-247) 4.4.3, Table 3, 4.6; where it is silent, admiralonco's parameters.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from imaging_pipeline.criteria.params import Params
from imaging_pipeline.criteria.response import Judgement
from imaging_pipeline.criteria.timeline import Timeline
from imaging_pipeline.errors import Problem

#: Best first (4.4.3). UPD is iRECIST's unconfirmed progression: better known than NE, no progression yet.
BEST_FIRST = ("CR", "PR", "SD", "NON-CR/NON-PD", "NED", "PD", "UPD", "NE")
_RESPONSES = ("CR", "PR")
_STABLE = ("SD", "NON-CR/NON-PD")
#: After a complete response, any of these says that disease is there again.
_DISEASE = ("PR", "SD", "NON-CR/NON-PD")


@dataclass(frozen=True, slots=True)
class Response:
    """The overall response of one visit, in RECIST's codes (iRECIST's without the i)."""

    date: datetime.date
    code: str


@dataclass(frozen=True, slots=True)
class Duration:
    """A stretch of time; `ended` is False where the patient was last seen without progression."""

    start: datetime.date
    end: datetime.date
    ended: bool

    @property
    def days(self) -> int:
        """Days from start to end."""
        return (self.end - self.start).days


@dataclass(frozen=True, slots=True)
class Summary:
    """What all visits together say."""

    unconfirmed: str | None
    confirmed: str | None
    progression_date: datetime.date | None
    durations: Mapping[str, Duration] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """One patient judged by one criterion."""

    criterion: str
    judgements: tuple[Judgement, ...]
    summary: Summary
    problems: tuple[Problem, ...] = ()


def course(
    criterion: str,
    timeline: Timeline,
    judgements: tuple[Judgement, ...],
    params: Params,
    problems: tuple[Problem, ...] = (),
) -> Course:
    """Judged visits with what they say together."""
    summary = summarise(dated_responses(timeline, judgements, params), start_of(timeline, params), params)
    return Course(criterion, marked_back(timeline, judgements, params), summary, (*problems, *summary.problems))


def start_of(timeline: Timeline, params: Params) -> datetime.date:
    """The day times are counted from."""
    return params.treatment_start or timeline.baseline.date


def dated_responses(
    timeline: Timeline, judgements: Sequence[Judgement], params: Params, progression: str = "PD"
) -> tuple[Response, ...]:
    """The responses after baseline; a new lesion confirmed later is progression where it first appeared (4.3.5).

    What a reader has yet to decide counts as not evaluated.
    """
    backdated = _dated_back(timeline, params)
    return tuple(
        Response(judgement.date, progression if judgement.visit in backdated else _decided(judgement.overall))
        for judgement in judgements[1:]
    )


def marked_back(timeline: Timeline, judgements: tuple[Judgement, ...], params: Params) -> tuple[Judgement, ...]:
    """Each visit as it was judged then, with what was learnt later of its new lesion."""
    backdated = _dated_back(timeline, params)
    return tuple(
        replace(judgement, reasons=(*judgement.reasons, _learnt(backdated[judgement.visit])))
        if judgement.visit in backdated
        else judgement
        for judgement in judgements
    )


def _learnt(confirming: str) -> str:
    return f"dated back: its new lesion is confirmed at {confirming}, so progression counts from this visit"


def _dated_back(timeline: Timeline, params: Params) -> Mapping[str, str]:
    """Visits at which a new lesion first appeared that was confirmed later, each with the visit confirming it."""
    if not params.equivocal_backdate:
        return {}
    return {visit: later.id for later in reversed(timeline.visits) for visit in later.confirms_new_from}


def _decided(overall: str | None) -> str:
    return overall if overall in BEST_FIRST else "NE"


def summarise(responses: Sequence[Response], start: datetime.date, params: Params) -> Summary:
    """Best overall response, date of progression and durations of a sequence of overall responses."""
    window, problems = _settled(window_of(responses, params))
    progression = next((response.date for response in responses if response.code == "PD"), None)
    if not window:
        return nothing_seen(params)
    confirmed = best_confirmed(window, start, params, lost=bool(problems))
    if confirmed == "PD" and progression is None:
        problems = (*problems, _undated(window[-1]))
    return Summary(
        best_unconfirmed(window, start, params),
        confirmed,
        progression,
        durations(window, start, window[-1].date if window[-1].code == "PD" else None),
        problems,
    )


def _undated(last: Response) -> Problem:
    """Table 3 calls a CR lost early PD; no visit says so, and none is dated on its behalf."""
    return Problem(
        "W-PD-UNDATED",
        str(last.date),
        f"best response PD by Table 3, as {last.code} after CR came before SD counts; no visit is PD",
        "a visit that is PD, to date the progression",
        "correct this visit to PD if disease is back, else the CR to PR; early_cr_then_sd: NE reads it as NE",
    )


def nothing_seen(params: Params) -> Summary:
    """A patient without any visit after baseline."""
    best = "NE" if params.missing_as_ne else None
    return Summary(best, best, None)


def window_of(responses: Sequence[Response], params: Params) -> list[Response]:
    """From the start to the first progression, itself included, or to another therapy (4.4.3)."""
    window = []
    for response in responses:
        if params.new_therapy is not None and response.date >= params.new_therapy:
            break
        window.append(response)
        if response.code == "PD":
            break
    return window


def _settled(window: list[Response]) -> tuple[list[Response], tuple[Problem, ...]]:
    """End the window where disease is seen again after a CR: one of the two visits must be wrong or it is PD."""
    for position, response in enumerate(window):
        earlier = [before.code for before in window[:position]]
        if response.code in _DISEASE and "CR" in earlier:
            problem = Problem(
                "W-CR-LOST",
                str(response.date),
                f"{response.code} after CR",
                "CR or PD: disease seen again after a complete response is progression (Table 3)",
                "review both visits: correct the CR to PR if disease had remained, else this visit to PD",
            )
            return window[: position + 1], (problem,)
    return window, ()


def best_unconfirmed(window: Sequence[Response], start: datetime.date, params: Params) -> str:
    """The best response of the window; SD only from the least interval on."""
    return min((_counted(response, start, params) for response in window), key=BEST_FIRST.index)


def _counted(response: Response, start: datetime.date, params: Params) -> str:
    """A response as far as it counts: stability before the least interval says nothing."""
    early = (response.date - start).days < params.sd_min_days
    return "NE" if early and response.code in _STABLE else response.code


def best_confirmed(window: Sequence[Response], start: datetime.date, params: Params, lost: bool = False) -> str:
    """The best response when CR and PR must be repeated (Table 3): an unrepeated one counts as SD.

    `lost` says that the window ends where disease is seen again after a CR.
    """
    # An unconfirmed progression that was reset is passed over (iRECIST, Table 3).
    seen = [response for response in window if response.code != "UPD"]
    if _repeated(seen, ("CR",), ("CR", "NE"), params):
        return "CR"
    if _repeated(seen, ("CR", "PR"), ("CR", "PR", "SD", "NE"), params):
        return "PR"
    codes = [_unrepeated(response, start, params) for response in window]
    if lost:
        codes.append(params.early_cr_then_sd)  # stays behind a stability that lasted long enough
    return min(codes, key=BEST_FIRST.index)


def _repeated(window: Sequence[Response], wanted: tuple[str, ...], between: tuple[str, ...], params: Params) -> bool:
    """Whether the last code wanted is followed, late enough, by one of those wanted, with only `between` in between."""
    return any(
        response.code == wanted[-1] and _repeats(window[first:], wanted, between, params)
        for first, response in enumerate(window)
    )


def _repeats(later: Sequence[Response], wanted: tuple[str, ...], between: tuple[str, ...], params: Params) -> bool:
    first = later[0]
    for position, second in enumerate(later):
        if second.code in wanted and (second.date - first.date).days >= max(params.confirm_min_days, 1):
            inner = [response.code for response in later[1:position]]
            return (
                all(code in between for code in inner)
                and inner.count("NE") <= params.max_ne_between
                and inner.count("SD") <= int(params.accept_sd_between)
                and not (second.code == "PR" and "CR" in inner)
            )
    return False


def _unrepeated(response: Response, start: datetime.date, params: Params) -> str:
    """A response that was not repeated: as long as it lasted, disease was at least stable."""
    stable = "SD" if response.code in _RESPONSES else response.code
    return _counted(Response(response.date, stable), start, params)


def durations(
    window: Sequence[Response], start: datetime.date, progression: datetime.date | None
) -> Mapping[str, Duration]:
    """How long response, complete response and freedom from progression lasted, or had lasted when last seen.

    *Source*: RECIST 1.1, 4.6.2, 4.6.3.
    """
    seen = [response.date for response in window if response.code != "NE"]
    end = progression or (seen[-1] if seen else start)
    began = {
        "response": next((response.date for response in window if response.code in _RESPONSES), None),
        "complete_response": next((response.date for response in window if response.code == "CR"), None),
        "without_progression": start,
    }
    return {name: Duration(first, end, progression is not None) for name, first in began.items() if first is not None}
