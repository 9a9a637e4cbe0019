"""Which runs sections 5 to 8 need, at each profile."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from distillation.core.data import DataError
from distillation.core.store import Configuration, Store
from distillation.specialists import generalists, plan
from distillation.specialists.assignment import METHODS
from distillation.specialists.convnets import residual_net, strided_net
from distillation.specialists.generalists import Data, Generalist
from distillation.specialists.plan import (
    NEXT,
    PAPER,
    QUICK,
    SMOKE,
    Profile,
    distilled,
    mixtures,
    open_questions,
    rivals,
    section5,
    soft_specialists,
    specialists,
    trained_on,
)

every_profile = pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE], ids=lambda profile: profile.name)
every_data_set = pytest.mark.parametrize(
    "profile", [PAPER, PAPER.beside, QUICK, SMOKE], ids=["paper", "cifar-100", "quick", "smoke"]
)


def size(config: Generalist) -> int:
    """Parameters of a generalist's net."""
    is_cifar = config.data.name == "cifar-100"
    net = (residual_net if is_cifar else strided_net)(3 if is_cifar else 1, config.widths, config.data.classes)
    return sum(parameter.numel() for parameter in net.parameters())


def combinations(profile: Profile) -> list[Configuration]:
    """Those of all questions of notebook 04."""
    return list(chain.from_iterable(specialists(profile).values()))


@every_profile
def test_each_question_asks_for_each_run_once(profile: Profile) -> None:
    for questions in plan.plan(profile).values():
        for name, configs in questions.items():
            assert configs, name
            assert len(set(configs)) == len(configs), name
    of_section5 = list(chain.from_iterable(section5(profile).values())) + rivals(profile)
    assert len(set(of_section5)) == len(of_section5)
    hard, soft = soft_specialists(profile).values()
    assert not set(hard) & set(soft)
    rest = list(chain.from_iterable((mixtures(profile) | distilled(profile)).values()))
    assert len(rest) == len(set(rest))


@every_profile
def test_no_run_is_made_twice_under_two_names(profile: Profile, tmp_path: Path) -> None:
    store = Store(tmp_path)
    configs = set(chain.from_iterable((section5(profile) | open_questions(profile)).values()))
    nets = {config.assignment.generalist for config in [*combinations(profile), *rivals(profile)]}
    assert len({store.name(config) for config in configs | nets}) == len(configs | nets)
    # The whole data's specialists with a dustbin are members of the first combination.
    first = section5(profile)["specialists"][0].first
    shared = [config for config in soft_specialists(profile)["dustbin"] if config.share == 1]
    assert shared == [replace(first, index=index) for index in range(profile.few_specialists)]
    assert profile.few_specialists <= min(profile.number, 20)


@every_data_set
def test_specialists_are_trained_like_their_generalist_and_by_its_seed(profile: Profile) -> None:
    few = [] if profile == PAPER.beside else rivals(profile)
    for config in [*combinations(profile), *few]:
        net = config.assignment.generalist
        assert config.first.seed == config.assignment.seed == net.seed
        assert config.first.optimisation == profile.specialist
        assert config.first.optimisation.jitter == net.optimisation.jitter
        assert config.assignment.size < net.data.classes
        assert (config.first.softmax, config.first.share, config.first.index) == ("dustbin", 1, 0)
    for configs in (specialists(profile)["specialists"], few):
        nets = [config.assignment.generalist for config in configs]
        seeds = profile.control_seeds if configs is few else profile.seeds
        assert not nets or nets == [replace(profile.generalist, seed=seed) for seed in range(seeds)]
    assert {(c.assignment.number, c.assignment.size) for c in specialists(profile)["specialists"]} == {
        (profile.number, profile.size)
    }


@every_data_set
def test_comparisons_vary_one_setting(profile: Profile) -> None:
    section, first = specialists(profile), specialists(profile)["specialists"][0]
    assert [c.assignment.method for c in section["methods"]] == list(profile.methods)
    assert set(profile.methods) < set(METHODS) - {first.assignment.method}
    for config in section["methods"]:
        assert replace(config.assignment, method="covariance") == first.assignment
    regimes, full = dict(profile.regimes), profile.generalist
    assert regimes["early"].optimisation.epochs <= full.optimisation.epochs / 3
    assert replace(regimes["early"], optimisation=full.optimisation) == full
    if "half" in regimes:
        assert regimes["half"].data.cases == pytest.approx(full.data.cases / 2, abs=1)
        assert replace(regimes["half"], data=full.data) == full
    if "large" in regimes:
        assert regimes["large"].widths == tuple(2 * width for width in full.widths)
        assert replace(regimes["large"], widths=full.widths) == full
    if "by letter" in regimes:
        assert replace(regimes["by letter"], data=full.data) == full
    for name, net in profile.regimes:
        assert section[name] == [plan.combination(profile, net)]
        assert net.seed == 0


