"""The sample on disk: valid, equal for equal seeds, complete."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imaging_pipeline.config import LesionFile, parse_yaml, validated
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.patient import draw_patient
from imaging_pipeline.phantom.protocols import protocols
from imaging_pipeline.phantom.sample import write_sample
from imaging_pipeline.phantom.scanner import scan_slice, series_grid

MINI = Path(__file__).parents[2] / "sample_data" / "mini"


def note_mask(mask, path):
    """A mask's digest instead of a file."""
    path.write_text(f"{mask.digest} {np.count_nonzero(mask.array)}")


def written(folder, **options):
    write_sample(folder, note_mask, scale="mini", workers=1, **options)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    return folder, written(folder, seed=9, visits=2)


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The same patient's baseline alone, with junk, and the progress that was reported."""
    folder, seen = tmp_path_factory.mktemp("again"), []
    files = written(folder, seed=9, visits=1, garbage=0.05, progress=lambda done, total: seen.append((done, total)))
    return folder, files, seen


def test_equal_seeds_write_equal_bytes(sample, again):
    of_baseline = {name: content for name, content in sample[1].items() if "2023-05-28" in name}
    assert len(of_baseline) > 100
    assert of_baseline.items() <= again[1].items()
    assert sample[1]["lesions.yaml"] == again[1]["lesions.yaml"]


def test_the_committed_case_is_the_one_that_is_written(tmp_path):
    committed = Path(__file__).parents[2] / "sample_data" / "mini"
    now = written(tmp_path)
    kept = {name: hashlib.sha256((committed / name).read_bytes()).hexdigest() for name in now if "nii.gz" not in name}
    assert kept.items() <= now.items()


def test_progress_counts_to_the_end(again):
    seen = again[2]
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_the_truth_lists_the_junk(again):
    folder = again[0]
    junk = json.loads((folder / "truth.json").read_text())["garbage"]
    assert len(junk) == round(0.05 * len(list(folder.rglob("IM0*.dcm"))))
    assert all(os.path.lexists(folder / entry["path"]) for entry in junk)


def test_the_baseline_holds_every_modality_and_later_visits_only_ct(sample):
    folder, _ = sample
    (patient,) = json.loads((folder / "truth.json").read_text())["patients"].values()
    baseline, later = patient["visits"].values()
    assert {role: series["modality"] for role, series in baseline["series"].items()} == {
        "lumbar_ct": "CT",
        "chest_ct": "CT",
        "lumbar_mr_t1": "MR",
        "lumbar_mr_t2": "MR",
        "lumbar_mr_t2fs": "MR",
        "axilla_us": "US",
        "lumbar_xr": "DX",
        "bone_scan": "NM",
    }
    assert set(later["series"]) == {"lumbar_ct", "chest_ct"}
    names = {
        name for series in baseline["series"].values() for of in series.get("quantities", {}).values() for name in of
    }
    assert names <= set(CATALOGUE)


def test_every_series_is_valid_dicom(sample, program):
    folder, _ = sample
    for series in sorted({path.parent for path in folder.rglob("*.dcm")}):
        answer = program("dciodvfy", sorted(series.glob("*.dcm"))[0])
        assert not [line for line in answer.stderr.splitlines() if line.startswith(("Error", "Warning"))]


def test_slices_name_their_place_and_patient(sample):
    folder, _ = sample
    truth = json.loads((folder / "truth.json").read_text())
    (patient_id,) = truth["patients"]
    for date, visit in truth["patients"][patient_id]["visits"].items():
        for series in (series for series in visit["series"].values() if series["modality"] == "CT"):
            slices = [pydicom.dcmread(path) for path in sorted((folder / patient_id / date).glob("*/*.dcm"))]
            mine = [one for one in slices if one.SeriesInstanceUID == series["series_instance_uid"]]
            heights = sorted(float(one.ImagePositionPatient[2]) for one in mine)
            assert {one.PatientID for one in mine} == {patient_id}
            assert {one.AcquisitionDate for one in mine} == {date.replace("-", "")}
            assert np.diff(heights) == pytest.approx(np.full(len(mine) - 1, float(mine[0].SliceThickness)), abs=1e-3)
            assert len({one.SOPInstanceUID for one in mine}) == len(mine)


def test_the_lesion_file_is_one_and_has_a_prompt_for_each_lesion_at_baseline(sample):
    folder, _ = sample
    document = parse_yaml((folder / "lesions.yaml").read_text(), "lesions.yaml")
    (patient,) = validated(LesionFile, document, "lesions.yaml").patients
    assert [entry.id for entry in patient.lesions] == ["L4", "AX", "T4", "RIB1", "ILIUM"]
    marked = {entry.id: [prompt.series for prompt in entry.prompts] for entry in patient.lesions}
    assert marked == {
        "L4": ["lumbar_ct", "bone_scan", "lumbar_mr_t1"],
        "AX": ["chest_ct", "axilla_us"],
        **{lesion: ["chest_ct", "bone_scan"] for lesion in ("T4", "RIB1")},
        "ILIUM": ["lumbar_ct", "bone_scan"],
    }


def test_truth_speaks_of_every_visit_and_only_in_the_catalogues_words(sample):
    folder, _ = sample
    (patient,) = json.loads((folder / "truth.json").read_text())["patients"].values()
    baseline, later = patient["visits"].values()
    assert set(baseline["lesions"]) == set(later["lesions"]) == {"L4", "AX", "T4", "RIB1", "ILIUM", "NEW"}
    assert not baseline["lesions"]["NEW"]["present"]
    assert later["lesions"]["NEW"]["present"]
    assert later["expected"]["recist-1.1"]["overall"] == "PD"
    names = {name for lesion in later["lesions"].values() for name in lesion["quantities"]}
    assert names <= set(CATALOGUE)


def test_a_mask_is_written_for_every_lesion_that_is_there(sample):
    folder, files = sample
    masks = {name.split("/", 2)[2] for name in files if name.startswith("truth/")}
    expected = {
        f"{day}/{lesion}.nii.gz"
        for day in ("2023-05-28", "2023-10-18")
        for lesion in ("L4", "AX", "T4", "RIB1", "ILIUM")
    }
    assert masks == expected | {"2023-10-18/NEW.nii.gz"}
    assert folder.exists()


def test_the_committed_mini_case_is_what_seed_0_draws():
    patient = draw_patient(0)
    for protocol in protocols(patient, 0, "mini"):
        grid = series_grid(patient, 0, protocol)
        index = grid.shape[0] // 2
        (path,) = (MINI / patient.patient_id / "2023-05-28").glob(
            f"*{protocol.region.description.replace(' ', '_')}*/IM{grid.shape[0] - index:05d}.dcm"
        )
        image = pydicom.dcmread(path)
        difference = image.pixel_array.astype(int) - 1024 - scan_slice(patient, 0, protocol, grid, index)
        # Another processor may round the last bit of a cosine differently.
        assert np.abs(difference).max() <= 1


def test_the_committed_mini_case_is_small_and_complete():
    assert sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file()) < 3_000_000
    assert json.loads((MINI / "truth.json").read_text())["patients"].keys() == {"SAMPLE-001"}
    entries = parse_yaml((MINI / "lesions.yaml").read_text(), "lesions.yaml")["patients"][0]["lesions"]
    said = {entry["id"]: [report.get("value") for report in entry.get("reported", ())] for entry in entries}
    assert {30, 34} <= set(said["L4"])
    assert {32, 50} <= set(said["AX"])
