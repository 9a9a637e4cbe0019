"""A sweep over the workers of a Dask scheduler, one of which is killed, gives the records of a serial one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from coins import Coin, LostCoin
from dask.distributed import Client, KilledWorker

import distillation.core
from distillation.core import dask_cluster as cluster
from distillation.core.dask_cluster import ClusterError
from distillation.core.data import REPOSITORY
from distillation.core.store import Store
from distillation.core.sweep import finish, sweep
from distillation.core.training import Optimisation
from distillation.mnist.nets import Net

# Long enough (half a second each) that a worker can be killed while it trains.
NETS = [Net("digits", (6,), hidden_dropout=0.5, optimisation=Optimisation(6, 64, jitter=1), seed=s) for s in range(5)]
SECONDS = 300  # until something that takes a few on an idle machine has failed


@dataclass(frozen=True)
class Workers:
    """A Dask scheduler on the loopback address and the folder its processes run in."""

    address: str
    folder: Path

    def start(self, name: str, threads: int = 1) -> subprocess.Popen:
        """Start a worker as docs/scaling.md does; without a nanny, which would start it again when it is killed."""
        settings = ["--name", name, "--nthreads", str(threads), "--memory-limit", "0", "--no-dashboard"]
        process = start(self.folder, "worker", self.address, *settings, "--no-nanny", "--death-timeout", "60")
        with Client(self.address, set_as_default=False) as client:
            wait_until(lambda: name in names(client), process)
        return process


def start(folder: Path, *command: str) -> subprocess.Popen:
    """Start `dask ...` in a folder, with this checkout's code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISTILLATION_")}
    environment |= {
        "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests' / 'helpers'}",
        "DISTILLATION_DEVICE": "cpu",
    }
    with open(folder / "log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--host", "127.0.0.1"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )


def names(client: Client) -> dict[str, str]:
    """The addresses of the workers, by name."""
    return {worker["name"]: address for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}


def wait_until(condition: Callable[[], object], *alive: subprocess.Popen) -> None:
    """Wait until the condition holds; fail after a while, or if a process that it depends on has ended."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in alive)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A scheduler with one worker."""
    folder = tmp_path_factory.mktemp("cluster")
    found = folder / "scheduler.json"
    settings = ["--port", "0", "--no-dashboard", "--scheduler-file", str(found), "--idle-timeout", "600"]
    scheduler = start(folder, "scheduler", *settings)
    processes = [scheduler]
    try:
        wait_until(found.exists, scheduler)
        with Client(scheduler_file=str(found), set_as_default=False) as client:
            workers = Workers(client.scheduler.address, folder)
        processes.append(workers.start("first"))
        yield workers
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def second(workers: Workers) -> Iterator[subprocess.Popen]:
    """Another worker, until a test kills it."""
    process = workers.start("second")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def scheduled(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Sweeps go to the workers."""
    monkeypatch.setenv("DISTILLATION_SCHEDULER", workers.address)
    return workers


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the records of the nets, run one after the other in this process."""
    store = Store(tmp_path_factory.mktemp("serial"))
    for net in NETS:
        finish(net, store)
    return store


def check(records: list[dict], store: Store, serial: Store) -> None:
    """Every record is there once, in order, and its results are those of the serial run, to the last bit."""
    assert [record["config"]["seed"] for record in records] == [net.seed for net in NETS]
    for record, net in zip(records, NETS, strict=True):
        expected = serial.read(net)
        assert (record["metrics"], record["history"]) == (expected["metrics"], expected["history"])
        assert store.tensors_path(net).read_bytes() == serial.tensors_path(net).read_bytes()
    # A killed worker may leave a partial file, which nobody reads.
    files = {path for path in store.folder.rglob("*") if path.suffix != ".partial"}
    assert {path.relative_to(store.folder) for path in files} == {
        path.relative_to(serial.folder) for path in serial.folder.rglob("*")
    }


def test_two_workers_give_the_bits_of_one_process(
    store: Store, serial: Store, scheduled: Workers, second: subprocess.Popen
) -> None:
    check(sweep(NETS, store), store, serial)


def test_sweep_whose_worker_is_killed_in_the_middle_of_a_run_gives_the_same_records(
    store: Store, serial: Store, scheduled: Workers, second: subprocess.Popen
) -> None:
    with Client(scheduled.address, set_as_default=False) as client, ThreadPoolExecutor() as pool:
        victim = names(client)["second"]
        sweeping = pool.submit(sweep, NETS, store)
        wait_until(lambda: is_training(client, victim) or sweeping.done(), second)
        second.send_signal(signal.SIGKILL)
        second.wait()
        assert not sweeping.done()
        missing = [net for net in NETS if not store.has(net)]
        check(sweeping.result(SECONDS), store, serial)
        assert missing
        assert names(client).keys() == {"first"}


def is_training(client: Client, worker: str) -> bool:
    """Whether a worker is inside the training loop."""
    return "training.py" in str(client.call_stack().get(worker, ""))


def test_caller_says_where_the_data_are(scheduled: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLATION_DATA", "my data")
    (record,) = sweep([Coin(1)], Store(Path("records")))
    assert record["metrics"]["data"] == str(tmp_path / "my data")
    assert record["metrics"]["folder"] != str(tmp_path)
    assert len(list((tmp_path / "records" / "coins").glob("*.json"))) == 1


def test_failing_run_is_raised(store: Store, scheduled: Workers) -> None:
    with pytest.raises(RuntimeError, match="no coin 3"):
        sweep([LostCoin(3)], store)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            KilledWorker("run", SimpleNamespace(address="tcp://10.0.0.2:1"), 3),
            "Workers died .*seed=7.* tcp://10.0.0.2:1",
        ),
        (CancelledError(), "scheduler at tcp://10.0.0.1:8786 was lost"),
        (ModuleNotFoundError(name="numba"), f"cannot import numba: .*{re.escape(str(REPOSITORY / '.venv'))}"),
    ],
)
def test_what_a_cluster_does_wrong_is_said_with_its_remedy(raised: Exception, message: str) -> None:
    def result() -> None:
        raise raised

    with pytest.raises(ClusterError, match=message):
        cluster.wait_for(SimpleNamespace(result=result), "tcp://10.0.0.1:8786", Coin(7))


