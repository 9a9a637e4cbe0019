"""A reproduction of 'Distilling the Knowledge in a Neural Network' (Hinton, Vinyals & Dean, 2015)."""

import hashlib
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.resolve().parents[1]
# What this process runs: a digest taken at its start, since a later edit does not reach what is imported already.
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PACKAGE.rglob("*.py")))).hexdigest()


@cache
def processor() -> str:
    """The processor's name: runs on another one may differ in their last digits."""
    told = Path("/proc/cpuinfo").read_text("utf-8", "replace") if sys.platform == "linux" else ""
    names = re.findall(r"^model name\s*: (.*)", told, re.MULTILINE)
    return names[0] if names else platform.processor() or platform.machine()


@cache
def commit() -> str:
    """The commit of this checkout, with "+" after it if the package was changed since; "unknown" outside of one."""
    top, found = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "--short", "HEAD")
    if not found or Path(top).resolve() != REPOSITORY:  # a copy inside of another repository has that one's commit
        return "unknown"
    return found + "+" if _git("status", "--porcelain", "--", "src") else found


def _git(*arguments: str) -> str:
    try:  # a worker may have no git
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
