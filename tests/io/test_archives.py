"""Archives are opened when asked for, once, and can neither leave their room nor fill it."""

import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config
from imaging_pipeline.io import archives
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.loaders import load
from tests.io.build import density, write_series


@pytest.fixture
def slices(tmp_path):
    return write_series(tmp_path / "made")


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def looked_at(scans):
    return index(scans, Config(), archives=scans.parent / "room")


def listed(scans):
    return {problem.subject: problem.code for problem in looked_at(scans).rejected}


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def tarred(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


PACKERS = {
    "study.zip": zipped,
    "STUDY.ZIP": zipped,
    "study.tar": tarred,
    "study.tar.gz": lambda path, members: tarred(path, members, "w:gz"),
    "study.tgz": lambda path, members: tarred(path, members, "w:gz"),
    "study.tar.xz": lambda path, members: tarred(path, members, "w:xz"),
    "study.tar.bz2": lambda path, members: tarred(path, members, "w:bz2"),
}


def of_slices(slices):
    return {f"export/CT/{path.name}": path.read_bytes() for path in slices}


@pytest.mark.parametrize("name", PACKERS)
def test_a_series_in_an_archive_is_read_as_one_outside(name, scans, slices):
    PACKERS[name](scans / name, {**of_slices(slices), "export/README.txt": b"words " * 50})
    found = looked_at(scans)
    (record,) = found.patients[0].series
    assert record.problems == ()
    assert np.array_equal(load(record, Config()).array, density())
    assert [problem.subject for problem in found.rejected] == [f"{name}/export/README.txt"]


def test_archives_stay_shut_unless_asked_for(scans, slices):
    zipped(scans / "study.zip", of_slices(slices))
    found = index(scans, Config())
    assert found.patients == ()
    assert [problem.code for problem in found.rejected] == ["E-FILE-NOT-DICOM"]


def test_a_slice_missing_in_the_archive_may_lie_beside_it(scans, slices):
    zipped(scans / "study.zip", of_slices(slices[:-1]))
    (scans / "last.dcm").write_bytes(slices[-1].read_bytes())
    (record,) = looked_at(scans).patients[0].series
    assert record.problems == ()


def test_an_archive_is_unpacked_once_and_again_when_it_changed(scans, slices, monkeypatch):
    unpacked = []
    real = archives._unpacked
    monkeypatch.setattr(archives, "_unpacked", lambda *given: unpacked.append(1) or real(*given))
    zipped(scans / "study.zip", of_slices(slices[:-1]))
    assert looked_at(scans) == looked_at(scans)
    assert len(unpacked) == 1
    zipped(scans / "study.zip", of_slices(slices))
    assert len(looked_at(scans).patients[0].series[0].paths) == len(slices)
    assert len(unpacked) == 2


OUTSIDE = ("../slip.dcm", "a/../../slip.dcm", "/tmp/slip.dcm", "..\\slip.dcm", "C:\\slip.dcm", "\\\\host\\slip.dcm")


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("archive", ["study.zip", "study.tar"])
def test_a_name_that_leads_out_is_refused_and_the_rest_is_read(name, archive, scans, slices):
    before = everything_in(scans.parent.parent)
    PACKERS[archive](scans / archive, {name: slices[0].read_bytes(), **of_slices(slices)})
    assert list(listed(scans).values()) == ["E-ARCHIVE-PATH"]
    assert looked_at(scans).patients[0].series[0].problems == ()
    new = everything_in(scans.parent.parent) - before
    assert all(scans / archive == path or scans.parent / "room" in (path, *path.parents) for path in new)
    assert not Path("/tmp/slip.dcm").exists()


def everything_in(folder):
    return {Path(place) / name for place, folders, files in os.walk(folder) for name in (*folders, *files)}


def test_links_and_devices_in_an_archive_are_skipped(scans, slices):
    with tarfile.open(scans / "study.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard"), (tarfile.FIFOTYPE, "pipe")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.add(slices[0], "slice.dcm")
    with zipfile.ZipFile(scans / "study.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert listed(scans) == {
        "study.tar/link": "W-FS-SKIPPED",
        "study.tar/hard": "W-FS-SKIPPED",
        "study.tar/pipe": "W-FS-SKIPPED",
        "study.zip/link": "W-FS-SKIPPED",
    }


@pytest.mark.parametrize("archive", ["study.zip", "study.tar.gz"])
def test_a_bomb_is_refused_whole_and_leaves_nothing(archive, scans, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 2**20)
    PACKERS[archive](scans / archive, {f"{number}.dcm": bytes(2**24) for number in range(4)})
    assert listed(scans) == {archive: "E-ARCHIVE-SIZE"}
    assert not any(path.is_file() for path in (scans.parent / "room").rglob("*"))


def test_a_member_that_lies_about_its_size_is_counted_in_truth(scans, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 2**20)
    zipped(scans / "study.zip", {"a.dcm": bytes(2**26)})
    content = (scans / "study.zip").read_bytes()
    (scans / "study.zip").write_bytes(content.replace(struct.pack("<I", 2**26), struct.pack("<I", 100)))
    assert set(listed(scans).values()) <= {
        "E-ARCHIVE-SIZE",
        "E-ARCHIVE-DAMAGED",
        "E-FILE-TRUNCATED",
        "E-FILE-NOT-DICOM",
    }
    assert sum(path.stat().st_size for path in (scans.parent / "room").rglob("*") if path.is_file()) < 2**20


def test_too_many_members_are_refused(scans, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    tarred(scans / "study.tar", {f"{number}": b"x" for number in range(6)})
    assert listed(scans) == {"study.tar": "E-ARCHIVE-SIZE"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"x" * 500, b"words " * 500])
@pytest.mark.parametrize("name", ["study.zip", "study.tar", "study.tgz"])
def test_what_is_no_archive_is_listed(name, content, scans):
    (scans / name).write_bytes(content)
    assert listed(scans) == {name: "E-ARCHIVE-DAMAGED"}


@pytest.mark.parametrize("archive", PACKERS)
def test_an_archive_cut_short_or_damaged_anywhere_is_refused_or_read(archive, scans, slices):
    path = scans / archive
    PACKERS[archive](path, of_slices(slices[:3]))
    content = path.read_bytes()
    for number in range(6):
        place = len(content) * number // 6
        for damaged in (content[:place], content[:place] + b"\xff\xfe" + content[place + 2 :]):
            path.write_bytes(damaged)
            looked_at(scans)


def test_an_archive_in_an_archive_stays_shut(scans, slices, tmp_path):
    zipped(tmp_path / "inner.zip", of_slices(slices))
    zipped(scans / "outer.zip", {"inner.zip": (tmp_path / "inner.zip").read_bytes()})
    assert listed(scans) == {"outer.zip/inner.zip": "E-FILE-NOT-DICOM"}


def test_a_locked_member_is_skipped(scans, slices):
    zipped(scans / "study.zip", {"a.dcm": slices[0].read_bytes()}, zipfile.ZIP_STORED)
    content = bytearray((scans / "study.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (scans / "study.zip").write_bytes(content)
    assert listed(scans) == {"study.zip/a.dcm": "W-FS-SKIPPED"}


@pytest.mark.parametrize(("options", "patients"), [([], 0), (["--archives"], 1)])
def test_the_index_command_looks_into_archives_when_told_to(options, patients, scans, slices):
    zipped(scans / "study.zip", of_slices(slices))
    told = CliRunner().invoke(cli, ["index", str(scans), *options, "--json"])
    assert len(json.loads(told.stdout)["patients"]) == patients
    assert [path.name for path in scans.iterdir()] == ["study.zip"]
