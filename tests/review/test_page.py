"""A radiologist at the page, in a real browser: by mouse, by keyboard, in light and dark."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import imaging_pipeline
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.io import journal
from imaging_pipeline.io.nifti import write_nifti
from imaging_pipeline.io.record import read_case, write_case
from tests.review.desks import AX, CASE, desk, request, served

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def page(browser, results):
    """The case, open at its most doubtful lesion; whatever the browser complains of fails the test."""
    with served(desk(results)) as server:
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(server.url)
        tab.get_by_role("link", name=CASE).click()
        expect(tab.locator("#picture-words")).not_to_be_empty()
        yield tab
        tab.close()
        # The browser itself notes each request that was refused.
        assert [each for each in complaints if "Failed to load resource" not in each] == []


def acts(place):
    return journal.read(place)[0]


def up_to_date(page):
    expect(page.locator("#status")).to_contain_text("The numbers are up to date", timeout=20_000)


def number(page, label):
    return page.locator("#numbers tr", has_text=label).first.text_content()


def cell(page, name):
    page.get_by_role("button", name=name).click()
    expect(page.locator("#picture-words")).not_to_be_empty()


def on_screen(page, results, points_lps):
    """Where points of the axillary mass at its last visit are on the screen."""
    view = desk(results).case(CASE)["cells"][AX][2]["view"]
    _, rows, columns = view["shape"]
    _, row_mm, column_mm = view["spacing_mm"]
    box = page.locator("#picture").bounding_box()
    per_mm = box["width"] / max(rows * row_mm, columns * column_mm)
    index = np.array([np.linalg.solve(np.array(view["affine"]), [*point, 1.0])[:3] for point in points_lps])
    right = box["x"] + box["width"] / 2 + (index[:, 2] + 0.5 - columns / 2) * column_mm * per_mm
    down = box["y"] + box["height"] / 2 + (index[:, 1] + 0.5 - rows / 2) * row_mm * per_mm
    return list(zip(right.tolist(), down.tolist(), strict=True)), per_mm


def dragged(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def longest(results):
    return desk(results).case(CASE)["cells"][AX][2]["lines"]["longest_diameter"]


# ---- By mouse


def test_the_page_opens_at_the_doubtful_outline(page):
    expect(page.locator("#subject")).to_contain_text("AX, axillary soft-tissue mass · review (2024-02-20)")
    expect(page.locator("#doubts")).to_contain_text("doubtful outline")
    expect(page.locator("#picture-words")).to_contain_text("axial, slice")
    assert "42.00" in number(page, "longest diameter")
    assert "−19.2" in number(page, "longest diameter")


def test_each_response_shows_its_sum_its_changes_and_how_sure_it_is(browser, results, place):
    case, values = read_case(place)
    unsure = replace(case.assessments[-1], other_categories={}, other_reader_categories={"PR": 29.6, "PD": 0.5})
    write_case(replace(case, assessments=(*case.assessments[:-1], unsure)), values, place)
    with served(desk(results)) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        tab.get_by_role("link", name=CASE).click()
        table = tab.get_by_role("table", name="recist-1.1")
        expect(table.locator("thead tr > *")).to_have_text(["Visit", "", "Sum mm", "From BL", "From nadir"])
        expect(table.locator("tbody tr")).to_have_text(
            [
                "BL52.00",
                "V1SD43.00−17.3\u202f%−17.3\u202f%",
                "V2NE42.00−19.2\u202f%−2.3\u202f%",
                "the intervals leave no other categoryanother reader might find PR (30\u202f%), PD (< 1\u202f%)",
            ]
        )
        tab.close()


OUTLINE_WIDTH = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const across = [];
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] > 230 && data[at + 1] > 205 && data[at + 2] < 90) across.push((at / 4) % canvas.width);
  }
  return Math.max(...across) - Math.min(...across);
}"""


def test_baseline_lies_beside_the_follow_up_at_the_same_scale(page):
    now, then = (page.locator(name).evaluate(OUTLINE_WIDTH) for name in ("#picture", "#earlier"))
    # The mass was made 52 mm wide at baseline and is 42 mm wide at this visit.
    assert then / now == pytest.approx(52 / 42, rel=0.04)


