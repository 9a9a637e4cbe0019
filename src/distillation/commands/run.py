"""Execute the notebooks at a profile, one after the other, and say how each fared: the back of ./run_all.sh."""

# Imports at the top are of the standard library alone, in files too: --help works before anything is installed.
import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from distillation.core.data import REPOSITORY
from distillation.core.files import StoreError, locked, writable, written_whole

NOTEBOOKS = REPOSITORY / "notebooks"
COLUMNS = ("notebook", "profile", "seconds", "peak_memory_mb", "dataset", "device", "cores")
SPEECH = ("03", "05")  # notebooks on the speech corpus
PICTURES = ("04", "06")  # notebooks on CIFAR-100
ERROR_MARKER = "papermill-error-cell-tag"

DESCRIPTION = """\
Reproduce "Distilling the Knowledge in a Neural Network".

  ./run_all.sh [smoke|quick|paper] [02 03 ...] [--fresh]   execute notebooks (default: quick, all of them)
  ./run_all.sh test                                        run every check: ruff, unit tests, notebooks, site
  ./run_all.sh verify [N] [--cheap]                        run N published records again and compare (verify --help)
  ./run_all.sh site                                        build a web site of the committed notebooks into site/
"""
DETAILS = """\
profiles:
  smoke   everything, tiny, on the embedded data: a few minutes
  quick   an honest small version of every figure: minutes on 2 cores; real MNIST, AN4 and CIFAR-100 if they are there
          or can be fetched, else scikit-learn's digits, synthetic speech and glyphs stand in for them, and that is said
  paper   the published run: hours on 2 cores, on the real data only; what results/paper/records holds is not run again

Executed notebooks, figures (PNG and PDF), tables (CSV and Markdown), records and logs go to results/<profile>/.
A call that was interrupted or killed is continued by the next one. A failing notebook does not stop the others;
the exit status is 1 if any failed and 2 if the call could not be understood.

environment variables:
  DISTILLATION_DATA       folder that holds the data sets (mnist/, an4/, cifar-100/; see data/README.md); default: data/
  DISTILLATION_OFFLINE    set to 1: never download anything
  DISTILLATION_DEVICE     cpu, cuda or mps; default: the best there is
  DISTILLATION_JOBS       local processes to spread runs over; default: one per core, one in all on a GPU
  DISTILLATION_BACKEND    joblib backend that runs them (loky, or ray ... if installed); default: loky
  DISTILLATION_SCHEDULER  address of a Dask scheduler whose workers do the runs instead; see docs/scaling.md
  DISTILLATION_RESULTS    folder for results; default: results/
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    failure: empty, or what went wrong in one line; peak_memory_mb: of its largest process.
    """

    notebook: str
    seconds: float
    peak_memory_mb: int
    failure: str = ""


def main(arguments: list[str] | None = None, notebooks: Path = NOTEBOOKS) -> int:
    """Run the command line; return the exit status (0, 1 if a notebook failed, 2 for a wrong call, 130 on Ctrl-C).

    notebooks: the folder of numbered notebooks.
    """
    parser = argparse.ArgumentParser(
        "./run_all.sh",
        usage=argparse.SUPPRESS,
        description=DESCRIPTION,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="profile, numbers", help="which profile; which notebooks")
    parser.add_argument("--fresh", action="store_true", help="delete the profile's records first (paper: asks)")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_intermixed_args(arguments)  # so that --fresh may stand anywhere
    if options.one:
        source, output, log, profile = options.one
        return execute(Path(source), Path(output), Path(log), profile)
    named = bool(options.words) and not options.words[0].isdigit()
    name = options.words[0] if named else "quick"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops it like Ctrl-C
    try:
        return start(name, options.words[named:], options.fresh, notebooks)
    except StoreError as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Finished runs are kept: the same command continues from here.", file=sys.stderr)
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
        outcomes = run_all(chosen, results, profile, datasets)
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
    from distillation.mnist.plan import profile
    from distillation.specialists.plan import specialist_profile
    from distillation.speech.plan import speech_profile

    chosen = profile(name)
    found = dict.fromkeys([path.stem for path in notebooks], chosen.dataset)
    for numbers, profile_of in ((SPEECH, speech_profile), (PICTURES, specialist_profile)):
        if there := [path.stem for path in notebooks if path.name[:2] in numbers]:
            found |= dict.fromkeys(there, profile_of(name).dataset)
    return chosen.results.absolute(), found


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


