"""The convnets and mixtures of experts, and what the training loop does for them."""

import dataclasses
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core import training
from distillation.core.models import mlp
from distillation.core.training import Optimisation, logits_of, train
from distillation.specialists.convnets import MergedDustbin, MixtureOfExperts, Residual, residual_net, strided_net
from distillation.specialists.generalists import Batches

PLAIN = Optimisation(epochs=3, batch_size=8, learning_rate=0.1, precision="float32")
PICTURES = torch.randint(256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
LABELS = torch.arange(40) % 5


class Interruption(Exception):
    pass


@cache
def labels_on(device: torch.device) -> Tensor:
    return LABELS.to(device)


def loss(logits: Tensor, index: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels_on(index.device)[index])


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return residual_net(3, (8, 16), 5)


def lived(model: nn.Module) -> nn.Module:
    """With statistics, scales and offsets that are not those of the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -1.0, 1.0)
            nn.init.uniform_(module.running_mean, -1.0, 1.0)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu().clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The nets


@pytest.mark.parametrize(("channels", "widths", "classes"), [(3, (8, 16), 5), (1, (8, 8, 12), 7), (3, (8,), 2)])
def test_shapes(channels: int, widths: tuple[int, ...], classes: int) -> None:
    model = residual_net(channels, widths, classes)
    x = torch.randn(2, channels, 32, 32)
    assert model(x).shape == (2, classes)
    map_size, blocks = 16, []
    for layer in model:
        x = layer(x)
        if isinstance(layer, Residual):
            blocks.append(tuple(x.shape[1:]))
    assert blocks == [(width, map_size // 2**place, map_size // 2**place) for place, width in enumerate(widths)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3 * len(widths)  # stem, two per block, and those of the shortcuts


def test_a_block_adds_its_input() -> None:
    block = Residual(8, 8, 1).eval()
    nn.init.zeros_(block.convolutions[-1].weight)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x), x.relu())
    halving = Residual(8, 12, 2).eval()
    nn.init.zeros_(halving.convolutions[-1].weight)
    torch.testing.assert_close(halving(x), F.conv2d(x, halving.shortcut[0].weight, stride=2).relu(), atol=1e-4, rtol=0)


def test_memory_format_does_not_change_the_logits() -> None:
    model = lived(net()).eval()
    weight = model[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    contiguous = lived(net()).eval()
    contiguous.load_state_dict(model.state_dict())
    contiguous.to(memory_format=torch.contiguous_format)
    assert contiguous[0].weight.is_contiguous()
    x = torch.randn(6, 3, 32, 32)
    torch.testing.assert_close(model(x.contiguous(memory_format=torch.channels_last)), contiguous(x))


@pytest.mark.parametrize(("channels", "widths", "classes"), [(1, (8, 16, 32, 24), 7), (3, (8, 8, 12), 5)])
def test_strided_net_has_the_stated_sizes(channels: int, widths: tuple[int, ...], classes: int) -> None:
    model = strided_net(channels, widths, classes)
    convolutions = [module for module in model if isinstance(module, nn.Conv2d)]
    assert [(each.in_channels, each.out_channels, each.stride) for each in convolutions] == [
        (before, width, (2, 2)) for before, width in zip((channels, *widths), widths[:-1], strict=False)
    ]
    assert [module.out_features for module in model if isinstance(module, nn.Linear)] == [widths[-1], classes]
    assert model(torch.randn(2, channels, 32, 32)).shape == (2, classes)


def test_logits_do_not_depend_on_the_batch() -> None:
    model = lived(net())
    together = logits_of(model, Batches.of(PICTURES))
    alone = torch.cat([logits_of(model, Batches.of(picture[None])) for picture in PICTURES[:5]])
    torch.testing.assert_close(together[:5], alone)
    assert model.training


# The dustbin


@pytest.mark.parametrize("subset", [(7, 2, 4), (0,), tuple(range(8))])
def test_merged_dustbin_says_what_the_generalist_says_but_for_the_shift(subset: tuple[int, ...]) -> None:
    layer, x = nn.Linear(6, 9), torch.randn(5, 6)
    p = layer(x).detach().softmax(1)
    others = [c for c in range(9) if c not in subset]
    merged = torch.cat([p[:, list(subset)], p[:, others].sum(1, keepdim=True)], 1)
    found = MergedDustbin(layer, subset, 1.7)(x)
    raised = found.detach() + 1.7 * (torch.arange(len(subset) + 1) == len(subset))
    assert found.shape == (5, len(subset) + 1)
    torch.testing.assert_close(raised.softmax(1), merged)


def test_merged_dustbin_of_saturated_logits_is_finite_and_every_row_learns() -> None:
    layer = nn.Linear(6, 9)
    dustbin = MergedDustbin(layer, (1, 3), 0.5)
    F.cross_entropy(dustbin(torch.randn(20, 6)), torch.arange(20) % 3).backward()
    assert (layer.weight.grad.abs().sum(1) > 0).all()
    assert (layer.bias.grad.abs() > 0).all()
    layer.weight.data *= 1e4
    assert dustbin(torch.randn(20, 6)).isfinite().all()


# Mixtures of experts


def mixture(experts: int = 3, dtype: torch.dtype = torch.float32) -> MixtureOfExperts:
    torch.manual_seed(5)
    return MixtureOfExperts([mlp((6, 8, 4)) for _ in range(experts)], mlp((6, 5, experts))).to(dtype)


def test_mixture_is_the_gates_weighted_mean_of_distributions() -> None:
    model, x = mixture(), 3 * torch.randn(7, 6)
    both = model(x)
    gate, log_q = model.gate(x).softmax(1), model.eval()(x)
    torch.testing.assert_close(both, torch.cat([log_q, gate.log()], 1))  # the gate's stand beside it in training
    assert log_q.shape == (7, 4)
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(7))
    expected = sum(gate[:, [k]] * expert(x).softmax(1) for k, expert in enumerate(model.experts))
    torch.testing.assert_close(log_q.exp(), expected)


def test_mixture_of_saturated_experts_stays_finite() -> None:
    model = mixture()
    for expert in model.experts:
        expert[-1].weight.data *= 1e4
    log_q = model(torch.randn(7, 6))
    assert log_q.isfinite().all()
    F.nll_loss(log_q, torch.zeros(7, dtype=torch.long)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_mixtures_gradient_is_weighted_by_responsibilities() -> None:
    model, x, labels = mixture(), torch.randn(7, 6), torch.arange(7) % 4
    logits = torch.stack([expert(x) for expert in model.experts]).detach().requires_grad_()
    gating = model.gate(x).detach().requires_grad_()

    class Given(nn.Module):
        def __init__(self, number: int | None):
            super().__init__()
            self.number = number

        def forward(self, x: Tensor) -> Tensor:
            return gating if self.number is None else logits[self.number]

    found = MixtureOfExperts([Given(number) for number in range(3)], Given(None))
    F.cross_entropy(found(x), labels, reduction="sum").backward()
    p, gate = logits.detach().softmax(-1), gating.detach().softmax(-1)
    of_label = gate * p[:, torch.arange(7), labels].T
    responsibility = of_label / of_label.sum(1, keepdim=True)
    one_hot = F.one_hot(labels, 4)
    torch.testing.assert_close(logits.grad, responsibility.T[:, :, None] * (p - one_hot))
    torch.testing.assert_close(gating.grad, gate - responsibility)


def test_mixtures_gradient_is_that_of_finite_differences() -> None:
    model, x, labels = mixture(dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64), torch.arange(7) % 4
    # The mixture computes its distributions in single precision, so the reference is written out in double.

    def explicit() -> Tensor:
        gate = model.gate(x).softmax(1)
        q = sum(gate[:, [k]] * expert(x).softmax(1) for k, expert in enumerate(model.experts))
        return -q[torch.arange(7), labels].log().mean()

    F.cross_entropy(model(x), labels).backward()
    step = 1e-6
    with torch.no_grad():
        for parameter in model.parameters():
            flat, gradient = parameter.view(-1), parameter.grad.view(-1)
            for place in range(0, len(flat), 7):
                old = flat[place].item()
                flat[place] = old + step
                above = explicit()
                flat[place] = old - step
                below = explicit()
                flat[place] = old
                assert gradient[place].item() == pytest.approx(((above - below) / (2 * step)).item(), abs=1e-6)


def test_every_expert_and_the_gate_learn() -> None:
    torch.manual_seed(0)
    model = MixtureOfExperts([residual_net(3, (8, 16), 5) for _ in range(2)], residual_net(3, (8, 16), 2))
    before = state(model)
    train(model, Batches.of(PICTURES), loss, dataclasses.replace(PLAIN, epochs=1))
    after = state(model)
    assert not [name for name, _ in model.named_parameters() if torch.equal(before[name], after[name])]


# The training loop


class Watched:
    """Cases that remember which of them were gathered."""

    def __init__(self) -> None:
        self.gathered: list[Tensor] = []

    def __len__(self) -> int:
        return 40

    def gatherer(self, device: torch.device, dtype: torch.dtype):
        def gather(index: Tensor) -> Tensor:
            self.gathered.append(index)
            return (PICTURES[index].flatten(1) / 255).to(dtype)

        return gather


@pytest.mark.parametrize(("drawn", "steps"), [(12, 1), (16, 2), (23, 2), (5, 1), (60, 7)])
def test_only_drawn_cases_are_gathered_in_the_order_given(drawn: int, steps: int, on_cpu: None) -> None:
    some, orders, seen = torch.arange(3, 17), [], []

    def order() -> Tensor:
        orders.append(some[torch.randint(len(some), (drawn,))])
        return orders[-1]

    def noted(logits: Tensor, index: Tensor) -> Tensor:
        seen.append(index)
        return loss(logits, index)

    watched = Watched()
    history = train(mlp((3072, 5)), watched, noted, PLAIN, order=order)
    assert len(history) == 3
    assert len(watched.gathered) == 3 * steps
    size = min(8, drawn)
    for epoch in range(3):
        used = torch.cat(watched.gathered[epoch * steps : (epoch + 1) * steps])
        assert torch.equal(used, orders[epoch - 3][: steps * size])
    assert all(torch.equal(a, b) for a, b in zip(watched.gathered, seen, strict=True))
    assert {len(index) for index in seen} == {size}


def test_the_learning_rate_follows_the_drawn_cases(on_cpu: None) -> None:
    """The last step is taken with the last of the schedule's rates, however few of the cases are drawn."""
    torch.manual_seed(0)
    model = nn.Linear(3072, 1, bias=False)
    settings = dataclasses.replace(PLAIN, momentum=0.0, initial_momentum=0.0)
    moves, before = [], [model.weight.detach().clone()]

    def pushed(logits: Tensor, index: Tensor) -> Tensor:
        moves.append((before[0] - model.weight.detach()).abs().max().item())
        before[0] = model.weight.detach().clone()
        return model.weight.sum()  # a gradient of one

    train(model, Watched(), pushed, settings, order=lambda: torch.arange(16))
    rates = [settings.schedule(step / 6)[0] for step in range(6)]
    assert moves[1:] == pytest.approx(rates[:-1], abs=1e-6)


def test_weight_decay_shrinks_the_weights(on_cpu: None) -> None:
    def after(weight_decay: float) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3072, 5)
        train(model, Watched(), lambda logits, index: 0 * logits.sum(), PLAIN, weight_decay=weight_decay)
        return model.weight.detach()

    torch.manual_seed(0)
    untouched = nn.Linear(3072, 5).weight.detach()
    assert torch.equal(after(0.0), untouched)
    settings, velocity, factor = PLAIN, 0.0, 1.0
    for step in range(15):  # momentum SGD on weight_decay / 2 * w ** 2
        rate, momentum = settings.schedule(step / 15)
        velocity = momentum * velocity + 0.5 * factor
        factor -= rate * velocity
    assert factor < 0.95
    torch.testing.assert_close(after(0.5), factor * untouched, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["net", "dustbin", "mixture"])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_run_equals_the_undisturbed_one(
    kind: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    batches, checkpoint, epochs = Batches.of(PICTURES, 2, True), tmp_path / "checkpoint", []

    def model(seed: int) -> nn.Module:
        if kind == "mixture":
            experts = [net(seed), net(seed + 1)]
            return MixtureOfExperts(experts, residual_net(3, (8, 16), 2))
        found = net(seed)
        if kind == "dustbin":
            found[-1] = MergedDustbin(found[-1], (0, 1, 2, 3), 0.5)
        return found

    def run(found: nn.Module, **more) -> list[dict]:
        chosen = torch.arange(4, 36)
        order = lambda: chosen[torch.randperm(len(chosen))]  # noqa: E731
        return train(found, batches, loss, PLAIN, weight_decay=1e-3, order=order, **more)

    def interrupt(_: nn.Module) -> dict:
        epochs.append(len(epochs))
        if len(epochs) == stop:
            raise Interruption
        return {}

    whole = model(0)
    expected = run(whole)
    with pytest.raises(Interruption):
        run(model(0), checkpoint=checkpoint, after_epoch=interrupt)
    assert checkpoint.exists() == (stop > 1)
    resumed = model(0 if stop == 1 else 50)
    history = run(resumed, checkpoint=checkpoint, after_epoch=lambda _: {})
    assert same(state(resumed), state(whole))
    assert history == expected
    convolutions = [module.weight for module in resumed.modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)
    assert not list(tmp_path.iterdir())
