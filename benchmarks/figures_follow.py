"""Registration and segmentation against truth: `python benchmarks/figures_follow.py [--patients N] [--pairs M]`.

Draws N (2; 20 for a campaign) synthetic patients no parameter was set on, scans
them at three visits into memory, and prints each figure beside its bar, with
the worst case. `--pairs` (10; 100 for a campaign) sets how many pairs of scans
with other fields of view look for the right level. `--pictures FOLDER` draws
the outlines of the real lesions. Nothing else is kept from one run to the next.
"""

import argparse
import csv
import os
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from imaging_pipeline.config import Config  # noqa: E402
from imaging_pipeline.domain.geometry import Grid, as_matrix, as_point, moved  # noqa: E402
from imaging_pipeline.domain.images import Mask, Volume  # noqa: E402
from imaging_pipeline.domain.lesions import Kind, Lesion  # noqa: E402
from imaging_pipeline.domain.prompts import Box, Line, Outline, Point, Prompt  # noqa: E402
from imaging_pipeline.domain.quantities import HU, ONE  # noqa: E402
from imaging_pipeline.errors import StageError  # noqa: E402
from imaging_pipeline.io.loaders import open_series  # noqa: E402
from imaging_pipeline.io.masks import read_mask  # noqa: E402
from imaging_pipeline.io.nifti import read_nifti  # noqa: E402
from imaging_pipeline.numerics.expectation import of_line  # noqa: E402
from imaging_pipeline.numerics.measurement import measure  # noqa: E402
from imaging_pipeline.numerics.registration import refine, register  # noqa: E402
from imaging_pipeline.numerics.segmentation import carry, segment  # noqa: E402
from imaging_pipeline.phantom.magnetic import COVERAGES, ECHOES, Coverage, painted, received, sagittal_grid  # noqa: E402
from imaging_pipeline.phantom.patient import draw_patient  # noqa: E402
from imaging_pipeline.phantom.protocols import protocols  # noqa: E402
from imaging_pipeline.phantom.scanner import scan, true_mask  # noqa: E402
from imaging_pipeline.phantom.truth import lesion_truth, true_form  # noqa: E402

SEED = 880_301
CONFIG = Config()
#: A reader's hand: standard deviation of each end of a line in its plane, and how far off a click is.
JITTER_MM, CLICK_MM = 1.5, 2.0
#: What a registration may be off without being said to be.
SILENT_MM = 3.0
WRONG_LEVEL_MM = 10.0
LESIONS = ("L4", "AX")

#: Row: (bar of the median or mean, bar of the worst, whether more is better).
BARS = {
    "registration, one piece, spine (mm)": (0.25, 0.8, False),
    "registration, one piece, axilla (mm)": (0.25, 0.8, False),
    "registration, joints moved, spine (mm)": (1.0, SILENT_MM, False),
    "registration, joints moved, axilla (mm)": (1.0, SILENT_MM, False),
    "registration, axial to sagittal CT, L4 (mm)": (1.0, SILENT_MM, False),
    "registration, sagittal to axial MR T1, L4 (mm)": (1.0, SILENT_MM, False),
    "registration, sagittal to axial MR T2, L4 (mm)": (1.0, SILENT_MM, False),
    "Dice from a jittered line, L4": (0.92, 0.80, True),
    "Dice from a jittered line, AX": (0.96, 0.93, True),
    "Dice from a click, L4": (0.90, 0.85, True),
    "Dice from a click, AX": (0.95, 0.88, True),
    "real sarcomas, Dice from line": (0.82, 0.0, True),
    "real sarcomas, Dice from line, short axis and extent": (0.87, 0.0, True),
    "Dice at follow-up, L4": (0.90, 0.80, True),
    "Dice at follow-up, AX": (0.95, 0.91, True),
}
#: Rows judged by their 90th percentile.
PERCENTILE_BARS = {
    "diameter from a jittered line, L4 (mm)": 1.5,
    "diameter from a jittered line, AX (mm)": 1.5,
    "diameter from a click, L4 (mm)": 3.0,
    "diameter from a click, AX (mm)": 3.0,
    "change of diameter, AX (points)": 2.5,
    "change of volume, AX (points)": 6.0,
    "calcified fraction, L4 (points)": 4.0,
    "CPU seconds per lesion, from a line": 2.0,
}


