"""What every data set shares: its shape, where files are looked for, and how they are fetched."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[3]


class DataError(RuntimeError):
    """A data file is missing, truncated, altered or mislabelled; the message names it and the remedy."""


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


SAMPLE_RATE = 16_000  # of every speech data set, in Hz


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    samples: (samples,) int16 at 16 kHz.  words: the transcript in capitals, without sentence marks.  phones: where they
    are known exactly (synthetic speech), (phone, first sample, end sample) in order, silence included; else empty.
    """

    name: str
    speaker: str
    samples: np.ndarray
    words: tuple[str, ...]
    phones: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Speech:
    """A transcribed speech data set held in memory; its three parts share no speaker.

    lexicon: each word's pronunciations, (word -> (phones, ...)); the silence phone "SIL" is in none of them.
    """

    name: str
    train: tuple[Utterance, ...]
    development: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    lexicon: dict[str, tuple[tuple[str, ...], ...]]


def data_folder() -> Path:
    """$DISTILLATION_DATA, or data/ in the repository."""
    return Path(os.environ.get("DISTILLATION_DATA") or REPOSITORY / "data")


def fetch(name: str, urls: tuple[str, ...], known_hash: str, folder: Path) -> Path:
    """Download a file into the folder from the first mirror that answers, and verify it.

    known_hash: "md5:..." or "sha256:...".  pooch writes to a temporary file and renames it, so an interrupted download
    leaves nothing half-written.  Raises DataError when no mirror delivers the file.
    """
    reasons = []
    for url in urls:
        try:
            return Path(pooch.retrieve(url + name, known_hash=known_hash, fname=name, path=folder))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            reasons.append(f"{url}: {type(error).__name__}")
    raise DataError(
        f"{name} could not be downloaded ({'; '.join(reasons)}). Check the network, or set DISTILLATION_DATA to a "
        "folder that holds the file."
    )
