"""Which runs each question of sections 5 to 8 needs, at each profile."""

import dataclasses
from dataclasses import dataclass, replace

from distillation.core.store import profile_named
from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.specialists.assignment import Assignment
from distillation.specialists.combination import Combination
from distillation.specialists.generalists import Data, Generalist
from distillation.specialists.inference_time import InferenceTime
from distillation.specialists.nets import Specialist
from distillation.specialists.open_questions import Distilled, Mixture, SoftTargets


@dataclass(frozen=True)
class Profile:
    """Sizes and seeds of sections 5 to 8.

    generalist: seed 0 of it; number, size, specialist: the specialists, how many, their classes, and their training.
    methods: other ways to assign classes, tried with seed 0. regimes: other generalists, by name, each of one seed and
    with specialists of its own. shares: of the special pictures (section 6.1), for the first `few` specialists.
    mixture, mixture_seeds: trained from nothing; continued: from the generalist; rivals: number and size of the
    specialists that are compared with the mixture. temperatures, brief: of section 8's trials, and their epochs;
    distilled_at, distilled_n, distilled_seeds: temperature, n and number of its students; longer: of the generalist
    that is trained on.
    """

    name: str
    generalist: Generalist
    seeds: int
    number: int
    size: int
    specialist: Optimisation
    methods: tuple[str, ...]
    regimes: tuple[tuple[str, Generalist], ...]
    shares: tuple[float, ...]
    few: int
    mixture: Optimisation
    mixture_seeds: int
    continued: Optimisation
    rivals: tuple[int, int]
    temperatures: tuple[float, ...]
    brief: int
    distilled_at: float
    distilled_n: int
    distilled_seeds: int
    longer: Optimisation
    inference: tuple[InferenceTime, ...]

    @property
    def dataset(self) -> str:
        """The pictures."""
        return self.generalist.data.name


def _training(epochs: int, learning_rate: float, jitter: int = 4, batch_size: int = 128) -> Optimisation:
    return Optimisation(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, jitter=jitter)


def trained_for(net: Generalist, epochs: int) -> Generalist:
    """The same net with another number of epochs."""
    return replace(net, optimisation=replace(net.optimisation, epochs=epochs))


def with_cases(net: Generalist, cases: int) -> Generalist:
    """The same net on so many of its pictures."""
    return replace(net, data=replace(net.data, cases=cases))


_PAPER_GENERALIST = Generalist()

PAPER = Profile(
    name="paper",
    generalist=_PAPER_GENERALIST,
    seeds=3,
    number=20,
    size=10,
    specialist=_training(3, 0.03),
    methods=("confusion", "superclasses", "random"),
    regimes=(("early", trained_for(_PAPER_GENERALIST, 5)), ("half", with_cases(_PAPER_GENERALIST, 22_500))),
    shares=(1.0, 0.2, 0.04),
    few=10,
    mixture=_training(6, 0.1),
    mixture_seeds=0,
    continued=_training(1, 0.03),
    rivals=(4, 25),
    temperatures=(1, 2, 4),
    brief=5,
    distilled_at=4,  # the best of these on the first generalist's held-out pictures
    distilled_n=3,  # likewise
    distilled_seeds=3,
    longer=_training(4, 0.05),
    # The second as large as the section's font styles: all test pictures, all specialists.
    inference=(InferenceTime(), InferenceTime(images=52_700, classes=1_463, specialists=61, size=30)),
)

# The plan in the making, on 1,463 styles of type; as in the other wings, its records lie under results/next.
# A rung's size, which stands for its widths, and its lengths in epochs.
LADDER = {8: (8, 16), 16: (4, 8), 24: (2, 4)}
GATES = {"cifar-100": (16, 32, 64)}  # widths of a mixture's gate, where it is not as wide as an expert
EXHAUSTED = 5.0  # points by which a net is better on its training than on held-out pictures: its data limit it

_NEXT_GENERALIST = Generalist(
    data=Data("fonts", 1_463, 422_082, 52_578),
    widths=(8, 16, 32, 64),
    optimisation=_training(8, 0.1, jitter=0),
    weight_decay=1e-4,  # 22 % of held-out pictures right after one epoch, against 20 % with five times as much
    mirror=False,
)

NEXT = dataclasses.replace(
    PAPER,
    name="next",
    generalist=_NEXT_GENERALIST,
    seeds=5,  # the first three could not tell table 4's slope from zero; two more, once
    number=61,
    size=30,
    specialist=_training(4, 0.05, jitter=0),
    methods=("confusion", "families", "random"),
    regimes=(
        ("early", trained_for(_NEXT_GENERALIST, 2)),
        ("large", replace(_NEXT_GENERALIST, widths=(16, 32, 64, 128))),
        ("by letter", replace(_NEXT_GENERALIST, data=Data("fonts by letter", 1_463, 373_385, 105_620))),
    ),
    rivals=(7, 209),  # which see as many pictures, in all, as the experts of a mixture of eight in one epoch
    continued=_training(1, 0.05, jitter=0),
    brief=2,
    distilled_at=1,  # of 1, 2 and 4 the best on the first generalist's held-out pictures
    longer=_training(10, 0.05, jitter=0),  # as many pictures as all specialists see
)

