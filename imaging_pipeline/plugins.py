"""Loaders, segmenters, criteria and exporters by name, built-in ones by the same door as any other."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from imaging_pipeline.errors import PluginError

GROUPS = ("loaders", "segmenters", "criteria", "exporters")


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"imaging_pipeline.{group}"):
        if entry.name in found:
            raise PluginError(
                "E-PLUGIN-TWICE",
                f"{group} '{entry.name}'",
                found=f"{_origin(found[entry.name])} and {_origin(entry)}",
                expected="one plug-in of that name",
                remedy="uninstall one of the two",
            )
        found[entry.name] = entry
    return found


def names(group: str) -> tuple[str, ...]:
    """The names of a group's plug-ins, sorted; nothing is imported."""
    return tuple(sorted(_entries(group)))


def origin(group: str, name: str) -> str:
    """Distribution and version of a plug-in, for provenance and cache keys."""
    return _origin(_find(group, name))


def load(group: str, name: str) -> Any:  # a plug-in's type is its group's protocol, checked by imaging_pipeline.testing
    """Import a plug-in.

    Raises
    ------
    PluginError
        When there is none of that name, or it does not import.
    """
    entry = _find(group, name)
    try:
        return entry.load()
    except Exception as error:  # a plug-in may fail in any way; the report names it and goes on
        raise PluginError(
            "E-PLUGIN-BROKEN",
            f"{group} '{name}' of {_origin(entry)}",
            found=f"{type(error).__name__} while importing {entry.value}",
            expected="a plug-in that imports",
            remedy="repair or uninstall that distribution",
        ) from error


def _find(group: str, name: str) -> EntryPoint:
    entries = _entries(group)
    if name not in entries:
        raise PluginError(
            "E-PLUGIN-UNKNOWN",
            f"{group} '{name}'",
            found="no plug-in of that name",
            expected=f"one of {', '.join(sorted(entries))}",
            remedy="correct the name in the configuration, or install its distribution",
        )
    return entries[name]


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
