"""Run published results again from nothing and compare: the back of `./run_all.sh verify`."""

import argparse
import dataclasses
import math
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from distillation.commands import wings
from distillation.commands.entry import command
from distillation.core.data import DataError
from distillation.core.store import Configuration, Store, StoreError
from distillation.core.sweep import sweep, with_all_they_start_from
from distillation.speech.data import speechocean

CHEAP = 120  # seconds, with all that a run starts from
TIMES = ("seconds", "real_time_factor")  # what no second run gives again
# The headline results that can be run with fresh seeds, and the notebook's question whose runs are their seeds.
CLAIMS = {
    "mnist.teacher": ("02", "teacher"),
    "mnist.plain": ("02", "plain"),
    "mnist.distilled": ("02", "distilled"),
    "speech.baseline.frame_accuracy": ("03", "baseline"),
    "specialists.baseline.accuracy": ("04", "specialists"),
    "specialists.relative_gain": ("04", "specialists"),
}
DESCRIPTION = """\
Run published records again from nothing, in a temporary folder, and compare them with those in results/paper/records
(or in $DISTILLATION_RESULTS).

  ./run_all.sh verify [N] [--cheap]           N records drawn at random (default 3), with all that they start from
  ./run_all.sh verify --claim ID [--seeds K]  a headline result with K fresh seeds (default 2)

With --profile smoke or quick: of your own records of that profile, if all its notebooks have run.
Records of the same machine, threads and versions must be identical; others must lie where a further seed would, as the
published seeds tell (95 % prediction interval).  The exit status is 1 where one does not.
"""


@dataclass(frozen=True)
class Verdict:
    """What a second run gave.  ok: None where it cannot be judged."""

    text: str
    ok: bool | None


@dataclass(frozen=True)
class Published:
    """All planned runs of a profile and their records; frozen: the alignments, which no other run makes again."""

    store: Store
    runs: frozenset[Configuration]
    frozen: frozenset[Configuration]

    @classmethod
    def of(cls, profile: str) -> "Published":
        """Those of a profile.  Raises StoreError for records that are missing and tell what else there is."""
        store = Store.of(profile)
        runs = with_all_they_start_from((config for _, _, config in wings.planned(profile)), store)
        return cls(store, frozenset(runs), frozenset(config for config in runs if config.experiment == "alignment"))


def run_again(config: Configuration, published: Published, again: Store) -> None:
    """Run a configuration, and what it starts from, in another folder of records, but for the frozen alignment."""
    for alignment in published.frozen & (with_all_they_start_from([config], published.store) - {config}):
        for path_of in (Store.path, Store.tensors_path):
            copy = path_of(again, alignment)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path_of(published.store, alignment), copy)
    sweep([config], again, name=config.experiment)


def cost(config: Configuration, published: Published) -> float:
    """Seconds that a run and all that it starts from, but for the frozen alignment, took by the published records."""
    needed = with_all_they_start_from([config], published.store) - (published.frozen - {config})
    return sum(published.store.read(part)["seconds"] for part in needed)


def draw(published: Published, number: int, cheap: bool, random_seed: int | None) -> list[tuple[Configuration, float]]:
    """So many published runs at random, with their costs in seconds; cheap: of at most `CHEAP` seconds.

    Measurements of time are left out, and runs on speechocean762, which is large, unless it is here.
    """
    absent = [] if speechocean.find() else [each for each in published.frozen if each.dataset == speechocean.NAME]
    found = [
        config
        for config in sorted(published.runs, key=published.store.name)
        if with_all_they_start_from([config], published.store).isdisjoint(absent)
    ]
    if absent:
        print(f"{speechocean.NAME} is not here: {len(published.runs) - len(found)} records of it are not drawn.")
    priced = [(config, cost(config, published)) for config in found if config.experiment != "inference_time"]
    if cheap:
        priced = [(config, seconds) for config, seconds in priced if seconds < CHEAP]
    return random.Random(random_seed).sample(priced, min(number, len(priced)))


