"""A failed sweep continues to the same records; how it is spread over processes changes nothing."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
import torch
from small_sweep import CONFIGS, STUDENTS, same_results

from distillation import commit
from distillation.core.store import Configuration, Store, StoreError, profile_named
from distillation.core.sweep import Plan, Results, finish, sweep, with_all_they_start_from
from distillation.core.training import Diverged, Optimisation
from distillation.mnist.nets import Net

NETS = [Net("digits", (6,), hidden_dropout=0.5, optimisation=Optimisation(3, 128, jitter=1), seed=s) for s in range(4)]


@dataclass(frozen=True)
class Coin(Configuration):
    """A run of no time; after: the coins whose tensors it reads."""

    experiment: ClassVar[str] = "coins"

    seed: int
    after: tuple["Coin", ...] = ()
    threads: int = 1

    def run(self, store: Store) -> dict:
        return toss(self, store)


@dataclass(frozen=True)
class Counted(Coin):
    """A coin that is only a number."""

    has_tensors: ClassVar[bool] = False

    def run(self, store: Store) -> dict:
        note(self, store)
        return {"metrics": {}, "history": []}


@dataclass(frozen=True)
class Purse(Configuration):
    """Starts from as many coins as its first one, once that is tossed, tells: like a combination of specialists."""

    experiment: ClassVar[str] = "purses"

    first: Coin
    seed: int = 100
    threads: int = 1

    def coins(self, store: Store) -> list[Coin]:
        number = store.metrics(self.first)["number"]
        return [Coin(self.first.seed + extra, (Coin(10 * extra),)) for extra in range(1, number)]

    def starts_from(self, store: Store) -> list[Configuration]:
        return [self.first, *(self.coins(store) if store.has(self.first) else ())]

    def run(self, store: Store) -> dict:
        note(self, store)
        faces = [store.tensors(coin)["face"].item() for coin in self.coins(store)]
        store.write_tensors(self, {"faces": torch.tensor(faces)})
        return {"metrics": {"coins": len(faces)}, "history": []}


def note(config: Coin | Purse, store: Store) -> None:
    """Leave a trace of the call."""
    store.folder.mkdir(parents=True, exist_ok=True)
    with (store.folder.parent / "calls").open("a") as calls:
        calls.write(f"{config.seed}\n")


def toss(config: Coin, store: Store) -> dict:
    """Leave a trace of the call, tensors, and another state of everything that a run may change."""
    note(config, store)
    for coin in config.after:
        store.tensors(coin)
    torch.manual_seed(config.seed)
    store.write_tensors(config, {"face": torch.rand(1)})
    metrics = {"face": torch.rand(1).item(), "number": config.seed, "threads": torch.get_num_threads()}
    return {"metrics": metrics, "history": []}


def fail(config: Coin, store: Store) -> dict:
    torch.manual_seed(7)
    if config.seed == 2:
        raise RuntimeError("no coin")
    return toss(config, store)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "1")


def calls(store: Store) -> list[int]:
    path = store.folder.parent / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def metrics(records: list[dict]) -> list[dict]:
    return [record["metrics"] for record in records]


def test_finished_runs_are_skipped(store: Store) -> None:
    first = sweep([Coin(1), Coin(2)], store)
    both = sweep([Coin(2), Coin(3), Coin(1)], store)
    assert calls(store) == [1, 2, 3]
    assert (both[2], both[0]) == tuple(first)
    assert [record["config"]["seed"] for record in both] == [2, 3, 1]


def test_configuration_given_twice_runs_once(store: Store) -> None:
    assert len(sweep([Coin(1), Coin(1)], store)) == 1
    assert calls(store) == [1]


def test_failure_keeps_what_was_finished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [Coin(1), Coin(2), Coin(3)]
    with monkeypatch.context() as patch:
        patch.setattr(Coin, "run", fail)
        with pytest.raises(RuntimeError, match="no coin"):
            sweep(configs, store)
    assert store.has(configs[0])
    assert not store.has(configs[1])
    sweep(configs, store)
    assert calls(store) == [1, 2, 3]


def test_missing_tensors_are_made_again_when_needed(store: Store) -> None:
    sweep([Coin(1), Coin(2)], store)
    face = store.tensors(Coin(1))["face"]
    store.tensors_path(Coin(1)).unlink()
    sweep([Coin(1), Coin(2)], store)
    assert calls(store) == [1, 2]
    sweep([Coin(1), Coin(2)], store, needs_tensors=True)
    assert calls(store) == [1, 2, 1]
    assert torch.equal(store.tensors(Coin(1))["face"], face)


def test_a_run_that_forgets_its_tensors_is_told_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whatever starts from it would have it run again for ever."""
    monkeypatch.setattr(Counted, "has_tensors", True)
    with pytest.raises(TypeError, match="Counted wrote no tensors: set has_tensors = False"):
        sweep([Counted(1)], store)
    assert not store.has(Counted(1))


