"""The command line answers at once, says what it can do, and ends with the contract's codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli

ROOT = Path(__file__).parents[1]
MINI = ROOT / "sample_data" / "mini"
HEAVY = (
    "pydicom",
    "highdicom",
    "SimpleITK",
    "scipy",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "nibabel",
)


def call(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def ct_folder() -> Path:
    return next(path.parent for path in sorted(MINI.rglob("*.dcm")) if "Lumbar_CT" in str(path))


def test_help_imports_nothing_heavy():
    script = f"import sys, imaging_pipeline.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_planted_in_the_working_folder_is_not_imported(tmp_path):
    (tmp_path / "click.py").write_text("raise SystemExit('planted')")
    done = subprocess.run(
        [sys.executable, "-m", "imaging_pipeline", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example(name):
    outcome = call(name, "--help")
    assert outcome.exit_code == 0
    assert f"imaging-pipeline {name}" in outcome.output.split("Example:")[1]


def test_index_tells_what_a_folder_holds():
    document = json.loads(call("index", MINI, "--config", ROOT / "configs/mpnst.yaml", "--json").output)
    (patient,) = document["patients"]
    assert [visit["date"] for visit in patient["visits"]] == ["2023-05-28", "2023-10-18", "2024-02-20"]
    roles = {series["role"] for visit in patient["visits"] for series in visit["series"] if series["modality"] == "CT"}
    assert roles == {"lumbar_ct", "chest_ct"}
    table = call("index", MINI)
    assert "2024-02-20" in table.output


def test_convert_writes_a_series_in_hu(tmp_path):
    outcome = call("convert", ct_folder(), "--out", tmp_path / "ct.nii.gz", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.output)["verdict"] in ("ok", "warn")

    import nibabel

    image = nibabel.load(tmp_path / "ct.nii.gz")
    assert image.get_fdata().min() < -900 < 300 < image.get_fdata().max()


def test_measure_gives_every_quantity_with_interval_and_evidence():
    mask = next((MINI / "truth").rglob("2023-05-28/L4.nii.gz"))
    outcome = call("measure", ct_folder(), mask, "--kind", "bone", "--json")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.output)
    diameter = document["quantities"]["longest_diameter"]
    assert diameter["lower95"] < diameter["value"] < diameter["upper95"]
    assert diameter["unit"] == "mm"
    # Another reader's limits are wider than the machine's own, and only known of diameters.
    assert diameter["reader_lower95"] < diameter["lower95"] < diameter["upper95"] < diameter["reader_upper95"]
    assert "reader_lower95" not in document["quantities"]["volume"]
    assert len(document["evidence"]["long_axis_lps"]) == 2
    assert "longest diameter" in call("measure", ct_folder(), mask).output


def test_measure_refuses_a_mask_drawn_on_other_voxels(tmp_path):
    other = next(path.parent for path in sorted(MINI.rglob("*.dcm")) if "chest" in str(path).lower())
    mask = next((MINI / "truth").rglob("2023-05-28/L4.nii.gz"))
    outcome = call("measure", other, mask)
    assert outcome.exit_code == 4
    assert outcome.output.startswith("E-")


TIMELINE = {
    "kind": "timeline",
    "lesions": [{"id": "T1", "role": "target", "organ": "liver"}],
    "visits": [
        {"id": "baseline", "date": "2024-01-01", "measurements": {"T1": {"longest_diameter_mm": 35.5}}},
        {"id": "V1", "date": "2024-03-01", "measurements": {"T1": {"longest_diameter_mm": 42.6}}},
    ],
}


def test_assess_judges_exactly_from_a_file(tmp_path):
    path = tmp_path / "timeline.json"
    path.write_text(json.dumps(TIMELINE))
    answer = json.loads(call("assess", path, "--json").output)
    assert answer["visits"][1]["overall"] == "PD"  # 35.5 -> 42.6 mm is exactly +20 %
    assert "PD" in call("assess", path).output


def test_assess_answers_every_line_of_json_lines(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text(f'{json.dumps(TIMELINE)}\n{{"kind": "unknown"}}\n')
    first, second = (json.loads(line) for line in call("assess", path).output.splitlines())
    assert first["criterion"] == "recist-1.1"
    assert "error" in second


def test_assess_takes_a_table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "patient,visit,date,lesion,role,organ,node,longest_diameter_mm\n"
        "P1,baseline,2024-01-01,T1,target,liver,false,50\n"
        "P1,V1,2024-03-01,T1,target,liver,false,30\n"
    )
    outcome = call("assess", path)
    assert outcome.exit_code == 0, outcome.output
    assert "PR" in outcome.output


@pytest.mark.parametrize("name", ["config", "lesions", "case"])
def test_schemas_are_json_schemas(name):
    assert "properties" in json.loads(call("schema", name).output)


def test_check_config_says_good_or_why_not(tmp_path):
    assert "good" in call("check-config", ROOT / "configs/default.yaml").output
    bad = tmp_path / "bad.yaml"
    bad.write_text("segment: {segmenter: nnunet}")
    outcome = call("check-config", bad)
    assert outcome.exit_code == 2
    assert outcome.output.startswith("E-PLUGIN-UNKNOWN")


def test_a_wrong_option_is_a_usage_error():
    assert call("run", MINI, "--out", "x").exit_code == 2


def test_convert_writes_nifti_under_no_other_name(tmp_path):
    outcome = call("convert", ct_folder(), "--out", tmp_path / "ct.txt")
    assert outcome.exit_code == 2
    assert ".nii.gz" in outcome.output
    assert not (tmp_path / "ct.txt").exists()
