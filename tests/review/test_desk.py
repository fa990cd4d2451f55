"""A reader at work: each act lands in the journal as it was meant, or nowhere."""

import json
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import ConfigurationError, PipelineError, RefusedError, SpaceError
from imaging_pipeline.io import journal
from imaging_pipeline.io.exports import export_dicom
from imaging_pipeline.io.nifti import write_nifti
from imaging_pipeline.io.record import read_case
from imaging_pipeline.review.hanging import hung_grid, hung_outline
from imaging_pipeline.review.requests import parsed
from tests.io.test_masks import structure_set
from tests.review.desks import AX, CASE, L4, LOST, desk, redo, request, results_folder, told


@pytest.fixture
def ada(results):
    return desk(results)


def values_of(place):
    case, values = read_case(place)
    seen = next(each for each in case.sightings if (each.lesion_id, each.visit) == ("AX", 2))
    return values[seen.mask], values[seen.view]


def smaller(mask):
    """The outline without its lowest slice."""
    array = mask.array.copy()
    array[np.flatnonzero(array.any(axis=(1, 2)))[0]] = False
    return Mask(array, mask.grid, "reader")


def painted(place, mask):
    _, view = values_of(place)
    return {"view": view.digest, "bits": b64encode(hung_outline(mask, view)).decode()}


def number(document, label, lesion=AX, visit=2):
    return next(each["value"] for each in document["cells"][lesion][visit]["numbers"] if each["label"] == label)


# ---- Acts


def test_an_acceptance_names_reader_time_outline_and_reason(ada, place):
    document = ada.case(CASE)
    ada.act(CASE, request(document, "accept", comment="  edges are clear "))
    (act,), _ = journal.read(place)
    assert (act.reader, act.time, act.act, act.visit) == ("Dr Ada", "2024-03-01T09:00:00Z", "accept", 2)
    assert act.lesion_id == "AX"
    assert act.judged == document["cells"][AX][2]["judged"] == values_of(place)[0].digest
    assert act.comment == "edges are clear"
    assert ada.case(CASE)["cells"][AX][2]["standing"] == "accepted"


def test_a_moved_axis_changes_the_number_and_says_what_it_was(ada):
    document = ada.case(CASE)
    line = document["cells"][AX][2]["lines"]["longest_diameter"]
    one, other = np.array(line[0]), np.array(line[1])
    points = (tuple(line[0]), tuple((one + 0.9 * (other - one)).tolist()))
    ada.act(CASE, request(document, "adjust", quantity="longest_diameter", points_lps=points))
    answer = ada.recompute(CASE)
    (change,) = answer["changes"]
    assert (change["subject"], change["what"]) == ("AX", "longest diameter")
    assert change["before"].startswith("42.00")
    assert change["after"].startswith("37.80")
    assert number(answer["case"], "longest diameter").startswith("37.80")
    assert answer["case"]["acts"][0]["pending"] is False


def test_a_painted_outline_lands_on_the_scans_own_voxels(ada, place):
    own, view = values_of(place)
    wanted = smaller(own)
    digest = ada.act(CASE, request(ada.case(CASE), "adjust", painted=painted(place, wanted)))
    _, outlines = journal.read(place)
    assert np.array_equal(outlines[digest].on(view.grid).array, wanted.on(view.grid).array)
    assert outlines[digest].array.size < view.array.size / 4  # only what is needed is kept
    answer = ada.recompute(CASE)
    assert [change["what"] for change in answer["changes"]] == ["volume"]
    assert answer["case"]["cells"][AX][2]["standing"] == "adjusted"


def test_a_file_replaces_the_outline_whole_scan_or_crop(ada, place, tmp_path):
    own, view = values_of(place)
    wanted = smaller(own)
    for grid in (view.grid, wanted.grid):
        path = tmp_path / "m.nii.gz"
        write_nifti(wanted.on(grid), path)
        file = {"format": ".nii.gz", "content": b64encode(path.read_bytes()).decode(), "series": 1}
        digest = ada.act(CASE, request(ada.case(CASE), "adjust", uploaded=file))
        _, outlines = journal.read(place)
        assert np.array_equal(outlines[digest].on(view.grid).array, wanted.on(view.grid).array)
        ada.recompute(CASE)


