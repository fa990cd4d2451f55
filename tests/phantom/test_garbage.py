"""Junk among the scans: listed, of every kind, and no scan is touched."""

import os
import shutil
import stat
from pathlib import Path

import pydicom
import pytest

from imaging_pipeline.config import Config
from imaging_pipeline.io.folder import index
from imaging_pipeline.phantom.garbage import HOSTILE_NAMES, salt

MINI = Path(__file__).parents[2] / "sample_data" / "mini"
KINDS = 16


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.fixture
def scans(tmp_path):
    """One series of the committed case."""
    series = next(MINI.glob("*/2023-05-28/02_*"))
    shutil.copytree(series, tmp_path / "scans" / series.relative_to(MINI))
    return tmp_path / "scans"


def test_every_junk_file_is_listed_once_and_no_scan_changes(scans):
    before = {name: (scans / name).read_bytes() for name in files_below(scans)}
    listed = [entry["path"] for entry in salt(scans, 2.0, 0)]
    assert len(listed) == 2 * len(before)
    assert sorted(files_below(scans) - set(before)) == sorted(listed)
    assert {name: (scans / name).read_bytes() for name in before} == before


def test_every_kind_comes_before_any_comes_again(scans):
    count = len(files_below(scans))
    listed = salt(scans, KINDS / count, 3)
    assert len({entry["kind"] for entry in listed}) == len(listed) == KINDS


def test_equal_seeds_lay_the_same_junk(scans, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(scans, again)
    assert salt(scans, 1.0, 5) == salt(again, 1.0, 5)
    for name in sorted(files_below(scans)):
        if stat.S_ISREG(os.lstat(scans / name).st_mode):
            assert (scans / name).read_bytes() == (again / name).read_bytes()


def test_junk_is_what_it_is_called(scans):
    by_kind = {}
    for entry in salt(scans, 1.0, 1):
        by_kind.setdefault(entry["kind"], []).append(scans / entry["path"])
    for path in by_kind["truncated"] + by_kind["size bomb"]:
        assert path.read_bytes()[128:132] == b"DICM"
    sources = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in scans.rglob("IM0*.dcm")}
    for path in by_kind["truncated"]:
        assert pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID not in sources
    bomb = pydicom.dcmread(by_kind["size bomb"][0], stop_before_pixels=True)
    assert (bomb.Rows, bomb.Columns) == (65535, 65535)
    assert all(path.stat().st_size == 0 for path in by_kind["empty"])
    assert all(stat.S_ISFIFO(os.lstat(path).st_mode) for path in by_kind["pipe"])
    assert all(path.is_symlink() for path in by_kind["link"])
    assert all(path.read_bytes()[:2] == b"MZ" for path in by_kind["copy with a program's preamble"])


@pytest.mark.parametrize("seed", [0, 1])
def test_an_index_lists_each_junk_file_as_stated_and_finds_the_same_slices(scans, seed):
    (clean,) = index(scans, Config()).patients
    expected = {(entry["path"], entry["expected_code"]) for entry in salt(scans, 2.0, seed) if entry["expected_code"]}
    found = index(scans, Config())
    listed = [(problem.subject, problem.code) for problem in found.rejected]
    assert sorted(listed) == sorted(expected)
    (patient,) = found.patients
    assert [(record.series.series_instance_uid, record.series.grid) for record in patient.series] == [
        (record.series.series_instance_uid, record.series.grid) for record in clean.series
    ]
    assert {problem.code for record in patient.series for problem in record.problems} <= {
        "N-FILE-COPY",
        "W-FILE-PREAMBLE",
    }


def test_hostile_names_fit_a_file_system():
    assert max(len(name.encode()) for name in HOSTILE_NAMES) == 255
    assert not any("/" in name or "\0" in name for name in HOSTILE_NAMES)
