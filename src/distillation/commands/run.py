"""Execute the notebooks at a profile, or train what they need, and say how each fared: the back of ./run_all.sh."""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

import joblib
import pandas as pd

from distillation.commands import wings
from distillation.commands.entry import command
from distillation.commands.notebooks import NOTEBOOKS, Outcome, execute_apart, paths
from distillation.commands.train import INTERRUPTED, train
from distillation.core.data import DataError
from distillation.core.figures import PUBLISHED
from distillation.core.store import StoreError, locked, profile_named, results_folder, writable, written_whole
from distillation.core.training import device
from distillation.mnist import profiles

COLUMNS = ("notebook", "profile", "seconds", "peak_memory_mb", "dataset", "device", "cores")


@command
def main(arguments: list[str] | None = None, notebooks: Path = NOTEBOOKS) -> int:
    """Run the command line; return the exit status (0, 1 if a notebook failed, 2: wrong call or setting, 130: Ctrl-C).

    notebooks: the folder of numbered notebooks.
    """
    parser = argparse.ArgumentParser("./run_all.sh", usage="see ./run_all.sh --help")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_intermixed_args(arguments)  # so that --fresh may stand anywhere
    words = options.words
    trains_only = words[:1] == ["train"]
    words = words[trains_only:]
    named = bool(words) and not words[0].isdigit()
    profile, numbers = (words[0] if named else "quick"), words[named:]
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which a shell's background job may have ignored
        signal.signal(stop, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal need not know every character
    try:
        if trains_only and options.fresh:
            print("train deletes nothing: --fresh goes with notebooks.", file=sys.stderr)
            return 2
        if trains_only:
            return train(profile, numbers)
        return start(profile, numbers, options.fresh, notebooks)
    except (DataError, StoreError) as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def start(profile: str, numbers: list[str], fresh: bool, notebooks: Path) -> int:
    """Execute the notebooks with these numbers, or all, and print how they fared; return the exit status.

    Raises StoreError where the results cannot be written.
    """
    try:
        chosen = choose(numbers, notebooks)
        results, datasets = look_up(profile, chosen)
        if fresh:
            delete_records(results, profile)
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 2
    with writable(results):
        outcomes = execute_all(chosen, results, profile, datasets)
    print(summary(outcomes, datasets))
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def choose(numbers: list[str], folder: Path) -> list[Path]:
    """The notebooks with these numbers ("02" or "2"), or all.  Raises ValueError for a number that is not there."""
    found = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    wanted = [number.zfill(2) for number in numbers] or list(found)
    for number in wanted:
        if number not in found:
            raise ValueError(f"There is no notebook {number!r}: choose from {', '.join(found) or 'none'}.")
    return [found[number] for number in dict.fromkeys(wanted)]


def look_up(name: str, notebooks: list[Path]) -> tuple[Path, dict[str, str]]:
    """The results folder of a profile, and each notebook's data set, which is fetched here if it can be.

    Raises ValueError for an unknown profile.
    """
    profile_named(name, (profiles.SMOKE, profiles.QUICK, profiles.PAPER))
    wing_of = {path.stem: wings.NOTEBOOKS.get(path.name[:2], wings.RESULTS[0]) for path in notebooks}
    dataset_of = {wing: wing.plan.profile(name).dataset for wing in dict.fromkeys(wing_of.values())}
    return results_folder(name).absolute(), {stem: dataset_of[wing] for stem, wing in wing_of.items()}


def delete_records(results: Path, profile: str) -> None:
    """Delete the profile's records, weights and all that is theirs alone.

    Those of "paper" take hours: raises ValueError without a "yes".
    """
    records = results / "records"
    if profile == "paper" and records.exists():
        print(f"--fresh deletes every record and weight in {records}, hours of work. Type yes to do so: ", end="")
        if sys.stdin.readline().strip() != "yes":
            raise ValueError("Nothing was deleted and nothing was run.")
    print(f"Starting afresh: deleting {records}.")
    for folder in (records, results / "examples", results / "logs"):
        shutil.rmtree(folder, ignore_errors=True)


def execute_all(notebooks: list[Path], results: Path, profile: str, datasets: dict[str, str]) -> list[Outcome]:
    """Execute the notebooks in order, each in its own process; print progress and update times.csv."""
    known = read_times(results, profile)
    started = time.monotonic()
    outcomes = []
    for number, notebook in enumerate(notebooks, 1):
        expected = f"about {duration(known[notebook.stem])} expected" if notebook.stem in known else "time unknown"
        so_far = duration(time.monotonic() - started)
        print(f"[{number}/{len(notebooks)}] {notebook.stem} ({profile}): {so_far} so far, {expected}", flush=True)
        output, log = paths(notebook, results)
        output.parent.mkdir(parents=True, exist_ok=True)
        with locked(output.with_suffix(".lock")):  # waits where another call is executing the same notebook
            is_continued, before = log.exists(), count_records(results)
            outcome = execute_apart(notebook, results, profile)
            has_trained = count_records(results) > before
        print(f"      {outcome.failure or 'done'} after {duration(outcome.seconds)}", flush=True)
        # Only what was done from nothing tells how long that takes.
        if not outcome.failure and not is_continued and (has_trained or notebook.stem not in known):
            write_time(outcome, results, profile, datasets[notebook.stem])
        outcomes.append(outcome)
    return outcomes


def summary(outcomes: list[Outcome], datasets: dict[str, str]) -> str:
    """The closing table (notebook, status, seconds, peak memory, data set), and a line for each failure."""
    rows = [
        {
            "notebook": outcome.notebook,
            "status": "failed" if outcome.failure else "ok",
            "seconds": f"{outcome.seconds:.0f}",
            "peak memory": f"{outcome.peak_memory_mb} MB",
            "data set": datasets[outcome.notebook],
        }
        for outcome in outcomes
    ]
    table = pd.DataFrame(rows).to_markdown(index=False, tablefmt="simple", disable_numparse=True)
    failures = [f"{outcome.notebook}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    return "\n".join(["", table, *failures])


def read_times(results: Path, profile: str) -> dict[str, float]:
    """Seconds that a profile's notebooks took: on this machine if known, else as published."""
    tables = [pd.read_csv(path) for path in (PUBLISHED / "times.csv", results / "times.csv") if path.exists()]
    found = pd.concat(tables).query("profile == @profile") if tables else pd.DataFrame(columns=COLUMNS)
    return dict(zip(found["notebook"], found["seconds"].astype(float), strict=True))


def write_time(outcome: Outcome, results: Path, profile: str, dataset: str) -> None:
    """Put the notebook's row into results/<profile>/times.csv, in one step; other rows stay."""
    measured = (round(outcome.seconds), outcome.peak_memory_mb)
    values = (outcome.notebook, profile, *measured, dataset, device().type, joblib.cpu_count())
    path = results / "times.csv"
    with locked(path.with_suffix(".lock")):
        before = [pd.read_csv(path)] if path.exists() else []
        rows = pd.concat([*before, pd.DataFrame([values], columns=COLUMNS)])
        rows = rows.drop_duplicates(["notebook", "profile"], keep="last").sort_values(["profile", "notebook"])
        with written_whole(path) as partial:
            rows.to_csv(partial, index=False)


def count_records(results: Path) -> int:
    """How many finished runs the results folder holds."""
    return sum(1 for _ in results.glob("records/*/*.json"))


def duration(seconds: float) -> str:
    """ "35 s", "4 min" or "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
