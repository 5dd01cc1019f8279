"""How many rows go through the model at a time. Accumulation makes up the rest, so the result doesn't depend on it."""

from __future__ import annotations

import torch

from llm_core.config import ModelConfig

#: On a CPU there is memory enough, and a smaller piece stays in its caches: measured best around this many tokens.
CPU_TOKENS = 2048
#: Of a GPU's free memory, so much may hold activations.
GPU_SHARE = 0.6


def choose_micro_batch_rows(
    model: ModelConfig, batch_rows: int, row_tokens: int, device: torch.device, asked: int = 0
) -> int:
    """Rows per forward and backward pass: ``asked``, or a power of two that should fit. The loop halves on failure."""
    if asked:
        return min(asked, batch_rows)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Activations kept for the backward pass, roughly: 34 numbers of the residual's width a token and layer in
        # 2 bytes (Korthikanti et al. 2022), without the attention scores, which fused kernels never store.
        row_bytes = max(1, 34 * model.dim * model.layers * row_tokens * 2)
        rows = int(free * GPU_SHARE / row_bytes)
    else:
        rows = CPU_TOKENS // max(1, row_tokens)
    return max(1, min(batch_rows, 1 << max(0, rows.bit_length() - 1)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
