"""The results folder: what each case leaves in it, and what a run says of them all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from imaging_pipeline import __version__, plugins
from imaging_pipeline.config import Config, validated
from imaging_pipeline.domain.case import Case, Values
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.errors import ConfigurationError, Problem, Severity
from imaging_pipeline.io import record, report, tables
from imaging_pipeline.stages import code_version
from imaging_pipeline.store import write_whole

#: What of a configuration stays in the house: results may leave it.
_SECRET: Mapping[str, Any] = {"pseudonym_key": True, "trial": {"patient_ids": True}}


#: Where a results folder notes what it was made from, and with which configuration.
ORIGIN = Path(".store") / "origin.json"


class Status(StrEnum):
    """What became of one case."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True)
class CaseOutcome:
    """What came back from one patient; `case` is None when it failed."""

    name: str
    case: Case | None
    problems: tuple[Problem, ...]
    computed: int = 0
    recalled: int = 0

    @property
    def status(self) -> Status:
        """Failed without a case, partial with an error in it."""
        if self.case is None:
            return Status.FAILED
        errors = any(problem.severity is Severity.ERROR for problem in self.problems)
        return Status.PARTIAL if errors else Status.COMPLETE


@dataclass(frozen=True)
class RunOutcome:
    """What a run did; `refused` holds one problem for each file that was not used, `asked` those of the lesion file."""

    outcomes: tuple[CaseOutcome, ...]
    refused: tuple[Problem, ...]
    asked: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those of all cases, and of what was asked."""
        return (*(problem for outcome in self.outcomes for problem in outcome.problems), *self.asked)

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that did not fail, by pseudonym."""
        return tuple(outcome.case for outcome in self.outcomes if outcome.case is not None)

    @property
    def sentence(self) -> str:
        """One line for the end of a run."""
        counts = {status: sum(outcome.status is status for outcome in self.outcomes) for status in Status}
        computed = sum(outcome.computed for outcome in self.outcomes)
        recalled = sum(outcome.recalled for outcome in self.outcomes)
        work = f"{computed} stage results computed, {recalled} recalled"
        if not computed and not counts[Status.FAILED]:
            work = f"no pixel work: all {recalled} stage results were at hand"
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count) + f"; {work}"

    def exit_code(self, *, strict: bool) -> int:
        """The contract's exit code."""
        statuses = {outcome.status for outcome in self.outcomes}
        if statuses == {Status.FAILED}:
            return 4
        if statuses != {Status.COMPLETE}:
            return 5
        warned = any(problem.severity is Severity.WARNING for problem in self.problems)
        return 8 if strict and warned else 0


def case_folder(out: Path, case: str, reader: str = "") -> Path:
    """Where a case lies; and below that, how one reader sees it who judges apart from the others."""
    place = out / "cases" / case
    return place / "readings" / record.safe_name(reader) if reader else place


def write_case(case: Case, values: Values, folder: Path, config: Config) -> None:
    """Everything of one case: its record and arrays, its report, and the formats the configuration asks for."""
    record.write_case(case, values, folder)
    report.write_report(case, values, folder / "report.html")
    for name in config.export:
        plugins.load("exporters", name)(case, values, folder, config)


def write_run(out: Path, result: RunOutcome, identities: dict[str, str], config: Config) -> None:
    """Everything that speaks of all cases.

    Parameters
    ----------
    identities
        Whom and what pseudonyms stand for: the only file that names a patient.
    """
    rows = [("pseudonym", "stands_for"), *identities.items()]
    write_whole(out / "identities.csv", tables.csv_text(rows), mode=0o600)
    issues = [
        *({"case": outcome.name, **problem.document} for outcome in result.outcomes for problem in outcome.problems),
        *({"case": "", **problem.document} for problem in (*result.asked, *result.refused)),
    ]
    summary = {
        "version": __version__,
        "code": code_version(),
        "configuration": config.model_dump(mode="json", by_alias=True, exclude=dict(_SECRET)),
        "configuration_digest": config.digest,
        "cases": [_status(outcome) for outcome in result.outcomes],
    }
    write_whole(out / "run.json", _json(summary))
    _write_all(out, result.cases, issues)


