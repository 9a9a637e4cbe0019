"""The data sets of small pictures, and the shape that they share."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """A labelled data set of small pictures, grey or in colour, whose classes form superclasses.

    train_images (cases, channels, height, width) uint8; train_labels (cases,) int64 class indices; likewise for test;
    class_names in the order of the indices; superclasses: the superclass of each class; superclass_names likewise.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    superclasses: tuple[int, ...]
    superclass_names: tuple[str, ...]