class Figures:
    """Values by row, and what was refused or wrong by name."""

    def __init__(self):
        self.values = defaultdict(list)
        self.notes = defaultdict(list)

    def add(self, row, value):
        """One value of a row."""
        self.values[row].append(float(value))

    def note(self, row, text):
        """One event that is no number: a refusal, a flag, a silent error."""
        self.notes[row].append(text)

    def table(self):
        """Each row beside its bar."""
        for row, values in self.values.items():
            values = np.asarray(values)
            if row in BARS:
                bar, worst_bar, more = BARS[row]
                middle = np.mean(values) if "registration" in row else np.median(values)
                worst = values.min() if more else values.max()
                good = (middle >= bar and worst >= worst_bar) if more else (middle <= bar and worst <= worst_bar)
                said = f"{middle:7.3f}  worst {worst:7.3f}   bar {bar:5.2f}, {worst_bar:5.2f}"
            elif row in PERCENTILE_BARS:
                tail, bar = np.percentile(np.abs(values), 90), PERCENTILE_BARS[row]
                good, said = tail <= bar, f"p90 {tail:6.2f}  bias {values.mean():+6.2f}   bar {bar:5.2f}"
            else:
                good, said = True, f"{np.median(values):7.3f}  worst {values.min():.3f}..{values.max():.3f}"
            print(f"{row:44s} n {len(values):3d}  {said}  {'' if good else 'MISSED'}")
        for row, texts in self.notes.items():
            print(f"{row}: {len(texts)}")
            for text in texts:
                print(f"    {text}")


def dice(mask: Mask, truth: Mask) -> float:
    """Overlap of an outline with the truth on the scan's voxels."""
    both = np.count_nonzero(mask.on(truth.grid).array & truth.array)
    return 2.0 * both / (np.count_nonzero(mask.array) + np.count_nonzero(truth.array))


def drawn_line(patient, visit, state, grid, random) -> Line:
    """A reader's longest diameter: a slice off, and each end off within the plane."""
    ends = np.array(true_form(patient, visit, state).longest.ends_lps)
    index = grid.to_index(ends)
    index[:, 0] = np.clip(np.rint(index[:, 0].mean()) + random.integers(-1, 2), 0, grid.shape[0] - 1)
    ends = grid.to_lps(index)
    ends[:, :2] += random.normal(0.0, JITTER_MM / np.sqrt(2.0), (2, 2))
    return Line((as_point(ends[0]), as_point(ends[1])))


def clicked(patient, visit, state, random) -> Point:
    """A click near the middle."""
    direction = random.standard_normal(3)
    centre = true_form(patient, visit, state).mesh.vertices.mean(axis=0)
    return Point(as_point(centre + direction / np.linalg.norm(direction) * CLICK_MM))


def quantities(volume, mask, kind) -> dict[str, float]:
    """What is measured of an outline."""
    return {
        item.quantity: float(item.value)
        for item in measure(volume, mask, Lesion("x", "1.2", "x", kind), 0, CONFIG.measure).measurements
    }


def baseline(figures, patient, scans, random) -> dict[str, tuple[Mask, dict[str, float]]]:
    """From a line and from a click; returns what the line gave, as follow-ups start from it."""
    found = {}
    for state in patient.visits[0].lesions:
        name, kind, volume = state.plan.lesion_id, state.plan.kind, scans[0, state.plan.series_role]
        truth = true_mask(patient, 0, name, volume.grid)
        true_mm = true_form(patient, 0, state).longest.length_mm
        marks = {
            "a jittered line": drawn_line(patient, 0, state, volume.grid, random),
            "a click": clicked(patient, 0, state, random),
        }
        for how, mark in marks.items():
            start = time.process_time()
            try:
                mask = segment(volume, Prompt(kind, (mark,)), CONFIG.segment)
            except StageError as refusal:
                figures.note(f"refused from {how}", f"{patient.patient_id} {name}: {refusal.problem.code}")
                continue
            figures.add(
                "CPU seconds per lesion, from " + ("a line" if "line" in how else "a click"),
                time.process_time() - start,
            )
            score = dice(mask, truth)
            figures.add(f"Dice from {how}, {name}", score)
            numbers = quantities(volume, mask, kind)
            figures.add(f"diameter from {how}, {name} (mm)", numbers["longest_diameter"] - true_mm)
            if score < 0.8 and mask.confidence >= CONFIG.segment.min_confidence:
                figures.note(
                    f"SILENT: Dice below 0.8 from {how}, confidence not below the floor",
                    f"{patient.patient_id} {name}: {score:.2f} at {mask.confidence:.2f}",
                )
            if "line" in how:
                found[name] = (mask, numbers)
    return found


