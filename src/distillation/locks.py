"""Locks between processes that use one results folder at the same time."""

# Imports are of the standard library alone: the runner, which needs nothing else for --help, uses this.
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock that a file stands for; it is made and deleted here.  Gives whether the lock is held.

    While another process holds it, this waits, or gives False at once if wait is False.  The system frees the lock when
    its holder ends, however it ends, so no lock outlives a killed process.  A file system without locks has none to
    wait for: everyone holds them.
    """
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass
            if not _stands_for(path, file.fileno()):
                continue  # its last holder has deleted it
            try:
                yield True
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _stands_for(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
