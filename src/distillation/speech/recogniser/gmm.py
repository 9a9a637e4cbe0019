"""Gaussian mixtures, one per HMM state: the acoustic model of the first alignments."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distillation.core.objectives import check_finite, class_labels

FLOOR = 0.01  # of the variances; the features have unit variance


@dataclass(frozen=True)
class Mixtures:
    """Diagonal Gaussian mixtures: log_weights (states, components), means and variances (states, components, d)."""

    log_weights: Tensor
    means: Tensor
    variances: Tensor

    def of(self, states: Tensor) -> "Mixtures":
        """The mixtures of some states, (n,) indices, in that order."""
        return Mixtures(self.log_weights[states], self.means[states], self.variances[states])

    def scores(self, frames: Tensor) -> Tensor:
        """Log-likelihoods (frames, states) of frames (frames, d)."""
        states, components, size = self.means.shape
        precisions = 1 / self.variances
        constant = -0.5 * (
            size * np.log(2 * np.pi) + self.variances.log().sum(-1) + (self.means.square() * precisions).sum(-1)
        )
        constant = (constant + self.log_weights).reshape(-1)
        quadratic, linear = -0.5 * precisions.reshape(-1, size).T, (self.means * precisions).reshape(-1, size).T
        rows = []
        for chunk in frames.split(4096):
            each = chunk.square() @ quadratic + chunk @ linear + constant
            rows.append(each.reshape(len(chunk), states, components).logsumexp(-1))
        return torch.cat(rows)


def single_gaussians(frames: Tensor, labels: Tensor, states: int) -> Mixtures:
    """One Gaussian per state from labelled frames; a state without frames gets the mean and variance of all.

    frames: (frames, d); labels: (frames,) states.
    """
    counts, sums, squares = statistics(frames, labels, states)
    means = sums / counts.clamp(min=1)[:, None]
    variances = squares / counts.clamp(min=1)[:, None] - means.square()
    empty = counts < 2
    means[empty], variances[empty] = frames.mean(0).double(), frames.var(0).double()
    return Mixtures(torch.zeros(states, 1), means.float()[:, None], variances.clamp(min=FLOOR).float()[:, None])


def statistics(frames: Tensor, labels: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per label: the number of frames, their sum and their sum of squares, in float64.

    frames: (frames, d); labels: (frames,), less than groups.  Raises ValueError for others, and frames not finite.
    """
    labels = class_labels(labels, groups, cases=len(check_finite(frames, "frames")), of="states")
    sums = torch.zeros(groups, frames.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(sums)
    sums.index_add_(0, labels, frames.double())
    squares.index_add_(0, labels, frames.double().square())
    return torch.bincount(labels, minlength=groups).double(), sums, squares


def mixtures(frames: Tensor, labels: Tensor, states: int, components: int, seed: int = 0) -> Mixtures:
    """Up to so many Gaussians per state, one for every 40 frames at most, fitted by scikit-learn's EM."""
    from sklearn.exceptions import ConvergenceWarning  # slow to load
    from sklearn.mixture import GaussianMixture

    found, labels = single_gaussians(frames, labels, states), class_labels(labels)
    log_weights = torch.full((states, components), -torch.inf)
    log_weights[:, 0] = 0
    means = found.means.repeat(1, components, 1)
    variances = found.variances.repeat(1, components, 1)
    order = torch.argsort(labels, stable=True)
    random = np.random.default_rng(seed)
    for state, index in enumerate(order.split(torch.bincount(labels, minlength=states).tolist())):
        number = min(components, len(index) // 40)
        if number < 2:
            continue
        chosen = frames[index].double().numpy()
        if len(chosen) > 1_000 * number:  # silence has a quarter of all frames; so many say as much
            chosen = chosen[random.choice(len(chosen), 1_000 * number, replace=False)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a few iterations suffice: labels change anyway
            fitted = GaussianMixture(
                number, covariance_type="diag", reg_covar=FLOOR, max_iter=8, random_state=seed, init_params="k-means++"
            ).fit(chosen)
        log_weights[state, :number] = torch.from_numpy(np.log(fitted.weights_)).float()
        means[state, :number] = torch.from_numpy(fitted.means_).float()
        variances[state, :number] = torch.from_numpy(fitted.covariances_).float()
    return Mixtures(log_weights, means, variances)
