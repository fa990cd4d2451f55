"""All visits together: best overall response with and without confirmation, date of progression, durations.

Source: RECIST 1.1 (Eur J Cancer 2009; 45: 228-247) 4.4.3, Table 3, 4.6; where it is silent, admiralonco's parameters.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    start = params.treatment_start or timeline.baseline.date
    summary = summarise(dated_responses(timeline, judgements, params), start, params)
    return Course(criterion, judgements, summary, (*problems, *summary.problems))


def dated_responses(timeline: Timeline, judgements: Sequence[Judgement], params: Params) -> tuple[Response, ...]:
    """The responses after baseline; a new lesion confirmed later is progression where it first appeared (4.3.5)."""
    confirmed = {visit for later in timeline.visits for visit in later.confirms_new_from}
    backdated = confirmed if params.equivocal_backdate else frozenset[str]()
    return tuple(
        Response(judgement.date, "PD" if judgement.visit in backdated else judgement.overall or "NE")
        for judgement in judgements[1:]
    )


def summarise(responses: Sequence[Response], start: datetime.date, params: Params) -> Summary:
    """Best overall response, date of progression and durations of a sequence of overall responses."""
    window, problems = _settled(_window(responses, params))
    progression = next((response.date for response in responses if response.code == "PD"), None)
    if not window:
        nothing = "NE" if params.missing_as_ne else None
        return Summary(nothing, nothing, progression)
    return Summary(
        best_unconfirmed(window, start, params),
        best_confirmed(window, start, params),
        progression,
        durations(window, start),
        problems,
    )


def _window(responses: Sequence[Response], params: Params) -> list[Response]:
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


def best_confirmed(window: Sequence[Response], start: datetime.date, params: Params) -> str:
    """The best response when CR and PR must be repeated (Table 3): an unrepeated one counts as SD."""
    if _repeated(window, ("CR",), ("CR", "NE"), params):
        return "CR"
    if _repeated(window, ("CR", "PR"), ("CR", "PR", "SD", "NE"), params):
        return "PR"
    return min((_unrepeated(response, window, start, params) for response in window), key=BEST_FIRST.index)


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


def _unrepeated(response: Response, window: Sequence[Response], start: datetime.date, params: Params) -> str:
    early = (response.date - start).days < params.sd_min_days
    if response.code in _RESPONSES or response.code in _STABLE:
        if not early:
            return "NON-CR/NON-PD" if response.code == "NON-CR/NON-PD" else "SD"
        lost = response.code in _DISEASE and "CR" in [before.code for before in window if before.date < response.date]
        return params.early_cr_then_sd if lost else "NE"
    return response.code


def durations(window: Sequence[Response], start: datetime.date) -> Mapping[str, Duration]:
    """Durations of overall response, complete response and stable disease (4.6.2, 4.6.3), in the order they began."""
    progressed = window[-1].code == "PD"
    seen = [response.date for response in window if response.code != "NE"]
    end = window[-1].date if progressed else (seen[-1] if seen else start)
    began = {
        "response": next((response.date for response in window if response.code in _RESPONSES), None),
        "complete_response": next((response.date for response in window if response.code == "CR"), None),
        "without_progression": start,
    }
    return {name: Duration(first, end, progressed) for name, first in began.items() if first is not None}
