"""One digest for everything: equal content, equal digest, on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Digested(Protocol):
    """Anything that knows its own digest."""

    @property
    def digest(self) -> str:
        """sha256 in hexadecimal."""
        ...


def digest(value: object) -> str:
    """The sha256 of a value's content, in hexadecimal.

    Raises
    ------
    TypeError
        For a value without a canonical form (an open file, a set, a function).
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def content_of(value: object) -> str:
    """The digest of a dataclass from its fields: what its own `digest` property may stand on."""
    state = hashlib.sha256()
    _feed_fields(state, value)
    return state.hexdigest()


def _feed(state: hashlib._Hash, value: object) -> None:
    # Every value is fed as a typed, length-prefixed token, so that ("ab", "c") and ("a", "bc") differ.
    # Plain values first: they are most of all, and asking whether one is Digested costs ten times as much.
    if value is None or (isinstance(value, (bool, int, float, str, Decimal)) and not isinstance(value, Enum)):
        _token(state, type(value).__name__, str(value).encode("utf-8", "surrogatepass"))
    elif isinstance(value, Digested):
        _token(state, "digested", value.digest.encode())
    elif is_dataclass(value):
        _feed_fields(state, value)
    elif isinstance(value, Enum):
        _token(state, "enum", str(value.value).encode())
    elif isinstance(value, np.ndarray):
        _token(state, "array", f"{value.dtype.str}{value.shape}".encode())
        state.update(np.ascontiguousarray(value).data)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _token(state, "bytes", bytes(value))
    elif isinstance(value, Mapping):
        _token(state, "mapping", str(len(value)).encode())
        for key in sorted(value, key=str):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, (tuple, list)):
        _token(state, "sequence", str(len(value)).encode())
        for item in value:
            _feed(state, item)
    else:
        raise TypeError(f"{type(value).__name__} has no canonical form")


def _feed_fields(state: hashlib._Hash, value: object) -> None:
    _token(state, "noun", type(value).__name__.encode())
    for field in fields(value):  # type: ignore[arg-type]
        _token(state, "field", field.name.encode())
        _feed(state, getattr(value, field.name))


def _token(state: hashlib._Hash, kind: str, content: bytes) -> None:
    state.update(f"{kind}:{len(content)}:".encode())
    state.update(content)
