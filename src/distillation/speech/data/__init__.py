"""The transcribed speech data sets, and the shape that they share."""

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000  # of every speech data set, in Hz


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    samples: (samples,) int16 at 16 kHz.  words: the transcript in capitals, without sentence marks.  phones: where they
    are known exactly (synthetic speech), (phone, first sample, end sample) in order, silence included; else empty.
    """

    name: str
    speaker: str
    samples: np.ndarray
    words: tuple[str, ...]
    phones: tuple[tuple[str, int, int], ...] = ()


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
