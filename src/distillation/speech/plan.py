"""Which runs each question of sections 4 and 6 needs, at each profile."""

import dataclasses
from dataclasses import dataclass

from distillation.core.store import profile_named
from distillation.core.sweep import Plan, Questions
from distillation.core.training import Optimisation
from distillation.speech.alignment import Alignment
from distillation.speech.data import an4, speechocean
from distillation.speech.nets import AcousticModel, Constant, Ensemble, Stretched, Student, Transfer
from distillation.speech.recogniser.flat_start import Rounds

REGULARISED = 0.2  # the dropout of the regularised baselines


@dataclass(frozen=True)
class Share:
    """How nets are trained on a share of the training utterances.

    draws: random ones.  hard, soft: how nets are trained on either kind of targets.  scored_every: epochs between the
    scores on development.  lengths: of training, in epochs, which the first length_draws try; hard and soft have that
    which is best on development.
    """

    share: float
    draws: int
    hard: Optimisation
    soft: Optimisation
    scored_every: int
    lengths: tuple[int, ...] = ()
    length_draws: int = 0


@dataclass(frozen=True)
class Section6:
    """Section 6 on one corpus.

    full: how the models of all its speech are trained; shares: the first is the claims' and, with the second, the
    table's; steady: draws of the first that are trained at a constant rate, too, for the second of its lengths.
    """

    alignment: Alignment
    full: Optimisation
    shares: tuple[Share, ...]
    steady: int = 2


@dataclass(frozen=True)
class Profile:
    """Sizes and seeds of sections 4 and 6.

    member: how the baselines are trained, which are the ensemble's members too; regularised: those with dropout;
    longer: students on the members' speech, and nets on hard targets for as many steps; more_speech: the students of
    the paper's table, on a larger transfer set; student: the students of every sweep. resampled: members on resampled
    speech. small: hidden layers of the small student. sizes: hidden layers and training of the other nets. section6:
    on each of its corpora, the headline's first. headline_seeds: students of the table, and those on the members'
    speech with their controls; seeds: of all else. headline_weight: of the hard targets of the longer students, chosen
    on development. speeds: at which the larger transfer set repeats the training utterances.
    """

    name: str
    alignment: Alignment
    hidden: tuple[int, ...]
    member: Optimisation
    regularised: Optimisation
    longer: Optimisation
    student: Optimisation
    more_speech: Optimisation
    ensemble_size: int
    resampled: int
    headline_seeds: int
    seeds: int
    temperatures: tuple[float, ...]
    hard_weights: tuple[float, ...]
    small: tuple[int, ...]
    sizes: tuple[tuple[tuple[int, ...], Optimisation], ...]
    section6: tuple[Section6, ...]
    temperature: float = 2.0
    hard_weight: float = 0.5
    headline_weight: float = 1 / 3
    speeds: tuple[float, ...] = (0.9, 1.1)

    @property
    def dataset(self) -> str:
        """The corpus."""
        return self.alignment.dataset


def _epochs(number: int, batch_size: int = 512, learning_rate: float = 0.1) -> Optimisation:
    return Optimisation(epochs=number, batch_size=batch_size, learning_rate=learning_rate)


AN4 = Section6(
    Alignment(),
    _epochs(6),
    (
        Share(0.03, 3, _epochs(200, 256), _epochs(400, 256, 0.05), 5, lengths=(50, 100, 200, 400), length_draws=3),
        Share(0.1, 3, _epochs(50, 256), _epochs(50, 256, 0.05), 5),
        Share(0.01, 3, _epochs(200, 256), _epochs(200, 256, 0.05), 5),
        Share(0.3, 3, _epochs(25), _epochs(25, learning_rate=0.05), 5),
    ),
)
SPEECHOCEAN = Section6(
    Alignment(
        dataset=speechocean.NAME,
        optimisation=Optimisation(epochs=2, batch_size=1024, learning_rate=0.1),
        network_rounds=4,
    ),
    _epochs(3),
    (  # hard and soft at one of the lengths until all are tried
        Share(0.03, 5, _epochs(50, 256), _epochs(50, 256, 0.05), 2, lengths=(12, 25, 50, 100), length_draws=2),
        Share(0.1, 3, _epochs(20, 256), _epochs(20, 256, 0.05), 1, lengths=(10, 20, 40), length_draws=1),
        Share(0.3, 2, _epochs(10), _epochs(10, learning_rate=0.05), 1, lengths=(5, 10), length_draws=1),
    ),
)

