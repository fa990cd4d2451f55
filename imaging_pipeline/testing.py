"""Proof that a plug-in keeps the promises of its door, for those who write one.

    from imaging_pipeline.testing import check_criterion

    def test_my_criterion():
        check_criterion(my_criterion)

Each check calls the plug-in as the pipeline would, with whole and with spoilt
input, and raises `PluginError` where it breaks its interface: what was found,
what was expected, what to do. The strategies are for further tests of your own;
they and `check_criterion` need hypothesis, which the package does not install.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from imaging_pipeline import __version__
from imaging_pipeline.config import AssessConfig, Config, MeasureConfig, SegmentConfig
from imaging_pipeline.criteria import recist
from imaging_pipeline.criteria.assessment import Criterion
from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Measurement,
    Outcome,
    Provenance,
    Segmented,
    Sighting,
    Values,
    Visit,
)
from imaging_pipeline.domain.geometry import Grid, PointLps, as_matrix, as_point
from imaging_pipeline.domain.images import Instance, Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion, Role, tracking_uid
from imaging_pipeline.domain.prompts import Line, Point, Prompt
from imaging_pipeline.domain.quantities import CATALOGUE, COUNTS, HU, ONE
from imaging_pipeline.errors import PipelineError, PluginError
from imaging_pipeline.numerics.measurement import measure

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

Loader = Callable[[Series, Callable[[Instance], bytes], Config], Volume]
Segmenter = Callable[[Volume, Prompt, SegmentConfig], Mask]
Exporter = Callable[[Case, Values, Path, Config], tuple[Path, ...]]

#: A plain ball, bright on dark, must be found at least this well (Dice).
_LEAST_DICE = 0.7
_BALL_RADIUS_MM = 10.0
#: What no reader of a scan that was not made may answer.
_CLAIMS = {"CR", "PR", "SD", "PD", "iCR", "iPR", "iSD", "iUPD", "iCPD"}


# Strategies


@dataclass(frozen=True)
class Patient:
    """One patient as a criterion meets him: roles decided, each lesion looked for at each visit."""

    lesions: tuple[Lesion, ...]
    visits: tuple[Visit, ...]
    sightings: tuple[Sighting, ...]
    measurements: tuple[Measurement, ...]


def patients() -> SearchStrategy[Patient]:
    """Patients with one to four lesions of every kind and role, two to five visits, and all that may go wrong."""
    _require_hypothesis()
    from hypothesis import strategies

    @strategies.composite
    def patient(draw: DrawFn) -> Patient:
        count = draw(strategies.integers(2, 5))
        lesions = tuple(
            _lesion(f"L{number}", draw(strategies.sampled_from(Kind)), draw(strategies.sampled_from(_ROLES)))
            for number in range(draw(strategies.integers(1, 4)))
        )
        outcome = strategies.sampled_from((*[Outcome.MEASURED] * 5, *Outcome))
        sightings = tuple(
            Sighting(lesion.lesion_id, number, Outcome.ABSENT if _unborn(lesion, number) else draw(outcome))
            for number in range(count)
            for lesion in lesions
        )
        size, bounded = strategies.floats(1, 150), draw(strategies.sampled_from((True, False, False, False)))
        measurements = tuple(
            measurement
            for sighting in sightings
            if sighting.outcome is Outcome.MEASURED
            for measurement in _measured(
                sighting, draw(size), draw(strategies.sampled_from(("CT", "CT", "MR", "US"))), bounded
            )
        )
        return Patient(lesions, tuple(_visit(number) for number in range(count)), sightings, measurements)

    return patient()


_ROLES = (Role.TARGET, Role.NON_TARGET, Role.NEW)


def _lesion(name: str, kind: Kind, role: Role) -> Lesion:
    bone_type = "lytic" if kind is Kind.BONE else ""
    return Lesion(name, tracking_uid("example", name), name, kind, role, organ=f"organ {name}", bone_type=bone_type)


def _unborn(lesion: Lesion, visit: int) -> bool:
    return lesion.role is Role.NEW and visit == 0


def _visit(number: int) -> Visit:
    date = datetime.date(2024, 1, 1) + datetime.timedelta(days=56 * number)
    return Visit(number, f"visit {number}" if number else "baseline", date.isoformat(), ())


def _measured(sighting: Sighting, size_mm: float, modality: str, bounded: bool) -> tuple[Measurement, ...]:
    """What the pipeline measures of a lesion of that size, as far as criteria read it."""
    values = {
        "longest_diameter": size_mm,
        "perpendicular_diameter": 0.8 * size_mm,
        "short_axis": 0.8 * size_mm,
        "soft_tissue_diameter": 0.5 * size_mm,
        "volume": 0.3 * size_mm**3,
        "mean_density": 60.0,
        "lytic_fraction": 50.0,
        "calcified_fraction": 5.0,
        "rim_continuity": 20.0,
    }
    return tuple(
        Measurement(
            sighting.lesion_id,
            sighting.visit,
            name,
            value := CATALOGUE[name].rounded(exact),
            CATALOGUE[name].unit,
            Segmented("digest of a mask"),
            lower95=CATALOGUE[name].rounded(0.95 * value) if bounded else None,
            upper95=CATALOGUE[name].rounded(1.05 * value) if bounded else None,
            modality=modality,
            series_uid=f"1.2.{sighting.visit}",
            comparable=None if sighting.visit == 0 else True,
        )
        for name, exact in values.items()
    )


def volumes() -> SearchStrategy[Volume]:
    """Small CT volumes of noise, anywhere in the patient, with slices thicker than pixels."""
    _require_hypothesis()
    from hypothesis import strategies

    return strategies.builds(
        _noise,
        strategies.integers(0, 2**32 - 1),
        strategies.tuples(*[strategies.integers(2, 12)] * 3),
        strategies.tuples(*[strategies.floats(-300, 300)] * 3),
    )


def _noise(seed: int, shape: tuple[int, int, int], origin_lps: tuple[float, float, float]) -> Volume:
    array = np.random.default_rng(seed).normal(40, 15, shape).astype(np.int16)
    return Volume(array, _grid(shape, origin_lps), HU, _series(_grid(shape, origin_lps)))


def _require_hypothesis() -> None:
    if find_spec("hypothesis") is None:
        raise PluginError(
            "E-PLUGIN-TESTING",
            "hypothesis",
            found="no such package",
            expected="hypothesis, which draws the examples",
            remedy="install hypothesis",
        )


# Criteria


def check_criterion(criterion: Criterion, config: AssessConfig = AssessConfig(), examples: int = 50) -> None:  # noqa: B008 - frozen
    """Prove a criterion on drawn patients.

    One assessment for each visit, in order, under one name; every answer after
    baseline has a reason, names only what was measured at that visit, is the
    same each time and in any order of lesions and measurements, and claims
    nothing of a visit at which nothing was imaged.

    Raises
    ------
    PluginError
        Naming the promise that is broken, on the smallest patient that breaks it.
    """
    _require_hypothesis()
    from hypothesis import Phase, given, settings

    subject = _subject("criterion", criterion)
    _require_sentence(subject, criterion)

    phases = (Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, phases=phases)
    @given(patients())
    def keeps_its_promises(patient: Patient) -> None:
        told = _judged(subject, criterion, patient, config)
        _check_form(subject, told, patient)
        turned = Patient(patient.lesions[::-1], patient.visits, patient.sightings[::-1], patient.measurements[::-1])
        for again, how in ((patient, "a second time"), (turned, "with lesions and measurements in another order")):
            if [item.overall for item in _judged(subject, criterion, again, config)] != [item.overall for item in told]:
                _broken(subject, f"another answer {how}", "the same", "depend on nothing but what is handed over")
        _check_unseen(subject, criterion, patient, config)

    keeps_its_promises()


def _judged(subject: str, criterion: Criterion, patient: Patient, config: AssessConfig) -> tuple[Assessment, ...]:
    nouns = (patient.lesions, patient.visits, patient.sightings, patient.measurements)
    told: tuple[Assessment, ...] = _called(subject, criterion, *nouns, config)
    return told


def _check_form(subject: str, told: tuple[Assessment, ...], patient: Patient) -> None:
    if not isinstance(told, tuple) or not all(isinstance(item, Assessment) for item in told):
        _broken(subject, "something else", "a tuple of Assessment", "return domain.case.Assessment")
    numbers, wanted = [item.visit for item in told], [visit.number for visit in patient.visits]
    if numbers != wanted:
        _broken(subject, f"visits {numbers}", f"visits {wanted}", "judge every visit, the baseline included, in order")
    if len({item.criterion for item in told}) != 1 or not told[0].criterion:
        _broken(subject, "several names or none", "one name", "give every assessment the criterion's name")
    if told[0].overall:
        _broken(subject, f"'{told[0].overall}' at baseline", "no response at baseline", "leave overall empty there")
    measured = {(f"{item.lesion_id}/{item.quantity}", item.visit) for item in patient.measurements}
    for item in told[1:]:
        if not item.overall or not item.reasons:
            _broken(
                subject, "a visit without answer or reason", "both", "answer NE where it cannot be judged, and say why"
            )
        invented = [name for name in item.measurements if (name, item.visit) not in measured]
        if invented:
            _broken(subject, f"'{invented[0]}'", "what was measured at that visit", "name lesion/quantity as measured")


def _check_unseen(subject: str, criterion: Criterion, patient: Patient, config: AssessConfig) -> None:
    """With no scan after baseline there is nothing to claim."""
    unseen = Patient(
        patient.lesions,
        patient.visits,
        tuple(item if item.visit == 0 else replace(item, outcome=Outcome.NOT_IMAGED) for item in patient.sightings),
        tuple(item for item in patient.measurements if item.visit == 0),
    )
    claims = {item.overall for item in _judged(subject, criterion, unseen, config)} & _CLAIMS
    if claims:
        found = f"{sorted(claims)[0]} where nothing was imaged"
        _broken(subject, found, "NE, or another word for not known", "judge only what was seen")


# Segmenters


def check_segmenter(segmenter: Segmenter, config: SegmentConfig = SegmentConfig()) -> None:  # noqa: B008 - frozen
    """Prove a segmenter on a bright ball in noise, marked by a line and by a point.

    A mask on the volume's own voxels, with a maker, that holds the mark and most
    of the ball, the same each time; and of a mark outside the volume a refusal.

    Raises
    ------
    PluginError
        Naming the promise that is broken.
    """
    subject = _subject("segmenter", segmenter)
    _require_sentence(subject, segmenter)
    volume, ball, centre_lps = _ball()
    across = (
        as_point(np.add(centre_lps, (-_BALL_RADIUS_MM, 0, 0))),
        as_point(np.add(centre_lps, (_BALL_RADIUS_MM, 0, 0))),
    )
    by_line, by_point = (Prompt(Kind.SOFT_TISSUE, (mark,)) for mark in (Line(across), Point(centre_lps)))
    for prompt, how in ((by_line, "a line"), (by_point, "a point")):
        _check_mask(subject, _called(subject, segmenter, volume, prompt, config), volume, ball, how)
    first, second = (_called(subject, segmenter, volume, by_line, config) for _ in range(2))
    if first != second:
        _broken(subject, "another outline a second time", "the same", "seed what is random")
    outside = Prompt(Kind.SOFT_TISSUE, (Point(as_point(np.add(centre_lps, (2000, 0, 0)))),))
    if _refused(subject, segmenter, volume, outside, config) is None:
        _broken(subject, "an outline of a mark outside the volume", "a StageError", "refuse what cannot be outlined")


def _check_mask(subject: str, mask: Any, volume: Volume, ball: NDArray[np.bool_], how: str) -> None:
    if not isinstance(mask, Mask) or mask.array.dtype != bool or not mask.maker:
        _broken(subject, "something else", "a boolean Mask with its maker", "return domain.images.Mask")
    offset = volume.grid.to_index(mask.grid.to_lps((0, 0, 0)))
    same_lattice = np.allclose(mask.grid.matrix[:3, :3], volume.grid.matrix[:3, :3])
    if not same_lattice or not np.allclose(offset, np.rint(offset), atol=1e-3):
        _broken(
            subject, "a mask between the voxels", "a mask on the volume's voxels", "keep the volume's grid, or a crop"
        )
    found = mask.on(volume.grid).array
    dice = 2 * np.count_nonzero(found & ball) / (np.count_nonzero(found) + np.count_nonzero(ball))
    if dice < _LEAST_DICE:
        _broken(
            subject, f"Dice {dice:.2f} of a ball marked by {how}", f"{_LEAST_DICE} or more", "outline what is marked"
        )


def _ball() -> tuple[Volume, NDArray[np.bool_], PointLps]:
    """A ball of soft tissue in fat, with noise; which voxels it is; its centre."""
    shape = (14, 40, 40)
    grid = _grid(shape, (-40.0, -150.0, 600.0))
    centre_lps = as_point(grid.to_lps((7, 20, 18)))
    places = grid.to_lps(np.argwhere(np.ones(shape, dtype=bool)))
    ball = (np.linalg.norm(places - np.array(centre_lps), axis=1) <= _BALL_RADIUS_MM).reshape(shape)
    noise = np.random.default_rng(0).normal(0, 12, shape)
    return Volume((np.where(ball, 50, -90) + noise).astype(np.int16), grid, HU, _series(grid)), ball, centre_lps


def _grid(shape: tuple[int, int, int], origin_lps: tuple[float, float, float]) -> Grid:
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2] = 2.5, 0.9, 0.9
    matrix[:, 3] = (*origin_lps, 1.0)
    return Grid(shape, as_matrix(matrix), frame_of_reference_uid="1.2.826.0.1.3680043.8.498.1")


def _series(grid: Grid, number: int = 0) -> Series:
    root = f"1.2.826.0.1.3680043.8.498.{number + 2}"
    instances = tuple(Instance(f"{root}.3.{place + 1}", f"{place:064d}") for place in range(grid.shape[0]))
    return Series(
        f"{root}.2", f"{root}.1", "1.2.840.10008.5.1.4.1.1.2", "CT", _visit(number).date, "ct", instances, grid
    )


# Loaders


def check_loader(
    loader: Loader,
    series: Series,
    read: Callable[[Instance], bytes],
    config: Config = Config(),  # noqa: B008 - frozen
) -> None:
    """Prove a loader on a series of yours; `read` gives the bytes of an instance's file.

    A volume in the series' own place, in a unit of the catalogue, the same each
    time; of files cut in half or emptied a refusal, never a volume.

    Raises
    ------
    PluginError
        Naming the promise that is broken.
    """
    subject = _subject("loader", loader)
    _require_sentence(subject, loader)
    volume = _called(subject, loader, series, read, config)
    if not isinstance(volume, Volume) or volume.array.dtype not in (np.int16, np.float32):
        _broken(subject, "something else", "a Volume of int16 or float32", "return domain.images.Volume")
    if volume.series != series or (series.grid is not None and volume.grid != series.grid):
        _broken(subject, "another series or place", "the series handed over and its grid", "take both from the series")
    if volume.unit not in (HU, ONE, COUNTS) and not volume.unit.strip():
        _broken(subject, "no unit", f"a UCUM unit: {HU}, {ONE}, {COUNTS}", "say what the values are")
    if _called(subject, loader, series, read, config) != volume:
        _broken(subject, "other pixels a second time", "the same", "depend on nothing but the files")
    for what, kept in (("files cut in half", 2), ("empty files", None)):
        spoilt = _spoilt(read, kept)
        if _refused(subject, loader, series, spoilt, config) is None:
            _broken(subject, f"a volume from {what}", "a RefusedError", "check that all pixels are there")


def _spoilt(read: Callable[[Instance], bytes], divisor: int | None) -> Callable[[Instance], bytes]:
    return lambda instance: read(instance)[: len(read(instance)) // divisor] if divisor else b""


# Exporters


def check_exporter(exporter: Exporter, config: Config = Config()) -> None:  # noqa: B008 - frozen
    """Prove an exporter on a small case, and on one in which nothing was found.

    The paths of all it wrote and of nothing else, inside the folder it was
    given, with the same bytes each time.

    Raises
    ------
    PluginError
        Naming the promise that is broken.
    """
    subject = _subject("exporter", exporter)
    _require_sentence(subject, exporter)
    case, values = example_case()
    nothing = replace(case, lesions=(), sightings=(), measurements=(), assessments=())
    for what, content in ((case, values), (nothing, {})):
        first, second = (_exported(subject, exporter, what, content, config) for _ in range(2))
        if first != second:
            _broken(subject, "other bytes a second time", "the same", "write no time stamp, no path, nothing random")


def _exported(subject: str, exporter: Exporter, case: Case, values: Values, config: Config) -> Mapping[str, bytes]:
    """What an exporter wrote, by path inside the folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "out"
        folder.mkdir()
        paths = _called(subject, exporter, case, values, folder, config)
        if not isinstance(paths, tuple) or not all(isinstance(path, Path) for path in paths):
            _broken(subject, "something else", "a tuple of Path", "return the paths that were written")
        written = {path for path in Path(place).resolve().rglob("*") if path.is_file()}
        if {path.resolve() for path in paths} != written:
            _broken(subject, "other files than it names", "every file written, and no other", "return what was written")
        if not all(path.is_relative_to(folder) for path in written):
            _broken(subject, "a file outside the folder", "files inside it", "write below the folder handed over")
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(written)}


