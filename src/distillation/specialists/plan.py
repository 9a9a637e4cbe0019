"""Which runs each question of sections 5 to 8 needs, at each profile."""

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

    generalist: seed 0 of it. seeds: with all their specialists; control_seeds: of all that is compared with these.
    number, size, specialist: the specialists, how many, their classes, and their training. ladder: sizes and epochs of
    the nets among which the generalist was chosen. methods: other ways to assign classes, tried with seed 0. regimes:
    other generalists, by name, each of one seed and with specialists of its own; "early" is also the control of section
    8's trials, which are as brief. longer: of the generalist that is trained on.
    shares: of the special pictures (section 6.1), for the first `few_specialists`. continued: of mixtures; rivals:
    number and size of the specialists that are compared with these. temperatures: of section 8's trials; distilled_at,
    distilled_n: temperature and n of its students. beside: sizes and seeds on a second data set, of which notebook 04
    asks its first questions.
    """

    name: str
    generalist: Generalist
    seeds: int
    control_seeds: int
    number: int
    size: int
    specialist: Optimisation
    ladder: tuple[tuple[int, int], ...]
    methods: tuple[str, ...]
    regimes: tuple[tuple[str, Generalist], ...]
    longer: Optimisation
    shares: tuple[float, ...]
    few_specialists: int
    continued: Optimisation
    rivals: tuple[int, int]
    temperatures: tuple[float, ...]
    distilled_at: float
    distilled_n: int
    inference: tuple[InferenceTime, ...]
    beside: "Profile | None" = None

    @property
    def dataset(self) -> str:
        """The pictures."""
        return self.generalist.data.name


def _training(epochs: int, learning_rate: float, jitter: int = 0, batch_size: int = 128) -> Optimisation:
    return Optimisation(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, jitter=jitter)


def trained_for(net: Generalist, epochs: int) -> Generalist:
    """The same net with another number of epochs."""
    return replace(net, optimisation=replace(net.optimisation, epochs=epochs))


def with_cases(net: Generalist, cases: int) -> Generalist:
    """The same net on so many of its pictures."""
    return replace(net, data=replace(net.data, cases=cases))


def widths_of(size: int) -> tuple[int, ...]:
    """Widths of a net of that size, each twice the one before."""
    return tuple(size * width for width in (1, 2, 4, 8))


EXHAUSTED = 5.0  # points by which a net is better on its training than on held-out pictures: its data limit it

_GENERALIST = Generalist(
    data=Data("fonts", 1_463, 422_082, 52_578),
    widths=widths_of(8),
    optimisation=_training(8, 0.1),
    weight_decay=1e-4,  # better on held-out pictures after one epoch than five times as much
    mirror=False,
)

_FONTS = Profile(
    name="paper",
    generalist=_GENERALIST,
    seeds=5,  # the first three could not tell table 4's slope from zero; two more, once
    control_seeds=3,
    number=61,
    size=30,
    specialist=_training(4, 0.05),
    ladder=((8, 8), (8, 16), (16, 4), (16, 8), (24, 2), (24, 4)),
    methods=("confusion", "families", "random"),
    regimes=(
        ("early", trained_for(_GENERALIST, 2)),
        ("large", replace(_GENERALIST, widths=widths_of(16))),
        ("by letter", replace(_GENERALIST, data=Data("fonts by letter", 1_463, 373_385, 105_620))),
    ),
    longer=_training(10, 0.05),  # for as many pictures as all specialists see
    shares=(1.0, 0.2, 0.04),
    few_specialists=10,
    continued=_training(1, 0.05),
    rivals=(7, 209),  # which see as many pictures, in all, as the experts of a mixture of eight in one epoch
    temperatures=(1, 2, 4),
    distilled_at=1,  # of 1, 2 and 4 the best on the first generalist's held-out pictures
    distilled_n=3,  # of 1, 2 and 3 likewise
    # The second as large as this section: all test pictures, all specialists.
    inference=(InferenceTime(), InferenceTime(images=52_700, classes=1_463, specialists=61, size=30)),
)

_CIFAR = Generalist()

PAPER = replace(
    _FONTS,
    beside=replace(  # of which no more is asked than the first questions of notebook 04
        _FONTS,
        generalist=_CIFAR,
        seeds=3,
        number=20,
        size=10,
        specialist=_training(3, 0.03, jitter=4),
        methods=("confusion", "superclasses", "random"),
        regimes=(("early", trained_for(_CIFAR, 5)), ("half", with_cases(_CIFAR, 22_500))),
    ),
)

NEXT = replace(PAPER, name="next")  # no plan is in the making in this wing

# A tenth of the styles, which this repository holds: of 42,943 pictures as many as six minutes allow.
_EMBEDDED = replace(_GENERALIST, data=Data("fonts (embedded)", 146, 30_000, 5_261), optimisation=_training(4, 0.1))

QUICK = replace(
    PAPER,
    name="quick",
    generalist=_EMBEDDED,
    seeds=2,
    control_seeds=2,
    number=12,
    size=12,
    ladder=(),
    specialist=_training(2, 0.05),
    methods=("random",),
    regimes=(("early", trained_for(_EMBEDDED, 1)),),
    longer=_training(4, 0.05),
    shares=(1.0, 0.2),
    few_specialists=3,
    rivals=(2, 48),
    continued=_training(1, 0.05),
    temperatures=(1, 4),
    inference=(InferenceTime(images=1_000),),
    beside=None,
)

_SMALLEST = Generalist(
    data=Data("fonts (embedded)", 24, 1_440, 480),
    widths=(8, 16, 24),
    optimisation=_training(3, 0.1, jitter=2, batch_size=64),
    mirror=False,
)

SMOKE = replace(
    QUICK,
    name="smoke",
    generalist=_SMALLEST,
    number=4,
    size=6,
    specialist=_training(2, 0.03, jitter=2, batch_size=64),
    methods=("confusion", "superclasses", "families", "random"),
    regimes=(("early", trained_for(_SMALLEST, 1)), ("large", replace(_SMALLEST, widths=(16, 32, 48)))),
    longer=_training(1, 0.05, jitter=2, batch_size=64),
    few_specialists=2,
    rivals=(2, 8),
    continued=_training(1, 0.03, jitter=2, batch_size=64),
    inference=(InferenceTime(images=200),),
)


def profile(name: str) -> Profile:
    """The profile of that name.  Raises ValueError for an unknown name."""
    return profile_named(name, (SMOKE, QUICK, PAPER, NEXT))


def generalist(profile: Profile, seed: int = 0) -> Generalist:
    """The generalist."""
    return replace(profile.generalist, seed=seed)


def compared_generalists(profile: Profile) -> list[Generalist]:
    """Those generalists with which others are compared, by seed."""
    return [generalist(profile, seed) for seed in range(profile.control_seeds)]


def brief_generalist(profile: Profile) -> Generalist:
    """The first generalist, trained briefly."""
    return dict(profile.regimes)["early"]


def larger_generalists(profile: Profile) -> list[Generalist]:
    """The first generalist twice as wide, where the profile has it."""
    return [net for name, net in profile.regimes if name == "large"]


def assignment(profile: Profile, of: Generalist, **changes) -> Assignment:
    """Which classes that generalist's specialists take."""
    settings = {"number": profile.number, "size": profile.size, "seed": of.seed}
    return Assignment(of, **settings | changes)


