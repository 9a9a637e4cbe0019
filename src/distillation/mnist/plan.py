"""Which runs each question of sections 2 and 3 needs, at each profile."""

import dataclasses

import numpy as np

from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.mnist.measurements import EnsembleErrors, GradientNoise, GradientNoiseAlong
from distillation.mnist.nets import Ensemble, Shifted
from distillation.mnist.profiles import NEXT, Profile, net, profile, student, teacher

__all__ = ["plan", "profile"]


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 01 and 02, by question."""
    if profile.name == NEXT.name:
        return {"01": next_section2(profile), "02": next_section3(profile)}
    return {"01": section2(profile), "02": section3(profile)}


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

    def leave_one_out(seed: int, mean: str) -> Ensemble:
        return Ensemble(tuple(member for member in shorts if member.seed != seed), mean)

    return {
        "teacher": [teacher(profile, seed) for seed in range(profile.teacher_seeds)],
        "plain": [net(profile, seed, optimisation=profile.headline) for seed in many],
        "distilled": [student(profile, seed, optimisation=profile.headline) for seed in many],
        "logits": [student(profile, seed, objective="logits") for seed in few],
        "plain, short": shorts,
        "distilled, short": [student(profile, seed) for seed in few],
        "no 3s": [student(profile, seed, omit=(3,), optimisation=profile.headline) for seed in many],
        "only 7s and 8s": [
            student(profile, seed, omit=(0, 1, 2, 3, 4, 5, 6, 9), optimisation=profile.few_digits) for seed in many
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
        "hard weight": [student(profile, seed, hard_weight=weight) for weight in profile.hard_weights for seed in few],
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
        "ensemble": [
            student(profile, seed, teacher=leave_one_out(seed, mean))
            for mean in ("arithmetic", "geometric")
            for seed in range(profile.ensemble_size)
        ],
        "float32": [net(profile, seed, optimisation=in_float32) for seed in few],
        "one digit omitted": [student(profile, seed, omit=(digit,)) for digit in digits for seed in few],
        "digits kept": [
            student(profile, seed, omit=kept_by_chance(number, seed), optimisation=as_many_steps(number))
            for number in profile.kept
            for seed in few
        ],
    }


def section2(profile: Profile) -> Questions:
    """The runs of notebook 01: data, learning rates and gradients under hard and soft targets.

    A net on less data takes as many steps as one on all of it.
    """
    seeds = range(profile.seeds)
    largest = max(profile.sizes)

    def as_many_steps(size: int) -> Optimisation:
        return dataclasses.replace(profile.student, epochs=round(profile.student.epochs * largest / size))

    def at(rate: float) -> Optimisation:
        return dataclasses.replace(profile.short, learning_rate=rate)

    return {
        "size": [
            make(profile, seed, size=None if size == largest else size, optimisation=as_many_steps(size))
            for make in (net, student)
            for size in profile.sizes
            for seed in seeds
        ],
        "learning rate": [
            make(profile, seed, optimisation=at(rate))
            for make in (net, student)
            for rate in profile.learning_rates
            for seed in seeds
        ],
        "gradient noise": gradient_noise(profile),
    }


def gradient_noise(profile: Profile) -> list[GradientNoise]:
    """Gradients after one epoch of training on soft targets.

    At a quarter of the students' learning rate: at the whole rate one epoch, with its short rise, leaves nets that
    differ widely from seed to seed; at a quarter of it seeds end alike.
    """
    rate = profile.student.learning_rate / 4
    one_epoch = dataclasses.replace(profile.student, epochs=1, learning_rate=rate)
    return [
        GradientNoise(student(profile, seed, optimisation=one_epoch), cases=profile.gradient_cases, seed=seed)
        for seed in range(profile.cheap_seeds)
    ]


ALL_BUT_SEVEN_AND_EIGHT = (0, 1, 2, 3, 4, 5, 6, 9)
OMISSION_SEEDS = 3  # of students that lack some digits, and of lengths of training
WIDE_TEMPERATURES = (1, 2, 4, 8, 20, 40)  # of wide students, the costly ones
LENGTHS = (3, 10, 30)  # epochs, beside those of the students


def next_section3(profile: Profile) -> Questions:
    """The runs of notebook 02 in the making, most telling first: `headline` is of hard targets."""
    seeds, few = range(profile.seeds), range(OMISSION_SEEDS)
    teachers = tuple(teacher(profile, seed) for seed in range(profile.teacher_seeds))
    fit_teacher = teacher(profile, 0, "fit")
    everything = Ensemble(teachers)

    def lasting(epochs: float, of: Optimisation = profile.student) -> Optimisation:
        return dataclasses.replace(of, epochs=round(epochs))

    def leave_one_out(seed: int, mean: str) -> Ensemble:
        return Ensemble(tuple(member for member in teachers if member.seed != seed), mean)

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
        "ensemble of all": [EnsembleErrors(everything)],
        "ensemble's student": [student(profile, seed, teacher=everything) for seed in seeds],
        "means": [EnsembleErrors(leave_one_out(seed, mean)) for mean in ("arithmetic", "geometric") for seed in seeds],
        "ensemble": [
            student(profile, seed, teacher=leave_one_out(seed, mean))
            for mean in ("arithmetic", "geometric")
            for seed in seeds
        ],
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
        "length": [
            student(profile, seed, omit=omit, optimisation=lasting(epochs * times))
            for omit, times in (((), 1), ((3,), 1), (ALL_BUT_SEVEN_AND_EIGHT, 2))
            for epochs in LENGTHS
            for seed in few
        ],
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
        "hard weight": [student(profile, seed, hard_weight=weight) for weight in profile.hard_weights for seed in few],
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
    fit_teacher = teacher(profile, 0, "fit")

    def on(size: int, of: Optimisation) -> dict:
        longer = dataclasses.replace(of, epochs=round(of.epochs * largest / size))
        return {"size": None if size == largest else size, "optimisation": longer}

    def at(rate: float, of: Optimisation = profile.short) -> Optimisation:
        return dataclasses.replace(of, learning_rate=rate)

    ten = {rate: dataclasses.replace(profile.student, epochs=10, learning_rate=rate) for rate in (0.05, 0.1)}
    return {
        "gradients along training": [
            GradientNoiseAlong(each, cases=profile.gradient_cases)
            for seed in range(profile.cheap_seeds)
            for each in (
                net(profile, seed, optimisation=ten[0.1]),
                *(student(profile, seed, temperature=t, optimisation=ten[0.05]) for t in (1, 2, 5, 20)),
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
                    for t in (5, 20)
                ),
            )
            for rate in profile.learning_rates
            for seed in seeds
        ],
        "size": [
            *(net(profile, seed, **on(size, profile.headline)) for size in profile.sizes for seed in seeds),
            *(student(profile, seed, **on(size, profile.student)) for size in profile.sizes for seed in seeds),
        ],
    }
