"""Agreement of two readings, against the worked examples of the papers the statistics come from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from imaging_pipeline.numerics.agreement import (
    intraclass_correlation,
    kappa,
    limits_of_agreement,
    linear_weights,
)

# Bland and Altman, Lancet 1986; i: 307-310: peak flow in l/min of 17 people, first readings of either meter.
LARGE_METER = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI_METER = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)

# Shrout and Fleiss, Psychol Bull 1979; 86: 420-428, table 2: six targets, four judges.
FOUR_JUDGES = ((9, 2, 5, 8), (6, 1, 3, 2), (8, 4, 6, 8), (7, 1, 2, 6), (10, 5, 6, 9), (6, 2, 4, 7))

# Cohen, Psychol Bull 1968; 70: 213-220, table 1: proportions of 200 diagnoses, and how grave each disagreement is.
DIAGNOSES = np.array(((0.44, 0.07, 0.09), (0.05, 0.20, 0.05), (0.01, 0.03, 0.06))) * 200
GRAVITY = np.array(((0, 1, 3), (1, 0, 6), (3, 6, 0)))

# Fleiss, Cohen and Everitt, Psychol Bull 1969; 72: 323-327: 200 diagnoses, and weights of agreement.
OTHER_DIAGNOSES = ((106, 10, 4), (22, 28, 10), (2, 12, 6))
OTHER_WEIGHTS = ((1, 0, 4 / 9), (0, 1, 2 / 3), (4 / 9, 2 / 3, 1))


def test_the_peak_flow_meters_agree_as_published():
    """Printed: bias -2.1 (large less mini), SD 38.8, interval of the bias -22.0 to 17.8, t x SE of a limit 34.6."""
    limits = limits_of_agreement(MINI_METER, LARGE_METER)
    assert limits.bias.value == pytest.approx(-2.1, abs=0.05)
    assert (limits.upper.value - limits.bias.value) / 1.96 == pytest.approx(38.8, abs=0.05)
    assert limits.bias.lower95 == pytest.approx(-22.0, abs=0.1)
    assert limits.bias.upper95 == pytest.approx(17.8, abs=0.1)
    for limit in (limits.lower, limits.upper):
        assert limit.upper95 - limit.value == pytest.approx(34.6, abs=0.1)
        assert limit.value - limit.lower95 == pytest.approx(34.6, abs=0.1)
    assert limits.bias.value - limits.lower.value == pytest.approx(limits.upper.value - limits.bias.value)


def test_one_pair_has_no_limits():
    assert limits_of_agreement([1.0], [2.0]) is None


def test_four_judges_correlate_as_published():
    """Printed: .29; the interval .019 to .761 is that of R's psych 1.x for the same table."""
    icc = intraclass_correlation(FOUR_JUDGES)
    assert icc.value == pytest.approx(0.29, abs=0.005)
    assert icc.lower95 == pytest.approx(0.019, abs=0.001)
    assert icc.upper95 == pytest.approx(0.761, abs=0.001)


def test_readings_that_are_one_correlate_fully():
    assert intraclass_correlation([(1, 1), (2, 2), (5, 5)]) == (1, 1, 1)


def test_a_constant_difference_counts_against_absolute_agreement():
    """Consistent readers, one 1 mm above the other: the variance between things by all variance, 1 / (1 + 1/2)."""
    icc = intraclass_correlation([(0, 1), (1, 2), (2, 3)])
    assert icc.value == pytest.approx(1 / 1.5)
    assert icc.lower95 < icc.value < icc.upper95


@pytest.mark.parametrize("ratings", [[(1, 2)], [(3, 3), (3, 3)]])
def test_without_variation_there_is_no_correlation(ratings):
    assert intraclass_correlation(ratings) is None


def test_the_interval_of_the_correlation_covers_the_truth():
    """Of 400 draws from a known model (variances 4, 0.25 and 1) about 95 % of intervals hold 4 / 5.25."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        things, readers = random.normal(0, 2, (40, 1)), random.normal(0, 0.5, (1, 4))
        icc = intraclass_correlation(things + readers + random.normal(0, 1, (40, 4)))
        held += icc.lower95 <= 4 / 5.25 <= icc.upper95
    assert stats.binom.cdf(held, 400, 0.95) > 0.001
    assert held / 400 < 0.99


def test_kappa_is_cohens():
    """Printed: .492 unweighted, .348 weighted."""
    assert kappa(DIAGNOSES).value == pytest.approx(0.492, abs=0.0005)
    assert kappa(DIAGNOSES, 1 - GRAVITY / 6).value == pytest.approx(0.348, abs=0.0005)


def test_the_error_of_kappa_is_that_of_fleiss_cohen_and_everitt():
    """Printed: kappa .429 with variance .002885; weighted .507 with variance .003248."""
    plain, weighted = kappa(OTHER_DIAGNOSES), kappa(OTHER_DIAGNOSES, OTHER_WEIGHTS)
    assert plain.value == pytest.approx(0.429, abs=0.0005)
    assert ((plain.upper95 - plain.value) / 1.959964) ** 2 == pytest.approx(0.002885, abs=5e-7)
    assert weighted.value == pytest.approx(0.507, abs=0.0005)
    assert ((weighted.upper95 - weighted.value) / 1.959964) ** 2 == pytest.approx(0.003248, abs=5e-6)


def test_kappa_of_full_agreement_is_one_and_of_chance_nothing():
    assert kappa([[5, 0], [0, 5]]) == (1, 1, 1)
    assert kappa([[4, 4], [4, 4]]).value == pytest.approx(0)
    assert kappa([[9, 0], [0, 0]]) is None
    assert kappa([[0, 0], [0, 0]]) is None


def test_linear_weights_fall_evenly():
    assert linear_weights(3).tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
