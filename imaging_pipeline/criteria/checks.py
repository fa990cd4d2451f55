"""What makes a document unfit to be judged: one line that names the field and the remedy, never a guess."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from imaging_pipeline.criteria.exact import MAX_DIGITS
from imaging_pipeline.criteria.response import Ruler
from imaging_pipeline.criteria.timeline import NOT_EVALUATED, SIZES, Finding, State, Timeline, Timepoint
from imaging_pipeline.errors import ConfigurationError

_MILLIMETRES = "give sizes in millimetres, 0 or more; a lesion that is gone is {'state': 'absent'}"
_REMEDIES = {
    "missing": "add it",
    "not_a_number": 'write a plain number; where nothing was measured, {"state": "not_evaluable"} or leave it out',
    "not_finite": 'write a plain number; where nothing was measured, {"state": "not_evaluable"} or leave it out',
    "negative_size": _MILLIMETRES,
    "too_large": _MILLIMETRES,
    "too_many_digits": f"write at most {MAX_DIGITS} digits",
    "not_a_date": "write the full date, YYYY-MM-DD",
}
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def refuse(subject: str, found: str, expected: str, remedy: str) -> NoReturn:
    """Refuse a document."""
    raise ConfigurationError("E-ASSESS", subject, found=found, expected=expected, remedy=remedy)


def refuse_invalid(error: ValidationError, document: Any, model: type[BaseModel]) -> NoReturn:
    """Refuse a document that does not fit its model, naming the field as the document's author would."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, where = first["type"], _path(first["loc"], document)
    if kind in _UNKNOWN_KEY:
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(model), n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "remove it, or see `imaging-pipeline schema assess`"
        refuse(where, "an unknown key", "a key of the schema", remedy)
    found = "nothing" if kind == "missing" else "a value that does not fit"
    refuse(where, found, first["msg"], _REMEDIES.get(kind, "correct it, or see `imaging-pipeline schema assess`"))


def _path(location: Sequence[int | str], document: Any) -> str:
    """The place of a field, with entries of a list called by their id."""
    parts = []
    for part in location:
        inside = document[part] if _holds(document, part) else None
        named = isinstance(part, int) and isinstance(inside, Mapping) and isinstance(inside.get("id"), str)
        parts.append(str(inside["id"]) if named and inside else str(part))
        document = inside
    return ".".join(parts) or "document"


def _holds(document: Any, part: int | str) -> bool:
    if isinstance(document, Mapping):
        return part in document
    return isinstance(document, Sequence) and isinstance(part, int) and part < len(document)


