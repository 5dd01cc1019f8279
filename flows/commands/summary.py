"""The end of `groundup run`: what came out, beside its baselines; how long it took; where it is; what to type next."""

from __future__ import annotations

from pathlib import Path


def closing_summary(workspace: Path, *, seconds: float) -> None:
    """Print it for the newest run of ``workspace``."""
    raise NotImplementedError
