"""The exercises at the end of notebooks 01 and 02, each solved with the package in a few lines."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core.models import mlp
from distillation.core.objectives import distillation_loss, soften
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.mnist import limits
from distillation.mnist.data import load_stand_in
from distillation.mnist.profiles import SMOKE, student

FEW = slice(150)

# The lines of the notebooks that run live.


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Live:
    """scikit-learn's digits, and what a large net of all of them says of each."""

    def __init__(self) -> None:
        digits = load_stand_in()
        self.images, self.labels = digits.train_images.double() / 255, digits.train_labels
        self.test_images, self.test_labels = digits.test_images.double() / 255, digits.test_labels
        torch.manual_seed(0)
        teacher = mlp((784, 128, 128, 10), input_dropout=0.2, hidden_dropout=0.5).double()
        regularised = Optimisation(15, 128, 0.1, jitter=2, max_norm=3.5, precision="float64")
        labels = self.labels.to(device())
        train(teacher, self.images, lambda z, batch: F.cross_entropy(z, labels[batch]), regularised)
        self.teacher_logits = logits_of(teacher, self.images, precision="float64")

    def student(self, cases: slice | Tensor, soft_targets: Tensor, T: float, rate: float, epochs: int) -> nn.Module:
        """A small net taught on some of the images by these targets alone."""
        torch.manual_seed(10)
        net, targets = mlp((784, 64, 64, 10)).double(), soft_targets[cases].to(device())
        settings = Optimisation(epochs, 128, rate, precision="float64")

        def loss(z: Tensor, batch: Tensor) -> Tensor:
            return distillation_loss(z, targets[batch], None, temperature=T, hard_weight=0)

        train(net, self.images[cases], loss, settings)
        return net

    def wrong(self, net: nn.Module, raised: float = 0.0, digit: int = 3) -> Tensor:
        """Whether each test digit is taken for another, with the bias of one digit raised."""
        logits = logits_of(net, self.test_images, precision="float64")
        logits[:, digit] += raised
        return logits.argmax(1) != self.test_labels


@pytest.fixture(scope="module")
def live() -> Live:
    return Live()


def evenly_doubtful(soft_targets: Tensor) -> Tensor:
    """The largest probability stays; the others share the rest alike."""
    largest, at = soft_targets.max(1, keepdim=True)
    others = (1 - largest) / (soft_targets.shape[1] - 1)
    return others.expand_as(soft_targets).scatter(1, at, largest)


# Notebook 01


def test_warm_soft_targets_help_and_hot_ones_need_a_low_learning_rate(live: Live) -> None:
    def errors(T: float, rate: float) -> int:
        targets = soften(live.teacher_logits, T)
        return int(live.wrong(live.student(FEW, targets, T, rate, epochs=100)).sum())

    one_hot = F.one_hot(live.labels, 10).double()
    of_labels = int(live.wrong(live.student(FEW, one_hot, 1, 0.1, epochs=100)).sum())
    assert abs(errors(1, 0.05) - of_labels) < 0.2 * of_labels  # cold ones are hardly more than labels
    assert errors(5, 0.05) < 0.9 * of_labels
    assert errors(100, 0.1) > 350  # of 500: next to nothing is learnt where labels do well
    assert errors(100, 0.02) < 200


def test_soft_gradients_of_a_hundred_classes_come_to_those_of_logit_matching() -> None:
    student_logits, teacher_logits = 5 * torch.randn(2, 20, 100).double()
    limit = (limits.zero_mean(student_logits) - limits.zero_mean(teacher_logits)) / 100

    def deviation(T: float) -> float:
        gradient = limits.soft_gradient(student_logits, teacher_logits, T)
        return float((gradient - limit / T**2).norm() / (limit / T**2).norm())

    largest = limits.logit_range(student_logits, teacher_logits)
    assert deviation(largest) > 0.05
    assert deviation(200 * largest) < 0.01
    assert deviation(1000 * largest) == pytest.approx(deviation(100 * largest) / 10, rel=0.05)


def test_doubt_helps_a_little_net_even_if_it_does_not_say_of_what(live: Live) -> None:
    soft, one_hot = soften(live.teacher_logits, 4), F.one_hot(live.labels, 10).double()
    taught = {
        "labels": live.student(FEW, one_hot, 1, 0.1, epochs=100),
        "soft": live.student(FEW, soft, 4, 0.05, epochs=100),
        "even": live.student(FEW, evenly_doubtful(soft), 4, 0.05, epochs=100),
    }
    errors = {name: int(live.wrong(net).sum()) for name, net in taught.items()}
    assert errors["soft"] < 0.9 * errors["labels"]
    assert errors["even"] < 0.9 * errors["labels"]  # so this contest does not show what likenesses teach


# Notebook 02


@pytest.fixture
def smoke_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    for units in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, units, lambda: False)  # the same numbers everywhere: the nets are tiny
    return store


def test_a_digit_left_out_is_recognised_once_its_bias_is_corrected(smoke_store: Store) -> None:
    without_7 = student(SMOKE, seed=0, omit=(7,), optimisation=SMOKE.few_digits)
    (record,) = sweep([without_7], smoke_store)
    bias = record["metrics"]["bias"]
    right = {how: bias["omitted_cases"] - bias[how]["errors_on_omitted"] for how in ("none", "prior")}
    assert right["none"] < 0.5 * bias["omitted_cases"] < right["prior"]
    assert bias["prior"]["errors"] < bias["none"]["errors"]


def test_1s_and_4s_tell_of_some_other_digits_and_not_of_all(smoke_store: Store) -> None:
    others = tuple(digit for digit in range(10) if digit not in (1, 4))
    longer = dataclasses.replace(SMOKE.few_digits, epochs=40)
    (record,) = sweep([student(SMOKE, seed=0, omit=others, optimisation=longer)], smoke_store)
    bias, wrong = record["metrics"]["bias"], record["metrics"]["errors_by_class"]
    right = 1 - bias["prior"]["errors_on_omitted"] / bias["omitted_cases"]
    assert right > 0.3  # of digits never seen; by chance a tenth
    cases = torch.bincount(load_stand_in().test_labels)
    shares = {digit: 1 - wrong[digit] / int(cases[digit]) for digit in others}
    assert sum(share > 0.5 for share in shares.values()) >= 2
    assert sum(share < 0.1 for share in shares.values()) >= 2


def test_what_tells_of_a_3_is_which_digits_the_teacher_finds_like_one(live: Live) -> None:
    seen, threes = live.labels != 3, live.test_labels == 3
    soft = soften(live.teacher_logits, 4)
    told = live.student(seen, soft, 4, 0.02, epochs=10)
    not_told = live.student(seen, evenly_doubtful(soft), 4, 0.02, epochs=10)
    assert live.wrong(told)[threes].double().mean() < 0.75  # some threes are right, uncorrected
    assert live.wrong(not_told)[threes].all()  # not one
    fewest = [min(int(live.wrong(net, step / 4).sum()) for step in range(40)) for net in (told, not_told)]
    assert 1.5 * fewest[0] < fewest[1]
