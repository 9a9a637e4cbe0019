import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from distillation.core import training
from distillation.core.models import mlp
from distillation.core.store import save_tensors
from distillation.core.training import Diverged, Optimisation, batches_of, logits_of, train

PLAIN = Optimisation(epochs=5, batch_size=16, precision="float32")
JITTERED = dataclasses.replace(PLAIN, jitter=1, max_norm=1.0)
INPUTS = torch.rand(80, 4, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(80) % 3


class Interruption(Exception):
    pass


@cache
def labels_on(device: torch.device) -> Tensor:
    return LABELS.to(device)


def loss(logits: Tensor, index: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels_on(index.device)[index])


def net(seed: int, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return mlp((16, 12, 3), input_dropout=dropout / 2, hidden_dropout=dropout)


def weights_after(settings: Optimisation, seed: int = 0, dropout: float = 0.0) -> list[Tensor]:
    model = net(seed, dropout)
    train(model, INPUTS, loss, settings)
    return list(model.parameters())


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("settings", "dropout"), [(PLAIN, 0.0), (JITTERED, 0.5)])
def test_seed_determines_every_bit(settings: Optimisation, dropout: float) -> None:
    assert same(weights_after(settings, 3, dropout), weights_after(settings, 3, dropout))
    assert not same(weights_after(settings, 3, dropout), weights_after(settings, 4, dropout))


def test_training_lowers_the_loss_and_reports_each_epoch() -> None:
    settings = dataclasses.replace(PLAIN, epochs=40)
    history = train(net(0), INPUTS, loss, settings, after_epoch=lambda model: {"mode": model.training})
    assert len(history) == 40
    assert set(history[0]) == {"loss", "mode"}
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_loss_sees_the_cases_of_the_batch_each_once_an_epoch(on_cpu: None) -> None:
    seen = []

    def watched(logits: Tensor, index: Tensor) -> Tensor:
        seen.append(index)
        torch.testing.assert_close(logits, model(INPUTS.flatten(1)[index]))
        return loss(logits, index)

    model = net(0)
    train(model, INPUTS, watched, dataclasses.replace(PLAIN, epochs=2))
    assert [len(index) for index in seen] == [16] * 10
    orders = torch.cat(seen).split(80)
    assert all(torch.equal(order.sort().values, torch.arange(80)) for order in orders)
    assert not torch.equal(*orders)


def test_max_norm_holds_after_training() -> None:
    hidden = weights_after(dataclasses.replace(PLAIN, max_norm=0.3))[0]
    assert hidden.norm(dim=1).max().item() == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize(("settings", "dropout"), [(PLAIN, 0.0), (PLAIN, 0.5), (JITTERED, 0.5)])
@pytest.mark.parametrize("stop", [1, 2, 5])
def test_resumed_run_equals_the_undisturbed_one(
    settings: Optimisation, dropout: float, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    whole, checkpoint = net(0, dropout), tmp_path / "checkpoint"
    expected = train(whole, INPUTS, loss, settings)
    epochs = []

    def interrupt(model: nn.Module) -> dict:
        epochs.append(len(epochs))
        if len(epochs) == stop:
            raise Interruption
        return {}

    with pytest.raises(Interruption):
        train(net(0, dropout), INPUTS, loss, settings, checkpoint=checkpoint, after_epoch=interrupt)
    assert checkpoint.exists() == (stop > 1)
    resumed = net(0 if stop == 1 else 99, dropout)  # with a checkpoint neither weights nor generator are the caller's
    history = train(resumed, INPUTS, loss, settings, checkpoint=checkpoint, after_epoch=lambda model: {})
    assert same(list(whole.parameters()), list(resumed.parameters()))
    assert history == expected
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_kind_of_device_is_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its random numbers would be another generator's."""
    whole, resumed, checkpoint = net(0, 0.5), net(0, 0.5), tmp_path / "1.checkpoint"
    save_tensors({"generator": torch.get_rng_state()}, checkpoint, {"history": "[]", "device": "another"})
    expected = train(whole, INPUTS, loss, PLAIN)
    torch.manual_seed(0)
    resumed = net(0, 0.5)
    assert train(resumed, INPUTS, loss, PLAIN, checkpoint=checkpoint) == expected
    assert same(list(whole.parameters()), list(resumed.parameters()))
    assert f"1.checkpoint was not made on this kind of device ({training.device().type})" in capsys.readouterr().out


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_jitter_shifts_each_image_within_bounds(jitter: int, seed: int) -> None:
    torch.manual_seed(seed)
    images = torch.rand(6, 5, 7) + 0.1
    index = torch.randint(6, (20,))
    batch = batches_of(images, jitter, torch.float32)(index.to(training.device())).view(20, 5, 7).cpu()
    padded = F.pad(images, (jitter,) * 4)
    for case, image in zip(index, batch, strict=True):
        span = range(2 * jitter + 1)
        shifts = [padded[case, y : y + 5, x : x + 7] for y in span for x in span]
        assert sum(torch.equal(image, shift) for shift in shifts) == 1


def test_jitter_uses_every_shift_and_draws_anew() -> None:
    gather = batches_of(torch.rand(1, 3, 3) + 0.1, 1, torch.float32)
    index = torch.zeros(500, dtype=torch.long, device=training.device())
    assert len(gather(index).unique(dim=0)) == 9
    assert not torch.equal(gather(index), gather(index))


def test_without_jitter_a_batch_is_the_cases() -> None:
    index = torch.tensor([3, 3, 0])
    batch = batches_of(INPUTS, 0, torch.float32)(index.to(training.device()))
    assert torch.equal(batch.cpu(), INPUTS.flatten(1)[index])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_is_divergence(bad: float) -> None:
    with pytest.raises(Diverged, match=r"epoch 1 of 5.*0\.2"):
        train(net(0), INPUTS, lambda logits, index: logits.mean() + bad, PLAIN)


def test_schedule_rises_over_the_first_tenth_and_falls_to_zero() -> None:
    settings = Optimisation(epochs=1, learning_rate=0.4, momentum=0.9, initial_momentum=0.5)
    assert settings.schedule(0.0) == (0.0, 0.5)
    assert settings.schedule(0.05) == pytest.approx((0.2, 0.7))
    assert settings.schedule(0.1) == pytest.approx((0.4, 0.9))
    assert settings.schedule(0.55) == pytest.approx((0.2, 0.9))
    assert settings.schedule(1.0) == (0.0, 0.9)


@given(st.floats(0, 1))
def test_schedule_stays_between_zero_and_the_peak(progress: float) -> None:
    settings = Optimisation(epochs=1)
    rate, momentum = settings.schedule(progress)
    assert 0 <= rate <= settings.learning_rate * (1 + 1e-12)
    assert settings.initial_momentum <= momentum <= settings.momentum


@pytest.mark.parametrize("mode", [True, False])
def test_logits_come_without_dropout_and_leave_the_mode(mode: bool) -> None:
    model = net(0, dropout=0.5).train(mode)
    first, second = logits_of(model, INPUTS), logits_of(model, INPUTS)
    assert torch.equal(first, second)
    assert model.training is mode
    torch.testing.assert_close(first, model.cpu().eval()(INPUTS.flatten(1)).detach())


def test_logits_of_more_cases_than_a_chunk_are_in_order() -> None:
    model, inputs = net(0), torch.rand(5000, 4, 4)
    torch.testing.assert_close(logits_of(model, inputs), model.cpu()(inputs.flatten(1)).detach())


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_needs_units(units: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, on_cpu: None) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: units)
    assert training.compute_dtype("bf16") is dtype
    assert training.compute_dtype("float32") is torch.float32


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="fp8"):
        training.compute_dtype("fp8")


