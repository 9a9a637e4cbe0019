"""What is published is not run again: not even where only the records lie, as in a fresh clone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distillation.commands.overview import PUBLISHED
from distillation.commands.reproduce import reproduce, reproduce_specialists, reproduce_speech


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published results without the weights that are not published, which this disk may have."""
    weights = {path.name for path in PUBLISHED.glob("records/alignment/*.safetensors")}
    for path in [*PUBLISHED.glob("records/*/*"), *PUBLISHED.glob("examples/*")]:
        if path.suffix == ".json" or path.parent.name == "examples" or path.name in weights:
            copy = tmp_path / "paper" / path.relative_to(PUBLISHED)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_JOBS", "1")


@pytest.mark.parametrize(
    ("notebook", "call"),
    [
        *(("01", reproduce), ("02", reproduce), ("03", reproduce_speech), ("05", reproduce_speech)),
        *(("04", reproduce_specialists), ("06", reproduce_specialists)),
    ],
)
def test_nothing_that_is_published_is_run_again(
    notebook: str, call: Callable, clone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Callable, config: object, *_: object) -> None:
        raise AssertionError(f"{config} is run again")

    monkeypatch.setattr("distillation.core.sweep.finish", refuse)
    call("paper", notebook, train=True)
