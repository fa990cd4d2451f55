"""What this package exported, read back as the nouns it was: tidy CSV, SDTM tumour results, TID 1500 reports.

No format says everything. What kind of lesion it is follows from its site and
from the quantities that only bone has; the tidy table has no row for a lesion
that was not measured, so that it is not evaluated at that visit.
"""

from __future__ import annotations

import csv
import struct
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

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
from imaging_pipeline.domain.codes import Code
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE, Needs
from imaging_pipeline.errors import ConfigurationError, RefusedError
from imaging_pipeline.io.cdisc import MACHINE
from imaging_pipeline.io.datasets import read_dataset
from imaging_pipeline.io.documents import document_of
from imaging_pipeline.io.foreign import content_of
from imaging_pipeline.io.sr import read_measurements
from imaging_pipeline.io.structured_report import CATEGORIES, STATES, TUMOR_STATE
from imaging_pipeline.io.tables import MEASUREMENT_COLUMNS, chosen, printed
from imaging_pipeline.io.terminology import METHODS
from imaging_pipeline.io.xpt import LIBRARY, read_xpt

_EVIDENCE: Mapping[str, Evidence] = {
    "segmented": Segmented(""),
    "edited": Edited("", ""),
    "drawn": Drawn(()),
    "reported": Reported("a table"),
}
_QUANTITIES = {quantity.cdisc: name for name, quantity in CATALOGUE.items()}
_MODALITIES = {method: modality for modality, method in reversed(METHODS.items())}
#: Fields of an assessment document. Source: the contract's `assess`.
_SIZES = {
    "longest_diameter_mm": "longest_diameter",
    "perpendicular_diameter_mm": "perpendicular_diameter",
    "short_axis_mm": "short_axis",
    "mean_hu": "mean_density",
    "volume_mm3": "volume",
}
_STATES = {
    Outcome.MEASURED: "present",
    Outcome.ABSENT: "absent",
    Outcome.NOT_IMAGED: "not_evaluated",
    Outcome.NOT_EVALUABLE: "not_evaluated",
}
_ROLES = {"TARGET": Role.TARGET, "NON-TARGET": Role.NON_TARGET, "NEW": Role.NEW}

#: What a table may say of how far its numbers can be trusted; a table of others, or an older one, need not.
_BOUNDS = ("lower95", "upper95", "reader_lower95", "reader_upper95")

#: What a damaged file ends in, wherever its reading stops.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error, csv.Error, UserWarning)


@dataclass(frozen=True)
class Reading:
    """One patient as an exported file tells it: what a criterion needs, without images."""

    case: str
    visits: tuple[Visit, ...]
    lesions: tuple[Lesion, ...]
    sightings: tuple[Sighting, ...]
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class _Said:
    """One statement of a file: a number, or what became of looking; a visit goes by its order, label and date."""

    case: str
    visit: tuple[int, str, str]
    lesion: str
    role: Role
    site: str = ""
    laterality: str = ""
    outcome: Outcome = Outcome.MEASURED
    quantity: str = ""
    value: Decimal = Decimal(0)
    evidence: str = "segmented"
    modality: str = ""
    series_uid: str = ""
    comparable: bool | None = None
    tracking_uid: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)


