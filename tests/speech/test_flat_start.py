"""From a flat start, phones are found where they are said."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from small_speech import made_up, share_exact
from torch import Tensor

from distillation.core.data import DataError
from distillation.speech.data import Utterance
from distillation.speech.recogniser import hmm
from distillation.speech.recogniser.corpus import Corpus
from distillation.speech.recogniser.flat_start import Rounds, align_all, equal_parts, flat_start
from distillation.speech.recogniser.hmm import States, monophones

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
def spoken() -> tuple[Corpus, list[str]]:
    """Made-up features, and the phones that are in those of the training part."""
    corpus, exact = made_up((10, 1, 1), 8)
    return corpus, exact["train"]


@pytest.fixture(scope="module")
def corpus(spoken: tuple[Corpus, list[str]]) -> Corpus:
    return spoken[0]


@pytest.fixture(scope="module")
def aligned(corpus: Corpus) -> tuple[States, Tensor]:
    return start(corpus)


def start(corpus: Corpus, rounds: Rounds = QUICK) -> tuple[States, Tensor]:
    part = corpus["train"]
    return flat_start(part.utterances, part.features, corpus.lexicon, leaves=60, rounds=rounds)


def silent(words: tuple[str, ...], *, name: str = "an1", speaker: str = "ann") -> Utterance:
    return Utterance(name, speaker, np.zeros(0, np.int16), words)


def test_flat_start_finds_the_exact_phones(spoken: tuple[Corpus, list[str]], aligned: tuple[States, Tensor]) -> None:
    corpus, exact = spoken
    part, flat = corpus["train"], monophones(corpus.lexicon)
    equal = equal_parts(part.utterances, part.features.lengths, corpus.lexicon, flat)
    assert share_exact(flat, equal, exact) < 0.7
    states, labels = aligned
    assert share_exact(states, labels, exact) > 0.98  # 0.99 when written
    assert share_exact(states, labels.roll(1), exact) < 0.95  # a frame too late


def test_alignments_improve_from_round_to_round(
    spoken: tuple[Corpus, list[str]], aligned: tuple[States, Tensor]
) -> None:
    corpus, exact = spoken
    once = start(corpus, Rounds(monophones=((1, 0),), triphones=((1, 0),)))
    assert share_exact(*aligned, exact) > share_exact(*once, exact) + 0.04  # 0.99 and 0.92 when written


def test_flat_start_is_deterministic(corpus: Corpus, aligned: tuple[States, Tensor]) -> None:
    states, labels = start(corpus)
    assert states == aligned[0]
    assert torch.equal(labels, aligned[1])


def test_flat_start_labels_every_frame_with_a_path_of_its_transcript(
    corpus: Corpus, aligned: tuple[States, Tensor]
) -> None:
    states, labels = aligned
    part = corpus["train"]
    assert len(states) <= 60
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
    found = align_all(lambda rows, wanted: scores[rows][:, wanted], utterances, lengths, LEXICON, states)
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
        align_all(
            lambda rows, wanted: torch.zeros(rows.stop - rows.start, len(wanted)),
            utterances,
            (10, frames),
            LEXICON,
            states,
        )


def test_align_all_refuses_damaged_scores_by_name() -> None:
    def scores(rows: slice, wanted: Tensor) -> Tensor:
        return torch.full((rows.stop - rows.start, len(wanted)), torch.nan if rows.start else 0.0)

    utterances = (silent(("A",)), silent(("A",), name="an9-bad"))
    with pytest.raises(DataError, match="an9-bad"):
        align_all(scores, utterances, (10, 10), LEXICON, monophones(LEXICON))
