"""The transcribed speech data sets, and the shape that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000  # of every speech data set, in Hz


def check_not_text(parts: Sequence[str], name: str) -> None:
    """Raise ValueError for one text, whose letters would be taken for the parts."""
    if isinstance(parts, str):
        raise ValueError(f"The {name} are the text {parts!r}; pass them one by one, such as {tuple(parts.split())}.")


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    samples: (samples,) int16 at 16 kHz.  words: the transcript in capitals, without sentence marks.  Raises ValueError
    for words in one text.
    """

    name: str
    speaker: str
    samples: np.ndarray
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        check_not_text(self.words, f"words of utterance {self.name}")


@dataclass(frozen=True)
class Speech:
    """A transcribed speech data set held in memory; its three parts share no speaker.

    lexicon: each word's pronunciations, (word -> (phones, ...)); the silence phone "SIL" is in none of them.
    """

    name: str
    train: tuple[Utterance, ...]
    development: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    lexicon: dict[str, tuple[tuple[str, ...], ...]]
