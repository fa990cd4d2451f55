"""What was followed and found: a response problem without images, in exact decimals."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from imaging_pipeline.criteria.exact import MAX_DIGITS

#: Short axis of a node: measurable from 15 mm, pathological from 10 mm, normal below (RECIST 1.1, 3.1.1).
MEASURABLE_NODE_MM = Decimal(15)
PATHOLOGICAL_NODE_MM = Decimal(10)
#: Ten metres: a larger size is a slip of the unit.
MAX_SIZE_MM = Decimal(10_000)
_FORBID = ConfigDict(extra="forbid")


def read_number(value: Any) -> Decimal:
    """A JSON number as an exact decimal."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, float)):
        raise PydanticCustomError("not_a_number", "a number")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise PydanticCustomError("not_finite", "a finite number")
    _, digits, exponent = number.as_tuple()
    if max(len(digits), len(digits) + int(exponent), -int(exponent)) > MAX_DIGITS:
        raise PydanticCustomError("too_many_digits", "a number of at most {limit} digits", {"limit": MAX_DIGITS})
    return number


def _at_least_zero(value: Any) -> Decimal:
    number = read_number(value)
    if number < 0:
        raise PydanticCustomError("negative_size", "a size of 0 or more")
    return number


def _length(value: Any) -> Decimal:
    number = _at_least_zero(value)
    if number > MAX_SIZE_MM:
        raise PydanticCustomError("too_large", "a length in millimetres, below 10 metres")
    return number


def _day(value: Any) -> datetime.date:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        if isinstance(value, str) and len(value) == len("2024-01-31"):
            return datetime.date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("not_a_date", "a date written YYYY-MM-DD")


Number = Annotated[Decimal, BeforeValidator(read_number, json_schema_input_type=float)]
Size = Annotated[Decimal, BeforeValidator(_at_least_zero, json_schema_input_type=float)]
LengthMm = Annotated[Decimal, BeforeValidator(_length, json_schema_input_type=float)]
Day = Annotated[datetime.date, BeforeValidator(_day, json_schema_input_type=datetime.date)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class State(StrEnum):
    """What was found of a lesion where no size was."""

    ABSENT = "absent"
    TOO_SMALL = "too_small"
    NOT_EVALUABLE = "not_evaluable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One lesion at one visit: sizes, or a state, or fragments, or the lesion it merged into."""

    longest_diameter_mm: LengthMm | None = None
    perpendicular_diameter_mm: LengthMm | None = None
    short_axis_mm: LengthMm | None = None
    mean_hu: Number | None = None
    volume_mm3: Size | None = None
    state: State | None = None
    fragments: tuple[Finding, ...] = ()
    merged_into: str = ""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID


#: The fields of a finding that hold numbers, and the quantities of the catalogue they are.
SIZES: Mapping[str, str] = {
    "longest_diameter_mm": "longest_diameter",
    "perpendicular_diameter_mm": "perpendicular_diameter",
    "short_axis_mm": "short_axis",
    "mean_hu": "mean_density",
    "volume_mm3": "volume",
}
NOT_EVALUATED = Finding(state=State.NOT_EVALUABLE)

NonTargetState = Literal["present", "absent", "progression", "not_evaluated"]
NewLesions = Literal["no", "equivocal", "unequivocal"]
Flag = Literal["intratumoral_nodule", "nonmeasurable_progression", "symptomatic_worsening"]
Trend = Literal["disappeared", "normalized", "regressed", "decreased", "unchanged", "increased"]


@dataclass(frozen=True, slots=True)
class BoneFindings:
    """What an image shows of one bone lesion against the image before; None is "not stated"."""

    lytic_fill_in: Literal["complete", "partial", "none"] | None = None
    sclerotic_rim: bool | None = None
    blastic: Trend | None = None
    tumor_signal: Trend | None = None
    hot_spots: Trend | None = None
    measurable_lesion: Trend | None = None
    lesion: Trend | None = None
    activity: Trend | None = None
    sclerosis_of_previously_undetected: bool | None = None
    new_lesion: bool | None = None
    flare_excluded: bool | None = None
    rapid_regression_excluded: bool | None = None

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID


@dataclass(frozen=True, slots=True)
class BoneLook:
    """One bone lesion looked at with one modality (XR radiograph, SS scintigraphy)."""

    modality: Literal["CT", "MRI", "XR", "SS"]
    findings: BoneFindings

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID


@dataclass(frozen=True, slots=True)
class ListedLesion:
    """One lesion written down at baseline."""

    id: Name
    role: Literal["target", "non_target"]
    organ: str = ""
    node: bool = False

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID


@dataclass(frozen=True, slots=True)
class Timepoint:
    """What one visit found. A lesion it does not name was not evaluated."""

    id: Name
    date: Day
    measurements: Mapping[str, Finding] = field(default_factory=dict)
    non_targets: Mapping[str, NonTargetState] = field(default_factory=dict)
    new_lesions: NewLesions = "no"
    confirms_new_from: tuple[str, ...] = ()
    new_targets: Mapping[str, Finding] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    bone: Mapping[str, BoneLook] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    @property
    def new_lesion(self) -> NewLesions:
        """What is said of new lesions; to confirm an earlier equivocal one is to state it unequivocal."""
        return "unequivocal" if self.confirms_new_from else self.new_lesions


@dataclass(frozen=True)
class Timeline:
    """One patient's lesions and visits, in order of time; the first visit is the baseline."""

    lesions: tuple[ListedLesion, ...]
    visits: tuple[Timepoint, ...]

    @property
    def baseline(self) -> Timepoint:
        """The first visit."""
        return self.visits[0]

    @cached_property
    def targets(self) -> tuple[ListedLesion, ...]:
        """The lesions whose sizes are added up."""
        return tuple(lesion for lesion in self.lesions if lesion.role == "target")

    @cached_property
    def non_targets(self) -> tuple[ListedLesion, ...]:
        """All other lesions known at baseline."""
        return tuple(lesion for lesion in self.lesions if lesion.role == "non_target")
