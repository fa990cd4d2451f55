"""Work in a process of its own: its results and refusals come back, its death is told."""

import os
import signal
import time

import numpy as np
import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.errors import ConfigurationError, RefusedError
from imaging_pipeline.io import loaders
from imaging_pipeline.io.guard import ONE_IMAGE, Limits, guarded


def test_a_result_comes_back():
    assert guarded(sum, "numbers", ONE_IMAGE, [1, 2, 3]) == 6


def refuse(words):
    raise ConfigurationError("E-CONFIG", "a file", found=words, expected="others", remedy="change them")


def test_a_refusal_comes_back_as_it_was():
    with pytest.raises(ConfigurationError, match="odd words") as refusal:
        guarded(refuse, "a file", ONE_IMAGE, "odd words")
    assert refusal.value.exit_code == 2


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(5)


def spin():
    while True:
        pass


def crash(number):
    with pytest.raises(RefusedError) as refusal:
        guarded(die, "series 1.2.3", ONE_IMAGE, number)
    return refusal.value.problem


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_crash_costs_the_work_only(number):
    problem = crash(number)
    assert (problem.code, problem.subject) == ("E-WORKER-DIED", "series 1.2.3")


def test_work_without_end_is_stopped():
    began = time.monotonic()
    with pytest.raises(RefusedError, match="E-WORKER-DIED"):
        guarded(spin, "series 1.2.3", Limits(cpu_seconds=1))
    with pytest.raises(RefusedError, match="E-WORKER-DIED"):
        guarded(time.sleep, "series 1.2.3", Limits(wall_seconds=1), 60)
    assert time.monotonic() - began < 30


def test_memory_is_not_given_beyond_the_limit():
    with pytest.raises(RefusedError, match=r"E-WORKER-DIED.*memory"):
        guarded(np.ones, "series 1.2.3", Limits(memory_bytes=3 * 2**30), 2**30)


@pytest.mark.parametrize("command", [["convert", "CT", "--out", "ct.nii.gz"], ["measure", "CT", "mask.nii.gz"]])
def test_a_decoder_that_crashes_costs_a_command_one_line(command, tmp_path, monkeypatch):
    (tmp_path / "CT").mkdir()
    (tmp_path / "mask.nii.gz").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loaders, "open_series", lambda *_: die(signal.SIGKILL))
    told = CliRunner().invoke(cli, command)
    assert told.exit_code == 4
    assert told.stderr.startswith("E-WORKER-DIED CT")
    assert len(told.stderr.splitlines()) == 1
