"""What every room's tests share: programs of the system, real scans, and an honest count of what was skipped."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MISSING: set[str] = set()
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture
def program():
    """Run a program of the system; the test is skipped by name where it is missing."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        if shutil.which(name) is None:
            pytest.skip(f"missing program: {name}")
        return subprocess.run([name, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of real scans with expert masks; the test is skipped where it is missing."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("IMAGING_PIPELINE_DATA", beside))
    if not folder.is_dir():
        pytest.skip("missing data: set IMAGING_PIPELINE_DATA to the folder of real scans")
    return folder


@pytest.fixture(scope="module")
def browser():
    """A Chromium for the tests of one module; they are skipped by name where there is none."""
    if shutil.which("chromium") is None:
        pytest.skip("missing program: chromium")
    from playwright.sync_api import sync_playwright

    from imaging_pipeline.io.report import browser as chromium

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium.find(), args=[*chromium.ARGUMENTS])
        yield launched
        launched.close()


def pytest_terminal_summary(terminalreporter):
    """Count the skips for something missing; in CI a missing program is a failure."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    missing = [reason for reason in reasons if "missing program" in reason or "missing data" in reason]
    if missing:
        terminalreporter.write_line(f"{len(missing)} tests skipped for something missing on this machine")
    if IN_CI and any("missing program" in reason for reason in missing):
        terminalreporter.write_line("a missing program is a failure in CI", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
