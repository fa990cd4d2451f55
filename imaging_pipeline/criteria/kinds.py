"""The kinds of documents `assess` takes: of each, what it may state, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from imaging_pipeline.config import Model
from imaging_pipeline.criteria import choi, irecist, mda, recist, thresholds
from imaging_pipeline.criteria.best import BEST_FIRST, Course, Duration, Response, Summary, summarise
from imaging_pipeline.criteria.candidates import Candidate, select
from imaging_pipeline.criteria.checks import check_sizes, check_timeline, check_unique, refuse
from imaging_pipeline.criteria.disagreement import disagreements
from imaging_pipeline.criteria.params import Params
from imaging_pipeline.criteria.recist import overall_response
from imaging_pipeline.criteria.response import Components, Judgement, Ruler
from imaging_pipeline.criteria.scores import GENANT_CATEGORIES, genant, sins
from imaging_pipeline.criteria.timeline import Day, ListedLesion, Number, Timeline, Timepoint
from imaging_pipeline.errors import Problem

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TimelineCriterion:
    """A criterion that judges timelines, and what it measures of a target."""

    judge: Callable[[Timeline, Params], Course]
    ruler: Ruler | None = None


CRITERIA: Mapping[str, TimelineCriterion] = {
    "recist-1.1": TimelineCriterion(recist.judge, recist.DIAMETERS),
    "irecist": TimelineCriterion(irecist.judge, recist.DIAMETERS),
    "choi": TimelineCriterion(choi.judge_choi, recist.DIAMETERS),
    "modified-choi": TimelineCriterion(choi.judge_modified, recist.DIAMETERS),
    "inverse-choi": TimelineCriterion(choi.judge_inverse, recist.DIAMETERS),
    "who": TimelineCriterion(thresholds.judge_who, thresholds.PRODUCTS),
    "volumetric": TimelineCriterion(thresholds.judge_volumetric, thresholds.VOLUMES),
    "mda-bone": TimelineCriterion(mda.judge),
}


class Document(Model):
    """What every kind of document may state."""

    patient: str = Field(default="", description="Given back with the answer.")
    params: Mapping[str, Any] = Field(default_factory=dict)

    def answer(self, criteria: Sequence[str], params: Params) -> Json:
        """The answer by the criteria named."""
        raise NotImplementedError


class TimelineDocument(Document):
    """One patient's lesions and visits; the first visit is the baseline."""

    kind: Literal["timeline"]
    lesions: tuple[ListedLesion, ...] = ()
    visits: tuple[Timepoint, ...] = Field(min_length=1)

    def answer(self, criteria: Sequence[str], params: Params) -> Json:
        """Each visit judged, and all visits together."""
        timeline = stating_new_lesions(Timeline(self.lesions, self.visits))
        check_timeline(timeline)
        for name in criteria:
            if (ruler := CRITERIA[name].ruler) is not None:
                check_sizes(timeline, ruler)
        courses = [CRITERIA[name].judge(timeline, params) for name in criteria]
        answers = [_course_out(course) for course in courses]
        return answers[0] if len(answers) == 1 else {"criteria": answers, "disagreements": disagreements(courses)}


class StatedResponse(Model):
    """The overall response of one visit, judged elsewhere."""

    date: Day
    overall: str


class ResponsesDocument(Document):
    """Overall responses in order of time, for the best overall response."""

    kind: Literal["responses"]
    reference_date: Day
    responses: tuple[StatedResponse, ...] = ()

    def answer(self, criteria: Sequence[str], params: Params) -> Json:
        """The best overall response, the date of progression and the durations."""
        self._check_order()
        return _side_by_side([self._answer_by(name, params) for name in criteria])

    def _answer_by(self, criterion: str, params: Params) -> Json:
        immune = criterion == irecist.NAME
        responses = [
            Response(stated.date, plain_code(stated.overall, immune, f"responses.{number}.overall"))
            for number, stated in enumerate(self.responses)
        ]
        summary = (irecist.summarise if immune else summarise)(responses, self.reference_date, params)
        return {"criterion": criterion, **_summary_out(summary), "issues": _issues_out(summary.problems)}

    def _check_order(self) -> None:
        before = self.reference_date
        for number, stated in enumerate(self.responses):
            if stated.date < before or (number and stated.date == before):
                refuse(
                    f"responses.{number}.date",
                    f"{stated.date}, not after {before}",
                    "responses in order of time, none before the reference date, one a day",
                    "correct the date or the order",
                )
            before = stated.date


