"""Makes MLflow show what the libraries wrote to disk, and never the other way round.

The files are the truth: `runs/<run_id>/run.json`, every artifact's `manifest.json` and `metrics.jsonl`. MLflow is a
view of them. :func:`~flows.tracking.reconcile.reconcile` compares the two and adds what is missing, so that an outage,
a crash or a second call need no case of their own. :class:`Mirror` calls it every few seconds while a pipeline runs,
:func:`sync` calls it for every run of a workspace.

snapshot.py   what is on disk, as plain values            metric_log.py   metrics.jsonl, read a piece at a time
ledger.py     what MLflow was told already                reconcile.py    tells it the rest
registry.py   models, registered by reference             connection.py   which MLflow
mirror.py     while a pipeline runs                       sync.py         afterwards, for all runs
"""

from flows.tracking.mirror import Mirror
from flows.tracking.sync import SyncReport, sync

__all__ = ["Mirror", "SyncReport", "sync"]
