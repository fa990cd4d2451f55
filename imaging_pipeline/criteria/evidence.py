"""From the pipeline's nouns to a response problem: which measurement is believed, what a sighting says."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from imaging_pipeline.criteria.exact import as_decimal
from imaging_pipeline.criteria.params import Params
from imaging_pipeline.criteria.timeline import (
    MEASURABLE_NODE_MM,
    NOT_EVALUATED,
    PATHOLOGICAL_NODE_MM,
    SIZES,
    BoneLook,
    Finding,
    ListedLesion,
    NonTargetState,
    State,
    Timeline,
    Timepoint,
)
from imaging_pipeline.domain.case import (
    Drawn,
    Edited,
    Evidence,
    Measurement,
    Outcome,
    Reported,
    Segmented,
    Sighting,
    Visit,
)
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.errors import StageError

#: CT measures before MRI; nothing else measures (RECIST 1.1, 3.2).
MEASURING = ("CT", "MR")
#: A reader's hand before the machine's.
_EVIDENCE: tuple[type[Evidence], ...] = (Edited, Drawn, Segmented, Reported)

#: What is believed of one lesion at one visit, by quantity.
Believed = Mapping[str, Measurement]


def believed(measurements: Iterable[Measurement]) -> Believed:
    """The measurements of one lesion at one visit that are believed, by quantity; all from one series.

    Measured before reported, CT before MRI before the rest; on that series, per
    quantity, a reader's correction or line before the machine's outline.
    """
    ranked = sorted(measurements, key=rank)
    return {
        measurement.quantity: measurement
        for measurement in reversed(ranked)
        if _source(measurement) == _source(ranked[0])
    }


def rank(measurement: Measurement) -> tuple[bool, int, str, int]:
    """What goes first of several measurements of one thing: measured before reported, then by modality and evidence."""
    reported, modality, series = _source(measurement)
    place = MEASURING.index(modality) if modality in MEASURING else len(MEASURING)
    return reported, place, series, _EVIDENCE.index(type(measurement.evidence))


def _source(measurement: Measurement) -> tuple[bool, str, str]:
    return isinstance(measurement.evidence, Reported), measurement.modality, measurement.series_uid


def value_of(here: Believed, quantity: str) -> Decimal | None:
    """A believed value as the exact decimal that is printed for it."""
    measurement = here.get(quantity)
    return None if measurement is None else as_decimal(measurement.value)


def modality_of(here: Believed) -> str:
    """The modality the believed measurements were taken on, "" where there are none."""
    return next((measurement.modality for measurement in here.values()), "")


@dataclass(frozen=True)
class Record:
    """All the pipeline knows of one patient: what every criterion starts from.

    `believed` holds what is believed of each lesion, by its id, at each visit, by its number.
    """

    lesions: tuple[Lesion, ...]
    visits: tuple[Visit, ...]
    sightings: tuple[Sighting, ...]
    believed: Mapping[tuple[str, int], Believed]

    @cached_property
    def outcomes(self) -> Mapping[tuple[str, int], Outcome]:
        """What came of looking for a lesion at a visit."""
        return {(sighting.lesion_id, sighting.visit): sighting.outcome for sighting in self.sightings}

    def at(self, lesion: Lesion, visit: Visit) -> Believed:
        """What is believed of one lesion at one visit."""
        return self.believed.get((lesion.lesion_id, visit.number), {})

    def outcome(self, lesion: Lesion, visit: Visit) -> Outcome:
        """What came of looking for it; a measurement without a sighting shows that it was there."""
        measured = Outcome.MEASURED if self.at(lesion, visit) else Outcome.NOT_IMAGED
        return self.outcomes.get((lesion.lesion_id, visit.number), measured)

    def named(self, name: str, visit: Visit) -> Measurement | None:
        """What is believed under the name "lesion/quantity"."""
        lesion_id, _, quantity = name.rpartition("/")
        return self.believed.get((lesion_id, visit.number), {}).get(quantity)


def record_of(
    lesions: tuple[Lesion, ...],
    visits: tuple[Visit, ...],
    sightings: tuple[Sighting, ...],
    measurements: Iterable[Measurement],
) -> Record:
    """The record of one patient, of several measurements of one thing the believed one."""
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.lesion_id, measurement.visit), []).append(measurement)
    return Record(lesions, visits, sightings, {place: believed(group) for place, group in groups.items()})


@dataclass(frozen=True, slots=True)
class View:
    """How a criterion sees the pipeline's lesions: which it adds up, what is the diameter of a bone lesion.

    `density_must_compare` leaves a density out that was acquired with another technique than at baseline. `look`
    gives the findings of a bone lesion, and `behind` names the quantities each finding is taken from.
    """

    is_target: Callable[[Lesion], bool]
    bone_diameter: str = "soft_tissue_diameter"
    density_must_compare: bool = False
    look: Callable[[Believed, Believed, Lesion, Params], BoneLook] | None = None
    behind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def quantities(self) -> frozenset[str]:
        """All that the criterion may read."""
        return frozenset({*SIZES.values(), self.bone_diameter}.union(*self.behind.values()))


def designated(lesion: Lesion) -> bool:
    """RECIST's targets."""
    return lesion.role is Role.TARGET


def in_bone(lesion: Lesion) -> bool:
    """Bone lesions known at baseline, whatever RECIST calls them."""
    return lesion.kind is Kind.BONE and lesion.role is not Role.NEW


