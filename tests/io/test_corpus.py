"""Every kind of the hazard corpus, in its defined outcome; `make hazards` runs thousands of cases."""

import pytest

from tests.io.hazards import HAZARDS, campaign, run_case
from tests.io.junk import junk_campaign

#: Kinds in HAZARDS.md; the corpus has every one of them, and more.
KINDS = 113


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_has_its_defined_outcome(name, tmp_path):
    number = list(HAZARDS).index(name)
    for seed in (number, number + 1000):
        run_case(name, seed, tmp_path / str(seed))


def test_the_corpus_is_as_large_as_it_says():
    assert len(HAZARDS) >= KINDS
    assert 2 * len(HAZARDS) >= 400


def test_junk_among_the_scans_changes_nothing_and_is_listed_once(tmp_path):
    assert junk_campaign(tmp_path, files=400, seed=1) == []


@pytest.mark.slow
def test_thousands_of_cases_have_their_defined_outcome(tmp_path):
    assert campaign(5000, tmp_path, first_seed=50_000) == []


@pytest.mark.slow
def test_ten_thousand_files_with_a_fifth_of_junk_change_nothing(tmp_path):
    assert junk_campaign(tmp_path, files=10_000, seed=2) == []