# A tenth of the styles, which this repository holds.
_QUICK_GENERALIST = Generalist(
    data=Data("fonts (embedded)", 146, 42_943, 5_261),
    widths=(8, 16, 32, 64),
    optimisation=_training(6, 0.1, jitter=0),
    weight_decay=1e-4,
    mirror=False,
)

QUICK = dataclasses.replace(
    PAPER,
    name="quick",
    generalist=_QUICK_GENERALIST,
    seeds=2,
    number=12,
    size=12,
    specialist=_training(4, 0.05, jitter=0),
    methods=("families", "random"),
    regimes=(("early", trained_for(_QUICK_GENERALIST, 2)), ("half", with_cases(_QUICK_GENERALIST, 21_471))),
    shares=(1.0, 0.2),
    few=3,
    mixture=_training(2, 0.1, jitter=0),
    mixture_seeds=1,
    continued=_training(1, 0.03, jitter=0),
    rivals=(2, 48),
    temperatures=(1, 4),
    brief=2,
    distilled_seeds=2,
    longer=_training(2, 0.05, jitter=0),
    inference=(InferenceTime(images=1_000),),
)

_SMOKE_GENERALIST = Generalist(
    data=Data("fonts (embedded)", 24, 1_440, 480),
    widths=(8, 16, 24),
    optimisation=_training(3, 0.1, jitter=2, batch_size=64),
    mirror=False,
)

SMOKE = dataclasses.replace(
    QUICK,
    name="smoke",
    generalist=_SMOKE_GENERALIST,
    number=4,
    size=6,
    specialist=_training(2, 0.03, jitter=2, batch_size=64),
    methods=("confusion", "superclasses", "families", "random"),
    regimes=(("early", trained_for(_SMOKE_GENERALIST, 1)), ("half", with_cases(_SMOKE_GENERALIST, 720))),
    few=2,
    mixture=_training(1, 0.1, jitter=2, batch_size=64),
    continued=_training(1, 0.03, jitter=2, batch_size=64),
    rivals=(2, 8),
    brief=1,
    longer=_training(1, 0.05, jitter=2, batch_size=64),
    inference=(InferenceTime(images=200),),
)


def profile(name: str) -> Profile:
    """The profile of that name.  Raises ValueError for an unknown name."""
    return profile_named(name, (SMOKE, QUICK, PAPER, NEXT))


def generalist(profile: Profile, seed: int = 0) -> Generalist:
    """The generalist."""
    return replace(profile.generalist, seed=seed)


def brief_generalist(profile: Profile) -> Generalist:
    """The first generalist, trained as briefly as the trials of section 8: their control."""
    return trained_for(generalist(profile), profile.brief)


def assignment(profile: Profile, of: Generalist, **changes) -> Assignment:
    """Which classes that generalist's specialists take."""
    settings = {"number": profile.number, "size": profile.size, "seed": of.seed}
    return Assignment(of, **settings | changes)


def combination(profile: Profile, of: Generalist, **changes) -> Combination:
    """That generalist with its specialists, which are trained on pictures like its own."""
    training = replace(profile.specialist, jitter=of.optimisation.jitter)
    taken = assignment(profile, of, **changes)
    return Combination(Specialist(taken, optimisation=training, weight_decay=of.weight_decay, seed=of.seed))


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 04 and 06, by question."""
    if profile.name == NEXT.name:
        questions = section5(profile) | {"ladder": ladder(profile)} | controls(profile)
        del questions["inference time"]  # is published
        open_ones = open_questions(profile) | divided(profile) | larger_student(profile)
        del open_ones["continued"]  # is one of the controls
        return {"04": questions, "06": open_ones}
    return {"04": section5(profile), "06": open_questions(profile)}


def ladder(profile: Profile) -> list[Generalist]:
    """Generalists of several sizes and lengths, from which `results.chosen_rung` takes one before any specialist is.

    The longest of each size is one that its data limit, or nearly.
    """
    return [
        trained_for(replace(generalist(profile), widths=widths_of(size)), epochs)
        for size, lengths in LADDER.items()
        for epochs in lengths
    ]


def widths_of(size: int) -> tuple[int, ...]:
    """Widths of a net of that size, each twice the one before."""
    return tuple(size * width for width in (1, 2, 4, 8))


def section5(profile: Profile) -> Questions:
    """The runs of notebook 04."""
    nets = [generalist(profile, seed) for seed in range(profile.seeds)]
    return {
        "specialists": [combination(profile, net) for net in nets],
        "methods": [combination(profile, nets[0], method=method) for method in profile.methods],
        **{name: [combination(profile, net)] for name, net in profile.regimes},
        "on-line clusters": online(profile),
        "inference time": list(profile.inference),
    }


def controls(profile: Profile) -> dict[str, list[Distilled]]:
    """What else the specialists' pictures could buy: "trained on", the generalists on hard targets for as many."""
    nets = [generalist(profile, seed) for seed in range(profile.seeds)]
    settings = {"continued": True, "optimisation": profile.longer}
    return {"trained on": [Distilled(net, weight_decay=net.weight_decay, seed=net.seed, **settings) for net in nets]}


