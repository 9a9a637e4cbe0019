"""Which runs sections 1 to 3 need: fair comparisons, chosen on images that no net is tested on."""

from itertools import chain

import pytest

from distillation.core.store import Configuration
from distillation.mnist.nets import Ensemble, Net, Student
from distillation.mnist.plan import LANDED, plan
from distillation.mnist.profiles import NEXT, PAPER, QUICK, SMOKE, Profile

every_plan = pytest.mark.parametrize("profile", [PAPER, NEXT, QUICK, SMOKE], ids=lambda profile: profile.name)


def questions(profile: Profile) -> dict[str, list[Configuration]]:
    return {name: runs for asked in plan(profile).values() for name, runs in asked.items()}


@every_plan
def test_questions_are_asked_once_and_have_runs(profile: Profile) -> None:
    assert len(questions(profile)) == sum(len(asked) for asked in plan(profile).values())
    for name, runs in questions(profile).items():
        assert runs, name
        assert len(set(runs)) == len(runs), name


def test_what_has_landed_is_of_the_plan_in_the_making() -> None:
    published, made = questions(PAPER), questions(NEXT)
    assert set(LANDED) <= set(published)
    assert all(published[name] == made[name] for name in LANDED)


@every_plan
def test_nets_that_choose_a_setting_have_not_seen_the_images_that_they_are_scored_on(profile: Profile) -> None:
    for config in chain.from_iterable(runs for name, runs in questions(profile).items() if "held out" in name):
        assert config.cases == "fit"
        assert getattr(config, "teacher", config).cases == "fit"


@every_plan
def test_gradients_are_measured_until_the_training_ends(profile: Profile) -> None:
    each = max(profile.sizes) // profile.student.batch_size
    for config in questions(profile)["gradients along training"]:
        assert config.steps[0] == 0
        assert config.steps[-1] == each * config.net.optimisation.epochs
        assert list(config.steps) == sorted(set(config.steps))
    kinds = {(type(config.net), config.net.seed) for config in questions(profile)["gradients along training"]}
    assert {kind for kind, _ in kinds} == {Net, Student}
    assert len(kinds) == 2 * profile.cheap_seeds


@every_plan
def test_ensembles_are_of_the_large_nets_each_left_out_once_by_either_mean(profile: Profile) -> None:
    asked = questions(profile)
    teachers, students = asked["teacher"], asked["ensemble"]
    (everything,) = asked["ensemble of all"]
    assert list(everything.ensemble.members) == teachers
    assert {config.teacher for config in asked["ensemble's student"]} == {Ensemble(tuple(teachers))}
    assert [config.ensemble for config in asked["means"]] == [config.teacher for config in students]
    for mean in ("arithmetic", "geometric"):
        left_out = [set(teachers) - set(each.teacher.members) for each in students if each.teacher.mean == mean]
        assert left_out == [{teacher} for teacher in teachers]
    compared = [*asked["distilled"], *students, *asked["ensemble's student"]]
    assert len({config.optimisation for config in compared}) == 1


@every_plan
def test_shorter_trainings_differ_from_the_longest_in_their_epochs_alone(profile: Profile) -> None:
    asked = questions(profile)
    for name in ("distilled", "no 3s", "only 7s and 8s"):
        longest = asked[name][0]
        shorter = [config for config in asked["length"] if config.omit == longest.omit]
        assert shorter
        for config in shorter:
            assert config.optimisation.epochs < longest.optimisation.epochs
            assert vars(config.optimisation) | {"epochs": 0} == vars(longest.optimisation) | {"epochs": 0}
            assert (config.hidden, config.temperature) == (longest.hidden, longest.temperature)
