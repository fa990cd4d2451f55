"""The disease: which lesions there are, how they begin, and how they change under treatment."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.phantom.anatomy import Anatomy
from imaging_pipeline.phantom.lesions import Island, LesionState, Plan, Rim, Tissue, Wall
from imaging_pipeline.phantom.posture import rotation
from imaging_pipeline.phantom.shapes import Triple
from imaging_pipeline.phantom.surfaces import Lobe, Surface

LUMBAR_CT, CHEST_CT = "lumbar_ct", "chest_ct"

L4 = Plan("L4", "L4 lytic lesion", "L4", "left", Kind.BONE, "bone", "lytic", LUMBAR_CT, "L4", "line")
AXILLA = Plan(
    "AX", "right axillary mass", "axilla", "right", Kind.SOFT_TISSUE, "soft tissue", "", CHEST_CT, "T4", "line"
)
T4 = Plan("T4", "T4 moth-eaten destruction", "T4", "", Kind.BONE, "bone", "lytic", CHEST_CT, "T4", "line")
RIB = Plan("RIB1", "right first rib destruction", "rib", "right", Kind.BONE, "bone", "lytic", CHEST_CT, "T1", "line")
ILIUM = Plan("ILIUM", "right iliac lesion", "ilium", "right", Kind.BONE, "bone", "mixed", LUMBAR_CT, "pelvis", "line")
LUNG = Plan("NEW", "new nodule of the right lung", "lung", "right", Kind.SOFT_TISSUE, "lung", "", CHEST_CT, "T8", "")


class Course(StrEnum):
    """How the disease goes under treatment."""

    STABLE = "stable"
    RESPONSE = "response"
    COMPLETE = "complete response of the mass"
    PROGRESSION = "progression"
    NEW_LESION = "new lesion"


#: Size of the axillary mass at each visit against the baseline; the last value stays.
#: Chosen 4 points or more away from RECIST's borders, so that a plane's tilt cannot change a category.
_COURSE_SIZES = {
    Course.STABLE: (1.0, 0.80, 0.79),
    Course.RESPONSE: (1.0, 0.78, 0.60, 0.56),
    Course.COMPLETE: (1.0, 0.60, 0.0),
    Course.PROGRESSION: (1.0, 0.88, 1.18, 1.38),
    Course.NEW_LESION: (1.0, 0.84, 0.82),
}
#: How far bone has healed at each visit, 0 to 1.
_HEALING = (0.0, 0.5, 1.0)


def draw_lesions(random: Generator, anatomy: Anatomy, reference: bool) -> tuple[LesionState, ...]:
    """The lesions as they are at baseline; those of the reference case have the reported sizes."""

    def size(extents: Triple) -> Triple:
        spread = np.ones(3) if reference else random.uniform(0.86, 1.08, 3)
        first, second, third = (float(extent * share) for extent, share in zip(extents, spread, strict=True))
        return first, second, third

    return (
        _draw_l4(random, anatomy, size((30.0, 20.0, 22.0))),
        _draw_axilla(random, anatomy, size((30.0, 50.0, 38.0))),
        _draw_t4(random, anatomy, size((15.0, 13.0, 12.0))),
        _draw_rib(random, anatomy, size((12.0, 20.0, 12.0))),
        _draw_ilium(random, anatomy, size((16.0, 26.0, 24.0))),
    )


def _lobes(random: Generator, count: int, height: float) -> tuple[Lobe, ...]:
    """Bulges and notches over the whole surface, evenly spread so that none stands alone."""
    directions = random.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return tuple(
        Lobe((x, y, z), float(random.uniform(-0.8, 1.0)) * height, float(random.uniform(4.0, 12.0)))
        for x, y, z in directions.tolist()
    )


def _draw_l4(random: Generator, anatomy: Anatomy, extents: Triple) -> LesionState:
    vertebra = anatomy.vertebra("L4")
    lobes = (*_lobes(random, 12, 0.3), Lobe((0.86, 0.36, 0.36), 0.12, 5.0), Lobe((0.86, -0.36, -0.36), 0.12, 5.0))
    surface = Surface((0.0, 0.0, 0.0), (15.0, 10.0, 11.0), lobes).with_extents(extents)
    # The left end goes just through the wall, so that the cortex is thin around and broken there.
    reach = float(surface.vertices(4)[:, 0].max())
    wall = 0.46 * vertebra.width_mm
    local = np.array((wall + 1.6 - reach, -1.0, -0.8, 1.0))
    centre = (vertebra.frame @ local)[:3].tolist()
    tissue = Tissue(50.0, 6.0, (8.0, 16.0), _seed(random))
    return LesionState(L4, replace(surface, centre=(centre[0], centre[1], centre[2])), tissue)


def _draw_axilla(random: Generator, anatomy: Anatomy, extents: Triple) -> LesionState:
    # Two pointed ends along the long axis: the "rat tails" of a nerve sheath tumour.
    tails = (Lobe((0.10, 0.99, 0.05), 0.30, 16.0), Lobe((-0.10, -0.99, -0.05), 0.26, 16.0))
    surface = Surface((0.0, 0.0, 0.0), (15.0, 22.0, 18.0), (*_lobes(random, 14, 0.4), *tails)).with_extents(extents)
    turn = rotation(2, random.uniform(-0.25, 0.15)) @ rotation(0, random.uniform(-0.06, 0.06))
    cage = anatomy.cage
    z = anatomy.vertebra("T4").centre[2] + random.uniform(-6.0, 6.0)
    width, _, middle, _ = (float(part) for part in cage.section(np.array(z)))
    # Its inner side sinks into the muscle that covers the ribs.
    centre = (-(width + 6.0 + extents[0] / 2 - 4.0), middle + random.uniform(-6.0, 4.0), z)
    first, second, third = (tuple(row) for row in turn[:3, :3].tolist())
    placed = replace(surface, centre=centre, axes=(first, second, third))
    return LesionState(AXILLA, placed, Tissue(46.0, 7.0, (9.0, 22.0), _seed(random), core_hu=-8.0))


def _draw_t4(random: Generator, anatomy: Anatomy, extents: Triple) -> LesionState:
    surface = Surface((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _lobes(random, 8, 0.25)).with_extents(extents)
    vertebra = anatomy.vertebra("T4")
    centre = (vertebra.frame @ np.array((-4.0, -1.0, 0.0, 1.0)))[:3].tolist()
    tissue = Tissue(55.0, 8.0, (6.0, 12.0), _seed(random), remnant=0.4, remnant_hu=190.0)
    return LesionState(T4, replace(surface, centre=(centre[0], centre[1], centre[2])), tissue)


def _draw_rib(random: Generator, anatomy: Anatomy, extents: Triple) -> LesionState:
    surface = Surface((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _lobes(random, 8, 0.22)).with_extents(extents)
    centre = anatomy.cage.place(1, random.uniform(-0.05, 0.2), right=True)
    return LesionState(RIB, replace(surface, centre=centre), Tissue(52.0, 8.0, (7.0, 14.0), _seed(random)))


def _draw_ilium(random: Generator, anatomy: Anatomy, extents: Triple) -> LesionState:
    pelvis = anatomy.pelvis
    surface = Surface((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _lobes(random, 8, 0.22)).with_extents(extents)
    centre = pelvis.wing_point(18.0, pelvis.z_mm - 12.0, right=True)
    tissue = Tissue(70.0, 10.0, (7.0, 14.0), _seed(random), remnant=0.25, remnant_hu=185.0)
    return LesionState(ILIUM, replace(surface, centre=centre), tissue)


def lesions_at(
    visit: int, course: Course, onset: tuple[LesionState, ...], anatomy: Anatomy, random: Generator
) -> tuple[LesionState, ...]:
    """The lesions of one visit; `random` starts alike for every visit, so that mineral grows where it began."""
    size = _held(_COURSE_SIZES[course], visit)
    healing = _held(_HEALING, visit) * (0.35 if course is Course.PROGRESSION else 1.0)
    states = []
    for state in onset:
        if state.plan is AXILLA:
            states += [_mass_at(state, size, visit)] if size else []
        else:
            states.append(_healed(state, healing, anatomy, random))
    if course is Course.NEW_LESION and visit >= 1:
        states.append(_new_nodule(anatomy, visit, random))
    return tuple(states)


def _held(values: tuple[float, ...], visit: int) -> float:
    return values[min(visit, len(values) - 1)]


def _mass_at(state: LesionState, size: float, visit: int) -> LesionState:
    """The mass keeps its place on the chest wall as it shrinks, and is drawn up a little by a raised arm."""
    x, y, z = state.surface.centre
    inner = x + state.surface.semi_axes[0]
    raised = 0.0 if visit % 2 == 0 else -3.0
    centre = (inner - state.surface.semi_axes[0] * size, y, z + raised)
    return LesionState(state.plan, replace(state.surface, centre=centre).grown(size), state.tissue)


def _healed(state: LesionState, healing: float, anatomy: Anatomy, random: Generator) -> LesionState:
    """Denosumab's effect on bone: a rim, specks, then larger islands of mineral, and the wall rebuilt."""
    islands = _draw_islands(state.surface, random, healing)
    rim_seed, wall_seed = _seed(random), _seed(random)
    if not healing:
        return state
    rim = Rim(0.9 + 0.5 * healing, 330.0 + 150.0 * healing, 0.35 + 0.35 * healing, rim_seed)
    wall = None
    if state.plan is L4:
        wall = Wall(
            anatomy.vertebra("L4"), 1.2 + 0.9 * healing, 520.0 + 160.0 * healing, 0.4 + 0.5 * healing, wall_seed
        )
    tissue = replace(
        state.tissue,
        hu=state.tissue.hu + 22.0 * healing,
        remnant=state.tissue.remnant and min(state.tissue.remnant + 0.2 * healing, 0.9),
        islands=islands,
        rim=rim,
        wall=wall,
    )
    return LesionState(state.plan, state.surface, tissue)


