"""Many patients: indexed once, followed side by side, each failing alone."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from imaging_pipeline.config import Config, LesionFile, PatientLesions, validated
from imaging_pipeline.corrections import Acts
from imaging_pipeline.domain.case import Case, Outcome
from imaging_pipeline.domain.images import Series
from imaging_pipeline.errors import ConfigurationError, LockedError, NothingToDoError, PipelineError, Problem
from imaging_pipeline.io import folder, journal, lesions
from imaging_pipeline.io.intake import Intake, take_in
from imaging_pipeline.io.patients import PatientRecord
from imaging_pipeline.io.sanity import density_problems
from imaging_pipeline.pipeline import follow
from imaging_pipeline.results import (
    ORIGIN,
    CaseOutcome,
    RunOutcome,
    case_folder,
    file_alias,
    kept_origin,
    refresh,
    write_case,
    write_run,
)
from imaging_pipeline.stages import code_version
from imaging_pipeline.store import Store, write_whole

#: What one case may use before its worker is stopped; two 1000-slice CTs in memory are about 2 GiB.
CASE_MEMORY_BYTES = 12 * 2**30
CASE_CPU_SECONDS = 3600
CASE_WALL_SECONDS = 2 * 3600

#: How long one case's computation waits for another's in the same folder; each takes seconds.
REDO_WAIT_SECONDS = 30.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """All a worker needs to follow one patient."""

    patient: PatientRecord
    lesions: PatientLesions
    lesions_folder: Path
    config: Config
    out: Path
    reader: str = ""

    @property
    def place(self) -> Path:
        """The case's folder; below it, that of one reader who judges apart from the others."""
        return case_folder(self.out, self.patient.case, self.reader)


@dataclass(frozen=True)
class Origin:
    """What a results folder is made from; with `archives`, zip and tar files among the scans are opened."""

    scans: Path
    lesions_file: Path | None
    config: Config
    archives: bool = False

    def index(self, out: Path) -> folder.Index:
        """What the scans hold, remembered from one run to the next."""
        room = out / ".store" / "archives" if self.archives else None
        return folder.index(self.scans, self.config, out / ".store" / "index", room)


