"""The journal of one case: one line per human act, each naming the digest of the act before it, and never rewritten.

Beside the journal lies its head: how many acts there are, and the digest of the
last. Chain and head together show every changed byte, every line removed,
added, repeated or moved, and a journal cut off at its end. They cannot show
the work of one who rewrites journal and head alike; against that, a case names
the acts it was computed with, and so does every report made from it.

An act counts once `append` has returned: its line, its outline and their
folders are then on disk. The head follows the line, so a process that is killed
between the two leaves a journal one act ahead, which is accepted; only that one
act, which nobody was told of, could then be cut off unseen.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from imaging_pipeline.domain.case import Review
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Grid
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import OutputError, PipelineError, RefusedError
from imaging_pipeline.io.nifti import read_nifti, write_nifti
from imaging_pipeline.store import write_whole

JOURNAL = "journal.jsonl"
HEAD = "journal.head"
OUTLINES = "reviewed"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line: the act, its digest, and where the voxels of its outline are (NIfTI cannot say that exactly)."""

    review: Review
    digest: str
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    """What the end of the journal must be."""

    acts: int = 0
    digest: str = ""


def append(folder: Path, review: Review, mask: Mask | None = None) -> Review:
    """Add one act at the end of a case's journal, on disk when this returns.

    Parameters
    ----------
    folder
        The case's folder.
    review
        The act; its `previous` and `mask` are filled in here.
    mask
        The outline that the act puts in place, if it does.

    Returns
    -------
    Review
        The act as the journal holds it.

    Raises
    ------
    RefusedError
        When the journal is not as it was written, or ends in a torn line, or the act could not be read again;
        nothing is added then.
    OutputError
        When the folder is not writable or the disk is full; nothing is added then.
    """
    with _opened(folder, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as journal:
        content = _content(journal)
        # A journal without a head is one that lost its head; so the first act finds one already there.
        entries = _verified(content, _head(folder) if content else _first_head(folder))
        _write_head(folder, _end(entries))
        act = replace(review, previous=_end(entries).digest, mask=mask.digest if mask is not None else "")
        # Read back before it is written: an act that this could not read again would close the journal for good.
        line = _line(_Entry(act, digest(act), mask.grid if mask is not None else None))
        entry = _entry(line, "this act")
        if mask is not None:
            _keep(mask, folder / OUTLINES)
        _write_line(journal, line, len(content))
        _sync(folder)
        _write_head(folder, _end((*entries, entry)))
        return act


def read(folder: Path) -> tuple[tuple[Review, ...], dict[str, Mask]]:
    """All acts of a case, in order, and the outlines they put in place, by digest; none where nobody has acted.

    Raises
    ------
    RefusedError
        When a byte, a line or their order is not as it was written (E-JOURNAL), or the last line is torn
        (E-JOURNAL-TORN).
    """
    if not (folder / JOURNAL).exists():
        entries = _verified(b"", _head(folder))
    else:
        with _opened(folder, os.O_RDONLY, fcntl.LOCK_SH) as journal:
            entries = _verified(_content(journal), _head(folder))
    outlines = {entry.review.mask: _outline(entry, folder / OUTLINES) for entry in entries if entry.grid is not None}
    return tuple(entry.review for entry in entries), outlines


def set_aside_torn(folder: Path) -> Path | None:
    """Move a torn last line into a file of its own, so that the journal can go on; None when no line is torn.

    Raises
    ------
    RefusedError
        When anything else is not as it was written.
    """
    with _opened(folder, os.O_RDWR, fcntl.LOCK_EX) as journal:
        content = _content(journal)
        whole, torn = _parted(content)
        _verified(whole, _head(folder))
        if not torn:
            return None
        place = folder / f"journal.torn-{sha256(torn).hexdigest()[:12]}"
        write_whole(place, torn)
        _sync(folder)
        os.ftruncate(journal, len(whole))
        os.fsync(journal)
        return place


def _verified(content: bytes, head: _Head | None) -> tuple[_Entry, ...]:
    whole, torn = _parted(content)
    entries: list[_Entry] = []
    for number, line in enumerate(whole.splitlines(keepends=True), start=1):
        entry = _entry(line, f"line {number} of {JOURNAL}")
        if entry.review.previous != (entries[-1].digest if entries else ""):
            raise _refusal(f"line {number} of {JOURNAL}", "an act that does not follow the line before it")
        entries.append(entry)
    if head not in (_end(entries), _end(entries[:-1])) and (entries or head is not None):
        said = "no head" if head is None else f"a head of {head.acts} acts"
        raise _refusal(JOURNAL, f"{len(entries)} acts and {said}, or another last act than the head names")
    if torn:
        raise RefusedError(
            "E-JOURNAL-TORN",
            f"line {len(entries) + 1} of {JOURNAL}",
            found=f"{len(torn)} bytes of an act that was being written when the process or the machine stopped",
            expected="whole lines",
            remedy="the acts before it are whole; set the torn line aside on the review page and repeat the last act",
        )
    return tuple(entries)


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what stands after the last of them."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _entry(line: bytes, subject: str) -> _Entry:
    try:
        entry: _Entry = _adapter().validate_json(line)
    except ValidationError as error:
        raise _refusal(subject, "no act in the form this version writes") from error
    # Only one spelling of an act is accepted: a change that means the same is a change.
    if entry.digest != digest(entry.review) or _line(entry) != line or (entry.grid is None) == bool(entry.review.mask):
        raise _refusal(subject, "an act changed since it was written")
    return entry


def _line(entry: _Entry) -> bytes:
    return json.dumps(asdict(entry), sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _end(entries: tuple[_Entry, ...] | list[_Entry]) -> _Head:
    return _Head(len(entries), entries[-1].digest if entries else "")


def _head(folder: Path) -> _Head | None:
    try:
        content = (folder / HEAD).read_bytes()
    except FileNotFoundError:
        return None
    try:
        head = TypeAdapter(_Head).validate_json(content)
    except ValidationError as error:
        raise _refusal(HEAD, "no head in the form this version writes") from error
    if _head_text(head) != content:
        raise _refusal(HEAD, "a head changed since it was written")
    return head


def _first_head(folder: Path) -> _Head:
    head = _head(folder)
    if head is None:
        head = _Head()
        _write_head(folder, head)
    return head


def _write_head(folder: Path, head: _Head) -> None:
    write_whole(folder / HEAD, _head_text(head))
    _sync(folder)


def _head_text(head: _Head) -> bytes:
    return json.dumps(asdict(head), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _keep(mask: Mask, folder: Path) -> None:
    write_nifti(mask, folder / f"{mask.digest}.nii.gz")
    _sync(folder)


def _outline(entry: _Entry, folder: Path) -> Mask:
    assert entry.grid is not None
    name = f"{entry.review.mask}.nii.gz"
    try:
        mask = Mask(read_nifti(folder / name).array != 0, entry.grid, entry.review.reader)
    except (PipelineError, OSError, ValueError) as error:
        raise _refusal(f"{OUTLINES}/{name}", f"an outline that cannot be read ({type(error).__name__})") from error
    if mask.digest != entry.review.mask:
        raise _refusal(f"{OUTLINES}/{name}", "an outline changed since it was written")
    return mask


@contextmanager
def _opened(folder: Path, flags: int, lock: int) -> Iterator[int]:
    """The journal's descriptor, locked: against other processes, and other threads of this one."""
    try:
        descriptor = os.open(folder / JOURNAL, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, lock)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        found = os.strerror(error.errno or 0)
        raise (_refusal(JOURNAL, found) if lock == fcntl.LOCK_SH else _unwritten(found)) from error


def _content(journal: int) -> bytes:
    size = os.fstat(journal).st_size
    return os.pread(journal, size, 0)


def _write_line(journal: int, line: bytes, size: int) -> None:
    # One write at the end, in append mode; a line that found no room is taken back whole.
    written = os.write(journal, line)
    if written != len(line):
        os.ftruncate(journal, size)
        raise _unwritten("no room for the whole line")
    os.fsync(journal)


def _sync(folder: Path) -> None:
    """A new name in a folder is on disk only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(found: str) -> OutputError:
    return OutputError(
        "E-OUTPUT",
        JOURNAL,
        found=found,
        expected="a writable folder with room",
        remedy="free space or make the results folder writable; the act was not signed",
    )


def _refusal(subject: str, found: str) -> RefusedError:
    return RefusedError(
        "E-JOURNAL",
        subject,
        found=found,
        expected="the journal as it was written, act by act",
        remedy="restore the case's folder from a backup; no act of this journal is applied until then",
    )


@cache
def _adapter() -> TypeAdapter[_Entry]:
    return TypeAdapter(_Entry)