def registration_error(patient, visit, state, transform, outline) -> float:
    """Mean displacement error over the lesion, against the movement of the bone that bears it."""
    place_lps = outline.grid.to_lps(np.argwhere(outline.array))[::7]
    return float(
        np.linalg.norm(
            transform.apply(place_lps) - moved(patient.movement(visit, state.plan.bone), place_lps), axis=1
        ).mean()
    )


def located(figures, row, fixed, moving, outline, state, patient, visit):
    """A lesion's place at a visit; None, with a note, when the pipeline says it cannot tell."""
    kind = state.plan.kind
    try:
        whole = register(fixed, moving, CONFIG.register_)
        transform = refine(fixed, moving, whole, outline, kind, CONFIG.register_)
    except StageError as refusal:
        figures.note(
            f"{row}: said to be unsure",
            f"{patient.patient_id} {state.plan.lesion_id} visit {visit}: {refusal.problem.code}",
        )
        return None
    error = registration_error(patient, visit, state, transform, outline)
    if state.plan.lesion_id in LESIONS:
        figures.add(f"{row}, {'spine' if state.plan.kind is Kind.BONE else 'axilla'} (mm)", error)
    if error > SILENT_MM:
        figures.note(
            "SILENT: registration off by more than 3 mm",
            f"{patient.patient_id} {state.plan.lesion_id} visit {visit}: {error:.1f} mm",
        )
    return transform


def follow_up(figures, patient, scans, first) -> None:
    """Later visits from the baseline's outline alone."""
    for name, (outline, before) in first.items():
        onset = patient.lesion(0, name)
        role, kind = onset.plan.series_role, onset.plan.kind
        for visit in (1, 2):
            fixed, moving = scans[0, role], scans[visit, role]
            transform = located(figures, "registration, joints moved", fixed, moving, outline, onset, patient, visit)
            if transform is None:
                continue
            state = patient.lesion(visit, name)
            try:
                carried = carry(outline, transform, moving.grid)
                mask = segment(moving, Prompt(kind, (Outline(carried),)), CONFIG.segment)
            except StageError as refusal:
                row = "refused at follow-up" if state else "a lesion that went, refused"
                figures.note(row, f"{patient.patient_id} {name} visit {visit}: {refusal.problem.code}")
                continue
            if state is None:
                figures.note(
                    "a lesion that went, outlined (flagged when below the floor)",
                    f"{patient.patient_id} {name} visit {visit}: {mask.volume_ml:.1f} ml at {mask.confidence:.2f}",
                )
                continue
            figures.add(f"Dice at follow-up, {name}", dice(mask, true_mask(patient, visit, name, moving.grid)))
            compare(figures, patient, visit, name, kind, before, quantities(moving, mask, kind))


def compare(figures, patient, visit, name, kind, before, numbers) -> None:
    """Changes since baseline against the true changes."""
    forms = [true_form(patient, number, patient.lesion(number, name)) for number in (0, visit)]
    true = [(form.longest.length_mm, form.mesh.volume_mm3) for form in forms]
    for number, quantity in enumerate(("diameter", "volume")):
        key = {"diameter": "longest_diameter", "volume": "volume"}[quantity]
        change = numbers[key] / before[key] - true[1][number] / true[0][number]
        figures.add(f"change of {quantity}, {name} (points)", 100.0 * change)
    if kind is Kind.BONE and name == "L4":
        protocol = next(item for item in protocols(patient, visit) if item.region.role == "lumbar_ct")
        right = lesion_truth(patient, visit, name, protocol.machine.mineral)["quantities"]["calcified_fraction"]
        figures.add("calcified fraction, L4 (points)", numbers["calcified_fraction"] - float(right))