def test_a_run_without_tensors_is_done_without_them(store: Store) -> None:
    for _ in range(2):
        sweep([Counted(1), Coin(2, (Coin(3),)), Counted(4, (Counted(1),))], store, needs_tensors=True)
    assert sorted(calls(store)) == [1, 2, 3, 4]


def test_diverged_run_is_done_once_and_refused_where_its_weights_are_needed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(config: Coin, store: Store) -> dict:
        toss(config, store)
        store.tensors_path(config).unlink()
        return {"metrics": {"diverged": "The loss became inf."}, "history": []}

    monkeypatch.setattr(Coin, "run", diverge)
    message = r"The loss became inf\. Nothing can be made from this net: Coin\(seed=1"
    for _ in range(2):
        with pytest.raises(Diverged, match=message):
            sweep([Coin(1)], store, needs_tensors=True)
        with pytest.raises(Diverged, match=message):
            sweep([Coin(2, (Coin(1),))], store)
    assert len(sweep([Coin(1)], store)) == 1
    assert calls(store) == [1]


ONE, FOUR = Coin(1), Coin(4)
TWO = Coin(2, (ONE,))
THREE = Coin(3, (TWO, FOUR))


@pytest.mark.parametrize("configs", [[THREE], [THREE, ONE, TWO], [FOUR, THREE], [TWO, THREE]])
def test_what_a_run_starts_from_is_run_first(configs: list[Coin], store: Store) -> None:
    """Over several levels, each once; only what was asked for is returned."""
    records = sweep(configs, store)
    assert [record["config"]["seed"] for record in records] == [config.seed for config in configs]
    found = calls(store)
    assert sorted(found) == [1, 2, 3, 4]
    assert found.index(1) < found.index(2) < found.index(3)
    assert found.index(4) < found.index(3)


def test_nothing_that_is_finished_is_run_again(store: Store) -> None:
    """Nor are the tensors made again from which it was made, until another run needs them."""
    sweep([THREE], store)
    done = calls(store)
    sweep([THREE, TWO, ONE, FOUR], store)
    store.tensors_path(ONE).unlink()
    store.tensors_path(FOUR).unlink()
    sweep([THREE, TWO, ONE, FOUR], store)
    assert calls(store) == done
    sweep([THREE, Coin(5, (TWO,))], store)
    assert calls(store) == [*done, 5]
    store.tensors_path(TWO).unlink()
    sweep([Coin(6, (TWO,))], store)
    assert calls(store) == [*done, 5, 1, 2, 6]


def test_what_a_finished_run_tells_is_needed_too_is_run_before(store: Store) -> None:
    purse = Purse(Coin(3, (ONE,)))
    assert purse.starts_from(store) == [purse.first]
    (record,) = sweep([purse], store)
    assert record["metrics"] == {"coins": 2}
    assert calls(store)[:2] == [1, 3]
    assert sorted(calls(store)[2:-1]) == [4, 5, 10, 20]
    assert calls(store)[-1] == purse.seed
    sweep([purse], store, needs_tensors=True)
    assert len(calls(store)) == 7


def test_all_that_runs_start_from_is_found(store: Store) -> None:
    assert with_all_they_start_from([], store) == set()
    assert with_all_they_start_from([THREE, TWO], store) == {ONE, TWO, THREE, FOUR}
    first = Coin(3, (ONE,))
    purse = Purse(first)
    assert with_all_they_start_from([purse], store) == {purse, first, ONE}
    sweep([first], store)
    told = {coin for extra in (1, 2) for coin in (Coin(3 + extra, (Coin(10 * extra),)), Coin(10 * extra))}
    assert with_all_they_start_from([purse], store) == {purse, first, ONE, *told}


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
        sweep([Coin(1), Coin(2)], store)
    assert not store.folder.exists()


def test_run_is_recorded_where_git_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("distillation.core.sweep.commit", commit.__wrapped__)  # without what it remembers
    (record,) = sweep([Coin(1)], store)
    assert record["environment"]["commit"] == "unknown"


def test_damaged_record_is_never_overwritten_silently(store: Store) -> None:
    sweep([Coin(1)], store)
    store.path(Coin(1)).write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        sweep([Coin(1)], store)


