"""What is measured on the runs of sections 5 to 8, from records written by hand whose results are known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from intervals import interval

from distillation.core.statistics import estimate
from distillation.core.store import StoreError
from distillation.specialists import paper, plan
from distillation.specialists.results import (
    SpecialistResults,
    best_n,
    changed,
    chosen_rung,
    paper_slope,
    paper_table4,
    pooled_from,
    slope,
)
from distillation.speech.results import bootstrap


def test_table3_by_hand(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    combined = {}
    for number, config in enumerate(made_up.configs("specialists")):
        covered = {"specialists": 2, "fixed": 30 + number, "broken": 10}
        combined[config] = outcome({"specialists": 0}, covered, conditional=60.0)
    write(combined)
    assert len(made_up.table3()) == 3 * 9
    found = made_up.gains()
    assert found["seed"].tolist() == [0, 1, 2]
    assert set(found["method"]) == {"covariance"}
    assert found["alone"].tolist() == [80, 80, 80]
    assert found["accuracy"].tolist() == pytest.approx([82, 82.1, 82.2])
    assert found["gain"].tolist() == pytest.approx([2, 2.1, 2.2])
    assert found["relative gain"].tolist() == pytest.approx([2.5, 2.625, 2.75])
    assert found["relative gain, conditional"].tolist() == pytest.approx([100 / 60] * 3)
    assert found[["cases", "fixed", "broken"]].to_numpy().tolist() == [[1000, 30 + n, 10] for n in range(3)]
    two = made_up.gains(n=2, by="own answer")
    assert set(two["n"]) == {2}
    assert set(two["by"]) == {"own answer"}
    assert two["gain"].tolist() == pytest.approx([2 + 3.6 + n / 10 for n in range(3)])
    assert len(made_up.table3("methods")) == 9 * len(made_up.profile.methods)


def test_table4_pools_the_best_covered_and_keeps_the_seeds_apart(
    made_up: SpecialistResults, outcome: Callable, write: Callable
) -> None:
    some = (
        {"specialists": 0},
        {"specialists": 1, "fixed": 9, "broken": 5},
        {"specialists": 10, "cases": 8, "before": 4, "fixed": 2},
        {"specialists": 11, "cases": 8, "before": 3, "fixed": 2},
    )
    configs = enumerate(made_up.configs("specialists"))
    last = {"specialists": 13, "cases": 5, "before": 1, "broken": 1}
    write({config: outcome(*some, last | {"fixed": 6 * number}) for number, config in configs})
    found = made_up.table4()
    assert len(found) == 9
    for seed in range(3):
        each = found[found["seed"] == seed]
        assert each["specialists"].tolist() == [0, 1, 10]
        assert each["cases"].tolist() == [500, 500, 21]
        assert each["change"].tolist() == [0, 4, 3 + 6 * seed]
        assert each["relative"].tolist() == pytest.approx([0, 1, 100 * (3 + 6 * seed) / 8])
    wanted = [np.polyfit([0, 1, 10], [0, 1, 100 * (3 + 6 * seed) / 8], 1)[0] for seed in range(3)]
    assert interval(slope(found)) == pytest.approx(interval(estimate(wanted)))
    assert made_up.table4(n=2)["fixed"].gt(found["fixed"]).all()


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([500, 400, 100], 2),
        ([5, 895, 100], 2),  # the first may be small
        ([500, 491, 9], 1),
        ([500, 485, 8, 7], 2),  # together they are enough
        ([500, 485, 8, 20], 2),
        ([500, 490, 1, 4, 5], 2),
        ([500, 492, 1, 3, 4], 1),
        ([999, 1], 0),
        ([7], 0),
    ],
)
def test_rows_of_table4_are_pooled_from_the_top_until_each_holds_a_hundredth(cases: list[int], expected: int) -> None:
    covered = pd.DataFrame({"specialists": range(len(cases)), "cases": cases})
    assert pooled_from(covered) == expected
    pooled = covered.assign(specialists=covered["specialists"].clip(upper=expected)).groupby("specialists").sum()
    assert (pooled["cases"][1:] >= 0.01 * sum(cases)).all()


def test_slope_of_one_row_is_unknown() -> None:
    assert math.isnan(slope(pd.DataFrame({"seed": [0], "specialists": [1], "relative": [2.0]})).mean)


def test_slope_of_a_line_is_the_lines_whatever_the_numbers_of_cases() -> None:
    table = pd.DataFrame(
        [
            {"seed": seed, "specialists": k, "relative": 3 + (2 + seed) * k, "cases": 10**k, "before": 10**k}
            for seed in (0, 1)
            for k in range(5)
        ]
    )
    found = slope(table)
    assert found.values == pytest.approx((2, 3))
    assert found.mean == pytest.approx(2.5)


def test_slope_of_the_papers_table() -> None:
    assert paper_slope() == pytest.approx(paper.SPECIALISTS_SLOPE, abs=0.05)
    assert paper_table4()["relative"].tolist() == pytest.approx([row[3] for row in paper.COVERAGE])
    pooled = paper_table4(9)
    assert pooled["specialists"].tolist() == list(range(10))
    assert pooled["relative"].iloc[-1] == pytest.approx(100 * (208 + 324) / (20_800 / 16.6 + 32_400 / 14.1))


def test_methods_by_hand(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    first = made_up.configs("methods")[0]
    assigned = {"subsets": [[0, 1]] * 12, "rand_index": 1.0}
    combined = outcome({"specialists": 0, "fixed": 40, "broken": 20}, {"specialists": 1})
    write({first.assignment: assigned, first: combined})
    found = made_up.methods()
    assert found["method"].tolist() == ["covariance", *made_up.profile.methods]
    assert found["specialists"].tolist()[:3] == [3, 12, 3]
    assert found["rand index"].tolist()[:2] == [0.5, 1.0]
    assert set(found["covered"]) == {2}
    assert found["gain"][1][1] == changed(40, 20, 1000)
    assert [gain.mean for gain in found["gain"][1].values()] == pytest.approx([2, 4, 6])


def test_regimes_by_hand(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    profile = made_up.profile
    (large,) = made_up.configs("large")
    combined = outcome({"specialists": 0, "before": 200, "fixed": 40, "broken": 10}, {"specialists": 1, "before": 200})
    net = {"accuracy": 40.0, "fit_accuracy": 99.0, "pictures_seen": 700}
    said = {large: combined, large.assignment.generalist: net, large.first: {"pictures_seen": 900}}
    early = made_up.configs("early")[0]
    said[early] = outcome({"specialists": 0, "fixed": 10}, {"specialists": 1})
    said[early.assignment.generalist] = {"accuracy": 50.0, "fit_accuracy": 60.0}
    for n, config in enumerate(made_up.configs("specialists")):
        said[config] = outcome({"specialists": 0, "fixed": 10 * (n + 1)}, {"specialists": 1})
        said[config.assignment.generalist] = {"accuracy": 50.0 + 10 * n, "fit_accuracy": 60.0 + 10 * n}
    write(said)
    found = made_up.regimes().set_index("regime")
    assert found.index.tolist() == ["specialists", *dict(profile.regimes)]
    row = found.loc["large"]
    assert (row["seeds"], row["fit"], row["alone"], row["pictures"]) == (
        1,
        99,
        40,
        large.assignment.generalist.data.cases,
    )
    assert (row["pictures_seen"], row["specialist_pictures"]) == (700, pytest.approx((900 + 2 * 20) / 3))
    gain = changed(40, 10, 1000)
    assert (row["mean"], row["low"], row["high"]) == interval(gain)
    assert row["relative"] == pytest.approx(7.5)
    assert (row["relative_low"], row["relative_high"]) == pytest.approx((2.5 * gain.low, 2.5 * gain.high))
    assert found.loc["early", "seen"] == early.assignment.generalist.optimisation.epochs
    row = found.loc["specialists"]  # three seeds: the interval is over these
    assert (row["seeds"], row["fit"], row["alone"]) == (3, 70, 60)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(interval(estimate([1, 2, 3])))
    wanted = interval(estimate([100 * 1 / 50, 100 * 2 / 60, 100 * 3 / 70]))
    assert (row["relative"], row["relative_low"], row["relative_high"]) == pytest.approx(wanted)
    assert made_up.regimes(n=2).set_index("regime").loc["specialists", "mean"] == pytest.approx(4)


def test_calibration_has_a_row_per_specialist(made_up: SpecialistResults, write: Callable) -> None:
    second = made_up.configs("specialists")[1].first
    write({replace(second, index=2): {"dustbin": {"share": 0.9, "raw": 0.4, "corrected": 0.88, "reliability": []}}})
    found = made_up.calibration()
    assert found[["seed", "index"]].to_numpy().tolist() == [[seed, index] for seed in range(3) for index in range(3)]
    assert found["raw"].tolist() == [0.5] * 5 + [0.4] + [0.5] * 3


def test_curves_are_over_the_progress(made_up: SpecialistResults, write: Callable) -> None:
    config = made_up.configs("softmax: full")[-1]
    looked = {"special_cross_entropy": 2.0, "special_accuracy": 30.0}
    write({}, {config: [{"loss": 1.0}, {"loss": 1.0} | looked, {"loss": 1.0}, {"loss": 1.0} | looked]})
    found = made_up.curves()
    assert found["progress"].tolist() == [0.5, 1.0]
    assert set(found["softmax"]) == {"full"}
    assert found[["share", "index", "cross_entropy", "accuracy"]].to_numpy().tolist() == [[0.2, 1, 2, 30]] * 2


def test_systems_by_hand(made_up: SpecialistResults, write: Callable) -> None:
    few = made_up.configs("few specialists")
    seconds = {config.assignment.generalist: 100.0 + config.first.seed for config in few}
    seconds |= {replace(config.first, index=index): 10.0 * (index + 1) for config in few for index in range(2)}
    write({}, seconds=seconds | dict.fromkeys(made_up.configs("mixture, alike"), 7.0))
    questions = ("few specialists", "specialists", "mixture, divided", "mixture, alike", "trained on")
    table = made_up.systems(questions, ("early", "specialists", "large"))
    assert len(table) == 3 * 6 + 2
    found = table[table["seed"] == 0].set_index("system")
    costs = {name: row.tolist() for name, row in found[["parameters", "passes", "serial", "parallel"]].iterrows()}
    assert costs == {
        "few specialists": [300, 1040, 130, 120],
        "specialists": [400, 1060, 103, 101],
        "mixture, divided": [310, 1900, 101, 101],  # the generalist's training counts
        "mixture, alike": [310, 1900, 107, 107],
        "trained on": [100, 1500, 101, 101],
        "generalist": [100, 1000, 100, 100],
        "generalist, early": [100, 1000, 1, 1],
        "generalist, large": [100, 1000, 1, 1],
    }
    assert found.loc["few specialists", "accuracy"] == pytest.approx(81)


def test_results_of_the_second_data_set_are_in_the_same_store(made_up: SpecialistResults) -> None:
    assert made_up.beside is None
    profile = replace(made_up.profile, beside=plan.PAPER.beside)
    found = SpecialistResults(profile, plan.plan(profile), trains=True).beside
    assert (found.profile.dataset, found.store, found.trains) == ("cifar-100", made_up.store, True)
    assert found.questions == plan.specialists(plan.PAPER.beside)


def test_names_and_generalists(made_up: SpecialistResults, write: Callable) -> None:
    write({})
    assert made_up.class_names() == ["a", "b"]
    assert made_up.generalists()["seed"].tolist() == [0, 1, 2]


def test_missing_records_name_the_command_that_makes_them(made_up: SpecialistResults) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        made_up.gains()


# The interval of a change


@pytest.mark.parametrize(("fixed", "broken", "cases"), [(60, 30, 1000), (5, 40, 300), (100, 0, 400), (20, 20, 200)])
def test_interval_of_a_change_is_the_bootstraps(fixed: int, broken: int, cases: int) -> None:
    differences = np.repeat([1, -1, 0], [fixed, broken, cases - fixed - broken])
    found = changed(fixed, broken, cases)
    assert found.mean == pytest.approx(100 * differences.mean())
    low, high = bootstrap(["all"] * cases, lambda chosen, random: 100 * differences[chosen].mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_change_of_nothing_or_of_everything_has_no_width() -> None:
    assert interval(changed(0, 0, 50)) == (0, 0, 0)
    assert interval(changed(50, 0, 50)) == (100, 100, 100)
    assert interval(changed(3, 8, 50)) == pytest.approx(
        [-x for x in (changed(8, 3, 50).mean, changed(8, 3, 50).high, changed(8, 3, 50).low)]
    )


# The ladder of generalists


SMALL = [(8, 4, 41.0, 40.0), (8, 8, 46.0, 44.0), (8, 16, 49.0, 45.0)]  # at last adds a point
LARGE = [(90, 4, 58.0, 55.0), (90, 8, 61.5, 56.5), (90, 16, 70.0, 56.6)]  # five points above are too many


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (SMALL, (8, 8)),
        ([*SMALL, *LARGE], (8, 8)),
        ([*LARGE[::-1], *SMALL[:2]], (90, 4)),
        (LARGE[1:], None),
        (SMALL[::2], None),  # what twice as long adds is not known
    ],
)
def test_the_generalist_is_the_nearest_to_its_end_that_its_data_do_not_limit(rows: list, chosen: tuple | None) -> None:
    found = chosen_rung(pd.DataFrame(rows, columns=["widths", "epochs", "fit_accuracy", "held_out_accuracy"]))
    assert (None if found is None else (found["widths"], found["epochs"])) == chosen


def test_every_rung_has_another_of_twice_or_half_its_length() -> None:
    lengths = {}
    for net in plan.ladder(plan.PAPER):
        lengths.setdefault(net.widths, []).append(net.optimisation.epochs)
    assert all(long == 2 * short for short, long in lengths.values())
    assert len(lengths) == 3


def test_the_ladder_has_a_row_per_rung(made_up: SpecialistResults) -> None:
    nets = plan.ladder(plan.PAPER)
    runs = replace(made_up, plan={"04": {"ladder": nets}})
    for number, net in enumerate(nets):
        metrics = {"fit_accuracy": 50.0 + number, "held_out_accuracy": 40.0 + number, "parameters": number}
        runs.store.write(net, {"metrics": metrics, "history": [], "seconds": 1.0})
    found = runs.ladder()
    assert found["widths"].tolist() == [net.widths for net in nets]
    assert found["epochs"].tolist() == [net.optimisation.epochs for net in nets]
    assert (found["fit_accuracy"] - found["held_out_accuracy"]).tolist() == [10] * len(nets)
    assert found["parameters"].tolist() == list(range(len(nets)))


def test_best_n_is_chosen_on_held_out_pictures(made_up: SpecialistResults, outcome: Callable, write: Callable) -> None:
    said = {}
    for config in made_up.configs("specialists"):
        metrics = outcome({"specialists": 0}, {"specialists": 1, "fixed": 20})
        for row in metrics["held_out"]["combined"]:
            wanted = {"kl": 2, "own answer": 1, "added log-probabilities": 3}[row["by"]]
            row["accuracy"] = 90.0 if row["n"] == wanted else 80.0
        said[config] = metrics
    write(said)
    assert best_n(made_up) == {"kl": 2, "own answer": 1, "added log-probabilities": 3}
