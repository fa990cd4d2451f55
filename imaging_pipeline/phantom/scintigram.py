"""A gamma camera: the planar whole-body bone scan, anterior and posterior, three hours after the tracer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from scipy.ndimage import gaussian_filter

from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.anatomy import Anatomy
from imaging_pipeline.phantom.disease import ILIUM, L4, RIB, T4
from imaging_pipeline.phantom.files import Shelf, begun, coded, fill, items, save
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.shapes import Triple
from imaging_pipeline.phantom.thorax import RIB_BONE_ENDS
from imaging_pipeline.phantom.truth import NEIGHBOURS

NM_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
ROLE = "bone_scan"
#: The camera's point spread (standard deviation), and what a millimetre of body takes from 140 keV, scatter included.
SPREAD_MM, PER_MM = 4.5, 0.009
#: Counts of both views together.
COUNTS = 2.4e6
#: Relative activity per mm3 of the skeleton and of what the tracer leaves the body by.
BONE, LONG_BONE, SKULL, SOFT, KIDNEY, BLADDER = 1.0, 0.42, 0.5, 0.05, 1.5, 1.8
#: Activity of each lesion's place against healthy bone; T4 takes up less.
LESION_ACTIVITY = {L4.lesion_id: 3.2, T4.lesion_id: 0.12, RIB.lesion_id: 5.0, ILIUM.lesion_id: 3.6}
POINTS_PER_ML = 60.0
HOT_RADIUS_MM = {L4.lesion_id: 14.0, RIB.lesion_id: 10.0, ILIUM.lesion_id: 15.0}


@dataclass(frozen=True, slots=True)
class Field:
    """What one frame shows: rows from the head down, columns from the patient's right in the anterior view."""

    rows: int
    columns: int
    pixel_mm: float


FIELDS = {"full": Field(1024, 256, 2.0), "mini": Field(256, 64, 8.0)}
#: The top of the field above L4, mm.
TOP_MM = 860.0
#: Where the body's middle lies in front of L4, and half its depth, for what attenuates.
MIDDLE_Y_MM, HALF_DEPTH_MM = -38.0, 110.0


@dataclass(frozen=True, slots=True)
class Rod:
    """Activity along a line: ends in the anatomy's frame, radius (x, y: `flat` times it), activity per mm3."""

    start: Triple
    end: Triple
    radius_mm: float
    activity: float
    flat: float = 1.0


def acquire(patient: Patient, scale: str, folder: Path) -> dict[str, Any]:
    """Acquire both views at the baseline and write them; returns what is true of them by their role."""
    field = FIELDS[scale]
    expected = expected_counts(patient, field)
    random = np.random.default_rng((*patient.seed, crc32(ROLE.encode())))
    shelf = _shelf()
    dataset = begun(patient, 0, shelf, 0)
    _describe(dataset, field)
    counts = np.minimum(random.poisson(expected), 65535).astype(np.uint16)
    fill(dataset, list(counts), 16)
    save(dataset, folder / shelf.folder(patient, 0) / "IM00001.dcm")
    regions = {name: _regions(patient.anatomy, name, field) for name in LESION_ACTIVITY}
    return {
        ROLE: {
            "series_instance_uid": shelf.series_instance_uid(patient, 0),
            "series_description": shelf.description,
            "modality": shelf.modality,
            "regions": {
                name: {"lesion": lesion, "reference": reference} for name, (lesion, reference) in regions.items()
            },
            "quantities": {
                name: {"uptake_ratio": CATALOGUE["uptake_ratio"].rounded(uptake_ratio(expected, *regions[name]))}
                for name in regions
            },
        }
    }


def expected_counts(patient: Patient, field: Field) -> NDArray[np.float64]:
    """Counts without noise, (2, R, C): anterior, then posterior as seen from behind."""
    random = np.random.default_rng((*patient.seed, crc32(b"tracer")))
    views = np.zeros((2, field.rows, field.columns))
    for rod in (*_skeleton(patient.anatomy), *_lesions(patient.anatomy), *_soft(patient.anatomy)):
        points, weight = _sampled(rod, random)
        column = np.floor(points[:, 0] / field.pixel_mm + field.columns / 2).astype(int)
        row = np.floor((TOP_MM - points[:, 2]) / field.pixel_mm).astype(int)
        seen = (row >= 0) & (row < field.rows) & (column >= 0) & (column < field.columns)
        depth = np.clip(points[seen, 1] - (MIDDLE_Y_MM - HALF_DEPTH_MM), 0.0, 2 * HALF_DEPTH_MM)
        for view, below in enumerate((depth, 2 * HALF_DEPTH_MM - depth)):
            np.add.at(views[view], (row[seen], column[seen]), weight * np.exp(-PER_MM * below))
    blurred = gaussian_filter(views, (0, SPREAD_MM / field.pixel_mm, SPREAD_MM / field.pixel_mm))
    blurred[1] = blurred[1, :, ::-1]
    result: NDArray[np.float64] = blurred * (COUNTS / blurred.sum())
    return result


