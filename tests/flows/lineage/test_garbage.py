"""What a run that goes on needs is not garbage, however many runs began after it."""

from pathlib import Path

from pydantic import BaseModel

from flows.lineage.store import Store
from flows.run_record import RunRecord, StageRecord
from flows.stages import Stage

READ, OTHER, WRITTEN = "1" * 64, "2" * 64, "3" * 64


class Settings(BaseModel):
    steps: int = 1


def make(store: Store, fingerprint: str) -> Path:
    with store.writer(Stage("mix", "Mix", 1, "none", Settings()), fingerprint) as writer:
        (writer.out / "content.txt").write_text(fingerprint)
        writer.publish({})
    return store.artifact_dir("mix", fingerprint)


def test_what_a_living_run_reads_stays_while_it_writes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    read, latest = make(store, READ), make(store, OTHER)
    record = RunRecord.create(tmp_path, "long", {})
    place = str(store.artifact_dir("pretrain", WRITTEN))
    record.stages = [
        StageRecord(name="mix", title="Mix", fingerprint=READ, path=str(read), action="reuse", status="reused"),
        StageRecord(name="pretrain", title="Train", fingerprint=WRITTEN, path=place, action="run", status="running"),
    ]
    record.save()
    RunRecord.create(tmp_path, "short", {})
    with store.writer(Stage("pretrain", "Train", 1, "none", Settings(), resumable=True), WRITTEN) as writer:
        (writer.out / "weights").write_text("half of them")
        assert store.gc(keep_runs=1) == []
    # Its record still says "running", as after a crash; but nobody holds the lock any more.
    assert [garbage.path for garbage in store.gc(keep_runs=1)] == [read]
    assert latest.exists()
