"""The few test digits that notebooks show, with the logits of three nets: small enough to be published."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from distillation.core import examples as example_files
from distillation.core.store import write_safetensors
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.mnist.plan import Profile

NUMBER = 100
NETS = ("teacher", "distilled", "plain")


@dataclass(frozen=True)
class Examples:
    """Test digits: images (cases, 28, 28) uint8, labels (cases,), logits (cases, 10) float32 of three nets."""

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor
    student_logits: Tensor
    plain_logits: Tensor

    @staticmethod
    def path(profile: Profile) -> Path:
        """results/<profile>/examples/digits.safetensors."""
        return profile.results / "examples" / "digits.safetensors"

    @classmethod
    def load(cls, profile: Profile) -> "Examples":
        """The profile's examples.  Raises StoreError as `example_files.load` does."""
        return cls(**example_files.load(cls.path(profile), sources(profile))[0])


def sources(profile: Profile) -> list[Path]:
    """The records of the nets that the examples hold the logits of."""
    return [profile.store("mnist").path(plans.section3(profile)[name][0]) for name in NETS]


def are_current(profile: Profile) -> bool:
    """Whether the profile's examples are there and from its nets."""
    return example_files.is_current(Examples.path(profile), sources(profile))


def make(profile: Profile) -> Examples:
    """Collect and save the examples, with the stored outputs of the teacher, distilled and plain nets of seed 0."""
    data, store = mnist.load(profile.dataset), profile.store("mnist")
    runs = plans.section3(profile)
    logits = {
        name: store.tensors(runs[key][0])["scored_logits"][:NUMBER]
        for name, key in zip(("teacher_logits", "student_logits", "plain_logits"), NETS, strict=True)
    }
    images, labels = data.test_images[:NUMBER], data.test_labels[:NUMBER]
    examples = Examples(images=images, labels=labels, **logits)
    example_files.save(Examples.path(profile), vars(examples), sources(profile))
    return examples


def publish_weights(profile: Profile) -> list[Path]:
    """Write the weights of the teacher, distilled and plain nets of seed 0, in half precision, under models/."""
    store, runs = profile.store("mnist"), plans.section3(profile)
    folder = profile.results / "models"
    paths = []
    for name in NETS:
        tensors = store.tensors(runs[name][0])
        weights = {key: value.half() for key, value in tensors.items() if key.endswith(("weight", "bias"))}
        paths.append(folder / f"{name}.safetensors")
        write_safetensors(weights, paths[-1], {"record": store.path(runs[name][0]).name})
    return paths
