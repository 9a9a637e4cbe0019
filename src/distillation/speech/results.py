"""Sections 4 and 6: the finished runs as tables, and what is measured on them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from distillation.core.statistics import Estimate, estimate, indistinguishable_from_best
from distillation.core.sweep import Results
from distillation.speech import plan
from distillation.speech.nets import AcousticModel, Config, Ensemble, Stretched, Student

COUNTS = {"frame_accuracy": ("correct_frames", "frames"), "wer": ("word_errors", "words")}
REPORTED = (
    *("frame_accuracy", "wer", "development_frame_accuracy", "development_wer", "train_frame_accuracy"),
    *("parameters", "steps", "train_frames", "substitutions", "deletions", "insertions", "real_time_factor"),
)
TO_COMPARE = {"hard": "early_frame_accuracy", "soft": "frame_accuracy"}  # as in the paper's table 5


class SpeechResults(Results):
    """The results of the questions of `plan.plan`."""

    def __getitem__(self, question: str) -> pd.DataFrame:
        """One row per run of a question: its settings and its metrics, in percent; early_*: of the early-stopped model.

        targets: "hard", "soft" or "ensemble"; size: as "4x512"; epochs, learning_rate, seed, share, subset, resample,
        temperature, hard_weight and mean as configured; seconds: of the whole run.
        """
        return pd.DataFrame([_row(config, self.store.read(config)) for config in self.configs(question)])

    def curves(self, question: str) -> pd.DataFrame:
        """Development during training: targets, share, subset, hard_weight, epochs, epoch, accuracy, cross_entropy.

        epoch: from 1 to at most epochs.  Accuracy is in percent of the frames; the cross-entropy is that of the hard
        targets, in nats per frame.
        """
        rows = []
        for config in self.configs(question):
            settings = {
                "targets": "hard" if isinstance(config, AcousticModel) else "soft",
                "share": config.share,
                "subset": config.subset,
                "hard_weight": getattr(config, "hard_weight", 1.0),
                "epochs": config.optimisation.epochs,
            }
            for epoch, row in enumerate(self.store.read(config)["history"], 1):
                if "development_frame_accuracy" in row:
                    accuracy, cross_entropy = row["development_frame_accuracy"], row["development_cross_entropy"]
                    rows.append(settings | {"epoch": epoch, "accuracy": accuracy, "cross_entropy": cross_entropy})
        return pd.DataFrame(rows)

    @property
    def beside(self) -> "SpeechResults | None":
        """The results on the second corpus, where the profile has one."""
        second = self.profile.beside
        return SpeechResults(second, plan.of_second(second), self.trains) if second else None

    @property
    def of_words(self) -> "SpeechResults":
        """Those on the corpus whose words are scored."""
        return self.beside or self

    def alignment(self) -> dict:
        """The record of the alignment."""
        return self.store.read(self.profile.alignment)

    def test_utterances(self) -> pd.DataFrame:
        """The test utterances: speaker, frames and words of each."""
        return pd.DataFrame(self.alignment()["metrics"]["test_utterances"])

    def per_utterance(self, question: str, value: str, configs: Sequence[Config] | None = None) -> np.ndarray:
        """Correct frames ("frame_accuracy") or word errors ("wer"), (runs, test utterances)."""
        field = COUNTS[value][0]
        return np.array([self.store.metrics(config)[field] for config in configs or self.configs(question)])


def results(profile: str, notebook: str | None = None, train: bool = False) -> SpeechResults:
    """`Results.of` the plan of this wing."""
    return SpeechResults.of(plan, profile, notebook, train)


def _row(config: Config, record: dict) -> dict:
    metrics = record["metrics"]
    config = config.model if isinstance(config, Stretched) else config
    trained = config.member if isinstance(config, Ensemble) else config
    row = {
        "targets": {AcousticModel: "hard", Student: "soft", Ensemble: "ensemble"}[type(config)],
        "size": f"{len(trained.hidden)}x{trained.hidden[0]}",
        "epochs": trained.optimisation.epochs,
        "learning_rate": trained.optimisation.learning_rate,
        "mean": getattr(config, "mean", None),
        "seconds": record["seconds"],
    }
    for name in ("seed", "share", "subset", "resample", "temperature", "hard_weight"):
        row[name] = getattr(config, name, None)
    row |= {name: metrics.get(name) for name in REPORTED}
    early = metrics.get("early_stopped", {})
    return row | {f"early_{name}": early.get(name) for name in (*REPORTED[:5], "epoch")}


def absolute(runs: SpeechResults, name: str, value: str) -> Estimate:
    """Frame accuracy or word error rate in percent of the runs of that name: mean and interval over seeds.

    An ensemble is one system, so its interval is a bootstrap over test speakers and their utterances.
    """
    if name != "ensemble":
        return estimate(runs[name][value])
    return resampled(runs, {name: _counts(runs, name, value)}, value, lambda of: of[name])


def resampled(runs: SpeechResults, systems: dict[str, np.ndarray], value: str, measure: Callable) -> Estimate:
    """A measure of several systems with its paired 95 % bootstrap interval.

    systems: name -> counts per run and test utterance, (runs, utterances), as `per_utterance` gives.  measure: from
    name -> percent (the mean over runs) to a number.  Each round draws test speakers, their utterances, and the runs
    (seeds) of every system that has more than one, so that all systems are compared on the same utterances.
    """
    utterances = runs.test_utterances()
    totals = utterances[COUNTS[value][1]].to_numpy()

    def percent(cases: np.ndarray, random: np.random.Generator | None) -> float:
        found = {}
        for name, counts in systems.items():
            drawn = counts if random is None else counts[random.integers(len(counts), size=len(counts))]
            found[name] = 100 * drawn.mean(0)[cases].sum() / totals[cases].sum()
        return measure(found)

    low, high = bootstrap(utterances["speaker"].tolist(), percent)
    everything = percent(np.arange(len(totals)), None)
    seeds = min((len(counts) for counts in systems.values() if len(counts) > 1), default=1)
    return Estimate(everything, low, high, (everything,) * seeds)


def gap(runs: SpeechResults, first: str, second: str, value: str) -> Estimate:
    """First minus second system in percentage points, paired by test utterance.  Of "ensemble" the arithmetic one."""
    systems = {name: _counts(runs, name, value) for name in (first, second)}
    return resampled(runs, systems, value, lambda of: of[first] - of[second])


def gain_kept(
    runs: SpeechResults, name: str = "distilled", *, over: str = "baseline", configs: Sequence[Config] | None = None
) -> Estimate:
    """Share of the ensemble's gain in frame accuracy over the baselines that students keep, in percent.

    over: with "distilled" here, by how many points more than these keep.  configs: those of the students, if they are
    not all of that name.  Without an interval if in some bootstrap round there is no gain to keep.
    """
    value = "frame_accuracy"
    systems = {each: _counts(runs, each, value) for each in dict.fromkeys(("baseline", "ensemble", over, name))}
    if configs:
        systems[name] = runs.per_utterance(name, value, configs)

    def share(of: dict[str, float]) -> float:
        gain = of["ensemble"] - of["baseline"]
        return 100 * (of[name] - of[over]) / gain if gain > 0 else math.nan

    return resampled(runs, systems, value, share)


def kept_by_length(runs: SpeechResults) -> pd.DataFrame:
    """The share of the ensemble's gain that students keep, in percent, against the length of their training.

    One row per length that was tried: epochs, times (those of the ensemble's members), development (frame accuracy in
    percent, mean), mean, low, high (of the share) and seeds.
    """
    members, rows = runs.configs("baseline")[0].optimisation.epochs, []
    for epochs, found in runs["length"].groupby("epochs"):
        chosen = [config for config in runs.configs("length") if config.optimisation.epochs == epochs]
        kept = gain_kept(runs, "length", configs=chosen)
        row = {"epochs": epochs, "times": epochs / members, "development": found["development_frame_accuracy"].mean()}
        rows.append(row | {name: getattr(kept, name) for name in ("mean", "low", "high", "seeds")})
    return pd.DataFrame(rows)


def rates(runs: SpeechResults) -> pd.DataFrame:
    """Frame accuracy on development after short trainings: a row per learning rate, a column per temperature."""
    tried = runs["learning rate"].astype({"development_frame_accuracy": float})
    return tried.pivot(index="learning_rate", columns="temperature", values="development_frame_accuracy")


def best_temperatures(runs: SpeechResults) -> tuple[float, tuple[float, ...]]:
    """The temperature with the best frame accuracy on the development split, and all that cannot be told from it."""
    return _best(runs["temperature"], "temperature")


def best_hard_weights(runs: SpeechResults) -> tuple[float, tuple[float, ...]]:
    """Likewise the weight of the hard targets."""
    return _best(runs["hard weight"], "hard_weight")


def on_share(runs: SpeechResults, name: str, share: float) -> pd.DataFrame:
    """The runs of that name on a share of the training utterances, in the order of the draws."""
    found = runs[name]
    return found[found["share"] == share].sort_values("subset")


def soft_gain(runs: SpeechResults, share: float) -> Estimate:
    """Frame accuracy of soft targets (to the end) minus that of hard ones (at the best epoch), in points, by draw."""
    hard, soft = (on_share(runs, kind, share)[column] for kind, column in TO_COMPARE.items())
    return estimate(soft.to_numpy(float) - hard.to_numpy(float))


def recovered(runs: SpeechResults, share: float) -> Estimate:
    """Share of the accuracy lost with fewer data that soft targets give back, in percent, one per draw.

    The loss is that of hard targets with early stopping on the development split, as in the paper's table 5.
    """
    hard, soft = (on_share(runs, kind, share)[column].to_numpy(float) for kind, column in TO_COMPARE.items())
    full = runs["full"].sort_values("seed")["frame_accuracy"].to_numpy(float)[: len(hard)]
    return estimate(100 * (soft - hard) / (full - hard))


def worsening(runs: SpeechResults, question: str, value: str, share: float) -> np.ndarray:
    """By how much development is worse at the last scored epoch than at the best, for each draw, (draws,).

    value: "cross_entropy", in nats, or "accuracy", in points.
    """
    curves = runs.curves(question)
    draws = curves[curves["share"] == share].sort_values("epoch").groupby("subset")[value]
    worse = draws.last() - draws.min() if value == "cross_entropy" else draws.max() - draws.last()
    return worse.to_numpy()


def lengths(runs: SpeechResults, kind: str) -> pd.DataFrame:
    """The lengths of training that were tried with "hard" or "soft" targets, one row each.

    Columns: share, epochs, development and test (frame accuracies in percent, means over the draws that tried it; of
    hard targets at their best epoch), draws, and best: whether it is on development.
    """
    column = TO_COMPARE[kind]
    found = runs[f"lengths, {kind}"].astype({column: float, column.replace("frame", "development_frame"): float})
    table = found.groupby(["share", "epochs"]).agg(
        development=(column.replace("frame", "development_frame"), "mean"),
        test=(column, "mean"),
        draws=("subset", "size"),
    )
    table["best"] = table["development"] == table.groupby("share")["development"].transform("max")
    return table.reset_index()


def gradients_along(runs: SpeechResults) -> pd.DataFrame:
    """Noise to signal of gradients along trainings: temperature (NaN: hard targets), subset, epoch, ratio, signal.

    epoch: 0 for the start; entropy: of the soft targets, in nats.
    """
    rows = []
    for config in runs.configs("gradients along training"):
        metrics = runs.store.metrics(config)
        of = {"temperature": getattr(config.net, "temperature", np.nan), "subset": config.net.subset}
        of["entropy"] = metrics.get("entropy", 0.0)
        rows += [
            of | {"epoch": epoch} | {name: row[name] for name in ("ratio", "signal")}
            for epoch, row in enumerate(metrics["along"])
        ]
    return pd.DataFrame(rows)


def gradient_ratio(runs: SpeechResults, temperature: float) -> Estimate:
    """Noise to signal under soft targets over that under hard ones, in the geometric mean over a training, by draw."""
    found = gradients_along(runs).assign(log=lambda table: np.log(table["ratio"]))
    hard, soft = found[found["temperature"].isna()], found[found["temperature"] == temperature]
    return estimate(np.exp(soft.groupby("subset")["log"].mean() - hard.groupby("subset")["log"].mean()))


def learning_rate_ratio(runs: SpeechResults, equal: bool = True) -> Estimate:
    """Largest usable learning rate under soft targets over that under hard ones, by draw.

    Usable: from the best on, up to where development frame accuracy falls below nine tenths of the best.  equal: as if
    both losses were scaled to gradients of one norm at the start; a loss that is multiplied by a number needs the
    learning rate divided by it.
    """
    found, start = runs["largest learning rate"], gradients_along(runs).query("epoch == 0")
    largest = {
        targets: pd.Series({draw: _largest_usable(group) for draw, group in rows.groupby("subset")})
        for targets, rows in found.groupby("targets")
    }
    norms = [
        rows.set_index("subset")["signal"].pow(0.5)
        for rows in (start[start["temperature"] == runs.profile.temperature], start[start["temperature"].isna()])
    ]
    scale = norms[0] / norms[1] if equal else 1.0
    return estimate(largest["soft"] * scale / largest["hard"])


def _largest_usable(group: pd.DataFrame) -> float:
    """The largest rate, from the best on, before accuracy falls below nine tenths of the best; diverged: NaN."""
    accuracy = group.set_index("learning_rate")["development_frame_accuracy"].astype(float).sort_index()
    beyond = accuracy[accuracy.idxmax() :]
    return beyond.index[(beyond >= 0.9 * accuracy.max()).cumprod() == 1][-1]


def _counts(runs: SpeechResults, name: str, value: str) -> np.ndarray:
    configs = runs.configs(name)
    return runs.per_utterance(name, value, configs[:1] if name == "ensemble" else configs)


def _best(found: pd.DataFrame, setting: str) -> tuple[float, tuple[float, ...]]:
    pivot = found.pivot(index="seed", columns=setting, values="development_frame_accuracy")
    return indistinguishable_from_best({value: (-pivot[value]).tolist() for value in pivot})


def bootstrap(
    groups: Sequence[str], statistic: Callable[[np.ndarray, np.random.Generator], float], *, rounds: int = 2000
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic over cases that come in groups, such as utterances of speakers.

    Groups are drawn with replacement, then cases within each.  groups: the group of each case; statistic: from case
    indices (with repetitions) and a generator, with which it may resample what else varies, such as seeds.
    """
    random = np.random.default_rng(0)
    names = np.asarray(groups)
    members = [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]
    values = []
    for _ in range(rounds):
        drawn = [members[number] for number in random.integers(len(members), size=len(members))]
        cases = np.concatenate([each[random.integers(len(each), size=len(each))] for each in drawn])
        values.append(statistic(cases, random))
    return tuple(np.percentile(values, [2.5, 97.5]).tolist())
