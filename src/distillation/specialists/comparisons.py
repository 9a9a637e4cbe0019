"""What is better than what in sections 5 to 8, and by how much: from the tables, paired by seed or by specialist."""

import math

import numpy as np
import pandas as pd

from distillation.core.statistics import Estimate, estimate
from distillation.specialists.results import MIXTURES, SpecialistResults

DIVIDES = 0.5  # share of its experts, at most, over which a gate that divides the work spreads a picture


def over_training_on(runs: SpecialistResults, n: int = 1) -> Estimate:
    """Accuracy with specialists minus that of the generalist trained on for as many pictures, in points, per seed."""
    found = _beside_training_on(runs, n)
    return estimate(found["accuracy"] - found["longer"])


def gain_of_training_on(runs: SpecialistResults) -> Estimate:
    """What the generalist gains when it is trained on for as many pictures as its specialists see, in points."""
    found = _beside_training_on(runs)
    return estimate(found["longer"] - found["alone"])


def _beside_training_on(runs: SpecialistResults, n: int = 1) -> pd.DataFrame:
    longer = {config.seed: runs.store.metrics(config)["accuracy"] for config in runs.configs("trained on")}
    gains = runs.gains(n=n)
    return gains.assign(longer=gains["seed"].map(longer)).dropna(subset="longer")


def kl_over(runs: SpecialistResults, by: str, n: int = 1) -> Estimate:
    """Accuracy of the KL solution minus that of another way to combine, in points, per seed."""
    return estimate(runs.gains(n=n)["accuracy"] - runs.gains(n=n, by=by)["accuracy"])


def over_random_subsets(runs: SpecialistResults, n: int = 1) -> Estimate:
    """Gain (points) of specialists for the first generalist's clusters minus that of those for random subsets.

    One generalist and one draw of subsets: the interval is over test pictures alone, as if what either changes had
    nothing to do with what the other does.
    """
    found = runs.methods().set_index("method")["gain"]
    clusters, random = found["covariance"][n], found["random"][n]
    mean = clusters.mean - random.mean
    half = math.hypot(clusters.high - clusters.mean, random.high - random.mean)
    return Estimate(mean, mean - half, mean + half, (mean,))


def soft_advantage(runs: SpecialistResults, share: float, value: str = "special_accuracy") -> Estimate:
    """What a full softmax with soft targets is better than a dustbin by, in points, one per specialist."""
    found = runs.soft_specialists()
    pivot = found[found["share"] == share].pivot(index="index", columns="softmax", values=value)
    return estimate(pivot["full"] - pivot["dustbin"])


def rival_mixture(runs: SpecialistResults) -> str:
    """The question whose mixtures are best on held-out pictures, in the mean of their seeds.

    Of those whose gate divides the work, if there are any.
    """

    def held_out(name: str) -> float:
        return float(np.mean([runs.store.metrics(config)["held_out_accuracy"] for config in runs.configs(name)]))

    dividing = [name for name in MIXTURES if divides(runs, name)]
    return max(dividing or MIXTURES, key=held_out)


def divides(runs: SpecialistResults, mixture: str) -> bool:
    """Whether a mixture's gate spreads a picture over DIVIDES of its experts at most, in the mean of its seeds."""
    return gate_perplexity(runs, mixture).mean <= DIVIDES * (runs.profile.rivals[0] + 1)


def against_mixture(runs: SpecialistResults, mixture: str) -> Estimate:
    """Accuracy of the generalist and as many nets in all minus that of a mixture, in points, paired by seed."""
    pivot = runs.systems(("few specialists", mixture), ()).pivot(index="seed", columns="system", values="accuracy")
    return estimate(pivot["few specialists"] - pivot[mixture])


def gate_perplexity(runs: SpecialistResults, mixture: str) -> Estimate:
    """Over how many of its experts a mixture's gate spreads a test picture: exp of the mean entropy, one per seed."""
    return estimate([runs.store.metrics(config)["gate_perplexity"] for config in runs.configs(mixture)])


def gain_kept(runs: SpecialistResults, control: str = "p") -> Estimate:
    """What students of q have over a control, in percent of the specialists' mean gain over the generalist, per seed.

    control: "p", students of the generalist's own distribution, or "generalist".
    """
    found = runs.distilled(("q", "p"))
    pivot = found.pivot(index="seed", columns="name", values="accuracy")
    before = found.groupby("seed")[["generalist", "combined"]].first()
    gain = (before["combined"] - before["generalist"]).mean()
    return estimate(100 * (pivot["q"] - pivot.join(before)[control]) / gain)
