"""`groundup export` and `groundup import`: models to and from the form that `transformers` and its kin read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.models import find_model
from flows.commands.workspace import WorkspaceOption


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model's folder, a stage (pretrain, assistant), or stage/fingerprint."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that isn't there yet.")],
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of the weights. bf16 is half the size, and a little less exact.")
    ] = "fp32",
    workspace: WorkspaceOption = None,
) -> None:
    """Write a model as Hugging Face's transformers, vLLM and llama.cpp read it, with its tokenizer."""
    from llm_core.export.huggingface import export_model

    architecture = export_model(find_model(model, workspace), out, precision=precision)
    print(f"{out}: {architecture}, {precision}")


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With config.json and *.safetensors.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that isn't there yet.")],
) -> None:
    """Turn a Hugging Face model (GPT-2, Llama, Qwen3) into one of ours."""
    from llm_core.export.huggingface import import_model

    parameters = import_model(folder, out)
    print(f"{out}: {parameters:,} parameters")
