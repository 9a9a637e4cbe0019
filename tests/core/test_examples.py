"""Examples are made where results are trained, unless they are there and current; elsewhere their lack is told."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open

from distillation.commands.models import publish_weights
from distillation.core import examples
from distillation.core.examples import Cases
from distillation.core.store import Configuration, Store, StoreError
from distillation.core.sweep import Results


@dataclass(frozen=True)
class Coin(Configuration):
    experiment: ClassVar[str] = "coins"

    seed: int
    threads: int = 1

    def run(self, store: Store) -> dict:
        weights = {"0.weight": torch.full((2, 3), self.seed + 1e-4), "0.bias": torch.ones(2)}
        store.write_tensors(self, {**weights, "logits": torch.full((4,), float(self.seed))})
        return {"metrics": {"face": self.seed}, "history": []}


COINS: list[Configuration] = [Coin(1), Coin(2)]
REMEDY = r"run \./run_all\.sh smoke"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Of coins, at a profile whose runs are made."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    return Results(SimpleNamespace(name="smoke"), {"01": {"coins": COINS}}, trains=True)


@pytest.fixture
def untrained(results: Results) -> Results:
    """The same, where nothing is made."""
    return Results(results.profile, results.plan)


@pytest.fixture
def load(results: Results) -> Callable[[Results], Cases]:
    """Loads the examples; what is collected for them is counted."""

    def load(of: Results, nets: list[Configuration] = COINS) -> Cases:
        def collect() -> Cases:
            load.collected += 1
            return {"logits": torch.stack([of.store.tensors(net)["logits"] for net in nets])}, f"{len(nets)} coins"

        return examples.load(of, "coins", nets, collect)

    load.collected = 0
    return load


def check(found: Cases, *faces: float) -> None:
    tensors, described = found
    assert tensors.keys() == {"logits"}
    assert tensors["logits"][:, 0].tolist() == list(faces)
    assert described == f"{len(faces)} coins"


def test_missing_examples_are_made_with_the_runs_they_are_from_and_kept(
    results: Results, untrained: Results, load: Callable
) -> None:
    check(load(results), 1, 2)
    assert all(results.store.has(coin) for coin in COINS)
    check(load(results), 1, 2)
    check(load(untrained), 1, 2)
    assert load.collected == 1
    assert examples.path_of(results, "coins") == results.folder / "examples" / "coins.safetensors"
    assert [path.name for path in (results.folder / "examples").iterdir()] == ["coins.safetensors"]


def test_missing_examples_are_refused_where_nothing_is_made(untrained: Results, load: Callable) -> None:
    with pytest.raises(StoreError, match=rf"examples/coins\.safetensors is missing: {REMEDY}"):
        load(untrained)
    assert load.collected == 0
    assert not untrained.folder.exists()


def damage(results: Results) -> None:
    path = examples.path_of(results, "coins")
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def train_again(results: Results) -> None:
    """A net of the same name and with the same results, whose record is another."""
    path = results.store.path(COINS[0])
    record = json.loads(path.read_text())
    del record["digest"]
    results.store.write(COINS[0], record | {"seconds": 99})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(damage, "is damaged .*Delete it and"), (train_again, "is from other nets than those of the records:")],
)
def test_damaged_and_stale_examples_are_refused_and_made_again(
    spoil: Callable[[Results], None], message: str, results: Results, untrained: Results, load: Callable
) -> None:
    load(results)
    spoil(results)
    with pytest.raises(StoreError, match=rf"examples/coins\.safetensors {message} {REMEDY}"):
        load(untrained)
    assert load.collected == 1
    check(load(results), 1, 2)
    assert load.collected == 2
    check(load(untrained), 1, 2)


@pytest.mark.parametrize("nets", [[COINS[0]], [*COINS, Coin(3)], COINS[::-1]])
def test_examples_of_other_nets_are_stale(nets: list[Configuration], results: Results, load: Callable) -> None:
    load(results)
    untrained = Results(results.profile, results.plan)
    with pytest.raises(StoreError, match=r"is from other nets|is missing"):
        load(untrained, nets)
    check(load(results, nets), *(net.seed for net in nets))


def test_examples_whose_records_are_gone_are_stale(results: Results, untrained: Results, load: Callable) -> None:
    load(results)
    results.store.path(COINS[1]).unlink()
    with pytest.raises(StoreError, match=rf"is missing: {REMEDY}"):
        load(untrained)


def test_tensors_that_are_not_here_are_made_again_to_collect_from(results: Results, load: Callable) -> None:
    load(results)
    examples.path_of(results, "coins").unlink()
    results.store.tensors_path(COINS[0]).unlink()
    check(load(results), 1, 2)


def test_weights_are_published_alone_and_in_half_precision(results: Results, load: Callable) -> None:
    load(results)
    publish_weights(results, {"one": COINS[0], "two": COINS[1]})
    folder = results.folder / "models"
    assert {path.name for path in folder.iterdir()} == {"one.safetensors", "two.safetensors"}
    for name, coin in zip(("one", "two"), COINS, strict=True):
        with safe_open(folder / f"{name}.safetensors", "pt") as file:
            assert file.metadata() == {"record": results.store.path(coin).name}
            assert sorted(file.keys()) == (kept := ["0.bias", "0.weight"])
            weights = results.store.tensors(coin)
            assert all(torch.equal(file.get_tensor(each), weights[each].half()) for each in kept)
