"""The pages people read: one per patient, one for the cohort; each a single file that asks for nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
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

#: Brought by `npm ci`; without it reports do with their own viewer.
NIIVUE = "niivue.umd.js"


def write_report(case: Case, values: Values, path: Path) -> None:
    """Write the page of one patient, and its key images as files under the page's folder."""
    page = patient_page(case, values)
    for lesion in page.lesions:
        for visit in lesion.visits:
            if visit.picture is not None:
                write_whole(path.parent / visit.picture.file, visit.picture.key.png)
    write_whole(path, _rendered("patient.html", (_asset("viewer.js"),), page=page, planes=_has_niivue()))


def write_cohort(cases: Sequence[Case], path: Path, problems: Sequence[Problem]) -> None:
    """Write the page of all patients; it links to cases/<case>/report.html beside it.

    Beside it too, once for all reports: the page of three planes, where NiiVue was brought.
    """
    write_whole(path, _rendered("cohort.html", (_asset("cohort.js"),), page=cohort_page(cases, problems)))
    if _has_niivue():
        scripts = (_asset(NIIVUE), _asset("planes.js"))
        write_whole(path.parent / "viewer" / "niivue.html", _rendered("niivue.html", scripts))


def _has_niivue() -> bool:
    """Whether `npm ci` has put NiiVue beside our own scripts."""
    return _templates().joinpath(NIIVUE).is_file()


def _rendered(template: str, scripts: tuple[Markup, ...], **shown: object) -> str:
    style = _asset("report.css")
    # Only what is in this package may style or run: its digests are named, everything else is refused.
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(map(_hash, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **shown,
            wording=wording,
            style=style,
            scripts=scripts,
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


def _templates() -> Traversable:
    return files("imaging_pipeline.io.report").joinpath("templates")


@cache
def _asset(name: str) -> Markup:
    text = _templates().joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"
