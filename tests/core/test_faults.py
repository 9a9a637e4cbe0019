"""Killed, crowded out, on a full disk or on a read-only one: what is on disk is whole, and the next run continues."""

import hashlib
import multiprocessing
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from served import allow_downloads, serve
from small_sweep import CONFIGS, PRELOADED, calls, fetch, same_results, store_in, sweep_in

from distillation.commands import run as runner
from distillation.core import data as common
from distillation.core.data import DataError
from distillation.core.store import Configuration, Store, StoreError
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation, train
from distillation.mnist import data as mnist
from distillation.mnist import plan as plans
from distillation.specialists.data import cifar100
from distillation.speech.data import an4
from notebooks import write_notebook

KILLS = 30


@pytest.fixture(scope="module")
def context() -> Iterator[ForkServerContext]:
    """Forks processes from a server that has imported everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # a forked process has none of its parent's threads
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        yield context


def start(context: ForkServerContext, folder: Path, function: Callable = sweep_in) -> ForkServerProcess:
    """A process that has begun to sweep in the folder."""
    folder.mkdir(exist_ok=True)
    begun = context.Event()
    process = context.Process(target=function, args=(folder, begun))
    process.start()
    assert begun.wait(300)
    return process


@dataclass(frozen=True)
class Undisturbed:
    store: Store
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The records of the sweep in one process, and how long that took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(context, folder)
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0
    store = store_in(folder)
    assert [name for _, name in calls(folder)] == [store.name(config) for config in CONFIGS]
    return Undisturbed(store, time.monotonic() - started)


def files(store: Store) -> set[Path]:
    """All files in the store's folder."""
    return {path for path in store.folder.rglob("*") if path.is_file()}


def check_finished(store: Store, undisturbed: Undisturbed) -> None:
    """Every record on disk is whole and that of an undisturbed run."""
    finished = [config for config in CONFIGS if store.has(config)]
    assert {path for path in files(store) if path.suffix == ".json"} == {store.path(config) for config in finished}
    assert same_results(store, undisturbed.store, finished)


def check_complete(store: Store, undisturbed: Undisturbed) -> None:
    """All records are those of an undisturbed run, and beside them lie their weights alone."""
    check_finished(store, undisturbed)
    expected = {path(config) for config in CONFIGS for path in (store.path, store.tensors_path)}
    # A process killed right after it has written a record leaves a lock that nobody holds, of a run never repeated.
    assert {path for path in files(store) if path.suffix != ".lock"} == expected


