"""Which runs each question of sections 4 and 6 needs, at each profile."""

import dataclasses
from collections.abc import Callable

from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.speech.measurements import GradientNoise
from distillation.speech.nets import AcousticModel, Constant, Stretched, Student, Transfer
from distillation.speech.profiles import Profile, Share, baseline, ensemble, profile, student

__all__ = ["plan", "profile"]

REGULARISED = 0.2  # the dropout of the regularised baselines
FEW = 3  # seeds of what stands beside the paper's recipe
CONTROLS = 5  # at most, of the nets that students are compared with
HIGH = 5  # the temperature from which on the factor T**2 of the soft targets makes the full learning rate diverge


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 03 and 05, by question; those of a second corpus have its name before theirs."""
    asked = {"03": section4(profile) | section1(profile), "05": section6(profile)}
    if not profile.beside:
        return asked | {"03": asked["03"] | on_words(profile)}
    if profile.name == "paper":  # its section 4 is in the making on the larger corpus
        asked["03"] = section1(profile)
    name = profile.beside.dataset
    for notebook, questions in of_second(profile.beside).items():
        asked[notebook] |= {f"{name}: {question}": runs for question, runs in questions.items()}
    return asked


def of_second(profile: Profile) -> Plan:
    """The runs on a corpus that stands beside another."""
    return {"03": section4(profile) | on_words(profile), "05": section6(profile)}


def section1(profile: Profile) -> Questions:
    """The claims of section 1 on speech; the soft targets are those of section 6."""
    asked, least, shares = profile.section1, profile.section6.shares[0], section6(profile)
    profile = dataclasses.replace(profile, member=profile.section6.full)

    def net(draw: int, temperature: float | None = None, **changes) -> AcousticModel | Student:
        """On soft targets at this temperature, else on hard ones."""
        training = least.hard if temperature is None else least.soft
        settings = {"share": least.share, "subset": draw}
        settings["optimisation"] = dataclasses.replace(training, epochs=asked.epochs, **changes)
        if temperature is None:
            return baseline(profile, 100 + draw, **settings)
        soft = {"teacher": baseline(profile, draw), "hard_weight": 0.0, "temperature": temperature}
        return student(profile, draw, **settings, **soft)

    draws = range(asked.draws)
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


def section4(profile: Profile) -> Questions:
    """The runs of notebook 03: the paper's recipe, what chose its settings, and its controls."""
    few, seeds, many = range(min(FEW, profile.seeds)), range(profile.seeds), range(profile.headline_seeds)
    controls = range(min(CONTROLS, profile.headline_seeds))
    recipe = {"optimisation": profile.longer, "hard_weight": profile.headline_weight}
    small = {"optimisation": profile.student, "hidden": profile.small}
    transfer = {"teacher": Transfer(ensemble(profile), profile.speeds), "optimisation": profile.more_speech}
    on_more = [baseline(profile, 100 + seed, optimisation=profile.more_speech) for seed in few]
    return {
        "alignment": [profile.alignment],
        "baseline": list(ensemble(profile).members),
        "ensemble": [ensemble(profile), ensemble(profile, "geometric")],
        "length": [
            student(profile, seed, hard_weight=profile.headline_weight, optimisation=_for(profile.longer, epochs))
            for epochs in (times * profile.member.epochs for times in profile.lengths)
            for seed in few
        ],
        "distilled": [student(profile, seed, **recipe) for seed in many],
        "distilled, other weight": [
            student(profile, seed, **recipe | {"hard_weight": profile.other_weight}) for seed in few
        ],
        "hard, longer": [baseline(profile, 100 + seed, optimisation=profile.longer) for seed in controls],
        "learning rate": [
            student(profile, 0, temperature=t, optimisation=_at_rate(_for(profile.student, profile.member.epochs), r))
            for t, r in profile.rates
        ],
        "temperature": [
            student(profile, seed, temperature=t, optimisation=_at_rate(profile.student, _rate(profile, t)))
            for t in profile.temperatures
            for seed in seeds
        ],
        "distilled, more speech": [student(profile, seed, hard_weight=0.0, **transfer) for seed in controls],
        "hard, more speech": [Stretched(model, profile.speeds) for model in on_more],
        "small": [baseline(profile, 100 + seed, **small) for seed in few],
        "small, briefly": [
            baseline(profile, 100 + seed, hidden=profile.small, optimisation=profile.member) for seed in few
        ],
        "small, distilled": [student(profile, seed, **small) for seed in few],
    }


def on_words(profile: Profile) -> Questions:
    """Further runs of notebook 03, which are asked of the corpus whose words are scored."""
    seeds = range(profile.seeds)
    on_samples = dataclasses.replace(ensemble(profile, resample=True), size=profile.resampled)
    regularised = {"hidden_dropout": REGULARISED, "optimisation": profile.regularised}
    return {
        "hard weight": [student(profile, seed, hard_weight=w) for w in profile.hard_weights for seed in seeds],
        "regularised": [baseline(profile, 100 + seed, **regularised) for seed in seeds],
        "resampled members": list(on_samples.members),
        "resampled": [on_samples],
        "sizes": [baseline(profile, hidden=hidden, optimisation=training) for hidden, training in profile.sizes],
    }


def _for(training: Optimisation, epochs: int) -> Optimisation:
    return dataclasses.replace(training, epochs=epochs)


def _at_rate(training: Optimisation, rate: float) -> Optimisation:
    return dataclasses.replace(training, learning_rate=rate)


def _rate(profile: Profile, temperature: float) -> float:
    return profile.student.learning_rate * (profile.high_rate if temperature >= HIGH else 1)


def section6(profile: Profile) -> Questions:
    """The runs of notebook 05.  Draw n of a share has its soft targets from baseline n."""
    section, shares = profile.section6, profile.section6.shares
    profile, least = dataclasses.replace(profile, member=section.full), shares[0]

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
        "labels": [profile.alignment],
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
