import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from llm_core.errors import DiskFull, LlmCoreError
from llm_core.train import checkpoint, checkpoint_files, checkpoint_folder
from llm_core.train.checkpoint import Checkpoint, Checkpoints
from llm_core.train.parallel import Parallel
from llm_core.train.random_state import random_state, restore_or_seed, restore_random_state

IDENTITY = {"config": {"steps": 10, "lr": 0.1}, "shards": "abc"}
FILES = ("weights-00000.safetensors", "optimizer-00000.safetensors", "index.json", "state.json", "manifest.json")


def groups(step: int) -> dict[str, dict[str, Tensor]]:
    weights = {"w": torch.full((3, 4), float(step)), "scalar": torch.tensor(step)}
    return {"weights": weights, "optimizer": {"m": weights["w"] * 2}, "average": {}}


def save(folder: Path, step: int, keep: int = 3, permanent: bool = False, **options: Any) -> Path:
    checkpoints = Checkpoints(folder, IDENTITY, keep, **options)
    checkpoints.save(step, groups(step), {"tokens": step * 100}, permanent=permanent)
    checkpoints.wait()
    return folder / f"step-{step:08d}"


def newest(folder: Path, **options: Any) -> tuple[Checkpoint | None, list[tuple[str, str]]]:
    passed: list[tuple[str, str]] = []
    found = Checkpoints(folder, IDENTITY, 3).newest(lambda name, why: passed.append((name, why)), **options)
    return found, passed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("background", [False, True])
def test_what_was_saved_comes_back(tmp_path: Path, background: bool) -> None:
    path = save(tmp_path, 5, background=background)
    found, passed = newest(tmp_path)
    assert found is not None and passed == []
    assert (found.step, found.state["tokens"]) == (5, 500)
    loaded = groups(0)
    found.load_into(loaded)
    assert all(torch.equal(loaded[g][n], t) for g, ts in groups(5).items() for n, t in ts.items())
    assert (tmp_path / "LATEST").read_text() == "step-00000005\n"
    assert names(path) == sorted(FILES)
    assert torch.equal(load_file(path / FILES[0])["w"], groups(5)["weights"]["w"])  # as other programs read it


def test_every_type_is_written_as_the_format_says(tmp_path: Path) -> None:
    tensors = {str(dtype): (torch.rand(3, 5) * 9).to(dtype) for dtype in checkpoint_files.DTYPES}
    tensors |= {"scalar": torch.tensor(3.5), "turned": torch.rand(2, 3).mT}
    told = checkpoint_files.write_tensors(tmp_path / "x.safetensors", tensors)
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert checkpoint_files.damage(tmp_path, ["x.safetensors"], {"x.safetensors": told}) is None


def test_training_may_go_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    told: list[int] = []
    checkpoints = Checkpoints(tmp_path, IDENTITY, 2, background=True, published=told.append)
    live = groups(1)
    for step in (1, 2, 3):
        checkpoints.save(step, live, {"tokens": step})
        live["weights"]["w"] += 1.0  # at once, while the writer may not even have begun
    checkpoints.wait()
    assert told == [1, 2, 3]
    for step in (2, 3):
        found, _ = newest(tmp_path, before=step + 1)
        loaded = groups(0)
        assert found is not None and found.step == step
        found.load_into(loaded)
        assert torch.equal(loaded["weights"]["w"], torch.full((3, 4), float(step)))


def test_other_tensors_than_those_stored_are_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    found, _ = newest(tmp_path)
    assert found is not None
    for change in ({"w": torch.zeros(3, 4)}, groups(0)["weights"] | {"x": torch.zeros(1)}):
        with pytest.raises(LlmCoreError, match="belong to another model"):
            found.load_into({"weights": change})
    with pytest.raises(LlmCoreError, match=r"w of weights is of shape \[3, 4\], not \[4, 3\]"):
        found.load_into({"weights": groups(0)["weights"] | {"w": torch.zeros(4, 3)}})


# ------------------------------------------------------------------------------------------------------- what is kept


