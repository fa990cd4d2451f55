"""The command line. Each command imports what it needs when it runs, so that --help answers at once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imaging_pipeline import __version__
from imaging_pipeline.errors import NothingToDoError, PipelineError, Problem, Severity, one_line

if TYPE_CHECKING:
    from imaging_pipeline.config import Config

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)

ARCHIVES = click.option("--archives", is_flag=True, help="Look into zip and tar files too.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

#: A terminal holds about so many lines.
SHOWN_CASES = 30

#: Numbers that one line of a table holds.
SHOWN_NUMBERS = 3

EXIT_CODES = """\b
Exit codes:
  0 everything done          1 internal error (a bug)
  2 usage or configuration   3 nothing to do
  4 every case failed        5 partial: some cases or series failed
  6 output locked            7 output not writable or disk full
  8 --strict: warnings       130 interrupted
"""


class _Group(click.Group):
    """Turns a refusal into one line and the contract's exit code; a bug keeps its trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except PipelineError as error:
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)


@click.group(cls=_Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="imaging-pipeline")
def cli() -> None:
    """Follow lesions through CT and MR scans: size, density, calcification and response, each with its evidence."""


def _example(line: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Every command shows one line that works."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__doc__ = f"{cleandoc(function.__doc__ or '')}\n\n\b\nExample:\n  imaging-pipeline {line}"
        return function

    return decorate


@cli.command()
@click.argument("folder", type=OUTPUT, metavar="DIR")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which patients are drawn.")
@click.option("--visits", default=3, show_default=True, type=click.IntRange(1, 20), help="Visits per patient.")
@click.option("--patients", default=1, show_default=True, type=click.IntRange(1, 10000), help="How many patients.")
@click.option("--mini", is_flag=True, help="Small and coarse: for examples and tests.")
@click.option(
    "--garbage",
    default=0.0,
    type=click.FloatRange(0.0, 10.0),
    metavar="FRACTION",
    help="Junk files laid among the scans, per image file.",
)
@_example("sample scans --patients 5")
def sample(folder: Path, seed: int, visits: int, patients: int, mini: bool, garbage: float) -> None:
    """Write the synthetic reference case as DICOM, with its truth and its lesion file."""
    from imaging_pipeline.io.nifti import write_nifti
    from imaging_pipeline.phantom.sample import write_sample
    from imaging_pipeline.store import writing

    with _progress() as report, writing(folder.name):
        write_sample(
            folder,
            seed=seed,
            visits=visits,
            patients=patients,
            scale="mini" if mini else "full",
            write_mask=write_nifti,
            progress=lambda done, total: report("scanning the synthetic patient", done, total),
            garbage=garbage,
        )


@cli.command()
@click.argument("scans", type=FOLDER)
@click.option("--config", "config_file", type=FILE, help="Configuration whose rules name the series' roles.")
@ARCHIVES
@AS_JSON
@_example("index scans --config configs/mpnst.yaml")
def index(scans: Path, config_file: Path | None, archives: bool, as_json: bool) -> None:
    """Tell what a folder holds: patients, visits, series, roles, and whether each series' geometry can be trusted.

    What objects among the scans (SEG, RTSTRUCT, SR, presentation states) draw is listed with the label by which a
    lesion file's `from` finds it, and the numbers that reports state.
    """
    from tempfile import TemporaryDirectory

    from imaging_pipeline.io.folder import index as index_folder
    from imaging_pipeline.io.folder import index_document
    from imaging_pipeline.io.offers import offers_among

    with TemporaryDirectory() as room:
        found = index_folder(scans, _config(config_file), archives=Path(room) if archives else None)
        document = index_document(found, offers_among(found))
    if as_json:
        _print_json(document)
    else:
        _print_index(document)
    if not found.patients:
        raise NothingToDoError(
            "E-NOTHING",
            "scan folder",
            found=f"no readable series, {len(found.rejected)} files refused",
            expected="DICOM",
            remedy="give the folder that holds the scans; `--archives` looks into zip and tar files",
        )


def _print_index(document: dict[str, Any]) -> None:
    """Series by series, then what the objects among them offer, then the files that were refused."""
    listed = [
        (patient["case"], visit["date"], series)
        for patient in document["patients"]
        for visit in patient["visits"]
        for series in visit["series"]
    ]
    rows = [
        (
            case,
            date,
            series["modality"],
            series["role"] or "-",
            str(series["slices"]),
            " x ".join("-" if length is None else f"{length:.2f}" for length in series["spacing_mm"] or ()),
            series["verdict"],
            " ".join(problem["code"] for problem in series["issues"]),
        )
        for case, date, series in listed
    ]
    _print_table(("case", "visit", "modality", "role", "slices", "spacing mm", "verdict", "problems"), rows)
    offers = [
        (
            case,
            date,
            offer["from"] or "-",
            offer["label"] or "-",
            offer["series_uid"] or "-",
            _stated(offer["reported"]),
        )
        for case, date, series in listed
        for offer in series["offers"]
    ]
    if offers:
        click.echo("drawn or stated by objects among the scans; a lesion file takes `from` and `label`:")
        _print_table(("case", "visit", "from", "label", "series", "reported"), offers)
    for refused in document["rejected_files"]:
        click.echo(one_line(f"{refused['code']} {refused['path']}"), err=True)


def _stated(reported: Sequence[dict[str, Any]]) -> str:
    """The first numbers a report states of a lesion, and how many more."""
    first = [f"{each['quantity']} {each['value']} {each['unit']}" for each in reported[:SHOWN_NUMBERS]]
    rest = len(reported) - len(first)
    return ", ".join([*first, f"{rest} more with --json"] if rest else first)


@cli.command()
@click.argument("scans", type=FOLDER)
@click.option("--config", "config_file", type=FILE, required=True, help="What to do; see configs/default.yaml.")
@click.option("--out", type=OUTPUT, required=True, help="Results folder; made if missing, resumed if not.")
@click.option("--lesions", type=FILE, help="Lesion file; else lesions.yaml in the scan folder.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Cases side by side.")
@click.option("--strict", is_flag=True, help="Warnings count as failure (exit code 8).")
@ARCHIVES
@_example("run scans --config configs/mpnst.yaml --out results")
def run(
    scans: Path, config_file: Path, out: Path, lesions: Path | None, workers: int, strict: bool, archives: bool
) -> None:
    """Follow every patient of a folder; a second run on unchanged input does no pixel work."""
    from imaging_pipeline.batch import run as run_batch
    from imaging_pipeline.io.tables import COHORT_COLUMNS, SUMMARY_COLUMNS, cohort_rows, response_lines, summary_rows

    config = _config(config_file)
    with _progress() as report:
        outcome = run_batch(
            scans, config, out, lesions_file=lesions, workers=workers, progress=report, archives=archives
        )
    _print_problems([problem for problem in outcome.problems if problem.severity is Severity.ERROR])
    if len(outcome.cases) == 1:
        _print_table(SUMMARY_COLUMNS, summary_rows(outcome.cases[0]))
        for line in response_lines(outcome.cases[0]):
            click.echo(line)
    elif outcome.cases:
        _print_table(COHORT_COLUMNS, cohort_rows(outcome.cases)[:SHOWN_CASES])
        if len(outcome.cases) > SHOWN_CASES:
            click.echo(f"and {len(outcome.cases) - SHOWN_CASES} more, all in the report")
    warnings = Counter(problem.code for problem in outcome.problems if problem.severity is Severity.WARNING)
    if warnings:
        click.echo("to review: " + ", ".join(f"{count} {code}" for code, count in sorted(warnings.items())))
    if outcome.refused:
        click.echo(f"files not used: {len(outcome.refused)}, each with its reason in issues.json")
    click.echo(outcome.sentence)
    click.echo(f"report: {out / 'report.html'}")
    sys.exit(outcome.exit_code(strict=strict))


@cli.command()
@click.argument("folder", type=PLACE)
@click.option("--series-uid", help="Which series, where the folder holds several.")
@click.option("--out", type=OUTPUT, required=True, help="The NIfTI file, .nii.gz.")
@AS_JSON
@_example("convert scans/CT --out ct.nii.gz")
def convert(folder: Path, series_uid: str | None, out: Path, as_json: bool) -> None:
    """Write one series as NIfTI in its physical unit (HU for CT); refuses what `run` would refuse."""
    if not out.name.lower().endswith(".nii.gz"):
        raise click.BadParameter("a NIfTI file's name ends in .nii.gz", param_hint="--out")
    from imaging_pipeline.io.guard import ONE_IMAGE, guarded
    from imaging_pipeline.io.loaders import convert as convert_image

    verdict, problems = guarded(convert_image, folder.name, ONE_IMAGE, folder, series_uid, out)
    if as_json:
        _print_json({"verdict": verdict, "issues": [problem.document for problem in problems]})
    else:
        _print_problems(problems)
        click.echo(f"{out}: {verdict}")


@cli.command()
@click.argument("image", type=PLACE)
@click.argument("mask", type=FILE)
@click.option("--label", default="1", show_default=True, help="Label value, segment number or label, or ROI name.")
@click.option(
    "--kind",
    type=click.Choice(["bone", "node", "soft_tissue"]),
    default="soft_tissue",
    show_default=True,
    help="Which quantities apply.",
)
@click.option("--series-uid", help="Which series, where the folder holds several.")
@AS_JSON
@_example("measure scans/CT mask.nii.gz --label 1 --json")
def measure(image: Path, mask: Path, label: str, kind: str, series_uid: str | None, as_json: bool) -> None:
    """Measure one image inside one mask: every quantity that applies, with its interval.

    IMAGE is a DICOM folder, a NIfTI or an NRRD file; MASK a DICOM SEG, an RTSTRUCT, a NIfTI or an NRRD file.
    """
    from imaging_pipeline.domain.lesions import Kind
    from imaging_pipeline.io.guard import ONE_IMAGE, guarded
    from imaging_pipeline.single import measure_files

    document = guarded(measure_files, image.name, ONE_IMAGE, image, mask, label, Kind(kind), series_uid)
    if as_json:
        _print_json(document)
        return
    rows = [
        (name.replace("_", " "), str(entry["value"]), _interval(entry), entry["unit"])
        for name, entry in document["quantities"].items()
    ]
    _print_table(("quantity", "value", "95 % interval", "unit"), rows)
    _print_issues(document)


def _interval(entry: dict[str, Any]) -> str:
    return "" if entry["lower95"] is None else f"{entry['lower95']} to {entry['upper95']}"


@cli.command()
@click.argument("file", type=FILE)
@click.option("--criterion", "criteria", multiple=True, help="Which criterion; may be repeated. Default: recist-1.1.")
@AS_JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row per patient, visit and criterion.")
@_example("assess measurements.csv --criterion recist-1.1")
def assess(file: Path, criteria: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """Judge measurements without images: a JSON document, JSON lines, or a CSV with one row per lesion and visit.

    Our own exports are taken too: a results folder's measurements.csv, TR as Dataset-JSON or XPT, TID 1500 reports.

    JSON lines are answered one a line, in order, and so are several patients of a table with --json. A patient of a
    table who cannot be judged costs only himself (exit code 5, or 4 when it is all of them).
    """
    from imaging_pipeline.criteria.documents import dumps
    from imaging_pipeline.memory import no_collection
    from imaging_pipeline.single import answers_as_csv, assess_file

    answers = assess_file(file, criteria or ("recist-1.1",))
    if file.suffix == ".jsonl" and not as_csv:
        for answer in answers:
            click.echo(dumps(answer))
        return
    with no_collection():
        told = list(answers)
    if as_csv:
        click.echo(answers_as_csv(told), nl=False)
    elif as_json and len(told) == 1:
        _print_json(told[0])
    else:
        for answer in told:
            click.echo(dumps(answer)) if as_json else _print_answer(answer)
    refused = sum("error" in answer for answer in told)
    if refused:
        sys.exit(4 if refused == len(told) else 5)


@cli.command()
@click.argument("table_a", type=FILE)
@click.argument("table_b", type=FILE)
@AS_JSON
@_example("compare results/measurements.csv reader.csv")
def compare(table_a: Path, table_b: Path, as_json: bool) -> None:
    """Show how two readings agree: Bland-Altman, ICC, kappa, and where response and progression differ and why.

    Each table is the measurements.csv of a results folder or a table as `assess` takes it; both must name patients and
    lesions alike. A positive bias says that B is larger.
    """
    from imaging_pipeline.comparison import compare_files

    document = compare_files(table_a, table_b)
    if as_json:
        _print_json(document)
        return
    _print_table(
        ("quantity", "unit", "pairs", "bias B - A (95 %)", "limits of agreement", "ICC(2,1) (95 %)"),
        [
            (
                name.replace("_", " "),
                entry["unit"],
                str(entry["pairs"]),
                _with_bounds(entry["bias"]),
                f"{_with_bounds(entry['lower_limit'])} to {_with_bounds(entry['upper_limit'])}",
                _with_bounds(entry["icc"], 3),
            )
            for name, entry in document["quantities"].items()
        ],
    )
    responses = document["responses"]
    click.echo(
        f"responses: the same at {responses['same']} of {responses['pairs']} visits,"
        f" kappa {_with_bounds(responses['kappa'])}, weighted {_with_bounds(responses['weighted_kappa'])}"
    )
    for title, name in (("response", "response_differences"), ("progression", "progression_differences")):
        rows = [
            (entry["patient"], entry["date"], entry["a"] or "none", entry["b"] or "none", "; ".join(entry["why"]))
            for entry in document[name]
        ]
        if rows:
            _print_table(("patient", "date", f"{title} A", f"{title} B", "why"), rows)
    _print_issues(document)


def _with_bounds(number: dict[str, float] | None, decimals: int = 2) -> str:
    if number is None:
        return "-"
    value, lower, upper = (f"{number[name]:.{decimals}f}" for name in ("value", "lower95", "upper95"))
    return f"{value} ({lower}, {upper})"


@cli.command()
@click.argument("results", type=FOLDER)
@click.option("--pdf", is_flag=True, help="Print each patient's report as PDF too, with the Chromium on the path.")
@_example("report results --pdf")
def report(results: Path, pdf: bool) -> None:
    """Render the reports of a results folder again, from its stored cases."""
    from imaging_pipeline.io.report.browser import find, write_pdf
    from imaging_pipeline.results import render

    if pdf:
        find()  # Refused before anything is written.
    render(results)
    for page in sorted(results.glob("cases/*/report.html")) if pdf else ():
        click.echo(f"pdf: {write_pdf(page)}")
    click.echo(f"report: {results / 'report.html'}")


@cli.command()
@click.argument("results", type=FOLDER)
@click.option("--to", "formats", multiple=True, required=True, help="An exporter's name; may be repeated.")
@click.option("--out", type=OUTPUT, required=True, help="Where the files go.")
@_example("export results --to csv --out tables")
def export(results: Path, formats: tuple[str, ...], out: Path) -> None:
    """Write the stored cases in a format other tools read."""
    from imaging_pipeline.results import export as export_cases

    for path in export_cases(results, formats, out):
        click.echo(str(path))


@cli.command()
@click.argument("results", type=FOLDER)
@click.option("--port", default=0, show_default="any free one", type=click.IntRange(0, 65535), help="Where to listen.")
@click.option("--reader", default="reader", show_default=True, help="Who judges; sees the own acts only.")
@click.option("--adjudicator", is_flag=True, help="Sees the acts of all readers, and decides.")
@_example('review results --reader "Dr Ada"')
def review(results: Path, port: int, reader: str, adjudicator: bool) -> None:
    """Open the local review page: accept, correct and sign each lesion and visit; every act is kept in a journal.

    It listens on this machine only, and only to who has the address it prints.
    """
    from datetime import UTC, datetime

    from imaging_pipeline.batch import redo
    from imaging_pipeline.results import stored
    from imaging_pipeline.review.desk import Desk
    from imaging_pipeline.review.server import ReviewServer

    stored(results)

    def now() -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    with ReviewServer(Desk(results, reader, adjudicates=adjudicator, redo=redo, now=now), port) as server:
        click.echo(f"review page: {server.url}\nstop it with Ctrl-C")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


@cli.command()
@click.argument("name", type=click.Choice(["config", "lesions", "case", "assess"]))
@_example("schema config > config.schema.json")
def schema(name: str) -> None:
    """Print the JSON Schema of a document."""
    from imaging_pipeline.config import Config, LesionFile
    from imaging_pipeline.criteria.kinds import documents_schema
    from imaging_pipeline.io.record import case_schema

    schemas = {
        "config": Config.model_json_schema,
        "lesions": LesionFile.model_json_schema,
        "case": case_schema,
        "assess": documents_schema,
    }
    _print_json(schemas[name]())


@cli.command("check-config")
@click.argument("file", type=FILE)
@_example("check-config configs/mpnst.yaml")
def check_config(file: Path) -> None:
    """Check a configuration without running it: keys, values, and that the plug-ins it names import."""
    from imaging_pipeline import plugins

    config = _config(file)
    plugins.load("segmenters", config.segment.segmenter)
    for group, names in (("criteria", config.assess.criteria), ("exporters", config.export)):
        for name in names:
            plugins.load(group, name)
    click.echo(f"{file.name}: good")


def _config(file: Path | None) -> Config:
    from imaging_pipeline.config import Config, parse_yaml, validated
    from imaging_pipeline.io.text import read_text

    if file is None:
        return Config()
    return validated(Config, parse_yaml(read_text(file), file.name), file.name)


def _print_issues(document: dict[str, Any]) -> None:
    for issue in document["issues"]:
        click.echo(one_line(f"{issue['code']} {issue['subject']}: {issue['found']}; {issue['remedy']}"), err=True)


def _print_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


def _number(value: object) -> float:
    return float(str(value))  # Decimal: JSON has only one kind of number


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_number))


