"""How well two readings agree: limits of agreement, intraclass correlation, kappa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from imaging_pipeline.numerics.uncertainty import NORMAL_95

#: Quantile that leaves 2.5 % on either side of a 95 % interval.
_UPPER = 0.975


class Bounded(NamedTuple):
    """A number with its 95 % confidence interval."""

    value: float
    lower95: float
    upper95: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Mean of the differences of two readings, and the limits between which 95 % of them lie."""

    bias: Bounded
    lower: Bounded
    upper: Bounded


def limits_of_agreement(first: ArrayLike, second: ArrayLike) -> Limits | None:
    """Bias of the second reading against the first, and limits of agreement; None for fewer than two pairs.

    Parameters
    ----------
    first, second : (N,)
        The same things by two readings, in one unit; pairs are taken as independent.

    *Source*: Bland and Altman, Lancet 1986; i: 307-310. Limits at 1.96 SD of the differences, their standard
    error the root of 3 SD squared by N.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if differences.size < 2:
        return None
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    half_width = float(stats.t.ppf(_UPPER, differences.size - 1)) * sd / np.sqrt(differences.size)
    wider = np.sqrt(3) * half_width
    return Limits(
        _around(bias, half_width), _around(bias - NORMAL_95 * sd, wider), _around(bias + NORMAL_95 * sd, wider)
    )


def intraclass_correlation(ratings: ArrayLike) -> Bounded | None:
    """ICC(2,1): absolute agreement of single readings, by readers who stand for any.

    Parameters
    ----------
    ratings : (N, K)
        One row per thing measured, one column per reader.

    Returns
    -------
    Bounded or None
        None for fewer than two rows, or where nothing varies.

    *Source*: Shrout and Fleiss, Psychol Bull 1979; 86: 420-428, case 2.
    """
    table = np.asarray(ratings, dtype=np.float64)
    rows, readers = table.shape
    if rows < 2 or np.ptp(table) == 0:
        return None
    things, judges, error = _mean_squares(table)
    icc = (things - error) / (things + (readers - 1) * error + readers * (judges - error) / rows)
    if judges == error == 0:
        return Bounded(icc, icc, icc)
    # Satterthwaite's degrees of freedom of what readers and error add to a single reading.
    by_readers = readers * icc * judges
    by_error = (rows * (1 + (readers - 1) * icc) - readers * icc) * error
    freedom = (readers - 1) * (rows - 1) * (by_readers + by_error) ** 2
    freedom /= (rows - 1) * by_readers**2 + by_error**2
    above, below = stats.f.ppf(_UPPER, rows - 1, freedom), stats.f.ppf(_UPPER, freedom, rows - 1)
    spread = readers * judges + (readers * rows - readers - rows) * error
    lower = rows * (things - above * error) / (above * spread + rows * things)
    upper = rows * (below * things - error) / (spread + rows * below * things)
    return Bounded(float(icc), float(lower), float(upper))


def _mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of a two-way analysis of variance: between things, between readers, and of what is left."""
    rows, readers = table.shape
    mean, of_things, of_readers = table.mean(), table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    things = readers * float(((of_things - mean) ** 2).sum()) / (rows - 1)
    judges = rows * float(((of_readers - mean) ** 2).sum()) / (readers - 1)
    left = float(((table - of_things - of_readers + mean) ** 2).sum()) / ((rows - 1) * (readers - 1))
    return things, judges, left


def kappa(counts: ArrayLike, weights: ArrayLike | None = None) -> Bounded | None:
    """Cohen's kappa: agreement on categories beyond what chance would give.

    Parameters
    ----------
    counts : (K, K)
        How often the first reading said the row's category and the second the column's.
    weights : (K, K)
        How much each pair counts as agreement, 1 for the same; without, only the same counts.

    Returns
    -------
    Bounded or None
        None for fewer than two pairs, or where chance alone would agree always.

    *Source*: Cohen, Educ Psychol Meas 1960; 20: 37-46, and Psychol Bull 1968; 70: 213-220; standard error by
    Fleiss, Cohen and Everitt, Psychol Bull 1969; 72: 323-327.
    """
    table = np.asarray(counts, dtype=np.float64)
    total = table.sum()
    if total < 2:
        return None
    share = table / total
    weight = np.eye(len(table)) if weights is None else np.asarray(weights, dtype=np.float64)
    first, second = share.sum(axis=1), share.sum(axis=0)
    observed, by_chance = float((weight * share).sum()), float(first @ weight @ second)
    if np.isclose(by_chance, 1):
        return None
    value = (observed - by_chance) / (1 - by_chance)
    of_categories = (weight @ second)[:, None] + (first @ weight)[None, :]
    terms = share * (weight * (1 - by_chance) - of_categories * (1 - observed)) ** 2
    variance = float(terms.sum()) - (observed * by_chance - 2 * by_chance + observed) ** 2
    error = np.sqrt(max(variance, 0.0) / total) / (1 - by_chance) ** 2
    return _around(value, NORMAL_95 * float(error))


def linear_weights(count: int) -> NDArray[np.float64]:
    """Agreement of ordered categories that falls evenly with their distance, from 1 to 0."""
    place = np.arange(count)
    weights: NDArray[np.float64] = 1 - np.abs(place[:, None] - place) / (count - 1)
    return weights


def _around(value: float, half_width: float) -> Bounded:
    return Bounded(value, value - half_width, value + half_width)
