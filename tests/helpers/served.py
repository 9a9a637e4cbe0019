"""Mirrors of data sets on this machine, for tests of downloads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Server:
    """Local mirrors: what each path answers with (status, body, announced length), and what was asked.

    hang_up: an answered connection stays open until this is set, as it usually is.
    """

    url: str
    answers: dict[str, tuple[int, bytes, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hang_up: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hang_up.set()


@contextmanager
def serve() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirrors.asked.append(self.path)
            status, body, length = mirrors.answers.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            mirrors.hang_up.wait(60)

        def log_message(self, *_) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    mirrors = Server(f"http://127.0.0.1:{listener.server_port}")
    try:
        yield mirrors
    finally:
        listener.shutdown()
        listener.server_close()


def allow_downloads(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        patch.setenv(variable, "127.0.0.1")
    patch.delenv("DISTILLATION_OFFLINE", raising=False)
    patch.setenv("DISTILLATION_DATA", str(folder))
