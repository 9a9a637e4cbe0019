"""Where records live: one JSON file per run, named by the hash of its configuration and recipe."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distillation.core.files import StoreError, locked, noted, writable, written_whole


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
    """The tensors and texts in a file.  Raises SafetensorError unless they are what was written.

    A file without a digest, as weights of before version 0.2.0 are, is only checked for its form, or refused.
    """
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


def _digest_of_record(record: dict) -> str:
    """SHA-256 of a record as it is read: numbers as keys are texts then."""
    as_read = json.loads(json.dumps(record))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """The records of one experiment at one profile.

    folder: results/<profile>/records/<experiment>.  recipe: the experiment's, raised whenever its code would give other
    results: a record of another recipe is never read (its name differs, and its content is checked).
    """

    folder: Path
    recipe: int

    def key(self, config: Any) -> str:
        """The name of a run: 16 hexadecimal digits from its configuration and the recipe."""
        text = json.dumps([plain(config), self.recipe], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, config: Any) -> Path:
        """Where the run's record is or will be."""
        return self.folder / f"{self.key(config)}.json"

    def has(self, config: Any) -> bool:
        """Whether the run is finished."""
        return self.path(config).exists()

    def read(self, config: Any) -> dict:
        """The run's record.  Raises StoreError if it is missing, not JSON, or not this run's."""
        path = noted(self.path(config))
        shown = f"records/{self.folder.name}/{path.name}"
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            raise StoreError(
                f"{shown} is missing: run ./run_all.sh {path.parents[2].name}, which trains what it lacks. ({config})"
            ) from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise StoreError(f"{shown} is damaged ({error}). Delete it and run again.") from None
        if not isinstance(record, dict) or (record.get("recipe"), record.get("config")) != (self.recipe, plain(config)):
            raise StoreError(f"{shown} is not the record of this configuration and recipe. Delete it and run again.")
        digest = record.pop("digest", None)  # records of before version 0.2.0 have none
        if digest not in (None, _digest_of_record(record)) or not isinstance(record.get("metrics"), dict):
            raise StoreError(f"{shown} is damaged (it is not what was written). Delete it and run again.")
        return record

    def write(self, config: Any, record: dict) -> None:
        """Write the run's record in one step: at any moment there is a whole record or none."""
        record = {"config": plain(config), "recipe": self.recipe} | record
        content = json.dumps(record | {"digest": _digest_of_record(record)}, indent=1, allow_nan=False)
        with written_whole(self.path(config)) as partial:
            partial.write_text(content + "\n")

    @contextmanager
    def claimed(self, config: Any, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes from the run meanwhile; gives False if one of them has it and wait is False.

        What processes that were killed while they wrote have left of this run is deleted.
        """
        with ExitStack() as stack:
            with writable(self.folder):
                held = stack.enter_context(locked(self.path(config).with_suffix(".lock"), wait=wait))
                for leftover in self.folder.glob(f"{self.key(config)}.*partial") if held else ():
                    leftover.unlink(missing_ok=True)
            yield held

    def tensors_path(self, config: Any) -> Path:
        """Where the run's weights and outputs lie: beside its record."""
        return self.path(config).with_suffix(".safetensors")

    def write_tensors(self, config: Any, tensors: dict[str, Tensor]) -> None:
        """Write weights or outputs beside the record, in one step; call before `write`."""
        save_tensors(tensors, self.tensors_path(config))

    def tensors(self, config: Any) -> dict[str, Tensor]:
        """The run's weights and outputs.  Raises StoreError if they are not on this disk or damaged."""
        path = self.tensors_path(config)
        try:
            return load_tensors(path)[0]
        except FileNotFoundError:
            raise StoreError(
                f"records/{self.folder.name}/{path.name} is not on this disk (only records are published): sweep its "
                "configuration with needs_tensors=True first."
            ) from None
        except SafetensorError as error:
            raise StoreError(f"{path.name} is damaged ({error}). Delete it and run again.") from None

    def checkpoint(self, config: Any) -> Path:
        """Where a long run saves its last epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.path(config).with_suffix(".checkpoint.safetensors")
