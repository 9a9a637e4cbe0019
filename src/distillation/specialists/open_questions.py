"""Sections 7 and 8: a mixture of experts, and the generalist and its specialists distilled back into one net.

(Section 6.1's specialists with a full softmax are in `nets`.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.core import objectives
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.specialists import generalists, inference
from distillation.specialists.assignment import subsets_of
from distillation.specialists.combination import Combination
from distillation.specialists.convnets import MixtureOfExperts
from distillation.specialists.generalists import (
    Data,
    Generalist,
    Split,
    accuracies,
    fit_logits,
    load,
    logits_on,
    net_for,
    training_batches,
)
from distillation.specialists.inference import Answer
from distillation.specialists.nets import corrected, restore, special_share

UNLABELLED = -100  # as the label of a held-out picture: cross_entropy passes it over


@dataclass(frozen=True)
class Mixture(Configuration):
    """A mixture of experts: nets like the generalist, and a softmax gate, a small net of its own, trained jointly.

    start: of the experts' weights, a finished generalist, or None: random, each its own.
    """

    experiment: ClassVar[str] = "open_questions"
    has_tensors: ClassVar[bool] = False

    data: Data = Data()
    widths: tuple[int, ...] = (64, 128, 256)
    experts: int = 5
    gate_widths: tuple[int, ...] = (16, 32, 64)
    start: Generalist | None = None
    optimisation: Optimisation = Optimisation(epochs=6, batch_size=128, learning_rate=0.1, jitter=4)
    weight_decay: float = 5e-4
    mirror: bool = True
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """Train a mixture; return {"metrics": {...}, "history": [...]}."""
        split = load(self.data)
        torch.manual_seed(self.seed)
        model = build_mixture(self, split, store)
        labels = split.pictures.train_labels.to(device())
        history = train(
            model,
            training_batches(self.data, self.optimisation.jitter, self.mirror),
            # The mixture's outputs are log-probabilities, which are their own log-softmax.
            lambda log_probabilities, index: F.cross_entropy(log_probabilities, labels[index]),
            self.optimisation,
            weight_decay=self.weight_decay,
            order=lambda: split.fit[torch.randperm(len(split.fit))],
            checkpoint=store.checkpoint(self),
        )
        gate = logits_of(model.gate, generalists.Batches.of(split.pictures.test_images), precision="bf16").softmax(1)
        seen = self.optimisation.epochs * len(split.fit)
        metrics = accuracies(logits_on(model, split), split) | {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "pictures_seen": seen,
            "expert_passes": seen * self.experts,
            "gate_mean": gate.mean(0).tolist(),
            "gate_perplexity": torch.special.entr(gate).sum(1).mean().exp().item(),
        }
        return {"metrics": metrics, "history": history}


@dataclass(frozen=True)
class SoftTargets(Configuration):
    """The q of section 5.4 for the training pictures, fitted and held-out; n = 0: the generalist's own p."""

    experiment: ClassVar[str] = "open_questions"

    combination: Combination
    n: int = 1
    threads: int = 1

    @property
    def generalist(self) -> Generalist:
        """That of the combination."""
        return self.combination.assignment.generalist

    def starts_from(self, store: Store) -> list[Configuration]:
        """The generalist, and for q all that the combination starts from."""
        return self.combination.starts_from(store) if self.n > 0 else [self.generalist]

    def run(self, store: Store) -> dict:
        """Write the soft targets beside the record; their accuracy and entropy (nats) are the metrics."""
        split = load(self.generalist.data)
        logits = {"fit": fit_logits(self.generalist, store)} | store.tensors(self.generalist)
        found = {}
        for part in ("fit", "held_out"):
            q = logits[part].double().softmax(1)
            if self.n > 0:
                q = combined_on(self, logits[part], split.images(part), split, store)
            found[part] = objectives.check_soft_targets(q.float())
        labels = {"fit": split.fit_labels, "held_out": split.held_out_labels}
        metrics = {
            name: value
            for part, q in found.items()
            for name, value in (
                (f"{part}_accuracy", generalists.percent_right(q.argmax(1), labels[part])),
                (f"{part}_entropy", torch.special.entr(q).sum(1).mean().item()),
            )
        }
        store.write_tensors(self, found)
        return {"metrics": metrics, "history": []}


