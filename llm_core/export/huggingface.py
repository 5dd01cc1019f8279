"""Models to and from Hugging Face's form: a folder that `transformers` (and what reads its files: vLLM, llama.cpp's
converter) loads without any code of ours, and theirs as a model of ours.

Only safetensors and JSON are read and written. The weights are the same numbers under other names, so the logits are
the same up to rounding; the tests compare them with `transformers` for each family, both ways.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llm_core.atomic import sha256_of, write_json
from llm_core.errors import LlmCoreError
from llm_core.export.families import ARCHITECTURES, describe, family_of, understand
from llm_core.export.weight_names import from_huggingface, to_huggingface
from llm_core.model.storage import CONFIG, TOKENIZER_FILES, WEIGHTS, load_model, read_description, save_model
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.train import END, END_OF_TEXT, PAD, SPECIAL_TOKENS, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_INDEX = "model.safetensors.index.json"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export_model(model_folder: Path, out: Path, *, precision: Literal["fp32", "bf16"] = "fp32") -> str:
    """Write the model for ``transformers.AutoModelForCausalLM.from_pretrained(out)``, tokenizer included.

    Args:
        out: a folder that isn't there yet, or is empty.
        precision: of the weights as written. `bf16` rounds them.

    Returns:
        The name of the architecture, such as ``Qwen3ForCausalLM``.

    Raises:
        LlmCoreError: the model is damaged, isn't a language model, or has a part that no family there has; or
            something is in ``out``.
    """
    if read_description(model_folder)["extra"].get("kind") == "classifier":
        raise LlmCoreError(
            "this is a classifier, and only language models can be exported.",
            where=str(model_folder),
            fix="Name the artifact of pretrain or assistant.",
        )
    model = load_model(model_folder)
    config = model.config
    family = family_of(config)
    dtype = _DTYPES[precision]
    tensors = {
        name: tensor.to(dtype)
        for name, tensor in model.state_dict().items()
        if not (name == "head.weight" and config.tie_embeddings)
    }
    with _new_folder(out) as folder:
        ids = _write_tokenizer(model_folder, folder)
        try:
            save_file(to_huggingface(family, tensors), folder / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise _disk(error, out) from error
        (folder / WEIGHTS).chmod(0o644)  # written for the owner alone otherwise, and this folder is made to be shared
        told = {"torch_dtype": str(dtype).removeprefix("torch."), **ids}
        if ids:  # our engine stops at both
            told["eos_token_id"] = ids["eos_token_id"][0]
        write_json(folder / CONFIG, describe(config, family, model.vocab_size) | told)
        write_json(folder / "generation_config.json", ids)
    return ARCHITECTURES[family]


def _write_tokenizer(model_folder: Path, folder: Path) -> dict[str, Any]:
    """Copy the tokenizer; the ids that its special tokens have in ``config.json`` there (none for a foreign one).

    Ours is told to begin every text with ``<|endoftext|>``, as this program does: in training a text follows the end of
    another. Chat templates aren't touched by that.
    """
    for name in TOKENIZER_FILES:
        if (model_folder / name).is_file():
            shutil.copyfile(model_folder / name, folder / name)
    if not (folder / TOKENIZER_FILE).is_file():
        return {}
    tokenizer = _read_json(folder / TOKENIZER_FILE)
    ids = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    if not set(SPECIAL_TOKENS) <= set(ids):
        return {}
    begin = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [ids[END_OF_TEXT]], "tokens": [END_OF_TEXT]}},
    }
    write_json(folder / TOKENIZER_FILE, tokenizer)
    settings = _read_json(folder / TOKENIZER_CONFIG_FILE)
    write_json(folder / TOKENIZER_CONFIG_FILE, settings | {"bos_token": END_OF_TEXT})
    return {
        "bos_token_id": ids[END_OF_TEXT],
        "eos_token_id": [ids[END_OF_TEXT], ids[END]],
        "pad_token_id": ids[PAD],
    }


def import_model(huggingface_folder: Path, out: Path) -> int:
    """Make a model of ours from GPT-2, Llama or Qwen3 weights in safetensors. The weights become fp32.

    The tokenizer is kept where there is one in ``tokenizer.json``. One that lacks our special tokens can't be used by
    our commands (loading it says which are missing); the model itself can.

    Args:
        out: a folder that isn't there yet, or is empty.

    Returns:
        How many parameters it has.

    Raises:
        LlmCoreError: the architecture isn't known or has a part that ours lacks, weights are missing or don't fit, or
            are there as pickle only; or something is in ``out``.
    """
    source = Path(huggingface_folder)
    theirs = _read_json(source / CONFIG)
    family, config = understand(theirs, str(source / CONFIG))
    files = _weight_files(source)
    try:
        tensors = from_huggingface(family, {k: v for file in files for k, v in load_file(file).items()})
    except SafetensorError as error:
        raise LlmCoreError(f"the weights can't be read ({error}).", where=str(source)) from error
    except KeyError as error:
        raise LlmCoreError(f"{ARCHITECTURES[family]} has no weight {error}.", where=str(source)) from None
    if "embedding.weight" not in tensors:
        raise LlmCoreError("the embedding's weights are missing.", where=str(source))
    embedding = tensors["embedding.weight"]
    if config.tie_embeddings and not torch.equal(tensors.setdefault("head.weight", embedding), embedding):
        raise LlmCoreError("tie_word_embeddings is true, but the head's weights are others.", where=str(source))
    model = Transformer(config, len(embedding))
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise LlmCoreError(f"the weights don't fit {CONFIG}: {error}", where=str(source)) from error
    origin = {"architecture": ARCHITECTURES[family], "weights": {file.name: sha256_of(file) for file in files}}
    with _new_folder(out) as folder:
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        try:
            save_model(model, None, folder, extra={"kind": "language_model", "imported": origin})
        except SafetensorError as error:
            raise _disk(error, out) from error
    return model.num_parameters()


def _weight_files(source: Path) -> list[Path]:
    if (source / WEIGHTS).is_file():
        return [source / WEIGHTS]
    if (source / _INDEX).is_file():
        # Only names that lie in this folder: an index is no way to read other files.
        names = sorted({Path(name).name for name in _read_json(source / _INDEX).get("weight_map", {}).values()})
        missing = [name for name in names if not (source / name).is_file()]
        if missing:
            raise LlmCoreError(f"weights are missing: {', '.join(missing)}.", where=str(source))
        return [source / name for name in names]
    pickled = sorted(path.name for path in source.glob("*.bin"))
    if pickled:
        raise LlmCoreError(
            f"the weights are there as pickle only ({pickled[0]}), which can run any code when it is read.",
            where=str(source),
            fix="Get the model's *.safetensors, or save it again with safe_serialization=True.",
        )
    raise LlmCoreError("there are no weights here (model.safetensors).", where=str(source))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmCoreError(f"the file can't be read ({error.strerror}).", where=str(path)) from error
    except ValueError as error:
        raise LlmCoreError(f"this is not valid JSON ({error}).", where=str(path)) from error
    if not isinstance(found, dict):
        raise LlmCoreError("this is not a JSON object.", where=str(path))
    return found


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` to write into; it becomes ``out`` once all is written, and goes away on an error."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LlmCoreError("there is something here already.", where=str(out), fix="Name a folder that isn't there.")
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _disk(error: SafetensorError, out: Path) -> Exception:
    from llm_core.train.meter import disk_error

    return disk_error(error, out)