def one_piece(patient):
    """The same patient with later visits lying otherwise, but in the joints as at baseline."""
    first = patient.visits[0].posture
    visits = [
        replace(state, posture=replace(first, body=state.posture.body), lesions=patient.visits[0].lesions)
        for state in patient.visits
    ]
    return replace(patient, visits=tuple(visits))


def stiff(figures, patient, scans) -> None:
    """Registration at the lesions when the body moves as one piece."""
    still = one_piece(patient)
    for protocol in protocols(still, 1):
        moving = scan(still, 1, protocol)
        name = "L4" if protocol.region.role == "lumbar_ct" else "AX"
        fixed = scans[0, protocol.region.role]
        outline = true_mask(still, 0, name, fixed.grid)
        located(figures, "registration, one piece", fixed, moving, outline, still.lesion(0, name), still, 1)


def other_planes(figures, patient, scans) -> None:
    """L4 in a sagittal reformat of the next visit's CT, in MR of both planes, and MR against CT of one visit."""
    axial_ct, state = scans[0, "lumbar_ct"], patient.lesion(0, "L4")
    lying = [patient.lying_again(0, purpose) for purpose in ("MR", "MR, axial")]
    sagittal_mr, axial_mr = mr_scans(lying[0], axial_ct, sagittal), mr_scans(lying[1], axial_ct, axial)
    to_mr = [each.to_scanner(0, "L4") for each in lying]
    to_ct = [patient.to_scanner(visit, "L4") for visit in (0, 1)]
    pairs = [("axial to sagittal CT", axial_ct, to_ct[0], reformatted(scans[1, "lumbar_ct"]), to_ct[1])]
    for name in ("T1", "T2"):
        echo = f"lumbar_mr_{name.lower()}"
        pairs.append((f"sagittal to axial MR {name}", sagittal_mr[echo], to_mr[0], axial_mr[echo], to_mr[1]))
        pairs.append((f"CT to MR {name}", axial_ct, to_ct[0], sagittal_mr[echo], to_mr[0]))
        pairs.append((f"MR {name} to CT", sagittal_mr[echo], to_mr[0], axial_ct, to_ct[0]))
    for name, fixed, to_fixed, moving, to_moving in pairs:
        row, who = f"registration, {name}, L4", patient.patient_id
        place_lps = moved(to_fixed, state.surface.vertices(3))
        outline = true_mask(lying[0] if fixed.unit == ONE else patient, 0, "L4", fixed.grid)
        try:
            whole = register(fixed, moving, CONFIG.register_)
            transform = refine(fixed, moving, whole, outline, Kind.BONE, CONFIG.register_)
        except StageError as refusal:
            figures.note(f"{row}: said to be unsure", f"{who}: {refusal.problem.code}")
            continue
        true_lps = moved(to_moving @ np.linalg.inv(to_fixed), place_lps)
        error = float(np.linalg.norm(transform.apply(place_lps) - true_lps, axis=1).mean())
        figures.add(f"{row} (mm)", error)
        if error > SILENT_MM:
            figures.note("SILENT: registration off by more than 3 mm", f"{who} {row}: {error:.1f} mm")


def reformatted(volume: Volume) -> Volume:
    """A CT as sagittal slices of 3 mm, as scanners send them beside the axial ones."""
    low, high = volume.grid.to_lps([(0, 0, 0), np.array(volume.grid.shape) - 1])
    steps = np.array([3.0, 0.9, 0.9])
    sizes = ((high - low)[[0, 2, 1]] / steps).astype(int)
    affine = [[3.0, 0, 0, low[0] + 1], [0, 0, 0.9, low[1]], [0, -0.9, 0, high[2]], [0, 0, 0, 1]]
    grid = Grid(
        tuple(int(size) for size in sizes), as_matrix(affine), volume.grid.space, volume.grid.frame_of_reference_uid
    )
    array = np.zeros(grid.shape, dtype=np.float32)
    for across_mm in (-1.0, 0.0, 1.0):  # a slice is the mean over its thickness
        place = grid.matrix
        place[0, 3] += across_mm
        index = np.linalg.inv(volume.grid.matrix) @ place
        array += ndimage.affine_transform(
            volume.array, index[:3, :3], index[:3, 3], grid.shape, np.float32, order=1, mode="nearest"
        )
    return Volume(np.rint(array / 3).astype(np.int16), grid, volume.unit, volume.series)


