"""The claims of sections 1 to 3, from made-up records whose verdicts are known."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distillation.core.claims import Findings
from distillation.core.store import Configuration, StoreError
from distillation.mnist.claims import CLAIMS
from distillation.mnist.nets import Student
from distillation.mnist.plan import plan
from distillation.mnist.profiles import NEXT, SMOKE, Profile
from distillation.mnist.results import MnistResults

# Of MNIST, so that its errors are compared with the paper's; the second is the plan in the making.
PUBLISHED = replace(SMOKE, name="made up", dataset="mnist", headline_seeds=3, seeds=3, cheap_seeds=3, widths=(800, 30))
MADE = replace(NEXT, dataset="mnist", teacher_seeds=3, seeds=3, cheap_seeds=3, temperatures=(1, 2.5, 3, 4, 8, 20))
profiles = pytest.mark.parametrize("profile", [PUBLISHED, MADE], ids=["published", "in the making"])

Metrics = Callable[[Configuration], dict]


def wrong(errors: float, spread: int = 1) -> Metrics:
    """So many errors of 10,000, more or less by the seed."""
    return lambda config: {"errors": round(errors + spread * (config.seed % 3 - 1)), "evaluated": 10_000}


def corrected(none: int, on_omitted: int, test: int, missed: int) -> Metrics:
    """Of a student that lacks digits: its errors without and with a bias."""
    bias = {
        "omitted_cases": 1010,
        **{how: {"shift": 1.0, "errors": test, "errors_on_omitted": missed} for how in ("prior", "test")},
        "none": {"shift": 0.0, "errors": none, "errors_on_omitted": on_omitted},
    }
    return lambda config: wrong(none)(config) | {"bias": bias}


def by_temperature(config: Student) -> dict:
    """Thirty units do best from 2.5 to 4, others at all high temperatures alike."""
    narrow = config.hidden[0] == 30
    errors = 200 + 40 * (not 2.5 <= config.temperature <= 4) if narrow else 74 + 40 * (config.temperature < 8)
    return wrong(errors)(config)


def along(config: Configuration) -> dict:
    """Gradients of soft targets vary a fifth as much, and are twice as long at the start."""
    soft = isinstance(config.net, Student)
    ratio = 2.0 + config.net.seed % 3 if soft else 10.0 + 5 * (config.net.seed % 3)
    return {"along": [{"step": step, "ratio": ratio, "signal": 4.0 if soft else 1.0} for step in config.steps]}


def at_rate(config: Configuration) -> dict:
    """Soft targets bear the second rate of the grid, labels the first; on equal terms it is four times theirs."""
    usable = 1 if isinstance(config, Student) else 0
    rates = (PUBLISHED if config.hidden[0] < 100 else MADE).learning_rates
    place = rates.index(config.optimisation.learning_rate)
    return wrong(100 if place <= usable else 5_000, 0)(config)


def on_part(config: Configuration) -> dict:
    """Soft targets on a tenth of the images do what labels do on all."""
    cases = config.size or 60_000
    errors = (10 if isinstance(config, Student) else 100) * 60_000 / cases
    return wrong(errors, 0)(config) | {"train_cases": cases}


# A world in which everything is as the paper says.
TOLD: dict[str, Metrics] = {
    "gradients along training": along,
    "learning rate, held out": at_rate,
    "size": on_part,
    "teacher": wrong(67),
    "plain": wrong(146),
    "plain, short": wrong(146),
    "plain, narrower": wrong(146),
    "distilled": wrong(74),
    "temperature": by_temperature,
    "no 3s": corrected(206, 133, 109, 14),
    "only 7s and 8s": corrected(4730, 4700, 1320, 1000),
    "hard weight, held out": lambda c: wrong(100 + 100 * abs(c.hard_weight - 0.05))(c),
    "unlabelled": wrong(90),
    "half, hard targets": wrong(180),
    "ensemble": wrong(70),
    "means": lambda c: {"errors": 60, "evaluated": 10_000, "members": [66, 67]},
    "ensemble's student": wrong(70),
}


@pytest.fixture
def runs(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MnistResults:
    """Without any record."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    return MnistResults(profile, plan(profile))


def tell(runs: MnistResults, questions: tuple[str, ...]) -> None:
    """Write the records of these questions."""
    for config in itertools.chain.from_iterable(map(runs.configs, questions)):
        question = next(name for name in questions if config in runs.configs(name))
        runs.store.write(config, {"metrics": TOLD[question](config), "history": [], "seconds": 1.0})


def asked(runs: MnistResults) -> list:
    """The claims that need no examples."""
    return [claim for claim in Findings(CLAIMS, runs).asked if "examples" not in claim.questions]


@profiles
def test_a_world_as_the_papers_gives_its_verdicts(runs: MnistResults) -> None:
    found = {}
    for claim in asked(runs):
        tell(runs, claim.questions)
        found[claim.id] = claim.find(runs, claim).verdict
    assert found.pop("mnist.ensemble_student") == "yes"
    assert found.pop("mnist.hard_weight") in ("reproduced", "partly")
    assert set(found.values()) == {"reproduced"}, found


@profiles
def test_a_finding_follows_from_the_records_of_its_questions_alone(runs: MnistResults) -> None:
    for claim in asked(runs):
        tell(runs, claim.questions)
        assert claim.find(runs, claim)
        for question in claim.questions:
            path = runs.store.path(runs.configs(question)[0])
            record = path.read_bytes()
            path.unlink()
            with pytest.raises(StoreError, match="is missing"):
                claim.find(runs, claim)
            path.write_bytes(record)
        for path in runs.store.folder.glob("*/*.json"):
            path.unlink()