def uptake_ratio(
    counts: NDArray[np.floating], lesion: list[list[list[int]]], reference: list[list[list[list[int]]]]
) -> float:
    """Geometric mean over both views of the mean counts of the lesion's box, over that of the reference boxes."""

    def mean(boxes: list[list[list[int]]]) -> float:
        means = [
            float(counts[view][low_row:stop_row, low_column:stop_column].mean())
            for view, ((low_row, low_column), (stop_row, stop_column)) in enumerate(boxes)
        ]
        return float(np.sqrt(means[0] * means[1]))

    return mean(lesion) / float(np.mean([mean(boxes) for boxes in reference]))


def _sampled(rod: Rod, random: Generator) -> tuple[NDArray[np.float64], float]:
    """Points (N, 3) spread evenly through a rod with round ends, and the activity of each."""
    start, end = np.array(rod.start), np.array(rod.end)
    length = float(np.linalg.norm(end - start))
    volume = np.pi * rod.radius_mm**2 * rod.flat * (length + 4 / 3 * rod.radius_mm)
    count = max(int(volume / 1000.0 * POINTS_PER_ML), 60)
    along = random.uniform(-0.5 * rod.radius_mm, length + 0.5 * rod.radius_mm, count) / max(length, 1e-6)
    ball = random.standard_normal((count, 3))
    ball *= (rod.radius_mm * random.uniform(0, 1, (count, 1)) ** (1 / 3)) / np.linalg.norm(ball, axis=1, keepdims=True)
    ball *= (1.0, rod.flat, 1.0)
    place = start + np.clip(along, 0.0, 1.0)[:, np.newaxis] * (end - start)
    return place + ball, volume * rod.activity / count


def _skeleton(anatomy: Anatomy) -> Iterator[Rod]:
    for vertebra in anatomy.vertebrae:
        x, y, z = vertebra.centre
        share = LESION_ACTIVITY[T4.lesion_id] if vertebra.name == T4.lesion_id else 1.0
        half = vertebra.width_mm / 2 - 9.0
        yield Rod((x - half, y, z), (x + half, y, z), vertebra.height_mm / 2, share * BONE)
        yield Rod((x, y + 28.0, z), (x, y + 52.0, z - 6.0), 6.0, share * BONE)
    cage = anatomy.cage
    for right in (False, True):
        for rib, end in enumerate(RIB_BONE_ENDS, start=1):
            places = [cage.place(rib, float(share), right) for share in np.linspace(0.96, end, 14)]
            for first, second in pairwise(places):
                yield Rod(first, second, 4.2, 0.75 * BONE)
        yield from _limbs(anatomy, -1.0 if right else 1.0)
    top = cage.rib_roots_mm[0]
    _, depth, middle, _ = (float(part) for part in cage.section(np.array(top - 90.0)))
    yield Rod((0.0, middle - depth + 2, top - 40.0), (0.0, middle - depth + 2, top - 170.0), 12.0, 0.8 * BONE, 0.5)
    pelvis = anatomy.pelvis
    yield Rod((-30.0, pelvis.y_mm + 14, pelvis.z_mm), (30.0, pelvis.y_mm + 14, pelvis.z_mm), 15.0, 1.1 * BONE)
    yield Rod((0.0, pelvis.y_mm + 20, pelvis.z_mm), (0.0, pelvis.y_mm + 36, pelvis.z_mm - 70.0), 18.0, 0.9 * BONE)
    neck = cage.spine.posterior(np.array(top))
    yield Rod((0.0, float(neck), top + 10.0), (0.0, float(neck) - 10.0, top + 100.0), 11.0, 0.8 * BONE)
    head = top + 185.0
    for angle in np.linspace(0.0, 2 * np.pi, 36, endpoint=False):
        for height in (-50.0, -25.0, 0.0, 25.0, 50.0):
            wide = float(np.sqrt(1.0 - (height / 82.0) ** 2))
            x, y = 70.0 * wide * np.cos(angle), MIDDLE_Y_MM + 88.0 * wide * np.sin(angle)
            yield Rod((x, y, head + height - 12), (x, y, head + height + 12), 4.5, SKULL)
    yield Rod((-22.0, MIDDLE_Y_MM - 70, head - 78.0), (22.0, MIDDLE_Y_MM - 70, head - 78.0), 13.0, 1.1 * SKULL)


