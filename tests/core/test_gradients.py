"""The noise of the gradient against its definition."""

import pytest
import torch

from distillation.core import objectives
from distillation.core.gradients import noise_to_signal
from distillation.core.models import mlp


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
def test_noise_to_signal_against_a_loop_over_cases(temperature: float) -> None:
    model = mlp((6, 5, 3)).double()
    inputs = torch.randn(11, 2, 3, dtype=torch.float64)
    targets = objectives.soften(torch.randn(11, 3, dtype=torch.float64), temperature)
    assert noise_to_signal(model, inputs, targets, temperature) == pytest.approx(
        by_loop(model, inputs, targets, temperature), rel=1e-9
    )


def test_equal_cases_have_no_noise() -> None:
    model, inputs = mlp((6, 5, 3)).double(), torch.rand(1, 6, dtype=torch.float64).expand(8, 6)
    targets = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(8, 3)
    found = noise_to_signal(model, inputs, targets, 1.0)
    assert abs(found["ratio"]) < 1e-12
    assert found["signal"] > 0


def test_nets_of_other_layers_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4))
    targets = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(8, 4)
    with pytest.raises(ValueError, match="linear layers"):
        noise_to_signal(model, torch.rand(8, 6), targets, 1.0)