def mr_scans(patient, like: Volume, plane) -> dict[str, Volume]:
    """The spin echoes of a patient's lumbar spine by role."""
    signal, grid = plane(patient)
    random = np.random.default_rng(patient.seed)
    series = replace(like.series, modality="MR")
    return {
        echo.role: Volume(
            np.stack([received(part, random) for part in signal[..., number]]).astype(np.int16), grid, ONE, series
        )
        for number, echo in enumerate(ECHOES)
    }


def sagittal(patient) -> tuple[np.ndarray, Grid]:
    """As the phantom's scanner acquires them: 4 mm slices."""
    grid = sagittal_grid(patient, COVERAGES["full"])
    return painted(patient, grid, COVERAGES["full"]), grid


def axial(patient) -> tuple[np.ndarray, Grid]:
    """The same signals as axial slices of 4.5 mm with pixels of 1 x 1.5 mm."""
    fine = sagittal_grid(patient, coverage := Coverage(128, 1.0, 1.0, 192, 1.5, 1))
    upwards = painted(patient, fine, coverage)[:, ::-1].transpose(1, 2, 0, 3)
    signal = upwards.reshape(64, 3, *upwards.shape[1:]).mean(axis=1)
    left, back, bottom = fine.to_lps((0, 191, 0))
    affine = [[0, 0, 1.0, left], [0, 1.5, 0, back], [4.5, 0, 0, bottom + 1.5], [0, 0, 0, 1]]
    return signal, Grid(signal.shape[:3], as_matrix(affine), frame_of_reference_uid="1.2.840.1")


