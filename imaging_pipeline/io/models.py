"""Folders of trained networks, as nnU-Net and MONAI describe them, with the weights as ONNX.

ONNX is data: nothing in a folder is unpickled, imported or evaluated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline.domain.digests import digest
from imaging_pipeline.errors import ConfigurationError, PluginError
from imaging_pipeline.io.recipes import METADATA, NNUNET, monai_descriptions, of_monai, of_nnunet, several_channels
from imaging_pipeline.numerics.windows import Predict, Recipe, Three

#: The weights within a folder of each form.
NNUNET_WEIGHTS, MONAI_WEIGHTS = "model.onnx", "models/model.onnx"


@dataclass(frozen=True, eq=False)
class Network:
    """A network ready to be asked: its recipe and the question."""

    recipe: Recipe
    predict: Predict


def open_network(folder: Path, pinned: str) -> Network:
    """The network in a model folder, when its files are those the configuration pins.

    Raises
    ------
    ConfigurationError
        E-NETWORK-WEIGHTS when files are missing, E-NETWORK-DIGEST when they are others than pinned,
        E-NETWORK-CHANNELS when it wants several scans at once, E-NETWORK-FORM when its description asks for what is
        not known, E-CONFIG when that is damaged.
    PluginError
        E-NETWORK-RUNTIME when onnxruntime is not installed, E-NETWORK-BROKEN when it cannot read the weights.
    """
    weights, descriptions = _files(folder)
    # Exporters put large weights beside the network, in files whose names begin with its name.
    found = _digest_of(folder, (*descriptions, *sorted(weights.parent.glob(f"{weights.name}*"))))
    if found != pinned:
        raise ConfigurationError(
            "E-NETWORK-DIGEST",
            f"segment.model '{folder.name}'",
            found=f"files of digest {found}",
            expected=f"digest {pinned or 'in the configuration, so that results tell their model'}",
            remedy="set segment.model_digest to it if these are the files you trust",
        )
    return _opened(folder, weights, found)


@lru_cache(maxsize=2)
def _opened(folder: Path, weights: Path, _digest: str) -> Network:
    # Reading hundreds of megabytes of weights for each lesion would cost more than asking them.
    recipe = of_monai(folder) if (folder / METADATA).is_file() else of_nnunet(folder)
    return Network(recipe, _session(weights, f"{folder.name}/{weights.relative_to(folder).as_posix()}", recipe))


def _files(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    """The weights and the descriptions of a folder of either form."""
    nnunet, monai = (*NNUNET, NNUNET_WEIGHTS), (*monai_descriptions(folder), MONAI_WEIGHTS)
    names = monai if (folder / METADATA).is_file() else nnunet
    for name in names:
        if not (folder / name).is_file():
            raise ConfigurationError(
                "E-NETWORK-WEIGHTS",
                f"segment.model '{folder.name}'",
                found=f"no {folder.name}/{name}" if folder.name else "no model folder",
                expected=f"{', '.join(nnunet)} (nnU-Net), or {', '.join(monai)} (a MONAI bundle)",
                remedy="export the network as ONNX into that folder (docs/decisions/networks.md), or correct its path",
            )
    *descriptions, weights = (folder / name for name in names)
    return weights, tuple(descriptions)


def _digest_of(folder: Path, paths: tuple[Path, ...]) -> str:
    """One digest of names and bytes."""
    return digest(tuple((path.relative_to(folder).as_posix(), _sha256(path)) for path in paths))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _session(weights: Path, subject: str, recipe: Recipe) -> Predict:
    """The weights as a function of one window."""
    try:
        import onnxruntime
    except ImportError:
        raise PluginError(
            "E-NETWORK-RUNTIME",
            "segment.segmenter 'network'",
            found="no onnxruntime",
            expected="the runtime that runs its weights",
            remedy="install imaging-pipeline[network]",
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it cannot do is raised, and told by us
    options.intra_op_num_threads = 1  # patients run side by side, one core each
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the runtime's exceptions have no common ancestor of their own
        raise _broken(subject, f"{type(error).__name__} on reading it") from None
    _require_shape(subject, [(put.shape, put.type) for put in session.get_inputs()], recipe.patch)
    name = session.get_inputs()[0].name

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            scores = np.asarray(session.run(None, {name: window[np.newaxis, np.newaxis]})[0], dtype=np.float32)
        except Exception as error:  # noqa: BLE001 - as above
            raise _broken(subject, f"{type(error).__name__} on asking it") from None
        if scores.shape != (1, len(recipe.classes), *recipe.patch):
            raise _broken(subject, f"answers of shape {scores.shape} for {len(recipe.classes)} classes")
        return np.asarray(scores[0])

    return predict


def _require_shape(subject: str, inputs: list[tuple[list[Any], str]], patch: Three) -> None:
    """Refuse a network that wants anything but one float window of the declared size; names stand for any size."""
    if len(inputs) != 1 or inputs[0][1] != "tensor(float)" or len(inputs[0][0]) != 5:
        raise _broken(subject, f"inputs {[f'{kind} of {len(shape)} axes' for shape, kind in inputs]}")
    _, channels, *sizes = inputs[0][0]
    if isinstance(channels, int) and channels != 1:
        raise several_channels(subject, channels)
    if any(isinstance(size, int) and size != length for size, length in zip(sizes, patch, strict=True)):
        raise _broken(subject, f"windows of {sizes} where its description says {list(patch)}")


def _broken(subject: str, found: str) -> PluginError:
    return PluginError(
        "E-NETWORK-BROKEN",
        subject,
        found=found,
        expected="an ONNX network of one float input and output, (1, channels, three axes)",
        remedy="export it again (docs/decisions/networks.md)",
    )
