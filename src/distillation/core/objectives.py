"""The objectives of section 2, and the means that make soft targets: the equations, in float32 or float64 alone."""

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor


def class_labels(
    labels: ArrayLike, classes: int | None = None, cases: int | None = None, name: str = "labels", of: str = "classes"
) -> Tensor:
    """Labels (cases,) of any integer type as int64.

    Raises ValueError for another type or shape, and, given the number of classes, for labels outside (without it, no
    device is waited for).  name, of: what the labels and the classes are, for errors.
    """
    found = torch.as_tensor(labels)
    is_integer = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    if not is_integer or found.ndim != 1 or cases not in (None, len(found)):
        wanted = "one integer per case" if cases is None else f"{cases} integers"
        raise ValueError(f"The {name} are {found.dtype} of shape {tuple(found.shape)}; pass {wanted}.")
    found = found.long()
    if classes is not None and len(found) and not (found.min() >= 0 and found.max() < classes):
        raise ValueError(f"The {name} lie from {found.min()} to {found.max()}, but there are {classes} {of}.")
    return found


def widened(values: Tensor) -> Tensor:
    """The values in float32, or as they are if in float64."""
    return values if values.dtype == torch.float64 else values.float()


def check_finite(values: Tensor, name: str) -> Tensor:
    """Return the values, or raise ValueError.  It waits for the device: not for every step of a training."""
    if not torch.isfinite(values).all():
        raise ValueError(f"The {name} hold NaN or infinity; a training run has diverged: lower its learning rate.")
    return values


def soften(logits: Tensor, temperature: float, name: str = "logits") -> Tensor:
    """Softmax (..., classes) at a temperature (equation 1).  ValueError for temperature <= 0 and logits not finite."""
    return torch.softmax(_divided(check_finite(logits, name), temperature), dim=-1)


def check_soft_targets(soft_targets: Tensor, name: str = "soft targets") -> Tensor:
    """Return soft_targets, (..., classes), if each row is a distribution, else raise ValueError; not for every step."""
    sums = widened(check_finite(soft_targets, name)).sum(-1)
    rounded = 1e-2 if soft_targets.dtype == torch.bfloat16 else 1e-3
    if (soft_targets < 0).any() or not torch.allclose(sums, torch.ones_like(sums), atol=rounded):
        raise ValueError(f"The {name} are negative or their rows do not sum to one; pass probabilities, not logits.")
    return soft_targets


def soft_cross_entropy(logits: Tensor, soft_targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the softened student with the soft targets, in nats, averaged over the batch.

    logits, soft_targets: (batch, classes).  Summed over classes (not averaged: KLDivLoss's "mean" divides by the
    number of classes too).  Its gradient is (q - p) / T per case (section 2.1), without the factor T**2.
    """
    if logits.shape != soft_targets.shape:
        raise ValueError(f"Logits {tuple(logits.shape)} and soft targets {tuple(soft_targets.shape)} differ in shape.")
    return -(widened(soft_targets) * F.log_softmax(_divided(logits, temperature), dim=-1)).sum(-1).mean()


def distillation_loss(
    logits: Tensor, soft_targets: Tensor, labels: Tensor | None, *, temperature: float, hard_weight: float
) -> Tensor:
    """Weighted average of the soft and the hard cross-entropy (section 2).

    logits: student's z, (batch, classes).  soft_targets: teacher's p at the same temperature, (batch, classes), rows
    summing to one (see `check_soft_targets`).  labels: (batch,) class indices, or None for an unlabelled transfer set
    (then hard_weight must be 0).  The soft term is multiplied by temperature**2: at high temperatures its
    gradient then keeps its size.  Returns the mean over the batch, in nats.  Raises ValueError for temperature <= 0, a
    weight outside [0, 1], mismatched shapes and labels that are no integers.  Values are not looked at here.
    """
    if not 0 <= hard_weight <= 1:
        raise ValueError(f"hard_weight must lie between 0 and 1, not {hard_weight}.")
    soft = temperature**2 * soft_cross_entropy(logits, soft_targets, temperature)
    if hard_weight == 0:
        return soft
    if labels is None:
        raise ValueError("An unlabelled transfer set has no hard targets: set hard_weight to 0.")
    return (1 - hard_weight) * soft + hard_weight * F.cross_entropy(widened(logits), class_labels(labels))


def arithmetic_mean(probabilities: Tensor) -> Tensor:
    """Arithmetic mean over the first dimension; probabilities (members, ..., classes) -> (..., classes)."""
    return check_finite(widened(probabilities).mean(0), "members' probabilities")


def geometric_mean(log_probabilities: Tensor) -> Tensor:
    """Normalised geometric mean, likewise; of logarithms, so that what is too small for a float vetoes no class."""
    return check_finite(torch.softmax(widened(log_probabilities).mean(0), dim=-1), "members' log-probabilities")


def _divided(logits: Tensor, temperature: float) -> Tensor:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"The temperature must be positive and finite, not {temperature}.")
    return widened(logits) / temperature
