"""What nnU-Net and MONAI say of a network: how a scan is prepared for it, and what its answers mean.

A description is data: nothing in it is imported or evaluated. What it asks for and this module does not know is
refused by its name.

Source: nnU-Net v2, documentation/explanation_plans_files.md and dataset_format.md; MONAI Bundle Specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from imaging_pipeline.config import parse_yaml, validated
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.text import read_text
from imaging_pipeline.numerics.windows import Clip, Recipe, Scale

#: The descriptions in a folder of nnU-Net's form, and the first of a bundle's, by which it is known.
NNUNET = ("plans.json", "dataset.json")
METADATA = "configs/metadata.json"
#: The one of nnU-Net's configurations that is read: the others see in 2D, or need a network before them.
CONFIGURATION = "3d_fullres"
#: Directions of (slice, row, column) as nnU-Net's readers hand them over; "": as in the file.
_READERS = {"SimpleITKIO": "", "NibabelIO": "", "NibabelIOWithReorient": "SAR"}
#: MONAI reads the fastest axis first.
_COLUMN_ROW_SLICE = (2, 1, 0)


class _Declared(BaseModel):
    """What is read of a description; what else stands there says nothing to us."""

    model_config = ConfigDict(frozen=True, extra="ignore")


DeclaredT = TypeVar("DeclaredT", bound=_Declared)


# nnU-Net


class _Configuration(_Declared):
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt]
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]


class _Intensities(_Declared):
    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class _Plans(_Declared):
    image_reader_writer: str
    transpose_forward: tuple[int, int, int]
    configurations: Mapping[str, Any]
    foreground_intensity_properties_per_channel: Mapping[str, _Intensities]


class _Dataset(_Declared):
    channel_names: Mapping[str, str]
    labels: Mapping[str, int | tuple[int, ...]]


def of_nnunet(folder: Path) -> Recipe:
    """The recipe of nnU-Net's plans and dataset.

    Raises
    ------
    ConfigurationError
        E-NETWORK-FORM, E-NETWORK-CHANNELS, E-CONFIG.
    """
    subject, about = (f"{folder.name}/{name}" for name in NNUNET)
    plans = validated(_Plans, _document(folder / NNUNET[0]), subject)
    dataset = validated(_Dataset, _document(folder / NNUNET[1]), about)
    if CONFIGURATION not in plans.configurations:
        raise _form(subject, f"configurations {', '.join(plans.configurations)}", CONFIGURATION)
    chosen = validated(_Configuration, plans.configurations[CONFIGURATION], f"{subject}: {CONFIGURATION}")
    if plans.image_reader_writer not in _READERS:
        raise _form(subject, f"reader {plans.image_reader_writer}", f"one of {', '.join(_READERS)}")
    if len(dataset.channel_names) != 1 or len(chosen.normalization_schemes) != 1:
        raise several_channels(about, len(dataset.channel_names))
    if sorted(plans.transpose_forward) != [0, 1, 2]:
        raise _form(subject, f"transpose_forward {plans.transpose_forward}", "the three axes in some order")
    scheme = chosen.normalization_schemes[0]
    read = _READERS[plans.image_reader_writer]
    exclusive = not any(isinstance(value, tuple) for value in dataset.labels.values())
    return Recipe(
        chosen.patch_size,
        chosen.spacing,
        plans.transpose_forward,
        "".join(read[axis] for axis in plans.transpose_forward) if read else "",
        _scheme(subject, scheme, chosen, plans.foreground_intensity_properties_per_channel),
        tuple(_classes(dataset.labels, exclusive)),
        exclusive,
        ct=[name.upper() for name in dataset.channel_names.values()] == ["CT"],
    )


def _scheme(
    subject: str, scheme: str, chosen: _Configuration, known: Mapping[str, _Intensities]
) -> tuple[Clip | Scale, ...]:
    if scheme == "CTNormalization" and "0" in known:
        values = known["0"]
        return Clip(values.percentile_00_5, values.percentile_99_5), Scale(values.mean, max(values.std, 1e-8))
    if scheme == "ZScoreNormalization":
        return (Scale(nonzero=chosen.use_mask_for_norm[0]),)
    raise _form(subject, f"normalisation {scheme}", "CTNormalization with its intensities, or ZScoreNormalization")


def _classes(labels: Mapping[str, int | tuple[int, ...]], exclusive: bool) -> Iterator[str]:
    """Output channels by name: label values in order, or regions as they are listed, of which background is none."""
    real = {name: value for name, value in labels.items() if name != "ignore"}
    if exclusive:
        yield from sorted(real, key=lambda name: real[name])
    else:
        yield from (name for name, value in real.items() if value not in (0, (0,)))


# MONAI


class _Image(_Declared):
    modality: str
    num_channels: int


class _Answer(_Declared):
    channel_def: Mapping[str, str]


class _Formats(_Declared):
    inputs: Mapping[str, _Image] = Field(min_length=1, max_length=1)
    outputs: Mapping[str, _Answer] = Field(min_length=1, max_length=1)


class _Metadata(_Declared):
    network_data_format: _Formats


class _Sliding(_Declared):
    roi_size: tuple[PositiveInt, PositiveInt, PositiveInt]


class _Transform(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    target: str = Field(alias="_target_")
    disabled: bool = Field(default=False, alias="_disabled_")

    @property
    def name(self) -> str:
        return self.target.rpartition(".")[2]

    @property
    def values(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class _Compose(_Declared):
    transforms: tuple[_Transform, ...]


class _Inference(_Declared):
    preprocessing: _Compose
    inferer: Mapping[str, Any]
    postprocessing: _Compose


class _Orientation(_Declared):
    axcodes: str = Field(pattern="^[LRAPSI]{3}$")


class _Spacing(_Declared):
    pixdim: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class _Range(_Declared):
    a_min: float
    a_max: float
    b_min: float
    b_max: float
    clip: bool = False

    @property
    def steps(self) -> tuple[Clip | Scale, ...]:
        divisor = (self.a_max - self.a_min) / (self.b_max - self.b_min)
        scale = Scale(self.a_min - self.b_min * divisor, divisor)
        return (scale, Clip(self.b_min, self.b_max)) if self.clip else (scale,)


class _Normalize(_Declared):
    subtrahend: float | None = None
    divisor: float | None = None
    nonzero: bool = False

    @property
    def steps(self) -> tuple[Clip | Scale, ...]:
        return (Scale(self.subtrahend, self.divisor, self.nonzero),)


#: Transforms that change what the network sees, and those that only carry it along.
_CHANGING: Mapping[str, type[_Declared]] = {
    "Orientationd": _Orientation,
    "Spacingd": _Spacing,
    "ScaleIntensityRanged": _Range,
    "NormalizeIntensityd": _Normalize,
}
_CARRYING = ("LoadImaged", "EnsureChannelFirstd", "EnsureTyped")
#: Of what follows the network we do our own: the way back, the likeliest class, the piece at the prompt.
_AFTER = ("Activationsd", "AsDiscreted", "Invertd", "EnsureTyped", "KeepLargestConnectedComponentd", "SaveImaged")


def monai_descriptions(folder: Path) -> tuple[str, str]:
    """The names of a bundle's descriptions; that of its inference is JSON or YAML."""
    as_yaml = "configs/inference.yaml"
    return METADATA, as_yaml if (folder / as_yaml).is_file() else "configs/inference.json"


