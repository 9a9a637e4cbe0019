"""Committed records are found by their names: what changes the name of a run orphans its record."""

import re
from pathlib import Path

import pytest

from distillation import PACKAGE
from distillation.commands import wings
from distillation.core.store import Store
from distillation.core.sweep import with_all_they_start_from

NUMBER = 807


def test_the_planned_runs_are_those_that_are_published() -> None:
    store = Store.of("paper")
    planned = with_all_they_start_from((config for _, _, config in wings.planned("paper")), store)
    names = {store.name(config) for config in planned}
    assert names == {f"{path.parent.name}/{path.stem}" for path in store.folder.glob("*/*.json")}
    assert len(names) == len(planned) == NUMBER


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_makes_texts_of_its_annotations(path: Path) -> None:
    """A run's name depends on which of its fields are floats, which texts would hide."""
    assert not re.search(r"^from __future__ import .*annotations", path.read_text(), re.MULTILINE)
