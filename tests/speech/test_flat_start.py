"""From a flat start, phones are found where they are said."""

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from distillation.core.data import DataError
from distillation.speech.alignment import exact_phones
from distillation.speech.data import Utterance
from distillation.speech.data.synthetic_speech import load_synthetic_speech
from distillation.speech.recogniser import hmm
from distillation.speech.recogniser.corpus import Corpus, Part, from_speech
from distillation.speech.recogniser.flat_start import Rounds, align_all, equal_parts, flat_start
from distillation.speech.recogniser.hmm import States, monophones

spoken = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeak-ng is not here: pip install espeakng-loader"
)
LEXICON = {"A": (("EY",), ("AH",)), "BEE": (("B", "IY"),)}
QUICK = Rounds(monophones=((1, 4), (2, 1)), triphones=((1, 1),))


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread() -> Iterator[None]:
    """As the products are small, threads would mostly wait for each other, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return from_speech(load_synthetic_speech((10, 2, 2), 8))


@pytest.fixture(scope="module")
def aligned(corpus: Corpus) -> tuple[States, Tensor]:
    return start(corpus)


def start(corpus: Corpus, rounds: Rounds = QUICK) -> tuple[States, Tensor]:
    part = corpus["train"]
    return flat_start(part.utterances, part.features, corpus.lexicon, leaves=150, rounds=rounds)


def agreement(part: Part, states: States, labels: Tensor) -> float:
    phones = np.array(states.phones)[labels.numpy()]
    return float(np.mean(phones == np.array(exact_phones(part))))


def silent(words: tuple[str, ...], *, name: str = "an1", speaker: str = "ann") -> Utterance:
    return Utterance(name, speaker, np.zeros(0, np.int16), words)


@spoken
def test_flat_start_finds_the_phones_far_better_than_equal_parts(
    corpus: Corpus, aligned: tuple[States, Tensor]
) -> None:
    part = corpus["train"]
    flat = monophones(corpus.lexicon)
    before = agreement(part, flat, equal_parts(part.utterances, part.features.lengths, corpus.lexicon, flat))
    assert 0.3 < before < 0.5  # 0.43 when written, and 0.71 after
    assert agreement(part, *aligned) > max(0.62, before + 0.15)


@spoken
def test_alignments_improve_from_round_to_round(corpus: Corpus, aligned: tuple[States, Tensor]) -> None:
    once = start(corpus, Rounds(monophones=((1, 0),), triphones=((1, 0),)))
    assert agreement(corpus["train"], *aligned) > agreement(corpus["train"], *once) + 0.04  # 0.71 and 0.62 when written


@spoken
def test_flat_start_is_deterministic(corpus: Corpus, aligned: tuple[States, Tensor]) -> None:
    states, labels = start(corpus)
    assert states == aligned[0]
    assert torch.equal(labels, aligned[1])


@spoken
def test_flat_start_labels_every_frame_with_a_path_of_its_transcript(
    corpus: Corpus, aligned: tuple[States, Tensor]
) -> None:
    states, labels = aligned
    part = corpus["train"]
    assert len(states) <= 150
    assert len(states) > 3 * len(set(states.phones))  # some contexts have states of their own
    assert len(labels) == sum(part.features.lengths)
    for utterance, rows in zip(part.utterances, part.slices(), strict=True):
        graph = hmm.transcript_graph(utterance.words, corpus.lexicon, states)
        scores = np.full((rows.stop - rows.start, len(states)), -1, np.float32)
        scores[np.arange(len(scores)), labels[rows]] = 0
        found = hmm.viterbi(scores, graph.emissions, graph.offsets, graph.sources, graph.starts, graph.ends)
        assert found[1] == 0  # a legal path with these very labels


def test_equal_parts_give_each_state_of_the_transcript_as_many_frames() -> None:
    states = monophones(LEXICON)
    utterances = (silent(("A",)), silent(("BEE", "A")))
    labels = equal_parts(utterances, (23, 15), LEXICON, states)
    first = [*states.silence, *states.of(("EY",)), *states.silence]
    second = [*states.silence, *states.of(("B", "IY")), *states.of(("EY",)), *states.silence]
    assert len(labels) == 38
    assert labels[23:].tolist() == second
    changes = [0, *(n for n in range(1, 23) if labels[n] != labels[n - 1]), 23]
    assert labels[changes[:-1]].tolist() == first
    assert set(np.diff(changes)) == {2, 3}


def test_equal_parts_refuse_what_does_not_fit_by_name() -> None:
    states = monophones(LEXICON)
    with pytest.raises(DataError, match="an9-brief has 8 frames"):
        equal_parts((silent(("A",)), silent(("A",), name="an9-brief")), (9, 8), LEXICON, states)
    with pytest.raises(DataError, match=r"'SEA'.*an9-odd"):
        equal_parts((silent(("SEA",), name="an9-odd"),), (50,), LEXICON, states)
    with pytest.raises(DataError, match="an9-empty"):
        equal_parts((silent((), name="an9-empty"),), (50,), LEXICON, states)


def test_align_all_aligns_each_utterance_alone() -> None:
    states = monophones(LEXICON)
    utterances, lengths = (silent(("A",)), silent(("BEE",)), silent(("A", "A"))), (12, 20, 15)
    scores = torch.randn(47, len(states), generator=torch.Generator().manual_seed(0))
    found = align_all(lambda rows: scores[rows], utterances, lengths, LEXICON, states)
    expected, first = [], 0
    for utterance, length in zip(utterances, lengths, strict=True):
        graph = hmm.transcript_graph(utterance.words, LEXICON, states)
        expected += hmm.align(scores[first : first + length].numpy(), graph).tolist()
        first += length
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("words", "frames", "reason"),
    [(("A", "SEA"), 30, r"'SEA'.*an9-bad"), ((), 30, "an9-bad"), (("A", "BEE"), 8, "an9-bad has 8 frames")],
)
def test_align_all_refuses_what_does_not_fit_by_name(words: tuple[str, ...], frames: int, reason: str) -> None:
    utterances = (silent(("A",)), silent(words, name="an9-bad"))
    states = monophones(LEXICON)
    with pytest.raises(DataError, match=reason):
        align_all(lambda rows: torch.zeros(rows.stop - rows.start, 15), utterances, (10, frames), LEXICON, states)


def test_align_all_refuses_damaged_scores_by_name() -> None:
    def scores(rows: slice) -> Tensor:
        return torch.full((rows.stop - rows.start, 15), torch.nan if rows.start else 0.0)

    utterances = (silent(("A",)), silent(("A",), name="an9-bad"))
    with pytest.raises(DataError, match="an9-bad"):
        align_all(scores, utterances, (10, 10), LEXICON, monophones(LEXICON))
