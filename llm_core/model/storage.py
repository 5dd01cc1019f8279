"""A model in a folder: ``model.safetensors`` (weights), ``config.json`` (shape, and the weights' sha256), tokenizer.

``config.json`` is written last and names the hash of the weights, so that a folder that was cut short, or whose
weights don't belong to it, is found out on loading.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_core.atomic import atomic_path, sha256_of, write_json
from llm_core.config import ModelConfig
from llm_core.errors import LlmCoreError
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.digests import DIGEST_FILE

FORMAT = "groundup-model"
VERSION = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
EXTRA_PREFIX = "extra."


def save_model(
    model: Transformer,
    tokenizer_folder: Path | None,
    folder: Path,
    extra: dict[str, Any] | None = None,
    extra_tensors: dict[str, Tensor] | None = None,
) -> None:
    """Write ``model`` to ``folder``, replacing what is there.

    Args:
        tokenizer_folder: its files are copied beside the weights, so that the folder is complete by itself.
        extra: further JSON values for ``config.json`` (labels, step, digests).
        extra_tensors: further weights (a classifier's head), kept in the same file and hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer_folder is not None:
        for name in TOKENIZER_FILES:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(tokenizer_folder / name, temporary)
        (folder / DIGEST_FILE).unlink(missing_ok=True)
        if (tokenizer_folder / DIGEST_FILE).is_file():  # a tokenizer of other origin has none
            with atomic_path(folder / DIGEST_FILE) as temporary:
                shutil.copyfile(tokenizer_folder / DIGEST_FILE, temporary)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not (name == "head.weight" and model.config.tie_embeddings)  # the same memory as the embedding
    }
    tensors |= {EXTRA_PREFIX + name: t.detach().cpu().contiguous() for name, t in (extra_tensors or {}).items()}
    (folder / CONFIG).unlink(missing_ok=True)  # from here to its return the folder is not a model
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)  # the library writes for the owner alone; a model is there for others to read
    description = {
        "format": FORMAT,
        "version": VERSION,
        "model": model.config.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "parameters": model.num_parameters(),
        "weights": {
            "file": WEIGHTS,
            "bytes": (folder / WEIGHTS).stat().st_size,
            "sha256": sha256_of(folder / WEIGHTS),
        },
        "extra": extra or {},
    }
    write_json(folder / CONFIG, description)


def read_description(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder, checked to be ours.

    Raises:
        LlmCoreError: it is missing, not JSON, or of another format or version.
    """
    path = folder / CONFIG
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LlmCoreError(
            "there is no model here (config.json is missing).",
            where=str(folder),
            fix="Give the folder that a run wrote.",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LlmCoreError(
            f"this is not valid JSON ({error}).", where=str(path), fix="Train or copy it again."
        ) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise LlmCoreError("this is not a model that groundup wrote.", where=str(path))
    if description.get("version") != VERSION:
        raise LlmCoreError(
            f"the model has format version {description.get('version')}, this program reads version {VERSION}.",
            where=str(path),
            fix="Use the program's version that wrote it.",
        )
    return description


def verify_weights(folder: Path) -> None:
    """Check the weights' size and sha256 against ``config.json``.

    Raises:
        LlmCoreError: names the file that is missing, cut short or changed.
    """
    expected = read_description(folder)["weights"]
    path = folder / expected["file"]
    fix = "Restore the file, or delete the artifact and run the stage again."
    if not path.is_file():
        raise LlmCoreError("the weights are missing.", where=str(path), fix=fix)
    if path.stat().st_size != expected["bytes"]:
        raise LlmCoreError(
            f"the file has {path.stat().st_size} bytes, {expected['bytes']} were written.", where=str(path), fix=fix
        )
    if sha256_of(path) != expected["sha256"]:
        raise LlmCoreError("the content differs from what was written (sha256).", where=str(path), fix=fix)


def load_model(folder: Path, device: torch.device | str = "cpu", *, verify: bool = True) -> Transformer:
    """Read a model back, in evaluation mode.

    Raises:
        LlmCoreError: a file is missing, damaged, or doesn't fit the configuration beside it.
    """
    description = read_description(folder)
    if verify:
        verify_weights(folder)
    try:
        config = ModelConfig.model_validate(description["model"])
    except ValidationError as error:
        raise LlmCoreError(f"the model's shape can't be used: {error}", where=str(folder / CONFIG)) from error
    model = Transformer(config, int(description["vocab_size"]))
    tensors = {k: v for k, v in _read_tensors(folder).items() if not k.startswith(EXTRA_PREFIX)}
    if config.tie_embeddings and "embedding.weight" in tensors:
        tensors["head.weight"] = tensors["embedding.weight"]
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise LlmCoreError(f"the weights don't fit config.json: {error}", where=str(folder / WEIGHTS)) from error
    return model.to(device).eval()


def load_extra_tensors(folder: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The ``extra_tensors`` that were saved with the model."""
    tensors = _read_tensors(folder)
    return {k.removeprefix(EXTRA_PREFIX): v.to(device) for k, v in tensors.items() if k.startswith(EXTRA_PREFIX)}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise LlmCoreError(
            f"the weights can't be read ({error}).", where=str(path), fix="Run the stage again."
        ) from error
