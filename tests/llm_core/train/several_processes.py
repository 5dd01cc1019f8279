"""What test_parallel.py runs in 4 and in 2 processes: `python -m tests.llm_core.train.several_processes FOLDER`.

The processes are forked from one that has imported everything and computed nothing, so that PyTorch is loaded once.
Each case leaves FOLDER/CASE.json and, of the whole model, FOLDER/CASE.safetensors.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

import llm_core.muon
from llm_core.adapt.classify import TextClassifier
from llm_core.config import GuardConfig, LlmRuntime, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.train.batches import IGNORE, Batch, Example, ExampleBatches
from llm_core.train.loop import fit
from llm_core.train.objectives import Objective, classification, next_token
from llm_core.train.parallel import Parallel, several, start  # noqa: F401 (several: imported before the fork)
from llm_core.train.plan import Plan

STEPS, RESUMED_STEPS = 3, 5
VOCABULARY, CLASSES = 60, 3
SHAPES = {
    "portable": ModelConfig(layers=3, dim=32, heads=4, kv_heads=2, ffn_dim=64, context_length=32),
    "gpt2": ModelConfig(preset="gpt2", layers=2, dim=32, heads=4, ffn_dim=64, context_length=32),
    "speed": ModelConfig(preset="speed", layers=4, dim=32, heads=4, ffn_dim=64, context_length=32),
}


@dataclass(frozen=True)
class Case:
    parallel: dict[str, Any]
    shape: str = "portable"
    optimizer: str = "adamw"
    classes: int = 0
    """More than 0: a classifier on an untied model, whose head then has no gradients."""
    ema: float | None = None
    runtime: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    resumes: str = ""
    """The case whose checkpoint this one goes on from."""


FSDP = {"data": "fsdp"}
CASES: dict[int, dict[str, Case]] = {
    4: {
        "data-tensor": Case({"tensor": 2}),
        "data-pipeline": Case({"pipeline": 2}, classes=CLASSES),
        "fsdp-tensor": Case(FSDP | {"tensor": 2}, optimizer="muon", ema=0.5),
        "fsdp-pipeline": Case(FSDP | {"pipeline": 2}, shape="speed"),
        "pipeline-tensor": Case({"pipeline": 2, "tensor": 2}, optimizer="muon"),
    },
    2: {
        "ddp": Case({}, optimizer="muon"),
        "ddp-classifier": Case({}, classes=CLASSES),
        "fsdp": Case(FSDP, shape="speed", ema=0.5),
        "offload": Case(FSDP | {"offload": True}, optimizer="muon"),
        "recomputed": Case(FSDP, runtime={"activation_checkpointing": "full"}),
        "tensor": Case({"tensor": 2}, shape="gpt2"),
        "pipeline": Case({"pipeline": 2}, shape="gpt2"),
        "fsdp-tensor-resumed": Case(FSDP, optimizer="muon", ema=0.5, steps=RESUMED_STEPS, resumes="fsdp-tensor"),
        "pipeline-tensor-resumed": Case(
            {"tensor": 2}, optimizer="muon", steps=RESUMED_STEPS, resumes="pipeline-tensor"
        ),
    },
}


def examples(classes: int) -> list[Example]:
    """Rows of different lengths, of which different shares count."""
    draw = torch.Generator().manual_seed(2)
    rows = []
    for number in range(21):
        length = 3 + number % 17
        tokens = torch.randint(0, VOCABULARY, (length + 1,), generator=draw).tolist()
        masked = (number * 5) % length
        targets = number % classes if classes else [IGNORE] * masked + tokens[1 + masked :]
        rows.append(Example(tokens[:-1], targets))
    return rows


def exact_newton_schulz(matrices: Tensor) -> Tensor:
    """Without bfloat16, whose last bit depends on the order of sums, and which five steps make a large difference."""
    a, b, c = llm_core.muon.NEWTON_SCHULZ
    x = matrices.double()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-2)  # nearly no gradient has no direction either
    for _ in range(llm_core.muon.NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.to(matrices.dtype)


def train(case: Case, out: Path, parallel: Parallel) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """Batches of 7 rows, 2 at a time: neither can be shared evenly.

    Returns:
        (what the log says on the main process, and the last validation as this process has it; the whole weights)
    """
    llm_core.muon.newton_schulz = exact_newton_schulz  # type: ignore[assignment]
    shape = SHAPES[case.shape]
    if case.classes:
        shape = shape.model_copy(update={"tie_embeddings": False})
    transformer = Transformer(shape, VOCABULARY)
    initialize(transformer, 1)
    model: nn.Module = TextClassifier(transformer, case.classes) if case.classes else transformer
    objective: Objective = classification if case.classes else next_token
    transformer.activation_checkpointing = case.runtime.get("activation_checkpointing", "none")
    batches = ExampleBatches(examples(case.classes), 7, pad_id=0, seed=1)
    config = TrainConfig(
        optimizer=OptimizerConfig(name=case.optimizer, lr=3e-3, eps=1e-4, clip_norm=0.5),
        schedule=ScheduleConfig(warmup_steps=0, decay_fraction=0.0),
        ema_decay=case.ema,
        guard=GuardConfig(),
        eval_every=2,
    )
    model = parallel.prepare(model)
    held_out: list[Batch] = batches.micro_batches(0, 4)

    def validate(final: bool, tick: Any) -> dict[str, float]:
        return {"loss": sum(objective(model, batch).item() for batch in held_out) / sum(b.valid for b in held_out)}

    plan = Plan(case.steps, config, {"config": "a"}, 2)
    runtime = LlmRuntime.model_validate({"device": "cpu", "log_every": 1, "parallel": case.parallel, **case.runtime})
    out.mkdir(parents=True, exist_ok=True)
    trained = fit(
        model,
        objective,
        batches,
        validate,
        plan,
        out=out,
        device=torch.device("cpu"),
        progress=no_progress,
        runtime=runtime,
        parallel=parallel,
    )
    united = parallel.unite(model)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    told = {name: [line[name] for line in lines if name in line] for name in ("train/loss", "train/grad_norm")}
    result = told | {"validation": trained.validation["loss"], "resumed_from": trained.resumed_from}
    weights = None if united is None else {name: p.detach() for name, p in united.named_parameters()}
    return result, weights


def process(rank: int, ports: dict[int, int], folder: Path) -> None:
    """All cases of 4 processes, and then, in the first two, those of 2."""
    for world, port in ports.items():
        if rank >= world:
            return
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), **address}
        for name, case in CASES[world].items():
            run_case(name, case, folder)
        dist.barrier()
        dist.destroy_process_group()
        if rank == 0 and world == 4:  # for one process, which goes on from there too
            shutil.copytree(folder / "runs", folder / "of-four")


def run_case(name: str, case: Case, folder: Path) -> None:
    parallel = start(LlmRuntime.model_validate({"parallel": case.parallel}), torch.device("cpu"))
    result, weights = train(case, folder / "runs" / (case.resumes or name), parallel)
    validations = parallel.gather(result["validation"])
    if parallel.is_main:
        assert weights is not None
        save_file(weights, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(result | {"validations": validations}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    ports = {world: free_port() for world in CASES}
    children = [context.Process(target=process, args=(rank, ports, folder)) for rank in range(max(CASES))]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return int(any(child.exitcode for child in children))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
