"""A case as CDISC SDTM: tumour identification, results and response, and what relates them.

TU says which lesions there are, TR what was found of each at each visit, RS how
it was judged. Sums of diameters in TR are the assessing system's own, not
derived by the sponsor. A record counts as accepted once a reader signed its
visit, and of several criteria RECIST's response is the one its results are
related to. A case is a set of datasets of its own. Study days count from a reference start date that only
the trial knows: without one they stay empty.

Source: SDTM 3.4 (TU, TR, RS; RELREC, SUPP--), SDTM IG 3.4 6.3.12; NCI controlled terminology: TUTESTCD C96784,
TUIDRS C123650, TRTESTCD C96779, TRPROPRS C124309, RSTESTCD C96782, ONCRSR C96785, ONCRSCAT C124415, METHOD C85492,
LAT C99073, EVAL C78735.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from imaging_pipeline.config import ExportConfig, ReaderConfig
from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Assessment, Case, Edited, Measurement, Outcome, Reported, Review, Visit
from imaging_pipeline.domain.codes import Code
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.io.datasets import Dataset, Value, dataset_of
from imaging_pipeline.io.tables import chosen, number
from imaging_pipeline.io.terminology import (
    CATEGORIES,
    LOCATIONS,
    METHODS,
    RELREC,
    RS,
    SUPPTU,
    TESTS,
    TR,
    TU,
    UNITS,
)

Row = dict[str, Value]

#: The evaluator of what no reader corrected.
MACHINE = "imaging_pipeline"

#: The flag of a measurement that stands for a lesion too small to measure (RECIST 1.1: 5 mm).
TOO_SMALL = "too_small"

_GROUPS = {Role.TARGET: ("TARGET", "T"), Role.NEW: ("NEW", "NEW")}
_NON_TARGET = ("NON-TARGET", "NT")
_REASONS = {
    Outcome.NOT_IMAGED: "NOT IMAGED",
    Outcome.NOT_EVALUABLE: "NOT EVALUABLE",
}
_IDENTIFICATIONS = {
    "split": ("TUSPLIT", "Tumor Split"),
    "merged": ("TUMERGE", "Tumor Merged"),
}
_IDENTIFIED = ("TUMIDENT", "Tumor Identification")
_RESPONSES = (
    ("TRGRESP", "Target Response", "target"),
    ("NTRGRESP", "Non-target Response", "non_target"),
    ("NEWLPROG", "New Lesion Progression", "new_lesion"),
    ("OVRLRESP", "Overall Response", "overall"),
)
_BEST = ("BESTRESP", "Best Response")
_FIRST = "recist-1.1"


def datasets(case: Case, trial: ExportConfig) -> tuple[Dataset, ...]:
    """TU, TR, RS, RELREC and SUPPTU of one case; a dataset without rows is left out."""
    view = _View(case, trial)
    identified = _numbered("TU", tuple(_identifications(view)))
    made = (
        dataset_of("TU", "Tumor/Lesion Identification", TU, ("STUDYID", "USUBJID", "TULNKID", "TUEVALID"), identified),
        dataset_of(
            "TR",
            "Tumor/Lesion Results",
            TR,
            ("STUDYID", "USUBJID", "TRTESTCD", "TRLNKID", "VISITNUM", "TREVALID"),
            _numbered("TR", tuple(_results(view))),
        ),
        dataset_of(
            "RS",
            "Disease Response and Clin Classification",
            RS,
            ("STUDYID", "USUBJID", "RSCAT", "RSTESTCD", "VISITNUM", "RSEVALID"),
            _numbered("RS", tuple(_responses(view))),
        ),
        dataset_of("RELREC", "Related Records", RELREC, ("STUDYID", "RDOMAIN", "RELID"), tuple(_relations(trial))),
        dataset_of(
            "SUPPTU",
            "Supplemental Qualifiers for TU",
            SUPPTU,
            ("STUDYID", "USUBJID", "IDVARVAL", "QNAM"),
            tuple(_supplements(view, identified)),
        ),
    )
    return tuple(dataset for dataset in made if dataset.rows)


@dataclass(frozen=True)
class _View:
    """A case in a trial's words."""

    case: Case
    trial: ExportConfig

    @cached_property
    def visits(self) -> Mapping[int, Visit]:
        return {visit.number: visit for visit in self.case.visits}

    @cached_property
    def subject(self) -> Row:
        trial = self.trial
        usubjid = trial.subject_ids.get(self.case.case) or f"{trial.study_id}-{self.case.case}"
        return {"STUDYID": trial.study_id, "USUBJID": usubjid}

    @cached_property
    def links(self) -> Mapping[str, str]:
        """Link ids by lesion: T01, NT01, NEW01 in the case's order; a lesion named PARENT.1 is a part of its parent."""
        links: dict[str, str] = {}
        counts: dict[str, int] = {}
        for lesion in self.case.lesions:
            parent, _, part = lesion.lesion_id.rpartition(".")
            if parent in links and part.isdecimal():
                links[lesion.lesion_id] = f"{links[parent]}.{part}"
                continue
            letters = _GROUPS.get(lesion.role, _NON_TARGET)[1]
            counts[letters] = counts.get(letters, 0) + 1
            links[lesion.lesion_id] = f"{letters}{counts[letters]:02d}"
        return links

    @cached_property
    def signed(self) -> frozenset[int]:
        """The visits whose numbers, as they stand, a reader signed."""
        return frozenset(
            act.visit
            for act in self.case.reviews
            if act.act == "sign" and act.judged == signature(self.case.measurements, act.visit)
        )

    @cached_property
    def related(self) -> Mapping[int, Assessment]:
        """The one judgement of a visit that its results are related to: RECIST's, else that of the first criterion."""
        judged = sorted(self.case.assessments, key=lambda each: each.criterion != _FIRST)
        return {each.visit: each for each in reversed(judged) if each.overall}

    @cached_property
    def acts(self) -> Mapping[str, Review]:
        """What a reader took a lesion for, by lesion: split or merged."""
        return {act.lesion_id: act for act in self.case.reviews if act.finding in _IDENTIFICATIONS}

    def parent(self, lesion: Lesion) -> str:
        """The link id of the lesion this one is a part of, or ""."""
        return self.links[lesion.lesion_id].rpartition(".")[0]

    def link(self, lesion: Lesion, evaluator: str) -> str:
        prefix = self.reader(evaluator).prefix
        return f"{prefix}-{self.links[lesion.lesion_id]}" if prefix else self.links[lesion.lesion_id]

    def reader(self, evaluator: str) -> ReaderConfig:
        return self.trial.readers.get(evaluator, ReaderConfig())

    def evaluated(self, prefix: str, evaluator: str, visit: Visit, *, accepted: bool = True) -> Row:
        reader = self.reader(evaluator)
        return {
            f"{prefix}EVAL": reader.evaluator,
            f"{prefix}EVALID": reader.evaluator_id or evaluator.upper(),
            f"{prefix}ACPTFL": "Y" if accepted and visit.number in self.signed else None,
        }

    def when(self, prefix: str, visit: Visit, day: str = "") -> Row:
        """Visit, date of the scan, and its day of study; no day 0."""
        stated = day or visit.date
        start = self.trial.reference_start_dates.get(self.case.case)
        study_day = None
        if start is not None and stated:
            days = (date.fromisoformat(stated) - start).days
            study_day = days + 1 if days >= 0 else days
        when: Row = {"VISITNUM": visit.number + 1, "VISIT": visit.label.upper(), f"{prefix}DTC": stated or None}
        when[f"{prefix}DY"] = study_day
        if prefix != "RS":
            when[f"{prefix}LOBXFL"] = "Y" if self._last_before_exposure(visit) else None
        return when

    def _last_before_exposure(self, visit: Visit) -> bool:
        start = self.trial.reference_start_dates.get(self.case.case)
        if start is None:
            return False
        before = [each.number for each in self.case.visits if each.date and date.fromisoformat(each.date) <= start]
        return bool(before) and visit.number == before[-1]

    def scanned(self, visit: Visit, series_uid: str) -> str:
        """The day a series was acquired."""
        return next((each.date for each in visit.series if each.series_instance_uid == series_uid), "")

    def evaluator(self, measurement: Measurement) -> str:
        """Who a number is by: the reader who corrected it, else the machine."""
        if isinstance(measurement.evidence, Edited):
            return self._readers.get(measurement.evidence.review, MACHINE)
        return MACHINE

    @cached_property
    def _readers(self) -> Mapping[str, str]:
        return {digest(act): act.reader for act in self.case.reviews}


