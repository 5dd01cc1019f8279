"""`groundup watch`: a training as it goes, on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.workspace import WorkspaceOption, open_workspace


def find_training(ref: str | None, workspace: Path | None) -> Path:
    """The folder whose training is meant: a folder, a stage, ``stage/fingerprint`` or the first digits of a
    fingerprint (of an unfinished artifact too). By default the one that runs, or else ran last.

    Raises:
        UserError: there is none.
    """
    from flows.errors import UserError
    from flows.lineage.lock import is_locked
    from flows.training_view import trainings

    if ref is not None and Path(ref).is_dir():
        return Path(ref)
    opened = open_workspace(workspace)
    stage, _, digits = (ref or "").rpartition("/")
    found = [
        folder
        for folder in trainings(opened)
        if ref is None
        or folder.parent.name == ref
        or (folder.name.startswith(digits[:12]) and stage in ("", folder.parent.name))
    ]
    if not found:
        raise UserError(
            "nothing is being trained here" if ref is None else f"there is no training {ref!r}",
            where=str(opened),
            fix="start one with `groundup run`, or name a folder that holds metrics.jsonl",
        )
    return max(enumerate(found), key=lambda item: (is_locked(item[1]), item[0]))[1]


def watch(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]",
            help="A stage, stage/fingerprint, the beginning of a fingerprint, or a folder. Default: what is being "
            "trained now, or was last.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it as it stands now, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, max=3600.0, help="Seconds between two looks.")] = 1.0,
    workspace: WorkspaceOption = None,
) -> None:
    """Follow a training: loss curve, validation, speed, time left, last events. Ends with it; Ctrl-C leaves it be."""
    import time

    from rich.console import Console, RenderableType
    from rich.live import Live

    from flows.training_view import TrainingView

    console = Console(highlight=False)
    view = TrainingView(find_training(ref, workspace))
    utf8 = console.encoding.lower().startswith("utf")

    def frame() -> RenderableType:
        return view.render(width=min(console.width, 110), utf8=utf8)

    view.refresh()
    if once or not console.is_terminal:
        console.print(frame())
        return
    try:
        with Live(frame(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while view.status() in ("training", "waiting"):
                time.sleep(every)
                view.refresh()
                live.update(frame(), refresh=True)
    except KeyboardInterrupt:
        return