JARGON = {"cr", "dup", "fs", "geom", "hu", "kvp", "nm", "orient", "pat", "phi", "pix", "pos", "reg", "seg", "ts"}


def test_no_problem_is_shown_by_its_code(browser, results):
    sources = (path.read_text() for path in Path(imaging_pipeline.__file__).parent.rglob("*.py"))
    codes = sorted({code for text in sources for code in re.findall(r'"([EW](?:-[A-Z]+)+)"', text)})
    assert len(codes) > 100
    (results / "issues.json").write_text(json.dumps([{"case": CASE, "code": code} for code in codes]))
    with served(desk(results)) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        chips = tab.locator("#rows td").nth(1).locator(".chip")
        expect(chips).to_have_count(len(codes))
        shown = chips.all_text_contents()
        tab.close()
    assert {"target below measurable size", "target without a size", "progression without a date"} <= set(shown)
    words = {word for text in shown for word in re.findall(r"\w+", text)}
    assert {word for word in words if word.isupper()} <= {"CT", "DICOM", "NRRD", "PDF", "UID"}
    assert not words & JARGON


def test_accept_is_one_key_and_leads_to_the_next_open_one(page, place):
    page.keyboard.press("a")
    up_to_date(page)
    (act,) = acts(place)
    assert (act.act, act.lesion_id, act.visit) == ("accept", "AX", 2)
    expect(page.get_by_role("button", name="AX, review (2024-02-20), accepted")).to_be_visible()
    expect(page.locator("#subject")).not_to_contain_text("AX, axillary soft-tissue mass · review")


def test_an_axis_end_is_dragged_and_its_number_follows(page, place, results):
    line = longest(results)
    ends, per_mm = on_screen(page, results, line)
    page.keyboard.press("x")
    away = (ends[1][0] + 6 * per_mm, ends[1][1])
    dragged(page, ends[1], away)
    expect(page.locator("#live")).to_contain_text("longest diameter: 42.0 → 48.0 mm, not saved yet")
    page.get_by_role("button", name="Save correction").click()
    expect(page.locator("#status")).to_contain_text("Say why")
    page.get_by_label("Reason or comment").fill("axis is not the longest")
    page.get_by_role("button", name="Save correction").click()
    up_to_date(page)
    (act,) = acts(place)
    assert (act.act, act.quantity, act.comment) == ("adjust", "longest_diameter", "axis is not the longest")
    assert np.allclose(act.points_lps[0], line[0], atol=1e-6)
    assert np.linalg.norm(np.subtract(act.points_lps[1], line[1])) == pytest.approx(6, abs=0.5)
    length = np.linalg.norm(np.subtract(*act.points_lps))
    assert f"{length:.2f}" in number(page, "longest diameter")
    expect(page.locator("#changes")).to_contain_text("42.00")
    expect(page.locator("#changes")).to_contain_text(f"{length:.2f}")


def test_an_outline_is_painted_and_erased_and_undone(page, place, results):
    own = _outline(place)
    ends, per_mm = on_screen(page, results, longest(results))
    page.keyboard.press("b")
    start = (ends[1][0] + 3 * per_mm, ends[1][1])
    dragged(page, start, (start[0] + 6 * per_mm, start[1]))
    expect(page.locator("#live")).to_contain_text("Outline changed")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#live")).to_be_empty()
    dragged(page, start, (start[0] + 6 * per_mm, start[1]))
    page.get_by_label("Reason or comment").fill("outline misses part of the lesion")
    page.get_by_role("button", name="Save correction").click()
    up_to_date(page)
    (act,) = acts(place)
    painted = journal.read(place)[1][act.mask]
    added = painted.on(own.grid).array & ~own.array
    # A stroke of 6 mm with a brush of 4 mm radius, in one slice, beyond what was marked already.
    assert 20 < added.sum() * np.prod(own.grid.spacing_mm[1:]) < 110
    assert len(np.unique(np.argwhere(added)[:, 0])) == 1
    assert not (own.array & ~painted.on(own.grid).array).any()
    expect(page.locator("#changes")).to_contain_text("volume")


