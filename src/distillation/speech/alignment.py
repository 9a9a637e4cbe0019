"""Section 4: the one forced alignment whose states every acoustic model learns and is scored by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from distillation.core.models import mlp
from distillation.core.objectives import class_labels
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.speech.recogniser.corpus import PARTS, Corpus, Part, corpus
from distillation.speech.recogniser.filterbanks import BANKS, WIDTH, cepstra
from distillation.speech.recogniser.flat_start import Lexicon, Rounds, align_all, flat_start
from distillation.speech.recogniser.gmm import mixtures
from distillation.speech.recogniser.hmm import States
from distillation.speech.recogniser.scoring import Labels

MOST_STATES = torch.iinfo(torch.int16).max


@dataclass(frozen=True)
class Alignment(Configuration):
    """How the frames of a corpus get their labels.

    leaves: context-dependent states, at most.  rounds: of the Gaussian mixtures.  hidden, optimisation: of the nets
    that align again; folds: groups of training speakers, each aligned by a net trained on the others; network_rounds:
    how often.
    """

    experiment: ClassVar[str] = "alignment"

    dataset: str = "an4"
    leaves: int = 300
    rounds: Rounds = Rounds()
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    optimisation: Optimisation = Optimisation(epochs=5, batch_size=1024)
    folds: int = 4
    network_rounds: int = 2
    seed: int = 0
    threads: int = 2

    def run(self, store: Store) -> dict:
        """Align the whole corpus; return {"metrics": {...}, "history": [one row per round of the nets]}.

        The labels, int16 (frames,) per part, are written beside the record, whose "leaves" say which state each
        triphone has.  In the rounds of the nets each speaker, those of development and test too, is aligned by one that
        was not trained on that speaker: a net over-fits the labels it is trained on, and would confirm them.
        """
        if self.leaves > MOST_STATES:
            raise ValueError(f"Labels are stored as int16: ask for {MOST_STATES:,} leaves at most, not {self.leaves}.")
        speech = corpus(self.dataset)
        states, labels = by_mixtures(self, speech)
        found = Labels(states, labels)
        history = []
        rounds = range(self.network_rounds)
        for number in tqdm(rounds, desc="alignment with networks", unit="round", mininterval=1):
            again = Labels(states, by_networks(self, speech, found, number))
            changed = {name: 100 * (again.of[name] != found.of[name]).float().mean().item() for name in PARTS}
            history.append({"changed_percent": changed})
            found = again
        store.write_tensors(self, {name: labels.to(torch.int16) for name, labels in found.of.items()})
        silence = torch.isin(found.of["train"], torch.tensor(states.silence))
        metrics = {
            "states": len(states),
            "leaves": {" ".join(map(str, key)): state for key, state in states.ids.items()},
            "frames": {name: len(labels) for name, labels in found.of.items()},
            "test_utterances": [
                {"name": utterance.name, "speaker": utterance.speaker, "frames": frames, "words": len(utterance.words)}
                for utterance, frames in zip(speech["test"].utterances, speech["test"].features.lengths, strict=True)
            ],
            "silence_percent": 100 * silence.float().mean().item(),
            "phone_agreement_percent": None,  # which the published record has, too: no speech has exact labels
        }
        return {"metrics": metrics, "history": history}


def read(config: Alignment, store: Store) -> Labels:
    """The frozen alignment in a store.  Raises StoreError if it is not there, ValueError for labels of no state."""
    leaves = store.read(config)["metrics"]["leaves"]
    ids = {}
    for key, state in leaves.items():
        left, phone, right, position = key.split(" ")
        ids[left, phone, right, int(position)] = state
    phones = {state: key[1] for key, state in ids.items()}
    labels = {
        name: class_labels(labels, len(phones), name=f"{name} labels", of="states")
        for name, labels in store.tensors(config).items()
    }
    return Labels(States(ids, tuple(phones[state] for state in range(len(phones)))), labels)


def by_mixtures(config: Alignment, speech: Corpus) -> tuple[States, dict[str, Tensor]]:
    """Context-dependent states, and labels by Gaussian mixtures that saw the training part alone."""
    part = speech["train"]
    states, labels = flat_start(
        part.utterances, part.features, speech.lexicon, leaves=config.leaves, rounds=config.rounds
    )
    model = mixtures(cepstra(part.features), labels, len(states), config.rounds.triphones[-1][0])
    found = {"train": labels}
    for name in PARTS[1:]:
        frames = cepstra(speech[name].features)
        found[name] = _align(speech[name], model.scores(frames), speech.lexicon, states)
    return states, found


def by_networks(config: Alignment, speech: Corpus, labels: Labels, number: int) -> dict[str, Tensor]:
    """Labels of every part by one net per fold of the speakers; none aligns a speaker that it was trained on."""
    found = {name: torch.empty_like(labels.of[name]) for name in PARTS}
    log_priors = labels.log_priors()
    for fold in range(config.folds):
        others, rows = speech["train"].choose(fold_of(speech["train"], config.folds, fold, inside=False))
        torch.manual_seed(1000 * config.seed + config.folds * number + fold)
        net = mlp((WIDTH * BANKS, *config.hidden, len(labels.states)))
        train(net, others.windows, cross_entropy(labels.of["train"][rows]), config.optimisation)
        for name in PARTS:
            inside = fold_of(speech[name], config.folds, fold, inside=True)
            if not inside:  # fewer speakers than folds
                continue
            part, rows = speech[name].choose(inside)
            scores = log_posteriors(net, part) - log_priors
            found[name][rows] = _align(part, scores, speech.lexicon, labels.states)
    return found


def fold_of(part: Part, folds: int, fold: int, *, inside: bool) -> list[int]:
    """The utterances of the speakers in a fold, or of all the others; speakers are dealt out in turn."""
    speakers = list(dict.fromkeys(utterance.speaker for utterance in part.utterances))
    dealt = set(speakers[fold::folds])
    return [number for number, utterance in enumerate(part.utterances) if (utterance.speaker in dealt) == inside]


def cross_entropy(labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of hard targets, over (logits, batch index).  Raises ValueError for labels that are no integers."""
    targets = class_labels(labels).to(device())
    return lambda logits, index: F.cross_entropy(logits, targets[index])


def log_posteriors(net: nn.Module, part: Part) -> Tensor:
    """The net's log-probabilities of the states, (frames, states) float32."""
    return logits_of(net, part.windows, precision="bf16").log_softmax(-1)


def _align(part: Part, scores: Tensor, lexicon: Lexicon, states: States) -> Tensor:
    return align_all(lambda rows: scores[rows], part.utterances, part.features.lengths, lexicon, states)
