"""The training step against its matrix products alone and against the loop of PyTorch's distillation tutorial.

    .venv/bin/python benchmarks/training_step.py [--cases 20480] [--rounds 3] [--save]

Prints a Markdown table of seconds per 60,000 cases and their ratios, all measured in this call; asserts nothing.
"""

import argparse
import dataclasses
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distillation.core import training
from distillation.core.models import mlp
from distillation.core.objectives import distillation_loss, soften
from distillation.core.store import results_folder
from distillation.core.training import Optimisation, compute_dtype, device, train
from distillation.mnist import profiles

TEMPERATURE = 20.0
OURS, PRODUCTS, TUTORIAL = "this repository", "its matrix products alone", "PyTorch tutorial's loop"
UNCAPTURED = "this repository, steps not captured"  # as one CUDA graph
WORKERS = {"1 thread": (1, 1), "2 threads": (1, 2), "2 processes of 1 thread": (2, 1)}  # name: (processes, threads)
ON_GPU = {"1 process": (1, 1)}
Wait = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A net and how it is trained; has_teacher: on soft targets, at T=20."""

    name: str
    sizes: tuple[int, ...]
    dropout: tuple[float, float]
    settings: Optimisation
    has_teacher: bool


CASES = (
    Case("teacher 1200x1200", (784, 1200, 1200, 10), (0.2, 0.5), profiles.PAPER.teacher, False),
    Case("student 800x800", (784, 800, 800, 10), (0.0, 0.0), profiles.PAPER.student, True),
)


def main() -> None:
    """Measure every combination in processes of its own, in turn, and print the medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_480, help="cases per timed epoch (at least 512)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of which the median is taken")
    parser.add_argument("--save", action="store_true", help="write results/paper/tables/benchmark.csv and .md")
    options = parser.parse_args()
    on_gpu = device().type == "cuda"
    measured: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for number, case in enumerate(CASES):
            for variant in MEASURES if on_gpu else [each for each in MEASURES if each != UNCAPTURED]:
                for workers, number_of in (ON_GPU if on_gpu else WORKERS).items():
                    found = in_processes(variant, number, options.cases, *number_of)
                    measured.setdefault((case.name, variant, workers), []).append(found)
                    print(f"{case.name}, {variant}, {workers}: {found[0]:.2f} s", file=sys.stderr, flush=True)
    result = table(measured)
    text = result.to_markdown(index=False, disable_numparse=True)
    print(text)
    if options.save:
        folder = results_folder("paper") / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        result.to_csv(folder / "benchmark.csv", index=False)
        (folder / "benchmark.md").write_text(text + "\n")


def table(measured: dict[tuple[str, str, str], list[tuple[float, float]]]) -> pd.DataFrame:
    """Medians over the rounds, and ratios within the same workers; memory is that of one process."""
    median = {key: statistics.median(seconds for seconds, _ in found) for key, found in measured.items()}
    rows = []
    for (case, variant, workers), found in measured.items():
        seconds = median[case, variant, workers]
        rows.append(
            {
                "net": case,
                "loop": variant,
                "workers": workers,
                "precision": "float32" if variant == TUTORIAL else str(compute_dtype("bf16")).removeprefix("torch."),
                "s per 60,000 cases": f"{seconds:.2f}",
                "ms a step": f"{1000 * seconds * batch_size(case, variant) / 60_000:.3f}",
                "times its products": f"{seconds / median[case, PRODUCTS, workers]:.2f}" if variant == OURS else "",
                "tutorial takes times ours": f"{median[case, TUTORIAL, workers] / seconds:.1f}"
                if variant == OURS
                else "",
                "peak memory, MB": f"{max(memory for _, memory in found):.0f}",
            }
        )
    return pd.DataFrame(rows)


def batch_size(case: str, variant: str) -> int:
    """The cases of a step."""
    return 128 if variant == TUTORIAL else {each.name: each.settings.batch_size for each in CASES}[case]


def in_processes(variant: str, case: int, cases: int, processes: int, threads: int) -> tuple[float, float]:
    """(seconds per 60,000 cases, peak MB of a process), measured in so many processes that start timing together.

    Several processes share the cases, as runs of a sweep do: their seconds are divided by their number.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()
    arguments = (variant, case, cases, threads, barrier, answers)
    started = [context.Process(target=measure, args=arguments) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{CASES[case].name}, {variant}: a process ended with exit status {process.exitcode}.")
    found = [answers.get() for _ in started]
    seconds = statistics.mean(seconds for seconds, _ in found) / processes
    return seconds * 60_000 / cases, max(memory for _, memory in found)


def measure(variant: str, case: int, cases: int, threads: int, barrier, answers) -> None:
    """In a process of its own: put (seconds for so many cases, peak MB) into answers."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    seconds = MEASURES[variant](CASES[case], cases, barrier.wait)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)))


