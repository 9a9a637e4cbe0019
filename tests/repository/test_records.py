"""Committed records are found by their names: what changes the name of a run orphans its record."""

import re
from pathlib import Path

import pytest

from distillation import PACKAGE
from distillation.commands import wings
from distillation.core.store import Store
from distillation.core.sweep import with_all_they_start_from

NUMBER = 1808


def test_the_planned_runs_are_those_that_are_published() -> None:
    store = Store.of("paper")
    planned = with_all_they_start_from((config for _, _, config in wings.planned("paper")), store)
    names = {store.name(config) for config in planned}
    assert names == {f"{path.parent.name}/{path.stem}" for path in store.folder.glob("*/*.json")}
    assert len(names) == len(planned) == NUMBER


def test_records_in_the_making_are_those_of_the_plan_in_the_making() -> None:
    store = Store.of("next")
    made = {f"{path.parent.name}/{path.stem}" for path in store.folder.glob("*/*.json")}
    planned = with_all_they_start_from((config for _, _, config in wings.planned("next")), store)
    assert made <= {store.name(config) for config in planned}


@pytest.mark.parametrize("profile", ["paper", "next"])
def test_a_questions_records_come_from_one_kind_of_device(profile: str) -> None:
    store = Store.of(profile)
    for questions in wings.plan(profile).values():
        for question, configs in questions.items():
            kinds = {store.read(config)["environment"]["device"] for config in configs if store.has(config)}
            assert len(kinds) <= 1, question


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_makes_texts_of_its_annotations(path: Path) -> None:
    """A run's name depends on which of its fields are floats, which texts would hide."""
    assert not re.search(r"^from __future__ import .*annotations", path.read_text(), re.MULTILINE)