@pytest.mark.parametrize("run", [toss, fail])
def test_callers_generator_and_threads_are_untouched(
    run: Callable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Coin, "run", run)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    (record,) = sweep([Coin(1, threads=threads + 1)], store)
    assert record["metrics"]["threads"] == threads + 1
    if run is fail:
        with pytest.raises(RuntimeError):
            sweep([Coin(2, threads=threads + 1)], store)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_record_says_where_and_how_long_it_ran(store: Store) -> None:
    (record,) = sweep([Coin(1)], store)
    assert record["seconds"] >= 0
    assert record["environment"]["torch"] == torch.__version__
    assert record["environment"]["device"] == "cpu"
    assert {"peak_memory_mb", "cores", "python", "commit", "matrix_units"} <= record["environment"].keys()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the records of the nets, each run alone."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    for net in [*NETS, *CONFIGS]:
        finish(net, store)
    return store


def test_two_processes_give_the_same_bits_as_one(
    store: Store, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of students, whose teachers nobody asked for."""
    monkeypatch.setenv("DISTILLATION_JOBS", "2")
    together = sweep([*NETS, *STUDENTS], store)
    assert [record["config"]["seed"] for record in together] == [net.seed for net in [*NETS, *STUDENTS]]
    assert same_results(store, undisturbed, [*NETS, *CONFIGS])


def test_sweep_takes_any_configuration_with_threads(store: Store) -> None:
    assert len(sweep((dataclasses.replace(Coin(0), seed=seed) for seed in range(3)), store)) == 3


PLAN: Plan = {
    "01": {"heads": [Coin(1)], "both": [Coin(1), Coin(2, (Coin(3),))]},
    "02": {"tails": [Coin(4)], "both": [Coin(1), Coin(2, (Coin(3),))]},
}
PROFILES = [SimpleNamespace(name=name, dataset="coins") for name in ("smoke", "paper")]
WING = ModuleType("plan")
WING.profile = lambda name: profile_named(name, PROFILES)
WING.plan = lambda profile: PLAN


class CoinResults(Results):
    pass


@pytest.fixture
def results_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CoinResults]:
    """`CoinResults.of` the plan, in a folder of this test's own."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    return lambda *arguments, **others: CoinResults.of(WING, *arguments, **others)


def test_results_of_a_notebook_run_what_it_needs_alone(
    results_of: Callable[..., CoinResults], capsys: pytest.CaptureFixture[str]
) -> None:
    found = results_of("smoke", "01")
    assert type(found) is CoinResults
    assert found.trains
    assert sorted(calls(found.store)) == [1, 2, 3]
    assert "1/2 heads" in (shown := capsys.readouterr().err)
    assert "2/2 both" in shown
    assert [record["metrics"]["number"] for record in found.records("both")] == [1, 2]
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh smoke"):
        found.records("tails")


def test_results_of_no_notebook_run_nothing(results_of: Callable[..., CoinResults]) -> None:
    found = results_of("smoke")
    assert (found.trains, calls(found.store)) == (True, [])


def test_results_of_the_paper_run_nothing_unasked(results_of: Callable[..., CoinResults]) -> None:
    found = results_of("paper", "02")
    assert (found.trains, calls(found.store)) == (False, [])
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh paper"):
        found.records("tails")
    asked = results_of("paper", "02", train=True)
    assert asked.trains
    assert sorted(calls(asked.store)) == [1, 2, 3, 4]
    assert [record["config"]["seed"] for record in asked.records("tails")] == [4]


def test_results_know_where_they_lie_and_what_was_asked(results_of: Callable[..., CoinResults], tmp_path: Path) -> None:
    found = results_of("smoke")
    assert found.profile is PROFILES[0]
    assert (found.folder, found.store) == (tmp_path / "smoke", Store(tmp_path / "smoke" / "records"))
    assert list(found.questions) == ["heads", "both", "tails"]
    assert found.configs("tails") == [Coin(4)]
    with pytest.raises(ValueError, match="Unknown profile 'huge': choose one of smoke, paper"):
        results_of("huge")


def test_headings_name_a_questions_first_notebook() -> None:
    found = Results(PROFILES[0], dict(reversed(PLAN.items())))
    assert found.heading("tails") == "Notebook 02: tails"
    assert found.heading("both") == "Notebook 01: both"
    assert found.heading("examples") == "Notebook 01: examples"
    assert found.heading("examples 02") == "Notebook 02: examples"
    with pytest.raises(ValueError, match="empty"):
        found.heading("edge")
