"""Documents as text: JSON with every digit kept, one document, or one a line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from functools import partial
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic import ValidationError

from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.checks import refuse, refuse_invalid
from imaging_pipeline.criteria.exact import exactly, plain
from imaging_pipeline.criteria.kinds import CRITERIA, DOCUMENTS, Json
from imaging_pipeline.criteria.params import read_params
from imaging_pipeline.errors import PipelineError

DEFAULT = recist.NAME


@exactly
def answer(document: Any, criteria: Sequence[str] = (DEFAULT,), params: Mapping[str, Any] | None = None) -> Json:
    """Judge one document.

    Parameters
    ----------
    document
        The parsed document; numbers best read by `loads`, which keeps every digit.
    criteria
        Criteria by name. Several give one answer each, side by side, and where they disagree.
    params
        Parameters that hold unless the document states its own.

    Returns
    -------
    dict
        Plain values, numbers as exact decimals; `dumps` writes them.

    Raises
    ------
    ConfigurationError
        Naming the field that is wrong and the remedy; nothing is judged on a guess.
    """
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        refuse("kind", "nothing" if kind is None else "an unknown kind", f"one of {', '.join(DOCUMENTS)}", "add it")
    for name in criteria:
        _check_criterion(name)
    try:
        read = DOCUMENTS[kind].model_validate(document)
    except ValidationError as error:
        refuse_invalid(error, document, DOCUMENTS[kind])
    answered = read.answer(criteria, read_params({**(params or {}), **read.params}))
    return {"patient": read.patient, **answered} if read.patient else answered


def _check_criterion(name: str) -> None:
    if name not in CRITERIA:
        near = [known for known in CRITERIA if known.startswith(name)] or difflib.get_close_matches(name, CRITERIA, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "choose one of them"
        refuse("criterion", f"'{name}'", f"one of {', '.join(CRITERIA)}", remedy)


def loads(text: str) -> Any:
    """A JSON document, its numbers as exact decimals.

    Raises
    ------
    ConfigurationError
        When it is not JSON, or states a key twice.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=Decimal, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "it"
        refuse("document", "no JSON", "one JSON document", f"correct the syntax at {where}")


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        refuse(twice, "this key twice in one object", "each key once", "remove one of the two")
    return document


def dumps(value: Any) -> str:
    """Plain values as JSON on one line, decimals with all their digits (`json.dumps` would need floats)."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return (
            "{" + ", ".join([f"{encode_basestring_ascii(key)}: {dumps(inner)}" for key, inner in value.items()]) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join([dumps(inner) for inner in value]) + "]"
    return json.dumps(value)


def answer_lines(
    lines: Iterable[str], criteria: Sequence[str] = (DEFAULT,), params: Mapping[str, Any] | None = None
) -> Iterator[Json]:
    """One answer for one document a line, in order; a bad document answers its error, the rest go on."""
    for line in lines:
        if line.strip():
            yield answer_or_error(partial(loads, line), criteria, params)


def answer_or_error(
    document: Callable[[], Any], criteria: Sequence[str], params: Mapping[str, Any] | None = None
) -> Json:
    """The answer to what a function reads, or the error that reading or judging it ends in."""
    try:
        return answer(document(), criteria, params)
    except PipelineError as error:
        return {"error": asdict(error.problem)}