def _outline(place):
    case, values = read_case(place)
    seen = next(each for each in case.sightings if (each.lesion_id, each.visit) == ("AX", 2))
    return values[seen.mask]


def test_a_mask_is_uploaded_in_place_of_the_outline(page, place, tmp_path):
    own = _outline(place)
    array = own.array.copy()
    array[:, :, : array.shape[2] // 2] = False
    path = tmp_path / "corrected.nii.gz"
    write_nifti(Mask(array, own.grid, "another program"), path)
    page.get_by_text("Replace the outline by a file").click()
    page.get_by_label("DICOM SEG, RTSTRUCT, NIfTI or NRRD").set_input_files(path)
    page.get_by_label("Reason or comment").fill("outline takes in a vessel")
    page.get_by_role("button", name="Replace the outline").click()
    up_to_date(page)
    (act,) = acts(place)
    assert journal.read(place)[1][act.mask].array.sum() == array.sum()
    expect(page.locator("#changes")).to_contain_text("AX volume")


def test_a_file_of_another_scan_is_refused_and_says_why(page, place, tmp_path):
    path = tmp_path / "wrong.nii.gz"
    path.write_bytes(b"not a mask")
    page.get_by_text("Replace the outline by a file").click()
    page.get_by_label("DICOM SEG, RTSTRUCT, NIfTI or NRRD").set_input_files(path)
    page.get_by_label("Reason or comment").fill("other")
    page.get_by_role("button", name="Replace the outline").click()
    expect(page.locator("#status")).to_contain_text("E-FILE")
    assert acts(place) == ()


def test_a_lesion_is_rejected_with_a_reason_and_taken_back(page, place):
    page.keyboard.press("r")
    expect(page.locator("#status")).to_contain_text("Say why")
    assert acts(place) == ()
    page.get_by_label("Reason or comment").fill("not a lesion")
    page.get_by_role("button", name="Reject").click()
    up_to_date(page)
    expect(page.get_by_role("button", name="AX, review (2024-02-20), rejected")).to_be_visible()
    expect(page.locator("#numbers")).to_contain_text("not evaluable")
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_role("button", name="AX, review (2024-02-20), accepted")).to_be_visible()


def test_a_new_lesion_is_painted(page, place, results):
    ends, per_mm = on_screen(page, results, longest(results))
    page.get_by_text("Add a lesion at this visit").click()
    page.get_by_label("Name").fill("NEW1")
    page.get_by_label("Tissue", exact=True).select_option("node")
    page.get_by_label("Reason or comment").fill("new node beside it")
    page.get_by_role("button", name="Paint it here").click()
    start = (ends[1][0] + 8 * per_mm, ends[1][1])
    dragged(page, start, (start[0] + 4 * per_mm, start[1]))
    page.get_by_role("button", name="Add what is painted").click()
    up_to_date(page)
    (act,) = acts(place)
    assert (act.act, act.lesion_id, act.kind, act.finding) == ("add", "NEW1", "node", "new")
    expect(page.get_by_role("button", name="NEW1, review (2024-02-20), added")).to_be_visible()


def test_a_finding_goes_with_the_judgement(page, place):
    page.get_by_label("It is").select_option("split")
    page.get_by_role("button", name="Accept").click()
    up_to_date(page)
    assert acts(place)[0].finding == "split"
    expect(page.locator("#acts")).to_contain_text("(split)")


def test_a_visit_is_signed_after_a_second_thought(page, place):
    sign = page.get_by_role("button", name="Sign review (2024-02-20)")
    sign.click()
    expect(page.get_by_role("dialog")).to_contain_text("Dr Ada signs review (2024-02-20)")
    expect(page.get_by_role("dialog")).to_contain_text("3 of 3 lesions are not judged yet")
    page.get_by_role("button", name="Not yet").click()
    assert acts(place) == ()
    sign.click()
    page.get_by_role("button", name="Sign", exact=True).click()
    up_to_date(page)
    assert [act.act for act in acts(place)] == ["sign"]
    expect(page.locator("#signatures")).to_contain_text("signed by Dr Ada")