@every_profile
def test_softmaxes_are_compared_on_the_same_pictures_and_for_as_long(profile: Profile) -> None:
    hard, soft = soft_specialists(profile)["dustbin"], soft_specialists(profile)["full"]
    assert [replace(config, softmax="dustbin") for config in soft] == hard
    assert {config.softmax for config in soft} == {"full"}
    assert [(c.share, c.index) for c in hard] == [
        (s, i) for s in profile.shares for i in range(profile.few_specialists)
    ]
    data, batch = profile.generalist.data, profile.specialist.batch_size
    pictures = profile.size * data.cases / data.classes
    steps = [config.optimisation.epochs * max(1, 2 * round(config.share * pictures) // batch) for config in hard]
    assert steps == pytest.approx([profile.specialist.epochs * (2 * round(pictures) // batch)] * len(steps), rel=0.1)


@every_profile
def test_a_mixture_has_as_many_nets_as_its_rival(profile: Profile) -> None:
    (number, classes), net = profile.rivals, profile.generalist
    divided, alike = mixtures(profile)["mixture, divided"], mixtures(profile)["mixture, alike"]
    for seed, (config, other) in enumerate(zip(divided, alike, strict=True)):
        assert config.experts == number + 1
        assert (config.data, config.widths, config.gate_widths) == (net.data, net.widths, net.widths)
        assert (config.mirror, config.weight_decay, config.seed) == (net.mirror, net.weight_decay, seed)
        assert other == replace(config, start=replace(net, seed=seed))
        assert config.start == plan.assignment(profile, other.start, number=config.experts, size=classes)
        assert config.start.method == "covariance"
    assert len(alike) == profile.control_seeds
    for config in rivals(profile):
        assert (config.assignment.number, config.assignment.size) == (number, classes)


def test_all_that_is_compared_with_specialists_sees_as_many_pictures() -> None:
    net, (number, classes) = PAPER.generalist, PAPER.rivals
    cases, epochs = net.data.cases, PAPER.specialist.epochs
    share = net.data.cases / net.data.classes
    rival = number * epochs * 2 * classes * share  # half of what a specialist sees is special
    for config in chain.from_iterable(mixtures(PAPER).values()):
        assert config.optimisation.epochs * cases * config.experts == pytest.approx(rival, rel=0.01)
    everyone = PAPER.number * epochs * 2 * PAPER.size * share
    for config in trained_on(PAPER):
        assert config.optimisation.epochs * cases == pytest.approx(everyone, rel=0.01)
        assert config == replace(config, generalist=replace(net, seed=config.seed), continued=True, targets=None)


@every_profile
def test_students_differ_from_their_controls_in_their_targets_alone(profile: Profile) -> None:
    section, net = distilled(profile), profile.generalist
    nets = {c.first.seed: c for c in section5(profile)["specialists"]}
    for name, configs in section.items():
        for config in configs:
            if name != "larger student":
                assert config.generalist == nets[config.seed].assignment.generalist
            assert (config.held_out, config.continued) == (name == "held out", False)
            assert config.weight_decay == net.weight_decay
            assert config.targets.combination == nets[config.seed]
            assert config.targets.n == (0 if name == "p" else profile.distilled_n)
    for name in ("q", "p"):
        assert [config.seed for config in section[name]] == list(range(profile.control_seeds))
        assert {config.optimisation for config in section[name]} == {net.optimisation}
        assert {config.temperature for config in section[name]} == {profile.distilled_at}
    assert profile.control_seeds <= profile.seeds
    for n in (profile.distilled_n, 0):
        assert section["q" if n else "p"][0] == replace(section["q"][0], targets=replace(section["q"][0].targets, n=n))
    # The trials are all as brief as their control on hard targets.
    trials = [*section["temperature"], *section["held out"]]
    control = plan.brief_generalist(profile)
    assert replace(control, optimisation=net.optimisation) == net
    assert {config.optimisation for config in trials} == {control.optimisation}
    assert control in {config.assignment.generalist for config in section5(profile)["early"]}
    assert [c.temperature for c in section["temperature"]] == list(profile.temperatures)
    assert profile.distilled_at in profile.temperatures
    assert [config.generalist for config in section["larger student"]] == plan.larger_generalists(profile)
    for config in section["larger student"]:
        assert replace(config, generalist=net) == section["q"][0]


@every_profile
def test_plans_are_made_without_a_look_at_data_or_results(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_) -> None:
        raise AssertionError("A plan that depends on results could depend on the test set.")

    before = plan.plan(profile)
    monkeypatch.setattr(generalists, "load", refuse)
    for name in ("read", "tensors", "has"):
        monkeypatch.setattr(Store, name, refuse)
    assert plan.plan(profile) == before


def test_the_published_run_is_on_all_styles_and_on_the_whole_of_cifar() -> None:
    assert (PAPER.dataset, PAPER.beside.dataset) == ("fonts", "cifar-100")
    assert PAPER.generalist.data == Data("fonts", 1_463, 422_082, 52_578)
    assert PAPER.beside.generalist.data == Data("cifar-100", 100, 45_000, 10_000)
    assert min(PAPER.seeds, PAPER.control_seeds) >= 3
    assert (PAPER.number, PAPER.few_specialists) == (61, 10)
    for profile in (SMOKE, QUICK):  # on what this repository holds
        assert {config.assignment.generalist.data.name for config in combinations(profile)} == {"fonts (embedded)"}
    assert (PAPER.name, QUICK.name, SMOKE.name) == ("paper", "quick", "smoke")


def test_no_plan_is_in_the_making() -> None:
    assert plan.plan(NEXT) == plan.plan(PAPER)


def test_an_unknown_profile_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Unknown profile 'huge': choose one of smoke, quick, paper, next\."):
        plan.profile("huge")


def test_paper_is_never_on_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    assert plan.profile("paper") == PAPER
    with pytest.raises(DataError, match="fonts"):
        generalists.load.__wrapped__(plan.profile("paper").generalist.data)


@every_profile
def test_questions_of_the_notebooks(profile: Profile) -> None:
    assert plan.plan(profile) == {"04": section5(profile), "06": open_questions(profile)}
    asked, first = open_questions(profile), section5(profile)
    assert asked["specialists"] == first["specialists"]  # with which notebook 06 compares
    assert asked["trained on"] == first["trained on"] == trained_on(profile)
    assert asked["few specialists"] == rivals(profile)
    assert asked["generalist trained briefly"] == [plan.brief_generalist(profile)]
    assert asked.get("larger generalist", []) == plan.larger_generalists(profile)
    for name, configs in soft_specialists(profile).items():
        assert asked[f"softmax: {name}"] == configs
    for name, configs in (mixtures(profile) | distilled(profile)).items():
        assert asked.get(name, []) == configs
    assert set(asked) & set(first) == {"specialists", "trained on"}  # else a question's name would not tell its runs
    assert first["inference time"] == list(profile.inference)
    second = {name: configs for name, configs in first.items() if name.startswith("cifar-100: ")}
    wanted = specialists(profile.beside) if profile.beside else {}
    assert second == {f"cifar-100: {name}": configs for name, configs in wanted.items()}


@every_profile
def test_on_line_clusters_are_those_of_the_specialists_but_for_their_method(profile: Profile) -> None:
    online = section5(profile)["on-line clusters"]
    assert {config.method for config in online} == {"covariance on-line"}
    others = [config.assignment for config in section5(profile)["specialists"][: profile.control_seeds]]
    assert [replace(config, method="covariance") for config in online] == others


@every_profile
def test_records_lie_by_experiment_under_the_profiles_name(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    store, (first, *_) = Store.of(profile.name), section5(profile)["specialists"]
    (student, *_), (mixture, *_) = distilled(profile)["q"], mixtures(profile)["mixture, alike"]
    configs: dict[str, list[Configuration]] = {
        "generalists": [first.assignment.generalist],
        "specialists": [first, first.first, first.assignment],
        "open_questions": [student, student.targets, mixture],
        "inference_time": list(profile.inference),
    }
    for experiment, runs in configs.items():
        folders = {store.path(config).parent for config in runs}
        assert folders == {tmp_path / profile.name / "records" / experiment}
