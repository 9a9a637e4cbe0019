import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from distillation.core import training
from distillation.core.models import mlp
from distillation.core.store import save_tensors
from distillation.core.training import Diverged, Optimisation, batches_of, logits_of, schedule, train

PLAIN = Optimisation(epochs=5, batch_size=16, precision="float32")
JITTERED = dataclasses.replace(PLAIN, jitter=1, max_norm=1.0)
INPUTS = torch.rand(80, 4, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(80) % 3


class Interruption(Exception):
    pass


def loss(logits: Tensor, index: Tensor) -> Tensor:
    return F.cross_entropy(logits, LABELS[index])


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


def test_loss_sees_the_cases_of_the_batch_each_once_an_epoch() -> None:
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
    save_tensors({"generator": torch.get_rng_state()}, checkpoint, {"history": "[]", "device": "cuda"})
    expected = train(whole, INPUTS, loss, PLAIN)
    torch.manual_seed(0)
    resumed = net(0, 0.5)
    assert train(resumed, INPUTS, loss, PLAIN, checkpoint=checkpoint) == expected
    assert same(list(whole.parameters()), list(resumed.parameters()))
    assert "1.checkpoint was not made on this kind of device (cpu)" in capsys.readouterr().out


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_jitter_shifts_each_image_within_bounds(jitter: int, seed: int) -> None:
    torch.manual_seed(seed)
    images = torch.rand(6, 5, 7) + 0.1
    index = torch.randint(6, (20,))
    batch = batches_of(images, jitter, torch.float32)(index).view(20, 5, 7)
    padded = F.pad(images, (jitter,) * 4)
    for case, image in zip(index, batch, strict=True):
        span = range(2 * jitter + 1)
        shifts = [padded[case, y : y + 5, x : x + 7] for y in span for x in span]
        assert sum(torch.equal(image, shift) for shift in shifts) == 1


def test_jitter_uses_every_shift_and_draws_anew() -> None:
    gather = batches_of(torch.rand(1, 3, 3) + 0.1, 1, torch.float32)
    index = torch.zeros(500, dtype=torch.long)
    assert len(gather(index).unique(dim=0)) == 9
    assert not torch.equal(gather(index), gather(index))


def test_without_jitter_a_batch_is_the_cases() -> None:
    index = torch.tensor([3, 3, 0])
    assert torch.equal(batches_of(INPUTS, 0, torch.float32)(index), INPUTS.flatten(1)[index])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_is_divergence(bad: float) -> None:
    with pytest.raises(Diverged, match=r"epoch 1 of 5.*0\.2"):
        train(net(0), INPUTS, lambda logits, index: logits.mean() + bad, PLAIN)


def test_schedule_rises_over_the_first_tenth_and_falls_to_zero() -> None:
    settings = Optimisation(epochs=1, learning_rate=0.4, momentum=0.9, initial_momentum=0.5)
    assert schedule(0.0, settings) == (0.0, 0.5)
    assert schedule(0.05, settings) == pytest.approx((0.2, 0.7))
    assert schedule(0.1, settings) == pytest.approx((0.4, 0.9))
    assert schedule(0.55, settings) == pytest.approx((0.2, 0.9))
    assert schedule(1.0, settings) == (0.0, 0.9)


@given(st.floats(0, 1))
def test_schedule_stays_between_zero_and_the_peak(progress: float) -> None:
    settings = Optimisation(epochs=1)
    rate, momentum = schedule(progress, settings)
    assert 0 <= rate <= settings.learning_rate * (1 + 1e-12)
    assert settings.initial_momentum <= momentum <= settings.momentum


@pytest.mark.parametrize("mode", [True, False])
def test_logits_come_without_dropout_and_leave_the_mode(mode: bool) -> None:
    model = net(0, dropout=0.5).train(mode)
    first, second = logits_of(model, INPUTS), logits_of(model, INPUTS)
    assert torch.equal(first, second)
    assert model.training is mode
    torch.testing.assert_close(first, model.eval()(INPUTS.flatten(1)).detach())


def test_logits_of_more_cases_than_a_chunk_are_in_order() -> None:
    model, inputs = net(0), torch.rand(5000, 4, 4)
    torch.testing.assert_close(logits_of(model, inputs), model(inputs.flatten(1)).detach())


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_needs_units(units: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert training.compute_dtype("bf16") is dtype
    assert training.compute_dtype("float32") is torch.float32


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="fp8"):
        training.compute_dtype("fp8")


def test_bf16_trains_weights_kept_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
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
