"""Cases to be exported: the committed mini case as the pipeline follows it, and real scans with an expert's outline."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from imaging_pipeline.config import Config, MeasureConfig, parse_yaml, validated
from imaging_pipeline.domain.case import Assessment, Case, Outcome, Provenance, Sighting, Visit
from imaging_pipeline.domain.codes import SITES
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.io import folder as folders
from imaging_pipeline.io import lesions as lesion_files
from imaging_pipeline.io.intake import take_in
from imaging_pipeline.io.loaders import open_series
from imaging_pipeline.io.masks import read_mask
from imaging_pipeline.numerics.measurement import measure
from imaging_pipeline.pipeline import follow
from tests.io.cases import mpnst_case

ROOT = Path(__file__).parents[2]
MINI = ROOT / "sample_data" / "mini"

#: Image folder and outline of the real scans.
REAL = {
    f"sarcoma {patient}, {scan}": (f"sts_dicom/{patient}/{scan}/image", f"sts_dicom/{patient}/{scan}/mask/RS.dcm")
    for patient in ("STS_008", "STS_042")
    for scan in ("CT", "MR_T1", "PET")
}
REAL["nodule of the lung, CT"] = ("lidc0001/ct", "lidc0001/seg/nodule_01_annotation_0.dcm")
REAL["liver, CT"] = ("dcmqi/ct-3slice", "dcmqi/liver.dcm")


@cache
def mini_intake():
    """What the pipeline is given of the mini case: configuration, patient, lesion file, intake."""
    config_file = ROOT / "configs" / "mpnst.yaml"
    config = validated(Config, parse_yaml(config_file.read_text(), config_file.name), config_file.name)
    (patient,) = folders.index(MINI, config).patients
    said, base = lesion_files.find(MINI, None)
    return config, patient, said.patients[0], take_in(patient, said.patients[0], base, config)


@cache
def mini():
    """The mini case and its values."""
    config, patient, said, intake = mini_intake()
    return follow(patient.case, intake.visits, intake.lesions, intake.marks, said.lesions, intake.load, config)


@cache
def by_hand(hostile=()):
    """The patient made by hand: one lesion lost on the way, strings hostile if asked for."""
    return mpnst_case(hostile=hostile)


@cache
def real(scans, name):
    """A real scan's outline as a case of one visit, and its values."""
    image, outline = REAL[name]
    volume, _, problems = open_series(scans / image)
    return case_of(volume, read_mask(scans / outline, volume), problems)


@cache
def framed(scans):
    """A box in a real multi-frame MR, as a case of one visit."""
    volume, _, problems = open_series(scans / "enhanced_mr" / "siemens")
    array = np.zeros(volume.grid.shape, dtype=bool)
    array[2:6, 100:130, 90:140] = True
    return case_of(volume, Mask(array, volume.grid, "competition", confidence=0.8), problems)


def case_of(volume, mask, problems=()):
    lesion = Lesion("M1", "2.25.11", "the mass", Kind.SOFT_TISSUE, Role.TARGET, "", SITES["axilla"], "right", "mass")
    series = volume.series if volume.series.grid else replace(volume.series, grid=volume.grid)
    visit = Visit(0, "baseline", series.date or "2001-02-03", (series,))
    uid = series.series_instance_uid
    sighting = Sighting("M1", 0, Outcome.MEASURED, uid, mask.digest, "", None, mask.confidence, mask.maker)
    measurements = measure(volume, mask, lesion, 0, MeasureConfig()).measurements
    assessment = Assessment("recist-1.1", 0, "")
    provenance = Provenance("0.1.0", "", ())
    case = Case("p-real", (visit,), (lesion,), (sighting,), measurements, (assessment,), provenance, tuple(problems))
    return case, {mask.digest: mask}
