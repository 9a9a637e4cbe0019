"""Where the files of data sets are looked for, how they are fetched, and how they are read."""

import lzma
import os
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from distillation import REPOSITORY

ELSEWHERE = "set DISTILLATION_DATA to a folder with a whole copy (see data/README.md)"
Names = tuple[str, ...]


class DataError(RuntimeError):
    """A data file is missing, truncated, altered or mislabelled; the message names it and the remedy."""


def data_folder() -> Path:
    """$DISTILLATION_DATA, or data/ in the repository."""
    return Path(os.environ.get("DISTILLATION_DATA") or REPOSITORY / "data")


def is_offline() -> bool:
    """Whether DISTILLATION_OFFLINE forbids downloads.  Raises ValueError for a word that is neither yes nor no."""
    word = os.environ.get("DISTILLATION_OFFLINE", "").lower()
    if word not in ("", "0", "false", "no", "1", "true", "yes"):
        raise ValueError(f"DISTILLATION_OFFLINE={word} is neither yes nor no: set it to 1 (never download) or to 0.")
    return word in ("1", "true", "yes")


def obtain(names: Names, forms: Names, urls: Names, known_hash: str | None, bar: bool = False) -> Path:
    """The first of a file's forms that is in a folder of these names, one level off too, or else its first, downloaded.

    Raises DataError, with what there is in these folders.  What may not be looked at counts as found: reading it tells.
    """
    root = data_folder()
    folders = [*(root / name for name in names), root, *(f for name in names for f in sorted(root.glob(f"*/{name}")))]
    for path in (folder / form for folder in folders for form in forms):
        with suppress(OSError):
            with suppress(PermissionError):
                path.stat()
            return path
    there = [each for each in folders if os.access(f"{each}/", os.R_OK)]
    looked = ", ".join(f"{each} ({', '.join(sorted(os.listdir(each))[:9]) or 'empty'})" for each in there)
    return fetch(forms[0], urls, known_hash, folders[0], looked or f"{root} (no folder that can be read)", bar)


def fetch(name: str, urls: Names, known_hash: str | None, folder: Path, looked: str = "", bar: bool = False) -> Path:
    """Download a file into the folder from the first mirror that answers, and verify it.

    known_hash: "md5:..." or "sha256:..."; None: the caller verifies.  bar: show progress.  pooch writes to a temporary
    file and renames it once whole.  Raises DataError, with where one looked before, when no mirror delivers the file.
    """
    problem, reasons = "is missing and DISTILLATION_OFFLINE forbids downloads: unset it", []
    for url in () if is_offline() else urls:
        import pooch  # which a machine without a network may lack

        try:
            return Path(pooch.retrieve(url + name, known_hash, name, folder, progressbar=bar))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            if isinstance(error, PermissionError) or getattr(error, "errno", None):  # of the disk, not the network
                why = error.strerror or "Permission denied"  # which pooch words itself
                problem = f"is missing and cannot be downloaded to {folder} ({why}): make it writable"
                break
            reasons.append(f"{url}: {type(error).__name__}")
            problem = f"could not be downloaded ({'; '.join(reasons)}): check the network"
    raise DataError(f"{folder.name}/{name} {problem}, or {ELSEWHERE}; looked in {looked or 'no other folder'}.")


@contextmanager
def reading(path: Path, again: str = "") -> Iterator[None]:
    """Whatever is wrong with a file, or a folder of files, becomes a DataError that names it and the remedy (again)."""
    again = again or ("unpack it again" if os.path.isdir(path) else "delete the file and run again")
    try:
        yield
    except DataError as problem:
        raise DataError(f"{path} {problem}: {again}, or {ELSEWHERE}.") from None
    except PermissionError as error:
        raise DataError(f"{error.filename} may not be read: grant the permission, or {ELSEWHERE}.") from None
    except (OSError, EOFError, ValueError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is truncated or damaged ({reason}): {again}, or {ELSEWHERE}.") from None


def read_files(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Those files, by base name or path, that a tar archive holds, or its top folder that was unpacked; in memory.

    Raises DataError for an archive that is cut short, or holds a link or a path that leads out of it.
    """
    found: dict[str, bytes] = {}
    if os.path.isdir(path):
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = (path / (name.partition("/")[2] or name)).read_bytes()
        return found
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                name = place.name if place.name in names else str(place)
                if place.is_absolute() or ".." in place.parts:
                    raise DataError(f"holds the unsafe path {member.name}")
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"holds {member.name}, which is neither a file nor a folder")
                if name in found:
                    raise DataError(f"holds {name} twice")
                if member.isfile() and name in names:
                    found[name] = archive.extractfile(member).read()
            while archive.fileobj.read(1 << 20):  # the checksum comes last
                pass
    except EOFError:
        raise DataError(f"is truncated, ending after {len(found):,} of {len(names):,} files") from None
    return found