def test_contours_of_another_program_replace_the_outline(ada, place, tmp_path):
    own, view = values_of(place)
    contours = []
    for index in np.flatnonzero(own.array.any(axis=(1, 2)))[1:4]:
        corners = [(index, 8.5, 8.5), (index, 8.5, 14.5), (index, 14.5, 14.5), (index, 14.5, 8.5)]
        contours.append(own.grid.to_lps(corners))
    path = tmp_path / "rs.dcm"
    structure_set(path, contours, frame=view.grid.frame_of_reference_uid)
    file = {"format": ".dcm", "content": b64encode(path.read_bytes()).decode(), "label": "GTV", "series": 1}
    digest = ada.act(CASE, request(ada.case(CASE), "adjust", uploaded=file))
    assert journal.read(place)[1][digest].array.sum() == 3 * 36


def test_a_dicom_segment_replaces_the_outline(ada, place, tmp_path):
    case, values = read_case(place)
    written = [path for path in export_dicom(case, values, tmp_path) if case.visits[2].date in str(path)]
    series = case.visits[2].series[1].series_instance_uid
    path = next(path for path in written if _segmented_series(path) == series)
    file = {"format": ".dcm", "content": b64encode(path.read_bytes()).decode(), "label": "1", "series": 1}
    digest = ada.act(CASE, request(ada.case(CASE), "adjust", uploaded=file))
    assert journal.read(place)[1][digest].array.sum() == values_of(place)[0].array.sum()


def _segmented_series(path):
    document = pydicom.dcmread(path)
    return document.ReferencedSeriesSequence[0].SeriesInstanceUID if document.Modality == "SEG" else ""


def test_a_rejected_lesion_gives_no_number_and_may_be_taken_back(ada):
    ada.act(CASE, request(ada.case(CASE), "reject", comment="not a lesion"))
    document = ada.recompute(CASE)["case"]
    assert document["cells"][AX][2]["standing"] == "rejected"
    assert document["cells"][AX][2]["numbers"] == []
    ada.act(CASE, request(document, "accept"))
    document = ada.recompute(CASE)["case"]
    assert document["cells"][AX][2]["standing"] == "accepted"
    assert number(document, "longest diameter").startswith("42.00")
    assert [act["stale"] for act in document["acts"]] == [False, False]


def test_a_new_lesion_is_added_with_its_kind_on_its_series(ada, place):
    own, view = values_of(place)
    document = ada.case(CASE)
    judged = document["visits"][2]["series"][1]["digest"]
    assert judged == view.series.digest
    ada.act(
        CASE,
        request(document, "add", None, judged=judged, name="LUNG", kind="soft_tissue", finding="new")
        .model_copy(update={"painted": parsed_painting(place, smaller(own))}),
    )  # fmt: skip
    (act,), _ = journal.read(place)
    assert (act.act, act.lesion_id, act.kind, act.finding, act.judged) == (
        "add", "LUNG", "soft_tissue", "new", judged,
    )  # fmt: skip
    document = ada.recompute(CASE)["case"]
    assert [each["id"] for each in document["lesions"]][-1] == "LUNG"
    assert document["cells"][-1][2]["standing"] == "added"


def parsed_painting(place, mask):
    return parsed(json.dumps({"act": "add", "visit": 0, "painted": painted(place, mask)}).encode()).painted


@pytest.mark.parametrize("finding", ["new", "split", "merged"])
def test_a_finding_is_kept_with_the_judgement(finding, ada, place):
    ada.act(CASE, request(ada.case(CASE), "accept", finding=finding))
    assert journal.read(place)[0][0].finding == finding


def test_a_signature_covers_the_visit_until_a_number_changes(ada):
    document = ada.case(CASE)
    ada.act(CASE, request(document, "sign", None, judged=document["visits"][2]["judged"], comment=""))
    document = ada.recompute(CASE)["case"]
    assert document["visits"][2]["signed"] == {"by": "Dr Ada", "stale": False}
    ada.act(CASE, request(document, "reject"))
    document = ada.recompute(CASE)["case"]
    assert document["visits"][2]["signed"] == {"by": "Dr Ada", "stale": True}
    assert document["acts"][0]["stale"]


def test_a_correction_is_accepted_before_its_numbers_are_there(ada, place):
    own, _ = values_of(place)
    corrected = ada.act(CASE, request(ada.case(CASE), "adjust", painted=painted(place, smaller(own))))
    document = ada.case(CASE)
    assert document["cells"][AX][2]["judged"] == corrected
    ada.act(CASE, request(document, "accept"))
    document = ada.recompute(CASE)["case"]
    assert [act["stale"] for act in document["acts"]] == [False, False]
    assert document["cells"][AX][2]["standing"] == "accepted"


