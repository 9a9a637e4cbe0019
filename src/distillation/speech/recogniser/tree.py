"""Context-dependent states: a decision tree clusters the triphones' states by what their frames look like."""

import heapq
from collections.abc import Iterator

import numpy as np
from scipy.cluster.hierarchy import linkage
from torch import Tensor

from distillation.speech.recogniser.gmm import FLOOR, statistics
from distillation.speech.recogniser.hmm import BOUNDARY, States

Stats = tuple[np.ndarray, np.ndarray, np.ndarray]


def cluster_states(frames: Tensor, labels: Tensor, unclustered: States, *, leaves: int, minimum: int = 100) -> States:
    """Split each phone's states by questions about its neighbours, best gain in likelihood first.

    frames: (frames, d); labels: (frames,) states of `unclustered`, in which every triphone has states of its own (see
    `untied`).  leaves: states to end with, at most, but never fewer than three per phone; minimum: frames that each
    part of a split must have.  A triphone that was never heard ends in the leaf to which its neighbours lead it.  The
    likelihood is that of one diagonal Gaussian per leaf, and the questions ask whether a neighbour is in one of the
    clusters of similar phones, which are found in the data.
    """
    stats = tuple(part.numpy() for part in statistics(frames, labels, len(unclustered)))
    keys = list(unclustered.ids)
    roots: dict[tuple[str, int], list] = {}
    for key in keys:
        roots.setdefault((key[1], key[3]), []).append(key)
    questions = phone_questions(stats, unclustered)
    final: list[list] = []
    queue: list = []

    def consider(node: list) -> None:
        split = best_split(node, unclustered, stats, questions, minimum)
        if split is None:
            final.append(node)
        else:
            gain, yes, no = split
            heapq.heappush(queue, (-gain, sorted(node), yes, no))

    for root in roots.values():
        consider(root)
    while queue and len(queue) + len(final) < leaves:
        _, _, yes, no = heapq.heappop(queue)
        consider(yes)
        consider(no)
    nodes = sorted([sorted(node) for node in final] + [node for _, node, _, _ in queue], key=_by_phone)
    ids = {key: number for number, node in enumerate(nodes) for key in node}
    return States(ids, tuple(node[0][1] for node in nodes))


def untied(states: States) -> States:
    """States of their own for every triphone of the given states."""
    keys = sorted(states.ids, key=lambda key: (key[:3], key[3]))
    return States({key: number for number, key in enumerate(keys)}, tuple(key[1] for key in keys))


def phone_questions(stats: Stats, states: States) -> list[frozenset[str]]:
    """Sets of similar phones: the clusters of a hierarchical clustering of the phones' mean frames, and each alone."""
    counts, sums, _ = stats
    phones = sorted(set(states.phones))
    index = {phone: [n for n, of in enumerate(states.phones) if of == phone] for phone in phones}
    heard = [phone for phone in phones if counts[index[phone]].sum() > 0]
    means = np.array([sums[index[phone]].sum(0) / counts[index[phone]].sum() for phone in heard])
    clusters = [frozenset([phone]) for phone in heard]
    if len(heard) > 1:
        for first, second, *_ in linkage(means, "ward"):
            clusters.append(clusters[int(first)] | clusters[int(second)])
    return [frozenset([BOUNDARY]), *clusters]


def best_split(
    node: list, states: States, stats: Stats, questions: list[frozenset[str]], minimum: int
) -> tuple[float, list, list] | None:
    """The question's gain, yes and no parts that gain most, or None where no question leaves both enough frames."""
    counts, sums, squares = (part[[states.ids[key] for key in node]] for part in stats)
    if counts.sum() < 2 * minimum:
        return None
    whole = _log_likelihood(counts.sum(), sums.sum(0), squares.sum(0))
    best = None
    for mask in _answers(node, questions):
        if min(counts[mask].sum(), counts[~mask].sum()) < minimum:
            continue
        parts = (_log_likelihood(counts[side].sum(), sums[side].sum(0), squares[side].sum(0)) for side in (mask, ~mask))
        gain = sum(parts) - whole
        if best is None or gain > best[0]:
            best = gain, mask
    if best is None:
        return None
    yes = [key for key, answer in zip(node, best[1], strict=True) if answer]
    return float(best[0]), yes, [key for key, answer in zip(node, best[1], strict=True) if not answer]


def _answers(node: list, questions: list[frozenset[str]]) -> Iterator[np.ndarray]:
    for side in (0, 2):
        for question in questions:
            yield np.array([key[side] in question for key in node])


def _log_likelihood(count: float, total: np.ndarray, squares: np.ndarray) -> float:
    variance = np.maximum(squares / count - (total / count) ** 2, FLOOR)
    return float(-0.5 * count * np.log(variance).sum())


def _by_phone(node: list) -> tuple:
    return node[0][1], node[0][3], node[0]
