"""Mixtures against scipy and scikit-learn, and the decision tree against its definition."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.mixture import GaussianMixture
from torch import Tensor

from distillation.speech.recogniser import hmm, tree
from distillation.speech.recogniser.gmm import FLOOR, Mixtures, mixtures, single_gaussians, statistics
from distillation.speech.recogniser.hmm import BOUNDARY, SILENCE, States, monophones
from distillation.speech.recogniser.tree import best_split, cluster_states, phone_questions, untied

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


LEFT, BRIGHT, DARK = ("S", "T"), ("I", "E", "A"), ("U", "O", "W")
CLASSES = dict.fromkeys(LEFT, 0.0) | dict.fromkeys(BRIGHT, 4.0) | dict.fromkeys(DARK, -4.0)
CONTEXTS = {f"{left}X{right}": ((left, "X", right),) for left in LEFT for right in BRIGHT + DARK}


def shaped(*, unheard: tuple[str, ...] = (), each: int = 60) -> tuple[Tensor, Tensor, States]:
    """Frames of every triphone; those of X lean by what follows, in its middle and last states the most."""
    states = untied(monophones(CONTEXTS))
    frames, labels = [], []
    for number, (key, state) in enumerate(states.ids.items()):
        left, phone, right, position = key
        if f"{left}X{right}" in unheard and phone == "X":
            continue
        mean = torch.zeros(4)
        if phone == "X":
            mean[0] = (1 + position) * CLASSES[right] / 4
        elif phone != SILENCE:
            mean[1], mean[2] = CLASSES[phone], (LEFT + BRIGHT + DARK).index(phone) / 4
        frames.append(normal(number, each, 4) + mean)
        labels += [state] * each
    return torch.cat(frames), torch.tensor(labels), states


def leaves_of_x(states: States, position: int) -> dict[str, set[int]]:
    """The leaves of X by the class of what follows."""
    return {
        name: {states.ids[left, "X", right, position] for left in LEFT for right in rights}
        for name, rights in {"bright": BRIGHT, "dark": DARK}.items()
    }


@pytest.mark.parametrize("unheard", [(), ("SXE",), ("TXO", "SXW")])
def test_contexts_of_one_class_share_a_leaf_and_those_never_heard_join_them(unheard: tuple[str, ...]) -> None:
    frames, labels, states = shaped(unheard=unheard)
    roots = 3 * len(set(states.phones))
    found = cluster_states(frames, labels, states, leaves=roots + 3)
    assert len(found) == roots + 3
    for position in range(3):
        classes = leaves_of_x(found, position)
        assert len(classes["bright"]) == len(classes["dark"]) == 1
        assert classes["bright"] != classes["dark"]


def test_best_gain_is_split_first() -> None:
    frames, labels, states = shaped()
    roots = 3 * len(set(states.phones))
    for more in (1, 2, 3):
        found = cluster_states(frames, labels, states, leaves=roots + more)
        split = [len(set.union(*leaves_of_x(found, position).values())) == 2 for position in range(3)]
        assert split == [more > 2, more > 1, True]


@given(seeds, st.integers(0, 60), st.sampled_from([1, 40, 100, 300]))
def test_every_triphone_has_one_leaf_of_its_phone_and_position(seed: int, leaves: int, minimum: int) -> None:
    frames, labels, states = shaped(unheard=("SXI", "TXW"), each=30)
    frames = frames + normal(seed, *frames.shape)
    found = cluster_states(frames, labels, states, leaves=leaves, minimum=minimum)
    assert set(found.ids) == set(states.ids)
    assert set(found.ids.values()) == set(range(len(found)))
    members: dict[int, list] = {}
    for key, leaf in found.ids.items():
        members.setdefault(leaf, []).append(key)
        assert found.phones[leaf] == key[1]
    roots: dict[tuple[str, int], int] = {}
    for keys in members.values():
        assert len({(key[1], key[3]) for key in keys}) == 1
        root = keys[0][1], keys[0][3]
        roots[root] = roots.get(root, 0) + 1
    assert len(found) <= max(leaves, len(roots))
    leaf_of = torch.tensor([found.ids[key] for key in sorted(states.ids, key=states.ids.get)])
    counts = torch.bincount(leaf_of[labels], minlength=len(found))
    for leaf, keys in members.items():
        if roots[keys[0][1], keys[0][3]] > 1:
            assert counts[leaf] >= minimum


def test_clustering_uses_all_the_leaves_that_the_data_allow() -> None:
    frames, labels, states = shaped()
    assert len(cluster_states(frames, labels, states, leaves=40)) == 40
    few = cluster_states(frames, labels, states, leaves=10_000, minimum=10**6)
    assert len(few) == 3 * len(set(states.phones))


def test_clustering_is_deterministic() -> None:
    frames, labels, states = shaped()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first = cluster_states(frames, labels, states, leaves=40)
    assert cluster_states(frames, labels, states, leaves=40) == first
    assert cluster_states(frames[order], labels[order], states, leaves=40) == first


@pytest.mark.filterwarnings("error")
def test_phone_never_heard_keeps_states_of_its_own() -> None:
    lexicon = {"P": (("X", "Y"),), "Q": (("Z",),)}
    states = untied(monophones(lexicon))
    heard = torch.tensor([state for key, state in states.ids.items() if key[1] != "Z"]).repeat(50)
    found = cluster_states(normal(0, len(heard), 3), heard, states, leaves=100, minimum=20)
    assert [found.phones[state] for state in found.of(("Z",))] == ["Z"] * 3
    assert len(set(found.of(("Z",)))) == 3


def log_likelihood(frames: np.ndarray) -> float:
    """Of one diagonal Gaussian fitted to the frames, but for the terms that all divisions of them share."""
    variance = np.maximum(frames.var(0), FLOOR)
    return float(-0.5 * len(frames) * np.log(variance).sum())


@given(seeds, st.sampled_from([1, 80, 110]))
def test_best_split_gains_most_of_all_questions(seed: int, minimum: int) -> None:
    frames, labels, states = shaped(each=20)
    frames = frames + 2 * normal(seed, *frames.shape)
    stats = tuple(part.numpy() for part in statistics(frames, labels, len(states)))
    questions = phone_questions(stats, states)
    node = [key for key in states.ids if key[1] == "X" and key[3] == 1]
    own = {key: frames[labels == states.ids[key]].double().numpy() for key in node}
    whole = log_likelihood(np.concatenate(list(own.values())))
    gains = {}
    for side, question in itertools.product((0, 2), questions):
        yes = [key for key in node if key[side] in question]
        no = [key for key in node if key[side] not in question]
        parts = [np.concatenate([own[key] for key in keys]) if keys else np.empty((0, 4)) for keys in (yes, no)]
        if min(map(len, parts)) >= minimum:
            gains[tuple(yes), tuple(no)] = sum(map(log_likelihood, parts)) - whole
    gain, yes, no = best_split(node, states, stats, questions, minimum)
    assert gain == pytest.approx(max(gains.values()), rel=1e-6)
    assert gains[tuple(yes), tuple(no)] == pytest.approx(gain, rel=1e-6)
    assert best_split(node, states, stats, questions, 10**6) is None


def test_questions_are_clusters_of_similar_phones() -> None:
    frames, labels, states = shaped()
    stats = tuple(part.numpy() for part in statistics(frames, labels, len(states)))
    questions = phone_questions(stats, states)
    phones = set(states.phones)
    assert frozenset([BOUNDARY]) in questions
    assert {frozenset([phone]) for phone in phones} <= set(questions)
    assert frozenset(BRIGHT) in questions
    assert frozenset(DARK) in questions
    assert frozenset(phones) in questions
    assert len(questions) == 1 + 2 * len(phones) - 1


def test_untied_states_are_one_per_triphone_and_position() -> None:
    states = tree.untied(hmm.monophones(CONTEXTS))
    assert sorted(states.ids.values()) == list(range(len(states)))
    assert all(states.phones[state] == key[1] for key, state in states.ids.items())
