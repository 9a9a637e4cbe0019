"""Sections 4 and 6: acoustic models on hard targets, their ensembles, and students of either."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import resample

from distillation.core import ensembles, objectives
from distillation.core.data import SAMPLE_RATE
from distillation.core.models import mlp
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.speech import alignment
from distillation.speech.alignment import Alignment, cross_entropy, log_posteriors
from distillation.speech.recogniser.corpus import Corpus, Part, corpus
from distillation.speech.recogniser.filterbanks import BANKS, WIDTH, Features, features_of, windows_of
from distillation.speech.recogniser.scoring import Labels, frame_accuracy, score

# Raise this number whenever the code would give other results: records of other recipes are never shown.
RECIPE = 1
REPORTED = (
    *("frame_accuracy", "wer", "development_frame_accuracy", "development_wer", "train_frame_accuracy"),
    *("parameters", "steps", "train_frames", "substitutions", "deletions", "insertions", "real_time_factor"),
)


@dataclass(frozen=True)
class AcousticModel:
    """A net trained on the hard targets of the alignment.

    share: of the training utterances, drawn at random (`subset` says which draw).  resample: as many utterances, drawn
    with replacement by the seed.  evaluate_every: epochs between evaluations on the development split, which give the
    curves and the early-stopped model; 0 for neither.
    """

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


@dataclass(frozen=True)
class Ensemble:
    """The averaged posteriors of models that differ in their seed; mean: "arithmetic" or "geometric"."""

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


@dataclass(frozen=True)
class Transfer:
    """An ensemble's outputs on a larger transfer set: the training utterances, and again at other speeds.

    What is played faster is shorter and higher; nobody aligned it, so its students have no hard targets.
    """

    ensemble: Ensemble
    speeds: tuple[float, ...] = (0.9, 1.1)
    threads: int = 1

    @property
    def alignment(self) -> Alignment:
        """That of the members."""
        return self.ensemble.alignment


@dataclass(frozen=True)
class Student:
    """A net trained on a teacher's soft targets; hard_weight, temperature: of `objectives.distillation_loss`."""

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


Config = AcousticModel | Ensemble | Transfer | Student


def run(config: Config, store: Store) -> dict:
    """Train and evaluate a model, or evaluate an ensemble; return {"metrics": {...}, "history": [...]}.

    Metrics are those of `evaluate`, with train_frame_accuracy (on the frames trained on), parameters, training frames
    and steps; and under "early_stopped" those of the epoch that was best on the development split.  Weights, or an
    ensemble's log-probabilities of the training frames, are written beside the record.
    """
    if isinstance(config, Ensemble):
        return _combine(config, store)
    return _transfer(config, store) if isinstance(config, Transfer) else _train(config, store)


