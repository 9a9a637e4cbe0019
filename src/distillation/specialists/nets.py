"""Sections 5.2 and 6.1: specialists, with a dustbin for all other classes or with a full softmax."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core.objectives import check_finite, class_labels, widened
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.specialists import generalists
from distillation.specialists.assignment import Assignment, check_known, check_subset, subsets_of
from distillation.specialists.convnets import MergedDustbin
from distillation.specialists.generalists import Split, fit_logits, load, logits_on, percent_right, training_batches

EVALUATIONS = 15  # of a specialist during its training, at most


@dataclass(frozen=True)
class Specialist(Configuration):
    """A net that starts as the generalist and learns to tell the classes of one subset apart (section 5.2).

    softmax: "dustbin" (the subset and one class for all others, hard targets) or "full" (section 6.1: all classes, the
    generalist's soft targets for pictures of other classes).  share: of the subset's training pictures.
    """

    experiment: ClassVar[str] = "specialists"

    assignment: Assignment
    index: int = 0
    softmax: str = "dustbin"
    share: float = 1.0
    optimisation: Optimisation = Optimisation(epochs=3, batch_size=128, learning_rate=0.02, jitter=4)
    weight_decay: float = 5e-4
    seed: int = 0
    threads: int = 1

    def starts_from(self, store: Store) -> list[Configuration]:
        """The assignment, which tells its classes, and the generalist, whose weights it starts from."""
        return [self.assignment, self.assignment.generalist]

    def run(self, store: Store) -> dict:
        """Train and evaluate a specialist; return {"metrics": {...}, "history": [...]}.

        Metrics: what the generalist and the specialist know of its classes (`on_classes`), and how well the dustbin is
        calibrated.  Weights are written beside the record, and with a dustbin the logits of the held-out and test
        pictures; those of all classes would be many times as many.
        """
        generalist, split = self.assignment.generalist, load(self.assignment.generalist.data)
        subset = subsets_of(self.assignment, store)[self.index]
        check_subset(subset, split.classes)
        # Specialists of one combination differ in their random numbers: two of them may have the same subset.
        torch.manual_seed(1000 * self.seed + self.index)
        model = build(self, subset, store)
        special, rest = special_and_rest(self, subset, split)
        watch = Watch(self, subset, split)
        history = train(
            model,
            training_batches(generalist.data, self.optimisation.jitter, generalist.mirror),
            loss_of(self, subset, split, store),
            self.optimisation,
            weight_decay=self.weight_decay,
            order=lambda: half_and_half(special, rest),
            after_epoch=watch,
        )
        logits = logits_on(model, split, ("held_out", "test"))
        store.write_tensors(self, generalists.weights(model) | (logits if self.softmax == "dustbin" else {}))
        seen = store.tensors(generalist)
        metrics = {
            "subset": list(subset),
            "special_cases": len(special),
            "pictures_seen": len(history) * 2 * len(special),
            "generalist": on_classes(seen["test"], subset, split.pictures.test_labels, "full"),
        }
        scores = logits["test"]
        if self.softmax == "dustbin":
            scores = corrected(scores, special_share(subset, split))
            metrics["dustbin"] = dustbin_calibration(logits["held_out"], subset, split)
        metrics["specialist"] = on_classes(scores, subset, split.pictures.test_labels, self.softmax)
        return {"metrics": metrics, "history": history}

    def main_figure(self, metrics: dict) -> float:
        """Accuracy among its own classes."""
        return metrics["specialist"]["special_accuracy"]


def build(config: Specialist, subset: tuple[int, ...], store: Store) -> nn.Module:
    """The specialist before training: the generalist, which for a dustbin merges the other classes' probabilities."""
    generalist = config.assignment.generalist
    model = generalists.restore(generalist, store)
    if config.softmax == "dustbin":
        share = special_share(subset, load(generalist.data))
        model[-1] = MergedDustbin(model[-1], subset, dustbin_shift(share))
    return model


def restore(config: Specialist, store: Store) -> nn.Module:
    """The trained net of a finished run."""
    model = build(config, subsets_of(config.assignment, store)[config.index], store)
    saved = store.tensors(config)
    model.load_state_dict({name: saved[f"weights.{name}"] for name in model.state_dict()})
    return model


def special_and_rest(config: Specialist, subset: tuple[int, ...], split: Split) -> tuple[Tensor, Tensor]:
    """Training pictures of the subset (of each class the configured share, at least one) and of all other classes."""
    labels = split.fit_labels
    special = []
    for label in subset:
        of_class = split.fit[labels == label]
        special.append(of_class[: max(1, round(config.share * len(of_class)))])
    return torch.cat(special), split.fit[~torch.isin(labels, torch.tensor(subset))]


def half_and_half(special: Tensor, rest: Tensor) -> Tensor:
    """An epoch's pictures: each special one, shuffled, alternates with one at random from the rest (section 5.2)."""
    ordinary = torch.randperm(len(rest))[: len(special)]
    if len(ordinary) < len(special):
        ordinary = torch.randint(len(rest), (len(special),))
    return torch.stack([special[torch.randperm(len(special))], rest[ordinary]], 1).flatten()


def loss_of(
    config: Specialist, subset: tuple[int, ...], split: Split, store: Store
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, training indices) of a specialist.  Raises ValueError for an unknown softmax."""
    labels = split.pictures.train_labels
    if config.softmax == "dustbin":
        targets = dustbin_labels(labels, subset, split.classes).to(device())
        return lambda logits, index: F.cross_entropy(logits, targets[index])
    if config.softmax != "full":
        raise ValueError(f"Unknown softmax {config.softmax!r}: use 'dustbin' or 'full'.")
    said = check_finite(fit_logits(config.assignment.generalist, store), "generalist's logits").to(device())
    row = torch.zeros(len(labels), dtype=torch.long)
    row[split.fit] = torch.arange(len(split.fit))
    is_special = torch.isin(labels, torch.tensor(subset)).to(device())
    row, labels = row.to(device()), labels.to(device())

    def loss(logits: Tensor, index: Tensor) -> Tensor:
        hard, soft = F.one_hot(labels[index], split.classes).float(), widened(said[row[index]]).softmax(1)
        return F.cross_entropy(logits, torch.where(is_special[index, None], hard, soft))

    return loss


class Watch:
    """Called after each epoch: now and then the cross-entropy and accuracy in the subset, on its held-out pictures."""

    def __init__(self, config: Specialist, subset: tuple[int, ...], split: Split):
        chosen = torch.isin(split.held_out_labels, torch.tensor(subset))
        self.pictures = generalists.Batches.of(split.pictures.train_images[split.held_out[chosen]])
        self.labels = dustbin_labels(split.held_out_labels[chosen], subset, split.classes)
        self.outputs = list(subset) if config.softmax == "full" else list(range(len(subset)))
        self.epoch, self.last = 0, config.optimisation.epochs
        self.every = -(-self.last // EVALUATIONS)

    def __call__(self, model: nn.Module) -> dict:
        """The columns that this epoch adds to the history."""
        self.epoch += 1
        if self.epoch % self.every and self.epoch != self.last:
            return {}
        logits = logits_of(model, self.pictures, precision="bf16")[:, self.outputs]
        cross_entropy = F.cross_entropy(logits, self.labels).item()
        return {
            "special_cross_entropy": cross_entropy,
            "special_accuracy": percent_right(logits.argmax(1), self.labels),
        }


def on_classes(scores: Tensor, subset: tuple[int, ...], labels: Tensor, softmax: str) -> dict:
    """What a net knows of its special classes and of the rest, in percent of the pictures of either.

    scores: (cases, outputs), of all classes, or of the subset and a dustbin.  special_accuracy: right when only the
    subset's classes may be answered; special_recall: right when all may; rest_accuracy: right on other classes (None
    for a dustbin, which names none); claimed: pictures of other classes that are taken for special ones.  Raises
    ValueError for labels that are no classes, and scores that are not finite or of another number of outputs.
    """
    labels = class_labels(labels, cases=len(check_finite(scores, "scores")))
    classes = scores.shape[1] if softmax == "full" else int(max(labels.max(), max(subset))) + 1
    if softmax != "full" and scores.shape[1] != len(subset) + 1:
        raise ValueError(f"There are {scores.shape[1]} outputs, not those of {len(subset)} classes and a dustbin.")
    subset = check_known(subset, classes)
    is_special = torch.isin(labels, torch.tensor(subset))
    within = dustbin_labels(labels, subset, classes)[is_special]
    outputs = subset if softmax == "full" else list(range(len(subset)))
    answers = scores.argmax(1)
    answered_special = torch.isin(answers, torch.tensor(outputs))
    named = (
        torch.tensor(subset)[answers[is_special].clamp(max=len(subset) - 1)]
        if softmax == "dustbin"
        else answers[is_special]
    )
    right = answered_special[is_special] & (named == labels[is_special])
    return {
        "special_accuracy": percent_right(scores[is_special][:, outputs].argmax(1), within),
        "special_recall": 100 * right.double().mean().item(),
        "rest_accuracy": percent_right(answers[~is_special], labels[~is_special]) if softmax == "full" else None,
        "claimed": 100 * answered_special[~is_special].double().mean().item(),
    }


def dustbin_calibration(logits: Tensor, subset: tuple[int, ...], split: Split, bins: int = 10) -> dict:
    """How well the dustbin's probability matches the truth on the held-out pictures, which nobody over-sampled.

    share: of pictures of other classes; raw, corrected: mean dustbin probability before and after the correction of
    section 5.2; reliability: per bin of the corrected probability its mean, the share of other classes, and the cases.
    """
    other = ~torch.isin(split.held_out_labels, torch.tensor(subset))
    found = {
        "raw": logits.double().softmax(1)[:, -1],
        "corrected": corrected(logits, special_share(subset, split)).exp()[:, -1],
    }
    bin_of = (found["corrected"] * bins).long().clamp(max=bins - 1)
    reliability = [
        [
            found["corrected"][bin_of == b].mean().item(),
            other[bin_of == b].double().mean().item(),
            int((bin_of == b).sum()),
        ]
        for b in range(bins)
        if (bin_of == b).any()
    ]
    means = {name: values.mean().item() for name, values in found.items()}
    return {"share": other.double().mean().item(), **means, "reliability": reliability}


def special_share(subset: tuple[int, ...], split: Split) -> float:
    """The subset's true share of the training pictures."""
    return torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()


