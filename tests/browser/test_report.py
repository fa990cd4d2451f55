"""The pages in real Chromium, opened from disk as a reader opens them."""

import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.domain.case import Treatment
from imaging_pipeline.errors import ConfigurationError, Problem
from imaging_pipeline.io.record import write_case
from imaging_pipeline.io.report import browser as chromium
from imaging_pipeline.io.report import write_cohort, write_report
from tests.io.cases import CENTRES, HOSTILE, L4, mpnst_case

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SHIFT = np.array([4.3, -2.7, 11.0])  # from each visit to the next, as the case is made

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="missing program: chromium")


@pytest.fixture(scope="module")
def patient():
    case, values = mpnst_case()
    treatments = (Treatment("chemotherapy", "2023-06-03", "2023-10-02"), Treatment("denosumab", "2023-06-03"))
    return replace(case, treatments=treatments), values


@pytest.fixture(scope="module")
def report(tmp_path_factory, patient):
    path = tmp_path_factory.mktemp("patient") / "report.html"
    write_report(*patient, path)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, patient):
    case, _ = patient
    last = case.assessments[-1]
    cases = [
        replace(
            case,
            case=f"p-{number:03d}",
            assessments=(
                *case.assessments[:-1],
                replace(last, change_from_baseline_pct=Decimal(change), best_overall_response=best),
            ),
            problems=(Problem("E-REGISTER", "L4", "two poses", "one", "mark it"),) if number == 2 else (),
        )
        for number, (change, best) in enumerate([(-40, "PR"), (10, "SD"), (25, "PD"), (-12, "SD")])
    ]
    path = tmp_path_factory.mktemp("cohort") / "report.html"
    write_cohort(cases, path, ())
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    case, values = mpnst_case(hostile=HOSTILE)
    case = replace(case, treatments=tuple(Treatment(text, "2023-06-03") for text in HOSTILE))
    write_report(case, values, folder / "report.html")
    write_cohort((case,), folder / "cohort.html", tuple(Problem("E-FILE", *[text] * 4) for text in HOSTILE))
    return folder / "report.html", folder / "cohort.html"


@contextmanager
def opened(browser, path, **options):
    """A tab with the page; afterwards nothing may have been asked for, nothing complained, nothing run."""
    seen = []
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    tab = context.new_page()
    tab.on("console", lambda message: seen.append(message.text))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: seen.append(request.url[:80]) if request.url[:5] not in ("file:", "data:") else 0)
    tab.goto(path.as_uri())
    yield tab
    context.close()
    assert seen == []


@contextmanager
def viewer(browser, path):
    """The first lesion's viewer, open and painted."""
    with opened(browser, path) as tab:
        stage = tab.locator(".viewer").first
        stage.get_by_role("button").click()
        painted(tab)
        yield tab, stage


def painted(tab):
    """Wait until what was asked for is on the screen."""
    tab.wait_for_function(
        "Array.from(document.querySelectorAll('.viewer .at')).slice(0, 3).every((e) => e.textContent)"
    )
    tab.evaluate("new Promise((tell) => requestAnimationFrame(() => requestAnimationFrame(tell)))")


LOOK = """(number) => {
  // A copy: reading the page's own canvas would make the browser remark on it.
  const shown = document.querySelectorAll(".viewer canvas")[number];
  const copy = new OffscreenCanvas(shown.width, shown.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(shown, 0, 0);
  const { data, width } = copy.getImageData(0, 0, shown.width, shown.height);
  let left = width, right = -1, top = width, bottom = -1, yellow = 0, pink = 0, grey = 0;
  for (let place = 0; place < data.length; place += 4) {
    const across = (place / 4) % width, down = Math.floor(place / 4 / width);
    grey += data[place];
    if (data[place] > data[place + 1] + 60 && data[place + 2] > data[place + 1] + 40) pink++;
    if (data[place] !== 244 || data[place + 1] !== 220 || data[place + 2] !== 58) continue;
    [left, right] = [Math.min(left, across), Math.max(right, across)];
    [top, bottom] = [Math.min(top, down), Math.max(bottom, down)];
    yellow++;
  }
  return { left, right, top, bottom, yellow, pink, grey: grey / (data.length / 4), width };
}"""


def look(tab, visit):
    return tab.evaluate(LOOK, visit)


