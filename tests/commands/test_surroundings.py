"""What the machine and its owner have set has no part in the results, and what a machine lacks is lived without."""

import ast
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

import distillation
from distillation import PACKAGE
from distillation.commands import notebooks
from distillation.core import store
from distillation.core.data import REPOSITORY
from distillation.core.store import StoreError, written_whole
from notebooks import write_notebook

SHOWS = """
import matplotlib.pyplot as plt
from types import SimpleNamespace
from pathlib import Path
from distillation.core import figures
figures.style()
figure, axes = plt.subplots()
_ = axes.plot([1, 2], [3, 4])
figures.show(figure, "1.1 line", "A line.", SimpleNamespace(folder=Path("{folder}")))
"""
PROBE = """#!/bin/sh
case "$*" in
*version_info*) exit 0 ;;
*hashlib*) echo digest ;;
*"import distillation"*) exit {imports} ;;
*distillation.commands.run*) {{ pwd; env; }} >"$PROBE_LOG" ;;
esac
"""


def run_python(code: str, **environment: str) -> str:
    """What a program prints in a fresh process with these environment variables.  Fails if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# 1. Personal settings


@pytest.mark.parametrize(
    "setting", ["savefig.facecolor: red", "axes.grid: False\nfont.size: 30", "savefig.dpi: 30\nlines.linewidth: 9"]
)
def test_figures_do_not_depend_on_a_readers_matplotlibrc(setting: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(setting, "utf-8")
    code = SHOWS.format(folder=tmp_path / "{name}")
    run_python(code.format(name="as it is"), MPLBACKEND="Agg")
    run_python(code.format(name="set"), MPLBACKEND="svg", MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    drawn = [(tmp_path / name / "figures" / "line.png").read_bytes() for name in ("as it is", "set")]
    assert drawn[0] == drawn[1]


def test_notebooks_show_figures_whatever_backend_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = write_notebook(tmp_path, "01_shows.ipynb", SHOWS.format(folder=tmp_path))
    outcome = notebooks.execute_apart(notebook, tmp_path / "results", "smoke")
    assert outcome.failure == ""
    executed = nbformat.read(tmp_path / "results" / "notebooks" / notebook.name, 4)
    assert any(
        "image/png" in output.get("data", {}) for cell in executed.cells[1:] for output in cell.get("outputs", [])
    )


class Checkout:
    """A copy of run_all.sh with an interpreter that only notes where and with which environment it is called."""

    def __init__(self, folder: Path, imports: int = 0):
        self.folder, self.log = folder / "checkout", folder / "log"
        interpreter = self.folder / ".venv" / "bin" / "python"
        interpreter.parent.mkdir(parents=True)
        shutil.copy(REPOSITORY / "run_all.sh", self.folder)
        interpreter.write_text(PROBE.format(imports=imports), "utf-8")
        interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
        self.stamp = self.folder / ".venv" / "installed.sha256"

    def call(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call the script, by default itself."""
        return subprocess.run(
            [*(command or (self.folder / "run_all.sh",)), "smoke"],
            env=os.environ | {"PROBE_LOG": str(self.log)} | environment,
            capture_output=True,
            text=True,
        )

    def noted(self) -> tuple[Path, dict[str, str]]:
        """The working folder and the environment that the package was run with."""
        folder, *lines = self.log.read_text("utf-8").splitlines()
        return Path(folder), dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    "name", ["MPLBACKEND", "MATPLOTLIBRC", "PYTHONSTARTUP", "PYTHONPATH", "PYTHONOPTIMIZE", "JUPYTER_PATH"]
)
def test_personal_settings_are_left_out(name: str, checkout: Checkout) -> None:
    assert checkout.call(**{name: "/somewhere"}).returncode == 0
    assert name not in checkout.noted()[1]


@pytest.mark.parametrize("name", ["IPYTHONDIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"])
def test_folders_of_settings_are_the_checkouts_own(name: str, checkout: Checkout) -> None:
    assert checkout.call(**{name: "/somewhere"}).returncode == 0
    assert checkout.noted()[1][name].startswith(f"{checkout.folder}/.venv/")


