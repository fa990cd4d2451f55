"""Each hazard of a series has one defined outcome: the same numbers, numbers with a named caution, or a refusal."""

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from imaging_pipeline.config import Config
from imaging_pipeline.errors import PipelineError
from imaging_pipeline.io import acceptance
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index
from imaging_pipeline.io.header import Header
from imaging_pipeline.io.loaders import open_series
from tests.io.build import (
    ORIGIN_LPS,
    SHAPE,
    SPACING_MM,
    density,
    drop,
    encode,
    move,
    nested,
    only,
    private,
    put,
    put_text,
    restore,
    write_series,
)

MIDDLE, LAST = 3, SHAPE[0] - 1


def codes(folder):
    """Every code said anywhere about a folder."""
    found = index(folder, Config())
    series = [problem for patient in found.patients for record in patient.series for problem in record.problems]
    return {problem.code for problem in (*series, *found.problems, *found.rejected)}


def assert_exact(volume, hu=None):
    hu = density() if hu is None else hu
    assert np.array_equal(volume.array, hu)
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM, abs=1e-6)
    assert volume.grid.to_lps((0, 0, 0)) == pytest.approx(ORIGIN_LPS, abs=1e-6)
    assert volume.unit == "[hnsf'U]"


def own_rescale(slice_, number):
    """Every slice with a scale of its own, the densities unchanged: stored = (HU - intercept) / slope."""
    hu = density()[number].astype(int)
    slice_.RescaleIntercept = -1024 - 10 * number
    slice_.PixelData = (hu - slice_.RescaleIntercept).astype("<i2").tobytes()


def halved(slice_, number):
    """Steps of half a unit, so that densities need more than whole numbers to be stored."""
    slice_.RescaleSlope, slice_.RescaleIntercept = 0.5, -1024
    slice_.PixelData = ((density()[number].astype(int) + 1024) * 2).astype("<i2").tobytes()


def twelve_bits_with_overlay(slice_, number):
    slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 12, 11, 0
    restore(lambda stored: stored | 0xA000)(slice_, number)


def signed_twelve_bits(slice_, number):
    """Signed in 12 bits, the sign not carried into the bits above."""
    slice_.BitsStored, slice_.HighBit, slice_.RescaleIntercept = 12, 11, 0
    slice_.PixelData = (density()[number].astype("<i2") & 0x0FFF).astype("<u2").tobytes()


def preamble(start):
    return lambda slice_, number: setattr(slice_, "preamble", start.ljust(128, b"\0"))


HARMLESS = {
    "instance numbers that say another order": put(InstanceNumber=1),
    "no instance numbers": drop("InstanceNumber"),
    "no frame of reference": drop("FrameOfReferenceUID"),
    "no content date": drop("ContentDate", "ContentTime"),
    "implicit representations": encode(ImplicitVRLittleEndian),
    "big endian": encode(ExplicitVRBigEndian),
    "deflated": encode(DeflatedExplicitVRLittleEndian),
    "RLE": encode(RLELossless),
    "JPEG-LS": encode(JPEGLSLossless),
    "JPEG 2000": encode(JPEG2000Lossless),
    "a rescale of its own in every slice": own_rescale,
    "an overlay in the unused bits": twelve_bits_with_overlay,
    "12 signed bits": signed_twelve_bits,
    "sequences ten deep": nested(10),
    "a private element of 100 kB": private(100_000),
    "a dual-personality TIFF": preamble(b"II*\0"),
    "a position noisy by a hundredth of a percent": only(MIDDLE, move(superior=0.00025)),
    "names spelt differently": only(MIDDLE, put(PatientName="DOE^JANE")),
}

SAID_ALOUD = {
    "a preamble that is a program": (preamble(b"MZ"), "W-FILE-PREAMBLE"),
    "a thickness that is not the spacing": (put(SliceThickness=1.25), "W-GEOM-THICKNESS"),
    "a stated spacing that is not the positions'": (put(SpacingBetweenSlices=5), "W-GEOM-THICKNESS"),
    "overlapping slices": (put(SliceThickness=5), "N-GEOM-OVERLAP"),
    "lossy compression": (put(LossyImageCompression="01"), "W-PIX-LOSSY"),
    "a rescale to something else than HU": (put(RescaleType="US"), "W-HU-TYPE"),
    "a study date years off": (put(StudyDate="20190101"), "W-DATE"),
    "two kernels": (only(MIDDLE, put(ConvolutionKernel="B70")), "W-SERIES-MIXED"),
}

