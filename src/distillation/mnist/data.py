"""MNIST (LeCun et al., 1998), and the handwritten digits of scikit-learn that stand in for it."""

import gzip
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distillation.core.data import DataError, obtain, reading

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# name: (MD5 of the .gz, as published; SHA-256 of the unpacked bytes; cases)
FILES = {
    "train-images-idx3-ubyte": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        60_000,
    ),
    "train-labels-idx1-ubyte": (
        "d53e105ee54ea40749a09fcbcd1e9432",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_000,
    ),
    "t10k-images-idx3-ubyte": (
        "9fb629c4189551a2d022fa330f9573f3",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        10_000,
    ),
    "t10k-labels-idx1-ubyte": (
        "ec29112dd5afa0611ce80d1b7f02629c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_000,
    ),
}
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Images:
    """A labelled image data set held in memory.

    train_images (cases, height, width) uint8 with 0 for background; train_labels (cases,) int64 class indices;
    likewise for test; class_names in the order of the indices.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]


def load(name: str) -> Images:
    """The data set "mnist" or "digits" (see `find` for the choice).  Raises ValueError for another name."""
    if name == "mnist":
        return load_mnist()
    if name == "digits":
        return load_stand_in()
    raise ValueError(f"Unknown data set {name!r}: use 'mnist' or 'digits'.")


def find() -> str:
    """The data set to use: "mnist" if its files are there or can be downloaded, else "digits", and it prints why."""
    try:
        for name in FILES:
            _file(name)
    except DataError as reason:
        print(f"MNIST is not here and cannot be downloaded: scikit-learn's digits stand in for it. {reason}")
        return "digits"
    return "mnist"


def load_mnist() -> Images:
    """60,000 training and 10,000 test images of 28x28, from $DISTILLATION_DATA, data/ or the mirrors.

    Raises DataError, naming the file and the remedy, for anything but the published content.
    """
    arrays = {name: read_idx(_file(name), sha256, cases) for name, (_, sha256, cases) in FILES.items()}
    return Images(
        "mnist",
        arrays["train-images-idx3-ubyte"],
        arrays["train-labels-idx1-ubyte"].long(),
        arrays["t10k-images-idx3-ubyte"],
        arrays["t10k-labels-idx1-ubyte"].long(),
        DIGITS,
    )


def load_stand_in() -> Images:
    """scikit-learn's 1,797 digits of 8x8, enlarged to 20x20 in a frame of 28x28; the last 500 are the test set.

    The training images are repeated with shifts of one pixel in four directions (after the split, so that no test
    image has a relative among them).  Held-out cases cut from this training set do have relatives in the rest, so what
    is chosen on them is optimistic here, as it is not on MNIST.
    """
    from sklearn.datasets import load_digits  # slow to load

    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    images = (torch.nn.functional.pad(large[:, 0], (4, 4, 4, 4)) * 255).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    train = torch.cat([images[:-500].roll(shift, (1, 2)) for shift in shifts])
    return Images("digits", train, labels[:-500].repeat(len(shifts)), images[-500:], labels[-500:], DIGITS)


def read_idx(path: Path, sha256: str, cases: int) -> Tensor:
    """The uint8 tensor in an IDX file, gzipped or not: (cases, 28, 28) images or (cases,) labels, verified by content.

    Raises DataError, naming the file and the remedy, for anything but the published content.
    """
    unpacked = bytearray()
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            while block := stream.read1(1 << 20):
                unpacked += block
        except EOFError:
            have = max(0, len(unpacked) - 16) // (784 if "images" in path.name else 1)
            raise DataError(f"is truncated, ending after about {have:,} of {cases:,} items") from None
        if hashlib.sha256(unpacked).hexdigest() != sha256:
            raise DataError(f"does not hold MNIST as published (the SHA-256 of its {len(unpacked):,} bytes differs)")
    dimensions = unpacked[3]
    shape = struct.unpack(f">{dimensions}I", unpacked[4 : 4 + 4 * dimensions])
    values = np.frombuffer(unpacked, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def _file(name: str) -> Path:
    """Where a file of FILES is: packed or not, under one of its two usual names, perhaps in torchvision's folder."""
    dotted = name.replace("-idx", ".idx")
    names = (f"{name}.gz", f"{dotted}.gz", dotted, name)
    forms = tuple(f"{folder}{each}" for folder in ("", "raw/", "MNIST/raw/") for each in names)
    return obtain(("mnist", "MNIST"), forms, MIRRORS, f"md5:{FILES[name][0]}")