def _known_keys(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({key for part in parts for key in part.get("properties", {})})


def check_timeline(timeline: Timeline) -> None:
    """Refuse a timeline whose parts contradict each other.

    Raises
    ------
    ConfigurationError
        Naming the first field that is wrong.
    """
    check_unique("lesions", [lesion.id for lesion in timeline.lesions])
    check_unique("visits", [visit.id for visit in timeline.visits])
    _check_order(timeline)
    _check_baseline(timeline)
    for number, visit in enumerate(timeline.visits):
        _check_names(timeline, visit)
        _check_confirmation(timeline.visits[:number], visit)
        for lesion_id, finding in visit.measurements.items():
            _check_finding(finding, "visits", visit.id, "measurements", lesion_id)
            if finding.merged_into:
                _check_merge(timeline, visit, lesion_id)
        for lesion_id, finding in visit.new_targets.items():
            _check_finding(finding, "visits", visit.id, "new_targets", lesion_id)


def check_unique(field: str, ids: Sequence[str]) -> None:
    """Refuse a list that names something twice."""
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        refuse(f"{field}.{twice}", "this id twice", "each once", "remove one, or give it another id")


def _check_order(timeline: Timeline) -> None:
    for before, visit in zip(timeline.visits, timeline.visits[1:], strict=False):
        if visit.date == before.date:
            refuse(f"visits.{visit.id}.date", f"the day of {before.id}", "one visit a day", "join the two visits")
        if visit.date < before.date:
            refuse(
                f"visits.{visit.id}.date",
                f"a day before {before.id}",
                "visits in order of time, the baseline first",
                "correct the date or the order",
            )


def _check_baseline(timeline: Timeline) -> None:
    first = timeline.baseline
    if first.new_lesion != "no" or first.new_targets:
        refuse(f"visits.{first.id}", "a new lesion", "none at baseline", "list it among the lesions")
    for lesion in timeline.targets:
        finding = first.measurements.get(lesion.id)
        if finding is not None and (finding.state is State.ABSENT or finding.merged_into or _is_zero(finding)):
            refuse(
                f"visits.{first.id}.measurements.{lesion.id}",
                "a target that baseline does not show",
                "a size above 0",
                "give its size, or make it no target",
            )


def _is_zero(finding: Finding) -> bool:
    lengths = (finding.longest_diameter_mm, finding.short_axis_mm, finding.volume_mm3)
    return 0 in [length for length in lengths if length is not None]


def _check_names(timeline: Timeline, visit: Timepoint) -> None:
    listed = {lesion.id: lesion for lesion in timeline.lesions}
    _check_known(f"visits.{visit.id}.measurements", visit.measurements, listed)
    _check_known(f"visits.{visit.id}.non_targets", visit.non_targets, listed)
    if listed:
        _check_known(f"visits.{visit.id}.bone", visit.bone, listed)
    for lesion_id in visit.non_targets:
        if listed[lesion_id].role == "target":
            refuse(
                f"visits.{visit.id}.non_targets.{lesion_id}",
                "a target",
                "a lesion whose role is non_target",
                "state it under measurements, or correct its role",
            )
    for lesion_id in visit.new_targets:
        if lesion_id in listed:
            refuse(
                f"visits.{visit.id}.new_targets.{lesion_id}",
                "a lesion of baseline",
                "a lesion that is new",
                "state it under measurements, or give the new lesion an id of its own",
            )


def _check_known(field: str, named: Iterable[str], listed: Mapping[str, Any]) -> None:
    for lesion_id in named:
        if lesion_id not in listed:
            near = difflib.get_close_matches(lesion_id, listed, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else "list it, or remove it here"
            refuse(f"{field}.{lesion_id}", "an unknown lesion", "a lesion of the list", remedy)


def _check_confirmation(earlier: Sequence[Timepoint], visit: Timepoint) -> None:
    equivocal = {before.id for before in earlier if before.new_lesions == "equivocal"}
    for confirmed in visit.confirms_new_from:
        if confirmed not in equivocal:
            refuse(
                f"visits.{visit.id}.confirms_new_from",
                f"'{confirmed}', no earlier visit with an equivocal new lesion",
                "the id of such a visit",
                "correct the id, or state the earlier visit's new_lesions as equivocal",
            )


def _check_finding(finding: Finding, *where: str) -> None:
    forms = {
        "sizes": any(getattr(finding, size) is not None for size in SIZES),
        "state": finding.state is not None,
        "fragments": bool(finding.fragments),
        "merged_into": bool(finding.merged_into),
    }
    if sum(forms.values()) != 1:
        found = " and ".join(form for form, is_stated in forms.items() if is_stated) or "nothing"
        refuse(".".join(where), found, "sizes, or state, or fragments, or merged_into", "keep the one that holds")
    for number, fragment in enumerate(finding.fragments):
        if fragment.fragments or fragment.merged_into:
            field = ".".join((*where, "fragments", str(number)))
            refuse(field, "a fragment in pieces, or merged", "sizes or a state", "list all fragments beside each other")
        _check_finding(fragment, *where, "fragments", str(number))


def _check_merge(timeline: Timeline, visit: Timepoint, lesion_id: str) -> None:
    """A merged lesion leads, in the end, to a target that is itself evaluated or not, never in a circle."""
    targets = {lesion.id for lesion in timeline.targets}
    passed = [lesion_id]
    while partner := visit.measurements.get(passed[-1], NOT_EVALUATED).merged_into:
        if partner in passed or partner not in targets:
            found = "a circle" if partner in passed else f"'{partner}', which is no target"
            field = f"visits.{visit.id}.measurements.{passed[-1]}.merged_into"
            refuse(field, found, "the target that now holds both", "name that target")
        passed.append(partner)


def check_sizes(timeline: Timeline, ruler: Ruler) -> None:
    """Refuse a timeline with a measured target that lacks the size a criterion follows.

    Raises
    ------
    ConfigurationError
        Naming the field that is missing.
    """
    for visit in timeline.visits:
        for lesion in timeline.targets:
            for part in _measured(visit.measurements.get(lesion.id, NOT_EVALUATED)):
                if ruler.size(lesion, part) is None:
                    field = next(name for name in ruler.fields(lesion) if getattr(part, name) is None)
                    refuse(
                        f"visits.{visit.id}.measurements.{lesion.id}.{field}",
                        "nothing",
                        f"what the criterion follows of {'a node' if lesion.node else 'a target'}",
                        "add it, or leave the lesion out where it was not evaluated",
                    )


def _measured(finding: Finding) -> Iterator[Finding]:
    """The parts of a finding that hold sizes."""
    return (part for part in finding.fragments or (finding,) if part.state is None and not part.merged_into)
