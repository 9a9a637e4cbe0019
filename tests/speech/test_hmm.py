"""The alignment is the best of all legal paths, and what cannot be aligned is refused by the utterance's name."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillation.core.data import DataError
from distillation.speech.recogniser import hmm
from distillation.speech.recogniser.hmm import (
    BOUNDARY,
    SILENCE,
    States,
    align,
    monophones,
    transcript_graph,
    triphones_of,
)
from distillation.speech.recogniser.tree import untied

Lexicon = dict[str, tuple[tuple[str, ...], ...]]

LEXICON: Lexicon = {"A": (("EY",), ("AH",)), "BEE": (("B", "IY"),)}
pronunciations = st.lists(st.sampled_from("XY"), min_size=1, max_size=2).map(tuple)
lexicons = st.fixed_dictionaries(
    {word: st.lists(pronunciations, min_size=1, max_size=2, unique=True).map(tuple) for word in "PQ"}
)


def chains(words: tuple[str, ...], lexicon: Lexicon, states: States) -> Iterator[list[int]]:
    """The states of every way to say the words, with and without silence at each place."""
    spoken = [[list(states.of(phones)) for phones in lexicon[word]] for word in words]
    for silences in itertools.product([[], list(states.silence)], repeat=len(words) + 1):
        for choice in itertools.product(*spoken):
            pieces = [silences[0]] + [part for pair in zip(choice, silences[1:], strict=True) for part in pair]
            yield [state for piece in pieces for state in piece]


def paths(chain: list[int], frames: int) -> Iterator[tuple[int, ...]]:
    """Every way to stay at least one frame in each state of the chain."""
    for cuts in itertools.combinations(range(1, frames), len(chain) - 1):
        ends = np.diff([0, *cuts, frames])
        yield tuple(np.repeat(chain, ends).tolist())


def all_paths(words: tuple[str, ...], lexicon: Lexicon, states: States, frames: int) -> set[tuple[int, ...]]:
    return {path for chain in chains(words, lexicon, states) if len(chain) <= frames for path in paths(chain, frames)}


def total(scores: np.ndarray, path: tuple[int, ...]) -> float:
    return float(scores[np.arange(len(path)), list(path)].sum(dtype=np.float64))


def random_scores(frames: int, states: int, seed: int, whole: bool = False) -> np.ndarray:
    scores = 3 * np.random.default_rng(seed).standard_normal((frames, states))
    return (scores.round() if whole else scores).astype(np.float32)


@given(
    lexicons,
    st.lists(st.sampled_from("PQ"), min_size=1, max_size=2).map(tuple),
    st.integers(3, 11),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_alignment_is_the_best_of_all_paths(
    lexicon: Lexicon, words: tuple[str, ...], frames: int, triphones: bool, ties: bool, seed: int
) -> None:
    states = untied(monophones(lexicon)) if triphones else monophones(lexicon)
    scores = random_scores(frames, len(states), seed, ties)
    graph = transcript_graph(words, lexicon, states)
    legal = all_paths(words, lexicon, states, frames)
    if not legal:
        with pytest.raises(DataError, match="frames"):
            align(scores, graph)
        return
    best = max(total(scores, path) for path in legal)
    found = tuple(align(scores, graph).tolist())
    assert found in legal
    assert total(scores, found) == pytest.approx(best, abs=1e-4)
    nodes, score = hmm.viterbi(scores, graph.emissions, graph.offsets, graph.sources, graph.starts, graph.ends)
    assert score == pytest.approx(best, abs=1e-4)
    assert tuple(graph.emissions[nodes].tolist()) == found


@pytest.mark.parametrize("quiet", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("phones", LEXICON["A"])
def test_silence_and_pronunciation_are_chosen_by_the_scores(quiet: tuple[bool, ...], phones: tuple[str, ...]) -> None:
    states = monophones(LEXICON)
    before, between, after = (states.silence * silent for silent in quiet)
    chain = [*before, *states.of(phones), *between, *states.of(("B", "IY")), *after]
    scores = np.full((2 * len(chain), len(states)), -5, np.float32)
    said = np.repeat(chain, 2)
    scores[np.arange(len(said)), said] = 0
    assert align(scores, transcript_graph(("A", "BEE"), LEXICON, states)).tolist() == said.tolist()


def test_the_shortest_utterance_is_aligned_and_one_frame_less_refused_by_name() -> None:
    states = monophones(LEXICON)
    graph = transcript_graph(("A", "BEE"), LEXICON, states)
    scores = random_scores(9, len(states), 0)
    assert align(scores, graph).tolist() in ([*states.of((a,)), *states.of(("B", "IY"))] for a in ("EY", "AH"))
    with pytest.raises(DataError, match=r"an7-brief has 8 frames"):
        align(scores[:8], graph, "an7-brief")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    states = monophones(LEXICON)
    scores = random_scores(12, len(states), 0)
    scores[5, 2] = bad
    with pytest.raises(DataError, match="an7-damaged"):
        align(scores, transcript_graph(("A",), LEXICON, states), "an7-damaged")


def test_transcripts_without_words_or_with_unknown_ones_are_refused_by_name() -> None:
    states = monophones(LEXICON)
    with pytest.raises(DataError, match="an7-empty"):
        transcript_graph((), LEXICON, states, "an7-empty")
    with pytest.raises(DataError, match=r"'SEA'.*an7-odd"):
        transcript_graph(("A", "SEA"), LEXICON, states, "an7-odd")


def test_triphones_know_their_neighbours_within_the_word() -> None:
    assert triphones_of(LEXICON) == sorted(
        [
            (BOUNDARY, SILENCE, BOUNDARY),
            (BOUNDARY, "EY", BOUNDARY),
            (BOUNDARY, "AH", BOUNDARY),
            (BOUNDARY, "B", "IY"),
            ("B", "IY", BOUNDARY),
        ]
    )


@given(lexicons)
def test_monophones_share_three_states_whatever_the_neighbours(lexicon: Lexicon) -> None:
    states = monophones(lexicon)
    phones = {phone for said in lexicon.values() for pronunciation in said for phone in pronunciation} | {SILENCE}
    assert len(states) == 3 * len(phones) == len(set(states.ids.values()))
    assert set(states.ids) == {(*triphone, position) for triphone in triphones_of(lexicon) for position in range(3)}
    own: dict[tuple[str, int], set[int]] = {}
    for (_, phone, _, position), state in states.ids.items():
        assert states.phones[state] == phone
        own.setdefault((phone, position), set()).add(state)
    assert all(len(numbers) == 1 for numbers in own.values())


def test_a_pronunciation_has_three_states_per_phone_in_context() -> None:
    states = untied(monophones(LEXICON))
    keys = {state: key for key, state in states.ids.items()}
    assert len(keys) == len(states.ids) == len(states)
    assert [keys[state] for state in states.of(("B", "IY"))] == [
        *((BOUNDARY, "B", "IY", position) for position in range(3)),
        *(("B", "IY", BOUNDARY, position) for position in range(3)),
    ]
    assert [keys[state] for state in states.silence] == [(BOUNDARY, SILENCE, BOUNDARY, n) for n in range(3)]
    assert [states.phones[state] for state in states.of(("B", "IY"))] == ["B"] * 3 + ["IY"] * 3
