"""Sections 4 and 6: acoustic models on hard targets, their ensembles, and students of either."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import resample

from distillation.core import objectives
from distillation.core.models import mlp
from distillation.core.store import Configuration, Store
from distillation.core.training import Diverged, Loss, Optimisation, device, logits_of, train
from distillation.speech import alignment
from distillation.speech.alignment import Alignment, cross_entropy, log_posteriors, log_posteriors_of
from distillation.speech.averages import averaged, check_mean, chunks, frames_right_in_a_ring, growing_means
from distillation.speech.data import SAMPLE_RATE
from distillation.speech.recogniser.corpus import Corpus, Part, corpus
from distillation.speech.recogniser.filterbanks import BANKS, WIDTH, Features, Windows, features_of, windows_of
from distillation.speech.recogniser.scoring import Labels, frame_accuracy, is_right, score


class Constant(Optimisation):
    """The same, but once the learning rate has risen it stays, as was usual when the paper was written."""

    def schedule(self, progress: float) -> tuple[float, float]:
        """Learning rate and momentum after a share of the steps."""
        return super().schedule(min(progress, 0.1))


@dataclass(frozen=True)
class AcousticModel(Configuration):
    """A net trained on the hard targets of the alignment.

    share: of the training utterances, drawn at random (`subset` says which draw).  resample: as many utterances, drawn
    with replacement by the seed.  evaluate_every: epochs between evaluations on the development split, which give the
    curves and the early-stopped model; 0 for neither.
    """

    experiment: ClassVar[str] = "speech"

    alignment: Alignment
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    hidden_dropout: float = 0.0
    share: float = 1.0
    subset: int = 0
    resample: bool = False
    optimisation: Optimisation = Optimisation(epochs=6)
    evaluate_every: int = 0
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """`train_and_score`."""
        return train_and_score(self, store)


@dataclass(frozen=True)
class Ensemble(Configuration):
    """The averaged posteriors of models that differ in their seed; mean: "arithmetic" or "geometric"."""

    experiment: ClassVar[str] = "speech"

    member: AcousticModel
    size: int = 10
    mean: str = "arithmetic"
    threads: int = 1

    @property
    def members(self) -> tuple[AcousticModel, ...]:
        """The models, with seeds from that of `member` on."""
        return tuple(replace(self.member, seed=self.member.seed + number) for number in range(self.size))

    @property
    def alignment(self) -> Alignment:
        """That of the members."""
        return self.member.alignment

    def starts_from(self, store: Store) -> list[Configuration]:
        """The members, and the alignment whose labels score them."""
        return [self.alignment, *self.members]

    def run(self, store: Store) -> dict:
        """Score the ensemble as `evaluate` does, and smaller ones of its members ("growth").

        The log-probabilities of the training frames are written beside the record.
        """
        check_mean(self.mean)
        speech, labels = corpus(self.alignment.dataset), labels_of(self.alignment, store)
        models = [restore(member, store, len(labels.states)) for member in self.members]
        right = frames_right_in_a_ring(models, speech["test"], labels.of["test"], self.mean)
        means = (growing_means(models, speech[name].windows, self.mean) for name in ("development", "test"))
        growth = []
        for size, log_means in enumerate(zip(*means, strict=True), 1):
            metrics = score(dict(zip(("development", "test"), log_means, strict=True)), speech, labels)
            for first in range(self.size if size < self.size else 1):
                row = {"members": size, "first": first} | ({"wer": metrics.get("wer")} if first == 0 else {})
                growth.append(row | {"frame_accuracy": 100 * (right[size, first] / len(labels.of["test"]))})
        metrics["growth"] = growth
        log_mean = averaged(models, speech["train"], self.mean)
        metrics["train_frame_accuracy"] = frame_accuracy(log_mean, labels.of["train"])
        store.write_tensors(self, {"log_probabilities": log_mean})
        return {"metrics": metrics, "history": []}


@dataclass(frozen=True)
class Transfer(Configuration):
    """An ensemble's outputs on a larger transfer set: the training utterances, and again at other speeds.

    What is played faster is shorter and higher; nobody aligned it, so its students have no hard targets.
    """

    experiment: ClassVar[str] = "speech"

    ensemble: Ensemble
    speeds: tuple[float, ...] = (0.9, 1.1)
    threads: int = 1

    @property
    def alignment(self) -> Alignment:
        """That of the members."""
        return self.ensemble.alignment

    def starts_from(self, store: Store) -> list[Configuration]:
        """The ensemble's members: it is not needed itself."""
        return self.ensemble.starts_from(store)

    def run(self, store: Store) -> dict:
        """Write the ensemble's log-probabilities of the transfer set beside the record."""
        labels = labels_of(self.alignment, store)
        part = at_speeds(self.alignment.dataset, self.speeds)
        models = [restore(member, store, len(labels.states)) for member in self.ensemble.members]
        store.write_tensors(self, {"log_probabilities": averaged(models, part, self.ensemble.mean)})
        return {"metrics": {"train_frames": len(part.windows)}, "history": []}