PAPER = Profile(
    name="paper",
    alignment=AN4.alignment,
    hidden=(512,) * 4,
    member=AN4.full,
    regularised=_epochs(10),
    longer=_epochs(30),
    student=_epochs(12),
    more_speech=_epochs(20),
    ensemble_size=10,
    resampled=5,
    headline_seeds=5,
    seeds=3,
    temperatures=(1, 2, 5, 10),
    hard_weights=(0, 0.1, 1 / 3, 0.5),
    small=(128,) * 4,
    sizes=(
        ((256,) * 4, _epochs(6)),
        ((1024,) * 4, _epochs(6)),
        ((512,) * 2, _epochs(6)),
        ((512,) * 8, _epochs(6)),
        ((2560,) * 8, _epochs(2, 1024)),
    ),
    section6=(AN4,),
)

# The plan in the making, on seven times the speech; as in sections 2 and 3, its records lie under results/next.
NEXT = dataclasses.replace(
    PAPER,
    name="next",
    alignment=SPEECHOCEAN.alignment,
    member=SPEECHOCEAN.full,
    longer=_epochs(6),
    student=_epochs(6),
    more_speech=_epochs(2),  # of three times the frames
    headline_seeds=10,
    seeds=5,
    headline_weight=0.5,
    section6=(SPEECHOCEAN,),
)
FEW = 3  # seeds of what stands beside the paper's recipe
LENGTHS = (1, 2, 4)  # of students, in those of the members
RATES = (0.025, 0.05, 0.1, 0.2)  # tried at each temperature
RATE_AT = {1: 0.1, 2: 0.1, 5: 0.05, 10: 0.05}  # the best on development; until then, as on AN4

QUICK_AN4 = Section6(
    Alignment(
        hidden=(256,) * 4,
        rounds=Rounds(monophones=((1, 6), (4, 2)), triphones=((1, 1), (4, 1))),
        optimisation=Optimisation(epochs=3, batch_size=1024),
        folds=2,
        network_rounds=1,
    ),
    _epochs(4),
    (
        Share(0.03, 2, _epochs(50, 256), _epochs(50, 256, 0.05), 5, lengths=(25, 50), length_draws=1),
        Share(0.1, 2, _epochs(20, 256), _epochs(20, 256, 0.05), 5),
    ),
    steady=1,
)
QUICK = dataclasses.replace(
    PAPER,
    name="quick",
    alignment=QUICK_AN4.alignment,
    hidden=(256,) * 4,
    member=QUICK_AN4.full,
    regularised=_epochs(4),
    # In so few epochs the learning rate rises too fast for the paper profile's rate.
    longer=_epochs(6, learning_rate=0.05),
    student=_epochs(3, learning_rate=0.05),
    more_speech=_epochs(2, learning_rate=0.05),
    ensemble_size=3,
    resampled=2,
    headline_seeds=2,
    seeds=2,
    temperatures=(1, 2, 5),
    hard_weights=(0, 0.5),
    sizes=(((128,) * 4, _epochs(4)),),
    section6=(QUICK_AN4,),
)

