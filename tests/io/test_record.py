import json
import shutil
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.images import Mask, MaskRole
from imaging_pipeline.errors import RefusedError
from imaging_pipeline.io.record import case_schema, export_nifti, read_case, safe_name, write_case
from tests.io.cases import HOSTILE, mpnst_case


@pytest.fixture(scope="module")
def original():
    return mpnst_case()


@pytest.fixture(scope="module")
def written(tmp_path_factory, original):
    folder = tmp_path_factory.mktemp("case")
    write_case(*original, folder)
    return folder


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_case_comes_back_equal(original, written):
    case, _ = read_case(written)
    assert case == original[0]
    assert digest(case) == digest(original[0])


def test_every_array_comes_back_with_its_digest_and_what_nifti_cannot_hold(original, written):
    _, values = read_case(written)
    assert values == original[1]
    for key, value in original[1].items():
        back = values[key]
        assert back.digest == key
        assert (back.grid, back.array.dtype) == (value.grid, value.array.dtype)
        if isinstance(value, Mask):
            assert (back.maker, back.role, back.confidence) == (value.maker, value.role, value.confidence)
        else:
            assert (back.unit, back.series) == (value.unit, value.series)


def test_the_files_lie_by_visit_and_lesion(written):
    assert {
        "case.json",
        "visits/2023-05-28/L4/mask.nii.gz",
        "visits/2023-05-28/L4/image.nii.gz",
        "visits/2024-02-20/AX/mask.nii.gz",
    } <= set(files_of(written))


def test_equal_cases_give_equal_bytes(tmp_path, original, written):
    write_case(*mpnst_case(), tmp_path)
    assert files_of(tmp_path) == files_of(written)


def test_the_nifti_export_is_what_the_record_keeps(tmp_path, original, written):
    export_nifti(*original, tmp_path)
    kept = files_of(written)
    kept.pop("case.json")
    assert files_of(tmp_path) == kept


def test_sums_are_kept_as_exact_decimals(tmp_path, original):
    case, values = original
    exact = Decimal("0.1") + Decimal("1E-25")
    write_case(replace(case, assessments=(replace(case.assessments[0], sum_mm=exact),)), values, tmp_path)
    assert read_case(tmp_path)[0].assessments[0].sum_mm == exact


def test_hostile_names_neither_leave_the_folder_nor_get_lost(tmp_path):
    case, values = mpnst_case(hostile=HOSTILE)
    bad = "../../etc/passwd"
    lesions = (replace(case.lesions[0], lesion_id=bad), *case.lesions[1:])
    sightings = tuple(replace(each, lesion_id=bad) if each.lesion_id == "L4" else each for each in case.sightings)
    case = replace(case, lesions=lesions, sightings=sightings)
    write_case(case, values, tmp_path / "case")
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    assert read_case(tmp_path / "case") == (case, values)


def test_a_lesion_seen_in_two_series_of_a_visit_keeps_both(tmp_path, original):
    case, values = original
    first = case.sightings[0]
    other = Mask(~values[first.mask].array, values[first.mask].grid, "reader", MaskRole.LESION, None)
    case = replace(case, sightings=(*case.sightings, replace(first, mask=other.digest)))
    write_case(case, {**values, other.digest: other}, tmp_path)
    assert (tmp_path / "visits/2023-05-28/L4/mask_2.nii.gz").exists()
    assert read_case(tmp_path)[1] == {**values, other.digest: other}


def test_an_array_no_sighting_names_is_kept_too(tmp_path, original):
    case, values = original
    view = values[case.sightings[0].view]
    reference = Mask(view.array > 100, view.grid, "reference 0.1.0", MaskRole.REFERENCE, 0.9)
    write_case(case, {**values, reference.digest: reference}, tmp_path)
    assert read_case(tmp_path)[1][reference.digest].role is MaskRole.REFERENCE


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "case.json").unlink(),
        lambda folder: (folder / "case.json").write_text("[1"),
        lambda folder: (folder / "case.json").write_text("[]"),
        lambda folder: (folder / "case.json").write_text('{"schema_version": 99}'),
        lambda folder: (folder / "case.json").write_text('{"schema_version": 1}'),
        lambda folder: (folder / "visits/2023-05-28/L4/mask.nii.gz").unlink(),
        lambda folder: (folder / "visits/2023-05-28/L4/mask.nii.gz").write_bytes(b"not gzip"),
        lambda folder: (folder / "visits/2023-05-28/L4/mask.nii.gz").write_bytes(
            (folder / "visits/2023-10-18/L4/mask.nii.gz").read_bytes()
        ),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(tmp_path, written, damage):
    folder = shutil.copytree(written, tmp_path / "case")
    damage(folder)
    with pytest.raises(RefusedError, match="E-RECORD"):
        read_case(folder)


def test_the_schema_names_what_is_written(written):
    schema, document = case_schema(), json.loads((written / "case.json").read_bytes())
    assert set(document) == set(schema["properties"])
    measurement = schema["$defs"]["Measurement"]
    assert set(document["measurements"][0]) == set(measurement["properties"])
    assert {"lesion_id", "quantity", "value", "unit", "evidence"} <= set(measurement["required"])


def test_a_number_that_is_none_is_not_written(tmp_path, original):
    case, values = original
    broken = replace(case.measurements[0], value=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        write_case(replace(case, measurements=(broken,)), values, tmp_path)
    assert not (tmp_path / "case.json").exists()


@pytest.mark.parametrize("text", ["", "..", "a/b", "NUL", "com1", "lesion 1", "a" * 65, "-x", "\x00", "左"])
def test_a_name_no_file_system_should_see_becomes_a_digest(text):
    assert safe_name(text) != text
    assert safe_name(text).startswith("x")
    assert len(safe_name(text)) == 13


@pytest.mark.parametrize("text", ["L4", "2024-02-20", "NEW01", "R1_T01"])
def test_a_plain_name_stays(text):
    assert safe_name(text) == text


def test_voxels_are_restored_exactly(original, written):
    view = original[0].sightings[0].view
    np.testing.assert_array_equal(read_case(written)[1][view].array, original[1][view].array)