def levels(figures, seed, pairs) -> None:
    """Pairs of scans of one region with other fields of view: is the level right, or said to be unsure?"""
    for number in range((pairs + 1) // 2):
        patient = draw_patient(seed + 1, number, visits=2)
        random = np.random.default_rng((seed, number))
        for place in (0, 1):
            name, bone = (("L4", "L4"), ("AX", "T4"))[place]
            before, after = (protocols(patient, visit)[place] for visit in (0, 1))
            region = replace(
                after.region,
                bottom_mm=after.region.bottom_mm + random.uniform(-60.0, 40.0),
                top_mm=after.region.top_mm + random.uniform(-40.0, 60.0),
            )
            scans = [
                scan(
                    patient,
                    visit,
                    replace(
                        item, machine=replace(item.machine, matrix=192, thickness_mm=1.5 * item.machine.thickness_mm)
                    ),
                )
                for visit, item in enumerate((before, replace(after, region=region)))
            ]
            place_lps = moved(patient.to_scanner(0, bone), patient.lesion(0, name).surface.vertices(2))
            try:
                transform = register(*scans, CONFIG.register_)
            except StageError as refusal:
                figures.note("levels: said to be unsure", f"{patient.patient_id} {name}: {refusal.problem.code}")
                continue
            error = np.linalg.norm(
                transform.apply(place_lps) - moved(patient.movement(1, bone), place_lps), axis=1
            ).mean()
            figures.add("levels: error of the whole field (mm)", error)
            if error > WRONG_LEVEL_MM:
                figures.note("SILENT: wrong level", f"{patient.patient_id} {name}: {error:.0f} mm")


def outlined(figures, row, volume, prompt, expert=None) -> Mask | None:
    """A real lesion's outline, with its Dice where an expert drew it; what is refused or for review is noted."""
    try:
        mask = segment(volume, prompt, CONFIG.segment)
    except StageError as refusal:
        figures.note(f"{row}, refused", refusal.problem.code)
        return None
    sure = mask.confidence >= CONFIG.segment.min_confidence
    if expert is not None:
        figures.add(row, score := dice(mask, expert))
        if sure and score < 0.8:
            figures.note("SILENT: real, Dice below 0.8", f"{row}: {score:.2f} at confidence {mask.confidence:.2f}")
    if not sure:
        figures.note(f"{row}, for review", f"confidence {mask.confidence:.2f}")
    return mask


def real_sarcomas(figures, data) -> None:
    """Two real sarcomas with an expert's outline, CT and MR."""
    random = np.random.default_rng(SEED)
    for folder in sorted((data / "sts_dicom").glob("STS_*/*")):
        if folder.name not in ("CT", "MR_T1"):
            continue
        volume, _, _ = open_series(folder / "image")
        expert = read_mask(next((folder / "mask").iterdir()), volume)
        for how, mark in expert_marks(expert, random).items():
            row = f"real sarcomas, Dice from {how}"
            figures.add(row + ", ellipsoid alone", dice(ellipsoid_alone(mark, expert.grid), expert))
            outlined(figures, row, volume, Prompt(Kind.SOFT_TISSUE, (mark,)), expert)


def real_nodule(figures, data, pictures) -> None:
    """A real lung nodule with an expert's outline; the hand errs five times."""
    volume, _, _ = open_series(data / "lidc0001/ct")
    expert = read_mask(next((data / "lidc0001/seg").iterdir()), volume)
    expert_mm = quantities(volume, expert, Kind.SOFT_TISSUE)["longest_diameter"]
    random = np.random.default_rng(SEED)
    shown = {"expert": expert}
    for _ in range(5):
        marks = expert_marks(expert, random)
        for how, mark in marks.items():
            figures.add(f"lidc0001, Dice from {how}, ellipsoid alone", dice(ellipsoid_alone(mark, expert.grid), expert))
        off = random.standard_normal(3)
        middle_lps = expert.grid.to_lps(np.argwhere(expert.array)).mean(axis=0)
        marks["click"] = Point(as_point(middle_lps + off / np.linalg.norm(off) * CLICK_MM))
        for how, mark in marks.items():
            mask = outlined(figures, f"lidc0001, Dice from {how}", volume, Prompt(Kind.SOFT_TISSUE, (mark,)), expert)
            if mask is not None:
                found_mm = quantities(volume, mask, Kind.SOFT_TISSUE)["longest_diameter"]
                figures.add(f"lidc0001, diameter from {how} (mm)", found_mm - expert_mm)
                shown[how] = mask
    picture(pictures, "lidc0001", volume, shown, (-1000, 250))


def real_bone_lesion(figures, data, pictures) -> None:
    """A real osteoma, of which an expert gave the box: middle and lengths along left, posterior and superior."""
    image = read_nifti(data / "blds/2.nii.gz")
    volume = Volume(image.array, image.grid, HU, image.series)
    with (data / "blds/boxes.csv").open(newline="") as stream:
        told = next(csv.DictReader(stream))
    middle_lps, lengths_mm = (np.array([float(told[key]) for key in keys]) for keys in ("xyz", LENGTHS))
    corners = [as_point(middle_lps + side * lengths_mm / 2) for side in (-1, 1)]
    ends = [as_point(middle_lps + side * lengths_mm / 2 * (0, 1, 0)) for side in (-1, 1)]
    shown = {}
    for how, mark in {
        "box": Box(tuple(corners)),
        "line": Line(tuple(ends)),
        "click": Point(as_point(middle_lps)),
    }.items():
        mask = outlined(figures, f"blds from {how}", volume, Prompt(Kind.BONE, (mark,)))
        if mask is not None:
            extent_mm = np.ptp(mask.grid.to_lps(np.argwhere(mask.array)), axis=0) + 1.0
            for share in extent_mm / lengths_mm:
                figures.add(f"blds from {how}, extents over the expert's box's", share)
            shown[how] = mask
    picture(pictures, "blds", volume, shown, (-200, 1200))


#: What the table of `blds` calls the box's lengths.
LENGTHS = ("width", "height", "depth")


def picture(folder, name, volume, outlines, window) -> None:
    """Six slices through a lesion with its outlines."""
    if folder is None:
        return
    marked = np.argwhere(np.any([mask.on(volume.grid).array for mask in outlines.values()], axis=0))
    (_, top, left), (_, bottom, right) = np.maximum(marked.min(axis=0) - 15, 0), marked.max(axis=0) + 16
    figure = Figure(figsize=(12, 8), layout="constrained")
    for place, number in enumerate(np.linspace(marked[0, 0], marked[-1, 0], 6).round().astype(int), start=1):
        axes = figure.add_subplot(2, 3, place)
        axes.imshow(volume.array[number, top:bottom, left:right], cmap="gray", vmin=window[0], vmax=window[1])
        for (how, mask), colour in zip(outlines.items(), ("red", "cyan", "yellow", "magenta"), strict=False):
            inside = mask.on(volume.grid).array[number, top:bottom, left:right]
            axes.contour(inside, [0.5], colors=colour, linewidths=1.0) if inside.any() else None
            axes.plot([], [], color=colour, label=how)
        axes.set_title(f"{name}, slice {number + 1}")
        axes.axis("off")
    axes.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=80)


