"""The one training loop."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, cpu, nn
from torch.optim.sgd import sgd

from distillation.core.models import clip_incoming_norms
from distillation.core.objectives import widened
from distillation.core.store import load_tensors, save_tensors

Loss = Callable[[Tensor, Tensor], Tensor]
CHECKPOINT_SECONDS = 30
FUSED = ("cpu",)  # kinds of device whose kernel takes a step of the optimiser in one pass
GRAPHS = ("cuda",)  # kinds of device on which a step is captured as a graph
# The same results for a seed on one GPU.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
torch.backends.cudnn.deterministic = True


class Gatherable(Protocol):
    """Cases that are too many to lie side by side in memory: batches of them are gathered."""

    def __len__(self) -> int: ...

    def gatherer(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """A function from case indices to a batch (len(indices), features)."""


class Diverged(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Optimisation:
    """How a net is trained: momentum SGD; the learning rate rises over the first tenth of the steps and falls to zero.

    jitter: each training image is shifted by up to so many pixels in either direction, anew in each epoch.
    max_norm: bound on the norm of each hidden unit's incoming weights, or None.
    precision: "bf16" (matrix products in bfloat16 where the processor has units for it), "float32" or "float64".
    """

    epochs: int
    batch_size: int = 512
    learning_rate: float = 0.2
    momentum: float = 0.9
    initial_momentum: float = 0.5
    max_norm: float | None = None
    jitter: int = 0
    precision: str = "bf16"

    def schedule(self, progress: float) -> tuple[float, float]:
        """Learning rate and momentum after a share of the steps: both rise for a tenth of all, then the rate falls."""
        warmed = min(1.0, progress / 0.1)
        rate = self.learning_rate * (warmed if progress < 0.1 else (1 - progress) / 0.9)
        return rate, self.initial_momentum + warmed * (self.momentum - self.initial_momentum)


def device() -> torch.device:
    """The device of DISTILLATION_DEVICE, or the best: CUDA, Apple's MPS, CPU.  ValueError for one that is not there."""
    here = ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))] * torch.cuda.is_available()
    here += ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    chosen = os.environ.get("DISTILLATION_DEVICE") or here[0]
    if chosen not in here:
        raise ValueError(f"DISTILLATION_DEVICE={chosen}: choose cpu, cuda or mps; this machine has {', '.join(here)}.")
    return torch.device(chosen)


def compute_dtype(precision: str) -> torch.dtype:
    """The dtype of the matrix products: as asked for, but float32 for bfloat16 where the device has no units for it."""
    units = {"cuda": [torch.cuda.is_bf16_supported], "cpu": [cpu._is_amx_tile_supported, cpu._is_avx512_bf16_supported]}
    coarse = torch.bfloat16 if any(here() for here in units.get(device().type, [])) else torch.float32
    dtypes = {"bf16": coarse, "float32": torch.float32, "float64": torch.float64}
    if precision not in dtypes:
        raise ValueError(f"Unknown precision {precision!r}: use 'bf16', 'float32' or 'float64'.")
    return dtypes[precision]


