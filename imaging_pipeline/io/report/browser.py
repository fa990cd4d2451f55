"""The system's Chromium, where there is one: prints a page as PDF. Nothing is fetched, nothing is asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.store import write_whole

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

#: No services, no network of the browser's own; a root user's container has no sandbox to offer.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

TIMEOUT_SECONDS = 120

_NODE = re.compile(rb"\(node\d{8}\)")


def find() -> str:
    """The path of Chromium.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ConfigurationError(
            "E-PDF-BROWSER",
            "report",
            found="no Chromium on the path",
            expected=" or ".join(NAMES[:2]),
            remedy="install it, or open report.html in any browser and print it",
        )
    return found


def write_pdf(page: Path) -> Path:
    """Print a page as the PDF beside it.

    Raises
    ------
    ConfigurationError
        When there is no Chromium, or it does not print.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "page.pdf"
        command = [find(), "--headless", *ARGUMENTS, f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(  # noqa: S603 - no shell; the page is our own
                [*command, f"--print-to-pdf={printed}", page.resolve().as_uri()],
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        if not printed.exists():
            raise ConfigurationError(
                "E-PDF-BROWSER",
                page.name,
                found="a browser that printed nothing",
                expected="a PDF",
                remedy="open report.html in any browser and print it",
            )
        path = page.with_suffix(".pdf")
        write_whole(path, _settled(printed.read_bytes()))
    return path


def _settled(pdf: bytes) -> bytes:
    """A PDF without what differs from one printing to the next: the time, and from where its nodes are counted.

    What is put in has the length of what it replaces, so that the file's own offsets hold.
    """
    pdf = re.sub(rb"\(D:\d{14}", b"(D:19700101000000", pdf)
    ranks = {name: rank for rank, name in enumerate(sorted(set(_NODE.findall(pdf))))}
    return _NODE.sub(lambda found: b"(node%08d)" % ranks[found[0]], pdf)
