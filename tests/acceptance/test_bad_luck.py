"""Bad input and bad luck anywhere in the chain: one clear line, the rest complete, nothing lost, no traceback."""

import json
import os
import shutil
import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from imaging_pipeline import batch
from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config, LesionEntry, PatientLesions
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.io.patients import PatientRecord
from imaging_pipeline.io.record import read_case

ROOT = Path(__file__).parents[2]
MINI = ROOT / "sample_data" / "mini"
LESION = LesionEntry(id="L4", kind=Kind.BONE)


def run(scans: Path, out: Path, *more: str):
    arguments = ["run", str(scans), "--config", str(ROOT / "configs/mpnst.yaml"), "--out", str(out), *more]
    outcome = CliRunner().invoke(cli, arguments)
    assert "Traceback" not in outcome.output
    return outcome


@pytest.fixture
def scans(tmp_path):
    """A copy of the mini case's scans and lesion file, to be damaged."""
    copy = tmp_path / "scans"
    shutil.copytree(MINI, copy, ignore=shutil.ignore_patterns("truth*"))
    return copy


def series_folders(scans: Path, word: str) -> list[Path]:
    return sorted(folder for folder in scans.rglob("*") if folder.is_dir() and word in folder.name.lower())


def dicom_files(scans: Path) -> list[Path]:
    return sorted(scans.rglob("*.dcm"))


def only_the_mass(scans: Path, *more_prompts: dict) -> None:
    """One lesion is enough to go the whole way."""
    lesions = yaml.safe_load((scans / "lesions.yaml").read_text())
    (mass,) = (entry for entry in lesions["patients"][0]["lesions"] if entry["id"] == "AX")
    lesions["patients"][0]["lesions"] = [{**mass, "prompts": [*mass["prompts"], *more_prompts]}]
    (scans / "lesions.yaml").write_text(yaml.safe_dump(lesions))


def test_a_click_on_what_is_not_the_lesion_at_a_follow_up_goes_with_the_carried_outline(scans, tmp_path):
    lung = [-70.0, -10.0, 345.0]
    only_the_mass(scans, {"visit": "2023-10-18", "series": "chest_ct", "outside": lung})
    assert run(scans, tmp_path / "out").exit_code == 0
    (place,) = tmp_path.glob("out/cases/*")
    case, values = read_case(place)
    sighting = next(item for item in case.sightings if item.visit == 1)
    mask = values[sighting.mask]
    assert sighting.transform is not None  # found again from the baseline, not anew
    assert not mask.array[tuple(np.rint(mask.grid.to_index(lung)).astype(int).clip(0, np.array(mask.array.shape) - 1))]


def test_a_folder_without_scans_is_nothing_to_do(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "letter.txt").write_text("no scan")
    outcome = run(tmp_path / "scans", tmp_path / "out")
    assert outcome.exit_code == 3
    assert "E-NOTHING" in outcome.output