def test_a_stale_signature_is_shown_as_stale(page, place):
    page.get_by_role("button", name="Sign review (2024-02-20)").click()
    page.get_by_role("button", name="Sign", exact=True).click()
    up_to_date(page)
    page.get_by_label("Reason or comment").fill("not a lesion")
    page.get_by_role("button", name="Reject").click()
    up_to_date(page)
    expect(page.locator("#signatures")).to_contain_text("stale: signed by Dr Ada for other numbers")
    expect(page.locator("#acts")).to_contain_text("stale: what it judged has changed")


def test_what_is_drawn_is_not_lost_by_mistake(page, place, results):
    ends, per_mm = on_screen(page, results, longest(results))
    page.keyboard.press("x")
    dragged(page, ends[1], (ends[1][0] + 5 * per_mm, ends[1][1]))
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="L4, baseline (2023-05-28), open").click()
    expect(page.locator("#subject")).to_contain_text("AX")
    expect(page.locator("#live")).to_contain_text("not saved yet")
    page.get_by_role("button", name="Undo").click()


# ---- By keyboard alone


def test_a_case_is_judged_without_a_mouse(page, place):
    page.locator("#title").focus()
    page.keyboard.press("x")
    page.locator("#picture").focus()
    page.keyboard.press("2")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#live")).to_contain_text("longest diameter: 42.0 → 4")
    page.keyboard.press("z")
    for _ in range(4):
        page.keyboard.press("z")
    expect(page.locator("#live")).to_be_empty()
    page.keyboard.press("e")
    page.keyboard.press("Space")
    expect(page.locator("#live")).to_contain_text("Outline changed")
    page.get_by_label("Reason or comment").focus()
    page.keyboard.type("a reason")  # letters in a field are no commands
    assert acts(place) == ()
    page.locator("#picture").focus()
    page.keyboard.press("s")
    up_to_date(page)
    (act,) = acts(place)
    assert (act.act, act.comment) == ("adjust", "a reason")
    assert journal.read(place)[1][act.mask].array.sum() < _outline_before(place).array.sum()


def _outline_before(place):
    case, values = read_case(place.parents[1] / "pipeline" / CASE)
    seen = next(each for each in case.sightings if (each.lesion_id, each.visit) == ("AX", 2))
    return values[seen.mask]


def test_slices_windows_overlay_and_zoom(page):
    words = page.locator("#picture-words")
    first = words.text_content()
    page.locator("#picture").hover()
    page.mouse.wheel(0, -100)
    expect(words).not_to_have_text(first)
    page.locator("#picture").focus()
    page.keyboard.press("PageDown")
    expect(words).to_have_text(first)
    page.locator("#window").select_option("lung")
    expect(words).to_contain_text("lung window W 1500 L -600")
    box = page.locator("#picture").bounding_box()
    dragged(page, (box["x"] + 100, box["y"] + 100), (box["x"] + 100 + box["width"] / 4, box["y"] + 100))
    expect(words).to_contain_text("chosen window W 2250 L -600")
    page.locator("#picture").dblclick()
    expect(words).to_contain_text("lung window W 1500 L -600")
    picture = page.locator("#picture")
    plain = picture.screenshot()
    page.keyboard.press("o")
    without = picture.screenshot()
    page.get_by_role("button", name="Zoom in").click()
    assert len({plain, without, picture.screenshot()}) == 3


# ---- Readers apart, and journals that are not whole


def test_a_second_reader_sees_an_unjudged_case_and_the_adjudicator_both(browser, results):
    ada = desk(results, "Dr Ada")
    ada.act(CASE, request(ada.case(CASE), "reject"))
    ada.recompute(CASE)
    with served(desk(results, "Dr Ben")) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        tab.get_by_role("link", name=CASE).click()
        expect(tab.locator("#acts")).to_contain_text("nothing signed yet")
        assert "Dr Ada" not in tab.content()
        tab.get_by_role("button", name="AX, review (2024-02-20), open, doubtful").click()
        tab.get_by_role("button", name="Accept").click()
        up_to_date(tab)
        tab.close()
    with served(desk(results, "Dr Eve", adjudicates=True)) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        expect(tab.locator("#rows")).to_contain_text("readers differ")
        tab.get_by_role("link", name=CASE).click()
        expect(tab.locator("#acts")).to_contain_text("Dr Ada")
        expect(tab.locator("#acts")).to_contain_text("Dr Ben")
        tab.close()


