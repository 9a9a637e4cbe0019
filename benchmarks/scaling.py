"""How a sweep speeds up with workers, and what the paper's acoustic model would cost at rates measured here.

    .venv/bin/python benchmarks/scaling.py [--workers 1 2] [--runs 8] [--rounds 3] [--save]

Prints three Markdown tables; asserts nothing.  The first, and the matrix products of the second, are measured in this
call on the CPU; the rate of training is that of a published record.  --save writes the tables to results/paper/tables
and docs/scaling.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from dask.distributed import LocalCluster
from training_step import Case, products

from distillation.commands import publish
from distillation.core.data import REPOSITORY
from distillation.core.store import Store, results_folder
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist.nets import Net
from distillation.speech import plan as speech_plan
from distillation.speech import profiles

DOCS = REPOSITORY / "docs" / "scaling.md"
COMMAND = "python benchmarks/scaling.py --save"
TABLES = ("scaling", "scaling_cost", "scaling_sizes")

# Section 4: 26 frames of 40 coefficients, eight layers, 14,000 states; 2,000 hours, ten members.
SIZES = (26 * 40, *[2560] * 8, 14_000)
FRAMES = 700_000_000
MEMBERS = 10
BATCH = 1024
STATED_TFLOPS = (10, 100, 400)  # per second, to be compared with what a reader's accelerator sustains
KEPT = 20  # most probable states of a frame, if soft targets are to be stored


def main() -> None:
    """Measure, print, and with --save write the tables and put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2), help="numbers of workers to compare")
    parser.add_argument("--runs", type=int, default=8, help="runs of the sweep")
    parser.add_argument("--width", type=int, default=800, help="units of each net's two hidden layers")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each run")
    parser.add_argument("--rounds", type=int, default=3, help="timed sweeps, after one that warms up")
    parser.add_argument("--frames", type=int, default=4 * BATCH, help="frames of the original net's matrix products")
    parser.add_argument("--save", action="store_true", help="write results/paper/tables/scaling*.{csv,md} and the page")
    options = parser.parse_args()
    settings = Optimisation(epochs=options.epochs, batch_size=256, learning_rate=0.1)
    nets = [Net("digits", (options.width,) * 2, optimisation=settings, seed=seed) for seed in range(options.runs)]
    os.environ.pop("DISTILLATION_SCHEDULER", None)
    with patch.dict(os.environ, DISTILLATION_DEVICE="cpu"):
        tables = (speed_up(nets, options.workers, options.rounds), costs(rates(options.frames)), sizes())
    found = dict(zip(TABLES, tables, strict=True))
    for name, table in found.items():
        print(f"\n{name}\n\n{markdown(table)}")
        if options.save:
            save(table, name, results_folder("paper") / "tables")
    if options.save:
        DOCS.write_text(page(DOCS.read_text(), results_folder("paper") / "tables"))


