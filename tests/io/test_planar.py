"""Ultrasound, radiographs, bone scans and PET: millimetres only where the file says that they hold in the patient."""

import json
import random
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from imaging_pipeline.cli import cli
from imaging_pipeline.config import Config, LesionEntry, PromptEntry
from imaging_pipeline.domain.case import Visit
from imaging_pipeline.domain.geometry import Space
from imaging_pipeline.errors import ConfigurationError, PipelineError, RefusedError, SpaceError
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index, index_document
from imaging_pipeline.io.loaders import load, open_series
from imaging_pipeline.io.masks import read_mask
from imaging_pipeline.io.nifti import write_nifti
from imaging_pipeline.io.prompts import placements
from tests.io.build import ORIGIN_LPS, SPACING_MM, ct_slice, density, drop, encode, only, put, save, write_series

CLASSES = {"US": "6.1", "NM": "20", "DX": "1.1", "CR": "1"}
IN_SPACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "FrameOfReferenceUID")
#: A wedge: every pixel is known by its value.
WEDGE = np.arange(12 * 20, dtype=np.uint16).reshape(12, 20)
ANTERIOR, POSTERIOR = ("399321004", "SCT"), ("399001007", "SCT")


def image(modality, pixels, bits=8, **values):
    """One file without a place in the patient; pixels are (R, C), (F, R, C), or (R, C, 3) for colour."""
    file = ct_slice(0, density()[0])
    drop(*IN_SPACE, "RescaleSlope", "RescaleIntercept", "KVP", "ConvolutionKernel")(file, 0)
    file.Modality = modality
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{CLASSES[modality]}"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    file.Rows, file.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    if colour:
        file.SamplesPerPixel, file.PlanarConfiguration, file.PhotometricInterpretation = 3, 0, "RGB"
    elif pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    file.BitsAllocated = 8 if bits <= 8 else 16
    file.BitsStored, file.HighBit, file.PixelRepresentation = bits, bits - 1, 0
    file.PixelData = pixels.astype("u1" if bits <= 8 else "<u2").tobytes()
    file.BurnedInAnnotation = "NO"
    for keyword, value in values.items():
        setattr(file, keyword, value)
    return file


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def region(delta_x_cm=0.02, delta_y_cm=0.03, units=3, spatial_format=1):
    return item(
        RegionSpatialFormat=spatial_format,
        RegionDataType=1,
        PhysicalUnitsXDirection=units,
        PhysicalUnitsYDirection=units,
        PhysicalDeltaX=delta_x_cm,
        PhysicalDeltaY=delta_y_cm,
    )


def detectors(*views):
    codes = [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="a view") for value, scheme in views]
    return [item(ViewCodeSequence=[code]) for code in codes]


def opened(folder, file):
    """Volume, verdict and codes of a folder with this one file."""
    save(file, folder / "image")
    volume, verdict, problems = open_series(folder)
    return volume, verdict, {problem.code for problem in problems}


def listed(folder):
    """The only series, as `index --json` prints it."""
    (patient,) = index_document(index(folder, Config()))["patients"]
    ((series,),) = [visit["series"] for visit in patient["visits"]]
    return series


def refusal_of(folder, file):
    with pytest.raises(RefusedError) as refusal:
        opened(folder, file)
    return refusal.value.problem.code


def ultrasound(pixels=WEDGE, *regions, **values):
    return image("US", pixels, SequenceOfUltrasoundRegions=list(regions or (region(),)), **values)


# ---- Ultrasound


def test_ultrasound_has_the_scale_of_its_region(tmp_path):
    volume, verdict, _ = opened(tmp_path, ultrasound())
    assert verdict is Verdict.OK
    assert volume.grid.space is Space.PLANE
    assert volume.grid.spacing_mm[1:] == pytest.approx((0.3, 0.2))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, WEDGE[None])
    assert listed(tmp_path)["spacing_mm"] == [None, pytest.approx(0.3), pytest.approx(0.2)]


