"""The thread that keeps MLflow up to date while a pipeline runs.

It reads files and talks to MLflow, and that is all it shares with the pipeline: no trainer waits for it, nothing that
happens in it (a server that is down, hangs, or refuses) reaches the flow. Each failure becomes one line of warning and
a longer pause. What MLflow lacks at the end is still in the files; `groundup track sync` adds it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flows.tracking.connection import connect, is_unknown, resolve_uri, short
from flows.tracking.ledger import Ledger, Stopped, exclusive, ledger_path, lock_path, makers
from flows.tracking.reconcile import reconcile

if TYPE_CHECKING:
    from mlflow import MlflowClient

POLL_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 60.0
STOP_SECONDS = 10.0
SYNC_HINT = "`groundup track sync` adds what is missing"

_log = logging.getLogger(__name__)


class TrackingConfig(Protocol):
    """The part of `runtime.tracking` that is read here."""

    @property
    def enabled(self) -> bool: ...

    @property
    def uri(self) -> str | None: ...


class Mirror:
    """Mirrors one run. `start()` when the record is there, `stop()` when the run is over (in whatever way).

    Args:
        record_path: the run's `run.json`.
        config: `runtime.tracking`; with `enabled: false` nothing happens.
        log: takes a line of warning for people.
        client: makes the connection; the tests put their own here.
    """

    def __init__(
        self,
        record_path: str | Path,
        config: TrackingConfig,
        log: Callable[[str], None] = _log.warning,
        *,
        client: Callable[[str], MlflowClient] = connect,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.record_path = Path(record_path)
        self.config = config
        self.log = log
        self._connect = client
        self._poll = poll_seconds
        self._stopping = threading.Event()
        self._deadline: float | None = None  # of the last pass, on the monotonic clock
        self._complete = False
        self._failing = False
        # A daemon: a call that hangs in a dead server must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="tracking-mirror", daemon=True)

    def start(self) -> Mirror:
        if self.config.enabled:
            self._thread.start()
        return self

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """Let the mirror tell MLflow the rest, for at most `timeout` seconds. True if MLflow has everything.

        The record has to be final before. Never raises.
        """
        if not self.config.enabled or self._thread.ident is None:
            return True
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        self._thread.join(timeout)
        if not self._complete:
            self._say(f"MLflow doesn't have everything of this run yet; nothing is lost: {SYNC_HINT}")
        return self._complete

    @property
    def working(self) -> bool:
        """The thread is still there: following the run, or caught in a call to a server that hangs."""
        return self._thread.is_alive()

    # --- inside the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with exclusive(lock_path(self.record_path)) as held:
                if held:
                    self._follow()
                else:
                    self._say("another process is telling MLflow about this run; this one leaves it to that")
        except Exception as error:
            self._say(f"tracking has ended early ({short(error)}); {SYNC_HINT}")

    def _follow(self) -> None:
        client: MlflowClient | None = None
        failures = 0
        while True:
            last = self._stopping.is_set()
            try:
                if client is None:
                    uri = resolve_uri(self.config.uri, self.record_path.parent.parent.parent)
                    ledger = Ledger(ledger_path(self.record_path), uri, self._keep_going)
                    made_by = makers(self.record_path.parent.parent, ledger.target)
                    client = self._connect(uri)
                reconcile(self.record_path, client, ledger, made_by=made_by)
                failures = 0
                if self._failing:
                    self._failing = False
                    self._say("MLflow answers again and has what it missed")
                if last:
                    self._complete = True
                    return
            except Stopped:
                if last:
                    return
            except Exception as error:
                failures += 1
                if not self._failing:
                    self._say(f"MLflow can't be reached or refuses ({short(error)}); the run goes on, {SYNC_HINT}")
                self._failing = True
                if is_unknown(error):
                    ledger.forget()
                if last and (failures > 1 or not self._keep_going()):
                    return  # one more try at the end is enough; sync does the rest
            pause = min(self._poll * 2**failures, LONGEST_PAUSE_SECONDS)
            if last:
                time.sleep(min(0.5, self._poll))
            elif self._stopping.wait(pause):
                failures = 0

    def _keep_going(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _say(self, line: str) -> None:
        try:
            self.log(line)
        except Exception:  # the display may be gone by now; the log of the process is still there
            _log.warning(line)
