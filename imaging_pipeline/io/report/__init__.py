"""The pages people read: one per patient, one for the cohort; each a single file that asks for nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imaging_pipeline.domain.case import Case, Values
from imaging_pipeline.errors import Problem, one_line
from imaging_pipeline.io.report import wording
from imaging_pipeline.io.report.cohort import cohort_page
from imaging_pipeline.io.report.patient import patient_page
from imaging_pipeline.store import write_whole


def write_report(case: Case, values: Values, path: Path) -> None:
    """Write the page of one patient, and its key images as files under the page's folder."""
    page = patient_page(case, values)
    for lesion in page.lesions:
        for visit in lesion.visits:
            if visit.picture is not None:
                write_whole(path.parent / visit.picture.file, visit.picture.key.png)
    write_whole(path, _rendered("patient.html", page, _asset("viewer.js")))


def write_cohort(cases: Sequence[Case], path: Path, problems: Sequence[Problem]) -> None:
    """Write the page of all patients; it links to cases/<case>/report.html beside it."""
    write_whole(path, _rendered("cohort.html", cohort_page(cases, problems), _asset("cohort.js")))


def _rendered(template: str, page: object, script: Markup) -> str:
    style = _asset("report.css")
    # Only what is in this package may style or run: its digests are named, everything else is refused.
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return (
        _environment()
        .get_template(template)
        .render(
            page=page,
            wording=wording,
            style=style,
            script=script,
            policy=Markup(policy),  # noqa: S704 - our own text
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("imaging_pipeline.io.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )


def _visible(value: Any) -> Any:
    """Text from outside with control and bidirectional characters shown as escapes; markup as it is."""
    foreign = isinstance(value, str) and not isinstance(value, Markup)
    # What is printable throughout has nothing to escape; asking is a hundred times faster for a picture's source.
    return one_line(value) if foreign and not value.isprintable() else value


@cache
def _asset(name: str) -> Markup:
    text = files("imaging_pipeline.io.report").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"