def speed_up(nets: list[Net], numbers: Sequence[int], rounds: int) -> pd.DataFrame:
    """Seconds of the sweep over the nets with these numbers of workers of each kind, relative to the first."""
    rows = []
    for name, way in WAYS.items():
        first = None
        for workers in numbers:
            with way(workers):
                timed = [seconds_of_sweep(nets) for _ in range(rounds + 1)][1:]
            seconds = statistics.median(timed)
            first = first or seconds
            rows.append(
                {
                    "spread by": name,
                    "workers": str(workers),
                    "runs": str(len(nets)),
                    "seconds": f"{seconds:.1f}",
                    "speed-up": f"{first / seconds:.2f}",
                }
            )
            print(f"{name}, {workers}: {', '.join(f'{one:.1f}' for one in timed)} s", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def seconds_of_sweep(nets: list[Net]) -> float:
    """Wall-clock seconds of a sweep that has nothing yet, on workers that may be warm."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        sweep(nets, Store(Path(folder)))
        return time.perf_counter() - started


@contextmanager
def local_processes(workers: int) -> Iterator[None]:
    """Sweeps in this process, or in so many of joblib's."""
    with patch.dict(os.environ, DISTILLATION_JOBS=str(workers)):
        yield


@contextmanager
def dask_workers(workers: int, **environment: str) -> Iterator[None]:
    """Sweeps on a Dask scheduler of this machine with so many workers, which have these environment variables."""
    settings = {"host": "127.0.0.1", "dashboard_address": None, "memory_limit": 0}
    with (
        patch.dict(os.environ, environment),
        LocalCluster(n_workers=workers, threads_per_worker=1, **settings) as cluster,
        patch.dict(os.environ, DISTILLATION_SCHEDULER=cluster.scheduler_address),
    ):
        yield


# A worker gives each batch's memory back to the system, and fetches it again, unless glibc is told to keep it.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
WAYS = {
    "processes of this machine": local_processes,
    "Dask workers on this machine": partial(dask_workers, **KEEP_MEMORY),
    "the same without `MALLOC_...`": dask_workers,
}


def rates(frames: int) -> dict[str, float]:
    """FLOP/s of one core: of the original net's matrix products on this machine, and of the published training."""
    return {"matrix products alone, here": products_rate(frames), "training, as published": training_rate()}


def products_rate(frames: int) -> float:
    """FLOP/s per core of the matrix products that train the original net, all cores at work, measured over frames."""
    settings = Optimisation(epochs=1, batch_size=min(BATCH, frames))
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    torch.set_num_threads(cores)
    seconds = products(Case("the paper's acoustic model", SIZES, (0.0, 0.0), settings, False), frames, lambda: None)
    torch.set_num_threads(threads)
    layers = [2 * fan_in * fan_out for fan_in, fan_out in pairwise(SIZES)]
    per_frame = 3 * sum(layers) - layers[0]  # the net's input needs no gradient
    return per_frame * (frames // settings.batch_size * settings.batch_size) / seconds / cores


def training_rate() -> float:
    """FLOP/s per core of the published training of the net with as many hidden units and fewer states.

    From its record, with all that is no matrix product: reading, evaluation, the optimiser.
    """
    profile = profiles.AN4
    (config,) = [net for net in speech_plan.on_words(profile)["sizes"] if net.hidden == SIZES[1:-1]]
    record = Store.of(profile.name).read(config)
    frames = record["metrics"]["steps"] * config.optimisation.batch_size
    return 6 * record["metrics"]["parameters"] * frames / record["seconds"] / config.threads


def costs(per_core: dict[str, float]) -> pd.DataFrame:
    """FLOPs of each part of section 4 at its original size, and the time they take at each rate."""
    one = 6 * parameters() * FRAMES * profiles.AN4.member.epochs
    outputs = 2 * parameters() * FRAMES * MEMBERS
    parts = {
        "one model": one,
        f"ensemble of {MEMBERS}": MEMBERS * one,
        "its outputs, once": outputs,
        "distilled model": one,
        "ensemble, outputs and distilled model": (MEMBERS + 1) * one + outputs,
    }
    columns = {f"core-hours: {name}": rate for name, rate in per_core.items()}
    columns |= {f"hours at {rate} TFLOP/s": rate * 1e12 for rate in STATED_TFLOPS}
    return pd.DataFrame(
        {"part": part, "FLOPs": f"{flops:.1e}"}
        | {name: f"{float(f'{flops / rate / 3600:.2g}'):,g}" for name, rate in columns.items()}
        for part, flops in parts.items()
    )


def sizes() -> pd.DataFrame:
    """Gigabytes of what would have to lie in memory or on disk at the original size."""
    states = SIZES[-1]
    found = {
        "filterbank coefficients of all frames, float32": FRAMES * 40 * 4,
        "soft targets of all frames, half precision": FRAMES * states * 2,
        f"soft targets of all frames, the {KEPT} most probable states": FRAMES * KEPT * (2 + 2),
        "weights, gradients and momentum of one model, float32": 3 * 4 * parameters(),
    }
    return pd.DataFrame({"what": what, "GB": f"{size / 1e9:,.0f}"} for what, size in found.items())


def parameters() -> int:
    """Weights and biases of the original net."""
    return sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(SIZES))


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    return table.to_markdown(index=False, disable_numparse=True)


def save(table: pd.DataFrame, name: str, folder: Path) -> None:
    """Write <name>.csv and .md into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.md").write_text(markdown(table) + "\n")


def page(text: str, folder: Path) -> str:
    """The text of docs/scaling.md with the tables of the folder between their marks."""
    for name in TABLES:
        begin, end = f"<!-- {name}: generated by {COMMAND} -->", f"<!-- end of {name} -->"
        text = publish.fill(text, begin, end, shown(folder / f"{name}.csv"), DOCS.name)
    return text


def shown(path: Path) -> str:
    """A saved table as Markdown, or how to measure it."""
    if not path.exists():
        return f"*Not measured yet: `.venv/bin/{COMMAND}` on an idle machine puts the table here.*"
    return markdown(pd.read_csv(path, dtype=str, keep_default_na=False))


if __name__ == "__main__":
    main()
