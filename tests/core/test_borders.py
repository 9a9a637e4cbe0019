"""Labels of every type, logits of every precision, and what is not finite, at the borders of the equations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distillation.core import objectives
from distillation.core.gradients import noise_to_signal
from distillation.core.models import mlp
from distillation.core.objectives import class_labels
from distillation.core.training import batches_of, logits_of
from distillation.mnist import limits, nets

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.uint64]
HALVES = [torch.float16, torch.bfloat16]
LABELS = torch.tensor([3, 0, 4, 4, 1])


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 5.0) -> Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def sentence(call: Callable, *arguments, **settings) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        call(*arguments, **settings)
    return str(caught.value)


# Labels


def hard(labels: Tensor) -> Tensor:
    logits, soft = drawn(5, 5), drawn(5, 5, seed=1).softmax(-1)
    return objectives.distillation_loss(logits, soft, labels, temperature=2.0, hard_weight=0.5)


def mixed(labels: Tensor) -> Tensor:
    return nets.mix_labels(drawn(5, 5).softmax(-1), labels, 0.3)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("function", [class_labels, hard, mixed])
def test_labels_of_any_integer_type_give_the_same(function: Callable, dtype: torch.dtype) -> None:
    assert torch.equal(function(LABELS.to(dtype)), function(LABELS))


@pytest.mark.parametrize("function", [class_labels, hard, mixed])
def test_labels_that_are_no_integers_are_refused(function: Callable) -> None:
    for dtype in (torch.float32, torch.float64, torch.bool):
        assert f"labels are {dtype} of shape (5,)" in sentence(function, LABELS.to(dtype))
    assert "of shape (5, 1)" in sentence(function, LABELS[:, None])


def test_labels_outside_the_classes_are_told_with_what_they_are() -> None:
    assert sentence(mixed, LABELS - 1) == "The labels lie from -1 to 3, but there are 5 classes."
    assert "255" in sentence(mixed, (LABELS - 1).to(torch.uint8))
    assert "lie from 0 to 4, but there are 4 states" in sentence(class_labels, LABELS, 4, name="rows", of="states")
    assert "pass 4 integers" in sentence(class_labels, LABELS, cases=4)
    assert "pass 4 integers" in sentence(nets.mix_labels, drawn(4, 5).softmax(-1), LABELS, 0.1)


def test_labels_may_be_arrays_lists_or_none_at_all() -> None:
    assert class_labels(np.array([1, 2], np.uint16), 3).tolist() == class_labels((1, 2)).tolist() == [1, 2]
    assert len(class_labels(torch.zeros(0, dtype=torch.uint8), 3)) == 0


def test_no_step_of_a_training_waits_for_the_values() -> None:
    """On the device "meta" there are none."""
    logits = torch.zeros(8, 5, device="meta", dtype=torch.bfloat16, requires_grad=True)
    soft, labels = logits.detach(), torch.zeros(8, device="meta", dtype=torch.int32)
    loss = objectives.distillation_loss(logits, soft, labels, temperature=2.0, hard_weight=0.5)
    (loss + limits.logit_matching_loss(logits, soft)).backward()
    assert logits.grad is not None


# Precision


@pytest.mark.parametrize("temperature", [1.0, 100.0, 250.0, 1000.0])
@pytest.mark.parametrize("dtype", HALVES)
def test_losses_of_halves_are_those_of_the_same_values_in_float32(dtype: torch.dtype, temperature: float) -> None:
    logits, teacher = drawn(32, 10, dtype=dtype), drawn(32, 10, seed=1, dtype=dtype)
    soft = objectives.soften(teacher.float(), temperature)

    def found(logits: Tensor, soft: Tensor, teacher: Tensor) -> list[Tensor]:
        settings = {"temperature": temperature, "hard_weight": 0.1}
        return [
            objectives.distillation_loss(logits, soft, teacher.argmax(-1), **settings),
            objectives.soft_cross_entropy(logits, soft.to(dtype), temperature),
            limits.logit_matching_loss(logits, teacher),
        ]

    for half, full in zip(found(logits, soft, teacher), found(logits.float(), soft, teacher.float()), strict=True):
        assert half.dtype == torch.float32
        assert half.isfinite()
        assert torch.equal(half, full)


MEANS = {
    "soften": lambda logits: objectives.soften(logits, 3.0),
    "zero mean": limits.zero_mean,
    "mix": lambda logits: nets.mix_labels(logits[0].softmax(-1), LABELS, 0.2),
    "arithmetic": lambda logits: objectives.arithmetic_mean(logits.softmax(-1)),
    "geometric": objectives.geometric_mean,
}


@pytest.mark.parametrize("name", MEANS)
def test_everything_computes_in_float32_or_better(name: str) -> None:
    for dtype, expected in {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float64: None}.items():
        assert MEANS[name](drawn(4, 5, 6, dtype=dtype)).dtype == (expected or dtype)
    values = drawn(40, 5, 6, scale=0.1).half()  # many members, whose sum in half precision is rounded
    if name not in ("mix", "arithmetic"):
        assert torch.equal(MEANS[name](values), MEANS[name](values.float()))
    shares = values.float().softmax(-1).half()
    assert torch.equal(objectives.arithmetic_mean(shares), objectives.arithmetic_mean(shares.float()))
    assert torch.equal(nets.mix_labels(shares[0], LABELS, 0.2), nets.mix_labels(shares[0].float(), LABELS, 0.2))


@pytest.mark.parametrize("dtype", HALVES)
def test_rounded_soft_targets_of_many_classes_are_distributions_still(dtype: torch.dtype) -> None:
    soft = drawn(100, 3000, scale=1.0).softmax(-1)
    assert objectives.check_soft_targets(soft.to(dtype)).dtype == dtype
    assert "sum to one" in sentence(objectives.check_soft_targets, (1.02 * soft).to(dtype))


def test_spread_of_halves_does_not_overflow() -> None:
    assert limits.logit_range(torch.tensor([[6e4, -6e4]], dtype=torch.float16)) == pytest.approx(120_000, rel=1e-3)


# What is not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_with_its_name(bad: float) -> None:
    logits = drawn(3, 4)
    damaged = logits.clone()
    damaged[1, 2] = bad
    soft, once = logits.softmax(-1), damaged[None]
    assert "The teacher's logits hold NaN or infinity" in sentence(objectives.soften, damaged, 2.0, "teacher's logits")
    assert "soft targets hold NaN" in sentence(objectives.check_soft_targets, damaged)
    assert "members' probabilities hold NaN" in sentence(objectives.arithmetic_mean, once)
    if bad != -math.inf:  # the logarithm of 0 vetoes a class, and is no fault
        assert "members' log-probabilities hold NaN" in sentence(objectives.geometric_mean, once)
    assert "targets hold NaN" in sentence(noise_to_signal, mlp((2, 4)), drawn(3, 2), damaged, 1.0)
    assert "student's logits hold NaN" in sentence(limits.against_temperature, damaged, logits, [1.0])
    assert "teacher's logits hold NaN" in sentence(limits.attention, logits, damaged, [1.0])
    assert "temperature" in sentence(objectives.soft_cross_entropy, logits, soft, abs(bad))


def test_pictures_that_are_no_floats_are_not_trained_on() -> None:
    pictures = torch.full((4, 2, 2), 255, dtype=torch.uint8)
    assert "inputs are torch.uint8; pass floats" in sentence(logits_of, mlp((4, 3)), pictures)
    assert "inputs are torch.int64" in sentence(batches_of, pictures.long(), 1, torch.float32)
