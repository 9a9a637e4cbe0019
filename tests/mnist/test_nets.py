"""The experiments of sections 2 and 3, with tiny nets on scikit-learn's digits."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distillation.core.objectives import check_soft_targets
from distillation.core.store import Store, StoreError
from distillation.core.sweep import finish, sweep
from distillation.core.training import Optimisation
from distillation.mnist import nets as mnist
from distillation.mnist.measurements import GradientNoiseAlong
from distillation.mnist.nets import (
    Ensemble,
    Net,
    Student,
    corrected_biases,
    soft_targets,
    training_cases,
)

BRIEF = Optimisation(1, 128)
TEACHER = Net("digits", (12,), 0.2, 0.5, optimisation=dataclasses.replace(BRIEF, jitter=1))
OTHER = Net("digits", (10,), optimisation=BRIEF, seed=1)
STUDENT = Student(TEACHER, (8,), optimisation=BRIEF)
NOISE = GradientNoiseAlong(STUDENT, (0, 50), cases=30)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with two trained nets."""
    store = Store(tmp_path_factory.mktemp("taught") / "records")
    for net in (TEACHER, OTHER):
        finish(net, store)
    return store


def trained(config: Net | Student, store: Store) -> dict:
    finish(config, store)
    return store.metrics(config)


def test_metrics_agree_with_the_stored_logits(taught: Store) -> None:
    data, found, tensors = mnist.load("digits"), taught.metrics(TEACHER), taught.tensors(TEACHER)
    wrong = tensors["scored_logits"].argmax(1) != data.test_labels
    assert found["errors"] == sum(found["errors_by_class"])
    assert found["errors"] == pytest.approx(int(wrong.sum()), abs=2)  # stored in half precision
    assert found["evaluated"] == 500
    train_errors = int((tensors["train_logits"].argmax(1) != data.train_labels).sum())
    assert found["train_errors"] == pytest.approx(train_errors, abs=10)
    assert found["errors"] < 400  # it learnt something
    assert found["parameters"] == 784 * 12 + 12 + 12 * 10 + 10
    assert len(taught.read(TEACHER)["history"]) == 1


def test_teacher_is_bit_identical_after_its_students_training(taught: Store) -> None:
    files = [taught.path(TEACHER), taught.tensors_path(TEACHER)]
    before = [path.read_bytes() for path in files]
    trained(STUDENT, taught)
    assert [path.read_bytes() for path in files] == before


def test_soft_targets_are_the_same_on_two_calls_and_distributions(taught: Store) -> None:
    for teacher in (TEACHER, Ensemble((TEACHER, OTHER)), Ensemble((TEACHER, OTHER), "geometric")):
        first = soft_targets(teacher, 4.0, taught)
        assert first.shape == (6485, 10)
        assert torch.equal(first, soft_targets(teacher, 4.0, taught))
        check_soft_targets(first)


def test_soft_targets_are_those_of_the_net_without_dropout(taught: Store) -> None:
    data, tensors = mnist.load("digits"), taught.tensors(TEACHER)
    net = mnist.build(TEACHER, data).eval()
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    logits = net(mnist.as_floats(data.train_images).flatten(1)).detach()
    torch.testing.assert_close(soft_targets(TEACHER, 3.0, taught), torch.softmax(logits / 3, 1), atol=1e-3, rtol=1e-2)


def test_ensemble_averages_distributions_as_named(taught: Store) -> None:
    logits = torch.stack([taught.tensors(net)["train_logits"] for net in (TEACHER, OTHER)]).double()
    arithmetic = torch.softmax(logits / 2, -1).mean(0)
    geometric = torch.softmax(logits.mean(0) / 2, -1)
    for mean, expected in {"arithmetic": arithmetic, "geometric": geometric}.items():
        found = soft_targets(Ensemble((TEACHER, OTHER), mean), 2.0, taught)
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-4)
    assert (arithmetic - geometric).abs().max() > 1e-3
    with pytest.raises(ValueError, match="harmonic"):
        soft_targets(Ensemble((TEACHER, OTHER), "harmonic"), 2.0, taught)


