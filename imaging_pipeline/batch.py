"""Many patients: indexed once, followed side by side, each failing alone."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from imaging_pipeline import __version__, plugins
from imaging_pipeline.config import Config, LesionFile, PatientLesions
from imaging_pipeline.domain.case import Case, Outcome, Values
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Series
from imaging_pipeline.errors import (
    ConfigurationError,
    LockedError,
    NothingToDoError,
    PipelineError,
    Problem,
    Severity,
)
from imaging_pipeline.io import folder, lesions, record, report, tables
from imaging_pipeline.io.intake import Intake, take_in
from imaging_pipeline.io.patients import PatientRecord
from imaging_pipeline.io.sanity import density_problems
from imaging_pipeline.pipeline import follow
from imaging_pipeline.stages import code_version
from imaging_pipeline.store import Store, write_whole

#: What one case may use before its worker is stopped; two 1000-slice CTs in memory are about 2 GiB.
CASE_MEMORY_BYTES = 12 * 2**30
CASE_CPU_SECONDS = 3600
CASE_WALL_SECONDS = 2 * 3600

Progress = Callable[[str, int, int], None]


class Status(StrEnum):
    """What became of one case."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """All a worker needs to follow one patient."""

    patient: PatientRecord
    lesions: PatientLesions
    lesions_folder: Path
    config: Config
    out: Path


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
    """What a run did; `refused` holds one problem for each file that was not used."""

    outcomes: tuple[CaseOutcome, ...]
    refused: tuple[Problem, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those of all cases."""
        return tuple(problem for outcome in self.outcomes for problem in outcome.problems)

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
        if not computed:
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


def run(
    scans: Path, config: Config, out: Path, *, lesions_file: Path | None, workers: int, progress: Progress
) -> RunOutcome:
    """Follow every patient of a scan folder and write the results folder.

    Raises
    ------
    NothingToDoError
        When the folder holds no readable series.
    LockedError, OutputError, ConfigurationError
        Before any work is done.
    """
    with _locked(out):
        index = folder.index(scans, config)
        if not any(record_.verdict != "reject" for patient in index.patients for record_ in patient.series):
            raise NothingToDoError(
                "E-NOTHING",
                "scan folder",
                found=f"no readable series, {len(index.rejected)} files refused",
                expected="DICOM images",
                remedy="`imaging-pipeline index` says why each file was refused",
            )
        lesion_file, lesions_folder = lesions.find(scans, lesions_file)
        jobs, unasked = _jobs(index, lesion_file, lesions_folder, config, out)
        outcomes = [*unasked]
        for done, outcome in enumerate(each(_work, jobs, workers), start=1):
            outcomes.append(outcome)
            progress("following patients", done, len(jobs))
        refused = tuple(replace(problem, subject=_file_alias(problem.subject)) for problem in index.rejected)
        result = RunOutcome(tuple(sorted(outcomes, key=lambda outcome: outcome.name)), refused)
        _write_run(out, index, config, result)
        return result


def _jobs(
    index: folder.Index, lesion_file: LesionFile, lesions_folder: Path, config: Config, out: Path
) -> tuple[list[Job], list[CaseOutcome]]:
    by_patient = {entry.patient: entry for entry in lesion_file.patients}
    if set(by_patient) == {""} and len(index.patients) == 1:
        by_patient = {index.patients[0].patient_id: by_patient[""]}
    jobs, unasked = [], []
    for patient in index.patients:
        entry = by_patient.get(patient.patient_id)
        if entry is None:
            unasked.append(CaseOutcome(patient.case, None, (*patient.problems, _nothing_marked(patient.case))))
        else:
            jobs.append(Job(patient, entry, lesions_folder, config, out))
    return jobs, unasked


def _nothing_marked(case: str) -> Problem:
    return Problem(
        "E-LESIONS-NONE",
        case,
        "no entry in the lesion file for this patient",
        "at least one lesion with a prompt",
        "add the patient to the lesion file",
    )


def each(work: Callable[[Job], CaseOutcome], jobs: Iterable[Job], workers: int) -> Iterator[CaseOutcome]:
    """Every job's outcome, as they finish.

    A worker that dies takes its whole pool along, so only as many jobs as
    workers are under way at once; after a death those few run again, each in
    a pool of its own, and the one that dies alone has failed.
    """
    waiting = iter(jobs)
    while True:
        suspects: list[Job] = []
        with _pool(workers) as pool:
            under_way = {pool.submit(work, job): job for job in islice(waiting, workers)}
            while under_way and not suspects:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    job = under_way.pop(future)
                    outcome = _result(future)
                    if outcome is None:
                        suspects = [job, *under_way.values()]
                        break
                    yield outcome
                    under_way.update({pool.submit(work, job): job for job in islice(waiting, 1)})
        if not suspects:
            return
        for job in suspects:
            with _pool(1) as pool:
                yield _result(pool.submit(work, job)) or CaseOutcome(job.patient.case, None, (_died(job),))


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _result(future: Future[CaseOutcome]) -> CaseOutcome | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def _died(job: Job) -> Problem:
    return Problem(
        "E-WORKER-DIED",
        job.patient.case,
        "a worker stopped by the system while following this case",
        f"at most {CASE_MEMORY_BYTES // 2**30} GiB and {CASE_CPU_SECONDS} s of one core",
        "run this patient alone; if it fails again, `convert` its series one by one to find the one",
    )


