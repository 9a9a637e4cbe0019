"""The interval of a statistic over cases that come in groups, such as utterances of speakers."""

import math

import numpy as np
import pytest

from distillation.core.statistics import estimate
from distillation.speech.results import bootstrap


def mean_of(values: np.ndarray):
    return lambda cases, _: float(values[cases].mean())


@pytest.mark.parametrize("seed", range(2))
def test_bootstrap_of_independent_groups_is_close_to_students_interval(seed: int) -> None:
    values = np.random.default_rng(seed).normal(50, 5, 80)
    low, high = bootstrap([f"speaker {number}" for number in range(80)], mean_of(values), rounds=1000)
    found = estimate(values)
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.1 * (found.high - found.low))


def test_bootstrap_of_one_group_resamples_its_cases() -> None:
    values = np.random.default_rng(0).normal(50, 5, 80)
    low, high = bootstrap(["ann"] * 80, mean_of(values))
    found = estimate(values)
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.1 * (found.high - found.low))


def test_bootstrap_holds_the_truth_in_about_95_of_100_cases() -> None:
    random = np.random.default_rng(0)
    groups = [f"{number}" for number in range(12) for _ in range(2)]
    held = []
    for _ in range(60):
        values = 50 + np.repeat(random.normal(0, 3, 12), 2) + random.normal(0, 1, 24)
        low, high = bootstrap(groups, mean_of(values), rounds=200)
        held.append(low <= 50 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.06)


def test_bootstrap_gives_the_same_again() -> None:
    values = np.random.default_rng(0).normal(size=30)
    groups = [name for name in "abcdef" for _ in range(5)]
    first = bootstrap(groups, mean_of(values), rounds=300)
    np.random.seed(7)  # noqa: NPY002
    assert bootstrap(groups, mean_of(values), rounds=300) == first
    assert first[0] < first[1]


def test_bootstrap_draws_as_many_whole_groups_and_cases_within_each() -> None:
    sizes = {"a": 3, "b": 7, "c": 1, "d": 7}
    groups = ["b", *(name for name, size in sizes.items() for _ in range(size - (name == "b")))]  # b in two places
    names, draws = np.array(groups), []
    bootstrap(groups, lambda cases, _: draws.append(cases) or 0.0, rounds=200)
    times = []
    for cases in draws:
        counted = {name: int((names[cases] == name).sum()) for name in sizes}
        assert all(counted[name] % size == 0 for name, size in sizes.items())
        times.append([counted[name] // size for name, size in sizes.items()])
        assert sum(times[-1]) == 4
    assert np.max(times) > 1
    assert np.min(times) == 0
    assert np.mean(times, axis=0) == pytest.approx([1, 1, 1, 1], abs=0.25)
    once = [
        set(cases[names[cases] == "b"].tolist()) for cases, drawn in zip(draws, times, strict=True) if drawn[1] == 1
    ]
    assert len({len(distinct) for distinct in once}) > 1  # cases too are drawn with replacement
    assert set().union(*once) == {number for number, name in enumerate(groups) if name == "b"}


def test_bootstrap_is_wider_where_the_cases_of_a_group_are_alike() -> None:
    groups = [name for name in "abcdefghij" for _ in range(10)]
    alike = np.repeat(np.arange(10.0), 10)
    mixed = np.tile(np.arange(10.0), 10)  # the same values, the same in each group
    (low, high), (lower, higher) = (bootstrap(groups, mean_of(values), rounds=500) for values in (alike, mixed))
    assert high - low > 2 * (higher - lower) > 0


def test_bootstrap_of_a_constant_has_no_width_and_its_generator_adds_to_it() -> None:
    groups = ["a", "a", "b", "c"]
    assert bootstrap(groups, mean_of(np.full(4, 3.5)), rounds=50) == (3.5, 3.5)
    low, high = bootstrap(groups, lambda _, random: float(random.normal()), rounds=2000)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.25)
    assert all(math.isnan(bound) for bound in bootstrap(groups, lambda *_: math.nan, rounds=50))
