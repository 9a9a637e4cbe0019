"""Gaussian mixtures against scipy and scikit-learn."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.mixture import GaussianMixture
from torch import Tensor

from distillation.speech.recogniser.gmm import FLOOR, Mixtures, mixtures, single_gaussians, statistics

seeds = st.integers(0, 2**31)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(seeds, st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_scores_are_the_log_densities_of_the_mixtures(seed: int, states: int, components: int, size: int) -> None:
    weights = normal(seed, states, components).softmax(-1)
    means, variances = 2 * normal(seed + 1, states, components, size), normal(seed + 2, states, components, size).exp()
    frames = 2 * normal(seed + 3, 20, size)
    expected = [
        logsumexp(
            [
                np.log(weight) + multivariate_normal.logpdf(frames.numpy(), mean, np.diag(variance)).reshape(20)
                for weight, mean, variance in zip(*each, strict=True)
            ],
            axis=0,
        )
        for each in zip(weights.numpy(), means.numpy(), variances.numpy(), strict=True)
    ]
    found = Mixtures(weights.log(), means, variances).scores(frames)
    np.testing.assert_allclose(found.numpy(), np.array(expected).T, rtol=1e-3, atol=1e-3)


def test_scores_of_many_frames_agree_with_scikit_learn() -> None:
    frames = torch.cat([normal(0, 3_000, 5), normal(1, 2_500, 5) / 3 + 2])  # more than are scored at once
    fitted = GaussianMixture(3, covariance_type="diag", random_state=0).fit(frames.double().numpy())
    parameters = (np.log(fitted.weights_), fitted.means_, fitted.covariances_)
    found = Mixtures(*(torch.from_numpy(part).float()[None] for part in parameters)).scores(frames)
    assert found.shape == (5_500, 1)
    np.testing.assert_allclose(found[:, 0].numpy(), fitted.score_samples(frames.double().numpy()), atol=1e-3)


def test_statistics_are_counts_sums_and_sums_of_squares() -> None:
    frames, labels = normal(0, 50, 3), torch.arange(50) % 4
    counts, sums, squares = statistics(frames, labels, 5)
    for label in range(5):
        own = frames[labels == label].double()
        assert counts[label] == len(own)
        torch.testing.assert_close(sums[label], own.sum(0))
        torch.testing.assert_close(squares[label], own.square().sum(0))


def test_single_gaussians_have_the_moments_of_their_frames_and_empty_states_those_of_all() -> None:
    frames = torch.cat([normal(0, 100, 4) + 3, 2 * normal(1, 60, 4)])
    labels = torch.tensor([0] * 100 + [2] * 60)
    found = single_gaussians(frames, labels, 4)
    assert found.log_weights.eq(0).all()
    for state, own in ((0, frames[:100]), (2, frames[100:]), (1, frames), (3, frames)):
        torch.testing.assert_close(found.means[state, 0], own.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.variances[state, 0], own.var(0, correction=0), rtol=1e-2, atol=1e-3)
    scored = norm.logpdf(frames.numpy(), frames[:100].mean(0).numpy(), frames[:100].std(0, correction=0).numpy()).sum(1)
    np.testing.assert_allclose(found.scores(frames)[:, 0].numpy(), scored, rtol=1e-4, atol=1e-3)


def test_variances_have_a_floor() -> None:
    frames = torch.cat([torch.full((200, 2), 7.0), normal(0, 200, 2)])
    labels = torch.tensor([0] * 200 + [1] * 200)
    for model in (single_gaussians(frames, labels, 2), mixtures(frames, labels, 2, 2)):
        assert model.variances.min() >= FLOOR * (1 - 1e-5)
        assert model.scores(frames).isfinite().all()


def bimodal() -> tuple[Tensor, Tensor]:
    """States 0 to 4 with 600, 79, 80, 0 and 125 frames, in any order, each in two heaps."""
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor([600, 79, 80, 0, 125]))
    heap = torch.where(torch.arange(len(labels)) % 2 == 0, -2.0, 2.0)
    frames = 0.5 * normal(0, len(labels), 3) + heap[:, None] + labels[:, None]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    return frames[order], labels[order]


def test_mixtures_have_one_component_for_every_40_frames_at_most() -> None:
    frames, labels = bimodal()
    found = mixtures(frames, labels, 5, 4)
    assert found.log_weights.isfinite().sum(1).tolist() == [4, 1, 2, 1, 3]
    torch.testing.assert_close(found.log_weights.exp().sum(1), torch.ones(5))
    single = single_gaussians(frames, labels, 5)
    torch.testing.assert_close(found.scores(frames)[:, [1, 3]], single.scores(frames)[:, [1, 3]])


def test_mixtures_fit_two_heaps_better_than_one_gaussian() -> None:
    frames, labels = bimodal()
    gain = mixtures(frames, labels, 5, 2).scores(frames) - single_gaussians(frames, labels, 5).scores(frames)
    own = [float(gain[labels == state, state].mean()) for state in (0, 2, 4)]
    assert min(own) > 1.5


def test_mixtures_are_the_same_for_a_seed() -> None:
    frames, labels = bimodal()
    first, again = (mixtures(frames, labels, 5, 4, seed=3) for _ in range(2))
    assert torch.equal(first.means, again.means)
    assert torch.equal(first.variances, again.variances)
    assert torch.equal(first.log_weights, again.log_weights)
