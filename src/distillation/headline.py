"""The paper's claims beside our measurements: one row per id of the claims that sections 2 and 3 cover."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from distillation import paper, plans
from distillation.examples import Examples
from distillation.experiments import limits, mnist
from distillation.plans import Profile
from distillation.rows import COLUMNS, NOTEBOOKS, above, below, row
from distillation.statistics import (
    Estimate,
    agreement,
    difference,
    estimate,
    indistinguishable_from_best,
    similar,
)

NAN = float("nan")
# What counts as reproduced for the absolute figures of section 3, set before the published run.
TARGETS = {
    "mnist.teacher": (0, 75),
    "mnist.plain": (135, 160),
    "mnist.distilled": (0, 90),
    "mnist.no3.corrected_threes": (97.5, 100),
    "mnist.only78.corrected_error": (0, 16),
}


@dataclass(frozen=True)
class Runs:
    """The finished runs of a profile as tables, by the names of `plans.section2` and `plans.section3`."""

    profile: Profile

    def configs(self, name: str) -> list[mnist.Net | mnist.Student]:
        """The configurations of the runs of that name."""
        return (plans.section3(self.profile) | plans.section2(self.profile))[name]

    def __getitem__(self, name: str) -> pd.DataFrame:
        return mnist.table(self.configs(name), self.profile.store("mnist"))

    def errors(self, name: str, **where) -> list[float]:
        """The errors of the runs of that name, one per seed, where columns have these values."""
        runs = self[name]
        for column, value in where.items():
            runs = runs[runs[column] == value]
        return runs["errors"].tolist()

    def gradients(self) -> pd.DataFrame:
        """Noise to signal of per-case gradients: seed, targets ("hard" or the temperature), entropy, ratio."""
        store = self.profile.store("gradients")
        rows = []
        for config in plans.gradient_noise(self.profile):
            metrics = store.read(config)["metrics"]
            rows.append({"seed": config.seed, "temperature": NAN, "entropy": 0.0, "ratio": metrics["hard"]["ratio"]})
            rows += [
                {"seed": config.seed} | {name: soft[name] for name in ("temperature", "entropy", "ratio")}
                for soft in metrics["soft"]
            ]
        return pd.DataFrame(rows)


def advantage(runs: Runs) -> float:
    """Errors that distillation saves in the mean: the plain net's less the distilled net's."""
    return float(np.mean(runs.errors("plain")) - np.mean(runs.errors("distilled")))


def transferred(runs: Runs) -> Estimate:
    """Share of the teacher's advantage over the plain net that the distilled net keeps, in percent, one per seed."""
    plain, teacher = np.mean(runs.errors("plain")), np.mean(runs.errors("teacher"))
    return estimate(100 * (plain - np.array(runs.errors("distilled"))) / (plain - teacher))


def gradient_ratio(runs: Runs) -> Estimate:
    """Noise to signal of the gradients at the transfer temperature over that of the hard targets, one per seed."""
    found = runs.gradients()
    hard = found[found["temperature"].isna()].set_index("seed")["ratio"]
    soft = found[found["temperature"] == paper.TRANSFER_TEMPERATURE].set_index("seed")["ratio"]
    return estimate(soft / hard)


def largest_learning_rates(runs: Runs) -> pd.DataFrame:
    """Per seed and kind of targets, the largest rate of the grid up to which errors stay under twice the best."""
    rows = []
    for (targets, seed), group in runs["learning rate"].groupby(["targets", "seed"]):
        group = group.sort_values("learning_rate")
        fine = (group["errors"] < 2 * group["errors"].min()).to_numpy()
        best = int(np.nanargmin(group["errors"].astype(float)))
        last = best + int(np.argmin(np.append(fine[best:], False))) - 1
        rows.append({"targets": targets, "seed": seed, "largest": group["learning_rate"].iloc[last]})
    return pd.DataFrame(rows)


def learning_rate_ratio(runs: Runs) -> Estimate:
    """Largest usable learning rate under soft targets over that under hard ones, one per seed."""
    found = largest_learning_rates(runs).pivot(index="seed", columns="targets", values="largest")
    return estimate(found["soft"] / found["hard"])