def extent_mm(tab, visit, side_mm):
    """Width and height of the outline on a visit's canvas."""
    seen = look(tab, visit)
    return [
        (seen[high] - seen[low] + 1) * side_mm / seen["width"] for low, high in (("left", "right"), ("top", "bottom"))
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_open_from_disk_without_a_request_or_an_error(browser, report, cohort, scheme):
    for path in (report, cohort):
        with opened(browser, path, color_scheme=scheme) as tab:
            assert tab.locator("h1").is_visible()


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_no_page_is_wider_than_its_window(browser, report, cohort, width):
    for path in (report, cohort):
        with opened(browser, path, viewport={"width": width, "height": 800}) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") == width


COVERED = """(table) => {
  const cells = Array.from(table.querySelectorAll("tr"), (row) => Array.from(row.cells, (cell) => [
    cell.textContent.trim(), cell.getBoundingClientRect()
  ]));
  return cells.flatMap((row) => row.slice(2).flatMap(([text, right], place) => {
    const [before, left] = row[place + 1];
    const beside = left.right <= right.left + 1, below = left.bottom <= right.top + 1 || right.bottom <= left.top + 1;
    return beside || below ? [] : [`${text} covers ${before}`];
  }));
}"""


@pytest.mark.parametrize("width", [360, 600, 740, 1280])
def test_no_visit_covers_another(browser, report, width):
    with opened(browser, report, viewport={"width": width, "height": 900}) as tab:
        assert tab.locator(".matrix").evaluate(COVERED) == []


def test_the_first_screen_holds_who_response_and_attention(browser, report):
    with opened(browser, report) as tab:
        for heading in ("Response by visit", "Needs attention"):
            box = tab.get_by_role("heading", name=heading).bounding_box()
            assert box["y"] < 900
        assert tab.locator(".attention li").first.bounding_box()["y"] < 900


def test_without_scripts_the_report_still_reads(browser, report):
    with opened(browser, report, java_script_enabled=False) as tab:
        assert tab.locator("svg.key").count() == 6
        assert tab.locator("button.value").first.is_visible()
        assert not tab.locator(".viewer").first.is_visible()
        tab.locator("#overlay").uncheck()
        assert not tab.locator(".overlay polygon").first.is_visible()


# The viewer


def slice_of(patient, visit, beside_mm=0.0):
    """The slice of a visit's own scan that shows the middle of L4, from how the case was made."""
    baseline, other = (patient.visits[number].series[0].grid for number in (0, visit))
    level = np.add(baseline.to_lps(np.rint(baseline.to_index(CENTRES["L4"]))), (0, 0, beside_mm))
    index = other.to_index(level + visit * SHIFT)[0]
    return round(float(index)) + 1


def test_all_visits_show_one_place_of_the_patient_each_in_its_own_slice(browser, report, patient):
    with viewer(browser, report) as (tab, stage):
        words = stage.locator(".at").all_text_contents()
        for visit in range(3):
            level = CENTRES["L4"][2] + visit * SHIFT[2]
            assert words[visit].startswith(f"slice {slice_of(patient[0], visit)} of 80, axial I {-level:.1f} mm")
        middles = [
            [seen["left"] + seen["right"], seen["top"] + seen["bottom"]] for seen in (look(tab, n) for n in range(3))
        ]
        # The body moved by (4.3, -2.7, 11.0) mm between visits; on the screens the lesion did not.
        assert np.ptp(np.array(middles) / 2 * 80 / 384, axis=0).max() < 1.0


def test_the_wheel_and_the_keyboard_scroll_all_visits_together(browser, report, patient):
    with viewer(browser, report) as (tab, stage):
        stage.locator("canvas").nth(1).hover()
        tab.mouse.wheel(0, 100)
        painted(tab)
        one_up = stage.locator(".at").all_text_contents()
        assert [words.split(" of ")[0] for words in one_up] == [
            f"slice {slice_of(patient[0], visit, 5.0)}" for visit in range(3)
        ]
        stage.get_by_role("slider").focus()
        tab.keyboard.press("ArrowLeft")
        painted(tab)
        assert stage.locator(".at").first.text_content().startswith(f"slice {slice_of(patient[0], 0)} ")


@pytest.mark.parametrize(("plane", "axes"), [("axial", (0, 1)), ("coronal", (0, 2)), ("sagittal", (1, 2))])
def test_every_plane_shows_the_lesion_at_its_size(browser, report, plane, axes):
    with viewer(browser, report) as (tab, stage):
        stage.get_by_role("radio", name=plane).check()
        painted(tab)
        for visit, (semi_axes_mm, _) in enumerate(L4):
            wanted = [2 * semi_axes_mm[axis] for axis in axes]
            # Half a voxel on either side: 1 mm in the slice, 5 mm between slices.
            allowed = [5.0 if axis == 2 else 2.0 for axis in axes]
            assert np.all(np.abs(np.subtract(extent_mm(tab, visit, 80.0), wanted)) < allowed)


def test_a_window_changes_the_grey_of_every_visit_and_is_stated(browser, report):
    with viewer(browser, report) as (tab, stage):
        before = [look(tab, visit)["grey"] for visit in range(3)]
        stage.get_by_label("Window").select_option("lung")
        painted(tab)
        assert all("lung W 1500 L −600" in words for words in stage.locator(".at").all_text_contents())
        assert all(look(tab, visit)["grey"] > 1.3 * grey for visit, grey in enumerate(before))


def test_a_scan_without_the_usual_windows_keeps_its_own(browser, report):
    with opened(browser, report) as tab:
        visits = [{"windows": [["MR", 300, 600]]}, {"windows": [["bone", 400, 1800], ["lung", -600, 1500]]}]
        chosen = tab.evaluate(
            "(visits) => [0, 1].map((at) => Viewer.prototype.windowOf.call({ window: 1, scene: { visits } }, at))",
            visits,
        )
        assert [window[0] for window in chosen] == ["MR", "lung"]


def test_dragging_widens_the_window(browser, report):
    with viewer(browser, report) as (tab, stage):
        box = stage.locator("canvas").first.bounding_box()
        tab.mouse.move(box["x"] + 100, box["y"] + 100)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 200, box["y"] + 100, steps=4)
        tab.mouse.up()
        painted(tab)
        width = int(re.search(r"chosen W (\d+) L 400", stage.locator(".at").first.text_content()).group(1))
        assert width > 2500