def _train(config: AcousticModel | Student, store: Store) -> dict:
    speech, labels = corpus(config.alignment.dataset), labels_of(config.alignment, store)
    part, rows = speech["train"].choose(chosen_utterances(config, speech["train"]))
    targets = labels.of["train"][rows]
    loss = loss_of(config, targets, rows, store)
    teacher = getattr(config, "teacher", None)
    inputs = part.windows
    if isinstance(teacher, Transfer):
        if config.share != 1:
            raise ValueError("A larger transfer set repeats all training utterances: set share to 1.")
        inputs = at_speeds(config.alignment.dataset, teacher.speeds).windows
    torch.manual_seed(config.seed)
    model = build(config, len(labels.states))
    watch = Watch(speech["development"], labels.of["development"], config)
    # An early-stopped model is in memory only, so such (short) runs are not continued.
    checkpoint = None if config.evaluate_every else store.checkpoint(config)
    history = train(
        model,
        inputs,
        loss,
        config.optimisation,
        checkpoint=checkpoint,
        after_epoch=watch if config.evaluate_every else None,
    )
    metrics = evaluate(model, speech, labels) | {
        "train_frame_accuracy": frame_accuracy(log_posteriors(model, part), targets),
        "train_frames": len(inputs),
        "steps": config.optimisation.epochs * (len(inputs) // min(config.optimisation.batch_size, len(inputs))),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    store.write_tensors(config, {name: value.cpu() for name, value in model.state_dict().items()})
    if config.evaluate_every:
        model.load_state_dict(watch.best)
        metrics["early_stopped"] = evaluate(model, speech, labels) | {
            "epoch": watch.best_epoch,
            "train_frame_accuracy": frame_accuracy(log_posteriors(model, part), targets),
        }
    return {"metrics": metrics, "history": history}


def _combine(config: Ensemble, store: Store) -> dict:
    speech, labels = corpus(config.alignment.dataset), labels_of(config.alignment, store)
    models = [restore(member, store, len(labels.states)) for member in config.members]
    each = {
        name: torch.stack([log_posteriors(model, speech[name]) for model in models]) for name in ("development", "test")
    }
    metrics = score({name: average(found, config.mean) for name, found in each.items()}, speech, labels)
    growth = []
    for size in range(1, config.size + 1):
        # Neighbours in a ring: every member is in as many of the ensembles, and size - 1 leaves each out once.
        for first in range(config.size if size < config.size else 1):
            chosen = [(first + offset) % config.size for offset in range(size)]
            log_mean = {name: average(found[chosen], config.mean) for name, found in each.items()}
            row = {"members": size, "first": first}
            if first == 0:
                row["wer"] = score(log_mean, speech, labels)["wer"]
            growth.append(row | {"frame_accuracy": frame_accuracy(log_mean["test"], labels.of["test"])})
    metrics["growth"] = growth
    log_mean = _averaged(models, speech["train"], config.mean)
    metrics["train_frame_accuracy"] = frame_accuracy(log_mean, labels.of["train"])
    store.write_tensors(config, {"log_probabilities": log_mean})
    return {"metrics": metrics, "history": []}


def _transfer(config: Transfer, store: Store) -> dict:
    labels = labels_of(config.alignment, store)
    part = at_speeds(config.alignment.dataset, config.speeds)
    models = [restore(member, store, len(labels.states)) for member in config.ensemble.members]
    store.write_tensors(config, {"log_probabilities": _averaged(models, part, config.ensemble.mean)})
    return {"metrics": {"train_frames": len(part.windows)}, "history": []}


def _averaged(models: list[nn.Module], part: Part, mean: str) -> Tensor:
    """As `average`, for the many frames of a training part: one model after the other, in half precision."""
    _check_mean(mean)
    total = torch.zeros(())
    for model in models:
        found = log_posteriors(model, part)
        total = total + (found.exp() if mean == "arithmetic" else found) / len(models)
    return (total.clamp(min=1e-12).log() if mean == "arithmetic" else total.log_softmax(-1)).half()


@lru_cache(maxsize=1)
def at_speeds(dataset: str, speeds: tuple[float, ...]) -> Part:
    """The training part, followed by itself at other speeds; each speaker is normalised anew at each speed."""
    part = corpus(dataset)["train"]
    played = [
        replace(utterance, speaker=f"{utterance.speaker} at {speed:g}", samples=at_speed(utterance.samples, speed))
        for speed in speeds
        for utterance in part.utterances
    ]
    changed = features_of(tuple(played))
    features = Features(torch.cat([part.features.frames, changed.frames]), part.features.lengths + changed.lengths)
    return Part(part.utterances + tuple(played), features, windows_of(features))


def at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """The samples played so many times as fast, at the same sampling rate."""
    waveform = torch.from_numpy(np.asarray(samples, np.float32))
    return resample(waveform, round(SAMPLE_RATE * speed), SAMPLE_RATE).numpy()


def average(log_probabilities: Tensor, mean: str) -> Tensor:
    """The logarithm of the members' mean distribution, (frames, states), from (members, frames, states)."""
    _check_mean(mean)
    if mean == "arithmetic":
        return ensembles.arithmetic_mean(log_probabilities.exp()).clamp(min=1e-12).log()
    return ensembles.geometric_mean(log_probabilities).clamp(min=1e-12).log()


def _check_mean(mean: str) -> None:
    if mean not in ("arithmetic", "geometric"):
        raise ValueError(f"Unknown mean {mean!r}: use 'arithmetic' or 'geometric'.")


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
    """The frozen alignment, from the store beside this experiment's."""
    return alignment.read(config, Store(store.folder.parent / "alignment", alignment.RECIPE))


def build(config: AcousticModel | Student, states: int) -> nn.Sequential:
    """The untrained net of a configuration."""
    sizes = (WIDTH * BANKS, *config.hidden, states)
    return mlp(sizes, hidden_dropout=getattr(config, "hidden_dropout", 0.0))


def restore(config: AcousticModel | Student, store: Store, states: int) -> nn.Sequential:
    """The trained net of a finished run."""
    model = build(config, states)
    model.load_state_dict(store.tensors(config))
    return model.to(device())


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
    hard = None if isinstance(config.teacher, Transfer) else targets.to(device())
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
    chunks = [objectives.soften(chunk.float(), config.temperature) for chunk in logits.split(4096)]
    return torch.cat([objectives.check_soft_targets(chunk).half() for chunk in chunks])


def teachers_of(configs: list[Config]) -> list[AcousticModel | Ensemble | Transfer]:
    """What the configurations learn from or are made of."""
    found: dict[AcousticModel | Ensemble | Transfer, None] = {}
    for config in configs:
        if isinstance(config, Student):
            found[config.teacher] = None
        elif isinstance(config, Ensemble | Transfer):
            found |= dict.fromkeys(getattr(config, "ensemble", config).members)
    return list(found)


def run_all(configs: list[Config], store: Store, *, name: str, needs_tensors: bool = False) -> list[dict]:
    """Sweep configurations; what they need of others first, and again where it is missing on this disk.

    needs_tensors: as in `sweep`, also for the members of ensembles.
    """
    missing = [config for config in configs if not store.has(config) or needs_tensors]
    needed = teachers_of(missing)
    if needed:
        absent = [config for config in needed if not store.tensors_path(config).exists()]
        sweep(run, teachers_of(absent), store, name=f"{name}: members", needs_tensors=True)
        sweep(run, needed, store, name=f"{name}: teachers", needs_tensors=True)
    return sweep(run, configs, store, name=name, needs_tensors=needs_tensors)


def table(configs: list[Config], store: Store) -> pd.DataFrame:
    """One row per run: its settings and its metrics, in percent; columns early_* hold those of the early-stopped model.

    targets: "hard", "soft" or "ensemble"; size: as "4x512"; epochs, seed, share, subset, resample, temperature,
    hard_weight and mean as configured; seconds: of the whole run.
    """
    rows = []
    for config in configs:
        record = store.read(config)
        metrics = record["metrics"]
        trained = config.member if isinstance(config, Ensemble) else config
        row = {
            "targets": {AcousticModel: "hard", Student: "soft", Ensemble: "ensemble"}[type(config)],
            "size": f"{len(trained.hidden)}x{trained.hidden[0]}",
            "epochs": trained.optimisation.epochs,
            "mean": getattr(config, "mean", None),
            "seconds": record["seconds"],
        }
        for name in ("seed", "share", "subset", "resample", "temperature", "hard_weight"):
            row[name] = getattr(config, name, None)
        row |= {name: metrics.get(name) for name in REPORTED}
        early = metrics.get("early_stopped", {})
        rows.append(row | {f"early_{name}": early.get(name) for name in (*REPORTED[:5], "epoch")})
    return pd.DataFrame(rows)


def curves(configs: list[AcousticModel | Student], store: Store) -> pd.DataFrame:
    """Development during training: targets, share, subset, hard_weight, epoch (from 1), accuracy and cross_entropy.

    Accuracy is in percent of the frames; the cross-entropy is that of the hard targets, in nats per frame.
    """
    rows = []
    for config in configs:
        settings = {
            "targets": "hard" if isinstance(config, AcousticModel) else "soft",
            "share": config.share,
            "subset": config.subset,
            "hard_weight": getattr(config, "hard_weight", 1.0),
        }
        for epoch, row in enumerate(store.read(config)["history"], 1):
            if "development_frame_accuracy" in row:
                accuracy, cross_entropy = row["development_frame_accuracy"], row["development_cross_entropy"]
                rows.append(settings | {"epoch": epoch, "accuracy": accuracy, "cross_entropy": cross_entropy})
    return pd.DataFrame(rows)
