"""Files that people write: documents and tables as text."""

from __future__ import annotations

from pathlib import Path

from imaging_pipeline.errors import ConfigurationError


def read_text(path: Path) -> str:
    """The text of a file, in UTF-8.

    Raises
    ------
    ConfigurationError
        When its bytes are something else.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(
            "E-CONFIG", path.name, found="bytes that are not UTF-8", expected="a text file", remedy="save it as UTF-8"
        ) from None
