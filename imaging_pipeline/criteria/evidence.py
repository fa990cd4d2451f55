"""From the pipeline's nouns to a response problem: which measurement is believed, what a sighting says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from imaging_pipeline.criteria.exact import as_decimal
from imaging_pipeline.domain.case import Drawn, Edited, Evidence, Measurement, Reported, Segmented

#: CT measures before MRI; nothing else measures (RECIST 1.1, 3.2).
_MODALITIES = ("CT", "MR")
#: A reader's hand before the machine's.
_EVIDENCE: tuple[type[Evidence], ...] = (Edited, Drawn, Segmented, Reported)


def believed(measurements: Iterable[Measurement]) -> Mapping[str, Measurement]:
    """The measurements of one lesion at one visit that are believed, by quantity; all from one series.

    Measured before reported, CT before MRI before the rest; on that series, per
    quantity, a reader's correction or line before the machine's outline.
    """
    ranked = sorted(measurements, key=_rank)
    return {
        measurement.quantity: measurement
        for measurement in reversed(ranked)
        if _source(measurement) == _source(ranked[0])
    }


def _rank(measurement: Measurement) -> tuple[bool, int, str, int]:
    reported, modality, series = _source(measurement)
    place = _MODALITIES.index(modality) if modality in _MODALITIES else len(_MODALITIES)
    return reported, place, series, _EVIDENCE.index(type(measurement.evidence))


def _source(measurement: Measurement) -> tuple[bool, str, str]:
    return isinstance(measurement.evidence, Reported), measurement.modality, measurement.series_uid


def value_of(believed_here: Mapping[str, Measurement], quantity: str) -> Decimal | None:
    """A believed value as the exact decimal that is printed for it."""
    measurement = believed_here.get(quantity)
    return None if measurement is None else as_decimal(measurement.value)