def test_numbers_that_are_not_up_to_date_are_not_signed(ada, place):
    ada.act(CASE, request(ada.case(CASE), "accept"))
    document = ada.case(CASE)
    sign = request(document, "sign", None, judged=document["visits"][2]["judged"])
    with pytest.raises(ConfigurationError):
        ada.act(CASE, sign)
    ada.recompute(CASE)
    ada.act(CASE, sign)
    assert [act.act for act in journal.read(place)[0]] == ["accept", "sign"]


# ---- Acts that do not fit


def refused(at_work, act):
    with pytest.raises(PipelineError) as caught:
        at_work.act(CASE, act)
    assert journal.read(at_work._folder(CASE))[0] == ()
    return caught.value.problem.code


def test_a_judgement_of_what_has_changed_since_is_refused(ada):
    document = ada.case(CASE)
    assert refused(ada, request(document, "accept", judged="a" * 64)) == "E-REVIEW-CHANGED"
    assert refused(ada, request(document, "sign", None, judged="a" * 64)) == "E-REVIEW-CHANGED"
    assert refused(ada, request(document, "sign", None)) == "E-REVIEW-CHANGED"


@pytest.mark.parametrize(
    ("act", "what"),
    [
        ("accept", {"visit": 9}),
        ("accept", {"lesion": 9}),
        ("reject", {"comment": "  "}),
        ("adjust", {}),
        ("adjust", {"comment": ""}),
        ("adjust", {"quantity": "longest_diameter", "points_lps": ((0.0, 0.0, 0.0),)}),
        ("adjust", {"quantity": "longest_diameter", "points_lps": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))}),
        ("adjust", {"quantity": "longest_diameter", "points_lps": ((0.0, 0.0, 0.0), (9e9, 0.0, 0.0))}),
        ("adjust", {"points_lps": ((-118.0, 4.0, 96.0), (-110.0, 4.0, 96.0))}),
        ("add", {"lesion": None, "name": "N", "kind": "bone"}),
        ("add", {"lesion": None, "name": "AX", "kind": "bone"}),
        ("add", {"lesion": None, "name": "", "kind": "bone"}),
        ("add", {"lesion": None, "name": "N", "kind": ""}),
    ],
)
def test_an_act_that_does_not_fit_the_case_is_refused_and_not_kept(act, what, ada):
    document = ada.case(CASE)
    base = request(document, act)
    assert refused(ada, base.model_copy(update=what)) == "E-REVIEW-ACT"


