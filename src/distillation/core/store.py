"""What is on disk, written whole or not at all: a JSON record per run, named by its settings, and weights beside it."""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distillation.core.data import REPOSITORY

MAIN_FIGURES = ("errors", "train_errors", "frame_accuracy", "accuracy", "held_out_accuracy", "rand_index")


class StoreError(RuntimeError):
    """A record is missing, damaged, stale or cannot be written; the message names it and the remedy."""


class Configuration:
    """The settings of a run, which know how it is run: a frozen dataclass of plain values.

    experiment: the folder of its records.  recipe: raised whenever the code would give other results, so that records
    of another recipe are never read.  threads: a field, of the processor's.  has_tensors: whether the run writes
    weights or outputs beside its record.
    """

    experiment: ClassVar[str]
    recipe: ClassVar[int] = 1
    has_tensors: ClassVar[bool] = True

    def run(self, store: "Store") -> dict:
        """Do it; return {"metrics": {...}, "history": [...]}."""
        raise NotImplementedError

    def starts_from(self, store: "Store") -> list["Configuration"]:
        """What must be finished before: by default the configurations inside.  May depend on records of the store."""
        return list(inside(self))

    def main_figure(self, metrics: dict) -> float | None:
        """The one metric that seeds are compared by; None for a run that has none."""
        return next((float(metrics[name]) for name in MAIN_FIGURES if metrics.get(name) is not None), None)


def inside(config: Any) -> Iterator[Configuration]:
    """The configurations directly inside another; what merely groups them is looked through."""
    for value in config if isinstance(config, tuple) else vars(config).values():
        if isinstance(value, Configuration):
            yield value
        elif dataclasses.is_dataclass(value) or isinstance(value, tuple):
            yield from inside(value)


def plain(config: Any) -> Any:
    """A configuration (nested frozen dataclasses of plain values) as JSON-ready data; each names its type."""
    if dataclasses.is_dataclass(config):
        # 20 and 20.0 are equal settings and must name the same run.
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        numbers = {field.name: float(values[field.name]) for field in dataclasses.fields(config) if field.type is float}
        return {"type": type(config).__name__} | {name: plain(value) for name, value in (values | numbers).items()}
    if isinstance(config, tuple | list):
        return [plain(item) for item in config]
    return config


def profile_named(name: str, profiles: Iterable[Any]) -> Any:
    """The profile of that name among a wing's.  Raises ValueError for an unknown one."""
    found = {profile.name: profile for profile in profiles}
    if name not in found:
        raise ValueError(f"Unknown profile {name!r}: choose one of {', '.join(found)}.")
    return found[name]


def results_folder(profile: str) -> Path:
    """results/<profile>, in the checkout or in $DISTILLATION_RESULTS; StoreError where there is neither."""
    if not (given := os.environ.get("DISTILLATION_RESULTS")) and not (REPOSITORY / "pyproject.toml").exists():
        raise StoreError("This installed copy has no folder for results: set DISTILLATION_RESULTS to one.")
    return Path(given or REPOSITORY / "results") / profile