def test_student_needs_its_teachers_outputs(store: Store) -> None:
    with pytest.raises(StoreError, match="needs_tensors"):
        STUDENT.run(store)


@given(st.sets(st.integers(0, 9), max_size=9), st.sampled_from(["all", "fit", "first half", "second half"]))
def test_omitted_classes_are_never_trained_on(omit: set[int], cases: str) -> None:
    data = mnist.load("digits")
    whole = training_cases(data, dataclasses.replace(STUDENT, cases=cases))
    chosen = training_cases(data, dataclasses.replace(STUDENT, cases=cases, omit=tuple(omit)))
    assert not omit & set(data.train_labels[chosen].tolist())
    kept = [case for case in whole.tolist() if int(data.train_labels[case]) not in omit]
    assert chosen.tolist() == kept


def test_halves_are_disjoint_and_make_the_whole() -> None:
    data = mnist.load("digits")
    first, second, whole = (
        set(training_cases(data, dataclasses.replace(TEACHER, cases=cases)).tolist())
        for cases in ("first half", "second half", "all")
    )
    assert not first & second
    assert first | second == whole == set(range(6485))


def test_size_takes_the_first_cases_of_a_fixed_random_order() -> None:
    data = mnist.load("digits")
    few, whole = (training_cases(data, dataclasses.replace(TEACHER, size=size)) for size in (100, None))
    assert torch.equal(few, whole[:100])
    assert few.tolist() != sorted(few.tolist())
    assert torch.equal(few, training_cases(data, dataclasses.replace(TEACHER, size=100, seed=5)))


def test_held_out_cases_are_not_trained_on() -> None:
    data = mnist.load("digits")
    numbered = dataclasses.replace(data, train_labels=torch.arange(6485))  # labels that name the case
    held_out = mnist.evaluation_cases(numbered, "fit")[1].tolist()
    fit = training_cases(numbered, dataclasses.replace(TEACHER, cases="fit")).tolist()
    assert len(held_out) == 6485 // 6
    assert sorted(fit + held_out) == list(range(6485))


def test_held_out_runs_never_read_the_test_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataclasses.replace(mnist.load("digits"), test_images=None, test_labels=None)
    monkeypatch.setattr(mnist, "load", lambda name: data)
    teacher = dataclasses.replace(TEACHER, cases="fit")
    for config in (teacher, dataclasses.replace(STUDENT, teacher=teacher, cases="fit")):
        assert trained(config, store)["evaluated"] == 6485 // 6
        row = store.read(config)["history"][0]
        assert 0 <= row["held_out_errors"] <= 6485 // 6


@pytest.mark.parametrize("change", [{}, {"objective": "logits"}, {"objective": "mixed labels", "hard_weight": 0.2}])
def test_rerun_is_bit_equal(change: dict, taught: Store) -> None:
    config = dataclasses.replace(STUDENT, seed=4, **change)
    found, tensors = trained(config, taught), taught.tensors_path(config).read_bytes()
    taught.path(config).unlink()
    assert trained(config, taught) == found
    assert taught.tensors_path(config).read_bytes() == tensors


def test_each_objective_trains_another_net(taught: Store) -> None:
    changes = [{}, {"objective": "logits"}, {"objective": "mixed labels", "hard_weight": 0.2}, {"hard_weight": 0.2}]
    configs = [dataclasses.replace(STUDENT, seed=4, **change) for change in changes]
    for config in configs:
        trained(config, taught)
    logits = [taught.tensors(config)["scored_logits"] for config in configs]
    assert all(not torch.equal(a, b) for index, a in enumerate(logits) for b in logits[:index])


def test_unknown_objective_is_refused(taught: Store) -> None:
    with pytest.raises(ValueError, match="mimicry"):
        dataclasses.replace(STUDENT, objective="mimicry").run(taught)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_a_result(taught: Store) -> None:
    wild = dataclasses.replace(STUDENT, optimisation=dataclasses.replace(BRIEF, learning_rate=1e20))
    found = trained(wild, taught)
    assert found["errors"] is None
    assert "1e+20" in found["diverged"]


