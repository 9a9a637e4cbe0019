"""Which runs sections 4 and 6 need: fair comparisons, from one alignment, planned without a look at the data."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from distillation.core.data import DataError
from distillation.core.store import Configuration, Store
from distillation.core.sweep import Questions, with_all_they_start_from
from distillation.speech import alignment, nets, profiles
from distillation.speech.alignment import Alignment
from distillation.speech.nets import AcousticModel, Config, Constant, Ensemble, Stretched, Student, Transfer
from distillation.speech.plan import of_second, on_words, plan, section1, section4, section6
from distillation.speech.profiles import AN4, NEXT, PAPER, QUICK, SMOKE, Profile, student
from distillation.speech.profiles import profile as profile_of
from distillation.speech.recogniser.corpus import corpus
from distillation.speech.results import SpeechResults

every_profile = pytest.mark.parametrize(
    "profile", [PAPER, NEXT, AN4, QUICK, SMOKE], ids=lambda profile: f"{profile.name} {profile.dataset}"
)


def runs(profile: Profile) -> list[Configuration]:
    """All runs of both sections, with those that several questions share as often as they are asked for."""
    return list(chain.from_iterable(questions(profile).values()))


def questions(profile: Profile) -> Questions:
    """Of both sections, on the profile's own corpus."""
    further = {} if profile.beside else on_words(profile)
    return section4(profile) | further | section6(profile)


def configs(profile: Profile) -> list[Config]:
    """Those with nets."""
    return [config for config in runs(profile) if not isinstance(config, Alignment)]


def trained(config: Config) -> bool:
    return isinstance(config, AcousticModel | Student)


def steps(config: AcousticModel | Student, frames: int = 480_000) -> float:
    """Of a training part with so many frames."""
    if isinstance(getattr(config, "teacher", None), Transfer):
        frames = frames * sum(1 / speed for speed in (1.0, *config.teacher.speeds))
    return config.optimisation.epochs * config.share * frames / config.optimisation.batch_size


@every_profile
def test_questions_are_asked_once_and_have_runs(profile: Profile) -> None:
    asked = plan(profile)
    own = {"03": section4(profile) | section1(profile), "05": section6(profile)}
    if profile.beside:
        second = of_second(profile.beside)
        named = {notebook: {f"an4: {name}": runs for name, runs in second[notebook].items()} for notebook in second}
        if profile.name == "paper":  # until section 4 is whole on the larger corpus
            own["03"] = section1(profile)
        assert asked == {notebook: own[notebook] | named[notebook] for notebook in own}
        assert SpeechResults(profile, asked).beside.plan == second
    else:
        assert asked == {"03": own["03"] | on_words(profile), "05": own["05"]}
        assert SpeechResults(profile, asked).beside is None
    assert len(questions(profile) | section1(profile)) == len(questions(profile)) + len(section1(profile))
    for name, runs in (questions(profile) | section1(profile)).items():
        assert len(set(runs)) == len(runs), name
        assert runs, name


@every_profile
def test_no_run_is_made_twice_under_two_names(profile: Profile, tmp_path: Path) -> None:
    distinct, store = set(runs(profile)), Store(tmp_path)
    assert len({store.name(config) for config in distinct}) == len(distinct)

    # What a run gives does not depend on the number of threads.
    assert len({replace(config, threads=1) for config in distinct}) == len(distinct)
    # A share of one is all utterances, whatever the draw; there is one draw of them.
    assert all(config.subset == 0 for config in distinct if trained(config) and config.share == 1)


@every_profile
def test_teachers_and_members_are_runs_that_are_shown_too(profile: Profile, tmp_path: Path) -> None:
    shown = set(runs(profile))
    needed = with_all_they_start_from(shown, Store(tmp_path))
    assert {config for config in needed if not isinstance(config, Transfer)} == shown
    assert {t.ensemble for t in needed if isinstance(t, Transfer)} == {section4(profile)["ensemble"][0]}
    if profile.section6.full == profile.member:
        assert set(section6(profile)["full"]) <= set(section4(profile)["baseline"])
    assert all(member.resample for member in on_words(profile)["resampled members"])
    assert section4(profile)["baseline"] == list(section4(profile)["ensemble"][0].members)
    assert [config.mean for config in section4(profile)["ensemble"]] == ["arithmetic", "geometric"]
    assert on_words(profile)["resampled"][0].members == tuple(on_words(profile)["resampled members"])


