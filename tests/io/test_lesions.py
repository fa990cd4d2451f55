"""What a reader says of the lesions, found beside the scans and checked word by word."""

import os
from pathlib import Path

import pytest

from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.lesions import find, read_lesions

ONE = """
patients:
  - patient: P1
    lesions:
      - id: L4
        kind: bone
        prompts:
          - visit: 2023-05-28
            line: [[1, 2, 3], [4, 5, 6]]
            slices: [3, 9]
        reported:
          - {quantity: longest_diameter, value: 30, unit: mm, source: text}
          - {quantity: longest_diameter, value: 34, unit: mm, source: legend}
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_given_is_the_one_that_counts(tmp_path):
    write(tmp_path / "scans" / "lesions.yaml", ONE)
    given = write(tmp_path / "mine" / "other.yaml", ONE.replace("P1", "P9"))
    lesions, folder = find(tmp_path / "scans", given)
    assert lesions.patients[0].patient == "P9"
    assert folder == given.parent


def test_a_date_needs_no_quotes(tmp_path):
    (lesion,) = read_lesions(write(tmp_path / "lesions.yaml", ONE)).patients[0].lesions
    assert lesion.prompts[0].visit == "2023-05-28"
    assert lesion.prompts[0].line == ((1, 2, 3), (4, 5, 6))
    assert [entry.value for entry in lesion.reported] == [30, 34]


def test_files_beside_each_patient_are_one_and_their_masks_stay_theirs(tmp_path):
    for name in ("P1", "P2"):
        prompt = "{mask: {file: mask.nii.gz, label: 2}}"
        text = f"patient: {name}\nlesions: [{{id: A, kind: node, prompts: [{prompt}]}}]\n"
        write(tmp_path / name / "lesions.yaml", text)
    lesions, folder = find(tmp_path, None)
    assert folder == tmp_path
    assert [patient.patient for patient in lesions.patients] == ["P1", "P2"]
    files = [patient.lesions[0].prompts[0].mask.file for patient in lesions.patients]
    assert files == ["P1/mask.nii.gz", "P2/mask.nii.gz"]


TABLE = """patient,id,kind,role,visit,series,line,short,slices,mask,quantity,value,unit,source
P1,L4,bone,non_target,baseline,lumbar_ct,1 2 3 4 5 6,,3 9,,longest_diameter,30,mm,text
P1,L4,,,2023-10-18,,,,,l4.nii.gz,,,,
P1,axilla,soft_tissue,target,,,"1,2,3,4,5,6",7 8 9 1 2 3,,,,,,
P2,node,node,,,,,,,,,,,
"""


def test_a_spreadsheet_says_the_same(tmp_path):
    first, second = read_lesions(write(tmp_path / "lesions.csv", TABLE)).patients
    l4, axilla = first.lesions
    assert (l4.id, l4.kind, l4.role.value) == ("L4", Kind.BONE, "non_target")
    assert l4.prompts[0].slices == (3, 9)
    assert l4.prompts[0].series == "lumbar_ct"
    assert l4.prompts[1].visit == "2023-10-18"
    assert l4.prompts[1].mask.file == "l4.nii.gz"
    assert (l4.reported[0].quantity, l4.reported[0].value) == ("longest_diameter", 30)
    assert axilla.prompts[0].short == ((7, 8, 9), (1, 2, 3))
    assert second.lesions[0].prompts == ()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("lesions.yaml", ONE.replace("reported:", "reprted:"), "did you mean 'reported'"),
        ("lesions.yaml", ONE.replace("bone", "bones"), "lesions.0.kind"),
        ("lesions.yaml", "patients: [", "syntax error"),
        ("lesions.yaml", "a: &a [1]\nb: *a", "alias"),
        ("lesions.csv", TABLE.replace("short", "shrt"), "unknown column 'shrt'"),
        ("lesions.csv", "", "no rows"),
        ("lesions.csv", TABLE.replace("1 2 3 4 5 6", "one two"), "line 2: line"),
        ("lesions.csv", TABLE.replace("1 2 3 4 5 6", "1 2 3 4"), "prompts.0.line"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(name, text, says, tmp_path):
    with pytest.raises(ConfigurationError, match=says):
        read_lesions(write(tmp_path / name, text))


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "lesions.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_lesions(tmp_path / "lesions.yaml")


def test_a_folder_without_a_lesion_file_says_what_to_write(tmp_path):
    with pytest.raises(ConfigurationError, match="E-LESIONS-NONE"):
        find(tmp_path, None)


@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_a_pipe_or_a_link_named_like_a_lesion_file_is_none(lay, tmp_path):
    lay(tmp_path / "lesions.yaml")
    with pytest.raises(ConfigurationError, match="E-LESIONS-NONE"):
        find(tmp_path, None)
