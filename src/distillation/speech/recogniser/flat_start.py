"""Forced alignment from a flat start: which HMM state each frame belongs to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from distillation.core.data import DataError
from distillation.speech.data import Utterance
from distillation.speech.recogniser import hmm, tree
from distillation.speech.recogniser.filterbanks import Features, cepstra
from distillation.speech.recogniser.gmm import mixtures, single_gaussians
from distillation.speech.recogniser.hmm import States, transcript_graph

Lexicon = dict[str, tuple[tuple[str, ...], ...]]
Scores = Callable[[slice, Tensor], Tensor]


@dataclass(frozen=True)
class Rounds:
    """How often the Gaussian mixtures are re-estimated and the utterances aligned again.

    Pairs (components, rounds): first with monophones, then with the clustered triphones.
    """

    monophones: tuple[tuple[int, int], ...] = ((1, 8), (4, 2), (8, 3))
    triphones: tuple[tuple[int, int], ...] = ((1, 2), (4, 3))


def flat_start(
    utterances: Sequence[Utterance], features: Features, lexicon: Lexicon, *, leaves: int, rounds: Rounds
) -> tuple[States, Tensor]:
    """Context-dependent states and the label of every frame, (frames,), from nothing but the transcripts.

    Each utterance is first cut into equal parts for its states; then Gaussian mixtures and alignments take turns, with
    monophones first and then with at most `leaves` clustered triphone states.
    """
    frames = cepstra(features)
    states = hmm.monophones(lexicon)
    labels = equal_parts(utterances, features.lengths, lexicon, states)
    total = sum(number for _, number in (*rounds.monophones, *rounds.triphones)) + 1
    with tqdm(total=total, desc="alignment with Gaussian mixtures", unit="round", mininterval=1) as progress:

        def alternate(labels: Tensor, schedule: Sequence[tuple[int, int]]) -> Tensor:
            for components, number in schedule:
                for _ in range(number):
                    scores = estimated(labels, components)
                    labels = align_all(scores, utterances, features.lengths, lexicon, states)
                    progress.update()
            return labels

        def estimated(labels: Tensor, components: int) -> Scores:
            if components == 1:
                model = single_gaussians(frames, labels, len(states))
            else:
                model = mixtures(frames, labels, len(states), components)
            return lambda rows, wanted: model.of(wanted).scores(frames[rows])

        labels = alternate(labels, rounds.monophones)
        model = mixtures(frames, labels, len(states), rounds.monophones[-1][0])
        untied = tree.untied(states)
        parents = torch.tensor([states.ids[key] for key in untied.ids])
        by_triphone = align_all(
            lambda rows, wanted: model.of(parents[wanted]).scores(frames[rows]),
            utterances,
            features.lengths,
            lexicon,
            untied,
        )
        progress.update()
        states = tree.cluster_states(frames, by_triphone, untied, leaves=leaves)
        leaf = torch.tensor([states.ids[key] for key in untied.ids])
        return states, alternate(leaf[by_triphone], rounds.triphones)


def equal_parts(utterances: Sequence[Utterance], lengths: Sequence[int], lexicon: Lexicon, states: States) -> Tensor:
    """Labels (frames,) that give each state of a transcript as many frames, with silence at both ends."""
    rows = []
    for utterance, length in zip(utterances, lengths, strict=True):
        transcript_graph(utterance.words, lexicon, states, utterance.name)  # raises for words that are not there
        words = [state for word in utterance.words for state in states.of(lexicon[word][0])]
        chain = np.array([*states.silence, *words, *states.silence])
        if length < len(chain):
            raise DataError(f"{utterance.name} has {length} frames, fewer than its {len(chain)} states.")
        rows.append(chain[np.arange(length) * len(chain) // length])
    return torch.from_numpy(np.concatenate(rows))


def align_all(
    scores: Scores,
    utterances: Sequence[Utterance],
    lengths: Sequence[int],
    lexicon: Lexicon,
    states: States,
) -> Tensor:
    """Labels (frames,) of all utterances by exact Viterbi.

    scores: from a slice of all frames and the states of an utterance's graph, (n,), to log-likelihoods (rows, n): no
    other states are scored.  Errors: see `hmm.align`; and ValueError where there are not as many frames.
    """
    rows, first = [], 0
    for utterance, length in zip(utterances, lengths, strict=True):
        graph = transcript_graph(utterance.words, lexicon, states, utterance.name)
        wanted, emissions = np.unique(graph.emissions, return_inverse=True)
        found = scores(slice(first, first + length), torch.from_numpy(wanted)).float().contiguous().numpy()
        if len(found) != length:
            raise ValueError(f"{utterance.name} has {length} frames, but there are scores of {len(found)}.")
        rows.append(wanted[hmm.align(found, replace(graph, emissions=emissions), utterance.name)])
        first += length
    return torch.from_numpy(np.concatenate(rows))
