"""The files of a folder tree, in a fixed order, and what shows that one has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from imaging_pipeline.errors import Problem
from imaging_pipeline.io import lesions
from imaging_pipeline.io.findings import finding

#: File systems keep times to the second or two.
_SETTLES_NS = 2_000_000_000


#: Name, size, times of content and of anything else, number in the file system, and content in doubt.
Stamp = tuple[str, int, int, int, int, str]


class Found(NamedTuple):
    """Something in a folder tree: its path, its name below the root, and a refusal where it is no plain file."""

    path: str
    name: str
    refusal: Problem | None
    entry: os.DirEntry[str] | None = None


def regular_files(root: Path) -> Iterator[Found]:
    """Every file below a folder; links are not followed, the lesion file is passed over."""
    if not root.is_dir():
        yield Found(str(root), root.name, None)
        return
    start = len(str(root)) + 1
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            yield Found(folder, folder[start:], finding("E-FILE-UNREADABLE", folder[start:], reason))
            continue
        for entry in found:
            path = entry.path
            if entry.is_file(follow_symlinks=False):
                if entry.name not in lesions.NAMES:
                    yield Found(path, path[start:], None, entry)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield Found(path, path[start:], finding("W-FS-SKIPPED", path[start:], "a link, pipe or device"), entry)


def stamps(files: Iterable[Found]) -> list[Stamp]:
    """What changes with each file: its name, size, times and number.

    A file written within the last seconds may be written again before its time shows it: its content itself counts.
    """
    settled = time.time_ns() - _SETTLES_NS
    return [_stamp(file, settled) for file in files]


def _stamp(file: Found, settled_ns: int) -> Stamp:
    path, name, refusal, entry = file
    try:
        status = entry.stat(follow_symlinks=False) if entry else os.lstat(path)
        changed = status.st_ctime_ns
        content = "" if changed < settled_ns or refusal else sha256_of(path)
    except OSError as error:
        return name, 0, 0, 0, 0, os.strerror(error.errno or 0)
    return name, status.st_size, status.st_mtime_ns, changed, status.st_ino, content


def sha256_of(path: str) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
