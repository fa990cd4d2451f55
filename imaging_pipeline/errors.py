"""Every refusal on one screen.

A `Problem` says what is wrong in four fields: subject, found, expected, remedy.
An exception is a problem that stops the work it was raised in; a warning is a
problem that travels with the result. No field may hold a value that could
identify a patient: subjects are pseudonyms, UIDs, file names inside the scan
folder, configuration keys.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self


class Severity(StrEnum):
    """How much of the result a problem costs."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


def one_line(text: str) -> str:
    """Text safe for a terminal or a log: control, bidirectional and line-separating characters escaped."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character
        for character in text
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that went wrong or needs attention.

    `code` begins with E- (nothing usable came of the subject), W- (usable, with
    this caution) or N- (only worth knowing).
    """

    code: str
    subject: str
    found: str
    expected: str
    remedy: str

    @property
    def severity(self) -> Severity:
        """The severity the code's first letter states."""
        return {"E": Severity.ERROR, "W": Severity.WARNING}.get(self.code[:1], Severity.NOTE)

    @property
    def document(self) -> dict[str, str]:
        """The machine's copy of the message."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        return one_line(f"{self.code} {self.subject}: found {self.found}; expected {self.expected}; {self.remedy}")


class PipelineError(Exception):
    """A problem that stops the work it was raised in. The exit codes are the contract's."""

    exit_code: ClassVar[int] = 4

    def __init__(self, code: str, subject: str, *, found: str, expected: str, remedy: str) -> None:
        self.problem = Problem(code, subject, found, expected, remedy)
        super().__init__(code, subject, found, expected, remedy)

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The exception that a problem is told by."""
        return cls(
            problem.code,
            problem.subject,
            found=problem.found,
            expected=problem.expected,
            remedy=problem.remedy,
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders in a batch; keyword-only arguments do not pickle by default.
        return (self.of, (self.problem,))

    def __str__(self) -> str:
        return str(self.problem)


class ConfigurationError(PipelineError):
    """The user's words are off: option, configuration, lesion file, assessment document."""

    exit_code = 2


class NothingToDoError(PipelineError):
    """No readable series."""

    exit_code = 3


class RefusedError(PipelineError):
    """A file, series or mask that cannot be trusted; no number is taken from it."""


class SpaceError(PipelineError):
    """An operation the data's space cannot carry: millimetres asked of pixels, two frames of reference."""


class StageError(PipelineError):
    """A stage found no answer it can stand for: no plausible registration, an empty or leaking mask."""


class PluginError(PipelineError):
    """A plug-in is missing, broken or breaks its interface."""

    exit_code = 2


class LockedError(PipelineError):
    """Another live run holds the output folder."""

    exit_code = 6


class OutputError(PipelineError):
    """The output cannot be written: permissions, disk full."""

    exit_code = 7


class StrictError(PipelineError):
    """Strict mode: a warning counts as failure."""

    exit_code = 8
