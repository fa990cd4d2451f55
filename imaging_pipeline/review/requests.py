"""What the page may ask for: one act, in a form that is checked before anything is done with it."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from imaging_pipeline.errors import ConfigurationError

#: An outline of a whole 512 x 512 x 1000 scan as packed NIfTI is far below this; so is a DICOM SEG of one lesion.
UPLOAD_BYTES = 64 * 2**20

#: JSON around the upload, which base64 makes a third longer.
REQUEST_BYTES = UPLOAD_BYTES * 4 // 3 + 65536

_Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_Axis = Literal["longest_diameter", "perpendicular_diameter", "short_axis"]
_Format = Literal[".nii", ".nii.gz", ".nrrd", ".dcm"]


def _decoded(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None


_Bytes = Annotated[bytes, BeforeValidator(_decoded), Field(max_length=UPLOAD_BYTES)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Painted(_Strict):
    """An outline painted on a view of the case."""

    view: _Digest
    bits: _Bytes


class Uploaded(_Strict):
    """An outline from a file another program wrote, and which of its labels."""

    format: _Format
    content: _Bytes
    label: Annotated[str, Field(min_length=1, max_length=64)] = "1"
    series: Annotated[int, Field(ge=0)]


class ActRequest(_Strict):
    """One act; `lesion` and `visit` count in the order of the case, `lesion` is None for a new one."""

    act: Literal["accept", "adjust", "reject", "add", "sign"]
    visit: Annotated[int, Field(ge=0)]
    judged: _Digest = ""
    lesion: Annotated[int, Field(ge=0)] | None = None
    name: Annotated[str, Field(max_length=64)] = ""
    kind: Literal["", "bone", "node", "soft_tissue"] = ""
    quantity: _Axis | Literal[""] = ""
    points_lps: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat], ...] = Field((), max_length=2)
    painted: Painted | None = None
    uploaded: Uploaded | None = None
    finding: Literal["", "new", "split", "merged"] = ""
    comment: Annotated[str, Field(max_length=2000)] = ""


def parsed(content: bytes) -> ActRequest:
    """The act a request states.

    Raises
    ------
    ConfigurationError
        When it states none; what was sent is not repeated.
    """
    try:
        return ActRequest.model_validate_json(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"][:2])
        raise bad_act(f"a value that does not fit at {where or 'the top'}", "one act, as the page sends it") from None


def bad_act(found: str, expected: str) -> ConfigurationError:
    """The refusal of an act that cannot be done."""
    return ConfigurationError(
        "E-REVIEW-ACT", "this act", found=found, expected=expected, remedy="correct it and repeat"
    )
