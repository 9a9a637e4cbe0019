"""How much the gradient varies between cases (section 1)."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from distillation.core import objectives
from distillation.core.training import Gatherable, Loss, Optimisation, train


def noise_to_signal(model: nn.Sequential, inputs: Tensor, targets: Tensor, temperature: float) -> dict:
    """Trace of the covariance of the per-case gradients, squared norm of their mean, and the ratio of the two.

    inputs: (cases, ...); targets: (cases, classes) distributions at the temperature; both where the model is.  The
    gradient is that of temperature**2 times the soft cross-entropy, with respect to all weights.  That of a linear
    layer is the product of its input and of the gradient at its output, so that no case's own need be made.  Raises
    ValueError for other targets, and for nets of other layers with weights.
    """
    objectives.check_soft_targets(targets, "targets")
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    if sum(len(list(layer.parameters())) for layer in layers) != len(list(model.parameters())):
        raise ValueError("The noise of gradients is found for nets whose weights are all those of linear layers.")
    values, cases = inputs.flatten(1), len(inputs)
    ins, outs = [], []
    for layer in model:
        before, values = values, layer(values)
        if isinstance(layer, nn.Linear):
            ins.append(before.detach())
            outs.append(values)
            values = values.clone()  # which a rectifier may overwrite
    loss = cases * temperature**2 * objectives.soft_cross_entropy(values, targets, temperature)
    squares, signal = 0.0, 0.0
    for x, gradient in zip(ins, map(Tensor.double, torch.autograd.grad(loss, outs)), strict=True):
        with_bias = torch.cat([x, x.new_ones(cases, 1)], 1).double()
        squares += (with_bias.square().sum(1) * gradient.square().sum(1)).sum().item()
        signal += (gradient.T @ with_bias / cases).square().sum().item()
    noise = squares / cases - signal
    return {"noise": noise, "signal": signal, "ratio": noise / signal}


def along_training(
    model: nn.Module,
    inputs: Tensor | Gatherable,
    loss: Loss,
    settings: Optimisation,
    steps: tuple[int, ...],
    measure: Callable[[nn.Module], dict],
) -> list[dict]:
    """Train the model in place; return {"step": ...} | measure(model) after each number of steps, 0 for the start.

    The training takes as many steps as the last of them says, whatever the epochs of the settings; inputs and loss: as
    those of `training.train`.
    """
    stride = math.gcd(*steps)
    measured = [{"step": 0} | measure(model)] if 0 in steps else []
    taken = 0

    def after(model: nn.Module) -> dict:
        nonlocal taken
        taken += stride
        if taken in steps:
            measured.append({"step": taken} | measure(model))
        return {}

    settings = dataclasses.replace(settings, epochs=steps[-1] // stride)
    order = _in_turn(len(inputs), stride * min(settings.batch_size, len(inputs)))
    train(model, inputs, loss, settings, order=order, after_epoch=after)
    return measured


def _in_turn(cases: int, number: int) -> Callable[[], Tensor]:
    """Draws so many cases at a time, all of them in a random order before any comes again."""
    waiting = torch.zeros(0, dtype=torch.long)

    def draw() -> Tensor:
        nonlocal waiting
        while len(waiting) < number:
            waiting = torch.cat([waiting, torch.randperm(cases)])
        drawn, waiting = waiting[:number], waiting[number:]
        return drawn

    return draw
