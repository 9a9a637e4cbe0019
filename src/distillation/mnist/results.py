"""Sections 2 and 3: the finished runs as tables, and what is measured on them."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from distillation.core.statistics import Estimate, estimate, indistinguishable_from_best
from distillation.core.sweep import Results
from distillation.mnist import paper, plan
from distillation.mnist.nets import Net, Student


class MnistResults(Results):
    """The results of the questions of `plan.plan`."""

    def __getitem__(self, question: str) -> pd.DataFrame:
        """One row per run of a question: its settings, `errors` (of `evaluated` cases), `percent`, train_errors.

        errors_<variant>, errors_on_omitted_<variant> and shift_<variant> are those of `nets.corrected_biases`.
        """
        return pd.DataFrame([_row(config, self.store.metrics(config)) for config in self.configs(question)])

    def matching(self, question: str, **where) -> pd.DataFrame:
        """The rows of a question where columns have these values."""
        runs = self[question]
        for column, value in where.items():
            runs = runs[runs[column] == value]
        return runs

    def errors(self, question: str, **where) -> list[float]:
        """Their errors, one per seed."""
        return self.matching(question, **where)["errors"].tolist()

    def gradients(self) -> pd.DataFrame:
        """Noise to signal of gradients along each net's own training.

        Columns: targets, temperature (NaN: hard targets), seed, step, epochs (as many of its own), ratio and signal.
        """
        rows = []
        for config in self.configs("gradients along training"):
            soft = isinstance(config.net, Student)
            of = {"targets": "soft" if soft else "hard", "temperature": config.net.temperature if soft else np.nan}
            of["seed"], epoch = config.net.seed, config.steps[-1] / config.net.optimisation.epochs
            for row in self.store.metrics(config)["along"]:
                rows.append(
                    of | {"epochs": row["step"] / epoch} | {name: row[name] for name in ("step", "ratio", "signal")}
                )
        return pd.DataFrame(rows)

    def held_out_curves(self) -> pd.DataFrame:
        """Held-out errors during training: hard_weight, seed, epoch (from 1) and percent, one row per run and epoch."""
        rows = []
        for config in self.configs("hard weight, held out"):
            record = self.store.read(config)
            for epoch, row in enumerate(record["history"], 1):
                percent = 100 * row["held_out_errors"] / record["metrics"]["evaluated"]
                rows.append(
                    {"hard_weight": config.hard_weight, "seed": config.seed, "epoch": epoch, "percent": percent}
                )
        return pd.DataFrame(rows)


def results(profile: str, notebook: str | None = None, train: bool = False) -> MnistResults:
    """`Results.of` the plan of this wing."""
    return MnistResults.of(plan, profile, notebook, train)


def _row(config: Net | Student, metrics: dict) -> dict:
    row = {
        "targets": "hard" if isinstance(config, Net) else "soft",
        "width": config.hidden[0],
        "seed": config.seed,
        "cases": config.cases,
        "size": config.size,
        "learning_rate": config.optimisation.learning_rate,
        "epochs": config.optimisation.epochs,
    }
    for name in ("temperature", "hard_weight", "objective", "omit"):
        row[name] = getattr(config, name, None)
    row["mean_of"] = getattr(getattr(config, "teacher", None), "mean", None)
    row |= {name: metrics.get(name) for name in ("errors", "evaluated", "train_errors", "train_cases")}
    if metrics["errors"] is not None:
        row["percent"] = 100 * metrics["errors"] / metrics["evaluated"]
    for variant in ("none", "prior", "test"):
        bias = metrics.get("bias", {}).get(variant, {})
        row |= {f"{name}_{variant}": value for name, value in bias.items()}
    row["omitted_cases"] = metrics.get("bias", {}).get("omitted_cases")
    return row


def ratio(a, b) -> Estimate:
    """Geometric mean of a / b with its 95 % interval, from the paired logarithms; one positive value per seed each."""
    values = np.asarray(a, float) / np.asarray(b, float)
    found = estimate(np.log(values))
    return Estimate(math.exp(found.mean), math.exp(found.low), math.exp(found.high), tuple(values.tolist()))


def difference(a, b) -> Estimate:
    """Mean of a - b with Welch's 95 % interval; a and b hold one value per seed, unpaired."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    mean = float(a.mean() - b.mean())
    values = tuple((a.mean() - b).tolist()) if len(a) < len(b) else tuple((a - b.mean()).tolist())
    if min(len(a), len(b)) < 2:
        return Estimate(mean, math.nan, math.nan, values)
    if a.std() == b.std() == 0:
        return Estimate(mean, mean, mean, values)
    squared = np.array([each.var(ddof=1) / len(each) for each in (a, b)])
    freedom = squared.sum() ** 2 / (squared**2 / (len(a) - 1, len(b) - 1)).sum()
    half = float(stdtrit(freedom, 0.975) * np.sqrt(squared.sum()))
    return Estimate(mean, mean - half, mean + half, values)


