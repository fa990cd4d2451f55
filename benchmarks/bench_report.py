"""The pages in headless Chromium: the sample case's report, and a cohort of 2,000 patients; and a review's numbers.

The patients of the cohort are made here, as case objects: nothing but the page is timed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

from playwright.sync_api import Browser, sync_playwright

from imaging_pipeline.batch import redo
from imaging_pipeline.domain.case import Assessment, Case, Provenance, Treatment, Visit
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.errors import Problem
from imaging_pipeline.io.report import write_cohort
from imaging_pipeline.io.report.browser import ARGUMENTS, find
from imaging_pipeline.review.desk import Desk
from imaging_pipeline.review.requests import ActRequest

PATIENTS = 2_000
RUNS = 5


def main() -> None:
    """Print the figures as JSON, one object a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, help="results folder of the sample case")
    results = parser.parse_args().results
    figures = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=find(), args=list(ARGUMENTS))
        if results is not None:
            (report,) = results.glob("cases/*/report.html")
            figures["report of the sample case"] = report_figures(browser, report)
            figures["review to updated numbers"] = review_figures(results)
        figures[f"cohort page of {PATIENTS} patients"] = cohort_figures(browser, Path(folder) / "report.html")
        browser.close()
    json.dump(figures, sys.stdout, indent=1)
    print()


def report_figures(browser: Browser, page: Path) -> dict[str, float]:
    """Size, first content, interactive, and the viewer of the first lesion."""
    return {"size_mb": round(page.stat().st_size / 1e6, 2)} | opening(browser, page) | viewing(browser, page)


def cohort_figures(browser: Browser, page: Path) -> dict[str, float]:
    """Making the page, opening it, and sorting each column."""
    cases = cohort(PATIENTS)
    start = perf_counter()
    write_cohort(cases, page, ())
    written = perf_counter() - start
    size = {"size_mb": round(page.stat().st_size / 1e6, 2), "written_s": round(written, 2)}
    return size | opening(browser, page) | sorting(browser, page)


def review_figures(results: Path) -> dict[str, float]:
    """Median and most seconds from a saved correction of one lesion to its new numbers, in a copy of the results."""
    # Beside the original: results know their scans by the way that leads there.
    with tempfile.TemporaryDirectory(dir=results.resolve().parent) as folder:
        shutil.copytree(results, folder, dirs_exist_ok=True)
        desk = Desk(Path(folder), "bench", adjudicates=False, redo=redo, now=lambda: "2024-03-01T09:00:00Z")
        (name,) = (case["case"] for case in desk.worklist()["cases"])
        desk.recompute(name)  # what results of another version of the code lack is computed here
        times = [_corrected(desk, name, 0.95 - 0.05 * turn) for turn in range(RUNS)]
    return {"median_s": round(median(times), 2), "most_s": round(max(times), 2)}


def _corrected(desk: Desk, name: str, share: float) -> float:
    """Seconds of shortening the first lesion's longest diameter, its latest visit, to a share of its length."""
    cells = desk.case(name)["cells"][0]
    visit, cell = len(cells) - 1, cells[-1]
    start_lps, end_lps = cell["lines"]["longest_diameter"]
    shorter = tuple(one + share * (other - one) for one, other in zip(start_lps, end_lps, strict=True))
    begun = perf_counter()
    desk.act(
        name,
        ActRequest(
            act="adjust",
            visit=visit,
            lesion=0,
            judged=cell["judged"],
            quantity="longest_diameter",
            points_lps=(tuple(start_lps), shorter),
            comment="a benchmark",
        ),
    )
    desk.recompute(name)
    return perf_counter() - begun


def opening(browser: Browser, page: Path) -> dict[str, float]:
    """Median milliseconds from navigation to first content, and until the page's scripts have run and it is idle."""
    first, interactive = [], []
    for _ in range(RUNS):
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.resolve().as_uri())
        first.append(
            tab.evaluate(
                "new Promise((tell) => new PerformanceObserver((list) => tell(list.getEntries()[0].startTime))"
                ".observe({ type: 'paint', buffered: true }))"
            )
        )
        # The first frame after the scripts: a click would now be answered.
        interactive.append(
            tab.evaluate(
                "new Promise((tell) => requestAnimationFrame(() => setTimeout(() => tell(performance.now()))))"
            )
        )
        tab.close()
    return {"first_content_ms": round(median(first)), "interactive_ms": round(median(interactive))}


