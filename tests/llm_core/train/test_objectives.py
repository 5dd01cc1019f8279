import pytest
import torch
import torch.nn.functional as F

from llm_core.train.batches import IGNORE
from llm_core.train.objectives import CHUNK, linear_cross_entropy


@pytest.mark.parametrize("rows", [1, 7, CHUNK, CHUNK + 3])
def test_loss_and_gradients_equal_the_plain_form(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 12, generator=generator, requires_grad=True)
    weight = torch.randn(30, 12, generator=generator, requires_grad=True)
    targets = torch.randint(0, 30, (rows,), generator=generator)
    targets[::3] = IGNORE
    targets[-1] = 4
    loss = linear_cross_entropy(hidden, weight, targets, int((targets != IGNORE).sum()))
    (loss * 0.5).backward()
    plain_hidden, plain_weight = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    plain = F.cross_entropy(plain_hidden @ plain_weight.T, targets, ignore_index=IGNORE, reduction="sum")
    (plain * 0.5).backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(hidden.grad, plain_hidden.grad, atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(weight.grad, plain_weight.grad, atol=1e-4)  # type: ignore[arg-type]


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
