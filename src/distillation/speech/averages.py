"""What several acoustic models say together: means of their distributions, of as many frames as there are."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distillation.core import objectives
from distillation.speech.alignment import log_posteriors_of
from distillation.speech.recogniser.corpus import Part
from distillation.speech.recogniser.filterbanks import Windows

CHUNK = 2**16  # frames whose posteriors lie in memory together, where there are many


def averaged(models: list[nn.Module], part: Part, mean: str) -> Tensor:
    """The logarithm of the models' mean distribution of many frames, (frames, states) in half precision.

    So many at a time that memory does not grow with the number of models.
    """
    check_mean(mean)
    parts = [list(growing_means(models, part.windows[rows], mean))[-1].half() for rows in chunks(len(part.windows))]
    return torch.cat(parts)


def growing_means(models: list[nn.Module], windows: Windows, mean: str) -> Iterator[Tensor]:
    """The logarithm of the mean distribution, (frames, states), of the first model, of the first two, and so on."""
    total = torch.zeros(())
    for number, model in enumerate(models, 1):
        found = log_posteriors_of(model, windows)
        total = total + (found.exp() if mean == "arithmetic" else found)
        probabilities = total / number if mean == "arithmetic" else (total / number).softmax(-1)
        yield probabilities.clamp(min=1e-12).log()


def frames_right_in_a_ring(
    models: list[nn.Module], part: Part, labels: Tensor, mean: str
) -> dict[tuple[int, int], int]:
    """Frames that ensembles of neighbours in a ring of the models get right, by their number and the first.

    Every member is in as many of the ensembles, and those of all but one leave each out once.
    """
    number = len(models)
    right = {(size, first): 0 for size in range(1, number + 1) for first in range(number if size < number else 1)}
    for rows in chunks(len(part.windows)):
        each = torch.stack([log_posteriors_of(model, part.windows[rows]) for model in models])
        for size, first in right:
            chosen = [(first + offset) % number for offset in range(size)]
            answers = average(each[chosen], mean).argmax(-1)
            right[size, first] += int((answers == labels[rows]).sum())
    return right


def chunks(frames: int) -> tuple[Tensor, ...]:
    """The rows of so many frames, CHUNK at a time."""
    return torch.arange(frames).split(CHUNK)


def average(log_probabilities: Tensor, mean: str) -> Tensor:
    """The logarithm of the members' mean distribution, (frames, states), from (members, frames, states)."""
    check_mean(mean)
    log_probabilities = objectives.widened(log_probabilities)
    if mean == "arithmetic":
        return objectives.arithmetic_mean(log_probabilities.exp()).clamp(min=1e-12).log()
    return objectives.geometric_mean(log_probabilities).clamp(min=1e-12).log()


def check_mean(mean: str) -> None:
    """Raise ValueError for an unknown mean."""
    if mean not in ("arithmetic", "geometric"):
        raise ValueError(f"Unknown mean {mean!r}: use 'arithmetic' or 'geometric'.")