def test_scans_in_an_archive_are_followed_when_asked_and_only_then(scans, tmp_path):
    only_the_mass(scans)
    packed = tmp_path / "packed"
    packed.mkdir()
    shutil.make_archive(str(packed / "scans"), "zip", scans, "SAMPLE-001")
    shutil.copy(scans / "lesions.yaml", packed)
    assert run(packed, tmp_path / "closed").exit_code == 3
    assert run(packed, tmp_path / "opened", "--archives").exit_code == 0
    assert run(scans, tmp_path / "plain").exit_code == 0
    for name in ("measurements.csv", "assessments.csv"):
        assert (tmp_path / "opened" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    (place,) = tmp_path.glob("opened/cases/*")
    assert batch.redo(tmp_path / "opened", place.name).computed == 0


def test_junk_beside_the_scans_is_listed_and_changes_nothing(scans, tmp_path):
    (scans / "notes.txt").write_text("not a scan")
    (scans / "half.dcm").write_bytes(dicom_files(scans)[0].read_bytes()[:300])
    os.mkfifo(scans / "pipe.dcm")
    outcome = run(scans, tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    names = dict(line.split(",") for line in (tmp_path / "out" / "identities.csv").read_text().splitlines())
    issues = json.loads((tmp_path / "out" / "issues.json").read_text())
    listed = [names[issue["subject"]] for issue in issues if issue["subject"] in names]
    assert sorted(listed) == ["half.dcm", "notes.txt", "pipe.dcm"]


def test_a_series_that_lost_slices_costs_its_visit_by_name_and_the_rest_is_complete(scans, tmp_path):
    follow_up = [path for path in dicom_files(scans) if "2023-10-18" in str(path) or "20231018" in str(path)]
    assert follow_up
    series = sorted({path.parent for path in follow_up})[0]
    inner = sorted(series.glob("*.dcm"))
    for path in inner[len(inner) // 2 : len(inner) // 2 + 2]:
        path.unlink()
    outcome = run(scans, tmp_path / "out")
    assert outcome.exit_code == 5
    assert "E-GEOM-GAP" in outcome.output
    rows = (tmp_path / "out" / "measurements.csv").read_text()
    assert "2024-02-20" in rows
    assert "2023-05-28" in rows


def test_a_patient_without_marks_fails_alone(scans, tmp_path):
    lesions = (scans / "lesions.yaml").read_text()
    (scans / "lesions.yaml").write_text(lesions.replace("SAMPLE-001", "SOMEONE-ELSE"))
    outcome = run(scans, tmp_path / "out")
    assert outcome.exit_code == 4
    assert "E-LESIONS-NONE" in outcome.output
    assert json.loads((tmp_path / "out" / "run.json").read_text())["cases"][0]["status"] == "failed"


def test_a_prompt_outside_every_series_is_refused_by_its_lesion(scans, tmp_path):
    path = scans / "marks.yaml"
    path.write_text(
        "patients: [{patient: SAMPLE-001, lesions: [{id: L4, kind: bone, prompts: [{point: [0, 0, 9999]}]}]}]"
    )
    outcome = run(scans, tmp_path / "out", "--lesions", str(path))
    assert outcome.exit_code == 4
    assert "E-PROMPT-SERIES lesion L4, prompt 1" in outcome.output


def asked(scans: Path, *patients: dict) -> Path:
    path = scans / "marks.yaml"
    path.write_text(json.dumps({"patients": patients}))
    return path


def mass_of(scans: Path) -> dict:
    (patient,) = yaml.safe_load((scans / "lesions.yaml").read_text())["patients"]
    return next(entry for entry in patient["lesions"] if entry["id"] == "AX")


def test_a_bad_prompt_costs_its_own_lesion_only(scans, tmp_path):
    bad = {"id": "BAD", "kind": "bone", "prompts": [{"point": [0, 0, 9999]}]}
    mass = {
        **mass_of(scans),
        "site": "armpit",
        "reported": [{"visit": "2023-11-11", "statement": "SD", "source": "letter"}],
    }
    path = asked(scans, {"patient": "SAMPLE-001", "lesions": [bad, mass]}, {"patient": "NOBODY", "lesions": [bad]})
    outcome = run(scans, tmp_path / "out", "--lesions", str(path))
    assert outcome.exit_code == 5
    assert "E-PROMPT-SERIES lesion BAD, prompt 1" in outcome.output
    issues = {issue["code"]: issue["subject"] for issue in json.loads((tmp_path / "out" / "issues.json").read_text())}
    assert issues["W-REPORTED-VISIT"] == "lesion AX, reported 1"
    assert issues["W-SITE"] == "lesion AX"
    assert issues["W-LESIONS-UNMATCHED"] == "patient 2 of the lesion file"
    assert "NOBODY" not in (tmp_path / "out" / "issues.json").read_text()
    rows = (tmp_path / "out" / "measurements.csv").read_text()
    assert ",AX," in rows
    assert ",BAD," not in rows


def test_a_label_map_that_names_another_vertebra_is_said_and_one_that_is_missing_too(scans, tmp_path):
    (patient,) = yaml.safe_load((scans / "lesions.yaml").read_text())["patients"]
    bone = next(entry for entry in patient["lesions"] if entry["id"] == "L4")
    labels = np.zeros((41, 41, 41), dtype=np.uint8)
    labels[10:31, 10:31, 10:31] = 29  # TotalSegmentator's L3
    # RAS, around the middle of the lesion's line.
    affine = np.array([(1, 0, 0, -30), (0, 1, 0, -23), (0, 0, 1, -20), (0, 0, 0, 1)])
    nib.save(nib.Nifti1Image(labels, affine), scans / "levels.nii.gz")
    levels = [
        {"series": "lumbar_ct", "file": "levels.nii.gz"},
        {"visit": "2023-10-18", "series": "lumbar_ct", "file": "gone.nii.gz"},
    ]
    path = asked(scans, {"patient": "SAMPLE-001", "lesions": [bone], "levels": levels})
    assert run(scans, tmp_path / "out", "--lesions", str(path)).exit_code == 5
    issues = {issue["code"]: issue for issue in json.loads((tmp_path / "out" / "issues.json").read_text())}
    assert issues["W-LEVEL"]["subject"] == "lesion L4 at visit 0"
    assert "L3" in issues["W-LEVEL"]["found"]
    assert issues["E-PROMPT-MASK"]["subject"] == "levels 2"
    assert "2024-02-20" in (tmp_path / "out" / "measurements.csv").read_text()


def test_what_is_exported_later_bears_the_study_of_the_run(scans, tmp_path):
    only_the_mass(scans)
    config = tmp_path / "trial.yaml"
    config.write_text((ROOT / "configs/mpnst.yaml").read_text() + "\ntrial: {study_id: ABC-01}\n")
    arguments = ["run", str(scans), "--config", str(config), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    exported = ["export", str(tmp_path / "out"), "--to", "sdtm", "--out", str(tmp_path / "later")]
    assert CliRunner().invoke(cli, exported).exit_code == 0
    (tumours,) = tmp_path.glob("later/*/sdtm/tu.json")
    assert json.loads(tumours.read_text())["studyOID"].endswith("ABC-01")


def test_a_baseline_long_before_the_patients_own_treatment_is_named(scans, tmp_path):
    late = [{"label": "denosumab", "start": "2023-09-01"}]
    path = asked(scans, {"patient": "SAMPLE-001", "lesions": [mass_of(scans)], "treatments": late})
    assert run(scans, tmp_path / "out", "--lesions", str(path)).exit_code == 0
    said = (tmp_path / "out" / "assessments.csv").read_text() + (tmp_path / "out" / "issues.json").read_text()
    assert "W-BASELINE-AGE" in said


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        ([{"lesions": []}], "at least 1 item"),
        ([{"patient": "A", "lesions": [{"id": "L", "kind": "bone"}]}] * 2, "each patient once; entry 2"),
        ([{"lesions": [{"id": "L", "kind": "bone"}] * 2}], "each lesion id once; entry 2"),
    ],
)
def test_a_lesion_file_that_says_a_thing_twice_or_nothing_is_refused(patients, said, scans, tmp_path):
    outcome = run(scans, tmp_path / "out", "--lesions", str(asked(scans, *patients)))
    assert outcome.exit_code == 2
    assert said in outcome.output


@pytest.mark.parametrize(
    "command",
    [
        ["run", "SCANS", "--config", str(ROOT / "configs/mpnst.yaml"), "--out", "/proc/x"],
        ["sample", "/proc/x", "--mini"],
        ["sample", "FILE", "--mini"],
        ["convert", "SERIES", "--out", "/proc/x/a.nii.gz"],
        ["convert", "SERIES", "--out", "FOLDER.nii.gz"],
    ],
    ids=" ".join,
)
def test_no_place_to_write_to_is_exit_7(command, scans, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.nii.gz").mkdir()
    places = {
        "SCANS": scans,
        "SERIES": series_folders(scans, "chest")[0],
        "FILE": tmp_path / "file",
        "FOLDER.nii.gz": tmp_path / "folder.nii.gz",
    }
    outcome = CliRunner().invoke(cli, [str(places.get(word, word)) for word in command])
    assert outcome.exit_code == 7, outcome.output
    assert "E-OUTPUT" in outcome.output


def test_an_output_that_cannot_be_written_is_exit_7(scans, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    assert run(scans, tmp_path / "out").exit_code == 7


def test_strict_mode_turns_warnings_into_exit_8(tmp_path):
    assert run(MINI, tmp_path / "out", "--strict").exit_code == 8


def lock(out: Path, **changes: object) -> None:
    out.mkdir()
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": batch._started(os.getpid())}
    (out / ".lock").write_text(json.dumps({**mine, **changes}))


def test_a_live_run_keeps_a_second_one_out(scans, tmp_path):
    lock(tmp_path / "out")
    outcome = run(scans, tmp_path / "out")
    assert outcome.exit_code == 6
    assert "E-RUN-LOCKED" in outcome.output


@pytest.mark.parametrize("changes", [{"started": "1"}, {"pid": 2**22 + 1, "started": "77"}])
def test_the_lock_of_a_dead_run_is_taken_over(tmp_path, changes):
    lock(tmp_path / "out", **changes)
    (tmp_path / "scans").mkdir()
    assert run(tmp_path / "scans", tmp_path / "out").exit_code == 3
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_worker_that_dies_costs_its_own_case_only(tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from imaging_pipeline.results import CaseOutcome\n"
        "def work(job):\n"
        "    if job.patient.case == 'c2':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return CaseOutcome(job.patient.case, None, ())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import deadly

    jobs = [
        batch.Job(PatientRecord(name, name, ()), PatientLesions(lesions=(LESION,)), tmp_path, Config(), tmp_path)
        for name in ("c0", "c1", "c2", "c3", "c4", "c5")
    ]
    outcomes = {outcome.name: outcome for outcome in batch.each(deadly.work, jobs, 2)}
    assert sorted(outcomes) == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert [problem.code for problem in outcomes["c2"].problems] == ["E-WORKER-DIED"]
    assert all(not outcome.problems for name, outcome in outcomes.items() if name != "c2")


def test_an_unforeseen_exception_becomes_a_problem_that_tells_no_tag_value():
    try:
        raise ValueError("Doe^Jane")
    except ValueError as error:
        problem = batch._unforeseen(error)
    assert problem.code == "E-INTERNAL"
    assert "Doe" not in str(problem)
    assert "ValueError at test_bad_luck.py" in problem.found
