"""One reader at work on a results folder: what is to be seen, and what an act does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from imaging_pipeline.domain.case import Case, Review, Values
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Mask, Volume
from imaging_pipeline.errors import ConfigurationError, PipelineError, RefusedError, StageError, one_line
from imaging_pipeline.io import journal
from imaging_pipeline.io.record import read_case, read_record
from imaging_pipeline.results import CaseOutcome, case_folder
from imaging_pipeline.review import documents, hanging, standing
from imaging_pipeline.review.changes import changes
from imaging_pipeline.review.documents import Document
from imaging_pipeline.review.judge import Judge
from imaging_pipeline.review.requests import ActRequest

#: Computes one case again: results folder, case, and the one reader whose acts count, or "" for everybody's.
#: Readers take turns at it; it alone holds the folder.
Redo = Callable[[Path, str, str], CaseOutcome]

_NAME_LENGTH = 64
_CASE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")

#: When a file was written, which one it is, and how long.
_Stamp = tuple[int, int, int]

#: Cases in memory, with their scans: the one being read, and one or two in other windows.
_KEPT_CASES = 3

#: The time of an act, as ISO 8601.
Clock = Callable[[], str]


@dataclass
class _Kept:
    """A case as last read, until its file changes."""

    stamp: _Stamp
    case: Case
    values: Values


class Desk:
    """What one reader sees of a results folder and does to it.

    Parameters
    ----------
    results
        The folder of a run.
    reader
        Who judges; sees the own acts only.
    adjudicates
        Sees the acts of all readers.
    redo, now
        How a case is computed again, and what time it is.
    """

    def __init__(self, results: Path, reader: str, *, adjudicates: bool, redo: Redo, now: Clock) -> None:
        self.reader = reader.strip()
        if not 0 < len(self.reader) <= _NAME_LENGTH:
            raise ConfigurationError(
                "E-REVIEW-READER",
                "--reader",
                found="no name, or a very long one",
                expected=f"1 to {_NAME_LENGTH} characters",
                remedy="say who judges",
            )
        self._adjudicates = adjudicates
        self._results = results.resolve()
        self._redo = redo
        self._now = now
        self._kept: dict[Path, _Kept] = {}
        self._judging: dict[str, threading.Lock] = {}
        self._codes: tuple[_Stamp | None, dict[str, list[str]]] = (None, {})
        self._rows: dict[str, tuple[tuple[_Stamp | None, ...], Document]] = {}

    # ---- What is seen

    def worklist(self) -> Document:
        """The cases, those that need a reader first."""
        rows = [self._row(name) for name in self._names()]
        rows.sort(key=lambda row: (not row["refused"], -row["stale"], -row["urgency"], row["done"], row["case"]))
        return {"reader": one_line(self.reader), "adjudicates": self._adjudicates, "cases": rows}

    def case(self, name: str) -> Document:
        """One case as this reader may see it.

        Raises
        ------
        ConfigurationError
            When there is no such case.
        RefusedError
            When its record or its journal is not as it was written.
        """
        acts = self._acts(name)
        case, values = self._read(name, acts)
        return documents.case_document(case, values, self._seen(acts), shows_readers=self._adjudicates)

    def pixels(self, name: str, view: str) -> bytes:
        """The pixels of a view, as they hang."""
        return hanging.hung_pixels(self._view(name, view))

    def outline(self, name: str, view: str, mask: str) -> bytes:
        """An outline on a view, as it hangs."""
        _, values = self._read(name, self._acts(name))
        found = values.get(mask)
        if not isinstance(found, Mask):
            raise _unknown("outline")
        return hanging.hung_outline(found, self._view(name, view))

    # ---- What is done

    def act(self, name: str, request: ActRequest) -> str:
        """Sign one act into the journal; it is on disk when this returns.

        Returns
        -------
        str
            The digest of what the act put in place of the outline judged, or "".

        Raises
        ------
        ConfigurationError
            When the act does not fit the case as it is now.
        RefusedError, SpaceError
            When the outline that comes with it cannot be used.
        """
        with self._judging.setdefault(name, threading.Lock()):
            acts = self._acts(name)
            case, values = self._read(name, acts)
            review, mask = Judge(case, values, self._seen(acts), self.reader, self._now()).judged(request)
            return journal.append(self._folder(name), review, mask).mask

    def recompute(self, name: str) -> Document:
        """Compute the case again with the journal as input, and say what that changed."""
        acts = self._acts(name)
        before, _ = self._read(name, acts)
        start = time.perf_counter()
        self._compute(name, acts)
        after, _ = self._read(name, acts)
        seconds = time.perf_counter() - start
        changed = [documents.change_document(change) for change in changes(before, after)]
        return {"changes": changed, "seconds": round(seconds, 2), "case": self.case(name)}

    def mend(self, name: str) -> Document:
        """Set a torn last line of the journal aside."""
        with self._judging.setdefault(name, threading.Lock()):
            kept = journal.set_aside_torn(self._folder(name))
        return {"kept": "" if kept is None else kept.name}

    # ---- Reading

    def _names(self) -> list[str]:
        names = sorted(path.parent.name for path in self._results.glob("cases/*/case.json"))
        return [name for name in names if self._has(name)]

    def _has(self, name: str) -> bool:
        """Whether there is such a case, in this folder and not behind a link to elsewhere."""
        record = case_folder(self._results, name) / "case.json"
        return bool(_CASE_NAME.fullmatch(name)) and record.is_file() and record.resolve().is_relative_to(self._results)

    def _folder(self, name: str) -> Path:
        if not self._has(name):
            raise _unknown("case")
        return case_folder(self._results, name)

    def _acts(self, name: str) -> tuple[Review, ...]:
        return journal.read(self._folder(name))[0]

    def _seen(self, acts: tuple[Review, ...]) -> tuple[Review, ...]:
        return standing.visible(acts, self.reader, adjudicates=self._adjudicates)

    def _whose(self, acts: tuple[Review, ...]) -> str:
        """The one reader whose acts may count in what this reader sees; "" where nobody else has acted."""
        apart = not self._adjudicates and any(act.reader != self.reader for act in acts)
        return self.reader if apart else ""

    def _place(self, name: str, acts: tuple[Review, ...]) -> Path:
        return case_folder(self._results, name, self._whose(acts))

    def _read(self, name: str, acts: tuple[Review, ...]) -> tuple[Case, Values]:
        place = self._place(name, acts)
        stamp = _stamp(place / "case.json")
        if stamp is None:
            # Another reader was here first; what that one did is not to be seen.
            self._compute(name, acts)
            stamp = _stamp(place / "case.json")
        if stamp is None:
            raise _not_apart()
        kept = self._kept.get(place)
        if kept is None or kept.stamp != stamp:
            self._kept[place] = kept = _Kept(stamp, *read_case(place, kept.values if kept else None))
        while len(self._kept) > _KEPT_CASES:
            del self._kept[next(iter(self._kept))]
        return kept.case, kept.values

    def _compute(self, name: str, acts: tuple[Review, ...]) -> None:
        outcome = self._redo(self._results, name, self._whose(acts))
        if outcome.case is None:
            raise StageError.of(outcome.problems[0])

    def _view(self, name: str, view: str) -> Volume:
        _, values = self._read(name, self._acts(name))
        found = values.get(view)
        if not isinstance(found, Volume):
            raise _unknown("view")
        return found

    # ---- The worklist

    def _row(self, name: str) -> Document:
        """What the worklist says of a case; looked at again only when one of its files is another."""
        folder = case_folder(self._results, name)
        files = (folder / "case.json", folder / journal.JOURNAL, folder / journal.HEAD)
        reading = case_folder(self._results, name, self.reader) / "case.json"
        stamps = tuple(_stamp(path) for path in (*files, reading, self._results / "issues.json"))
        if name not in self._rows or self._rows[name][0] != stamps:
            self._rows[name] = (stamps, self._looked_at(name))
        return self._rows[name][1]

    def _issues(self) -> dict[str, list[str]]:
        """The codes of each case's problems, as the run left them."""
        stamp = _stamp(self._results / "issues.json")
        if self._codes[0] != stamp:
            codes: dict[str, list[str]] = {}
            for issue in json.loads((self._results / "issues.json").read_bytes()) if stamp else ():
                codes.setdefault(str(issue["case"]), []).append(str(issue["code"]))
            self._codes = (stamp, codes)
        return self._codes[1]

    def _looked_at(self, name: str) -> Document:
        row: Document = {"case": name, "refused": None, "stale": 0, "urgency": 0, "done": False, "why": {}}
        row |= {"visits": 0, "signed": 0, "acts": 0, "disputed": 0}
        try:
            acts = self._acts(name)
            place = self._place(name, acts)
            if not acts:
                # Most cases of a worklist: what the run says of them all is in one file.
                row |= _urgency(self._issues().get(name, ()))
            elif (place / "case.json").is_file():
                case = read_record(place)
                row |= _urgency(problem.code for problem in case.problems)
                row |= _progress(case, self._seen(acts), adjudicates=self._adjudicates)
        except PipelineError as error:
            row["refused"] = documents.problem_document(error.problem)
        return row