def test_a_torn_journal_is_mended_on_the_page(browser, results, place):
    ada = desk(results)
    ada.act(CASE, request(ada.case(CASE), "accept"))
    with (place / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"dig')
    with served(desk(results)) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        expect(tab.locator("#rows")).to_contain_text("torn journal")
        tab.get_by_role("link", name=CASE).click()
        tab.get_by_role("button", name="Keep the torn line").click()
        expect(tab.locator("#acts tbody tr")).to_have_count(1)
        tab.close()
    assert len(list(place.glob("journal.torn-*"))) == 1


def test_without_the_token_the_page_shows_that_it_was_refused(browser, results):
    with served(desk(results)) as server:
        tab = browser.new_page()
        tab.goto(f"http://{server.host}/")
        expect(tab.locator("#status")).to_contain_text("refused")
        assert CASE not in tab.content()
        tab.close()


# ---- For everybody


@pytest.mark.skipif(not AXE.exists(), reason="missing package: axe-core (tools/install-programs)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, results, scheme):
    ada = desk(results)
    ada.act(CASE, request(ada.case(CASE), "accept"))
    with served(desk(results)) as server:
        context = browser.new_context(bypass_csp=True, color_scheme=scheme)
        tab = context.new_page()
        tab.goto(server.url)
        tab.locator("#rows a").wait_for()
        found = _violations(tab)
        tab.locator("#rows a").click()
        expect(tab.locator("#picture-words")).not_to_be_empty()
        for summary in tab.locator("summary").all():
            summary.click()
        found += _violations(tab)
        tab.get_by_role("button", name="Sign review (2024-02-20)").click()
        found += _violations(tab)
        context.close()
    assert found == []


def _violations(tab):
    tab.evaluate(AXE.read_text())
    return [
        (each["id"], each["impact"], each["nodes"][0]["html"][:120])
        for each in tab.evaluate("axe.run()")["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("width", [1920, 1280, 800, 400])
def test_nothing_is_wider_than_the_window(browser, results, width):
    with served(desk(results)) as server:
        context = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 900})
        tab = context.new_page()
        tab.goto(server.url)
        tab.locator("#rows a").click()
        expect(tab.locator("#picture-words")).not_to_be_empty()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        context.close()


@pytest.mark.parametrize("width", [900, 390])
def test_in_a_narrow_window_the_picture_comes_first(browser, results, width):
    with served(desk(results)) as server:
        tab = browser.new_page(viewport={"width": width, "height": 1000})
        tab.goto(server.url)
        expect(tab.locator("#rows a")).to_be_visible()
        assert tab.locator(".scroll").evaluate("(box) => box.scrollWidth <= box.clientWidth")
        tab.locator("#rows a").click()
        expect(tab.locator("#picture-words")).not_to_be_empty()
        stage = tab.locator(".stage").bounding_box()
        beside = [each.bounding_box() for each in tab.locator(".side > section:visible").all()]
        assert all(box["y"] >= stage["y"] for box in beside)
        assert tab.locator("#picture").bounding_box()["y"] < 400
        tab.close()


def test_a_case_that_fails_to_compute_keeps_the_act_and_says_so(browser, results, place):
    def fails(_folder, _name, _reader):
        raise OSError("anything")

    with served(desk(results, computed=fails)) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        tab.get_by_role("link", name=CASE).click()
        expect(tab.locator("#picture-words")).not_to_be_empty()
        tab.get_by_role("button", name="Accept").click()
        expect(tab.locator("#status")).to_contain_text("kept in the journal, but the case could not be computed again")
        expect(tab.locator("#acts")).to_contain_text("not yet in the numbers")
        tab.close()
    assert len(acts(place)) == 1