class ComponentRow(Model):
    """The parts of one overall response. `previous_iupd` and `change` (since that iUPD) serve iRECIST."""

    target: str | None = None
    non_target: str | None = None
    new_lesion: bool = False
    previous_iupd: bool = False
    change: Literal["increase", "further_increase", "none", "no_change", "decrease"] | None = None

    def answer(self, number: int, immune: bool) -> Json:
        """The row with its overall response."""
        parts = Components(
            component_code(self.target, immune, f"rows.{number}.target"),
            component_code(self.non_target, immune, f"rows.{number}.non_target"),
            self.new_lesion,
        )
        further = self.change in ("increase", "further_increase")
        verdict = irecist.overall_of_row(parts, self.previous_iupd, further) if immune else overall_response(parts)
        code = irecist.IMMUNE[verdict.code] if immune and verdict.code else verdict.code
        return {
            "target": self.target,
            "non_target": self.non_target,
            "new_lesion": self.new_lesion,
            "overall": code,
            "reasons": list(verdict.reasons),
            "rule": verdict.rule,
        }


class ComponentsDocument(Document):
    """Rows of a response table."""

    kind: Literal["components"]
    rows: tuple[ComponentRow, ...]

    def answer(self, criteria: Sequence[str], params: Params) -> Json:  # noqa: ARG002 - one signature for all kinds
        """The overall response of each row."""
        return _side_by_side(
            [
                {
                    "criterion": name,
                    "rows": [row.answer(number, name == irecist.NAME) for number, row in enumerate(self.rows)],
                }
                for name in criteria
            ]
        )


class CandidatesDocument(Document):
    """Lesions of a baseline that wait for their role."""

    kind: Literal["candidates"]
    candidates: tuple[Candidate, ...]

    def answer(self, criteria: Sequence[str], params: Params) -> Json:  # noqa: ARG002 - one signature for all kinds
        """Which are measurable, which are targets, and their sum."""
        check_unique("candidates", [candidate.id for candidate in self.candidates])
        selection = select(self.candidates)
        return {
            "candidates": [
                {
                    "id": ruling.id,
                    "measurable": ruling.measurable,
                    "role": ruling.role,
                    "reason": ruling.reason,
                }
                for ruling in selection.rulings
            ],
            "targets": list(selection.targets),
            "sum_mm": selection.sum_mm,
        }


class SinsRow(Model):
    """The items of one SINS; one left out widens the range."""

    score: Literal["sins"]
    location: Literal["junctional", "mobile", "semirigid", "rigid"] | None = None
    pain: Literal["mechanical", "non-mechanical", "none"] | None = None
    lesion: Literal["lytic", "mixed", "blastic"] | None = None
    alignment: Literal["subluxation", "deformity", "normal"] | None = None
    collapse: Literal[">50%", "<50%", "none, >50% body involved", "none"] | None = None
    posterolateral: Literal["bilateral", "unilateral", "none"] | None = None

    def answer(self) -> Json:
        """Total, range, and category."""
        result = sins(self.model_dump(exclude={"score"}, exclude_none=True))
        return {
            "score": "sins",
            "total": result.total,
            "range": [result.least, result.most],
            "category": result.category,
            "missing": list(result.missing),
        }


class GenantRow(Model):
    """One vertebra's height loss; left out, there is no grade."""

    score: Literal["genant"]
    height_loss_percent: Annotated[Number, Field(ge=0, le=100)] | None = None

    def answer(self) -> Json:
        """Grade and category."""
        if self.height_loss_percent is None:
            return {"score": "genant", "grade": None, "category": None, "missing": ["height_loss_percent"]}
        grade = genant(self.height_loss_percent)
        return {"score": "genant", "grade": grade, "category": GENANT_CATEGORIES[grade], "missing": []}


