import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distillation.core.statistics import (
    Estimate,
    above,
    agreement,
    answered,
    below,
    best_of,
    estimate,
    indistinguishable_from_best,
    presuming,
    similar,
)
from distillation.mnist.results import difference, ratio

figures = st.floats(-1e4, 1e4)
samples = st.lists(figures, min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3)


@given(samples)
def test_estimate_is_students_interval(values: list[float]) -> None:
    found = estimate(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high), rel=1e-9, abs=1e-7)
    assert found.values == tuple(values)
    assert found.seeds == len(values)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_holds_the_truth_in_95_of_100_cases(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(150, 8, (2000, seeds))
    held = [found.low <= 150 <= found.high for found in map(estimate, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_interval_of_a_difference_holds_the_truth_in_95_of_100_cases() -> None:
    random = np.random.default_rng(1)
    pairs = [(random.normal(3, 1, 5), random.normal(0, 2, 5)) for _ in range(2000)]
    held = [found.low <= 3 <= found.high for found in (difference(*pair) for pair in pairs)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    found = estimate([3])
    assert (found.mean, found.seeds) == (3, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    with pytest.raises(ValueError, match="No values"):
        estimate([])


def test_text_is_for_prose() -> None:
    assert Estimate(151.6, 148.2, 156.3, (1.0, 2.0)).text() == "152 (148 to 156)"
    assert Estimate(1.25, 1.2, 1.3, (1.0, 2.0)).text(2, " %") == "1.25 % (1.20 to 1.30)"
    assert estimate([7]).text() == "7 (one seed)"
    assert Estimate(-0.01, -1.2, 0.04, (1.0, 2.0)).text(1) == "0.0 (-1.2 to 0.0)"
    found = Estimate(151.6, 148.2, 156.3, (1.0, 2.0))
    assert f"{found:1} and {found}" == f"{found.text(1)} and {found.text()}"  # as in templates


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 2, True), (-2, -0.1, True), (-1, 1, False), (0, 1, False), (-1, 0, False), (math.nan, math.nan, False)],
)
def test_an_effect_is_clear_if_its_interval_excludes_zero(low: float, high: float, expected: bool) -> None:
    assert Estimate(0.5, low, high, (0.5,)).clear is expected


@given(samples, samples)
@pytest.mark.filterwarnings("ignore:Precision loss")
def test_difference_is_welchs(a: list[float], b: list[float]) -> None:
    found, mean = difference(a, b), np.mean(a) - np.mean(b)
    low, high = mean, mean
    if np.ptp(a) or np.ptp(b):
        low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high), rel=1e-6, abs=1e-6)


def test_difference_without_spread_or_seeds() -> None:
    same = difference([5, 5, 5], [3, 3])
    assert (same.mean, same.low, same.high) == (2, 2, 2)
    alone = difference([5], [3, 4])
    assert alone.mean == 1.5
    assert math.isnan(alone.low)


def test_settings_near_the_best_are_those_whose_difference_may_be_zero() -> None:
    values = {1.0: [100, 101, 99], 2.0: [101, 100, 100.5], 4.0: [120, 121, 119]}
    assert indistinguishable_from_best(values) == (1.0, (1.0, 2.0))
    assert indistinguishable_from_best({8.0: [5.0], 2.0: [4.0], 4.0: [4.0]}) == (2.0, (2.0, 4.0))


def test_settings_are_compared_seed_by_seed() -> None:
    seeds = np.array([0.0, 50.0, 100.0])  # a constant gap stands out whatever the seeds' own spread
    assert indistinguishable_from_best({1.0: seeds, 2.0: seeds + 1}) == (1.0, (1.0,))


@given(st.dictionaries(figures, st.lists(figures, min_size=3, max_size=3), min_size=1, max_size=6))
def test_best_setting_is_among_those_near_it(values: dict[float, list[float]]) -> None:
    best, near = indistinguishable_from_best(values)
    assert best in near
    assert list(near) == sorted(near)
    assert np.mean(values[best]) == min(np.mean(runs) for runs in values.values())


def between(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, (low, high))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.6, 0.9, "reproduced"),
        (0.3, 0.9, "partly"),
        (0.3, 0.4, "partly"),
        (0.1, 0.9, "inconclusive"),
        (-0.5, 0.3, "inconclusive"),
        (-0.5, 0.1, "not reproduced"),
        (math.nan, math.nan, "inconclusive"),
        (math.nan, 0.9, "inconclusive"),
    ],
)
def test_verdict_on_an_effect(low: float, high: float, expected: str) -> None:
    assert above(between(low, high), partly=0.2, fully=0.5) == expected
    assert below(between(-high, -low), fully=-0.5, partly=-0.2) == expected  # as on its negative


