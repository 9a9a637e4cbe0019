"""The paper's claims beside our measurements: one row per id of the claims that sections 2 and 3 cover."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
from torch import Tensor

from distillation.core import paper
from distillation.core.claims import Claims, Finding, above, below, best_of
from distillation.core.statistics import (
    Estimate,
    agreement,
    difference,
    estimate,
    indistinguishable_from_best,
    ratio,
    similar,
)
from distillation.mnist import limits
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.mnist.examples import Examples
from distillation.mnist.plan import Profile

NAN = float("nan")
# What counts as reproduced, set before the published run; for other absolute figures `agreement` has one rule.
TARGETS = MappingProxyType(
    {
        "mnist.teacher": (0, 75),
        "mnist.plain": (135, 160),
        "mnist.distilled": (0, 90),
        "mnist.no3.corrected_threes": (97.5, 100),
        "mnist.only78.corrected_error": (0, 16),
    }
)
# By how much an identity of the loss may be missed.
TOLERANCES = MappingProxyType({"loss.gradient": 1e-12, "loss.t2_scaling": 0.05, "loss.logit_limit": 0.05})


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
        """Noise to signal of per-case gradients: seed, temperature (NaN: hard targets), entropy, ratio, percent.

        percent: of the measured cases, those that the net gets wrong.
        """
        store = self.profile.store("gradients")
        rows = []
        for config in plans.gradient_noise(self.profile):
            metrics = store.read(config)["metrics"]
            of = {"seed": config.seed, "percent": 100 * metrics["train_errors"] / config.cases}
            rows.append(of | {"temperature": NAN, "entropy": 0.0, "ratio": metrics["hard"]["ratio"]})
            rows += [
                of | {name: soft[name] for name in ("temperature", "entropy", "ratio")} for soft in metrics["soft"]
            ]
        return pd.DataFrame(rows)


def advantage(runs: Runs) -> float:
    """Errors that distillation saves in the mean: the plain net's minus the distilled net's."""
    return float(np.mean(runs.errors("plain")) - np.mean(runs.errors("distilled")))


def transferred(runs: Runs) -> Estimate:
    """Share of the teacher's advantage over the plain net that the distilled net keeps, in percent, one per seed."""
    plain, teacher = np.mean(runs.errors("plain")), np.mean(runs.errors("teacher"))
    return estimate(100 * (plain - np.array(runs.errors("distilled"))) / (plain - teacher))


def gradient_ratio(runs: Runs, temperature: float = paper.TRANSFER_TEMPERATURE) -> Estimate:
    """Noise to signal of the gradients of soft targets over that of the hard ones: geometric mean."""
    found = runs.gradients()
    hard = found[found["temperature"].isna()].set_index("seed")["ratio"]
    soft = found[found["temperature"] == temperature].set_index("seed")["ratio"]
    return ratio(soft, hard.loc[soft.index])


def collapsed(runs: pd.DataFrame) -> pd.Series:
    """Whether each run has learnt next to nothing: it diverged, or is wrong on 85 % or more (chance: 90 %)."""
    return runs["percent"].isna() | (runs["percent"] >= 85)


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
    """Largest usable learning rate under soft targets over that under hard ones: geometric mean."""
    found = largest_learning_rates(runs).pivot(index="seed", columns="targets", values="largest")
    return ratio(found["soft"], found["hard"])


def data_share(runs: Runs) -> Estimate:
    """Share of the data, in percent of all, at which soft targets give the errors of hard ones on all of it.

    Per seed, against the net on hard targets of the same seed, interpolated between sizes on logarithmic axes; the
    smallest size measured if soft is better there, and 100 % if it is worse everywhere.
    """
    table = runs["size"].assign(size=lambda t: t["train_cases"])
    everything = table["size"].max()
    hard = table[(table["targets"] == "hard") & (table["size"] == everything)].set_index("seed")["errors"]
    shares = []
    for seed, group in table[table["targets"] == "soft"].groupby("seed"):
        group = group.sort_values("size", ascending=False)
        log_errors, log_sizes = np.log(group["errors"].astype(float)), np.log(group["size"].astype(float))
        monotone = np.maximum.accumulate(log_errors)
        crossing = np.exp(np.interp(np.log(hard[seed]), monotone, log_sizes))
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