def test_bf16_trains_weights_kept_in_float32(monkeypatch: pytest.MonkeyPatch, on_cpu: None) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    coarse = weights_after(dataclasses.replace(PLAIN, precision="bf16"))
    fine = weights_after(PLAIN)
    assert {p.dtype for p in coarse} == {torch.float32}
    assert not same(coarse, fine)
    assert all((a - b).abs().max() < 0.05 for a, b in zip(coarse, fine, strict=True))


def test_device_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cpu", "cuda", "cuda:1"):
        monkeypatch.setenv("DISTILLATION_DEVICE", name)
        assert training.device() == torch.device(name)
    monkeypatch.delenv("DISTILLATION_DEVICE")
    assert training.device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.device().type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:0", "mps", "meta", "xpu", "cpu,cuda", "0"])
def test_device_that_is_not_here_gets_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("DISTILLATION_DEVICE", name)
    with pytest.raises(
        ValueError, match=rf"DISTILLATION_DEVICE={name}: choose cpu, cuda or mps; this machine has cpu\.$"
    ):
        training.device()


def test_gpu_beyond_those_that_are_here_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("DISTILLATION_DEVICE", "cuda:1")
    with pytest.raises(ValueError, match=r"this machine has cuda, cuda:0.* cpu"):
        training.device()