@given(figures, figures, figures, figures)
def test_verdict_never_falls_when_the_effect_grows(a: float, b: float, c: float, d: float) -> None:
    (low, high), (partly, fully) = sorted((a, b)), sorted((c, d))
    rank = {"not reproduced": 0, "inconclusive": 1, "partly": 2, "reproduced": 3}
    assert rank[above(between(low, high), partly, fully)] <= rank[above(between(low + 1, high + 1), partly, fully)]


def test_verdict_on_what_is_claimed_to_be_small() -> None:
    found = {high: below(between(0.1, high), fully=0.3, partly=0.6) for high in (0.2, 0.5, 0.9)}
    assert found == {0.2: "reproduced", 0.5: "partly", 0.9: "inconclusive"}
    assert below(between(0.7, 0.9), fully=0.3, partly=0.6) == "not reproduced"


def test_a_best_setting_is_shown_with_those_that_cannot_be_told_from_it() -> None:
    found = best_of(
        *indistinguishable_from_best({1.0: [100, 101, 99], 2.0: [101, 100, 100.5], 4.0: [120, 121, 119]}), 3
    )
    assert (found.mean, found.low, found.high, found.seeds) == (1.0, 1.0, 2.0, 3)


def test_agreement_with_an_absolute_figure() -> None:
    def judged(mean: float, low: float, high: float, paper: float) -> str:
        return agreement(Estimate(mean, low, high, ()), paper)

    assert judged(110, 109, 111, 100) == "reproduced"
    assert judged(130, 90, 170, 100) == "reproduced"
    assert judged(140, 135, 145, 100) == "partly"
    assert judged(60, 55, 65, 100) == "better"
    assert agreement(Estimate(60, 55, 65, ()), 100, better=1) == "partly"
    assert agreement(Estimate(140, 135, 145, ()), 100, better=1) == "better"
    assert agreement(Estimate(60, 55, 65, ()), 100, (0, 70)) == "reproduced"  # what the target allows
    assert judged(200, 190, 210, 100) == "not reproduced"
    assert judged(-110, -111, -109, -100) == "reproduced"
    assert judged(110, math.nan, math.nan, 100) == "reproduced"
    assert judged(200, math.nan, math.nan, 100) == "not reproduced"
    assert agreement(Estimate(98.0, 97.0, 99.0, ()), 98.6, (97.5, 100)) == "reproduced"
    assert agreement(Estimate(97.0, 96.0, 98.7, ()), 98.6, (97.5, 100), better=1) == "partly"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(51, 60, "yes"), (1, 60, "partly"), (-9, 60, "unclear"), (-9, -1, "no"), (math.nan, math.nan, "unclear")],
)
def test_answer_to_an_open_question(low: float, high: float, expected: str) -> None:
    assert answered(Estimate((low + high) / 2, low, high, ()), yes=50) == expected


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (-5, -1), (math.nan, math.nan)])
def test_an_effect_without_the_gain_that_it_presumes_is_uninformative(low: float, high: float) -> None:
    assert presuming(Estimate(2, low, high, ()), "reproduced") == "uninformative"
    assert presuming(Estimate(2, 1, 3, ()), "partly") == "partly"


@pytest.mark.parametrize(
    ("mean", "low", "high", "expected"),
    [
        (0, -20, 20, "reproduced"),
        (20, 10, 30, "partly"),
        (40, 10, 70, "inconclusive"),
        (40, 30, 50, "not reproduced"),
        (-40, -50, -30, "not reproduced"),
        (0, math.nan, math.nan, "inconclusive"),
    ],
)
def test_verdict_on_a_small_difference(mean: float, low: float, high: float, expected: str) -> None:
    for scale in (100, -100):
        assert similar(Estimate(mean, low, high, ()), scale) == expected


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6), st.floats(0.1, 10))
def test_ratio_is_that_of_the_logarithms(values: list[float], factor: float) -> None:
    """So it is positive, and turning it over turns its interval over."""
    a, b = [factor * value for value in values], [1.0] * len(values)
    found, turned = ratio(a, b), ratio(b, a)
    assert 0 < found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(factor * float(np.exp(np.mean(np.log(values)))))
    assert (turned.mean, turned.low) == pytest.approx((1 / found.mean, 1 / found.high), rel=1e-6)