def test_a_click_sets_the_point_that_all_planes_and_visits_pass_through(browser, report):
    with viewer(browser, report) as (tab, stage):
        box = stage.locator("canvas").first.bounding_box()
        per_mm = box["width"] / 80.0
        # 9 mm to the patient's left of the lesion's middle, and 5 mm behind it.
        tab.mouse.click(box["x"] + box["width"] / 2 + 9 * per_mm, box["y"] + box["height"] / 2 + 5 * per_mm)
        for plane, axis, away_mm in (("sagittal", 0, 9.0), ("coronal", 1, 5.0)):
            stage.get_by_role("radio", name=plane).check()
            painted(tab)
            for visit, words in enumerate(stage.locator(".at").all_text_contents()):
                letter, told_mm = re.search(rf"{plane} (\w) (\S+) mm", words).groups()
                assert letter == "LP"[axis]
                assert float(told_mm) == pytest.approx(CENTRES["L4"][axis] + visit * SHIFT[axis] + away_mm, abs=1.0)
        stage.locator("canvas").first.dblclick()
        stage.get_by_role("radio", name="axial").check()
        painted(tab)
        assert "axial I 2" in stage.locator(".at").first.text_content()


def test_outline_and_mineral_are_shown_and_hidden(browser, report):
    with viewer(browser, report) as (tab, _):
        assert look(tab, 0)["yellow"] > 300
        assert look(tab, 2)["pink"] == 0
        tab.locator("#mineral").check()
        painted(tab)
        # At the third visit the whole lesion is of 421 HU, at the first of 52.
        assert look(tab, 2)["pink"] > 5_000
        assert look(tab, 0)["pink"] < 50
        tab.locator("#overlay").uncheck()
        painted(tab)
        assert look(tab, 0)["yellow"] == 0


def test_the_number_under_the_pointer_is_the_scans(browser, report):
    with viewer(browser, report) as (tab, stage):
        box = stage.locator("canvas").nth(2).bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        told = stage.locator("output").text_content()
        assert told.startswith("review: about ")
        assert int(told.split()[-2]) == pytest.approx(421, abs=8)


# Evidence, words, access


def test_a_number_shows_its_evidence_by_keyboard(browser, report):
    with opened(browser, report) as tab:
        number = tab.locator("button.value").first
        assert "slice: slice 41 of 80" in number.get_attribute("title")
        number.focus()
        tab.keyboard.press("Enter")
        evidence = tab.locator(".evidence:popover-open")
        assert "line, LPS mm" in evidence.text_content()
        tab.keyboard.press("Escape")
        assert evidence.count() == 0