def timeless(value: Any) -> Any:
    """Metrics or a history without the times in it."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def same_machine(before: dict, after: dict) -> bool:
    """Whether two records come from the same kind of machine and versions, as far as both say."""
    names = ("device", "matrix_units", "processor", "torch", "python")
    return all(before["environment"].get(name) == after["environment"].get(name) for name in names)


def without_seeds(config: Any) -> Any:
    """A configuration as plain data without its seeds: equal for runs that differ by chance alone."""
    if dataclasses.is_dataclass(config):
        fields = [field.name for field in dataclasses.fields(config) if field.name not in ("seed", "subset")]
        return (type(config).__name__, *(without_seeds(getattr(config, name)) for name in fields))
    return tuple(without_seeds(item) for item in config) if isinstance(config, tuple) else config


def prediction_interval(values: list[float], number: int = 1) -> tuple[float, float]:
    """Where the mean of so many further seeds lies with 95 % probability; infinite for fewer than two values."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) * math.sqrt(1 / len(values) + 1 / number)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def judge(before: dict, after: dict, values: tuple[float | None, float | None], siblings: list[float]) -> Verdict:
    """Compare a published record with its second run.

    values: the main figure of either; siblings: those of the published runs that differ by their seeds alone.
    """
    identical = all(timeless(before[part]) == timeless(after[part]) for part in ("metrics", "history"))
    if identical:
        return Verdict("identical", True)
    if same_machine(before, after):
        return Verdict("DIFFERS on the same machine and versions", False)
    low, high = prediction_interval(siblings)
    if None in values or math.isinf(low):
        return Verdict("differs on another machine; no other seeds to judge it by", None)
    if low <= values[1] <= high:
        return Verdict(f"within {low:.4g} to {high:.4g}, as another seed", True)
    return Verdict(f"OUTSIDE {low:.4g} to {high:.4g}", False)


def siblings_of(config: Configuration, published: Published) -> list[float]:
    """The main figures of the published runs that differ from this by their seeds alone, itself included."""
    wanted = without_seeds(config)
    alike = [each for each in published.runs if type(each) is type(config) and without_seeds(each) == wanted]
    found = [each.main_figure(published.store.metrics(each)) for each in alike]
    return [value for value in found if value is not None]


def compared(published: Published, again: Store) -> pd.DataFrame:
    """One row per published run that was run again: run, kind, published, again, verdict, ok."""
    rows = []
    for config in sorted((each for each in published.runs if again.has(each)), key=again.name):
        before, after = published.store.read(config), again.read(config)
        if config in published.frozen and after == before:
            continue  # the copy of a frozen one
        values = tuple(config.main_figure(record["metrics"]) for record in (before, after))
        verdict = judge(before, after, values, siblings_of(config, published))
        rows.append(
            {
                "run": again.name(config),
                "kind": type(config).__name__,
                "published": values[0],
                "again": values[1],
                "verdict": verdict.text,
                "ok": verdict.ok,
            }
        )
    return pd.DataFrame(rows)


def second_runs(configs: list[Configuration], published: Published) -> pd.DataFrame:
    """Run these again from nothing, with what they start from, and compare: the rows of `compared`."""
    with tempfile.TemporaryDirectory(prefix="distillation-verify-") as folder:
        again = Store(Path(folder))
        for config in configs:
            run_again(config, published, again)
        return compared(published, again)


