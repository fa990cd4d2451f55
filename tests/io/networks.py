"""Model folders with a network of a few hundred bytes: bright tissue, not too far from the middle of the window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imaging_pipeline.config import SegmentConfig
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.models import open_network

#: CT numbers between which, and about which, the network was "trained": bright is above `MEAN_HU`.
LOW_HU, HIGH_HU, MEAN_HU, SD_HU = -200.0, 300.0, -20.0, 50.0
PATCH, SPACING_MM = (12, 20, 20), (3.0, 2.0, 2.0)


def weights(
    path: Path, patch=PATCH, spacing_mm=SPACING_MM, radius_mm=16.0, channels=1, bias=0.0, aside_mm=(0.0, 0.0, 0.0)
) -> None:
    """Score 0 for background; for the lesion the lesser of brightness and nearness to the window's middle."""
    kernel = np.full((1, channels, 1, 1, 1), 4.0 / channels, dtype=np.float32)
    constants = {"kernel": kernel, "bias": np.array([bias], dtype=np.float32), "zero": np.zeros(1, dtype=np.float32)}
    for axis, (length, step) in enumerate(zip(patch, spacing_mm, strict=True)):
        offset_mm = (np.arange(length) - (length - 1) / 2) * step - aside_mm[axis]
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = length
        constants[f"away{axis}"] = -8 * ((offset_mm / radius_mm) ** 2).astype(np.float32).reshape(shape)
    constants["away0"] = constants["away0"] + np.float32(8.0)
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["bright"]),
        helper.make_node("Add", ["away0", "away1"], ["slab"]),
        helper.make_node("Add", ["slab", "away2"], ["near"]),
        helper.make_node("Min", ["bright", "near"], ["lesion"]),
        helper.make_node("Mul", ["lesion", "zero"], ["background"]),
        helper.make_node("Concat", ["background", "lesion"], ["scores"], axis=1),
    ]
    put = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, *patch])
    got = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, *patch])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [put], [got], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def nnunet(folder: Path, changes=None, dataset=None, **of_weights) -> Path:
    """A folder as `nnUNetv2_export_model_to_zip` leaves it, plus the weights; axes (slice, row, column)."""
    configuration = {
        "patch_size": PATCH,
        "spacing": SPACING_MM,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
    }
    plans = {
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "configurations": {"2d": {"patch_size": [64, 64]}, "3d_fullres": configuration | (changes or {})},
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": MEAN_HU, "std": SD_HU, "percentile_00_5": LOW_HU, "percentile_99_5": HIGH_HU, "max": 900.0}
        },
    }
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    write(folder / "plans.json", plans)
    write(folder / "dataset.json", described | (dataset or {}))
    weights(folder / "model.onnx", **of_weights)
    return folder


#: As a bundle declares them: axes (left, back, up), the window's values from 0 to 1 less the middle.
TRANSFORMS = (
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"},
    {"_target_": "monai.transforms.Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
    {"_target_": "ScaleIntensityRanged", "a_min": LOW_HU, "a_max": HIGH_HU, "b_min": 0, "b_max": 1, "clip": True},
    {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 0.36, "divisor": 0.1},
    {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
)


def monai(folder: Path, transforms=TRANSFORMS, after=(), image=None, **of_weights) -> Path:
    """A MONAI bundle whose network was exported to `models/model.onnx`."""
    patch, spacing_mm = PATCH[::-1], SPACING_MM[::-1]
    metadata = {
        "network_data_format": {
            "inputs": {"image": {"type": "image", "modality": "CT", "num_channels": 1} | (image or {})},
            "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "lesion"}}},
        }
    }
    softmax = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    back = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"}
    inference = {
        "imports": ["$import glob"],
        "device": "$torch.device('cpu')",
        "pixdim": spacing_mm,
        "preprocessing": {"_target_": "Compose", "transforms": list(transforms)},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": patch, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [softmax, back, *after]},
    }
    write(folder / "configs/metadata.json", metadata)
    write(folder / "configs/inference.json", inference)
    weights(folder / "models/model.onnx", **({"patch": patch, "spacing_mm": spacing_mm} | of_weights))
    return folder


def write(path: Path, document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


def trusting(folder: Path, **further) -> SegmentConfig:
    """The configuration that names a folder and pins its files as they are."""
    try:
        open_network(folder, "")
    except ConfigurationError as refusal:
        pinned = refusal.problem.found.removeprefix("files of digest ")
    return SegmentConfig(segmenter="network", model=str(folder), model_digest=pinned, **further)
