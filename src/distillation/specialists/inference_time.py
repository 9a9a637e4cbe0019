"""Section 5.4: how long the inference takes, by Newton's method and by the paper's gradient descent."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillation.core.store import Configuration, Store
from distillation.specialists import inference
from distillation.specialists.assignment import random_subsets
from distillation.specialists.inference import Answer

SCALE = 3.0  # standard deviation of the drawn logits
CLOSE = 1e-6  # nats above the optimum, averaged over the images treated at once, at which gradient descent stops
LEARNING_RATE = 0.3  # Adam's; of 0.01, 0.03, 0.1, 0.3 and 1 it needs the fewest steps
MOST_STEPS = 5_000
IMAGES_TIMED = 20  # one by one
AT_ONCE = 2_000_000  # numbers, (images, classes), of a gradient descent on many images at once


@dataclass(frozen=True)
class InferenceTime(Configuration):
    """So many images, a generalist, and specialists for random overlapping subsets of `size` classes.

    n: see `inference.active`.
    """

    experiment: ClassVar[str] = "inference_time"
    recipe: ClassVar[int] = 3
    has_tensors: ClassVar[bool] = False

    images: int = 10_000
    classes: int = 100
    specialists: int = 20
    size: int = 10
    n: int = 1
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """Seconds for all images and the objective's excess over the optimum (mean and largest), by three methods.

        Gradient descent stops CLOSE to the optimum, which it is told, or after MOST_STEPS.  It is timed on as many
        images as AT_ONCE allows, image by image on the first IMAGES_TIMED, and multiplied up.
        """
        models = drawn(self)
        inference.combine(*first(20, *models))  # warms up
        seconds, q = timed(lambda: inference.combine(*models))
        many, few = min(self.images, AT_ONCE // self.classes), min(self.images, IMAGES_TIMED)
        some = first(many, *models)
        optimum = inference.objective(inference.combine(*some, tolerance=1e-12), *some)

        def row(method: str, seconds: float, found: Tensor, images: int) -> dict:
            above = inference.objective(found, *first(len(found), *models)) - optimum[: len(found)]
            told = {"method": method, "seconds": seconds * self.images / images, "images_timed": images}
            return told | {"excess": above.mean().item(), "largest_excess": above.max().item()}

        methods = [row("Newton's method", seconds, q[:many], self.images)]
        seconds, q = timed(lambda: descended(*some, optimum))
        methods.append(row("gradient descent, batched", seconds, q, many))
        seconds, q = timed(lambda: one_by_one(*first(few, *models), optimum))
        methods.append(row("gradient descent, image by image", seconds, q, few))
        active = models[2].sum(1).double().mean().item()
        return {"metrics": {"methods": methods, "active_mean": active}, "history": []}


def drawn(config: InferenceTime) -> tuple[Tensor, list[Answer], Tensor]:
    """Random models: the arguments of `inference.combine`."""
    random = torch.Generator().manual_seed(config.seed)
    generalist = SCALE * torch.randn(config.images, config.classes, generator=random)
    subsets = random_subsets(range(config.classes), config.specialists, config.size, config.seed)
    answers = []
    for subset in subsets:
        logits = SCALE * torch.randn(config.images, config.size + 1, generator=random)
        answers.append(Answer(subset, logits.log_softmax(-1)))
    return generalist.log_softmax(-1), answers, inference.active(generalist, subsets, config.n)


def first(images: int, generalist: Tensor, answers: list[Answer], active: Tensor, start: int = 0) -> tuple:
    """The same of so many images, from `start` on."""
    chosen = slice(start, start + images)
    some = [Answer(answer.subset, answer.log_probabilities[chosen]) for answer in answers]
    return generalist[chosen], some, active[chosen]


def timed(method: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """(seconds, what the method returns)."""
    started = time.perf_counter()
    found = method()
    return time.perf_counter() - started, found


def descended(generalist: Tensor, answers: list[Answer], active: Tensor, optimum: Tensor) -> Tensor:
    """Gradient descent on these images at once, until they are close on average."""
    until = optimum.mean().item() + CLOSE
    return inference.by_gradient_descent(
        generalist, answers, active, steps=MOST_STEPS, learning_rate=LEARNING_RATE, until=until
    )


def one_by_one(generalist: Tensor, answers: list[Answer], active: Tensor, optimum: Tensor) -> Tensor:
    """The paper's way: gradient descent for each image, until it is close."""
    every = range(len(generalist))
    return torch.cat([descended(*first(1, generalist, answers, active, i), optimum[i : i + 1]) for i in every])
