"""Sections 5 to 8: the finished runs as tables, and what is measured on them."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from distillation.core.statistics import Estimate, estimate
from distillation.core.store import Configuration
from distillation.core.sweep import Results
from distillation.specialists import paper, plan
from distillation.specialists.combination import Combination, by_kl
from distillation.specialists.generalists import Generalist

STUDENTS = ("q", "p", "temperature", "held out", "larger student", "trained on")  # the questions of section 8
MIXTURES = ("mixture, divided", "mixture, alike")  # those of section 7
FEWEST_CASES = 0.01  # share of the test pictures that a row of table 4 holds, or it is pooled


class SpecialistResults(Results):
    """The results of the questions of `plan.plan`."""

    @property
    def beside(self) -> "SpecialistResults | None":
        """Those of the second data set, where the profile has one."""
        if self.profile.beside is None:
            return None
        second = replace(self.profile.beside, name=self.profile.name)  # whose records lie in the same store
        return SpecialistResults(second, {"04": plan.specialists(second)}, self.trains)

    def class_names(self) -> list[str]:
        """The names of the classes, from the records: no data set is needed."""
        return self.store.metrics(self.configs("specialists")[0].assignment)["class_names"]

    def generalists(self) -> pd.DataFrame:
        """The generalists, one row per seed: seed, fit_accuracy, held_out_accuracy, accuracy, parameters, seconds."""
        rows = []
        for config in self.configs("specialists"):
            record = self.store.read(config.assignment.generalist)
            rows.append({"seed": config.first.seed, "seconds": record["seconds"]} | record["metrics"])
        return pd.DataFrame(rows)

    def ladder(self) -> pd.DataFrame:
        """The rungs of `plan.ladder`: widths, epochs, fit_accuracy, held_out_accuracy and parameters, a row each."""
        columns = ("fit_accuracy", "held_out_accuracy", "parameters")
        rows = []
        for config in self.configs("ladder"):
            metrics = self.store.metrics(config)
            of = {"widths": config.widths, "epochs": config.optimisation.epochs}
            rows.append(of | {name: metrics[name] for name in columns})
        return pd.DataFrame(rows)

    def table3(self, name: str = "specialists", part: str = "test") -> pd.DataFrame:
        """One row per combination, n and way to combine: accuracies before and after, gain and relative gain.

        All in percent (gain: in points); fixed and broken pictures, cases, and the mean number of active specialists.
        """
        rows = []
        for config in self.configs(name):
            found = self.store.metrics(config)[part]
            for each in found["combined"]:
                covered = pd.DataFrame(each["covered"])
                rows.append(
                    {
                        "method": config.assignment.method,
                        "seed": config.first.seed,
                        **{key: each[key] for key in ("n", "by", "active", "accuracy", "conditional")},
                        "alone": found["accuracy"],
                        "alone, conditional": found["conditional"],
                        "gain": each["accuracy"] - found["accuracy"],
                        "relative gain": 100 * (each["accuracy"] / found["accuracy"] - 1),
                        "relative gain, conditional": 100 * (each["conditional"] / found["conditional"] - 1),
                        **{key: int(covered[key].sum()) for key in ("cases", "fixed", "broken")},
                    }
                )
        return pd.DataFrame(rows)

    def gains(self, name: str = "specialists", n: int = 1, by: str = "kl") -> pd.DataFrame:
        """`table3` of one n and way to combine: one row per combination."""
        found = self.table3(name)
        return found[(found["n"] == n) & (found["by"] == by)].reset_index(drop=True)

    def table4(self, name: str = "specialists", n: int = 1) -> pd.DataFrame:
        """Per seed and number of specialists covering the right class: cases, change in correct, relative change in %.

        The best covered are pooled, as in the paper's: see `pooled_from`.
        """
        found = [
            pd.DataFrame(by_kl(self.store.metrics(config)["test"], n)["covered"]).assign(seed=config.first.seed)
            for config in self.configs(name)
        ]
        covered = pd.concat(found, ignore_index=True)
        covered["specialists"] = covered["specialists"].clip(upper=pooled_from(covered))
        pooled = covered.groupby(["seed", "specialists"]).sum().reset_index()
        pooled["change"] = pooled["fixed"] - pooled["broken"]
        pooled["relative"] = 100 * pooled["change"] / pooled["before"]
        return pooled

    def methods(self) -> pd.DataFrame:
        """The ways to assign classes, for the first generalist: agreement with superclasses, coverage, gain."""
        rows = []
        for config in [self.configs("specialists")[0], *self.configs("methods")]:
            assigned = self.store.metrics(config.assignment)
            found = self.store.metrics(config)["test"]
            gains = {each["n"]: _gain(each) for each in found["combined"] if each["by"] == "kl"}
            rows.append(
                {
                    "method": config.assignment.method,
                    "specialists": len(assigned["subsets"]),
                    "rand index": assigned.get("rand_index", float("nan")),
                    "covered": int(np.count_nonzero(found["coverage"])),
                    "gain": gains,
                }
            )
        return pd.DataFrame(rows)

    def regimes(self, n: int = 1) -> pd.DataFrame:
        """How far a generalist is from having exhausted its data, and what specialists add to it, a row per regime.

        regime (as in `plan.Profile`, first "specialists", the profile's own), dataset, pictures, seeds, fit (accuracy
        on its training pictures), alone, seen (times it saw each), pictures_seen, specialist_pictures (of one, in the
        mean), and the gain in points with its interval over seeds, or over test pictures where there is but one seed:
        mean, low, high; relative, relative_low, relative_high: the gain in percent of `alone`.
        """
        names = ("specialists", *dict(self.profile.regimes))
        return pd.DataFrame([{"regime": name} | self._regime(self.configs(name), n) for name in names])

    def _regime(self, configs: list[Combination], n: int) -> dict:
        net = configs[0].assignment.generalist
        nets = pd.DataFrame([self.store.metrics(config.assignment.generalist) for config in configs])
        gains = [_gain(by_kl(self.store.metrics(config)["test"], n)) for config in configs]
        gain = relative = gains[0]
        scale = 100 / nets["accuracy"].mean()
        if len(gains) > 1:
            gain = estimate([each.mean for each in gains])
            relative = estimate([each.mean for each in gains] / nets["accuracy"])
            scale = 100
        return {
            "seeds": len(configs),
            "dataset": net.data.name,
            "pictures": net.data.cases,
            "seen": net.optimisation.epochs,
            "pictures_seen": nets["pictures_seen"].mean(),
            "specialist_pictures": np.mean([self._pictures_of_one_specialist(config) for config in configs]),
            "fit": nets["fit_accuracy"].mean(),
            "alone": nets["accuracy"].mean(),
            "mean": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "relative": scale * relative.mean,
            "relative_low": scale * relative.low,
            "relative_high": scale * relative.high,
        }

    def _pictures_of_one_specialist(self, config: Combination) -> float:
        members = config.members(self.store)
        return float(np.mean([self.store.metrics(member)["pictures_seen"] for member in members]))

    def brief_control(self) -> dict:
        """Section 8: the metrics of a generalist trained as briefly as the trial students."""
        return self.store.metrics(self.configs("generalist trained briefly")[0])

    def calibration(self) -> pd.DataFrame:
        """One row per specialist: the share of other classes among held-out pictures, and mean dustbin probability.

        seed, index, share, raw (before the correction) and corrected; reliability: see the experiment.
        """
        rows = []
        for config in self.configs("specialists"):
            for member in config.members(self.store):
                found = self.store.metrics(member)["dustbin"]
                rows.append({"seed": member.seed, "index": member.index} | found)
        return pd.DataFrame(rows)

    def soft_specialists(self) -> pd.DataFrame:
        """Section 6.1, a row per specialist: softmax, share, index, and what it and the generalist know, in percent."""
        rows = []
        for config in self.configs("softmax: dustbin") + self.configs("softmax: full"):
            metrics = self.store.metrics(config)
            before = {f"generalist {key}": value for key, value in metrics["generalist"].items()}
            row = {"softmax": config.softmax, "share": config.share, "index": config.index}
            rows.append(row | {"special_cases": metrics["special_cases"]} | metrics["specialist"] | before)
        return pd.DataFrame(rows)

    def curves(self) -> pd.DataFrame:
        """Section 6.1: softmax, share, index, progress (share of the training), cross_entropy and accuracy held out."""
        rows = []
        for config in self.configs("softmax: dustbin") + self.configs("softmax: full"):
            history = self.store.read(config)["history"]
            for epoch, each in enumerate(history, 1):
                if "special_cross_entropy" in each:
                    settings = {"softmax": config.softmax, "share": config.share, "index": config.index}
                    settings |= {"progress": epoch / len(history), "cross_entropy": each["special_cross_entropy"]}
                    rows.append(settings | {"accuracy": each["special_accuracy"]})
        return pd.DataFrame(rows)

    def systems(self, questions: tuple[str, ...], alone: tuple[str, ...]) -> pd.DataFrame:
        """What nets know and cost: one row per system and seed.

        questions: of combinations (n = 1), and of nets that start as the generalist; alone: of generalists, or of
        combinations whose generalist by itself is a system, "generalist" or such as "generalist, early".  Columns:
        system, seed, accuracy in percent, parameters, passes (of pictures through one net in training), serial seconds,
        and those on as many workers as there are nets (`parallel`).
        """
        nets = {config.first.seed: config.assignment.generalist for config in self.configs("specialists")}
        rows = []
        for name in questions:
            for config in self.configs(name):
                is_combined = isinstance(config, Combination)
                row = self._combined(config) if is_combined else self._trained(config, nets[config.seed])
                rows.append({"system": name} | row)
        for name in alone:
            called = "generalist" + f", {name}" * (name != "specialists")
            for config in self.configs(name):
                net = config.assignment.generalist if isinstance(config, Combination) else config
                rows.append({"system": called} | self._trained(net))
        return pd.DataFrame(rows)

    def _trained(self, config: Configuration, start: Generalist | None = None) -> dict:
        """Of one net, or of nets that are trained together; start: the generalist that they start from."""
        records = [self.store.read(each) for each in (config, start) if each]
        known = {**records[-1]["metrics"], **records[0]["metrics"]}
        seconds = sum(record["seconds"] for record in records)
        passes = sum(each["metrics"].get("expert_passes", each["metrics"]["pictures_seen"]) for each in records)
        row = {"seed": config.seed, "accuracy": known["accuracy"], "parameters": known["parameters"]}
        return row | {"passes": passes, "serial": seconds, "parallel": seconds}

    def _combined(self, config: Combination) -> dict:
        generalist = self.store.read(config.assignment.generalist)
        members = [self.store.read(each) for each in config.members(self.store)]
        records, seconds = [generalist, *members], [member["seconds"] for member in members]
        return {
            "seed": config.first.seed,
            "accuracy": by_kl(self.store.metrics(config)["test"], 1)["accuracy"],
            "parameters": generalist["metrics"]["parameters"] * len(records),
            "passes": sum(record["metrics"]["pictures_seen"] for record in records),
            "serial": generalist["seconds"] + sum(seconds),
            "parallel": generalist["seconds"] + max(seconds),
        }

    def distilled(self, questions: tuple[str, ...] = STUDENTS) -> pd.DataFrame:
        """Section 8, a row per student: name, seed, temperature, accuracies on test and held-out pictures, in percent.

        held_out: NaN where these are trained on; generalist, combined: of the same seed's generalist alone and with
        specialists, at the students' n.
        """
        before = self.gains(n=self.profile.distilled_n).set_index("seed")
        rows = []
        for name in questions:
            for config in self.questions.get(name, []):
                metrics = self.store.metrics(config)
                alone, combined = before.loc[config.seed, ["alone", "accuracy"]]
                row = {"name": name, "seed": config.seed, "temperature": config.temperature}
                row |= {"accuracy": metrics["accuracy"], "held_out": metrics.get("held_out_accuracy", float("nan"))}
                rows.append(row | {"generalist": alone, "combined": combined})
        return pd.DataFrame(rows)


def chosen_rung(rungs: pd.DataFrame) -> pd.Series | None:
    """The generalist of a `ladder`: of those that their data do not limit, the one that twice the training helps least.

    Data limit a net whose training accuracy is plan.EXHAUSTED points above that on held-out pictures, or more.  None if
    there is none whose double is there.  No test picture is looked at.
    """
    longer = rungs.assign(epochs=rungs["epochs"] // 2)[["widths", "epochs", "held_out_accuracy"]]
    pairs = rungs.merge(longer, on=["widths", "epochs"], suffixes=("", "_twice"))
    fit = pairs[pairs["fit_accuracy"] - pairs["held_out_accuracy"] < plan.EXHAUSTED]
    added = fit["held_out_accuracy_twice"] - fit["held_out_accuracy"]
    return None if fit.empty else fit.loc[added.idxmin()]


def results(profile: str, notebook: str | None = None, train: bool = False) -> SpecialistResults:
    """`Results.of` the plan of this wing."""
    return SpecialistResults.of(plan, profile, notebook, train)


def pooled_from(covered: pd.DataFrame) -> int:
    """The row of table 4 into which the rows below it go, so that each but the first holds FEWEST_CASES of the cases.

    covered: columns specialists and cases.
    """
    cases = covered.groupby("specialists")["cases"].sum()
    for last in cases.index[::-1]:
        pooled = cases.groupby(cases.index.where(cases.index < last, last)).sum()
        if (pooled[1:] >= FEWEST_CASES * cases.sum()).all():  # with one row left nothing is small
            return int(last)
    raise ValueError("There are no cases to pool.")


def best_n(runs: SpecialistResults) -> dict[str, int]:
    """For each way to combine the n that is best on held-out pictures, in the mean of the seeds."""
    means = runs.table3(part="held_out").groupby(["by", "n"])["accuracy"].mean().unstack()
    return means.idxmax(axis=1).to_dict()


def slope(table4: pd.DataFrame) -> Estimate:
    """Relative change in accuracy per specialist that covers the class, in percent: unweighted fit, one per seed.

    NaN where there is but one row.
    """
    return estimate([_slope(each) for _, each in table4.groupby("seed")])


def _slope(rows: pd.DataFrame) -> float:
    return float(np.polyfit(rows["specialists"], rows["relative"], 1)[0]) if len(rows) > 1 else math.nan


def paper_table4(most: int = 10) -> pd.DataFrame:
    """The paper's table 4, columns specialists and relative (change, in percent): its rows from `most` on pooled."""
    rows = pd.DataFrame(paper.COVERAGE, columns=["specialists", "cases", "change", "relative"])
    pooled = rows[most:]
    before = 100 * pooled["change"] / pooled["relative"]  # right answers of the generalist alone, which it doesn't give
    rows.loc[most, "relative"] = 100 * pooled["change"].sum() / before.sum()
    return rows.loc[:most, ["specialists", "relative"]]


def paper_slope(most: int = 10) -> float:
    """`slope` of the paper's table."""
    return _slope(paper_table4(most))


def _gain(combined: dict) -> Estimate:
    covered = pd.DataFrame(combined["covered"])
    return changed(*(int(covered[name].sum()) for name in ("fixed", "broken", "cases")))


def changed(fixed: int, broken: int, cases: int) -> Estimate:
    """The change in accuracy, in points, of one system against another on the same cases, with its 95 % interval.

    fixed: cases that only the first gets right; broken: only the second.  The interval is over cases (normal).
    """
    mean = (fixed - broken) / cases
    half = 1.96 * math.sqrt(max(fixed + broken - cases * mean**2, 0)) / cases
    return Estimate(100 * mean, 100 * (mean - half), 100 * (mean + half), (100 * mean,))
