"""How much the gradient varies between cases (section 1)."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from distillation.core import objectives


def noise_to_signal(model: nn.Module, inputs: Tensor, targets: Tensor, temperature: float, chunk: int = 50) -> dict:
    """Trace of the covariance of the per-case gradients, squared norm of their mean, and the ratio of the two.

    inputs: (cases, ...); targets: (cases, classes) distributions at the temperature, else ValueError.  The gradient is
    that of temperature**2 times the soft cross-entropy, with respect to all weights.
    """
    objectives.check_soft_targets(targets, "targets")
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def case_loss(weights: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(model, weights, (x.reshape(1, -1),))
        return temperature**2 * objectives.soft_cross_entropy(logits, target[None], temperature)

    per_case = vmap(grad(case_loss), (None, 0, 0))
    total: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in weights.items()}
    squares = 0.0
    for x, target in zip(inputs.split(chunk), targets.split(chunk), strict=True):
        for name, gradient in per_case(weights, x, target).items():
            total[name] += gradient.sum(0)
            squares += gradient.square().sum().item()
    cases = len(inputs)
    signal = sum((value / cases).square().sum().item() for value in total.values())
    noise = squares / cases - signal
    return {"noise": noise, "signal": signal, "ratio": noise / signal}
