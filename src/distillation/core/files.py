"""Files that are written whole or not at all, locks between processes, and what is read for what."""

# Imports are of the standard library alone, as the runner's are.
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class StoreError(RuntimeError):
    """A record is missing, damaged, stale or cannot be written; the message names it and the remedy."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives the path of a partial file to write, which takes the place of the given one in one step afterwards.

    At any moment there is a whole file or none.  Raises StoreError, and leaves nothing, where it cannot be written.
    """
    # No other process has this name, not even on another machine that shares the folder.
    partial = path.with_suffix(f".{platform.node()}.{os.getpid()}.partial")
    try:
        with writable(path.parent):
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Make the folder; raise StoreError, with the remedy, if that or what is then written there fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (BrokenPipeError, BlockingIOError):  # of who reads the output, or of a process that cannot be started
        raise
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"{folder} cannot be written ({reason}): make room there, or set DISTILLATION_RESULTS to another folder, "
            "and run again; finished runs are kept."
        ) from None


_watching: list[set[Path]] = []


@contextmanager
def watched() -> Iterator[set[Path]]:
    """Gives the set of the published files that are read meanwhile; it fills as they are."""
    found: set[Path] = set()
    _watching.append(found)
    try:
        yield found
    finally:
        _watching[:] = [each for each in _watching if each is not found]


def noted(*paths: Path) -> Path:
    """Tell those who watch that what is made now follows from these files; return the first."""
    for found in _watching:
        found.update(paths)
    return paths[0]


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