def by_length(runs: MnistResults, question: str) -> pd.DataFrame:
    """The runs of a question beside those with the same transfer set that were trained for shorter ("length")."""
    longest = runs[question]
    shorter = runs["length"]
    return pd.concat([shorter[shorter["omit"] == longest["omit"].iloc[0]], longest])


def advantage_of_short(runs: MnistResults) -> float:
    """Errors that distillation at T = 20 saves nets of the students' size in short trainings, in the mean."""
    width = max(runs.profile.widths)
    soft = runs.errors("temperature", width=width, temperature=paper.TRANSFER_TEMPERATURE)
    return float(np.mean(runs.errors("plain, short")) - np.mean(soft))


def transferred(runs: MnistResults) -> Estimate:
    """Share of the teacher's advantage over the plain net that the distilled net keeps, in percent, one per seed."""
    plain, teacher = np.mean(runs.errors("plain")), np.mean(runs.errors("teacher"))
    return estimate(100 * (plain - np.array(runs.errors("distilled"))) / (plain - teacher))


def gradient_ratio(
    runs: MnistResults, temperature: float = paper.TRANSFER_TEMPERATURE, first: float = 0, last: float = 1
) -> Estimate:
    """Noise to signal under soft targets over that under hard ones: geometric mean between two epochs, by seed."""
    found = runs.gradients().query("@first <= epochs <= @last").assign(log=lambda table: np.log(table["ratio"]))
    soft, hard = (np.exp(_of_kind(found, t).groupby("seed")["log"].mean()) for t in (temperature, None))
    return ratio(soft, hard)


def _of_kind(found: pd.DataFrame, temperature: float | None) -> pd.DataFrame:
    return found[found["temperature"].isna() if temperature is None else found["temperature"] == temperature]


def collapsed(runs: pd.DataFrame) -> pd.Series:
    """Whether each run has learnt next to nothing: it diverged, or is wrong on 85 % or more (chance: 90 %)."""
    return runs["percent"].isna() | (runs["percent"] >= 85)


def largest_usable(group: pd.DataFrame) -> float:
    """The largest learning rate, from the best on, up to which errors stay under twice the best."""
    group = group.sort_values("learning_rate")
    fine = (group["errors"] < 2 * group["errors"].min()).to_numpy()
    best = int(np.nanargmin(group["errors"].astype(float)))
    last = best + int(np.argmin(np.append(fine[best:], False))) - 1
    return group["learning_rate"].iloc[last]


def norm_ratio(runs: MnistResults, temperature: float) -> pd.Series:
    """Norm of the gradient under soft targets over that under hard ones, before any training, by seed."""
    start = runs.gradients().query("step == 0")
    soft, hard = (_of_kind(start, t).set_index("seed")["signal"].pow(0.5) for t in (temperature, None))
    return soft / hard


def learning_rate_ratio(
    runs: MnistResults, temperature: float = paper.TRANSFER_TEMPERATURE, equal: bool = True
) -> Estimate:
    """Largest usable learning rate under soft targets over that under hard ones: geometric mean.

    equal: as if both losses were scaled to gradients of one norm at the start; a loss that is multiplied by a number
    needs the learning rate divided by it.
    """
    table = runs["learning rate, held out"]
    soft, hard = (
        pd.Series({seed: largest_usable(group) for seed, group in _of_kind(table, t).groupby("seed")})
        for t in (temperature, None)
    )
    return ratio(soft * norm_ratio(runs, temperature).loc[soft.index] if equal else soft, hard)


