"""MR signal against the tissue of the same slices, on synthetic patients whose tissues' signals are known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from imaging_pipeline.config import MeasureConfig
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.geometry import as_matrix, moved
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind, Lesion
from imaging_pipeline.numerics.measurement import measure
from imaging_pipeline.numerics.signal import signal_ratios
from imaging_pipeline.phantom.lesions import columns
from imaging_pipeline.phantom.magnetic import (
    ECHOES,
    LESION,
    MARROW,
    MUSCLE,
    Coverage,
    lesion_signal,
    painted,
    received,
    sagittal_grid,
)
from imaging_pipeline.phantom.patient import draw_patient

L4 = Lesion("L4", "1.2.3", "L4", Kind.BONE, site=SITES["L4"])
COVERAGE = Coverage(slices=11, thickness_mm=4.0, spacing_mm=4.4, matrix=184, pixel_mm=1.3, planes=3)


@cache
def scene(number):
    """A sagittal MR of a patient in three echoes, and the mask of its L4 lesion."""
    patient = draw_patient(73, number).lying_again(0, "MR")
    grid = sagittal_grid(patient, COVERAGE)
    signal = painted(patient, grid, COVERAGE)
    state = patient.lesion(0, "L4")
    index = np.stack(np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij"), axis=-1)
    points = moved(np.linalg.inv(patient.to_scanner(0, "L4")), grid.to_lps(index))
    near = np.abs(points - state.surface.vertices(3).mean(axis=0)).max(axis=-1) < 30.0
    marked = np.zeros(grid.shape, dtype=bool)
    marked[near] = state.surface.distance(columns(points[near])) < 0
    return grid, signal, Mask(marked, grid, "phantom"), state


def acquired(number, echo):
    grid, signal, mask, state = scene(number)
    random = np.random.default_rng((number, echo))
    slices = [received(signal[index, :, :, echo], random).astype(np.int16) for index in range(grid.shape[0])]
    series = Series("1.2", "1", "", "MR", "20240101", "lumbar_mr", ())
    return Volume(np.stack(slices), grid, "1", series), mask, lesion_signal(state, echo)


@pytest.mark.parametrize("echo", range(3), ids=[echo.role for echo in ECHOES])
@pytest.mark.parametrize("number", [0, 1])
def test_ratios_to_muscle_and_to_healthy_vertebrae_are_right_in_every_sequence(number, echo):
    volume, mask, lesion = acquired(number, echo)
    found = signal_ratios(volume, mask)
    for name, tissue in (("signal_ratio_muscle", MUSCLE), ("signal_ratio_reference", MARROW)):
        truth = lesion / ECHOES[echo].signal(tissue)
        assert found[name].value == pytest.approx(truth, rel=0.04)
        assert found[name].lower95 <= truth <= found[name].upper95
    assert "signal_ratio_disc" in found


def test_a_ratio_does_not_change_with_the_receivers_gain():
    volume, mask, _ = acquired(0, 1)
    louder = Volume((3.0 * volume.array).astype(np.float32), volume.grid, "1", volume.series)
    quiet, loud = signal_ratios(volume, mask), signal_ratios(louder, mask)
    assert {name: one.value for name, one in loud.items()} == pytest.approx(
        {name: one.value for name, one in quiet.items()}, rel=1e-4
    )


def test_a_lesion_of_muscles_signal_has_a_ratio_of_one():
    volume, mask, _ = acquired(1, 0)
    muscle = ECHOES[0].signal(MUSCLE) / ECHOES[0].signal(LESION)
    same = np.where(mask.array, volume.array * muscle, volume.array).astype(np.float32)
    found = signal_ratios(Volume(same, volume.grid, "1", volume.series), mask)
    assert found["signal_ratio_muscle"].value == pytest.approx(1.0, abs=0.05)


def test_a_plane_across_the_spine_gives_no_ratio_and_says_why():
    volume, mask, _ = acquired(0, 0)
    # The same pixels, said to be axial: the plane no longer holds the body's axis.
    turned = as_matrix(volume.grid.matrix[[2, 1, 0, 3]])
    grid = replace(volume.grid, affine=turned)
    found = measure(Volume(volume.array, grid, "1", volume.series), Mask(mask.array, grid, "t"), L4, 0, MeasureConfig())
    assert not any(item.quantity.startswith("signal") for item in found.measurements)
    assert {problem.code for problem in found.problems} == {"W-MEASURE-SIGNAL"}
    assert all(problem.subject == "L4" for problem in found.problems)


def test_a_scan_without_the_patients_back_has_no_muscle_and_says_so():
    volume, mask, _ = acquired(0, 1)
    middle = int(np.argwhere(mask.array)[:, 2].mean())
    box = (slice(0, volume.grid.shape[0]), slice(0, volume.grid.shape[1]), slice(0, middle + 24))
    found = measure(volume.crop(box), mask.crop(box), L4, 0, MeasureConfig())
    names = {item.quantity for item in found.measurements}
    assert "signal_ratio_muscle" not in names
    assert "signal_ratio_reference" in names
    assert [problem.found for problem in found.problems] == ["no muscle in its slices"]
