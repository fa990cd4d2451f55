"""The system's Chromium, where there is one: prints a page as PDF. Nothing is fetched, nothing is asked for."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from imaging_pipeline.errors import ConfigurationError

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
    path = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        command = [find(), "--headless", *ARGUMENTS, f"--user-data-dir={profile}", "--no-pdf-header-footer"]
        done = subprocess.run(  # noqa: S603 - no shell; the page is our own
            [*command, f"--print-to-pdf={path.resolve()}", page.resolve().as_uri()],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    if done.returncode or not path.exists():
        raise ConfigurationError(
            "E-PDF-BROWSER",
            page.name,
            found=f"a browser that ended with {done.returncode} and no PDF",
            expected="a PDF",
            remedy="open report.html in any browser and print it",
        )
    return path
