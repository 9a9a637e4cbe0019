"""How commands begin and end: wrong settings in a sentence, readers that go away and closed streams without ado."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distillation.commands import publish, run, site, verify
from distillation.commands.entry import NO_READER
from distillation.commands.notebooks import Tee
from distillation.core.data import REPOSITORY


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DISTILLATION_DEVICE", "gpu", "DISTILLATION_DEVICE=gpu: choose cpu, cuda or mps; this machine has cpu."),
        ("DISTILLATION_DEVICE", "cuda", "DISTILLATION_DEVICE=cuda: choose cpu, cuda or mps; this machine has cpu."),
        ("DISTILLATION_OFFLINE", "off", "DISTILLATION_OFFLINE=off is neither yes nor no: set it to 1 (never download)"),
    ],
)
@pytest.mark.parametrize(
    "main",
    [
        lambda: run.main(["smoke"]),
        lambda: run.main(["train", "smoke"]),
        lambda: verify.main([]),
        publish.main,
        site.main,
    ],
    ids=["run", "train", "verify", "publish", "site"],
)
def test_wrong_settings_get_a_sentence_before_anything_begins(
    main: Callable[[], int],
    name: str,
    value: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv(name, value)
    assert main() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(says)
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_missing_data_are_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "yes")
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    assert run.main(["train", "paper", "02"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mnist/train-images-idx3-ubyte.gz is missing and DISTILLATION_OFFLINE forbids downloads")


@pytest.fixture
def no_reader() -> Iterator[int]:
    """The writing end of a pipe that nobody reads from."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(
    "main",
    [lambda: run.main(["smoke"]), lambda: verify.main(["--help"]), publish.main, site.main],
    ids=["run", "verify", "publish", "site"],
)
def test_a_reader_that_goes_away_ends_every_command_quietly(
    main: Callable[[], int], no_reader: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loud(*_: Any) -> None:
        print("something", "x" * 100_000)

    monkeypatch.delenv("DISTILLATION_RESULTS", raising=False)
    monkeypatch.setattr(run, "start", loud)
    monkeypatch.setattr(publish, "from_weights", loud)
    monkeypatch.setattr(site, "build", lambda *_: None)
    with os.fdopen(os.dup(no_reader), "w") as out, (tmp_path / "err").open("w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main() == NO_READER
    assert (tmp_path / "err").read_text() == ""


def in_a_process(code: str, *command: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Code in a Python of its own, which `command` may start; its output."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "PYTHONUNBUFFERED": ""}
    call = [*command, sys.executable, "-c", code]
    streams = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": subprocess.PIPE}
    return subprocess.run(call, env=environment, text=True, **streams)


def test_nothing_is_said_at_pythons_end_either(no_reader: int) -> None:
    code = "import sys; from distillation.commands.entry import command; sys.exit(command(lambda: print('few'))())"
    done = in_a_process(code, stdout=no_reader)
    assert (done.returncode, done.stderr) == (NO_READER, "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm_nor_to_what_a_command_starts(closed: str, tmp_path: Path) -> None:
    child = "import os, sys; [os.fstat(number) for number in (0, 1, 2)]; print('x'); print('x', file=sys.stderr)"
    code = f"""
import subprocess, sys
from distillation.commands.entry import command

@command
def main():
    print("something")
    print("something", file=sys.stderr)
    sys.stdin.readline()
    return subprocess.run([sys.executable, "-c", {child!r}]).returncode

status = main()
open({str(tmp_path / "status")!r}, "w").write(str(status))
"""
    done = in_a_process(code, "bash", "-c", f'exec "$@" {closed}', "-")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "status").read_text() == "0"


def test_a_notebook_goes_on_without_a_reader_of_its_progress(no_reader: int) -> None:
    log = io.StringIO()
    with os.fdopen(os.dup(no_reader), "w") as terminal:
        tee = Tee(terminal, log)
        for _ in range(3):
            tee.write("a bar\n" * 10_000)
            tee.flush()
    assert log.getvalue() == "a bar\n" * 30_000
