"""Every notebook at profile smoke, from nothing: real training on the embedded data."""

import os
import subprocess
import sys

import nbformat

from distillation.runner import NOTEBOOKS, REPOSITORY


def test_every_notebook_runs_from_nothing(tmp_path):
    notebooks = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    assert notebooks, "notebooks/ is empty"
    environment = os.environ | {"DISTILLATION_RESULTS": str(tmp_path), "DISTILLATION_OFFLINE": "1"}
    environment |= {"DISTILLATION_DATA": str(tmp_path / "no data"), "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "distillation.runner", "smoke"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]

    results = tmp_path / "smoke"
    assert sorted(path.name for path in (results / "notebooks").iterdir()) == notebooks
    for path in (results / "notebooks").iterdir():
        outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
        assert outputs, f"{path.name} shows nothing"
        assert not [out for out in outputs if out.output_type == "error"]
    assert list(results.glob("records/*/*.json"))
    for folder, endings in (("figures", {".png", ".pdf"}), ("tables", {".csv", ".md"})):
        files = list((results / folder).iterdir())
        assert files, f"no {folder}"
        for name in {path.stem for path in files}:
            assert {path.suffix for path in files if path.stem == name} == endings, name
        assert all(path.stat().st_size > 0 for path in files)
