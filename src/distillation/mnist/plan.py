"""Which runs each question of sections 2 and 3 needs, at each profile."""

import dataclasses

import numpy as np

from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.mnist.measurements import EnsembleErrors, GradientNoiseAlong
from distillation.mnist.nets import Ensemble, Shifted
from distillation.mnist.profiles import NEXT, PAPER, Profile, net, profile, student, teacher

__all__ = ["plan", "profile"]


ALL_BUT_SEVEN_AND_EIGHT = (0, 1, 2, 3, 4, 5, 6, 9)
OMISSION_SEEDS = 3  # of students that lack some digits, and of lengths of training
WIDE_TEMPERATURES = (1, 2, 4, 8, 20, 40)  # of wide students, the costly ones
LENGTHS = (0.03, 0.1, 0.3)  # of the students, in parts of theirs
# Questions of the plan in the making whose records are whole, and published.
LANDED = (
    *("gradients along training", "learning rate, held out"),
    *("teacher", "plain", "distilled", "logits", "no 3s", "only 7s and 8s"),
    *("ensemble of all", "ensemble's student", "means", "ensemble", "length"),
)


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 01 and 02, by question."""
    if profile.name == NEXT.name:
        return {"01": next_section2(profile), "02": next_section3(profile)}
    asked = {"01": section2(profile), "02": section3(profile)}
    if profile.name == PAPER.name:
        landed = {"01": next_section2(NEXT), "02": next_section3(NEXT)}
        for number, questions in landed.items():
            asked[number] |= {name: runs for name, runs in questions.items() if name in LANDED}
    return asked


def section3(profile: Profile) -> Questions:
    """The runs of notebook 02."""
    few, many, cheap = range(profile.seeds), range(profile.headline_seeds), range(profile.cheap_seeds)
    shorts = [net(profile, seed) for seed in range(profile.ensemble_size)]
    digits = range(10)
    fit_teacher = teacher(profile, 0, "fit")
    in_float32 = dataclasses.replace(profile.student, precision="float32")

    def kept_by_chance(number: int, seed: int) -> tuple[int, ...]:
        return tuple(sorted(np.random.default_rng(seed).permutation(10)[number:].tolist()))

    def as_many_steps(number: int) -> Optimisation:
        return dataclasses.replace(profile.few_digits, epochs=round(profile.student.epochs * 10 / number))

    return {
        "teacher": [teacher(profile, seed) for seed in range(profile.teacher_seeds)],
        "plain": [net(profile, seed, optimisation=profile.headline) for seed in many],
        "distilled": [student(profile, seed, optimisation=profile.headline) for seed in many],
        "logits": [student(profile, seed, objective="logits") for seed in few],
        "plain, short": shorts,
        "no 3s": [student(profile, seed, omit=(3,), optimisation=profile.headline) for seed in many],
        "only 7s and 8s": [
            student(profile, seed, omit=ALL_BUT_SEVEN_AND_EIGHT, optimisation=profile.few_digits) for seed in many
        ],
        "temperature": [
            student(profile, seed, hidden=(width, width), temperature=temperature)
            for width in profile.widths
            for temperature in profile.temperatures
            for seed in (cheap if width < 100 else few)
        ],
        "hard weight, held out": [
            student(profile, seed, teacher=fit_teacher, cases="fit", hard_weight=weight)
            for weight in profile.hard_weights
            for seed in few
        ],
        "mixed labels": [
            student(profile, seed, objective="mixed labels", hard_weight=weight)
            for weight in profile.mixed_weights
            for seed in few
        ],
        "half teacher": [teacher(profile, seed, "first half") for seed in cheap],
        "unlabelled": [
            student(profile, seed, teacher=teacher(profile, seed, "first half"), cases=cases)
            for cases in ("second half", "first half")
            for seed in cheap
        ],
        "float32": [net(profile, seed, optimisation=in_float32) for seed in few],
        "one digit omitted": [student(profile, seed, omit=(digit,)) for digit in digits for seed in few],
        "digits kept": [
            student(profile, seed, omit=kept_by_chance(number, seed), optimisation=as_many_steps(number))
            for number in profile.kept
            for seed in few
        ],
        **ensembles(profile, profile.headline),
        **lengths(profile, profile.headline),
    }


def ensembles(profile: Profile, of_students: Optimisation) -> Questions:
    """The large nets together: what they answer, and students of all of them or, by either mean, of all but one."""
    teachers = tuple(teacher(profile, seed) for seed in range(profile.teacher_seeds))
    everything, each = Ensemble(teachers), range(len(teachers))

    def leave_one_out(seed: int, mean: str) -> Ensemble:
        return Ensemble(tuple(member for member in teachers if member.seed != seed), mean)

    means = [(seed, leave_one_out(seed, mean)) for mean in ("arithmetic", "geometric") for seed in each]
    return {
        "ensemble of all": [EnsembleErrors(everything)],
        "ensemble's student": [
            student(profile, seed, teacher=everything, optimisation=of_students) for seed in range(profile.seeds)
        ],
        "means": [EnsembleErrors(members) for _, members in means],
        "ensemble": [student(profile, seed, teacher=members, optimisation=of_students) for seed, members in means],
    }


def lengths(profile: Profile, of_students: Optimisation) -> Questions:
    """Shorter trainings of students of all digits, of all but the 3s, and of 7s and 8s alone."""
    trained = {(): of_students, (3,): of_students, ALL_BUT_SEVEN_AND_EIGHT: profile.few_digits}
    return {
        "length": [
            student(profile, seed, omit=omit, optimisation=dataclasses.replace(training, epochs=epochs))
            for omit, training in trained.items()
            for epochs in dict.fromkeys(max(1, round(part * training.epochs)) for part in LENGTHS)
            for seed in range(min(OMISSION_SEEDS, profile.seeds))
        ]
    }


def section2(profile: Profile) -> Questions:
    """The runs of notebook 01; a net on less data takes as many steps as one on all of it."""
    seeds = range(profile.seeds)
    largest = max(profile.sizes)

    def as_many_steps(size: int) -> Optimisation:
        return dataclasses.replace(profile.student, epochs=round(profile.student.epochs * largest / size))

    return {
        "size": [
            make(profile, seed, size=None if size == largest else size, optimisation=as_many_steps(size))
            for make in (net, student)
            for size in profile.sizes
            for seed in seeds
        ],
    } | promises(profile)


def promises(profile: Profile) -> Questions:
    """Gradients and learning rates under hard and soft targets, each along its own training."""
    epochs, fit_teacher = profile.gradient_epochs, teacher(profile, 0, "fit")
    each = max(profile.sizes) // profile.student.batch_size  # steps of an epoch
    steps = tuple(dict.fromkeys(round(n * each) for n in (0, 1 / 9, 2 / 9, 4 / 9, 2 / 3, 1, 3, 10) if n <= epochs))
    soft_temperatures = (5, profile.temperature)  # of those whose gradients are measured

    def briefly(rate: float) -> Optimisation:
        return dataclasses.replace(profile.student, epochs=epochs, learning_rate=rate)

    def at(rate: float) -> Optimisation:
        return dataclasses.replace(profile.short, learning_rate=rate)

    return {
        "gradients along training": [
            GradientNoiseAlong(of, steps, profile.gradient_cases)
            for seed in range(profile.cheap_seeds)
            for of in (
                net(profile, seed, optimisation=briefly(0.1)),
                *(student(profile, seed, temperature=t, optimisation=briefly(0.05)) for t in (1, 2, 5, 20)),
            )
        ],
        "learning rate, held out": [
            make(rate, seed)
            for make in (
                lambda rate, seed: net(profile, seed, cases="fit", optimisation=at(rate)),
                *(
                    lambda rate, seed, t=t: student(
                        profile, seed, teacher=fit_teacher, cases="fit", temperature=t, optimisation=at(rate)
                    )
                    for t in soft_temperatures
                ),
            )
            for rate in profile.learning_rates
            for seed in range(profile.seeds)
        ],
    }


def next_section3(profile: Profile) -> Questions:
    """The runs of notebook 02 in the making, most telling first: `headline` is of hard targets."""
    seeds, few = range(profile.seeds), range(OMISSION_SEEDS)
    teachers = tuple(teacher(profile, seed) for seed in range(profile.teacher_seeds))
    fit_teacher = teacher(profile, 0, "fit")

    def lasting(epochs: float, of: Optimisation = profile.student) -> Optimisation:
        return dataclasses.replace(of, epochs=round(epochs))

    def kept_by_chance(number: int, seed: int) -> tuple[int, ...]:
        return tuple(sorted(np.random.default_rng(seed).permutation(10)[number:].tolist()))

    def swept(width: int) -> tuple[float, ...]:
        return profile.temperatures if width < 100 else WIDE_TEMPERATURES

    twice = lasting(2 * profile.student.epochs)
    return {
        "teacher": list(teachers),
        "plain": [net(profile, seed, optimisation=profile.headline) for seed in seeds],
        "distilled": [student(profile, seed) for seed in seeds],
        "no 3s": [student(profile, seed, omit=(3,)) for seed in seeds],
        "only 7s and 8s": [
            student(profile, seed, omit=ALL_BUT_SEVEN_AND_EIGHT, optimisation=profile.few_digits) for seed in seeds
        ],
        "logits": [student(profile, seed, objective="logits") for seed in seeds],
        "plain, narrower": [
            net(profile, seed, hidden=(width, width), optimisation=profile.headline)
            for width in sorted(profile.widths)[:-1]
            for seed in seeds
        ],
        "hard weight, held out": [
            student(profile, seed, teacher=fit_teacher, cases="fit", hard_weight=weight)
            for weight in profile.hard_weights
            for seed in seeds
        ],
        # Half of the images, for as many steps as on all.
        "half teacher": [teacher(profile, seed, "first half") for seed in seeds],
        "unlabelled": [
            student(profile, seed, teacher=teacher(profile, seed, "first half"), cases=cases, optimisation=twice)
            for cases in ("second half", "first half")
            for seed in seeds
        ],
        "half, hard targets": [
            net(profile, seed, cases="second half", optimisation=lasting(2 * profile.headline.epochs, profile.headline))
            for seed in seeds
        ],
        **ensembles(profile, profile.student),
        "temperature": [
            student(profile, seed, hidden=(width, width), temperature=temperature)
            for width in sorted(profile.widths)
            for temperature in swept(width)
            for seed in range(profile.cheap_seeds if width < 100 else profile.seeds)
        ],
        "limits: teacher's size": [student(profile, seed, hidden=profile.teacher_hidden) for seed in seeds],
        "limits: jitter": [
            student(profile, seed, optimisation=dataclasses.replace(profile.student, jitter=1)) for seed in seeds
        ],
        "limits: longer": [student(profile, seed, optimisation=lasting(3 * profile.student.epochs)) for seed in few],
        "limits: shifted images": [
            student(
                profile,
                seed,
                teacher=Shifted(teacher(profile, seed % profile.teacher_seeds)),
                optimisation=lasting(profile.student.epochs / 5),
            )
            for seed in seeds
        ],
        **lengths(profile, profile.student),
        "one digit omitted": [student(profile, seed, omit=(digit,)) for digit in range(10) for seed in few],
        "digits kept": [
            student(
                profile,
                seed,
                omit=kept_by_chance(number, seed),
                optimisation=lasting(profile.student.epochs * 10 / number),
            )
            for number in profile.kept
            for seed in few
        ],
        "mixed labels": [
            student(profile, seed, objective="mixed labels", hard_weight=weight)
            for weight in profile.mixed_weights
            for seed in few
        ],
        "float32": [
            net(profile, seed, optimisation=dataclasses.replace(profile.headline, precision="float32")) for seed in few
        ],
    }


def next_section2(profile: Profile) -> Questions:
    """The runs of notebook 01 in the making; a net on less data takes as many steps as one on all of it."""
    seeds, largest = range(profile.seeds), max(profile.sizes)

    def on(size: int, of: Optimisation) -> dict:
        longer = dataclasses.replace(of, epochs=round(of.epochs * largest / size))
        return {"size": None if size == largest else size, "optimisation": longer}

    return promises(profile) | {
        "size": [
            *(net(profile, seed, **on(size, profile.headline)) for size in profile.sizes for seed in seeds),
            *(student(profile, seed, **on(size, profile.student)) for size in profile.sizes for seed in seeds),
        ],
    }