@dataclass(frozen=True)
class Distilled(Configuration):
    """A net like the generalist, trained from nothing on soft targets.

    targets: None for hard targets alone.  hard_weight: of the hard targets beside soft ones (by default half as heavy
    as these, as in section 4).  held_out: the transfer set is the held-out pictures, too (soft targets need no labels,
    and the generalist was not trained on these).  continued: it starts as the generalist.
    """

    experiment: ClassVar[str] = "open_questions"
    has_tensors: ClassVar[bool] = False

    generalist: Generalist
    targets: SoftTargets | None = None
    temperature: float = 1.0
    hard_weight: float = 1 / 3
    held_out: bool = False
    continued: bool = False
    optimisation: Optimisation = Optimisation(epochs=25, batch_size=128, learning_rate=0.1, jitter=4)
    weight_decay: float = 5e-4
    seed: int = 0
    threads: int = 1

    def starts_from(self, store: Store) -> list[Configuration]:
        """Its soft targets, and the generalist if it starts as that."""
        return [self.targets] * (self.targets is not None) + [self.generalist] * self.continued

    def run(self, store: Store) -> dict:
        """Train one net on the soft targets; return {"metrics": {...}, "history": [...]}."""
        split = load(self.generalist.data)
        torch.manual_seed(self.seed)
        start = self.generalist
        model = generalists.restore(start, store) if self.continued else generalists.build(start, split)
        cases = torch.cat([split.fit, split.held_out]) if self.held_out else split.fit
        history = train(
            model,
            training_batches(self.generalist.data, self.optimisation.jitter, self.generalist.mirror),
            loss_of(self, split, store),
            self.optimisation,
            weight_decay=self.weight_decay,
            order=lambda: cases[torch.randperm(len(cases))],
            checkpoint=store.checkpoint(self),
        )
        parts = ("test",) if self.held_out else ("held_out", "test")
        metrics = accuracies(logits_on(model, split, parts), split)
        return {"metrics": metrics | {"pictures_seen": self.optimisation.epochs * len(cases)}, "history": history}


def build_mixture(config: Mixture, split: Split, store: Store) -> MixtureOfExperts:
    """The mixture before training."""
    gate = net_for(config.data, split, config.gate_widths, config.experts)
    if config.start is None:
        experts = [net_for(config.data, split, config.widths, split.classes) for _ in range(config.experts)]
    else:
        experts = [generalists.restore(config.start, store) for _ in range(config.experts)]
    return MixtureOfExperts(experts, gate)


def combined_on(config: SoftTargets, generalist: Tensor, pictures: Tensor, split: Split, store: Store) -> Tensor:
    """The q (cases, classes) of section 5.4 for pictures; each specialist looks only at those where it is active."""
    members = config.combination.members(store)
    subsets = subsets_of(config.combination.assignment, store)
    active = inference.active(generalist, subsets, config.n)
    answers = []
    for number, (member, subset) in enumerate(zip(members, subsets, strict=True)):
        model = restore(member, store).to(device())
        log_p = torch.zeros(len(pictures), len(subset) + 1, dtype=torch.float64)
        chosen = active[:, number]
        if chosen.any():
            logits = logits_of(model, generalists.Batches.of(pictures[chosen]), precision="bf16")
            log_p[chosen] = corrected(logits, special_share(subset, split))
        answers.append(Answer(subset, log_p))
    chunks = torch.arange(len(pictures)).split(5_000)
    return torch.cat(
        [
            inference.combine(
                generalist[chunk],
                [Answer(answer.subset, answer.log_probabilities[chunk]) for answer in answers],
                active[chunk],
                tolerance=1e-4,
            )
            for chunk in chunks
        ]
    )


def loss_of(config: Distilled, split: Split, store: Store) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, training indices).  Raises ValueError for held-out pictures with hard targets alone."""
    labels = split.pictures.train_labels.clone()
    labels[split.held_out] = UNLABELLED
    labels = labels.to(device())
    if config.targets is None:
        if config.held_out:
            raise ValueError("Held-out pictures have no hard targets to train on: give soft targets.")
        return lambda logits, index: F.cross_entropy(logits, labels[index])
    found = store.tensors(config.targets)
    soft = torch.zeros(len(labels), split.classes)
    for part, cases in (("fit", split.fit), ("held_out", split.held_out)):
        soft[cases] = objectives.soften(found[part].clamp(min=1e-12).log(), config.temperature)
    soft = soft.to(device())
    return lambda logits, index: objectives.distillation_loss(
        logits, soft[index], labels[index], temperature=config.temperature, hard_weight=config.hard_weight
    )
