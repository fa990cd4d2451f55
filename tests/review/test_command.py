"""The command: it prints one address, answers there, and stops when told to."""

import http.client
import json
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from imaging_pipeline.cli import cli
from imaging_pipeline.review.server import TOKEN_HEADER
from tests.review.desks import CASE, results_folder


def test_the_address_it_prints_opens_the_case_and_ctrl_c_ends_it(tmp_path, pytestconfig):
    results = results_folder(tmp_path)
    command = [sys.executable, "-m", "imaging_pipeline", "review", str(results), "--reader", "Dr Ada"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pytestconfig.rootpath) as running:
        address = re.fullmatch(r"review page: http://127\.0\.0\.1:(\d+)/#([\w-]{43})\n", running.stdout.readline())
        listed = worklist(int(address[1]), address[2])
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert [row["case"] for row in listed["cases"]] == [CASE]
    assert listed["reader"] == "Dr Ada"


def worklist(port, token):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/worklist", headers={TOKEN_HEADER: token})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--reader", " "], ["--reader", "x" * 65]])
def test_what_cannot_be_meant_is_a_usage_error(arguments, tmp_path):
    outcome = CliRunner().invoke(cli, ["review", str(tmp_path), *arguments])
    assert outcome.exit_code == 2


def test_a_folder_without_results_is_refused_as_other_commands_do(tmp_path):
    outcome = CliRunner().invoke(cli, ["review", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "E-RESULTS" in outcome.output
