"""Which runs each question of sections 4 and 6 needs, at each profile."""

import dataclasses
from collections.abc import Callable

from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.speech.measurements import GradientNoise
from distillation.speech.nets import AcousticModel, Constant, Stretched, Student, Transfer
from distillation.speech.profiles import NEXT, Profile, Section6, Share, baseline, ensemble, profile, student

__all__ = ["plan", "profile"]

REGULARISED = 0.2  # the dropout of the regularised baselines
FEW = 3  # seeds of what stands beside the paper's recipe
LENGTHS = (1, 2, 4)  # of students, in those of the members
RATES = (0.025, 0.05, 0.1, 0.2)  # tried at each temperature
RATE_AT = {1: 0.1, 2: 0.1, 5: 0.05, 10: 0.05}  # the best on development; until then, as on AN4


def _halved(training: Optimisation) -> Optimisation:
    """Half the learning rate, where the factor T**2 of the soft targets makes the full one diverge."""
    return dataclasses.replace(training, learning_rate=training.learning_rate / 2)


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 03 and 05, by question."""
    section = table1 if profile.name == NEXT.name else section4
    return {"03": section(profile) | section1(profile), "05": section6(profile)}


def section1(profile: Profile) -> Questions:
    """The claims of section 1 on speech; the soft targets are those of section 6."""
    asked, of, least = profile.section1, profile.section6[0], profile.section6[0].shares[0]
    profile = dataclasses.replace(profile, alignment=of.alignment, member=of.full)

    def net(draw: int, temperature: float | None = None, **changes) -> AcousticModel | Student:
        """On soft targets at this temperature, else on hard ones."""
        training = least.hard if temperature is None else least.soft
        settings = {"share": least.share, "subset": draw}
        settings["optimisation"] = dataclasses.replace(training, epochs=asked.epochs, **changes)
        if temperature is None:
            return baseline(profile, 100 + draw, **settings)
        soft = {"teacher": baseline(profile, draw), "hard_weight": 0.0, "temperature": temperature}
        return student(profile, draw, **settings, **soft)

    draws, shares = range(asked.draws), table5(profile, of)
    return {
        "less data": [*shares["full"], *shares["hard"], *shares["soft"]],
        "gradients along training": [
            GradientNoise(net(draw, temperature), asked.frames)
            for temperature in (None, *asked.temperatures)
            for draw in draws
        ],
        "largest learning rate": [
            net(draw, temperature, learning_rate=rate)
            for temperature in (None, profile.temperature)
            for rate in asked.learning_rates
            for draw in draws
        ],
    }


def table1(profile: Profile) -> Questions:
    """Section 4 of the plan in the making: the paper's recipe, its length and its controls."""
    few, seeds, many = range(FEW), range(profile.seeds), range(profile.headline_seeds)
    recipe = {"optimisation": profile.longer, "hard_weight": profile.headline_weight}
    small = {"optimisation": profile.student, "hidden": profile.small}
    transfer = {"teacher": Transfer(ensemble(profile), profile.speeds), "optimisation": profile.more_speech}
    on_more = [baseline(profile, 100 + seed, optimisation=profile.more_speech) for seed in seeds]
    return {
        "alignment": [profile.alignment],
        "baseline": list(ensemble(profile).members),
        "ensemble": [ensemble(profile)],
        "length": [
            student(profile, seed, hard_weight=profile.headline_weight, optimisation=_times(profile.member, times))
            for times in LENGTHS
            for seed in few
        ],
        "distilled": [student(profile, seed, **recipe) for seed in many],
        "distilled, other weight": [student(profile, seed, **recipe | {"hard_weight": 1 / 3}) for seed in few],
        "hard, longer": [baseline(profile, 100 + seed, optimisation=profile.longer) for seed in seeds],
        "learning rate": [
            student(profile, 0, temperature=t, optimisation=_at_rate(profile.member, rate))
            for t in profile.temperatures
            for rate in RATES
        ],
        "temperature": [
            student(profile, seed, temperature=t, optimisation=_at_rate(profile.student, RATE_AT[t]))
            for t in profile.temperatures
            for seed in seeds
        ],
        "distilled, more speech": [student(profile, seed, hard_weight=0.0, **transfer) for seed in seeds],
        "hard, more speech": [Stretched(model, profile.speeds) for model in on_more],
        "small": [baseline(profile, 100 + seed, **small) for seed in few],
        "small, distilled": [student(profile, seed, **small) for seed in few],
    }


def section6(profile: Profile) -> Questions:
    """The runs of notebook 05; the questions of a second corpus have its name before theirs."""
    first, *others = profile.section6
    beside = {f"{of.alignment.dataset}: {name}": runs for of in others for name, runs in table5(profile, of).items()}
    return table5(profile, first) | beside