def test_an_outline_that_does_not_belong_here_is_refused_and_not_kept(ada, place, tmp_path):
    own, _ = values_of(place)
    document = ada.case(CASE)
    path = tmp_path / "m.nii.gz"
    matrix = own.grid.matrix
    matrix[0, 3] += 0.4
    shifted = replace(own.grid, affine=tuple(map(tuple, matrix.tolist())))
    write_nifti(Mask(own.array, shifted, "x"), path)
    off = {"format": ".nii.gz", "content": b64encode(path.read_bytes()).decode(), "series": 1}
    assert refused(ada, request(document, "adjust", uploaded=off)) == "E-SPACE-MISMATCH"
    write_nifti(own, path)
    whole = b64encode(path.read_bytes()).decode()
    codes = {
        refused(
            ada, request(document, "adjust", uploaded={**off, "content": content, "format": kind, "series": series})
        )
        for content, kind, series in (
            (whole[: len(whole) // 8 * 4], ".nii.gz", 1),
            (b64encode(b"garbage").decode(), ".dcm", 1),
            (b64encode(b"garbage").decode(), ".nrrd", 1),
            (b64encode(b"").decode(), ".nii", 1),
            (whole, ".nii.gz", 7),
            (whole, ".nii.gz", 0),
        )
    }
    assert all(code.startswith("E-") for code in codes)
    empty = {"view": values_of(place)[1].digest, "bits": b64encode(bytes(1)).decode()}
    assert refused(ada, request(document, "adjust", painted=empty)) == "E-REVIEW-ACT"


def test_two_outlines_at_once_or_an_empty_one_are_refused(ada, place):
    own, view = values_of(place)
    document = ada.case(CASE)
    nothing = painted(place, Mask(np.zeros(own.array.shape, dtype=bool), own.grid, "x"))
    assert refused(ada, request(document, "adjust", painted=nothing)) == "E-REVIEW-ACT"
    file = {"format": ".nii", "content": "", "series": 1}
    both = request(document, "adjust", painted=painted(place, own), uploaded=file)
    assert refused(ada, both) == "E-REVIEW-ACT"
    assert hung_grid(view.grid).shape == tuple(document["cells"][AX][2]["view"]["shape"])


def test_a_lesion_that_was_lost_can_only_be_judged_not_drawn_upon(ada):
    document = ada.case(CASE)
    assert document["cells"][LOST][1]["view"] is None
    ada.act(CASE, request(document, "accept", LOST, 1))
    assert ada.case(CASE)["cells"][LOST][1]["standing"] == "accepted"


@pytest.mark.parametrize("name", ["..", "p-unknown", "", "p-4f1c9a20be73/../../pipeline", "/etc"])
def test_only_the_cases_of_the_folder_are_there(name, ada):
    with pytest.raises(ConfigurationError):
        ada.case(name)


def test_a_case_that_is_a_link_to_elsewhere_is_not_there(results, tmp_path_factory):
    outside = results_folder(tmp_path_factory.mktemp("outside"), name="p-outside")
    (results / "cases" / "p-outside").symlink_to(outside / "cases" / "p-outside")
    at_work = desk(results)
    assert [row["case"] for row in at_work.worklist()["cases"]] == [CASE]
    with pytest.raises(ConfigurationError):
        at_work.case("p-outside")


@pytest.mark.parametrize("name", ["", "   ", "x" * 65])
def test_a_reader_has_a_name(name, results):
    with pytest.raises(ConfigurationError):
        desk(results, name)


# ---- Readers apart


def test_a_reader_sees_neither_acts_nor_numbers_of_another(results):
    ada, ben = desk(results, "Dr Ada"), desk(results, "Dr Ben")
    before = ben.case(CASE)
    ada.act(CASE, request(ada.case(CASE), "reject"))
    ada.recompute(CASE)
    after = desk(results, "Dr Ben").case(CASE)
    assert after == before == ben.case(CASE)
    assert "Dr Ada" not in json.dumps([after, ben.worklist()])
    assert ben.worklist()["cases"][0]["acts"] == 0
    ben.act(CASE, request(after, "accept"))
    assert ben.recompute(CASE)["case"]["cells"][AX][2]["standing"] == "accepted"
    assert ada.case(CASE)["cells"][AX][2]["standing"] == "rejected"


def test_an_adjudicator_sees_both_and_where_they_differ(results):
    ada, ben = desk(results, "Dr Ada"), desk(results, "Dr Ben")
    ada.act(CASE, request(ada.case(CASE), "accept"))
    ada.act(CASE, request(ada.case(CASE), "accept", L4, 1))
    ben.act(CASE, request(ben.case(CASE), "reject"))
    ben.act(CASE, request(ben.case(CASE), "accept", L4, 1))
    eve = desk(results, "Dr Eve", adjudicates=True)
    assert eve.worklist()["cases"][0]["disputed"] == 1
    document = eve.recompute(CASE)["case"]
    assert {act["reader"] for act in document["acts"]} == {"Dr Ada", "Dr Ben"}
    assert document["cells"][AX][2]["disputed"]
    assert not document["cells"][L4][1]["disputed"]
    assert not ada.case(CASE)["cells"][AX][2]["disputed"]


def test_without_a_reading_of_ones_own_nothing_is_shown(results):
    ada = desk(results, "Dr Ada")
    ada.act(CASE, request(ada.case(CASE), "reject"))

    def forgets(folder, name, _reader):
        return redo(folder, name, "")

    with pytest.raises(RefusedError) as caught:
        desk(results, "Dr Ben", computed=forgets).case(CASE)
    assert caught.value.problem.code == "E-REVIEW-BLIND"


# ---- Stale, torn, tampered


def test_an_act_on_an_outline_the_pipeline_no_longer_gives_is_shown_as_stale(ada, results, place):
    ada.act(CASE, request(ada.case(CASE), "accept"))
    case, values = read_case(results / "pipeline" / CASE)
    seen = next(each for each in case.sightings if (each.lesion_id, each.visit) == ("AX", 2))
    other = smaller(values[seen.mask])
    from imaging_pipeline.io.record import write_case

    sightings = tuple(replace(each, mask=other.digest) if each == seen else each for each in case.sightings)
    write_case(replace(case, sightings=sightings), {**values, other.digest: other}, results / "pipeline" / CASE)
    document = ada.recompute(CASE)["case"]
    assert document["cells"][AX][2]["standing"] == "stale"
    assert document["acts"][0]["stale"]
    (row,) = ada.worklist()["cases"]
    assert row["stale"] == 1


def test_an_act_that_is_not_yet_computed_says_so(ada):
    ada.act(CASE, request(ada.case(CASE), "accept"))
    assert ada.case(CASE)["acts"][0]["pending"]
    assert not ada.recompute(CASE)["case"]["acts"][0]["pending"]


def test_a_torn_journal_is_named_set_aside_and_goes_on(ada, place):
    ada.act(CASE, request(ada.case(CASE), "accept"))
    with (place / "journal.jsonl").open("ab") as stream:
        stream.write(b"{")
    assert ada.worklist()["cases"][0]["refused"]["code"] == "E-JOURNAL-TORN"
    with pytest.raises(RefusedError):
        ada.case(CASE)
    assert (place / ada.mend(CASE)["kept"]).read_bytes() == b"{"
    assert len(ada.case(CASE)["acts"]) == 1


def test_a_tampered_journal_shows_nothing_and_takes_nothing(ada, place):
    document = ada.case(CASE)
    ada.act(CASE, request(document, "accept"))
    path = place / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"accept", b"reject"))
    for attempt in (lambda: ada.case(CASE), lambda: ada.act(CASE, request(document, "accept")), lambda: ada.mend(CASE)):
        with pytest.raises(RefusedError):
            attempt()


