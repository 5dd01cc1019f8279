"""From raw files to clean, split documents, their data card, and the sets for fine-tuning."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.config import PipelineConfig
from flows.pipeline import chain
from flows.runner import conduct

STAGES = ("mix", "data_card", "classification_set", "instruction_set")


@flow(name="prepare-data", flow_run_name="{config.name}", persist_result=False)
def prepare_data(config: PipelineConfig, verify: bool = False) -> dict[str, Any]:
    """From raw files to clean, split documents, their data card, and the sets for fine-tuning.

    Args:
        config: the whole experiment; later stages of it are left alone.
        verify: hash every byte of what is reused, instead of comparing sizes.
    """
    return conduct(config, chain, until=STAGES, verify=verify)  # type: ignore[return-value]