def timeline_of(record: Record, view: View, params: Params) -> Timeline:
    """The response problem a criterion sees.

    Raises
    ------
    StageError
        When a lesion has no role yet.
    """
    _require_roles(record.lesions)
    known = [lesion for lesion in record.lesions if lesion.role is not Role.NEW]
    listed = tuple(
        ListedLesion(
            lesion.lesion_id,
            "target" if view.is_target(lesion) else "non_target",
            lesion.organ,
            lesion.kind is Kind.NODE,
        )
        for lesion in known
    )
    appearing = _Appearing(record)
    visits = tuple(
        Timepoint(
            id=visit.label or str(visit.number),
            date=datetime.date.fromisoformat(visit.date),
            measurements={lesion.lesion_id: finding_of(record, lesion, visit, view) for lesion in known},
            non_targets={
                lesion.lesion_id: _state(record, lesion, visit) for lesion in known if not view.is_target(lesion)
            },
            bone=_looks(visit, known, record, view, params),
            **appearing.at(visit),
        )
        for visit in record.visits
    )
    return Timeline(listed, visits)


def _require_roles(lesions: Sequence[Lesion]) -> None:
    undecided = next((lesion.lesion_id for lesion in lesions if lesion.role is Role.AUTO), None)
    if undecided is not None:
        raise StageError(
            "E-ASSESS-ROLE",
            undecided,
            found="no role",
            expected="target, non_target or new",
            remedy="decide the roles before judging: criteria.roles.decide_roles",
        )


def quantities_of(lesion: Lesion, view: View) -> Mapping[str, str]:
    """The measured quantity behind each field of a finding."""
    return {**SIZES, "longest_diameter_mm": view.bone_diameter} if lesion.kind is Kind.BONE else SIZES


def finding_of(record: Record, lesion: Lesion, visit: Visit, view: View) -> Finding:
    """What one visit shows of one lesion; what neither CT nor MRI measured is not evaluated."""
    outcome, here = record.outcome(lesion, visit), record.at(lesion, visit)
    if outcome is Outcome.ABSENT:
        return Finding(state=State.ABSENT)
    if outcome is not Outcome.MEASURED or modality_of(here) not in (*MEASURING, ""):
        return NOT_EVALUATED
    sizes: dict[str, Any] = {field: value_of(here, name) for field, name in quantities_of(lesion, view).items()}
    if view.density_must_compare and "mean_density" in here and here["mean_density"].comparable is False:
        sizes["mean_hu"] = None
    return Finding(**sizes)


def _state(record: Record, lesion: Lesion, visit: Visit) -> NonTargetState:
    """The machine sees whether a lesion is there; it never claims unequivocal progression."""
    outcome = record.outcome(lesion, visit)
    if outcome is Outcome.MEASURED:
        return "present"
    return "absent" if outcome is Outcome.ABSENT else "not_evaluated"


def _looks(visit: Visit, known: Sequence[Lesion], record: Record, view: View, params: Params) -> Mapping[str, BoneLook]:
    if view.look is None:
        return {}
    first = record.visits[0]
    return {
        lesion.lesion_id: view.look(record.at(lesion, first), record.at(lesion, visit), lesion, params)
        for lesion in known
        if lesion.kind is Kind.BONE and record.outcome(lesion, visit) is Outcome.MEASURED
    }


class _Appearing:
    """New lesions as they appear, and as doubt about them is settled."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._new = [lesion for lesion in record.lesions if lesion.role is Role.NEW]
        self._certain: set[str] = set()
        self._doubted: dict[str, str] = {}

    def at(self, visit: Visit) -> dict[str, Any]:
        """What one visit states of new lesions, which earlier doubts it settles, and the sizes of the certain ones."""
        label = visit.label or str(visit.number)
        seen = [lesion for lesion in self._new if self._record.outcome(lesion, visit) is Outcome.MEASURED]
        certain = {lesion.lesion_id for lesion in seen if _is_certain(lesion, self._record.at(lesion, visit))}
        doubtful = {lesion.lesion_id for lesion in seen if _is_doubtful(lesion, self._record.at(lesion, visit))}
        appeared = certain - self._certain
        confirms = tuple(dict.fromkeys(self._doubted[name] for name in sorted(appeared) if name in self._doubted))
        doubted = doubtful - certain - self._certain - self._doubted.keys()
        self._certain |= certain
        self._doubted |= dict.fromkeys(doubted, label)
        sizes = {
            lesion.lesion_id: finding_of(self._record, lesion, visit, _AS_THEY_ARE)
            for lesion in self._new
            if lesion.lesion_id in self._certain
        }
        stated = "unequivocal" if appeared else "equivocal" if doubted else "no"
        return {"new_lesions": stated, "confirms_new_from": confirms, "new_targets": sizes}


_AS_THEY_ARE = View(is_target=designated, bone_diameter="longest_diameter")


def _is_certain(lesion: Lesion, here: Believed) -> bool:
    """Not a node that may be reactive, nor a sclerotic focus that may be a healing lesion (RECIST 1.1, 4.3.5)."""
    if lesion.kind is Kind.NODE:
        return _at_least(MEASURABLE_NODE_MM, value_of(here, "short_axis"))
    return lesion.kind is not Kind.BONE or lesion.bone_type in ("lytic", "mixed")


def _is_doubtful(lesion: Lesion, here: Believed) -> bool:
    """Disease perhaps: not a node of normal size."""
    return lesion.kind is not Kind.NODE or _at_least(PATHOLOGICAL_NODE_MM, value_of(here, "short_axis"))


def _at_least(least: Decimal, size: Decimal | None) -> bool:
    return size is not None and size >= least
