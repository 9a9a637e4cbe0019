"""What is published is not run again, not even where only the records lie, as in a fresh clone; plans and examples."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from distillation.commands import wings
from distillation.core import examples
from distillation.core.figures import PUBLISHED
from distillation.core.store import Configuration, StoreError, load_tensors, save_tensors
from distillation.core.sweep import Results
from distillation.mnist.examples import Examples
from distillation.specialists.examples import PictureExamples
from distillation.speech.examples import OF_SHARES, SpeechExamples

LOADERS = {
    "digits": Examples.load,
    "speech": SpeechExamples.load,
    OF_SHARES: lambda results: SpeechExamples.load(results, OF_SHARES),
    "pictures": PictureExamples.load,
}
every_file = pytest.mark.parametrize(
    ("source", "wing", "module"),
    [
        pytest.param(source, wing, module, id=name)
        for wing, module in zip(wings.EXAMPLES, wings.RESULTS, strict=True)
        for source, (name, _, _) in wing.SHOWN.items()
    ],
)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published results without the weights that are not published, which this disk may have."""
    weights = {path.name for path in PUBLISHED.glob("records/alignment/*.safetensors")}
    for path in [*PUBLISHED.glob("records/*/*"), *PUBLISHED.glob("examples/*")]:
        if path.suffix == ".json" or path.parent.name == "examples" or path.name in weights:
            copy = tmp_path / "paper" / path.relative_to(PUBLISHED)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    return tmp_path / "paper"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run may begin."""

    def refuse(config: Configuration, *_: object) -> None:
        raise AssertionError(f"{config} is run again")

    monkeypatch.setattr("distillation.core.sweep.finish", refuse)


@pytest.mark.parametrize("notebook", sorted(wings.NOTEBOOKS))
def test_nothing_that_is_published_is_run_again(notebook: str, clone: Path, refused: None) -> None:
    results = wings.NOTEBOOKS[notebook].results("paper", notebook, train=True)
    for question in results.plan[notebook]:
        assert results.records(question)


@every_file
def test_published_examples_are_not_made_again(
    source: str, wing: ModuleType, module: ModuleType, clone: Path, refused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, _ = wing.SHOWN[source]

    def refuse(*_: object) -> None:
        raise AssertionError(f"{name} are collected again")

    monkeypatch.setattr(wing, "collect", refuse)
    for train in (False, True):
        assert LOADERS[name](module.results("paper", train=train))


@every_file
def test_stale_examples_are_refused_or_where_one_trains_made_again(
    source: str, wing: ModuleType, module: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, (name, sources, _) = module.results("paper"), wing.SHOWN[source]
    path = examples.path_of(results, name)
    tensors, texts = load_tensors(path)
    path.unlink()  # which is a link to the published one
    save_tensors(tensors, path, texts | {"sources": f"{texts['sources']}0"})  # as if a net had been trained again
    with pytest.raises(StoreError, match="is from other nets"):
        LOADERS[name](results)
    made: list[Configuration] = []

    def collect(of: Results, *_: str) -> examples.Cases:
        assert made == sources(of)
        return tensors, texts["described"]

    monkeypatch.setattr("distillation.core.examples.sweep", lambda nets, *_, **__: made.extend(nets))
    monkeypatch.setattr(wing, "collect", collect)
    for _ in range(2):  # once is enough
        assert LOADERS[name](module.results("paper", train=True))
        assert load_tensors(path)[1] == texts
        assert made == sources(results)


@every_file
def test_what_examples_hold_is_of_planned_runs(source: str, wing: ModuleType, module: ModuleType) -> None:
    results, (name, sources, _) = module.results("paper"), wing.SHOWN[source]
    nets = [*sources(results), *wing.published_nets(results).values()]
    assert all(map(results.store.has, nets))
    assert set(wing.published_nets(results)) <= {path.stem for path in (PUBLISHED / "models").iterdir()}
    (saved,) = [path for path in (PUBLISHED / "examples").glob("*.safetensors") if path.stem == name]
    assert all(isinstance(tensor, torch.Tensor) for tensor in load_tensors(saved)[0].values())


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_plans_are_those_of_the_notebooks_in_their_order(profile: str) -> None:
    plan = wings.plan(profile)
    assert list(plan) == sorted(wings.NOTEBOOKS)
    for number, module in wings.NOTEBOOKS.items():
        results = module.results(profile) if profile == "paper" else module.results("paper")
        assert number in results.plan
        assert plan[number] == module.plan.plan(module.plan.profile(profile))[number]
    planned = list(wings.planned(profile))
    assert len(planned) == sum(len(configs) for questions in plan.values() for configs in questions.values())
    assert all(config in plan[notebook][question] for notebook, question, config in planned)


def test_every_claim_asks_questions_of_the_plan_or_of_that_in_the_making() -> None:
    asked = [
        {question for notebook in wings.plan(profile).values() for question in notebook}
        for profile in ("paper", "next")
    ]
    for findings in wings.findings():
        for claim in findings.claims:
            assert any({*questions, "examples"}.issuperset(claim.questions) for questions in asked), claim.questions


def test_claims_are_those_of_the_findings_and_of_the_notebooks_plans() -> None:
    found = wings.findings()
    assert [claim for findings in found for claim in findings.asked] == wings.claims()
    assert len({claim.id for claim in wings.claims()}) == len(wings.claims())
    for findings in found:
        for claim in findings.asked:
            assert claim.notebook in findings.results.plan
            assert set(claim.questions) <= {*findings.results.questions, "examples"}