@dataclass(frozen=True)
class Stretched(Configuration):
    """The control of a larger transfer set: a model on hard targets of the same speech, which needs them.

    The labels of the training utterances are stretched as the speech is.
    """

    experiment: ClassVar[str] = "speech"

    model: AcousticModel
    speeds: tuple[float, ...] = (0.9, 1.1)
    threads: int = 1

    @property
    def alignment(self) -> Alignment:
        """That of the model."""
        return self.model.alignment

    def starts_from(self, store: Store) -> list[Configuration]:
        """The alignment: the model is not needed itself."""
        return [self.alignment]

    def run(self, store: Store) -> dict:
        """As `train_and_score`, on the larger set."""
        part, original = at_speeds(self.alignment.dataset, self.speeds), corpus(self.alignment.dataset)["train"]
        labels = labels_of(self.alignment, store).of["train"].split(original.features.lengths)
        longer = [
            stretched(each, length)
            for each, length in zip(labels * (1 + len(self.speeds)), part.features.lengths, strict=True)
        ]
        return fit_and_score(self, self.model, store, part.windows, cross_entropy(torch.cat(longer)))


@dataclass(frozen=True)
class Student(Configuration):
    """A net trained on a teacher's soft targets; hard_weight, temperature: of `objectives.distillation_loss`."""

    experiment: ClassVar[str] = "speech"

    teacher: AcousticModel | Ensemble | Transfer
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    temperature: float = 2.0
    hard_weight: float = 0.5
    share: float = 1.0
    subset: int = 0
    optimisation: Optimisation = Optimisation(epochs=30)
    evaluate_every: int = 0
    seed: int = 0
    threads: int = 1

    @property
    def alignment(self) -> Alignment:
        """That of the teacher."""
        return self.teacher.alignment

    def starts_from(self, store: Store) -> list[Configuration]:
        """The teacher, and the alignment that gives the hard targets."""
        return [self.alignment, self.teacher]

    def run(self, store: Store) -> dict:
        """`train_and_score`."""
        return train_and_score(self, store)


Config = AcousticModel | Ensemble | Transfer | Stretched | Student


def train_and_score(config: AcousticModel | Student, store: Store) -> dict:
    """Train and evaluate a model as `fit_and_score` does, on the utterances and targets of its configuration."""
    part, rows = training_part(config)
    loss = loss_of(config, labels_of(config.alignment, store).of["train"][rows], rows, store)
    teacher = getattr(config, "teacher", None)
    inputs = part.windows
    if isinstance(teacher, Transfer):
        if config.share != 1:
            raise ValueError("A larger transfer set repeats all training utterances: set share to 1.")
        inputs = at_speeds(config.alignment.dataset, teacher.speeds).windows
    return fit_and_score(config, config, store, inputs, loss)


