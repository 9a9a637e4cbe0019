"""The profiles: how large each experiment is at smoke, quick and paper."""

from dataclasses import dataclass
from pathlib import Path

from distillation.datasets import mnist
from distillation.datasets.common import REPOSITORY
from distillation.training import Optimisation


@dataclass(frozen=True)
class Profile:
    """Sizes and seeds of sections 2 and 3.

    teacher, half_teacher: how the 2-layer nets with dropout, max-norm and jitter are trained.  headline, plain and
    student: how the distilled nets of the first table, the plain nets, and the students of every sweep are trained.
    """

    name: str
    dataset: str
    teacher_hidden: tuple[int, ...]
    student_hidden: tuple[int, ...]
    widths: tuple[int, ...]
    temperatures: tuple[float, ...]
    hard_weights: tuple[float, ...]
    sizes: tuple[int, ...]
    learning_rates: tuple[float, ...]
    teacher: Optimisation
    half_teacher: Optimisation
    plain: Optimisation
    headline: Optimisation
    student: Optimisation
    short: Optimisation
    teacher_seeds: int
    headline_seeds: int
    seeds: int
    ensemble_size: int
    gradient_cases: int

    @property
    def results(self) -> Path:
        """results/<profile>, or <DISTILLATION_RESULTS>/<profile>."""
        import os

        return Path(os.environ.get("DISTILLATION_RESULTS") or REPOSITORY / "results") / self.name


def paper() -> Profile:
    """The published run, on the real MNIST."""
    return Profile(
        name="paper",
        dataset="mnist",
        teacher_hidden=(1200, 1200),
        student_hidden=(800, 800),
        widths=(800, 300, 30),
        temperatures=(1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 20, 40),
        hard_weights=(0, 0.05, 0.1, 0.2, 0.5, 1),
        sizes=(600, 1_800, 6_000, 18_000, 60_000),
        learning_rates=tuple(0.025 * 2**k for k in range(10)),
        teacher=Optimisation(epochs=120, batch_size=256, max_norm=3.5, jitter=2),
        half_teacher=Optimisation(epochs=80, batch_size=256, max_norm=3.5, jitter=2),
        plain=Optimisation(epochs=20),
        headline=Optimisation(epochs=100),
        student=Optimisation(epochs=20),
        short=Optimisation(epochs=5),
        teacher_seeds=3,
        headline_seeds=5,
        seeds=3,
        ensemble_size=5,
        gradient_cases=2_000,
    )
