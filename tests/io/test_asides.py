"""Marks in images beside the scan a lesion is followed in: in pixels where an image has no place, else refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config, PatientLesions, SeriesRule, validated
from imaging_pipeline.domain.prompts import Line, Outline
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.intake import take_in

MINI = Path(__file__).parents[2] / "sample_data" / "mini"
ROLES = tuple(
    SeriesRule(role=role, modality=modality)
    for role, modality in {"bone_scan": "NM", "axilla_us": "US", "lumbar_xr": "DX"}.items()
)
CONFIG = Config(series_roles=(*ROLES, SeriesRule(role="lumbar_ct", series_description="*umbar CT*")))
ON_CT = {"series": "lumbar_ct", "point": [9.0, 2.0, -1.0]}
BOX = {"series": "bone_scan", "box": [{"row": 106, "column": 32}, {"row": 108, "column": 33}]}


@pytest.fixture(scope="module")
def patient():
    (found,) = index(MINI, CONFIG).patients
    return found


def marks(patient, *prompts):
    entry = {"id": "L4", "kind": "bone", "prompts": prompts}
    asked = validated(PatientLesions, {"lesions": [entry]}, "lesions")
    return take_in(patient, asked, MINI, CONFIG).marks["L4", 0]


def test_the_scan_goes_before_what_was_marked_aside(patient):
    followed, aside = marks(patient, BOX, ON_CT)
    assert (followed.series.modality, followed.aside) == ("CT", False)
    assert (aside.series.modality, aside.aside) == ("NM", True)


def test_a_box_in_pixels_holds_its_corners(patient):
    _, aside = marks(patient, ON_CT, BOX)
    (outline,) = aside.marks
    assert isinstance(outline, Outline)
    assert np.argwhere(outline.mask.array).tolist() == [
        [0, row, column] for row in (106, 107, 108) for column in (32, 33)
    ]


def test_a_line_in_pixels_has_the_length_of_its_scale(patient):
    line = [{"row": 10, "column": 10}, {"row": 50, "column": 40}]
    _, aside = marks(patient, ON_CT, {"series": "axilla_us", "line": line})
    (mark,) = aside.marks
    assert isinstance(mark, Line)
    assert np.linalg.norm(np.subtract(*mark.long_axis_lps)) == pytest.approx(50 * 0.45)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ({"series": "axilla_us", "line": [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]]}, "E-PROMPT-FORM"),
        ({"series": "axilla_us", "point": {"row": 10, "column": 10}}, "E-PROMPT-FORM"),
        ({"series": "bone_scan", "box": [{"row": 1, "column": 1}, {"row": 9, "column": 9999}]}, "E-PROMPT-OUTSIDE"),
        ({"series": "lumbar_ct", "point": [0.0, 0.0, 0.0]}, "E-PROMPT-SERIES"),
    ],
    ids=["millimetres", "a click", "off the image", "no CT beside it"],
)
def test_what_an_image_cannot_be_told_is_refused_by_name(prompt, code, patient):
    prompts = (prompt, ON_CT) if code != "E-PROMPT-SERIES" else (BOX,)
    with pytest.raises(ConfigurationError, match=code):
        marks(patient, *prompts)


def test_an_image_without_a_place_is_never_taken_for_what_a_place_names(patient):
    with pytest.raises(ConfigurationError, match="4 series that show it"):  # one CT and three MR
        marks(patient, {"point": ON_CT["point"]})


# ---- One image and one mask


def drawn(path: Path, marked: np.ndarray) -> Path:
    """A mask (frames, rows, columns) as an editor saves it: columns first, in a space that means nothing."""
    nib.save(nib.Nifti1Image(marked.astype(np.uint8).T, np.diag([-0.3, -0.3, 1.0, 1.0])), path)
    return path


def ellipse(shape: tuple[int, int, int]) -> np.ndarray:
    """50 pixels long, 30 wide."""
    _, row, column = np.indices(shape)
    return ((row - 56) / 15) ** 2 + ((column - 60) / 25) ** 2 < 1


def measured(image: str, mask: Path, *more: str):
    (folder,) = (MINI / "SAMPLE-001" / "2023-05-28").glob(image)
    return CliRunner().invoke(cli, ["measure", str(folder), str(mask), "--json", *more])


def test_ultrasound_gives_diameters_by_the_scale_of_its_region(tmp_path):
    mask = drawn(tmp_path / "mask.nii.gz", ellipse((1, 112, 128)))
    outcome = measured("*axilla_US", mask)
    assert outcome.exit_code == 0, outcome.output
    quantities = yaml.safe_load(outcome.output)["quantities"]
    found = [quantities[name]["value"] for name in ("longest_diameter", "perpendicular_diameter")]
    assert found == pytest.approx([50 * 0.45, 30 * 0.45], abs=0.45)  # to a pixel


def test_a_bone_scan_gives_its_ratio(tmp_path):
    marked = np.zeros((2, 256, 64), dtype=bool)
    marked[0, 56:59, 24:26] = True  # RIB1 of truth.json, in one view
    mask = drawn(tmp_path / "mask.nii.gz", marked)
    outcome = measured("*bone_scan", mask, "--kind", "bone")
    assert outcome.exit_code == 0, outcome.output
    ratio = yaml.safe_load(outcome.output)["quantities"]["uptake_ratio"]
    assert ratio["lower95"] <= 2.468 <= ratio["upper95"]


def test_a_mask_of_other_rows_and_columns_is_refused(tmp_path):
    mask = drawn(tmp_path / "mask.nii.gz", ellipse((1, 128, 112)))
    outcome = measured("*axilla_US", mask)
    assert outcome.exit_code == 4
    assert "E-SPACE-MISMATCH" in outcome.output
