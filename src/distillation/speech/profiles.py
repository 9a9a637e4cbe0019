"""How large and how long sections 4 and 6 are at each profile, and the nets that their questions are made of."""

import dataclasses
from dataclasses import dataclass

from distillation.core.store import profile_named
from distillation.core.training import Optimisation
from distillation.speech.alignment import Alignment
from distillation.speech.data import an4, speechocean
from distillation.speech.nets import AcousticModel, Ensemble, Student
from distillation.speech.recogniser.flat_start import Rounds


@dataclass(frozen=True)
class Share:
    """How nets are trained on a share of the training utterances.

    draws: random ones.  hard, soft: how nets are trained on either kind of targets.  scored_every: epochs between the
    scores on development.  hard_lengths, soft_lengths: of training, in epochs, which the first length_draws try; hard
    and soft have those that are best on development.
    """

    share: float
    draws: int
    hard: Optimisation
    soft: Optimisation
    scored_every: int
    hard_lengths: tuple[int, ...] = ()
    soft_lengths: tuple[int, ...] = ()
    length_draws: int = 0


@dataclass(frozen=True)
class Section6:
    """Section 6 on a corpus.

    full: how the models of all the speech are trained; shares: the first is the claims' and, with the second, the
    table's; controls: draws of these on which what stands beside hard and soft targets is trained; steady: draws of the
    first that are trained at a constant rate, too, for steady_epochs. full_lengths: epochs on all the speech that are
    tried beside, with one seed.
    """

    full: Optimisation
    shares: tuple[Share, ...]
    controls: int = 3
    steady: int = 2
    steady_epochs: int = 100
    full_lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Section1:
    """The claims of section 1, on the smallest share of section 6.

    draws: of the share; learning_rates: the grid; temperatures: of soft targets whose gradients are measured, on
    frames of the training; epochs: of these nets and those of the grid.
    """

    draws: int = 3
    learning_rates: tuple[float, ...] = tuple(0.025 * 2**k for k in range(7))
    temperatures: tuple[float, ...] = (1, 2, 5)
    frames: int = 1500
    epochs: int = 4


@dataclass(frozen=True)
class Profile:
    """Sizes and seeds of sections 4 and 6 on a corpus.

    member: how the baselines are trained, which are the ensemble's members too; longer: the students of the paper's
    table, and nets on hard targets for as many steps; lengths: those that were tried, in the members'; more_speech:
    students on a larger transfer set; student: the students of every sweep.  rates: pairs of a temperature and a
    learning rate that are tried; high_rate: the share of the learning rate that a student from `plan.HIGH` temperatures
    on bears.  small: hidden layers of the small student.  section6, section1: these sections.  headline_seeds: students
    of the table, and of their controls as far as `plan.CONTROLS` goes; seeds: of the sweeps.  headline_weight: of the
    hard targets of the table's students; other_weight: the other that the paper's text may mean.  speeds: at which the
    larger transfer set repeats the training utterances.

    Of a corpus that stands alone or beside another: regularised: baselines with dropout; resampled: members on
    resampled speech; hard_weights: those of a sweep; sizes: hidden layers and training of other nets.  beside: the
    profile of a second corpus, the one for words.
    """

    name: str
    alignment: Alignment
    hidden: tuple[int, ...]
    member: Optimisation
    regularised: Optimisation
    longer: Optimisation
    lengths: tuple[int, ...]
    student: Optimisation
    more_speech: Optimisation
    ensemble_size: int
    resampled: int
    headline_seeds: int
    seeds: int
    temperatures: tuple[float, ...]
    rates: tuple[tuple[float, float], ...]
    hard_weights: tuple[float, ...]
    small: tuple[int, ...]
    sizes: tuple[tuple[tuple[int, ...], Optimisation], ...]
    section6: Section6
    temperature: float = 2.0
    hard_weight: float = 0.5
    headline_weight: float = 0.5
    other_weight: float = 1 / 3
    high_rate: float = 0.5
    speeds: tuple[float, ...] = (0.9, 1.1)
    section1: Section1 = Section1()
    beside: "Profile | None" = None

    @property
    def dataset(self) -> str:
        """The corpus."""
        return self.alignment.dataset


def _epochs(number: int, batch_size: int = 512, learning_rate: float = 0.1) -> Optimisation:
    return Optimisation(epochs=number, batch_size=batch_size, learning_rate=learning_rate)