@every_profile
def test_a_corpus_has_one_alignment(profile: Profile) -> None:
    asked = chain.from_iterable((questions(profile) | section1(profile)).values())
    assert {config.alignment for config in asked if not isinstance(config, Alignment)} == {profile.alignment}
    assert section4(profile)["alignment"] == section6(profile)["labels"] == [profile.alignment]
    assert profile.dataset == profile.alignment.dataset


@every_profile
def test_students_start_like_none_of_the_members(profile: Profile) -> None:
    ensembles = [config for config in configs(profile) if isinstance(config, Ensemble)]
    assert {config.size for config in section4(profile)["ensemble"]} == {profile.ensemble_size}
    assert {config.size for config in on_words(profile)["resampled"]} == {profile.resampled}
    members = {member.seed for config in ensembles for member in config.members}
    students = {config.seed for config in configs(profile) if isinstance(config, Student)}
    assert students
    assert not students & members
    compared = ("hard, longer", "regularised", "small", "hard")
    for config in chain.from_iterable(questions(profile).get(name, []) for name in compared):
        assert config.seed not in members


every_plan = pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE, NEXT], ids=lambda profile: profile.name)


@every_plan
def test_hard_and_soft_targets_get_the_same_utterances_and_lengths_around_their_best(profile: Profile) -> None:
    def settings(config: AcousticModel | Student, *, with_epochs: bool = True) -> tuple:
        steps = config.optimisation.epochs if with_epochs else None, config.optimisation.batch_size
        return config.share, config.subset, config.hidden, *steps, config.evaluate_every, config.seed

    section = section6(profile)
    tried = [{settings(config) for config in section[f"lengths, {kind}"]} for kind in ("hard", "soft")]
    assert len(tried[0] & tried[1]) > 1  # nets that took as many steps can be compared
    hard, soft, both = (section[name] for name in ("hard", "soft", "soft and hard"))
    assert [settings(c, with_epochs=False) for c in hard] == [settings(c, with_epochs=False) for c in soft]
    assert {settings(config) for config in both} <= {settings(config) for config in soft}
    as_long = section["hard, as long as soft"]
    assert {settings(config) for config in as_long} <= {settings(config) for config in soft}
    assert {config.share for config in as_long} == {0.03}
    for kind, chosen in zip(("hard", "soft"), (hard, soft), strict=True):
        rates = {getattr(of, kind).learning_rate for of in profile.section6.shares}
        assert rates == {{"hard": 0.1, "soft": 0.05}[kind]}  # at the full rate, soft targets on a share diverge
        for of in profile.section6.shares:
            trials = {c for c in section[f"lengths, {kind}"] if c.share == of.share}
            assert {c.optimisation.epochs for c in trials} == set(getattr(of, f"{kind}_lengths"))
            assert {c.subset for c in trials} == set(range(of.length_draws))
            on_share = {c for c in chosen if c.share == of.share}
            assert {c.subset for c in on_share} == set(range(of.draws))
            assert {c for c in on_share if c.subset < of.length_draws} <= trials
    assert {config.share for config in both} == {of.share for of in profile.section6.shares[:2]}
    assert profile.section6.shares[0].share == 0.03  # the headline is about the first
    assert min(steps(config) for config in hard) > 0
    assert all(config.evaluate_every for config in hard)  # else there is no early stopping


@every_plan
def test_soft_targets_on_a_share_come_from_the_model_of_all_speech_of_that_number(profile: Profile) -> None:
    section = section6(profile)
    for name in ("soft", "soft and hard", "lengths, soft", "soft, constant rate"):
        for config in section[name]:
            number = config.seed - 100
            assert config.teacher == section["full"][number]
            assert config.teacher.share == 1
            assert config.subset == number
            assert (config.hard_weight > 0) == (name == "soft and hard")
    assert [config.seed for config in section["full"]] == list(range(max(of.draws for of in profile.section6.shares)))


