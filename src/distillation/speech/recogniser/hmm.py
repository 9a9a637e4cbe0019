"""Hidden Markov models of transcripts, and the exact Viterbi algorithm over them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distillation.core.data import DataError
from distillation.core.objectives import class_labels
from distillation.speech.data import check_not_text
from distillation.speech.recogniser.compiled import compiled

STATES_PER_PHONE = 3
SILENCE = "SIL"
BOUNDARY = "#"  # the context of a word's first and last phone


@dataclass(frozen=True)
class States:
    """The HMM states that frames are labelled with.

    ids: (left phone, phone, right phone, position 0-2) -> state, for every triphone of the lexicon; contexts end at
    word boundaries.  phones: (states,) the phone of each.
    """

    ids: dict[tuple[str, str, str, int], int]
    phones: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.phones)

    def of(self, pronunciation: Sequence[str]) -> tuple[int, ...]:
        """The states of a pronunciation, three per phone."""
        padded = (BOUNDARY, *pronunciation, BOUNDARY)
        triphones = zip(padded, padded[1:], padded[2:], strict=False)
        return tuple(self.ids[(*triphone, position)] for triphone in triphones for position in range(STATES_PER_PHONE))

    @property
    def silence(self) -> tuple[int, ...]:
        """The states of silence."""
        return self.of((SILENCE,))


def monophones(lexicon: dict[str, tuple[tuple[str, ...], ...]]) -> States:
    """Three states for each phone, whatever its context."""
    triphones = triphones_of(lexicon)
    phones = sorted({phone for _, phone, _ in triphones})
    number = {phone: index for index, phone in enumerate(phones)}
    ids = {
        (left, phone, right, position): STATES_PER_PHONE * number[phone] + position
        for left, phone, right in triphones
        for position in range(STATES_PER_PHONE)
    }
    return States(ids, tuple(phone for phone in phones for _ in range(STATES_PER_PHONE)))


def triphones_of(lexicon: dict[str, tuple[tuple[str, ...], ...]]) -> list[tuple[str, str, str]]:
    """Every phone in its context within a word, and silence, sorted.  Raises ValueError for phones in one text."""
    found = {(BOUNDARY, SILENCE, BOUNDARY)}
    for word, pronunciations in lexicon.items():
        for phones in pronunciations:
            check_not_text(phones, f"phones of {word}")
            padded = (BOUNDARY, *phones, BOUNDARY)
            found |= set(zip(padded, padded[1:], padded[2:], strict=False))
    return sorted(found)


@dataclass(frozen=True)
class Graph:
    """The HMM of a transcript: nodes that emit frames, each with a self-loop.

    emissions: (nodes,) the state that scores a frame at each node.  offsets, sources: node n may follow itself and
    sources[offsets[n]:offsets[n + 1]].  starts, ends: (nodes,) whether a path may begin or end there.  All transitions
    cost the same, so they are left out.
    """

    emissions: np.ndarray
    offsets: np.ndarray
    sources: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def transcript_graph(
    words: Sequence[str], lexicon: dict[str, tuple[tuple[str, ...], ...]], states: States, name: str = "the utterance"
) -> Graph:
    """The words in order, each in any of its pronunciations, with optional silence before, between and after.

    name: of the utterance, for errors.  Raises DataError for an empty transcript and for a word not in the lexicon.
    """
    check_not_text(words, f"words of {name}")
    if not words:
        raise DataError(f"The transcript of {name} is empty.")
    emissions: list[int] = []
    sources: list[list[int]] = []
    start = -1  # stands for the beginning of the utterance among sources

    def append(chain: Sequence[int], entries: list[int]) -> int:
        for state in chain:
            sources.append(entries)
            entries = [len(emissions)]
            emissions.append(state)
        return len(emissions) - 1

    exits = [start, append(states.silence, [start])]
    for word in words:
        if word not in lexicon:
            raise DataError(f"The word {word!r} of {name} is not in the lexicon.")
        spoken = [append(states.of(phones), exits) for phones in lexicon[word]]
        exits = [*spoken, append(states.silence, spoken)]
    ends = np.zeros(len(emissions), bool)
    ends[exits] = True
    inner = [[source for source in entries if source != start] for entries in sources]
    return Graph(
        np.array(emissions),
        np.cumsum([0] + [len(entries) for entries in inner]),
        np.array([source for entries in inner for source in entries], np.int64),
        np.array([start in entries for entries in sources]),
        ends,
    )


def align(scores: np.ndarray, graph: Graph, name: str = "the utterance") -> np.ndarray:
    """The states on the best path, (frames,), by exact Viterbi.

    scores: (frames, states) log-likelihoods, float32.  Raises DataError, naming the utterance, where there are fewer
    frames than states on the shortest path, or scores that are not finite; ValueError as `viterbi` does.
    """
    if not np.isfinite(checked_scores(scores, name)).all():
        raise DataError(f"The scores of {name} hold NaN or infinity.")
    path, best = viterbi(scores, graph.emissions, graph.offsets, graph.sources, graph.starts, graph.ends, name)
    if best == -np.inf:
        raise DataError(f"{name} has {len(scores)} frames, fewer than the states of its shortest pronunciation.")
    return graph.emissions[path]


def viterbi(
    scores: np.ndarray,
    emissions: np.ndarray,
    offsets: np.ndarray,
    sources: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    name: str = "the utterance",
) -> tuple[np.ndarray, float]:
    """The best path through a graph, (frames,) of nodes, and its score: -inf where there is none.

    scores: as of `align`; the others: as of `Graph`.  Raises ValueError, naming the utterance, for arrays of other
    types and shapes or that do not fit each other (compiled code would read beyond them), and scores of NaN or +inf.
    """
    scores, nodes = checked_scores(scores, name), len(emissions)
    if not (scores < np.inf).all():
        raise ValueError(f"The scores of {name} hold NaN or infinity.")
    emissions = indices(emissions, scores.shape[1], f"states of the graph of {name}", "columns of scores")
    sources = indices(sources, nodes, f"sources of the graph of {name}", "nodes")
    offsets = checked_offsets(offsets, nodes, len(sources), 0, f"offsets of the graph of {name}")
    for flags in (starts, ends):
        if np.asarray(flags).dtype != bool or np.shape(flags) != (nodes,):
            raise ValueError(f"The starts and ends of the graph of {name} must be bool for each of {nodes} nodes.")
    return _viterbi(scores, emissions, offsets, sources, np.ascontiguousarray(starts), np.ascontiguousarray(ends))


def checked_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Scores (frames, states) as compiled code wants them, in float32 or float64.  Raises ValueError for others."""
    found = np.asarray(scores)
    if found.dtype.kind != "f" or found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"The scores of {name} are {found.dtype} {found.shape}; pass floats (frames, states).")
    return np.ascontiguousarray(found, np.float64 if found.dtype.itemsize > 4 else np.float32)


