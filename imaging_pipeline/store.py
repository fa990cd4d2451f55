"""Results kept by what they are made of: equal inputs are computed once, ever."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from imaging_pipeline.domain.digests import digest
from imaging_pipeline.errors import OutputError

Result = TypeVar("Result")

_UNWRITABLE = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EEXIST", "EISDIR", "ENOENT", "ENOSPC", "ENOTDIR", "EPERM", "EROFS")
}


@contextmanager
def writing(subject: str) -> Iterator[None]:
    """Around what writes: a place that takes no files is an `OutputError`, not a bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise OutputError(
            "E-OUTPUT",
            subject,
            found=os.strerror(error.errno or 0),
            expected="a writable folder with room",
            remedy="free space or choose another --out",
        ) from error


@contextmanager
def whole_file(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete and on disk.

    Raises
    ------
    OutputError
        When the folder is not writable or the disk is full.
    """
    temporary = None
    try:
        with writing(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(descriptor, mode)
                yield stream
                stream.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
            temporary = None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Write a file at once or not at all."""
    with whole_file(path, mode) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


class Store:
    """Stage results under a folder, or nowhere.

    A key is the digest of stage, version, configuration and inputs. Values are
    JSON with arrays beside them as .npy; never pickle. Without a folder every
    result is computed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.computed = 0
        self.recalled = 0

    def remember(self, stage: str, version: str, inputs: object, kind: Any, compute: Callable[[], Result]) -> Result:
        """The stage's result for these inputs: recalled when it was ever computed, else computed and kept.

        `kind` is the result's type, from which it is rebuilt (a noun, or a tuple or union of nouns).
        """
        if self._folder is None:
            self.computed += 1
            return compute()
        key = digest((stage, version, inputs))
        folder = self._folder / key[:2] / key
        recalled = _read(folder, kind)
        if recalled is not None:
            self.recalled += 1
            return cast(Result, recalled[0])
        self.computed += 1
        result = compute()
        _write(folder, result)
        return result


def _write(folder: Path, value: object) -> None:
    arrays: list[np.ndarray] = []
    document = json.dumps({"value": _plain(value, arrays), "arrays": len(arrays)}, ensure_ascii=True)
    for number, array in enumerate(arrays):
        with whole_file(folder / f"{number}.npy") as stream:
            np.save(stream, array, allow_pickle=False)
    # Written last: an entry without its document is no entry.
    write_whole(folder / "value.json", document)


def _read(folder: Path, kind: Any) -> tuple[Any] | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        document = json.loads((folder / "value.json").read_bytes())
        arrays = [np.load(folder / f"{number}.npy", allow_pickle=False) for number in range(document["arrays"])]
        return (TypeAdapter(kind).validate_python(_restored(document["value"], arrays)),)
    except (OSError, ValueError, KeyError, ValidationError):
        # A torn or foreign entry is as good as none: the result is computed again and the entry replaced.
        return None


def _plain(value: object, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"$array": len(arrays) - 1}
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name), arrays) for item in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item, arrays) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, arrays) for key, item in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def _restored(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$array"}:
            return arrays[value["$array"]]
        return {key: _restored(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        # Lists become tuples: nouns hold tuples only.
        return tuple(_restored(item, arrays) for item in value)
    return value
