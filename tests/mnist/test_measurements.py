"""Gradients along training, ensembles' errors and shifted transfer sets, with tiny nets on scikit-learn's digits."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from distillation.core.gradients import noise_to_signal
from distillation.core.objectives import soften
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist import nets as mnist
from distillation.mnist.measurements import EnsembleErrors, GradientNoiseAlong, _in_turn
from distillation.mnist.nets import Ensemble, Net, Shifted, Student, transfer_images

BRIEF = Optimisation(2, 128, 0.1)  # of 50 steps each
TEACHERS = tuple(Net("digits", (12,), optimisation=BRIEF, seed=seed) for seed in range(2))
PLAIN = Net("digits", (8,), optimisation=BRIEF)
STUDENT = Student(TEACHERS[0], (8,), temperature=5.0, optimisation=BRIEF)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("taught") / "records")
    sweep(TEACHERS, store)
    return store


@pytest.mark.parametrize("net", [PLAIN, STUDENT])
def test_gradients_are_measured_from_the_start_to_the_end_of_the_nets_own_training(net, taught: Store) -> None:
    config = GradientNoiseAlong(net, steps=(0, 20, 50, 100), cases=30)
    along = config.run(taught)["metrics"]["along"]
    assert [row["step"] for row in along] == [0, 20, 50, 100]
    data = mnist.load("digits")
    torch.manual_seed(net.seed)
    model, few = mnist.build(net, data), mnist.training_cases(data, net)[:30]
    inputs = mnist.as_floats(data.train_images[few])
    if net is PLAIN:
        temperature, targets = 1.0, F.one_hot(data.train_labels[few], 10).float()
    else:
        temperature, targets = 5.0, soften(taught.tensors(TEACHERS[0])["train_logits"][few], 5.0)
    expected = {"step": 0} | noise_to_signal(model, inputs, targets, temperature)
    assert along[0] == pytest.approx(expected, rel=1e-4)
    assert len({row["signal"] for row in along}) == 4
    assert along == config.run(taught)["metrics"]["along"]


def test_gradients_beyond_the_training_are_refused(taught: Store) -> None:
    with pytest.raises(ValueError, match="takes 100 steps, but the gradients are measured until 150"):
        GradientNoiseAlong(PLAIN, steps=(0, 50, 150)).run(taught)


def test_cases_are_drawn_in_turn() -> None:
    draw = _in_turn(10, 4)
    drawn = torch.cat([draw() for _ in range(5)])
    assert all(sorted(part.tolist()) == list(range(10)) for part in drawn.split(10))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_errors_of_an_ensemble_are_those_of_its_mean(mean: str, taught: Store) -> None:
    found = EnsembleErrors(Ensemble(TEACHERS, mean)).run(taught)["metrics"]
    p = torch.stack([taught.tensors(net)["scored_logits"].double().softmax(1) for net in TEACHERS])
    answer = (p.mean(0) if mean == "arithmetic" else p.log().mean(0)).argmax(1)
    assert found["errors"] == pytest.approx(int((answer != mnist.load("digits").test_labels).sum()), abs=1)
    assert found["members"] == [taught.metrics(net)["errors"] for net in TEACHERS]


def test_shifted_images_are_those_of_the_training_set_moved_by_a_pixel(taught: Store) -> None:
    data, shifted = mnist.load("digits"), Shifted(TEACHERS[0])
    images, cases = transfer_images(shifted, data), len(data.train_images)
    assert transfer_images(TEACHERS[0], data) is data.train_images
    for copy, (y, x) in enumerate([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]):
        moved = images[copy * cases : (copy + 1) * cases]
        assert torch.equal(moved[:, 5:20, 5:20], data.train_images[:, 5 - y : 20 - y, 5 - x : 20 - x])
    sweep([shifted], taught)
    logits = taught.tensors(shifted)["train_logits"]
    assert len(logits) == 5 * cases
    torch.testing.assert_close(
        logits[:cases].float(), taught.tensors(TEACHERS[0])["train_logits"].float(), atol=0.02, rtol=0.01
    )


def test_students_of_shifted_images_learn_from_all_of_them_without_labels(taught: Store) -> None:
    config = dataclasses.replace(STUDENT, hidden=(30,), teacher=Shifted(TEACHERS[0]))
    (record,) = sweep([config], taught)
    assert record["metrics"]["train_cases"] == 5 * len(mnist.load("digits").train_images)
    assert record["metrics"]["errors"] < 250
    for wrong in ({"hard_weight": 0.1}, {"omit": (3,)}, {"cases": "fit"}):
        with pytest.raises(ValueError, match="no labels and is used whole"):
            dataclasses.replace(config, **wrong).run(taught)


def test_outputs_that_are_published_serve_where_the_weights_are_not(taught: Store, store: Store) -> None:
    from distillation.commands.models import OUTPUTS
    from distillation.core.store import write_safetensors

    record = taught.read(TEACHERS[0])
    store.write(TEACHERS[0], {name: record[name] for name in ("metrics", "history", "seconds", "environment")})
    assert not store.done(TEACHERS[0], needs_tensors=True)
    outputs = {name: taught.tensors(TEACHERS[0])[name] for name in OUTPUTS}
    write_safetensors(outputs, store.published_path(TEACHERS[0]), {})
    assert store.done(TEACHERS[0], needs_tensors=True)
    sweep([STUDENT], store)
    sweep([STUDENT], taught)
    assert store.metrics(STUDENT) == taught.metrics(STUDENT)
    assert not store.tensors_path(TEACHERS[0]).exists()
