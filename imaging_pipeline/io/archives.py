"""Archives among the scans, opened only when asked for, and trusted in nothing they say.

A member's name never becomes a path, what it holds is counted while it is written, and an archive is unpacked once:
its content names the folder it is unpacked to.

Source: CWE-22 (names that lead out), CWE-409 (bombs); the project's HAZARDS, table 2.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from imaging_pipeline.errors import Problem
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.memory import keep, kept
from imaging_pipeline.io.walk import Found, sha256_of

#: Endings of what is opened.
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

#: A patient's whole history is far below each; images are seldom packed ten to one.
MAX_MEMBERS = 100_000
MAX_BYTES = 64 * 2**30
MAX_RATIO = 200
#: A small archive may be packed better than that.
ALWAYS_ALLOWED_BYTES = 64 * 2**20

_COPIED_AT_ONCE = 2**20
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


class _Member(NamedTuple):
    """One entry: its name in the archive, and how to read it; None where it is a link, device or locked."""

    name: str
    open: Callable[[], IO[bytes]] | None


class _BombError(Exception):
    """An archive that holds more than it may."""


def opened(file: Found, room: Path) -> Iterator[Found]:
    """A file as it is; or, if it is an archive, its members, each with the archive's name before its own.

    Parameters
    ----------
    room
        A folder of the package's own, outside the scans.
    """
    if file.refusal is not None or not file.name.lower().endswith(ENDINGS):
        yield file
        return
    try:
        room.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = sha256_of(file.path)
        place = room / content
        listed = kept(place / "members.json", content)
        if listed is None:
            listed = _unpacked(Path(file.path), place)
            keep(place / "members.json", content, listed)
    except _BombError as bomb:
        shutil.rmtree(place, ignore_errors=True)
        yield file._replace(refusal=finding("E-ARCHIVE-SIZE", file.name, str(bomb)), entry=None)
        return
    except _DAMAGES as error:
        shutil.rmtree(place, ignore_errors=True)
        yield file._replace(refusal=finding("E-ARCHIVE-DAMAGED", file.name, type(error).__name__), entry=None)
        return
    for name, code, found, path in listed:
        inside = f"{file.name}/{name}"
        refusal: Problem | None = finding(code, inside, found) if code else None
        yield Found(str(place / path) if path else file.path, inside, refusal)


_DAMAGES = (
    OSError,
    EOFError,
    LZMAError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

#: Name, code and words of a refusal, path below the archive's folder.
_Listed = list[tuple[str, str, str, str]]


def _unpacked(archive: Path, place: Path) -> _Listed:
    """Write the members that are files under numbers; those of one folder stay in one."""
    shutil.rmtree(place, ignore_errors=True)
    allowed = min(MAX_BYTES, max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * archive.stat().st_size))
    listed: _Listed = []
    folders: dict[str, int] = {}
    with _members(archive) as members:
        for number, member in enumerate(members):
            if number == MAX_MEMBERS:
                raise _BombError(f"more than {MAX_MEMBERS} members")
            pure = PurePosixPath(member.name.replace("\\", "/"))
            if pure.is_absolute() or ".." in pure.parts or re.match("[A-Za-z]:", member.name):
                listed.append((member.name, "E-ARCHIVE-PATH", "a name that leads out of the archive", ""))
            elif member.open is None:
                listed.append((member.name, "W-FS-SKIPPED", "a link, device or locked member", ""))
            else:
                ending = pure.suffix if _ENDING.fullmatch(pure.suffix) else ""
                folder = folders.setdefault(str(pure.parent), len(folders))
                path = f"{folder}/{number}{ending}"
                allowed -= _copied(member.open, place / path, allowed)
                listed.append((member.name, "", "", path))
    return sorted(listed)


def _copied(source: Callable[[], IO[bytes]], target: Path, allowed: int) -> int:
    """Write one member; how many bytes it had in truth, whatever it claimed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source() as packed, target.open("xb") as out:
        while chunk := packed.read(_COPIED_AT_ONCE):
            written += len(chunk)
            if written > allowed:
                raise _BombError(f"more bytes than {MAX_RATIO} times its own size")
            out.write(chunk)
    return written


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    with ExitStack() as stack:
        if archive.name.lower().endswith(".zip"):
            yield _in_zip(stack.enter_context(zipfile.ZipFile(archive)))
        else:
            # Read as a stream: nothing of it is held in memory, and nothing is looked up by its own directory.
            yield _in_tar(stack.enter_context(tarfile.open(archive, "r|*")))


def _in_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = info.external_attr >> 28
        plain = kind in (0, 0o10) and not info.flag_bits & 1
        if not info.is_dir():
            yield _Member(info.filename, partial(archive.open, info) if plain else None)


def _in_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        plain = info.isreg() and not info.issparse()
        if not info.isdir():
            yield _Member(info.name, partial(_extracted, archive, info) if plain else None)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None
    return stream
