"""A speech data set with its features, ready to be aligned, trained on and decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from distillation.speech.data import Speech, Utterance, an4, embedded, speechocean
from distillation.speech.recogniser.filterbanks import Features, Windows, features_of, windows_of

PARTS = ("train", "development", "test")


@dataclass(frozen=True)
class Part:
    """Utterances with their features and windows, frame by frame in the same order."""

    utterances: tuple[Utterance, ...]
    features: Features
    windows: Windows

    def slices(self) -> list[slice]:
        """The rows of each utterance's frames."""
        ends = torch.tensor(self.features.lengths).cumsum(0).tolist()
        return [slice(end - length, end) for end, length in zip(ends, self.features.lengths, strict=True)]

    def choose(self, numbers: Sequence[int]) -> tuple["Part", Tensor]:
        """The part that holds only these utterances, and the rows of its frames in this one, (frames,)."""
        if not numbers:
            raise ValueError("A part needs at least one utterance.")
        slices, frames = self.slices(), self.features.per_utterance()
        features = Features(
            torch.cat([frames[number] for number in numbers]),
            tuple(self.features.lengths[number] for number in numbers),
        )
        rows = torch.cat([torch.arange(slices[number].start, slices[number].stop) for number in numbers])
        return Part(tuple(self.utterances[number] for number in numbers), features, windows_of(features)), rows


@dataclass(frozen=True)
class Corpus:
    """The parts "train", "development" and "test" of a data set, and its lexicon."""

    name: str
    parts: MappingProxyType[str, Part]
    lexicon: dict[str, tuple[tuple[str, ...], ...]]

    def __getitem__(self, name: str) -> Part:
        return self.parts[name]


@lru_cache(maxsize=1)
def corpus(name: str) -> Corpus:
    """The data set "an4", "an4 (embedded)" or "speechocean762", read and its features computed once per process.

    Raises ValueError for another name.
    """
    if name == "an4":
        speech = an4.load_an4()
    elif name == "an4 (embedded)":
        speech = embedded.load_embedded()
    elif name == speechocean.NAME:
        speech = speechocean.load_speechocean()
    else:
        raise ValueError(f"Unknown speech data set {name!r}: use 'an4', 'an4 (embedded)' or {speechocean.NAME!r}.")
    return from_speech(speech)


def from_speech(speech: Speech) -> Corpus:
    """Compute the features of a data set."""
    parts = {}
    for name in PARTS:
        utterances = getattr(speech, name)
        features = features_of(utterances)
        parts[name] = Part(utterances, features, windows_of(features))
    return Corpus(speech.name, MappingProxyType(parts), speech.lexicon)
