"""How a stage says how far it is. A stage calls it; whoever started the stage decides what to show."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def __call__(self, done: float, total: float | None, message: str = "") -> None:
        """Report that ``done`` of ``total`` units are finished (``total`` is None where it isn't known)."""


def no_progress(done: float, total: float | None, message: str = "") -> None:
    """The default: nobody is watching."""