def test_a_delta_that_counts_upwards_is_a_length_too(tmp_path):
    volume, _, _ = opened(tmp_path, ultrasound(WEDGE, region(delta_y_cm=-0.03)))
    assert volume.grid.spacing_mm[1:] == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize(
    "regions",
    [
        [],
        [region(), region(delta_x_cm=0.021)],
        [region(units=4)],
        [region(), region(spatial_format=3, units=4)],
        [region(delta_x_cm=0.0)],
        [region(delta_x_cm=float("nan"))],
    ],
    ids=["no region", "two scales", "seconds", "a trace beside it", "a scale of zero", "no number"],
)
def test_ultrasound_without_one_scale_has_no_millimetres(regions, tmp_path):
    file = image("US", WEDGE, SequenceOfUltrasoundRegions=regions)
    volume, verdict, codes = opened(tmp_path, file)
    assert (volume.grid.space, verdict, codes) == (Space.PIXELS, Verdict.WARN, {"W-GEOM-PIXELS"})
    assert listed(tmp_path)["spacing_mm"] is None


def test_a_cine_keeps_its_frames(tmp_path):
    frames = np.stack([WEDGE, 255 - WEDGE, WEDGE // 2])
    assert np.array_equal(opened(tmp_path, ultrasound(frames))[0].array, frames)


def test_colour_becomes_luminance(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0], pixels[1], pixels[2], pixels[3] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
    volume, _, _ = opened(tmp_path, ultrasound(pixels))
    # ITU-R BT.601: 0.299, 0.587 and 0.114 of 255.
    assert volume.array[0, :, 0].tolist() == [76, 150, 29, 90]


def palette(red, green, blue, bits=16):
    """Colours by number, as a palette of 256 states them."""
    tables = {"Red": red, "Green": green, "Blue": blue}
    values = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in tables.items():
        values[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        values[f"{name}PaletteColorLookupTableData"] = np.asarray(table, f"<u{bits // 8}").tobytes()
    return values


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_becomes_luminance(bits, tmp_path):
    numbers = np.arange(256)
    shifted = 1 if bits == 8 else 257
    colours = palette((255 - numbers) * shifted, numbers * shifted, 0 * numbers, bits)
    volume, _, _ = opened(tmp_path, ultrasound(WEDGE, **colours))
    expected = np.rint(0.299 * (255.0 - WEDGE) + 0.587 * WEDGE)
    assert np.array_equal(volume.array[0], expected)


def test_a_palette_without_its_colours_is_refused(tmp_path):
    assert refusal_of(tmp_path, ultrasound(PhotometricInterpretation="PALETTE COLOR")) == "E-PIX-DECODE"


@pytest.mark.parametrize("value", ["YES", None])
def test_an_ultrasound_image_may_bear_a_name_unless_it_says_not(value, tmp_path):
    _, verdict, codes = opened(tmp_path, ultrasound(BurnedInAnnotation=value))
    assert codes == {"W-PHI-BURNED"}
    assert verdict is Verdict.WARN


@pytest.mark.parametrize("uid", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_ultrasound_is_the_same_through_every_encoding(uid, colour, tmp_path):
    grey = np.tile(WEDGE, (4, 3)).astype(np.uint8)  # JPEG 2000 needs room
    file = ultrasound(np.stack([grey] * 3, axis=-1) if colour else grey)
    encode(uid)(file, 0)
    assert np.array_equal(opened(tmp_path, file)[0].array, grey[None])


def test_every_image_of_a_series_is_listed_by_itself(tmp_path):
    for number in range(3):
        file = ultrasound(SOPInstanceUID=f"1.2.3.{number}")
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
        save(file, tmp_path / str(number))
    (patient,) = index(tmp_path, Config()).patients
    assert [record.verdict for record in patient.series] == [Verdict.OK] * 3
    assert [load(record, Config()).grid.shape for record in patient.series] == [(1, 12, 20)] * 3
    with pytest.raises(ConfigurationError):
        open_series(tmp_path)


def test_one_instance_with_two_contents_is_refused(tmp_path):
    save(ultrasound(255 - WEDGE), tmp_path / "another")
    assert refusal_of(tmp_path, ultrasound()) == "E-UID-CONFLICT"


# ---- Radiographs


def radiograph(modality="DX", **values):
    return image(modality, WEDGE, bits=12, **values)


def test_a_radiograph_is_scaled_from_the_detector_to_the_patient(tmp_path):
    file = radiograph(ImagerPixelSpacing=[0.15, 0.15], EstimatedRadiographicMagnificationFactor="1.25")
    volume, verdict, codes = opened(tmp_path, file)
    assert (volume.grid.space, verdict, codes) == (Space.PLANE, Verdict.WARN, {"W-GEOM-MAGNIFICATION"})
    assert volume.grid.spacing_mm[1:] == pytest.approx((0.12, 0.12))
    assert "1.250 times" in listed(tmp_path)["issues"][0]["found"]


def test_magnification_follows_from_both_distances(tmp_path):
    file = radiograph(ImagerPixelSpacing=[0.15, 0.15], DistanceSourceToDetector="1500", DistanceSourceToPatient="1200")
    assert opened(tmp_path, file)[0].grid.spacing_mm[1:] == pytest.approx((0.12, 0.12))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"ImagerPixelSpacing": [0.15, 0.15]}, "W-GEOM-MAGNIFICATION"),
        ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.15, 0.15]}, "W-GEOM-MAGNIFICATION"),
        ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.1499, 0.1499]}, "W-GEOM-MAGNIFICATION"),
        ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.2, 0.2]}, "W-GEOM-MAGNIFICATION"),
        ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.125, 0.15]}, "W-GEOM-MAGNIFICATION"),
        ({"ImagerPixelSpacing": [0.15, 0.15], "DistanceSourceToDetector": "1500"}, "W-GEOM-MAGNIFICATION"),
        (
            {"ImagerPixelSpacing": [0.15, 0.15], "EstimatedRadiographicMagnificationFactor": "0.5"},
            "W-GEOM-MAGNIFICATION",
        ),
        ({"PixelSpacing": [0.15, 0.15]}, "W-GEOM-PIXELS"),
        ({}, "W-GEOM-PIXELS"),
    ],
    ids=[
        "detector only",
        "both the detector's",
        "the detector's, rounded",
        "larger in the patient than at the detector",
        "corrected along one axis",
        "one distance",
        "impossible",
        "not said where",
        "nothing",
    ],
)
def test_a_radiograph_of_unknown_magnification_has_no_millimetres(values, code, tmp_path):
    volume, verdict, codes = opened(tmp_path, radiograph("CR", **values))
    assert (volume.grid.space, verdict, codes) == (Space.PIXELS, Verdict.WARN, {code})


