"""Which runs each question of sections 5 to 8 needs, at each profile."""

import dataclasses
from dataclasses import dataclass, replace

from distillation.core.store import profile_named
from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.specialists.assignment import Assignment
from distillation.specialists.combination import Combination
from distillation.specialists.data import cifar100
from distillation.specialists.generalists import Data, Generalist
from distillation.specialists.inference_time import InferenceTime
from distillation.specialists.nets import Specialist
from distillation.specialists.open_questions import Distilled, Mixture, SoftTargets


@dataclass(frozen=True)
class Profile:
    """Sizes and seeds of sections 5 to 8.

    generalist: seed 0 of it; number, size, specialist: the specialists, how many, their classes, and their training.
    methods: other ways to assign classes, tried with seed 0. early, early_seeds: epochs of generalists that were
    stopped early (of their own schedule); half: a generalist with half the data; glyphs: generalists that see as many
    glyphs, fewer or more different ones, and so do their specialists; glyph_size: classes of these. shares: of the
    special pictures (section 6.1), for the first `few` specialists. mixture, mixture_seeds: trained from nothing;
    continued: from the generalist; rivals: number and size of the specialists that are compared with the mixture.
    temperatures, brief: of section 8's trials, and their epochs; distilled_at, distilled_n, distilled_seeds:
    temperature, n and number of its students; longer: of the generalist that is trained on.
    """

    name: str
    generalist: Generalist
    seeds: int
    number: int
    size: int
    specialist: Optimisation
    methods: tuple[str, ...]
    early: tuple[int, ...]
    early_seeds: int
    half: Generalist
    glyphs: tuple[Generalist, ...]
    glyph_size: int
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


def _glyphs(generalist: Generalist, classes: int, cases: int, epochs: int, test: int) -> Generalist:
    training = replace(generalist.optimisation, epochs=epochs, jitter=2)
    data = Data("glyphs", classes, cases, test)
    return replace(generalist, data=data, mirror=False, optimisation=training)


_PAPER_GENERALIST = Generalist()