def test_a_case_that_cannot_be_computed_again_says_why_and_keeps_the_act(results, place):
    from imaging_pipeline.errors import Problem
    from imaging_pipeline.results import CaseOutcome

    gone = Problem("E-RESULTS-ORIGIN", "results", "no scans where they were", "the scans", "put them back")
    at_work = desk(results, computed=lambda folder, name, reader: CaseOutcome(name, None, (gone,)))
    at_work.act(CASE, request(at_work.case(CASE), "accept"))
    with pytest.raises(PipelineError) as caught:
        at_work.recompute(CASE)
    assert caught.value.problem.code == "E-RESULTS-ORIGIN"
    assert len(journal.read(place)[0]) == 1


# ---- Worklist


def test_the_worklist_begins_with_what_needs_a_reader(results):
    case, values = read_case(results / "pipeline" / CASE)
    from imaging_pipeline.io.record import write_case

    quiet, warned = replace(case, case="p-quiet", problems=()), replace(case, case="p-a", problems=case.problems[2:])
    doubtful = replace(case, case="p-z", problems=case.problems[:1])
    for each in (quiet, warned, doubtful):
        write_case(each, values, results / "cases" / each.case)
        write_case(each, values, results / "pipeline" / each.case)
    told(results)
    at_work = desk(results)
    assert [row["case"] for row in at_work.worklist()["cases"]] == [CASE, "p-z", "p-a", "p-quiet"]
    document = at_work.case("p-quiet")
    for visit in range(3):
        judged = document["visits"][visit]["judged"]
        at_work.act("p-quiet", request(document, "sign", None, visit, judged=judged))
    rows = {row["case"]: row for row in at_work.worklist()["cases"]}
    assert rows["p-quiet"]["done"]
    assert rows["p-quiet"]["signed"] == 3
    assert rows[CASE]["why"] == {"W-SEG-CONFIDENCE": 1, "E-REGISTER": 1}


def test_pixels_and_outlines_are_those_of_the_case_and_nothing_else(ada):
    view = ada.case(CASE)["cells"][AX][2]["view"]
    slices, rows, columns = view["shape"]
    assert len(ada.pixels(CASE, view["digest"])) == 2 * slices * rows * columns
    assert len(ada.outline(CASE, view["digest"], view["outline"])) == (slices * rows * columns + 7) // 8
    for one, other in ((view["outline"], view["outline"]), (view["digest"], view["digest"]), ("0" * 64, "0" * 64)):
        with pytest.raises((ConfigurationError, SpaceError)):
            ada.outline(CASE, one, other)
