"""`groundup config`: what an experiment says, and everything that it could say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Show a configuration, or everything that one can say.")

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file of one experiment.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override one value: --set pretrain.steps=50 (repeatable)."),
]


@app.command()
def show(config: ConfigArgument, overrides: SetOption = None) -> None:
    """The whole configuration, defaults filled in, as YAML."""
    import yaml

    from flows.config import load_config

    loaded = load_config(config, overrides or ())
    print(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110), end="")


@app.command()
def schema() -> None:
    """The JSON schema: every key with its type, bounds, default and meaning."""
    import json

    from flows.config import PipelineConfig

    print(json.dumps(PipelineConfig.model_json_schema(), indent=2, ensure_ascii=False))
