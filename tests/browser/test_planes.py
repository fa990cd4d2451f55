"""The page of three planes beside the results, drawn by NiiVue, in a Chromium with software WebGL."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from imaging_pipeline.io import report as pages
from imaging_pipeline.io.report import browser as chromium
from imaging_pipeline.io.report import write_cohort, write_report
from tests.io.cases import HOSTILE, L4, mpnst_case

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
SIDE_MM = 80.0
WITHOUT_WEBGL = """
const own = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind) {
  return kind === "webgl2" ? null : own.apply(this, arguments);
};
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("chromium") is None, reason="missing program: chromium"),
    pytest.mark.skipif(not pages._has_niivue(), reason="missing package: NiiVue (tools/install-programs)"),
]


@pytest.fixture(scope="module")
def browser():
    """The conftest's Chromium, but with WebGL."""
    arguments = [each for each in chromium.ARGUMENTS if each != "--disable-gpu"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium.find(), args=[*arguments, *WEBGL])
        yield launched
        launched.close()


def results(folder, **more):
    """A results folder's pages; returns the report's path."""
    case, values = mpnst_case(**more)
    write_report(case, values, folder / "cases" / "p-1" / "report.html")
    write_cohort((case,), folder / "report.html", ())
    return folder / "cases" / "p-1" / "report.html"


def sent(browser, report, before=""):
    """The page of three planes with the report's first lesion, and what went wrong on either page."""
    context = browser.new_context(viewport={"width": 640, "height": 700})
    context.add_init_script(before)
    wrong = []
    context.on("console", lambda message: wrong.append(message.text))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    context.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or wrong.append(asked.url))
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.locator(".viewer > button").first.click()
    expect(tab.locator(".viewer .at").first).not_to_be_empty()
    with context.expect_page() as opened:
        tab.get_by_role("button", name="Three planes at once").first.click()
    page = opened.value
    page.wait_for_function("() => 'done' in document.body.dataset", timeout=60_000)
    return page, wrong


@pytest.fixture(scope="module")
def planes(browser, tmp_path_factory):
    page, wrong = sent(browser, results(tmp_path_factory.mktemp("results")))
    yield page
    page.context.close()
    assert wrong == []


def told(page):
    """What the page says of each visit: window width, level, millimetres to the left, CT number."""
    pattern = r"W (\d+) L (−?\d+) · ([LR]) (\S+) .* about (−?\d+) HU"
    found = [re.fullmatch(pattern, text).groups() for text in page.locator("output").all_text_contents()]
    number = lambda text: float(text.replace("−", "-"))  # noqa: E731
    return [(number(w), number(c), number(mm) * (1 if side == "L" else -1), number(hu)) for w, c, side, mm, hu in found]


def drawn(page):
    """Wait until what was asked for is on the screen."""
    page.evaluate("() => new Promise((tell) => requestAnimationFrame(() => requestAnimationFrame(tell)))")


def test_all_visits_show_the_lesions_middle_in_the_bone_window(planes):
    assert planes.locator("h1").text_content() == "L4 left"
    assert planes.locator("canvas").count() == 3
    for (width, level, _, hu), (_, wanted_hu) in zip(told(planes), L4, strict=True):
        assert (width, level) == (1800, 400)
        assert hu == pytest.approx(wanted_hu, abs=10)


def test_a_click_and_a_key_move_one_point_through_all_visits(planes):
    box = planes.locator("canvas").first.bounding_box()
    middle, per_mm = box["x"] + box["width"] / 6, box["width"] / 3 / SIDE_MM
    # The lesion's left end lies between these two in every visit: 14.6 to 15.0 mm from its middle.
    for left_mm, inside in ((12.0, True), (18.0, False)):
        planes.mouse.click(middle + left_mm * per_mm, box["y"] + box["height"] / 2)
        drawn(planes)
        for (_, _, told_mm, hu), (_, wanted_hu) in zip(told(planes), L4, strict=True):
            assert told_mm == pytest.approx(left_mm, abs=1.0)
            assert (hu == pytest.approx(wanted_hu, abs=25)) == inside
    places = []
    for _ in range(2):  # the first key leads from where the click was to a voxel's middle
        planes.keyboard.press("ArrowLeft")
        drawn(planes)
        places.append(np.array([left_mm for _, _, left_mm, _ in told(planes)]))
    assert places[0] - places[1] == pytest.approx(SIDE_MM / 97, abs=0.11)


def test_the_right_button_drags_the_window_of_all_visits(planes):
    box = planes.locator("canvas").first.bounding_box()
    planes.mouse.move(box["x"] + 20, box["y"] + 80)
    planes.mouse.down(button="right")
    planes.mouse.move(box["x"] + 80, box["y"] + 40, steps=2)
    planes.mouse.up(button="right")
    planes.mouse.move(box["x"] + 81, box["y"] + 40)
    drawn(planes)
    windows = {each[:2] for each in told(planes)}
    assert len(windows) == 1
    assert windows != {(1800, 400)}
    planes.get_by_label("Window").select_option("lung")
    assert {each[:2] for each in told(planes)} == {(1500, -600)}
    planes.get_by_label("Window").select_option("bone")


def test_the_outline_is_shown_and_hidden(planes):
    shown = planes.locator("canvas").first.screenshot()
    planes.get_by_label("Outline").uncheck()
    assert planes.locator("canvas").first.screenshot() != shown
    planes.get_by_label("Outline").check()
    assert planes.locator("canvas").first.screenshot() == shown


@pytest.mark.skipif(not AXE.exists(), reason="missing package: axe-core (tools/install-programs)")
def test_axe_finds_nothing_serious(planes):
    planes.evaluate(AXE.read_text())
    found = planes.evaluate("() => axe.run({ resultTypes: ['violations'] })")["violations"]
    assert [(each["impact"], each["id"]) for each in found if each["impact"] in ("serious", "critical")] == []


def test_hostile_strings_are_shown_as_text(browser, tmp_path):
    page, wrong = sent(browser, results(tmp_path, hostile=HOSTILE))
    assert page.locator("figcaption strong").count() == 3
    assert page.locator("img, iframe, object, embed, form").count() == 0
    page.context.close()
    assert wrong == []


def test_of_many_visits_the_first_and_the_latest_are_sent(browser, tmp_path):
    tab = browser.new_page()
    tab.goto(results(tmp_path).as_uri())
    assert tab.evaluate("() => few([...Array(20).keys()])") == [0, 13, 14, 15, 16, 17, 18, 19]
    assert tab.evaluate("() => few([...Array(8).keys()])") == list(range(8))
    tab.close()


def test_without_webgl_the_page_says_so(browser, tmp_path):
    page, wrong = sent(browser, results(tmp_path), WITHOUT_WEBGL)
    assert "need WebGL 2" in page.locator("#told").text_content()
    page.context.close()
    assert wrong == []


def test_the_page_runs_what_its_policy_names_and_nothing_else(browser, tmp_path):
    results(tmp_path)
    text = (tmp_path / "viewer" / "niivue.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert re.search(
        r"default-src 'none'; img-src data:; style-src 'sha256-\S+'; script-src 'sha256-\S+' 'sha256-\S+';", policy
    )
    assert "http" not in policy


def test_without_niivue_the_report_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "NIIVUE", "not-there.js")
    text = results(tmp_path).read_text()
    assert "NiiVue was not installed when this report was made" in text
    assert "Three planes at once" not in text
    assert not (tmp_path / "viewer").exists()
