"""The few test pictures that notebook 04 shows, with what the generalist and its specialists make of them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distillation.core import examples as example_files
from distillation.specialists import inference as specialists
from distillation.specialists.generalists import load
from distillation.specialists.nets import answers_of, generalist_store
from distillation.specialists.plan import SpecialistProfile, section5

FIXED, BROKEN = 5, 3


@dataclass(frozen=True)
class PictureExamples:
    """Test pictures whose answer seed 0's specialists change (n = 1): the first that they put right, and wrong.

    pictures (cases, channels, height, width) uint8; labels (cases,); generalist and combined: their distributions,
    (cases, classes) float32.
    """

    pictures: Tensor
    labels: Tensor
    generalist: Tensor
    combined: Tensor

    @staticmethod
    def path(profile: SpecialistProfile) -> Path:
        """results/<profile>/examples/pictures.safetensors."""
        return profile.results / "examples" / "pictures.safetensors"

    @classmethod
    def load(cls, profile: SpecialistProfile) -> "PictureExamples":
        """The profile's examples.  Raises StoreError as `example_files.load` does."""
        return cls(**example_files.load(cls.path(profile), sources(profile))[0])


def sources(profile: SpecialistProfile) -> list[Path]:
    """The records of the nets that the examples hold the answers of."""
    config, store = section5(profile)["specialists"][0], profile.store("specialists")
    nets = [generalist_store(store).path(config.assignment.generalist), *map(store.path, config.members(store))]
    return [*nets, store.path(config.assignment)]


def are_current(profile: SpecialistProfile) -> bool:
    """Whether the profile's examples are there and from its nets."""
    return example_files.is_current(PictureExamples.path(profile), sources(profile))


def make(profile: SpecialistProfile) -> PictureExamples:
    """Collect and save the examples from the stored outputs of seed 0's generalist and specialists."""
    config, store = section5(profile)["specialists"][0], profile.store("specialists")
    split = load(config.assignment.generalist.data)
    logits = generalist_store(store).tensors(config.assignment.generalist)["test"]
    answers = answers_of(config.members(store), store, split, "test")
    active = specialists.active(logits, [answer.subset for answer in answers], 1)
    q, labels = specialists.combine(logits, answers, active), split.pictures.test_labels
    before, after = logits.argmax(1) == labels, q.argmax(1) == labels
    chosen = torch.cat([(~before & after).nonzero()[:FIXED, 0], (before & ~after).nonzero()[:BROKEN, 0]])
    examples = PictureExamples(
        split.pictures.test_images[chosen], labels[chosen], logits[chosen].softmax(1), q[chosen].float()
    )
    example_files.save(PictureExamples.path(profile), vars(examples), sources(profile))
    return examples
