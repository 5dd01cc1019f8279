import pytest
import torch

from llm_core.adapt.classify import TextClassifier
from llm_core.config import ModelConfig, OptimizerConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.muon import even_out, momentum_at, newton_schulz
from llm_core.optim import Optimizer, parameter_groups

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


@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 4, 6), (1, 5, 5)])
def test_neurons_are_made_to_learn_equally_fast(shape: tuple[int, int, int]) -> None:
    updates = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    even = even_out(updates)
    assert torch.allclose(even.norm(dim=(1, 2)), updates.norm(dim=(1, 2)))
    lengths = even.norm(dim=2 if shape[1] >= shape[2] else 1)
    assert torch.allclose(lengths, lengths[:, :1].expand_as(lengths))
    assert not even_out(torch.zeros(shape)).any()


def test_momentum_grows_in_a_line_and_then_stays() -> None:
    assert [momentum_at(step) for step in (0, 50, 100, 10**6)] == pytest.approx([0.85, 0.90, 0.95, 0.95])


def test_muon_equals_the_textbook_form_one_matrix_at_a_time() -> None:
    torch.manual_seed(0)
    model = new_model()
    optimizer = Optimizer(model, OptimizerConfig(name="muon", muon_lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    optimizer.step(0.5, number=50)
    name = "blocks.0.feed_forward.gate.weight"  # (48, 32)
    momentum = 0.1 * gradients[name]
    ahead = gradients[name] * 0.1 + momentum * 0.9
    update = newton_schulz(ahead[None])[0].float()
    update_length = update.norm()
    update = update / update.norm(dim=1, keepdim=True)  # (48, 32): a standing matrix, so its rows
    update = update * update_length / update.norm()
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
    for name, tensor in second.state().items():
        tensor.copy_(first.state()[name])
    step(first, one, 2)
    step(second, other, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_state_has_the_same_tensors_before_and_after_a_step() -> None:
    """Also of a parameter that never has a gradient: a classifier doesn't use the language model's head."""
    model = TextClassifier(new_model(tied=False), 3)
    optimizer = Optimizer(model, OptimizerConfig())
    before = optimizer.state().keys()
    model(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([4, 4])).square().sum().backward()
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    optimizer.step(1.0)
    assert optimizer.state().keys() == before and "adamw_exp_avg.transformer.head.weight" in before


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_that_is_not_admitted_changes_nothing(name: str) -> None:
    model = new_model()
    optimizer = Optimizer(model, OptimizerConfig(name=name))  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    before = {k: v.clone() for k, v in (optimizer.state() | dict(model.named_parameters())).items()}
    optimizer.step(1.0, torch.zeros(()))
    after = optimizer.state() | dict(model.named_parameters())
    assert all(torch.equal(tensor, after[k]) for k, tensor in before.items())
