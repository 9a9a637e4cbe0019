"""A small sweep of real nets, teachers before their students, for tests that disturb it.

Processes are forked from a server that has imported what it needs, so this imports nothing else.
"""

import os
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

from distillation.core import data as common
from distillation.core import training
from distillation.core.store import Configuration, Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist import nets as mnist
from distillation.mnist.nets import Ensemble, Net, Student

PRELOADED = ["distillation.mnist.nets", "sklearn.datasets", "torch._dynamo", "pytest"]  # pytest: the main module
TEACHERS = [
    Net("digits", (6,), hidden_dropout=0.5, optimisation=Optimisation(3, 128, jitter=1), seed=s) for s in (0, 1)
]
STUDENTS = [
    Student(TEACHERS[0], (5,), optimisation=Optimisation(3)),
    Student(TEACHERS[0], (5,), omit=(3,), optimisation=Optimisation(3)),
    Student(Ensemble(tuple(TEACHERS), "geometric"), (5,), temperature=2.0, optimisation=Optimisation(3)),
]
CONFIGS = [*TEACHERS, *STUDENTS]


def store_in(folder: Path) -> Store:
    return Store(folder / "records")


def sweep_in(folder: Path, begun: Event) -> None:
    """The whole sweep in one process, with a checkpoint after each epoch; each run's beginning is noted in `calls`."""
    os.environ["DISTILLATION_JOBS"] = "1"
    training.CHECKPOINT_SECONDS = -1
    mnist.train_and_score = noted(mnist.train_and_score, folder)
    begun.set()
    sweep(CONFIGS, store_in(folder), name="nets")


def fetch(url: str, digest: str, folder: Path, begun: Event) -> None:
    """Download data.gz into the folder."""
    begun.set()
    common.fetch("data.gz", (url,), digest, folder)


def noted(run: Callable[[Net | Student, Store], dict], folder: Path) -> Callable[[Net | Student, Store], dict]:
    """The run, which first notes its process and its record's name."""

    def note(config: Net | Student, store: Store) -> dict:
        with (folder / "calls").open("a") as calls:
            calls.write(f"{os.getpid()} {store.name(config)}\n")
        return run(config, store)

    return note


def calls(folder: Path) -> list[tuple[int, str]]:
    """(process, record's name) of the runs that were begun."""
    if not (folder / "calls").exists():
        return []
    return [(int(line.split()[0]), line.split()[1]) for line in (folder / "calls").read_text().splitlines()]


def same_results(a: Store, b: Store, configs: list[Configuration]) -> bool:
    """Whether metrics, histories and every bit of the weights and logits agree."""
    records = [[store.read(config) for config in configs] for store in (a, b)]
    return all(
        one["metrics"] == two["metrics"] and one["history"] == two["history"] for one, two in zip(*records, strict=True)
    ) and all(a.tensors_path(config).read_bytes() == b.tensors_path(config).read_bytes() for config in configs)