def _print_answer(answer: dict[str, Any]) -> None:
    """One patient's assessments as tables where they have visits, a refusal as one line, anything else as JSON."""
    if "error" in answer:
        click.echo(" ".join(filter(None, (answer.get("patient"), str(Problem(**answer["error"]))))), err=True)
        return
    courses = answer.get("criteria", [answer])
    if "visits" not in courses[0]:
        _print_json(answer)
        return
    columns = ("id", "date", "target", "non_target", "new_lesion", "overall", "sum_mm", "change_from_nadir_pct")
    for course in courses:
        cells = [[visit[column] for column in columns] for visit in course["visits"]]
        _print_table(columns, [tuple("" if cell is None else str(cell) for cell in row) for row in cells])
        best, date = course["best_overall_response"], course["progression_date"]
        click.echo(
            " ".join(filter(None, (answer.get("patient"), course["criterion"])))
            + f": best overall response {best['unconfirmed'] or '-'}, confirmed {best['confirmed'] or '-'},"
            + (f" progression on {date}" if date else " no progression")
        )
        _print_problems(Problem(**issue) for issue in course["issues"])
    for difference in answer.get("disagreements", ()):
        click.echo(f"the criteria differ: {difference}")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from imaging_pipeline.errors import one_line

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: rich would read markup in what comes from data.
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _silent(step: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on standard error when that is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report
