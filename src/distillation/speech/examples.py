"""The few test utterances that notebooks show and play, with what three systems make of them; and headline weights."""

import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from distillation.core import examples
from distillation.core.store import Configuration
from distillation.speech import averages, nets
from distillation.speech.alignment import log_posteriors
from distillation.speech.data import speechocean
from distillation.speech.recogniser.corpus import Part, corpus
from distillation.speech.recogniser.filterbanks import SHIFT_MS
from distillation.speech.recogniser.hmm import SILENCE
from distillation.speech.results import SpeechResults

NAME, OF_SHARES = "speech", "shares"  # files: of notebook 03, and of notebook 05
NUMBER = 3
SECONDS = (2.0, 3.5)  # how long an example may be
SYSTEMS = {  # of each file; name: question, whose first net it is
    NAME: {"baseline": "baseline", "ensemble": "ensemble", "distilled": "distilled, more speech"},
    OF_SHARES: {"all, hard": "full", "3 %, hard": "hard", "3 %, soft": "soft"},
}
WEIGHTS = {
    "acoustic_baseline": "baseline",
    "acoustic_distilled": "distilled, more speech",
    "acoustic_small": "small, distilled",
}


@dataclass(frozen=True)
class Example:
    """One test utterance.

    samples: int16 at 16 kHz.  features: (frames, 40) float16.  labels: (frames,) states.  posteriors: of each system,
    (frames, phones) float16, summed over the states of a phone.
    """

    name: str
    speaker: str
    words: str
    samples: np.ndarray
    features: Tensor
    labels: Tensor
    posteriors: dict[str, Tensor]


@dataclass(frozen=True)
class SpeechExamples:
    """Examples, with the names of the phones, the phone of each state, and confusions between phones.

    confusions: of each system, (phones, phones) test frames by the phone of the alignment and that of the most probable
    state.
    """

    utterances: tuple[Example, ...]
    phones: tuple[str, ...]
    phone_of: Tensor
    confusions: dict[str, Tensor]

    @classmethod
    def load(cls, results: SpeechResults, file: str = NAME) -> "SpeechExamples":
        """A profile's examples.  Made first, or refused with a StoreError, as `core.examples.load` says."""
        tensors, text = examples.load(results, file, sources(results, file), lambda: collect(results, file))
        described = json.loads(text)
        utterances = tuple(
            Example(
                **text,
                samples=tensors[f"samples.{number}"].numpy(),
                features=tensors[f"features.{number}"],
                labels=tensors[f"labels.{number}"].long(),
                posteriors={system: tensors[f"posteriors.{system}.{number}"] for system in SYSTEMS[file]},
            )
            for number, text in enumerate(described["utterances"])
        )
        confusions = {system: tensors[f"confusions.{system}"] for system in SYSTEMS[file]}
        return cls(utterances, tuple(described["phones"]), tensors["phone_of"], confusions)


def sources(results: SpeechResults, file: str = NAME) -> list[Configuration]:
    """The alignment, and the nets that the examples hold the outputs of."""
    of = on_corpus(results, file)
    found = [member for question in SYSTEMS[file].values() for member in members_of(of.configs(question)[0])]
    return [of.profile.alignment, *found]


def on_corpus(results: SpeechResults, file: str) -> SpeechResults:
    """The results on the corpus that the examples are from: in notebook 03 that of words."""
    return results.of_words if file == NAME else results


def published_nets(results: SpeechResults) -> dict[str, Configuration]:
    """The nets whose weights are published, by the names of their files."""
    return {name: results.of_words.configs(question)[0] for name, question in WEIGHTS.items()}


def published_outputs(results: SpeechResults) -> list[Configuration]:
    """None: students of this wing are taught by ensembles."""
    return []


def collect(results: SpeechResults, file: str = NAME) -> examples.Cases:
    """The examples, from the trained nets on this disk."""
    results = on_corpus(results, file)
    alignment = results.profile.alignment
    part, labels = corpus(alignment.dataset)["test"], nets.labels_of(alignment, results.store)
    phones = [*sorted(set(labels.states.phones) - {SILENCE}), SILENCE]
    phone_of = torch.tensor([phones.index(phone) for phone in labels.states.phones])
    tensors: dict[str, Tensor] = {"phone_of": phone_of}
    chosen = choose(part)
    for system, question in SYSTEMS[file].items():
        probabilities = posteriors(results, question, part, len(labels.states))
        found = phone_of[probabilities.argmax(-1)]
        cells = phone_of[labels.of["test"]] * len(phones) + found
        tensors[f"confusions.{system}"] = torch.bincount(cells, minlength=len(phones) ** 2).reshape(2 * [len(phones)])
        by_phone = torch.zeros(len(probabilities), len(phones)).index_add_(1, phone_of, probabilities)
        for number, utterance in enumerate(chosen):
            tensors[f"posteriors.{system}.{number}"] = by_phone[part.slices()[utterance]].half()
    for number, utterance in enumerate(chosen):
        rows = part.slices()[utterance]
        tensors[f"samples.{number}"] = torch.from_numpy(np.array(part.utterances[utterance].samples, np.int16))
        tensors[f"features.{number}"] = part.features.frames[rows].half()
        tensors[f"labels.{number}"] = labels.of["test"][rows].to(torch.int16)
    described = {
        "phones": phones,
        "utterances": [
            {"name": each.name, "speaker": each.speaker, "words": " ".join(each.words)}
            for each in (part.utterances[number] for number in chosen)
        ],
    }
    return tensors, json.dumps(described)


def choose(part: Part) -> list[int]:
    """The first utterance of each of the first speakers that is neither short nor long; else the first of all.

    Children are not heard.
    """
    low, high = (1000 * seconds / SHIFT_MS for seconds in SECONDS)
    found: dict[str, int] = {}
    for number, (utterance, frames) in enumerate(zip(part.utterances, part.features.lengths, strict=True)):
        if low <= frames <= high and utterance.speaker not in speechocean.CHILDREN:
            found.setdefault(utterance.speaker, number)
    return list(found.values())[:NUMBER] or [0]


def members_of(config: nets.Config) -> tuple[nets.Config, ...]:
    """The nets of a system: an ensemble's members, or itself."""
    return config.members if isinstance(config, nets.Ensemble) else (config,)


def posteriors(results: SpeechResults, question: str, part: Part, states: int) -> Tensor:
    """The probabilities of the states that the first run of a question gives, (frames, states)."""
    config = results.configs(question)[0]
    each = torch.stack(
        [log_posteriors(nets.restore(member, results.store, states), part) for member in members_of(config)]
    )
    return (averages.average(each, config.mean) if isinstance(config, nets.Ensemble) else each[0]).exp()


SHOWN = {  # by what captions call them
    "examples": (NAME, sources, collect),
    "examples 05": (OF_SHARES, partial(sources, file=OF_SHARES), partial(collect, file=OF_SHARES)),
}
