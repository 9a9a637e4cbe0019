"""The networks, as plain modules built from a few numbers."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class ByteMaskDropout(nn.Module):
    """Dropout whose mask compares random bytes with a threshold: eight decisions per 64-bit random number.

    drop: the probability of dropping a unit, rounded to a multiple of 1/256; kept units are scaled by 1 / (1 - drop).
    nn.Dropout draws a float per unit, which doubles the step of these nets on a CPU.
    """

    def __init__(self, drop: float):
        super().__init__()
        if not 0 <= drop < 1:
            raise ValueError(f"The probability of dropping a unit must lie in [0, 1), not {drop}.")
        self.threshold = min(255, round(256 * drop))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        mask = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.threshold
        return x * (mask.to(x.dtype) * (256 / (256 - self.threshold)))


def mlp(sizes: tuple[int, ...], *, input_dropout: float = 0.0, hidden_dropout: float = 0.0) -> nn.Sequential:
    """A net of rectified linear layers, (batch, sizes[0]) -> logits (batch, sizes[-1])."""
    layers: list[nn.Module] = [ByteMaskDropout(input_dropout)] if input_dropout else []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True)]
        if hidden_dropout:
            layers.append(ByteMaskDropout(hidden_dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


@torch.no_grad()
def clip_incoming_norms(model: nn.Module, max_norm: float) -> None:
    """Bound the L2 norm of each hidden unit's incoming weights (max-norm, arXiv:1207.0580), not the outputs'."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for linear in linears[:-1]:
        linear.weight.renorm_(2, 0, max_norm)
