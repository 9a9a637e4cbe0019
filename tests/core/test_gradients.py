"""The noise of the gradient against its definition."""

import pytest
import torch

from distillation.core import objectives
from distillation.core.gradients import _in_turn, along_training, noise_to_signal
from distillation.core.models import mlp
from distillation.core.training import Optimisation


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


def test_cases_are_drawn_in_turn() -> None:
    draw = _in_turn(10, 4)
    drawn = torch.cat([draw() for _ in range(5)])
    assert all(sorted(part.tolist()) == list(range(10)) for part in drawn.split(10))


def test_a_net_is_measured_from_its_start_on_after_the_numbers_of_steps_asked_for() -> None:
    torch.manual_seed(0)
    model, inputs, targets = mlp((6, 5, 3)), torch.randn(12, 6), torch.randint(3, (12,))
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    settings = Optimisation(epochs=1, batch_size=4, learning_rate=0.1, precision="float32")
    batches: list[int] = []

    def loss(logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        batches.append(len(index))
        return torch.nn.functional.cross_entropy(logits, targets.to(logits.device)[index])

    def measure(model: torch.nn.Module) -> dict:
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach().cpu()
        return {"taken": len(batches), "moved": (weights - start).norm().item()}

    found = along_training(model, inputs, loss, settings, (0, 2, 8), measure)
    assert [row["step"] for row in found] == [0, 2, 8]
    assert batches[-8:] == [4] * 8
    assert found[0]["moved"] == 0 < found[1]["moved"] < found[2]["moved"]
    later = along_training(mlp((6, 5, 3)), inputs, loss, settings, (2, 4), measure)
    assert [row["step"] for row in later] == [2, 4]
