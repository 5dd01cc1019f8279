"""`groundup sizes`: what `model.size` can be, and what each costs."""

from __future__ import annotations

#: Entries of the vocabulary that the costs are told for, and tokens a parameter (Hoffmann et al. 2022).
VOCABULARY, TOKENS_PER_PARAMETER = 32_768, 20


def sizes() -> None:
    """The named sizes of a model (`model.size`): shape, parameters, operations, memory."""
    from rich.table import Table

    from flows.display import wide_console
    from flows.model_plan import bytes_for_people, count_for_people
    from llm_core.config import ModelConfig, OptimizerConfig
    from llm_core.model.presets import memory_plan, parameter_count, training_flops_per_token
    from llm_core.model.sizes import SIZES

    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = (
        "size",
        "layers",
        "width",
        "heads (kv)",
        "feed-forward",
        "context",
        "parameters",
        "GFLOP/token",
        "memory",
    )
    for column in (*columns, f"{TOKENS_PER_PARAMETER} tokens/parameter"):
        table.add_column(column, no_wrap=True, justify="left" if column == "size" else "right")
    for name in SIZES:
        model = ModelConfig(size=name)
        parameters = parameter_count(model, VOCABULARY)
        plan = memory_plan(model, VOCABULARY, optimizer=OptimizerConfig(name="muon"), precision="bf16", rows=1)
        table.add_row(
            name,
            str(model.layers),
            f"{model.dim:,}",
            f"{model.heads} ({model.kv_heads})",
            f"{model.ffn_dim:,}",
            f"{model.context_length:,}",
            count_for_people(parameters),
            f"{training_flops_per_token(model, VOCABULARY) / 1e9:.3g}",
            bytes_for_people(plan.total),
            count_for_people(TOKENS_PER_PARAMETER * parameters),
        )
    console = wide_console()
    console.print(table)
    console.print(
        f"\nPreset portable, a vocabulary of {VOCABULARY:,}; memory of training one row at a time in bf16 with Muon. "
        "`groundup plan` tells it for a configuration."
    )
