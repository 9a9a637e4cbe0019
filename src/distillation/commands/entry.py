"""How every command begins and ends: wrong settings are told in a sentence, a reader that goes away ends it quietly."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TextIO

from distillation.core.data import is_offline
from distillation.core.training import device

NO_READER = 141  # the exit status that shells give to a command whose reader has gone (128 + SIGPIPE)


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Make a function the main function of a command, which returns the exit status.

    That is 2 for settings that cannot be followed, and NO_READER where nobody reads the output any longer (`| head`).
    """

    @wraps(main)
    def begin_and_end(*arguments: Any, **named: Any) -> int:
        open_closed_streams()
        try:
            try:
                device(), is_offline()  # for what they raise, before anything begins
            except ValueError as reason:
                print(reason, file=sys.stderr)
                return 2
            try:
                return main(*arguments, **named)
            finally:
                sys.stdout.flush()  # not left to Python's end, where a failure could not be caught
        except BrokenPipeError:
            silence(sys.stdout)
            silence(sys.stderr)
            return NO_READER

    return begin_and_end


def open_closed_streams() -> None:
    """Let streams that were closed (`>&-`) lead nowhere, for this process and for those that it starts."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the closed one
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def silence(stream: TextIO) -> None:
    """Let a stream, with what it still holds, lead nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
