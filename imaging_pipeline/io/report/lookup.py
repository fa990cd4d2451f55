"""A case looked up by lesion, visit and quantity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property

from imaging_pipeline.domain.case import Case, Measurement, Outcome, Sighting, Visit
from imaging_pipeline.domain.images import Series
from imaging_pipeline.io.report.plots import Period
from imaging_pipeline.io.tables import chosen


@dataclass(frozen=True)
class Lookup:
    """What the pages ask of a case again and again."""

    case: Case

    @cached_property
    def visits(self) -> dict[int, Visit]:
        """Visits by number."""
        return {visit.number: visit for visit in self.case.visits}

    @cached_property
    def series(self) -> dict[str, Series]:
        """Series by UID."""
        return {each.series_instance_uid: each for visit in self.case.visits for each in visit.series}

    @cached_property
    def days(self) -> dict[int, float]:
        """Days since the first visit; the visits' own numbers where a date is not one."""
        try:
            dates = {number: date.fromisoformat(visit.date) for number, visit in self.visits.items()}
        except ValueError:
            return {number: float(number) for number in self.visits}
        first = min(dates.values(), default=None)
        return {number: float((each - first).days) for number, each in dates.items() if first is not None}

    @cached_property
    def periods(self) -> tuple[Period, ...]:
        """The treatments that reach into the time of the visits, in days; what goes on lasts to the last visit."""
        last = max(self.days.values(), default=0.0)
        try:
            first = date.fromisoformat(self.case.visits[0].date)
            periods = [
                Period(
                    float((date.fromisoformat(each.start) - first).days),
                    float((date.fromisoformat(each.end) - first).days) if each.end else last,
                    each.label,
                )
                for each in self.case.treatments
            ]
        except (ValueError, IndexError):
            return ()
        return tuple(each for each in periods if each.end >= 0 and each.start < last)

    @cached_property
    def numbers(self) -> dict[tuple[str, int, str], Measurement]:
        """The measurement that speaks for a lesion, visit and quantity."""
        return chosen(self.case.measurements)

    def number(self, lesion_id: str, visit: int, quantity: str) -> Measurement | None:
        """One of them."""
        return self.numbers.get((lesion_id, visit, quantity))

    def course(self, lesion_id: str, quantity: str) -> list[tuple[Visit, Measurement]]:
        """A quantity of a lesion through the visits that have it."""
        pairs = ((visit, self.number(lesion_id, visit.number, quantity)) for visit in self.case.visits)
        return [(visit, number) for visit, number in pairs if number is not None]

    def sighting(self, lesion_id: str, visit: int) -> Sighting | None:
        """The sighting that speaks for a lesion at a visit: the first that was measured, else the first."""
        of_both = [each for each in self.case.sightings if (each.lesion_id, each.visit) == (lesion_id, visit)]
        return min(of_both, key=lambda each: each.outcome is not Outcome.MEASURED, default=None)

    def named(self, subject: str) -> str:
        """A subject as people know it: a series by its role and date instead of its UID."""
        series = self.series.get(subject)
        return subject if series is None else f"{series.role.replace('_', ' ') or series.modality} of {series.date}"

    def at(self, lesion_id: str, visit: int) -> str:
        """A lesion at a visit, in words."""
        return f"{lesion_id} at {self.visits[visit].date}"
