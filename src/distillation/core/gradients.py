"""How much the gradient varies between cases (section 1)."""

import torch
from torch import Tensor, nn

from distillation.core import objectives


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
