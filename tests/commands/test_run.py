"""The command line, on notebooks and plans made here: what is run, timed, told and refused."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from distillation.commands import run, wings
from distillation.commands.notebooks import Outcome, paths
from distillation.core.data import REPOSITORY
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation
from distillation.mnist.nets import Net
from notebooks import write_notebook

MAIN = (
    "import sys, pathlib; from distillation.commands import run; "
    "sys.exit(run.main(['smoke'], pathlib.Path(sys.argv[1])))"
)
NUMBERS = ", ".join(wings.NOTEBOOKS)
HELP = (Path(run.__file__).parent / "help.txt").read_text()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder in use, and no downloads."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    return tmp_path / "results"


def environment(folder: Path) -> dict[str, str]:
    """Of a call whose results go to a folder, and which downloads nothing."""
    mine = {"DISTILLATION_RESULTS": str(folder), "DISTILLATION_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY / "src")}
    return os.environ | mine


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, str]:
    """(exit status, results folder, output) of a call at profile smoke where the first of two notebooks fails."""
    folder = tmp_path_factory.mktemp("runner")
    write_notebook(folder / "notebooks", "01_fails.ipynb", "x = 1", 'raise ValueError("the reason")')
    write_notebook(folder / "notebooks", "02_works.ipynb", 'import sys\nprint("a progress", "bar", file=sys.stderr)')
    call = [sys.executable, "-c", MAIN, folder / "notebooks"]
    done = subprocess.run(call, env=environment(folder / "results"), capture_output=True, text=True)
    return done.returncode, folder / "results" / "smoke", done.stdout + done.stderr


# Notebooks


def test_a_failing_notebook_is_named_and_does_not_stop_the_others(executed: tuple[int, Path, str]) -> None:
    status, results, output = executed
    assert status == 1
    last = output.split("01_fails: ")[-1]
    assert "cell [4] (ValueError: the reason)" in last
    assert str(results / "logs" / "01_fails.log") in last
    assert re.search(r"01_fails +failed +\d+ +\d+ MB +digits", output)
    assert re.search(r"02_works +ok +\d+ +\d+ MB +digits", output)
    assert (results / "notebooks" / "02_works.ipynb").exists()


def test_progress_is_shown(executed: tuple[int, Path, str]) -> None:
    output = executed[2]
    assert "[1/2] 01_fails (smoke): 0 s so far, time unknown" in output
    assert "[2/2] 02_works (smoke)" in output
    assert "Kernel is running" not in output
    assert "a progress bar" in output


def test_summary_by_hand() -> None:
    outcomes = [Outcome("01_a", 1234.4, 900), Outcome("02_b", 5.0, 10, "FAILED in cell [3] (why), log: x")]
    lines = run.summary(outcomes, {"01_a": "mnist", "02_b": "an4"}).strip().splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["01_a", "ok", "1234", "900", "MB", "mnist"],
        ["02_b", "failed", "5", "10", "MB", "an4"],
    ]
    assert [name for name in ("notebook", "status", "seconds", "peak memory", "data set") if name not in lines[0]] == []
    assert lines[4:] == ["02_b: FAILED in cell [3] (why), log: x"]
    assert [run.duration(seconds) for seconds in (35, 240, 9000)] == ["35 s", "4 min", "2.5 h"]


def test_times_are_kept_for_notebooks_that_succeeded(executed: tuple[int, Path, str]) -> None:
    with (executed[1] / "times.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(run.COLUMNS)
    assert (row["notebook"], row["profile"], row["dataset"]) == ("02_works", "smoke", "digits")
    assert float(row["seconds"]) > 0
    assert float(row["peak_memory_mb"]) > 10


def test_rewriting_a_time_keeps_the_other_rows(results: Path) -> None:
    folder = results / "smoke"
    folder.mkdir(parents=True)
    for name, seconds in (("02_b", 5.0), ("01_a", 100.0), ("02_b", 7.0)):
        run.write_time(Outcome(name, seconds, 100), folder, "smoke", "digits")
    with (folder / "times.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["notebook"], row["seconds"]) for row in rows] == [("01_a", "100"), ("02_b", "7")]
    known = run.read_times(folder, "smoke")
    assert (known["01_a"], known["02_b"]) == (100, 7)
    assert known["02_mnist"] > 0  # as published
    assert not {"01_a", "02_b"} & set(run.read_times(folder, "quick"))


def test_only_what_was_done_from_nothing_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook, results = Path("01_a.ipynb"), tmp_path / "smoke"
    failures = iter(["the kernel died", "", ""])

    def train(notebook: Path, results: Path, profile: str) -> Outcome:
        _, log = paths(notebook, results)
        (results / "records" / "mnist").mkdir(parents=True, exist_ok=True)
        (results / "records" / "mnist" / f"{len(list(results.rglob('*.json')))}.json").touch()
        log.parent.mkdir(exist_ok=True)
        log.touch()
        return Outcome(notebook.stem, 10.0, 100, next(failures))

    monkeypatch.setattr(run, "execute_apart", train)
    for _ in range(2):  # killed in the middle, then continued
        run.execute_all([notebook], results, "smoke", {"01_a": "digits"})
        assert not (results / "times.csv").exists()
    run.delete_records(results, "smoke")
    run.execute_all([notebook], results, "smoke", {"01_a": "digits"})
    assert (results / "times.csv").read_text().count("01_a,smoke,10") == 1


def test_two_calls_at_once_share_one_results_folder(tmp_path: Path) -> None:
    """Each run is done once, each notebook executed whole by both, one after the other."""
    write_notebook(
        tmp_path / "notebooks",
        "01_sweeps.ipynb",
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'helpers')!r})",
        "import small_sweep\nfrom distillation.core.store import Store\nfrom distillation.core.sweep import sweep\n"
        "from distillation.mnist import nets\n"
        "store = Store.of(profile)\nstore.folder.mkdir(parents=True, exist_ok=True)\n"
        "os.environ['DISTILLATION_JOBS'] = '1'\n"
        "nets.train_and_score = small_sweep.noted(nets.train_and_score, store.folder)\n"
        "sweep(small_sweep.CONFIGS, store)",
        "print(sorted(store.name(config) for config in small_sweep.CONFIGS))",
    )
    write_notebook(tmp_path / "notebooks", "02_reads.ipynb", "print('done')")
    call = [sys.executable, "-c", MAIN, tmp_path / "notebooks"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    calls = [subprocess.Popen(call, env=environment(tmp_path / "results"), **pipes) for _ in range(2)]
    said = [one.communicate()[0].decode() for one in calls]
    assert [one.returncode for one in calls] == [0, 0], said
    results = tmp_path / "results" / "smoke"
    begun = [line.split()[1] for line in (results / "records" / "calls").read_text().splitlines()]
    assert sorted(begun) == sorted(f"mnist/{path.stem}" for path in (results / "records" / "mnist").glob("*.json"))
    executed = nbformat.read(results / "notebooks" / "01_sweeps.ipynb", 4)
    assert str(sorted(begun)) in executed.cells[-1].outputs[-1].text
    assert not list(results.rglob("*.lock")) + list(results.rglob("*partial"))


def test_notebooks_are_chosen_by_number_in_the_order_given(tmp_path: Path) -> None:
    found = [write_notebook(tmp_path, name) for name in ("00_a.ipynb", "01_b.ipynb", "02_c.ipynb")]
    write_notebook(tmp_path, "scratch.ipynb")
    assert run.choose([], tmp_path) == found
    assert run.choose(["02", "0", "02"], tmp_path) == [found[2], found[0]]


def test_data_sets_are_those_of_the_notebooks_wings(results: Path) -> None:
    names = ("00_a", "02_b", "03_c", "04_d", "05_e", "06_f")
    folder, datasets = run.look_up("smoke", [Path(f"{name}.ipynb") for name in names])
    assert folder == results / "smoke"
    kinds = ("digits", "digits", "an4 (embedded)", "fonts (embedded)", "an4 (embedded)", "fonts (embedded)")
    assert datasets == dict(zip(names, kinds, strict=True))


def test_fresh_deletes_only_the_records_and_asks_before_deleting_the_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "records" / "mnist" / "1.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    for folder in ("figures", "examples", "logs"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ValueError, match="Nothing was deleted"):
        run.delete_records(tmp_path, "paper")
    assert record.exists()
    run.delete_records(tmp_path, "quick")
    assert not record.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


# Interrupted


def test_interrupted_before_the_first_notebook(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "look_up", interrupt)  # which may be downloading
    assert run.main(["smoke"], tmp_path) == 130
    assert "the same command continues from here" in capsys.readouterr().err


def test_killed_runner_takes_its_notebook_along(tmp_path: Path) -> None:
    write_notebook(tmp_path / "notebooks", "01_long.ipynb", "import os, time\nprint(os.getpid())\ntime.sleep(300)")
    log = tmp_path / "results" / "smoke" / "logs" / "01_long.log"
    for how in (signal.SIGINT, signal.SIGKILL):
        log.unlink(missing_ok=True)
        called = subprocess.Popen(
            [sys.executable, "-c", MAIN, tmp_path / "notebooks"],
            env=environment(tmp_path / "results"),
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores Ctrl-C, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_until(lambda: log.exists() and re.search(r"^\d+\n", log.read_text(), re.MULTILINE))
        kernel = int(re.search(r"^\d+\n", log.read_text(), re.MULTILINE)[0])
        called.send_signal(how)
        message = called.communicate(timeout=60)[1]
        wait_until(lambda kernel=kernel: not is_running(kernel))
        if how == signal.SIGINT:
            assert called.returncode == 130
            assert "the same command continues from here" in message


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_running(process: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return done.stdout.strip() not in ("", "Z", "Zs", "Zl", "Zsl")


# Wrong calls and help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["medium"], "Unknown profile 'medium': choose one of smoke, quick, paper."),
        (["smoke", "09"], "There is no notebook '09': choose from 01, 02."),
        (["smoke", "two"], "There is no notebook 'two': choose from 01, 02."),
        (["train", "medium"], "Unknown profile 'medium': choose one of smoke, quick, paper, next."),
        (["train", "smoke", "00"], f"No runs belong to 00: choose from {NUMBERS}."),
        (["train", "smoke", "9", "two"], f"No runs belong to 09, two: choose from {NUMBERS}."),
        (["train", "smoke", "--fresh"], "train deletes nothing: --fresh goes with notebooks."),
    ],
)
def test_wrong_calls_get_one_clear_sentence(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    write_notebook(tmp_path, "01_a.ipynb")
    write_notebook(tmp_path, "02_b.ipynb")
    assert run.main(arguments, tmp_path) == 2
    assert capsys.readouterr().err.strip() == message
    assert not results.exists()


def test_help_explains_profiles_commands_and_every_environment_variable() -> None:
    done = subprocess.run([REPOSITORY / "run_all.sh", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, HELP)
    explained = re.findall(r"^  (\w+)  +\S", HELP, re.MULTILINE)
    package = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    used = set(re.findall(r"DISTILLATION_[A-Z]+", package))
    assert len(used) >= 6
    assert set(explained) == {"smoke", "quick", "paper", "next", *used}
    words = re.findall(r"^(\w+)\) ", (REPOSITORY / "run_all.sh").read_text(), re.MULTILINE)
    assert {*words, "verify", "train"} == set(re.findall(r"^  \./run_all\.sh (\w+).*   \S", HELP, re.MULTILINE))
    assert "--fresh deletes" in HELP


# Training without notebooks


@pytest.fixture
def plans(results: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Configuration]]:
    """Plans of a net or two per notebook; the configurations of each notebook."""
    brief = Optimisation(1, 256)

    def net(seed: int) -> Net:
        return Net("digits", (8,), optimisation=brief, seed=seed)

    def tiny(module: ModuleType) -> dict[str, dict[str, list[Configuration]]]:
        numbers = [number for number, wing in wings.NOTEBOOKS.items() if wing.plan is module]
        return {number: {"first": [net(int(number))], "second": [net(10 + int(number))]} for number in numbers}

    for module in wings.PLANS:
        monkeypatch.setattr(module, "plan", lambda profile, module=module: tiny(module))
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    return {number: [net(int(number)), net(10 + int(number))] for number in wings.NOTEBOOKS}


def test_train_runs_what_notebooks_need_without_them(
    plans: dict[str, list[Configuration]], results: Path, tmp_path: Path
) -> None:
    store = Store.of("smoke")

    def finished() -> list[str]:
        return [number for number, configs in sorted(plans.items()) if all(map(store.has, configs))]

    assert run.main(["train", "smoke", "2", "05"], tmp_path) == 0
    assert finished() == ["02", "05"]
    assert len(list(store.folder.rglob("*.json"))) == 4
    before = {path: path.read_bytes() for path in store.folder.rglob("*.json")}
    assert run.main(["train", "smoke"], tmp_path) == 0
    assert finished() == ["01", "02", "03", "04", "05", "06"]
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in results.iterdir()] == ["smoke"]
    assert [path.name for path in (results / "smoke").iterdir()] == ["records"]


def test_train_trains_at_profile_paper_too(plans: dict[str, list[Configuration]], tmp_path: Path) -> None:
    assert run.main(["train", "paper", "03"], tmp_path) == 0
    assert all(map(Store.of("paper").has, plans["03"]))


def test_results_that_cannot_be_written_are_told_in_a_sentence(
    plans: dict[str, list[Configuration]], results: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    results.write_text("a file where the folder would be")
    assert run.main(["train", "smoke", "01"], tmp_path) == 1
    assert "cannot be written" in capsys.readouterr().err.splitlines()[-1]