PAPER = Profile(
    name="paper",
    generalist=_PAPER_GENERALIST,
    seeds=3,
    number=20,
    size=10,
    specialist=_training(3, 0.03),
    methods=("confusion", "superclasses", "random"),
    early=(5,),
    early_seeds=1,
    half=replace(_PAPER_GENERALIST, data=Data(cases=22_500)),
    glyphs=tuple(
        _glyphs(_PAPER_GENERALIST, 500, cases, epochs, 10_000) for cases, epochs in ((10_800, 8), (86_400, 1))
    ),
    glyph_size=25,
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
# A rung's size, which stands for its widths, and the lengths in epochs that the rule may ask for.
LADDER = {6: (2, 4, 8, 16, 32), 8: (2, 4, 8, 16, 32), 16: (2, 4, 8, 16, 32)}
SATURATED, EXHAUSTED = 1.0, 5.0  # points of accuracy: what doubling adds, and training above held-out pictures

NEXT = dataclasses.replace(
    PAPER,
    name="next",
    generalist=Generalist(
        data=Data("fonts", 1_463, 422_082, 52_578),
        widths=(8, 16, 32, 64),
        optimisation=_training(4, 0.1, jitter=0),
        weight_decay=1e-4,  # 22 % of held-out pictures right after one epoch, against 20 % with five times as much
        mirror=False,
    ),
)

_QUICK_GENERALIST = Generalist(
    data=Data(classes=25, cases=9_000, test=2_500), widths=(24, 48, 96), optimisation=_training(5, 0.1)
)

QUICK = dataclasses.replace(
    PAPER,
    name="quick",
    generalist=_QUICK_GENERALIST,
    seeds=2,
    number=5,
    size=6,
    specialist=_training(2, 0.03),
    methods=("superclasses", "random"),
    early=(2,),
    half=replace(_QUICK_GENERALIST, data=Data(classes=25, cases=4_500, test=2_500)),
    glyphs=tuple(_glyphs(_QUICK_GENERALIST, 100, cases, epochs, 2_000) for cases, epochs in ((2_700, 9), (24_300, 1))),
    glyph_size=15,
    shares=(1.0, 0.2),
    few=2,
    mixture=_training(2, 0.1),
    mixture_seeds=1,
    rivals=(2, 10),
    temperatures=(1, 4),
    brief=2,
    distilled_seeds=2,
    longer=_training(2, 0.05),
    inference=(InferenceTime(images=1_000),),
)

_SMOKE_GENERALIST = Generalist(
    data=Data("glyphs", 24, 1_440, 480),
    widths=(8, 16, 24),
    optimisation=_training(3, 0.1, jitter=2, batch_size=64),
    mirror=False,
)

SMOKE = dataclasses.replace(
    QUICK,
    name="smoke",
    generalist=_SMOKE_GENERALIST,
    number=4,
    specialist=_training(2, 0.03, jitter=2, batch_size=64),
    methods=("confusion", "superclasses", "random"),
    early=(1,),
    half=replace(_SMOKE_GENERALIST, data=Data("glyphs", 24, 720, 480)),
    glyphs=tuple(_glyphs(_SMOKE_GENERALIST, 40, cases, epochs, 400) for cases, epochs in ((720, 3), (2_160, 1))),
    glyph_size=6,
    mixture=_training(1, 0.1, jitter=2, batch_size=64),
    continued=_training(1, 0.03, jitter=2, batch_size=64),
    rivals=(2, 8),
    brief=1,
    longer=_training(1, 0.05, jitter=2, batch_size=64),
    inference=(InferenceTime(images=200),),
)


def profile(name: str) -> Profile:
    """The profile of that name; "quick" falls back to glyphs where CIFAR-100 is not to be had.

    Raises ValueError for an unknown name.
    """
    chosen = profile_named(name, (SMOKE, QUICK, PAPER, NEXT))
    if name == "quick" and cifar100.find() != "cifar-100":
        data = replace(chosen.generalist.data, name="glyphs")
        stand_in = replace(chosen.generalist, data=data, mirror=False)
        half = replace(stand_in, data=replace(data, cases=chosen.half.data.cases))
        return replace(chosen, generalist=stand_in, half=half)
    return chosen


def generalist(profile: Profile, seed: int = 0) -> Generalist:
    """The generalist."""
    return replace(profile.generalist, seed=seed)


def trained_for(net: Generalist, epochs: int) -> Generalist:
    """The same net with another number of epochs."""
    return replace(net, optimisation=replace(net.optimisation, epochs=epochs))


def brief_generalist(profile: Profile) -> Generalist:
    """The first generalist, trained as briefly as the trials of section 8: their control."""
    return trained_for(generalist(profile), profile.brief)


def assignment(profile: Profile, of: Generalist, **changes) -> Assignment:
    """Which classes that generalist's specialists take."""
    settings = {"number": profile.number, "size": profile.size, "seed": of.seed}
    return Assignment(of, **settings | changes)


def combination(profile: Profile, of: Generalist, *, times: int = 1, **changes) -> Combination:
    """That generalist with its specialists, which are trained on pictures like its own, so many times as long."""
    training = replace(profile.specialist, epochs=times * profile.specialist.epochs, jitter=of.optimisation.jitter)
    return Combination(Specialist(assignment(profile, of, **changes), optimisation=training, seed=of.seed))


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 04 and 06, by question."""
    if profile.name == NEXT.name:
        return {"04": {"ladder": ladder(profile)}, "06": {}}
    return {"04": section5(profile), "06": open_questions(profile)}


def ladder(profile: Profile) -> list[Generalist]:
    """Generalists of growing size and length, from which `results.chosen_rung` takes one before any specialist is.

    A size whose training accuracy is already too far above held-out pictures need not be trained for longer.
    """
    return [
        trained_for(replace(generalist(profile), widths=widths_of(size)), epochs)
        for size, lengths in LADDER.items()
        for epochs in lengths
    ]


def widths_of(size: int) -> tuple[int, ...]:
    """Widths of a net of that size: each twice the one before, and 8 at least."""
    return tuple(max(8, size * width) for width in (1, 2, 4, 8))


def section5(profile: Profile) -> Questions:
    """The runs of notebook 04."""
    nets = [generalist(profile, seed) for seed in range(profile.seeds)]
    early = [trained_for(net, epochs) for epochs in profile.early for net in nets[: profile.early_seeds]]
    return {
        "specialists": [combination(profile, net) for net in nets],
        "methods": [combination(profile, nets[0], method=method) for method in profile.methods],
        "early": [combination(profile, net) for net in early],
        "half": [combination(profile, profile.half)],
        "glyphs": [
            combination(profile, net, times=net.optimisation.epochs, size=profile.glyph_size) for net in profile.glyphs
        ],
        "on-line clusters": online(profile),
        "inference time": list(profile.inference),
    }


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
            start=start,
            optimisation=training,
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


def rivals(profile: Profile) -> list[Combination]:
    """Section 7: few, larger specialists, which with the generalist have as many parameters as a mixture."""
    number, size = profile.rivals
    return [combination(profile, generalist(profile, seed), number=number, size=size) for seed in range(profile.seeds)]


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