@dataclass(frozen=True)
class Store:
    """The records of a profile; folder: results/<profile>/records."""

    folder: Path

    @classmethod
    def of(cls, profile: str) -> "Store":
        """The profile's own store."""
        return cls(results_folder(profile) / "records")

    def name(self, config: Configuration) -> str:
        """The name of a run: 16 hexadecimal digits from its configuration and recipe, in its experiment's folder."""
        text = json.dumps([plain(config), config.recipe], sort_keys=True)
        return f"{config.experiment}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def path(self, config: Configuration) -> Path:
        """Where the run's record is or will be."""
        return self.folder / f"{self.name(config)}.json"

    def has(self, config: Configuration) -> bool:
        """Whether the run is finished."""
        return self.path(config).exists()

    def done(self, config: Configuration, needs_tensors: bool) -> bool:
        """Whether a run is finished and what is needed of it lies on this disk."""
        if not self.has(config):
            return False
        files = (self.tensors_path(config), self.published_path(config))
        is_enough = not needs_tensors or not config.has_tensors or any(path.exists() for path in files)
        return is_enough or has_diverged(self.read(config))

    def read(self, config: Configuration) -> dict:
        """The run's record.  Raises StoreError if it is missing, not JSON, or not this run's."""
        path, shown = self.path(config), f"records/{self.name(config)}.json"
        try:
            record = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            command = f"run ./run_all.sh {self.folder.parent.name}, which trains what it lacks"
            raise StoreError(f"{shown} is missing: {command}. ({config})") from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise StoreError(f"{shown} is damaged ({error}). Delete it and run again.") from None
        wanted = (config.recipe, plain(config))
        if not isinstance(record, dict) or (record.get("recipe"), record.get("config")) != wanted:
            raise StoreError(f"{shown} is not the record of this configuration and recipe. Delete it and run again.")
        if record.get("digest") != _digest_of_record(record) or not isinstance(record.get("metrics"), dict):
            raise StoreError(f"{shown} is damaged (it is not what was written). Delete it and run again.")
        return record

    def metrics(self, config: Configuration) -> dict:
        """The metrics in the run's record."""
        return self.read(config)["metrics"]

    def write(self, config: Configuration, record: dict) -> None:
        """Write the run's record in one step: at any moment there is a whole record or none."""
        record = {"config": plain(config), "recipe": config.recipe} | record
        with written_whole(self.path(config)) as partial:
            partial.write_text(_as_text(record | {"digest": _digest_of_record(record)}) + "\n", "utf-8")

    @contextmanager
    def claimed(self, config: Configuration, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes from the run meanwhile; gives False if one of them has it and wait is False.

        What processes that were killed while they wrote have left of this run is deleted.
        """
        path = self.path(config)
        with ExitStack() as stack:
            with writable(path.parent):
                held = stack.enter_context(locked(path.with_suffix(".lock"), wait=wait))
                for leftover in path.parent.glob(f"{path.stem}.*partial") if held else ():
                    leftover.unlink(missing_ok=True)
            yield held

    def tensors_path(self, config: Configuration) -> Path:
        """Where the run's weights and outputs lie: beside its record."""
        return self.path(config).with_suffix(".safetensors")

    def published_path(self, config: Configuration) -> Path:
        """Where outputs of the run are published, for those who have not its weights."""
        return self.folder.parent / "models" / f"{self.name(config)}.safetensors"

    def write_tensors(self, config: Configuration, tensors: dict[str, Tensor]) -> None:
        """Write weights or outputs beside the record, in one step; call before `write`."""
        save_tensors(tensors, self.tensors_path(config))

    def tensors(self, config: Configuration) -> dict[str, Tensor]:
        """The run's weights and outputs, or its published outputs.  StoreError if none are on this disk or damaged."""
        shown = f"records/{self.name(config)}.safetensors"
        own, published = self.tensors_path(config), self.published_path(config)
        try:
            return load_tensors(published if published.exists() and not own.exists() else own)[0]
        except FileNotFoundError:
            why = "is not on this disk (only records are published)"
            raise StoreError(f"{shown} {why}: sweep its configuration with needs_tensors=True first.") from None
        except SafetensorError as error:
            raise StoreError(f"{shown} is damaged ({error}). Delete it and run again.") from None

    def checkpoint(self, config: Configuration) -> Path:
        """Where a long run saves its last epoch."""
        path = self.path(config).with_suffix(".checkpoint.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def has_diverged(record: dict) -> bool:
    """Whether a run is a result without weights: its loss became NaN or infinite."""
    return "diverged" in record["metrics"]


def _as_text(value: Any, indent: int = 1) -> str:
    """JSON with a line for each entry of a dictionary; a list is one line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False)
    entries = (f"{' ' * indent}{json.dumps(str(key))}: {_as_text(each, indent + 1)}" for key, each in value.items())
    return "{\n" + ",\n".join(entries) + "\n" + " " * (indent - 1) + "}"


def _digest_of_record(record: dict) -> str:
    """SHA-256 of a record as it is read (numbers as keys are texts then), but for the digest in it."""
    as_read = json.loads(json.dumps({key: value for key, value in record.items() if key != "digest"}))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def save_tensors(tensors: dict[str, Tensor], path: Path, texts: dict[str, str] | None = None) -> None:
    """Write tensors, texts and a digest of both in one step.  Raises StoreError where they cannot be written."""
    packed, texts = {name: tensor.contiguous() for name, tensor in tensors.items()}, texts or {}
    write_safetensors(packed, path, texts | {"digest": _digest(packed, texts)})


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write contiguous tensors and metadata in one step.  Raises StoreError where they cannot be written."""
    # Not with save_file, whose temporary file has a random name: one that a killed process left would never be found.
    with written_whole(path) as partial:
        partial.write_bytes(save(tensors, metadata))


def load_tensors(path: Path, *, needs_digest: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts in a file.  Raises SafetensorError unless they are what was written, as far as it says."""
    with safe_open(path, "pt") as saved:
        tensors, texts = {name: saved.get_tensor(name) for name in saved.keys()}, saved.metadata() or {}  # noqa: SIM118
    digest = texts.pop("digest", None)
    if digest != _digest(tensors, texts) and (needs_digest or digest is not None):
        raise SafetensorError("its content is not what was written")
    return tensors, texts


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes, values and texts."""
    found = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives the path of a partial file to write, which takes the place of the given one in one step afterwards.

    Raises StoreError, and leaves nothing, where it cannot be written.
    """
    # No other process has this name, not even on another machine that shares the folder.
    partial = path.with_suffix(f".{platform.node()}.{os.getpid()}.partial")
    try:
        with writable(path.parent):
            yield partial
            with open(partial, "rb") as file:
                _flush_to_disk(file.fileno())
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _flush_to_disk(descriptor: int) -> None:
    """As fsync, where the file system has it: some network and user-space ones do not."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


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


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock that a file stands for, made and deleted here; give False at once if another has it and not wait.

    The system frees the lock when its holder ends, however it ends.  A file system without locks lets everyone hold it.
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
