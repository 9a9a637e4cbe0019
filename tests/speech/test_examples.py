"""Which utterances notebooks play."""

import numpy as np
import pytest
import torch

from distillation.speech import examples
from distillation.speech.data import Utterance, speechocean
from distillation.speech.recogniser.corpus import Part
from distillation.speech.recogniser.filterbanks import Features, windows_of


def part_of(speakers: str, lengths: tuple[int, ...]) -> Part:
    features = Features(torch.zeros(sum(lengths), 40), lengths)
    said = (Utterance(f"{n}", speaker, np.zeros(0, np.int16), ("A",)) for n, speaker in enumerate(speakers))
    return Part(tuple(said), features, windows_of(features))


def test_the_first_fitting_utterance_of_each_of_the_first_speakers_is_played() -> None:
    part = part_of("aabbcde", (100, 250, 300, 250, 400, 200, 350))
    assert examples.choose(part) == [1, 2, 5]
    assert examples.choose(part_of("abcde", (250,) * 5)) == [0, 1, 2]
    assert examples.choose(part_of("ab", (20, 900))) == [0]  # none fits


def test_children_are_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speechocean, "CHILDREN", frozenset("ac"))
    assert examples.choose(part_of("abcd", (250,) * 4)) == [1, 3]
