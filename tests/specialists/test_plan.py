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
    divided,
    mixtures,
    open_questions,
    rivals,
    section5,
    soft_specialists,
)

every_profile = pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE], ids=lambda profile: profile.name)


def size(config: Generalist) -> int:
    """Parameters of a generalist's net."""
    is_cifar = config.data.name == "cifar-100"
    net = (residual_net if is_cifar else strided_net)(3 if is_cifar else 1, config.widths, config.data.classes)
    return sum(parameter.numel() for parameter in net.parameters())


def combinations(profile: Profile) -> list[Configuration]:
    """Those of all questions of notebook 04."""
    return [config for config in chain.from_iterable(section5(profile).values()) if hasattr(config, "first")]


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
    assert shared == [replace(first, index=index) for index in range(profile.few)]
    assert profile.few <= min(profile.number, 20)


@every_profile
def test_specialists_are_trained_like_their_generalist_and_by_its_seed(profile: Profile) -> None:
    for config in [*combinations(profile), *rivals(profile)]:
        net = config.assignment.generalist
        assert config.first.seed == config.assignment.seed == net.seed
        assert replace(config.first.optimisation, jitter=profile.specialist.jitter) == profile.specialist
        assert config.first.optimisation.jitter == net.optimisation.jitter
        assert config.assignment.size < net.data.classes
        assert (config.first.softmax, config.first.share, config.first.index) == ("dustbin", 1, 0)
    for name in ("specialists", "few specialists"):
        nets = [c.assignment.generalist for c in open_questions(profile)[name]]
        assert nets == [replace(profile.generalist, seed=seed) for seed in range(profile.seeds)]
    assert {(c.assignment.number, c.assignment.size) for c in section5(profile)["specialists"]} == {
        (profile.number, profile.size)
    }


@every_profile
def test_comparisons_vary_one_setting(profile: Profile) -> None:
    section, first = section5(profile), section5(profile)["specialists"][0]
    assert [c.assignment.method for c in section["methods"]] == list(profile.methods)
    assert set(profile.methods) < set(METHODS) - {first.assignment.method}
    for config in section["methods"]:
        assert replace(config.assignment, method="covariance") == first.assignment
    (stopped,), (half,) = ([c.assignment.generalist for c in section[name]] for name in ("early", "half"))
    assert stopped.optimisation.epochs < profile.generalist.optimisation.epochs
    assert replace(stopped, optimisation=profile.generalist.optimisation) == profile.generalist
    assert half.data.cases == pytest.approx(profile.generalist.data.cases / 2, abs=1)
    assert replace(half, data=profile.generalist.data) == profile.generalist
    for name, net in profile.regimes:
        assert section[name] == [plan.combination(profile, net)]
        assert net.seed == 0