def _draw_islands(surface: Surface, random: Generator, healing: float) -> tuple[Island, ...]:
    """Islands appear one after another and grow; specks of about 1 mm at first, up to 4 mm at the end."""
    largest = min(surface.semi_axes)
    count = round(2.4 * largest)
    directions = random.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    depth = random.uniform(0.15, 0.72, count)
    birth = np.linspace(0.0, 0.75, count)
    grown = random.uniform(0.22, 0.42, count) * largest
    density = random.uniform(0.0, 1.0, count)
    places = directions * depth[:, np.newaxis] * np.array(surface.semi_axes) @ np.array(surface.axes)
    islands = []
    for place, start, radius, share in zip(places.tolist(), birth, grown, density, strict=True):
        if healing > start:
            age = (healing - start) / (1.0 - start)
            hu = 220.0 + 160.0 * healing + share * (80.0 + 320.0 * healing)
            islands.append(Island((place[0], place[1], place[2]), float(0.8 + (radius - 0.8) * age**1.5), float(hu)))
    return tuple(islands)


def _new_nodule(anatomy: Anatomy, visit: int, random: Generator) -> LesionState:
    x, y, z = anatomy.cage.place(4, -0.1, right=True)
    radius = 6.5 + 2.0 * min(visit, 4)
    surface = Surface((x * 0.66, y, z + 6.0), (radius, radius, radius), _lobes(random, 5, 0.1))
    return LesionState(LUNG, surface, Tissue(38.0, 6.0, (8.0, 16.0), _seed(random)))


def _seed(random: Generator) -> int:
    return int(random.integers(2**31))