def _numbered(prefix: str, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple({"DOMAIN": prefix, f"{prefix}SEQ": sequence, **row} for sequence, row in enumerate(rows, start=1))


def _identifications(view: _View) -> Iterator[Row]:
    """One row per lesion and evaluator, when it was first seen; one more where it was split or merged."""
    for lesion in view.case.lesions:
        first = next(
            (each for each in view.case.sightings if each.lesion_id == lesion.lesion_id and each.outcome == "measured"),
            None,
        )
        visit = view.visits[first.visit if first else 0]
        series_uid = first.series_uid if first else ""
        act = view.acts.get(lesion.lesion_id)
        part = bool(view.parent(lesion))
        kind = _IDENTIFICATIONS["split"] if part else _IDENTIFIED
        for evaluator in _evaluators(view, lesion):
            yield _identification(view, lesion, evaluator, visit, series_uid, kind)
            if act is not None and not (part and act.finding == "split"):
                seen = view.visits[act.visit]
                yield _identification(view, lesion, evaluator, seen, "", _IDENTIFICATIONS[act.finding])


def _identification(
    view: _View, lesion: Lesion, evaluator: str, visit: Visit, series_uid: str, kind: tuple[str, str]
) -> Row:
    group = _GROUPS.get(lesion.role, _NON_TARGET)[0]
    series = next((each for each in visit.series if each.series_instance_uid == series_uid), None)
    return {
        **view.subject,
        "TUGRPID": view.parent(lesion) or None,
        "TUREFID": series_uid or None,
        "TUSPID": lesion.lesion_id,
        "TULNKID": view.link(lesion, evaluator),
        "TUTESTCD": kind[0],
        "TUTEST": kind[1],
        "TUORRES": group,
        "TUSTRESC": group,
        "TULOC": location(lesion.place) or None,
        "TULAT": lesion.laterality.upper() or None,
        "TUMETHOD": METHODS.get(series.modality) if series else None,
        **view.evaluated("TU", evaluator, visit),
        **view.when("TU", visit, series.date if series else ""),
    }


def _evaluators(view: _View, lesion: Lesion) -> list[str]:
    """Who measured a lesion, the machine if nobody did."""
    mine = [each for each in view.case.measurements if each.lesion_id == lesion.lesion_id]
    named = [view.evaluator(each) for each in mine if not isinstance(each.evidence, Reported)]
    return list(dict.fromkeys(named)) or [MACHINE]


def location(site: Code | None) -> str:
    """A finding site as CDISC or, in its absence, SNOMED names it."""
    if site is None:
        return ""
    return LOCATIONS.get(site.value, site.meaning.upper())


def _results(view: _View) -> Iterator[Row]:
    """What was found of every lesion at every visit, by everyone who measured it, and the sums."""
    accepted = set(map(id, chosen(view.case.measurements).values()))
    by_evaluator: dict[str, list[Measurement]] = {}
    for measurement in view.case.measurements:
        if not isinstance(measurement.evidence, Reported):
            by_evaluator.setdefault(view.evaluator(measurement), []).append(measurement)
    numbers = {evaluator: chosen(measurements) for evaluator, measurements in by_evaluator.items()}
    for visit in view.case.visits:
        for sighting in (each for each in view.case.sightings if each.visit == visit.number):
            lesion = next(each for each in view.case.lesions if each.lesion_id == sighting.lesion_id)
            for evaluator, theirs in numbers.items():
                for name in (name for name, quantity in CATALOGUE.items() if quantity.cdisc):
                    mine = theirs.get((lesion.lesion_id, visit.number, name))
                    if mine is not None:
                        yield _number(view, lesion, visit, mine, evaluator, accepted=id(mine) in accepted)
            yield from _state(view, lesion, visit, sighting.outcome, sighting.series_uid)
        yield from _sums(view, visit)


def _number(
    view: _View, lesion: Lesion, visit: Visit, measurement: Measurement, evaluator: str, *, accepted: bool
) -> Row:
    quantity = CATALOGUE[measurement.quantity]
    text = number(measurement.value, quantity.name)
    unit = UNITS[quantity.unit] or None
    small = TOO_SMALL in measurement.flags
    return {
        **view.subject,
        **_about(view, lesion, visit, evaluator, measurement.series_uid, accepted=accepted),
        "TRTESTCD": quantity.cdisc,
        "TRTEST": name_of_test(quantity.cdisc),
        "TRORRES": "TOO SMALL TO MEASURE" if small else text,
        "TRORRESU": None if small else unit,
        "TRSTRESC": text,
        "TRSTRESN": Decimal(text),
        "TRSTRESU": unit,
        "TRMETHOD": METHODS.get(measurement.modality),
    }


def _state(view: _View, lesion: Lesion, visit: Visit, outcome: Outcome, series_uid: str) -> Iterator[Row]:
    """Whether it is there, for what is judged by that; for a target only where there is no diameter."""
    if outcome is Outcome.MEASURED and lesion.role is Role.TARGET:
        return
    reason = _REASONS.get(outcome)
    word = None if reason else "ABSENT" if outcome is Outcome.ABSENT else _present(view, lesion, visit)
    for evaluator in _evaluators(view, lesion):
        yield {
            **view.subject,
            **_about(view, lesion, visit, evaluator, series_uid, accepted=True),
            "TRTESTCD": "TUMSTATE",
            "TRTEST": TESTS["TUMSTATE"],
            "TRORRES": word,
            "TRSTRESC": word,
            "TRSTAT": "NOT DONE" if reason else None,
            "TRREASND": reason,
        }


def _present(view: _View, lesion: Lesion, visit: Visit) -> str:
    """PRESENT; of a new lesion how sure the first criterion is that it is one."""
    if lesion.role is not Role.NEW:
        return "PRESENT"
    judged = (each.new_lesion.upper() for each in view.case.assessments if each.visit == visit.number)
    return next((word for word in judged if word in ("UNEQUIVOCAL", "EQUIVOCAL")), "PRESENT")


def _about(view: _View, lesion: Lesion, visit: Visit, evaluator: str, series_uid: str, *, accepted: bool) -> Row:
    return {
        "TRGRPID": _GROUPS.get(lesion.role, _NON_TARGET)[0],
        "TRREFID": series_uid or None,
        "TRSPID": lesion.lesion_id,
        "TRLNKID": view.link(lesion, evaluator),
        "TRLNKGRP": _assessment_group(visit),
        **view.evaluated("TR", evaluator, visit, accepted=accepted),
        **view.when("TR", visit, view.scanned(visit, series_uid)),
    }


def _sums(view: _View, visit: Visit) -> Iterator[Row]:
    """The sum of diameters, once per evaluator: that of the first criterion that has one."""
    seen: set[str] = set()
    for assessment in view.case.assessments:
        if assessment.visit != visit.number or assessment.sum_mm is None or assessment.evaluator in seen:
            continue
        seen.add(assessment.evaluator)
        text = format(assessment.sum_mm, "f")
        yield {
            **view.subject,
            "TRGRPID": "TARGET",
            "TRLNKGRP": _assessment_group(visit),
            "TRTESTCD": "SUMDIAM",
            "TRTEST": TESTS["SUMDIAM"],
            "TRORRES": text,
            "TRORRESU": "mm",
            "TRSTRESC": text,
            "TRSTRESN": assessment.sum_mm,
            "TRSTRESU": "mm",
            **view.evaluated("TR", assessment.evaluator, visit),
            **view.when("TR", visit),
        }


def name_of_test(test_code: str) -> str:
    """The --TEST of a --TESTCD: CDISC's, else the catalogue's name of the quantity."""
    own = {quantity.cdisc: quantity.label.title() for quantity in CATALOGUE.values()}
    return TESTS.get(test_code) or own[test_code]


def _assessment_group(visit: Visit) -> str:
    return f"A{visit.number + 1}"


def _responses(view: _View) -> Iterator[Row]:
    """Every criterion's answers visit by visit, and its best response with the last of them."""
    last: dict[tuple[str, str], Assessment] = {}
    for assessment in view.case.assessments:
        for test_code, test, field in _RESPONSES:
            answer = str(getattr(assessment, field)).upper() if field == "new_lesion" else getattr(assessment, field)
            if answer and answer != "NO":
                yield _response(view, assessment, test_code, test, answer)
        if assessment.best_overall_response:
            last[assessment.criterion, assessment.evaluator] = assessment
    for assessment in last.values():
        yield _response(view, assessment, *_BEST, assessment.best_overall_response)


def _response(view: _View, assessment: Assessment, test_code: str, test: str, answer: str) -> Row:
    visit = view.visits[assessment.visit]
    related = test_code == "OVRLRESP" and view.related.get(visit.number) is assessment
    return {
        **view.subject,
        "RSLNKGRP": _assessment_group(visit) if related else None,
        "RSTESTCD": test_code,
        "RSTEST": test,
        "RSCAT": CATEGORIES.get(assessment.criterion, assessment.criterion.upper()),
        "RSORRES": answer,
        "RSSTRESC": answer,
        **view.evaluated("RS", assessment.evaluator, visit),
        **view.when("RS", visit),
    }


def _relations(trial: ExportConfig) -> Iterator[Row]:
    """Which records belong together: a lesion's results to the lesion, an assessment's results to its response."""
    for relation, pairs in (
        ("TUTR", (("TU", "TULNKID", "ONE"), ("TR", "TRLNKID", "MANY"))),
        ("TRRS", (("TR", "TRLNKGRP", "MANY"), ("RS", "RSLNKGRP", "ONE"))),
    ):
        for domain, variable, many in pairs:
            yield {
                "STUDYID": trial.study_id,
                "RDOMAIN": domain,
                "IDVAR": variable,
                "RELTYPE": many,
                "RELID": relation,
            }


def _supplements(view: _View, identified: tuple[Row, ...]) -> Iterator[Row]:
    """The name a lesion bears in every image and report: its tracking UID."""
    uids = {lesion.lesion_id: lesion.tracking_uid for lesion in view.case.lesions}
    for row in identified:
        yield {
            **view.subject,
            "RDOMAIN": "TU",
            "IDVAR": "TUSEQ",
            "IDVARVAL": str(row["TUSEQ"]),
            "QNAM": "TUTRKUID",
            "QLABEL": "DICOM Tracking Unique Identifier",
            "QVAL": uids[str(row["TUSPID"])],
            "QORIG": "Assigned",
            "QEVAL": row["TUEVAL"],
        }