def example_case() -> tuple[Case, Values]:
    """One patient, one mass, two visits: measured by the pipeline's own stages, judged by RECIST 1.1."""
    volume, ball, _ = _ball()
    lesion = replace(_lesion("AX", Kind.SOFT_TISSUE, Role.TARGET), laterality="right")
    visits: list[Visit] = []
    sightings: list[Sighting] = []
    measurements: list[Measurement] = []
    values: dict[str, Mask | Volume] = {}
    for number in range(2):
        scan = Volume(volume.array, volume.grid, HU, _series(volume.grid, number))
        mask = Mask(ball, volume.grid, "example", confidence=0.9)
        visits.append(replace(_visit(number), series=(scan.series,)))
        uid = scan.series.series_instance_uid
        sightings.append(Sighting("AX", number, Outcome.MEASURED, uid, mask.digest, scan.digest, None, 0.9, "example"))
        measurements += measure(scan, mask, lesion, number, MeasureConfig()).measurements
        values |= {mask.digest: mask, scan.digest: scan}
    judged = recist.assess((lesion,), tuple(visits), tuple(sightings), tuple(measurements), AssessConfig())
    case = Case(
        "example",
        tuple(visits),
        (lesion,),
        tuple(sightings),
        tuple(measurements),
        judged,
        Provenance(__version__, "example", ()),
    )
    return case, values