def batches_of(inputs: Tensor | Gatherable, jitter: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A function from case indices to a batch (len(indices), pixels), shifted at random if jitter > 0.

    inputs: (cases, height, width) with values in [0, 1], or (cases, features) without jitter, or what gathers its own
    batches.  A shift is one gather from a view of the zero-padded images: nothing is copied but the batch itself.
    """
    if not isinstance(inputs, Tensor):
        return inputs.gatherer(device(), dtype)
    if not inputs.is_floating_point():
        raise ValueError(f"The inputs are {inputs.dtype}; pass floats, such as uint8 pictures / 255.")
    if jitter == 0:
        flat = inputs.reshape(len(inputs), -1).to(device(), dtype)
        return lambda index: flat[index]
    height, width = inputs.shape[1:]
    padded = nn.functional.pad(inputs, (jitter,) * 4).to(device(), dtype)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)

    def gather(index: Tensor) -> Tensor:
        shifts = torch.randint(2 * jitter + 1, (2, len(index)), device=index.device)
        return windows[index, shifts[0], shifts[1]].reshape(len(index), -1)

    return gather


def train(
    model: nn.Module,
    inputs: Tensor | Gatherable,
    loss: Loss,
    settings: Optimisation,
    *,
    weight_decay: float = 0.0,
    order: Callable[[], Tensor] | None = None,
    checkpoint: Path | None = None,
    after_epoch: Callable[[nn.Module], dict] | None = None,
) -> list[dict]:
    """Train the model in place; return one row per epoch: {"loss": mean over the steps, ...}.

    inputs: all cases, (cases, ...), held in memory, or what gathers batches of them; loss: from (logits (batch,
    classes) in float32 or float64, case indices (batch,)) to a scalar.  Random numbers come from torch's generator,
    which the caller seeds.  order draws the cases of an epoch, every time as many; by default all of them, shuffled.
    after_epoch may add columns to a row; on CUDA `captured` says whether the step was one graph.  With a checkpoint
    path the run continues from the last epoch saved there on this kind of device, to the same weights as an undisturbed
    run.  Raises Diverged when the loss is not finite.
    """
    model.to(on := device()).train()
    dtype = compute_dtype(settings.precision)
    batch = batches_of(inputs, settings.jitter, dtype)
    parameters = list(model.parameters())
    momenta = [torch.zeros_like(parameter) for parameter in parameters]
    cases = len(inputs) if order is None else len(order())
    batch_size = min(settings.batch_size, cases)
    steps = cases // batch_size
    history = _restore(model, momenta, checkpoint)
    # What a step reads and changes lies on the device, so that it waits for nothing there.
    total_steps, precision = settings.epochs * steps, torch.float64 if on.type in FUSED else torch.float32
    rows = [settings.schedule(step / total_steps) for step in range(total_steps)] + 2 * [(0.0, 0.0)]  # of trial steps
    schedules = torch.tensor(rows, dtype=precision, device=on)
    batches = torch.zeros((steps, batch_size), dtype=torch.long, device=on)
    done = torch.full((1,), len(history) * steps, device=on)
    total = torch.zeros((), device=on)

    def step() -> None:
        index = batches.index_select(0, done % steps)[0]
        rate, momentum = schedules.index_select(0, done)[0]
        with torch.autocast(on.type, dtype, enabled=dtype == torch.bfloat16):
            logits = model(batch(index))
        value = loss(widened(logits), index)
        model.zero_grad(set_to_none=True)
        value.backward()
        _update(parameters, momenta, rate, momentum, weight_decay)
        if settings.max_norm is not None:
            clip_incoming_norms(model, settings.max_norm)
        total.add_(value.detach())
        done.add_(1)

    state = [*model.state_dict().values(), *momenta, total, done]
    repeat = _captured(step, state) if on.type in GRAPHS else step
    saved_at = time.monotonic()
    for epoch in range(len(history), settings.epochs):
        model.train()
        total.zero_()
        drawn = torch.randperm(cases, device=on) if order is None else order().to(on)
        batches.copy_(drawn[: steps * batch_size].view_as(batches))
        for _ in range(steps):
            repeat()
        if not torch.isfinite(total):
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
            when = f"in epoch {epoch + 1} of {settings.epochs} at a peak learning rate of {settings.learning_rate:g}"
            raise Diverged(f"The loss became {total.item()} {when}; lower the learning rate.")
        row = {"loss": total.item() / steps} | ({"captured": repeat is not step} if on.type in GRAPHS else {})
        if after_epoch is not None:
            row |= after_epoch(model)
        history.append(row)
        if checkpoint is not None and time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            _save(model, momenta, history, checkpoint)
            saved_at = time.monotonic()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history


def _update(parameters: list[Tensor], momenta: list[Tensor], rate: Tensor, momentum: Tensor, decay: float) -> None:
    """A step of momentum SGD in place; but for the CPU's fused kernel, rate and momentum stay on the device."""
    gradients = [parameter.grad for parameter in parameters]
    if momenta[0].device.type in FUSED:
        rules = {"weight_decay": decay, "dampening": 0.0, "nesterov": False, "maximize": False}
        sgd(parameters, gradients, momenta, fused=True, lr=rate.item(), momentum=momentum.item(), **rules)
        return
    with torch.no_grad():
        if decay:
            torch._foreach_add_(gradients, parameters, alpha=decay)
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(parameters, torch._foreach_mul(momenta, -rate))


def _captured(step: Callable[[], None], state: list[Tensor]) -> Callable[[], None]:
    """The step as one CUDA graph to be replayed, or the step itself where it cannot be captured.

    state: every tensor that the step changes.  What the trial steps before a capture changed is put back, random
    numbers too.  A step that waits for the device is found by the trial: a capture would not survive it.
    """
    before, generator = [tensor.clone() for tensor in state], torch.cuda.get_rng_state(device())
    graph, stream, waits = torch.cuda.CUDAGraph(), torch.cuda.Stream(), torch.cuda.get_sync_debug_mode()
    repeat = graph.replay
    try:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()  # makes what libraries make once, which may wait
            torch.cuda.set_sync_debug_mode("error")
            step()
        torch.cuda.set_sync_debug_mode(waits)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    except RuntimeError as reason:
        print(f"A step is not captured as a graph, but taken as it is: {str(reason).splitlines()[0]}")
        repeat = step
    torch.cuda.set_sync_debug_mode(waits)
    for tensor, was in zip(state, before, strict=True):
        tensor.copy_(was)
    torch.cuda.set_rng_state(generator, device())
    return repeat


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Tensor | Gatherable, *, precision: str = "float32") -> Tensor:
    """The logits (cases, classes), on the CPU, of a model in eval mode, so without dropout: float32, or float64."""
    training = model.training
    model.to(device()).eval()
    dtype = compute_dtype(precision)
    batch = batches_of(inputs, 0, torch.float64 if dtype == torch.float64 else torch.float32)
    rows = []
    for index in torch.arange(len(inputs), device=device()).split(4096):
        with torch.autocast(device().type, dtype, enabled=dtype == torch.bfloat16):
            rows.append(widened(model(batch(index))).cpu())
    model.train(training)
    return torch.cat(rows)


def _save(model: nn.Module, momenta: list[Tensor], history: list[dict], path: Path) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"momentum.{number}": momentum for number, momentum in enumerate(momenta)}
    kind = device().type
    tensors["generator"] = torch.get_rng_state()
    if kind != "cpu":
        tensors["device_generator"] = getattr(torch, kind).get_rng_state()
    save_tensors(tensors, path, {"history": json.dumps(history), "device": kind})


def _restore(model: nn.Module, momenta: list[Tensor], path: Path | None) -> list[dict]:
    if path is None or not path.exists():
        return []
    try:
        saved, texts = load_tensors(path)
    except SafetensorError:
        saved, texts = {}, {}
    kind = device().type
    if texts.get("device") != kind:  # another's random numbers are another generator's
        why = f"was not made on this kind of device ({kind})" if saved else "is damaged"
        print(f"{path.name} {why}; the run starts again from its first epoch.")
        return []
    model.load_state_dict({name: saved[f"model.{name}"] for name in model.state_dict()})
    for number, momentum in enumerate(momenta):
        momentum.copy_(saved[f"momentum.{number}"])
    torch.set_rng_state(saved["generator"])
    if kind != "cpu":
        getattr(torch, kind).set_rng_state(saved["device_generator"])
    return json.loads(texts["history"])
