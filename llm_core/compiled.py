"""Loops that numba compiles. The compiled code is kept beside the source, or in the user's cache folder.

Where neither can be written (a container with a read-only file system), it is compiled anew by each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Any:
    """``function``, compiled at its first call; it works on arrays and numbers and lets other threads run."""
    from numba import njit

    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba's way to say that it finds no place for its cache
        return njit(nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a small function that compiled ones call: its code is put where it is called."""
    from numba import njit

    return njit(inline="always")(function)