class ScoresDocument(Document):
    """Scores of the spine."""

    kind: Literal["scores"]
    rows: tuple[Annotated[SinsRow | GenantRow, Field(discriminator="score")], ...]

    def answer(self, criteria: Sequence[str], params: Params) -> Json:  # noqa: ARG002 - one signature for all kinds
        """The score of each row."""
        return {"rows": [row.answer() for row in self.rows]}


#: Every kind of document, by its name.
DOCUMENTS: Mapping[str, type[Document]] = {
    "timeline": TimelineDocument,
    "responses": ResponsesDocument,
    "components": ComponentsDocument,
    "candidates": CandidatesDocument,
    "scores": ScoresDocument,
}


def documents_schema() -> Json:
    """The JSON Schema of every kind of document."""
    every: Any = reduce(or_, DOCUMENTS.values())
    schema = TypeAdapter(Annotated[every, Field(discriminator="kind")]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def stating_new_lesions(timeline: Timeline) -> Timeline:
    """A new lesion that is measured for the first time is there without doubt, whether stated again or not."""
    known: set[str] = set()
    visits = []
    for visit in timeline.visits:
        appeared = visit.new_targets.keys() - known
        stated = replace(visit, new_lesions="unequivocal") if appeared and visit.new_lesions == "no" else visit
        visits.append(stated)
        known |= appeared
    return Timeline(timeline.lesions, tuple(visits)) if known else timeline


def plain_code(stated: str, immune: bool, field: str) -> str:
    """A stated overall response in RECIST's codes.

    Raises
    ------
    ConfigurationError
        For a code of another criterion.
    """
    known = irecist.PLAIN if immune else {code: code for code in BEST_FIRST if code != "UPD"}
    if stated not in known:
        other = "it is a code of iRECIST: ask for the criterion irecist" if stated in irecist.PLAIN else "correct it"
        remedy = "write iRECIST's codes, or ask for recist-1.1" if immune and stated in BEST_FIRST else other
        refuse(field, "an unknown response", f"one of {', '.join(known)}", remedy)
    return known[stated]


def component_code(stated: str | None, immune: bool, field: str) -> str | None:
    """A stated component in RECIST's codes; nothing, "" or "NA" where baseline had no such lesion."""
    if stated in (None, "", "NA"):
        return None
    if immune and stated in ("iUPD", "iCPD"):
        return "PD"
    return plain_code(stated, immune, field)


def _side_by_side(answers: list[Json]) -> Json:
    return answers[0] if len(answers) == 1 else {"criteria": answers}


def _course_out(course: Course) -> Json:
    return {
        "criterion": course.criterion,
        "visits": [_judgement_out(judgement) for judgement in course.judgements],
        **_summary_out(course.summary),
        "issues": _issues_out(course.problems),
    }


def _judgement_out(judgement: Judgement) -> Json:
    in_mm = judgement.unit == "mm"
    sums = {"sum_mm": judgement.sum if in_mm else None, "nadir_mm": judgement.nadir if in_mm else None}
    if not in_mm:
        sums |= {f"sum_{judgement.unit}": judgement.sum, f"nadir_{judgement.unit}": judgement.nadir}
    return {
        "id": judgement.visit,
        "date": judgement.date.isoformat(),
        "target": judgement.target,
        "non_target": judgement.non_target,
        "new_lesion": judgement.new_lesion,
        "overall": judgement.overall,
        **sums,
        "change_from_baseline_pct": judgement.change_from_baseline_pct,
        "change_from_nadir_pct": judgement.change_from_nadir_pct,
        "reasons": list(judgement.reasons),
        "rule": judgement.rule,
        "thresholds": dict(judgement.thresholds),
        "used": list(judgement.used),
    }


def _summary_out(summary: Summary) -> Json:
    progression = summary.progression_date
    return {
        "best_overall_response": {"unconfirmed": summary.unconfirmed, "confirmed": summary.confirmed},
        "progression_date": progression.isoformat() if progression else None,
        "durations": {name: _duration_out(duration) for name, duration in summary.durations.items()},
    }


def _duration_out(duration: Duration) -> Json:
    return {
        "from": duration.start.isoformat(),
        "to": duration.end.isoformat(),
        "days": duration.days,
        "ended": duration.ended,
    }


def _issues_out(problems: Sequence[Problem]) -> list[Json]:
    return [asdict(problem) for problem in problems]
