"""The package is laid out as CONTRIBUTING.md says: imports run one way, and nothing grows out of proportion."""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from distillation import PACKAGE

WINGS = ("mnist", "speech", "specialists")
# Of a wing; all else comes before.
LAST = {"plan": 1, "results": 2, "comparisons": 3, "examples": 3, "claims": 4, "figures": 4}
LONGEST_FILE, LONGEST_CORE = 400, 1600


def name_of(path: Path) -> str:
    """A file's module: "core.store", or "speech.data" for its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(text: str, package: str) -> set[str]:
    """The modules of the package that a text imports, inside functions too; relative imports are from `package`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "distillation":
                found.add(module_in(parts[1:]))
    return found


def module_in(parts: list[str]) -> str:
    """The module that a dotted name lies in: the name itself, or one before it."""
    while parts and ".".join(parts) not in MODULES:
        parts = parts[:-1]
    return ".".join(parts)


def package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(PACKAGE.parent).parts)


IMPORTS = {name: imported(path.read_text(), package_of(path)) - {name} for name, path in MODULES.items()}


def allowed(module: str, other: str) -> bool:
    """Whether a module may import another."""
    (room, _, place), (other_room, _, other_place) = module.partition("."), other.partition(".")
    if other_room == "":  # what the package itself tells: where it lies
        return True
    if room == "core":
        return other_room == "core"
    if room in WINGS:
        step, other_step = LAST.get(place, 0), LAST.get(other_place, 0)
        return other_room == "core" or (other_room == room and (other_step < step or other_step == step == 0))
    return room == "commands"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    """From commands to wings to core; in a wing from claims and figures by results and plan to the rest."""
    assert not [other for other in IMPORTS[module] if not allowed(module, other)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_every_module_lies_in_a_room() -> None:
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    assert {name.split(".")[0] for name in MODULES if name} == {"core", *WINGS, "commands"}


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_long(module: str) -> None:
    assert lines(MODULES[module]) <= LONGEST_FILE


def test_the_core_stays_small() -> None:
    assert sum(lines(path) for path in (PACKAGE / "core").rglob("*.py")) <= LONGEST_CORE


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize(
    ("text", "package", "found"),
    [
        ("import distillation.core.store", "distillation.mnist", {"core.store"}),
        ("from distillation.core import store, sweep as s", "distillation.mnist", {"core.store", "core.sweep"}),
        ("from distillation.core.store import Store", "distillation.mnist", {"core.store"}),
        ("from distillation.speech.data import an4, Speech", "distillation.mnist", {"speech.data.an4", "speech.data"}),
        ("def f():\n    from distillation.mnist import nets", "distillation.core", {"mnist.nets"}),
        ("from . import plan", "distillation.mnist", {"mnist.plan"}),
        ("from .nets import Net", "distillation.mnist", {"mnist.nets"}),
        ("from ..core.store import Store", "distillation.mnist", {"core.store"}),
        ("from .. import data", "distillation.speech.recogniser", {"speech.data"}),
        ("from distillation import PACKAGE", "distillation.core", {""}),
        ("import torch, distillation_tools", "distillation.core", set()),
    ],
)
def test_imports_are_found_however_they_are_written(text: str, package: str, found: set[str]) -> None:
    assert imported(text, package) == found


@pytest.mark.parametrize(
    ("module", "other", "may"),
    [
        ("core.store", "core.data", True),
        ("core.sweep", "mnist.nets", False),
        ("core.sweep", "commands.wings", False),
        ("mnist.nets", "core.store", True),
        ("mnist.nets", "mnist.data", True),
        ("mnist.nets", "speech.nets", False),
        ("mnist.nets", "commands.wings", False),
        ("mnist.nets", "mnist.plan", False),
        ("mnist.plan", "mnist.nets", True),
        ("mnist.plan", "mnist.results", False),
        ("mnist.results", "mnist.plan", True),
        ("mnist.results", "mnist.examples", False),
        ("mnist.examples", "mnist.results", True),
        ("mnist.examples", "mnist.figures", False),
        ("mnist.figures", "mnist.examples", True),
        ("mnist.claims", "mnist.examples", True),
        ("mnist.claims", "mnist.figures", False),
        ("speech.recogniser.hmm", "speech.data", True),
        ("commands.wings", "mnist.claims", True),
    ],
)
def test_what_may_import_what(module: str, other: str, may: bool) -> None:
    assert allowed(module, other) is may
