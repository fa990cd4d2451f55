"""Work on foreign pixels in a process of its own, which may use so much and no more.

A decoder that crashes, hangs or asks for all memory ends its own process; the caller is told, in one line.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from imaging_pipeline.errors import PipelineError, Problem, RefusedError

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What one process may use. The defaults hold one image: a 2000-slice CT takes 2 GiB and half a minute."""

    memory_bytes: int = 12 * 2**30
    cpu_seconds: int = 900
    wall_seconds: int = 1800

    def impose(self) -> None:
        """Hold the running process to them, for good."""
        # Signals with their default action end the process: nothing a decoder does can hold it back.
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CPU, (spent + self.cpu_seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(self.wall_seconds)


ONE_IMAGE = Limits()


def guarded(
    work: Callable[Given, Result], subject: str, limits: Limits, *given: Given.args, **named: Given.kwargs
) -> Result:
    """What a module-level function returns or raises, done within limits.

    Parameters
    ----------
    subject
        What a refusal calls the work's object.

    Raises
    ------
    RefusedError
        When its process died, or ran out of memory.
    """
    # A fork answers at once; elsewhere it is not safe.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=limits.impose) as pool:
        try:
            outcome = pool.submit(_outcome, work, given, named).result()
        except BrokenProcessPool:
            raise _beyond(subject, limits, "a process stopped by the system while reading it") from None
        except MemoryError:
            raise _beyond(subject, limits, "more memory asked for than there may be") from None
    if isinstance(outcome, _Raised):
        raise outcome.kind.of(outcome.problem)
    return outcome


@dataclass(frozen=True)
class _Raised:
    """An exception on its way to the caller: its own form does not travel."""

    kind: type[PipelineError]
    problem: Problem


def _outcome(work: Callable[..., Result], given: tuple[object, ...], named: dict[str, object]) -> Result | _Raised:
    try:
        return work(*given, **named)
    except PipelineError as error:
        return _Raised(type(error), error.problem)


def _beyond(subject: str, limits: Limits, found: str) -> RefusedError:
    return RefusedError(
        "E-WORKER-DIED",
        subject,
        found=found,
        expected=f"at most {limits.memory_bytes // 2**30} GiB and {limits.cpu_seconds} s of one core",
        remedy="export it again, uncompressed",
    )
