import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation.core.data import REPOSITORY
from distillation.core.store import Configuration, Store, StoreError, plain, profile_named, results_folder
from distillation.core.training import Optimisation
from distillation.mnist.measurements import GradientNoiseAlong
from distillation.mnist.nets import Ensemble, Net, Student

CONFIG = Student(Net("digits", seed=3), omit=(3,))
RECORD = {"metrics": {"errors": 7, "bias": {"none": [1, 2.5]}}, "history": [{"loss": 0.1}, {"loss": 1e-30}]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
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
    names = {str(path.relative_to(store.folder)) for path in store.folder.glob("*/*")}
    assert names == {f"{store.name(CONFIG)}.json", f"{store.name(CONFIG)}.safetensors"}


def test_record_has_a_line_for_each_entry_and_its_lists_are_one_line(store: Store) -> None:
    store.write(CONFIG, RECORD)
    text = store.path(CONFIG).read_text()
    assert '\n "history": [{"loss": 0.1}, {"loss": 1e-30}],\n' in text
    assert '\n "metrics": {\n  "errors": 7,\n  "bias": {\n   "none": [1, 2.5]\n  }\n },\n' in text
    assert json.loads(text).keys() == {"config", "recipe", "digest", *RECORD}


@pytest.mark.parametrize("keys", [(2, 30), (0.5, 1e-7)])
def test_numbers_as_keys_are_read_as_texts(keys: tuple[float, ...], store: Store) -> None:
    store.write(CONFIG, {"metrics": {"counts": dict.fromkeys(keys, 1)}})
    assert store.metrics(CONFIG) == {"counts": {str(key): 1 for key in keys}}


def test_failed_write_leaves_the_old_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(CONFIG, RECORD)

    def full_disk(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StoreError, match=r"records/mnist cannot be written \(No space left.*DISTILLATION_RESULTS"):
        store.write(CONFIG, {"metrics": {}})
    assert store.read(CONFIG)["metrics"] == RECORD["metrics"]
    assert list(store.folder.glob("*/*")) == [store.path(CONFIG)]


def test_not_a_number_is_never_written(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.write(CONFIG, {"metrics": {"errors": math.nan}})
    assert not store.has(CONFIG)


def test_missing_record_is_named(store: Store) -> None:
    with pytest.raises(
        StoreError,
        match=rf"records/{store.name(CONFIG)}\.json is missing: run \./run_all\.sh {store.folder.parent.name}",
    ):
        store.read(CONFIG)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b'{"config": {}}'])
def test_damaged_record_is_named(content: bytes, store: Store) -> None:
    store.write(CONFIG, RECORD)
    store.path(CONFIG).write_bytes(content)
    with pytest.raises(StoreError, match=rf"{store.name(CONFIG)}\.json.*Delete it"):
        store.read(CONFIG)


def test_record_of_another_configuration_is_refused(store: Store) -> None:
    other = dataclasses.replace(CONFIG, seed=9)
    store.write(other, RECORD)
    store.path(other).rename(store.path(CONFIG))
    with pytest.raises(StoreError, match=rf"{store.name(CONFIG)}\.json is not the record"):
        store.read(CONFIG)


def test_record_of_another_recipe_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(CONFIG, RECORD)
    older = store.path(CONFIG)
    monkeypatch.setattr(Student, "recipe", CONFIG.recipe + 1)
    assert not store.has(CONFIG)
    older.rename(store.path(CONFIG))
    with pytest.raises(StoreError, match=rf"{store.name(CONFIG)}\.json is not the record"):
        store.read(CONFIG)


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


@pytest.mark.parametrize("config", [CONFIG, GradientNoiseAlong(CONFIG), Net()])
def test_name_changes_with_every_field(config: Configuration, store: Store) -> None:
    names = {store.name(other) for other in [config, *variants(config)]}
    assert len(names) == 1 + len(dataclasses.fields(config))


@pytest.mark.parametrize("teacher", [Net(optimisation=Optimisation(epochs=3)), Ensemble((Net(), Net(seed=1)))])
def test_name_changes_with_every_field_of_a_teacher(teacher: Net | Ensemble, store: Store) -> None:
    names = {store.name(Student(other)) for other in [teacher, *variants(teacher)]}
    assert len(names) == 1 + len(dataclasses.fields(teacher))