def viewing(browser: Browser, page: Path) -> dict[str, float]:
    """Milliseconds to open the first lesion's viewer, and from one slice to the next."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(page.resolve().as_uri())
    painted = "Array.from(document.querySelectorAll('.viewer .at')).filter((each) => each.textContent).length"
    start = perf_counter()
    tab.locator(".viewer > button").first.click()
    tab.wait_for_function(f"{painted} > 0", polling=5)
    opened = 1e3 * (perf_counter() - start)
    slices = tab.evaluate("""async () => {
      const slider = document.querySelector(".viewer input[type=range]");
      const times = [];
      for (let step = 0; step < 10; step++) {
        const start = performance.now();
        slider.stepUp();
        slider.dispatchEvent(new Event("input"));
        await new Promise((tell) => requestAnimationFrame(() => setTimeout(tell)));
        times.push(performance.now() - start);
      }
      return times;
    }""")
    tab.close()
    return {"viewer_open_ms": round(opened), "next_slice_ms": round(median(slices))}


def sorting(browser: Browser, page: Path) -> dict[str, float]:
    """Milliseconds from the click on a column to the frame that shows it sorted: the slowest column's median."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(page.resolve().as_uri())
    columns = tab.evaluate("""async () => {
      const slowest = [];
      for (const button of document.querySelectorAll("#patients thead button")) {
        const times = [];
        for (let turn = 0; turn < 5; turn++) {
          const start = performance.now();
          button.click();
          document.body.offsetHeight;
          times.push(performance.now() - start);
          await new Promise((tell) => requestAnimationFrame(() => setTimeout(tell)));
        }
        slowest.push(times.sort((one, other) => one - other)[2]);
      }
      return slowest;
    }""")
    tab.close()
    return {"sort_ms": round(max(columns))}


def cohort(count: int) -> list[Case]:
    """Virtual patients: visits, responses, treatments and problems, but no scans."""
    return [virtual_patient(number) for number in range(count)]


def virtual_patient(number: int) -> Case:
    """A course drawn from its number."""
    chance = random.Random(number)
    start = date(2022, 1, 3) + timedelta(days=chance.randrange(400))
    days = [0]
    while len(days) < chance.randrange(3, 9):
        days.append(days[-1] + chance.randrange(50, 100))
    dates = [(start + timedelta(days=day)).isoformat() for day in days]
    visits = tuple(Visit(order, f"visit {order}", each, ()) for order, each in enumerate(dates))
    return replace(
        Case(f"p-{number:012x}", visits, _lesions(chance), (), (), (), Provenance("0", "", ())),
        assessments=_assessments(chance, visits),
        problems=tuple(
            Problem(*chance.choice(PROBLEMS), "as expected", "look at it") for _ in range(chance.choice((0, 0, 1, 3)))
        ),
        treatments=(Treatment("first line", dates[0], dates[len(dates) // 2]), Treatment("second line", dates[-1])),
    )


PROBLEMS = (
    ("W-SEG-CONFIDENCE", "L1", "an outline of confidence 0.41"),
    ("E-REGISTER", "L2", "two poses of equal merit"),
)


def _lesions(chance: random.Random) -> tuple[Lesion, ...]:
    return tuple(Lesion(f"L{each}", f"2.25.{each}", "", Kind.BONE) for each in range(chance.randrange(1, 6)))


def _assessments(chance: random.Random, visits: tuple[Visit, ...]) -> tuple[Assessment, ...]:
    change, least, found = 0.0, 0.0, []
    for visit in visits:
        overall = "PR" if change <= -30 else "PD" if change - least >= 20 else "SD"
        found.append(
            Assessment(
                "recist-1.1",
                visit.number,
                overall if visit.number else "",
                sum_mm=Decimal("60"),
                change_from_baseline_pct=Decimal(f"{change:.1f}") if visit.number else None,
                best_overall_response=("PR" if least <= -30 else overall) if visit.number else "",
            )
        )
        change = max(-100.0, change + chance.gauss(-4, 18))
        least = min(least, change)
    return tuple(found)


if __name__ == "__main__":
    main()
