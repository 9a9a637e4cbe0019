"""Which runs sections 5 to 8 need, and what is measured on them, from made-up records whose results are known."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distillation.core import paper
from distillation.core.claims import COLUMNS
from distillation.core.data import DataError
from distillation.core.models import residual_net
from distillation.core.statistics import bootstrap, changed, estimate
from distillation.core.store import Store, StoreError
from distillation.specialists import claims as specialist_headline
from distillation.specialists import generalists, inference_time, open_questions
from distillation.specialists import nets as specialists
from distillation.specialists import plan as specialist_plans
from distillation.specialists.claims import SpecialistRuns, against_mixture, gain_kept, over_fitting, slope
from distillation.specialists.generalists import Data
from distillation.specialists.nets import Combination, Specialist
from distillation.specialists.open_questions import Distilled
from distillation.specialists.plan import (
    PAPER,
    QUICK,
    SMOKE,
    SpecialistProfile,
    distilled,
    mixtures,
    rivals,
    section5,
    soft_specialists,
    specialist_profile,
)

every_profile = pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE], ids=lambda profile: profile.name)


def size(config) -> int:
    """Parameters of a generalist's net."""
    channels, classes = 3 if config.data.name == "cifar-100" else 1, config.data.classes
    return sum(parameter.numel() for parameter in residual_net(channels, config.widths, classes).parameters())


# Plans


@every_profile
def test_each_question_asks_for_each_run_once(profile: SpecialistProfile) -> None:
    questions = section5(profile) | soft_specialists(profile) | mixtures(profile) | distilled(profile)
    questions |= {"rivals": rivals(profile)}
    for name, configs in questions.items():
        assert configs, name
        assert len(set(configs)) == len(configs), name
    combinations = list(chain.from_iterable(section5(profile).values())) + rivals(profile)
    assert len(set(combinations)) == len(combinations)
    hard, soft = soft_specialists(profile).values()
    assert not set(hard) & set(soft)
    rest = list(chain.from_iterable((mixtures(profile) | distilled(profile)).values()))
    assert len(rest) == len(set(rest))


