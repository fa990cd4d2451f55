"""A network draws what the prompt lies in, or says by name why it cannot."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.domain.geometry import Grid, as_matrix, as_point
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.prompts import Box, Line, Outline, Outside, Point, Prompt
from imaging_pipeline.domain.quantities import HU, ONE
from imaging_pipeline.errors import PipelineError, StageError
from imaging_pipeline.io.models import open_network
from imaging_pipeline.io.network import segment
from imaging_pipeline.io.record import read_case
from imaging_pipeline.numerics.outline import SignedDistance
from imaging_pipeline.testing import check_segmenter
from tests.io.networks import TRANSFORMS, monai, nnunet, trusting, write

pytest.importorskip("onnxruntime", reason="no wheel of onnxruntime for this machine")

MINI = Path(__file__).parents[2] / "sample_data/mini"
CENTRE_LPS = (10.0, -20.0, 430.0)
FORMS = pytest.mark.parametrize("form", [nnunet, monai], ids=["nnU-Net", "MONAI"])


def tissue(*balls, unit=HU) -> Volume:
    """Balls of soft tissue, (centre_lps, radius_mm), in fat; slices of 2.5 mm, pixels of 0.9 mm."""
    affine = as_matrix([[0, 0, 0.9, -40.0], [0, 0.9, 0, -70.0], [2.5, 0, 0, 380.0], [0, 0, 0, 1.0]])
    grid = Grid((40, 110, 110), affine, frame_of_reference_uid="1.2.3")
    inside = np.zeros(grid.shape, dtype=bool)
    for centre_lps, radius_mm in balls:
        inside |= np.linalg.norm(places(grid) - centre_lps, axis=1).reshape(grid.shape) <= radius_mm
    series = Series("1.2.4", "1.2.5", "1.2.840.10008.5.1.4.1.1.2", "CT", "2024-01-01", "ct", (), grid)
    noise = np.random.default_rng(3).normal(0, 10, grid.shape)
    return Volume((np.where(inside, 50, -90) + noise).astype(np.int16), grid, unit, series)


def places(grid):
    return grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)


def beside(left_mm=0.0, back_mm=0.0, up_mm=0.0):
    return as_point(np.add(CENTRE_LPS, (left_mm, back_mm, up_mm)))


def lesion(*marks):
    return Prompt(Kind.SOFT_TISSUE, marks)


def volume_ml(radius_mm):
    return 4 / 3 * np.pi * radius_mm**3 / 1000


BALL = tissue((CENTRE_LPS, 9.0))
CLICK = lesion(Point(CENTRE_LPS))


@FORMS
def test_it_keeps_the_promises_of_a_segmenter(form, tmp_path):
    check_segmenter(segment, trusting(form(tmp_path / "model")))


def test_both_forms_of_one_network_give_one_outline(tmp_path):
    first, second = (segment(BALL, CLICK, trusting(form(tmp_path / form.__name__))) for form in (nnunet, monai))
    assert first.grid == second.grid
    assert np.array_equal(first.array, second.array)
    assert first.volume_ml == pytest.approx(volume_ml(9.0), rel=0.1)
    assert first.confidence > 0.98


@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "RPI"])
def test_the_directions_of_its_axes_make_no_difference_to_the_place(axcodes, tmp_path):
    turned = [item | {"axcodes": axcodes} if "axcodes" in item else item for item in TRANSFORMS]
    mask = segment(BALL, CLICK, trusting(monai(tmp_path, turned)))
    assert mask.grid.to_lps(np.argwhere(mask.array)).mean(axis=0) == pytest.approx(CENTRE_LPS, abs=0.5)


def test_axes_in_another_order_are_seen_in_that_order(tmp_path):
    folder = nnunet(
        tmp_path, {"patch_size": (20, 12, 20), "spacing": (2.0, 3.0, 2.0)}, patch=(20, 12, 20), spacing_mm=(2, 3, 2)
    )
    plans = json.loads((folder / "plans.json").read_text())
    write(
        folder / "plans.json", plans | {"transpose_forward": [1, 0, 2], "image_reader_writer": "NibabelIOWithReorient"}
    )
    mask = segment(BALL, CLICK, trusting(folder))
    assert mask.volume_ml == pytest.approx(volume_ml(9.0), rel=0.1)


MARKS = {
    "a line": Line((beside(-9), beside(9))),
    "a box": Box((beside(-9, -9, -9), beside(9, 9, 9))),
    "a click": Point(beside(3, 2, 0)),
    "a carried outline": Outline(
        Mask(np.ones((3, 8, 8), dtype=bool), BALL.grid.crop((slice(18, 21), slice(50, 58), slice(50, 58))), "x")
    ),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_any_mark_finds_the_piece_it_lies_in_and_no_other(mark, tmp_path):
    volume = tissue((CENTRE_LPS, 8.0), (beside(left_mm=17.0), 5.0))
    mask = segment(
        volume,
        lesion(mark),
        trusting(nnunet(tmp_path, {"patch_size": (12, 30, 30)}, patch=(12, 30, 30), radius_mm=40.0)),
    )
    assert mask.volume_ml == pytest.approx(volume_ml(8.0), rel=0.12)


def test_a_lesion_larger_than_a_window_is_seen_window_by_window(tmp_path):
    volume = tissue((CENTRE_LPS, 26.0))
    config = trusting(nnunet(tmp_path, radius_mm=1000.0))
    mask = segment(volume, lesion(Box((beside(-26, -26, -26), beside(26, 26, 26)))), config)
    assert mask.volume_ml == pytest.approx(volume_ml(26.0), rel=0.05)
    with pytest.raises(StageError, match="E-SEG-LEAK"):
        segment(volume, CLICK, config)


def test_what_lies_behind_a_click_on_what_is_not_the_lesion_is_cut_off(tmp_path):
    volume = tissue((CENTRE_LPS, 8.0), (beside(left_mm=14.0), 7.0))
    config = trusting(nnunet(tmp_path, {"patch_size": (12, 30, 30)}, patch=(12, 30, 30), radius_mm=40.0))
    marks = {"both": (Point(CENTRE_LPS),), "one": (Point(CENTRE_LPS), Outside(beside(left_mm=9.0)))}
    found = {name: segment(volume, lesion(*given), config) for name, given in marks.items()}
    beyond_lps = beside(left_mm=16.0)
    held = {name: SignedDistance(mask)(np.array([beyond_lps, CENTRE_LPS])) > 0 for name, mask in found.items()}
    assert held["both"].tolist() == [True, True]
    assert held["one"].tolist() == [False, True]


def test_a_network_that_contradicts_its_mirror_image_is_trusted_less(tmp_path):
    sure = segment(BALL, CLICK, trusting(nnunet(tmp_path / "sure", radius_mm=9.0)))
    unsure = segment(BALL, CLICK, trusting(nnunet(tmp_path / "unsure", radius_mm=9.0, aside_mm=(0, 0, 4))))
    assert unsure.confidence < 0.8 < 0.95 < sure.confidence


def test_a_maker_tells_which_weights(tmp_path):
    config = trusting(nnunet(tmp_path))
    assert segment(BALL, CLICK, config).maker == f"network {config.model_digest[:12]}"


def test_nothing_at_the_prompt_is_refused(tmp_path):
    config = trusting(nnunet(tmp_path))
    with pytest.raises(StageError, match="E-SEG-EMPTY"):
        segment(BALL, lesion(Point(beside(left_mm=40.0))), config)
    with pytest.raises(StageError, match="E-SEG-EMPTY"):
        segment(tissue(), CLICK, config)


def test_marks_of_which_one_contradicts_the_outline_are_refused(tmp_path):
    with pytest.raises(StageError, match="E-PROMPT-DISAGREE"):
        segment(BALL, lesion(Line((beside(-9), beside(9))), Point(beside(back_mm=25.0))), trusting(nnunet(tmp_path)))


def test_a_scan_of_another_modality_is_refused(tmp_path):
    with pytest.raises(StageError, match=r"E-NETWORK-MODALITY.*expected CT in HU"):
        segment(tissue((CENTRE_LPS, 9.0), unit=ONE), CLICK, trusting(nnunet(tmp_path)))


def test_a_network_for_mr_normalises_by_the_scan_itself(tmp_path):
    folder = nnunet(
        tmp_path, {"normalization_schemes": ["ZScoreNormalization"]}, {"channel_names": {"0": "T2"}}, bias=-8.0
    )
    mask = segment(tissue((CENTRE_LPS, 9.0), unit=ONE), CLICK, trusting(folder))
    assert mask.volume_ml == pytest.approx(volume_ml(9.0), rel=0.25)


# What it refuses to open


@FORMS
def test_each_missing_file_is_named_from_the_model_folder_on(form, tmp_path):
    folder = form(tmp_path / "model")
    for path in sorted(path for path in folder.rglob("*.*") if path.is_file()):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(PipelineError, match="E-NETWORK-WEIGHTS") as refusal:
            open_network(folder, "")
        assert "found no model/" in str(refusal.value)
        assert str(tmp_path) not in str(refusal.value)
        path.write_bytes(content)


def test_no_folder_at_all_is_refused():
    with pytest.raises(PipelineError, match=r"E-NETWORK-WEIGHTS.*found no model folder"):
        segment(BALL, CLICK, SegmentConfig(segmenter="network"))


def test_other_weights_than_the_configuration_pins_are_refused(tmp_path):
    config = trusting(nnunet(tmp_path))
    nnunet(tmp_path, bias=0.5)
    with pytest.raises(PipelineError, match=f"E-NETWORK-DIGEST.*expected digest {config.model_digest}"):
        segment(BALL, CLICK, config)


def test_weights_beside_the_network_count_too(tmp_path):
    config = trusting(nnunet(tmp_path))
    (tmp_path / "model.onnx.data").write_bytes(b"more weights")
    with pytest.raises(PipelineError, match="E-NETWORK-DIGEST"):
        segment(BALL, CLICK, config)


def test_without_the_runtime_it_says_what_to_install(tmp_path, monkeypatch):
    config = trusting(nnunet(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PipelineError, match=r"E-NETWORK-RUNTIME.*install imaging-pipeline\[network\]"):
        segment(BALL, CLICK, config)


def test_an_unknown_label_is_refused_with_the_known_ones(tmp_path):
    config = trusting(nnunet(tmp_path), labels=("tumour",))
    with pytest.raises(PipelineError, match=r"E-NETWORK-LABELS.*'tumour'.*labels of the network: lesion"):
        segment(BALL, CLICK, config)


def refusal_of(folder) -> str:
    with pytest.raises(PipelineError) as refusal:
        segment(BALL, CLICK, trusting(folder))
    return str(refusal.value)


def test_weights_that_are_none_are_refused(tmp_path):
    (nnunet(tmp_path) / "model.onnx").write_bytes(b"PK not a network")
    assert "E-NETWORK-BROKEN" in refusal_of(tmp_path)


@pytest.mark.parametrize(
    ("of_weights", "found"),
    [({"patch": (12, 16, 16)}, "windows of [12, 16, 16]"), ({"channels": 2}, "2 input channels")],
    ids=["window", "channels"],
)
def test_weights_that_do_not_fit_their_description_are_refused(of_weights, found, tmp_path):
    assert found in refusal_of(nnunet(tmp_path, **of_weights))


@pytest.mark.parametrize(
    ("changes", "dataset", "found"),
    [
        ({"normalization_schemes": ["RGBTo01Normalization"]}, {}, "normalisation RGBTo01Normalization"),
        ({}, {"channel_names": {"0": "CT", "1": "PET"}}, "E-NETWORK-CHANNELS"),
        (
            {},
            {"labels": {"background": 0, "organ": 1, "lesion": 2}},
            "answers of shape (1, 2, 12, 20, 20) for 3 classes",
        ),
        ({"spacing": [1.0, 0.0, 1.0]}, {}, "3d_fullres: spacing.1"),
    ],
    ids=["scheme", "channels", "classes", "spacing"],
)
def test_what_nnunet_declares_and_is_not_known_is_refused_by_name(changes, dataset, found, tmp_path):
    assert found in refusal_of(nnunet(tmp_path, changes, dataset))


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("configurations", {"2d": {}, "3d_cascade_fullres": {}}, "configurations 2d, 3d_cascade_fullres"),
        ("image_reader_writer", "NaturalImage2DIO", "reader NaturalImage2DIO"),
        ("transpose_forward", [0, 0, 1], "transpose_forward"),
    ],
)
def test_plans_of_another_kind_are_refused_by_name(key, value, found, tmp_path):
    plans = json.loads((nnunet(tmp_path) / "plans.json").read_text())
    write(tmp_path / "plans.json", plans | {key: value})
    assert found in refusal_of(tmp_path)


def test_regions_of_nnunet_are_channels_of_their_own(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    recipe = open_network(folder := nnunet(tmp_path, dataset={"labels": labels}), trusting(folder).model_digest).recipe
    assert recipe.classes == ("whole", "core")
    assert not recipe.exclusive


def test_sigmoid_answers_of_a_bundle_are_regions(tmp_path):
    folder = monai(tmp_path, after=[{"_target_": "Activationsd", "sigmoid": True}])
    assert not open_network(folder, trusting(folder).model_digest).recipe.exclusive


@pytest.mark.parametrize(
    ("transforms", "found"),
    [
        ([*TRANSFORMS, {"_target_": "Lambdad", "func": "$lambda x: x"}], "the transform Lambdad"),
        ([*TRANSFORMS, {"_target_": "os.system"}], "the transform system"),
        ([{"_target_": "Spacingd", "pixdim": "$[1, 1, 1]"}], "an expression for pixdim of Spacingd"),
        ([TRANSFORMS[3], TRANSFORMS[2]], "another order of Orientationd and Spacingd"),
        ([{"_target_": "Orientationd", "axcodes": "XYZ"}], "Orientationd: axcodes"),
    ],
    ids=["unknown", "foreign", "expression", "order", "letters"],
)
def test_what_a_bundle_declares_and_is_not_known_is_refused_by_name(transforms, found, tmp_path):
    assert found in refusal_of(monai(tmp_path, transforms))


def test_a_bundle_may_describe_its_inference_in_yaml(tmp_path):
    as_json = monai(tmp_path) / "configs/inference.json"
    as_json.rename(as_json.with_suffix(".yaml"))
    assert segment(BALL, CLICK, trusting(tmp_path)).array.any()


def test_a_transform_that_is_switched_off_is_not_there(tmp_path):
    off = {"_target_": "Lambdad", "_disabled_": True}
    assert segment(BALL, CLICK, trusting(monai(tmp_path, [*TRANSFORMS, off]))).array.any()


def test_a_bundle_of_several_channels_is_refused(tmp_path):
    assert "E-NETWORK-CHANNELS" in refusal_of(monai(tmp_path, image={"num_channels": 4}))


# In a run


def run(config: SegmentConfig, folder: Path):
    write(
        folder / "config.yaml",
        {
            "series_roles": [
                {"role": "chest_ct", "modality": "CT", "series_description": "*chest*"},
                {"role": "lumbar_ct", "modality": "CT"},
            ],
            "segment": config.model_dump(),
        },
    )
    (folder / "lesions.yaml").write_text("""
