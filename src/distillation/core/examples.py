"""The few test cases that notebooks show, with what trained nets make of them, and nets small enough to publish."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from distillation.core.store import Configuration, StoreError, load_tensors, save_tensors
from distillation.core.sweep import Results, sweep

Cases = tuple[dict[str, Tensor], str]  # tensors, and a description of them


def path_of(results: Results, name: str) -> Path:
    """results/<profile>/examples/<name>.safetensors."""
    return results.folder / "examples" / f"{name}.safetensors"


def load(results: Results, name: str, nets: list[Configuration], collect: Callable[[], Cases]) -> Cases:
    """The cases of that name; where results are trained, collected first unless they are there and from these nets.

    Raises StoreError, naming the command that makes the file, if it is missing, damaged or from other nets.
    """
    if results.trains:
        try:
            return read(results, name, nets)
        except StoreError:
            make(results, name, nets, collect)
    return read(results, name, nets)


def make(results: Results, name: str, nets: list[Configuration], collect: Callable[[], Cases]) -> None:
    """Collect the cases from the nets' weights and outputs, and write them, with what tells the nets' records."""
    sweep(nets, results.store, name="examples", needs_tensors=True)
    tensors, described = collect()
    texts = {"described": described, "sources": _identities(results, nets)}
    save_tensors(tensors, path_of(results, name), texts)


def read(results: Results, name: str, nets: list[Configuration]) -> Cases:
    """The cases in a file.  Raises StoreError as `load` does."""
    path = path_of(results, name)
    shown, command = f"examples/{path.name}", f"run ./run_all.sh {results.folder.name}"
    try:
        tensors, texts = load_tensors(path, needs_digest=True)
    except FileNotFoundError:
        raise StoreError(f"{shown} is missing: {command}.") from None
    except SafetensorError as error:
        raise StoreError(f"{shown} is damaged ({error}). Delete it and {command}.") from None
    if texts.get("sources") != _identities(results, nets):
        raise StoreError(f"{shown} is from other nets than those of the records: {command}.")
    return tensors, texts["described"]


def _identities(results: Results, nets: list[Configuration]) -> str:
    """What no other records have in common with these: a net that was trained again has the same name."""
    return " ".join(f"{results.store.name(net)}:{results.store.read(net)['digest']}" for net in nets)
