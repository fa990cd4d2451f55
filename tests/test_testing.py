"""The checks for plug-in authors: what is built in passes, and each broken promise is caught and named."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imaging_pipeline import plugins, testing
from imaging_pipeline.config import Config
from imaging_pipeline.criteria import recist
from imaging_pipeline.domain.case import Assessment, Outcome
from imaging_pipeline.domain.geometry import as_matrix
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.domain.prompts import Line
from imaging_pipeline.errors import PipelineError, PluginError, StageError
from imaging_pipeline.io.exports import export_csv
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.loaders import load_ct, reader

MINI = Path(__file__).parents[1] / "sample_data" / "mini"


def series_of_each_modality():
    records = [record for patient in index(MINI, Config()).patients for record in patient.series]
    return {record.series.modality: record for record in records}


SERIES = series_of_each_modality()


@pytest.mark.parametrize("name", plugins.names("criteria"))
def test_every_built_in_criterion_keeps_its_promises(name):
    testing.check_criterion(plugins.load("criteria", name), examples=15)


@pytest.mark.parametrize("name", plugins.names("exporters"))
def test_every_built_in_exporter_keeps_its_promises(name):
    testing.check_exporter(plugins.load("exporters", name))


@pytest.mark.parametrize("modality", sorted(SERIES))
def test_every_built_in_loader_keeps_its_promises(modality):
    record = SERIES[modality]
    testing.check_loader(plugins.load("loaders", modality), record.series, reader(record))


# A network is asked in tests/io/test_network.py, where there is one.
@pytest.mark.parametrize("name", sorted({*plugins.names("segmenters")} - {"network"}))
def test_every_built_in_segmenter_keeps_its_promises(name):
    testing.check_segmenter(plugins.load("segmenters", name))


def by_threshold(volume, prompt, config):
    """What is brighter than fat around the middle of the marks."""
    points = np.array(
        [
            point
            for mark in prompt.marks
            for point in (mark.long_axis_lps if isinstance(mark, Line) else (mark.point_lps,))
        ]
    )
    if not volume.grid.contains(points.mean(axis=0)):
        raise StageError("E-SEG-EMPTY", "mark", found="outside", expected="inside", remedy="mark the lesion")
    places = volume.grid.to_lps(np.argwhere(np.ones(volume.grid.shape, dtype=bool)))
    near = (np.linalg.norm(places - points.mean(axis=0), axis=1) < 15).reshape(volume.grid.shape)
    return Mask(near & (volume.array > -20), volume.grid, "threshold")


def test_a_plain_segmenter_keeps_its_promises():
    testing.check_segmenter(by_threshold)


def broken(check, plug_in, *arguments):
    with pytest.raises(PluginError) as caught:
        check(plug_in, *arguments)
    assert caught.value.problem.remedy
    return caught.value.problem.found


# Criteria


def altered(change):
    """RECIST 1.1 with its answers changed."""

    def criterion(lesions, visits, sightings, measurements, config):
        """A criterion."""
        return change(recist.assess(lesions, visits, sightings, measurements, config))

    return criterion


def saying(overall):
    """A criterion that answers what a function of the lesions says."""

    def criterion(lesions, visits, sightings, measurements, config):
        """A criterion."""
        told = {visit.number: overall(lesions) if visit.number else "" for visit in visits}
        return tuple(Assessment("example", number, answer, reasons=("as told",)) for number, answer in told.items())

    return criterion


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("criterion", "found"),
    [
        (altered(lambda told: list(told)), "something else"),
        (altered(lambda told: told[:-1]), "visits ["),
        (altered(lambda told: told[::-1]), "visits ["),
        (altered(lambda told: (replace(told[0], criterion="other"), *told[1:])), "several names"),
        (altered(lambda told: tuple(replace(item, criterion="") for item in told)), "several names or none"),
        (altered(lambda told: (replace(told[0], overall="SD"), *told[1:])), "'SD' at baseline"),
        (altered(lambda told: tuple(replace(item, reasons=()) for item in told)), "a visit without answer or reason"),
        (altered(lambda told: tuple(replace(item, overall="") for item in told)), "a visit without answer or reason"),
        (altered(lambda told: tuple(replace(item, measurements=("L9/volume",)) for item in told)), "'L9/volume'"),
        (
            altered(
                lambda told: tuple(replace(item, overall=f"SD{next(COUNT)}" if item.visit else "") for item in told)
            ),
            "another answer a second time",
        ),
        (saying(lambda lesions: lesions[0].lesion_id), "another answer with lesions and measurements in another order"),
        (saying(lambda lesions: "SD"), "SD where nothing was imaged"),
        (altered(lambda told: told[len(told)]), "IndexError on sound input"),
    ],
)
def test_a_wrong_criterion_is_caught(criterion, found):
    assert found in broken(testing.check_criterion, criterion)


def test_a_plug_in_without_a_sentence_is_caught():
    assert broken(testing.check_criterion, lambda *_: ()) == "no docstring"


def test_the_drawn_patients_hold_what_may_go_wrong():
    """Over 200 patients every outcome, every kind, new lesions, and other modalities occur."""
    from hypothesis import HealthCheck, given, settings

    seen = set()

    @settings(max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(testing.patients())
    def gather(patient):
        seen.update(sighting.outcome for sighting in patient.sightings)
        seen.update(lesion.kind for lesion in patient.lesions)
        seen.update(lesion.role for lesion in patient.lesions)
        seen.update(measurement.modality for measurement in patient.measurements)
        assert not any(
            sighting.visit == 0 and sighting.outcome is not Outcome.ABSENT
            for lesion in patient.lesions
            for sighting in patient.sightings
            if sighting.lesion_id == lesion.lesion_id and lesion.role.value == "new"
        )

    gather()
    assert {*Outcome, "bone", "node", "soft_tissue", "target", "non_target", "new", "CT", "MR", "US"} <= seen


def test_drawn_volumes_are_volumes():
    from hypothesis import given, settings

    @settings(max_examples=20, derandomize=True, database=None, deadline=None)
    @given(testing.volumes())
    def are_placed(volume):
        assert volume.array.shape == volume.grid.shape
        assert volume.grid.spacing_mm == pytest.approx((2.5, 0.9, 0.9))

    are_placed()


def test_without_hypothesis_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(testing, "find_spec", lambda name: None)
    with pytest.raises(PluginError, match="install hypothesis"):
        testing.check_criterion(recist.assess)
    assert importlib.util.find_spec("hypothesis")


# Segmenters


def with_mask(change):
    def segmenter(volume, prompt, config):
        """A segmenter."""
        return change(by_threshold(volume, prompt, config))

    return segmenter


def between_voxels(mask):
    matrix = mask.grid.matrix
    matrix[:3, 3] += 0.4
    return Mask(mask.array, replace(mask.grid, affine=as_matrix(matrix)), mask.maker)


def flickering(mask):
    array = mask.array.copy()
    array[0, 0, next(COUNT) % 40] ^= True
    return Mask(array, mask.grid, mask.maker)


def heedless(volume, prompt, config):
    """Never refuses."""
    try:
        return by_threshold(volume, prompt, config)
    except StageError:
        return Mask(np.zeros(volume.grid.shape, dtype=bool), volume.grid, "heedless")


def careless(volume, prompt, config):
    """Fails where it should refuse."""
    try:
        return by_threshold(volume, prompt, config)
    except StageError:
        raise IndexError from None


@pytest.mark.parametrize(
    ("segmenter", "found"),
    [
        (with_mask(lambda mask: mask.array), "something else"),
        (with_mask(lambda mask: Mask(mask.array, mask.grid, "")), "something else"),
        (with_mask(between_voxels), "a mask between the voxels"),
        (with_mask(lambda mask: Mask(~mask.array, mask.grid, "other")), "of a ball marked by a line"),
        (with_mask(flickering), "another outline a second time"),
        (heedless, "an outline of a mark outside the volume"),
        (careless, "IndexError on spoilt input"),
    ],
)
def test_a_wrong_segmenter_is_caught(segmenter, found):
    assert found in broken(testing.check_segmenter, segmenter)


# Loaders


def with_volume(change):
    def loader(series, read, config):
        """A loader."""
        return change(load_ct(series, read, config))

    return loader


def trusting(series, read, config):
    """Takes what it gets."""
    try:
        return load_ct(series, read, config)
    except PipelineError:
        return load_ct(SERIES["CT"].series, reader(SERIES["CT"]), config)


@pytest.mark.parametrize(
    ("loader", "found"),
    [
        (with_volume(lambda volume: volume.array), "something else"),
        (with_volume(lambda volume: replace(volume, array=volume.array.astype(np.float64))), "something else"),
        (with_volume(lambda volume: replace(volume, series=replace(volume.series, role="other"))), "another series"),
        (with_volume(lambda volume: replace(volume, unit="")), "no unit"),
        (with_volume(lambda volume: replace(volume, array=volume.array + np.int16(next(COUNT)))), "other pixels"),
        (trusting, "a volume from files cut in half"),
    ],
)
def test_a_wrong_loader_is_caught(loader, found):
    record = SERIES["CT"]
    assert found in broken(testing.check_loader, loader, record.series, reader(record))


# Exporters


def writing(write):
    def exporter(case, values, folder, config):
        """An exporter."""
        return write(folder, export_csv(case, values, folder, config))

    return exporter


def beside(folder, paths):
    (folder.parent / "log.txt").write_text("done")
    return (*paths, folder.parent / "log.txt")


def silently(folder, paths):
    (folder / "more.txt").write_text("more")
    return paths


def numbered(folder, paths):
    (folder / "stamp.txt").write_text(str(next(COUNT)))
    return (*paths, folder / "stamp.txt")


@pytest.mark.parametrize(
    ("exporter", "found"),
    [
        (writing(lambda folder, paths: list(paths)), "something else"),
        (writing(lambda folder, paths: tuple(map(str, paths))), "something else"),
        (writing(beside), "a file outside the folder"),
        (writing(silently), "other files than it names"),
        (writing(numbered), "other bytes a second time"),
        (writing(lambda folder, paths: paths[100]), "IndexError on sound input"),
    ],
)
def test_a_wrong_exporter_is_caught(exporter, found):
    assert found in broken(testing.check_exporter, exporter)