def _limbs(anatomy: Anatomy, side: float) -> Iterator[Rod]:
    """One side's girdles and limbs, arms beside the body."""
    cage, pelvis = anatomy.cage, anatomy.pelvis
    top, y = cage.rib_roots_mm[0], MIDDLE_Y_MM
    shoulder, elbow = (side * 150.0, y + 20, top - 16.0), (side * 198.0, y + 30, top - 300.0)
    wrist, hand = (side * 214.0, y, top - 530.0), (side * 208.0, y - 10, top - 640.0)
    yield Rod((side * 18.0, y - 60, top - 40.0), (side * 132.0, y + 4, top - 6.0), 6.0, 0.8 * BONE)
    yield Rod((side * 95.0, y + 80, top - 30.0), (side * 80.0, y + 85, top - 125.0), 14.0, 0.5 * BONE, 0.4)
    yield Rod(shoulder, shoulder, 22.0, 0.9 * BONE)
    yield Rod(shoulder, elbow, 11.0, LONG_BONE)
    yield Rod(elbow, wrist, 12.0, LONG_BONE)
    yield Rod(wrist, hand, 20.0, 0.6 * LONG_BONE, 0.5)
    for along in np.linspace(4.0, 100.0, 9):
        upper = pelvis.wing_point(float(along), pelvis.crest_mm - 22.0 - 0.006 * (along - 55.0) ** 2, side < 0)
        lower = pelvis.wing_point(float(along), pelvis.z_mm - 25.0, side < 0)
        yield Rod(upper, lower, 6.0, 0.95 * BONE)
    hip = (side * 88.0, y, pelvis.z_mm - 108.0)
    yield Rod((side * 62.0, y + 10, pelvis.z_mm - 60.0), hip, 22.0, 0.7 * BONE)
    yield Rod(hip, (side * 16.0, y - 50, pelvis.z_mm - 118.0), 11.0, 0.8 * BONE)
    yield Rod(hip, (side * 40.0, y + 40, pelvis.z_mm - 160.0), 13.0, 0.8 * BONE)
    knee, ankle = (side * 82.0, y, pelvis.z_mm - 540.0), (side * 78.0, y + 10, pelvis.z_mm - 920.0)
    yield Rod((side * 118.0, y, pelvis.z_mm - 125.0), knee, 15.0, LONG_BONE)
    yield Rod(knee, knee, 34.0, 0.55 * BONE)
    yield Rod(knee, ankle, 14.0, LONG_BONE)
    yield Rod(ankle, (side * 92.0, y - 90, pelvis.z_mm - 960.0), 22.0, 0.5 * BONE)


def _lesions(anatomy: Anatomy) -> Iterator[Rod]:
    for name, radius in HOT_RADIUS_MM.items():
        place = lesion_place(anatomy, name)
        yield Rod(place, place, radius, (LESION_ACTIVITY[name] - 1.0) * BONE)


def _soft(anatomy: Anatomy) -> Iterator[Rod]:
    """What the tracer has not left yet: soft tissue, kidneys and bladder."""
    cage, pelvis, y = anatomy.cage, anatomy.pelvis, MIDDLE_Y_MM
    top = cage.rib_roots_mm[0]
    for x in (-70.0, 0.0, 70.0):
        yield Rod((x, y, top - 50.0), (x, y, pelvis.z_mm - 110.0), 82.0, SOFT)
    yield Rod((0.0, y, top + 60.0), (0.0, y, top + 230.0), 70.0, SOFT)
    for side, z in ((1.0, 92.0), (-1.0, 80.0)):
        x, back = side * 60.0, float(cage.spine.posterior(np.array(z))) - 4.0
        yield Rod((x, back, z - 28.0), (x, back, z + 28.0), 24.0, KIDNEY)
        yield Rod((side * 92.0, y, pelvis.z_mm - 100.0), (side * 82.0, y, pelvis.z_mm - 540.0), 70.0, SOFT)
        yield Rod((side * 82.0, y, pelvis.z_mm - 540.0), (side * 78.0, y, pelvis.z_mm - 920.0), 45.0, SOFT)
        yield Rod((side * 150.0, y + 10, top - 20.0), (side * 212.0, y, top - 600.0), 36.0, SOFT)
    yield Rod((-14.0, y - 45, pelvis.z_mm - 92.0), (14.0, y - 45, pelvis.z_mm - 92.0), 25.0, BLADDER)