@every_profile
def test_no_run_is_made_twice_under_two_names(profile: SpecialistProfile, tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    named = section5(profile) | soft_specialists(profile) | mixtures(profile) | distilled(profile)
    configs = set(chain.from_iterable(named.values())) | set(rivals(profile))
    nets = {c.assignment.generalist for c in configs if isinstance(c, Combination)}
    assert len({store.key(config) for config in configs | nets}) == len(configs | nets)
    # The whole data's specialists with a dustbin are members of the first combination.
    first = section5(profile)["specialists"][0].first
    shared = [config for config in soft_specialists(profile)["dustbin"] if config.share == 1]
    assert shared == [replace(first, index=index) for index in range(profile.few)]
    assert profile.few <= min(profile.number, 20)


@every_profile
def test_specialists_are_trained_like_their_generalist_and_by_its_seed(profile: SpecialistProfile) -> None:
    section = section5(profile)
    for config in chain.from_iterable([*section.values(), rivals(profile)]):
        net = config.assignment.generalist
        assert config.first.seed == config.assignment.seed == net.seed
        times = net.optimisation.epochs if config in section["glyphs"] else 1
        expected = replace(profile.specialist, epochs=times * profile.specialist.epochs)
        assert replace(config.first.optimisation, jitter=profile.specialist.jitter) == expected
        assert config.first.optimisation.jitter == net.optimisation.jitter
        assert config.assignment.size < net.data.classes
        assert (config.first.softmax, config.first.share, config.first.index) == ("dustbin", 1, 0)
    for name in ("specialists", "rivals"):
        nets = [c.assignment.generalist for c in SpecialistRuns(profile).combinations(name)]
        assert nets == [replace(profile.generalist, seed=seed) for seed in range(profile.seeds)]
    assert {(c.assignment.number, c.assignment.size) for c in section["specialists"]} == {
        (profile.number, profile.size)
    }


@every_profile
def test_comparisons_vary_one_setting(profile: SpecialistProfile) -> None:
    section, first = section5(profile), section5(profile)["specialists"][0]
    assert [c.assignment.method for c in section["methods"]] == list(profile.methods)
    assert set(profile.methods) < set(specialists.METHODS) - {first.assignment.method}
    for config in section["methods"]:
        assert replace(config.assignment, method="covariance") == first.assignment
    stopped = [config.assignment.generalist for config in section["early"]]
    wanted = [(epochs, seed) for epochs in profile.early for seed in range(profile.early_seeds)]
    assert [(net.optimisation.epochs, net.seed) for net in stopped] == wanted
    for net in stopped:
        assert net.optimisation.epochs < profile.generalist.optimisation.epochs
        assert replace(net, optimisation=profile.generalist.optimisation, seed=0) == profile.generalist
    (half,) = (config.assignment.generalist for config in section["half"])
    assert half.data.cases == pytest.approx(profile.generalist.data.cases / 2)
    assert replace(half, data=profile.generalist.data) == profile.generalist
    seen = {c.assignment.generalist.data.cases * c.assignment.generalist.optimisation.epochs for c in section["glyphs"]}
    assert len(seen) == 1  # as many pictures, fewer of them different
    assert min(c.assignment.generalist.optimisation.epochs for c in section["glyphs"]) == 1
    for config in section["glyphs"]:
        net = config.assignment.generalist
        assert (net.data.name, net.mirror, config.assignment.size) == ("glyphs", False, profile.glyph_size)


@every_profile
def test_softmaxes_are_compared_on_the_same_pictures_and_for_as_long(profile: SpecialistProfile) -> None:
    hard, soft = soft_specialists(profile)["dustbin"], soft_specialists(profile)["full"]
    assert [replace(config, softmax="dustbin") for config in soft] == hard
    assert {config.softmax for config in soft} == {"full"}
    assert [(c.share, c.index) for c in hard] == [(s, i) for s in profile.shares for i in range(profile.few)]
    data, batch = profile.generalist.data, profile.specialist.batch_size
    pictures = profile.size * data.cases / data.classes
    steps = [config.optimisation.epochs * max(1, 2 * round(config.share * pictures) // batch) for config in hard]
    assert steps == pytest.approx([profile.specialist.epochs * (2 * round(pictures) // batch)] * len(steps), rel=0.1)


@every_profile
def test_a_mixture_has_as_many_nets_as_its_rival(profile: SpecialistProfile) -> None:
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


def test_mixtures_and_rivals_see_as_many_pictures() -> None:
    net = PAPER.generalist
    (number, classes), cases = PAPER.rivals, net.data.cases
    alone = cases * net.optimisation.epochs
    special = 2 * cases * classes / net.data.classes
    rival = alone + number * PAPER.specialist.epochs * special
    for name, configs in mixtures(PAPER).items():
        config = configs[0]
        seen = config.optimisation.epochs * cases * config.experts + (alone if config.start else 0)
        assert seen == pytest.approx(rival, rel=0.1), name


@every_profile
def test_students_differ_from_their_controls_in_their_targets_alone(profile: SpecialistProfile) -> None:
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
    control = specialist_plans.brief_generalist(profile)
    assert replace(control, optimisation=net.optimisation) == net
    assert {config.optimisation for config in trials} == {control.optimisation}
    assert control in {config.assignment.generalist for config in section5(profile)["early"]}
    assert [c.temperature for c in section["temperature"]] == list(profile.temperatures)
    assert profile.distilled_at in profile.temperatures
    (longer,) = section["continued"]
    assert replace(longer.optimisation, jitter=profile.longer.jitter) == profile.longer


@every_profile
def test_plans_are_made_without_a_look_at_data_or_results(
    profile: SpecialistProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan() -> tuple:
        return section5(profile), soft_specialists(profile), mixtures(profile), rivals(profile), distilled(profile)

    def refuse(*_) -> None:
        raise AssertionError("A plan that depends on results could depend on the test set.")

    before = plan()
    monkeypatch.setattr(generalists, "load", refuse)
    for name in ("read", "tensors", "has"):
        monkeypatch.setattr(Store, name, refuse)
    assert plan() == before


def test_the_published_run_is_on_the_whole_of_cifar() -> None:
    assert PAPER.dataset == "cifar-100"
    assert PAPER.generalist.data == Data("cifar-100", 100, 45_000, 10_000)
    assert min(PAPER.seeds, PAPER.distilled_seeds) >= 3
    assert PAPER.few >= 3
    assert SMOKE.dataset == "glyphs"
    assert {config.assignment.generalist.data.name for configs in section5(SMOKE).values() for config in configs} == {
        "glyphs"
    }
    assert (PAPER.name, QUICK.name, SMOKE.name) == ("paper", "quick", "smoke")


def test_an_unknown_profile_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Unknown profile 'huge': choose one of smoke, quick, paper\."):
        specialist_profile("huge")


def test_quick_falls_back_to_glyphs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    found = specialist_profile("quick")
    assert "glyphs stand in" in capsys.readouterr().out
    assert found.dataset == "glyphs"
    assert found == replace(QUICK, generalist=found.generalist, half=found.half)
    for net, usual in ((found.generalist, QUICK.generalist), (found.half, QUICK.half)):
        assert net == replace(usual, data=replace(usual.data, name="glyphs"), mirror=False)
    test_each_question_asks_for_each_run_once(found)
    test_comparisons_vary_one_setting(found)
    configs = chain.from_iterable((section5(found) | {"rivals": rivals(found)}).values())
    assert {config.assignment.generalist.data.name for config in configs} == {"glyphs"}
    assert {config.data.name for configs in mixtures(found).values() for config in configs} == {"glyphs"}
    assert list(tmp_path.iterdir()) == []


def test_quick_is_on_cifar_where_it_is_and_paper_never_on_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(specialist_plans.cifar100, "find", lambda: "cifar-100")
    assert specialist_profile("quick") == QUICK
    monkeypatch.setattr(specialist_plans.cifar100, "find", lambda: "glyphs")
    assert (specialist_profile("paper"), specialist_profile("smoke")) == (PAPER, SMOKE)
    assert capsys.readouterr().out == ""
    monkeypatch.undo()
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cifar-100"):
        generalists.load.__wrapped__(specialist_profile("paper").generalist.data)


@every_profile
def test_records_live_beside_each_other_under_the_profiles_name(
    profile: SpecialistProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    folder = tmp_path / profile.name / "records"
    modules = (generalists, specialists, open_questions, inference_time)
    names = ("generalists", "specialists", "open_questions", "inference_time")
    for name, module in zip(names, modules, strict=True):
        assert profile.store(name) == Store(folder / name, module.RECIPE)
    for name in names:  # wherever a run looks for what it starts from
        assert specialists.generalist_store(profile.store(name)) == profile.store("generalists")
        assert specialists.specialist_store(profile.store(name)) == profile.store("specialists")
    with pytest.raises(KeyError):
        profile.store("mnist")


# Measurements


PROFILE = replace(SMOKE, name="made up", seeds=3, distilled_seeds=3, early_seeds=3, number=3, mixture_seeds=1)
N_OF_CASES = 1000


def rows(number: int, *, before: int = 400, fixed: int = 0, broken: int = 0) -> dict:
    """Cases that so many specialists cover."""
    cases = N_OF_CASES // 2
    return {"specialists": number, "cases": cases, "before": before, "fixed": fixed, "broken": broken}


def outcome(covered: list[dict], conditional: float = 50.0) -> dict:
    """A combination's metrics: n = 1 by "kl" is as said; all others differ from it."""
    cases, before = (sum(row[key] for row in covered) for key in ("cases", "before"))
    combined = []
    for n in (1, 2, 3):
        for by in specialists.COMBINED_BY:
            extra = 10 * n + len(by) - 12  # 0 for n = 1, "kl"
            some = [row | {"fixed": row["fixed"] + extra} for row in covered]
            change = sum(row["fixed"] - row["broken"] for row in some)
            accuracy = 100 * (before + change) / cases
            combined.append({"n": n, "by": by, "active": float(n), "accuracy": accuracy, "covered": some})
            combined[-1]["conditional"] = conditional + 1 + extra
    alone = {"accuracy": 100 * before / cases, "conditional": conditional, "coverage": [0, 2, 1, 0]}
    return {part: alone | {"combined": combined} for part in ("held_out", "test")}


@dataclass
class MadeUp:
    """A profile whose records are written by hand: metrics and seconds of some runs; the others have the default."""

    said: dict[object, dict] = field(default_factory=dict)
    seconds: dict[object, float] = field(default_factory=dict)
    history: dict[object, list[dict]] = field(default_factory=dict)
    profile: SpecialistProfile = PROFILE

    @property
    def runs(self) -> SpecialistRuns:
        return SpecialistRuns(self.profile)

    def say(self, configs: list, metrics: Callable[[object, int], dict]) -> None:
        for number, config in enumerate(configs):
            self.said[config] = self.said.get(config, {}) | metrics(config, number)

    def write(self) -> SpecialistRuns:
        plan, combos = self.profile, [*chain.from_iterable(section5(self.profile).values()), *rivals(self.profile)]
        written = {}
        net = {"accuracy": 80.0, "fit_accuracy": 90.0, "held_out_accuracy": 79.0, "parameters": 100}
        for config in combos:
            written["generalists", config.assignment.generalist] = net | {"pictures_seen": 1000}
            number = config.assignment.number
            subsets = {"subsets": [[0, 1, 2]] * number, "rand_index": 0.5, "class_names": ["a", "b"]}
            written["specialists", config.assignment] = subsets
            written["specialists", config] = outcome([rows(0), rows(1, fixed=20, broken=10)])
            for index in range(number):
                written["specialists", replace(config.first, index=index)] = member()
        for config in chain.from_iterable(soft_specialists(plan).values()):
            written["specialists", config] = member()
        for config in chain.from_iterable((mixtures(plan) | distilled(plan)).values()):
            written["open_questions", config] = {"accuracy": 80.0, "parameters": 310, "expert_passes": 900}
        for (experiment, config), metrics in written.items():
            record = {"metrics": metrics | self.said.get(config, {}), "history": self.history.get(config, [])}
            seconds = self.seconds.get(config, 1.0)
            self.profile.store(experiment).write(config, record | {"seconds": seconds})
        return self.runs


def member() -> dict:
    knows = {"special_accuracy": 70.0, "special_recall": 60.0, "rest_accuracy": None, "claimed": 5.0}
    dustbin = {"share": 0.9, "raw": 0.5, "corrected": 0.88, "reliability": []}
    return {"special_cases": 10, "pictures_seen": 20, "specialist": knows, "generalist": knows, "dustbin": dustbin}


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    return MadeUp()


def interval(found) -> tuple[float, float, float]:
    return found.mean, found.low, found.high


def test_table3_by_hand(made_up: MadeUp) -> None:
    configs = section5(PROFILE)["specialists"]
    made_up.say(configs, lambda c, n: outcome([rows(0), rows(2, fixed=30 + n, broken=10)], conditional=60.0))
    runs = made_up.write()
    table = runs.table3()
    assert len(table) == 3 * 9
    found = runs.headline()
    assert found["seed"].tolist() == [0, 1, 2]
    assert set(found["method"]) == {"covariance"}
    assert found["alone"].tolist() == [80, 80, 80]
    assert found["accuracy"].tolist() == pytest.approx([82, 82.1, 82.2])
    assert found["gain"].tolist() == pytest.approx([2, 2.1, 2.2])
    assert found["relative gain"].tolist() == pytest.approx([2.5, 2.625, 2.75])
    assert found["relative gain, conditional"].tolist() == pytest.approx([100 / 60] * 3)
    assert found[["cases", "fixed", "broken"]].to_numpy().tolist() == [[1000, 30 + n, 10] for n in range(3)]
    two = runs.headline(n=2, by="own answer")
    assert set(two["n"]) == {2}
    assert set(two["by"]) == {"own answer"}
    assert two["gain"].tolist() == pytest.approx([2 + 3.6 + n / 10 for n in range(3)])
    assert len(runs.table3("methods")) == 9 * len(PROFILE.methods)


def test_table4_pools_the_best_covered_and_keeps_the_seeds_apart(made_up: MadeUp) -> None:
    def covered(config: Combination, number: int) -> dict:
        some = [rows(0), rows(1, fixed=9, broken=5), rows(10, before=200, fixed=10), rows(11, before=100, fixed=2)]
        return outcome([*some, rows(13, before=100, fixed=6 * number, broken=3)])

    made_up.say(section5(PROFILE)["specialists"], covered)
    found = made_up.write().table4()
    assert len(found) == 9
    for seed in range(3):
        each = found[found["seed"] == seed]
        assert each["specialists"].tolist() == [0, 1, 10]
        assert each["cases"].tolist() == [500, 500, 1500]
        assert each["change"].tolist() == [0, 4, 9 + 6 * seed]
        assert each["relative"].tolist() == pytest.approx([0, 1, 100 * (9 + 6 * seed) / 400])
    wanted = [np.polyfit([0, 1, 10], [0, 1, (9 + 6 * seed) / 4], 1)[0] for seed in range(3)]
    assert interval(slope(found)) == pytest.approx(interval(estimate(wanted)))
    assert made_up.runs.table4(n=2)["fixed"].gt(found["fixed"]).all()


def test_slope_of_a_line_is_the_lines_whatever_the_numbers_of_cases() -> None:
    table = pd.DataFrame(
        [
            {"seed": seed, "specialists": k, "relative": 3 + (2 + seed) * k, "cases": 10**k, "before": 10**k}
            for seed in (0, 1)
            for k in range(5)
        ]
    )
    found = slope(table)
    assert found.values == pytest.approx((2, 3))
    assert found.mean == pytest.approx(2.5)


def test_slope_of_the_papers_table() -> None:
    assert specialist_headline.paper_slope() == pytest.approx(paper.SPECIALISTS_SLOPE, abs=0.05)


def test_methods_by_hand(made_up: MadeUp) -> None:
    configs = section5(PROFILE)["methods"]
    made_up.say([configs[0].assignment], lambda c, n: {"subsets": [[0, 1]] * 21, "rand_index": 1.0})
    made_up.say([configs[0]], lambda c, n: outcome([rows(0, fixed=40, broken=20), rows(1)]))
    found = made_up.write().methods()
    assert found["method"].tolist() == ["covariance", *PROFILE.methods]
    assert found["specialists"].tolist()[:3] == [3, 21, 3]
    assert found["rand index"].tolist()[:2] == [0.5, 1.0]
    assert set(found["covered"]) == {2}
    assert found["gain"][1][1] == changed(40, 20, 1000)
    assert [gain.mean for gain in found["gain"][1].values()] == pytest.approx([2, 4, 6])


def test_regimes_by_hand(made_up: MadeUp) -> None:
    section = section5(PROFILE)
    (half,) = section["half"]
    made_up.say([half], lambda c, n: outcome([rows(0, before=200, fixed=40, broken=10), rows(1, before=200)]))
    net = {"accuracy": 40.0, "fit_accuracy": 99.0, "pictures_seen": 700}
    made_up.say([half.assignment.generalist], lambda c, n: net)
    made_up.say([half.first], lambda c, n: member() | {"pictures_seen": 900})
    nets = [config.assignment.generalist for config in section["early"]]
    made_up.say(nets, lambda c, n: {"accuracy": 50.0 + 10 * n, "fit_accuracy": 60.0 + 10 * n})
    made_up.say(section["early"], lambda c, n: outcome([rows(0, fixed=10 * (n + 1)), rows(1)]))
    found = made_up.write().regimes().set_index("regime")
    assert found.index.tolist() == ["specialists", "early", "half", *["glyphs"] * len(PROFILE.glyphs)]
    row = found.loc["half"]
    assert (row["seeds"], row["fit"], row["alone"], row["pictures"]) == (1, 99, 40, PROFILE.half.data.cases)
    others = member()["pictures_seen"]
    assert (row["pictures_seen"], row["specialist_pictures"]) == (700, pytest.approx((900 + 2 * others) / 3))
    gain = changed(40, 10, 1000)
    assert (row["mean"], row["low"], row["high"]) == interval(gain)
    assert row["relative"] == pytest.approx(7.5)
    assert (row["relative_low"], row["relative_high"]) == pytest.approx((2.5 * gain.low, 2.5 * gain.high))
    row = found.loc["early"]  # three seeds: the interval is over these
    assert (row["seeds"], row["seen"], row["fit"], row["alone"]) == (3, PROFILE.early[0], 70, 60)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(interval(estimate([1, 2, 3])))
    wanted = interval(estimate([100 * 1 / 50, 100 * 2 / 60, 100 * 3 / 70]))
    assert (row["relative"], row["relative_low"], row["relative_high"]) == pytest.approx(wanted)
    assert found.loc["specialists", ["mean", "seeds"]].tolist() == pytest.approx([1, 3])
    assert found.loc["glyphs", "seen"].tolist() == [net.optimisation.epochs for net in PROFILE.glyphs]
    assert made_up.runs.regimes(n=2).set_index("regime").loc["specialists", "mean"] == pytest.approx(3)


def test_calibration_has_a_row_per_specialist(made_up: MadeUp) -> None:
    configs = section5(PROFILE)["specialists"]
    made_up.say([replace(configs[1].first, index=2)], lambda c, n: {"dustbin": member()["dustbin"] | {"raw": 0.4}})
    found = made_up.write().calibration()
    assert found[["seed", "index"]].to_numpy().tolist() == [[seed, index] for seed in range(3) for index in range(3)]
    assert found["raw"].tolist() == [0.5] * 5 + [0.4] + [0.5] * 3


def knowing(accuracy: Callable[[Specialist], float]) -> Callable[[Specialist, int], dict]:
    return lambda config, number: {"specialist": member()["specialist"] | {"special_accuracy": accuracy(config)}}


def test_over_fitting_is_paired_by_specialist_on_the_smallest_share(made_up: MadeUp) -> None:
    plan = soft_specialists(PROFILE)
    made_up.say(plan["dustbin"], knowing(lambda config: 60 + 7 * config.index + config.share))
    made_up.say(plan["full"], knowing(lambda config: 63 + 8 * config.index + 11 * config.share))
    runs = made_up.write()
    wanted = estimate([3 + index + 10 * 0.2 for index in range(PROFILE.few)])
    assert interval(over_fitting(runs)) == pytest.approx(interval(wanted))
    assert specialist_headline.soft_advantage(runs, 1.0).mean == pytest.approx(13 + (PROFILE.few - 1) / 2)
    assert specialist_headline.soft_advantage(runs, 1.0, "claimed").mean == 0
    assert "generalist special_accuracy" in runs.soft_specialists()


def test_curves_are_over_the_progress(made_up: MadeUp) -> None:
    config = soft_specialists(PROFILE)["full"][-1]
    looked = {"special_cross_entropy": 2.0, "special_accuracy": 30.0}
    made_up.history[config] = [{"loss": 1.0}, {"loss": 1.0} | looked, {"loss": 1.0}, {"loss": 1.0} | looked]
    found = made_up.write().curves()
    assert found["progress"].tolist() == [0.5, 1.0]
    assert set(found["softmax"]) == {"full"}
    assert found[["share", "index", "cross_entropy", "accuracy"]].to_numpy().tolist() == [[0.2, 1, 2, 30]] * 2


def test_systems_of_section_7_by_hand(made_up: MadeUp) -> None:
    few, nets = rivals(PROFILE), [config.assignment.generalist for config in rivals(PROFILE)]
    for seed, net in enumerate(nets):
        made_up.seconds[net] = 100.0 + seed
        for index in range(2):
            made_up.seconds[replace(few[seed].first, index=index)] = 10.0 * (index + 1)
    for config in mixtures(PROFILE)["mixture, continued"]:
        made_up.seconds[config] = 7.0
    table = made_up.write().mixtures()
    assert len(table) == 1 + 3 + 3 * 3
    found = table[table["seed"] == 0].set_index("system")
    assert found.loc["few specialists", ["parameters", "passes", "serial", "parallel"]].tolist() == [
        300,
        1040,
        130,
        120,
    ]
    assert found.loc["specialists", ["parameters", "passes", "serial", "parallel"]].tolist() == [400, 1060, 103, 101]
    assert found.loc["mixture", ["parameters", "passes", "serial", "parallel"]].tolist() == [310, 900, 1, 1]
    continued = found.loc["mixture, continued", ["parameters", "passes", "serial", "parallel"]].tolist()
    assert continued == [310, 1900, 107, 107]  # the generalist's training counts
    assert found.loc["generalist", ["parameters", "passes", "serial", "parallel"]].tolist() == [100, 1000, 100, 100]
    assert found.loc["few specialists", "accuracy"] == pytest.approx(81)


def test_against_mixture_is_paired_by_seed(made_up: MadeUp) -> None:
    made_up.say(rivals(PROFILE), lambda c, n: outcome([rows(0), rows(1, fixed=30 * n)]))
    made_up.say(mixtures(PROFILE)["mixture, continued"], lambda c, n: {"accuracy": 79.0 + 2 * n})
    made_up.say(mixtures(PROFILE)["mixture"], lambda c, n: {"accuracy": 70.0})
    made_up.say(section5(PROFILE)["specialists"], lambda c, n: outcome([rows(0), rows(1, fixed=99)]))
    runs = made_up.write()
    assert interval(against_mixture(runs)) == pytest.approx(interval(estimate([1, 2, 3])))
    alone = against_mixture(runs, "mixture")  # of one seed
    assert (alone.values, math.isnan(alone.low)) == (pytest.approx((10,)), True)


def test_gain_kept_is_paired_by_seed(made_up: MadeUp) -> None:
    # The combination's accuracy at n = 3 is 4 points above what is said of n = 1.
    made_up.say(section5(PROFILE)["specialists"], lambda c, n: outcome([rows(0), rows(1, fixed=20 * (n + 1))]))
    plan = distilled(PROFILE)
    made_up.say(plan["temperature"], lambda c, n: {"accuracy": 50.0 + c.temperature})
    made_up.say(plan["q"], lambda c, n: {"accuracy": 82.0 + n, "held_out_accuracy": 70.0 + n})
    made_up.say(plan["p"], lambda c, n: {"accuracy": 81.0 + n / 2})
    made_up.say([specialist_plans.brief_generalist(PROFILE)], lambda c, n: {"accuracy": 40.0})
    runs = made_up.write()
    table = runs.distilled()
    students = table[table["name"] == "q"]
    assert students["combined"].tolist() == pytest.approx([86, 88, 90])
    assert students["held_out"].tolist() == [70, 71, 72]
    assert set(table["generalist"]) == {80.0}
    assert interval(gain_kept(runs)) == pytest.approx(interval(estimate([100 / 8, 150 / 8, 200 / 8])))
    assert gain_kept(runs, "generalist").values == pytest.approx((200 / 8, 300 / 8, 400 / 8))
    trials = table[table["name"] == "temperature"].set_index("temperature")["accuracy"]
    assert trials.to_dict() == {value: 50 + value for value in PROFILE.temperatures}
    assert runs.brief_control()["accuracy"] == 40


def test_table_has_a_row_per_claim(made_up: MadeUp) -> None:
    gains = {True: 30, False: 17}

    def covered(config: Combination, number: int) -> dict:
        return outcome([rows(0), rows(1, fixed=gains[number == 0], broken=0)], conditional=60.0)

    made_up.say(section5(PROFILE)["specialists"], covered)
    made_up.say(distilled(PROFILE)["q"], lambda c, n: {"accuracy": 81.0 + n / 10})
    runs = made_up.write()
    found = specialist_headline.table(PROFILE)
    assert list(found) == list(COLUMNS)
    assert set(found["dataset"]) == {"glyphs"}
    specialist_claims = {name for name in paper.CLAIMS if name.startswith("specialists.")}
    assert set(found["id"]) == specialist_claims | {"open.soft_specialists", "open.moe", "open.distil_back"}
    assert not found["id"].duplicated().any()
    by_id = found.set_index("id")
    assert by_id.loc["specialists.baseline.accuracy", ["ours", "paper"]].tolist() == [80, 25]
    assert by_id.loc["specialists.combined.accuracy", "ours"] == pytest.approx(80 + (3 + 1.7 + 1.7) / 3)
    assert by_id.loc["specialists.baseline.conditional", "ours"] == 60
    assert by_id.loc["specialists.combined.conditional", "ours"] == pytest.approx(61)
    gain = estimate([100 * 3 / 80, 100 * 1.7 / 80, 100 * 1.7 / 80])
    assert by_id.loc["specialists.relative_gain", ["ours", "low", "high"]].tolist() == pytest.approx(interval(gain))
    assert by_id.loc["specialists.more_is_better", "ours"] == slope(runs.table4()).mean
    assert by_id.loc["open.distil_back", "ours"] == gain_kept(runs).mean
    assert by_id.loc["open.moe", "ours"] == against_mixture(runs).mean
    assert by_id.loc["open.soft_specialists", "ours"] == over_fitting(runs).mean
    for notebook, start in {"04": "specialists.", "06": "open."}.items():
        part = specialist_headline.table(PROFILE, notebook)
        expected = found[found["id"].str.startswith(start)].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected, check_dtype=False)
        assert set(part["notebook"].str[:2]) == {notebook}
    assert runs.class_names() == ["a", "b"]
    assert runs.generalists()["seed"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("fixed", "verdict"), [(30, "reproduced"), (8, "partly"), (-8, "not reproduced")])
def test_verdict_on_the_relative_gain(fixed: int, verdict: str, made_up: MadeUp) -> None:
    def covered(config: Combination, number: int) -> dict:
        return outcome([rows(0), rows(1, fixed=max(fixed, 0), broken=max(-fixed, 0))])

    made_up.say(section5(PROFILE)["specialists"], covered)
    made_up.write()
    found = specialist_headline.table(PROFILE, "04").set_index("id")
    assert found.loc["specialists.relative_gain", "verdict"] == verdict
    steeper = "reproduced" if fixed > 0 else "not reproduced"
    assert found.loc["specialists.more_is_better", "verdict"] == steeper


@pytest.mark.parametrize(("kept", "verdict"), [(4.0, "reproduced"), (1.0, "partly"), (-0.5, "not reproduced")])
def test_verdict_on_the_gain_kept(kept: float, verdict: str, made_up: MadeUp) -> None:
    # Specialists gain 5 points at n = 3.
    made_up.say(distilled(PROFILE)["q"], lambda c, n: {"accuracy": 80.0 + kept})
    made_up.write()
    found = specialist_headline.table(PROFILE, "06").set_index("id")
    assert found.loc["open.distil_back", "verdict"] == verdict


def test_missing_records_name_the_command_that_makes_them(made_up: MadeUp) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        specialist_headline.table(PROFILE)
    assert isinstance(distilled(PROFILE)["q"][0], Distilled)


# The interval of a change


@pytest.mark.parametrize(("fixed", "broken", "cases"), [(60, 30, 1000), (5, 40, 300), (100, 0, 400), (20, 20, 200)])
def test_interval_of_a_change_is_the_bootstraps(fixed: int, broken: int, cases: int) -> None:
    differences = np.repeat([1, -1, 0], [fixed, broken, cases - fixed - broken])
    found = changed(fixed, broken, cases)
    assert found.mean == pytest.approx(100 * differences.mean())
    low, high = bootstrap(["all"] * cases, lambda chosen, random: 100 * differences[chosen].mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_change_of_nothing_or_of_everything_has_no_width() -> None:
    assert interval(changed(0, 0, 50)) == (0, 0, 0)
    assert interval(changed(50, 0, 50)) == (100, 100, 100)
    assert interval(changed(3, 8, 50)) == pytest.approx(
        [-x for x in (changed(8, 3, 50).mean, changed(8, 3, 50).high, changed(8, 3, 50).low)]
    )
