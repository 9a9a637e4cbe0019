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


class Residual(nn.Module):
    """Two 3x3 convolutions, added to the input (to a 1x1 convolution of it where the shape changes)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(channels_in, channels, 3, stride), nn.ReLU(inplace=True), *_convolution(channels, channels, 3)
        )
        same = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(channels_in, channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def residual_net(channels: int, widths: tuple[int, ...], classes: int) -> nn.Sequential:
    """A small residual convnet, (batch, channels, 32, 32) -> logits (batch, classes).

    A 4x4 convolution of stride 2, then a residual block of each width, each but the first halving the map, and the mean
    over what is left of it.
    """
    stem = (*_convolution(channels, widths[0], 4, 2), nn.ReLU(inplace=True))
    blocks = [Residual(a, b, 2) for a, b in pairwise(widths)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
    model = nn.Sequential(*stem, Residual(widths[0], widths[0], 1), *blocks, *head)
    return model.to(memory_format=torch.channels_last)


def _convolution(channels_in: int, channels: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    padding = (size - 1) // 2
    return nn.Conv2d(channels_in, channels, size, stride, padding, bias=False), nn.BatchNorm2d(channels)


class MergedDustbin(nn.Module):
    """The generalist's last layer, (batch, features) -> logits (batch, special + 1) of a subset and, last, a dustbin.

    The dustbin's logit is the log of the summed exponentials of the other classes' logits, so that before training the
    specialist says just what the generalist says.  shift: what the dustbin's logit is lowered by at the start, since
    a specialist's batches hold fewer pictures of other classes than the generalist's did.
    """

    def __init__(self, layer: nn.Linear, subset: tuple[int, ...], shift: float):
        super().__init__()
        self.layer, self.subset = layer, list(subset)
        self.others = [c for c in range(layer.out_features) if c not in subset]
        with torch.no_grad():
            layer.bias[self.others] -= shift

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layer(x).float()
        return torch.cat([logits[:, self.subset], logits[:, self.others].logsumexp(1, keepdim=True)], 1)


class MixtureOfExperts(nn.Module):
    """Section 7: experts whose distributions are mixed in the proportions of a softmax gate.

    (batch, ...) -> log-probabilities (batch, classes): the logarithm of the gate's weighted mean.
    """

    def __init__(self, experts: list[nn.Module], gate: nn.Module):
        super().__init__()
        self.experts, self.gate = nn.ModuleList(experts), gate

    def forward(self, x: Tensor) -> Tensor:
        said = torch.stack([expert(x).float().log_softmax(-1) for expert in self.experts])
        return torch.logsumexp(said + self.gate(x).float().log_softmax(-1).T[:, :, None], 0)


@torch.no_grad()
def clip_incoming_norms(model: nn.Module, max_norm: float) -> None:
    """Bound the L2 norm of each hidden unit's incoming weights (max-norm, arXiv:1207.0580), not the outputs'."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for linear in linears[:-1]:
        norms = torch.linalg.vector_norm(linear.weight, dim=1)
        over = (norms > max_norm).nonzero()[:, 0]
        if len(over):
            linear.weight[over] *= (max_norm / norms[over])[:, None]
