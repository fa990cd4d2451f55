"""Which acts hold, which are stale, and what a reader may see of them."""

from dataclasses import replace

import numpy as np
import pytest

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Review
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.review.changes import changes
from imaging_pipeline.review.hanging import hung_grid, hung_outline, hung_pixels, painted, plane_of
from imaging_pipeline.review.standing import (
    Standing,
    disputed,
    last_signature,
    present_outline,
    stale,
    standing,
    visible,
)
from tests.io.cases import mpnst_case

CASE, VALUES = mpnst_case()
SEEN = next(each for each in CASE.sightings if (each.lesion_id, each.visit) == ("AX", 2))
ACCEPT = Review("A", "2024-03-01T09:00:00Z", "accept", 2, SEEN.mask, "", lesion_id="AX")
OTHER, THIRD = "a" * 64, "b" * 64


def seen_as(mask):
    """The case with another outline of the axillary mass at the last visit."""
    return replace(CASE, sightings=tuple(replace(each, mask=mask) if each is SEEN else each for each in CASE.sightings))


def stale_acts(case, *acts):
    found = stale(case, acts)
    return [digest(act) in found for act in acts]


def test_a_judgement_holds_while_what_it_judged_is_there():
    assert stale_acts(CASE, ACCEPT) == [False]
    assert stale_acts(seen_as(OTHER), ACCEPT) == [True]


def test_a_correction_holds_while_its_own_outline_stands_in_place_of_what_it_judged():
    corrected = replace(ACCEPT, act="adjust", mask=OTHER)
    assert stale_acts(seen_as(OTHER), ACCEPT, corrected) == [False, False]
    assert stale_acts(seen_as(THIRD), ACCEPT, corrected) == [True, True]


def test_a_correction_of_a_correction_holds_with_the_one_before_it():
    first = replace(ACCEPT, act="adjust", mask=OTHER)
    second = replace(ACCEPT, act="adjust", judged=OTHER, mask=THIRD)
    assert stale_acts(seen_as(THIRD), first, second) == [False, False]


def test_what_waits_to_be_computed_is_judged_as_if_it_were():
    corrected = replace(ACCEPT, act="adjust", mask=OTHER)
    assert present_outline(CASE, SEEN, (corrected,)) == OTHER
    assert stale_acts(CASE, corrected, replace(ACCEPT, judged=OTHER)) == [False, False]
    computed = replace(CASE, reviews=(corrected,))
    assert present_outline(computed, SEEN, (corrected,)) == SEEN.mask


def test_a_judgement_of_an_outline_already_replaced_is_stale():
    corrected = replace(ACCEPT, act="adjust", mask=OTHER)
    late = replace(ACCEPT, reader="B")
    assert stale_acts(seen_as(OTHER), corrected, late) == [False, True]


def test_a_rejection_holds_when_its_lesion_gives_no_outline_any_more():
    rejected = replace(ACCEPT, act="reject")
    assert stale_acts(seen_as(""), ACCEPT, rejected) == [False, False]
    assert stale_acts(seen_as(OTHER), rejected) == [True]


def test_a_signature_holds_until_a_number_of_its_visit_changes():
    signed = replace(ACCEPT, act="sign", lesion_id="", judged=signature(CASE.measurements, 2))
    assert stale_acts(CASE, signed) == [False]
    index = next(place for place, each in enumerate(CASE.measurements) if each.visit == 2)
    changed = replace(CASE.measurements[index], value=99.0)
    case = replace(CASE, measurements=(*CASE.measurements[:index], changed, *CASE.measurements[index + 1 :]))
    assert stale_acts(case, signed) == [True]


def test_an_added_lesion_holds_while_the_series_it_was_drawn_on_is_there():
    added = replace(ACCEPT, act="add", lesion_id="NEW", judged=CASE.visits[2].series[1].digest, mask=OTHER)
    assert stale_acts(CASE, added, replace(added, judged=THIRD)) == [False, True]