def test_the_last_few_the_permanent_ones_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY, 2)
    for step in range(1, 9):
        checkpoints.save(step, groups(step), {}, permanent=step in (2, 4))
        if step in (1, 3):
            checkpoints.mark_best(step)
    assert names(tmp_path) == ["BEST", "LATEST", *(f"step-{step:08d}" for step in (2, 3, 4, 7, 8))]
    assert (tmp_path / "BEST").read_text() == "step-00000003\n"
    again = Checkpoints(tmp_path, IDENTITY, 1)  # a resumed run knows which is the best
    again.save(9, groups(9), {})
    assert names(tmp_path) == ["BEST", "LATEST", *(f"step-{step:08d}" for step in (2, 3, 4, 9))]
    again.forget_after(2)  # rolled back: the later ones are of a course that was given up
    assert names(tmp_path) == ["LATEST", "step-00000002"]


def test_one_that_is_old_enough_for_a_rollback_stays(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY, 1, reach=4)
    kept = []
    for step in (0, 1, 3, 6, 7, 9, 12):
        checkpoints.save(step, groups(step), {})
        kept.append(sorted(int(name[5:]) for name in names(tmp_path) if name != "LATEST"))
    assert kept == [[0], [0, 1], [0, 3], [0, 3, 6], [3, 6, 7], [3, 6, 9], [6, 9, 12]]
    checkpoints.folder.keep = 2
    for step in (14, 17, 20, 22):
        checkpoints.save(step, groups(step), {})
        kept.append(sorted(int(name[5:]) for name in names(tmp_path) if name != "LATEST"))
    assert kept[7:] == [[9, 12, 14], [12, 14, 17], [14, 17, 20], [17, 20, 22]]


