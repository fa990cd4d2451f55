"""What a run may be told: frozen models, read from YAML, every key known or refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Kind, Role
from imaging_pipeline.errors import ConfigurationError

#: A YAML document larger than this is no configuration; refusing it early also stops alias bombs from growing.
MAX_DOCUMENT_BYTES = 4 * 2**20


class Model(BaseModel):
    """Frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @cached_property
    def digest(self) -> str:
        """Digest of every value, defaults included."""
        return digest(self.model_dump(mode="json"))


class SeriesRule(Model):
    """Which series plays which role. Patterns are shell-like (* and ?), case is ignored, all given ones must match."""

    role: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    modality: str = "*"
    series_description: str = "*"
    protocol_name: str = "*"
    body_part_examined: str = "*"
    image_type: str = "*"


class VisitsConfig(Model):
    """How dates become visits."""

    window_days: int = Field(default=14, ge=0, description="Series this close together belong to one visit.")


class RegisterConfig(Model):
    """Finding the baseline's place in a later scan."""

    spacing_mm: float = Field(default=3.0, gt=0, description="Voxel size of the coarsest search.")
    starts: int = Field(default=5, ge=1, description="Starting positions along the body axis.")
    local_margin_mm: float = Field(default=30.0, gt=0, description="Neighbourhood of the lesion refined on its own.")
    max_residual_mm: float = Field(
        default=3.0, gt=0, description="Above this the lesion is not measured but asked for."
    )


class SegmentConfig(Model):
    """Drawing the outline."""

    segmenter: str = "competition"
    smoothness: float = Field(default=3.0, gt=0, description="Evidence (log-odds) one voxel face of outline must save.")
    min_confidence: float = Field(default=0.6, ge=0, le=1, description="Below this the outline is flagged for review.")
    model: str = Field(default="", description="Folder of a trained network, for the segmenter `network`.")
    model_digest: str = Field(default="", description="What the files in that folder must be.")
    labels: tuple[str, ...] = Field(default=(), description="The network's classes that are lesion; empty: all.")


class MeasureConfig(Model):
    """Constants of the measurements; every one is printed in the report."""

    calcium_threshold_hu: float = Field(
        default=180.0, description="Mineral is sought above this CT number, or above the noise where that is higher."
    )
    hydroxyapatite_mg_per_ml_hu: float | None = Field(
        default=None,
        gt=0,
        description="Mineral per HU at 120 kVp by a calibration phantom; without one its mass is flagged uncalibrated.",
    )
    sclerotic_sd: float = Field(
        default=2.0, gt=0, description="Lytic and sclerotic lie this many SD off the reference."
    )
    rim_width_mm: float = Field(default=3.0, gt=0, description="Thickness of the shell in which a rim is sought.")
    cortical_hu: float = Field(
        default=800.0, gt=0, description="CT number of cortical bone, of which a blurred wall's thickness is told."
    )


class AssessConfig(Model):
    """Which criteria judge, with what parameters (RULES: the defaults are the decisions)."""

    criteria: tuple[str, ...] = ("recist-1.1",)
    params: Mapping[str, Any] = Field(default_factory=dict)


class ReaderConfig(Model):
    """What a trial calls one evaluator. Source: SDTM --EVAL, --EVALID (codelists EVAL, MEDEVAL)."""

    evaluator: str = Field(default="INDEPENDENT ASSESSOR", max_length=200)
    evaluator_id: str = Field(default="", max_length=200, description="RADIOLOGIST 1; empty: the reader's own name.")
    prefix: str = Field(default="", max_length=8, description="Before the lesions' link ids: R1 gives R1-T01.")


class ExportConfig(Model):
    """What a trial database calls the study, its subjects and its evaluators."""

    study_id: str = Field(default="STUDY", min_length=1, max_length=64)
    subject_ids: Mapping[str, str] = Field(
        default_factory=dict, description="USUBJID by case; else study and pseudonym."
    )
    reference_start_dates: Mapping[str, date] = Field(
        default_factory=dict, description="RFSTDTC by case: the day study days are counted from."
    )
    patient_ids: Mapping[str, str] = Field(
        default_factory=dict,
        description="PatientID in DICOM objects by case, where they may go back to the archive the scans came from; "
        "else the pseudonym.",
    )
    readers: Mapping[str, ReaderConfig] = Field(
        default_factory=dict, description="Evaluators by name; the machine's is imaging_pipeline."
    )


class Config(Model):
    """A whole run."""

    series_roles: tuple[SeriesRule, ...] = ()
    visits: VisitsConfig = VisitsConfig()
    register_: RegisterConfig = Field(default=RegisterConfig(), alias="register")
    segment: SegmentConfig = SegmentConfig()
    measure: MeasureConfig = MeasureConfig()
    assess: AssessConfig = AssessConfig()
    export: tuple[str, ...] = ()
    trial: ExportConfig = ExportConfig()
    pseudonym_key: str = Field(
        default="imaging_pipeline", description="Key of the patients' pseudonyms; keep your own secret."
    )


Coordinates = tuple[float, float, float]


class PixelPoint(Model):
    """A place said as a viewer shows it: slice (or frame) and in-plane position, counted from 0."""

    slice: int = Field(default=0, ge=0)
    column: float
    row: float


Place = Coordinates | PixelPoint


class MaskSource(Model):
    """A mask file beside the lesion file; `label` is a label value, a segment number or label, or an ROI name."""

    file: str
    label: int | str = 1


class InSeries(Model):
    """What is said of one series of one visit."""

    visit: str = Field(default="baseline", description='"baseline" or a date, YYYY-MM-DD.')
    series: str = Field(default="", description="Role or SeriesInstanceUID; empty: the only one that shows the place.")