def of_monai(folder: Path) -> Recipe:
    """The recipe of a bundle's metadata and inference.

    Raises
    ------
    ConfigurationError
        E-NETWORK-FORM, E-NETWORK-CHANNELS, E-CONFIG.
    """
    metadata, subject = (f"{folder.name}/{name}" for name in monai_descriptions(folder))
    formats = validated(_Metadata, _document(folder / METADATA), metadata).network_data_format
    (image,), (answer,) = formats.inputs.values(), formats.outputs.values()
    if image.num_channels != 1:
        raise several_channels(metadata, image.num_channels)
    document = _document(folder / monai_descriptions(folder)[1])
    inference = validated(_Inference, _looked_up(document, document if isinstance(document, dict) else {}), subject)
    before = _known(subject, inference.preprocessing, (*_CHANGING, *_CARRYING))
    after = _known(subject, inference.postprocessing, _AFTER)
    stated = [
        _stated(subject, _CHANGING[item.name], item.name, item.values) for item in before if item.name in _CHANGING
    ]
    places = [item for item in stated if isinstance(item, _Orientation | _Spacing)]
    if not all(isinstance(first, _Orientation) and isinstance(second, _Spacing) for first, second in pairwise(places)):
        raise _form(subject, "another order of Orientationd and Spacingd", "each once, Orientationd first")
    return Recipe(
        _stated(subject, _Sliding, "inferer", inference.inferer).roi_size,
        next((item.pixdim for item in places if isinstance(item, _Spacing)), None),
        _COLUMN_ROW_SLICE,
        next((item.axcodes for item in places if isinstance(item, _Orientation)), ""),
        tuple(step for item in stated if isinstance(item, _Range | _Normalize) for step in item.steps),
        tuple(answer.channel_def[key] for key in sorted(answer.channel_def, key=int)),
        exclusive=not any(item.values.get("sigmoid") for item in after),
        ct=image.modality.upper() == "CT",
    )


def _known(subject: str, part: _Compose, names: tuple[str, ...]) -> list[_Transform]:
    """The transforms of a part that are not switched off, all of them known."""
    steps = [step for step in part.transforms if not step.disabled]
    for step in steps:
        if step.name not in names:
            raise _form(subject, f"the transform {step.name}", f"transforms among {', '.join(names)}")
    return steps


def _stated(subject: str, model: type[DeclaredT], name: str, values: Mapping[str, Any]) -> DeclaredT:
    """The values that are read of a transform, none of them an expression."""
    for key in model.model_fields:
        if isinstance(value := values.get(key), str) and value.startswith("$"):
            raise _form(subject, f"an expression for {key} of {name}", "its value; expressions are not evaluated")
    return validated(model, values, f"{subject}: {name}")


def _looked_up(value: Any, document: Mapping[str, Any]) -> Any:
    """A document whose references to its own plain entries ("@name") are those entries."""
    if isinstance(value, dict):
        return {key: _looked_up(entry, document) for key, entry in value.items()}
    if isinstance(value, list):
        return [_looked_up(entry, document) for entry in value]
    if isinstance(value, str) and value.startswith("@"):
        entry = document.get(value[1:], value)
        return value if isinstance(entry, dict) else entry
    return value


def _document(path: Path) -> Any:
    # JSON is YAML; read as such it is held to the same limits as a configuration.
    return parse_yaml(read_text(path), path.name)


def several_channels(subject: str, count: int) -> ConfigurationError:
    """The refusal of a network that sees several scans at once."""
    return ConfigurationError(
        "E-NETWORK-CHANNELS",
        subject,
        found=f"{count} input channels",
        expected="one: a lesion is followed on one series",
        remedy="train or choose a network that sees one scan",
    )


def _form(subject: str, found: str, expected: str) -> ConfigurationError:
    remedy = "choose another model, or export it with what is known (docs/decisions/networks.md)"
    return ConfigurationError("E-NETWORK-FORM", subject, found=found, expected=expected, remedy=remedy)