def data_share(runs: MnistResults) -> Estimate:
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


def spread_at_high_temperatures(runs: MnistResults) -> tuple[int, Estimate]:
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


def best_temperatures(
    runs: MnistResults, width: int, of: Iterable[int] | None = None
) -> tuple[float, tuple[float, ...]]:
    """Best temperature at a width, and all that cannot be told from it, by these seeds or all."""
    group = runs["temperature"]
    pivot = group[group["width"] == width].pivot(index="seed", columns="temperature", values="errors")
    pivot = pivot if of is None else pivot.loc[list(of)]
    return indistinguishable_from_best({t: pivot[t].tolist() for t in pivot})


def best_hard_weights(runs: MnistResults) -> tuple[float, tuple[float, ...]]:
    """Best hard weight on the held-out training images, and all that cannot be told from it."""
    pivot = runs["hard weight, held out"].pivot(index="seed", columns="hard_weight", values="errors")
    return indistinguishable_from_best({weight: pivot[weight].tolist() for weight in pivot})


def outside_minus_inside(runs: MnistResults, width: int) -> list[Estimate]:
    """Errors at each temperature up to 1.5 or from 6 on, minus the mean in the paper's range, paired by seed."""
    group = runs["temperature"]
    pivot = group[group["width"] == width].pivot(index="seed", columns="temperature", values="errors").astype(float)
    low, high = paper.BEST_TEMPERATURES_30_UNITS
    inside = pivot[[t for t in pivot if low <= t <= high]].mean(axis=1)
    return [estimate(pivot[t] - inside) for t in pivot if t <= low - 1 or t >= high + 2]


def ensemble_difference(runs: MnistResults) -> Estimate:
    """Errors of students of geometric means minus those of arithmetic means, paired by the members left out."""
    pivot = runs["ensemble"].pivot(index="seed", columns="mean_of", values="errors")
    return estimate(pivot["geometric"] - pivot["arithmetic"])


def errors_of_means(runs: MnistResults, mean: str) -> list[int]:
    """The errors of the ensembles that leave one member out, by the mean taken of the others, in the members' order."""
    return [runs.store.metrics(each)["errors"] for each in runs.configs("means") if each.ensemble.mean == mean]


def ensemble_gain(runs: MnistResults) -> Estimate:
    """Errors of the members of ensembles in the mean minus those of their arithmetic means."""
    found = [runs.store.metrics(each) for each in runs.configs("means") if each.ensemble.mean == "arithmetic"]
    return estimate([np.mean(each["members"]) - each["errors"] for each in found])


# Of the plan in the making.


def advantage_at(runs: MnistResults, width: int) -> float:
    """Errors that distillation at T = 20 saves nets of a width in the mean."""
    plain = pd.concat([runs["plain"], runs["plain, narrower"]]).groupby("width")["errors"].mean()[width]
    soft = runs.errors("temperature", width=width, temperature=paper.TRANSFER_TEMPERATURE)
    return float(plain - np.mean(soft))


def bootstrapped_spread(runs: MnistResults, draws: int = 2000) -> tuple[int, Estimate]:
    """As `spread_at_high_temperatures`: at the worst width, the largest difference of means, seeds drawn again."""
    found = []
    for width, group in runs["temperature"].groupby("width"):
        if width < min(300, max(runs.profile.widths)):
            continue
        high = group[group["temperature"] >= paper.FLAT_ABOVE_TEMPERATURE]
        errors = high.pivot(index="seed", columns="temperature", values="errors").to_numpy(float)
        picks = np.random.default_rng(0).integers(len(errors), size=(draws, len(errors)))
        spreads = np.ptp(errors[picks].mean(axis=1), axis=1)
        low, high_end = np.quantile(spreads, [0.025, 0.975])
        mean = float(np.ptp(errors.mean(axis=0)))
        found.append((width, Estimate(mean, float(low), float(high_end), (mean,) * len(errors))))
    return max(found, key=lambda pair: pair[1].mean)