# What all checks share


def _subject(group: str, plug_in: Any) -> str:
    return f"{group} {getattr(plug_in, '__module__', '')}.{getattr(plug_in, '__qualname__', type(plug_in).__name__)}"


def _require_sentence(subject: str, plug_in: Any) -> None:
    if not (plug_in.__doc__ or "").strip():
        _broken(subject, "no docstring", "a first line that says what it does: the report prints it", "write it")


def _called(subject: str, plug_in: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return plug_in(*arguments)
    except Exception as error:
        raise _contract(
            subject, f"{type(error).__name__} on sound input", "an answer", "see the cause above"
        ) from error


def _refused(subject: str, plug_in: Callable[..., Any], *arguments: Any) -> PipelineError | None:
    try:
        plug_in(*arguments)
    except PipelineError as refusal:
        return refusal
    except Exception as error:
        remedy = "raise what is in imaging_pipeline.errors, with a remedy"
        raise _contract(subject, f"{type(error).__name__} on spoilt input", "a refusal", remedy) from error
    return None


def _broken(subject: str, found: str, expected: str, remedy: str) -> NoReturn:
    raise _contract(subject, found, expected, remedy)


def _contract(subject: str, found: str, expected: str, remedy: str) -> PluginError:
    return PluginError("E-PLUGIN-CONTRACT", subject, found=found, expected=expected, remedy=remedy)
