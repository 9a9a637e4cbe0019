"""benchmarks/scaling.py runs, its projection is arithmetic, and docs/scaling.md holds its saved tables."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from distillation.core.data import REPOSITORY
from distillation.core.store import results_folder


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("scaling")


def test_page_holds_the_saved_tables(scaling: ModuleType) -> None:
    text = scaling.DOCS.read_text()
    assert scaling.page(text, results_folder("paper") / "tables") == text


def test_page_says_how_to_measure_what_is_not_saved_and_then_shows_it(scaling: ModuleType, tmp_path: Path) -> None:
    text = scaling.DOCS.read_text()
    before = scaling.page(text, tmp_path)
    assert before.count("Not measured yet: `.venv/bin/python benchmarks/scaling.py --save`") == 3
    table = pd.DataFrame({"workers": ["1", "2"], "speed-up": ["1.00", "1.90"]})
    scaling.save(table, "scaling", tmp_path)
    after = scaling.page(before, tmp_path)
    assert (tmp_path / "scaling.md").read_text() in after
    assert after.count("Not measured yet") == 2


def test_projection_follows_from_the_papers_sizes(scaling: ModuleType) -> None:
    assert scaling.parameters() == pytest.approx(85e6, rel=0.02)  # "about 85 M"
    rate = 1e12
    rows = scaling.costs({"a rate": rate}).set_index("part")
    epochs = 6
    one = 6 * scaling.parameters() * 700e6 * epochs
    assert float(rows.loc["one model", "FLOPs"]) == pytest.approx(one, rel=0.05)
    hours = {part: float(text.replace(",", "")) for part, text in rows["core-hours: a rate"].items()}
    assert hours["one model"] == pytest.approx(one / rate / 3600, rel=0.05)
    assert hours["ensemble of 10"] == pytest.approx(10 * hours["one model"], rel=0.05)
    assert hours["its outputs, once"] == pytest.approx(10 * hours["one model"] / 3 / epochs, rel=0.05)
    parts = hours["ensemble of 10"] + hours["its outputs, once"] + hours["distilled model"]
    assert hours["ensemble, outputs and distilled model"] == pytest.approx(parts, rel=0.05)
    assert float(rows.loc["one model", "hours at 10 TFLOP/s"]) == pytest.approx(hours["one model"] / 10, rel=0.05)


def test_published_training_is_slower_than_its_matrix_products_alone(scaling: ModuleType) -> None:
    saved = pd.read_csv(results_folder("paper") / "tables" / "scaling_cost.csv", thousands=",")
    alone, training = (saved[name] for name in saved if name.startswith("core-hours: "))
    assert (training > alone).all()
    again = scaling.costs({"training": scaling.training_rate()})["core-hours: training"]
    assert [float(text.replace(",", "")) for text in again] == training.tolist()


def test_script_prints_all_tables_and_saves_nothing_unasked() -> None:
    saved = [path.read_bytes() for path in sorted((results_folder("paper") / "tables").glob("scaling*"))]
    tiny = ["--workers", "2", "--runs", "2", "--width", "6", "--epochs", "1", "--rounds", "1", "--frames", "32"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "scaling.py", *tiny],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for shown in (
        "| processes of this machine     | 2 ",
        "| Dask workers on this machine  | 2 ",
        "| the same without `MALLOC_...` | 2 ",
        "| one model ",
        "| GB ",
    ):
        assert shown in done.stdout, done.stdout
    assert [path.read_bytes() for path in sorted((results_folder("paper") / "tables").glob("scaling*"))] == saved