@every_plan
def test_a_constant_rate_is_all_that_its_runs_differ_by(profile: Profile) -> None:
    section = section6(profile)
    for kind in ("hard", "soft"):
        of = profile.section6.shares[0]
        falling = [
            config
            for config in section[f"lengths, {kind}"]
            if (config.share, config.optimisation.epochs) == (of.share, profile.section6.steady_epochs)
        ]
        steady = section[f"{kind}, constant rate"]
        assert len(steady) == profile.section6.steady <= len(falling)
        for config, other in zip(steady, falling, strict=False):
            assert isinstance(config.optimisation, Constant)
            assert replace(config, optimisation=other.optimisation) == other
            assert vars(config.optimisation) == vars(other.optimisation)


@every_plan
def test_section_1_compares_hard_and_soft_targets_on_the_same_speech(profile: Profile) -> None:
    section, least = section1(profile), section6(profile)
    assert set(section["less data"]) == {*least["full"], *least["hard"], *least["soft"]}
    gradients, rates = section["gradients along training"], section["largest learning rate"]
    for compared in ([config.net for config in gradients], rates):
        hard = [net for net in compared if isinstance(net, AcousticModel)]
        soft = [net for net in compared if isinstance(net, Student)]
        assert {net.subset for net in hard} == {net.subset for net in soft} == set(range(profile.section1.draws))
        assert {net.share for net in compared} == {0.03}
        assert all(net.hard_weight == 0 and net.teacher == least["full"][net.subset] for net in soft)
    tried = {kind: {net.optimisation for net in rates if isinstance(net, kind)} for kind in (AcousticModel, Student)}
    assert tried[AcousticModel] == tried[Student]
    assert {training.learning_rate for training in tried[Student]} == set(profile.section1.learning_rates)
    assert {config.net.temperature for config in gradients if isinstance(config.net, Student)} >= {profile.temperature}


@every_profile
def test_nets_that_are_compared_take_as_many_steps(profile: Profile) -> None:
    section = section4(profile)
    pairs = {"distilled": "hard, longer", "small, distilled": "small", "distilled, more speech": "hard, more speech"}
    for softly, hardly in pairs.items():
        soft, hard = section[softly], [getattr(config, "model", config) for config in section[hardly]]
        assert len({config.optimisation for config in hard + soft}) == 1
        assert len({config.hidden for config in hard + soft}) == 1
        assert [config.seed for config in hard] == [config.seed for config in soft][: len(hard)]
        assert {type(config) for config in hard} == {AcousticModel}
    assert {config.optimisation for config in section["distilled"]} == {profile.longer}
    assert section["small"][0].hidden == profile.small != profile.hidden == section["hard, longer"][0].hidden
    for config in section["hard, more speech"]:
        assert isinstance(config, Stretched)
        assert config.speeds == section["distilled, more speech"][0].teacher.speeds


@every_profile
def test_the_tables_recipe_is_the_papers_and_its_length_was_tried(profile: Profile) -> None:
    section = section4(profile)
    for name in ("distilled", "length", "distilled, other weight", "learning rate", "temperature"):
        assert {config.teacher for config in section[name]} == {section["ensemble"][0]}
    assert len(section["distilled"]) == profile.headline_seeds
    for name in ("distilled", "length"):
        assert {(config.hard_weight, config.temperature) for config in section[name]} == {(profile.headline_weight, 2)}
    weights = {config.hard_weight for config in section["distilled"] + section["distilled, other weight"]}
    assert weights == {1 / 3, 0.5}  # equal parts, or 1 : 0.5
    epochs = {config.optimisation.epochs for config in section["length"]}
    assert epochs == {times * profile.member.epochs for times in profile.lengths}
    assert profile.longer.epochs in epochs
    tried = {(config.temperature, config.optimisation.learning_rate) for config in section["learning rate"]}
    assert tried == set(profile.rates)
    assert {(config.temperature, config.optimisation.learning_rate) for config in section["temperature"]} <= tried
    brief, longer = ({config.optimisation.epochs for config in section[name]} for name in ("small, briefly", "small"))
    assert max(brief) < min(longer)


