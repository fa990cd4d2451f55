"""Write the reference pages that have one source in the code: quantities, commands and criteria."""

import sys
from pathlib import Path

import click

from imaging_pipeline import plugins
from imaging_pipeline.cli import cli
from imaging_pipeline.criteria.params import Params
from imaging_pipeline.domain.quantities import CATALOGUE

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "Written from the code by `make docs`; do not edit.\n"


def quantities() -> str:
    """One row per quantity of the catalogue."""
    rows = [
        f"| `{entry.name}` | `{entry.unit}` | {entry.decimals} | {entry.needs.value} | "
        f"{f'{entry.code.value} {entry.code.scheme}' if entry.code else ''} | {entry.cdisc} | {entry.sentence} |"
        for entry in CATALOGUE.values()
    ]
    head = "| name | unit (UCUM) | decimals | needs | DICOM | CDISC | what it is |\n|--|--|--|--|--|--|--|"
    return "\n".join(["# Quantities", "", NOTE, head, *rows, ""])


def commands() -> str:
    """The help of every command."""
    context = click.Context(cli, info_name="imaging-pipeline", terminal_width=110, max_content_width=110)
    parts = ["# Commands", "", NOTE, "```", cli.get_help(context), "```"]
    for name, command in sorted(cli.commands.items()):
        inner = click.Context(command, context, f"{name}", terminal_width=110, max_content_width=110)
        parts += ["", f"## {name}", "", "```", command.get_help(inner), "```"]
    return "\n".join([*parts, ""])


def criteria() -> str:
    """The criteria by name, and what can be decided where sources conflict."""
    rules = [
        f"| `{name}` | {plugins.load('criteria', name).__doc__.strip().splitlines()[0]} |"
        for name in plugins.names("criteria")
    ]
    params = [
        f"| `{name}` | {entry.default} | {entry.description or ''} |" for name, entry in Params.model_fields.items()
    ]
    parts = ["# Criteria", "", NOTE, "| name | what was done |", "|--|--|", *rules, "", "## Parameters", ""]
    told = "Under `assess.params` of a configuration, or `params` of a document for `assess`."
    return "\n".join([*parts, told, "", "| name | default | meaning |", "|--|--|--|", *params, ""])


def main() -> int:
    """Write the pages, or with --check tell whether they are true."""
    stale = []
    for name, page in (("quantities.md", quantities()), ("commands.md", commands()), ("criteria.md", criteria())):
        path = DOCS / name
        if "--check" not in sys.argv:
            path.write_text(page)
        elif not path.exists() or path.read_text() != page:
            stale.append(name)
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
