"""A notebook is executed in a process of its own, and keeps nothing of the machine or the call."""

import io
import os
import re
import sys
import time
from pathlib import Path

import nbformat
import pytest

from distillation.commands.notebooks import (
    ERROR_MARKER,
    Outcome,
    Tee,
    clean,
    environment,
    execute_apart,
    failed_cell,
    paths,
    replace_text,
    without_paths,
)
from distillation.core.data import REPOSITORY
from notebooks import write_notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Outcome], Path]:
    """What became of a notebook that fails, one that works and one whose kernel dies; the results folder."""
    folder = tmp_path_factory.mktemp("executed")
    failing = write_notebook(folder / "notebooks", "01_fails.ipynb", "x = 1", 'raise ValueError("the reason")', "x = 2")
    working = write_notebook(
        folder / "notebooks",
        "02_works.ipynb",
        "import sys, distillation.core.store\n"
        "print(profile, train, distillation.core.store.results_folder(profile), distillation.__file__)\n"
        'print("a progress", "bar", file=sys.stderr)',
        "import pathlib\n[str(pathlib.Path.home() / 'somewhere'), sys.prefix]",
    )
    dying = write_notebook(folder / "notebooks", "03_dies.ipynb", "import os", "os._exit(3)")
    results = folder / "results" / "smoke"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_RESULTS", str(folder / "results"))
        patch.setenv("DISTILLATION_OFFLINE", "1")
        patch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
        return [execute_apart(notebook, results, "smoke") for notebook in (failing, working, dying)], results


Executed = tuple[list[Outcome], Path]


def test_a_failure_is_named_with_cell_and_log(executed: Executed) -> None:
    (failing, _, dying), results = executed
    log = results / "logs" / "01_fails.log"
    assert failing.failure == f"FAILED in cell [4] (ValueError: the reason), log: {log}"
    assert "the reason" in log.read_text()
    notebook = nbformat.read(results / "notebooks" / "01_fails.ipynb", 4)
    assert len(notebook.cells) == 5  # parameters, injected parameters, three of its own: no markers
    assert notebook.cells[3].outputs[0].ename == "ValueError"
    assert dying.failure.startswith("FAILED in ")
    assert "died" in (results / "logs" / "03_dies.log").read_text()


def test_time_and_memory_are_measured(executed: Executed) -> None:
    (_, working, _), _ = executed
    assert (working.notebook, working.failure) == ("02_works", "")
    assert working.seconds > 0.1
    assert 10 < working.peak_memory_mb < 100_000


def test_profile_is_passed_and_the_package_found(executed: Executed) -> None:
    text = (executed[1] / "notebooks" / "02_works.ipynb").read_text()
    assert "smoke False results/smoke" in text


def test_progress_is_logged(executed: Executed) -> None:
    assert "a progress bar" in (executed[1] / "logs" / "02_works.log").read_text()


def test_executed_notebooks_hold_nothing_of_this_machine_or_call(executed: Executed) -> None:
    _, results = executed
    found = sorted((results / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in found] == ["01_fails", "02_works", "03_dies"]
    for path in found:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        text = path.read_text()
        assert "papermill" not in text
        assert "a progress bar" not in text
        for folder in (Path.home(), REPOSITORY, results, Path(sys.prefix), Path(sys.base_prefix)):
            assert str(folder) + "/" not in text, (path, folder)
        assert "/ipykernel_" not in text
        for cell in notebook.cells:
            assert set(cell.metadata) <= {"tags", "jupyter"}, cell.metadata


def test_what_an_earlier_call_left_is_gone(executed: Executed, tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "notebooks", "01_a.ipynb", "x = 1")
    output, log = paths(notebook, tmp_path / "results")
    for path in (output, log):
        path.parent.mkdir(parents=True)
        path.write_text("left by another call")
    assert execute_apart(notebook, tmp_path / "results", "smoke").failure == ""
    assert "left by another call" not in output.read_text() + log.read_text()


# Cleaning


def code_cell(*outputs: nbformat.NotebookNode, **metadata: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell("x", outputs=list(outputs), metadata=metadata)


def test_cleaning_keeps_cells_and_outputs() -> None:
    said = [nbformat.v4.new_output("stream", name=name, text="text") for name in ("stdout", "stderr")]
    injected = code_cell(tags=["injected-parameters"])
    cells = [
        code_cell(tags=[ERROR_MARKER]),
        injected,
        code_cell(*said, papermill={"status": "completed"}, execution={"iopub.execute_input": "now"}, tags=["kept"]),
        nbformat.v4.new_markdown_cell("words"),
    ]
    found = clean(nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {}, "mine": {"kept": 1}}))
    assert dict(found.metadata) == {"mine": {"kept": 1}}
    first, second, third = found.cells
    assert first["id"] == "injected-parameters"  # else it would differ from call to call
    assert dict(second.metadata) == {"tags": ["kept"]}
    assert [output["name"] for output in second.outputs] == ["stdout"]
    assert third.source == "words"