def test_saving_an_earlier_step_again_replaces_it_and_deletes_the_later_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step-00000002" / "state.json").write_text("{}")
    (tmp_path / "step-00000003" / "manifest.json").unlink()
    save(tmp_path, 2)
    found, passed = newest(tmp_path)
    assert found is not None and found.step == 2 and passed == []
    assert names(tmp_path) == ["LATEST", "step-00000001", "step-00000002"]


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_named_and_passed_over(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    whole = path.read_bytes()
    draw = random.Random(name)
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        found, passed = newest(tmp_path)
        assert found is not None and found.step == 1
        assert passed[0][0] == "step-00000002" and name in passed[0][1]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_shortened_file_is_found_and_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    path.write_bytes(path.read_bytes()[:-1])
    assert name in newest(tmp_path)[1][0][1]
    path.unlink()
    found, passed = newest(tmp_path)
    assert found is not None and found.step == 1 and len(passed) == 1 and name in passed[0][1]


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    save(tmp_path, 1).rename(tmp_path / "step-00000007")
    found, passed = newest(tmp_path)
    assert found is None and "checkpoint of step 1" in passed[0][1]


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = {"config": {"steps": 10, "lr": 0.2}, "shards": "abc"}
    with pytest.raises(LlmCoreError, match=r"config\.lr: 0\.1 there, 0\.2 here"):
        Checkpoints(tmp_path, other, 3).newest(lambda name, why: None)


# -------------------------------------------------------------------------------------------------- kills, full disks


class _Boundaries:
    """Counts the calls that change the disk and ends the process just before or after the one asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.count, self.at = 0, at
        for name in ("fsync", "rename", "write", "replace"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(Path, "rename", self.counted(Path.rename))
        monkeypatch.setattr(checkpoint_folder.shutil, "rmtree", self.counted(checkpoint_folder.shutil.rmtree))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.pass_by()
            result = function(*arguments, **named)
            self.pass_by()
            return result

        return call

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            os._exit(99)  # as kill -9: nothing is cleaned up


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A folder in memory, where there is one: hundreds of checkpoints that each wait for a busy disk take minutes."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("step", [2, 1], ids=["new", "replacing"])
def test_killed_at_every_write_boundary_the_previous_or_the_new_one_loads(
    memory_disk: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    ends: list[int] = []
    for at in range(1, 200):
        folder = memory_disk / str(at)
        save(folder, 1, keep=1)
        child = os.fork()
        if child == 0:
            _Boundaries(monkeypatch, at)
            checkpoints = Checkpoints(folder, IDENTITY, 1, background=True)
            checkpoints.save(step, groups(7), {"tokens": 7})
            checkpoints.wait()
            os._exit(0)  # fewer boundaries than `at`: the save went through
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found, passed = newest(folder)
        assert found is not None and passed == []
        loaded = groups(0)
        found.load_into(loaded)
        value = loaded["weights"]["w"][0, 0].item()
        assert torch.equal(loaded["optimizer"]["m"], torch.full((3, 4), 2 * value))
        assert (found.step, found.state["tokens"]) == ((step, 7) if value == 7 else (1, 100))
        ends.append(int(value))
        save(folder, 3)  # and the leftovers are in nobody's way
        assert not list(folder.glob("*.tmp*")) and not list(folder.glob("*.replaced"))
        if code == 0:
            break
    assert len(ends) > 30
    assert ends[0] == 1 and ends[-1] == 7
    assert ends == sorted(ends)  # published at one moment


def full_after(monkeypatch: pytest.MonkeyPatch, folder: Path, room: Callable[[], int]) -> None:
    """From now on the disk holds ``room()`` bytes in safetensors files under ``folder``."""
    write = checkpoint_files.write_all

    def limited(descriptor: int, content: memoryview) -> int:
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if used + len(content) > room():
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(checkpoint_files, "write_all", limited)


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_gives_up_old_ephemeral_checkpoints_but_never_the_last_intact_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    save(tmp_path, 1, permanent=True)
    for step in (2, 3, 4):
        save(tmp_path, step)
    (tmp_path / "step-00000004" / "state.json").write_text("{}")
    each = sum(path.stat().st_size for path in (tmp_path / "step-00000003").iterdir())
    room = 4.5 * each
    full_after(monkeypatch, tmp_path, lambda: int(room))
    told: list[Any] = []
    checkpoints = Checkpoints(
        tmp_path,
        IDENTITY,
        3,
        background=background,
        published=told.append,
        failed=lambda step, error: told.append((step, type(error))),
    )
    checkpoints.save(5, groups(5), {})
    checkpoints.wait()
    assert [name for name in names(tmp_path) if name.startswith("step")] == [
        "step-00000001",
        "step-00000003",
        "step-00000005",
    ]
    room = 0
    checkpoints.save(6, groups(6), {})  # doesn't raise: training goes on
    assert checkpoints.last_failed
    with pytest.raises(DiskFull) as caught:  # for whoever has to know
        checkpoints.wait()
    assert caught.value.exit_code == 74 and told == [5, (6, DiskFull)]
    assert [name for name in names(tmp_path) if name != "LATEST"] == ["step-00000001", "step-00000005"]
    room = 10 * each
    checkpoints.save(7, groups(7), {})
    checkpoints.wait()
    assert told[-1] == 7


def test_a_mistake_of_ours_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY, 3, background=True)
    checkpoints.save(1, groups(1), {"set": {1, 2}})  # JSON knows no sets
    checkpoints.join()
    with pytest.raises(TypeError):
        checkpoints.save(2, groups(2), {})
    assert not list(tmp_path.glob("*.tmp"))


# ------------------------------------------------------------------------------------------------------ random numbers


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(np.random.standard_normal()), torch.randn(()).item()]


def test_random_numbers_go_on_where_they_were() -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    np.random.standard_normal()  # leaves half of a pair behind, which is part of the state
    state = json.loads(json.dumps(random_state()))
    first = draw()
    restore_random_state(state)
    assert draw() == first
    restore_or_seed([state], Parallel(), seed=1, step=2)
    assert draw() == first


def test_another_number_of_processes_gets_seeds_that_follow_from_the_step() -> None:
    states = [random_state()] * 2
    seen = []
    for step in (4, 4, 5):
        restore_or_seed(states, Parallel(), seed=1, step=step)
        seen.append(draw())
    assert seen[0] == seen[1] != seen[2]


def test_patience_ends_where_another_process_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PATIENCE", 0.0)
    with pytest.raises(OSError, match="process 1 has not written"):
        checkpoint._await_pieces(tmp_path, 1)
    (tmp_path / "rank-00001.full").touch()
    with pytest.raises(OSError, match="process 1 found the disk full"):
        checkpoint._await_pieces(tmp_path, 1)