def best_temperatures(runs: Runs, width: int, of: Iterable[int] | None = None) -> tuple[float, tuple[float, ...]]:
    """Best temperature at a width, and all that cannot be told from it, by these seeds or all."""
    group = runs["temperature"]
    pivot = group[group["width"] == width].pivot(index="seed", columns="temperature", values="errors")
    pivot = pivot if of is None else pivot.loc[list(of)]
    return indistinguishable_from_best({t: pivot[t].tolist() for t in pivot})


def best_hard_weights(runs: Runs) -> tuple[float, tuple[float, ...]]:
    """Best hard weight on the held-out training images, and all that cannot be told from it."""
    pivot = runs["hard weight, held out"].pivot(index="seed", columns="hard_weight", values="errors")
    return indistinguishable_from_best({weight: pivot[weight].tolist() for weight in pivot})


def ensemble_difference(runs: Runs) -> Estimate:
    """Errors of students of geometric means minus those of arithmetic means, paired by the members left out."""
    pivot = runs["ensemble"].pivot(index="seed", columns="mean_of", values="errors")
    return estimate(pivot["geometric"] - pivot["arithmetic"])


def claims(runs: Runs) -> Claims:
    """What the claims of sections 2 and 3 came out as, from the records and examples."""
    find = partial(partial, runs=runs)
    section2 = {
        "loss.gradient": find(_gradient),
        "loss.t2_scaling": find(_scaling),
        "loss.logit_limit": find(_logit_limit),
        "soft.gradient_variance": find(_gradient_variance),
        "soft.learning_rate": find(_learning_rate),
        "soft.less_data": find(_less_data),
    }
    section3 = {
        "mnist.teacher": find(_errors, name="teacher", theirs=paper.TEACHER_ERRORS),
        "mnist.plain": find(_errors, name="plain", theirs=paper.PLAIN_ERRORS),
        "mnist.distilled": find(_errors, name="distilled", theirs=paper.DISTILLED_ERRORS),
        "mnist.temperature_300": find(_high_temperatures),
        "mnist.temperature_30": find(_low_temperatures),
        "mnist.no3.errors": find(_no_threes, column="errors", theirs="errors"),
        "mnist.no3.errors_on_threes": find(_no_threes, column="errors_on_omitted_none", theirs="errors_on_threes"),
        "mnist.no3.corrected_errors": find(_no_threes, column="errors_test", theirs="corrected"),
        "mnist.no3.corrected_threes": find(_threes_recognised),
        "mnist.only78.error": find(_sevens_and_eights),
        "mnist.only78.corrected_error": find(_sevens_and_eights_corrected),
        "mnist.hard_weight": find(_hard_weight),
        "mnist.unlabelled": find(_unlabelled),
        "ensemble.mean": find(_means),
    }
    return Claims(runs.profile.dataset, {"01": section2, "02": section3})


def _exact(theirs: float, ours: float, holds: bool) -> Finding:
    return Finding(theirs, Estimate(ours, NAN, NAN, (ours,)), "reproduced" if holds else "not reproduced")


def _absolute(runs: Runs, theirs: float, values, target: tuple[float, float] | None = None) -> Finding:
    found = estimate(values)
    # Only errors on the paper's own digits can agree with the paper's.
    return Finding(theirs, found, agreement(found, theirs, target) if runs.profile.dataset == "mnist" else "context")


def _example_logits(runs: Runs) -> tuple[Tensor, Tensor]:
    examples = Examples.load(runs.profile)
    return examples.student_logits, examples.teacher_logits


def _gradient(runs: Runs) -> Finding:
    # To twelve decimals: what lies below differs between processors.
    deviation = round(limits.gradient_deviation(*_example_logits(runs), [1.0, 2.5, 20.0]), 12)
    return _exact(0, deviation, deviation < TOLERANCES["loss.gradient"])