EMBEDDED = Section6(
    Alignment(
        dataset="an4 (embedded)",
        leaves=120,
        hidden=(64, 64),
        rounds=Rounds(monophones=((1, 4),), triphones=((1, 1), (2, 1))),
        optimisation=Optimisation(epochs=2, batch_size=256),
        folds=2,
        network_rounds=1,
        threads=1,
    ),
    _epochs(3, 256),
    (
        Share(0.03, 2, _epochs(6, 64), _epochs(6, 64, 0.05), 2, lengths=(3, 6), length_draws=1),
        Share(0.1, 2, _epochs(4, 64), _epochs(4, 64, 0.05), 2),
    ),
    steady=1,
)
SMOKE = dataclasses.replace(
    QUICK,
    name="smoke",
    alignment=EMBEDDED.alignment,
    hidden=(64, 64),
    member=EMBEDDED.full,
    regularised=_epochs(3, 256),
    longer=_epochs(6, 256),
    student=_epochs(3, 256),
    more_speech=_epochs(1, 256),
    ensemble_size=2,
    temperatures=(1, 2),
    small=(32, 32),
    sizes=(((32, 32, 32), _epochs(1, 256)),),
    section6=(EMBEDDED,),
)


def profile(name: str) -> Profile:
    """The profile of that name; "quick" falls back to the embedded minutes where AN4 is not to be had.

    Raises ValueError for an unknown name.
    """
    chosen = profile_named(name, (SMOKE, QUICK, PAPER, NEXT))
    if name == "quick" and an4.find() != "an4":
        stand_in = dataclasses.replace(chosen.alignment, dataset=SMOKE.dataset, leaves=SMOKE.alignment.leaves)
        (section6,) = chosen.section6
        return dataclasses.replace(
            chosen, alignment=stand_in, section6=(dataclasses.replace(section6, alignment=stand_in),)
        )
    return chosen


def baseline(profile: Profile, seed: int = 0, **changes) -> AcousticModel:
    """The acoustic model on hard targets."""
    return AcousticModel(
        profile.alignment, **{"hidden": profile.hidden, "optimisation": profile.member, "seed": seed} | changes
    )


def ensemble(profile: Profile, mean: str = "arithmetic", **changes) -> Ensemble:
    """The ensemble of baselines."""
    return Ensemble(baseline(profile, **changes), profile.ensemble_size, mean)


def student(profile: Profile, seed: int, **changes) -> Student:
    """A student of the ensemble, by default; its seed is none of the members', so it starts like none of them."""
    defaults = {
        "teacher": ensemble(profile),
        "hidden": profile.hidden,
        "temperature": profile.temperature,
        "hard_weight": profile.hard_weight,
        "optimisation": profile.student,
    }
    return Student(**defaults | {"seed": 100 + seed} | changes)


def _halved(training: Optimisation) -> Optimisation:
    """Half the learning rate, where the factor T**2 of the soft targets makes the full one diverge."""
    return dataclasses.replace(training, learning_rate=training.learning_rate / 2)


def plan(profile: Profile) -> Plan:
    """The runs of notebooks 03 and 05, by question."""
    section = table1 if profile.name == NEXT.name else section4
    return {"03": section(profile), "05": section6(profile)}


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

    def draws(kind: str, training: str, shares: tuple[Share, ...]) -> list[AcousticModel | Student]:
        return [trained(kind, of, draw, getattr(of, training)) for of in shares for draw in range(of.draws)]

    def lasting(kind: str, of: Share, epochs: int) -> Optimisation:
        return dataclasses.replace(getattr(of, kind), epochs=epochs)

    def lengths(kind: str) -> list[AcousticModel | Student]:
        return [
            trained(kind, of, draw, lasting(kind, of, epochs))
            for of in shares
            for epochs in of.lengths
            for draw in range(of.length_draws)
        ]

    def steady(kind: str) -> list[AcousticModel | Student]:
        training = Constant(**vars(lasting(kind, least, least.lengths[1])))
        return [trained(kind, least, draw, training) for draw in range(section.steady)]

    return {
        "labels": [section.alignment],
        "full": [baseline(profile, draw) for draw in range(max(of.draws for of in shares))],
        "lengths, hard": lengths("hard"),
        "lengths, soft": lengths("soft"),
        "hard": draws("hard", "hard", shares),
        "soft": draws("soft", "soft", shares),
        "soft and hard": draws("soft and hard", "soft", shares[:2]),
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
