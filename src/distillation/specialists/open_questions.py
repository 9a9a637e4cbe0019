"""Sections 7 and 8: a mixture of experts, and the generalist and its specialists distilled back into one net.

(Section 6.1's specialists with a full softmax are in `nets`.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.core.objectives import check_finite, check_soft_targets, distillation_loss, widened
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.specialists import generalists, inference
from distillation.specialists.assignment import Assignment, clusters_of, subsets_of
from distillation.specialists.combination import Combination
from distillation.specialists.convnets import MixtureOfExperts
from distillation.specialists.generalists import (
    Data,
    Generalist,
    Split,
    accuracies,
    fit_accuracy,
    fit_logits,
    load,
    logits_on,
    net_for,
    training_batches,
)
from distillation.specialists.inference import Answer
from distillation.specialists.nets import corrected, restore, special_share

CHUNK = 8_192  # pictures whose distributions are made together
UNLABELLED = -100  # as the label of a held-out picture: cross_entropy passes it over


@dataclass(frozen=True)
class Mixture(Configuration):
    """A mixture of experts: nets like the generalist, and a softmax gate, a small net of its own, trained jointly.

    start: of the experts' weights: a finished generalist; an assignment of its classes, in as many clusters as there
    are experts, which tells each expert its classes and trains the gate to tell them apart (the experts start as the
    generalist, and each holds its own classes for so many times as likely).
    """

    experiment: ClassVar[str] = "open_questions"
    has_tensors: ClassVar[bool] = False

    data: Data
    widths: tuple[int, ...]
    experts: int
    gate_widths: tuple[int, ...]
    start: Generalist | Assignment
    optimisation: Optimisation = Optimisation(epochs=6, batch_size=128, learning_rate=0.1, jitter=4)
    weight_decay: float = 5e-4
    mirror: bool = True
    seed: int = 0
    threads: int = 1

    def starts_from(self, store: Store) -> list[Configuration]:
        """The assignment, which tells the clusters, and the generalist, whose weights the experts start from."""
        start = self.start
        return [start, start.generalist] if isinstance(start, Assignment) else [start]

    def run(self, store: Store) -> dict:
        """Train a mixture; return {"metrics": {...}, "history": [...]}."""
        split = load(self.data)
        torch.manual_seed(self.seed)
        model = build_mixture(self, split, store)
        history = train(
            model,
            training_batches(self.data, self.optimisation.jitter, self.mirror),
            mixture_loss(self, split, store),
            self.optimisation,
            weight_decay=self.weight_decay,
            order=lambda: split.fit[torch.randperm(len(split.fit))],
            checkpoint=store.checkpoint(self),
        )
        gate = logits_of(model.gate, generalists.Batches.of(split.pictures.test_images), precision="bf16").softmax(1)
        seen = self.optimisation.epochs * len(split.fit)
        metrics = accuracies(logits_on(model, split, ("held_out", "test")), split) | {
            "fit_accuracy": fit_accuracy(model, split),
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
        """Write the soft targets, in bfloat16, beside the record; their accuracy and entropy (nats) are the metrics."""
        split = load(self.generalist.data)
        logits = {"fit": fit_logits(self.generalist, store)} | store.tensors(self.generalist)
        labels = {"fit": split.fit_labels, "held_out": split.held_out_labels}
        distribution = self.distribution_of(split, store)
        found, metrics = {}, {}
        for part, right in labels.items():
            images, chunks = split.images(part), torch.arange(len(right)).split(CHUNK)
            q = [check_soft_targets(distribution(logits[part][chunk], images[chunk])).bfloat16() for chunk in chunks]
            found[part] = torch.cat(q)
            metrics[f"{part}_accuracy"] = generalists.percent_right(found[part].argmax(1), right)
            metrics[f"{part}_entropy"] = sum(torch.special.entr(rows.float()).sum().item() for rows in q) / len(right)
        store.write_tensors(self, found)
        return {"metrics": metrics, "history": []}

    def distribution_of(self, split: Split, store: Store) -> Callable[[Tensor, Tensor], Tensor]:
        """A function from the generalist's logits (cases, classes) and the pictures to q, or p for n = 0, likewise.

        Each specialist looks only at the pictures for which it is active.
        """
        if self.n == 0:
            return lambda logits, images: widened(logits).softmax(1)
        subsets = subsets_of(self.combination.assignment, store)
        models = [restore(member, store).to(device()) for member in self.combination.members(store)]
        shares = [special_share(subset, split) for subset in subsets]

        def combined(logits: Tensor, images: Tensor) -> Tensor:
            active = inference.active(logits, subsets, self.n)
            answers = []
            for subset, model, share, chosen in zip(subsets, models, shares, active.T, strict=True):
                log_p = torch.zeros(len(images), len(subset) + 1, dtype=torch.float64)
                if chosen.any():
                    said = logits_of(model, generalists.Batches.of(images[chosen]), precision="bf16")
                    log_p[chosen] = corrected(said, share)
                answers.append(Answer(subset, log_p))
            return inference.combine(logits, answers, active, tolerance=1e-4)

        return combined


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
    """The mixture before training.  Raises ValueError for another number of clusters than experts."""
    gate = net_for(config.data, split, config.gate_widths, config.experts)
    is_assigned = isinstance(config.start, Assignment)
    start = config.start.generalist if is_assigned else config.start
    experts = [generalists.restore(start, store) for _ in range(config.experts)]
    if is_assigned:
        own = F.one_hot(clusters_of(config.start, store)).T
        if len(own) != config.experts:
            raise ValueError(f"There are {len(own)} clusters for {config.experts} experts; assign as many.")
        with torch.no_grad():
            for expert, classes in zip(experts, own, strict=True):
                expert[-1].bias += math.log(config.experts) * classes
    return MixtureOfExperts(experts, gate)


def mixture_loss(config: Mixture, split: Split, store: Store) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (a mixture's outputs in training, training indices); the gate learns the clusters if it has any."""
    labels = split.pictures.train_labels.to(device())
    clusters = clusters_of(config.start, store).to(device()) if isinstance(config.start, Assignment) else None

    def loss(outputs: Tensor, index: Tensor) -> Tensor:
        # Log-probabilities are their own log-softmax.
        classes, gate = outputs.split([split.classes, config.experts], 1)
        mixed = F.cross_entropy(classes, labels[index])
        return mixed if clusters is None else mixed + F.cross_entropy(gate, clusters[labels[index]])

    return loss


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
    q = torch.zeros(len(labels), split.classes, dtype=found["fit"].dtype)
    for part, cases in (("fit", split.fit), ("held_out", split.held_out)):
        q[cases] = check_finite(found[part], "soft targets")
    q = q.to(device())

    def loss(logits: Tensor, index: Tensor) -> Tensor:
        soft = (widened(q[index]).clamp(min=1e-12).log() / config.temperature).softmax(1)
        return distillation_loss(
            logits, soft, labels[index], temperature=config.temperature, hard_weight=config.hard_weight
        )

    return loss
