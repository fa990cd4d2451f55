"""A stage's result is computed once for equal inputs, and files appear whole or not at all."""

import numpy as np
import pytest

from imaging_pipeline.domain.case import Measurement, Segmented
from imaging_pipeline.domain.geometry import IDENTITY, Grid
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import OutputError, Problem
from imaging_pipeline.store import Store, whole_file, write_whole

MASK = Mask(np.arange(8).reshape(2, 2, 2) % 2 == 0, Grid((2, 2, 2), IDENTITY), "test", confidence=0.5)
PROBLEM = Problem("E-X", "a", "b", "c", "d")
MEASUREMENTS = (Measurement("L4", 0, "volume", 1.5, "mm3", Segmented("abc", ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))),)


def never():
    raise AssertionError("computed twice")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(MASK, Mask | Problem), (PROBLEM, Mask | Problem), (MEASUREMENTS, tuple[Measurement, ...])],
)
def test_a_result_is_recalled_equal_in_another_run(tmp_path, value, kind):
    assert Store(tmp_path).remember("stage", "1", ("in", 1), kind, lambda: value) == value
    again = Store(tmp_path)
    assert again.remember("stage", "1", ("in", 1), kind, never) == value
    assert (again.computed, again.recalled) == (0, 1)


def test_what_a_digest_does_not_cover_also_comes_back(tmp_path):
    Store(tmp_path).remember("stage", "1", 1, Mask, lambda: MASK)
    recalled = Store(tmp_path).remember("stage", "1", 1, Mask, never)
    assert (recalled.maker, recalled.confidence, recalled.array.dtype) == ("test", 0.5, bool)


@pytest.mark.parametrize("changed", [("other", "1", 1), ("stage", "2", 1), ("stage", "1", 2)])
def test_another_stage_version_or_input_is_computed_anew(tmp_path, changed):
    Store(tmp_path).remember("stage", "1", 1, Mask, lambda: MASK)
    store = Store(tmp_path)
    store.remember(*changed, Mask, lambda: MASK)
    assert (store.computed, store.recalled) == (1, 0)


@pytest.mark.parametrize("damage", ["value.json", "0.npy"])
def test_a_torn_entry_is_computed_again(tmp_path, damage):
    Store(tmp_path).remember("stage", "1", 1, Mask, lambda: MASK)
    next(tmp_path.rglob(damage)).write_bytes(b"{torn")
    store = Store(tmp_path)
    assert store.remember("stage", "1", 1, Mask, lambda: MASK) == MASK
    assert store.computed == 1


def test_an_array_of_objects_is_never_loaded(tmp_path):
    Store(tmp_path).remember("stage", "1", 1, Mask, lambda: MASK)
    with next(tmp_path.rglob("0.npy")).open("wb") as stream:
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    store = Store(tmp_path)
    store.remember("stage", "1", 1, Mask, lambda: MASK)
    assert store.computed == 1


def test_without_a_folder_everything_is_computed():
    store = Store()
    assert store.remember("stage", "1", 1, Mask, lambda: MASK) is MASK
    assert store.remember("stage", "1", 1, Mask, lambda: MASK) is MASK
    assert store.computed == 2


def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_rubbish(tmp_path):
    path = tmp_path / "table.csv"
    write_whole(path, "old")

    def fail_half_way():
        with whole_file(path) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_one_clear_refusal(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="E-OUTPUT"):
        write_whole(tmp_path / "file" / "table.csv", "x")