@every_profile
def test_students_on_a_larger_transfer_set_learn_without_hard_targets(profile: Profile) -> None:
    section = section4(profile)
    students = section["distilled, more speech"]
    assert len(students) == min(5, profile.headline_seeds)
    assert {config.teacher for config in students} == {Transfer(section["ensemble"][0], profile.speeds)}
    assert {config.optimisation for config in students} == {profile.more_speech}
    assert {config.hard_weight for config in students} == {0}
    assert {config.share for config in students} == {1}  # of nothing less than the transfer set
    assert {config.hidden for config in students} == {profile.hidden} == {c.hidden for c in section["baseline"]}
    assert {config.temperature for config in students} == {profile.temperature}
    if profile.name == "paper":  # or more speech would only mean fewer steps on each frame
        assert steps(students[0]) > 0.99 * steps(section["distilled"][0])


@every_profile
def test_sweeps_vary_one_setting(profile: Profile) -> None:
    default = student(profile, 0)
    section = section4(profile) | on_words(profile)
    for config in section["hard weight"]:
        assert replace(config, hard_weight=default.hard_weight, seed=100) == default
    assert {c.hard_weight for c in section["hard weight"]} == set(profile.hard_weights)
    for config in section["temperature"]:
        rate = profile.student.learning_rate * (profile.high_rate if config.temperature >= 5 else 1)
        slower = replace(profile.student, learning_rate=rate)
        assert replace(config, temperature=default.temperature, seed=100) == replace(default, optimisation=slower)
    assert {c.temperature for c in section["temperature"]} == set(profile.temperatures)
    assert default.temperature in profile.temperatures
    for name in ("temperature", "hard weight"):
        assert {config.seed for config in section[name]} == {100 + seed for seed in range(profile.seeds)}


@every_profile
def test_plans_are_made_without_a_look_at_data_or_results(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(profile)

    def refuse(*_) -> None:
        raise AssertionError("A plan that depends on results could depend on the test set.")

    for module in (nets, alignment):
        monkeypatch.setattr(module, "corpus", refuse)
    for name in ("read", "tensors", "has"):
        monkeypatch.setattr(Store, name, refuse)
    assert plan(profile) == before


def test_the_published_run_is_on_both_corpora_and_of_the_papers_size() -> None:
    assert [PAPER.dataset, PAPER.beside.dataset] == ["speechocean762", "an4"]
    assert PAPER.beside.name == PAPER.name
    assert PAPER.ensemble_size == PAPER.headline_seeds == 10
    assert PAPER.headline_weight == 0.5
    assert PAPER.temperatures == (1, 2, 5, 10)
    assert ((2560,) * 8) in {config.hidden for config in on_words(AN4)["sizes"]}
    assert min(PAPER.seeds, PAPER.headline_seeds, *(of.draws for of in PAPER.section6.shares)) >= 3
    assert SMOKE.dataset == "an4 (embedded)"
    assert (PAPER.name, QUICK.name, SMOKE.name) == ("paper", "quick", "smoke")


def test_an_unknown_profile_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Unknown profile 'huge': choose one of smoke, quick, paper, next\."):
        profile_of("huge")


def test_quick_falls_back_to_the_embedded_minutes_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    found = profile_of("quick")
    assert "five minutes of it, embedded, stand in. an4/an4_sphere.tar.gz is missing" in capsys.readouterr().out
    assert found == replace(QUICK, alignment=found.alignment)
    stand_in = {"dataset": "an4 (embedded)", "leaves": SMOKE.alignment.leaves}
    assert found.alignment == replace(QUICK.alignment, **stand_in)
    assert {config.alignment for config in configs(found)} == {found.alignment}
    assert list(tmp_path.iterdir()) == []


def test_quick_is_on_an4_where_it_is_and_paper_never_on_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(profiles.an4, "find", lambda: "an4")
    assert profile_of("quick") == QUICK
    monkeypatch.setattr(profiles.an4, "find", lambda: "an4 (embedded)")
    assert (profile_of("paper"), profile_of("smoke")) == (PAPER, SMOKE)
    assert capsys.readouterr().out == ""
    monkeypatch.undo()
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    with pytest.raises(DataError, match="an4"):
        corpus.__wrapped__(profile_of("paper").dataset)  # whatever is in the cache


@every_profile
def test_records_live_beside_each_other_under_the_profiles_name(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    store = SpeechResults(profile, plan(profile)).store
    assert store == Store(tmp_path / profile.name / "records")
    for config in with_all_they_start_from(runs(profile), store):
        folder = "alignment" if isinstance(config, Alignment) else "speech"
        assert store.path(config).parent == store.folder / folder