@pytest.mark.parametrize(
    "values",
    [{"ImagerPixelSpacing": [0.15, 0.15]}, {"PixelSpacingCalibrationType": "FIDUCIAL"}],
    ids=["other than the detector's", "by a fiducial"],
)
def test_a_calibrated_radiograph_is_taken_at_its_word(values, tmp_path):
    volume, verdict, _ = opened(tmp_path, radiograph(PixelSpacing=[0.125, 0.1], **values))
    assert (volume.grid.space, verdict) == (Space.PLANE, Verdict.OK)
    assert volume.grid.spacing_mm[1:] == (0.125, 0.1)


def test_dense_parts_are_bright_in_every_radiograph(tmp_path):
    file = radiograph(PhotometricInterpretation="MONOCHROME1", PixelSpacing=[0.1, 0.1])
    volume, _, codes = opened(tmp_path, file)
    assert "N-PIX-INVERTED" in codes
    assert np.array_equal(volume.array[0], 4095 - WEDGE.astype(int))


# ---- Planar scintigraphy


def bone_scan(*views, **values):
    frames = np.stack([WEDGE + 100 * number for number in range(len(views))])
    kind = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    shared = {"ImageType": kind, "PixelSpacing": [2.4, 2.2], "DetectorInformationSequence": detectors(*views)}
    return image("NM", frames, 16, **(shared | values))


