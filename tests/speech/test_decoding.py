"""The language model is a distribution, the decoded words are the best of all, and errors are counted as by hand."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillation.speech.recogniser import hmm
from distillation.speech.recogniser.decoding import (
    Weights,
    WordLoop,
    bigram,
    decode,
    grid,
    word_error_rate,
    word_errors,
    word_loop,
)
from distillation.speech.recogniser.hmm import States, monophones, transcript_graph

Lexicon = dict[str, tuple[tuple[str, ...], ...]]
Words = tuple[str, ...]

VOCABULARY = ("P", "Q", "R")
pronunciations = st.lists(st.sampled_from("XY"), min_size=1, max_size=2).map(tuple)
variants = st.lists(pronunciations, min_size=1, max_size=2, unique=True).map(tuple)
lexicons = st.integers(2, 3).flatmap(lambda n: st.fixed_dictionaries(dict.fromkeys(VOCABULARY[:n], variants)))
texts = st.lists(st.lists(st.sampled_from("PQ"), max_size=4), max_size=5)
weightings = st.builds(Weights, st.floats(0, 6), st.floats(-6, 6), st.floats(0, 1.5))


@given(st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=5), max_size=6))
def test_bigram_of_each_history_sums_to_one_with_the_end(sentences: list[list[str]]) -> None:
    found = bigram(sentences, VOCABULARY)
    words, end = found.table(), found.log_end
    assert words.shape == (4, 3)
    assert end.shape == (4,)
    np.testing.assert_allclose(np.exp(words).sum(1) + np.exp(end), 1, rtol=1e-12)
    assert np.isfinite(words).all()
    assert np.isfinite(end).all()
    # What was seen is never less than its back-off, so that a search may take the better of both.
    assert (words >= found.log_back_off[:, None] + found.log_words - 1e-12).all()


def test_bigram_is_witten_bells_by_hand() -> None:
    # P follows the beginning twice and Q follows P once; P and Q end a sentence once each; R is never said.
    found = bigram([["P", "Q"], ["P"]], VOCABULARY)
    words, end = found.table(), found.log_end
    lower = np.array([2 + 3 / 4, 1 + 3 / 4, 3 / 4, 2 + 3 / 4]) / 8  # 5 words, the ends among them, of 3 kinds
    expected = {
        "P": (np.array([0, 1, 0, 1]) + 2 * lower) / 4,
        "Q": (np.array([0, 0, 0, 1]) + lower) / 2,
        "R": lower,
        "beginning": (np.array([2, 0, 0, 0]) + lower) / 3,
    }
    np.testing.assert_allclose(np.exp(np.column_stack([words, end])), np.array(list(expected.values())), rtol=1e-12)


def silence_alone(scores: np.ndarray, states: States) -> float:
    first, second, third = (scores[:, state] for state in states.silence)
    cuts = itertools.combinations(range(1, len(scores)), 2)
    return max((first[:a].sum() + second[a:b].sum() + third[b:].sum() for a, b in cuts), default=-math.inf)


def acoustic(scores: np.ndarray, words: Words, lexicon: Lexicon, states: States) -> float:
    if not words:
        return silence_alone(scores, states)
    graph = transcript_graph(words, lexicon, states)
    return hmm.viterbi(scores, graph.emissions, graph.offsets, graph.sources, graph.starts, graph.ends)[1]


def everything_said(lexicon: Lexicon, frames: int) -> Iterator[Words]:
    """All word sequences that fit the frames, and none."""
    return itertools.chain.from_iterable(
        itertools.product(sorted(lexicon), repeat=number) for number in range(frames // 3 + 1)
    )


def by_hand(
    scores: np.ndarray, lexicon: Lexicon, states: States, sentences: list[list[str]], weights: Weights
) -> dict[Words, float]:
    """The score of every word sequence, each aligned on its own."""
    vocabulary = sorted(lexicon)
    model = bigram(sentences, vocabulary)
    log_words, log_end = model.table(), model.log_end
    index = {word: number for number, word in enumerate(vocabulary)}
    found = {}
    for words in everything_said(lexicon, len(scores)):
        histories = [len(vocabulary), *(index[word] for word in words)]
        language = sum(log_words[h, index[word]] for h, word in zip(histories[:-1], words, strict=True))
        language += log_end[histories[-1]]
        heard = acoustic(scores, words, lexicon, states)
        found[words] = heard + weights.language_model * language + weights.insertion * len(words)
    return found


def random_case(seed: int, frames: int, states: States) -> tuple[np.ndarray, np.ndarray]:
    """Log posteriors and log priors."""
    random = np.random.default_rng(seed)
    posteriors = 3 * random.standard_normal((frames, len(states)))
    priors = np.log(random.dirichlet(np.full(len(states), 2)))
    posteriors -= np.log(np.exp(posteriors).sum(1, keepdims=True))
    return posteriors.astype(np.float32), priors


@given(lexicons, texts, st.integers(3, 12), weightings, st.integers(0, 999))
def test_decoding_finds_the_best_of_all_word_sequences(
    lexicon: Lexicon, sentences: list[list[str]], frames: int, weights: Weights, seed: int
) -> None:
    states = monophones(lexicon)
    posteriors, priors = random_case(seed, frames, states)
    every = by_hand(posteriors - weights.prior_scale * priors, lexicon, states, sentences, weights)
    best, second = sorted(every.values(), reverse=True)[:2]
    words, score = decode(posteriors, priors, word_loop(lexicon, states, sentences), weights)
    assert score == pytest.approx(best, abs=1e-3)
    assert every[words] == pytest.approx(best, abs=1e-3)
    if best - second > 1e-2:
        assert words == max(every, key=every.get)


def spell(chain: list[int], states: States) -> np.ndarray:
    posteriors = np.full((2 * len(chain), len(states)), -4, np.float32)
    posteriors[np.arange(2 * len(chain)), np.repeat(chain, 2)] = 0
    return posteriors


@pytest.mark.parametrize("said", [("P",), ("Q", "Q"), ("P", "Q", "R", "P", "P", "R"), ()])
@pytest.mark.parametrize("pause", [0, 1])
def test_what_is_heard_clearly_is_decoded_with_and_without_pauses(said: Words, pause: int) -> None:
    lexicon = {"P": (("X",), ("X", "Y")), "Q": (("Z", "Y"),), "R": (("Y", "Z"),)}
    states = monophones(lexicon)
    chain = [*states.silence]
    for number, word in enumerate(said):
        chain += [*states.of(lexicon[word][number % len(lexicon[word])]), *(pause * states.silence)]
    loop = word_loop(lexicon, states, [["P", "Q"]])
    words, score = decode(spell(chain, states), np.zeros(len(states)), loop, Weights(0, 0, 1))
    assert words == said
    assert score == pytest.approx(0, abs=1e-4)


def fixed() -> tuple[States, WordLoop, np.ndarray, np.ndarray]:
    lexicon = {"P": (("X",),), "Q": (("Y",),)}
    states = monophones(lexicon)
    posteriors, priors = random_case(0, 30, states)
    return states, word_loop(lexicon, states, [["P", "P"], ["Q"]]), posteriors, priors


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0])
def test_prior_scale_takes_so_much_of_the_log_priors_off(scale: float) -> None:
    _, loop, posteriors, priors = fixed()
    found = decode(posteriors, priors, loop, Weights(2, -1, scale))
    expected = decode(posteriors - np.float32(scale) * priors.astype(np.float32), 0 * priors, loop, Weights(2, -1, 1))
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=1e-3)


def test_insertion_weight_is_paid_once_per_word() -> None:
    _, loop, posteriors, priors = fixed()
    numbers = []
    for insertion in (-200.0, -2.0, 0.0, 2.0, 200.0):
        words, score = decode(posteriors, priors, loop, Weights(1, insertion, 1))
        slightly = decode(posteriors, priors, loop, Weights(1, insertion + 0.01, 1))
        assert slightly[1] - score == pytest.approx(0.01 * len(words), abs=2e-3)
        numbers.append(len(words))
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert numbers[-1] == 10


def test_grid_has_all_combinations() -> None:
    found = grid([1.0, 2.0], [0.0, -1.0], [0.5, 1.0, 1.5])
    assert len(found) == len(set(found)) == 12
    assert Weights(language_model=2.0, insertion=-1.0, prior_scale=0.5) in found


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("GO FIVE NINE", "GO FIVE NINE", (3, 0, 0, 0)),
        ("GO FIVE NINE", "GO NINE NINE", (3, 1, 0, 0)),
        ("GO FIVE NINE", "GO NINE", (3, 0, 1, 0)),
        ("GO FIVE NINE", "GO FIVE FIVE NINE", (3, 0, 0, 1)),
        ("GO FIVE NINE", "", (3, 0, 3, 0)),
        ("A B C D", "X B C D E", (4, 1, 0, 1)),
        ("A", "B C", (1, 1, 0, 1)),
    ],
)
def test_word_errors_are_counted_by_kind(reference: str, hypothesis: str, expected: tuple[int, ...]) -> None:
    table = word_errors([reference.split()], [hypothesis.split()])
    kinds = ("words", "substitutions", "deletions", "insertions")
    assert table.to_dict("records") == [
        dict(zip(kinds, expected, strict=True)) | {"errors": sum(expected[1:])},
    ]


def test_word_error_rate_pools_the_utterances() -> None:
    table = word_errors([["A"], ["A", "B", "C"], ["A"]], [["B"], ["A", "B", "C"], ["A"]])
    assert table["errors"].tolist() == [1, 0, 0]
    assert word_error_rate(table) == pytest.approx(100 / 5)
    assert word_error_rate(word_errors([["A"]], [["B", "C", "D"]])) == pytest.approx(300)
    assert math.isnan(word_error_rate(pd.DataFrame({"words": [], "errors": []})))


def test_hypotheses_must_be_as_many_as_references() -> None:
    with pytest.raises(ValueError, match="zip"):
        word_errors([["A"], ["B"]], [["A"]])
