"""The scores of the spine from what the pipeline found of each vertebral lesion at each visit, as far as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from imaging_pipeline.config import LesionEntry, ReportedEntry
from imaging_pipeline.criteria.evidence import Believed, record_of
from imaging_pipeline.criteria.exact import as_decimal
from imaging_pipeline.criteria.scores import GENANT_CATEGORIES, GENANT_MILD_PCT, SINS_ITEMS, genant, sins_between
from imaging_pipeline.domain.case import Measurement, Outcome, Score, Sighting, Visit
from imaging_pipeline.domain.codes import SITES, VERTEBRAE, Code
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.errors import Problem

#: Where SINS sees each part of the spine. Source: Fisher et al., Spine 2010; the sacrum is junctional at S1 only.
_LOCATIONS = {
    "junctional": ("C1", "C2", "C7", "T1", "T2", "T11", "T12", "L1", "L5", "sacrum"),
    "mobile": ("C3", "C4", "C5", "C6", "L2", "L3", "L4"),
    "semirigid": ("T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10"),
    "rigid": ("sacrum",),
}
#: Of the lytic and sclerotic shares together one takes this much in a lytic or a blastic lesion. SINS sets no figure:
#: a decision.
PURE_PCT = Decimal(75)
#: From this loss on SINS' higher item of collapse holds.
HALF_COLLAPSED_PCT = Decimal(50)
#: How a lesion file names a SINS item it states, as the quantity of a reported entry.
STATED = "sins_"

#: What an item may be, and why.
Known = tuple[tuple[str, ...], str]


def score_spine(
    lesions: tuple[Lesion, ...],
    visits: tuple[Visit, ...],
    sightings: tuple[Sighting, ...],
    measurements: tuple[Measurement, ...],
    told: Sequence[LesionEntry],
) -> tuple[Score, ...]:
    """Genant's grade and SINS were told of vertebral lesions as ranges that hold all their known items allow.

    Genant's grade is that of the measured height loss, its range that of the loss's 95 % interval. SINS takes its
    items from the site, the densities and the height loss, and what an image does not show from the lesion file.
    """
    record = record_of(lesions, visits, sightings, measurements)
    entries = {entry.id: entry.reported for entry in told}
    return tuple(
        score
        for visit in visits
        for lesion in lesions
        if record.outcome(lesion, visit) is Outcome.MEASURED
        for score in _scores(lesion, visit, record.at(lesion, visit), _stated(entries, lesion, visit, visits[0]))
    )


def not_understood(told: Sequence[LesionEntry]) -> Iterator[Problem]:
    """What a lesion file states of SINS in words that SINS does not have."""
    for entry in told:
        for said in entry.reported:
            item = said.quantity.removeprefix(STATED)
            if said.quantity.startswith(STATED) and said.statement not in SINS_ITEMS.get(item, {}):
                yield Problem(
                    "W-SINS-STATED",
                    f"lesion {entry.id}",
                    f"a {said.quantity} that SINS does not have ({said.source})",
                    ", ".join(SINS_ITEMS.get(item, {})) or f"one of {', '.join(STATED + name for name in SINS_ITEMS)}",
                    "state it in these words",
                )


def _stated(
    entries: Mapping[str, Sequence[ReportedEntry]], lesion: Lesion, visit: Visit, baseline: Visit
) -> dict[str, Known]:
    """What a reader states of a lesion at a visit, and of a lesion's kind at baseline."""
    dates = (visit.date, "baseline") if visit is baseline else (visit.date,)
    stated: dict[str, Known] = {}
    if visit is baseline and lesion.bone_type:
        stated["lesion"] = (lesion.bone_type,), "stated: lesion file"
    for said in entries.get(lesion.lesion_id, ()):
        item = said.quantity.removeprefix(STATED)
        if said.visit in dates and said.quantity.startswith(STATED) and said.statement in SINS_ITEMS.get(item, {}):
            stated[item] = (said.statement,), f"stated: {said.source}"
    return stated


