"""benchmarks/on_a_gpu.sh does on the CPU what it does on a GPU, with what it makes packed into one archive."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from distillation.commands import wings
from distillation.core.data import REPOSITORY
from distillation.core.store import Store

SCRIPT = REPOSITORY / "benchmarks" / "on_a_gpu.sh"


def call(folder: Path, *arguments: Path, **environment: str) -> subprocess.CompletedProcess:
    settings = {"PYTHON": sys.executable, "DISTILLATION_DEVICE": "cpu", "DISTILLATION_RESULTS": str(folder / "results")}
    return subprocess.run(
        [SCRIPT, *arguments], env=os.environ | settings | environment, capture_output=True, text=True, timeout=600
    )


def test_runs_are_packed_with_the_models_that_can_be_taken_away(tmp_path: Path) -> None:
    done = call(tmp_path, tmp_path / "out", STEPS="runs", PROFILE="smoke", NOTEBOOKS="01", MINUTES="5")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "out" / "records.tar.xz") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):  # Python 3.11.2 has no extractall(filter="data")
            path = tmp_path / "unpacked" / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
    store = Store(tmp_path / "unpacked" / "smoke" / "records")
    wanted = [config for notebook, _, config in wings.planned("smoke") if notebook == "01"]
    assert wanted
    for config in wanted:
        assert store.read(config)["environment"]["device"] == "cpu"
    teacher = wings.plan("smoke")["02"]["teacher"][0]
    assert set(store.tensors(teacher)) == {"train_logits", "scored_logits"}
    assert "What 01 need is in" in (tmp_path / "out" / "runs.txt").read_text()


def test_it_ends_in_time_and_says_what_it_takes(tmp_path: Path) -> None:
    done = call(tmp_path, tmp_path / "out", STEPS="runs", PROFILE="smoke", MINUTES="0")
    assert done.returncode == 0
    assert not (tmp_path / "results").exists()
    assert call(tmp_path).returncode == 2
    assert "OUT_FOLDER" in call(tmp_path).stderr
    assert "choose from tests, benchmark, runs" in call(tmp_path, tmp_path / "out", STEPS="all").stderr
