import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llm_core.train.batches import IGNORE
from llm_core.train.objectives import CHUNK, PIECE, linear_cross_entropy, turn_into_gradient


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, z_loss: float, softcap: float | None) -> Tensor:
    """The same with the whole logits, by autograd."""
    logits = hidden @ weight.T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    loss = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    log_total = torch.logsumexp(logits, dim=-1)[targets != IGNORE]
    return loss + z_loss * log_total.square().sum()


@pytest.mark.parametrize(
    ("z_loss", "softcap"), [(0.0, None), (0.0, 2.0), (1.0, None), (1e-2, 3.0)], ids=["plain", "softcap", "z", "both"]
)
@pytest.mark.parametrize("rows", [1, PIECE + 1, CHUNK, CHUNK + 3])
def test_loss_and_gradients_equal_the_plain_form(rows: int, z_loss: float, softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 30, (rows,), generator=generator)
    targets[::3] = IGNORE
    targets[-1] = 4
    valid = int((targets != IGNORE).sum())
    loss = linear_cross_entropy(hidden, weight, targets, valid, z_loss=z_loss, softcap=softcap)
    found = torch.autograd.grad(loss * 0.5, (hidden, weight))
    expected_loss = plain(hidden, weight, targets, z_loss, softcap)
    expected = torch.autograd.grad(expected_loss * 0.5, (hidden, weight))
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def test_rows_that_do_not_count_are_nothing_where_they_are_not_left_out() -> None:
    """On a GPU they go through the products, as leaving them out would mean waiting for it."""
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([3, IGNORE, 0, IGNORE, 8])
    expected = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    gradient = logits.clone()
    loss = turn_into_gradient(gradient, targets, 0.5, None)
    z = 0.5 * torch.logsumexp(logits, dim=-1)[targets != IGNORE].square().sum()
    assert loss.item() == pytest.approx((expected + z).item(), rel=1e-5)
    assert not gradient[1].any() and not gradient[3].any() and gradient[0].any()


def test_large_logits_do_not_overflow() -> None:
    hidden, weight = torch.eye(3) * 500, torch.eye(3)
    assert linear_cross_entropy(hidden, weight, torch.tensor([0, 1, 2]), 3).item() == pytest.approx(0.0, abs=1e-6)


def test_nothing_to_learn_is_a_loss_of_zero_with_zero_gradients() -> None:
    hidden = torch.randn(4, 3, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.randn(5, 3), torch.full((4,), IGNORE), 0)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None and not hidden.grad.any()


def test_bf16_stays_close_to_fp32() -> None:
    hidden, weight = torch.randn(50, 16), torch.randn(20, 16)
    targets = torch.randint(0, 20, (50,))
    exact = linear_cross_entropy(hidden, weight, targets, 50)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = linear_cross_entropy(hidden, weight, targets, 50)
    assert narrow.item() == pytest.approx(exact.item(), rel=0.02)
    assert narrow.dtype == torch.float32


def test_the_compiler_can_follow_it() -> None:
    """On GPUs it may be compiled together with the model; here its graph is made, without generating code."""
    hidden = torch.randn(6, 4, requires_grad=True)
    weight = torch.randn(9, 4, requires_grad=True)
    targets = torch.tensor([1, 2, 3, 4, 5, 8])

    def loss() -> Tensor:
        return linear_cross_entropy(hidden, weight, targets, 6, z_loss=1e-2, softcap=3.0)

    traced = torch.compile(loss, backend="aot_eager", fullgraph=True)()
    found = torch.autograd.grad(traced, (hidden, weight))
    expected = torch.autograd.grad(loss(), (hidden, weight))
    assert all(torch.allclose(one, other) for one, other in zip(found, expected, strict=True))