def data_share(runs: Runs) -> Estimate:
    """Share of the data, in percent of all, at which soft targets give the errors of hard ones on all of it.

    Per seed, interpolated between sizes on logarithmic axes; the smallest size measured if soft is better there, and
    100 % if it is worse everywhere.
    """
    table = runs["size"].assign(size=lambda t: t["train_cases"])
    everything = table["size"].max()
    hard = np.mean(table[(table["targets"] == "hard") & (table["size"] == everything)]["errors"])
    shares = []
    for _, group in table[table["targets"] == "soft"].groupby("seed"):
        group = group.sort_values("size", ascending=False)
        log_errors, log_sizes = np.log(group["errors"].astype(float)), np.log(group["size"].astype(float))
        monotone = np.maximum.accumulate(log_errors)
        crossing = np.exp(np.interp(np.log(hard), monotone, log_sizes))
        shares.append(100 * crossing / everything)
    return estimate(shares)


def spread_at_high_temperatures(runs: Runs) -> tuple[int, Estimate]:
    """The width of 300 or more with the largest difference of mean errors among T >= 8, and that difference, paired."""
    found = []
    for width, group in runs["temperature"].groupby("width"):
        if width < min(300, max(runs.profile.widths)):
            continue
        high = group[group["temperature"] >= paper.FLAT_ABOVE_TEMPERATURE]
        pivot = high.pivot(index="seed", columns="temperature", values="errors")
        worst, best = pivot.mean().idxmax(), pivot.mean().idxmin()
        found.append((width, estimate(pivot[worst] - pivot[best])))
    return max(found, key=lambda pair: pair[1].mean)


def best_temperatures(runs: Runs, width: int) -> tuple[float, tuple[float, ...]]:
    """Best temperature at a width, and all that cannot be told from it."""
    group = runs["temperature"]
    pivot = group[group["width"] == width].pivot(index="seed", columns="temperature", values="errors")
    return indistinguishable_from_best({t: pivot[t].tolist() for t in pivot})


def best_hard_weights(runs: Runs) -> tuple[float, tuple[float, ...]]:
    """Best hard weight on the held-out training images, and all that cannot be told from it."""
    pivot = runs["hard weight, held out"].pivot(index="seed", columns="hard_weight", values="errors")
    return indistinguishable_from_best({weight: pivot[weight].tolist() for weight in pivot})


def ensemble_difference(runs: Runs) -> Estimate:
    """Errors of students of geometric means less those of arithmetic means, paired by the members left out."""
    pivot = runs["ensemble"].pivot(index="seed", columns="mean_of", values="errors")
    return estimate(pivot["geometric"] - pivot["arithmetic"])


def table(profile: Profile, notebook: str | None = None) -> pd.DataFrame:
    """All rows, or those of one notebook ("01"), from the records and examples.  Columns: `COLUMNS`."""
    runs, examples = Runs(profile), Examples.load(profile)
    builders = _BUILDERS[notebook] if notebook else [build for group in _BUILDERS.values() for build in group]
    rows = [build(runs, examples) for build in builders]
    flat = [row for group in rows for row in (group if isinstance(group, list) else [group])]
    found = pd.DataFrame(flat, columns=COLUMNS)
    return found.assign(dataset=profile.dataset)


def _absolute(name: str, theirs: float, values, notebook: str = "02") -> tuple:
    found = estimate(values)
    return row(name, theirs, found, agreement(found, theirs, TARGETS.get(name)), notebook)


def _limits(_: Runs, examples: Examples) -> list[tuple]:
    z, v = examples.student_logits, examples.teacher_logits
    far = limits.logit_range(z, v)
    # To twelve decimals: what lies below differs between processors.
    deviation = round(limits.gradient_deviation(z, v, [1.0, 2.5, 20.0]), 12)
    grid = list(np.geomspace(10 * far, 1000 * far, 9))
    slope = limits.exponent(limits.against_temperature(z, v, grid), "plain", 10 * far)
    limit = limits.against_temperature(z, v, [100 * far])["deviation"].item()

    def exact(name: str, theirs: float, ours: float, holds: bool) -> tuple:
        return row(name, theirs, Estimate(ours, NAN, NAN, (ours,)), "reproduced" if holds else "not reproduced", "01")

    return [
        exact("loss.gradient", 0, deviation, deviation < 1e-12),
        exact("loss.t2_scaling", -2, slope, abs(slope + 2) < 0.05),
        exact("loss.logit_limit", 0, limit, limit < 0.05),
    ]


