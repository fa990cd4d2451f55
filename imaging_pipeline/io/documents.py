"""DICOM objects about images, handed to pydicom only after the strict reader believed them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom

from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.foreign import content_of
from imaging_pipeline.io.prescan import Scanner


def document_of(path: Path) -> pydicom.Dataset:
    """The object in a file.

    Raises
    ------
    RefusedError
        When the file cannot be believed.
    """
    content = content_of(path)
    header = Scanner().parse(content, path.name)
    if header.fault is not None:
        raise RefusedError.of(header.fault)
    return pydicom.dcmread(BytesIO(content))
