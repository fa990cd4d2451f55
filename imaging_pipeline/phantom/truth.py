"""What is true of a synthetic patient: every quantity from surfaces and matter by formula, none from a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from imaging_pipeline.domain.geometry import moved
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.phantom.canvas import Matrix4, at_voltage
from imaging_pipeline.phantom.exact import Line, Mesh
from imaging_pipeline.phantom.lesions import LesionState, columns
from imaging_pipeline.phantom.patient import Patient
from imaging_pipeline.phantom.skeleton import MUSCLE_HU, TRABECULAR_SD_HU, Vertebra
from imaging_pipeline.phantom.surfaces import triangles

#: Matter is sampled on a lattice this fine.
LATTICE_MM = 0.4
RIM_SHELL_MM = 3.0
WALL_NEAR_MM = 3.0
#: A lesion's soft-tissue part lies this far outside the bone, and is no denser than this.
SOFT_BEYOND_MM = 2.0
DENSEST_SOFT_HU = 130.0
#: The wall is probed across down to this depth, at steps of this length.
WALL_DEPTH_MM, WALL_STEP_MM = 4.0, 0.05
BANDS_SD = 2.0
HYDROXYAPATITE_MG_PER_ML_HU = 0.8
AGATSTON_HU = 130.0
AGATSTON_STEPS_HU = (200.0, 300.0, 400.0)
AGATSTON_SLICE_MM = 3.0
#: Where heights of a vertebral body are taken: share of the depth from front to back.
HEIGHT_PLACES = {"height_anterior": 0.15, "height_middle": 0.5, "height_posterior": 0.85}
NEIGHBOURS = {"L4": ("L3", "L5"), "T4": ("T3", "T5")}

DEFINITIONS = {
    "frame": "LPS mm of the scan; a visit's quantities refer to the axial planes and axes of that visit's scan.",
    "longest_diameter": "Longest line between two border points in one axial plane, over all planes at any height.",
    "perpendicular_diameter": "Longest line between two border points at a right angle to it, in its plane.",
    "short_axis": "The same as perpendicular_diameter.",
    "extent_left_right": "Size along x; the other extents along y and z.",
    "max_3d_diameter": "Largest distance between two border points.",
    "volume": "Volume inside the border.",
    "surface_area": "Area of the border.",
    "mean_density": "This and all densities: the matter inside the border at the scan's tube voltage, without noise, "
    f"blur and partial volume; on a lattice of {LATTICE_MM} mm.",
    "reference_density": "Mean CT number of trabecular bone of healthy vertebrae at the scan's tube voltage.",
    "normalised_density": "mean_density over reference_density.",
    "muscle_density": "CT number of muscle at the scan's tube voltage.",
    "lytic_fraction": f"Share of the volume below the reference by more than {BANDS_SD:g} of its standard deviations "
    f"({TRABECULAR_SD_HU:g} HU at 120 kVp); sclerotic_fraction: above it by more; mixed_fraction: the rest.",
    "calcified_volume": "Volume of mineral: islands, rim and rebuilt wall, as they are, not as blur shows them.",
    "calcified_fraction": "calcified_volume over volume.",
    "calcium_score": "Area above 130 HU in each axial plane times the factor of its peak, summed over z, over 3 mm.",
    "calcium_mass": f"{HYDROXYAPATITE_MG_PER_ML_HU:g} mg/cm3 per HU at 120 kVp of mineral above the lesion's tissue.",
    "rim_density": f"Mean CT number of the outermost {RIM_SHELL_MM:g} mm inside the border.",
    "rim_continuity": "Share of the border's area that lies on the rim or on the rebuilt wall.",
    "cortical_continuity": f"Share of the vertebral wall within {WALL_NEAR_MM:g} mm of the lesion whose middle layer "
    "is cortex, spared or rebuilt.",
    "cortical_thickness": "Mean thickness, across the wall, of that cortex where any is left: spared and rebuilt.",
    "soft_tissue_diameter": f"Longest line in an axial plane of the lesion's part over {SOFT_BEYOND_MM:g} mm outside "
    "the bone, mineral left out; 0 without such a part.",
    "height_anterior": "Outer height of the vertebral body in its middle sagittal plane at 15 % of its depth from the "
    "front; height_middle at 50 %, height_posterior at 85 %.",
    "height_loss": "Largest loss of the three heights against the mean of both neighbours.",
    "expected": "RECIST 1.1 from true diameters and new lesions; bone that heals or stays is NON-CR/NON-PD.",
    "signal_ratio_muscle": "Mean MR signal of the lesion's matter over muscle's, without noise and blur; "
    "signal_ratio_reference: over the trabecular bone of healthy vertebrae.",
    "ultrasound": "Diameters of the mass in the plane of the frame, without the nerve that enters and leaves it.",
    "radiograph": "Heights in the patient; on the detector they are magnified as stated.",
    "uptake_ratio": "Mean counts without noise in the lesion's box over those in the reference boxes (both "
    "neighbouring vertebrae, or the opposite side), each the geometric mean of both views; boxes as "
    "[first row, first column], [row and column after the last], anterior then posterior.",
    "garbage": "Junk files; expected_code is what an index lists each with, null where it must be passed over or used: "
    "copies count once, a directory file not at all.",
    "movement": "4 x 4, from the baseline's LPS to this visit's, for the piece that bears a bone.",
}


@dataclass(frozen=True, slots=True)
class TrueForm:
    """A lesion's border at one visit in scanner LPS, and its RECIST lines."""

    mesh: Mesh
    longest: Line
    perpendicular: Line


