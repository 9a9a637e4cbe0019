"""Little speech for tests: a few speakers of the embedded one, and made-up features whose exact labels are known."""

from dataclasses import replace
from itertools import product
from types import MappingProxyType

import numpy as np
import torch

from distillation.speech.data import Utterance
from distillation.speech.data.embedded import load_embedded
from distillation.speech.recogniser.corpus import PARTS, Corpus, Part, from_speech
from distillation.speech.recogniser.filterbanks import BANKS, Features, windows_of
from distillation.speech.recogniser.hmm import SILENCE, STATES_PER_PHONE, States

LEXICON = {
    "A": (("EY",), ("AH",)),
    "BEE": (("B", "IY"),),
    "EYES": (("AY", "Z"),),
    "KEY": (("K", "IY"),),
    "MAY": (("M", "EY"),),
    "SEEM": (("S", "IY", "M"),),
    "SKY": (("S", "K", "AY"),),
    "SUM": (("S", "AH", "M"),),
}


def few_speakers(train: int, development: int, test: int) -> Corpus:
    """The first speakers of each part of the embedded speech, with four utterances each."""
    speech = load_embedded()
    chosen = {}
    for name, number in zip(PARTS, (train, development, test), strict=True):
        speakers = list(dict.fromkeys(utterance.speaker for utterance in getattr(speech, name)))[:number]
        chosen[name] = tuple(utterance for utterance in getattr(speech, name) if utterance.speaker in speakers)
    return from_speech(replace(speech, **chosen))


def made_up(speakers: tuple[int, int, int], sentences: int) -> tuple[Corpus, dict[str, list[str]]]:
    """Sentences of 2 to 5 words of LEXICON, and for each part the phone that is heard in each frame.

    A third of a phone lasts 2 to 8 frames, which are a Gaussian blob of its own, nearest to the others of its phone.
    """
    random = np.random.default_rng(0)
    phones = sorted({phone for spoken in LEXICON.values() for way in spoken for phone in way} | {SILENCE})
    smooth = np.cos(np.pi / BANKS * np.outer(np.arange(13), np.arange(BANKS) + 0.5))  # the mixtures see no more
    blobs = {phone: (random.normal(size=13) + random.normal(size=(STATES_PER_PHONE, 13))) @ smooth for phone in phones}
    parts, exact = {}, {}
    for name, number in zip(PARTS, speakers, strict=True):
        utterances, lengths, frames, exact[name] = [], [], [], []
        for speaker, sentence in product(range(number), range(sentences)):
            words = tuple(random.choice(list(LEXICON), random.integers(2, 6)).tolist())
            spoken = [SILENCE]
            for word in words:
                spoken += [*random.choice(np.array(LEXICON[word])).tolist(), *[SILENCE] * random.integers(2)]
            if spoken[-1] != SILENCE:
                spoken.append(SILENCE)
            durations = random.integers(2, 9, (len(spoken), STATES_PER_PHONE))
            means = np.concatenate([blobs[phone] for phone in spoken]).repeat(durations.ravel(), axis=0)
            frames.append(means + random.normal(size=means.shape))
            exact[name] += np.repeat(spoken, durations.sum(1)).tolist()
            lengths.append(len(means))
            speaker_name = f"{name}{speaker}"
            utterances.append(Utterance(f"{speaker_name}-{sentence}", speaker_name, np.zeros(0, np.int16), words))
        together = np.concatenate(frames)
        together /= together.std()
        features = Features(torch.tensor(together, dtype=torch.float32), tuple(lengths))
        parts[name] = Part(tuple(utterances), features, windows_of(features))
    return Corpus("made up", MappingProxyType(parts), LEXICON), exact


def share_exact(states: States, labels: torch.Tensor, exact: list[str]) -> float:
    """The share of frames whose label is a state of the exact phone."""
    return float(np.mean(np.array(states.phones)[labels.numpy()] == np.array(exact)))