def _work(job: Job) -> CaseOutcome:
    _limit()
    try:
        return _follow(job)
    except PipelineError as error:
        problem = error.problem
    except Exception as error:  # noqa: BLE001 - the one place where an unforeseen exception becomes a problem
        problem = _unforeseen(error)
    return CaseOutcome(job.patient.case, None, (problem,))


def _limit() -> None:
    # Signals with their default action end the process: nothing a decoder does can hold it back.
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_AS, (CASE_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CPU, (spent + CASE_CPU_SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(CASE_WALL_SECONDS)


def _unforeseen(error: Exception) -> Problem:
    # The exception's own text may hold what a tag held; its type and place do not.
    trace = error.__traceback__
    place = "unknown"
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return Problem(
        "E-INTERNAL",
        "this case",
        f"{type(error).__name__} at {place}",
        "a result or a reasoned refusal",
        "report this as a bug, with the version",
    )


def _follow(job: Job) -> CaseOutcome:
    name, store = job.patient.case, Store(job.out / ".store")
    intake = take_in(job.patient, job.lesions, job.lesions_folder, job.config)
    case, values = follow(
        name, intake.visits, intake.lesions, intake.marks, job.lesions.lesions, intake.load, job.config, store
    )
    odd = _odd_volumes(case, intake, store)
    case = replace(case, problems=(*job.patient.problems, *intake.problems, *odd, *case.problems))
    _write_case(case, values, job)
    return CaseOutcome(name, case, case.problems, store.computed, store.recalled)


def _odd_volumes(case: Case, intake: Intake, store: Store) -> tuple[Problem, ...]:
    """What is odd about the intensities of the series that were measured."""
    used = {sighting.series_uid for sighting in case.sightings if sighting.outcome is Outcome.MEASURED}
    measured = [series for visit in case.visits for series in visit.series if series.series_instance_uid in used]
    found = (
        store.remember("examine", code_version(), series, tuple[Problem, ...], partial(_examined, intake, series))
        for series in measured
    )
    return tuple(problem for problems in found for problem in problems)


def _examined(intake: Intake, series: Series) -> tuple[Problem, ...]:
    return density_problems(intake.load(series))


def _write_case(case: Case, values: Values, job: Job) -> None:
    place = job.out / "cases" / case.case
    record.write_case(case, values, place)
    report.write_report(case, values, place / "report.html")
    for name in job.config.export:
        plugins.load("exporters", name)(case, values, place, job.config)


def _file_alias(name: str) -> str:
    """A file's pseudonym: names of files and folders are often names of patients."""
    return f"file-{digest(name)[:12]}"


def _write_run(out: Path, index: folder.Index, config: Config, result: RunOutcome) -> None:
    cases = result.cases
    tables.write_tables(cases, out)
    failed = tuple(problem for outcome in result.outcomes if outcome.case is None for problem in outcome.problems)
    report.write_cohort(cases, out / "report.html", (*failed, *result.refused))
    identities = [
        ("pseudonym", "stands_for"),
        *((patient.case, patient.patient_id) for patient in index.patients),
        *((_file_alias(problem.subject), problem.subject) for problem in index.rejected),
    ]
    write_whole(out / "identities.csv", tables.csv_text(identities), mode=0o600)
    issues = [
        *({"case": outcome.name, **problem.document} for outcome in result.outcomes for problem in outcome.problems),
        *({"case": "", **problem.document} for problem in result.refused),
    ]
    write_whole(out / "issues.json", _json(issues))
    summary = {
        "version": __version__,
        "code": code_version(),
        "configuration": config.model_dump(mode="json", by_alias=True, exclude={"pseudonym_key"}),
        "configuration_digest": config.digest,
        "cases": [
            {
                "case": outcome.name,
                "status": outcome.status.value,
                "inputs": outcome.case.provenance.inputs if outcome.case else (),
            }
            for outcome in result.outcomes
        ],
    }
    write_whole(out / "run.json", _json(summary))


def _json(document: object) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def render(results: Path) -> None:
    """Write the reports of a results folder again, from its stored cases.

    Raises
    ------
    ConfigurationError
        When the folder holds no case.
    """
    cases = []
    for place in _stored(results):
        case, values = record.read_case(place)
        report.write_report(case, values, place / "report.html")
        cases.append(case)
    known = {case.case for case in cases}
    issues = json.loads((results / "issues.json").read_text())
    elsewhere = (issue for issue in issues if issue["case"] not in known)
    problems = tuple(Problem(**{key: issue[key] for key in Problem.__match_args__}) for issue in elsewhere)
    report.write_cohort(tuple(cases), results / "report.html", problems)


def export(results: Path, formats: tuple[str, ...], out: Path) -> Iterator[Path]:
    """Write the stored cases by the named exporters, each case in a folder of its own under `out`."""
    exporters = [plugins.load("exporters", name) for name in formats]
    for place in _stored(results):
        case, values = record.read_case(place)
        for write in exporters:
            yield from write(case, values, out / place.name, Config())


def _stored(results: Path) -> list[Path]:
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


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the results folder: a live run keeps others out, a dead one's lock is taken over."""
    lock = out / ".lock"
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError):
        holder = None
    if holder is not None and (holder["host"] != mine["host"] or _started(holder["pid"]) == holder["started"]):
        raise LockedError(
            "E-RUN-LOCKED",
            out.name,
            found=f"process {holder['pid']} on {holder['host']} at work in it",
            expected="one run at a time",
            remedy="wait for it, or delete .lock if that machine is gone",
        )
    write_whole(lock, json.dumps(mine))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot: a process number alone may have been given again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
