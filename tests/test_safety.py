"""Nothing that scans or settings say is ever run, and nothing is sent anywhere."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import imaging_pipeline

PACKAGE = Path(imaging_pipeline.__file__).parent
MINI = PACKAGE.parent / "sample_data" / "mini"

#: Calls that run what they are given, and arguments that make harmless ones do so.
RUNS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
RUNS |= {"pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "joblib.load"}
SWITCHES = {"allow_pickle", "shell"}

#: Installed before anything else in every process of a command: whoever speaks to a network ends it.
NO_NETWORK = """
import os, sys
def watch(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"{event} {arguments!r}".encode())
        os._exit(99)
sys.addaudithook(watch)
"""


def doubtful(path):
    """Each call in a module that could run data, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            switched = any(item.arg in SWITCHES and ast.unparse(item.value) != "False" for item in node.keywords)
            unsaid = ast.unparse(node.func) in ("np.load", "numpy.load") and not node.keywords
            if ast.unparse(node.func) in RUNS or switched or unsaid:
                yield f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def test_no_module_runs_what_it_reads():
    assert [call for path in PACKAGE.rglob("*.py") for call in doubtful(path)] == []


def test_the_search_finds_such_calls(tmp_path):
    calls = ("eval(x)", "yaml.load(x)", "np.load(x)", "run(x, shell=True)", "np.load(x, allow_pickle=y)")
    (tmp_path / "bad.py").write_text("\n".join((*calls, "np.load(x, allow_pickle=False)", "re.compile(x)")))
    assert len(list(doubtful(tmp_path / "bad.py"))) == len(calls)


def silent(tmp_path, *command):
    """Do a command, in a folder of its own, with every process of it watched."""
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    return subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(PACKAGE.parent)))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_watch_sees_a_network(tmp_path):
    speaks = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert silent(tmp_path, "-c", speaks).returncode == 99


@pytest.mark.parametrize(
    "command",
    [
        ["index", str(MINI)],
        ["convert", str(next(MINI.rglob("*Lumbar_CT*"))), "--out", "ct.nii.gz"],
        pytest.param(
            ["run", str(MINI), "--config", str(PACKAGE.parent / "configs/mpnst.yaml"), "--out", "out"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda command: command[0],
)
def test_a_command_speaks_to_no_network(command, tmp_path):
    done = silent(tmp_path, "-m", "imaging_pipeline", *command)
    assert done.returncode == 0, done.stderr
