"""What every data set shares: its shape, where files are looked for, and how they are fetched."""

import os
from dataclasses import dataclass
from pathlib import Path

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


def data_folder() -> Path:
    """$DISTILLATION_DATA, or data/ in the repository."""
    return Path(os.environ.get("DISTILLATION_DATA") or REPOSITORY / "data")


def fetch(name: str, urls: tuple[str, ...], md5: str, folder: Path) -> Path:
    """Download a file into the folder from the first mirror that answers, and verify it.

    pooch writes to a temporary file and renames it, so an interrupted download leaves nothing half-written.  Raises
    DataError when no mirror delivers the file.
    """
    reasons = []
    for url in urls:
        try:
            return Path(pooch.retrieve(url + name, known_hash=f"md5:{md5}", fname=name, path=folder))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            reasons.append(f"{url}: {type(error).__name__}")
    raise DataError(
        f"{name} could not be downloaded ({'; '.join(reasons)}). Check the network, or set DISTILLATION_DATA to a "
        "folder that holds the file."
    )
