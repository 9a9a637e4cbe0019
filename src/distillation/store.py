"""Where records live: one JSON file per run, named by the hash of its configuration and recipe."""

import dataclasses
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


class StoreError(RuntimeError):
    """A record is missing, damaged or stale; the message names it and the remedy."""


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
        path = self.path(config)
        shown = f"records/{self.folder.name}/{path.name}"
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            raise StoreError(
                f"{shown} is missing: run ./run_all.sh {path.parents[2].name}, which trains what it lacks. ({config})"
            ) from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise StoreError(f"{shown} is damaged ({error}). Delete it and run again.") from None
        if not isinstance(record, dict) or record.get("recipe") != self.recipe or record.get("config") != plain(config):
            raise StoreError(f"{shown} is not the record of this configuration and recipe. Delete it and run again.")
        return record

    def write(self, config: Any, record: dict) -> None:
        """Write the run's record in one step: at any moment there is a whole record or none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"config": plain(config), "recipe": self.recipe} | record, indent=1, allow_nan=False)
        partial = self._partial(self.path(config))
        with open(partial, "w") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path(config))

    def tensors_path(self, config: Any) -> Path:
        """Where the run's weights and outputs lie: beside its record."""
        return self.path(config).with_suffix(".safetensors")

    def write_tensors(self, config: Any, tensors: dict[str, Tensor]) -> None:
        """Write weights or outputs beside the record, in one step; call before `write`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._partial(self.tensors_path(config))
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        os.replace(partial, self.tensors_path(config))

    def tensors(self, config: Any) -> dict[str, Tensor]:
        """The run's weights and outputs.  Raises StoreError if they are not on this disk or damaged."""
        path = self.tensors_path(config)
        try:
            return load_file(path)
        except FileNotFoundError:
            raise StoreError(
                f"records/{self.folder.name}/{path.name} is not on this disk (only records are published): sweep its "
                "configuration with needs_tensors=True first."
            ) from None
        except SafetensorError as error:
            raise StoreError(f"{path.name} is damaged ({error}). Delete it and run again.") from None

    @staticmethod
    def _partial(path: Path) -> Path:
        # No other process has this name, not even on another machine that shares the folder.
        return path.with_suffix(f".{platform.node()}.{os.getpid()}.partial")

    def checkpoint(self, config: Any) -> Path:
        """Where a long run saves its last epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.path(config).with_suffix(".checkpoint.safetensors")
