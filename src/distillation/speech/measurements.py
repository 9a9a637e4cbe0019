"""What is measured on acoustic models beside their scores: the noise of their gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from distillation.core.gradients import noise_to_signal
from distillation.core.store import Configuration, Store
from distillation.core.training import device, train
from distillation.speech.nets import AcousticModel, Student, build, labels_of, loss_of, soft_targets, training_part


@dataclass(frozen=True)
class GradientNoise(Configuration):
    """Per-frame gradients along a net's own training (section 1): of hard targets, or of a `Student`'s soft ones.

    They are measured at the start and after each epoch, on frames of the net's training part, drawn at random.
    """

    experiment: ClassVar[str] = "gradients"
    has_tensors: ClassVar[bool] = False

    net: AcousticModel | Student
    frames: int = 1500
    threads: int = 1

    @property
    def alignment(self) -> Configuration:
        """That of the net."""
        return self.net.alignment

    def starts_from(self, store: Store) -> list[Configuration]:
        """The alignment, and the net's teacher: the net itself is trained anew."""
        return [self.alignment, *([self.net.teacher] if isinstance(self.net, Student) else [])]

    def run(self, store: Store) -> dict:
        """Metrics: noise to signal at the start and after each epoch ("along"); the entropy of soft targets, nats."""
        net, labels = self.net, labels_of(self.alignment, store)
        part, rows = training_part(net)
        hard = labels.of["train"][rows]
        loss = loss_of(net, hard, rows, store)
        torch.manual_seed(net.seed)
        model = build(net, len(labels.states)).to(device())
        few = torch.randperm(len(rows))[: self.frames]
        inputs = part.windows.gatherer(device(), torch.float32)(few.to(device()))
        if isinstance(net, Student):
            temperature, targets = net.temperature, soft_targets(net, rows[few], store).double()
            targets = targets / targets.sum(1, keepdim=True)  # exactly one again, after the half precision
            entropy = {"entropy": torch.special.entr(targets).sum(1).mean().item()}
        else:
            temperature, targets, entropy = 1.0, F.one_hot(hard[few], len(labels.states)), {}
        targets = targets.float().to(device())

        def measure(model: nn.Module) -> dict:
            return noise_to_signal(model, inputs, targets, temperature)

        along = [measure(model), *train(model, part.windows, loss, net.optimisation, after_epoch=measure)]
        return {"metrics": {"along": along} | entropy, "history": []}
