"""The runner, on notebooks made here."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from distillation.commands import run as runner
from notebooks import write_notebook


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """An empty results folder in use, and no downloads."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    return tmp_path / "results"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """(exit status, results folder, output) of a call at profile smoke where the first of two notebooks fails."""
    folder = tmp_path_factory.mktemp("runner")
    write_notebook(folder / "notebooks", "01_fails.ipynb", "x = 1", 'raise ValueError("the reason")', "x = 2")
    write_notebook(
        folder / "notebooks",
        "02_works.ipynb",
        "import sys, distillation.mnist.plan\n"
        "print(profile, train, distillation.mnist.plan.profile(profile).results, distillation.__file__)\n"
        'print("a progress", "bar", file=sys.stderr)',
        "import pathlib\n[str(pathlib.Path.home() / 'somewhere'), sys.prefix]",
    )
    command = "import sys, pathlib; from distillation.commands import run as runner; "
    command += "sys.exit(runner.main(['smoke'], pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"DISTILLATION_RESULTS": str(folder / "results"), "DISTILLATION_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(runner.REPOSITORY / "src")
    done = subprocess.run(
        [sys.executable, "-c", command, folder / "notebooks"], env=environment, capture_output=True, text=True
    )
    return done.returncode, folder / "results" / "smoke", done.stdout + done.stderr


def test_failing_notebook_is_named_with_cell_and_log_and_does_not_stop_the_others(executed):
    status, results, output = executed
    assert status == 1
    last = output.split("01_fails: ")[-1]
    assert "cell [4] (ValueError: the reason)" in last
    assert str(results / "logs" / "01_fails.log") in last
    assert "the reason" in (results / "logs" / "01_fails.log").read_text()
    assert re.search(r"01_fails +failed +\d+ +\d+ MB +digits", output)
    assert re.search(r"02_works +ok +\d+ +\d+ MB +digits", output)
    failed = nbformat.read(results / "notebooks" / "01_fails.ipynb", 4)
    assert len(failed.cells) == 5  # parameters, injected parameters, three of its own: no markers
    assert failed.cells[3].outputs[0].ename == "ValueError"


def test_two_calls_at_once_share_one_results_folder(tmp_path):
    """Each run is done once, each notebook executed whole by both, one after the other."""
    write_notebook(
        tmp_path / "notebooks",
        "01_sweeps.ipynb",
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'helpers')!r})",
        "import small_sweep\nfrom distillation.mnist import plan as plans\nfrom distillation.mnist import nets as mnist\n"
        "store = plans.profile(profile).store('mnist')\nstore.folder.mkdir(parents=True, exist_ok=True)\n"
        "os.environ['DISTILLATION_JOBS'] = '1'\nmnist.run = small_sweep.noted(mnist.run, store.folder.parent)\n"
        "mnist.run_all(small_sweep.CONFIGS, store, name='nets')",
        "print(sorted(store.key(config) for config in small_sweep.CONFIGS))",
    )
    write_notebook(tmp_path / "notebooks", "02_reads.ipynb", "print('done')")
    command = "import sys, pathlib; from distillation.commands import run as runner; "
    command += "sys.exit(runner.main(['smoke'], pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"DISTILLATION_RESULTS": str(tmp_path / "results"), "DISTILLATION_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(runner.REPOSITORY / "src")
    call = [sys.executable, "-c", command, tmp_path / "notebooks"]
    calls = [
        subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)
    ]
    said = [one.communicate()[0].decode() for one in calls]
    assert [one.returncode for one in calls] == [0, 0], said
    results = tmp_path / "results" / "smoke"
    begun = [line.split()[1] for line in (results / "records" / "calls").read_text().splitlines()]
    assert sorted(begun) == sorted(path.stem for path in (results / "records" / "mnist").glob("*.json"))
    executed = nbformat.read(results / "notebooks" / "01_sweeps.ipynb", 4)
    assert str(sorted(begun)) in executed.cells[-1].outputs[-1].text
    assert not list(results.rglob("*.lock")) + list(results.rglob("*partial"))


def test_progress_is_shown_and_logged(executed):
    _, results, output = executed
    assert "[1/2] 01_fails (smoke): 0 s so far, time unknown" in output
    assert "[2/2] 02_works (smoke)" in output
    assert "Kernel is running" not in output
    assert "a progress bar" in output
    assert "a progress bar" in (results / "logs" / "02_works.log").read_text()


def test_profile_is_passed_and_the_package_found(executed):
    text = (executed[1] / "notebooks" / "02_works.ipynb").read_text()
    assert "smoke False results/smoke" in text


def test_executed_notebooks_hold_nothing_of_this_machine_or_call(executed):
    _, results, _ = executed
    for path in (results / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        text = path.read_text()
        assert "papermill" not in text
        assert "a progress bar" not in text
        for folder in (Path.home(), runner.REPOSITORY, results, Path(sys.prefix), Path(sys.base_prefix)):
            assert str(folder) + "/" not in text, (path, folder)
        assert "/ipykernel_" not in text
        for cell in notebook.cells:
            assert set(cell.metadata) <= {"tags"}, cell.metadata


def test_times_are_kept_for_notebooks_that_succeeded(executed):
    _, results, _ = executed
    (row,) = csv.DictReader((results / "times.csv").open())
    assert list(row) == list(runner.COLUMNS)
    assert (row["notebook"], row["profile"], row["dataset"]) == ("02_works", "smoke", "digits")
    assert float(row["seconds"]) > 0
    assert float(row["peak_memory_mb"]) > 10


def test_rewriting_a_time_keeps_the_other_rows(results):
    folder = results / "smoke"
    folder.mkdir(parents=True)
    for name, seconds in (("02_b", 5.0), ("01_a", 100.0), ("02_b", 7.0)):
        runner.write_time(runner.Outcome(name, seconds, 100), folder, "smoke", "digits")
    rows = list(csv.DictReader((folder / "times.csv").open()))
    assert [(row["notebook"], row["seconds"]) for row in rows] == [("01_a", "100"), ("02_b", "7")]
    assert {"01_a", "02_b"} <= {row["notebook"] for row in runner.read_times(folder, "smoke")}


def test_only_what_was_done_from_nothing_is_timed(tmp_path, monkeypatch):
    notebook, results = Path("01_a.ipynb"), tmp_path / "smoke"
    failures = iter(["the kernel died", "", ""])

    def train(notebook: Path, results: Path, profile: str) -> runner.Outcome:
        _, log = runner.paths(notebook, results)
        (results / "records" / "mnist").mkdir(parents=True, exist_ok=True)
        (results / "records" / "mnist" / f"{len(list(results.rglob('*.json')))}.json").touch()
        log.parent.mkdir(exist_ok=True)
        log.touch()
        return runner.Outcome(notebook.stem, 10.0, 100, next(failures))

    monkeypatch.setattr(runner, "run_one", train)
    for _ in range(2):  # killed in the middle, then continued
        runner.run_all([notebook], results, "smoke", {"01_a": "digits"})
        assert not (results / "times.csv").exists()
    runner.delete_records(results, "smoke")
    runner.run_all([notebook], results, "smoke", {"01_a": "digits"})
    assert (results / "times.csv").read_text().count("01_a,smoke,10") == 1


def test_interrupted_before_the_first_notebook(tmp_path, results, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "look_up", interrupt)  # which may be downloading
    assert runner.main(["smoke"], tmp_path) == 130
    assert "the same command continues from here" in capsys.readouterr().err


def test_killed_runner_takes_its_notebook_along(tmp_path, results):
    write_notebook(tmp_path / "notebooks", "01_long.ipynb", "import os, time\nprint(os.getpid())\ntime.sleep(300)")
    command = "import sys, pathlib; from distillation.commands import run as runner; "
    command += "sys.exit(runner.main(['smoke'], pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": str(runner.REPOSITORY / "src")}
    log = results / "smoke" / "logs" / "01_long.log"
    for how in (signal.SIGINT, signal.SIGKILL):
        log.unlink(missing_ok=True)
        called = subprocess.Popen(
            [sys.executable, "-c", command, tmp_path / "notebooks"],
            env=environment,
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


def wait_until(condition, seconds: float = 120) -> None:
    """Wait until the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_running(process: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return done.stdout.strip() not in ("", "Z", "Zs", "Zl", "Zsl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["medium"], "Unknown profile 'medium': choose one of smoke, quick, paper."),
        (["smoke", "09"], "There is no notebook '09': choose from 01, 02."),
        (["smoke", "two"], "There is no notebook 'two': choose from 01, 02."),
    ],
)
def test_wrong_calls_get_one_clear_sentence(tmp_path, results, capsys, arguments, message):
    write_notebook(tmp_path, "01_a.ipynb")
    write_notebook(tmp_path, "02_b.ipynb")
    assert runner.main(arguments, tmp_path) == 2
    assert capsys.readouterr().err.strip() == message