@every_profile
def test_softmaxes_are_compared_on_the_same_pictures_and_for_as_long(profile: Profile) -> None:
    hard, soft = soft_specialists(profile)["dustbin"], soft_specialists(profile)["full"]
    assert [replace(config, softmax="dustbin") for config in soft] == hard
    assert {config.softmax for config in soft} == {"full"}
    assert [(c.share, c.index) for c in hard] == [(s, i) for s in profile.shares for i in range(profile.few)]
    data, batch = profile.generalist.data, profile.specialist.batch_size
    pictures = profile.size * data.cases / data.classes
    steps = [config.optimisation.epochs * max(1, 2 * round(config.share * pictures) // batch) for config in hard]
    assert steps == pytest.approx([profile.specialist.epochs * (2 * round(pictures) // batch)] * len(steps), rel=0.1)


@every_profile
def test_a_mixture_has_as_many_nets_as_its_rival(profile: Profile) -> None:
    number, classes = profile.rivals
    for name, configs in mixtures(profile).items():
        for config in configs:
            assert config.experts == number + 1
            assert config.experts * size(profile.generalist) == size(profile.generalist) * (1 + number)
            assert (config.data, config.widths) == (profile.generalist.data, profile.generalist.widths)
            assert (config.mirror, config.weight_decay) == (profile.generalist.mirror, profile.generalist.weight_decay)
            assert config.optimisation.jitter == profile.generalist.optimisation.jitter
            assert (config.start is not None) == (name == "mixture, continued")
            assert config.start in (None, replace(profile.generalist, seed=config.seed))
    assert [c.seed for c in mixtures(profile).get("mixture", [])] == list(range(profile.mixture_seeds))
    assert [c.seed for c in mixtures(profile)["mixture, continued"]] == list(range(profile.seeds))
    for config in rivals(profile):
        assert (config.assignment.number, config.assignment.size) == (number, classes)


@pytest.mark.parametrize("profile", [PAPER, NEXT], ids=lambda profile: profile.name)
def test_mixtures_and_rivals_see_as_many_pictures(profile: Profile) -> None:
    net = profile.generalist
    (number, classes), cases = profile.rivals, net.data.cases
    alone = cases * net.optimisation.epochs
    special = 2 * cases * classes / net.data.classes
    rival = alone + number * profile.specialist.epochs * special
    for name, configs in (mixtures(profile) | divided(profile)).items():
        config = configs[0]
        seen = config.optimisation.epochs * cases * config.experts + (alone if config.start else 0)
        assert seen == pytest.approx(rival, rel=0.1), name


@every_profile
def test_mixtures_of_clusters_differ_from_those_of_generalists_in_their_start_alone(profile: Profile) -> None:
    alike = mixtures(profile)["mixture, continued"]
    for config, other in zip(divided(profile)["mixture, divided"], alike, strict=True):
        assert replace(config, start=other.start) == other
        assert config.start.generalist == other.start
        assert (config.start.method, config.start.number) == ("covariance", config.experts)


def test_the_plan_in_the_making() -> None:
    asked = plan.plan(NEXT)
    assert asked["04"]["specialists"] == asked["06"]["specialists"]
    assert asked["04"]["early"][0].assignment.generalist == asked["06"]["generalist trained briefly"][0]
    (larger,) = asked["06"]["larger student"]
    assert replace(larger, generalist=NEXT.generalist) == asked["06"]["q"][0]
    assert larger.generalist in asked["04"]["ladder"]  # its control, on hard targets
    seen = sum(2 * 4 * NEXT.size * NEXT.generalist.data.cases / 1_463 for _ in range(NEXT.number))
    assert NEXT.longer.epochs * NEXT.generalist.data.cases == pytest.approx(seen, rel=0.01)
    assert [config.continued for config in asked["04"]["trained on"]] == [True] * NEXT.seeds


@every_profile
def test_students_differ_from_their_controls_in_their_targets_alone(profile: Profile) -> None:
    section, net = distilled(profile), profile.generalist
    nets = {c.first.seed: c for c in section5(profile)["specialists"]}
    for name, configs in section.items():
        for config in configs:
            assert config.generalist == nets[config.seed].assignment.generalist
            assert (config.held_out, config.continued) == (name == "held out", name == "continued")
            assert config.weight_decay == net.weight_decay
            if name == "continued":
                assert config.targets is None
            else:
                assert config.targets.combination == nets[config.seed]
                assert config.targets.n == (0 if name == "p" else profile.distilled_n)
    for name in ("q", "p"):
        assert [config.seed for config in section[name]] == list(range(profile.distilled_seeds))
        assert {config.optimisation for config in section[name]} == {net.optimisation}
        assert {config.temperature for config in section[name]} == {profile.distilled_at}
    assert profile.distilled_seeds <= profile.seeds
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
    (longer,) = section["continued"]
    assert replace(longer.optimisation, jitter=profile.longer.jitter) == profile.longer


@every_profile
def test_plans_are_made_without_a_look_at_data_or_results(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_) -> None:
        raise AssertionError("A plan that depends on results could depend on the test set.")

    before = plan.plan(profile)
    monkeypatch.setattr(generalists, "load", refuse)
    for name in ("read", "tensors", "has"):
        monkeypatch.setattr(Store, name, refuse)
    assert plan.plan(profile) == before


def test_the_published_run_is_on_the_whole_of_cifar() -> None:
    assert PAPER.dataset == "cifar-100"
    assert PAPER.generalist.data == Data("cifar-100", 100, 45_000, 10_000)
    assert min(PAPER.seeds, PAPER.distilled_seeds) >= 3
    assert PAPER.few >= 3
    for profile in (SMOKE, QUICK):  # on what this repository holds
        assert {config.assignment.generalist.data.name for config in combinations(profile)} == {"fonts (embedded)"}
    assert (PAPER.name, QUICK.name, SMOKE.name) == ("paper", "quick", "smoke")


def test_an_unknown_profile_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Unknown profile 'huge': choose one of smoke, quick, paper, next\."):
        plan.profile("huge")


def test_paper_is_never_on_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    assert plan.profile("paper") == PAPER
    with pytest.raises(DataError, match="cifar-100"):
        generalists.load.__wrapped__(plan.profile("paper").generalist.data)


@every_profile
def test_questions_of_the_notebooks(profile: Profile) -> None:
    assert plan.plan(profile) == {"04": section5(profile), "06": open_questions(profile)}
    asked, first = open_questions(profile), section5(profile)
    assert asked["specialists"] == first["specialists"]  # with which notebook 06 compares
    assert asked["few specialists"] == rivals(profile)
    assert asked["generalist trained briefly"] == [plan.brief_generalist(profile)]
    for name, configs in soft_specialists(profile).items():
        assert asked[f"softmax: {name}"] == configs
    for name, configs in (mixtures(profile) | distilled(profile)).items():
        assert asked[name] == configs
    assert set(asked) & set(first) == {"specialists"}  # else a question's name would not tell its runs
    assert first["inference time"] == list(profile.inference)


@every_profile
def test_on_line_clusters_are_those_of_the_specialists_but_for_their_method(profile: Profile) -> None:
    online = section5(profile)["on-line clusters"]
    assert {config.method for config in online} == {"covariance on-line"}
    others = [config.assignment for config in section5(profile)["specialists"]]
    assert [replace(config, method="covariance") for config in online] == others


@every_profile
def test_records_lie_by_experiment_under_the_profiles_name(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    store, (first, *_) = Store.of(profile.name), section5(profile)["specialists"]
    (student, *_), (mixture, *_) = distilled(profile)["q"], mixtures(profile)["mixture, continued"]
    configs: dict[str, list[Configuration]] = {
        "generalists": [first.assignment.generalist],
        "specialists": [first, first.first, first.assignment],
        "open_questions": [student, student.targets, mixture],
        "inference_time": list(profile.inference),
    }
    for experiment, runs in configs.items():
        folders = {store.path(config).parent for config in runs}
        assert folders == {tmp_path / profile.name / "records" / experiment}
