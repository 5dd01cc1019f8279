"""What is finished stays as it is; what isn't never looks as if it were."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.errors import ArtifactLocked, UserError, exit_code_of
from flows.lineage import manifest as manifests
from flows.lineage.lock import ArtifactLock, read_lock
from flows.lineage.manifest import InputRecord, Manifest
from flows.lineage.store import Store
from flows.run_record import RunRecord, StageRecord
from flows.stages import Stage


class Settings(BaseModel):
    steps: int = 1


def stage_called(name: str = "mix", *, resumable: bool = False, inputs: Mapping[str, str] | None = None) -> Stage:
    return Stage(name, name.title(), 1, "none", Settings(), dict(inputs or {}), resumable=resumable)


def read_from(digest: str) -> list[InputRecord]:
    return [InputRecord(name="documents", stage="mix", fingerprint="a" * 64, digest=digest)]


FINGERPRINT = "0123456789abcdef" * 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "workspace")


def make(store: Store, stage: Stage, fingerprint: str = FINGERPRINT, text: str = "content", **kwargs: Any) -> Manifest:
    with store.writer(stage, fingerprint, **kwargs) as writer:
        (writer.out / "documents").mkdir(exist_ok=True)
        (writer.out / "documents" / "part.txt").write_text(text)
        return writer.publish({"documents": 3, "loss": 0.5, "best": "a"})


def test_when_it_was_made_is_no_content(store: Store) -> None:
    """A model that comes out the same a second time is the same, whatever the clock wrote into its log."""

    def made(fingerprint: str, log: str, text: str = "weights") -> str:
        with store.writer(stage_called(), fingerprint) as writer:
            (writer.out / "model.txt").write_text(text)
            (writer.out / "metrics.jsonl").write_text(log)
            return writer.publish({}).digest

    assert made("a" * 64, "09:00") == made("b" * 64, "10:00") != made("c" * 64, "10:00", "others")


def test_a_published_artifact_is_found_with_all_that_it_says(store: Store) -> None:
    stage = stage_called()
    made = make(store, stage, inputs=read_from("d" * 64))
    folder = store.artifact_dir("mix", FINGERPRINT)
    assert store.find("mix", FINGERPRINT) == made == Manifest.load(folder)
    assert [(o.path, o.bytes) for o in made.outputs] == [("documents/part.txt", 7)]
    assert made.outputs[0].sha256 == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert made.counters == {"documents": 3, "loss": 0.5, "best": "a"}
    assert made.config == {"steps": 1}
    assert made.provenance["versions"]["pydantic"] and made.provenance["host"]
    assert sorted(path.name for path in folder.iterdir()) == ["documents", "manifest.json"]
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert store.judge(stage, FINGERPRINT).action == "reuse"


def test_checkpoints_and_temporary_files_are_no_output(store: Store) -> None:
    with store.writer(stage_called(resumable=True), FINGERPRINT) as writer:
        (writer.out / "checkpoints").mkdir()
        (writer.out / "checkpoints" / "state").write_text("x")
        (writer.out / "half.parquet.tmp").write_text("x")
        (writer.out / "parts.tmp").mkdir()
        (writer.out / "parts.tmp" / "part.parquet").write_text("x")
        (writer.out / "model.txt").write_text("x")
        assert [output.path for output in writer.publish({}).outputs] == ["model.txt"]


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_text("cont"), "4 bytes instead of 7"),
        (lambda file: file.write_text("longer content"), "14 bytes instead of 7"),
    ],
)
def test_a_damaged_output_makes_its_stage_run_again(store: Store, harm: Callable[[Path], None], why: str) -> None:
    stage = stage_called()
    made = make(store, stage)
    folder = store.artifact_dir("mix", FINGERPRINT)
    harm(folder / "documents" / "part.txt")
    assert store.find("mix", FINGERPRINT) is None
    judged = store.judge(stage, FINGERPRINT)
    assert judged.action == "run" and why in judged.why
    assert make(store, stage).digest == made.digest
    assert store.judge(stage, FINGERPRINT).action == "reuse"


def test_verify_sees_what_sizes_dont_tell(store: Store) -> None:
    stage = stage_called()
    make(store, stage)
    (store.artifact_dir("mix", FINGERPRINT) / "documents" / "part.txt").write_text("CONTENT")
    assert store.judge(stage, FINGERPRINT).action == "reuse"
    judged = store.judge(stage, FINGERPRINT, verify=True)
    assert judged.action == "run" and "has changed" in judged.why


def test_an_artifact_made_from_other_bytes_is_not_reused(store: Store) -> None:
    stage = stage_called("select")
    make(store, stage, inputs=read_from("d" * 64))
    assert store.find("select", FINGERPRINT, {"documents": "d" * 64}) is not None
    assert store.find("select", FINGERPRINT, {"documents": "e" * 64}) is None
    judged = store.judge(stage, FINGERPRINT, {"documents": "e" * 64})
    assert judged.action == "run" and "input changed: documents" in judged.why


def test_a_stage_that_fails_leaves_nothing_and_can_be_run_again(store: Store) -> None:
    stage = stage_called()
    with pytest.raises(RuntimeError, match="boom"), store.writer(stage, FINGERPRINT) as writer:
        (writer.out / "half.txt").write_text("half")
        raise RuntimeError("boom")
    assert not store.artifact_dir("mix", FINGERPRINT).exists()
    make(store, stage)


@pytest.mark.parametrize("resumable", [True, False])
def test_unfinished_work_is_resumed_only_by_stages_that_can(store: Store, resumable: bool) -> None:
    stage = stage_called(resumable=resumable)
    with pytest.raises(KeyboardInterrupt), store.writer(stage, FINGERPRINT, read_from("d" * 64)) as writer:
        (writer.out / "checkpoints").mkdir()
        raise KeyboardInterrupt
    assert store.find("mix", FINGERPRINT) is None
    judged = store.judge(stage, FINGERPRINT, {"documents": "d" * 64})
    assert judged.action == ("resume" if resumable else "run")
    with store.writer(stage, FINGERPRINT, read_from("d" * 64)) as writer:
        assert writer.resumed is resumable
        assert (writer.out / "checkpoints").exists() is resumable


def test_work_on_other_bytes_is_not_resumed(store: Store) -> None:
    stage = stage_called(resumable=True)
    with pytest.raises(KeyboardInterrupt), store.writer(stage, FINGERPRINT, read_from("d" * 64)) as writer:
        (writer.out / "checkpoints").mkdir()
        raise KeyboardInterrupt
    assert store.judge(stage, FINGERPRINT, {"documents": "e" * 64}).action == "run"
    with store.writer(stage, FINGERPRINT, read_from("e" * 64)) as writer:
        assert not writer.resumed
        assert not (writer.out / "checkpoints").exists()


def test_a_damaged_model_is_made_from_its_checkpoints(store: Store) -> None:
    stage = stage_called("pretrain", resumable=True)
    with store.writer(stage, FINGERPRINT, read_from("d" * 64)) as writer:
        (writer.out / "checkpoints").mkdir()
        (writer.out / "model.txt").write_text("weights")
        writer.publish({})
    (writer.out / "model.txt").unlink()
    assert store.judge(stage, FINGERPRINT).action == "resume"
    with store.writer(stage, FINGERPRINT, read_from("d" * 64)) as writer:
        assert writer.resumed and (writer.out / "checkpoints").exists()
        assert not (writer.out / "manifest.json").exists()


# ---------------------------------------------------------------------------------------------- locks

HOLDER = """
import sys, time
from flows.lineage.store import Store
sys.path.insert(0, {tests!r})
from test_store import FINGERPRINT, stage_called
with Store({workspace!r}).writer(stage_called(resumable={resumable}), FINGERPRINT) as writer:
    (writer.out / "half.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def start_holder(store: Store, *, resumable: bool = False) -> subprocess.Popen[str]:
    code = HOLDER.format(tests=str(Path(__file__).parent), workspace=str(store.workspace), resumable=resumable)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "writing\n"
    return holder


@pytest.mark.parametrize("resumable", [True, False])
def test_kill_9_leaves_nothing_that_looks_finished_and_the_next_run_takes_over(store: Store, resumable: bool) -> None:
    stage = stage_called(resumable=resumable)
    with start_holder(store, resumable=resumable) as holder:
        with pytest.raises(ArtifactLocked) as caught, store.writer(stage, FINGERPRINT):
            pass
        assert str(holder.pid) in str(caught.value) and "since" in str(caught.value)
        assert exit_code_of(caught.value) == 73
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert read_lock(store.artifact_dir("mix", FINGERPRINT) / "lock.json") is not None  # it couldn't clean up
    assert store.find("mix", FINGERPRINT) is None
    assert store.judge(stage, FINGERPRINT).action == ("resume" if resumable else "run")
    with store.writer(stage, FINGERPRINT) as writer:
        assert (writer.out / "half.txt").exists() is resumable
        (writer.out / "whole.txt").write_text("whole")
        writer.publish({})
    assert store.find("mix", FINGERPRINT) is not None


def lock_of(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    lock = ArtifactLock(folder)
    lock.acquire()
    body = {**(read_lock(lock.path) or {}), **changes}
    lock.release()
    lock.path.write_text(json.dumps(body))
    return lock.path


def test_a_lock_of_another_machine_is_respected_until_it_is_silent(tmp_path: Path) -> None:
    path = lock_of(tmp_path / "a", host="elsewhere", pid=1)
    with pytest.raises(ArtifactLocked, match="elsewhere"):
        ArtifactLock(path.parent).acquire()
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    lock = ArtifactLock(path.parent)
    lock.acquire()
    lock.release()
    assert not path.exists()


def test_a_process_id_that_was_given_out_again_is_not_the_holder(tmp_path: Path) -> None:
    path = lock_of(tmp_path / "a", pid=os.getpid(), process_started="another boot:1")
    lock = ArtifactLock(path.parent)
    lock.acquire()
    lock.release()


def test_a_dead_runs_living_child_is_waited_for(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
    with child:
        path = lock_of(tmp_path / "a", pid=2**30, children=[{"pid": child.pid, "process_started": None}])
        with pytest.raises(ArtifactLocked):
            ArtifactLock(path.parent, patience=0.0).acquire()
        lock = ArtifactLock(path.parent, patience=30.0)
        lock.acquire()
        assert child.poll() is not None or child.wait(timeout=1) == 0
        lock.release()


def test_the_heart_beats(tmp_path: Path) -> None:
    lock = ArtifactLock(tmp_path / "a", heartbeat=0.05)
    lock.acquire()
    long_ago = time.time() - 3600
    os.utime(lock.path, (long_ago, long_ago))
    deadline = time.monotonic() + 20
    while lock.path.stat().st_mtime < long_ago + 60 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lock.path.stat().st_mtime > long_ago + 60
    lock.release()


def test_who_lost_the_lock_cant_publish(store: Store) -> None:
    with (
        pytest.raises(ArtifactLocked, match="took this artifact over"),
        store.writer(stage_called(), FINGERPRINT) as writer,
    ):
        (writer.out / "a.txt").write_text("a")
        body = read_lock(writer.lock.path) or {}
        writer.lock.path.write_text(json.dumps({**body, "token": "another"}))
        writer.publish({})
    assert store.find("mix", FINGERPRINT) is None
    assert (store.artifact_dir("mix", FINGERPRINT) / "lock.json").exists()  # it is the other one's


def test_what_another_run_finished_meanwhile_is_taken_as_it_is(store: Store) -> None:
    made = make(store, stage_called())
    with store.writer(stage_called(), FINGERPRINT) as writer:
        assert writer.manifest == made
    assert store.find("mix", FINGERPRINT) == made


# ---------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("resumable", [True, False])
def test_a_disk_that_fills_up_while_publishing_leaves_nothing_that_looks_finished(
    store: Store, resumable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    stage = stage_called(resumable=resumable)
    with pytest.raises(OSError, match="No space left") as caught, store.writer(stage, FINGERPRINT) as writer:
        (writer.out / "a.txt").write_text("a")
        monkeypatch.setattr(manifests, "write_bytes", full)
        writer.publish({})
    assert exit_code_of(caught.value) == 74
    assert store.find("mix", FINGERPRINT) is None
    assert store.judge(stage, FINGERPRINT).action == ("resume" if resumable else "run")
    monkeypatch.undo()
    make(store, stage)


LIMITED = """
import resource, signal, sys
from flows.errors import exit_code_of, explain
from flows.lineage.store import Store
sys.path.insert(0, {tests!r})
from test_store import FINGERPRINT, stage_called
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with Store({workspace!r}).writer(stage_called(), FINGERPRINT) as writer:
        (writer.out / "a.bin").write_bytes(bytes(50_000))
        writer.publish({{}})
except OSError as error:
    print(explain(error))
    sys.exit(exit_code_of(error))
"""


def test_a_file_that_doesnt_fit_is_a_full_disk(store: Store) -> None:
    code = LIMITED.format(tests=str(Path(__file__).parent), workspace=str(store.workspace))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 74, done.stderr
    assert "disk is full" in done.stdout
    assert store.find("mix", FINGERPRINT) is None
    assert not store.artifact_dir("mix", FINGERPRINT).exists()


# ---------------------------------------------------------------------------------------------- lineage, gc


def chain(store: Store) -> tuple[str, str]:
    """ingest <- mix, two artifacts; their fingerprints."""
    first, second = "1" * 64, "2" * 64
    source = InputRecord(name="texts/a.txt", stage="source", fingerprint="f" * 64, digest="f" * 64)
    make(store, stage_called("ingest"), first, text="one", inputs=[source])
    stage = stage_called("mix", inputs={"documents": "ingest"})
    make(store, stage, second, text="two", inputs=store.input_records(stage, {"ingest": first}))
    return first, second


@pytest.mark.parametrize("reference", ["mix", "2222", "mix/2222", "{folder}", "{folder}/documents/part.txt"])
def test_lineage_goes_down_to_the_sources(store: Store, reference: str) -> None:
    first, second = chain(store)
    node = store.lineage(reference.format(folder=store.artifact_dir("mix", second)))
    assert (node.stage, node.fingerprint) == ("mix", second)
    (below,) = node.inputs
    assert (below.stage, below.name, below.fingerprint) == ("ingest", "documents", first)
    (source,) = below.inputs
    assert (source.stage, source.name, source.digest) == ("source", "texts/a.txt", "f" * 64)


def test_lineage_of_nothing_says_what_there_is(store: Store) -> None:
    chain(store)
    with pytest.raises(UserError, match="ingest, mix"):
        store.lineage("pretrain")
    make(store, stage_called("select"), "22223" + "0" * 59)
    with pytest.raises(UserError, match="mix/222222222222"):
        store.lineage("2222")


def test_latest_is_what_the_last_run_used(store: Store) -> None:
    stage = stage_called()
    make(store, stage, "1" * 64)
    make(store, stage, "2" * 64)
    found = store.latest("mix")
    assert found is not None and found[1].fingerprint == "2" * 64
    store.point_latest("mix", "1" * 64)
    found = store.latest("mix")
    assert found is not None and found[1].fingerprint == "1" * 64
    assert store.latest("nothing") is None


def test_gc_keeps_what_runs_refer_to_and_what_that_was_made_from(store: Store) -> None:
    first, second = chain(store)
    make(store, stage_called("mix"), "3" * 64)
    make(store, stage_called("mix"), "4" * 64)  # the latest
    record = RunRecord.create(store.workspace, "run", {})
    record.stages = [StageRecord(name="mix", title="Mix", fingerprint=second, path="", action="run")]
    record.save()
    old = store.artifact_dir("pretrain", "5" * 64)
    with pytest.raises(KeyboardInterrupt), store.writer(stage_called("pretrain", resumable=True), "5" * 64):
        raise KeyboardInterrupt
    fresh = store.artifact_dir("pretrain", "6" * 64)
    with pytest.raises(KeyboardInterrupt), store.writer(stage_called("pretrain", resumable=True), "6" * 64):
        raise KeyboardInterrupt
    long_ago = time.time() - 3 * 86_400
    os.utime(old / "unfinished.json", (long_ago, long_ago))
    found = {garbage.path: garbage for garbage in store.gc(dry_run=True)}
    assert set(found) == {store.artifact_dir("mix", "3" * 64), old}
    assert found[store.artifact_dir("mix", "3" * 64)].bytes > 0
    assert old.exists()
    store.gc(dry_run=False)
    assert not old.exists() and not store.artifact_dir("mix", "3" * 64).exists()
    assert fresh.exists() and store.find("mix", second) and store.find("ingest", first) and store.find("mix", "4" * 64)
    assert {garbage.path for garbage in store.gc(keep_runs=0)} == {store.artifact_dir("mix", second)}