def run_all(notebooks: list[Path], results: Path, profile: str, datasets: dict[str, str]) -> list[Outcome]:
    """Execute the notebooks in order, each in its own process; print progress and update times.csv."""
    known = {row["notebook"]: float(row["seconds"]) for row in read_times(results, profile)}
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
            outcome = run_one(notebook, results, profile)
            has_trained = count_records(results) > before
        print(f"      {outcome.failure or 'done'} after {duration(outcome.seconds)}", flush=True)
        # Only what was done from nothing tells how long that takes.
        if not outcome.failure and not is_continued and (has_trained or notebook.stem not in known):
            write_time(outcome, results, profile, datasets[notebook.stem])
        outcomes.append(outcome)
    return outcomes


def run_one(notebook: Path, results: Path, profile: str) -> Outcome:
    """Execute one notebook in a process of its own, which ends when this one does; clean what it leaves.

    The notebook's progress bars appear on this process's stderr and, with all else it prints, in the log.
    """
    import nbformat

    output, log = paths(notebook, results)
    for path in (output, log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "distillation.commands.run",
        "--one",
        str(notebook),
        str(output),
        str(log),
        profile,
    ]
    started = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=child_environment())
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except KeyboardInterrupt:
        child.stdin.close()  # see `stop_with_parent`
        child.wait()
        raise
    child.stdin.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    failure = ""
    executed = nbformat.v4.new_notebook()
    with suppress(FileNotFoundError, ValueError):  # a full disk leaves half a notebook
        executed = nbformat.read(output, 4)
    if child.returncode != 0:
        failure = f"FAILED in {failed_cell(executed) or f'its process (exit status {child.returncode})'}, log: {log}"
    if executed.cells:
        nbformat.write(clean(executed), output)
    # wait4 reports the largest of the process and its descendants, in KiB (bytes on macOS)
    memory = round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
    return Outcome(notebook.stem, time.monotonic() - started, memory, failure)


def execute(source: Path, output: Path, log: Path, profile: str) -> int:
    """Execute one notebook with papermill in this process; return 0, or 1 if a cell failed.

    Cells before the failure and its traceback are in output and log.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    stop_with_parent()
    parameters: dict[str, Any] = {"profile": profile} | ({"train": True} if profile == "paper" else {})
    with os.fdopen(os.dup(2), "w") as terminal:
        try:
            with writable(output.parent), log.open("a") as file:
                os.dup2(file.fileno(), 2)  # what the kernel's process itself says is for the log
                try:
                    papermill.execute_notebook(
                        source,
                        output,
                        parameters,
                        cwd=source.parent,
                        kernel_name="python3",
                        progress_bar=False,
                        stdout_file=file,
                        stderr_file=Tee(file, terminal),
                    )
                except PapermillExecutionError as error:
                    print(re.sub(r"\x1b\[[0-9;]*m", "", str(error)), file=file)
                    return 1
                except KeyboardInterrupt:
                    print("Interrupted.", file=file)
                    return 130
        except StoreError as reason:
            print(reason, file=terminal)
            return 1
    return 0


class Tee:
    """Something to write to that passes everything on to several text files."""

    def __init__(self, *files: TextIO):
        self.files = files

    def write(self, text: str) -> None:
        """Write the text to all."""
        for file in self.files:
            file.write(text)

    def flush(self) -> None:
        """Flush all."""
        for file in self.files:
            file.flush()


def stop_with_parent() -> None:
    """Interrupt this process when its stdin closes, as it does when the calling process stops or is killed."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written to it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def failed_cell(notebook: Any) -> str:
    """ "cell [4] (ValueError: why)" for the code cell that failed or was running at the end, "" if there is none.

    The number is the one that Jupyter shows beside the cell in the executed notebook.
    """
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        number += 1
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors:
            first_line = errors[0].evalue.strip().split("\n")[0][:200]
            return f"cell [{number}] ({errors[0].ename}: {first_line})"
        if cell.metadata.get("papermill", {}).get("status") in ("running", "failed"):
            return f"cell [{number}] (the kernel died)"
    return ""


