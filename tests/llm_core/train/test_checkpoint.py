import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_core.errors import DiskFull, LlmCoreError
from llm_core.train import checkpoint as module
from llm_core.train.checkpoint import LATEST, Checkpoints, random_state, restore_random_state

IDENTITY = {"config": {"steps": 10, "lr": 0.1}, "shards": "abc"}
FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def save(folder: Path, step: int, keep: int = 3) -> Path:
    tensors = {"w": torch.full((3, 4), float(step))}
    groups = {"weights": tensors, "optimizer": {"m": tensors["w"] * 2}}
    checkpoints = Checkpoints(folder, IDENTITY, keep)
    checkpoints.save(step, groups, {"tokens": step * 100})
    checkpoints.wait()
    return folder / f"step-{step:08d}"


def newest(folder: Path) -> tuple[module.Checkpoint | None, list[tuple[str, str]]]:
    passed: list[tuple[str, str]] = []
    found = Checkpoints(folder, IDENTITY, 3).newest(lambda name, why: passed.append((name, why)))
    return found, passed


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 5)
    found, passed = newest(tmp_path)
    assert found is not None and passed == []
    assert (found.step, found.state["tokens"]) == (5, 500)
    weights, optimizer = {"w": torch.zeros(3, 4)}, {"m": torch.zeros(3, 4)}
    found.load_into({"weights": weights, "optimizer": optimizer})
    assert torch.equal(weights["w"], torch.full((3, 4), 5.0))
    assert torch.equal(optimizer["m"], torch.full((3, 4), 10.0))
    assert (tmp_path / LATEST).read_text() == "step-00000005\n"


def test_only_the_last_few_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LATEST, "step-00000003", "step-00000004"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_named_and_passed_over(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found, passed = newest(tmp_path)
    assert found is not None and found.step == 1
    assert passed[0][0] == "step-00000002"
    if name != "manifest.json":  # a bit of the manifest may change the digest of another file
        assert name in passed[0][1]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / name).unlink()
    found, passed = newest(tmp_path)
    assert found is not None and found.step == 1 and len(passed) == 1


def test_saving_goes_over_a_damaged_checkpoint_of_the_same_step(tmp_path: Path) -> None:
    (save(tmp_path, 2) / "state.json").write_text("{}")
    save(tmp_path, 2)
    found, passed = newest(tmp_path)
    assert found is not None and found.step == 2 and passed == []


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = {"config": {"steps": 10, "lr": 0.2}, "shards": "abc"}
    with pytest.raises(LlmCoreError, match=r"config\.lr: 0\.1 there, 0\.2 here"):
        Checkpoints(tmp_path, other, 3).newest(lambda name, why: None)


class _Boundaries:
    """Counts the calls that change the disk and ends the process just before or after the one asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.count, self.at = 0, at
        for owner, name in ((os, "fsync"), (os, "rename"), (module, "save_file"), (module, "write_bytes")):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, function):  # type: ignore[no-untyped-def]
        def call(*arguments, **named):  # type: ignore[no-untyped-def]
            self.pass_by()
            result = function(*arguments, **named)
            self.pass_by()
            return result

        return call

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            os._exit(99)  # as kill -9: nothing is cleaned up


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_write_boundary_the_previous_or_the_new_one_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    for at in range(1, 200):
        folder = tmp_path / str(at)
        save(folder, 1)
        child = os.fork()
        if child == 0:
            _Boundaries(monkeypatch, at)
            save(folder, 2)
            os._exit(0)  # fewer boundaries than `at`: the save went through
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found, passed = newest(folder)
        assert found is not None and passed == []
        weights = {"w": torch.zeros(3, 4)}
        found.load_into({"weights": weights})
        assert torch.equal(weights["w"], torch.full((3, 4), float(found.step)))
        ends.append(found.step)
        save(folder, 3)  # and the leftovers are in nobody's way
        assert not list(folder.glob("*.tmp*"))
        if code == 0:
            break
    assert len(ends) > 15
    assert ends[0] == 1 and ends[-1] == 2
    assert ends == sorted(ends)  # published at one moment


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(DiskFull) as caught:
        save(tmp_path, 2)
    assert caught.value.exit_code == 74
    monkeypatch.undo()
    found, _ = newest(tmp_path)
    assert found is not None and found.step == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_random_numbers_go_on_where_they_were() -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    np.random.standard_normal()  # leaves half of a pair behind, which is part of the state
    state = json.loads(json.dumps(random_state()))

    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.standard_normal(), torch.randn(()).item()]

    first = draw()
    restore_random_state(state)
    assert draw() == first
