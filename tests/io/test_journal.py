"""The journal: what was signed stays, what was changed is found, and a killed process loses nothing it was told of."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from imaging_pipeline.domain.case import Review
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.errors import OutputError, RefusedError
from imaging_pipeline.io.journal import HEAD, JOURNAL, OUTLINES, append, read, set_aside_torn

# An affine that single precision cannot hold, and a frame of reference that NIfTI has no place for.
GRID = Grid(
    (3, 5, 4),
    as_matrix([[0.0, 0.1, 0.7, -12.3], [0.0, 0.7, -0.1, 4.1], [2.5, 0.0, 0.0, -200.7], [0, 0, 0, 1]]),
    frame_of_reference_uid="1.2.3",
)

ACCEPT = Review("Reader A", "2024-03-01T09:00:00Z", "accept", 0, "a" * 64, "", lesion_id="L4")
AXIS = replace(
    ACCEPT, act="adjust", quantity="longest_diameter", points_lps=((0.1, -2.0, 3.5), (4.0, 5.25, 6.0)), comment="édge"
)
SIGN = Review("Reader A", "2024-03-01T09:05:00Z", "sign", 0, "b" * 64, "")


def outline(voxels=7):
    array = np.zeros(GRID.shape, dtype=bool)
    array.flat[:voxels] = True
    return Mask(array, GRID, "brush")


@pytest.fixture
def folder(tmp_path):
    """A journal of four acts, one of which puts an outline in place."""
    append(tmp_path, ACCEPT)
    append(tmp_path, AXIS)
    append(tmp_path, replace(ACCEPT, act="adjust", comment="bone left out"), outline())
    append(tmp_path, SIGN)
    return tmp_path


def refusal(folder):
    with pytest.raises(RefusedError) as caught:
        read(folder)
    return caught.value.problem


# ---- What is written comes back


def test_a_case_nobody_has_judged_has_no_acts(tmp_path):
    assert read(tmp_path) == ((), {})


def test_acts_come_back_in_order_each_naming_the_one_before(folder):
    acts, _ = read(folder)
    assert [act.act for act in acts] == ["accept", "adjust", "adjust", "sign"]
    assert [act.previous for act in acts] == ["", *(digest(act) for act in acts[:-1])]
    assert acts[1].points_lps == AXIS.points_lps
    assert acts[1].comment == "édge"


def test_an_outline_comes_back_with_its_place_to_the_last_bit_and_its_reader(folder):
    acts, outlines = read(folder)
    kept = outlines[acts[2].mask]
    assert kept == outline()
    assert kept.grid == GRID
    assert kept.maker == "Reader A"
    assert (folder / OUTLINES / f"{kept.digest}.nii.gz").is_file()


def test_append_returns_the_act_as_the_journal_holds_it(tmp_path):
    assert append(tmp_path, ACCEPT, outline()) == read(tmp_path)[0][0]


def test_the_journal_only_ever_grows_at_its_end(folder):
    before = (folder / JOURNAL).read_bytes()
    append(folder, ACCEPT)
    after = (folder / JOURNAL).read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 5


def test_line_breaks_and_controls_in_a_comment_stay_inside_their_line(tmp_path):
    said = 'one\ntwo\r\x00\x1b[31m\u2028\u202e{}"'
    append(tmp_path, replace(ACCEPT, comment=said))
    assert (tmp_path / JOURNAL).read_bytes().count(b"\n") == 1
    assert read(tmp_path)[0][0].comment == said


def test_an_act_that_could_not_be_read_again_is_never_written(folder):
    before = (folder / JOURNAL).read_bytes()
    for act in (replace(ACCEPT, comment="\ud800"), replace(ACCEPT, visit="0"), replace(ACCEPT, act="erase")):
        with pytest.raises(RefusedError):
            append(folder, act)
    assert (folder / JOURNAL).read_bytes() == before
    assert len(read(folder)[0]) == 4


def test_a_full_disk_takes_nothing_half_written(folder, monkeypatch):
    before = (folder / JOURNAL).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:20]))
    with pytest.raises(OutputError):
        append(folder, ACCEPT)
    monkeypatch.undo()
    assert (folder / JOURNAL).read_bytes() == before
    assert append(folder, ACCEPT) == read(folder)[0][-1]


def test_a_journal_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("")
    inside = tmp_path / "case"
    inside.mkdir()
    (inside / JOURNAL).symlink_to(outside)
    with pytest.raises(OutputError):
        append(inside, ACCEPT)
    assert refusal(inside).code == "E-JOURNAL"


# ---- What was changed is found


@pytest.mark.parametrize("name", [JOURNAL, HEAD])
def test_every_changed_byte_is_found(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = whole[place] ^ (1 << place % 8)
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        assert refusal(folder).code == "E-JOURNAL", place
    path.write_bytes(whole)
    assert len(read(folder)[0]) == 4


def test_every_removed_byte_is_found(folder):
    path = folder / JOURNAL
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + whole[place + 1 :])
        assert refusal(folder).code == "E-JOURNAL", place


def test_every_removed_repeated_and_swapped_line_is_found(folder):
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    tampered = [lines[:number] + lines[number + 1 :] for number in range(4)]
    tampered += [lines[: number + 1] + lines[number:] for number in range(4)]
    for one, other in combinations(range(4), 2):
        swapped = list(lines)
        swapped[one], swapped[other] = lines[other], lines[one]
        tampered.append(swapped)
    assert len(tampered) == 14
    for content in tampered:
        path.write_bytes(b"".join(content))
        assert refusal(folder).code == "E-JOURNAL"


def test_every_cut_at_the_end_is_found_whole_lines_too(folder):
    path = folder / JOURNAL
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refusal(folder).code == "E-JOURNAL", length


def test_a_journal_without_its_head_or_a_head_without_its_journal_is_found(folder):
    head = (folder / HEAD).read_bytes()
    (folder / HEAD).unlink()
    assert refusal(folder).code == "E-JOURNAL"
    (folder / HEAD).write_bytes(head)
    (folder / JOURNAL).unlink()
    assert refusal(folder).code == "E-JOURNAL"


def test_an_act_rewritten_with_its_own_digest_still_does_not_fit_the_chain(folder):
    path = folder / JOURNAL
    for number in range(4):
        lines = path.read_bytes().splitlines(keepends=True)
        entry = json.loads(lines[number])
        entry["review"]["comment"] = "I never said that"
        acts, _ = read(folder)
        entry["digest"] = digest(replace(acts[number], comment="I never said that"))
        forged = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        path.write_bytes(b"".join([*lines[:number], forged, *lines[number + 1 :]]))
        assert refusal(folder).code == "E-JOURNAL"
        path.write_bytes(b"".join(lines))


def test_a_changed_missing_or_exchanged_outline_is_found(folder):
    place = next((folder / OUTLINES).iterdir())
    whole = place.read_bytes()
    append(folder, ACCEPT, outline(8))
    other = next(path for path in (folder / OUTLINES).iterdir() if path != place)
    for content in (whole[: len(whole) // 2], b"", other.read_bytes()):
        place.write_bytes(content)
        assert OUTLINES in refusal(folder).subject
    place.unlink()
    assert OUTLINES in refusal(folder).subject
    place.write_bytes(whole)
    assert len(read(folder)[0]) == 5


def test_nothing_is_added_to_a_journal_that_is_not_whole(folder):
    path = folder / JOURNAL
    content = path.read_bytes().replace(b"Reader A", b"Reader B", 1)
    path.write_bytes(content)
    with pytest.raises(RefusedError):
        append(folder, ACCEPT)
    assert path.read_bytes() == content


# ---- Torn lines and killed processes


def test_a_torn_line_is_named_with_its_number_and_its_bytes(folder):
    with (folder / JOURNAL).open("ab") as stream:
        stream.write(b'{"digest":"12')
    problem = refusal(folder)
    assert problem.code == "E-JOURNAL-TORN"
    assert "line 5" in problem.subject
    assert "13 bytes" in problem.found
    with pytest.raises(RefusedError):
        append(folder, ACCEPT)


def test_a_torn_line_is_set_aside_not_thrown_away(folder):
    assert set_aside_torn(folder) is None
    with (folder / JOURNAL).open("ab") as stream:
        stream.write(b'{"digest":"12')
    kept = set_aside_torn(folder)
    assert kept.read_bytes() == b'{"digest":"12'
    assert len(read(folder)[0]) == 4
    append(folder, ACCEPT)
    assert len(read(folder)[0]) == 5


def test_setting_a_torn_line_aside_is_no_way_to_cut_the_journal(folder):
    path = folder / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(RefusedError):
        set_aside_torn(folder)
    assert path.read_bytes() == whole[:-20]


def test_a_journal_one_act_ahead_of_its_head_is_whole(folder):
    head = (folder / HEAD).read_bytes()
    append(folder, ACCEPT)
    (folder / HEAD).write_bytes(head)
    assert len(read(folder)[0]) == 5
    append(folder, ACCEPT)
    assert len(read(folder)[0]) == 6
    (folder / HEAD).write_bytes(head)
    assert refusal(folder).code == "E-JOURNAL"


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from imaging_pipeline.io import journal
from imaging_pipeline.domain.case import Review
from tests.io.test_journal import outline
folder, number = Path(sys.argv[1]), int(sys.argv[3])
journal._sync = lambda folder: None  # The machine does not stop here, only the process: no need to wait for the disk.
journal.os.fsync = lambda descriptor: None
while True:
    act = Review("R", "2024-03-01T09:00:00Z", "accept", 0, "a" * 64, "", comment=str(number))
    journal.append(folder, act, outline(1 + number % 50) if number % 3 == 0 else None)
    print(number, flush=True)
    number += 1
"""


