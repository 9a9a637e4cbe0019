"""Committed records are found by their names: what changes the name of a run orphans its record."""

import re
from pathlib import Path

import pytest

from distillation import PACKAGE
from distillation.commands.published import Published

NUMBER = 806


def test_the_planned_runs_are_those_that_are_published() -> None:
    published = Published()
    planned = {
        f"{experiment}/{published.store(experiment).key(config)}"
        for experiment, configs in published.runs().items()
        for config in configs
    }
    assert planned == {f"{path.parent.name}/{path.stem}" for path in published.records.glob("*/*.json")}
    assert len(planned) == NUMBER


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_makes_texts_of_its_annotations(path: Path) -> None:
    """A configuration's key depends on which of its fields are floats, which texts would hide."""
    assert not re.search(r"^from __future__ import .*annotations", path.read_text(), re.MULTILINE)
