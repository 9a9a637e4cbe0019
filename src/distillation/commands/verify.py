"""Run published results again from nothing and compare: the back of `./run_all.sh verify`."""

import argparse
import dataclasses
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from distillation.commands.published import Published, Run
from distillation.core.data import DataError
from distillation.core.store import Store, StoreError
from distillation.core.sweep import sweep
from distillation.mnist import gradients
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.specialists import generalists, open_questions
from distillation.specialists import nets as specialists
from distillation.speech import alignment
from distillation.speech import nets as speech

CHEAP = 120  # seconds, with all that a run starts from
TIMES = ("seconds", "real_time_factor")  # what no second run gives again
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


def run_again(run: Run, published: Published, again: Published) -> None:
    """Run a configuration, and what it starts from, in another folder of records.

    The labels of the speech frames are the published alignment's: it is frozen, as all acoustic models share it.
    """
    store, config = again.store(run.experiment), run.config
    if run.experiment == "speech":
        frozen, copy = published.store("alignment"), again.store("alignment")
        copy.folder.mkdir(parents=True, exist_ok=True)
        for path_of in (Store.path, Store.tensors_path):
            shutil.copy(path_of(frozen, published.alignment), path_of(copy, published.alignment))
    if isinstance(config, specialists.Specialist):
        specialists.prepare([config.assignment], store, name="specialist")
    if isinstance(config, specialists.Assignment):
        specialists.prepare([config], store, name="assignment")
    whole = {"mnist": mnist, "gradients": gradients, "speech": speech, "open_questions": open_questions}
    if isinstance(config, specialists.Combination):
        specialists.run_all([config], store, name="specialists")
    elif run.experiment in whole:
        whole[run.experiment].run_all([config], store, name=run.experiment)
    else:
        alone = {"alignment": alignment, "generalists": generalists, "specialists": specialists}
        sweep(alone[run.experiment].run, [config], store, name=run.experiment)


def main_value(config: Any, metrics: dict) -> float | None:
    """The one figure of a run that seeds are compared by; None for a run that has none."""
    if isinstance(config, specialists.Combination):
        (found,) = [row for row in metrics["test"]["combined"] if row["n"] == 1 and row["by"] == "kl"]
        return 100 * (found["accuracy"] / metrics["test"]["accuracy"] - 1)
    if isinstance(config, specialists.Specialist):
        return metrics["specialist"]["special_accuracy"]
    names = ("errors", "train_errors", "frame_accuracy", "accuracy", "held_out_accuracy", "rand_index")
    return next((float(metrics[name]) for name in names if metrics.get(name) is not None), None)


def parts_of(config: Any) -> Iterator[Any]:
    """A configuration and all those inside it: what it starts from."""
    if dataclasses.is_dataclass(config):
        yield config
        for field in dataclasses.fields(config):
            yield from parts_of(getattr(config, field.name))
        if isinstance(config, speech.Ensemble):
            yield from parts_of(config.members)
    elif isinstance(config, tuple):
        for item in config:
            yield from parts_of(item)


def cost(run: Run, published: Published, of: dict[Any, str]) -> float:
    """Seconds that a run and all that it starts from, but for the frozen alignment, took by the published records.

    of: the experiment of each published configuration.
    """
    needed = {part for part in parts_of(run.config) if part in of}
    for part in list(needed):
        if isinstance(part, specialists.Combination):
            needed |= set(part.members(published.store("specialists")))
    needed -= {published.alignment} - {run.config}
    return sum(published.store(of[part]).read(part)["seconds"] for part in needed)


