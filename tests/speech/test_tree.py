"""The decision tree of the states against its definition."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distillation.speech.recogniser import hmm, tree
from distillation.speech.recogniser.gmm import FLOOR, statistics
from distillation.speech.recogniser.hmm import BOUNDARY, SILENCE, States, monophones
from distillation.speech.recogniser.tree import best_split, cluster_states, phone_questions, untied

seeds = st.integers(0, 2**31)
LEFT, BRIGHT, DARK = ("S", "T"), ("I", "E", "A"), ("U", "O", "W")
CLASSES = dict.fromkeys(LEFT, 0.0) | dict.fromkeys(BRIGHT, 4.0) | dict.fromkeys(DARK, -4.0)
CONTEXTS = {f"{left}X{right}": ((left, "X", right),) for left in LEFT for right in BRIGHT + DARK}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
