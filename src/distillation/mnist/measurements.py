"""What is measured on nets beside their errors: the noise of their gradients, and what ensembles of them answer."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core.gradients import noise_to_signal
from distillation.core.store import Configuration, Store
from distillation.core.training import device, train
from distillation.mnist.nets import (
    Ensemble,
    Net,
    Student,
    as_floats,
    build,
    errors,
    evaluation_cases,
    load,
    loss_of,
    soft_targets,
    softened,
    training_cases,
    training_labels,
)


@dataclass(frozen=True)
class GradientNoiseAlong(Configuration):
    """Per-case gradients along a net's own training (section 1): of hard targets for a `Net`, else of soft ones.

    steps: after how many steps they are measured, 0 for the start; cases: of the transfer set.
    """

    experiment: ClassVar[str] = "gradients"
    has_tensors: ClassVar[bool] = False

    net: Net | Student
    steps: tuple[int, ...] = (0, 26, 52, 104, 156, 234, 702, 2340)
    cases: int = 1500
    threads: int = 1

    def starts_from(self, store: Store) -> list[Configuration]:
        """The net's teacher: the net itself is trained anew."""
        return self.net.starts_from(store)

    def run(self, store: Store) -> dict:
        """Noise to signal after each number of steps.  Raises ValueError if the training is not as long as the last."""
        net, data = self.net, load(self.net.dataset)
        chosen = training_cases(data, net)
        inputs = as_floats(data.train_images[chosen])
        torch.manual_seed(net.seed)
        model = build(net, data).to(device())
        few = chosen[: self.cases]
        if isinstance(net, Student):
            temperature, targets = net.temperature, soft_targets(net.teacher, net.temperature, store)[few]
        else:
            temperature, targets = 1.0, F.one_hot(training_labels(data, few), len(data.class_names)).float()
        measured: list[dict] = []
        stride = math.gcd(*self.steps)
        taken = [0]

        def measure(model: nn.Module) -> dict:
            if taken[0] in self.steps:
                found = noise_to_signal(model, inputs[: self.cases].to(device()), targets.to(device()), temperature)
                measured.append({"step": taken[0]} | found)
            taken[0] += stride
            return {}

        batch = min(net.optimisation.batch_size, len(chosen))
        steps = net.optimisation.epochs * (len(chosen) // batch)
        if steps != self.steps[-1]:
            raise ValueError(
                f"The training takes {steps} steps, but the gradients are measured until {self.steps[-1]}."
            )
        measure(model)
        settings = dataclasses.replace(net.optimisation, epochs=steps // stride)
        loss = loss_of(net, data, chosen, store)
        train(model, inputs, loss, settings, order=_in_turn(len(chosen), stride * batch), after_epoch=measure)
        return {"metrics": {"along": measured}, "history": []}


def _in_turn(cases: int, number: int) -> Callable[[], Tensor]:
    """Draws so many cases at a time, all of them in a random order before any comes again."""
    waiting = torch.zeros(0, dtype=torch.long)

    def draw() -> Tensor:
        nonlocal waiting
        while len(waiting) < number:
            waiting = torch.cat([waiting, torch.randperm(cases)])
        drawn, waiting = waiting[:number], waiting[number:]
        return drawn

    return draw


@dataclass(frozen=True)
class EnsembleErrors(Configuration):
    """The test errors of an ensemble's mean distribution, and of its members."""

    experiment: ClassVar[str] = "mnist"
    has_tensors: ClassVar[bool] = False

    ensemble: Ensemble
    threads: int = 1

    def run(self, store: Store) -> dict:
        """Metrics: errors, and those of the members in their order."""
        _, labels = evaluation_cases(load(self.ensemble.dataset), "all")
        members = [store.metrics(member)["errors"] for member in self.ensemble.members]
        found = errors(softened(self.ensemble, "scored_logits", 1.0, store), labels)
        return {"metrics": {"errors": found, "evaluated": len(labels), "members": members}, "history": []}