def _gradient_variance(runs: Runs, _: Examples) -> tuple:
    found = gradient_ratio(runs)
    return row("soft.gradient_variance", "", found, below(found, 0.5, 1), "01")


def _learning_rate(runs: Runs, _: Examples) -> tuple:
    found = learning_rate_ratio(runs)
    return row("soft.learning_rate", "", found, above(found, 1, 2), "01")


def _less_data(runs: Runs, _: Examples) -> tuple:
    found = data_share(runs)
    return row("soft.less_data", "", _scaled(found, 0.01), below(found, 50, 100), "01")


def _nets(runs: Runs, _: Examples) -> list[tuple]:
    return [
        _absolute("mnist.teacher", paper.TEACHER_ERRORS, runs.errors("teacher")),
        _absolute("mnist.plain", paper.PLAIN_ERRORS, runs.errors("plain")),
        _absolute("mnist.distilled", paper.DISTILLED_ERRORS, runs.errors("distilled")),
    ]


def _temperatures(runs: Runs, _: Examples) -> list[tuple]:
    _width, spread = spread_at_high_temperatures(runs)
    best, near = best_temperatures(runs, min(runs.profile.widths))
    low, high = paper.BEST_TEMPERATURES_30_UNITS
    if low <= near[0] and near[-1] <= high:
        judged = "reproduced"
    else:
        judged = "partly" if any(low <= t <= high for t in near) else "not reproduced"
    seeds = runs.profile.narrow_seeds
    narrow = ("mnist.temperature_30", f"{low:g}-{high:g}", best, near[0], near[-1], seeds, "", judged, NOTEBOOKS["02"])
    return [row("mnist.temperature_300", "", spread, similar(spread, advantage(runs)), "02"), narrow]


def _no_threes(runs: Runs, _: Examples) -> list[tuple]:
    found, theirs = runs["no 3s"], paper.NO_THREES
    right = 100 * (1 - found["errors_on_omitted_test"] / found["omitted_cases"])
    return [
        _absolute("mnist.no3.errors", theirs["errors"], found["errors"]),
        _absolute("mnist.no3.errors_on_threes", theirs["errors_on_threes"], found["errors_on_omitted_none"]),
        _absolute("mnist.no3.corrected_errors", theirs["corrected"], found["errors_test"]),
        _absolute("mnist.no3.corrected_threes", theirs["percent"], right),
    ]


def _only_sevens_and_eights(runs: Runs, _: Examples) -> list[tuple]:
    found, theirs = runs["only 7s and 8s"], paper.ONLY_SEVENS_AND_EIGHTS
    corrected = 100 * found["errors_test"] / found["evaluated"]
    return [
        _absolute("mnist.only78.error", theirs["error_percent"], found["percent"]),
        _absolute("mnist.only78.corrected_error", theirs["corrected_percent"], corrected),
    ]


def _hard_weight(runs: Runs, _: Examples) -> tuple:
    best, near = best_hard_weights(runs)
    if near[-1] < 0.5:
        judged = "reproduced"
    elif best < 0.5:
        judged = "partly"
    else:
        judged = "inconclusive" if near[0] < 0.5 else "not reproduced"
    return ("mnist.hard_weight", "", best, near[0], near[-1], runs.profile.seeds, "", judged, NOTEBOOKS["02"])


def _unlabelled(runs: Runs, _: Examples) -> tuple:
    unseen, own = (runs.errors("unlabelled", cases=half) for half in ("second half", "first half"))
    allowed = advantage(runs) / 4
    return row("mnist.unlabelled", "", estimate(unseen), below(difference(unseen, own), allowed, allowed), "02")


def _means(runs: Runs, _: Examples) -> tuple:
    found = ensemble_difference(runs)
    return row("ensemble.mean", "", found, similar(found, advantage(runs)), "02")


def _scaled(found: Estimate, factor: float) -> Estimate:
    return Estimate(
        factor * found.mean, factor * found.low, factor * found.high, tuple(factor * v for v in found.values)
    )


_BUILDERS: dict[str, tuple[Callable, ...]] = {
    "01": (_limits, _gradient_variance, _learning_rate, _less_data),
    "02": (_nets, _temperatures, _no_threes, _only_sevens_and_eights, _hard_weight, _unlabelled, _means),
}
