"""A small patient made by hand: three visits, three lesions, one of them lost on the way, every string hostile."""

from decimal import Decimal

import numpy as np

from imaging_pipeline.domain.case import (
    Assessment,
    Case,
    Measurement,
    Outcome,
    Provenance,
    Reported,
    Segmented,
    Sighting,
    Visit,
)
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Grid, Transform, as_matrix, as_point
from imaging_pipeline.domain.images import Instance, Mask, Series, Technique, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.errors import Problem

HOSTILE = (
    "<script>alert('canary')</script>",
    '"><img src=x onerror=canary>',
    "</style></svg><iframe src=//canary.example>",
    '=HYPERLINK("http://canary.example";"x")',
    "{{ canary }}{% raw %}",
    "javascript:canary\u202e\x1b[31m\u2028",
)

DATES = ("2023-05-28", "2023-10-18", "2024-02-20")
SPACING = (5.0, 0.9765625, 0.9765625)

#: Semi-axes in mm (left, posterior, superior) and density in HU, visit by visit.
L4 = (((15.0, 10.0, 11.0), 52.0), ((14.8, 9.9, 11.0), 214.0), ((14.6, 9.8, 10.8), 421.0))
AXILLA = (((26.0, 15.0, 20.0), 48.0), ((21.5, 12.5, 16.0), 41.0), ((21.0, 12.6, 15.5), 39.0))

CENTRES = {"L4": (12.0, 31.0, -212.0), "AX": (-118.0, 4.0, 96.0)}


def mpnst_case(name="p-4f1c9a20be73", hostile=()):
    """The case and its values; `hostile` strings take the places a patient's data or a file can fill."""
    strings = dict(enumerate(hostile))
    visits = tuple(_visit(number, strings) for number in range(3))
    lesions = _lesions(strings)
    values, sightings, measurements = {}, [], []
    for lesion, course in ((lesions[0], L4), (lesions[1], AXILLA)):
        for visit in visits:
            sighting, numbers, arrays = _seen(lesion, visit, *course[visit.number])
            sightings.append(sighting)
            measurements += numbers
            values.update((each.digest, each) for each in arrays)
    sightings += _lost(lesions[2], visits)
    measurements += _stated(strings)
    case = Case(
        case=name,
        visits=visits,
        lesions=lesions,
        sightings=tuple(sightings),
        measurements=tuple(measurements),
        assessments=_assessments(strings),
        provenance=Provenance(
            version="0.1.0",
            configuration=digest("configuration"),
            inputs=tuple(series.digest for visit in visits for series in visit.series),
            methods=(
                "Follow-up volumes are registered to the baseline by a rigid transform.",
                "Diameters are the longest lines inside the outline in one acquired plane (RECIST 1.1).",
                strings.get(0, "Response is judged by RECIST 1.1 in exact decimal arithmetic."),
            ),
        ),
        problems=_problems(strings),
    )
    return case, values


def _visit(number, strings):
    label = ("baseline", "after 6 cycles", strings.get(1, "review"))[number]
    return Visit(number, label, DATES[number], tuple(_series(number, lesion_id, strings) for lesion_id in CENTRES))


def _series(number, lesion_id, strings):
    role = {"L4": "lumbar_ct", "AX": "chest_ct"}[lesion_id]
    centre = np.array(CENTRES[lesion_id])
    origin = centre - np.array([250.0, 250.0, 200.0]) + number * np.array([4.3, -2.7, 11.0])
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, SPACING[2]], [0, SPACING[1], 0], [SPACING[0], 0, 0]])
    affine[:3, 3] = origin
    uid = f"1.2.826.0.1.3680043.8.498.1{number}{list(CENTRES).index(lesion_id)}"
    grid = Grid((80, 512, 512), as_matrix(affine), frame_of_reference_uid=f"{uid}.9")
    kernel = "B30f" if number < 2 else strings.get(2, "B60f")
    return Series(
        uid,
        f"{uid}.1",
        "1.2.840.10008.5.1.4.1.1.2",
        "CT",
        DATES[number],
        role,
        tuple(Instance(f"{uid}.{index + 1}", digest((uid, index))) for index in range(80)),
        grid,
        Technique(120.0 if number != 1 else 100.0, kernel, SPACING[0], None, "Scanner One"),
    )


def _lesions(strings):
    bone = Lesion(
        "L4", "2.25.1", "L4 vertebral body", Kind.BONE, Role.NON_TARGET,
        "a lytic bone lesion without soft tissue is not measurable", SITES["L4"], "left", "bone", "lytic",
    )  # fmt: skip
    mass = Lesion(
        "AX", "2.25.2", strings.get(3, "axillary soft-tissue mass"), Kind.SOFT_TISSUE, Role.TARGET,
        "the largest measurable lesion of its organ", SITES["axilla"], "right", "soft tissue",
    )  # fmt: skip
    rib = Lesion(
        strings.get(4, "R1"), "2.25.3", strings.get(5, "right first rib"), Kind.BONE, Role.NON_TARGET,
        "", SITES["rib"], "right", "bone",
    )  # fmt: skip
    return bone, mass, rib


