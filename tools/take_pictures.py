"""Take the documentation's pictures: `python -m tools.take_pictures [RESULTS]`.

Report, viewer and review page are of the sample case's results; the cohort is of forty virtual patients.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.bench_report import cohort
from imaging_pipeline.batch import redo
from imaging_pipeline.io.report import write_cohort
from imaging_pipeline.io.report.browser import ARGUMENTS, find
from imaging_pipeline.review.desk import Desk
from imaging_pipeline.review.server import ReviewServer

ROOT = Path(__file__).parents[1]
WIDTH = 1280
PATIENTS = 40


def main(results: Path) -> None:
    """Write docs/images/*.png."""
    (case,) = (results / "cases").iterdir()
    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=find(), args=[*ARGUMENTS])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1500}, color_scheme="light")
        page.goto((case / "report.html").resolve().as_uri())
        keep(page, folder / "report.png")
        show_viewer(page)
        page.locator(".viewer .stage").first.scroll_into_view_if_needed()
        keep(page, folder / "viewer.png", page.locator(".viewer .stage").first.bounding_box())
        with page.expect_popup() as planes:
            page.locator("button.planes").first.click()
        keep_planes(planes.value, folder / "planes.png")
        virtual = Path(scratch) / "report.html"
        write_cohort(cohort(PATIENTS), virtual, ())
        page.set_viewport_size({"width": WIDTH, "height": 1500})
        page.goto(virtual.as_uri())
        keep(page, folder / "cohort.png")
        with reviewing(results) as url:
            page.set_viewport_size({"width": WIDTH, "height": 900})
            page.goto(url)
            page.get_by_role("link", name=case.name).click()
            page.locator("#picture-words").filter(has_text=re.compile(r"\S")).wait_for()
            keep(page, folder / "review.png")
        browser.close()


@contextmanager
def reviewing(results: Path) -> Iterator[str]:
    """The review page's address, while it is served; nothing is signed on it."""
    desk = Desk(results, "reader", adjudicates=False, redo=redo, now=lambda: "")
    with ReviewServer(desk) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


def show_viewer(page: Page) -> None:
    """The first lesion's scans, painted, with the mineral tinted."""
    page.locator("#mineral").check()
    page.locator(".viewer > button").first.click()
    page.wait_for_function("Array.from(document.querySelectorAll('.viewer .at')).some((each) => each.textContent)")
    page.evaluate("new Promise((tell) => requestAnimationFrame(() => requestAnimationFrame(tell)))")


def keep_planes(page: Page, path: Path) -> None:
    """The page of three planes, once NiiVue has drawn it."""
    page.set_viewport_size({"width": WIDTH, "height": 1500})
    page.locator("body[data-done]").wait_for(timeout=120_000)
    page.evaluate("() => new Promise((tell) => requestAnimationFrame(() => requestAnimationFrame(tell)))")
    keep(page, path, page.locator("#planes").bounding_box())
    page.close()


def keep(page: Page, path: Path, clip: dict[str, float] | None = None) -> None:
    """What is on the screen, in 256 colours: a third of the size and no difference to the eye."""
    shot = Image.open(io.BytesIO(page.screenshot(clip=clip)))
    shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results")
