"""Map an experiment over configurations, skipping what the store holds."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import joblib
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from distillation.core.data import REPOSITORY
from distillation.core.store import Store
from distillation.core.training import Diverged, device

Run = Callable[[Any, Store], dict]


def sweep(
    run: Run, configs: Iterable[Any], store: Store, *, name: str = "runs", needs_tensors: bool = False
) -> list[dict]:
    """Run what is not yet in the store; return the records of all configurations, in order.

    run(config, store) returns {"metrics": ..., "history": ...}; each finished run is a record on disk, so an
    interrupted sweep continues where it stopped.  What another process is running is left to it and waited for at the
    end.  needs_tensors: also run again what has a record but no tensors here; raises Diverged if a run can have none.
    DISTILLATION_JOBS sets the number of local processes (default: one per core and none on a GPU),
    DISTILLATION_BACKEND another joblib backend.  DISTILLATION_SCHEDULER, the address of a Dask scheduler, has its
    workers do the runs instead.
    """
    configs = list(dict.fromkeys(configs))
    for wait, title in ((False, name), (True, f"{name}, by another process")):
        missing = [config for config in configs if not done(config, store, needs_tensors)]
        if not missing:
            break
        results = _run_all(run, missing, store, needs_tensors, wait)
        for _ in tqdm(results, total=len(missing), desc=title, unit="run", mininterval=1):
            pass
    records = [store.read(config) for config in configs]
    for config, record in zip(configs, records, strict=True):
        if needs_tensors and has_diverged(record):
            raise Diverged(f"{record['metrics']['diverged']} Nothing can be made from this net: {config}.")
    return records


def finish(run: Run, config: Any, store: Store, needs_tensors: bool = False, wait: bool = True) -> None:
    """Run one configuration, unless another process has finished it meanwhile, and write its record.

    wait: for another process that is running it; else leave it to that one.
    """
    with store.claimed(config, wait=wait) as held:
        if not held or done(config, store, needs_tensors):
            return
        threads_before = torch.get_num_threads()
        generator_before = torch.get_rng_state()
        torch.set_num_threads(config.threads)
        started = time.monotonic()
        try:
            with threadpool_limits(config.threads):
                result = run(config, store)
        finally:
            torch.set_num_threads(threads_before)
            torch.set_rng_state(generator_before)
        store.write(config, result | {"seconds": round(time.monotonic() - started, 2), "environment": environment()})


def environment() -> dict:
    """What a record says about the machine: device, processor, its bf16 units, versions, peak memory in MB, commit."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "device": device().type,
        "matrix_units": device().type == "cpu" and torch.cpu._is_amx_tile_supported(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
    }


def done(config: Any, store: Store, needs_tensors: bool) -> bool:
    """Whether a run is finished and what is needed of it lies on this disk."""
    if not store.has(config):
        return False
    return not needs_tensors or store.tensors_path(config).exists() or has_diverged(store.read(config))


def has_diverged(record: dict) -> bool:
    """Whether a run is a result without weights: its loss became NaN or infinite."""
    return "diverged" in record["metrics"]


def _run_all(run: Run, configs: list[Any], store: Store, needs_tensors: bool, wait: bool) -> Iterable[Any]:
    """Finish every configuration where the environment says; yield something whenever one is done."""
    if address := os.environ.get("DISTILLATION_SCHEDULER"):
        from distillation.core import dask_cluster as cluster  # needs Dask, which only those who ask for it have

        return cluster.spread(address, run, configs, store, needs_tensors)
    jobs = min(_jobs(), len(configs))
    if jobs == 1:
        return (finish(run, config, store, needs_tensors, wait) for config in configs)
    calls = (joblib.delayed(finish)(run, config, store, needs_tensors, wait) for config in configs)
    return joblib.Parallel(n_jobs=jobs, backend=_backend(), return_as="generator_unordered")(calls)


def _backend() -> str:
    backend = os.environ.get("DISTILLATION_BACKEND", "loky")
    if backend == "threading":  # the generator of random numbers is the process's
        raise ValueError("DISTILLATION_BACKEND=threading: each run needs a process of its own, as loky or ray give it.")
    return backend


def _jobs() -> int:
    if given := os.environ.get("DISTILLATION_JOBS"):
        if not given.isdecimal() or int(given) == 0:
            raise ValueError(f"DISTILLATION_JOBS={given}: give a number of processes, 1 or more.")
        return int(given)
    return (os.cpu_count() or 1) if device().type == "cpu" else 1


@cache
def _processor() -> str:
    """The processor's name: runs on another one may differ in their last digits."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


@cache
def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # a worker may have no git
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
