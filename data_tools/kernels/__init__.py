"""Compiled loops (numba) over Arrow's buffers: no Python per word. Each has a plain Python twin in the tests.

numba keeps what it compiled beside these files, or else in the user's cache folder, and refuses to import where neither
can be written (a container with a read-only file system). There, a folder of this process alone takes it: never one of
a known name in a shared place, since whoever can write compiled code there can run it here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _can_write(folder: Path) -> bool:
    """Whether files can be made in ``folder``, or the folder itself in the nearest one that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _have_a_cache(*usual: Path) -> None:
    if os.environ.get("NUMBA_CACHE_DIR") or any(_can_write(folder) for folder in usual):
        return
    folder = tempfile.mkdtemp(prefix="groundup-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder


_have_a_cache(Path(__file__).parent, Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()))