def combination(profile: Profile, of: Generalist, **changes) -> Combination:
    """That generalist with its specialists, which are trained on pictures like its own."""
    taken = assignment(profile, of, **changes)
    return Combination(Specialist(taken, optimisation=profile.specialist, weight_decay=of.weight_decay, seed=of.seed))


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 04 and 06, by question."""
    return {"04": section5(profile), "06": open_questions(profile)}


def section5(profile: Profile) -> Questions:
    """The runs of notebook 04."""
    online = [assignment(profile, net, method="covariance on-line") for net in compared_generalists(profile)]
    asked = {
        "ladder": ladder(profile),
        **specialists(profile),
        "trained on": trained_on(profile),
        "on-line clusters": online,
        "inference time": list(profile.inference),
    }
    if profile.beside:
        second = profile.beside
        asked |= {f"{second.dataset}: {name}": configs for name, configs in specialists(second).items()}
    return {name: configs for name, configs in asked.items() if configs}


def ladder(profile: Profile) -> list[Generalist]:
    """Generalists of several sizes and lengths, from which `results.chosen_rung` takes one before any specialist is.

    The longest of each size is one that its data limit, or nearly.
    """
    return [
        trained_for(replace(generalist(profile), widths=widths_of(size)), epochs) for size, epochs in profile.ladder
    ]


def specialists(profile: Profile) -> Questions:
    """Generalists with all their specialists: the profile's own, with other methods, and in other regimes."""
    nets = [generalist(profile, seed) for seed in range(profile.seeds)]
    return {
        "specialists": [combination(profile, net) for net in nets],
        "methods": [combination(profile, nets[0], method=method) for method in profile.methods],
        **{name: [combination(profile, net)] for name, net in profile.regimes},
    }


