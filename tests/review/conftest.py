"""What the tests of the review page start from: a results folder of one case."""

import pytest

from tests.review.desks import CASE, results_folder


@pytest.fixture
def results(tmp_path):
    return results_folder(tmp_path)


@pytest.fixture
def place(results):
    return results / "cases" / CASE