def table5(profile: Profile, section: Section6) -> Questions:
    """The runs of notebook 05 on one corpus.  Draw n of a share has its soft targets from baseline n."""
    profile = dataclasses.replace(profile, alignment=section.alignment, member=section.full)
    least, shares = section.shares[0], section.shares

    def trained(kind: str, of: Share, draw: int, training: Optimisation) -> AcousticModel | Student:
        settings = {"share": of.share, "subset": draw, "evaluate_every": of.scored_every, "optimisation": training}
        if kind == "hard":
            return baseline(profile, 100 + draw, **settings)
        weight = profile.hard_weight if kind == "soft and hard" else 0.0
        return student(profile, draw, teacher=baseline(profile, draw), hard_weight=weight, **settings)

    def draws(kind: str) -> list[AcousticModel | Student]:
        return [trained(kind, of, draw, getattr(of, kind)) for of in shares for draw in range(of.draws)]

    def beside(kind: str, shares: tuple[Share, ...], training: Callable[[Share], Optimisation]) -> list:
        few = {of: range(min(of.draws, section.controls)) for of in shares}
        return [trained(kind, of, draw, training(of)) for of in shares for draw in few[of]]

    def lasting(kind: str, of: Share, epochs: int) -> Optimisation:
        return dataclasses.replace(getattr(of, kind), epochs=epochs)

    def lengths(kind: str) -> list[AcousticModel | Student]:
        return [
            trained(kind, of, draw, lasting(kind, of, epochs))
            for of in shares
            for epochs in getattr(of, f"{kind}_lengths")
            for draw in range(of.length_draws)
        ]

    def steady(kind: str) -> list[AcousticModel | Student]:
        training = Constant(**vars(lasting(kind, least, section.steady_epochs)))
        return [trained(kind, least, draw, training) for draw in range(section.steady)]

    of_full = [dataclasses.replace(section.full, epochs=epochs) for epochs in section.full_lengths]
    tried = {"lengths, full": [baseline(profile, optimisation=training) for training in of_full]} if of_full else {}
    return tried | {
        "labels": [section.alignment],
        "full": [baseline(profile, draw) for draw in range(max(of.draws for of in shares))],
        "lengths, hard": lengths("hard"),
        "lengths, soft": lengths("soft"),
        "hard": draws("hard"),
        "soft": draws("soft"),
        "hard, as long as soft": beside("hard", shares[:1], lambda of: lasting("hard", of, of.soft.epochs)),
        "soft and hard": beside("soft and hard", shares[:2], lambda of: of.soft),
        "hard, constant rate": steady("hard"),
        "soft, constant rate": steady("soft"),
    }


def _times(training: Optimisation, times: int) -> Optimisation:
    return dataclasses.replace(training, epochs=times * training.epochs)


def _at_rate(training: Optimisation, rate: float) -> Optimisation:
    return dataclasses.replace(training, learning_rate=rate)


def section4(profile: Profile) -> Questions:
    """The runs of notebook 03."""
    seeds, many = range(profile.seeds), range(profile.headline_seeds)
    on_samples = dataclasses.replace(ensemble(profile, resample=True), size=profile.resampled)
    long = {"optimisation": profile.longer, "hard_weight": profile.headline_weight}
    hard, small = {"optimisation": profile.longer}, {"optimisation": profile.student, "hidden": profile.small}
    unlabelled = {"optimisation": profile.more_speech, "hard_weight": 0.0}
    unlabelled |= {"teacher": Transfer(ensemble(profile), profile.speeds)}
    regularised = {"hidden_dropout": REGULARISED, "optimisation": profile.regularised}
    return {
        "alignment": [profile.alignment],
        "baseline": list(ensemble(profile).members),
        "ensemble": [ensemble(profile), ensemble(profile, "geometric")],
        "temperature": [
            student(profile, seed, temperature=t, optimisation=_halved(profile.student) if t >= 5 else profile.student)
            for t in profile.temperatures
            for seed in seeds
        ],
        "hard weight": [student(profile, seed, hard_weight=w) for w in profile.hard_weights for seed in seeds],
        "distilled": [student(profile, seed, **long) for seed in many],
        "distilled, more speech": [student(profile, seed, **unlabelled) for seed in many],
        "hard, longer": [baseline(profile, 100 + seed, **hard) for seed in many],
        "regularised": [baseline(profile, 100 + seed, **regularised) for seed in seeds],
        "small": [baseline(profile, 100 + seed, **small) for seed in seeds],
        "small, briefly": [
            baseline(profile, 100 + seed, hidden=profile.small, optimisation=profile.member) for seed in seeds
        ],
        "small, distilled": [student(profile, seed, **small) for seed in seeds],
        "resampled members": list(on_samples.members),
        "resampled": [on_samples],
        "sizes": [baseline(profile, hidden=hidden, optimisation=training) for hidden, training in profile.sizes],
    }
