import pytest
import torch

from llm_core.adapt.classify import TextClassifier
from llm_core.config import ModelConfig, OptimizerConfig
from llm_core.errors import LlmCoreError
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.optim import Optimizer, newton_schulz, parameter_groups

SHAPE = ModelConfig(layers=2, dim=32, heads=4, kv_heads=2, ffn_dim=48, context_length=16)


def new_model(tied: bool = True) -> Transformer:
    model = Transformer(SHAPE.model_copy(update={"tie_embeddings": tied}), 50)
    initialize(model, 1)
    return model


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_exactly_one_group(name: str, tied: bool) -> None:
    for model in (new_model(tied), TextClassifier(new_model(tied), 3)):
        groups = parameter_groups(model, OptimizerConfig(name=name))
        names = [*groups.muon, *groups.decayed, *groups.plain]
        assert sorted(names) == sorted(n for n, _ in model.named_parameters())
        assert all(p.ndim == 1 for p in groups.plain.values()) and not any("norm" in n for n in groups.decayed)
        assert all("blocks." in n and p.ndim == 2 for n, p in groups.muon.items())
        assert bool(groups.muon) == (name == "muon")


@pytest.mark.parametrize("shape", [(3, 16, 48), (2, 48, 16), (1, 20, 20)])
def test_newton_schulz_makes_singular_values_roughly_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    singular = torch.linalg.svdvals(newton_schulz(matrices).float())
    assert singular.min() > 0.4 and singular.max() < 1.4
    assert singular.mean() == pytest.approx(0.9, abs=0.15)


def test_muon_equals_the_textbook_form_one_matrix_at_a_time() -> None:
    torch.manual_seed(0)
    model = new_model()
    optimizer = Optimizer(model, OptimizerConfig(name="muon", muon_lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    optimizer.step(0.5)
    name = "blocks.0.feed_forward.gate.weight"  # (48, 32)
    momentum = 0.05 * gradients[name]
    ahead = gradients[name] * 0.05 + momentum * 0.95
    update = newton_schulz(ahead[None])[0].float()
    expected = before[name] * (1 - 0.05 * 0.5) - 0.05 * (48 / 32) ** 0.5 * update
    assert torch.allclose(dict(model.named_parameters())[name], expected, atol=2e-3)


def test_state_goes_to_named_tensors_and_back() -> None:
    torch.manual_seed(0)
    config = OptimizerConfig(name="muon")
    one, other = new_model(), new_model()
    first, second = Optimizer(one, config), Optimizer(other, config)

    def step(optimizer: Optimizer, model: Transformer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step(1.0)

    step(first, one, 1)
    other.load_state_dict(one.state_dict())
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    step(first, one, 2)
    step(second, other, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_state_goes_back_where_a_parameter_never_had_a_gradient() -> None:
    """A classifier doesn't use the language model's head; untied, it is a parameter of its own, without a gradient."""
    model, other = TextClassifier(new_model(tied=False), 3), TextClassifier(new_model(tied=False), 3)
    first = Optimizer(model, OptimizerConfig())
    model(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([4, 4])).square().sum().backward()
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    first.step(1.0)
    state = first.state()
    assert not any(name.endswith("head.weight") for name in state)
    second = Optimizer(other, OptimizerConfig())
    second.load_state(state)
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in state.items())


def test_a_part_of_a_parameters_state_is_refused() -> None:
    model = new_model()
    optimizer = Optimizer(model, OptimizerConfig())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1.0)
    state = optimizer.state()
    del state["adamw_exp_avg.norm.weight"]
    with pytest.raises(LlmCoreError, match="belongs to another model"):
        Optimizer(new_model(), OptimizerConfig()).load_state(state)


def test_state_of_another_optimizer_is_refused() -> None:
    state = Optimizer(new_model(), OptimizerConfig(name="muon")).state()
    with pytest.raises(LlmCoreError, match="belongs to another model"):
        Optimizer(new_model(), OptimizerConfig(name="adamw")).load_state(state)