def test_hostile_strings_are_shown_as_text(browser, hostile):
    for path in hostile:
        with opened(browser, path) as tab:
            text = tab.locator("body").text_content()
            assert all(each.split("\u202e")[0] in text for each in HOSTILE)
            assert tab.locator("img, iframe, object, embed, form").count() == 0
            for button in tab.locator(".viewer > button").all():
                button.click()
                painted(tab)


@pytest.mark.skipif(not AXE.exists(), reason="missing package: axe-core (tools/install-programs)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, report, cohort, scheme):
    for path in (report, cohort):
        with opened(browser, path, color_scheme=scheme) as tab:
            for button in tab.locator(".viewer > button").all()[:1]:
                button.click()
            # Through the debugger, which the page's policy does not bind.
            tab.evaluate(AXE.read_text())
            found = tab.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
            assert [(each["impact"], each["id"]) for each in found if each["impact"] in ("serious", "critical")] == []


# The cohort


def names(tab):
    return tab.locator("#patients tbody th").all_text_contents()


def test_the_cohort_is_sorted_and_filtered(browser, cohort):
    with opened(browser, cohort) as tab:
        assert names(tab) == ["p-002", "p-000", "p-001", "p-003"]
        tab.get_by_role("button", name="Sum now").click()
        assert names(tab) == ["p-000", "p-003", "p-001", "p-002"]
        tab.get_by_role("button", name="Sum now").click()
        assert names(tab) == ["p-002", "p-001", "p-003", "p-000"]
        tab.get_by_label("Best response").select_option("SD")
        assert names(tab) == ["p-001", "p-003"]
        tab.get_by_label("Best response").select_option("any")
        tab.get_by_label("With problems only").check()
        assert names(tab) == ["p-002"]
        tab.get_by_label("With problems only").uncheck()
        tab.get_by_label("Find").fill("p-00")
        tab.get_by_label("Find").press_sequentially("3")
        assert names(tab) == ["p-003"]


def test_a_bar_leads_to_its_patient(browser, cohort):
    with opened(browser, cohort) as tab:
        with tab.expect_request(re.compile("cases/p-00")) as asked:
            tab.locator("rect.good").first.click()
        assert asked.value.url.endswith("/cases/p-000/report.html")


# On paper


def test_the_report_prints_as_pdf(report, tmp_path):
    page = tmp_path / "report.html"
    page.write_bytes(report.read_bytes())
    written = chromium.write_pdf(page)
    assert written == tmp_path / "report.pdf"
    first = written.read_bytes()
    assert first.startswith(b"%PDF-")
    assert chromium.write_pdf(page).read_bytes() == first


def test_the_command_prints_the_report_beside_the_page(patient, tmp_path):
    write_case(*patient, tmp_path / "cases" / patient[0].case)
    (tmp_path / "issues.json").write_text("[]")
    done = CliRunner().invoke(cli, ["report", str(tmp_path), "--pdf"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cases" / patient[0].case / "report.pdf").stat().st_size > 50_000


def test_without_chromium_the_pdf_is_refused_by_name(monkeypatch, report):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError) as refusal:
        chromium.write_pdf(report)
    assert refusal.value.problem.code == "E-PDF-BROWSER"


def test_on_paper_what_needs_a_click_is_open_or_gone(browser, report):
    with opened(browser, report) as tab:
        tab.emulate_media(media="print")
        assert not tab.locator(".viewer").first.is_visible()
        assert not tab.locator(".toggle").is_visible()
        assert tab.locator(".methods details dt").first.is_visible()


def test_on_paper_a_cohort_lists_its_errors_and_counts_its_warnings(browser, tmp_path, patient):
    case, _ = patient
    problems = tuple(
        Problem(code, "L4", "two poses", "one", "mark it") for code in ("E-REG-FAILED", "W-SEG-CONFIDENCE")
    )
    write_cohort([replace(case, problems=problems * 4)], tmp_path / "report.html", ())
    with opened(browser, tmp_path / "report.html") as tab:
        assert not tab.locator(".group li").first.is_visible()
        tab.emulate_media(media="print")
        assert tab.locator(".group.error li").first.is_visible()
        assert not tab.locator(".group.warning li").first.is_visible()
        assert tab.locator(".group.warning summary").is_visible()