def test_thirty_kills_lose_nothing(context: ForkServerContext, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """SIGKILL at random moments; a sweep that finishes before its kill is checked, and another one begun."""
    moments = random.Random(0)
    kills = sweeps = continued = 0  # continued: kills that left a checkpoint in the middle of a run
    while kills < KILLS or continued == 0:
        assert kills < 10 * KILLS, "no kill hit in the middle of a run"
        sweeps += 1
        folder = tmp_path / f"sweep {sweeps}"
        store = store_in(folder)
        before = kills
        while True:
            process = start(context, folder)
            process.join(moments.uniform(0, undisturbed.seconds / 3) if kills < KILLS or continued == 0 else None)
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:
                break
            kills += 1
            continued += any(store.folder.glob("*/*.checkpoint.safetensors"))
            check_finished(store, undisturbed)
        assert process.exitcode == 0
        check_complete(store, undisturbed)
        assert len(calls(folder)) <= len(CONFIGS) + kills - before  # only what was in flight is run again
    assert kills >= KILLS


def test_record_is_whole_as_soon_as_it_appears(
    context: ForkServerContext, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """SIGKILL whenever a new record is seen in the folder, which random moments would hardly ever meet."""
    store = store_in(tmp_path)
    store.folder.mkdir(parents=True)
    kills = 0
    for number in range(len(CONFIGS)):
        process = start(context, tmp_path)
        while process.is_alive() and len(list(store.folder.glob("*/*.json"))) == number:
            pass
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        check_finished(store, undisturbed)
    assert kills >= len(CONFIGS) - 1  # the last one may have ended by itself
    assert len(calls(tmp_path)) <= len(CONFIGS) + kills


def killed_while_it_writes(folder: Path, begun: Event) -> None:
    """The signal that comes with too large a file, which Python ignores, ends this process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    begun.set()
    store_in(folder).write_tensors(CONFIGS[0], {"logits": torch.zeros(4000)})


def test_nothing_stays_of_weights_whose_writer_was_killed(context: ForkServerContext, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    process = start(context, tmp_path, killed_while_it_writes)
    process.join()
    assert process.exitcode == -signal.SIGXFSZ
    (leftover,) = files(store)
    with store.claimed(CONFIGS[0]):
        assert not leftover.exists()
    assert not files(store)


def test_two_sweeps_at_once_share_the_work(
    context: ForkServerContext, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    processes = [start(context, tmp_path) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    check_complete(store_in(tmp_path), undisturbed)
    assert sorted(name for _, name in calls(tmp_path)) == sorted(store_in(tmp_path).name(config) for config in CONFIGS)
    assert {process for process, _ in calls(tmp_path)} == {process.pid for process in processes}


def test_a_sweep_takes_over_from_one_that_is_killed(
    context: ForkServerContext, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The other process runs what is left, and once more what was in flight."""
    killed, other = start(context, tmp_path), start(context, tmp_path)
    while killed.pid not in dict(calls(tmp_path)) and killed.is_alive():
        time.sleep(0.01)
    killed.kill()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    other.join()
    assert other.exitcode == 0
    check_complete(store_in(tmp_path), undisturbed)
    finished = len({name for _, name in calls(tmp_path)})
    assert finished == len(CONFIGS)
    assert len(calls(tmp_path)) <= finished + 1


@dataclass(frozen=True)
class Line(Configuration):
    """A straight line through noise: a run of milliseconds that writes all that a long one does."""

    experiment: ClassVar[str] = "lines"

    seed: int
    threads: int = 1

    def run(self, store: Store) -> dict:
        torch.manual_seed(self.seed)
        model, inputs = torch.nn.Linear(30, 10), torch.randn(20, 30)
        history = train(
            model,
            inputs,
            lambda logits, _: logits.square().mean(),
            Optimisation(2, learning_rate=0.01),
            checkpoint=store.checkpoint(self),
        )
        store.write_tensors(self, {**model.state_dict(), "logits": torch.randn(4000)})  # more than two checkpoints
        return {"metrics": {"loss": history[-1]["loss"]}, "history": history}


LINES = [Line(seed) for seed in range(4)]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    monkeypatch.setattr("distillation.core.training.CHECKPOINT_SECONDS", -1)


@pytest.fixture
def lines(in_process: None, tmp_path: Path) -> Store:
    """A store with the records of all lines."""
    store = Store(tmp_path / "undisturbed")
    sweep(LINES, store)
    return store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a disk of 128 KiB, of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"No disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def unwritable(store: Store, reason: str) -> None:
    """The sweep refuses to go on; its message names the folder, the reason and the remedy in one sentence."""
    with pytest.raises(StoreError) as caught:
        sweep(LINES, store)
    check_message(str(caught.value), store, reason)


def check_message(message: str, store: Store, reason: str) -> None:
    assert message.startswith(f"{store.folder / 'lines'} cannot be written (")
    assert reason in message
    assert message.endswith(
        "make room there, or set DISTILLATION_RESULTS to another folder, and run again; finished runs are kept."
    )
    assert "\n" not in message


def check_lines(store: Store, lines: Store) -> int:
    """Check that the folder holds nothing but whole records and weights; return how many are finished."""
    finished = [config for config in LINES if store.has(config)]
    assert same_results(store, lines, finished)
    weights = {store.tensors_path(config) for config in LINES if store.tensors_path(config).exists()}
    checkpoints = {store.checkpoint(config) for config in LINES if config not in finished}
    records = {store.path(config) for config in finished}
    assert records | weights <= files(store) <= records | weights | checkpoints
    return len(finished)


def test_full_disk_is_told_and_loses_nothing(lines: Store, small_disk: Path) -> None:
    """With every amount of room from none to enough, so that each kind of file is the first that does not fit."""
    fell_short = []
    for pages in range(32):
        store = Store(small_disk / f"{pages} pages")
        (store.folder / "lines").mkdir(parents=True)
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with filler.open("r+b") as file:
            file.truncate(max(0, filler.stat().st_size - pages * 4096))
        try:
            sweep(LINES, store)
        except StoreError as error:
            check_message(str(error), store, "No space left on device")
            fell_short.append(check_lines(store, lines))
        else:
            assert check_lines(store, lines) == len(LINES)
        filler.unlink()
        sweep(LINES, store)
        assert check_lines(store, lines) == len(LINES)
        shutil.rmtree(store.folder)
    assert fell_short == sorted(fell_short)
    assert set(fell_short) == {0, 1, 2, 3}
    assert 8 < len(fell_short) < 32


def test_limit_on_file_sizes_is_told_and_loses_nothing(lines: Store, store: Store) -> None:
    """Needs no mount: weights do not fit, and afterwards do."""
    sweep(LINES[:2], store)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, usual[1]))
    try:
        unwritable(store, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert check_lines(store, lines) == 2
    sweep(LINES, store)
    assert check_lines(store, lines) == len(LINES)


def test_read_only_disk_is_told_and_loses_nothing(lines: Store, small_disk: Path) -> None:
    store = Store(small_disk / "results")
    sweep(LINES[:2], store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    unwritable(store, "Read-only file system")
    assert check_lines(store, lines) == 2
    assert sweep(LINES[:2], store) == [store.read(config) for config in LINES[:2]]  # reading is allowed


def test_results_under_a_file_are_told(in_process: None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unwritable(Store(tmp_path / "file"), "Not a directory")


def test_runner_tells_that_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(tmp_path / "notebooks", "01_a.ipynb", "1")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "file"))
    assert runner.main(["smoke"], tmp_path / "notebooks") == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"{tmp_path / 'file' / 'smoke'} cannot be written (Not a directory): make room there")


