"""Everything up to the pretrained language model."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.config import PipelineConfig
from flows.pipeline import chain
from flows.runner import conduct

STAGES = ("pretrain",)


@flow(name="pretrain", flow_run_name="{config.name}", persist_result=False)
def pretrain(config: PipelineConfig, verify: bool = False) -> dict[str, Any]:
    """Everything up to the pretrained language model.

    Args:
        config: the whole experiment; later stages of it are left alone.
        verify: hash every byte of what is reused, instead of comparing sizes.
    """
    return conduct(config, chain, until=STAGES, verify=verify)  # type: ignore[return-value]