# 2. Text without an encoding


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_text_is_read_and_written_in_a_named_encoding(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named = any(keyword.arg == "encoding" for keyword in node.keywords)
        texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if name == "read_text":
            assert named or node.args, f"line {node.lineno}"
        elif name == "write_text":
            assert named or len(node.args) == 2, f"line {node.lineno}"
        elif name == "open" and isinstance(node.func, ast.Name | ast.Attribute) and ast.unparse(node.func) in OPENS:
            binary = any("b" in str(text) for text in texts[-1:])
            lock = ast.unparse(node) == "open(path, 'a')"  # of which nothing is read or written
            assert named or binary or lock, f"line {node.lineno}"


OPENS = {"open", "path.open", "partial.open", "log.open"}


def test_a_terminal_need_not_know_every_character(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "notebooks", "01_bar.ipynb", "import sys\nprint('█ ✓', file=sys.stderr)")
    done = call_run("iso-8859-1", notebook.parent, "smoke", DISTILLATION_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert "█ ✓" in (tmp_path / "results" / "smoke" / "logs" / "01_bar.log").read_text("utf-8")


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "cp1252"])
def test_messages_may_hold_what_a_terminal_cannot_show(encoding: str, tmp_path: Path) -> None:
    done = call_run(encoding, tmp_path, "smóke█")
    assert done.returncode == 2
    assert b"Unknown profile" in done.stderr or b"There is no notebook" in done.stderr


