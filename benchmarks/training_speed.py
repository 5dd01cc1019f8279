"""Tokens per second of the quickstart's model on a CPU, beside transformers' Trainer on the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, Entry, as_json, bar, contest, times_faster

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
BAR = 1.3
WARM_UP, STEPS = 4, 16

CONTENDERS = (
    Contender("groundup_adamw", "groundup, AdamW", ("llm_core",)),
    Contender("groundup_muon", "groundup, Muon", ("llm_core",)),
    Contender("transformers_trainer", "transformers Trainer, AdamW", ("transformers", "accelerate")),
)
#: Each contender runs so often, in turns, so that a burst of other load doesn't hit one alone.
ROUNDS = 3


def run(scratch: Path) -> dict[str, Any]:
    import yaml

    config = yaml.safe_load(QUICKSTART.read_bytes())
    model, batch_tokens = config["model"], config["pretrain"]["batch_tokens"]
    spec = {
        "model": model,
        "vocab_size": config["tokenizer"]["vocab_size"],
        "rows": batch_tokens // model["context_length"],
        "warm_up": WARM_UP,
        "steps": STEPS,
    }
    found: dict[str, Any] = {}
    bars = []
    for precision in ("bf16", "fp32"):
        print(f"{precision}, one thread:")
        tasks = [
            (contender, {**spec, "precision": precision}, float(STEPS * batch_tokens))
            for _ in range(ROUNDS)
            for contender in CONTENDERS
        ]
        entries = fastest_of(contest("training_speed", tasks, "tokens"))
        found[precision] = as_json(entries, "tokens")
        bars.append(
            bar(
                f"{precision}, AdamW, against transformers' Trainer", times_faster(entries, CONTENDERS[2].function), BAR
            )
        )
    return {"entries": found, "bars": bars, "shape": spec}


def fastest_of(entries: list[Entry]) -> list[Entry]:
    """Each contender's best run: what disturbs a run only ever makes it slower."""
    best: dict[str, Entry] = {}
    for entry in entries:
        known = best.get(entry.contender.function)
        if known is None or known.failed or (not entry.failed and entry.rate > known.rate):
            best[entry.contender.function] = entry
    return list(best.values())
