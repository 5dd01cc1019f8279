"""A file is either there whole or not there at all: written beside, flushed to disk, renamed into place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when the block ends well and vanishes when it doesn't.

    The unfinished file is ``<path>.tmp``, a name that no reader of ours looks at.

    Raises:
        OSError: the disk is full or can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with unfinished.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable. Windows can't open folders, and needs no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_folder(folder: Path) -> None:
    """Delete a stage's unfinished work, if there is any.

    It is renamed first: killed on the way, this leaves nothing half deleted that would be taken for a beginning.
    """
    discarded = folder.with_name("discarded.tmp")
    shutil.rmtree(discarded, ignore_errors=True)  # of an earlier attempt
    if folder.exists():
        folder.rename(discarded)
        shutil.rmtree(discarded)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, keys sorted, so that equal values are equal bytes."""
    with atomic_writer(path) as handle:
        handle.write((json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
