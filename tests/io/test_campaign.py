"""Random damage to one file of a series: never a wrong number without a word, never a crash.

Damage is done before the pixels only: what changes a pixel and nothing else is beyond any reader.
"""

import random
import struct

import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from imaging_pipeline.config import Config
from imaging_pipeline.errors import PipelineError
from imaging_pipeline.io.dicom import Verdict
from imaging_pipeline.io.folder import index, index_document
from imaging_pipeline.io.loaders import open_series
from tests.io.build import ORIGIN_LPS, SPACING_MM, density, encode, write_series

PIXEL_DATA = struct.pack("<HH", 0x7FE0, 0x0010)
ENCODINGS = {"explicit": None, "implicit": ImplicitVRLittleEndian, "RLE": RLELossless, "JPEG-LS": JPEGLSLossless}


def flip(content, end, draw):
    content[draw.randrange(128, end)] ^= 1 << draw.randrange(8)


def overwrite(content, end, draw):
    for _ in range(draw.randrange(1, 9)):
        content[draw.randrange(128, end)] = draw.randrange(256)


def cut(content, end, draw):
    del content[draw.randrange(len(content)) :]


def insert(content, end, draw):
    place = draw.randrange(128, end)
    content[place:place] = draw.randbytes(draw.randrange(1, 20))


def delete(content, end, draw):
    place = draw.randrange(128, end)
    del content[place : place + draw.randrange(1, 20)]


def swap(content, end, draw):
    one, other = draw.randrange(128, end - 8), draw.randrange(128, end - 8)
    content[one : one + 8], content[other : other + 8] = content[other : other + 8], content[one : one + 8]


DAMAGE = (flip, overwrite, cut, insert, delete, swap)


def is_true(volume):
    return (
        np.array_equal(volume.array, density())
        and np.allclose(volume.grid.to_lps((0, 0, 0)), ORIGIN_LPS)
        and np.allclose(volume.grid.spacing_mm, SPACING_MM)
    )


def damage_and_look(paths, folder, seed):
    """One file damaged, the folder looked at, the file healed again."""
    draw = random.Random(seed)
    path = draw.choice(paths)
    whole = path.read_bytes()
    content = bytearray(whole)
    damage = draw.choice(DAMAGE)
    damage(content, whole.index(PIXEL_DATA) + 8, draw)
    path.write_bytes(content)
    try:
        index_document(index(folder, Config()))
        volume, verdict, _ = open_series(folder)
        assert is_true(volume) or verdict is Verdict.WARN, f"{damage.__name__}, seed {seed}: wrong without a word"
    except PipelineError:
        pass  # refused by name
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_damage_is_refused_named_or_harmless(encoding, tmp_path):
    uid = ENCODINGS[encoding]
    paths = write_series(tmp_path, *([encode(uid)] if uid else []))
    for seed in range(120):
        damage_and_look(paths, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_much_damage_is_refused_named_or_harmless(encoding, tmp_path):
    uid = ENCODINGS[encoding]
    paths = write_series(tmp_path, *([encode(uid)] if uid else []))
    for seed in range(1000, 2500):
        damage_and_look(paths, tmp_path, seed)