def indices(values: np.ndarray, number: int, name: str, of: str) -> np.ndarray:
    """Indices, (n,) from 0 to number - 1, as int64.  Raises ValueError for others."""
    return class_labels(values, number, name=name, of=of).numpy()


def checked_offsets(values: np.ndarray, parts: int, end: int, least: int, name: str) -> np.ndarray:
    """Where each part begins, and the end, (parts + 1,) int64.  Raises ValueError for others, and for no parts.

    least: how long each part is at least.
    """
    found = class_labels(values, cases=parts + 1, name=name).numpy()
    if parts < 1 or (found[0], found[-1]) != (0, end) or (np.diff(found) < least).any():
        raise ValueError(f"The {name} must lead from 0 to {end} in {max(parts, 1)} steps of {least} or more.")
    return found


@compiled
def _viterbi(scores, emissions, offsets, sources, starts, ends):
    frames, nodes = len(scores), len(emissions)
    score = np.full(nodes, -np.inf)
    back = np.zeros((frames, nodes), np.int32)
    for node in range(nodes):
        if starts[node]:
            score[node] = scores[0, emissions[node]]
    for frame in range(1, frames):
        previous = score.copy()
        for node in range(nodes):
            best, source = previous[node], node
            for edge in range(offsets[node], offsets[node + 1]):
                if previous[sources[edge]] > best:
                    best, source = previous[sources[edge]], sources[edge]
            score[node] = best + scores[frame, emissions[node]]
            back[frame, node] = source
    path = np.zeros(frames, np.int64)
    best = -np.inf
    for node in range(nodes):
        if ends[node] and score[node] > best:
            best, path[-1] = score[node], node
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    return path, best