def test_a_process_killed_at_any_moment_loses_no_act_it_was_told_of(tmp_path, pytestconfig):
    chance = random.Random(7)
    told = -1
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(pytestconfig.rootpath), str(told + 1)],
            stdout=subprocess.PIPE,
        )
        assert int(writer.stdout.readline()) == told + 1
        time.sleep(chance.uniform(0, 0.03))
        os.kill(writer.pid, signal.SIGKILL)
        told = max([told + 1, *(int(line) for line in writer.communicate()[0].split() if line)])
        acts = _mended(tmp_path)
        assert [int(act.comment) for act in acts[: told + 1]] == list(range(told + 1))
        assert len(acts) - (told + 1) in (0, 1)
        told = len(acts) - 1
    assert told > 12


def _mended(folder):
    """What the page does: read; where the last line is torn, set it aside and read again."""
    try:
        return read(folder)[0]
    except RefusedError:
        assert set_aside_torn(folder) is not None
        return read(folder)[0]


def test_two_processes_write_into_one_journal_and_every_act_is_there(tmp_path, pytestconfig):
    source = WRITER.replace("while True:", "while number % 100 < 15:")
    command = [sys.executable, "-c", source, str(tmp_path), str(pytestconfig.rootpath)]
    writers = [subprocess.Popen([*command, str(start)], stdout=subprocess.DEVNULL) for start in (0, 100)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(int(act.comment) for act in read(tmp_path)[0]) == [*range(15), *range(100, 115)]
