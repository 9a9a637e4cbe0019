"""Means of the members' distributions: an ensemble's soft targets (sections 4 and 5.4)."""

import torch
from torch import Tensor


def arithmetic_mean(probabilities: Tensor) -> Tensor:
    """Arithmetic mean over the first dimension; probabilities (members, ..., classes) -> (..., classes)."""
    return probabilities.mean(0)


def geometric_mean(log_probabilities: Tensor) -> Tensor:
    """Normalised geometric mean over the first dimension of log-probabilities (members, ..., classes).

    Takes logarithms, so that a probability too small for a float does not veto a class.
    """
    return torch.softmax(log_probabilities.mean(0), dim=-1)