def _stamp(path: Path) -> _Stamp | None:
    """What tells a file from the one that stood there before; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _urgency(codes: Iterable[str]) -> Document:
    why = Counter(one_line(code) for code in codes if not code.startswith("N-"))
    pressing = sum(count for code, count in why.items() if code.startswith("E-") or code == "W-SEG-CONFIDENCE")
    # An error or a doubtful outline outweighs any number of other warnings.
    return {"why": dict(why), "urgency": 100 * pressing + why.total()}


def _progress(case: Case, acts: tuple[Review, ...], *, adjudicates: bool) -> Document:
    stale = standing.stale(case, acts)
    states = [
        standing.standing(lesion.lesion_id, visit.number, acts, stale)
        for lesion in case.lesions
        for visit in case.visits
    ]
    signatures = [standing.last_signature(visit.number, acts) for visit in case.visits]
    signed = sum(each is not None and digest(each) not in stale for each in signatures)
    return {
        "visits": len(case.visits),
        "acts": len(acts),
        "stale": states.count(standing.Standing.STALE),
        "signed": signed,
        "done": signed == len(case.visits),
        "disputed": len(standing.disputed(acts)) if adjudicates else 0,
    }


def _unknown(what: str) -> ConfigurationError:
    return ConfigurationError(
        "E-REVIEW-UNKNOWN", what, found=f"no such {what}", expected="one of this folder", remedy="open the worklist"
    )


def _not_apart() -> RefusedError:
    return RefusedError(
        "E-REVIEW-BLIND",
        "this case",
        found="numbers with another reader's acts in them, and no reading of your own",
        expected="readers who judge apart",
        remedy="open the page as the adjudicator, or give each reader a results folder of his own",
    )
