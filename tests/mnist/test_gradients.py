import dataclasses

import pytest
import torch

from distillation.core import objectives
from distillation.core.models import mlp
from distillation.core.store import Store
from distillation.core.sweep import finish
from distillation.core.training import Optimisation
from distillation.mnist import gradients
from distillation.mnist import nets as mnist
from distillation.mnist.gradients import GradientNoise, noise_to_signal
from distillation.mnist.nets import Net, Student


def by_loop(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor, temperature: float) -> dict:
    """The definition: one gradient per case, their mean, and the trace of their covariance."""
    rows = []
    for x, target in zip(inputs, targets, strict=True):
        loss = temperature**2 * -(target * torch.log_softmax(model(x.flatten()) / temperature, 0)).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    each = torch.stack(rows)
    noise = each.var(0, correction=0).sum().item()
    signal = each.mean(0).square().sum().item()
    return {"noise": noise, "signal": signal, "ratio": noise / signal}


@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("chunk", [1, 4, 50])
def test_noise_to_signal_against_a_loop_over_cases(temperature: float, chunk: int) -> None:
    model = mlp((6, 5, 3)).double()
    inputs = torch.randn(11, 2, 3, dtype=torch.float64)
    targets = objectives.soften(torch.randn(11, 3, dtype=torch.float64), temperature)
    assert noise_to_signal(model, inputs, targets, temperature, chunk) == pytest.approx(
        by_loop(model, inputs, targets, temperature), rel=1e-9
    )


def test_equal_cases_have_no_noise() -> None:
    model, inputs = mlp((6, 5, 3)).double(), torch.rand(1, 6, dtype=torch.float64).expand(8, 6)
    targets = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(8, 3)
    found = noise_to_signal(model, inputs, targets, 1.0)
    assert abs(found["ratio"]) < 1e-12
    assert found["signal"] > 0


def test_run_measures_the_trained_net_and_repeats_itself(store: Store) -> None:
    brief = Optimisation(1, 128)
    teacher = Net("digits", (16,), optimisation=brief)
    finish(mnist.run, teacher, store)
    config = GradientNoise(Student(teacher, (8,), optimisation=brief), (1.0, 20.0), cases=30)
    beside = Store(store.folder.parent / "gradients", gradients.RECIPE)
    found = gradients.run(config, beside)["metrics"]
    assert [row["temperature"] for row in found["soft"]] == [1.0, 20.0]
    assert found["soft"][0]["entropy"] < found["soft"][1]["entropy"]
    assert found["hard"]["ratio"] > 0
    assert gradients.run(config, beside)["metrics"] == found
    fewer = gradients.run(dataclasses.replace(config, cases=5), beside)["metrics"]
    assert fewer["hard"] != found["hard"]
