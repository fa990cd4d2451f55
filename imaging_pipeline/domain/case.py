"""One patient's lesions through time: what was seen, measured and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from imaging_pipeline.domain.geometry import PointLps, Transform
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.errors import Problem

#: Arrays of a case by digest: masks, and the cut-outs of the scans around them.
Values = Mapping[str, Mask | Volume]


@dataclass(frozen=True, slots=True)
class Visit:
    """One time point; number 0 is the baseline."""

    number: int
    label: str
    date: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Segmented:
    """Measured on a mask (its digest); `points_lps` are the ends of the line, where there is one."""

    mask: str
    points_lps: tuple[PointLps, ...] = ()
    kind: Literal["segmented"] = "segmented"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line drawn by a reader."""

    points_lps: tuple[PointLps, ...]
    kind: Literal["drawn"] = "drawn"


@dataclass(frozen=True, slots=True)
class Edited:
    """Measured on a mask corrected by a reader; `review` is the digest of the act."""

    mask: str
    review: str
    points_lps: tuple[PointLps, ...] = ()
    kind: Literal["edited"] = "edited"


@dataclass(frozen=True, slots=True)
class Reported:
    """Stated in words by somebody."""

    source: str
    kind: Literal["reported"] = "reported"


Evidence = Segmented | Drawn | Edited | Reported


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number, already rounded to the last digit its catalogue entry prints.

    `lower95` and `upper95` bound it where the uncertainty is known; between
    `reader_lower95` and `reader_upper95` another reader's value would lie, where
    limits of agreement are published. `comparable` is None at baseline or where
    nothing is compared.
    """

    lesion_id: str
    visit: int
    quantity: str
    value: float
    unit: str
    evidence: Evidence
    lower95: float | None = None
    upper95: float | None = None
    modality: str = ""
    series_uid: str = ""
    comparable: bool | None = None
    flags: tuple[str, ...] = ()
    reader_lower95: float | None = None
    reader_upper95: float | None = None


class Outcome(StrEnum):
    """What became of looking for a lesion at a visit."""

    MEASURED = "measured"
    ABSENT = "absent"
    NOT_IMAGED = "not_imaged"
    NOT_EVALUABLE = "not_evaluable"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One lesion looked for at one visit: where, with what, and what came of it.

    `mask` and `view` are digests into the case's values: the outline, and the
    cut-out of the scan around it. `confidence` is between 0 and 1.
    """

    lesion_id: str
    visit: int
    outcome: Outcome
    series_uid: str = ""
    mask: str = ""
    view: str = ""
    transform: Transform | None = None
    confidence: float | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """One judgement of one visit by one criterion.

    `overall`, `target`, `non_target` and `new_lesion` are the criterion's own
    words ("SD", "NON-CR/NON-PD", "no", "REVIEW"). `measurements` names what was used as
    "lesion/quantity"; `reasons` are sentences a reader can check. `rule` cites what decided;
    `thresholds` are the values at which the targets' response would have been that code.
    `other_categories` holds the probability of each other overall response in percent, from
    the intervals of the measurements, and `other_reader_categories` were each visit measured by
    another reader; None where one of the intervals is not known. The last visit's
    `best_overall_response` and `progression_date` speak for the whole course.
    """

    criterion: str
    visit: int
    overall: str
    target: str = ""
    non_target: str = ""
    new_lesion: str = ""
    sum_mm: Decimal | None = None
    nadir_mm: Decimal | None = None
    change_from_baseline_pct: Decimal | None = None
    change_from_nadir_pct: Decimal | None = None
    measurements: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    evaluator: str = "imaging_pipeline"
    best_overall_response: str = ""
    progression_date: str = ""
    rule: str = ""
    thresholds: Mapping[str, Decimal] = field(default_factory=dict)
    other_categories: Mapping[str, float] | None = None
    other_reader_categories: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A score of the spine for one lesion at one visit: a range, as wide as what is not known makes it.

    `value` is the one number where there is one. `reasons` say what each item was taken for and why; `missing` names
    the items of which nothing is known.
    """

    score: Literal["genant", "sins"]
    lesion_id: str
    visit: int
    value: int | None
    least: int
    most: int
    category: str
    reasons: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """One human act on one lesion at one visit; each names the digest of the act before it.

    `judged` is the digest of what the reader saw: the sighting's mask, or for
    `sign` the visit's measurements. When it is no longer what the pipeline
    gives, the act is stale. `adjust` carries `points_lps` (the ends of one
    `quantity`'s line) or `mask` (the digest of a corrected outline); `add` a
    `mask` and the new lesion's `kind`; `finding` says what the reader takes
    the lesion for.
    """

    reader: str
    time: str
    act: Literal["accept", "adjust", "reject", "add", "sign"]
    visit: int
    judged: str
    previous: str
    lesion_id: str = ""
    quantity: str = ""
    points_lps: tuple[PointLps, ...] = ()
    mask: str = ""
    kind: str = ""
    finding: Literal["", "new", "split", "merged"] = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a patient was given, and when: the first day and the last, "" where it goes on."""

    label: str
    start: str
    end: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the case was made from and with."""

    version: str
    configuration: str
    inputs: tuple[str, ...]
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """All of it for one patient, under a pseudonym. Everything that leaves is a function of this and its values."""

    case: str
    visits: tuple[Visit, ...]
    lesions: tuple[Lesion, ...]
    sightings: tuple[Sighting, ...]
    measurements: tuple[Measurement, ...]
    assessments: tuple[Assessment, ...]
    provenance: Provenance
    problems: tuple[Problem, ...] = ()
    reviews: tuple[Review, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    scores: tuple[Score, ...] = ()
    schema_version: int = field(default=1)
