"""How systems are scored: with weights of the decoder that are chosen on development, and a test set decoded once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_speech import few_speakers
from torch import Tensor

from distillation.speech.recogniser import decoding
from distillation.speech.recogniser.corpus import PARTS, Corpus
from distillation.speech.recogniser.flat_start import equal_parts
from distillation.speech.recogniser.hmm import States, monophones
from distillation.speech.recogniser.scoring import GRID, Labels, frame_accuracy, score, word_loop_of


def test_priors_are_the_shares_of_the_training_frames() -> None:
    of = {
        "train": torch.tensor([0, 0, 2, 2, 2, 2, 2, 2]),
        "development": torch.tensor([1, 1]),
        "test": torch.tensor([]),
    }
    found = Labels(States({}, ("A", "B", "C")), of).log_priors().exp()
    torch.testing.assert_close(found, torch.tensor([2, 1, 6]) / 8)  # as if the one never seen were seen once


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return few_speakers(4, 2, 2)


@pytest.fixture(scope="module")
def labels(corpus: Corpus) -> Labels:
    states = monophones(corpus.lexicon)
    parts = {name: (corpus[name].utterances, corpus[name].features.lengths) for name in PARTS}
    return Labels(states, {name: equal_parts(*part, corpus.lexicon, states) for name, part in parts.items()})


@pytest.fixture
def heard(labels: Labels) -> dict[str, Tensor]:
    """Log-posteriors that lean to the labels, through much noise."""
    hot = torch.nn.functional.one_hot
    leaning = {name: hot(labels.of[name], len(labels.states)).float() for name in ("development", "test")}
    return {name: (3 * each + 1.5 * torch.randn(each.shape)).log_softmax(-1) for name, each in leaning.items()}


def test_the_test_set_is_decoded_once_with_the_weights_best_on_development(
    corpus: Corpus, labels: Labels, heard: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out, loop = corpus["development"], word_loop_of(corpus, labels)
    priors = labels.log_priors().numpy()
    references = [utterance.words for utterance in held_out.utterances]
    rates = []
    for weights in GRID:
        found = [decoding.decode(heard["development"][r].numpy(), priors, loop, weights)[0] for r in held_out.slices()]
        rates.append(decoding.word_error_rate(decoding.word_errors(references, found)))
    assert len(set(rates)) > 2
    best = GRID[rates.index(min(rates))]

    really, calls = decoding.decode, []

    def spy(posteriors, log_priors, word_loop, weights):
        memory = heard["test"].numpy()
        calls.append(("test" if np.shares_memory(posteriors, memory) else "development", weights))
        return really(posteriors, log_priors, word_loop, weights)

    monkeypatch.setattr(decoding, "decode", spy)
    found = score(heard, corpus, labels)
    assert [weights for name, weights in calls if name == "test"] == [best] * len(corpus["test"].utterances)
    assert len(calls) == len(GRID) * len(references) + len(corpus["test"].utterances)
    assert found["decoder"] == vars(best)
    assert found["development_wer"] == min(rates)
    for name, part in {"frame_accuracy": "test", "development_frame_accuracy": "development"}.items():
        assert found[name] == pytest.approx(frame_accuracy(heard[part], labels.of[part]))


def test_words_are_not_scored_where_each_sentence_is_said_once(
    corpus: Corpus, labels: Labels, heard: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = score(heard, corpus, labels)
    monkeypatch.setattr(decoding, "decode", None)
    frames = score(heard, replace(corpus, name="speechocean762"), labels)
    assert set(both) > set(frames) == {"frame_accuracy", "development_frame_accuracy", "correct_frames"}
    assert {name: both[name] for name in frames} == frames
