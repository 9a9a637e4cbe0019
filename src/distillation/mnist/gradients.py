"""How much the gradient varies between cases under hard and under soft targets."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from distillation.core import objectives
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import logits_of, train
from distillation.mnist import nets as mnist

RECIPE = 1


@dataclass(frozen=True)
class GradientNoise:
    """Per-case gradients of a net after its training, on `cases` of its transfer set.

    student: how the net is trained first (one epoch); temperatures: those of the soft targets measured.
    """

    student: mnist.Student
    temperatures: tuple[float, ...] = (1.0, 2.0, 5.0, 20.0)
    cases: int = 2000
    seed: int = 0
    threads: int = 1

    @property
    def dataset(self) -> str:
        return self.student.dataset


def run(config: GradientNoise, store: Store) -> dict:
    """Noise to signal of the per-case gradients: for the hard targets and for the soft ones at each temperature.

    The teacher's outputs are read from the store of section 3 beside this experiment's.
    """
    student, nets = config.student, _nets(store)
    data = mnist.load(student.dataset)
    chosen = mnist.training_cases(data, student)
    inputs = mnist.as_floats(data.train_images[chosen])
    torch.manual_seed(student.seed)
    model = mnist.build(student, data)
    train(model, inputs, mnist.loss_of(student, data, chosen, nets), student.optimisation)
    few, inputs, labels = chosen[: config.cases], inputs[: config.cases], data.train_labels[chosen[: config.cases]]
    hard = F.one_hot(labels, len(data.class_names)).float()
    train_errors = mnist.errors(logits_of(model, inputs), labels)
    model.cpu()
    metrics = {"hard": noise_to_signal(model, inputs, hard, 1.0), "soft": []}
    for temperature in config.temperatures:
        soft = mnist.soft_targets(student.teacher, temperature, nets)[few]
        entropy = -(soft * soft.clamp_min(1e-30).log()).sum(1).mean().item()
        row = noise_to_signal(model, inputs, soft, temperature)
        metrics["soft"].append({"temperature": temperature, "entropy": entropy} | row)
    metrics["train_errors"] = train_errors
    return {"metrics": metrics, "history": []}


def run_all(configs: list[GradientNoise], store: Store, *, name: str) -> list[dict]:
    """Sweep configurations; the teachers first, and again where a missing run needs their outputs."""
    teachers = [net for config in configs if not store.has(config) for net in mnist.members(config.student.teacher)]
    sweep(mnist.run, teachers, _nets(store), name=f"{name}: teachers", needs_tensors=True)
    return sweep(run, configs, store, name=name)


def _nets(store: Store) -> Store:
    return Store(store.folder.parent / "mnist", mnist.RECIPE)


def noise_to_signal(model: nn.Module, inputs: Tensor, targets: Tensor, temperature: float, chunk: int = 50) -> dict:
    """Trace of the covariance of the per-case gradients, squared norm of their mean, and the ratio of the two.

    inputs: (cases, ...); targets: (cases, classes) distributions at the temperature.  The gradient is that of
    temperature**2 times the soft cross-entropy, with respect to all weights.
    """
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def case_loss(weights: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(model, weights, (x.reshape(1, -1),))
        return temperature**2 * objectives.soft_cross_entropy(logits, target[None], temperature)

    per_case = vmap(grad(case_loss), (None, 0, 0))
    total: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in weights.items()}
    squares = 0.0
    for x, target in zip(inputs.split(chunk), targets.split(chunk), strict=True):
        for name, gradient in per_case(weights, x, target).items():
            total[name] += gradient.sum(0)
            squares += gradient.square().sum().item()
    cases = len(inputs)
    signal = sum((value / cases).square().sum().item() for value in total.values())
    noise = squares / cases - signal
    return {"noise": noise, "signal": signal, "ratio": noise / signal}
