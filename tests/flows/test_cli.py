"""The command line as a person meets it: exit codes, messages, and not one traceback for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import __version__
from flows.cli import app
from flows.config import load_config
from flows.errors import ArtifactLocked, Preempted, StageFailed
from flows.lineage.lock import ArtifactLock
from flows.lineage.manifest import InputRecord
from flows.lineage.store import Store
from flows.run_record import RunRecord, StageRecord

CONFIG = """\
name: tiny
ingest: {sources: [{kind: text, name: notes, path: NOTES}]}
pretrain: {steps: 10, batch_tokens: 1024}
"""

#: What `--help` must not import: each of them takes longer than the whole answer may.
HEAVY = ("torch", "prefect", "mlflow", "pyarrow", "pandas", "numpy", "sklearn", "pydantic", "tokenizers")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration and two texts, and no setting of the person who runs the tests."""
    for name in os.environ:
        if name.startswith(("PREFECT_", "MLFLOW_", "GROUNDUP_")):
            monkeypatch.delenv(name)
    # What commands put into the environment is taken back with this copy.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # so that no run of these tests starts a server
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("The first note, about the sea.", encoding="utf-8")
    (notes / "b.txt").write_text("The second note, about the land.", encoding="utf-8")
    (tmp_path / "tiny.yaml").write_text(CONFIG.replace("NOTES", str(notes / "*.txt")), encoding="utf-8")
    return tmp_path


def groundup(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def make_artifacts(workspace: Path, config: Path, *stages: str, overrides: tuple[str, ...] = ()) -> RunRecord:
    """Finished artifacts of ``stages`` (all before the last one too), and the record of their run."""
    store = Store(workspace)
    planned = store.plan(load_config(config, overrides))
    record = RunRecord.create(workspace, "tiny", {})
    made: dict[str, str] = {}
    for one in planned:
        if stages and one.name not in stages:
            continue
        inputs = (
            [InputRecord(name=n, stage="source", fingerprint=d, digest=d) for n, d in one.inputs.items()]
            if one.name == "ingest"
            else store.input_records(one.stage, made)
        )
        with store.writer(one.stage, one.fingerprint, inputs) as writer:
            (writer.out / "content.txt").write_text(one.name, encoding="utf-8")
            writer.publish({"documents_in": 2, "documents_out": 2, "bytes_out": 60, "removed.too-few-words": 0})
        made[one.name] = one.fingerprint
        stage = StageRecord(
            name=one.name, title=one.title, fingerprint=one.fingerprint, path=str(one.path), action="run"
        )
        stage.status, stage.started, stage.finished = "completed", record.started, record.started
        record.stages.append(stage)
    record.status, record.finished = "completed", record.started
    record.save()
    return record


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], None]:
    """Put a function in the place of the flow."""

    def use(function: Callable[[Any], Any]) -> None:
        module = types.ModuleType("flows.pipeline")
        module.build_language_model = lambda config, **options: function(config)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "flows.pipeline", module)

    return use


# ------------------------------------------------------------------------------------------------------ light


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from flows.cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "plan", "ui", "generate", "chat", "classify", "lineage", "config", "doctor", "gc"):
        assert command in done.stdout