def trained_on(profile: Profile) -> list[Distilled]:
    """Generalists trained on, for as many pictures as their specialists see: a control that the paper does not give."""
    settings = {"continued": True, "optimisation": profile.longer}
    return [
        Distilled(net, weight_decay=net.weight_decay, seed=net.seed, **settings)
        for net in compared_generalists(profile)
    ]


def open_questions(profile: Profile) -> Questions:
    """The runs of notebook 06, which compares with the specialists of notebook 04."""
    asked = {
        "specialists": specialists(profile)["specialists"],
        "trained on": trained_on(profile),
        **{f"softmax: {name}": configs for name, configs in soft_specialists(profile).items()},
        "few specialists": rivals(profile),
        **mixtures(profile),
        "generalist trained briefly": [brief_generalist(profile)],
        "larger generalist": larger_generalists(profile),
        **distilled(profile),
    }
    return {name: configs for name, configs in asked.items() if configs}


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
        softmax: [member(softmax, share, index) for share in profile.shares for index in range(profile.few_specialists)]
        for softmax in ("dustbin", "full")
    }


def mixtures(profile: Profile) -> dict[str, list[Mixture]]:
    """Section 7: mixtures of experts, a seed per generalist, which all experts start as.

    "mixture, divided": each expert has a cluster of classes, as a specialist has, and the gate learns to tell clusters
    apart; "mixture, alike": gate and chance divide the work.
    """
    number, size = profile.rivals

    def mixture(net: Generalist, start: Generalist | Assignment) -> Mixture:
        settings = {"mirror": net.mirror, "weight_decay": net.weight_decay, "seed": net.seed}
        training = profile.continued
        return Mixture(net.data, net.widths, number + 1, net.widths, start=start, optimisation=training, **settings)

    nets = compared_generalists(profile)
    clusters = [assignment(profile, net, number=number + 1, size=size) for net in nets]
    return {
        "mixture, divided": [mixture(net, start) for net, start in zip(nets, clusters, strict=True)],
        "mixture, alike": [mixture(net, net) for net in nets],
    }


def rivals(profile: Profile) -> list[Combination]:
    """Section 7: few, larger specialists, which with the generalist are as many nets as a mixture's experts."""
    number, size = profile.rivals
    return [combination(profile, net, number=number, size=size) for net in compared_generalists(profile)]


def distilled(profile: Profile) -> dict[str, list[Distilled]]:
    """Section 8: one net from the generalist and its specialists, and its controls.

    "q": trained from nothing like the generalist, at the profile's temperature; "p": on the generalist's own
    distribution.  Of one seed: "larger student", as large as the larger generalist, if any; and trials, trained
    briefly: "temperature", at each temperature; "held out", also on the held-out pictures.
    """

    def student(seed: int, **changes) -> Distilled:
        net = generalist(profile, seed)
        targets = SoftTargets(combination(profile, net), profile.distilled_n)
        settings = {"temperature": profile.distilled_at, "optimisation": net.optimisation} | changes
        return Distilled(net, targets, weight_decay=net.weight_decay, seed=seed, **settings)

    def on_own(config: Distilled) -> Distilled:
        return replace(config, targets=replace(config.targets, n=0))

    seeds = range(profile.control_seeds)
    briefly = brief_generalist(profile).optimisation
    return {
        "q": [student(seed) for seed in seeds],
        "p": [on_own(student(seed)) for seed in seeds],
        "temperature": [student(0, temperature=value, optimisation=briefly) for value in profile.temperatures],
        "held out": [student(0, held_out=True, optimisation=briefly)],
        "larger student": [replace(student(0), generalist=net) for net in larger_generalists(profile)],
    }
