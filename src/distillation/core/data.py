"""Where the files of data sets are looked for, and how they are fetched."""

import os
from pathlib import Path

import pooch

REPOSITORY = Path(__file__).resolve().parents[3]


class DataError(RuntimeError):
    """A data file is missing, truncated, altered or mislabelled; the message names it and the remedy."""


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
