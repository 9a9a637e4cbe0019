"""The few test pictures that notebook 04 shows, with what the generalist and its specialists make of them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillation import specialists
from distillation.experiments.generalists import load
from distillation.experiments.specialists import answers_of, generalist_store
from distillation.files import StoreError, noted
from distillation.specialist_plans import SpecialistProfile, section5

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
        """The profile's examples.  Raises StoreError, naming the command that makes them, if they are missing."""
        try:
            return cls(**load_file(noted(cls.path(profile), *sources(profile))))
        except FileNotFoundError:
            raise StoreError(
                f"results/{profile.name}/examples/pictures.safetensors is missing: run ./run_all.sh {profile.name} 04."
            ) from None


def sources(profile: SpecialistProfile) -> list[Path]:
    """The records of the nets that the examples hold the answers of."""
    config, store = section5(profile)["specialists"][0], profile.store("specialists")
    nets = [generalist_store(store).path(config.assignment.generalist), *map(store.path, config.members(store))]
    return [*nets, store.path(config.assignment)]


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
    path = PictureExamples.path(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in vars(examples).items()}, path)
    return examples