def _scaling(runs: Runs) -> Finding:
    z, v = _example_logits(runs)
    far = limits.logit_range(z, v)
    grid = list(np.geomspace(10 * far, 1000 * far, 9))
    slope = limits.exponent(limits.against_temperature(z, v, grid), "plain", 10 * far)
    return _exact(-2, slope, abs(slope + 2) < TOLERANCES["loss.t2_scaling"])


def _logit_limit(runs: Runs) -> Finding:
    z, v = _example_logits(runs)
    limit = limits.against_temperature(z, v, [100 * limits.logit_range(z, v)])["deviation"].item()
    return _exact(0, limit, limit < TOLERANCES["loss.logit_limit"])


def _gradient_variance(runs: Runs) -> Finding:
    found = gradient_ratio(runs)
    return Finding("", found, below(found, 0.5, 1))


def _learning_rate(runs: Runs) -> Finding:
    found = learning_rate_ratio(runs)
    return Finding("", found, above(found, 1, 2))


def _less_data(runs: Runs) -> Finding:
    found = data_share(runs)
    return Finding("", _scaled(found, 0.01), below(found, 50, 100))


def _errors(runs: Runs, name: str, theirs: float) -> Finding:
    return _absolute(runs, theirs, runs.errors(name), TARGETS[f"mnist.{name}"])


def _high_temperatures(runs: Runs) -> Finding:
    _width, spread = spread_at_high_temperatures(runs)
    return Finding("", spread, similar(spread, advantage(runs)))


def _low_temperatures(runs: Runs) -> Finding:
    best, near = best_temperatures(runs, min(runs.profile.widths))
    low, high = paper.BEST_TEMPERATURES_30_UNITS
    if low <= near[0] and near[-1] <= high:
        judged = "reproduced"
    else:
        judged = "partly" if any(low <= t <= high for t in near) else "not reproduced"
    return Finding(f"{low:g}-{high:g}", best_of(best, near, runs.profile.cheap_seeds), judged)


def _no_threes(runs: Runs, column: str, theirs: str) -> Finding:
    return _absolute(runs, paper.NO_THREES[theirs], runs["no 3s"][column])


def _threes_recognised(runs: Runs) -> Finding:
    found = runs["no 3s"]
    right = 100 * (1 - found["errors_on_omitted_test"] / found["omitted_cases"])
    return _absolute(runs, paper.NO_THREES["percent"], right, TARGETS["mnist.no3.corrected_threes"])


def _sevens_and_eights(runs: Runs) -> Finding:
    return _absolute(runs, paper.ONLY_SEVENS_AND_EIGHTS["error_percent"], runs["only 7s and 8s"]["percent"])


def _sevens_and_eights_corrected(runs: Runs) -> Finding:
    found = runs["only 7s and 8s"]
    corrected = 100 * found["errors_test"] / found["evaluated"]
    theirs = paper.ONLY_SEVENS_AND_EIGHTS["corrected_percent"]
    return _absolute(runs, theirs, corrected, TARGETS["mnist.only78.corrected_error"])


def _hard_weight(runs: Runs) -> Finding:
    best, near = best_hard_weights(runs)
    if near[-1] < 0.5:
        judged = "reproduced"
    elif best < 0.5:
        judged = "partly"
    else:
        judged = "inconclusive" if near[0] < 0.5 else "not reproduced"
    return Finding("", best_of(best, near, runs.profile.seeds), judged)


def _unlabelled(runs: Runs) -> Finding:
    unseen, own = (runs.errors("unlabelled", cases=half) for half in ("second half", "first half"))
    allowed = advantage(runs) / 4
    return Finding("", estimate(unseen), below(difference(unseen, own), allowed, allowed))


def _means(runs: Runs) -> Finding:
    found = ensemble_difference(runs)
    return Finding("", found, similar(found, advantage(runs)))


def _scaled(found: Estimate, factor: float) -> Estimate:
    return Estimate(
        factor * found.mean, factor * found.low, factor * found.high, tuple(factor * v for v in found.values)
    )