def test_student_without_some_classes_reports_the_biases(taught: Store) -> None:
    config = dataclasses.replace(STUDENT, omit=(3, 5))
    found, data = trained(config, taught), mnist.load("digits")
    assert found["train_cases"] == int((~torch.isin(data.train_labels, torch.tensor([3, 5]))).sum())
    assert found["bias"]["none"]["errors"] == found["errors"]
    assert found["bias"]["test"]["errors"] <= found["errors"]
    assert found["bias"]["omitted_cases"] == int(torch.isin(data.test_labels, torch.tensor([3, 5])).sum())


def test_teachers_are_trained_before_students_and_again_where_needed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    first = sweep([STUDENT, TEACHER], store, name="test")
    assert [record["config"]["type"] for record in first] == ["Student", "Net"]
    store.tensors_path(TEACHER).unlink()
    sweep([STUDENT], store, name="test")
    assert not store.tensors_path(TEACHER).exists()
    sweep([dataclasses.replace(STUDENT, seed=1)], store, name="test")
    assert store.tensors_path(TEACHER).exists()


def test_gradient_noise_starts_from_the_teacher_and_trains_its_student_itself(store: Store) -> None:
    sweep([NOISE], store, name="test")
    assert store.has(TEACHER)
    assert not store.has(STUDENT)
    assert store.done(NOISE, needs_tensors=True)  # it has none
    folders = {config: store.path(config).parent.name for config in (TEACHER, STUDENT, NOISE)}
    assert folders == {TEACHER: "mnist", STUDENT: "mnist", NOISE: "gradients"}


@given(st.integers(0, 2**31), st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_corrected_biases_against_brute_force(seed: int, omitted: set[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, train_logits = torch.randn(80, 6, generator=generator), torch.randn(300, 6, generator=generator)
    for of in (logits, train_logits):
        of[:, list(omitted)] -= 2  # as after a training without them
    labels, train_labels = (torch.randint(6, (cases,), generator=generator) for cases in (80, 300))
    found = corrected_biases(logits, labels, train_logits, train_labels, tuple(omitted))

    def counted(shift: float) -> tuple[int, int]:
        wrong = predictions(logits, omitted, shift) != labels
        return int(wrong.sum()), int(wrong[is_in(labels, omitted)].sum())

    for variant in ("none", "prior", "test"):
        result = found[variant]
        assert (result["errors"], result["errors_on_omitted"]) == counted(result["shift"])
    assert found["none"]["shift"] == 0
    assert found["none"]["errors"] == int((logits.argmax(1) != labels).sum())
    share = is_in(predictions(train_logits, omitted, found["prior"]["shift"]), omitted).float().mean()
    prior = is_in(train_labels, omitted).float().mean()
    assert abs(float(share - prior)) <= 1 / 300 + 1e-6
    grid = [step / 10 for step in range(201)]
    assert found["test"]["shift"] in grid
    assert found["test"]["errors"] == min(counted(shift)[0] for shift in grid)
    assert found["omitted_cases"] == int(is_in(labels, omitted).sum())


def is_in(labels: Tensor, classes: set[int]) -> Tensor:
    return torch.tensor([int(label) in classes for label in labels])


def predictions(logits: Tensor, omitted: set[int], shift: float) -> Tensor:
    shifts = torch.tensor([shift if c in omitted else 0.0 for c in range(logits.shape[1])])
    return (logits + shifts).argmax(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU here.")
@pytest.mark.parametrize("objective", ["distillation", "logits", "mixed labels"])
def test_nets_train_on_a_gpu(objective: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_DEVICE", "cuda")
    trained(TEACHER, store)
    assert trained(dataclasses.replace(STUDENT, objective=objective, hard_weight=0.1), store)["errors"] < 500
