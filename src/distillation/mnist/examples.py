"""The few test digits that notebooks show, with the logits of three nets."""

from dataclasses import dataclass

from torch import Tensor

from distillation.core import examples
from distillation.core.store import Configuration
from distillation.mnist.nets import load as load_images
from distillation.mnist.results import MnistResults

NAME = "digits"
NUMBER = 100
NETS = {"teacher": "teacher_logits", "distilled": "student_logits", "plain": "plain_logits"}  # by question


@dataclass(frozen=True)
class Examples:
    """Test digits: images (cases, 28, 28) uint8, labels (cases,), logits (cases, 10) float32 of three nets."""

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor
    student_logits: Tensor
    plain_logits: Tensor

    @classmethod
    def load(cls, results: MnistResults) -> "Examples":
        """A profile's examples.  Made first, or refused with a StoreError, as `core.examples.load` says."""
        tensors, _ = examples.load(results, NAME, sources(results), lambda: collect(results))
        return cls(**tensors)


def sources(results: MnistResults) -> list[Configuration]:
    """The nets that the examples hold the logits of."""
    return list(published_nets(results).values())


def published_nets(results: MnistResults) -> dict[str, Configuration]:
    """The nets of seed 0 whose answers are shown and whose weights are published."""
    return {name: results.configs(name)[0] for name in NETS}


def published_outputs(results: MnistResults) -> list[Configuration]:
    """The teachers whose outputs are published."""
    return results.configs("teacher")


def collect(results: MnistResults) -> examples.Cases:
    """The examples, with the stored outputs of the nets."""
    data = load_images(results.profile.dataset)
    logits = {
        NETS[name]: results.store.tensors(net)["scored_logits"][:NUMBER]
        for name, net in published_nets(results).items()
    }
    return {"images": data.test_images[:NUMBER], "labels": data.test_labels[:NUMBER]} | logits, ""


SHOWN = {"examples": (NAME, sources, collect)}  # by what captions call them