class PromptEntry(InSeries):
    """One prompt: exactly one of point, line, box, mask, from, outside.

    On an image without a place in the patient, whose series must be named: line or box in pixels, or mask.
    `from` takes it from objects in the scan folder: the lesion's line from a structured report (sr) or a presentation
    state (gsps), its outline from a segmentation (seg) or a structure set (rtstruct).
    """

    point: Place | None = None
    line: tuple[Place, Place] | None = None
    short: tuple[Place, Place] | None = None
    slices: tuple[int, int] | None = Field(
        default=None, description="First and last slice, counted from 0 along the normal."
    )
    box: tuple[Place, Place] | None = None
    mask: MaskSource | None = None
    outside: Place | None = Field(
        default=None, description="A click on what is not the lesion, beside another prompt of the visit."
    )
    reference: Place | None = Field(
        default=None,
        description="A click in a healthy vertebra to compare the lesion's bone with instead of its neighbours, beside "
        "another prompt of the visit.",
    )
    from_: Literal["", "sr", "gsps", "seg", "rtstruct"] = Field(
        default="", alias="from", description="Whose line or outline marks the lesion."
    )
    label: str = Field(
        default="", description="Its tracking identifier or UID, segment or ROI there; empty: the lesion's id."
    )


class ReportedEntry(Model):
    """What a radiologist wrote: reconciled with the measured, never averaged with it."""

    visit: str = "baseline"
    quantity: str = ""
    value: Decimal | None = None
    unit: str = ""
    statement: str = ""
    modality: str = ""
    source: str


class LesionEntry(Model):
    """One lesion of one patient, as a reader names it."""

    id: str = Field(min_length=1, max_length=64)
    label: str = ""
    site: str = ""
    laterality: Literal["", "left", "right", "bilateral"] = ""
    kind: Kind
    role: Literal[Role.AUTO, Role.TARGET, Role.NON_TARGET] = Role.AUTO
    organ: str = ""
    bone_type: Literal["", "lytic", "mixed", "blastic"] = ""
    prompts: tuple[PromptEntry, ...] = ()
    reported: tuple[ReportedEntry, ...] = ()


class TreatmentEntry(Model):
    """A treatment, drawn behind the curves it may have bent; without an end it goes on."""

    label: str = Field(min_length=1, max_length=64)
    start: date = Field(description="First day, YYYY-MM-DD.")
    end: date | None = Field(default=None, description="Last day, YYYY-MM-DD.")


class LevelsEntry(InSeries):
    """Vertebrae that another program labelled in one series: a label map, NIfTI or NRRD, beside the lesion file."""

    file: str
    labels: Literal["totalsegmentator", "verse"] = Field(
        default="totalsegmentator", description="What its values mean: TotalSegmentator's task total, or VerSe's."
    )


class PatientLesions(Model):
    """The lesions of one patient; `patient` is the PatientID, needed where a folder holds several."""

    patient: str = ""
    lesions: tuple[LesionEntry, ...] = Field(min_length=1)
    treatments: tuple[TreatmentEntry, ...] = ()
    levels: tuple[LevelsEntry, ...] = ()

    @field_validator("lesions")
    @classmethod
    def _one_entry_a_lesion(cls, lesions: tuple[LesionEntry, ...]) -> tuple[LesionEntry, ...]:
        _require_once((lesion.id for lesion in lesions), "lesion id")
        return lesions


class LesionFile(Model):
    """A lesion file."""

    patients: tuple[PatientLesions, ...] = Field(min_length=1)

    @field_validator("patients")
    @classmethod
    def _one_entry_a_patient(cls, patients: tuple[PatientLesions, ...]) -> tuple[PatientLesions, ...]:
        _require_once((entry.patient for entry in patients), "patient")
        return patients


def _require_once(names: Iterable[str], what: str) -> None:
    # The second entry would take the place of the first. Names of patients are not repeated in messages.
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise ValueError(f"each {what} once; entry {number} names one again")
        seen.add(name)


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_yaml(text: str, subject: str) -> Any:
    """A YAML or JSON document as plain values.

    Raises
    ------
    ConfigurationError
        When it is too large, uses aliases, or is not YAML.
    """
    if len(text.encode("utf-8", "replace")) > MAX_DOCUMENT_BYTES:
        raise _refusal(subject, "more than 4 MiB", "a short document", "check that this is the file you meant")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise _refusal(subject, "a YAML alias", "plain values", "write the value out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"at line {mark.line + 1}" if mark else "somewhere"
        raise _refusal(subject, f"a syntax error {where}", "YAML", "correct that line") from error


def validated(model: type[ModelT], document: Any, subject: str) -> ModelT:
    """A document as a model.

    Raises
    ------
    ConfigurationError
        Naming the key, and the nearest known key when it is unknown.
    """
    try:
        return model.model_validate(document if document is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(model), n=1)
            remedy = f"did you mean '{near[0]}'?" if near else "remove it, or see `imaging-pipeline schema`"
            raise _refusal(f"{subject}: {where}", "an unknown key", "a key of the schema", remedy) from None
        remedy = "see `imaging-pipeline schema` for what is allowed"
        expected = first["msg"].removeprefix("Value error, ")
        raise _refusal(f"{subject}: {where}", "a value that does not fit", expected, remedy) from None


def _known_keys(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({key for part in parts for key in part.get("properties", {})})


def _refusal(subject: str, found: str, expected: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("E-CONFIG", subject, found=found, expected=expected, remedy=remedy)