def lesion_place(anatomy: Anatomy, name: str) -> Triple:
    """Where the camera sees a lesion, in the anatomy's frame."""
    if name == RIB.lesion_id:
        return anatomy.cage.place(1, 0.05, right=True)
    if name == ILIUM.lesion_id:
        return anatomy.pelvis.wing_point(18.0, anatomy.pelvis.z_mm - 12.0, right=True)
    x, y, z = anatomy.vertebra(name).centre
    return (x + 8.0 if name == L4.lesion_id else x), y, z


def _regions(anatomy: Anatomy, name: str, field: Field) -> tuple[Any, Any]:
    """The boxes of a lesion (one per view) and of its reference: both neighbours, or the opposite side."""
    if name in NEIGHBOURS:
        offset = lesion_place(anatomy, name)[0] - anatomy.vertebra(name).centre[0]
        half = (anatomy.vertebra(name).width_mm / 2 - 10.0 - abs(offset) / 2, anatomy.vertebra(name).height_mm / 2 - 2)
        others = [anatomy.vertebra(other).centre for other in NEIGHBOURS[name]]
        references = [(x + offset, y, z) for x, y, z in others]
    else:
        half = (9.0, 9.0)
        x, y, z = lesion_place(anatomy, name)
        references = [(-x, y, z)]
    return _boxes(lesion_place(anatomy, name), half, field), [_boxes(place, half, field) for place in references]


def _boxes(place: Triple, half_mm: tuple[float, float], field: Field) -> list[list[list[int]]]:
    """One box per view: its first row and column, and the row and column after its last."""
    column = place[0] / field.pixel_mm + field.columns / 2
    row = (TOP_MM - place[2]) / field.pixel_mm
    high, wide = max(half_mm[1] / field.pixel_mm, 0.5), max(half_mm[0] / field.pixel_mm, 0.5)
    rows = round(row - high), round(row + high)
    found = []
    for middle in (column, field.columns - column):
        columns = round(middle - wide), round(middle + wide)
        found.append([[rows[0], columns[0]], [rows[1], columns[1]]])
    return found


def _shelf() -> Shelf:
    return Shelf(
        role=ROLE,
        modality="NM",
        sop_class_uid=NM_IMAGE_STORAGE,
        study=("NM",),
        study_description="NM whole body bone scan",
        number=1,
        description="Whole body bone scan",
        protocol_name="WB BONE 3H",
        body_part_examined="WHOLEBODY",
        time=150000,
    )


def _describe(dataset: Dataset, field: Field) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.PixelSpacing = [f"{field.pixel_mm:g}"] * 2
    dataset.NumberOfFrames = 2
    dataset.FrameIncrementPointer = [Tag("EnergyWindowVector"), Tag("DetectorVector")]
    dataset.EnergyWindowVector, dataset.NumberOfEnergyWindows = [1, 1], 1
    dataset.DetectorVector, dataset.NumberOfDetectors = [1, 2], 2
    dataset.ActualFrameDuration = 1200000
    dataset.CountsAccumulated = int(COUNTS)
    dataset.ScanVelocity = "1.7"
    dataset.WholeBodyTechnique = "1PS"
    dataset.ScanLength = round(field.rows * field.pixel_mm)
    dataset.LossyImageCompression = "00"
    window = Dataset()
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = "126", "154"
    window.EnergyWindowName = "Tc99m"
    window.EnergyWindowRangeSequence = items(limits)
    dataset.EnergyWindowInformationSequence = items(window)
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Tc-99m MDP"
    tracer.RadionuclideCodeSequence = items(coded("72454008", "SCT", "^99m^Technetium"))
    tracer.RadionuclideTotalDose = "740"
    dataset.RadiopharmaceuticalInformationSequence = items(tracer)
    dataset.DetectorInformationSequence = items(
        *(
            _detector(code, meaning)
            for code, meaning in (("399321004", "Anterior projection"), ("399001007", "Posterior projection"))
        )
    )
    dataset.PatientOrientationCodeSequence = items(_supine())
    dataset.PatientGantryRelationshipCodeSequence = items(coded("102540001", "SCT", "headfirst"))


def _detector(code: str, meaning: str) -> Dataset:
    detector = Dataset()
    detector.CollimatorType, detector.CollimatorGridName = "PARA", "LEHR"
    # A projection has no place of its own.
    detector.ImageOrientationPatient = detector.ImagePositionPatient = None
    view = coded(code, "SCT", meaning)
    view.ViewModifierCodeSequence = items()
    detector.ViewCodeSequence = items(view)
    return detector


def _supine() -> Dataset:
    lying = coded("102538003", "SCT", "recumbent")
    lying.PatientOrientationModifierCodeSequence = items(coded("40199007", "SCT", "supine"))
    return lying
