"""The objectives of section 2, and the means of distributions that make soft targets: the equations, nothing else."""

import torch
import torch.nn.functional as F
from torch import Tensor


def soften(logits: Tensor, temperature: float) -> Tensor:
    """Softmax at a temperature (equation 1): probabilities of the same shape as logits, classes last.

    Raises ValueError for temperature <= 0 and for logits that hold NaN or infinity.
    """
    _check_temperature(temperature)
    if not torch.isfinite(logits).all():
        raise ValueError("The logits hold NaN or infinity; a training run has diverged. Lower its learning rate.")
    return torch.softmax(logits / temperature, dim=-1)


def check_soft_targets(soft_targets: Tensor) -> Tensor:
    """Return soft_targets, (..., classes), if each row is a distribution; else raise ValueError.

    Called once where soft targets are made, not in every step.
    """
    if not torch.isfinite(soft_targets).all():
        raise ValueError("The soft targets hold NaN or infinity; look at the teacher's logits.")
    if (soft_targets < 0).any():
        raise ValueError("The soft targets hold negative values; pass probabilities, not logits.")
    if not torch.allclose(soft_targets.sum(-1), torch.ones((), dtype=soft_targets.dtype), atol=1e-3):
        raise ValueError("The soft targets' rows do not sum to one; pass probabilities, not logits.")
    return soft_targets


def soft_cross_entropy(logits: Tensor, soft_targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the softened student with the soft targets, in nats, averaged over the batch.

    logits, soft_targets: (batch, classes).  Summed over classes (not averaged: KLDivLoss's "mean" divides by the
    number of classes too).  Its gradient is (q - p) / T per case (section 2.1), without the factor T**2.
    """
    _check_temperature(temperature)
    if logits.shape != soft_targets.shape:
        raise ValueError(f"Logits {tuple(logits.shape)} and soft targets {tuple(soft_targets.shape)} differ in shape.")
    return -(soft_targets * F.log_softmax(logits / temperature, dim=-1)).sum(-1).mean()


def distillation_loss(
    logits: Tensor, soft_targets: Tensor, labels: Tensor | None, *, temperature: float, hard_weight: float
) -> Tensor:
    """Weighted average of the soft and the hard cross-entropy (section 2).

    logits: student's z, (batch, classes).  soft_targets: teacher's p at the same temperature, (batch, classes), rows
    summing to one (see `check_soft_targets`).  labels: (batch,) class indices, or None for an unlabelled transfer set
    (then hard_weight must be 0).  The soft term is multiplied by temperature**2, so its gradient keeps its size as the
    temperature changes.  Returns the mean over the batch, in nats.  Raises ValueError for temperature <= 0, a weight
    outside [0, 1] or mismatched shapes.
    """
    if not 0 <= hard_weight <= 1:
        raise ValueError(f"hard_weight must lie between 0 and 1, not {hard_weight}.")
    soft = temperature**2 * soft_cross_entropy(logits, soft_targets, temperature)
    if hard_weight == 0:
        return soft
    if labels is None:
        raise ValueError("An unlabelled transfer set has no hard targets: set hard_weight to 0.")
    return (1 - hard_weight) * soft + hard_weight * F.cross_entropy(logits, labels)


def logit_matching_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Squared error of the zero-meaned logits (Caruana et al.; section 2.1), the limit of distillation for large T.

    logits, teacher_logits: (batch, classes).  Half the mean over classes, averaged over the batch, so that the gradient
    per case is (z - v) / N, the limit of T**2 times the soft cross-entropy's.  Raises ValueError for mismatched shapes.
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(f"Logits {tuple(logits.shape)} and {tuple(teacher_logits.shape)} differ in shape.")
    difference = zero_mean(logits) - zero_mean(teacher_logits)
    return 0.5 * difference.square().mean(-1).mean()


def zero_mean(logits: Tensor) -> Tensor:
    """Logits with each case's mean over the classes (last dimension) removed."""
    return logits - logits.mean(-1, keepdim=True)


def mix_labels(soft_targets: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Soft targets modified by the correct labels: the alternative that section 2 reports as worse.

    soft_targets: (batch, classes); labels: (batch,).  Returns (1 - weight) p + weight * one-hot label.
    """
    one_hot = F.one_hot(labels, soft_targets.shape[-1]).to(soft_targets.dtype)
    return (1 - weight) * soft_targets + weight * one_hot


def arithmetic_mean(probabilities: Tensor) -> Tensor:
    """Arithmetic mean over the first dimension; probabilities (members, ..., classes) -> (..., classes)."""
    return probabilities.mean(0)


def geometric_mean(log_probabilities: Tensor) -> Tensor:
    """Normalised geometric mean over the first dimension of log-probabilities (members, ..., classes).

    Takes logarithms, so that a probability too small for a float does not veto a class.
    """
    return torch.softmax(log_probabilities.mean(0), dim=-1)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"The temperature must be positive, not {temperature}.")