@pytest.mark.parametrize(
    ("code", "threads", "message"),
    [("another", 1, "tcp://10.0.0.2:1 runs other code"), (cluster.CODE, 2, "tcp://10.0.0.2:1 has 2 threads")],
    ids=["other code", "two threads"],
)
def test_unfit_worker_refuses(
    code: str, threads: int, message: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = SimpleNamespace(address="tcp://10.0.0.2:1", state=SimpleNamespace(nthreads=threads))
    monkeypatch.setattr(cluster, "get_worker", lambda: worker)
    with pytest.raises(ClusterError, match=message):
        cluster.finish_here(code, {}, finish, Coin(1), store, False)
    assert not store.has(Coin(1))


def test_results_that_are_not_shared_are_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_APPEAR", 0.1)
    with pytest.raises(ClusterError, match="not here: set DISTILLATION_RESULTS"):
        cluster.wait_for_results(store, NETS[0], needs_tensors=False)
    store.write(NETS[0], {"metrics": {}})
    cluster.wait_for_results(store, NETS[0], needs_tensors=False)
    with pytest.raises(ClusterError, match="not here: set DISTILLATION_RESULTS"):
        cluster.wait_for_results(store, NETS[0], needs_tensors=True)


@pytest.mark.parametrize("address", ["{}", "127.0.0.1", "nonsense://{}"])
def test_address_without_a_scheduler_is_refused(address: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        given = address.format(f"127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("DISTILLATION_SCHEDULER", given)
        with pytest.raises(ClusterError, match=f"No Dask scheduler answers at DISTILLATION_SCHEDULER={given}"):
            sweep([Coin(1)], store)


def test_missing_dask_is_said_with_its_remedy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    monkeypatch.delitem(sys.modules, "distillation.core.dask_cluster")
    monkeypatch.delattr(distillation.core, "dask_cluster")
    with pytest.raises(ImportError, match=r"Dask is not installed: `pip install 'dask\[distributed\]'`"):
        sweep([Coin(1)], store)
