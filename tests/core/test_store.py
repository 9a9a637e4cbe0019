import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation.core.store import Store, StoreError, plain
from distillation.core.training import Optimisation
from distillation.mnist.gradients import GradientNoise
from distillation.mnist.nets import Ensemble, Net, Student

CONFIG = Student(Net("digits", seed=3), omit=(3,))
RECORD = {"metrics": {"errors": 7, "bias": {"none": [1, 2.5]}}, "history": [{"loss": 0.1}, {"loss": 1e-30}]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results") / "mnist", 1)
    store.write(CONFIG, RECORD)
    return store


def test_record_reads_back_with_its_configuration(written: Store) -> None:
    record = written.read(CONFIG)
    assert {name: record[name] for name in RECORD} == RECORD
    assert record["recipe"] == 1
    assert record["config"] == plain(CONFIG)
    assert record["config"]["teacher"]["type"] == "Net"


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_any_record_survives_the_round_trip(written: Store, metrics: dict) -> None:
    config = Net(seed=1)
    written.write(config, {"metrics": metrics})
    assert written.read(config)["metrics"] == metrics


def test_write_leaves_the_record_alone_on_disk(store: Store) -> None:
    store.write(CONFIG, RECORD)
    store.write_tensors(CONFIG, {"weight": torch.ones(2)})
    names = {path.name for path in store.folder.iterdir()}
    assert names == {f"{store.key(CONFIG)}.json", f"{store.key(CONFIG)}.safetensors"}


def test_failed_write_leaves_the_old_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(CONFIG, RECORD)

    def full_disk(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StoreError, match=r"records/mnist cannot be written \(No space left.*DISTILLATION_RESULTS"):
        store.write(CONFIG, {"metrics": {}})
    assert store.read(CONFIG)["metrics"] == RECORD["metrics"]
    assert [path.name for path in store.folder.iterdir()] == [store.path(CONFIG).name]


def test_not_a_number_is_never_written(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.write(CONFIG, {"metrics": {"errors": math.nan}})
    assert not store.has(CONFIG)


def test_missing_record_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match=rf"records/mnist/{store.key(CONFIG)}\.json is missing"):
        store.read(CONFIG)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b'{"config": {}}'])
def test_damaged_record_is_named(content: bytes, store: Store) -> None:
    store.write(CONFIG, RECORD)
    store.path(CONFIG).write_bytes(content)
    with pytest.raises(StoreError, match=rf"{store.key(CONFIG)}\.json.*Delete it"):
        store.read(CONFIG)


def test_record_of_another_configuration_is_refused(store: Store) -> None:
    other = dataclasses.replace(CONFIG, seed=9)
    store.write(other, RECORD)
    store.path(other).rename(store.path(CONFIG))
    with pytest.raises(StoreError, match=rf"{store.key(CONFIG)}\.json is not the record"):
        store.read(CONFIG)


def test_record_of_another_recipe_is_not_read(store: Store) -> None:
    store.write(CONFIG, RECORD)
    newer = Store(store.folder, store.recipe + 1)
    assert not newer.has(CONFIG)
    store.path(CONFIG).rename(newer.path(CONFIG))
    with pytest.raises(StoreError, match=rf"{newer.key(CONFIG)}\.json is not the record"):
        newer.read(CONFIG)


def changed(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return next(variants(value))
    if isinstance(value, tuple):
        return (*value, *value) or (1,)
    if isinstance(value, str):
        return value + "!"
    return 1 if value is None else value + 1


def variants(config: Any) -> Any:
    """The configuration with one field changed, for each field."""
    for part in dataclasses.fields(config):
        yield dataclasses.replace(config, **{part.name: changed(getattr(config, part.name))})


@pytest.mark.parametrize("config", [CONFIG, GradientNoise(CONFIG), Net(), Ensemble((Net(), Net(seed=1)))])
def test_key_changes_with_every_field(config: Any, store: Store) -> None:
    keys = {store.key(other) for other in [config, *variants(config)]}
    assert len(keys) == 1 + len(dataclasses.fields(config))


def test_key_changes_with_a_teachers_optimisation_and_with_the_type(store: Store) -> None:
    keys = {
        store.key(Student(Net(optimisation=optimisation)))
        for optimisation in [Optimisation(epochs=3), *variants(Optimisation(epochs=3))]
    }
    assert len(keys) == 1 + len(dataclasses.fields(Optimisation))
    assert store.key(Student(Net(seed=1))) != store.key(Student(Ensemble((Net(seed=1),))))
    assert store.key(Net()) != Store(store.folder, store.recipe + 1).key(Net())


def test_equal_configurations_have_one_key(store: Store) -> None:
    """A sweep drops configurations that are equal, so that an integer must not name another record."""
    assert store.key(Student(Net(), temperature=20)) == store.key(Student(Net(), temperature=20.0))
    assert store.key(Student(Net(), hard_weight=0)) == store.key(Student(Net(), hard_weight=0.0))


def test_key_is_stable_across_processes(store: Store) -> None:
    assert store.key(Net("digits")) == Store(Path("elsewhere"), store.recipe).key(Net("digits"))


def test_tensors_round_trip(store: Store) -> None:
    tensors = {"weight": torch.randn(3, 4).t(), "bias": torch.arange(5)}
    store.write_tensors(CONFIG, tensors)
    found = store.tensors(CONFIG)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_missing_tensors_are_named_with_the_remedy(store: Store) -> None:
    with pytest.raises(StoreError, match=rf"{store.key(CONFIG)}\.safetensors.*needs_tensors"):
        store.tensors(CONFIG)


def test_damaged_tensors_are_named(store: Store) -> None:
    store.write_tensors(CONFIG, {"weight": torch.randn(30)})
    whole = store.tensors_path(CONFIG).read_bytes()
    for damaged in (b"", whole[:50], whole[:-4], bytes(100)):
        store.tensors_path(CONFIG).write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{store.key(CONFIG)}\.safetensors is damaged"):
            store.tensors(CONFIG)


@settings(max_examples=100)
@given(st.data())
def test_mutated_record_is_refused_or_holds_what_was_written(written: Store, data: st.DataObject) -> None:
    path = written.path(CONFIG)
    whole = path.read_bytes()
    place, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        record = written.read(CONFIG)
    except StoreError:
        return
    finally:
        path.write_bytes(whole)
    assert {name: record[name] for name in RECORD} == RECORD
    assert record["config"] == plain(CONFIG)
    assert record["recipe"] == written.recipe