@pytest.mark.parametrize("named", [ANTERIOR, ("G-5215", "SRT"), ("G-5215", "SNM3")], ids=lambda named: named[1])
def test_the_anterior_view_comes_first(named, tmp_path):
    volume, verdict, _ = opened(tmp_path, bone_scan(POSTERIOR, named))
    assert (verdict, volume.unit, volume.grid.space) == (Verdict.OK, "{counts}", Space.PLANE)
    assert volume.grid.spacing_mm[1:] == (2.4, 2.2)
    assert np.array_equal(volume.array, [WEDGE + 100, WEDGE])


def test_frames_name_their_view_by_the_detector_vector(tmp_path):
    file = bone_scan(ANTERIOR, POSTERIOR, DetectorVector=[2, 1])
    assert np.array_equal(opened(tmp_path, file)[0].array, [WEDGE + 100, WEDGE])


@pytest.mark.parametrize(
    "file",
    [
        bone_scan(ANTERIOR, ANTERIOR),
        bone_scan(ANTERIOR, ("1", "99LOCAL")),
        bone_scan(ANTERIOR, POSTERIOR, DetectorInformationSequence=[]),
        bone_scan(ANTERIOR, POSTERIOR, DetectorVector=[1, 1]),
    ],
    ids=["one view twice", "an unknown view", "no detectors", "one detector"],
)
def test_views_that_cannot_be_told_apart_are_refused(file, tmp_path):
    assert refusal_of(tmp_path, file) == "E-NM-VIEWS"


def test_a_detector_that_is_not_there_is_refused(tmp_path):
    assert refusal_of(tmp_path, bone_scan(ANTERIOR, POSTERIOR, DetectorVector=[1, 3])) == "E-UNSUPPORTED"


def test_a_single_view_needs_no_name(tmp_path):
    file = image("NM", WEDGE, 16, ImageType=["ORIGINAL", "PRIMARY", "STATIC"], PixelSpacing=[2.4, 2.4])
    assert opened(tmp_path, file)[1] is Verdict.OK


def test_a_tomogram_is_no_planar_image(tmp_path):
    file = bone_scan(ANTERIOR, POSTERIOR, ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"])
    assert refusal_of(tmp_path, file) == "E-UNSUPPORTED"


# ---- PET


def as_pet(slice_, number):
    slice_.SOPClassUID = slice_.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    slice_.Modality, slice_.Units = "PT", "BQML"
    slice_.RescaleIntercept, slice_.RescaleSlope = 0, 0.5 + number
    drop("KVP", "ConvolutionKernel")(slice_, number)


def test_pet_is_scaled_slice_by_slice_into_its_unit(tmp_path):
    write_series(tmp_path, as_pet)
    volume, verdict, _ = open_series(tmp_path)
    slopes = 0.5 + np.arange(len(density()))[:, None, None]
    assert (verdict, volume.unit) == (Verdict.OK, "Bq/mL")
    assert np.array_equal(volume.array, ((density() + 1024) * slopes).astype(np.float32))
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM, abs=1e-6)
    assert volume.grid.to_lps((0, 0, 0)) == pytest.approx(ORIGIN_LPS, abs=1e-6)


@pytest.mark.parametrize(
    ("edit", "code"),
    [(put(Units="PROPCPS"), "E-PIX-UNITS"), (drop("Units"), "E-PIX-UNITS"), (drop("RescaleSlope"), "E-PIX-RESCALE")],
    ids=["another unit", "no unit", "no scale"],
)
def test_pet_without_a_unit_is_refused(edit, code, tmp_path):
    write_series(tmp_path, as_pet, edit)
    with pytest.raises(RefusedError) as refusal:
        open_series(tmp_path)
    assert refusal.value.problem.code == code


# ---- What such an image cannot carry


@pytest.mark.parametrize(
    "file",
    [
        ultrasound(BitsStored=6),
        radiograph(PhotometricInterpretation="RGB"),
        bone_scan(ANTERIOR, POSTERIOR, PhotometricInterpretation="MONOCHROME1"),
    ],
    ids=["high bit", "colour radiograph", "inverted counts"],
)
def test_another_format_is_refused(file, tmp_path):
    assert refusal_of(tmp_path, file) == "E-PIX-PLANAR"