def test_runner_tells_of_a_full_disk(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A notebook whose output does not fit: no traceback; with room, the same call succeeds."""
    write_notebook(tmp_path / "notebooks", "01_a.ipynb", "import os\nos.urandom(100_000).hex()")
    monkeypatch.setenv("DISTILLATION_RESULTS", str(small_disk))
    assert runner.main(["smoke"], tmp_path / "notebooks") == 1
    shown = capfd.readouterr()
    assert "cannot be written (No space left on device): make room there" in shown.err
    assert "Traceback" not in shown.err + shown.out
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    assert runner.main(["smoke"], tmp_path / "notebooks") == 0


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection goes through a proxy that refuses it; the data folder is empty."""
    for variable in ("NO_PROXY", "no_proxy", "DISTILLATION_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path / "data"))


def test_without_a_network_quick_says_so_and_goes_on(no_network: None, capsys: pytest.CaptureFixture[str]) -> None:
    notebooks = [Path(name) for name in ("02_mnist.ipynb", "03_speech.ipynb", "04_specialists.ipynb")]
    _, found = runner.look_up("quick", notebooks)
    assert list(found.values()) == ["digits", "an4 (embedded)", "fonts (embedded)"]
    notices = capsys.readouterr().out.splitlines()
    assert [notice.split(" is not here and cannot be downloaded: ")[0] for notice in notices] == [
        "MNIST",
        "AN4",
    ]
    assert len(mnist.load(plans.profile("quick").dataset).train_labels) > 0


def test_without_a_network_paper_has_no_stand_in(no_network: None, tmp_path: Path) -> None:
    assert plans.profile("paper").dataset == "mnist"
    for load in (mnist.load_mnist, an4.load_an4, cifar100.load):
        with pytest.raises(DataError, match=r"could not be downloaded .*ProxyError.*: check the network"):
            load()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_download_killed_half_way_starts_again(
    context: ForkServerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL with half of the file on disk, under another name; the next call fetches it whole."""
    allow_downloads(tmp_path, monkeypatch)
    whole = random.Random(0).randbytes(1_000_000)
    digest = f"sha256:{hashlib.sha256(whole).hexdigest()}"
    with serve() as server:
        server.hang_up.clear()
        server.answers["/data.gz"] = (200, whole[:500_000], len(whole))
        begun = context.Event()
        process = context.Process(target=fetch, args=(f"{server.url}/", digest, tmp_path, begun))
        process.start()
        assert begun.wait(300)
        end = time.monotonic() + 300
        while not any(path.stat().st_size > 100_000 for path in tmp_path.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        server.hang_up.set()
        assert not (tmp_path / "data.gz").exists()
        server.answers["/data.gz"] = (200, whole, len(whole))
        path = common.fetch("data.gz", (f"{server.url}/",), digest, tmp_path)
    assert path.read_bytes() == whole