@pytest.mark.parametrize("fused", [("cpu",), ()])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_step_is_that_of_the_library(
    fused: tuple[str, ...], weight_decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FUSED", fused)
    ours, theirs = net(0).to(training.device()), net(0).to(training.device())
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, weight_decay=weight_decay, momentum=0.9, foreach=False)
    parameters = list(ours.parameters())
    momenta = [torch.zeros_like(parameter) for parameter in parameters]
    inputs = torch.rand(20, 16, device=training.device())
    for rate, momentum in ((0.1, 0.5), (0.05, 0.7), (0.2, 0.9)):
        for model in (ours, theirs):
            model.zero_grad()
            model(inputs).square().sum().backward()
        optimiser.param_groups[0].update(lr=rate, momentum=momentum)
        optimiser.step()
        told = torch.tensor([rate, momentum], device=training.device(), dtype=torch.float32)
        training._update(parameters, momenta, told[0], told[1], weight_decay)
    for a, b in zip(parameters, theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


class Pretended:
    """In place of a CUDA graph: it replays by taking the step that was captured."""

    step: Callable[[], None]

    def replay(self) -> None:
        self.step()


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """torch.cuda as far as a capture needs it, on the CPU: nothing is captured, the trial steps are real."""
    found = SimpleNamespace(waits=[0], refused=None)

    @contextmanager
    def graph(made: Pretended, capture_error_mode: str) -> Iterator[None]:
        if found.refused == "graph":
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        yield

    for name, value in {
        "CUDAGraph": Pretended,
        "Stream": Mock,
        "current_stream": Mock,
        "stream": lambda _: nullcontext(),
        "graph": graph,
        "get_rng_state": lambda _: torch.get_rng_state(),
        "set_rng_state": lambda state, _: torch.set_rng_state(state),
        "get_sync_debug_mode": lambda: found.waits[-1],
        "set_sync_debug_mode": found.waits.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return found


@pytest.mark.parametrize("refused", [None, "graph", "step"])
def test_capture_leaves_what_the_trial_steps_changed_as_it_was(
    refused: str | None, pretended_gpu: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended_gpu.refused, state = refused, [torch.zeros(3), torch.zeros(1)]
    before = torch.get_rng_state()

    def step() -> None:
        state[0].add_(torch.rand(3))
        state[1].add_(1)
        if refused == "step" and pretended_gpu.waits[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    Pretended.step = staticmethod(step)
    repeat = training._captured(step, state)
    assert same(state, [torch.zeros(3), torch.zeros(1)])
    assert torch.equal(torch.get_rng_state(), before)
    assert pretended_gpu.waits[-1] == 0
    assert "error" in pretended_gpu.waits
    assert (repeat is step) == (refused is not None)
    assert ("A step is not captured" in capsys.readouterr().out) == (refused is not None)


@pytest.mark.parametrize(("batch_size", "stop"), [(16, 2), (80, 2), (80, 5)])
def test_runs_of_captured_steps_equal_others_and_go_on_where_they_stopped(
    batch_size: int,
    stop: int,
    pretended_gpu: SimpleNamespace,
    on_cpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = dataclasses.replace(JITTERED, batch_size=batch_size)
    plain = net(0, 0.5)
    expected = train(plain, INPUTS, loss, settings)

    def captured(step: Callable[[], None], state: list[Tensor]) -> Callable[[], None]:
        Pretended.step = staticmethod(step)
        return capture(step, state)

    capture = training._captured
    monkeypatch.setattr(training, "_captured", captured)
    monkeypatch.setattr(training, "GRAPHS", ("cpu",))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    checkpoint = tmp_path / "checkpoint"

    def interrupt(model: nn.Module, epochs: list[int] = []) -> dict:  # noqa: B006
        epochs.append(1)
        if len(epochs) == stop:
            raise Interruption
        return {}

    with pytest.raises(Interruption):
        train(net(0, 0.5), INPUTS, loss, settings, checkpoint=checkpoint, after_epoch=interrupt)
    resumed = net(99, 0.5)
    history = train(resumed, INPUTS, loss, settings, checkpoint=checkpoint)
    assert [row["loss"] for row in history] == [row["loss"] for row in expected]
    assert all(row["captured"] for row in history)
    assert same(list(resumed.parameters()), list(plain.parameters()))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU here.")


@needs_gpu
@pytest.mark.parametrize(("settings", "dropout"), [(PLAIN, 0.0), (JITTERED, 0.5)])
def test_captured_steps_give_what_plain_ones_give(
    settings: Optimisation, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_DEVICE", "cuda")
    found = {}
    for captured in (True, False):
        if not captured:
            monkeypatch.setattr(training, "_captured", lambda step, state: step)
        model = net(0, dropout)
        history = train(model, INPUTS, loss, settings)
        assert {row["captured"] for row in history} == {captured}
        found[captured] = model.parameters()
    for a, b in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@needs_gpu
def test_step_that_waits_for_the_device_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISTILLATION_DEVICE", "cuda")

    def waiting(logits: Tensor, index: Tensor) -> Tensor:
        return loss(logits, index) * (1 + 0 * logits.sum().item())

    model = net(0)
    history = train(model, INPUTS, waiting, PLAIN)
    assert {row["captured"] for row in history} == {False}
    assert "A step is not captured" in capsys.readouterr().out
    assert same(list(model.parameters()), weights_after(PLAIN))