REFUSED = {
    "no position": (only(LAST, drop("ImagePositionPatient")), "E-GEOM-POS"),
    "a position that is no number": (only(0, put_text("ImagePositionPatient", "1\\2\\nan")), "E-GEOM-POS"),
    "no orientation": (only(LAST, drop("ImageOrientationPatient")), "E-GEOM-ORIENT"),
    "an orientation of zeros": (put(ImageOrientationPatient=[0] * 6), "E-GEOM-ORIENT"),
    "an orientation that is not perpendicular": (put(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0]), "E-GEOM-ORIENT"),
    "no pixel spacing": (drop("PixelSpacing"), "E-GEOM-SPACING"),
    "a pixel spacing of zero": (put(PixelSpacing=[0, 0.8]), "E-GEOM-SPACING"),
    "a negative pixel spacing": (put(PixelSpacing=[-0.7, 0.8]), "E-GEOM-SPACING"),
    "a pixel spacing of a metre": (put(PixelSpacing=[1000, 1000]), "E-GEOM-SPACING"),
    "detector spacing only": (put(PixelSpacing=None, ImagerPixelSpacing=[1, 1]), "E-GEOM-SPACING"),
    "another pixel spacing in one slice": (only(MIDDLE, put(PixelSpacing=[0.7, 0.9])), "E-GEOM-SPACING"),
    "a slice beside the others": (only(MIDDLE, move(left=0.5)), "E-GEOM-SHIFT"),
    "slices at uneven distances": (only(MIDDLE, move(superior=0.6)), "E-GEOM-UNEVEN"),
    "a gantry tilted beyond any gantry": (
        lambda slice_, number: move(posterior=3.0 * number)(slice_, number),
        "E-GEOM-TILT",
    ),
    "two contents under one UID": (
        only(MIDDLE, put(SOPInstanceUID="1.2.3.4.1.1", ImagePositionPatient=[-10, -20, 30])),
        "E-UID-CONFLICT",
    ),
    "no rescale": (only(MIDDLE, drop("RescaleSlope", "RescaleIntercept")), "E-HU-RESCALE"),
    "a slope of zero": (put(RescaleSlope=0), "E-HU-RESCALE"),
    "a negative slope": (put(RescaleSlope=-1), "E-HU-RESCALE"),
    "an intercept that is no number": (only(0, put_text("RescaleIntercept", "nan")), "E-HU-RESCALE"),
    "inverted grey": (put(PhotometricInterpretation="MONOCHROME1"), "E-PIX-FORMAT"),
    "bits that do not add up": (put(HighBit=11), "E-PIX-FORMAT"),
    "another patient in one slice": (only(MIDDLE, put(PatientID="P2")), "E-PAT-MIX"),
    "another birth date in one slice": (only(MIDDLE, put(PatientBirthDate="19660606")), "E-PAT-MIX"),
    "no date": (drop("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "E-DATE"),
    "an impossible date": (put(AcquisitionDate="20230231"), "E-DATE"),
    "a date in the future": (put(AcquisitionDate="29990101"), "E-DATE"),
    "a date before birth": (put(AcquisitionDate="19540101"), "E-DATE"),
    "an unknown modality": (put(Modality="XX"), "E-UNSUPPORTED"),
}


@pytest.mark.parametrize("hazard", HARMLESS)
def test_a_harmless_oddity_changes_nothing(hazard, tmp_path):
    write_series(tmp_path, HARMLESS[hazard])
    volume, verdict, problems = open_series(tmp_path)
    assert_exact(volume)
    assert verdict is not Verdict.REJECT
    assert not [problem for problem in problems if problem.code.startswith("W-")]


@pytest.mark.parametrize("hazard", SAID_ALOUD)
def test_a_doubt_is_named_and_the_numbers_stand(hazard, tmp_path):
    edit, code = SAID_ALOUD[hazard]
    write_series(tmp_path, edit)
    volume, _, problems = open_series(tmp_path)
    assert_exact(volume)
    assert code in {problem.code for problem in problems}


@pytest.mark.parametrize("hazard", REFUSED)
def test_what_cannot_be_trusted_gives_no_number_and_its_reason(hazard, tmp_path):
    edit, code = REFUSED[hazard]
    write_series(tmp_path, edit)
    assert code in codes(tmp_path)
    with pytest.raises(PipelineError) as refusal:
        open_series(tmp_path)
    assert refusal.value.problem.code == code
    assert "Doe" not in str(refusal.value)


def test_a_lossy_encoding_is_named_whatever_the_header_says_of_it():
    said = acceptance.doubts(Header(modality="CT", transfer_syntax_uid=JPEGBaseline8Bit), "series")
    assert [problem.code for problem in said] == ["W-PIX-LOSSY"]