patients:
- lesions:
  - {id: AX, kind: soft_tissue, prompts: [{series: chest_ct, line: [[-114.0, -41.0, 348.1], [-114.0, 7.0, 348.1]]}]}
""")
    names = ["--config", "config.yaml", "--lesions", "lesions.yaml", "--out", "out"]
    paths = [name if name.startswith("--") else str(folder / name) for name in names]
    return CliRunner().invoke(cli, ["run", str(MINI), *paths])


def test_a_run_by_a_network_follows_the_mass_and_says_who_drew_it(tmp_path):
    config = trusting(nnunet(tmp_path / "net", {"patch_size": (16, 32, 32)}, patch=(16, 32, 32), radius_mm=22.0))
    told = run(config, tmp_path)
    assert told.exit_code == 0, told.output
    (folder,) = (tmp_path / "out/cases").iterdir()
    case = read_case(folder)[0]
    assert [sighting.outcome for sighting in case.sightings] == ["measured"] * 3
    assert {sighting.method for sighting in case.sightings} == {f"network {config.model_digest[:12]}"}
    assert any("trained network" in line for line in case.provenance.methods)


def test_a_run_without_the_weights_fails_by_name(tmp_path):
    told = run(SegmentConfig(segmenter="network", model=str(tmp_path / "net")), tmp_path)
    assert told.exit_code not in (0, 1)
    assert "E-NETWORK-WEIGHTS" in told.output
