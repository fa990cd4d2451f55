"""One Chromium for the room; its tests are skipped by name where there is none."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from imaging_pipeline.io.report import browser as chromium


@pytest.fixture(scope="package")
def browser():
    if shutil.which("chromium") is None:
        pytest.skip("missing program: chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium.find(), args=[*chromium.ARGUMENTS])
        yield launched
        launched.close()
