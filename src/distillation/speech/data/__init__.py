"""The transcribed speech data sets, and the shape that they share."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distillation.core.data import DataError

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


def read_audio(utterance: str, content: bytes | None, kind: str) -> np.ndarray:
    """The (samples,) int16 at 16 kHz in an audio file of a kind, such as "SPHERE".

    Raises DataError, naming the utterance, for a missing (None) or damaged file and for other rates and channels.
    """
    import soundfile  # which a machine for training alone may lack

    if content is None:
        raise DataError(f"lacks the audio of utterance {utterance}")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate, channels, samples = file.samplerate, file.channels, file.read(dtype="int16")
    except soundfile.LibsndfileError as error:
        raise DataError(f"has no readable {kind} file of utterance {utterance} ({error.error_string})") from None
    if (rate, channels) != (SAMPLE_RATE, 1):
        raise DataError(f"has utterance {utterance} at {rate:,} Hz in {channels} channel(s), not 16,000 Hz in one")
    return samples


def digest_of(samples: np.ndarray) -> str:
    """SHA-256 of samples as 16-bit little-endian."""
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def differs(utterance: str) -> DataError:
    """What is said of samples other than the published ones."""
    return DataError(f"does not hold utterance {utterance} as published (the SHA-256 of its samples differs)")


def text_lines(files: dict[str, bytes], name: str, shown: str) -> list[str]:
    """The lines of a text that are not empty.  Raises DataError, naming it as shown, if it is missing or no text."""
    if name not in files:
        raise DataError(f"lacks {shown}")
    try:
        return [line.strip() for line in files[name].decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"has bytes in {shown} that are no text") from None