def test_a_lesion_stands_as_its_last_judgement_says():
    acts = (ACCEPT, replace(ACCEPT, act="reject"))
    assert standing("AX", 2, acts, frozenset()) is Standing.REJECTED
    assert standing("AX", 1, acts, frozenset()) is Standing.OPEN
    assert standing("AX", 2, acts, frozenset({digest(acts[1])})) is Standing.STALE


def test_a_reader_sees_the_own_acts_and_an_adjudicator_all():
    acts = (ACCEPT, replace(ACCEPT, reader="B"), replace(ACCEPT, reader="A", act="reject"))
    assert visible(acts, "A", adjudicates=False) == (acts[0], acts[2])
    assert visible(acts, "C", adjudicates=False) == ()
    assert visible(acts, "C", adjudicates=True) == acts


def test_readers_differ_when_their_last_judgements_do():
    assert disputed((ACCEPT, replace(ACCEPT, reader="B", comment="clear"))) == frozenset()
    assert disputed((ACCEPT, replace(ACCEPT, reader="B", act="reject"))) == {("AX", 2)}
    settled = (replace(ACCEPT, act="reject"), replace(ACCEPT, reader="B"), ACCEPT)
    assert disputed(settled) == frozenset()


def test_the_last_signature_of_a_visit_counts():
    signed = [replace(ACCEPT, act="sign", reader=name) for name in "AB"]
    assert last_signature(2, signed).reader == "B"
    assert last_signature(1, signed) is None


# ---- What changed


def test_changes_name_each_number_before_and_after_and_responses_first():
    index = next(
        place
        for place, each in enumerate(CASE.measurements)
        if (each.lesion_id, each.visit, each.quantity) == ("AX", 2, "longest_diameter")
    )
    longer = replace(CASE.measurements[index], value=63.0)
    after = replace(
        CASE,
        measurements=(*CASE.measurements[:index], longer, *CASE.measurements[index + 1 :]),
        assessments=(*CASE.assessments[:2], replace(CASE.assessments[2], overall="PD")),
    )
    response, number = changes(CASE, after)
    assert (response.subject, response.visit, response.before, response.after) == ("recist-1.1", 2, "NE", "PD")
    assert (number.subject, number.what, number.before.split()[0], number.after.split()[0]) == (
        "AX", "longest diameter", "42.00", "63.00",
    )  # fmt: skip
    assert changes(CASE, CASE) == ()


# ---- How a scan hangs


@pytest.mark.parametrize("flips", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_a_scan_hangs_with_the_patients_left_on_the_right_and_comes_back(order, flips):
    view = VALUES[SEEN.view]
    turned = _turned_volume(view, order, flips)
    grid = hung_grid(turned.grid)
    steps = np.array(grid.affine)[:3, :3]
    assert steps[0, 2] > 0  # right of the picture: the patient's left
    assert steps[1, 1] > 0  # down: posterior
    pixels = np.frombuffer(hung_pixels(turned), "<i2").reshape(grid.shape)
    place = (3, 7, 11)
    index = np.rint(turned.grid.to_index(grid.to_lps(place))).astype(int)
    assert pixels[place] == turned.array[tuple(index)]
    outline = Mask(turned.array > 30, turned.grid, "x")
    bits = hung_outline(outline, turned)
    assert painted(bits, turned, "reader") == outline
    assert painted(bits[:-1], turned, "reader") is None
    assert plane_of(turned.grid).letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}


def _turned_volume(view, order, flips):
    from imaging_pipeline.domain.geometry import Grid, as_matrix
    from imaging_pipeline.domain.images import Volume

    array = np.flip(view.array.transpose(order), flips).copy()
    matrix = view.grid.matrix[:, [*order, 3]].copy()
    for axis in flips:
        matrix[:3, 3] += matrix[:3, axis] * (array.shape[axis] - 1)
        matrix[:3, axis] *= -1
    grid = Grid(array.shape, as_matrix(matrix), view.grid.space, view.grid.frame_of_reference_uid)
    return Volume(array, grid, view.unit, view.series)
