"""Whose scans a folder holds, when they were made, and what was left out."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config, SeriesRule
from imaging_pipeline.errors import NothingToDoError, RefusedError
from imaging_pipeline.io import walk
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index, index_document, with_digests
from imaging_pipeline.io.loaders import load, open_series
from imaging_pipeline.io.prescan import Scanner
from tests.io.build import as_mr, density, put, put_text, write_series


def series(uid, **values):
    """Edits that make a series of its own."""

    def edit(slice_, number):
        instance = f"{uid}.{number + 1}"
        put(SeriesInstanceUID=uid, SOPInstanceUID=instance, **values)(slice_, number)
        slice_.file_meta.MediaStorageSOPInstanceUID = instance

    return edit


def look(folder, **settings):
    return index(folder, Config(**settings))


def said(found):
    records = [problem for patient in found.patients for record in patient.series for problem in record.problems]
    return {problem.code for problem in (*records, *found.problems)}


# ---- Patients


def test_two_patients_are_two_cases_under_pseudonyms(tmp_path):
    write_series(tmp_path / "a", series("1.1", PatientID="P1"))
    write_series(tmp_path / "b", series("1.2", PatientID="P2", PatientName="Roe^Jane"))
    found = look(tmp_path)
    assert sorted(patient.patient_id for patient in found.patients) == ["P1", "P2"]
    assert len({patient.case for patient in found.patients}) == 2
    assert not any(patient.patient_id in str(index_document(found)) for patient in found.patients)
    assert said(found) == set()


def test_a_pseudonym_depends_on_the_key_and_on_nothing_else(tmp_path):
    write_series(tmp_path / "a", slices=2)
    write_series(tmp_path / "b" / "elsewhere", slices=3)
    (first,), (second,) = look(tmp_path / "a").patients, look(tmp_path / "b").patients
    (other,) = look(tmp_path / "a", pseudonym_key="secret").patients
    assert first.case == second.case != other.case


def test_padding_around_an_identity_says_nothing(tmp_path):
    write_series(tmp_path / "a", series("1.1", PatientID="P1"))
    write_series(tmp_path / "b", series("1.2", PatientID=" P1 "))
    assert len(look(tmp_path).patients) == 1


@pytest.mark.parametrize("near", ["p1", "P 1", "Р1", "PI", "P-1"])
def test_identities_that_read_alike_are_never_merged_and_named(near, tmp_path):
    write_series(tmp_path / "a", series("1.1", PatientID="P1"))
    write_series(tmp_path / "b", series("1.2", PatientID=near))
    found = look(tmp_path)
    assert len(found.patients) == 2
    assert all([problem.code for problem in patient.problems] == ["E-PAT-NEAR"] for patient in found.patients)


@pytest.mark.parametrize(
    "other",
    [{"PatientBirthDate": "19660606"}, {"PatientName": "Roe^Jane"}, {"PatientSex": "M"}],
    ids=lambda each: next(iter(each)),
)
def test_one_identity_with_two_persons_gives_no_number(other, tmp_path):
    write_series(tmp_path / "a", series("1.1"))
    write_series(tmp_path / "b", series("1.2", **other))
    (patient,) = look(tmp_path).patients
    assert all(record.verdict is Verdict.REJECT for record in patient.series)
    assert said(look(tmp_path)) == {"E-PAT-MIX"}


def test_a_blank_identity_belongs_to_the_only_patient_of_its_study(tmp_path):
    write_series(tmp_path / "a", series("1.1"))
    write_series(tmp_path / "b", series("1.2", PatientID="", PatientName="", PatientBirthDate="", PatientSex=""))
    (patient,) = look(tmp_path).patients
    assert patient.patient_id == "P1"
    assert said(look(tmp_path)) == set()


# ---- Visits and roles


def test_series_of_some_days_are_one_visit_and_of_months_another(tmp_path):
    for number, day in enumerate(("20230528", "20230602", "20231018", "20240220")):
        write_series(
            tmp_path / day,
            series(f"1.{number + 1}", AcquisitionDate=day, StudyDate=day, SeriesDate=day, ContentDate=day),
        )
    (patient,) = look(tmp_path).patients
    assert [(visit.date, len(visit.series)) for visit in patient.visits] == [
        ("2023-05-28", 2),
        ("2023-10-18", 1),
        ("2024-02-20", 1),
    ]
    (patient,) = look(tmp_path, visits={"window_days": 0}).patients
    assert len(patient.visits) == 4


@pytest.mark.parametrize(
    ("dates", "day"),
    [
        ({"AcquisitionDate": "20230527"}, "2023-05-27"),
        ({"AcquisitionDate": "", "SeriesDate": "20230529"}, "2023-05-29"),
        ({"AcquisitionDate": "", "SeriesDate": "", "StudyDate": "20230529"}, "2023-05-29"),
        ({"AcquisitionDate": "2023.05.29"}, "2023-05-29"),
    ],
)
def test_the_first_date_that_is_stated_counts(dates, day, tmp_path):
    write_series(tmp_path, *(put_text(keyword, text) for keyword, text in dates.items()), slices=2)
    assert [visit.date for visit in look(tmp_path).patients[0].visits] == [day]


def test_a_series_without_a_date_is_never_the_baseline(tmp_path):
    write_series(tmp_path / "a", series("1.1", AcquisitionDate="", SeriesDate="", StudyDate="", ContentDate=""))
    write_series(tmp_path / "b", series("1.2"))
    assert [visit.date for visit in look(tmp_path).patients[0].visits] == ["2023-05-28", ""]


RULES = (
    SeriesRule(role="bone_ct", modality="CT", series_description="*BONE*"),
    SeriesRule(role="lumbar_ct", modality="CT", series_description="*lumbar*"),
    SeriesRule(role="any_mr", modality="MR"),
)


def test_the_first_rule_that_matches_names_the_role(tmp_path):
    write_series(tmp_path / "a", series("1.1", SeriesDescription="LUMBAR spine"))
    write_series(tmp_path / "b", series("1.2", SeriesDescription="Lumbar Bone"))
    write_series(tmp_path / "c", series("1.3", SeriesDescription="Chest"))
    write_series(tmp_path / "d", as_mr, series("1.4", SeriesDescription="t2"))
    records = look(tmp_path, series_roles=RULES).patients[0].series
    roles = {record.series.series_instance_uid: record.series.role for record in records}
    assert roles == {"1.1": "lumbar_ct", "1.2": "bone_ct", "1.3": "", "1.4": "any_mr"}


def test_a_localizer_plays_no_role(tmp_path):
    write_series(tmp_path, put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), slices=1)
    (record,) = look(tmp_path, series_roles=RULES).patients[0].series
    assert record.series.role == ""
    assert record.is_localizer


# ---- Files


def test_every_file_that_is_no_scan_is_listed_once_with_a_reason(tmp_path):
    write_series(tmp_path / "scans")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "out.dcm").symlink_to("/etc/passwd")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "note.txt").write_text("words")
    (tmp_path / "lesions.yaml").write_text("patients: []")
    (tmp_path / "a\x1b[31m\nname.dcm").write_bytes(b"x" * 200)
    document = index_document(look(tmp_path))
    assert {entry["path"]: entry["code"] for entry in document["rejected_files"]} == {
        "pipe.dcm": "W-FS-SKIPPED",
        "loop": "W-FS-SKIPPED",
        "out.dcm": "W-FS-SKIPPED",
        "empty.dcm": "E-FILE-TRUNCATED",
        "note.txt": "E-FILE-NOT-DICOM",
        "a\x1b[31m\nname.dcm": "E-FILE-NOT-DICOM",
    }
    assert "\x1b" not in str(look(tmp_path).rejected[0])
    volume, _, _ = open_series(tmp_path)
    assert np.array_equal(volume.array, density())


def test_depth_and_names_of_folders_do_not_matter(tmp_path):
    write_series(tmp_path / "/".join("abcdefghij" * 3) / "ü ñ", name="IM{}")
    volume, _, _ = open_series(tmp_path)
    assert np.array_equal(volume.array, density())


def test_an_unreadable_file_costs_its_series_only(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "a", series("1.1"))
    write_series(tmp_path / "b", series("1.2"))
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: denied() if str(path) == str(paths[2]) else real(path, *rest))
    verdicts = {record.series.series_instance_uid: record.verdict for record in look(tmp_path).patients[0].series}
    assert verdicts == {"1.1": Verdict.REJECT, "1.2": Verdict.OK}


def denied():
    raise PermissionError(13, "Permission denied")


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "note.txt").write_text("words")
    with pytest.raises(NothingToDoError, match="E-FILE-NOT-DICOM"):
        open_series(tmp_path)


def test_the_document_lists_what_the_contract_names(tmp_path):
    write_series(tmp_path)
    document = index_document(look(tmp_path))
    (patient,) = document["patients"]
    (visit,) = patient["visits"]
    assert visit["date"] == "2023-05-28"
    assert visit["series"] == [
        {
            "series_uid": "1.2.3.4.1",
            "modality": "CT",
            "role": "",
            "slices": 8,
            "spacing_mm": pytest.approx([2.5, 0.7, 0.8]),
            "verdict": "ok",
            "issues": [],
        }
    ]


# ---- Memory


@pytest.fixture
def opened(monkeypatch):
    """Names of the files whose headers were read."""
    names = []
    real = Scanner.scan
    monkeypatch.setattr(Scanner, "scan", lambda self, path, name: names.append(name) or real(self, path, name))
    return names


def remembered(folder, memory, **settings):
    return index(folder, Config(**settings), memory)


def scans_with_junk(folder):
    paths = write_series(folder / "a", series("1.1"))
    write_series(folder / "b", series("1.2", PatientID="P2", PatientName="Roe^Jane"), preamble_of_a_program)
    (folder / "note.txt").write_text("words")
    (folder / "n\udcffame").write_bytes(b"x" * 200)
    (folder / "link").symlink_to(folder / "note.txt")
    return paths


def preamble_of_a_program(slice_, number):
    slice_.preamble = b"MZ".ljust(128, b"\0")


def test_an_unchanged_folder_is_recalled_without_opening_a_file(tmp_path, opened, settled):
    scans, memory = tmp_path / "scans", tmp_path / "memory"
    scans_with_junk(scans)
    first = remembered(scans, memory)
    assert first == look(scans)
    assert {patient.patient_id for patient in first.patients} == {"P1", "P2"}
    opened.clear()
    assert remembered(scans, memory) == first
    assert opened == []


@pytest.fixture
def settled(monkeypatch):
    """As if the files had been written long ago."""
    monkeypatch.setattr(walk, "_SETTLES_NS", -(10**15))


def test_of_a_changed_folder_only_what_changed_is_opened(tmp_path, opened, settled):
    scans, memory = tmp_path / "scans", tmp_path / "memory"
    paths = write_series(scans / "a", series("1.1"))
    remembered(scans, memory)
    opened.clear()
    write_series(scans / "b", series("1.2"), slices=3)
    paths[0].unlink()
    found = remembered(scans, memory)
    assert {Path(name).parent.name for name in opened} == {"b"}
    assert len(opened) == 3
    assert found == look(scans)


@pytest.mark.parametrize("change", ["content", "name", "new file", "gone", "link", "role", "key"])
def test_a_changed_folder_or_question_is_not_answered_from_memory(change, tmp_path):
    scans, memory = tmp_path / "scans", tmp_path / "memory"
    paths = write_series(scans)
    before, settings = remembered(scans, memory), {}
    if change == "content":
        # Same size and same time: within seconds of its writing only the content tells.
        times = (paths[0].stat().st_atime_ns, paths[0].stat().st_mtime_ns)
        content = paths[0].read_bytes().replace(b"Lumbar spine", b"Lumbar spina")
        with paths[0].open("r+b") as stream:
            stream.write(content.replace(b"1.2.3.4.1\0", b"1.2.3.4.7\0"))
        os.utime(paths[0], ns=times)
    elif change == "name":
        paths[0].rename(scans / "other")
    elif change == "new file":
        (scans / "note").touch()
    elif change == "gone":
        paths[0].unlink()
    elif change == "link":
        (scans / "link").symlink_to(paths[0])
    elif change == "role":
        settings = {"series_roles": RULES}
    else:
        settings = {"pseudonym_key": "secret"}
    after = remembered(scans, memory, **settings)
    assert after == look(scans, **settings)
    assert after != before


@pytest.mark.parametrize("damage", ["", "{", '{"kinds": [1], "files": [[1]]}', "\x00"])
def test_a_damaged_memory_is_as_good_as_none(damage, tmp_path, settled):
    scans, memory = tmp_path / "scans", tmp_path / "memory"
    write_series(scans)
    first = remembered(scans, memory)
    for name in ("index.json", "headers.json"):
        key, _, _ = (memory / name).read_text().partition("\n")
        (memory / name).write_text(damage if name == "index.json" else f"{key}\n{damage}")
    assert remembered(scans, memory) == first == remembered(scans, memory)


def test_digests_are_those_of_the_files_and_a_changed_file_is_refused(tmp_path):
    write_series(tmp_path)
    (record,) = look(tmp_path).patients[0].series
    record = with_digests(record)
    digests = [sha256(Path(path).read_bytes()).hexdigest() for path in record.paths]
    assert [instance.sha256 for instance in record.series.instances] == digests
    assert np.array_equal(load(record, Config()).array, density())
    content = bytearray(Path(record.paths[3]).read_bytes())
    content[-1] ^= 1
    Path(record.paths[3]).write_bytes(content)
    with pytest.raises(RefusedError, match="E-FILE-CHANGED"):
        load(record, Config())


def test_the_same_scan_has_the_same_digest_wherever_it_lies(tmp_path):
    write_series(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    (one,), (two,) = (look(tmp_path / name).patients[0].series for name in "ab")
    assert with_digests(one).series.digest == with_digests(two).series.digest


def test_a_file_s_name_cannot_write_on_the_terminal(tmp_path):
    write_series(tmp_path)
    (tmp_path / "a\x1b[31m\nb\u202e.txt").write_text("words" * 50)
    said = CliRunner().invoke(cli, ["index", str(tmp_path)], color=True).stderr
    assert said == "E-FILE-NOT-DICOM a\\x1b[31m\\nb\\u202e.txt\n"
