"""Which lesions can be measured and which are targets.

Source: RECIST 1.1 (Eur J Cancer 2009; 45: 228-247) 3.1, 3.2, 4.2, and the RECIST group's questions and answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import ConfigDict

from imaging_pipeline.criteria.exact import ZERO, plain
from imaging_pipeline.criteria.params import Params
from imaging_pipeline.criteria.response import Tally
from imaging_pipeline.criteria.timeline import MEASURABLE_NODE_MM, PATHOLOGICAL_NODE_MM, LengthMm, ListedLesion, Name
from imaging_pipeline.errors import ConfigurationError, Problem

#: Longest diameter on CT or MRI, where two slices are not more than that (3.1.1).
MEASURABLE_MM = Decimal(10)
MEASURABLE_XRAY_MM = Decimal(20)
SLICES_ACROSS = Decimal(2)
#: At most five targets, at most two per organ (4.2).
MAX_TARGETS = 5
MAX_PER_ORGAN = 2
#: Baseline is not older than four weeks at the start of treatment (4.2).
BASELINE_MAX_AGE_DAYS = 28

#: All lymph nodes are one organ, and so are both of a pair (RECIST questions and answers).
NODES = "lymph nodes"
_PAIRED = {
    "lung": "lung",
    "kidney": "kidney",
    "ovar": "ovary",
    "adrenal": "adrenal",
    "breast": "breast",
    "testi": "testis",
}

_NEVER_MEASURED = {
    "ascites": "ascites is never measurable",
    "pleural_effusion": "a pleural effusion is never measurable",
    "leptomeningeal": "leptomeningeal disease is never measurable",
    "lymphangitis": "lymphangitic spread is never measurable",
}
_NEVER_MEASURING = {
    "US": "ultrasound never measures: it depends on the operator",
    "BONE_SCAN": "a bone scan shows presence, it does not measure",
    "XR": "a plain film of bone shows presence, it does not measure",
}
_SLICED = ("CT", "MRI", "PETCT_LOWDOSE_CT")


CandidateKind = Literal[
    "soft_tissue",
    "node",
    "bone",
    "lung",
    "skin",
    "cystic_metastasis",
    "simple_cyst",
    "ascites",
    "pleural_effusion",
    "leptomeningeal",
    "lymphangitis",
]
Modality = Literal["CT", "MRI", "CXR", "XR", "US", "CALIPER", "BONE_SCAN", "PETCT_LOWDOSE_CT"]
BoneType = Literal["lytic", "mixed", "blastic"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One lesion as found at baseline, before it has a role."""

    id: Name
    organ: str = ""
    node: bool | None = None
    kind: CandidateKind = "soft_tissue"
    modality: Modality = "CT"
    slice_mm: LengthMm | None = None
    long_mm: LengthMm | None = None
    short_mm: LengthMm | None = None
    bone_type: BoneType | None = None
    soft_tissue_mm: LengthMm | None = None
    surrounded_by_lung: bool | None = None
    prior_local_therapy: bool = False
    progressed_since: bool = False
    diagnostic_quality: bool | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def is_node(self) -> bool:
        """Whether the lesion is a lymph node."""
        return self.kind == "node" or bool(self.node)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a candidate. `size_mm` is what would be followed of it."""

    id: str
    measurable: bool
    role: Literal["target", "non_target", "none"]
    reason: str
    size_mm: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """All candidates with their roles; `targets` from the largest down."""

    rulings: tuple[Ruling, ...]
    targets: tuple[str, ...]
    sum_mm: Decimal


def select(candidates: Sequence[Candidate]) -> Selection:
    """Give each candidate its role: measurable or not, then at most five targets, the largest, from all organs."""
    rulings = {candidate.id: rule(candidate) for candidate in candidates}
    measurable = [candidate for candidate in candidates if rulings[candidate.id].measurable]
    chosen = {candidate.id for candidate in choose(measurable, rulings)}
    for candidate in measurable:
        if candidate.id not in chosen:
            rulings[candidate.id] = passed_over(candidate, rulings[candidate.id])
    sizes = {lesion_id: ruling.size_mm or ZERO for lesion_id, ruling in rulings.items() if lesion_id in chosen}
    targets = tuple(sorted(sizes, key=lambda lesion_id: -sizes[lesion_id]))
    return Selection(tuple(rulings.values()), targets, sum(sizes.values(), ZERO))


def passed_over(candidate: Candidate, ruling: Ruling) -> Ruling:
    """The ruling on a measurable lesion for which there was no place among the targets."""
    organ = organ_of(candidate.organ, candidate.is_node) or "its organ"
    why = f"not chosen: at most {MAX_TARGETS} targets, {MAX_PER_ORGAN} in {organ}"
    return replace(ruling, role="non_target", reason=f"{ruling.reason}; {why}")


def organ_of(organ: str, node: bool) -> str:
    """The organ a lesion counts for: nodes are one organ, so are both of a pair."""
    if node:
        return NODES
    words = organ.lower().replace("_", " ").split()
    paired = next((name for stem, name in _PAIRED.items() if any(word.startswith(stem) for word in words)), "")
    return paired or " ".join(word for word in words if word not in ("left", "right", "bilateral"))


def choose(
    measurable: Sequence[Candidate], rulings: Mapping[str, Ruling], already: Sequence[Candidate] = ()
) -> list[Candidate]:
    """The targets: the best of each organ first, then the second ones, each time the larger first (4.2)."""
    order = sorted(measurable, key=lambda candidate: _rank(candidate, rulings))
    chosen = list(already)
    for place in range(MAX_PER_ORGAN):
        chosen += _one_of_each_organ(order, chosen, place)[: max(MAX_TARGETS - len(chosen), 0)]
    return chosen


def _rank(candidate: Candidate, rulings: Mapping[str, Ruling]) -> tuple[bool, Decimal]:
    """Larger first; cystic metastases only after all others (3.1.3)."""
    return candidate.kind == "cystic_metastasis", -(rulings[candidate.id].size_mm or ZERO)


def _one_of_each_organ(order: Sequence[Candidate], chosen: Sequence[Candidate], place: int) -> list[Candidate]:
    """The best candidate of each organ that has `place` targets so far; of nodes, one from another chain if any."""
    taken = Counter(_organ(candidate) for candidate in chosen)
    chains = {candidate.organ for candidate in chosen if candidate.is_node}
    best: dict[str, Candidate] = {}
    for candidate in sorted(order, key=lambda candidate: candidate.is_node and candidate.organ in chains):
        organ = _organ(candidate)
        if candidate not in chosen and taken[organ] == place:
            best.setdefault(organ, candidate)
    return sorted(best.values(), key=order.index)


def _organ(candidate: Candidate) -> str:
    # A lesion without an organ counts for itself.
    return organ_of(candidate.organ, candidate.is_node) or candidate.id


def rule(candidate: Candidate) -> Ruling:
    """Whether one candidate is disease, and measurable.

    *Source*: RECIST 1.1, 3.1.1 to 3.1.3 and 3.2.
    """
    if candidate.kind == "simple_cyst":
        return Ruling(candidate.id, False, "none", "a simple cyst is not disease")
    if candidate.is_node and (short := candidate.short_mm) is not None and short < PATHOLOGICAL_NODE_MM:
        return Ruling(candidate.id, False, "none", f"a node of {plain(short)} mm short axis is normal (below 10 mm)")
    if reason := _never_measurable(candidate):
        return Ruling(candidate.id, False, "non_target", reason)
    size, floor = _followed_size(candidate), _floor(candidate)
    if size < floor:
        return Ruling(
            candidate.id, False, "non_target", f"{_called(candidate)} {plain(size)} mm, below {plain(floor)} mm"
        )
    return Ruling(
        candidate.id, True, "target", f"{_called(candidate)} {plain(size)} mm, at least {plain(floor)} mm", size
    )


def _never_measurable(candidate: Candidate) -> str:
    """Why no size would make this lesion measurable, or nothing."""
    if candidate.kind in _NEVER_MEASURED:
        return _NEVER_MEASURED[candidate.kind]
    if candidate.modality in _NEVER_MEASURING:
        return _NEVER_MEASURING[candidate.modality]
    if candidate.prior_local_therapy and not candidate.progressed_since:
        return "treated locally before, without progression since"
    return _wrong_technique(candidate) or (_bone_without_mass(candidate) if candidate.kind == "bone" else "")


def _wrong_technique(candidate: Candidate) -> str:
    if candidate.modality == "CXR" and not (candidate.kind == "lung" and candidate.surrounded_by_lung):
        return "a chest X-ray measures only a lung lesion surrounded by aerated lung"
    if candidate.modality == "CALIPER" and candidate.kind not in ("skin", "soft_tissue", "node"):
        return "callipers measure only what is superficial"
    if candidate.modality == "MRI" and candidate.kind == "lung":
        return "MRI does not measure lung lesions"
    low_dose = candidate.modality == "PETCT_LOWDOSE_CT"
    if candidate.diagnostic_quality is False or (low_dose and not candidate.diagnostic_quality):
        return "the CT of a PET/CT measures only in diagnostic quality" if low_dose else "not of diagnostic quality"
    return ""


def _bone_without_mass(candidate: Candidate) -> str:
    if candidate.bone_type == "blastic":
        return "a blastic bone lesion is never measurable"
    if candidate.modality not in _SLICED:
        return "the soft-tissue part of a bone lesion is measured on CT or MRI only"
    if not candidate.soft_tissue_mm:
        return "a bone lesion without a soft-tissue part: the size of the hole is not a diameter"
    return ""


def _followed_size(candidate: Candidate) -> Decimal:
    if candidate.is_node:
        return _required(candidate, "short_mm")
    return _required(candidate, "soft_tissue_mm" if candidate.kind == "bone" else "long_mm")


def _called(candidate: Candidate) -> str:
    if candidate.is_node:
        return "short axis"
    return "soft-tissue part" if candidate.kind == "bone" else "longest diameter"


def _floor(candidate: Candidate) -> Decimal:
    """The least size that is measurable; thick slices raise it, thin ones never lower it."""
    least = MEASURABLE_XRAY_MM if candidate.modality == "CXR" else MEASURABLE_MM
    least = MEASURABLE_NODE_MM if candidate.is_node else least
    if candidate.modality in _SLICED and _followed_size(candidate) >= least:
        return max(least, SLICES_ACROSS * _required(candidate, "slice_mm"))
    return least


def _required(candidate: Candidate, field: str) -> Decimal:
    value: Decimal | None = getattr(candidate, field)
    if value is None:
        raise ConfigurationError(
            "E-ASSESS-MISSING",
            f"candidates.{candidate.id}.{field}",
            found="nothing",
            expected=f"a length in millimetres: a {candidate.kind} on {candidate.modality} cannot be judged without it",
            remedy=f"add {field}",
        )
    return value


def selection_problems(baseline: Tally, params: Params) -> tuple[Problem, ...]:
    """What at baseline the paper would not accept; the lesions are judged as they were listed all the same."""
    problems = [*_crowded(baseline.targets), *_unmeasurable(baseline)]
    if params.treatment_start is not None:
        age = (params.treatment_start - baseline.visit.date).days
        if not 0 <= age <= BASELINE_MAX_AGE_DAYS:
            problems.append(_ill_timed_baseline(age))
    return tuple(problems)


def _crowded(targets: Sequence[ListedLesion]) -> Iterator[Problem]:
    if len(targets) > MAX_TARGETS:
        yield _too_many("lesions", len(targets), MAX_TARGETS)
    organs = Counter(organ_of(lesion.organ, lesion.node) for lesion in targets)
    for organ, count in organs.items():
        if organ and count > MAX_PER_ORGAN:
            yield _too_many(f"lesions in {organ}", count, MAX_PER_ORGAN)


def _unmeasurable(baseline: Tally) -> Iterator[Problem]:
    """Targets below what is measurable; without the thickness of the slices, below the least that ever is (3.1.1)."""
    for lesion in baseline.targets:
        least = MEASURABLE_NODE_MM if lesion.node else MEASURABLE_MM
        size = baseline.sizes[lesion.id]
        if lesion.id in baseline.missing:
            yield _unfit("W-TARGET-UNMEASURED", lesion, "a target without a size at baseline", least)
        elif size < least:
            yield _unfit("W-TARGET-SMALL", lesion, f"a target of {plain(size)} mm at baseline", least)


def _unfit(code: str, lesion: ListedLesion, found: str, least: Decimal) -> Problem:
    diameter = "short axis" if lesion.node else "longest diameter"
    return Problem(
        code,
        lesion.id,
        found,
        f"a {diameter} of at least {plain(least)} mm (RECIST 1.1, 3.1.1)",
        "list it as non-target, or correct the size",
    )


def _too_many(what: str, count: int, most: int) -> Problem:
    return Problem(
        "W-TARGETS-MANY",
        what,
        f"{count} targets",
        f"at most {most} (RECIST 1.1, 4.2)",
        "keep the largest that repeat well, list the others as non-target",
    )


def _ill_timed_baseline(age_days: int) -> Problem:
    return Problem(
        "W-BASELINE-AGE",
        "baseline",
        f"{age_days} days before the start of treatment" if age_days > 0 else f"{-age_days} days after it began",
        f"0 to {BASELINE_MAX_AGE_DAYS} days before (RECIST 1.1, 4.2)",
        "use a scan nearer to the start as baseline",
    )
