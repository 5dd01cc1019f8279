"""Checkpoints of two processes for one, of one for two, and what happens to them when one of the two fails.
(test_parallel.py trains with them, in all the ways that a model can be divided.)"""

import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor

from llm_core.errors import DiskFull
from llm_core.train import checkpoint_files
from llm_core.train.checkpoint import Checkpoints
from llm_core.train.parallel import Parallel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs gloo")


def whole(step: int) -> dict[str, dict[str, Tensor]]:
    """What the tensors are, before anybody divides them. Neither 5 nor 1 can be halved."""
    draw = torch.Generator().manual_seed(step)
    weights = {
        name: torch.randn(shape, generator=draw)
        for name, shape in {"rows": (5, 4), "columns": (3, 5), "one_row": (1, 6), "same": (4,), "plain": (2, 3)}.items()
    }
    return {"weights": weights, "optimizer": {"step": torch.tensor(float(step))}}


class Two(Parallel):
    def __init__(self, rank: int, folder: Path) -> None:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
        self.rank, self.world_size = rank, 2

    def gather(self, value: object) -> list[object]:
        values: list[object] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values


def divided(groups: dict[str, dict[str, Tensor]], rank: int) -> dict[str, dict[str, Any]]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    placements = {"rows": Shard(0), "columns": Shard(1), "one_row": Shard(0), "same": Replicate()}
    result: dict[str, dict[str, Any]] = {group: dict(tensors) for group, tensors in groups.items()}
    for name, placement in placements.items():
        result["weights"][name] = distribute_tensor(groups["weights"][name], mesh, [placement])
    result["weights"][f"of-{rank}"] = torch.full((2,), float(rank))  # a layer that only one has: pipelines
    return result


def child(rank: int, folder: Path) -> None:
    parallel = Two(rank, folder)
    told: list[Any] = []
    checkpoints = Checkpoints(
        folder / "two",
        {},
        2,
        parallel=parallel,
        background=True,
        published=told.append,
        failed=lambda step, error: told.append((step, isinstance(error, DiskFull))),
    )
    # Both save; each its own part.
    checkpoints.save(1, divided(whole(1), rank), {"random": parallel.gather(rank)})
    checkpoints.wait()
    # The second one's disk is full: both know, both go on, nothing is left of it.
    write = checkpoint_files.write_all
    if rank == 1:

        def full(descriptor: int, content: memoryview) -> int:
            raise OSError(28, "No space left on device")

        checkpoint_files.write_all = full
    checkpoints.save(2, divided(whole(2), rank), {})
    assert checkpoints.last_failed
    checkpoint_files.write_all = write
    parallel.gather(None)
    assert sorted(path.name for path in (folder / "two").iterdir()) == ["LATEST", "step-00000001"]
    checkpoints.save(3, divided(whole(3), rank), {})
    checkpoints.wait()
    assert told[0] == 1 and told[1][0] == 2 and told[2] == 3
    assert rank == 1 or told[1][1]  # the main process knows that it is the disk
    # What lies in the second one's file is damaged: both come to the same verdict.
    parallel.gather(None)
    if rank == 0:
        path = folder / "two" / "step-00000003" / "weights-00001.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    parallel.gather(None)
    passed: list[tuple[str, str]] = []
    found = checkpoints.newest(lambda name, why: passed.append((name, why)))
    assert found is not None and found.step == 1 and found.state["random"] == [0, 1]
    assert passed == [("step-00000003", "the content of weights-00001.safetensors has changed (sha256)")]
    # From two to two, and from one to two.
    for checkpoint, step in (
        (found, 1),
        (Checkpoints(folder / "one", {}, 2, parallel=parallel).newest(lambda *_: None), 7),
    ):
        assert checkpoint is not None
        loaded, expected = divided(whole(0), rank), divided(whole(step), rank)
        if step == 7:
            loaded["weights"].pop(f"of-{rank}"), expected["weights"].pop(f"of-{rank}")
        checkpoint.load_into(loaded)
        for group, tensors in expected.items():
            for name, tensor in tensors.items():
                a, b = (checkpoint_files.block_of(t).local for t in (tensor, loaded[group][name]))
                assert torch.equal(a, b), (step, group, name)
    dist.destroy_process_group()


def in_two_processes(work: Callable[[int, Path], None], folder: Path) -> None:
    context = multiprocessing.get_context("spawn")  # whatever earlier tests left in this process stays here
    children = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
    for each in children:
        each.start()
    for each in children:
        each.join(100)
    assert [each.exitcode for each in children] == [0, 0]


def test_two_processes_and_one_read_each_others_checkpoints(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "one", {}, 2).save(7, whole(7), {})
    in_two_processes(child, tmp_path)

    found = Checkpoints(tmp_path / "two", {}, 2).newest(lambda *_: None)
    assert found is not None
    loaded = whole(0)
    loaded["weights"] |= {f"of-{rank}": torch.zeros(2) for rank in range(2)}
    found.load_into(loaded)
    expected = whole(1)
    expected["weights"] |= {f"of-{rank}": torch.full((2,), float(rank)) for rank in range(2)}
    for group, tensors in expected.items():
        for name, tensor in tensors.items():
            assert torch.equal(loaded[group][name], tensor), name

    path = found.path
    assert sorted(p.name for p in path.iterdir()) == sorted(
        [
            *(f"{name}.safetensors" for name in ("weights-00000", "weights-00001", "optimizer-00000")),
            *("index.json", "state.json", "manifest.json"),
        ]
    )
    with safe_open(path / "weights-00001.safetensors", "pt") as second:  # everything is written once
        assert set(second.keys()) == {"rows", "columns", "of-1"}
        assert second.get_slice("rows").get_shape() == [2, 4]
    pieces = json.loads((path / "index.json").read_text())["weights"]["rows"]["pieces"]
    assert [(piece["offset"], piece["shape"]) for piece in pieces] == [([0, 0], [3, 4]), ([3, 0], [2, 4])]