def run(
    scans: Path,
    config: Config,
    out: Path,
    *,
    lesions_file: Path | None,
    workers: int,
    progress: Progress,
    archives: bool = False,
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
        origin = Origin(scans, lesions_file, config, archives)
        _keep_origin(out, origin)
        index = origin.index(out)
        if not any(record_.verdict != "reject" for patient in index.patients for record_ in patient.series):
            raise NothingToDoError(
                "E-NOTHING",
                "scan folder",
                found=f"no readable series, {len(index.rejected)} files refused",
                expected="DICOM images",
                remedy="`imaging-pipeline index` says why each file was refused",
            )
        lesion_file, lesions_folder = lesions.find(scans, lesions_file)
        asked = _asked(lesion_file, index)
        jobs, unasked = _jobs(index, asked, lesions_folder, config, out)
        outcomes = [*unasked]
        for done, outcome in enumerate(each(_work_limited, jobs, workers), start=1):
            outcomes.append(outcome)
            progress("following patients", done, len(jobs))
        refused = tuple(replace(problem, subject=file_alias(problem.subject)) for problem in index.rejected)
        ordered = tuple(sorted(outcomes, key=lambda outcome: outcome.name))
        result = RunOutcome(ordered, refused, tuple(_unmatched(asked, index)))
        identities = {patient.case: patient.patient_id for patient in index.patients}
        identities |= {file_alias(problem.subject): problem.subject for problem in index.rejected}
        write_run(out, result, identities, config)
        return result


def redo(results: Path, case: str, reader: str = "") -> CaseOutcome:
    """Follow one case of a results folder again, with its journal as it is now.

    Only what depends on a new act is computed. With a reader's name the acts of
    that reader alone count, and the result lies apart from everybody's. Several readers,
    in this process or in others, take turns.

    Raises
    ------
    ConfigurationError
        When the folder, the scans or the lesion file it was made from are not where they were.
    LockedError
        When something else is at work in the folder for longer than a case takes.
    """
    with _locked(results, REDO_WAIT_SECONDS):
        origin = _origin(results)
        lesion_file, lesions_folder = lesions.find(origin.scans, origin.lesions_file)
        index = origin.index(results)
        jobs, _ = _jobs(index, _asked(lesion_file, index), lesions_folder, origin.config, results)
        job = next((job for job in jobs if job.patient.case == case), None)
        if job is None:
            raise _no_origin("no scans of this case where they were")
        outcome = _work(replace(job, reader=reader))
        if not reader:
            refresh(results, outcome)
        return outcome


def _keep_origin(out: Path, origin: Origin) -> None:
    """Where the results come from, so that a case can be computed again; as seen from the results, never absolute."""
    places = {"scans": origin.scans, "lesions": origin.lesions_file}
    seen = {name: os.path.relpath(place.resolve(), out.resolve()) for name, place in places.items() if place}
    document = {**seen, "archives": origin.archives, "config": origin.config.model_dump(mode="json", by_alias=True)}
    # The configuration holds the key of the pseudonyms.
    write_whole(out / ORIGIN, json.dumps(document, indent=1), mode=0o600)


def _origin(results: Path) -> Origin:
    document = kept_origin(results)
    if document is None:
        raise _no_origin("no note of where its scans are")
    scans = results / document["scans"]
    lesions_file = results / document["lesions"] if "lesions" in document else None
    if not scans.is_dir() or not (lesions_file is None or lesions_file.is_file()):
        raise _no_origin("no scans, or no lesion file, where they were")
    config = validated(Config, document["config"], "origin.json")
    return Origin(scans, lesions_file, config, bool(document["archives"]))


def _no_origin(found: str) -> ConfigurationError:
    return ConfigurationError(
        "E-RESULTS-ORIGIN",
        "results folder",
        found=found,
        expected="the scans and the lesion file it was made from, in the same place beside it",
        remedy="put them back, or run the pipeline again with this --out",
    )


def _asked(lesion_file: LesionFile, index: folder.Index) -> dict[str, PatientLesions]:
    """The lesion file's entries by patient; where there is only one of each, the entry need not name the patient."""
    entries = {entry.patient: entry for entry in lesion_file.patients}
    if set(entries) == {""} and len(index.patients) == 1:
        return {index.patients[0].patient_id: entries[""]}
    return entries


def _jobs(
    index: folder.Index, asked: Mapping[str, PatientLesions], lesions_folder: Path, config: Config, out: Path
) -> tuple[list[Job], list[CaseOutcome]]:
    jobs, unasked = [], []
    for patient in index.patients:
        entry = asked.get(patient.patient_id)
        if entry is None:
            unasked.append(CaseOutcome(patient.case, None, (*patient.problems, _nothing_marked(patient.case))))
        else:
            jobs.append(Job(patient, entry, lesions_folder, config, out))
    return jobs, unasked


def _unmatched(asked: Iterable[str], index: folder.Index) -> Iterator[Problem]:
    """Entries of the lesion file that speak of nobody in the scans."""
    scanned = {patient.patient_id for patient in index.patients}
    for number, patient_id in enumerate(asked, start=1):
        if patient_id not in scanned:
            yield Problem(
                "W-LESIONS-UNMATCHED",
                f"patient {number} of the lesion file",
                "no scans of this patient",
                "the PatientID as the scans state it",
                "correct it; nothing was followed for this entry",
            )


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


def _work_limited(job: Job) -> CaseOutcome:
    _limit()
    return _work(job)


def _work(job: Job) -> CaseOutcome:
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
    acts = _acts(job)
    intake = take_in(job.patient, job.lesions, job.lesions_folder, job.config)
    case, values = follow(
        name,
        intake.visits,
        intake.lesions,
        intake.marks,
        job.lesions.lesions,
        intake.load,
        job.config,
        store,
        acts,
        intake.treatments,
        intake.levels,
    )
    odd = _odd_volumes(case, intake, store)
    case = replace(case, problems=(*job.patient.problems, *intake.problems, *odd, *case.problems))
    write_case(case, values, job.place, job.config)
    return CaseOutcome(name, case, case.problems, store.computed, store.recalled)


def _acts(job: Job) -> Acts:
    """What the journal says was done; a reader who judges apart is not told of the others."""
    reviews, outlines = journal.read(case_folder(job.out, job.patient.case))
    return Acts(tuple(act for act in reviews if job.reader in ("", act.reader)), outlines)


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


@contextmanager
def _locked(out: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the results folder: who lives keeps others out, a dead one's lock is taken over."""
    lock = out / ".lock"
    last = time.monotonic() + wait_seconds
    while (holder := _other_holder(lock)) is not None:
        if time.monotonic() >= last:
            raise LockedError(
                "E-RUN-LOCKED",
                out.name,
                found=f"process {holder['pid']} on {holder['host']} at work in it",
                expected="one run at a time",
                remedy="wait for it, or delete .lock if that machine is gone",
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _other_holder(lock: Path) -> dict[str, Any] | None:
    """Who holds the lock and lives; None when it was free, and now is ours."""
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    with ExitStack() as held:
        # Two who both find it free must not both take it; not every network file system can keep them apart.
        with suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            folder_descriptor = os.open(lock.parent, os.O_RDONLY)
            held.callback(os.close, folder_descriptor)
            fcntl.flock(folder_descriptor, fcntl.LOCK_EX)
        try:
            holder: dict[str, Any] = json.loads(lock.read_text())
        except (OSError, ValueError):
            holder = {}
        if holder and (holder["host"] != mine["host"] or _started(holder["pid"]) == holder["started"]):
            return holder
        write_whole(lock, json.dumps(mine))
    return None


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot: a process number alone may have been given again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
