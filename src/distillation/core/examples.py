"""Files of the few test cases that notebooks show, with what trained nets make of them; they are published."""

import json
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from distillation.core.files import StoreError, noted
from distillation.core.store import load_tensors, save_tensors


def save(path: Path, tensors: dict[str, Tensor], sources: list[Path], described: str = "") -> None:
    """Write the cases in one step, with what tells the records of the nets that they are from."""
    save_tensors(tensors, path, {"described": described, "sources": _identities(sources)})


def is_current(path: Path, sources: list[Path]) -> bool:
    """Whether the file is there, whole, and from the nets of these records."""
    try:
        load(path, sources)
    except StoreError:
        return False
    return True


def load(path: Path, sources: list[Path]) -> tuple[dict[str, Tensor], str]:
    """The tensors and the description of a file.

    Raises StoreError, naming the command that makes it, if it is missing, damaged or from other nets than these.
    """
    name, command = f"examples/{path.name}", f"run ./run_all.sh {path.parents[1].name}"
    try:
        tensors, texts = load_tensors(noted(path, *sources), needs_digest=True)
    except FileNotFoundError:
        raise StoreError(f"{name} is missing: {command}.") from None
    except SafetensorError as error:
        raise StoreError(f"{name} is damaged ({error}). Delete it and {command}.") from None
    if texts.get("sources") != _identities(sources):
        raise StoreError(f"{name} is from other nets than those of the records: {command}.")
    return tensors, texts["described"]


def _identities(sources: list[Path]) -> str:
    """What no other records have in common with these: a net that was trained again has the same name."""
    return " ".join(f"{source.parent.name}/{source.stem}:{_digest(source)}" for source in sources)


def _digest(source: Path) -> str:
    try:
        return json.loads(source.read_text())["digest"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "none"  # reading the record itself says what is wrong with it
