from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from distillation.core.models import ByteMaskDropout, clip_incoming_norms, mlp


@pytest.mark.parametrize("drop", [0.2, 0.5, 0.8])
def test_dropout_drops_the_stated_share_and_keeps_the_mean(drop: float) -> None:
    y = ByteMaskDropout(drop)(torch.ones(1000, 1001))
    assert (y == 0).float().mean().item() == pytest.approx(drop, abs=0.004)  # a multiple of 1/256, and chance
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert len(y.unique()) == 2


def test_dropout_is_off_in_eval_mode() -> None:
    x = torch.randn(7, 9)
    assert torch.equal(ByteMaskDropout(0.5).eval()(x), x)


def test_dropout_of_nothing_keeps_everything() -> None:
    x = torch.randn(7, 9)
    assert torch.equal(ByteMaskDropout(0.0)(x), x)


def test_dropout_draws_a_new_mask_each_time() -> None:
    dropout, x = ByteMaskDropout(0.5), torch.ones(8, 8)
    assert not torch.equal(dropout(x), dropout(x))


def test_dropout_passes_the_gradient_of_kept_units_only() -> None:
    x = torch.ones(50, 50, requires_grad=True)
    y = ByteMaskDropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("drop", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_dropout_is_refused(drop: float) -> None:
    with pytest.raises(ValueError, match="dropping"):
        ByteMaskDropout(drop)


def test_dropout_of_almost_everything_stays_finite() -> None:
    assert ByteMaskDropout(0.999)(torch.ones(8, 8)).isfinite().all()


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 6))
def test_mlp_has_the_stated_sizes(sizes: list[int], batch: int) -> None:
    net = mlp(tuple(sizes))
    linears = [module for module in net if isinstance(module, nn.Linear)]
    pairs = [(linear.in_features, linear.out_features) for linear in linears]
    assert pairs == list(pairwise(sizes))
    assert net(torch.randn(batch, sizes[0])).shape == (batch, sizes[-1])


def test_mlp_places_dropout_on_inputs_and_hidden_units_but_not_on_logits() -> None:
    net = mlp((4, 5, 6, 3), input_dropout=0.25, hidden_dropout=0.5)
    names = [type(module).__name__ for module in net]
    hidden = ["Linear", "ReLU", "ByteMaskDropout"]
    assert names == ["ByteMaskDropout", *hidden, *hidden, "Linear"]
    assert [m.threshold for m in net if isinstance(m, ByteMaskDropout)] == [64, 128, 128]


@given(st.floats(0.05, 5))
def test_clipping_bounds_hidden_rows_and_frees_the_output_layer(bound: float) -> None:
    net = mlp((6, 7, 7, 3))
    before = [p.detach().clone() for p in net.parameters()]
    clip_incoming_norms(net, bound)
    for index, (old, new) in enumerate(zip(before, net.parameters(), strict=True)):
        if new.dim() == 1 or index == len(before) - 2:
            assert torch.equal(old, new)
            continue
        expected = old * (bound / old.norm(dim=1, keepdim=True)).clamp(max=1)
        torch.testing.assert_close(new.detach(), expected)
        assert (new.norm(dim=1) <= bound * (1 + 1e-6)).all()
