"""Loops that numba compiles."""

from collections.abc import Callable

import numba


def compiled(loop: Callable) -> Callable:
    """The loop, compiled when it is first called; kept for other processes where there is a place to write."""
    try:
        return numba.njit(cache=True, nogil=True)(loop)
    except RuntimeError:  # a cache is a convenience: where none can be written, each process compiles anew
        return numba.njit(nogil=True)(loop)