def true_form(patient: Patient, visit: int, state: LesionState) -> TrueForm:
    """The border of a lesion where it lies at a visit."""
    vertices = moved(patient.to_scanner(visit, state.plan.bone), state.surface.vertices())
    mesh = Mesh(vertices, triangles())
    longest = mesh.longest_axial_diameter()
    return TrueForm(mesh, longest, mesh.perpendicular(longest))


def lesion_truth(patient: Patient, visit: int, lesion_id: str, mineral: float) -> dict[str, Any]:
    """Everything true of one lesion at one visit; `mineral` is the effect of the scan's tube voltage."""
    state = patient.lesion(visit, lesion_id)
    if state is None:
        return {"present": False, "quantities": {"longest_diameter": 0.0, "volume": 0.0}}
    form = true_form(patient, visit, state)
    matter = _Matter.sampled(patient, visit, state, form.mesh, mineral)
    quantities = {
        **_sizes(form),
        **_densities(matter),
        **_bands(matter, patient.visits[visit].marrow_hu, mineral),
        **_mineral(matter),
    }
    if state.plan.kind is Kind.BONE:
        quantities |= _rim(patient, visit, state, form.mesh, matter)
        quantities |= _vertebra(patient, visit, state, matter, mineral)
    return {
        "present": True,
        "series": state.plan.series_role,
        "centre_lps": rounded(form.mesh.vertices.mean(axis=0)),
        "long_axis_lps": rounded(form.longest.ends_lps),
        "short_axis_lps": rounded(form.perpendicular.ends_lps),
        "movement": rounded(patient.movement(visit, state.plan.bone), 9),
        "quantities": {name: CATALOGUE[name].rounded(value) for name, value in quantities.items()},
    }


def rounded(values: ArrayLike, decimals: int = 4) -> Any:
    """Numbers as plain lists, to the last digit worth printing."""
    return np.round(np.asarray(values, dtype=float), decimals).tolist()


def _sizes(form: TrueForm) -> dict[str, float]:
    left_right, anterior_posterior, superior_inferior = form.mesh.extents_mm
    return {
        "longest_diameter": form.longest.length_mm,
        "perpendicular_diameter": form.perpendicular.length_mm,
        "short_axis": form.perpendicular.length_mm,
        "extent_left_right": left_right,
        "extent_anterior_posterior": anterior_posterior,
        "extent_superior_inferior": superior_inferior,
        "max_3d_diameter": form.mesh.max_3d_diameter(),
        "volume": form.mesh.volume_mm3,
        "surface_area": form.mesh.area_mm2,
    }


