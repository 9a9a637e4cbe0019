"""Execute a notebook in a process of its own, and strip from it what differs between machines and calls."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from distillation.commands.entry import silence
from distillation.core.data import REPOSITORY
from distillation.core.store import StoreError, writable

NOTEBOOKS = REPOSITORY / "notebooks"
ERROR_MARKER = "papermill-error-cell-tag"
SECONDS_TO_START = 600  # of a kernel: a cold disk may take minutes
SECONDS_TO_STOP = 10  # before a process that was asked to stop is killed


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    failure: empty, or what went wrong in one line; peak_memory_mb: of its largest process.
    """

    notebook: str
    seconds: float
    peak_memory_mb: int
    failure: str = ""


def execute_apart(notebook: Path, results: Path, profile: str) -> Outcome:
    """Execute one notebook in a process of its own, which ends when this one does; clean what it leaves.

    The notebook's progress bars appear on this process's stderr and, with all else it prints, in the log.
    """
    output, log = paths(notebook, results)
    for path in (output, log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    places = (str(notebook), str(output), str(log))
    command = [sys.executable, "-m", "distillation.commands.notebooks", *places, profile]
    started = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment())
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except KeyboardInterrupt:
        child.stdin.close()  # see `stop_with_parent`
        try:
            child.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        raise
    child.stdin.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    failure = ""
    executed = nbformat.v4.new_notebook()
    with suppress(FileNotFoundError, ValueError):  # a full disk leaves half a notebook
        executed = nbformat.read(output, 4)
    if child.returncode != 0:
        failure = (
            f"FAILED in {failed_cell(executed) or f'its process ({last_line(log) or child.returncode})'}, log: {log}"
        )
    if executed.cells:
        nbformat.write(clean(executed), output)
    # wait4 reports the largest of the process and its descendants, in KiB (bytes on macOS)
    memory = round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
    return Outcome(notebook.stem, time.monotonic() - started, memory, failure)


def execute(source: Path, output: Path, log: Path, profile: str) -> int:
    """Execute one notebook with papermill in this process; return 0, or 1 if a cell failed.

    Cells before the failure and its traceback are in output and log.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not inherited from a shell's background job
    stop_with_parent()
    parameters: dict[str, Any] = {"profile": profile} | ({"train": True} if profile == "paper" else {})
    with os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace") as terminal:
        try:
            with writable(output.parent), log.open("a", encoding="utf-8") as file:
                os.dup2(file.fileno(), 2)  # what the kernel's process itself says is for the log
                try:
                    papermill.execute_notebook(
                        source,
                        output,
                        parameters,
                        cwd=source.parent,
                        kernel_name="python3",
                        progress_bar=False,
                        start_timeout=SECONDS_TO_START,
                        stdout_file=file,
                        stderr_file=Tee(file, terminal),
                    )
                except PapermillExecutionError as error:
                    print(re.sub(r"\x1b\[[0-9;]*m", "", str(error)), file=file)
                    return 1
                except KeyboardInterrupt:
                    print("Interrupted.", file=file)
                    return 130
                except RuntimeError as reason:  # such as a kernel that does not start
                    print(f"{type(reason).__name__}: {reason}", file=file)
                    return 1
        except StoreError as reason:
            print(reason, file=terminal)
            return 1
    return 0


class Tee:
    """Something to write to that passes everything on to several text files, as long as somebody reads them."""

    def __init__(self, *files: TextIO):
        self.files = files

    def write(self, text: str) -> None:
        """Write the text to all."""
        self._do(lambda file: file.write(text))

    def flush(self) -> None:
        """Flush all."""
        self._do(lambda file: file.flush())

    def _do(self, act: Callable[[TextIO], Any]) -> None:
        for file in self.files:
            try:
                act(file)
            except BrokenPipeError:  # who read the progress has gone: the notebook goes on without
                silence(file)


def stop_with_parent() -> None:
    """Interrupt this process when its stdin closes, as it does when the calling process stops or is killed."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written to it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def last_line(log: Path) -> str:
    """What a process said last, shortened; "" if nothing."""
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def failed_cell(notebook: Any) -> str:
    """ "cell [4] (ValueError: why)" for the code cell that failed or was running at the end, "" if there is none.

    The number is the one that Jupyter shows beside the cell in the executed notebook.
    """
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        number += 1
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors:
            first_line = errors[0].evalue.strip().split("\n")[0][:200]
            return f"cell [{number}] ({errors[0].ename}: {first_line})"
        if cell.metadata.get("papermill", {}).get("status") in ("running", "failed"):
            return f"cell [{number}] (the kernel died)"
    return ""


def clean(notebook: Any) -> Any:
    """Strip from an executed notebook what differs between machines and calls; return it.

    Progress bars (stderr), papermill's metadata and markers, timing, and absolute paths go; outputs stay.
    """
    notebook.metadata.pop("papermill", None)
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                replace_text(output, without_paths)
    return notebook


def replace_text(output: Any, change: Callable[[str], str]) -> None:
    """Apply a change to every text in a notebook's output, in place; pictures are left alone."""
    for key, value in output.items() if isinstance(output, dict) else enumerate(output):
        if isinstance(value, str) and not str(key).startswith("image/"):
            output[key] = change(value)
        elif isinstance(value, dict | list) and not str(key).startswith("image/"):
            replace_text(value, change)


def without_paths(text: str) -> str:
    """The text with this machine's folders replaced by what they are."""
    if "/ipykernel_" in text:  # the search takes quadratic time in the length of a word, such as a sound's
        text = re.sub(r"[^\s\"'(]*/ipykernel_\d+/\d+\.py", "<cell>", text)
    folders = {
        os.environ.get("DISTILLATION_RESULTS"): "results",
        os.environ.get("DISTILLATION_DATA"): "data",
        str(REPOSITORY): ".",
        sys.prefix: "<python>",
        sys.base_prefix: "<python>",
        tempfile.gettempdir(): "<tmp>",
        str(Path.home()): "~",
    }
    for folder, name in sorted(folders.items(), key=lambda item: -len(item[0] or "")):
        if folder and len(Path(folder).parts) > 1:
            text = re.sub(re.escape(str(Path(folder).absolute())) + r"(?![\w.-])", name, text)
    return text


def paths(notebook: Path, results: Path) -> tuple[Path, Path]:
    """Where the executed notebook and its log go."""
    return results / "notebooks" / notebook.name, results / "logs" / f"{notebook.stem}.log"


def environment() -> dict[str, str]:
    """This process's environment, made independent of the folder that notebooks run in."""
    folders = {name: os.environ.get(name) for name in ("DISTILLATION_DATA", "DISTILLATION_RESULTS")}
    return os.environ | {name: str(Path(folder).absolute()) for name, folder in folders.items() if folder}


if __name__ == "__main__":
    *places, wanted = sys.argv[1:]
    sys.exit(execute(*map(Path, places), wanted))