def test_no_file_and_no_segmentation_pretends_it_has_a_place(tmp_path):
    volume, _, _ = opened(tmp_path, ultrasound())
    with pytest.raises(SpaceError):
        write_nifti(volume, tmp_path / "us.nii.gz")
    assert not (tmp_path / "us.nii.gz").exists()
    with pytest.raises(SpaceError):
        read_mask(tmp_path / "segmentation.dcm", volume)


def test_convert_and_measure_refuse_by_name_what_asks_for_a_place(tmp_path):
    (tmp_path / "scans").mkdir()
    save(ultrasound(), tmp_path / "scans" / "image")
    (tmp_path / "segmentation.dcm").write_bytes(b"")
    for command in (["convert", "scans", "--out", "us.nii.gz"], ["measure", "scans", "segmentation.dcm"]):
        words = [str(tmp_path / word) if "." in word or word == "scans" else word for word in command]
        outcome = CliRunner().invoke(cli, words)
        assert outcome.exit_code == 4
        assert "E-SPACE" in outcome.output
    table = CliRunner().invoke(cli, ["index", str(tmp_path / "scans")])
    assert "- x 0.30 x 0.20" in table.output
    assert (
        json.loads(CliRunner().invoke(cli, ["index", str(tmp_path / "scans"), "--json"]).output)["rejected_files"] == []
    )


def test_a_point_in_the_patient_lies_in_no_plane(tmp_path):
    write_series(tmp_path / "ct")
    file = ultrasound(SeriesInstanceUID="1.2.3.4.2")
    save(file, tmp_path / "us")
    (patient,) = index(tmp_path, Config()).patients
    visit = Visit(0, "baseline", "2023-05-28", tuple(record.series for record in patient.series))
    entry = LesionEntry(id="L4", kind="bone", prompts=(PromptEntry(visit="baseline", point=(0.0, 0.0, 40.0)),))
    ((_, series, _),) = placements(entry, (visit,), lambda *_: None, lambda *_: ())
    assert series.modality == "CT"


def test_a_damaged_image_beside_others_costs_only_itself(tmp_path):
    save(ultrasound(), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "torn").write_bytes(content[:-20])
    found = index(tmp_path, Config())
    assert [problem.subject for problem in found.rejected] == ["torn"]
    assert listed(tmp_path)["verdict"] == "ok"


@pytest.mark.parametrize("change", [only(0, put(Rows=13)), only(0, drop("BitsStored"))], ids=["size", "bits"])
def test_a_header_that_contradicts_its_pixels_is_refused(change, tmp_path):
    file = ultrasound()
    change(file, 0)
    save(file, tmp_path / "image")
    found = index(tmp_path, Config())
    verdicts = [record.verdict for patient in found.patients for record in patient.series]
    assert verdicts == [Verdict.REJECT]


def test_a_transfer_syntax_that_nothing_decodes_is_refused_by_name(tmp_path):
    file = ultrasound()
    encode(JPEGLSLossless)(file, 0)
    save(file, tmp_path / "image")
    content = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(content.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.82"))
    with pytest.raises(RefusedError) as refusal:
        open_series(tmp_path)
    assert refusal.value.problem.code == "E-PIX-DECODE"


@pytest.mark.parametrize(
    "make", [ultrasound, radiograph, lambda: bone_scan(ANTERIOR, POSTERIOR)], ids=["US", "DX", "NM"]
)
def test_damage_anywhere_in_the_header_is_refused_or_harmless(make, tmp_path):
    path = tmp_path / "image"
    save(make(), path)
    whole = path.read_bytes()
    header = whole.rindex(b"\xe0\x7f\x10\x00")
    for seed in range(60):
        draw = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(132, header)] = draw.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of values that break their representation
            records = [record for patient in index(tmp_path, Config()).patients for record in patient.series]
            for record in records:
                try:
                    load(record, Config())
                except PipelineError:
                    continue