def verify(published: Published, number: int, *, cheap: bool = False, random_seed: int | None = None) -> int:
    """Run so many published records again, print how they compare, and return the exit status."""
    drawn = draw(published, number, cheap, random_seed)
    for config, seconds in drawn:
        name, kind = published.store.name(config), type(config).__name__
        print(f"{name} ({kind}): took {seconds / 60:.1f} minutes with all it starts from")
    # Apart, since the others start from a copy of the published alignment.
    aligned = [config for config, _ in drawn if config in published.frozen]
    others = [config for config, _ in drawn if config not in published.frozen]
    rows = pd.concat([second_runs(configs, published) for configs in (others, aligned)], ignore_index=True)
    print(rows.drop(columns="ok").to_markdown(index=False, floatfmt=".6g"))
    bad, open_ = (sum(ok is value for ok in rows["ok"]) for value in (False, None))
    print(f"{len(rows)} records run again: {bad} do not agree, {open_} cannot be judged.")
    return 1 if bad else 0


def seeds_of(claim: str, profile: str) -> list[Configuration]:
    """The runs of a headline result, one per seed; the generalist's alone where the claim is of it alone."""
    notebook, question = CLAIMS[claim]
    questions = wings.plan(profile)[notebook]
    found = questions.get(question) or questions[f"an4: {question}"]
    return [config.assignment.generalist for config in found] if claim == "specialists.baseline.accuracy" else found


def reseeded(config: Any, by: int) -> Any:
    """The configuration with this added to every seed in it, but for the frozen alignment's."""
    if isinstance(config, tuple):
        return tuple(reseeded(item, by) for item in config)
    if not dataclasses.is_dataclass(config) or getattr(config, "experiment", None) == "alignment":
        return config
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = {name: value + by if name == "seed" else reseeded(value, by) for name, value in values.items()}
    return dataclasses.replace(config, **changed)


def with_fresh_seeds(published: Published, claim: str, runs: list[Configuration], seeds: int) -> int:
    """Run a headline result with fresh seeds, print where their mean falls, and return the exit status."""
    if len(runs) < 2:
        print(f"{claim} has one seed at this profile: nothing says how far another may be from it.")
        return 0
    before = [config.main_figure(published.store.metrics(config)) for config in runs]
    low, high = prediction_interval(before, seeds)
    rounds = range(1, 2 + seeds // len(runs))
    fresh = [reseeded(config, 1000 * number) for number in rounds for config in runs][:seeds]
    with tempfile.TemporaryDirectory(prefix="distillation-verify-") as folder:
        again = Store(Path(folder))
        for config in fresh:
            run_again(config, published, again)
        after = [config.main_figure(again.metrics(config)) for config in fresh]
    mean = float(np.mean(after))
    inside = low <= mean <= high
    print(f"{claim}: published {np.mean(before):.4g} ({len(before)} seeds), fresh seeds {mean:.4g} ({len(after)}).")
    print(
        f"The mean of so many further seeds should lie in {low:.4g} to {high:.4g}: it does{'' if inside else ' NOT'}."
    )
    return 0 if inside else 1


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 for a mismatch, 2 for a wrong call or setting."""
    parser = argparse.ArgumentParser(
        "./run_all.sh verify",
        usage=argparse.SUPPRESS,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("number", nargs="?", type=int, default=3, metavar="N", help="how many records")
    parser.add_argument("--cheap", action="store_true", help=f"only records that take less than {CHEAP} s")
    parser.add_argument("--draw", type=int, metavar="SEED", help="seed of the draw (default: another one every time)")
    parser.add_argument("--claim", choices=sorted(CLAIMS), help="a headline result, with fresh seeds")
    parser.add_argument("--seeds", type=int, default=2, metavar="K", help="how many fresh seeds")
    parser.add_argument(
        "--profile", choices=("smoke", "quick", "paper"), default="paper", help="whose records (default: paper)"
    )
    options = parser.parse_args(arguments)
    if min(options.number, options.seeds) < 1:
        parser.error("at least one, please")
    try:
        published = Published.of(options.profile)
        if options.claim:
            runs = seeds_of(options.claim, options.profile)
            return with_fresh_seeds(published, options.claim, runs, options.seeds)
        return verify(published, options.number, cheap=options.cheap, random_seed=options.draw)
    except (DataError, StoreError) as reason:
        print(reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