def _scores(lesion: Lesion, visit: Visit, here: Believed, stated: Mapping[str, Known]) -> Iterator[Score]:
    loss = here.get("height_loss")
    if loss is not None:
        least, most = (genant(bound) for bound in _bounds(loss))
        yield Score(
            "genant",
            lesion.lesion_id,
            visit.number,
            genant(as_decimal(loss.value)),
            least,
            most,
            " to ".join(GENANT_CATEGORIES[grade] for grade in sorted({least, most})),
            (_words(loss),),
        )
    location = _location(lesion.site)
    if location is not None:
        measured = {"location": location, "lesion": _quality(here), "collapse": _collapse(loss)}
        items = {item: known for item in SINS_ITEMS if (known := _joined(measured.get(item), stated.get(item)))}
        found = sins_between({item: answers for item, (answers, _) in items.items()})
        reasons = (f"{item}: {' or '.join(answers)} ({why})" for item, (answers, why) in items.items())
        yield Score(
            "sins",
            lesion.lesion_id,
            visit.number,
            found.total,
            found.least,
            found.most,
            found.category,
            tuple(reasons),
            found.missing,
        )


def _joined(measured: Known | None, stated: Known | None) -> Known | None:
    """A reader's answer among those the measurements allow; theirs where it is not."""
    if measured is None or stated is None:
        return measured or stated
    (answers, why), (answer, source) = measured, stated
    return (answer if set(answer) <= set(answers) else answers), f"{why}; {answer[0]} {source}"


def _location(site: Code | None) -> Known | None:
    level = next((name for name in (*VERTEBRAE, "sacrum") if SITES[name] == site), None)
    answers = tuple(answer for answer, levels in _LOCATIONS.items() if level in levels)
    return (answers, str(level)) if answers else None


def _quality(here: Believed) -> Known | None:
    """Lytic, mixed or blastic by which of the two shares prevails, over all their intervals allow."""
    lytic, sclerotic = here.get("lytic_fraction"), here.get("sclerotic_fraction")
    if lytic is None or sclerotic is None:
        return None
    (fewest, most), (least_dense, most_dense) = _bounds(lytic), _bounds(sclerotic)
    least, highest = _share_pct(fewest, most_dense), _share_pct(most, least_dense)
    ranges = {"lytic": highest >= PURE_PCT, "mixed": least < PURE_PCT and highest > 100 - PURE_PCT}
    ranges["blastic"] = least <= 100 - PURE_PCT
    answers = tuple(answer for answer, may_be in ranges.items() if may_be)
    return answers, f"{_words(lytic)}, {_words(sclerotic)}"


def _share_pct(lytic: Decimal, sclerotic: Decimal) -> Decimal:
    both = lytic + sclerotic
    return 100 * lytic / both if both else Decimal(50)


def _collapse(loss: Measurement | None) -> Known | None:
    """No collapse below Genant's mildest grade; how much of the body a lesion takes is not told."""
    if loss is None:
        return None
    least, most = _bounds(loss)
    answers = (
        *(("none", "none, >50% body involved") if least < GENANT_MILD_PCT else ()),
        *(("<50%",) if most >= GENANT_MILD_PCT and least <= HALF_COLLAPSED_PCT else ()),
        *((">50%",) if most > HALF_COLLAPSED_PCT else ()),
    )
    return answers, _words(loss)


def _bounds(measurement: Measurement) -> tuple[Decimal, Decimal]:
    """The ends of a value's 95 % interval; the value itself where the interval is not known."""
    low, high = (
        as_decimal(measurement.value if bound is None else bound)
        for bound in (measurement.lower95, measurement.upper95)
    )
    return low, high


def _words(measurement: Measurement) -> str:
    low, high = _bounds(measurement)
    name = measurement.quantity.replace("_", " ")
    return f"{name} {as_decimal(measurement.value)} %, {low} to {high}"
