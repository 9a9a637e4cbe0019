"""A failed sweep continues to the same records; how it is spread over processes changes nothing."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from small_sweep import same_results

from distillation.core.store import Store, StoreError
from distillation.core.sweep import _commit, finish, sweep
from distillation.core.training import Diverged, Optimisation
from distillation.mnist import nets as mnist
from distillation.mnist.nets import Net

NETS = [Net("digits", (6,), hidden_dropout=0.5, optimisation=Optimisation(3, 128, jitter=1), seed=s) for s in range(4)]


@dataclass(frozen=True)
class Coin:
    seed: int
    threads: int = 1


def toss(config: Coin, store: Store) -> dict:
    """Leave a trace of the call, tensors, and another state of everything that a run may change."""
    store.folder.mkdir(parents=True, exist_ok=True)
    with (store.folder.parent / "calls").open("a") as calls:
        calls.write(f"{config.seed}\n")
    torch.manual_seed(config.seed)
    store.write_tensors(config, {"face": torch.rand(1)})
    return {"metrics": {"face": torch.rand(1).item(), "threads": torch.get_num_threads()}, "history": []}


def fail(config: Coin, store: Store) -> dict:
    torch.manual_seed(7)
    if config.seed == 2:
        raise RuntimeError("no coin")
    return toss(config, store)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "1")


def calls(store: Store) -> list[int]:
    return [int(line) for line in (store.folder.parent / "calls").read_text().split()]


def metrics(records: list[dict]) -> list[dict]:
    return [record["metrics"] for record in records]


def test_finished_runs_are_skipped(store: Store) -> None:
    first = sweep(toss, [Coin(1), Coin(2)], store)
    both = sweep(toss, [Coin(2), Coin(3), Coin(1)], store)
    assert calls(store) == [1, 2, 3]
    assert (both[2], both[0]) == tuple(first)
    assert [record["config"]["seed"] for record in both] == [2, 3, 1]


def test_configuration_given_twice_runs_once(store: Store) -> None:
    assert len(sweep(toss, [Coin(1), Coin(1)], store)) == 1
    assert calls(store) == [1]


def test_failure_keeps_what_was_finished(store: Store) -> None:
    configs = [Coin(1), Coin(2), Coin(3)]
    with pytest.raises(RuntimeError, match="no coin"):
        sweep(fail, configs, store)
    assert store.has(configs[0])
    assert not store.has(configs[1])
    sweep(toss, configs, store)
    assert calls(store) == [1, 2, 3]


def test_missing_tensors_are_made_again_when_needed(store: Store) -> None:
    sweep(toss, [Coin(1), Coin(2)], store)
    face = store.tensors(Coin(1))["face"]
    store.tensors_path(Coin(1)).unlink()
    sweep(toss, [Coin(1), Coin(2)], store)
    assert calls(store) == [1, 2]
    sweep(toss, [Coin(1), Coin(2)], store, needs_tensors=True)
    assert calls(store) == [1, 2, 1]
    assert torch.equal(store.tensors(Coin(1))["face"], face)


def test_diverged_run_is_done_once_and_refused_where_its_weights_are_needed(store: Store) -> None:
    def diverge(config: Coin, store: Store) -> dict:
        toss(config, store)
        store.tensors_path(config).unlink()
        return {"metrics": {"diverged": "The loss became inf."}, "history": []}

    for _ in range(2):
        with pytest.raises(Diverged, match=r"The loss became inf\. Nothing can be made from this net: Coin\(seed=1"):
            sweep(diverge, [Coin(1)], store, needs_tensors=True)
    assert len(sweep(diverge, [Coin(1)], store)) == 1
    assert calls(store) == [1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DISTILLATION_JOBS", "two", "DISTILLATION_JOBS=two: give a number of processes, 1 or more"),
        ("DISTILLATION_JOBS", "0", "DISTILLATION_JOBS=0: give a number"),
        ("DISTILLATION_BACKEND", "threading", "DISTILLATION_BACKEND=threading: each run needs a process of its own"),
    ],
)
def test_unfit_variables_are_refused(name: str, value: str, message: str, store: Store, monkeypatch) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "2")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        sweep(toss, [Coin(1), Coin(2)], store)
    assert not store.folder.exists()


def test_run_is_recorded_where_git_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("distillation.core.sweep._commit", _commit.__wrapped__)  # without what it remembers
    (record,) = sweep(toss, [Coin(1)], store)
    assert record["environment"]["commit"] == "unknown"


def test_damaged_record_is_never_overwritten_silently(store: Store) -> None:
    sweep(toss, [Coin(1)], store)
    store.path(Coin(1)).write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        sweep(toss, [Coin(1)], store)


@pytest.mark.parametrize("run", [toss, fail])
def test_callers_generator_and_threads_are_untouched(run, store: Store) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    (record,) = sweep(run, [Coin(1, threads=threads + 1)], store)
    assert record["metrics"]["threads"] == threads + 1
    if run is fail:
        with pytest.raises(RuntimeError):
            sweep(run, [Coin(2, threads=threads + 1)], store)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_record_says_where_and_how_long_it_ran(store: Store) -> None:
    (record,) = sweep(toss, [Coin(1)], store)
    assert record["seconds"] >= 0
    assert record["environment"]["torch"] == torch.__version__
    assert record["environment"]["device"] == "cpu"
    assert {"peak_memory_mb", "cores", "python", "commit", "matrix_units"} <= record["environment"].keys()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the records of the nets, each run alone."""
    store = Store(tmp_path_factory.mktemp("undisturbed") / "mnist", mnist.RECIPE)
    for net in NETS:
        finish(mnist.run, net, store)
    return store


def test_two_processes_give_the_same_bits_as_one(
    store: Store, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "2")
    together = sweep(mnist.run, NETS, store)
    assert [record["config"]["seed"] for record in together] == [net.seed for net in NETS]
    assert same_results(store, undisturbed, NETS)


def test_sweep_takes_any_configuration_with_threads(store: Store) -> None:
    assert len(sweep(toss, (dataclasses.replace(Coin(0), seed=seed) for seed in range(3)), store)) == 3
