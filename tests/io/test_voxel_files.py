"""NIfTI and NRRD: any order of axes on its own lattice; nothing allocated on a header's word."""

import contextlib
import gzip
import random
import struct

import nibabel as nib
import numpy as np
import pytest

from imaging_pipeline.domain.geometry import IDENTITY, Grid, as_matrix
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.errors import OutputError, RefusedError
from imaging_pipeline.io.nifti import read_nifti, write_nifti
from imaging_pipeline.io.nrrd import read_nrrd

NOBODY = Series("", "", "", "", "", "", ())
HU = "[hnsf'U]"


def oblique_grid(shape, spacing=(2.5, 0.7, 0.8)):
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing
    matrix[:3, 3] = (-10, 20, 30)
    return Grid(shape, as_matrix(matrix))


def volume(dtype=np.int16, shape=(4, 5, 6)):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return Volume(array, oblique_grid(shape), HU, NOBODY)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_what_is_written_is_read_again(dtype, name, tmp_path):
    original = volume(dtype)
    write_nifti(original, tmp_path / name)
    again = read_nifti(tmp_path / name, unit=HU)
    assert np.array_equal(again.array, original.array)
    assert np.allclose(again.grid.matrix, original.grid.matrix, atol=1e-5)
    assert again.unit == HU


def test_another_reader_finds_every_voxel_where_it_is(tmp_path):
    original = volume()
    write_nifti(original, tmp_path / "a.nii.gz")
    theirs = nib.load(tmp_path / "a.nii.gz")
    data = np.asarray(theirs.dataobj)
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        slice_, row, column = index
        assert data[column, row, slice_] == original.array[index]
        right, anterior, superior, _ = theirs.affine @ (column, row, slice_, 1)
        assert (-right, -anterior, superior) == pytest.approx(original.grid.to_lps(index), abs=1e-4)


def test_equal_content_gives_equal_bytes(tmp_path):
    write_nifti(volume(), tmp_path / "a.nii.gz")
    write_nifti(volume(), tmp_path / "elsewhere" / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "elsewhere" / "b.nii.gz").read_bytes()


def test_a_mask_is_written_as_zeros_and_ones(tmp_path):
    mask = Mask(volume().array > 50, oblique_grid((4, 5, 6)), "test")
    write_nifti(mask, tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).T, mask.array.astype(np.uint8))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_nifti(volume(), tmp_path / "file" / "a.nii.gz")


@pytest.mark.parametrize("slices_along", [0, 1, 2])
def test_slices_lie_along_the_coarsest_axis(slices_along, tmp_path):
    spacing = [1.0, 1.0, 1.0]
    spacing[slices_along] = 5.0
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([*spacing, 1.0])), tmp_path / "a.nii")
    found = read_nifti(tmp_path / "a.nii")
    assert found.grid.spacing_mm == pytest.approx((5.0, 1.0, 1.0))
    assert found.array.shape[0] == (4, 5, 6)[slices_along]


def test_without_a_coarsest_axis_slices_are_axial(tmp_path):
    to_superior = np.array([[0, 0, 1.5, 0], [-1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), to_superior), tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").array.shape[0] == 5


def test_a_trailing_axis_of_one_is_no_axis(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 1, 1), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").array.size == 120


def test_a_stated_scale_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6) / 4, np.eye(4))
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").array.max() == pytest.approx(119 / 4, abs=1e-3)


def test_nifti_2_and_the_other_byte_order_are_read(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.Nifti2Image(data, np.eye(4)), tmp_path / "two.nii")
    nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=">")).to_filename(tmp_path / "big.nii")
    for name in ("two.nii", "big.nii"):
        assert np.array_equal(np.sort(read_nifti(tmp_path / name).array.ravel()), np.arange(120))


