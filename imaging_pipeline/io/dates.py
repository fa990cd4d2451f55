"""The day a series was acquired, out of the several that its files state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from imaging_pipeline.errors import Problem
from imaging_pipeline.io.findings import finding
from imaging_pipeline.io.header import Header

#: The first of these that is stated counts.
PRECEDENCE = ("acquisition_date", "series_date", "study_date", "content_date")

#: A mask or a report may be made years later: what counts is the study it speaks of.
OF_DOCUMENTS = ("study_date",)

#: Midnight during a scan, or a time zone, moves one day at most.
SAME_DAY = timedelta(days=1)

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")


def date_of(header: Header, subject: str, precedence: Sequence[str] = PRECEDENCE) -> tuple[str, tuple[Problem, ...]]:
    """The day as YYYY-MM-DD, "" if there is none to trust, and what is odd about it."""
    stated = {name: value for name in precedence if (value := getattr(header, name))}
    days = {name: _day(value) for name, value in stated.items()}
    if not days:
        return "", (finding("E-DATE", subject, "no date"),)
    name, day = next(iter(days.items()))
    birth = _day(header.patient_birth_date)
    if day is None:
        return "", (finding("E-DATE", subject, f"no calendar day in {name}"),)
    if day > datetime.now(UTC).date() + SAME_DAY:
        return "", (finding("E-DATE", subject, f"a day in the future in {name}"),)
    if birth is not None and day < birth:
        return "", (finding("E-DATE", subject, f"a day before the patient's birth in {name}"),)
    odd = [other for other, value in days.items() if value is None or abs(value - day) > SAME_DAY]
    problems = (finding("W-DATE", subject, f"{name} and another day in {', '.join(odd)}"),) if odd else ()
    return day.isoformat(), problems


def _day(text: str) -> date | None:
    parts = _DATE.fullmatch(text)
    try:
        return date(*map(int, parts.groups())) if parts else None
    except ValueError:
        return None