COMMANDS = [
    "run",
    "plan",
    "config",
    "generate",
    "chat",
    "classify",
    "ui",
    "runs",
    "lineage",
    "funnel",
    "why",
    "data",
    "doctor",
    "gc",
    "track",
]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["config", "show"],
        ["track", "sync"],
        ["data", "sample"],
        ["data", "retune"],
        ["data", "card"],
        *([name] for name in COMMANDS),
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = groundup(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version() -> None:
    assert groundup("--version").output.strip() == f"groundup {__version__}"


# ------------------------------------------------------------------------------------------------------ mistakes


def check_clear(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: "), result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.mark.parametrize("command", ["run", "plan"])
def test_unknown_key_is_named_with_its_path(place: Path, command: str) -> None:
    check_clear(groundup(command, "tiny.yaml", "--set", "pretrain.stepz=3"), 78, "pretrain.stepz", "steps")


def test_wrong_value_is_named_with_its_path(place: Path) -> None:
    check_clear(groundup("run", "tiny.yaml", "--set", "pretrain.steps=many"), 78, "pretrain.steps")
    check_clear(groundup("run", "tiny.yaml", "--set", "model.heads=7"), 78, "heads")


def test_missing_files_are_named(place: Path) -> None:
    check_clear(groundup("run", "nothing.yaml"), 78, "nothing.yaml")
    check_clear(groundup("run", "tiny.yaml", "--set", "ingest.sources.0.path=nowhere/*.txt"), 78, "nowhere")


def test_commands_on_no_workspace_say_what_to_run(place: Path) -> None:
    for command in (
        ["lineage"],
        ["runs"],
        ["funnel"],
        ["why", "x"],
        ["gc"],
        ["generate"],
        ["chat"],
        ["classify", "x"],
        ["ui"],
    ):
        check_clear(groundup(*command), 78, "no workspace yet", str(place / "workspace"), "groundup run")
    assert not (place / "workspace").exists()


def test_missing_model_says_what_to_run(place: Path) -> None:
    (place / "workspace").mkdir()
    check_clear(groundup("generate"), 78, "no finished pretrain", "groundup run")
    check_clear(groundup("chat"), 78, "no finished assistant", "groundup run")
    check_clear(groundup("classify", "text"), 78, "classifier", "groundup run")
    check_clear(groundup("generate", str(place / "notes")), 78, "no model", "notes")
    check_clear(groundup("generate", "deadbeef"), 78, "deadbeef")


def test_wrong_usage_is_2(place: Path) -> None:
    for arguments in (["run"], ["nonsense"], ["generate", "--temperature", "-1"], ["run", "tiny.yaml", "--nonsense"]):
        result = groundup(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


@pytest.mark.parametrize("option", ["--force", "--until"])
def test_a_stage_that_is_not_there(place: Path, option: str) -> None:
    check_clear(groundup("run", "tiny.yaml", option, "pretrian"), 78, "pretrian", option, "stages: ingest")


# ------------------------------------------------------------------------------------------------------ run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StageFailed("pretrain", 76, "out of memory."), 76, "out of memory"),
        (StageFailed("pretrain", 77, "the loss is not finite"), 77, "not finite"),
        (ArtifactLocked("another run is writing this artifact", "pretrain/ab"), 73, "another run"),
        (OSError(28, "No space left on device", "/data/x"), 74, "disk is full"),
    ],
)
def test_run_ends_with_the_code_of_what_happened(
    place: Path, pipeline: Callable[..., None], error: Exception, code: int, said: str
) -> None:
    def fail(config: Any) -> None:
        raise error

    pipeline(fail)
    check_clear(groundup("run", "tiny.yaml"), code, said)


def test_a_trainer_that_was_told_to_stop_is_no_error(place: Path, pipeline: Callable[..., None]) -> None:
    def stop(config: Any) -> None:
        raise Preempted("pretrain")

    pipeline(stop)
    result = groundup("run", "tiny.yaml")
    assert result.exit_code == 75
    assert "error" not in result.stderr and "resume" in result.stderr


def test_a_bug_saves_its_traceback(place: Path, pipeline: Callable[..., None]) -> None:
    def fail(config: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    pipeline(fail)
    check_clear(groundup("run", "tiny.yaml", "--workspace", "elsewhere"), 1, "ZeroDivisionError: a bug of ours")
    (saved,) = (place / "elsewhere" / "logs").glob("crash-*.txt")
    assert "Traceback" in saved.read_text(encoding="utf-8")


def test_ctrl_c_says_that_the_same_command_continues(place: Path, pipeline: Callable[..., None]) -> None:
    def interrupted(config: Any) -> None:
        raise KeyboardInterrupt

    pipeline(interrupted)
    result = groundup("run", "tiny.yaml")
    assert result.exit_code == 130
    assert "same command continues" in result.stderr


def test_sigterm_inside_the_flow_is_75(place: Path, pipeline: Callable[..., None]) -> None:
    class TerminationSignal(BaseException):  # Prefect's, by name
        pass

    def stopped(config: Any) -> None:
        raise TerminationSignal

    pipeline(stopped)
    assert groundup("run", "tiny.yaml").exit_code == 75


def test_run_hands_over_workspace_offline_and_display(place: Path, pipeline: Callable[..., None]) -> None:
    from flows.display import PlainDisplay, current_display

    seen: dict[str, Any] = {}

    def build(config: Any) -> dict[str, str]:
        seen["config"], seen["display"] = config, current_display()
        record = make_artifacts(config.workspace, place / "tiny.yaml")
        RunRecord.create(config.workspace, "another-run-that-began-later", {})
        return {"record": str(record.path)}

    pipeline(build)
    result = groundup("run", "tiny.yaml", "--offline", "-w", "on: [odd]", "--set", "pretrain.steps=7")
    assert result.exit_code == 0, result.output
    assert seen["config"].workspace == place / "on: [odd]"
    assert seen["config"].runtime.data.offline
    assert seen["config"].pretrain.steps == 7
    assert isinstance(seen["display"], PlainDisplay)
    assert "\x1b" not in result.output
    assert "tiny: done in" in result.output


def test_workspace_of_the_environment_and_of_the_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"in {place / 'said'}" in groundup("plan", "tiny.yaml", "--set", "runtime.workspace=said").output
    monkeypatch.setitem(os.environ, "GROUNDUP_WORKSPACE", "env")
    assert f"in {place / 'env'}" in groundup("plan", "tiny.yaml", "--set", "runtime.workspace=said").output
    assert f"in {place / 'option'}" in groundup("plan", "tiny.yaml", "-w", "option").output


# ------------------------------------------------------------------------------------------------------ looking


def test_plan_says_run_then_reuse_and_writes_nothing(place: Path) -> None:
    result = groundup("plan", "tiny.yaml")
    assert result.exit_code == 0
    assert "10 stages, 10 to run" in result.output
    assert not (place / "workspace").exists()
    make_artifacts(place / "workspace", place / "tiny.yaml")
    assert "10 stages, 0 to run" in groundup("plan", "tiny.yaml").output
    changed = groundup("plan", "tiny.yaml", "--set", "pretrain.steps=11").output
    assert "10 stages, 2 to run" in changed
    assert "pretrain.steps changed from 10 to 11" in changed


def test_lineage_reaches_the_source_hashes(place: Path) -> None:
    import hashlib

    make_artifacts(place / "workspace", place / "tiny.yaml")
    for reference in ([], ["pretrain"], ["shards"]):
        shown = groundup("lineage", *reference).output
        for note in ("a.txt", "b.txt"):
            digest = hashlib.sha256((place / "notes" / note).read_bytes()).hexdigest()
            assert f"notes/{note} sha256 {digest}" in " ".join(shown.split())
        assert "(as above)" in shown  # the documents are read by two stages, and drawn once
    check_clear(groundup("lineage", "nothing"), 78, "nothing", "pretrain")


def test_runs_funnel_and_gc(place: Path) -> None:
    record = make_artifacts(place / "workspace", place / "tiny.yaml")
    listed = groundup("runs").output
    assert record.run_id in listed and "10 completed" in listed
    table = groundup("funnel").output
    assert "ingest" in table and "mix" in table
    assert "Nothing to delete" in groundup("gc").output
    make_artifacts(place / "workspace", place / "tiny.yaml", overrides=("pretrain.steps=11",))
    old = [path for path in (place / "workspace" / "artifacts" / "pretrain").iterdir() if not path.is_symlink()]
    assert len(old) == 2
    said = groundup("gc", "--keep-runs", "1", "--dry-run").output
    assert "could be deleted" in said
    assert all(path.exists() for path in old)
    assert "deleted" in groundup("gc", "--keep-runs", "1").output
    assert sum(path.exists() for path in old) == 1


def test_runs_tells_a_killed_run_from_one_that_goes_on(place: Path) -> None:
    record = make_artifacts(place / "workspace", place / "tiny.yaml")
    record.status, record.finished = "running", None  # as kill -9 leaves it
    record.save()
    assert "killed" in groundup("runs").output
    lock = ArtifactLock(Path(record.stage("evaluate").path))
    lock.acquire()
    try:
        assert "running" in groundup("runs").output
    finally:
        lock.release()


def test_force_drops_the_artifact(place: Path, pipeline: Callable[..., None]) -> None:
    record = make_artifacts(place / "workspace", place / "tiny.yaml")
    plans: list[list[str]] = []

    def build(config: Any) -> dict[str, str]:
        plans.append([p.action for p in Store(config.workspace).plan(config)])
        return {"record": str(record.path)}

    pipeline(build)
    assert groundup("run", "tiny.yaml", "--force", "tokenizer").exit_code == 0
    assert plans == [["reuse"] * 6 + ["run"] + ["reuse"] * 3]


def test_config_show_can_be_read_again(place: Path) -> None:
    shown = groundup("config", "show", "tiny.yaml", "--set", "model.layers=3")
    assert shown.exit_code == 0
    (place / "again.yaml").write_text(shown.output, encoding="utf-8")
    again = load_config(place / "again.yaml")
    assert again == load_config(place / "tiny.yaml", ["model.layers=3"])


def test_config_schema_is_json(place: Path) -> None:
    schema = json.loads(groundup("config", "schema").output)
    assert "pretrain" in schema["properties"]