AN4_LENGTHS = (50, 100, 200, 400)
OF_AN4 = Section6(
    _epochs(6),
    (
        Share(0.03, 3, _epochs(200, 256), _epochs(400, 256, 0.05), 5, AN4_LENGTHS, AN4_LENGTHS, length_draws=3),
        Share(0.1, 3, _epochs(50, 256), _epochs(50, 256, 0.05), 5),
        Share(0.01, 3, _epochs(200, 256), _epochs(200, 256, 0.05), 5),
        Share(0.3, 3, _epochs(25), _epochs(25, learning_rate=0.05), 5),
    ),
)
AN4 = Profile(
    name="paper",
    alignment=Alignment(),
    hidden=(512,) * 4,
    member=OF_AN4.full,
    regularised=_epochs(10),
    longer=_epochs(30),
    lengths=(1, 2, 5),
    student=_epochs(12),
    more_speech=_epochs(20),
    ensemble_size=10,
    resampled=5,
    headline_seeds=5,
    seeds=3,
    temperatures=(1, 2, 5, 10),
    rates=tuple((t, rate) for t in (1, 2, 5, 10) for rate in (0.05, 0.1)),
    hard_weights=(0, 0.1, 1 / 3, 0.5),
    headline_weight=1 / 3,
    other_weight=0.5,
    small=(128,) * 4,
    sizes=(
        ((256,) * 4, _epochs(6)),
        ((1024,) * 4, _epochs(6)),
        ((512,) * 2, _epochs(6)),
        ((512,) * 8, _epochs(6)),
        ((2560,) * 8, _epochs(2, 1024)),
    ),
    section6=OF_AN4,
)
OF_SPEECHOCEAN = Section6(
    _epochs(3),
    (
        Share(0.03, 5, _epochs(6, 256), _epochs(100, 256, 0.05), 2, (2, 3, 6, 12, 25, 50), (25, 50, 100), 2),
        Share(0.1, 3, _epochs(3, 256), _epochs(20, 256, 0.05), 1, (2, 3, 5, 10, 20), (10, 20, 40), 1),
        Share(0.3, 3, _epochs(3), _epochs(10, learning_rate=0.05), 1, (2, 3, 5, 10), (5, 10), 1),
    ),
    steady_epochs=50,
    full_lengths=(2, 4),
)
PAPER = dataclasses.replace(
    AN4,
    alignment=Alignment(
        dataset=speechocean.NAME,
        optimisation=Optimisation(epochs=2, batch_size=1024, learning_rate=0.1),
        network_rounds=4,
    ),
    member=_epochs(2),
    longer=_epochs(4),
    lengths=(1, 2, 4),
    student=_epochs(4),
    more_speech=_epochs(2),  # of three times the frames
    headline_seeds=10,
    seeds=5,
    rates=(
        *((t, rate) for t in (1, 2) for rate in (0.05, 0.1, 0.2)),
        *((t, rate) for t in (5, 10) for rate in (0.025, 0.05, 0.1)),
    ),
    headline_weight=0.5,
    other_weight=1 / 3,
    section6=OF_SPEECHOCEAN,
    beside=AN4,
)

# The plan in the making; as in sections 2 and 3, its records lie under results/next.
NEXT = dataclasses.replace(PAPER, name="next", beside=dataclasses.replace(AN4, name="next"))

OF_QUICK = Section6(
    _epochs(4),
    (
        Share(0.03, 2, _epochs(50, 256), _epochs(50, 256, 0.05), 5, (25, 50), (25, 50), length_draws=1),
        Share(0.1, 2, _epochs(20, 256), _epochs(20, 256, 0.05), 5),
    ),
    steady=1,
    steady_epochs=50,
)
QUICK = dataclasses.replace(
    AN4,
    name="quick",
    alignment=Alignment(
        hidden=(256,) * 4,
        rounds=Rounds(monophones=((1, 6), (4, 2)), triphones=((1, 1), (4, 1))),
        optimisation=Optimisation(epochs=3, batch_size=1024),
        folds=2,
        network_rounds=1,
    ),
    hidden=(256,) * 4,
    member=OF_QUICK.full,
    regularised=_epochs(4),
    # In so few epochs the learning rate rises too fast for the paper profile's rate.
    longer=_epochs(8, learning_rate=0.05),
    lengths=(1, 2),
    student=_epochs(6, learning_rate=0.05),
    more_speech=_epochs(2, learning_rate=0.05),
    ensemble_size=3,
    resampled=2,
    headline_seeds=2,
    seeds=2,
    temperatures=(1, 2, 5),
    rates=((1, 0.05), (2, 0.05), (5, 0.025), (5, 0.05)),
    hard_weights=(0, 0.5),
    sizes=(((128,) * 4, _epochs(4)),),
    section6=OF_QUICK,
    section1=Section1(1, (0.05, 0.2, 0.8), (2,), epochs=20),
)

OF_SMOKE = Section6(
    _epochs(3, 256),
    (
        Share(0.03, 2, _epochs(6, 64), _epochs(6, 64, 0.05), 2, (3, 6), (3, 6), length_draws=1),
        Share(0.1, 2, _epochs(4, 64), _epochs(4, 64, 0.05), 2),
    ),
    steady=1,
    steady_epochs=6,
)
SMOKE = dataclasses.replace(
    QUICK,
    name="smoke",
    alignment=Alignment(
        dataset="an4 (embedded)",
        leaves=120,
        hidden=(64, 64),
        rounds=Rounds(monophones=((1, 4),), triphones=((1, 1), (2, 1))),
        optimisation=Optimisation(epochs=2, batch_size=256),
        folds=2,
        network_rounds=1,
        threads=1,
    ),
    hidden=(64, 64),
    member=OF_SMOKE.full,
    regularised=_epochs(3, 256),
    longer=_epochs(6, 256),
    student=_epochs(4, 256),
    more_speech=_epochs(1, 256),
    ensemble_size=2,
    temperatures=(1, 2),
    rates=((1, 0.1), (2, 0.1)),
    small=(32, 32),
    sizes=(((32, 32, 32), _epochs(1, 256)),),
    section6=OF_SMOKE,
    section1=Section1(1, (0.05, 0.4), (2,), frames=100, epochs=3),
)


def profile(name: str) -> Profile:
    """The profile of that name; "quick" falls back to the embedded minutes where AN4 is not to be had.

    Raises ValueError for an unknown name.
    """
    chosen = profile_named(name, (SMOKE, QUICK, PAPER, NEXT))
    if name == "quick" and an4.find() != "an4":
        stand_in = dataclasses.replace(chosen.alignment, dataset=SMOKE.dataset, leaves=SMOKE.alignment.leaves)
        return dataclasses.replace(chosen, alignment=stand_in)
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
