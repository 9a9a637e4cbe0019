"""Run configurations and all that they start from, skipping what the store holds; the results of a plan by question."""

import os
import platform
import resource
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import joblib
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from distillation import commit, processor
from distillation.core.store import Configuration, Store, has_diverged, results_folder
from distillation.core.training import Diverged, compute_dtype, device

Questions = Mapping[str, list[Configuration]]  # the runs that each question needs
Plan = Mapping[str, Questions]  # by notebook ("02")
# Between two runs joblib ends a process that has grown, as one does that keeps its data set, and starts another.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
# joblib counts the processors that this process may use, by affinity and by its container's limit.
torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


def sweep(
    configs: Iterable[Configuration], store: Store, *, name: str = "runs", needs_tensors: bool = False
) -> list[dict]:
    """Run what is not yet in the store, what it starts from first; return the records of all, in order.

    Each finished run is a record on disk, so an interrupted sweep continues where it stopped.  What another process is
    running is left to it and waited for at the end.  needs_tensors: also run again what has a record but no tensors
    here; raises Diverged if a run can have none.  DISTILLATION_JOBS sets the number of local processes (default: one
    per core and none on a GPU), DISTILLATION_BACKEND another joblib backend.  DISTILLATION_SCHEDULER, the address of a
    Dask scheduler, has its workers do the runs instead.
    """
    configs = list(dict.fromkeys(configs))
    for wait, title in ((False, name), (True, f"{name}, by another process")):
        missing = [config for config in configs if not store.done(config, needs_tensors)]
        if not missing:
            break
        while needed := _not_ready(missing, store):  # a finished run may tell that more is needed
            sweep(needed, store, name=f"{name}: what they start from", needs_tensors=True)
        results = _spread(missing, store, needs_tensors, wait)
        for _ in tqdm(results, total=len(missing), desc=title, unit="run", mininterval=1):
            pass
    records = [store.read(config) for config in configs]
    for config, record in zip(configs, records, strict=True):
        if needs_tensors and has_diverged(record):
            raise Diverged(f"{record['metrics']['diverged']} Nothing can be made from this net: {config}.")
    return records


def _not_ready(configs: list[Configuration], store: Store) -> list[Configuration]:
    needed = dict.fromkeys(part for config in configs for part in config.starts_from(store))
    return [part for part in needed if not store.done(part, needs_tensors=True) or has_diverged(store.read(part))]


def with_all_they_start_from(configs: Iterable[Configuration], store: Store) -> set[Configuration]:
    """The configurations, what they start from, what that starts from, and so on."""
    found: set[Configuration] = set()
    waiting = list(configs)
    while waiting:
        config = waiting.pop()
        if config not in found:
            found.add(config)
            waiting += config.starts_from(store)
    return found


@dataclass(frozen=True)
class Results:
    """What the runs of a plan have given, by question.

    profile: whose plan it is; it has a name and a dataset.  trains: whether what lacks is made.
    """

    profile: Any
    plan: Plan
    trains: bool = False

    @property
    def store(self) -> Store:
        """The profile's records."""
        return Store.of(self.profile.name)

    @property
    def folder(self) -> Path:
        """results/<profile>."""
        return results_folder(self.profile.name)

    @property
    def questions(self) -> dict[str, list[Configuration]]:
        """All questions of all notebooks, with their configurations."""
        return {name: configs for questions in self.plan.values() for name, configs in questions.items()}

    def configs(self, question: str) -> list[Configuration]:
        """The configurations of the runs that a question needs."""
        return self.questions[question]

    @classmethod
    def of(cls, wing: ModuleType, profile: str, notebook: str | None = None, train: bool = False) -> Self:
        """The results of a wing's plan at a profile.

        What a notebook needs is run first, with progress; at profile "paper" only if train is True: there what lacks is
        an error when it is read.  Raises ValueError for an unknown profile.
        """
        chosen = wing.profile(profile)
        found = cls(chosen, wing.plan(chosen), trains=train or profile != "paper")
        questions = found.plan[notebook] if notebook and found.trains else {}
        for number, (name, configs) in enumerate(questions.items(), 1):
            sweep(configs, found.store, name=f"{number}/{len(questions)} {name}")
        return found

    def heading(self, source: str) -> str:
        """Where the page of provenance lists the records of a question, or the examples that notebooks show."""
        if source.startswith("examples"):
            return f"Notebook {source.removeprefix('examples').strip() or min(self.plan)}: examples"
        first = min(number for number, questions in self.plan.items() if source in questions)
        return f"Notebook {first}: {source}"

    def records(self, question: str) -> list[dict]:
        """Their records.  Raises StoreError if one is missing."""
        return [self.store.read(config) for config in self.configs(question)]


def finish(config: Configuration, store: Store, needs_tensors: bool = False, wait: bool = True) -> None:
    """Run one configuration, unless another process has finished it meanwhile, and write its record.

    wait: for another process that is running it; else leave it to that one.
    """
    with store.claimed(config, wait=wait) as held:
        if not held or store.done(config, needs_tensors):
            return
        threads_before, generator_before = torch.get_num_threads(), torch.get_rng_state()
        torch.set_num_threads(config.threads)
        started = time.monotonic()
        try:
            with threadpool_limits(config.threads):
                result = config.run(store)
        finally:
            torch.set_num_threads(threads_before)
            torch.set_rng_state(generator_before)
        if config.has_tensors and not has_diverged(result) and not store.tensors_path(config).exists():
            raise TypeError(f"{type(config).__name__} wrote no tensors: set has_tensors = False.")
        store.write(config, result | {"seconds": round(time.monotonic() - started, 2), "environment": environment()})


def environment() -> dict:
    """What a record says about the machine: device, processor, its bf16 units, versions, peak memory in MB, commit."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "device": device().type,
        "matrix_units": device().type == "cpu" and compute_dtype("bf16") is torch.bfloat16,
        "processor": processor(),
        "cores": joblib.cpu_count(),
        "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
    }


def _spread(configs: list[Configuration], store: Store, needs_tensors: bool, wait: bool) -> Iterable[Any]:
    """Finish every configuration where the environment says; yield something whenever one is done."""
    if address := os.environ.get("DISTILLATION_SCHEDULER"):
        from distillation.core import dask_cluster  # needs Dask, which only those who ask for it have

        return dask_cluster.spread(address, finish, configs, store, needs_tensors)
    jobs = min(_jobs(), len(configs))
    if jobs == 1:
        return (finish(config, store, needs_tensors, wait) for config in configs)
    backend = os.environ.get("DISTILLATION_BACKEND", "loky")
    if backend == "threading":  # the generator of random numbers is the process's
        raise ValueError("DISTILLATION_BACKEND=threading: each run needs a process of its own, as loky or ray give it.")
    calls = (joblib.delayed(finish)(config, store, needs_tensors, wait) for config in configs)
    return joblib.Parallel(n_jobs=jobs, backend=backend, return_as="generator_unordered")(calls)


def _jobs() -> int:
    if given := os.environ.get("DISTILLATION_JOBS"):
        if not given.isdecimal() or int(given) == 0:
            raise ValueError(f"DISTILLATION_JOBS={given}: give a number of processes, 1 or more.")
        return int(given)
    return joblib.cpu_count() if device().type == "cpu" else 1
