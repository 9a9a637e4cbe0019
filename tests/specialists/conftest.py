"""Nets on a few styles, which are trained when a test first asks for them, and results that are written by hand."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distillation.core.store import Configuration, Store
from distillation.core.sweep import sweep, with_all_they_start_from
from distillation.core.training import Optimisation
from distillation.specialists import plan
from distillation.specialists.assignment import Assignment
from distillation.specialists.combination import COMBINED_BY, Combination
from distillation.specialists.generalists import Data, Generalist, Split, load
from distillation.specialists.nets import Specialist
from distillation.specialists.open_questions import Distilled, Mixture, SoftTargets
from distillation.specialists.results import SpecialistResults

# Each net on a few styles


@pytest.fixture
def generalist() -> Generalist:
    data = Data("fonts (embedded)", 24, 720, 240)
    return Generalist(data, (8, 16), Optimisation(6, 16, 0.05, jitter=2), mirror=False)


@pytest.fixture
def assignment(generalist: Generalist) -> Assignment:
    return Assignment(generalist, number=4, size=5)


@pytest.fixture
def brief() -> Optimisation:
    """How all nets but the generalist are trained."""
    return Optimisation(1, 32, 0.02, jitter=2)


@pytest.fixture
def specialist(assignment: Assignment, brief: Optimisation) -> Specialist:
    return Specialist(assignment, optimisation=brief)


@pytest.fixture
def combination(specialist: Specialist) -> Combination:
    return Combination(specialist)


@pytest.fixture
def soft_targets(combination: Combination) -> SoftTargets:
    return SoftTargets(combination)


@pytest.fixture
def distilled(generalist: Generalist, soft_targets: SoftTargets, brief: Optimisation) -> Distilled:
    return Distilled(generalist, soft_targets, optimisation=brief)


@pytest.fixture
def mixture(generalist: Generalist, brief: Optimisation) -> Mixture:
    """Of two experts that start alike."""
    return Mixture(generalist.data, generalist.widths, 2, (8, 8), generalist, optimisation=brief, mirror=False)


@pytest.fixture
def split(generalist: Generalist) -> Split:
    """Their pictures."""
    return load(generalist.data)


class Made(Store):
    """A store whose runs are made when they are read."""

    def read(self, config: Configuration) -> dict:
        return sweep([config], Store(self.folder))[0]

    def tensors(self, config: Configuration) -> dict[str, Tensor]:
        sweep([config], Store(self.folder), needs_tensors=True)
        return super().tensors(config)


@pytest.fixture(scope="session")
def records_of_styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("styles") / "records"


@pytest.fixture
def made(records_of_styles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of all tests together, whose runs are made in this process and on one thread: the nets are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    for units in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, units, lambda: False)  # the same numbers everywhere
    yield Made(records_of_styles)
    torch.set_num_threads(threads)


# Results by hand


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecialistResults:
    """Results of a small profile, of which nothing is there yet."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    seeds = {"seeds": 3, "control_seeds": 3}
    profile = replace(plan.SMOKE, name="made up", number=3, **seeds)
    return SpecialistResults(profile, plan.plan(profile))


@pytest.fixture
def outcome() -> Callable[..., dict]:
    """From rows of numbers of specialists, fixed and broken cases, the metrics of a combination on 500 cases a row.

    n = 1 by "kl" is as said; all others differ from it.
    """

    def metrics(*covered: dict, conditional: float = 50.0) -> dict:
        rows = [{"cases": 500, "before": 400, "fixed": 0, "broken": 0} | row for row in covered]
        cases, before = (sum(row[key] for row in rows) for key in ("cases", "before"))
        combined = []
        for n in (1, 2, 3):
            for by in COMBINED_BY:
                extra = 10 * n + len(by) - 12  # 0 for n = 1, "kl"
                some = [row | {"fixed": row["fixed"] + extra} for row in rows]
                change = sum(row["fixed"] - row["broken"] for row in some)
                accuracy = 100 * (before + change) / cases
                combined.append({"n": n, "by": by, "active": float(n), "accuracy": accuracy, "covered": some})
                combined[-1]["conditional"] = conditional + 1 + extra
        alone = {"accuracy": 100 * before / cases, "conditional": conditional, "coverage": [0, 2, 1, 0]}
        return {part: alone | {"combined": combined} for part in ("held_out", "test")}

    return metrics


@pytest.fixture
def write(made_up: SpecialistResults, outcome: Callable[..., dict]) -> Callable[..., None]:
    """Write the records of `made_up`: from metrics, histories and seconds by configuration; others have defaults."""
    knows = {"special_accuracy": 70.0, "special_recall": 60.0, "rest_accuracy": None, "claimed": 5.0}
    dustbin = {"share": 0.9, "raw": 0.5, "corrected": 0.88, "reliability": []}
    net = {"accuracy": 80.0, "fit_accuracy": 90.0, "held_out_accuracy": 79.0, "parameters": 100, "pictures_seen": 1000}
    member = {"special_cases": 10, "pictures_seen": 20, "specialist": knows, "generalist": knows, "dustbin": dustbin}

    def default(config: Configuration) -> dict:
        if isinstance(config, Assignment):
            return {"subsets": [[0, 1, 2]] * config.number, "rand_index": 0.5, "class_names": ["a", "b"]}
        if isinstance(config, Combination):
            return outcome({"specialists": 0}, {"specialists": 1, "fixed": 20, "broken": 10})
        if isinstance(config, Generalist | Specialist):
            return net if isinstance(config, Generalist) else member
        of_mixtures = (
            {"parameters": 310, "expert_passes": 900, "gate_perplexity": 1.2} if isinstance(config, Mixture) else {}
        )
        return {"accuracy": 80.0, "held_out_accuracy": 79.0, "pictures_seen": 500} | of_mixtures

    def write(
        said: dict[Configuration, dict],
        histories: dict[Configuration, list[dict]] | None = None,
        seconds: dict[Configuration, float] | None = None,
    ) -> None:
        asked = [config for configs in made_up.questions.values() for config in configs]
        store, missing = made_up.store, {*asked, *said}
        while missing:  # an assignment's record tells which specialists there are
            for config in missing:
                record = {
                    "metrics": default(config) | said.get(config, {}),
                    "history": (histories or {}).get(config, []),
                }
                store.write(config, record | {"seconds": (seconds or {}).get(config, 1.0)})
            missing = {config for config in with_all_they_start_from(asked, store) if not store.has(config)}

    return write
