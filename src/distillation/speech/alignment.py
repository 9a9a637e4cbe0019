"""Section 4: the one forced alignment whose states every acoustic model learns and is scored by."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from distillation.core.models import mlp
from distillation.core.objectives import class_labels
from distillation.core.store import Configuration, Store, load_tensors, save_tensors
from distillation.core.training import Diverged, Optimisation, device, logits_of, train
from distillation.speech.recogniser.corpus import PARTS, Corpus, Part, corpus
from distillation.speech.recogniser.filterbanks import BANKS, WIDTH, Windows, cepstra
from distillation.speech.recogniser.flat_start import Lexicon, Rounds, Scores, align_all, flat_start
from distillation.speech.recogniser.gmm import Mixtures, mixtures
from distillation.speech.recogniser.hmm import States
from distillation.speech.recogniser.scoring import Labels

MOST_STATES = torch.iinfo(torch.int16).max
HALVINGS = 3  # of a learning rate at which a net diverges


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
        speech, checkpoint = corpus(self.dataset), store.checkpoint(self)
        found, history, again, folds = _restore(checkpoint) or (Labels(*by_mixtures(self, speech)), [], {}, 0)
        states = found.states
        _save(checkpoint, found, history, again, folds)
        rounds = range(len(history), self.network_rounds)
        for number in tqdm(rounds, desc="alignment with networks", unit="round", mininterval=1):
            again = again or {name: torch.zeros_like(found.of[name]) for name in PARTS}
            for fold in range(folds, self.folds):
                by_network(self, speech, found, number, fold, again)
                _save(checkpoint, found, history, again, fold + 1)
            changed = {name: 100 * (again[name] != found.of[name]).float().mean().item() for name in PARTS}
            history.append({"changed_percent": changed})
            found, again, folds = Labels(states, again), {}, 0
            _save(checkpoint, found, history, again, folds)
        store.write_tensors(self, {name: labels.to(torch.int16) for name, labels in found.of.items()})
        checkpoint.unlink(missing_ok=True)
        silence = torch.isin(found.of["train"], torch.tensor(states.silence))
        metrics = {
            "states": len(states),
            "leaves": leaves_of(states),
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
    states = states_of(store.read(config)["metrics"]["leaves"])
    labels = {
        name: class_labels(labels, len(states), name=f"{name} labels", of="states")
        for name, labels in store.tensors(config).items()
    }
    return Labels(states, labels)


def leaves_of(states: States) -> dict[str, int]:
    """Which state each triphone has, as text that a record can hold."""
    return {" ".join(map(str, key)): state for key, state in states.ids.items()}


def states_of(leaves: dict[str, int]) -> States:
    """The states of `leaves_of`."""
    ids = {}
    for key, state in leaves.items():
        left, phone, right, position = key.split(" ")
        ids[left, phone, right, int(position)] = state
    phones = {state: key[1] for key, state in ids.items()}
    return States(ids, tuple(phones[state] for state in range(len(phones))))


def _save(path: Path, found: Labels, history: list[dict], again: dict[str, Tensor], folds: int) -> None:
    """Keep the labels of the last whole round, and those of the folds that the round under way has done."""
    tensors = {f"found.{name}": labels for name, labels in found.of.items()}
    tensors |= {f"again.{name}": labels for name, labels in again.items()}
    told = {"leaves": leaves_of(found.states), "history": history, "folds": folds}
    save_tensors(tensors, path, {name: json.dumps(value) for name, value in told.items()})


def _restore(path: Path) -> tuple[Labels, list[dict], dict[str, Tensor], int] | None:
    if not path.exists():
        return None
    try:
        tensors, texts = load_tensors(path, needs_digest=True)
    except SafetensorError:
        print(f"{path.name} is damaged; the alignment starts again.")
        return None
    told = {name: json.loads(text) for name, text in texts.items()}
    found = {name: tensors[f"found.{name}"] for name in PARTS}
    again = {name: tensors[f"again.{name}"] for name in PARTS if f"again.{name}" in tensors}
    return Labels(states_of(told["leaves"]), found), told["history"], again, told["folds"]


def by_mixtures(config: Alignment, speech: Corpus) -> tuple[States, dict[str, Tensor]]:
    """Context-dependent states, and labels by Gaussian mixtures that saw the training part alone."""
    part = speech["train"]
    states, labels = flat_start(
        part.utterances, part.features, speech.lexicon, leaves=config.leaves, rounds=config.rounds
    )
    model = mixtures(cepstra(part.features), labels, len(states), config.rounds.triphones[-1][0])
    found = {"train": labels}
    for name in PARTS[1:]:
        found[name] = _align(speech[name], _by(model, cepstra(speech[name].features)), speech.lexicon, states)
    return states, found


def by_network(
    config: Alignment, speech: Corpus, labels: Labels, number: int, fold: int, again: dict[str, Tensor]
) -> None:
    """Write the labels of a fold's speakers, of every part, into `again`: by a net trained on the other speakers."""
    others, rows = speech["train"].choose(fold_of(speech["train"], config.folds, fold, inside=False))
    net = trained(config, others, labels.of["train"][rows], len(labels.states), number, fold)
    log_priors = labels.log_priors()
    for name in PARTS:
        inside = fold_of(speech[name], config.folds, fold, inside=True)
        if inside:  # else there are fewer speakers than folds
            part, rows = speech[name].choose(inside)
            scores = _columns(log_posteriors(net, part) - log_priors)
            again[name][rows] = _align(part, scores, speech.lexicon, labels.states)


def trained(config: Alignment, part: Part, labels: Tensor, states: int, number: int, fold: int) -> nn.Module:
    """A fold's net; where it diverges, it starts again at half the learning rate, HALVINGS times at most."""
    for halving in range(HALVINGS + 1):
        torch.manual_seed(1000 * config.seed + config.folds * number + fold)
        net = mlp((WIDTH * BANKS, *config.hidden, states))
        rate = config.optimisation.learning_rate / 2**halving
        try:
            train(net, part.windows, cross_entropy(labels), replace(config.optimisation, learning_rate=rate))
            return net
        except Diverged as reason:
            if halving == HALVINGS:
                raise
            print(f"The net of fold {fold + 1} in round {number + 1} starts again at half the rate: {reason}")


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
    return log_posteriors_of(net, part.windows)


def log_posteriors_of(net: nn.Module, windows: Windows) -> Tensor:
    """Likewise, of the frames that the windows are of."""
    return logits_of(net, windows, precision="bf16").log_softmax(-1)


def _by(model: Mixtures, frames: Tensor) -> Scores:
    return lambda rows, wanted: model.of(wanted).scores(frames[rows])


def _columns(scores: Tensor) -> Scores:
    return lambda rows, wanted: scores[rows][:, wanted]


def _align(part: Part, scores: Scores, lexicon: Lexicon, states: States) -> Tensor:
    return align_all(scores, part.utterances, part.features.lengths, lexicon, states)