def clean(notebook: Any) -> Any:
    """Strip from an executed notebook what differs between machines and calls; return it.

    Progress bars (stderr), papermill's metadata and markers, timing, and absolute paths go; outputs stay.
    """
    notebook.metadata.pop("papermill", None)
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                replace_text(output, without_paths)
    return notebook


def replace_text(output: Any, change: Callable[[str], str]) -> None:
    """Apply a change to every text in a notebook's output, in place; pictures are left alone."""
    for key, value in output.items() if isinstance(output, dict) else enumerate(output):
        if isinstance(value, str) and not str(key).startswith("image/"):
            output[key] = change(value)
        elif isinstance(value, dict | list) and not str(key).startswith("image/"):
            replace_text(value, change)


def without_paths(text: str) -> str:
    """The text with this machine's folders replaced by what they are."""
    if "/ipykernel_" in text:  # the search takes quadratic time in the length of a word, such as a sound's
        text = re.sub(r"[^\s\"'(]*/ipykernel_\d+/\d+\.py", "<cell>", text)
    folders = {
        os.environ.get("DISTILLATION_RESULTS"): "results",
        os.environ.get("DISTILLATION_DATA"): "data",
        str(REPOSITORY): ".",
        sys.prefix: "<python>",
        sys.base_prefix: "<python>",
        tempfile.gettempdir(): "<tmp>",
        str(Path.home()): "~",
    }
    for folder, name in sorted(folders.items(), key=lambda item: -len(item[0] or "")):
        if folder and len(Path(folder).parts) > 1:
            text = re.sub(re.escape(str(Path(folder).absolute())) + r"(?![\w.-])", name, text)
    return text


def summary(outcomes: list[Outcome], datasets: dict[str, str]) -> str:
    """The closing table (notebook, status, seconds, peak memory, data set), and a line for each failure."""
    rows = [("notebook", "status", "seconds", "peak memory", "data set")]
    for outcome in outcomes:
        status = "failed" if outcome.failure else "ok"
        dataset = datasets[outcome.notebook]
        rows.append((outcome.notebook, status, f"{outcome.seconds:.0f}", f"{outcome.peak_memory_mb} MB", dataset))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    failures = [f"{outcome.notebook}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    return "\n".join(["", *lines, *failures])


def read_times(results: Path, profile: str) -> list[dict[str, str]]:
    """What a profile's notebooks took: on this machine if known (results/<profile>/times.csv), else as published."""
    rows: dict[str, dict[str, str]] = {}
    for path in (REPOSITORY / "results" / "paper" / "times.csv", results / "times.csv"):
        if path.exists():
            with path.open(newline="") as file:
                rows |= {row["notebook"]: row for row in csv.DictReader(file) if row["profile"] == profile}
    return list(rows.values())


def write_time(outcome: Outcome, results: Path, profile: str, dataset: str) -> None:
    """Put the notebook's row into results/<profile>/times.csv, in one step; other rows stay."""
    from distillation.core.training import device

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    values = (outcome.notebook, profile, round(outcome.seconds), outcome.peak_memory_mb, dataset, device().type, cores)
    path = results / "times.csv"
    with locked(path.with_suffix(".lock")):
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        rows = [row for row in rows if (row["notebook"], row["profile"]) != values[:2]]
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        with written_whole(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: (row["profile"], row["notebook"])))


def count_records(results: Path) -> int:
    """How many finished runs the results folder holds."""
    return sum(1 for _ in results.glob("records/*/*.json"))


def paths(notebook: Path, results: Path) -> tuple[Path, Path]:
    """Where the executed notebook and its log go."""
    return results / "notebooks" / notebook.name, results / "logs" / f"{notebook.stem}.log"


def duration(seconds: float) -> str:
    """ "35 s", "4 min" or "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def child_environment() -> dict[str, str]:
    """This process's environment, made independent of the folder that notebooks run in."""
    source = str(REPOSITORY / "src")
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    folders = {name: os.environ.get(name) for name in ("DISTILLATION_DATA", "DISTILLATION_RESULTS")}
    absolute = {name: str(Path(folder).absolute()) for name, folder in folders.items() if folder}
    return os.environ | absolute | {"PYTHONPATH": os.pathsep.join([source, *inherited])}


if __name__ == "__main__":
    sys.exit(main())
