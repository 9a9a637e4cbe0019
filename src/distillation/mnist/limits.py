"""Sections 2 and 2.1 in numbers: how soft gradients depend on the temperature, in float64, on given logits."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distillation.core import objectives


def logit_range(*logits: Tensor) -> float:
    """The largest spread between the logits of a case, over all the tensors (cases, classes)."""
    return max(float((z.max(-1).values - z.min(-1).values).max()) for z in map(objectives.widened, logits))


def soft_gradient(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Per-case gradient (cases, classes) of the soft cross-entropy by autograd, without the factor T**2.

    Raises ValueError for logits that are not finite.
    """
    z = objectives.check_finite(logits.detach(), "student's logits").double().clone().requires_grad_()
    soft = objectives.soften(teacher_logits.double(), temperature, "teacher's logits")
    (gradient,) = torch.autograd.grad(objectives.soft_cross_entropy(z, soft, temperature) * len(z), z)
    return gradient


def gradient_deviation(logits: Tensor, teacher_logits: Tensor, temperatures: list[float]) -> float:
    """Largest absolute deviation of that gradient from (q - p) / T, over cases, classes and temperatures."""
    z, v = logits.double(), teacher_logits.double()
    gaps = [soft_gradient(z, v, t) - (objectives.soften(z, t) - objectives.soften(v, t)) / t for t in temperatures]
    return max(float(gap.abs().max().detach()) for gap in gaps)


def against_temperature(logits: Tensor, teacher_logits: Tensor, temperatures: list[float]) -> pd.DataFrame:
    """Norms of the gradient and its distance to logit matching, one row per temperature.

    plain: norm without the factor; scaled: with T**2; deviation: norm of T**2 gradient minus (z - v) / N (zero-meaned),
    relative to the norm of the latter; hard: norm of the hard cross-entropy's gradient, with the teacher's answer as
    the label, for comparison.
    """
    z, v = logits.double(), teacher_logits.double()
    limit = (zero_mean(z) - zero_mean(v)) / z.shape[1]
    one_hot = torch.nn.functional.one_hot(v.argmax(1), z.shape[1]).double()
    hard = (torch.softmax(z, 1) - one_hot).norm().item()
    rows = []
    for t in temperatures:
        gradient = soft_gradient(z, v, t)
        deviation = (t**2 * gradient - limit).norm() / limit.norm()
        norm = gradient.norm().item()
        rows.append(
            {"temperature": t, "plain": norm, "scaled": t**2 * norm, "deviation": deviation.item(), "hard": hard}
        )
    return pd.DataFrame(rows)


def exponent(table: pd.DataFrame, column: str, from_temperature: float) -> float:
    """Slope of log(column) against log(temperature), fitted from a temperature upward."""
    kept = table[table["temperature"] >= from_temperature]
    return float(np.polyfit(np.log(kept["temperature"]), np.log(kept[column]), 1)[0])


def attention(logits: Tensor, teacher_logits: Tensor, temperatures: list[float]) -> pd.DataFrame:
    """How much of the mismatch at low logits a temperature attends to, one row per temperature and rank.

    rank: the class's place in the teacher's order, 1 for the largest logit.  attention: the size of T**2 gradient over
    that of logit matching, per class summed over cases; 1 in the limit of high T, 0 where the temperature ignores the
    logit.
    """
    z, v = logits.double(), teacher_logits.double()
    order = v.argsort(1, descending=True)
    limit = ((zero_mean(z) - zero_mean(v)) / z.shape[1]).gather(1, order).abs().sum(0)
    rows = []
    for t in temperatures:
        size = (t**2 * soft_gradient(z, v, t)).gather(1, order).abs().sum(0)
        rows += [
            {"temperature": t, "rank": rank + 1, "attention": float(value)} for rank, value in enumerate(size / limit)
        ]
    return pd.DataFrame(rows)


def entropy(logits: Tensor, temperatures: list[float]) -> pd.DataFrame:
    """Mean and quartiles over cases of the softened distributions' entropy in bits, one row per temperature."""
    rows = []
    for t in temperatures:
        p = objectives.soften(logits.double(), t)
        bits = -(p * p.clamp_min(1e-300).log2()).sum(1)
        low, high = (float(bits.quantile(q)) for q in (0.25, 0.75))
        rows.append({"temperature": t, "mean": float(bits.mean()), "quarter": low, "three_quarters": high})
    return pd.DataFrame(rows)


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
    return objectives.widened(logits) - objectives.widened(logits).mean(-1, keepdim=True)
