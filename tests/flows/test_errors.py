"""Every error that a person can act on has a sentence and an exit code; a bug has neither."""

from __future__ import annotations

import errno

import pytest

from data_tools.errors import DataError
from flows.config import PipelineConfig
from flows.errors import ArtifactLocked, DiskFull, Preempted, StageFailed, UserError, exit_code_of, explain
from llm_core.errors import Diverged, LlmCoreError, OutOfMemory


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no", where="here", fix="try"), 78),
        (ArtifactLocked("taken"), 73),
        (DiskFull("full"), 74),
        (Preempted("pretrain"), 75),
        (StageFailed("pretrain", 77, "diverged"), 77),
        (DataError("bad line"), 78),
        (LlmCoreError("bad shape"), 78),
        (OutOfMemory("no room"), 76),
        (Diverged("nan"), 77),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_for_people(error: BaseException, code: int) -> None:
    assert explain(error)
    assert exit_code_of(error) == code


def test_a_bug_is_not_explained_away() -> None:
    assert explain(KeyError("x")) is None
    assert exit_code_of(KeyError("x")) == 1


def test_a_full_disk_is_seen_through_other_errors() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/data/x")
        except OSError as cause:
            raise RuntimeError("the writer failed") from cause
    except RuntimeError as error:
        assert exit_code_of(error) == 74
        assert "/data/x" in (explain(error) or "")


def test_a_config_that_came_from_a_form_is_explained_too() -> None:
    try:
        PipelineConfig.model_validate({"name": "x", "ingest": {"sources": []}})
    except ValueError as error:
        assert "ingest.sources" in (explain(error) or "")
        assert exit_code_of(error) == 78