def _seen(lesion, visit, axes_mm, density):
    series = visit.series[list(CENTRES).index(lesion.lesion_id)]
    shift = visit.number * np.array([4.3, -2.7, 11.0])
    centre = np.array(CENTRES[lesion.lesion_id]) + shift
    box = series.grid.box_around([centre - axes_mm, centre + axes_mm], 40.0)
    grid = series.grid.crop(box)
    offset = grid.to_lps(np.indices(grid.shape).reshape(3, -1).T) - centre
    inside = ((offset / axes_mm) ** 2).sum(axis=1).reshape(grid.shape) < 1
    mask = Mask(inside, grid, "competition 0.1.0", confidence=(0.91, 0.84, 0.42)[visit.number])
    view = Volume(_scan(grid, inside, offset, density, lesion.kind, visit.number), grid, "[hnsf'U]", series)
    transform = None
    if visit.number:
        matrix = np.eye(4)
        matrix[:3, 3] = shift
        transform = Transform(as_matrix(matrix), residual_mm=0.62, overlap=0.93)
    sighting = Sighting(
        lesion.lesion_id, visit.number, Outcome.MEASURED, series.series_instance_uid, mask.digest, view.digest,
        transform, mask.confidence, mask.maker,
    )  # fmt: skip
    return sighting, _numbers(lesion, visit, series, mask, centre, axes_mm, density), (mask, view)


def _scan(grid, inside, offset, density, kind, seed):
    """A body, crudely: fat with muscle or bone around the lesion, and noise."""
    radius = np.linalg.norm(offset * [1.0, 1.0, 0.6], axis=1).reshape(grid.shape)
    surroundings = np.where(radius < 24, 180.0, -90.0) if kind is Kind.BONE else np.where(radius > 34, 55.0, -95.0)
    noise = np.random.default_rng(seed).normal(0, 14, grid.shape)
    return np.where(inside, density, surroundings + noise).round().astype(np.int16)


def _numbers(lesion, visit, series, mask, centre, axes_mm, density):
    # The slice nearest the centre shows both axes.
    level = series.grid.to_lps(np.rint(series.grid.to_index(centre)))[2]
    middle = np.array([centre[0], centre[1], level])
    long_axis = tuple(as_point(middle + sign * np.array([axes_mm[0], 0, 0])) for sign in (-1, 1))
    short_axis = tuple(as_point(middle + sign * np.array([0, axes_mm[1], 0])) for sign in (-1, 1))
    given = {
        "longest_diameter": (2 * axes_mm[0], 0.9, long_axis),
        "perpendicular_diameter": (2 * axes_mm[1], 0.9, short_axis),
        "short_axis": (2 * axes_mm[1], 0.9, short_axis),
        "volume": (mask.volume_ml * 1000, 210.0, ()),
        "mean_density": (density, 3.1, ()),
        "min_density": (density - 180.0, None, ()),
        "calcified_fraction": (max(0.0, (density - 40) / 8), 1.7, ()),
    }
    if lesion.kind is Kind.BONE:
        given |= {
            "reference_density": (172.0, None, ()),
            "lytic_fraction": (max(0.0, 88 - density / 5), 2.4, ()),
            "mixed_fraction": (10.0, None, ()),
            "sclerotic_fraction": (min(100.0, 2 + density / 5), 2.4, ()),
            "height_loss": (8.2, None, ()),
        }
    kernel_differs = visit.number == 2
    return [
        Measurement(
            lesion.lesion_id, visit.number, name, CATALOGUE[name].rounded(value), CATALOGUE[name].unit,
            Segmented(mask.digest, points),
            None if margin is None else CATALOGUE[name].rounded(value - margin),
            None if margin is None else CATALOGUE[name].rounded(value + margin),
            "CT", series.series_instance_uid,
            None if not visit.number else not (kernel_differs and "density" in name),
            ("W-COMPARE-KERNEL",) if kernel_differs and "density" in name else (),
        )
        for name, (value, margin, points) in given.items()
    ]  # fmt: skip


def _lost(lesion, visits):
    """The rib: outside the first scan, not there in the second, not found in the third."""
    outcomes = (Outcome.NOT_IMAGED, Outcome.ABSENT, Outcome.NOT_EVALUABLE)
    series = ("", visits[1].series[1].series_instance_uid, visits[2].series[1].series_instance_uid)
    return [Sighting(lesion.lesion_id, number, outcomes[number], series[number]) for number in range(3)]


def _stated(strings):
    return [
        Measurement("L4", 0, "longest_diameter", 41.0, "mm", Reported(strings.get(3, "figure legend")), modality="CT"),
        Measurement("AX", 0, "longest_diameter", 32.0, "mm", Reported("ultrasound report"), modality="US"),
    ]


def _assessments(strings):
    rows = (
        ("", "", "", "", "52.00", "52.00", None, None, ("baseline: 1 target lesion, 2 non-target lesions",)),
        (
            "SD", "SD", "NON-CR/NON-PD", "no", "43.00", "52.00", "-17.3", "-17.3",
            ("sum 43.00 mm is above 36.40 mm (-30 % of baseline) and not 20 % above the nadir",),
        ),
        (
            "NE", "SD", "NE", "equivocal", "42.00", "43.00", "-19.2", "-2.3",
            (strings.get(0, "R1 was not evaluable"), "sclerosis of a lytic bone lesion is not progression"),
        ),
    )  # fmt: skip
    return tuple(
        Assessment(
            "recist-1.1", number, overall, target, non_target, new, Decimal(total), Decimal(nadir),
            None if change is None else Decimal(change), None if rise is None else Decimal(rise),
            ("AX/longest_diameter",), reasons, best_overall_response="SD" if number else "",
        )
        for number, (overall, target, non_target, new, total, nadir, change, rise, reasons) in enumerate(rows)
    )  # fmt: skip


def _problems(strings):
    return (
        Problem(
            "W-SEG-CONFIDENCE", "AX at 2024-02-20", "an outline of confidence 0.42", "at least 0.50",
            "check the outline before using its numbers",
        ),
        Problem(
            "E-REGISTER", strings.get(1, "R1 at 2024-02-20"), strings.get(2, "two poses of equal merit"),
            "one plausible pose", "mark the lesion in this scan",
        ),
        Problem("N-FILE-PREAMBLE", "1.2.826.0.1.3680043.8.498.110", "a preamble", "zeros", "nothing"),
    )  # fmt: skip
