"""Two tables of the same patients side by side: how well sizes and responses agree, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imaging_pipeline.criteria.readings import (
    Difference,
    Reading,
    progression_differences,
    read_results,
    read_table,
    response_differences,
)
from imaging_pipeline.criteria.table import read_rows
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import ConfigurationError, Problem
from imaging_pipeline.io.text import read_text
from imaging_pipeline.numerics.agreement import (
    Bounded,
    intraclass_correlation,
    kappa,
    limits_of_agreement,
    linear_weights,
)

#: Responses from the best to the worst; what lies on no such scale is left out of the weighted kappa.
ORDERED = ("CR", "PR", "SD", "PD")
#: Below, limits of agreement and ICC move with every pair; their intervals are still given.
ENOUGH_PAIRS = 10
_ON_THE_SCALE = {**{code: code for code in ORDERED}, "NON-CR/NON-PD": "SD"}


def compare_files(first: Path, second: Path) -> dict[str, Any]:
    """How two readings agree: sizes by quantity, responses, and where responses and progression differ and why.

    Each file is the measurements.csv of a results folder, judged by the
    assessments.csv beside it, or a table as `assess` takes it. Patients are
    joined by name, visits by date, lesions by id. B is compared with A: a
    positive bias says that B is larger.

    Raises
    ------
    ConfigurationError
        When a table is wrong, or the two have nothing in common.
    """
    a, b = _read(first), _read(second)
    both = sorted(a.sizes.keys() & b.sizes.keys())
    judged = sorted(a.responses.keys() & b.responses.keys())
    if not both and not judged:
        raise ConfigurationError(
            "E-COMPARE-NOTHING",
            f"{first.name}, {second.name}",
            found="no lesion or visit in both",
            expected="the same patients, dates and lesions",
            remedy="name patients and lesions alike in both tables; dates are YYYY-MM-DD",
        )
    quantities = [name for name in CATALOGUE if any(quantity == name for _, _, quantity in both)]
    sizes = {
        name: {
            "unit": CATALOGUE[name].unit,
            **_sizes([(a.sizes[key], b.sizes[key]) for key in both if key[2] == name]),
        }
        for name in quantities
    }
    return {
        "a": first.name,
        "b": second.name,
        "quantities": sizes,
        "responses": _responses([(a.responses[place].overall, b.responses[place].overall) for place in judged]),
        "response_differences": [_difference(item) for item in response_differences(a, b)],
        "progression_differences": [_difference(item) for item in progression_differences(a, b)],
        "only_in_a": _lone(a, b),
        "only_in_b": _lone(b, a),
        "issues": [problem.document for problem in (*a.problems, *b.problems, *_few(sizes))],
    }


def _read(path: Path) -> Reading:
    rows = read_rows(read_text(path))
    if not any("quantity" in row.cells for row in rows):
        return read_table(rows)
    assessments = path.with_name("assessments.csv")
    return read_results(rows, read_rows(read_text(assessments)) if assessments.is_file() else ())


def _sizes(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    limits = limits_of_agreement([first for first, _ in pairs], [second for _, second in pairs])
    return {
        "pairs": len(pairs),
        "bias": _bounded(limits.bias if limits else None),
        "lower_limit": _bounded(limits.lower if limits else None),
        "upper_limit": _bounded(limits.upper if limits else None),
        "icc": _bounded(intraclass_correlation(pairs)),
    }


def _few(sizes: Mapping[str, Any]) -> Iterator[Problem]:
    for name, agreement in sizes.items():
        if (pairs := agreement["pairs"]) < ENOUGH_PAIRS:
            yield Problem(
                "W-COMPARE-FEW",
                CATALOGUE[name].label,
                f"{pairs} {'pair' if pairs == 1 else 'pairs'}",
                f"at least {ENOUGH_PAIRS} for limits of agreement and ICC",
                "read both with their intervals, or add patients",
            )


def _responses(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    counted = sorted(Counter(pairs).items())
    codes = sorted({code for pair in pairs for code in pair})
    ordered = [
        (_ON_THE_SCALE[first], _ON_THE_SCALE[second])
        for first, second in pairs
        if first in _ON_THE_SCALE and second in _ON_THE_SCALE
    ]
    return {
        "pairs": len(pairs),
        "same": sum(first == second for first, second in pairs),
        "kappa": _bounded(kappa(_counts(pairs, codes))),
        "weighted_kappa": _bounded(kappa(_counts(ordered, ORDERED), linear_weights(len(ORDERED)))),
        "weighted_pairs": len(ordered),
        "table": [{"a": first, "b": second, "visits": visits} for (first, second), visits in counted],
    }


def _counts(pairs: Sequence[tuple[str, str]], codes: Sequence[str]) -> list[list[int]]:
    counted = Counter(pairs)
    return [[counted[first, second] for second in codes] for first in codes]


def _bounded(number: Bounded | None) -> dict[str, float] | None:
    return None if number is None else {name: round(value, 6) for name, value in number._asdict().items()}


def _difference(item: Difference) -> dict[str, Any]:
    return {**item.place._asdict(), "a": item.first or None, "b": item.second or None, "why": list(item.why)}


def _lone(reading: Reading, other: Reading) -> dict[str, int]:
    """How much of a reading the other has no match for."""
    return {
        "sizes": len(reading.sizes.keys() - other.sizes.keys()),
        "visits": len(reading.responses.keys() - other.responses.keys()),
    }
