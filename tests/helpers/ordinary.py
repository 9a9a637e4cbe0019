"""Where permissions count: a folder that everybody may enter, and what root does as nobody in particular."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch.downloaders  # noqa: F401 - a Python in root's home can be read by nobody else, so not later

NOBODY = 65534


@contextmanager
def public_folder() -> Iterator[Path]:
    """A new folder outside of pytest's, which root alone may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """Give a path these permissions, which count even where the tests run as root."""
    before = path.stat().st_mode
    is_root = os.getuid() == 0
    path.chmod(mode)
    if is_root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
        path.chmod(before)
