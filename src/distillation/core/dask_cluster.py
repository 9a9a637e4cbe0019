"""Spread a sweep over the workers of a Dask scheduler, on this machine or on many: docs/scaling.md says how.

Not joblib's Dask backend, which uses only the workers that are there when it begins.  Needs dask[distributed], so this
module is imported only where DISTILLATION_SCHEDULER is set.
"""

import dataclasses
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from urllib.parse import urlsplit

from distillation import CODE
from distillation.core.data import REPOSITORY
from distillation.core.store import Configuration, Store

try:
    from dask.distributed import Client, Future, KilledWorker, as_completed, get_worker
except ImportError:  # not ModuleNotFoundError: Dask without its distributed part
    told = "DISTILLATION_SCHEDULER is set, but Dask is not installed: `pip install 'dask[distributed]'`, or unset it."
    raise ImportError(told) from None

Finish = Callable[[Configuration, Store, bool], None]
SECONDS_TO_APPEAR = 90  # a network file system may show other machines' files a minute late


class ClusterError(RuntimeError):
    """The scheduler, a worker or the file system is not what a sweep needs; the message names it and the remedy."""


def spread(
    address: str, finish: Finish, configs: list[Configuration], store: Store, needs_tensors: bool = False
) -> Iterator[Configuration]:
    """Finish every configuration on the workers of the scheduler at an address; yield each when its record is here.

    Workers may come and go: what a lost worker was running is run again by another, from its checkpoint if it has one.
    Raises what a run raises, and ClusterError if the scheduler or the workers will not do; finished runs are kept.
    """
    store = dataclasses.replace(store, folder=store.folder.absolute())  # workers have working folders of their own
    with connect(address) as client:
        if not client.scheduler_info()["workers"]:
            print(f"The Dask scheduler at {address} has no workers yet: the sweep waits for them.")
        arguments = (CODE, variables(), finish)
        config_of = {
            client.submit(finish_here, *arguments, config, store, needs_tensors, pure=False): config
            for config in configs
        }
        for future in as_completed(config_of, loop=client.loop):
            config = config_of[future]
            wait_for(future, address, config)
            wait_for_results(store, config, needs_tensors)
            yield config


def connect(address: str) -> Client:
    """A client of the scheduler at an address.  Raises ClusterError if none answers there."""
    try:
        place = urlsplit(address if "://" in address else f"tcp://{address}")
        socket.create_connection((place.hostname, place.port), timeout=10).close()  # fails with less ado than Dask
        return Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at DISTILLATION_SCHEDULER={address} ({error}): start one with `dask scheduler` "
            "and give the address that it prints, such as tcp://10.0.0.1:8786."
        ) from None


def variables() -> dict[str, str]:
    """The caller's environment variables that decide where a run finds its data, as they hold in any folder."""
    names = [name for name in ("DISTILLATION_DATA", "DISTILLATION_OFFLINE") if os.environ.get(name)]
    return {name: os.path.abspath(os.environ[name]) if "DATA" in name else os.environ[name] for name in names}


def finish_here(
    code: str, of_caller: dict[str, str], finish: Finish, config: Configuration, store: Store, needs_tensors: bool
) -> None:
    """On a worker: finish the run, with the caller's variables where the worker has none of its own.

    Raises ClusterError if the worker has other code than the caller, or may do several runs at once.
    """
    worker = get_worker()
    if code != CODE:
        raise ClusterError(f"The worker {worker.address} runs other code than this call: start both again, from here.")
    if worker.state.nthreads != 1:  # the generator of random numbers is the process's
        raise ClusterError(
            f"The worker {worker.address} has {worker.state.nthreads} threads: start workers with --nthreads 1, one "
            "for each core or GPU."
        )
    missing = {name: value for name, value in of_caller.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        finish(config, store, needs_tensors)
    finally:
        for name in missing:
            del os.environ[name]


def wait_for(future: Future, address: str, config: Configuration) -> None:
    """Wait until a run has ended; raise what it raised, or ClusterError if it cannot be done on this cluster."""
    try:
        future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"Workers died again and again while they ran {config}, the last at {error.last_worker.address}: see their "
            "logs (out of memory?), remedy it and run the same command again."
        ) from None
    except CancelledError:
        raise ClusterError(
            f"The Dask scheduler at {address} was lost. Finished runs are kept: start it and its workers again, and "
            "the same command continues from here."
        ) from None
    except ModuleNotFoundError as error:
        dask = REPOSITORY / ".venv" / "bin" / "dask"
        raise ClusterError(f"A worker cannot import {error.name}: start workers with {dask} of ./run_all.sh.") from None


def wait_for_results(store: Store, config: Configuration, needs_tensors: bool) -> None:
    """Wait until what a worker wrote of a run is here.  Raises ClusterError if it does not come."""
    end = time.monotonic() + SECONDS_TO_APPEAR
    while not store.done(config, needs_tensors):
        if time.monotonic() > end:
            lost = f"A worker wrote {store.path(config)} and it is not here"
            raise ClusterError(
                f"{lost}: set DISTILLATION_RESULTS to a folder that this machine shares with all workers."
            )
        time.sleep(0.2)
