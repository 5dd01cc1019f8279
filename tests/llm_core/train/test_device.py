import gc

import pytest
import torch

from llm_core.config import LlmRuntime, ModelConfig
from llm_core.errors import LlmCoreError
from llm_core.model.transformer import Transformer
from llm_core.train.device import collect_garbage, compile_model, no_garbage_collection, prepare_device

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_an_error_for_people() -> None:
    with pytest.raises(LlmCoreError, match="Set it to auto or cpu"):
        prepare_device(LlmRuntime(device="nonsense"))


def test_what_is_not_asked_for_or_can_not_be_is_not_compiled_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=32, context_length=8), 20)
    assert compile_model(model, CPU, LlmRuntime(), fixed_shapes=True) == "not compiled"
    assert "different lengths" in compile_model(model, CPU, LlmRuntime(compile="on"), fixed_shapes=False)

    def broken(function: object) -> object:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    told = compile_model(model, CPU, LlmRuntime(compile="on"), fixed_shapes=True)
    assert "no C++ compiler" in told and "\n" not in told
    assert all(block._compiled_call_impl is None for block in model.blocks)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert compile_model(model, CPU, LlmRuntime(compile="on"), fixed_shapes=True) == "1 blocks compiled"
    assert all(block._compiled_call_impl is not None for block in model.blocks)


def test_garbage_is_collected_when_asked_and_the_search_comes_back() -> None:
    class Knot:
        pass

    with no_garbage_collection():
        assert not gc.isenabled()
        knot = Knot()
        knot.itself = knot  # type: ignore[attr-defined]
        number = id(knot)
        del knot
        collect_garbage()
        assert not any(id(each) == number for each in gc.get_objects() if isinstance(each, Knot))
    assert gc.isenabled()
