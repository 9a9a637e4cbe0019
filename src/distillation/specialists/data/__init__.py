"""The data sets of small pictures, and the shape that they share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.core.objectives import class_labels


@dataclass(frozen=True)
class Pictures:
    """A labelled data set of small pictures, grey or in colour, whose classes form superclasses.

    train_images (cases, channels, height, width) uint8; train_labels (cases,) int64 class indices; likewise for test;
    class_names in the order of the indices; superclasses: the superclass of each class; superclass_names likewise.
    held_out: so many training cases, the last ones, are held out by the data set's own rule; None: it has none.
    characters: of training pictures of characters, their Unicode code points (cases,); None: they show something else.
    Labels of another integer type are taken as int64; anything else raises ValueError.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    superclasses: tuple[int, ...]
    superclass_names: tuple[str, ...]
    held_out: int | None = None
    characters: Tensor | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images = check_pictures(getattr(self, f"{part}_images"), f"{part} images of {self.name}")
            labels, name = getattr(self, f"{part}_labels"), f"{part} labels of {self.name}"
            labels = class_labels(labels, len(self.class_names), cases=len(images), name=name)
            object.__setattr__(self, f"{part}_labels", labels)
        if self.characters is not None:
            class_labels(self.characters, cases=len(self.train_labels), name=f"characters of {self.name}")
        groups, classes = len(self.superclass_names), len(self.class_names)
        class_labels(self.superclasses, groups, cases=classes, name=f"superclasses of {self.name}", of="of them")


def check_pictures(pictures: Tensor, name: str) -> Tensor:
    """Return pictures (cases, channels, height, width) uint8; raise ValueError for anything else."""
    if pictures.dtype != torch.uint8 or pictures.ndim != 4:
        shape = tuple(pictures.shape)
        raise ValueError(f"The {name} are {pictures.dtype} {shape}; pass uint8 (cases, channels, height, width).")
    return pictures
