"""pyproject.toml, requirements.txt, environment.yml, run_all.sh and the imports agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from distillation.core.data import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
GROUPS = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
DECLARED = [Requirement(text) for group in GROUPS for text in group]
DECLARED_NAMES = {canonicalize_name(requirement.name) for requirement in DECLARED}
# tools and plugins, used in notebooks, used for its font
NOT_IMPORTED_BY_NAME = {"jupyter", "ruff", "nbval", "pytest-xdist", "tabulate", "ipywidgets", "ziamath"}


def pins() -> list[tuple[Requirement, list[str]]]:
    """The pins of requirements.txt, each with its hashes."""
    text = (REPOSITORY / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(Requirement(line.split(" --hash")[0].strip()), re.findall(r"--hash=(\S+)", line)) for line in lines]


def python_minors(specifier: str) -> list[str]:
    """The Python versions 3.8 to 3.20 that a specifier allows."""
    return [f"3.{minor}" for minor in range(8, 21) if f"3.{minor}.0" in SpecifierSet(specifier)]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_an_allowed_version(requirement):
    same = [pin for pin, _ in pins() if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    assert same, f"{requirement.name} is not in requirements.txt: compile it again"
    for pin in same:  # one per environment marker
        version = re.fullmatch(r"==([^,*]+)", str(pin.specifier))
        assert version, f"{pin} is no exact pin"
        assert version[1] in requirement.specifier


def test_every_pin_has_hashes():
    without = [pin.name for pin, hashes in pins() if not hashes]
    assert not without
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for _, hashes in pins() for text in hashes)


def test_requirements_hold_no_addresses():
    text = (REPOSITORY / "requirements.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE), "an option that names an index"
    assert not [pin for pin, _ in pins() if pin.url]


def test_environment_installs_the_same_pins_on_the_same_python():
    text = re.sub(r"#.*", "", (REPOSITORY / "environment.yml").read_text())
    entries = re.findall(r"^\s+- (.+?)\s*$", text, re.MULTILINE)
    python = next(entry for entry in entries if entry.startswith("python "))
    assert sorted(entries) == sorted(["conda-forge", python, "pip", "pip:", "-r requirements.txt"])
    assert python_minors(python.removeprefix("python ")) == python_minors(PROJECT["requires-python"])


def test_run_all_looks_for_the_same_pythons():
    text = (REPOSITORY / "run_all.sh").read_text()
    allowed = python_minors(PROJECT["requires-python"])
    assert sorted(set(re.findall(r"\bpython(3\.\d+)\b", text)), key=lambda name: int(name[2:])) == allowed
    low, high = (version.replace(".", ", ") for version in (allowed[0], allowed[-1]))
    assert f"({low}) <= sys.version_info[:2] <= ({high})" in text


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "docs"])
def test_every_import_is_declared(folder):
    distributions = packages_distributions()
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        for module in imported(path) - sys.stdlib_module_names - {"distillation"} - neighbours(path):
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & DECLARED_NAMES, f"{path.relative_to(REPOSITORY)} imports {module}: declare it in pyproject"


def test_every_dependency_is_used():
    files = [path for folder in ("src", "tests", "docs") for path in (REPOSITORY / folder).rglob("*.py")]
    modules = set.union(*(imported(path) for path in files))
    distributions = packages_distributions()
    used = {canonicalize_name(name) for module in modules for name in distributions.get(module, [])}
    assert DECLARED_NAMES - used <= NOT_IMPORTED_BY_NAME


def imported(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def neighbours(path: Path) -> set[str]:
    """Modules that a file finds without an installation: those beside it, and what tests share."""
    folders = (path.parent, REPOSITORY / "tests" / "helpers")
    return {other.stem for folder in folders for other in folder.glob("*.py")}
