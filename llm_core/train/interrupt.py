"""Polite interruption: a signal asks for a stop, and the loop stops where nothing is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: SIGTERM: schedulers and `kill`. SIGINT: Ctrl-C. SIGUSR1: Slurm's word that the time is nearly up (`--signal`).
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)  # Windows has no SIGUSR1


class StopSignal:
    """While it is entered these signals only set :attr:`requested`; before and after they act as before.

    Outside of the main thread Python can't handle signals; there it never asks for a stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self.name = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.name = signal.Signals(number).name