def our_loop(case: Case, cases: int, wait: Wait) -> float:
    """Seconds of the second epoch of `distillation.core.training.train`; the first warms up."""
    inputs, labels = data(cases)
    labels = labels.to(device())
    targets = soften(torch.randn(cases, 10) * 5, TEMPERATURE).to(device())

    def loss(logits: Tensor, index: Tensor) -> Tensor:
        if case.has_teacher:
            return distillation_loss(logits, targets[index], None, temperature=TEMPERATURE, hard_weight=0.0)
        return F.cross_entropy(logits, labels[index])

    clock: list[float] = []

    def after_epoch(_: nn.Module) -> dict:
        synchronise()
        clock.append(time.perf_counter())
        if len(clock) == 1:
            wait()
            clock[0] = time.perf_counter()
        return {}

    settings = dataclasses.replace(case.settings, epochs=2, learning_rate=0.01)  # noise is not to be learned
    model = mlp(case.sizes, input_dropout=case.dropout[0], hidden_dropout=case.dropout[1])
    train(model, inputs, loss, settings, after_epoch=after_epoch)
    return clock[1] - clock[0]


def uncaptured_loop(case: Case, cases: int, wait: Wait) -> float:
    """`our_loop` with steps that are launched one kernel at a time, as where a capture fails."""
    training._captured = lambda step, state: step
    return our_loop(case, cases, wait)


def products(case: Case, cases: int, wait: Wait) -> float:
    """Seconds of the matrix products of one epoch: forward, gradients of weights and of inputs (not of the net's)."""
    batch, dtype = case.settings.batch_size, compute_dtype(case.settings.precision)
    layers = []
    for number, (fan_in, fan_out) in enumerate(pairwise(case.sizes)):
        shapes = ((batch, fan_in), (fan_out, fan_in), (batch, fan_out))
        layers.append((number > 0, *(torch.rand(shape, device=device()).to(dtype) for shape in shapes)))

    def step() -> None:
        for needs_input_gradient, x, weight, gradient in layers:
            torch.mm(x, weight.T)
            torch.mm(gradient.T, x)
            if needs_input_gradient:
                torch.mm(gradient, weight)

    repeat = training._captured(step, []) if device().type == "cuda" else step

    def epoch(steps: int) -> None:
        for _ in range(steps):
            repeat()
        synchronise()

    steps = cases // batch
    epoch(min(steps, 20))
    wait()
    started = time.perf_counter()
    epoch(steps)
    return time.perf_counter() - started


def tutorial_loop(case: Case, cases: int, wait: Wait) -> float:
    """Seconds of one epoch as in https://pytorch.org/tutorials/beginner/knowledge_distillation_tutorial.html.

    Adam, float32, batches of 128 from a DataLoader (in this process, which is its fastest way for tensors); the student
    asks the teacher, 1200x1200, in every step.  The net with dropout is trained without jitter and max-norm, which the
    tutorial lacks.
    """
    model, teacher = plain_net(case.sizes, case.dropout), plain_net(CASES[0].sizes, (0.0, 0.0)).eval()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001)

    def epoch(loader: DataLoader) -> None:
        model.train()
        for inputs, labels in loader:
            inputs, labels = inputs.to(device()), labels.to(device())
            optimiser.zero_grad()
            if case.has_teacher:
                with torch.no_grad():
                    teacher_logits = teacher(inputs)
                logits = model(inputs)
                soft_targets = F.softmax(teacher_logits / TEMPERATURE, dim=-1)
                soft_prob = F.log_softmax(logits / TEMPERATURE, dim=-1)
                soft_loss = torch.sum(soft_targets * (soft_targets.log() - soft_prob)) / len(logits) * TEMPERATURE**2
                loss = 0.25 * soft_loss + 0.75 * F.cross_entropy(logits, labels)
            else:
                loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            optimiser.step()
            loss.item()
        synchronise()

    inputs, labels = data(cases)
    cases_as_pairs = TensorDataset(inputs.flatten(1), labels)
    epoch(DataLoader(TensorDataset(*cases_as_pairs[:2560]), batch_size=128, shuffle=True))
    wait()
    started = time.perf_counter()
    epoch(DataLoader(cases_as_pairs, batch_size=128, shuffle=True))
    return time.perf_counter() - started


def plain_net(sizes: tuple[int, ...], dropout: tuple[float, float]) -> nn.Sequential:
    """The same net from PyTorch's own modules."""
    layers: list[nn.Module] = [nn.Dropout(dropout[0])]
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(dropout[1])]
    layers = [layer for layer in layers if not (isinstance(layer, nn.Dropout) and layer.p == 0)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1])).to(device())


def data(cases: int) -> tuple[Tensor, Tensor]:
    """Random images (cases, 28, 28), a fifth of whose pixels are not 0, as MNIST's, and labels (cases,)."""
    pixels = torch.rand(cases, 28, 28)
    return pixels * (torch.rand(cases, 28, 28) < 0.2), torch.randint(10, (cases,))


def synchronise() -> None:
    """Wait until the GPU, if there is one, has done its work."""
    if device().type == "cuda":
        torch.cuda.synchronize()


MEASURES = {OURS: our_loop, UNCAPTURED: uncaptured_loop, PRODUCTS: products, TUTORIAL: tutorial_loop}

if __name__ == "__main__":
    main()
