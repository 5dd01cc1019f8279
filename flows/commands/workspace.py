"""Which workspace a command works in, and which artifact it means when none is named."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.lineage.manifest import Manifest

VARIABLE = "GROUNDUP_WORKSPACE"

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help=f"Folder of artifacts, runs and databases. Default: ${VARIABLE}, or ./workspace.",
        file_okay=False,
    ),
]

_current: ContextVar[Path | None] = ContextVar("groundup_workspace", default=None)


def default_workspace() -> Path:
    return Path(os.environ.get(VARIABLE) or "workspace")


def current_workspace() -> Path:
    """The workspace of the command that runs (for the log of a crash)."""
    return _current.get() or default_workspace()


def use_workspace(chosen: Path | str | None) -> Path:
    """The workspace as an absolute path: what was asked for, or the default. It need not be there yet.

    Raises:
        UserError: something that is no folder is there.
    """
    workspace = Path(chosen or default_workspace()).expanduser().absolute()
    if workspace.exists() and not workspace.is_dir():
        from flows.errors import UserError

        raise UserError(
            "a workspace is a folder, and this is none",
            where=str(workspace),
            fix=f"name another with --workspace, ${VARIABLE} or runtime.workspace",
        )
    _current.set(workspace)
    return workspace


def open_workspace(chosen: Path | None) -> Path:
    """An existing workspace, for the commands that read one.

    Raises:
        UserError: nothing is there.
    """
    workspace = use_workspace(chosen)
    if not workspace.is_dir():
        from flows.errors import UserError

        raise UserError(
            "there is no workspace yet",
            where=str(workspace),
            fix=f"`groundup run configs/quickstart.yaml` makes one; --workspace or ${VARIABLE} names another",
        )
    return workspace


def newest_artifact(workspace: Path, *stages: str) -> tuple[Path, Manifest]:
    """Folder and manifest of the newest finished artifact of the first of ``stages`` that has one.

    Raises:
        UserError: none of them has been finished in this workspace.
    """
    from flows.errors import UserError
    from flows.lineage.store import Store

    store = Store(workspace)
    for stage in stages:
        found = store.latest(stage)
        if found is not None:
            return found
    raise UserError(
        f"this workspace has no finished {' or '.join(stages)} stage yet",
        where=str(workspace),
        fix="run `groundup run configs/quickstart.yaml` (or your own config) first; it continues where it stopped",
    )