def fit_and_score(
    config: Configuration, net: AcousticModel | Student, store: Store, inputs: Windows, loss: Loss
) -> dict:
    """Train a net on the inputs and evaluate it; return {"metrics": {...}, "history": [...]}.

    config: whose record and weights these are; the net's settings are `net`.  Metrics are those of `evaluate`, with
    train_frame_accuracy (on the original frames of its utterances), parameters, training frames and steps; and under
    "early_stopped" those of the epoch that was best on the development split.  Weights are written beside the record.
    A diverged run is a result too: `diverged` says where, and nothing is scored.
    """
    speech, labels = corpus(net.alignment.dataset), labels_of(net.alignment, store)
    part, rows = training_part(net)
    targets, training = labels.of["train"][rows], net.optimisation
    torch.manual_seed(net.seed)
    model = build(net, len(labels.states))
    watch = Watch(speech["development"], labels.of["development"], net)
    # An early-stopped model is in memory only, so such (short) runs are not continued.
    checkpoint = None if net.evaluate_every else store.checkpoint(config)
    watching = watch if net.evaluate_every else None
    try:
        history = train(model, inputs, loss, training, checkpoint=checkpoint, after_epoch=watching)
    except Diverged as reason:
        return {"metrics": {"diverged": str(reason)}, "history": []}
    metrics = evaluate(model, speech, labels) | {
        "train_frame_accuracy": train_frame_accuracy(model, part, targets),
        "train_frames": len(inputs),
        "steps": training.epochs * (len(inputs) // min(training.batch_size, len(inputs))),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    store.write_tensors(config, {name: value.cpu() for name, value in model.state_dict().items()})
    if net.evaluate_every:
        model.load_state_dict(watch.best)
        metrics["early_stopped"] = evaluate(model, speech, labels) | {
            "epoch": watch.best_epoch,
            "train_frame_accuracy": train_frame_accuracy(model, part, targets),
        }
    return {"metrics": metrics, "history": history}


def train_frame_accuracy(model: nn.Module, part: Part, labels: Tensor) -> float:
    """As `frame_accuracy`, of many frames: some at a time."""
    right = [is_right(log_posteriors_of(model, part.windows[rows]), labels[rows]).sum() for rows in chunks(len(labels))]
    return 100 * (torch.stack(right).sum() / len(labels)).item()


@lru_cache(maxsize=1)
def at_speeds(dataset: str, speeds: tuple[float, ...]) -> Part:
    """The training part, followed by itself at other speeds; each speaker is normalised anew at each speed.

    The features alone are those of other speeds: each utterance keeps its samples.
    """
    part = corpus(dataset)["train"]
    utterances, found = part.utterances, [part.features]
    for speed in speeds:
        played = tuple(replace(each, speaker=f"{each.speaker} at {speed:g}") for each in part.utterances)
        utterances += played
        found.append(features_of(played, partial(at_speed, speed=speed)))
    lengths = tuple(length for each in found for length in each.lengths)
    features = Features(torch.cat([each.frames for each in found]), lengths)
    return Part(utterances, features, windows_of(features))


def at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """The samples played so many times as fast, at the same sampling rate and level, as float32."""
    if not 0 < speed < np.inf:
        raise ValueError(f"Speech cannot be played {speed} times as fast: a speed is positive and finite.")
    waveform = torch.from_numpy(np.asarray(samples, np.float32))
    return resample(waveform, round(SAMPLE_RATE * speed), SAMPLE_RATE).numpy()


def stretched(labels: Tensor, length: int) -> Tensor:
    """The labels (frames,) of an utterance that now has so many frames: each takes that of the same moment."""
    return labels[(torch.arange(length) + 0.5).mul(len(labels) / length).long().clamp(max=len(labels) - 1)]


class Watch:
    """Called after each epoch: evaluates on the development split now and then, and keeps the best weights."""

    def __init__(self, development: Part, labels: Tensor, config: AcousticModel | Student):
        self.development, self.labels = development, labels
        self.every, self.last = config.evaluate_every, config.optimisation.epochs
        self.epoch, self.best_epoch, self.best_accuracy = 0, 0, -1.0
        self.best: dict[str, Tensor] = {}

    def __call__(self, model: nn.Module) -> dict:
        """The columns that this epoch adds to the history."""
        self.epoch += 1
        if self.epoch % self.every and self.epoch != self.last:
            return {}
        found = log_posteriors(model, self.development)
        accuracy = frame_accuracy(found, self.labels)
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best_epoch = accuracy, self.epoch
            self.best = copy.deepcopy(model.state_dict())
        cross_entropy = F.nll_loss(found, self.labels).item()
        return {"development_frame_accuracy": accuracy, "development_cross_entropy": cross_entropy}


def evaluate(model: nn.Module, speech: Corpus, labels: Labels) -> dict:
    """`score` of the model's posteriors."""
    return score({name: log_posteriors(model, speech[name]) for name in ("development", "test")}, speech, labels)


@lru_cache(maxsize=1)
def labels_of(config: Alignment, store: Store) -> Labels:
    """The frozen alignment."""
    return alignment.read(config, store)


def build(config: AcousticModel | Student, states: int) -> nn.Sequential:
    """The untrained net of a configuration."""
    sizes = (WIDTH * BANKS, *config.hidden, states)
    return mlp(sizes, hidden_dropout=getattr(config, "hidden_dropout", 0.0))


def restore(config: AcousticModel | Student, store: Store, states: int) -> nn.Sequential:
    """The trained net of a finished run."""
    model = build(config, states)
    model.load_state_dict(store.tensors(config))
    return model.to(device())


def training_part(config: AcousticModel | Student) -> tuple[Part, Tensor]:
    """The training utterances of a configuration, and the rows of their frames in the whole training part."""
    part = corpus(config.alignment.dataset)["train"]
    return part.choose(chosen_utterances(config, part))


def chosen_utterances(config: AcousticModel | Student, part: Part) -> list[int]:
    """The training utterances of a configuration, at least one."""
    everything = len(part.utterances)
    if getattr(config, "resample", False):
        return np.random.default_rng(config.seed).integers(everything, size=everything).tolist()
    number = max(1, round(config.share * everything))
    if number == everything:
        return list(range(everything))
    return sorted(np.random.default_rng(config.subset).permutation(everything)[:number].tolist())


def loss_of(
    config: AcousticModel | Student, targets: Tensor, rows: Tensor, store: Store
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, batch index); a teacher's soft targets are computed once, here.

    targets: (cases,) hard targets; rows: (cases,) of the training part's frames.
    """
    if isinstance(config, AcousticModel):
        return cross_entropy(targets)
    soft = soft_targets(config, rows, store).to(device())
    hard = None if isinstance(config.teacher, Transfer) else objectives.class_labels(targets).to(device())
    return lambda logits, index: objectives.distillation_loss(
        logits,
        soft[index].float(),
        None if hard is None else hard[index],
        temperature=config.temperature,
        hard_weight=config.hard_weight,
    )


def soft_targets(config: Student, rows: Tensor, store: Store) -> Tensor:
    """The teacher's softened distributions (len(rows), states), in half precision.

    An ensemble's averaged posteriors take the part of one net's: their logarithm is divided by the temperature.
    """
    teacher = config.teacher
    if isinstance(teacher, Transfer):
        logits = store.tensors(teacher)["log_probabilities"]
    elif isinstance(teacher, Ensemble):
        logits = store.tensors(teacher)["log_probabilities"][rows]
    else:
        speech, labels = corpus(teacher.alignment.dataset), labels_of(teacher.alignment, store)
        windows = speech["train"].windows[rows]
        logits = logits_of(restore(teacher, store, len(labels.states)), windows, precision="bf16")
    chunks = [objectives.soften(chunk, config.temperature, "teacher's outputs") for chunk in logits.split(4096)]
    return torch.cat([objectives.check_soft_targets(chunk).half() for chunk in chunks])
