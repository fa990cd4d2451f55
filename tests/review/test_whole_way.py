"""From a reader's hand to every file: an axis is moved on the page, and its number is new everywhere."""

import csv
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
import yaml
from playwright.sync_api import expect

from imaging_pipeline import batch
from imaging_pipeline.config import Config, parse_yaml, validated
from imaging_pipeline.io import journal
from imaging_pipeline.io.record import read_case
from tests.review.desks import desk, request, served

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(ROOT / "sample_data" / "mini", folder / "scans")
    text = (ROOT / "configs" / "mpnst.yaml").read_text()
    config = validated(Config, {**parse_yaml(text, "mpnst.yaml"), "export": ["csv", "dicom"]}, "mpnst.yaml")
    # One lesion is enough to go the whole way.
    lesions = yaml.safe_load((folder / "scans" / "lesions.yaml").read_text())
    (patient,) = lesions["patients"]
    patient["lesions"] = [lesion for lesion in patient["lesions"] if lesion["id"] == "AX"]
    (folder / "scans" / "lesions.yaml").write_text(yaml.safe_dump(lesions))
    out = folder / "results"
    batch.run(folder / "scans", config, out, lesions_file=None, workers=1, progress=lambda *_: None)
    return out


def stated(path):
    """The numbers of a structured report with their concept's name."""
    found = []

    def walk(item):
        if item.get("ValueType") == "NUM" and "MeasuredValueSequence" in item and item.MeasuredValueSequence:
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            found.append((name, float(item.MeasuredValueSequence[0].NumericValue)))
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(pydicom.dcmread(path))
    return found


def test_a_moved_axis_is_new_on_the_page_in_csv_json_sr_and_report(browser, results):
    (place,) = results.glob("cases/*")
    with served(desk(results, computed=batch.redo)) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_role("link", name=place.name).click()
        expect(page.locator("#picture-words")).not_to_be_empty()
        page.locator(".cell[aria-label^='AX, visit 2']").click()
        expect(page.locator("#subject")).to_contain_text("right axillary mass · visit 2")
        page.keyboard.press("x")
        page.locator("#picture").focus()
        page.keyboard.press("1")
        for _ in range(12):
            page.keyboard.press("ArrowDown")
        page.get_by_label("Reason or comment").fill("axis is not the longest")
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#status")).to_contain_text("The numbers are up to date", timeout=60_000)
        shown = page.locator("#numbers tr", has_text="longest diameter").text_content()
        changed = page.locator("#changes").text_content()
        page.close()
    (act,), _ = journal.read(place)
    case, _ = read_case(place)
    (drawn,) = (each for each in case.measurements if each.evidence.kind == "edited")
    text = f"{drawn.value:.2f}"
    assert drawn.evidence.points_lps == act.points_lps
    assert text in shown
    assert text in changed
    for path in (results / "measurements.csv", place / "csv" / "measurements.csv"):
        with path.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["evidence"] == "edited"]
        assert [(row["lesion"], row["visit"], row["quantity"], row["value"]) for row in rows] == [
            ("AX", rows[0]["visit"], "longest_diameter", text)
        ]
    assert text in (place / "report.html").read_text()
    numbers = [number for path in (place / "dicom").glob("*_sr.dcm") for number in stated(path)]
    assert any(value == pytest.approx(drawn.value, abs=0.005) for _, value in numbers)


def test_readers_who_save_at_once_take_turns_and_each_finds_the_own_act(results):
    """Two readers and an adjudicator, each before a page of his own, on one folder."""
    shared = Path(shutil.copytree(results, results.parent / "at once"))
    (place,) = shared.glob("cases/*")
    readers = [desk(shared, name, adjudicates=name == "chief", computed=batch.redo) for name in ("ada", "bo", "chief")]
    seen = readers[2].case(place.name)
    together = threading.Barrier(len(readers))

    def saved(reader):
        together.wait()
        reader.act(place.name, request(seen, "accept", lesion=0, comment=reader.reader))
        return reader.recompute(place.name)["case"]

    before = len(seen["acts"])
    with ThreadPoolExecutor(len(readers)) as pool:
        ada, bo, _ = pool.map(saved, readers)
    acts = readers[2].case(place.name)["acts"]
    assert {act["comment"] for act in acts} >= {"ada", "bo", "chief"}
    assert len(acts) == before + 3
    assert [[act["comment"] for act in case["acts"]] for case in (ada, bo)] == [["ada"], ["bo"]]
    assert not (shared / ".lock").exists()
