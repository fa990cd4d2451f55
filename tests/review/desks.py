"""A results folder of one hand-made patient, a stand-in for computing again, and a server before it."""

import atexit
import json
import math
import shutil
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from imaging_pipeline.corrections import corrected
from imaging_pipeline.domain.case import Edited, Measurement, Outcome, Sighting
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.io import journal
from imaging_pipeline.io.record import read_case, read_record, write_case
from imaging_pipeline.results import CaseOutcome, case_folder
from imaging_pipeline.review.desk import Desk
from imaging_pipeline.review.requests import ActRequest
from imaging_pipeline.review.server import TOKEN_HEADER, ReviewServer
from tests.io.cases import mpnst_case

CASE = "p-4f1c9a20be73"
AX, L4, LOST = 1, 0, 2  # lesions by their place in the case
NOW = "2024-03-01T09:00:00Z"


def results_folder(folder, hostile=(), name=CASE):
    """The results of a run, and beside them the case as the pipeline alone gives it."""
    shutil.copytree(_written(name, hostile), folder / "cases" / name)
    shutil.copytree(_written(name, hostile), folder / "pipeline" / name)
    told(folder)
    return folder


def told(folder):
    """What the run says of all cases."""
    cases = [read_record(path.parent) for path in folder.glob("pipeline/*/case.json")]
    issues = [{"case": case.case, **problem.document} for case in cases for problem in case.problems]
    (folder / "issues.json").write_text(json.dumps(issues))


@cache
def _written(name, hostile):
    """The case on disk, once: writing it takes longer than a test."""
    place = Path(tempfile.mkdtemp()) / name
    atexit.register(shutil.rmtree, place.parent)
    write_case(*mpnst_case(name, hostile), place)
    return place


def redo(results, name, reader):
    """What the pipeline does with a journal, without pixels: outlines replaced, lines drawn, lesions out or in."""
    case, values = read_case(results / "pipeline" / name)
    acts, outlines = journal.read(case_folder(results, name))
    acts = tuple(act for act in acts if reader in ("", act.reader))
    values = {**values, **outlines}
    sightings, numbers = [], []
    for sighting in case.sightings:
        seen, measured = _applied(case, sighting, acts, values)
        sightings.append(seen)
        numbers += measured
    lesions = list(case.lesions)
    for act in acts:
        if act.act == "add":
            lesions.append(Lesion(act.lesion_id, "2.25.9", act.lesion_id, Kind(act.kind)))
            sightings.append(Sighting(act.lesion_id, act.visit, Outcome.MEASURED, mask=act.mask))
            numbers.append(_volume(act.lesion_id, act.visit, values[act.mask], act))
    numbers += [item for item in case.measurements if item.evidence.kind == "reported"]
    case = replace(case, lesions=tuple(lesions), sightings=tuple(sightings), measurements=tuple(numbers), reviews=acts)
    write_case(case, values, case_folder(results, name, reader))
    return CaseOutcome(name, case, ())


def _applied(case, sighting, acts, values):
    at = (sighting.lesion_id, sighting.visit)
    own = [
        item for item in case.measurements if (item.lesion_id, item.visit) == at and item.evidence.kind != "reported"
    ]
    if not sighting.mask:
        return sighting, own
    on = [act for act in acts if (act.lesion_id, act.visit) == at]
    judged = corrected(values[sighting.mask], on, values, "here")
    if judged.rejected:
        return replace(sighting, outcome=Outcome.NOT_EVALUABLE, mask="", view=""), []
    if judged.author is not None:
        own.append(_volume(*at, judged.mask, judged.author))
    for act in judged.lines:
        length = round(math.dist(*act.points_lps), 2)
        evidence = Edited(act.judged, digest(act), act.points_lps)
        own.append(Measurement(*at, act.quantity, length, "mm", evidence, modality="CT"))
    return replace(sighting, mask=judged.mask.digest, method=judged.mask.maker), own


def _volume(lesion_id, visit, mask, act):
    evidence = Edited(mask.digest, digest(act))
    return Measurement(lesion_id, visit, "volume", round(mask.volume_ml * 1000, 1), "mm3", evidence, modality="CT")


def desk(results, reader="Dr Ada", *, adjudicates=False, computed=redo, now=NOW):
    """A reader at work on a results folder."""
    return Desk(results, reader, adjudicates=adjudicates, redo=computed, now=lambda: now)


def request(document, act, lesion=AX, visit=2, comment="because", **what):
    """An act on what the page shows now."""
    judged = "" if lesion is None else document["cells"][lesion][visit]["judged"]
    return ActRequest(**{"act": act, "visit": visit, "lesion": lesion, "judged": judged, "comment": comment, **what})


@contextmanager
def served(at_work):
    """A server before a desk, until the end of the block."""
    with ReviewServer(at_work) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def headers(server, **more):
    """What our own page sends."""
    return {
        "Host": server.host,
        "Origin": f"http://{server.host}",
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/json",
        TOKEN_HEADER: server.token,
        **more,
    }


def written_at_once(folder, acts):
    """A journal of many acts, as `append` one by one would write it, without its waits for the disk."""
    previous, lines = "", []
    for act in acts:
        act = replace(act, previous=previous)
        previous = digest(act)
        lines.append(journal._line(journal._Entry(act, previous)))
    (folder / journal.JOURNAL).write_bytes(b"".join(lines))
    (folder / journal.HEAD).write_text(
        json.dumps({"acts": len(lines), "digest": previous}, separators=(",", ":")) + "\n"
    )
