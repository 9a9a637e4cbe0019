"""The convnets of sections 5 to 8, as plain modules built from a few numbers."""

from itertools import pairwise

import torch
from torch import Tensor, nn


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


def strided_net(channels: int, widths: tuple[int, ...], classes: int) -> nn.Sequential:
    """A small plain convnet, (batch, channels, 32, 32) -> logits (batch, classes), for pictures of characters.

    A 4x4 convolution of stride 2 of each width but the last, which is that of a dense layer over the whole map: nearly
    all work is in products that matrix units take.
    """
    layers: list[nn.Module] = []
    for before, width in pairwise((channels, *widths[:-1])):
        layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    side = 32 // 2 ** (len(widths) - 1)
    dense = nn.Linear(widths[-2] * side**2, widths[-1])
    model = nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU(inplace=True), nn.Linear(widths[-1], classes))
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

    (batch, ...) -> log-probabilities (batch, classes): the logarithm of the gate's weighted mean; in training, those
    of the gate stand beside them, (batch, classes + experts).
    """

    def __init__(self, experts: list[nn.Module], gate: nn.Module):
        super().__init__()
        self.experts, self.gate = nn.ModuleList(experts), gate

    def forward(self, x: Tensor) -> Tensor:
        said = torch.stack([expert(x).float().log_softmax(-1) for expert in self.experts])
        gate = self.gate(x).float().log_softmax(-1)
        mixed = torch.logsumexp(said + gate.T[:, :, None], 0)
        return torch.cat([mixed, gate], 1) if self.training else mixed
