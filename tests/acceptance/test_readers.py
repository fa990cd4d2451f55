"""What a reader does to a case is one more input: kept, applied to what it judged, never applied to anything else."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.batch import redo
from imaging_pipeline.cli import cli
from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Edited, Outcome, Review
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.io import journal
from imaging_pipeline.io.record import read_case

ROOT = Path(__file__).parents[2]
SCANS = ROOT / "sample_data" / "mini"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("read")
    out, config = folder / "results", folder / "strict.yaml"
    # Strict, so that some outlines are doubtful.
    config.write_text((ROOT / "configs/mpnst.yaml").read_text() + "\nsegment: {min_confidence: 0.9}\n")
    outcome = CliRunner().invoke(cli, ["run", str(SCANS), "--config", str(config), "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    return out


@pytest.fixture(scope="module")
def untouched(finished, tmp_path_factory):
    return shutil.copytree(finished / "cases", tmp_path_factory.mktemp("untouched") / "cases")


@pytest.fixture
def results(finished, untouched):
    """The same place for every test, so that the scans are where they were; without the acts of other tests."""
    shutil.rmtree(finished / "cases")
    shutil.copytree(untouched, finished / "cases")
    return finished


@pytest.fixture
def place(results):
    (folder,) = results.glob("cases/*")
    return folder


def act(verb: str, judged: str, **what) -> Review:
    return Review("reader one", "2024-03-01T12:00:00Z", verb, judged=judged, previous="", **what)


def sighting(case, lesion: str, visit: int):
    return next(item for item in case.sightings if (item.lesion_id, item.visit) == (lesion, visit))


def number(case, lesion: str, visit: int, quantity: str, evidence: str):
    return next(
        item
        for item in case.measurements
        if (item.lesion_id, item.visit, item.quantity, item.evidence.kind) == (lesion, visit, quantity, evidence)
    )


def codes(outcome) -> list[tuple[str, str]]:
    return [(problem.code, problem.subject) for problem in outcome.problems]


def test_a_line_a_reader_draws_is_what_the_response_is_made_of(results, place):
    case, _ = read_case(place)
    seen = sighting(case, "AX", 2)
    own = number(case, "AX", 2, "longest_diameter", "segmented")
    start, end = (np.array(point) for point in own.evidence.points_lps)
    # The mass is drawn half as long again as it was at baseline: progression.
    longer = 1.5 * number(case, "AX", 0, "longest_diameter", "segmented").value
    end = start + (end - start) / np.linalg.norm(end - start) * longer
    points = (tuple(start.tolist()), tuple(end.tolist()))
    journal.append(
        place, act("adjust", seen.mask, lesion_id="AX", visit=2, quantity="longest_diameter", points_lps=points)
    )

    outcome = redo(results, case.case)

    drawn = number(outcome.case, "AX", 2, "longest_diameter", "edited")
    assert drawn.value == pytest.approx(math.dist(*points), abs=0.005)
    assert number(outcome.case, "AX", 2, "longest_diameter", "segmented") == own  # what it corrects stays beside it
    answer = next(item for item in outcome.case.assessments if item.criterion == "recist-1.1" and item.visit == 2)
    assert answer.overall == "PD"
    with (results / "measurements.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["evidence"] == "edited"]
    assert [(row["lesion"], row["quantity"], float(row["value"])) for row in rows] == [
        ("AX", "longest_diameter", drawn.value)
    ]
    assert outcome.computed == 0  # a drawn line asks for no pixel


def test_an_outline_a_reader_corrects_is_measured_and_carried_to_the_later_visits(results, place):
    case, values = read_case(place)
    seen = sighting(case, "AX", 0)
    own = values[seen.mask]
    smaller = own.array.copy()
    smaller[np.flatnonzero(own.array.any(axis=(1, 2)))[-3:]] = False
    journal.append(place, act("adjust", seen.mask, lesion_id="AX", visit=0), Mask(smaller, own.grid, "reader one"))

    outcome = redo(results, case.case)

    corrected = number(outcome.case, "AX", 0, "volume", "edited")
    assert corrected.value < number(outcome.case, "AX", 0, "volume", "segmented").value
    assert isinstance(corrected.evidence, Edited)
    assert sighting(outcome.case, "AX", 0).mask == corrected.evidence.mask
    assert sighting(outcome.case, "AX", 1).mask != sighting(case, "AX", 1).mask
    assert sighting(outcome.case, "L4", 1) == sighting(case, "L4", 1)  # only what depends on it


def test_an_outline_a_reader_corrects_at_a_follow_up_is_carried_to_the_visits_after_it(results, place):
    case, values = read_case(place)
    seen = sighting(case, "AX", 1)
    own = values[seen.mask]
    smaller = own.array.copy()
    smaller[np.flatnonzero(own.array.any(axis=(1, 2)))[-2:]] = False
    drawn = Mask(smaller, own.grid, "reader one")
    journal.append(place, act("adjust", seen.mask, lesion_id="AX", visit=1), drawn)

    outcome = redo(results, case.case)

    assert sighting(outcome.case, "AX", 0) == sighting(case, "AX", 0)
    assert sighting(outcome.case, "AX", 1).mask == drawn.digest  # never overwritten
    assert sighting(outcome.case, "AX", 2).mask != sighting(case, "AX", 2).mask
    # Baseline stays the frame of all.
    before, after = (sighting(item, "AX", 2).transform for item in (case, outcome.case))
    centre_lps = own.grid.to_lps(np.argwhere(own.array).mean(axis=0))
    assert after.fixed_frame_uid == before.fixed_frame_uid
    assert after.apply(centre_lps) == pytest.approx(before.apply(centre_lps), abs=2.0)


def test_a_lesion_that_is_added_where_another_is_followed_is_named(results, place):
    case, values = read_case(place)
    chest = next(series for series in case.visits[1].series if series.role == "chest_ct")
    own = values[sighting(case, "AX", 1).mask]
    again = act("add", chest.digest, lesion_id="AX2", visit=1, kind="soft_tissue", finding="new")
    journal.append(place, again, Mask(np.roll(own.array, 2, axis=2), own.grid, "reader one"))
    assert not [problem for problem in case.problems if problem.code == "W-TRACK"]
    doubts = [(code, subject) for code, subject in codes(redo(results, case.case)) if code == "W-TRACK"]
    assert ("W-TRACK", "AX, AX2 at 2023-10-18") in doubts


def test_a_judgement_of_what_has_changed_since_is_named_and_not_applied(results, place):
    case, _ = read_case(place)
    journal.append(place, act("reject", "0" * 64, lesion_id="L4", visit=1))
    outcome = redo(results, case.case)
    assert ("W-REVIEW-STALE", "L4 at 2023-10-18") in codes(outcome)
    assert sighting(outcome.case, "L4", 1) == sighting(case, "L4", 1)


def test_a_rejected_outline_gives_no_number(results, place):
    case, _ = read_case(place)
    journal.append(place, act("reject", sighting(case, "AX", 1).mask, lesion_id="AX", visit=1))
    outcome = redo(results, case.case)
    assert sighting(outcome.case, "AX", 1).outcome is Outcome.NOT_EVALUABLE
    assert not [item for item in outcome.case.measurements if (item.lesion_id, item.visit) == ("AX", 1)]
    assert ("W-REVIEW-REJECTED", "AX at 2023-10-18") in codes(outcome)


def test_a_doubtful_outline_that_a_reader_accepts_is_doubtful_no_more(results, place):
    case, _ = read_case(place)
    doubtful = [problem.subject for problem in case.problems if problem.code == "W-SEG-CONFIDENCE"]
    lesion, _, date = doubtful[0].partition(" at ")
    visit = next(visit.number for visit in case.visits if visit.date == date)
    journal.append(place, act("accept", sighting(case, lesion, visit).mask, lesion_id=lesion, visit=visit))
    left = [subject for code, subject in codes(redo(results, case.case)) if code == "W-SEG-CONFIDENCE"]
    assert left == doubtful[1:]


def test_a_lesion_a_reader_adds_after_baseline_is_new_and_means_progression(results, place):
    case, values = read_case(place)
    chest = next(series for series in case.visits[1].series if series.role == "chest_ct")
    own = values[sighting(case, "AX", 1).mask]
    journal.append(
        place,
        act("add", chest.digest, lesion_id="LUNG", visit=1, kind="soft_tissue", finding="new"),
        Mask(np.roll(own.array, 2, axis=2), own.grid, "reader one"),
    )
    outcome = redo(results, case.case)
    assert number(outcome.case, "LUNG", 1, "longest_diameter", "edited").value > 0
    assert sighting(outcome.case, "LUNG", 2).outcome is Outcome.MEASURED  # and it is followed from there
    answer = next(item for item in outcome.case.assessments if item.criterion == "recist-1.1" and item.visit == 1)
    assert answer.overall == "PD"


def test_a_signature_holds_until_a_signed_number_changes(results, place):
    case, _ = read_case(place)
    journal.append(place, act("sign", signature(case.measurements, 2), visit=2))
    assert "W-REVIEW-STALE" not in dict(codes(redo(results, case.case)))
    points = ((0.0, 0.0, 0.0), (0.0, 30.0, 0.0))
    seen = sighting(case, "AX", 2).mask
    journal.append(place, act("adjust", seen, lesion_id="AX", visit=2, quantity="longest_diameter", points_lps=points))
    assert ("W-REVIEW-STALE", "the visit of 2024-02-20") in codes(redo(results, case.case))


def test_readers_who_judge_apart_do_not_see_each_other(results, place):
    case, _ = read_case(place)
    seen = sighting(case, "AX", 1).mask
    journal.append(place, replace(act("reject", seen, lesion_id="AX", visit=1), reader="reader two"))
    apart = redo(results, case.case, reader="reader one")
    assert sighting(apart.case, "AX", 1).outcome is Outcome.MEASURED
    assert read_case(place)[0] == case  # everybody's case is not touched


def test_a_changed_journal_stops_its_case_by_name(results, place):
    case, _ = read_case(place)
    journal.append(place, act("accept", sighting(case, "AX", 1).mask, lesion_id="AX", visit=1))
    path = place / "journal.jsonl"
    path.write_text(path.read_text().replace("accept", "reject"))
    outcome = redo(results, case.case)
    assert outcome.case is None
    assert [code for code, _ in codes(outcome)] == ["E-JOURNAL"]
