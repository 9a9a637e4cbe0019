"""What works from an installed copy, without a checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distillation.core.data import REPOSITORY


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `pip install .` has installed the package into."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "here")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True)
    return folder / "here"


def call(code: str, installed: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "DISTILLATION_RESULTS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed,
        env=kept | {"PYTHONPATH": str(installed)} | environment,
        capture_output=True,
        text=True,
    )


def test_a_loss_works(installed: Path) -> None:
    code = "import torch, distillation; from distillation.core.objectives import distillation_loss as loss\n"
    code += "print(distillation.PACKAGE)\n"
    code += (
        "print(loss(torch.zeros(2, 4), torch.full((2, 4), 0.25), None, temperature=1.0, hard_weight=0.0).exp().item())"
    )
    done = call(code, installed)
    assert done.returncode == 0, done.stderr
    package, value = done.stdout.split("\n")[:2]
    assert Path(package) == installed / "distillation"
    assert float(value) == pytest.approx(4)


def test_files_that_the_loaders_verify_by_are_installed(installed: Path) -> None:
    code = "from distillation.speech.data import an4; print(len(an4.PUBLISHED))"
    assert int(call(code, installed).stdout) == 1078


def test_the_look_of_figures_is_installed(installed: Path) -> None:
    code = "from distillation.core import figures; print(len(figures.COLOURS))"
    assert int(call(code, installed).stdout) == 10


def test_records_are_said_to_need_a_checkout(installed: Path, tmp_path: Path) -> None:
    code = "from distillation.core.store import Store; print(Store.of('paper').folder)"
    assert "set DISTILLATION_RESULTS to one" in call(code, installed).stderr
    assert str(tmp_path) in call(code, installed, DISTILLATION_RESULTS=str(tmp_path)).stdout