def test_lengths_in_micrometres_become_millimetres(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([500.0, 500.0, 500.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").grid.spacing_mm == pytest.approx((0.5, 0.5, 0.5))


def nifti_bytes(change=lambda image: None, shape=(4, 5, 6), matrix=None, dtype=np.int16):
    image = nib.Nifti1Image(np.zeros(shape, dtype), np.eye(4) if matrix is None else matrix)
    image.set_sform(image.affine, code=1)
    change(image)
    return image.to_bytes()


def without_place(image):
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)


def mirrored(image):
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)


def saying(offset, layout, *values):
    """A NIfTI-1 file with other values at a place of its header."""
    content = bytearray(nifti_bytes())
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def claiming(*shape):
    return saying(42, "<3h", *shape)


DAMAGED_NIFTI = {
    "text": (b"no image at all" * 50, "E-FILE-NIFTI"),
    "a cut header": (nifti_bytes()[:200], "E-FILE-NIFTI"),
    "cut voxels": (nifti_bytes()[:-1], "E-FILE-TRUNCATED"),
    "a gzip stream cut short": (gzip.compress(nifti_bytes())[:-30], "E-FILE-TRUNCATED"),
    "a flipped bit in a gzip stream": (gzip.compress(nifti_bytes())[:-6] + b"\1\2\3\4\5\6", "E-FILE-TRUNCATED"),
    "a bomb": (gzip.compress(claiming(32767, 32767, 2)), "E-PIX-SIZE"),
    "more voxels than any image": (claiming(32767, 32767, 32767), "E-PIX-SIZE"),
    "more voxels than bytes": (claiming(400, 5, 6), "E-FILE-TRUNCATED"),
    "several frames": (nifti_bytes(shape=(4, 5, 6, 3)), "E-PIX-SIZE"),
    "neither sform nor qform": (nifti_bytes(without_place), "E-GEOM-AFFINE"),
    "a flat place": (saying(320, "<f", 0.0), "E-GEOM-AFFINE"),
    "a sheared place": (nifti_bytes(matrix=np.eye(4) + np.eye(4, k=1) * 0.1), "E-GEOM-AFFINE"),
    "a place that is no number": (saying(280, "<f", np.nan), "E-GEOM-AFFINE"),
    "complex voxels": (nifti_bytes(dtype=np.complex64), "E-PIX-FORMAT"),
    "a spacing in pixdim that is not the sform's": (saying(80, "<3f", 1, 1, 2.5), "E-GEOM-AFFINE"),
    "a qform that mirrors the sform": (nifti_bytes(mirrored), "E-GEOM-AFFINE"),
    "metres called millimetres": (nifti_bytes(matrix=np.diag([7e-4, 7e-4, 2.5e-3, 1])), "E-GEOM-AFFINE"),
    "a rotation that is none": (saying(252, "<2h3f", 1, 0, 3.0, 3.0, 3.0), "E-FILE-NIFTI"),
    "an unknown unit of length": (saying(123, "<B", 7), "E-FILE-NIFTI"),
    "voxels that begin nowhere": (saying(108, "<f", np.nan), "E-FILE-NIFTI"),
    "a scale that is no number": (saying(112, "<2f", 1.0, np.nan), "E-FILE-NIFTI"),
    "a place beyond all numbers": (saying(280, "<4f", 3e38, 3e38, 3e38, 3e38), "E-GEOM-AFFINE"),
}


@pytest.mark.parametrize("damage", DAMAGED_NIFTI)
def test_a_nifti_that_cannot_be_trusted_is_refused(damage, tmp_path):
    content, code = DAMAGED_NIFTI[damage]
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(RefusedError) as refusal:
        read_nifti(tmp_path / "a.nii.gz")
    assert refusal.value.problem.code == code


def test_a_place_in_a_template_yields_to_the_one_in_the_patient(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
    image.set_qform(image.affine, code=1)
    image.header.set_sform(np.diag([1.1, 1.1, 2.7, 1.0]), code=4)
    nib.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").grid.spacing_mm == pytest.approx((3.0, 1.0, 1.0))


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd"])
def test_any_damage_to_a_header_is_refused_in_silence_or_harmless(name, tmp_path, caplog):
    whole = nifti_bytes(lambda image: image.set_qform(image.affine, code=1)) if name == "a.nii" else nrrd_bytes()
    read_file, header = (read_nifti, 348) if name == "a.nii" else (read_nrrd, len(whole) - len(RAW))
    for seed in range(600):
        draw, content = random.Random(seed), bytearray(whole)
        for _ in range(draw.randrange(1, 6)):
            content[draw.randrange(header)] = draw.choice((0, 127, 128, 255, *b"-9e. ()", draw.randrange(256)))
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(RefusedError):
            read_file(tmp_path / name)
    assert not caplog.records


def test_voxels_that_are_no_numbers_are_refused(tmp_path):
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 1, 1] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(RefusedError, match="E-PIX-FORMAT"):
        read_nifti(tmp_path / "a.nii")


def test_a_label_map_that_is_nearly_empty_packs_as_far_as_deflate_goes_and_is_still_read(tmp_path):
    array = np.zeros((60, 512, 512), dtype=bool)
    array[30, 250:260, 250:260] = True
    mask = Mask(array, Grid(array.shape, IDENTITY), "test")
    write_nifti(mask, tmp_path / "mask.nii.gz")
    assert array.nbytes > 1000 * (tmp_path / "mask.nii.gz").stat().st_size
    assert np.array_equal(read_nifti(tmp_path / "mask.nii.gz").array > 0, array)


# ---- NRRD

FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 5 6",
    "space directions": "(0.8,0,0) (0,0.7,0) (0,0,2.5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-10,-20,30)",
}
DATA = np.arange(120, dtype="<i2")
RAW = DATA.tobytes()