def test_failed_cell() -> None:
    error = nbformat.v4.new_output("error", ename="KeyError", evalue="'why'\nmore", traceback=[])
    words, good, another = nbformat.v4.new_markdown_cell("words"), code_cell(), code_cell()

    def failed(*cells: nbformat.NotebookNode) -> str:
        return failed_cell(nbformat.v4.new_notebook(cells=list(cells)))

    assert failed(words, good) == ""
    assert failed(words, good, code_cell(error), another) == "cell [2] (KeyError: 'why')"
    assert failed(good, another, code_cell(papermill={"status": "running"})) == "cell [3] (the kernel died)"


def test_folders_are_replaced_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("results", "data"):
        monkeypatch.setenv(f"DISTILLATION_{name.upper()}", str(tmp_path / f"my {name}"))
    assert without_paths(f"{tmp_path}/my results/paper, {tmp_path}/my data/mnist") == "results/paper, data/mnist"
    assert without_paths(f"{REPOSITORY}/src") == "./src"
    assert without_paths(f"{REPOSITORY}-2/src").endswith(f"/{REPOSITORY.name}-2/src")  # which is another folder
    assert without_paths("at /tmp/x/ipykernel_12/345.py:") == "at <cell>:"
    monkeypatch.setenv("DISTILLATION_RESULTS", "/")  # would replace every slash
    assert without_paths("a/b") == "a/b"


def test_pictures_are_left_alone() -> None:
    output = {"data": {"image/png": f"{Path.home()}/", "text/plain": f"{Path.home()}/x"}}
    replace_text(output, without_paths)
    assert output["data"] == {"image/png": f"{Path.home()}/", "text/plain": "~/x"}


def test_a_sound_in_a_notebook_is_cleaned_at_once() -> None:
    text = "A" * 1_000_000
    started = time.monotonic()
    assert without_paths(text) == text
    assert time.monotonic() - started < 5


# Around


def test_tee_writes_to_all() -> None:
    files = [io.StringIO(), io.StringIO()]
    both = Tee(*files)
    both.write("one ")
    both.write("two")
    both.flush()
    assert [file.getvalue() for file in files] == ["one two"] * 2


def test_relative_folders_are_those_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook runs in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLATION_RESULTS", "here")
    monkeypatch.delenv("DISTILLATION_DATA", raising=False)
    found = environment()
    assert found["DISTILLATION_RESULTS"] == str(tmp_path / "here")
    assert "DISTILLATION_DATA" not in found
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_figures_and_tables_are_numbered_by_notebook(path: Path) -> None:
    cells = nbformat.read(path, nbformat.NO_CONVERT).cells
    texts = [output.get("data", {}).get("text/markdown", "") for cell in cells for output in cell.get("outputs", [])]
    for kind in ("Figure", "Table"):
        numbers = [number for text in texts for number in re.findall(rf"^\*{kind} (\S+) \(`", text, re.MULTILINE)]
        assert numbers == [f"{int(path.stem[:2])}.{place}" for place in range(1, len(numbers) + 1)]
        assert numbers or kind == "Table"
