"""The few pictures that notebook 04 shows: classes that look alike, and what the nets make of test pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.core import examples
from distillation.core.store import Configuration
from distillation.specialists import inference
from distillation.specialists.assignment import subsets_of
from distillation.specialists.combination import answers_of
from distillation.specialists.data import Pictures
from distillation.specialists.generalists import load as load_pictures
from distillation.specialists.results import SpecialistResults

NAME = "pictures"
FIXED, BROKEN = 5, 3
SUBSETS, CLASSES, LETTERS = 6, 5, "Rag"


@dataclass(frozen=True)
class PictureExamples:
    """Test pictures whose answer seed 0's specialists change (n = 1): the first that they put right, and wrong.

    pictures (cases, channels, height, width) uint8; labels (cases,); generalist and combined: their distributions,
    (cases, classes) float32.  alike: some LETTERS, zeros where one is in no training picture, in CLASSES classes, of
    as many superclasses as possible, of the first SUBSETS subsets, uint8 (subsets, classes, letters, height, width);
    alike_classes: which, (subsets, classes).
    """

    pictures: Tensor
    labels: Tensor
    generalist: Tensor
    combined: Tensor
    alike: Tensor
    alike_classes: Tensor

    @classmethod
    def load(cls, results: SpecialistResults) -> "PictureExamples":
        """A profile's examples.  Made first, or refused with a StoreError, as `core.examples.load` says."""
        tensors, _ = examples.load(results, NAME, sources(results), lambda: collect(results))
        return cls(**tensors)


def sources(results: SpecialistResults) -> list[Configuration]:
    """The generalist and specialists that the examples hold the answers of, and their assignment."""
    config = results.configs("specialists")[0]
    return [config.assignment.generalist, *config.members(results.store), config.assignment]


def published_nets(results: SpecialistResults) -> dict[str, Configuration]:
    """None: a generalist alone is of no use to others."""
    return {}


def published_outputs(results: SpecialistResults) -> list[Configuration]:
    """None: what specialists start from are weights."""
    return []


def collect(results: SpecialistResults) -> examples.Cases:
    """The examples, from the stored outputs of seed 0's generalist and specialists."""
    config, store = results.configs("specialists")[0], results.store
    split = load_pictures(config.assignment.generalist.data)
    logits = store.tensors(config.assignment.generalist)["test"]
    answers = answers_of(config.members(store), store, split, "test")
    active = inference.active(logits, [answer.subset for answer in answers], 1)
    q, labels = inference.combine(logits, answers, active), split.pictures.test_labels
    before, after = logits.argmax(1) == labels, q.argmax(1) == labels
    chosen = torch.cat([(~before & after).nonzero()[:FIXED, 0], (before & ~after).nonzero()[:BROKEN, 0]])
    subsets = subsets_of(config.assignment, store)[:SUBSETS]
    alike = [superclasses_first(subset, split.pictures.superclasses)[:CLASSES] for subset in subsets]
    return {
        "pictures": split.pictures.test_images[chosen],
        "labels": labels[chosen],
        "generalist": logits[chosen].softmax(1),
        "combined": q[chosen].float(),
        "alike": torch.stack([torch.stack([letters(split.pictures, c) for c in classes]) for classes in alike]),
        "alike_classes": torch.tensor(alike),
    }, ""


def superclasses_first(subset: Sequence[int], superclasses: Sequence[int]) -> list[int]:
    """A subset's classes, those first that are the first of their superclass."""
    firsts = {superclasses[c]: c for c in sorted(subset, reverse=True)}.values()
    return sorted(subset, key=lambda c: (c not in firsts, c))


def letters(pictures: Pictures, label: int) -> Tensor:
    """The LETTERS of a class, (letters, height, width) uint8, as far as they are among its training pictures."""
    found = torch.zeros(len(LETTERS), *pictures.train_images.shape[2:], dtype=torch.uint8)
    of_class = (pictures.train_labels == label).nonzero()[:, 0]
    for place, letter in enumerate(LETTERS):
        for case in of_class[pictures.characters[of_class] == ord(letter)]:
            found[place] = pictures.train_images[case, 0]
    return found


SHOWN = {"examples": (NAME, sources, collect)}  # by what captions call them
