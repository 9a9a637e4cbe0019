"""CIFAR-100 (Krizhevsky, 2009), binary version: small colour pictures of 100 classes in 20 superclasses."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distillation.core.data import DataError, obtain, read_files, reading
from distillation.specialists.data import Pictures

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = "cifar-100-binary.tar.gz"
ARCHIVE_MD5 = "03b5dce01913d631647c71ecec9e9cb8"
ROW = 3074  # bytes: superclass, class, then 32x32 red, green and blue values
# file: (SHA-256 over its rows' sorted SHA-256 digests, rows)
FILES = {
    "train.bin": ("7077d87fc363f92dbf1245f13ba80561d7b33a96c79ad57168d49dc172aaa92b", 50_000),
    "test.bin": ("96adb3db8da7632dbb350559a17b9f585fab5b17675de5fc8f6761384196b294", 10_000),
}
# file: (SHA-256 of its names, one per line, without a last line's end; names)
NAMES = {
    "fine_label_names.txt": ("fbe8ad23bbaf24969898a386833b49c3aaf6ad1119d43f7b41cdea1b3416d578", 100),
    "coarse_label_names.txt": ("9b48b836d98e8782057bb6a4da0d4030fe828e2b156b81fa835fda91b5276930", 20),
}


def load() -> Pictures:
    """50,000 training and 10,000 test pictures, (3, 32, 32), from $DISTILLATION_DATA, data/ or the mirror.

    The rows come in the order of their digests, whatever the archive's, so that seeds and splits mean the same pictures
    everywhere.  Some pictures occur more than once, also across training and test; they are left as they are.  Raises
    DataError, naming the archive, the file and the remedy, for anything but the published content.
    """
    source = _source()
    with reading(source):
        files = read_files(source, {*FILES, *NAMES})
        if missing := sorted({*FILES, *NAMES} - set(files)):
            raise DataError(f"lacks {', '.join(missing)}")
        train, test = (read_rows(files[name], name) for name in FILES)
        class_names, superclass_names = (read_names(files[name], name) for name in NAMES)
        superclasses = superclasses_of(train)
    return Pictures(
        "cifar-100", *_split(train), *_split(test), class_names, tuple(superclasses.tolist()), superclass_names
    )


def read_rows(content: bytes, name: str) -> Tensor:
    """The rows of a file of FILES, (rows, 3074) uint8, in the order of their SHA-256 digests.  Raises DataError."""
    digest, number = FILES[name]
    if len(content) != number * ROW:
        rows = len(content) / ROW
        raise DataError(f"has {rows:,.1f} rows instead of {number:,} in {name}")
    digests = [hashlib.sha256(content[start : start + ROW]).digest() for start in range(0, len(content), ROW)]
    order = sorted(range(number), key=digests.__getitem__)
    if hashlib.sha256(b"".join(digests[row] for row in order)).hexdigest() != digest:
        raise DataError(f"does not hold the rows of {name} as published (their digest differs)")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(number, ROW)[order])


def read_names(content: bytes, name: str) -> tuple[str, ...]:
    """The names in a file of NAMES, one per line.  Raises DataError unless they are the published ones."""
    digest, number = NAMES[name]
    names = content.split()
    if hashlib.sha256(b"\n".join(names)).hexdigest() != digest:
        raise DataError(f"has {len(names)} names, but not the {number} as published, in {name}")
    return tuple(each.decode("ascii") for each in names)


def superclasses_of(rows: Tensor) -> Tensor:
    """The superclass of each class, (classes,) int64.  Raises DataError where one class has two."""
    coarse, fine = rows[:, 0].long(), rows[:, 1].long()
    found = torch.zeros(int(fine.max()) + 1, dtype=torch.int64).scatter(0, fine, coarse)
    if (found[fine] != coarse).any():
        raise DataError("has labels that put one class into two superclasses")
    return found


def _split(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows[:, 2:].reshape(-1, 3, 32, 32), rows[:, 1].long()


def _source() -> Path:
    """Where CIFAR-100 is: its archive, or the folder of the unpacked files."""
    forms = (ARCHIVE, "cifar-100-binary.tar.xz", "cifar-100-binary.tar", "cifar-100-binary", "test.bin")
    found = obtain(("cifar-100",), forms, MIRRORS, f"md5:{ARCHIVE_MD5}")
    return found.parent if found.name == "test.bin" else found