def test_notebooks_are_chosen_by_number_in_the_order_given(tmp_path):
    paths = [write_notebook(tmp_path, name) for name in ("00_a.ipynb", "01_b.ipynb", "02_c.ipynb")]
    write_notebook(tmp_path, "scratch.ipynb")
    assert runner.choose([], tmp_path) == paths
    assert runner.choose(["02", "0", "02"], tmp_path) == [paths[2], paths[0]]


def test_fresh_deletes_only_the_records_and_asks_before_deleting_the_published(tmp_path, monkeypatch, capsys):
    record = tmp_path / "records" / "mnist" / "1.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    for folder in ("figures", "examples", "logs"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ValueError, match="Nothing was deleted"):
        runner.delete_records(tmp_path, "paper")
    assert record.exists()
    runner.delete_records(tmp_path, "quick")
    assert not record.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_help_explains_profiles_commands_and_every_environment_variable(capsys):
    with pytest.raises(SystemExit) as stopped:
        runner.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    package = "\n".join(path.read_text() for path in (runner.REPOSITORY / "src").rglob("*.py"))
    used = set(re.findall(r"DISTILLATION_[A-Z]+", package))
    assert len(used) >= 6
    for word in [*used, "smoke", "quick", "paper", "test", "site", "verify", "--fresh"]:
        assert word in shown, word


def test_pictures_are_left_alone():
    output = {"data": {"image/png": f"{Path.home()}/", "text/plain": f"{Path.home()}/x"}}
    runner.replace_text(output, runner.without_paths)
    assert output["data"] == {"image/png": f"{Path.home()}/", "text/plain": "~/x"}


def test_a_sound_in_a_notebook_is_cleaned_at_once():
    text = "A" * 1_000_000
    started = time.monotonic()
    assert runner.without_paths(text) == text
    assert time.monotonic() - started < 5
