"""Whose scans are whose: patients under pseudonyms, never merged on a guess, and their visits."""

from __future__ import annotations

import hmac
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby

from imaging_pipeline.config import Config
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.dicom import SeriesRecord, records_of
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import File, Header

#: Cyrillic and Greek letters, and digits, that are read as these Latin ones.
_LOOKALIKES = str.maketrans("оаеѕрсухіјοανρτκ0158", "oaespcyxijoavptkoisb")

Identity = Callable[[Header], str]


@dataclass(frozen=True)
class VisitRecord:
    """The series of one time point; `date` is its first day, YYYY-MM-DD, "" where none is known."""

    date: str
    series: tuple[SeriesRecord, ...]


@dataclass(frozen=True)
class PatientRecord:
    """One patient. `patient_id` is for identities.csv and the lesion file; all else says `case`."""

    case: str
    patient_id: str
    visits: tuple[VisitRecord, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def series(self) -> tuple[SeriesRecord, ...]:
        """Those of all visits."""
        return tuple(record for visit in self.visits for record in visit.series)


def patients_of(files: Sequence[File], strays: Sequence[File], config: Config) -> tuple[PatientRecord, ...]:
    """The patients among files that name a series, in the order of their pseudonyms.

    Parameters
    ----------
    strays
        Refused files that name none.
    """
    identity_of = _identities(files)
    persons: dict[str, list[Header]] = defaultdict(list)
    records: dict[str, list[SeriesRecord]] = defaultdict(list)
    for members in _by_series(files):
        headers = [file.header for file in members if file.header.fault is None] or [members[0].header]
        uid = headers[0].series_instance_uid
        identities = list(dict.fromkeys(map(identity_of, headers)))
        mix = (finding("E-PAT-MIX", uid, "several PatientIDs in one series"),) if len(identities) > 1 else ()
        found = records_of(members, strays, config.series_roles)
        records[identities[0]] += [replace(record, problems=record.problems + mix) for record in found]
        persons[identities[0]] += headers
    near = _near(records)
    patients = (
        _patient(identity, records[identity], _disagreement(persons[identity]), near[_skeleton(identity)] > 1, config)
        for identity in records
    )
    return tuple(sorted(patients, key=lambda patient: patient.case))


def _by_series(files: Iterable[File]) -> Iterable[list[File]]:
    series: dict[str, list[File]] = defaultdict(list)
    for file in files:
        series[file.header.series_instance_uid].append(file)
    return series.values()


def _identities(files: Sequence[File]) -> Identity:
    """Who a file is about: its PatientID, else the only one in its study, else nobody but the study."""
    of_study: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.header.patient_id:
            of_study[file.header.study_instance_uid].add(file.header.patient_id)

    def identity(header: Header) -> str:
        known = of_study[header.study_instance_uid]
        return header.patient_id or (next(iter(known)) if len(known) == 1 else header.study_instance_uid)

    return identity


def _patient(
    identity: str, records: list[SeriesRecord], disagreement: list[str], near: bool, config: Config
) -> PatientRecord:
    case = hmac.digest(config.pseudonym_key.encode(), identity.encode("utf-8", "surrogatepass"), "sha256").hex()[:12]
    if disagreement:
        mix = finding("E-PAT-MIX", case, f"one PatientID with several {' and '.join(disagreement)}")
        records = [replace(record, problems=(*record.problems, mix)) for record in records]
    problems = (finding("E-PAT-NEAR", case, "a PatientID that reads like another's"),) if near else ()
    return PatientRecord(case, identity, _visits(records, config.visits.window_days), problems)


def _visits(records: Iterable[SeriesRecord], window_days: int) -> tuple[VisitRecord, ...]:
    """Series no further from a visit's first day than the window belong to it; series without a date stand apart."""
    visits: list[list[SeriesRecord]] = []
    for day, alike in groupby(sorted(records, key=_by_date), key=lambda record: record.series.date):
        if visits and _days_between(visits[-1][0].series.date, day) <= window_days:
            visits[-1] += alike
        else:
            visits.append(list(alike))
    return tuple(
        VisitRecord(visit[0].series.date, tuple(sorted(visit, key=lambda record: _by_date(record)[1:])))
        for visit in visits
    )


def _by_date(record: SeriesRecord) -> tuple[str, ...]:
    series = record.series
    # "~" sorts after every date: what has none must not become the baseline.
    return series.date or "~", series.modality, series.series_instance_uid, series.instances[0].sop_instance_uid


def _days_between(first: str, second: str) -> float:
    if not first or not second:
        return float("inf")
    return (date.fromisoformat(second) - date.fromisoformat(first)).days


def _disagreement(headers: Iterable[Header]) -> list[str]:
    """What one patient cannot have two of; blanks agree with everything."""
    people = {(header.patient_name, header.patient_birth_date, header.patient_sex) for header in headers}
    stated = ({_normalised(value) for value in values} - {""} for values in zip(*people, strict=True))
    names = ("names", "birth dates", "sexes")
    return [name for name, values in zip(names, stated, strict=True) if len(values) > 1]


def _normalised(text: str) -> str:
    """Letters and digits only: how a name is spaced and cased says nothing."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def _skeleton(identity: str) -> str:
    return _normalised(identity).translate(_LOOKALIKES)


def _near(identities: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for identity in identities:
        counts[_skeleton(identity)] += 1
    return counts