def expert_marks(expert: Mask, random) -> dict[str, Line]:
    """What a reader with a jittered hand would mark of an expert's outline, the less and the more."""
    line = expert_line(expert, random)
    full = replace(line, short_axis_lps=expert_width(expert, line), span_lps=expert_span(expert))
    return {"line": line, "line, short axis and extent": full}


def expert_line(expert: Mask, random) -> Line:
    """The longest diameter of an expert's outline over all slices, its ends off by a hand's jitter."""
    best, longest = None, 0.0
    for number in np.flatnonzero(expert.array.any(axis=(1, 2))):
        points = expert.grid.to_lps([(number, *place) for place in np.argwhere(expert.array[number])])
        if len(points) < 4:
            continue
        edge = points[ConvexHull(points @ expert.grid.directions[:, 1:]).vertices]
        apart = cdist(edge, edge)
        if apart.max() > longest:
            longest = apart.max()
            best = edge[list(np.unravel_index(apart.argmax(), apart.shape))]
    off = random.normal(0.0, JITTER_MM / np.sqrt(2.0), (2, 2)) @ expert.grid.directions[:, 1:].T
    return Line((as_point(best[0] + off[0]), as_point(best[1] + off[1])))


def expert_width(expert: Mask, line: Line):
    """The extent across the line in its slice."""
    ends = np.array(line.long_axis_lps)
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    across = np.cross(expert.grid.directions[:, 0], along)
    number = int(np.rint(expert.grid.to_index(ends)[:, 0].mean()))
    points = expert.grid.to_lps([(number, *place) for place in np.argwhere(expert.array[number])])
    heights = (points - ends.mean(axis=0)) @ across
    return tuple(as_point(ends.mean(axis=0) + height * across) for height in (heights.min(), heights.max()))


def expert_span(expert: Mask):
    """A point in the first and one in the last slice."""
    numbers = np.argwhere(expert.array)[:, 0]
    middle = np.argwhere(expert.array).mean(axis=0)[1:]
    return tuple(as_point(expert.grid.to_lps((number, *middle))) for number in (numbers.min(), numbers.max()))


def ellipsoid_alone(mark: Line, grid) -> Mask:
    """What the prompt says without any image; the middle aspect where it leaves one open."""
    shapes = of_line(mark, grid)
    points = grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)
    inside = shapes[len(shapes) // 2].log_odds(points) > 0
    return Mask(inside.reshape(grid.shape), grid, "ellipsoid")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args()
    figures = Figures()
    for number in range(asked.patients):
        patient = draw_patient(asked.seed, number)
        random = np.random.default_rng((asked.seed, number, 1))
        scans = {
            (visit, protocol.region.role): scan(patient, visit, protocol)
            for visit in range(3)
            for protocol in protocols(patient, visit)
        }
        follow_up(figures, patient, scans, baseline(figures, patient, scans, random))
        stiff(figures, patient, scans)
        other_planes(figures, patient, scans)
        print(f"{patient.patient_id} done", file=sys.stderr, flush=True)
    levels(figures, asked.seed, asked.pairs)
    data = Path(os.environ.get("IMAGING_PIPELINE_DATA", ROOT.parent / "shared" / "data"))
    if data.exists():
        real_sarcomas(figures, data)
        real_nodule(figures, data, asked.pictures)
        real_bone_lesion(figures, data, asked.pictures)
    else:
        print(f"real lesions: no folder {data.name}, set IMAGING_PIPELINE_DATA")
    figures.table()


if __name__ == "__main__":
    main()