def draw(published: Published, number: int, cheap: bool, random_seed: int | None) -> list[tuple[Run, float]]:
    """So many published runs at random, with their costs in seconds; cheap: of at most `CHEAP` seconds.

    Measurements of time are left out.
    """
    found = {name: configs for name, configs in published.runs().items() if name != "inference_time"}
    of = {config: experiment for experiment, configs in found.items() for config in configs}
    runs = sorted((Run(experiment, config) for config, experiment in of.items()), key=published.name)
    priced = [(run, cost(run, published, of)) for run in runs]
    if cheap:
        priced = [(run, seconds) for run, seconds in priced if seconds < CHEAP]
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
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * math.sqrt(1 / len(values) + 1 / number)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def judge(before: dict, after: dict, values: tuple[float | None, float | None], siblings: list[float]) -> Verdict:
    """Compare a published record with its second run.

    values: the main value of either; siblings: those of the published runs that differ by their seeds alone.
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


def siblings_of(run: Run, published: Published, configs: set) -> list[float]:
    """The main values of the published runs that differ from this by their seeds alone, itself included."""
    store, wanted = published.store(run.experiment), without_seeds(run.config)
    alike = [each for each in configs if type(each) is type(run.config) and without_seeds(each) == wanted]
    found = [main_value(each, store.read(each)["metrics"]) for each in alike]
    return [value for value in found if value is not None]


def compared(published: Published, again: Published) -> pd.DataFrame:
    """One row per published run that was run again: run, kind, published, again, verdict, ok."""
    rows = []
    for experiment, configs in published.runs().items():
        first, second = published.store(experiment), again.store(experiment)
        for config in sorted((each for each in configs if second.has(each)), key=first.key):
            before, after = first.read(config), second.read(config)
            if config == published.alignment and after == before:
                continue  # the copy of the frozen one
            values = tuple(main_value(config, record["metrics"]) for record in (before, after))
            run = Run(experiment, config)
            verdict = judge(before, after, values, siblings_of(run, published, configs))
            rows.append(
                {
                    "run": published.name(run),
                    "kind": type(config).__name__,
                    "published": values[0],
                    "again": values[1],
                    "verdict": verdict.text,
                    "ok": verdict.ok,
                }
            )
    return pd.DataFrame(rows)


def second_runs(runs: list[Run], published: Published) -> pd.DataFrame:
    """Run these again from nothing, with what they start from, and compare: the rows of `compared`."""
    with tempfile.TemporaryDirectory(prefix="distillation-verify-") as folder:
        again = Published(published.profile, Path(folder))
        for run in runs:
            run_again(run, published, again)
        return compared(published, again)


def verify(published: Published, number: int, *, cheap: bool = False, random_seed: int | None = None) -> int:
    """Run so many published records again, print how they compare, and return the exit status."""
    drawn = draw(published, number, cheap, random_seed)
    for run, seconds in drawn:
        kind = type(run.config).__name__
        print(f"{published.name(run)} ({kind}): took {seconds / 60:.1f} minutes with all it starts from")
    # Apart, since the others start from a copy of the published alignment.
    aligned = [run for run, _ in drawn if run.config == published.alignment]
    others = [run for run, _ in drawn if run.config != published.alignment]
    rows = pd.concat([second_runs(runs, published) for runs in (others, aligned)], ignore_index=True)
    print(rows.drop(columns="ok").to_markdown(index=False, floatfmt=".6g"))
    bad, open_ = (sum(ok is value for ok in rows["ok"]) for value in (False, None))
    print(f"{len(rows)} records run again: {bad} do not agree, {open_} cannot be judged.")
    return 1 if bad else 0


def reseeded(config: Any, by: int) -> Any:
    """The configuration with this added to every seed in it, but for the frozen alignment's."""
    if isinstance(config, tuple):
        return tuple(reseeded(item, by) for item in config)
    if not dataclasses.is_dataclass(config) or isinstance(config, alignment.Alignment):
        return config
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = {name: value + by if name == "seed" else reseeded(value, by) for name, value in values.items()}
    return dataclasses.replace(config, **changed)


def with_fresh_seeds(published: Published, claim: str, seeds: int) -> int:
    """Run a headline result with fresh seeds, print where their mean falls, and return the exit status."""
    runs = published.claims()[claim]
    if len(runs) < 2:
        print(f"{claim} has one seed at profile {published.profile}: nothing says how far another may be from it.")
        return 0
    before = [main_value(run.config, published.store(run.experiment).read(run.config)["metrics"]) for run in runs]
    low, high = prediction_interval(before, seeds)
    rounds = range(1, 2 + seeds // len(runs))
    fresh = [Run(run.experiment, reseeded(run.config, 1000 * number)) for number in rounds for run in runs][:seeds]
    with tempfile.TemporaryDirectory(prefix="distillation-verify-") as folder:
        again = Published(published.profile, Path(folder))
        after = []
        for run in fresh:
            run_again(run, published, again)
            after.append(main_value(run.config, again.store(run.experiment).read(run.config)["metrics"]))
    mean = float(np.mean(after))
    inside = low <= mean <= high
    print(f"{claim}: published {np.mean(before):.4g} ({len(before)} seeds), fresh seeds {mean:.4g} ({len(after)}).")
    print(
        f"The mean of so many further seeds should lie in {low:.4g} to {high:.4g}: it does{'' if inside else ' NOT'}."
    )
    return 0 if inside else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 for a mismatch, 2 for a wrong call."""
    parser = argparse.ArgumentParser(
        "./run_all.sh verify",
        usage=argparse.SUPPRESS,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("number", nargs="?", type=int, default=3, metavar="N", help="how many records")
    parser.add_argument("--cheap", action="store_true", help=f"only records that take less than {CHEAP} s")
    parser.add_argument("--draw", type=int, metavar="SEED", help="seed of the draw (default: another one every time)")
    parser.add_argument("--claim", choices=sorted(Published().claims()), help="a headline result, with fresh seeds")
    parser.add_argument("--seeds", type=int, default=2, metavar="K", help="how many fresh seeds")
    parser.add_argument("--profile", choices=plans.PROFILES, default="paper", help="whose records (default: paper)")
    options = parser.parse_args(arguments)
    published = Published(options.profile)
    if min(options.number, options.seeds) < 1:
        parser.error("at least one, please")
    try:
        if options.claim:
            return with_fresh_seeds(published, options.claim, options.seeds)
        return verify(published, options.number, cheap=options.cheap, random_seed=options.draw)
    except (DataError, StoreError) as reason:
        print(reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