def nrrd_bytes(newline="\n", data=RAW, **changes):
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    lines = ["NRRD0004", "# a comment: with a colon", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return (newline.join([*lines, "Segment0_ID:=one", "", ""])).encode() + data


def read(content, tmp_path):
    (tmp_path / "a.nrrd").write_bytes(content)
    return read_nrrd(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    "content",
    [
        nrrd_bytes(),
        nrrd_bytes(newline="\r\n"),
        nrrd_bytes(encoding="gzip", data=gzip.compress(RAW)),
        nrrd_bytes(endian="big", data=DATA.astype(">i2").tobytes()),
        nrrd_bytes(
            space="right-anterior-superior",
            space_directions="(-0.8,0,0) (0,-0.7,0) (0,0,2.5)",
            space_origin="(10,20,30)",
        ),
        nrrd_bytes(space="LAS", space_directions="(0.8,0,0) (0,-0.7,0) (0,0,2.5)", space_origin="(-10,20,30)"),
        nrrd_bytes(space_units='"mm" "mm" "mm"'),
        nrrd_bytes(byte_skip="0", line_skip="0"),
        nrrd_bytes(dimension="4", sizes="1 4 5 6", space_directions="none (0.8,0,0) (0,0.7,0) (0,0,2.5)"),
    ],
    ids=[
        "plain",
        "other line ends",
        "gzip",
        "big endian",
        "RAS",
        "LAS",
        "millimetres",
        "nothing skipped",
        "an axis of one",
    ],
)
def test_one_image_in_every_spelling(content, tmp_path):
    found = read(content, tmp_path)
    assert np.array_equal(found.array, DATA.reshape(6, 5, 4))
    assert found.grid.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    assert found.grid.to_lps((1, 2, 3)) == pytest.approx((-10 + 2.4, -20 + 1.4, 30 + 2.5))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"NRRD0004\nsizes: 1", "E-FILE-NRRD"),
        (b"words", "E-FILE-NRRD"),
        (nrrd_bytes(sizes=None), "E-FILE-NRRD"),
        (nrrd_bytes(type="block"), "E-FILE-NRRD"),
        (nrrd_bytes(encoding="hex"), "E-FILE-NRRD"),
        (nrrd_bytes(data_file="../other.raw"), "E-FILE-NRRD"),
        (nrrd_bytes(sizes="4 5 x"), "E-FILE-NRRD"),
        (nrrd_bytes(sizes="4 5"), "E-FILE-NRRD"),
        (nrrd_bytes(sizes="4 5 60"), "E-FILE-TRUNCATED"),
        (nrrd_bytes(sizes="40000 50000 60000"), "E-PIX-SIZE"),
        (nrrd_bytes(encoding="gzip", sizes="4000 5000 6", data=gzip.compress(bytes(100))), "E-PIX-SIZE"),
        (nrrd_bytes(dimension="4", sizes="3 4 5 6", space_directions="none (1,0,0) (0,1,0) (0,0,1)"), "E-PIX-SIZE"),
        (nrrd_bytes(space=None), "E-GEOM-AFFINE"),
        (nrrd_bytes(space="scanner-xyz"), "E-GEOM-AFFINE"),
        (nrrd_bytes(space_directions="(0,0,0) (0,0.7,0) (0,0,2.5)"), "E-GEOM-AFFINE"),
        (nrrd_bytes(space_units='"cm" "cm" "cm"'), "E-GEOM-AFFINE"),
        (nrrd_bytes(byte_skip="100", data=bytes(100) + RAW), "E-FILE-NRRD"),
        (nrrd_bytes(line_skip="1", data=b"words\n" + RAW), "E-FILE-NRRD"),
    ],
)
def test_an_nrrd_that_cannot_be_trusted_is_refused(content, code, tmp_path):
    with pytest.raises(RefusedError) as refusal:
        read(content, tmp_path)
    assert refusal.value.problem.code == code
