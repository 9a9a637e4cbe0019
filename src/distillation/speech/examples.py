"""The few test utterances that notebook 03 shows and plays, with what three systems make of them; and their weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distillation.core import examples as example_files
from distillation.core.store import write_safetensors
from distillation.speech import nets as speech
from distillation.speech import plan as speech_plans
from distillation.speech.alignment import log_posteriors
from distillation.speech.plan import SpeechProfile
from distillation.speech.recogniser.corpus import Part, corpus
from distillation.speech.recogniser.filterbanks import SHIFT_MS
from distillation.speech.recogniser.hmm import SILENCE

NUMBER = 3
SECONDS = (2.0, 3.5)  # how long an example may be
SYSTEMS = ("baseline", "ensemble", "distilled")
WEIGHTS = {"acoustic_baseline": "baseline", "acoustic_distilled": "distilled", "acoustic_small": "small, distilled"}


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

    @staticmethod
    def path(profile: SpeechProfile) -> Path:
        """results/<profile>/examples/speech.safetensors."""
        return profile.results / "examples" / "speech.safetensors"

    @classmethod
    def load(cls, profile: SpeechProfile) -> "SpeechExamples":
        """The profile's examples.  Raises StoreError as `example_files.load` does."""
        tensors, text = example_files.load(cls.path(profile), sources(profile))
        described = json.loads(text)
        utterances = tuple(
            Example(
                **text,
                samples=tensors[f"samples.{number}"].numpy(),
                features=tensors[f"features.{number}"],
                labels=tensors[f"labels.{number}"].long(),
                posteriors={system: tensors[f"posteriors.{system}.{number}"] for system in SYSTEMS},
            )
            for number, text in enumerate(described["utterances"])
        )
        confusions = {system: tensors[f"confusions.{system}"] for system in SYSTEMS}
        return cls(utterances, tuple(described["phones"]), tensors["phone_of"], confusions)


def sources(profile: SpeechProfile) -> list[Path]:
    """The records of the alignment and of the nets that the examples hold the outputs of."""
    store, runs = profile.store("speech"), speech_plans.section4(profile)
    nets = [member for system in SYSTEMS for member in members_of(runs[system][0])]
    return [profile.store("alignment").path(profile.alignment), *map(store.path, nets)]


def are_current(profile: SpeechProfile) -> bool:
    """Whether the profile's examples are there and from its nets."""
    return example_files.is_current(SpeechExamples.path(profile), sources(profile))


def make(profile: SpeechProfile) -> None:
    """Collect and save the examples, from the trained nets on this disk."""
    store, runs = profile.store("speech"), speech_plans.section4(profile)
    part = corpus(profile.dataset)["test"]
    labels = speech.labels_of(profile.alignment, store)
    phones = [*sorted(set(labels.states.phones) - {SILENCE}), SILENCE]
    phone_of = torch.tensor([phones.index(phone) for phone in labels.states.phones])
    tensors: dict[str, Tensor] = {"phone_of": phone_of}
    chosen = choose(part)
    for system in SYSTEMS:
        probabilities = posteriors(runs[system], part, len(labels.states), profile)
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
    example_files.save(SpeechExamples.path(profile), tensors, sources(profile), json.dumps(described))


def choose(part: Part) -> list[int]:
    """The first utterance of each of the first speakers that is neither short nor long; else the first of all."""
    low, high = (1000 * seconds / SHIFT_MS for seconds in SECONDS)
    found: dict[str, int] = {}
    for number, (utterance, frames) in enumerate(zip(part.utterances, part.features.lengths, strict=True)):
        if low <= frames <= high:
            found.setdefault(utterance.speaker, number)
    return list(found.values())[:NUMBER] or [0]


def members_of(config: speech.Config) -> tuple[speech.Config, ...]:
    """The nets of a system: an ensemble's members, or itself."""
    return config.members if isinstance(config, speech.Ensemble) else (config,)


def posteriors(configs: list[speech.Config], part: Part, states: int, profile: SpeechProfile) -> Tensor:
    """The first system's probabilities of the states, (frames, states)."""
    store, config = profile.store("speech"), configs[0]
    members = members_of(config)
    each = torch.stack([log_posteriors(speech.restore(member, store, states), part) for member in members])
    return (speech.average(each, config.mean) if isinstance(config, speech.Ensemble) else each[0]).exp()


def publish_weights(profile: SpeechProfile) -> None:
    """Write the weights of the first baseline, distilled and small distilled net, in half precision, under models/."""
    store, runs = profile.store("speech"), speech_plans.section4(profile)
    folder = profile.results / "models"
    for name, key in WEIGHTS.items():
        weights = {name: value.half() for name, value in store.tensors(runs[key][0]).items()}
        write_safetensors(weights, folder / f"{name}.safetensors", {"record": store.path(runs[key][0]).name})
