"""MNIST (LeCun et al., 1998), and the handwritten digits of scikit-learn that stand in for it."""

import gzip
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from distillation.core.data import DataError, data_folder, fetch

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
REMEDY = "Delete the file and run again, or set DISTILLATION_DATA to a folder with a whole copy."


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
    """The name of the data set to use: "mnist" if its files are there or can be downloaded, else "digits"."""
    try:
        for name in FILES:
            _file(name)
    except DataError:
        return "digits"
    return "mnist"


def load_mnist() -> Images:
    """60,000 training and 10,000 test images of 28x28, from $DISTILLATION_DATA/mnist, data/mnist or the mirrors.

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
    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    images = (torch.nn.functional.pad(large[:, 0], (4, 4, 4, 4)) * 255).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    train = torch.cat([images[:-500].roll(shift, (1, 2)) for shift in shifts])
    return Images("digits", train, labels[:-500].repeat(len(shifts)), images[-500:], labels[-500:], DIGITS)


def read_idx(path: Path, sha256: str, cases: int) -> Tensor:
    """The uint8 tensor in a gzipped IDX file: (cases, 28, 28) images or (cases,) labels, verified by content."""
    shown = f"{path.parent.name}/{path.name}"
    try:
        content = path.read_bytes()
        unpacked = b""
        with gzip.open(path) as stream:
            while block := stream.read1(1 << 20):
                unpacked += block
    except EOFError:
        item = 784 if "images" in path.name else 1
        have = max(0, len(unpacked) - 16) // item
        raise DataError(
            f"{shown} ends after about {have:,} of {cases:,} items: the download was cut short. {REMEDY}"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{shown} is not a readable gzip file ({error}). {REMEDY}") from None
    except Exception as error:  # zlib.error is none of the above
        raise DataError(f"{shown} is damaged ({error}; {len(content):,} bytes). {REMEDY}") from None
    if hashlib.sha256(unpacked).hexdigest() != sha256:
        raise DataError(f"{shown} does not hold MNIST as published (its SHA-256 differs). {REMEDY}")
    dimensions = unpacked[3]
    shape = struct.unpack(f">{dimensions}I", unpacked[4 : 4 + 4 * dimensions])
    values = np.frombuffer(unpacked, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def _file(name: str) -> Path:
    path = data_folder() / "mnist" / f"{name}.gz"
    if path.exists():
        return path
    if os.environ.get("DISTILLATION_OFFLINE"):
        raise DataError(f"mnist/{name}.gz is missing and DISTILLATION_OFFLINE forbids downloads.")
    return fetch(f"{name}.gz", MIRRORS, f"md5:{FILES[name][0]}", path.parent)