def refresh(out: Path, outcome: CaseOutcome) -> None:
    """What speaks of all cases, after one of them was computed again."""
    issues = [issue for issue in _issues(out) if issue["case"] != outcome.name]
    issues += ({"case": outcome.name, **problem.document} for problem in outcome.problems)
    # Files that were refused belong to no case and stand last.
    issues.sort(key=lambda issue: (not issue["case"], issue["case"]))
    summary = json.loads((out / "run.json").read_text())
    others = (status for status in summary["cases"] if status["case"] != outcome.name)
    summary["cases"] = sorted((*others, _status(outcome)), key=lambda status: status["case"])
    write_whole(out / "run.json", _json(summary))
    failed = {status["case"] for status in summary["cases"] if status["status"] == Status.FAILED}
    cases = tuple(record.read_record(place) for place in stored(out) if place.name not in failed)
    _write_all(out, cases, issues)


def render(out: Path) -> None:
    """Write the reports of a results folder again, from its stored cases.

    Raises
    ------
    ConfigurationError
        When the folder holds no case.
    """
    cases = []
    for place in stored(out):
        case, values = record.read_case(place)
        report.write_report(case, values, place / "report.html")
        cases.append(case)
    _write_cohort(out, tuple(cases), _issues(out))


def export(results: Path, formats: tuple[str, ...], out: Path) -> Iterator[Path]:
    """Write the stored cases by the named exporters, each case in a folder of its own under `out`.

    The configuration is the run's; the defaults where the folder does not hold it any more.
    """
    exporters = [plugins.load("exporters", name) for name in formats]
    document = kept_origin(results)
    config = validated(Config, document["config"], ORIGIN.name) if document is not None else Config()
    for place in stored(results):
        case, values = record.read_case(place)
        for write in exporters:
            yield from write(case, values, out / place.name, config)


def kept_origin(results: Path) -> dict[str, Any] | None:
    """What a run noted of its origin; None where it is not there or not readable."""
    try:
        document: dict[str, Any] = json.loads((results / ORIGIN).read_text())
    except (OSError, ValueError):
        return None
    return document


def stored(results: Path) -> list[Path]:
    """The folders of the cases in a results folder, by pseudonym.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    places = sorted(path.parent for path in results.glob("cases/*/case.json"))
    if not places:
        raise ConfigurationError(
            "E-RESULTS",
            results.name,
            found="no case in it",
            expected="the results folder of a run",
            remedy="name the folder given to `run --out`",
        )
    return places


def file_alias(name: str) -> str:
    """A file's pseudonym: names of files and folders are often names of patients."""
    return f"file-{digest(name)[:12]}"


def _status(outcome: CaseOutcome) -> dict[str, Any]:
    inputs = outcome.case.provenance.inputs if outcome.case else ()
    return {"case": outcome.name, "status": outcome.status.value, "inputs": inputs}


def _write_all(out: Path, cases: tuple[Case, ...], issues: list[dict[str, Any]]) -> None:
    tables.write_tables(cases, out)
    write_whole(out / "issues.json", _json(issues))
    _write_cohort(out, cases, issues)


def _write_cohort(out: Path, cases: tuple[Case, ...], issues: list[dict[str, Any]]) -> None:
    """The cohort page; it tells of cases that failed and files that were refused, which have no page of their own."""
    known = {case.case for case in cases}
    elsewhere = (issue for issue in issues if issue["case"] not in known)
    problems = tuple(Problem(**{key: issue[key] for key in Problem.__match_args__}) for issue in elsewhere)
    report.write_cohort(cases, out / "report.html", problems)


def _issues(out: Path) -> list[dict[str, Any]]:
    issues: list[dict[str, Any]] = json.loads((out / "issues.json").read_text())
    return issues


def _json(document: object) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