def call_run(encoding: str, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Call the runner where a terminal has this encoding."""
    code = "import sys, pathlib; from distillation.commands import run; "
    code += "sys.exit(run.main(sys.argv[2:], pathlib.Path(sys.argv[1])))"
    kept = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C", "DISTILLATION_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", code, folder, *words], env=kept | environment, capture_output=True)


# 3. Caches that must be writable

ALIGNS = """
import numpy as np
from distillation.speech.recogniser.compiled import compiled
@compiled
def twice(x):
    return 2 * x
print(twice(21))
"""


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/cache"])
def test_loops_are_compiled_where_no_cache_can_be_written(place: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"  # numba keeps nothing of code without a file
    module.write_text(ALIGNS, "utf-8")
    code = f"import runpy; runpy.run_path({str(module)!r})"
    assert run_python(code, NUMBA_CACHE_DIR=place).strip() == "42"


def test_the_recognisers_loops_are_among_them() -> None:
    for path in (PACKAGE / "speech").rglob("*.py"):
        if path.name != "compiled.py":
            assert "njit" not in path.read_text("utf-8"), path


def test_without_a_home_caches_lie_elsewhere(checkout: Checkout) -> None:
    assert checkout.call(HOME="/dev/null").returncode == 0
    environment = checkout.noted()[1]
    for name in ("XDG_CACHE_HOME", "JUPYTER_RUNTIME_DIR", "NUMBA_CACHE_DIR"):
        assert environment[name].startswith(str(checkout.folder)), name


# 4. Inherited signals


def processes(word: str) -> list[int]:
    """The processes whose command line has this word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


@pytest.fixture
def word(tmp_path: Path) -> Iterator[str]:
    """A word that only this test's processes have in their command lines."""
    name = f"sleeps-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for number in processes(name):
        os.kill(number, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
def test_what_is_stopped_stops_with_its_children_where_a_shell_had_signals_ignored(
    stop: signal.Signals, tmp_path: Path, word: str
) -> None:
    source = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', {word!r}])"
    notebook = write_notebook(tmp_path / word, "01_sleeps.ipynb", source)
    code = "import sys, pathlib; from distillation.commands import run; "
    code += "sys.exit(run.main(['smoke'], pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"DISTILLATION_RESULTS": str(tmp_path / "results"), "DISTILLATION_OFFLINE": "1"}
    runner = subprocess.Popen(
        [sys.executable, "-c", code, notebook.parent],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as for `command &` in a script
    )
    end = time.monotonic() + 300
    while not any("time.sleep" in Path(f"/proc/{n}/cmdline").read_text("utf-8") for n in processes(word)):
        assert runner.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    runner.send_signal(stop)
    _, said = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert "the same command continues" in said
    end = time.monotonic() + 60
    while processes(word):
        assert time.monotonic() < end
        time.sleep(0.2)


# 5. Inherited environment redirects the set-up


@pytest.mark.parametrize(
    "name", ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "UV_TARGET", "UV_SYSTEM_PYTHON", "PYTHONHOME"]
)
def test_nothing_redirects_the_installation(name: str, checkout: Checkout) -> None:
    assert checkout.call(PIP_USER="1", **{name: "/elsewhere"}).returncode == 0
    environment = checkout.noted()[1]
    assert name not in environment
    assert environment["PIP_USER"] == "0"


def test_what_cannot_be_imported_counts_as_not_installed(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, imports=1)
    done = checkout.call()
    assert done.returncode == 1
    assert "cannot be imported" in done.stderr
    assert not checkout.stamp.exists()
    assert not checkout.log.exists()


def test_an_installation_that_can_be_imported_is_done_once(checkout: Checkout) -> None:
    assert "Installing" in checkout.call().stdout
    assert checkout.stamp.read_text("utf-8").strip() == "digest"
    assert "Installing" not in checkout.call().stdout


# 6. Where the script is


@pytest.mark.parametrize("relative", [False, True])
def test_the_script_finds_its_checkout_through_links(relative: bool, checkout: Checkout, tmp_path: Path) -> None:
    link, second = tmp_path / "bin" / "reproduce", tmp_path / "again"
    link.parent.mkdir()
    link.symlink_to("../checkout/run_all.sh" if relative else checkout.folder / "run_all.sh")
    second.symlink_to(link)
    assert checkout.call(second).returncode == 0
    assert checkout.noted()[0] == checkout.folder
    assert not (link.parent / ".venv").exists()


def test_the_script_can_be_called_with_sh(checkout: Checkout) -> None:
    done = checkout.call("sh", checkout.folder / "run_all.sh")
    assert done.returncode == 0, done.stderr
    assert checkout.noted()[0] == checkout.folder


# 7. The machine's size is not one's share

SHARE = """
import json, os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from distillation.core import sweep
import torch
print(json.dumps([sweep._jobs(), sweep.environment()["cores"], torch.get_num_threads()]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_what_is_allotted_is_asked_for() -> None:
    assert json.loads(run_python(SHARE, DISTILLATION_DEVICE="cpu")) == [1, 1, 1]


def test_nobody_asks_for_the_machines_size() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "os.cpu_count" not in path.read_text("utf-8"), path


# 8. Provenance from whatever git is around


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a package, in place of this one."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_text("x = 1\n", "utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(distillation, "REPOSITORY", tmp_path)
    distillation.commit.cache_clear()
    yield tmp_path
    distillation.commit.cache_clear()


def test_a_clean_checkout_gives_its_commit(repository: Path) -> None:
    assert distillation.commit() == git(repository, "rev-parse", "--short", "HEAD")


@pytest.mark.parametrize("change", ["edited", "added"])
def test_a_changed_package_is_recorded_as_such(change: str, repository: Path) -> None:
    (repository / "src" / ("code.py" if change == "edited" else "more.py")).write_text("x = 2\n", "utf-8")
    assert distillation.commit() == git(repository, "rev-parse", "--short", "HEAD") + "+"


def test_a_copy_inside_of_another_repository_has_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = repository / "vendored"
    shutil.copytree(repository / "src", copy / "src")
    monkeypatch.setattr(distillation, "REPOSITORY", copy)
    assert distillation.commit() == "unknown"


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert distillation.commit() == "unknown"


# 9. File systems that lack a service


def failing(code: int):
    def fsync(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    return fsync


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_files_are_written_where_there_is_no_fsync(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.os, "fsync", failing(code))
    with written_whole(tmp_path / "record.json") as partial:
        partial.write_text("{}", "utf-8")
    assert (tmp_path / "record.json").read_text("utf-8") == "{}"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_told(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.os, "fsync", failing(code))
    with pytest.raises(StoreError, match="cannot be written"), written_whole(tmp_path / "record.json") as partial:
        partial.write_text("{}", "utf-8")
    assert list(tmp_path.iterdir()) == []


# 10. Fixed time limits


def test_kernels_have_minutes_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(notebooks.papermill, "execute_notebook", lambda *_, **settings: given.update(settings))
    monkeypatch.setattr(notebooks, "stop_with_parent", lambda: None)
    assert notebooks.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", tmp_path / "log", "smoke") == 0
    assert given["start_timeout"] >= 600
    assert "--nbval-kernel-startup-timeout=600" in (REPOSITORY / "run_all.sh").read_text("utf-8")


def test_a_kernel_that_does_not_start_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kernels" / "kernels" / "python3"
    broken.mkdir(parents=True)
    arguments = [sys.executable, "-c", "raise SystemExit('no kernel today')", "{connection_file}"]
    described = {"argv": arguments, "display_name": "Python 3", "language": "python"}
    (broken / "kernel.json").write_text(json.dumps(described), "utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "kernels"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    notebook = write_notebook(tmp_path, "01_never.ipynb", "1")
    outcome = notebooks.execute_apart(notebook, tmp_path / "results", "smoke")
    assert "FAILED in its process" in outcome.failure
    assert "ernel" in outcome.failure