def test_name_changes_with_a_teachers_optimisation_with_the_type_and_with_the_recipe(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        store.name(Student(Net(optimisation=optimisation)))
        for optimisation in [Optimisation(epochs=3), *variants(Optimisation(epochs=3))]
    }
    assert len(names) == 1 + len(dataclasses.fields(Optimisation))
    assert store.name(Student(Net(seed=1))) != store.name(Student(Ensemble((Net(seed=1),))))
    before = store.name(Net())
    monkeypatch.setattr(Net, "recipe", Net.recipe + 1)
    assert store.name(Net()) != before


def test_equal_configurations_have_one_name(store: Store) -> None:
    """A sweep drops configurations that are equal, so that an integer must not name another record."""
    assert store.name(Student(Net(), temperature=20)) == store.name(Student(Net(), temperature=20.0))
    assert store.name(Student(Net(), hard_weight=0)) == store.name(Student(Net(), hard_weight=0.0))


def test_name_is_stable_across_stores_and_says_the_experiment(store: Store) -> None:
    assert store.name(Net("digits")) == Store(Path("elsewhere")).name(Net("digits"))
    assert store.path(Net()).parent == store.folder / "mnist"
    assert store.path(GradientNoiseAlong(CONFIG)).parent == store.folder / "gradients"


def test_a_profiles_store_lies_in_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILLATION_RESULTS", raising=False)
    assert Store.of("smoke").folder == REPOSITORY / "results" / "smoke" / "records"
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    assert Store.of("smoke").folder == results_folder("smoke") / "records" == tmp_path / "smoke" / "records"


def test_unknown_profile_is_refused_with_those_that_there_are() -> None:
    profiles = [SimpleNamespace(name=name) for name in ("small", "large")]
    assert profile_named("large", profiles) is profiles[1]
    with pytest.raises(ValueError, match="Unknown profile 'huge': choose one of small, large"):
        profile_named("huge", profiles)


def test_a_run_starts_from_the_configurations_inside_it_alone(store: Store) -> None:
    """Through what groups them, and not from what those start from in their turn."""
    nets = (Net(), Net(seed=1))
    assert Net().starts_from(store) == []
    assert Student(nets[0]).starts_from(store) == [nets[0]]
    assert Student(Ensemble(nets)).starts_from(store) == list(nets)
    assert Student(Student(nets[0])).starts_from(store) == [Student(nets[0])]


def test_a_run_is_done_where_what_is_needed_of_it_is_here(store: Store) -> None:
    diverged, without = Net(seed=1), GradientNoiseAlong(CONFIG)
    assert not store.done(CONFIG, needs_tensors=False)
    for config in (CONFIG, without):
        store.write(config, RECORD)
        assert store.done(config, needs_tensors=False)
    store.write(diverged, {"metrics": {"diverged": "The loss became inf."}})
    assert not store.done(CONFIG, needs_tensors=True)
    store.write_tensors(CONFIG, {"weight": torch.ones(2)})
    assert all(store.done(config, needs_tensors=True) for config in (CONFIG, without, diverged))


def test_the_main_figure_is_the_first_that_a_run_has() -> None:
    assert CONFIG.main_figure({"train_errors": 3, "errors": 7}) == 7
    assert CONFIG.main_figure({"errors": None, "train_errors": 3}) == 3
    assert CONFIG.main_figure({"shift": 0.5}) is None


def test_tensors_round_trip(store: Store) -> None:
    tensors = {"weight": torch.randn(3, 4).t(), "bias": torch.arange(5)}
    store.write_tensors(CONFIG, tensors)
    found = store.tensors(CONFIG)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_missing_tensors_are_named_with_the_remedy(store: Store) -> None:
    with pytest.raises(StoreError, match=rf"{store.name(CONFIG)}\.safetensors.*needs_tensors"):
        store.tensors(CONFIG)


def test_damaged_tensors_are_named(store: Store) -> None:
    store.write_tensors(CONFIG, {"weight": torch.randn(30)})
    whole = store.tensors_path(CONFIG).read_bytes()
    for damaged in (b"", whole[:50], whole[:-4], bytes(100)):
        store.tensors_path(CONFIG).write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{store.tensors_path(CONFIG).name} is damaged"):
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
    assert record["recipe"] == CONFIG.recipe
