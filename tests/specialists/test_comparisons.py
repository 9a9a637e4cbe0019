"""What is better than what in sections 5 to 8, from records written by hand whose differences are known."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from intervals import interval

from distillation.core.statistics import estimate
from distillation.specialists.comparisons import (
    against_mixture,
    divides,
    gain_kept,
    gain_of_training_on,
    kl_over,
    over_random_subsets,
    over_training_on,
    rival_mixture,
    soft_advantage,
)
from distillation.specialists.results import MIXTURES, SpecialistResults, changed


def test_against_training_on_is_paired_by_seed(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    configs = enumerate(made_up.configs("specialists"))
    said = {config: outcome({"specialists": 0}, {"specialists": 1, "fixed": 10 * n}) for n, config in configs}
    write(said | {config: {"accuracy": 79.0 + n * n} for n, config in enumerate(made_up.configs("trained on"))})
    assert interval(over_training_on(made_up)) == pytest.approx(interval(estimate([1, 1, -1])))
    assert over_training_on(made_up, n=2).mean > over_training_on(made_up).mean
    assert interval(gain_of_training_on(made_up)) == pytest.approx(interval(estimate([-1, 0, 3])))


def test_generalists_without_a_control_are_left_out(made_up: SpecialistResults, write: Callable) -> None:
    write({config: {"accuracy": 79.0 + config.seed} for config in made_up.configs("trained on")})
    fewer = made_up.plan["04"] | {"trained on": made_up.configs("trained on")[:2]}
    runs = replace(made_up, plan={"04": fewer})
    assert gain_of_training_on(runs).values == pytest.approx((-1, 0))
    assert over_training_on(runs).seeds == 2


def test_ways_to_combine_are_paired_by_seed(made_up: SpecialistResults, write: Callable) -> None:
    write({})
    found = {by: kl_over(made_up, by) for by in ("own answer", "added log-probabilities")}
    # The rows of "kl" are lower by as much as the others' names are longer, in fixed cases of each of two rows of 500.
    assert found["own answer"].values == pytest.approx([-0.2 * 8] * 3)
    assert found["added log-probabilities"].values == pytest.approx([-0.2 * 21] * 3)


def test_over_random_subsets_adds_the_variances_of_both_gains(
    made_up: SpecialistResults, outcome: Callable, write: Callable
) -> None:
    (random,) = (config for config in made_up.configs("methods") if config.assignment.method == "random")
    first = made_up.configs("specialists")[0]
    write(
        {
            first: outcome({"specialists": 0}, {"specialists": 1, "fixed": 60, "broken": 20}),
            random: outcome({"specialists": 0}, {"specialists": 1, "fixed": 30, "broken": 25}),
        }
    )
    found, one, other = over_random_subsets(made_up), changed(60, 20, 1000), changed(30, 25, 1000)
    assert found.mean == pytest.approx(3.5)
    half = math.sqrt((one.high - one.mean) ** 2 + (other.high - other.mean) ** 2)
    assert (found.low, found.high) == pytest.approx((3.5 - half, 3.5 + half))


@pytest.mark.parametrize(
    ("held_out", "perplexity", "best"),
    [
        ([43, 43, 43], (1.2, 1.2), "mixture, divided"),
        ([41, 41, 44], (1.2, 1.2), "mixture, alike"),
        ([41, 41, 44], (1.2, 2.8), "mixture, divided"),  # a gate that asks all experts makes no rival
        ([41, 41, 44], (2.8, 2.8), "mixture, alike"),
    ],
)
def test_the_rival_is_the_mixture_that_is_best_on_held_out_pictures(
    held_out: list[float], perplexity: tuple[float, float], best: str, made_up: SpecialistResults, write: Callable
) -> None:
    said = {}
    for name, values, spread in zip(MIXTURES, (held_out, [40, 40, 47]), perplexity, strict=True):
        for config, value in zip(made_up.configs(name), values, strict=True):
            metrics = {"accuracy": 100.0 - value, "held_out_accuracy": float(value), "gate_perplexity": spread}
            said[config] = metrics
    write(said)
    assert rival_mixture(made_up) == best
    assert [divides(made_up, name) for name in MIXTURES] == [spread < 1.5 for spread in perplexity]


def test_over_fitting_is_paired_by_specialist_on_the_smallest_share(
    made_up: SpecialistResults, write: Callable
) -> None:
    def knowing(accuracy: float) -> dict:
        others = {"special_recall": 60.0, "rest_accuracy": None, "claimed": 5.0}
        return {"specialist": others | {"special_accuracy": accuracy}}

    hard, soft = made_up.configs("softmax: dustbin"), made_up.configs("softmax: full")
    said = {config: knowing(60 + 7 * config.index + config.share) for config in hard}
    write(said | {config: knowing(63 + 8 * config.index + 11 * config.share) for config in soft})
    few = made_up.profile.few_specialists
    wanted = estimate([3 + index + 10 * 0.2 for index in range(few)])
    assert interval(soft_advantage(made_up, min(made_up.profile.shares))) == pytest.approx(interval(wanted))
    assert soft_advantage(made_up, 1.0).mean == pytest.approx(13 + (few - 1) / 2)
    assert soft_advantage(made_up, 1.0, "claimed").mean == 0
    assert "generalist special_accuracy" in made_up.soft_specialists()


def test_against_mixture_is_paired_by_seed(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    said = {}
    for n, (few, mixture) in enumerate(
        zip(made_up.configs("few specialists"), made_up.configs("mixture, divided"), strict=True)
    ):
        said[few] = outcome({"specialists": 0}, {"specialists": 1, "fixed": 30 * n})
        said[mixture] = {"accuracy": 79.0 + 2 * n}
    said |= {config: {"accuracy": 70.0} for config in made_up.configs("mixture, alike")}
    many = outcome({"specialists": 0}, {"specialists": 1, "fixed": 99})
    write(said | dict.fromkeys(made_up.configs("specialists"), many))
    assert interval(against_mixture(made_up, "mixture, divided")) == pytest.approx(interval(estimate([1, 2, 3])))
    assert against_mixture(made_up, "mixture, alike").values == pytest.approx((10, 13, 16))


def test_gain_kept_is_paired_by_seed(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    # The combination's accuracy at n = 3 is 4 points above what is said of n = 1.
    said = {}
    for n, config in enumerate(made_up.configs("specialists")):
        said[config] = outcome({"specialists": 0}, {"specialists": 1, "fixed": 20 * (n + 1)})
    said |= {config: {"accuracy": 50.0 + config.temperature} for config in made_up.configs("temperature")}
    for n, (q, p) in enumerate(zip(made_up.configs("q"), made_up.configs("p"), strict=True)):
        said |= {q: {"accuracy": 82.0 + n, "held_out_accuracy": 70.0 + n}, p: {"accuracy": 81.0 + n / 2}}
    write(said | {made_up.configs("generalist trained briefly")[0]: {"accuracy": 40.0}})
    table = made_up.distilled()
    students = table[table["name"] == "q"]
    assert students["combined"].tolist() == pytest.approx([86, 88, 90])
    assert students["held_out"].tolist() == [70, 71, 72]
    assert set(table["generalist"]) == {80.0}
    assert interval(gain_kept(made_up)) == pytest.approx(interval(estimate([100 / 8, 150 / 8, 200 / 8])))
    assert gain_kept(made_up, "generalist").values == pytest.approx((200 / 8, 300 / 8, 400 / 8))
    trials = table[table["name"] == "temperature"].set_index("temperature")["accuracy"]
    assert trials.to_dict() == {value: 50 + value for value in made_up.profile.temperatures}
    assert made_up.brief_control()["accuracy"] == 40
