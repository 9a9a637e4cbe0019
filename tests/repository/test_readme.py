"""README's every command and snippet, copied and run as a newcomer would, at profile smoke, on the embedded data."""

import os
import re
import subprocess
import sys
from pathlib import Path

import joblib
import nbformat
import pytest

from distillation.commands.notebooks import NOTEBOOKS
from distillation.core.data import REPOSITORY
from distillation.mnist import data

README = (REPOSITORY / "README.md").read_text()
COMMANDS = re.findall(r"^(?:\| `)?(\./run_all\.sh[^`#\n]*)", README, re.MULTILINE)
(LAB,) = re.findall(r"^\.venv/bin/jupyter lab.*$", README, re.MULTILINE)
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
(FROM_A_TEACHER,) = (snippet for snippet in SNIPPETS if "soft_targets" in snippet)
TEST = "./run_all.sh test"  # which runs this


def at_smoke(command: str) -> str:
    """README's command with profile smoke in place of its own."""
    words = ["smoke" if word in ("quick", "paper") else word for word in command.split()]
    if words == ["./run_all.sh"]:
        return "./run_all.sh smoke"
    return " ".join([*words, "--profile", "smoke"] if words[1] == "verify" else words)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without data, network or results, with this process's part of the cores."""
    if not (REPOSITORY / ".venv" / "installed.sha256").exists():
        pytest.skip("./run_all.sh has not set up .venv, which these tests would take minutes for.")
    folder = tmp_path_factory.mktemp("newcomer")
    jobs = joblib.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {
        "DISTILLATION_RESULTS": str(folder / "results"),
        "DISTILLATION_DATA": str(folder / "no data"),
        "DISTILLATION_OFFLINE": "1",
        "DISTILLATION_JOBS": str(max(1, jobs)),
    }


def said(command: str, environment: dict[str, str]) -> str:
    """What a command prints.  Fails if the command does."""
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def results(environment: dict[str, str]) -> Path:
    """The results of every notebook at profile smoke, from nothing: a record that was there before is forgotten."""
    folder = Path(environment["DISTILLATION_RESULTS"], "smoke")
    stale = folder / "records" / "mnist" / "stale.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    (fresh,) = (command for command in COMMANDS if command.endswith("--fresh"))
    assert "smoke" in said(at_smoke(fresh), environment)
    assert not stale.exists()
    return folder


def test_readme_names_every_kind_of_command() -> None:
    words = {" ".join(command.split()[1:2]) for command in COMMANDS}
    assert words == {"", "test", "smoke", "quick", "paper", "train", "verify", "site", "--help"}
    assert TEST in [command.strip() for command in COMMANDS]
    assert len(SNIPPETS) == 4


def test_notebooks_run_where_jupyter_is_opened(environment: dict[str, str]) -> None:
    """In the same environment, without a browser; the committed notebook and its records are left as they are."""
    command = LAB.replace("jupyter lab", "jupyter execute")
    assert command != LAB
    kept = {name: value for name, value in environment.items() if name != "DISTILLATION_RESULTS"}
    said(f"{command}/07_scorecard.ipynb", kept)


def test_every_notebook_runs_from_nothing(results: Path) -> None:
    notebooks = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    assert notebooks, "notebooks/ is empty"
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


# Without --fresh everything is what `results` ran, once more; one notebook's going on is enough.
EVERYTHING = "./run_all.sh smoke"
OTHERS = dict.fromkeys(at_smoke(each) for each in COMMANDS if each.strip() != TEST and not each.endswith("--fresh"))


@pytest.mark.parametrize("command", [command for command in OTHERS if command != EVERYTHING])
def test_command(command: str, environment: dict[str, str], results: Path) -> None:
    before = {path: path.read_bytes() for path in results.glob("records/*/*.json")}
    printed = said(command, environment)
    assert printed
    if "verify" in command:
        assert "0 do not agree" in printed or "it does." in printed
    # What was trained is not trained again.
    assert {path: path.read_bytes() for path in results.glob("records/*/*.json")} == before


def test_snippets(environment: dict[str, str], results: Path, tmp_path: Path) -> None:
    code = "\n".join(snippet for snippet in SNIPPETS if snippet != FROM_A_TEACHER).replace('"quick"', '"smoke"')
    checks = "assert probabilities.sum(1).allclose(torch.ones(5))\nassert log_posteriors.shape[-1] == 300"
    (tmp_path / "snippets.py").write_text(f"{code}\n{checks}\n")
    (start,) = re.findall(r"folder, with `(\.venv/bin/python)`", README)
    printed = said(f"{start} {tmp_path / 'snippets.py'}", environment)
    assert len(re.findall(r"^[\d.]+ \d \d+$", printed, re.MULTILINE)) == 9


def test_a_student_learns_from_the_published_teachers_outputs(tmp_path: Path) -> None:
    if data.find() != "mnist":
        pytest.skip("MNIST is not here, and not to be had.")
    code = FROM_A_TEACHER.replace("epochs=100", "epochs=1").replace("800, 800", "100")
    assert "epochs=1," in code
    assert "(784, 100, 10)" in code
    ask = "wrong = nets.errors(learner(images.flatten(1)), nets.load('mnist').train_labels)\nprint(wrong / len(images))"
    (tmp_path / "distil.py").write_text(f"{code}\n{ask}\n")
    done = subprocess.run([sys.executable, tmp_path / "distil.py"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1  # of the labels, which it has not seen