@dataclass(frozen=True, slots=True)
class _Matter:
    """A lesion's matter on a lattice of the scan's axes (Z, Y, X): NaN outside the border."""

    hu: NDArray[np.float64]
    hu_at_120: NDArray[np.float64]
    depth_mm: NDArray[np.float64]
    mineral: NDArray[np.bool_]
    tissue_hu: float
    points_lps: NDArray[np.float64]

    @classmethod
    def sampled(cls, patient: Patient, visit: int, state: LesionState, mesh: Mesh, mineral: float) -> _Matter:
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        axes = [np.arange(start, end, LATTICE_MM) + LATTICE_MM / 2 for start, end in zip(low, high, strict=True)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        back = np.linalg.inv(patient.to_scanner(visit, state.plan.bone))
        points_lps = np.stack((x, y, z), axis=-1)
        points = columns(moved(back, points_lps))
        depth = -state.surface.distance(points)
        inside = depth > 0
        at_120 = np.where(inside, state.hu(points, depth, 1e-3), np.nan)
        return cls(
            np.asarray(at_voltage(at_120, mineral)),
            at_120,
            np.where(inside, depth, np.nan),
            inside & (state.mineral_distance(points, depth) < 0),
            state.tissue.hu,
            points_lps,
        )

    @property
    def inside(self) -> NDArray[np.float64]:
        """The CT numbers inside, (N,)."""
        values: NDArray[np.float64] = self.hu[~np.isnan(self.hu)]
        return values


def _densities(matter: _Matter) -> dict[str, float]:
    values = matter.inside
    low, middle, high = np.percentile(values, (5, 50, 95))
    return {
        "mean_density": float(values.mean()),
        "median_density": float(middle),
        "sd_density": float(values.std()),
        "p05_density": float(low),
        "p95_density": float(high),
        "min_density": float(values.min()),
        "max_density": float(values.max()),
    }


def _bands(matter: _Matter, marrow_hu: float, mineral: float) -> dict[str, float]:
    reference = float(at_voltage(marrow_hu, mineral))
    reach = BANDS_SD * TRABECULAR_SD_HU * mineral
    values = matter.inside
    lytic, sclerotic = float(np.mean(values < reference - reach)), float(np.mean(values > reference + reach))
    return {
        "reference_density": reference,
        "normalised_density": float(values.mean()) / reference,
        "lytic_fraction": 100.0 * lytic,
        "mixed_fraction": 100.0 * (1.0 - lytic - sclerotic),
        "sclerotic_fraction": 100.0 * sclerotic,
    }


def _mineral(matter: _Matter) -> dict[str, float]:
    cell_mm3 = LATTICE_MM**3
    volume = float(np.count_nonzero(matter.mineral)) * cell_mm3
    excess = float(np.sum(matter.hu_at_120[matter.mineral] - matter.tissue_hu)) * cell_mm3
    return {
        "calcified_volume": volume,
        "calcified_fraction": 100.0 * volume / (len(matter.inside) * cell_mm3),
        "calcium_score": _agatston(matter.hu),
        "calcium_mass": excess / 1000.0 * HYDROXYAPATITE_MG_PER_ML_HU,
    }


def _agatston(hu: NDArray[np.float64]) -> float:
    above = np.nan_to_num(hu, nan=-np.inf) > AGATSTON_HU
    in_plane = np.zeros((3, 3, 3), dtype=int)
    in_plane[1] = 1
    islands, count = ndimage.label(above, in_plane)
    if not count:
        return 0.0
    index = np.arange(1, count + 1)
    areas = ndimage.sum_labels(above, islands, index) * LATTICE_MM**2
    factors = 1 + np.searchsorted(AGATSTON_STEPS_HU, ndimage.maximum(hu, islands, index), side="right")
    return float(np.sum(areas * factors) * LATTICE_MM / AGATSTON_SLICE_MM)


def _rim(patient: Patient, visit: int, state: LesionState, mesh: Mesh, matter: _Matter) -> dict[str, float]:
    shell = matter.hu[np.nan_to_num(matter.depth_mm, nan=np.inf) < RIM_SHELL_MM]
    back = np.linalg.inv(patient.to_scanner(visit, state.plan.bone))
    points = columns(moved(back, mesh.triangle_centres))
    # Just inside the border.
    depth = np.full(len(mesh.triangles), 0.05)
    covered = (state.rim_distance(points, depth) < 0) | (state.wall_distance(points) < 0)
    return {
        "rim_density": float(shell.mean()),
        "rim_continuity": 100.0 * float(mesh.triangle_areas[covered].sum()) / mesh.area_mm2,
    }


def _vertebra(patient: Patient, visit: int, state: LesionState, matter: _Matter, mineral: float) -> dict[str, float]:
    name = state.plan.lesion_id
    if name not in NEIGHBOURS:
        return {}
    vertebra = patient.anatomy.vertebra(name)
    heights = {place: vertebra.height_at(share) for place, share in HEIGHT_PLACES.items()}
    neighbours = [patient.anatomy.vertebra(neighbour) for neighbour in NEIGHBOURS[name]]
    losses = [
        1.0 - heights[place] / float(np.mean([neighbour.height_at(share) for neighbour in neighbours]))
        for place, share in HEIGHT_PLACES.items()
    ]
    return {
        **heights,
        "height_loss": 100.0 * max(losses),
        **cortex(vertebra, state),
        "soft_tissue_diameter": _soft_tissue_diameter(vertebra, patient.to_scanner(visit, name), matter),
        "muscle_density": float(at_voltage(MUSCLE_HU, mineral)),
    }


def cortex(vertebra: Vertebra, state: LesionState) -> dict[str, float]:
    """Continuity and thickness of the wall near the lesion; empty where the lesion is far from the wall."""
    middle = columns(moved(vertebra.frame, vertebra.side_points(vertebra.cortex_mm / 2)))
    distance = state.surface.distance(middle)
    near = distance < WALL_NEAR_MM
    if not near.any():
        return {}
    intact = (distance > 0) | (state.wall_distance(middle) < 0)
    found = {"cortical_continuity": 100.0 * float(np.mean(intact[near]))}
    thickness_mm = np.zeros(int(near.sum()))
    for depth in np.arange(0.5 * WALL_STEP_MM, WALL_DEPTH_MM, WALL_STEP_MM):
        points = columns(moved(vertebra.frame, vertebra.side_points(float(depth))[near]))
        spared = (state.surface.distance(points) > 0) & (depth < vertebra.cortex_mm)
        thickness_mm += WALL_STEP_MM * (spared | (state.wall_distance(points) < 0))
    left = thickness_mm[thickness_mm > 0]
    return {**found, "cortical_thickness": float(left.mean()) if left.size else 0.0}


def _soft_tissue_diameter(vertebra: Vertebra, to_scanner: Matrix4, matter: _Matter) -> float:
    back = np.linalg.inv(to_scanner @ vertebra.frame)
    longest = 0.0
    for plane, hu in zip(matter.points_lps, matter.hu, strict=True):
        points = columns(moved(back, plane))
        bone = np.minimum(vertebra.body_distance(points), vertebra.arch_distance(points))
        outside = plane[(bone > SOFT_BEYOND_MM) & (np.nan_to_num(hu, nan=np.inf) < DENSEST_SOFT_HU)]
        if len(outside) > 3:
            # Joggled, for a sliver's points may lie in one row.
            hull = outside[ConvexHull(outside[:, :2], qhull_options="QJ").vertices]
            longest = max(longest, float(pdist(hull).max()))
    return longest


def expected_response(targets_mm: list[float], new_lesion: bool) -> dict[str, Any]:
    """RECIST 1.1 at the last of a row of visits, one target (0 = gone), other disease present and not progressing.

    Source: Eisenhauer 2009, sections 4.3 and 4.4.
    """
    baseline, last = targets_mm[0], targets_mm[-1]
    nadir = min(targets_mm[:-1], default=baseline)
    if last == 0:
        target = "CR"
    elif len(targets_mm) > 1 and last >= 1.2 * nadir and last - nadir >= 5.0:
        target = "PD"
    else:
        target = "PR" if last <= 0.7 * baseline else "SD"
    seen = len(targets_mm) > 1
    overall = "PD" if new_lesion or target == "PD" else {"CR": "PR"}.get(target, target)
    return {
        "target": target if seen else "",
        "non_target": "NON-CR/NON-PD" if seen else "",
        "new_lesion": "yes" if new_lesion else "no",
        "overall": overall if seen else "",
        "sum_mm": round(last, 2),
    }