def dustbin_labels(labels: Tensor, subset: Sequence[int], classes: int) -> Tensor:
    """Labels in the specialist's softmax (section 5.2): the position in the subset, or len(subset) for the dustbin.

    labels: (cases,) class indices.  Raises ValueError for a subset that `check_subset` refuses, and for labels outside
    the classes.
    """
    special = check_subset(subset, classes)
    positions = torch.full((classes,), len(special))
    positions[special] = torch.arange(len(special))
    return positions[class_labels(labels, classes)]


def dustbin_shift(share: float, sampled: float = 0.5) -> float:
    """What raises the dustbin's logit after training on too many special cases (section 5.2), in nats.

    share: the special classes' share of all cases; sampled: their share of the training batches, the other cases being
    a fair sample of the rest.  By Bayes' theorem the trained odds of the dustbin are
        p(x | rest) / p(x | special) * (1 - sampled) / sampled, and the true ones
        p(x | rest) / p(x | special) * (1 - share) / share: their ratio's logarithm is the shift.
    Raises ValueError unless both lie between 0 and 1.
    """
    for name, value in (("share", share), ("sampled", sampled)):
        if not 0 < value < 1:
            raise ValueError(f"The special classes' {name} must lie between 0 and 1, not be {value}.")
    return math.log((1 - share) / share) + math.log(sampled / (1 - sampled))


def corrected(logits: Tensor, share: float) -> Tensor:
    """The specialist's log-probabilities, (cases, special + 1) float64, after raising the last logit, the dustbin's.

    share: see `dustbin_shift`; half of each training batch was special.  Raises ValueError for NaN or infinite logits.
    """
    raised = check_finite(logits, "specialist's logits").double().clone()
    raised[:, -1] += dustbin_shift(share)
    return raised.log_softmax(-1)