def readings(path: Path) -> tuple[Reading, ...]:
    """The patients of an exported file, or of a folder of reports; none when it is no export of ours.

    A report states one visit: those beside it state the others of its patient.

    Raises
    ------
    ConfigurationError, RefusedError
        When it is one and cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # Where pydicom would guess at a text or a number, we do not.
            warnings.simplefilter("error", UserWarning)
            return tuple(_patients(_statements(path)))
    except _DAMAGE as error:
        raise RefusedError(
            "E-EXPORT-DAMAGED",
            path.name,
            found=f"an entry missing or malformed ({type(error).__name__})",
            expected="measurements as this package exports them",
            remedy="export it again",
        ) from error


def _statements(path: Path) -> Iterator[_Said]:
    """What a file says, whatever its name: the kind of file is told by how it begins."""
    if path.is_dir():
        yield from _of_reports(sorted(path.rglob("*_sr.dcm")))
        return
    content = content_of(path)
    if content[128:132] == b"DICM":
        mine = str(document_of(path).PatientID)
        reports = sorted({path, *path.parent.glob("*_sr.dcm")})
        yield from (said for said in _of_reports(reports) if said.case == mine)
    elif content.startswith(LIBRARY) or _is_dataset(content):
        yield from _resulted(path)
    else:
        yield from _tabulated(content)


def timeline(reading: Reading) -> dict[str, Any]:
    """A reading as the document `assess` takes, numbers as exact decimals.

    The diameter of a bone lesion is that of its soft-tissue part (RECIST 1.1,
    4.1). A lesion that is new counts as unequivocal from the visit it is seen at.
    """
    known = [lesion for lesion in reading.lesions if lesion.role is not Role.NEW]
    listed = [
        {"id": each.lesion_id, "role": each.role.value, "organ": each.organ, "node": each.kind is Kind.NODE}
        for each in known
    ]
    numbers = chosen(reading.measurements)
    outcomes = {(each.lesion_id, each.visit): each.outcome for each in reading.sightings}
    appeared = _appearances(reading)
    visits = [
        {
            "id": visit.label,
            "date": visit.date,
            "measurements": {
                each.lesion_id: _finding(each, visit, outcomes, numbers) for each in known if each.role is Role.TARGET
            },
            "non_targets": {
                each.lesion_id: _STATES[outcomes.get((each.lesion_id, visit.number), Outcome.NOT_IMAGED)]
                for each in known
                if each.role is not Role.TARGET
            },
            "new_lesions": "unequivocal" if visit.number in appeared else "no",
        }
        for visit in reading.visits
    ]
    return {"kind": "timeline", "patient": reading.case, "lesions": listed, "visits": visits}


def _appearances(reading: Reading) -> set[int]:
    """The visits at which a new lesion was first seen."""
    new = {lesion.lesion_id for lesion in reading.lesions if lesion.role is Role.NEW}
    first: dict[str, int] = {}
    for sighting in sorted(reading.sightings, key=lambda each: each.visit):
        if sighting.lesion_id in new and sighting.outcome is Outcome.MEASURED:
            first.setdefault(sighting.lesion_id, sighting.visit)
    return set(first.values())


def _finding(
    lesion: Lesion,
    visit: Visit,
    outcomes: Mapping[tuple[str, int], Outcome],
    numbers: Mapping[tuple[str, int, str], Measurement],
) -> dict[str, Any]:
    outcome = outcomes.get((lesion.lesion_id, visit.number), Outcome.NOT_IMAGED)
    if outcome is not Outcome.MEASURED:
        return {"state": "absent" if outcome is Outcome.ABSENT else "not_evaluable"}
    sizes = {**_SIZES, "longest_diameter_mm": "soft_tissue_diameter"} if lesion.kind is Kind.BONE else _SIZES
    found = {field: numbers.get((lesion.lesion_id, visit.number, name)) for field, name in sizes.items()}
    stated = {field: Decimal(printed(each)) for field, each in found.items() if each is not None}
    if lesion.kind is Kind.NODE and "perpendicular_diameter_mm" in stated:
        # The short axis is the longest perpendicular; others' TR states it as LPERP alone.
        stated.setdefault("short_axis_mm", stated["perpendicular_diameter_mm"])
    return stated


# ---- Tidy CSV


def _tabulated(content: bytes) -> Iterator[_Said]:
    rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    if not rows or not set(MEASUREMENT_COLUMNS).difference(_BOUNDS) <= set(rows[0]):
        return
    dates: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        dates[row["case"]].setdefault(row["visit_date"], row["visit"])
    for row in rows:
        order = list(dates[row["case"]]).index(row["visit_date"])
        yield _Said(
            case=_armed(row["case"]),
            visit=(order, _armed(row["visit"]), row["visit_date"]),
            lesion=_armed(row["lesion"]),
            role=Role(row["role"]),
            site=row["site"],
            laterality=row["laterality"],
            quantity=row["quantity"],
            value=Decimal(row["value"]),
            evidence=row["evidence"],
            modality=_armed(row["modality"]),
            series_uid=row["series_uid"],
            comparable={"true": True, "false": False}.get(row["comparable"]),
            bounds={name: float(row[name]) for name in _BOUNDS if row.get(name)},
        )


def _armed(text: str) -> str:
    """A text as it was before it was disarmed for spreadsheets."""
    return text.removeprefix("'")


# ---- SDTM


def _is_dataset(content: bytes) -> bool:
    return content.lstrip().startswith(b"{") and b'"datasetJSONVersion"' in content


def _rows(path: Path) -> list[dict[str, str]]:
    content = content_of(path)
    return read_xpt(content) if content.startswith(LIBRARY) else read_dataset(path)


def _resulted(path: Path) -> Iterator[_Said]:
    """The records of TR, at a visit with accepted ones those alone; sites from TU beside it."""
    rows = _rows(path)
    if not rows or "TRTESTCD" not in rows[0]:
        raise ConfigurationError(
            "E-DATASET",
            path.name,
            found="another dataset than TR",
            expected="tumour results (TR), with TU beside it",
            remedy="name tr.json or tr.xpt",
        )
    beside = path.with_name(f"tu{path.suffix}")
    identified = _rows(beside) if beside.exists() else []
    known = {(row["USUBJID"], row["TULNKID"]): row for row in identified}
    accepted = {(row["USUBJID"], row["VISITNUM"]) for row in rows if row.get("TRACPTFL")}
    for row in (defaultdict(str, row) for row in rows):
        quantity = _QUANTITIES.get(row["TRTESTCD"], "")
        passed_over = not row["TRACPTFL"] and (row["USUBJID"], row["VISITNUM"]) in accepted
        if passed_over or not (quantity or row["TRTESTCD"] == "TUMSTATE"):
            continue
        lesion = known.get((row["USUBJID"], row["TRLNKID"]), {})
        yield _Said(
            case=row["USUBJID"],
            visit=(int(row["VISITNUM"]) - 1, row["VISIT"].lower(), row["TRDTC"]),
            lesion=row["TRSPID"] or row["TRLNKID"],
            role=_ROLES[row["TRGRPID"]],
            site=lesion.get("TULOC", ""),
            laterality=lesion.get("TULAT", "").lower(),
            outcome=_outcome(row),
            quantity=quantity,
            value=Decimal(row["TRSTRESN"] or 0),
            evidence="segmented" if row["TREVALID"] == MACHINE.upper() else "edited",
            modality=_MODALITIES.get(row["TRMETHOD"], ""),
            series_uid=row["TRREFID"],
        )


def _outcome(row: Mapping[str, str]) -> Outcome:
    if row["TRSTAT"]:
        return Outcome.NOT_IMAGED if row["TRREASND"] == "NOT IMAGED" else Outcome.NOT_EVALUABLE
    return Outcome.ABSENT if row["TRSTRESC"] == "ABSENT" else Outcome.MEASURED


# ---- Structured reports


def _of_reports(paths: Iterable[Path]) -> Iterator[_Said]:
    first: dict[str, tuple[int, str]] = {}
    for path in paths:
        for said in _reported(path):
            first[said.case] = min(first.get(said.case, (said.visit[0], path.name)), (said.visit[0], path.name))
            yield said
    for number, name in first.values():
        if number:
            raise RefusedError(
                "E-REPORT-BASELINE",
                name,
                found=f"reports from visit {number} on",
                expected="the baseline's report beside it",
                remedy="put the reports of all visits into one folder",
            )


def _reported(path: Path) -> Iterator[_Said]:
    numbers = defaultdict(list)
    for stated in read_measurements(path):
        numbers[stated.tracking_uid].append(stated)
    document = document_of(path)
    day = datetime.strptime(document.ContentDate, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a day has no zone
    for group in _groups(document):
        said = _context(group, str(document.PatientID), day)
        if said.outcome is not Outcome.MEASURED:
            yield said
        for stated in numbers[said.tracking_uid]:
            yield replace(said, quantity=stated.quantity, value=stated.value)


def _context(group: Dataset, case: str, day: str) -> _Said:
    """Whose the group is, when, where, and what became of looking."""
    items = {_name(child): child for child in group.ContentSequence}
    categories = {code.value: role for role, code in CATEGORIES.items()}
    states = {code.value: outcome for outcome, code in STATES.items()}
    site = items.get("363698007")
    return _Said(
        case=case,
        visit=(int(items["126070"].TextValue), str(items["C2348792"].TextValue), day),
        lesion=str(items["112039"].TextValue),
        role=categories[_chosen(items["112016"])],
        site=str(site.ConceptCodeSequence[0].CodeMeaning) if site else "",
        laterality=_side(site),
        outcome=states[_chosen(items[TUMOR_STATE.value])] if TUMOR_STATE.value in items else Outcome.MEASURED,
        tracking_uid=str(items["112040"].UID),
    )


def _side(site: Dataset | None) -> str:
    sides = site.get("ContentSequence") if site else None
    return str(sides[0].ConceptCodeSequence[0].CodeMeaning).lower() if sides else ""


def _groups(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        if _name(child) == "125007":
            yield child
        else:
            yield from _groups(child)


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _chosen(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeValue)


# ---- Nouns


def _patients(statements: Iterable[_Said]) -> Iterator[Reading]:
    by_case: dict[str, list[_Said]] = defaultdict(list)
    for said in statements:
        by_case[said.case].append(said)
    for case, told in by_case.items():
        yield Reading(
            case,
            tuple(_visits(told)),
            tuple(_lesions(told)),
            tuple(_sightings(told)),
            tuple(_measurement(said) for said in told if said.quantity),
        )


def _visits(told: list[_Said]) -> Iterator[Visit]:
    """Each visit on its first day of scanning."""
    stated = sorted({said.visit for said in told}, key=lambda visit: (visit[0], visit[2]))
    for number, visits in groupby(stated, key=itemgetter(0)):
        _, label, day = next(visits)
        yield Visit(number, label, day, ())


def _lesions(told: list[_Said]) -> Iterator[Lesion]:
    by_lesion: dict[str, list[_Said]] = defaultdict(list)
    for said in told:
        by_lesion[said.lesion].append(said)
    for name, mine in by_lesion.items():
        site = mine[0].site
        yield Lesion(
            lesion_id=name,
            tracking_uid=mine[0].tracking_uid,
            label=name,
            kind=_kind(site, {said.quantity for said in mine}),
            role=mine[0].role,
            site=Code("", "", site) if site else None,
            laterality=mine[0].laterality,
            organ=site,
        )


def _kind(site: str, quantities: set[str]) -> Kind:
    if "node" in site.lower():
        return Kind.NODE
    in_bone = any(CATALOGUE[name].needs is Needs.BONE for name in quantities if name)
    return Kind.BONE if in_bone else Kind.SOFT_TISSUE


def _sightings(told: list[_Said]) -> Iterator[Sighting]:
    """What became of looking: measured where there is a number."""
    outcomes: dict[tuple[str, int], _Said] = {}
    for said in told:
        if said.evidence != "reported":
            outcomes.setdefault((said.lesion, said.visit[0]), said)
    for (lesion, visit), said in outcomes.items():
        yield Sighting(lesion, visit, said.outcome, said.series_uid)


def _measurement(said: _Said) -> Measurement:
    return Measurement(
        said.lesion,
        said.visit[0],
        said.quantity,
        float(said.value),
        CATALOGUE[said.quantity].unit,
        _EVIDENCE[said.evidence],
        modality=said.modality,
        series_uid=said.series_uid,
        comparable=said.comparable,
        lower95=said.bounds.get("lower95"),
        upper95=said.bounds.get("upper95"),
        reader_lower95=said.bounds.get("reader_lower95"),
        reader_upper95=said.bounds.get("reader_upper95"),
    )
