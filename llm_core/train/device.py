"""Where the computation happens."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime
from llm_core.errors import LlmCoreError
from llm_core.model.block import Block


def prepare_device(runtime: LlmRuntime) -> torch.device:
    """The device that ``runtime`` asks for, with its threads set.

    Raises:
        LlmCoreError: there is no such device here.
    """
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.deterministic:  # read when CUDA starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # of several processes, each has a GPU of its own
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise LlmCoreError(
            f"the device {name!r} can't be used here ({str(error).splitlines()[0]}).",
            where="runtime.llm.device",
            fix="Set it to auto or cpu.",
        ) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # fp32 products on tensor cores, with 10 bits of mantissa (TF32)
        torch.use_deterministic_algorithms(runtime.deterministic)
        torch.backends.cudnn.benchmark = False
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 for `bf16`; nothing for `fp32`."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks instead of handing them back to the system at once.

    Activations are freed and taken again every step; each time the kernel would clear their pages anew. Measured with
    the quickstart's model on one core: 7,480 tokens per second of CPU time without, 8,380 with. Elsewhere than on
    Linux with glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError):  # musl and others have no mallopt
        library = ctypes.CDLL(None)
        library.mallopt(m_mmap_max, 0)
        library.mallopt(m_trim_threshold, 2**31 - 1)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Python's search for cyclic garbage stops the world for up to half a second, at no predictable time. What exists
    is taken out of it and the search is switched off; :func:`collect_garbage` makes up for it at a better moment."""
    was_on = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def collect_garbage() -> None:
    """Let go of cyclic garbage, where the search is off."""
    if not gc.isenabled():
        gc.collect()


def compile_model(model: nn.Module, device: torch.device, runtime: LlmRuntime, *, fixed_shapes: bool) -> str:
    """Compile every block of ``model`` in place, where ``runtime`` asks for it.

    Blocks are all alike, so that one compilation serves all of them, and the model's parameters keep their names.

    Args:
        fixed_shapes: all rows are equally long. Else every length would be a compilation of its own, or code for all
            lengths, which PyTorch 2.13 makes wrongly for attention.

    Returns:
        What was done, for people.
    """
    if runtime.compile == "off" or (runtime.compile == "auto" and device.type != "cuda"):
        return "not compiled"
    if not fixed_shapes:
        return "not compiled, because rows have different lengths"
    try:  # a compiler is a program of its own that may be missing or broken: nothing but trying it tells
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:
        why = str(error).strip().splitlines()[0]
        return f"not compiled, because torch.compile does not work here ({type(error).__name__}: {why})"
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    for block in blocks:
        block.compile(dynamic=False)
    return f"{len(blocks)} blocks compiled"


def _probe(x: Tensor) -> Tensor:
    return torch.sin(x) * 2 + 1


@contextlib.contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """In here compiled blocks run as they are written: validation has other shapes, and isn't worth a compilation."""
    if not any(getattr(module, "_compiled_call_impl", None) for module in model.modules()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
