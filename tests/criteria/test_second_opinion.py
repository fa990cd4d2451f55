"""Two implementations, one from the paper's tables alone, agree on random courses of disease."""

from __future__ import annotations

import datetime
from random import Random

import pytest

from imaging_pipeline.criteria.documents import answer
from tests.criteria import random_series, second_opinion


def compare(seed):
    document = random_series.document(Random(seed))
    retention = ("eortc", "literal")[seed % 2]
    answered = answer({**document, "params": {"pr_retention": retention}})
    rows = second_opinion.judge(document, retention)
    visits = answered["visits"][1:]
    assert [(visit["target"], visit["non_target"], visit["overall"]) for visit in visits] == rows
    assert answered["progression_date"] == second_opinion.progression(document, rows)
    start = datetime.date.fromisoformat(document["visits"][0]["date"])
    best = second_opinion.best(second_opinion.dated(document, rows), start)
    assert tuple(answered["best_overall_response"].values()) == best
    return {visit["overall"] for visit in visits}


def test_both_agree_and_every_code_occurs():
    seen = set().union(*(compare(seed) for seed in range(600)))
    assert seen == {"CR", "PR", "SD", "PD", "NE", "NON-CR/NON-PD", "NED"}


@pytest.mark.slow
def test_both_agree_on_ten_thousand():
    for seed in range(10_000):
        compare(seed)