def open_questions(profile: Profile) -> Questions:
    """The runs of notebook 06, which compares with the specialists of notebook 04."""
    return {
        "specialists": section5(profile)["specialists"],
        **{f"softmax: {name}": configs for name, configs in soft_specialists(profile).items()},
        "few specialists": rivals(profile),
        "generalist trained briefly": [brief_generalist(profile)],
        **mixtures(profile),
        **distilled(profile),
    }


def online(profile: Profile) -> list[Assignment]:
    """Clusters by mini-batch k-means, the on-line variant, per generalist; no specialists are trained on them."""
    return [
        assignment(profile, generalist(profile, seed), method="covariance on-line") for seed in range(profile.seeds)
    ]


def soft_specialists(profile: Profile) -> dict[str, list[Specialist]]:
    """Section 6.1: specialists with either softmax, on ever smaller shares, for as many steps."""
    first = combination(profile, generalist(profile)).first

    def steps_per_epoch(share: float) -> int:
        pictures = 2 * round(share * profile.size * profile.generalist.data.cases / profile.generalist.data.classes)
        return max(1, pictures // first.optimisation.batch_size)

    def member(softmax: str, share: float, index: int) -> Specialist:
        epochs = round(first.optimisation.epochs * steps_per_epoch(1) / steps_per_epoch(share))
        training = replace(first.optimisation, epochs=epochs)
        return replace(first, softmax=softmax, share=share, index=index, optimisation=training)

    return {
        softmax: [member(softmax, share, index) for share in profile.shares for index in range(profile.few)]
        for softmax in ("dustbin", "full")
    }


def mixtures(profile: Profile) -> dict[str, list[Mixture]]:
    """Section 7: mixtures of experts from nothing, and with every expert starting as the generalist."""

    def mixture(training: Optimisation, seed: int, start: Generalist | None) -> Mixture:
        net = profile.generalist
        training = replace(training, jitter=net.optimisation.jitter)
        return Mixture(
            net.data,
            net.widths,
            profile.rivals[0] + 1,
            GATES.get(net.data.name, net.widths),
            start=start,
            optimisation=training,
            weight_decay=net.weight_decay,
            mirror=net.mirror,
            seed=seed,
        )

    found = {
        "mixture": [mixture(profile.mixture, seed, None) for seed in range(profile.mixture_seeds)],
        "mixture, continued": [
            mixture(profile.continued, seed, generalist(profile, seed)) for seed in range(profile.seeds)
        ],
    }
    return {name: configs for name, configs in found.items() if configs}


def divided(profile: Profile) -> dict[str, list[Mixture]]:
    """Section 7: the mixtures that start as the generalist, with an expert and a share of the gate for each cluster."""

    def with_clusters(config: Mixture) -> Mixture:
        number, size = profile.rivals
        return replace(config, start=assignment(profile, config.start, number=number + 1, size=size))

    return {"mixture, divided": [with_clusters(config) for config in mixtures(profile)["mixture, continued"]]}


def rivals(profile: Profile) -> list[Combination]:
    """Section 7: few, larger specialists, which with the generalist have as many parameters as a mixture."""
    number, size = profile.rivals
    return [combination(profile, generalist(profile, seed), number=number, size=size) for seed in range(profile.seeds)]


def larger_student(profile: Profile) -> dict[str, list[Distilled]]:
    """Section 8: a student of q of the regime "large", whose generalist is its control on hard targets."""
    (student, *_) = distilled(profile)["q"]
    return {"larger student": [replace(student, generalist=net) for name, net in profile.regimes if name == "large"]}


def distilled(profile: Profile) -> dict[str, list[Distilled]]:
    """Section 8: one net from the generalist and its specialists, and its controls.

    "q": trained from nothing like the generalist, at the profile's temperature; "p": on the generalist's own
    distribution.  Trials with one seed: "temperature": briefly, at each temperature; "held out": briefly, also on the
    held-out pictures; "continued": the generalist itself, trained on with hard targets.
    """

    def student(seed: int, **changes) -> Distilled:
        net = generalist(profile, seed)
        targets = SoftTargets(combination(profile, net), profile.distilled_n)
        settings = {"temperature": profile.distilled_at, "optimisation": net.optimisation} | changes
        return Distilled(net, targets, weight_decay=net.weight_decay, seed=seed, **settings)

    def on_own(config: Distilled) -> Distilled:
        return replace(config, targets=replace(config.targets, n=0))

    seeds = range(profile.distilled_seeds)
    briefly = brief_generalist(profile).optimisation
    longer = replace(profile.longer, jitter=briefly.jitter)
    continued = replace(student(0), targets=None, temperature=1.0, continued=True, optimisation=longer)
    return {
        "q": [student(seed) for seed in seeds],
        "p": [on_own(student(seed)) for seed in seeds],
        "temperature": [student(0, temperature=value, optimisation=briefly) for value in profile.temperatures],
        "held out": [student(0, held_out=True, optimisation=briefly)],
        "continued": [continued],
    }
