"""Means, intervals and verdicts, from stated rules."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, by default a mean with Student's t over seeds, and the values it came from.

    With one value there is no interval: low and high are NaN.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def seeds(self) -> int:
        return len(self.values)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero; without an interval it does not."""
        return self.low > 0 or self.high < 0

    def text(self, digits: int = 0, unit: str = "") -> str:
        """For prose, e.g. "152 (148 to 156)"."""
        if math.isnan(self.low):
            return f"{self.mean:z.{digits}f}{unit} ({'one seed' if self.seeds == 1 else 'no interval'})"
        return f"{self.mean:z.{digits}f}{unit} ({self.low:z.{digits}f} to {self.high:z.{digits}f})"

    def __format__(self, digits: str) -> str:  # "{errors:1}" in a template is errors.text(1)
        return self.text(int(digits or 0))


def estimate(values) -> Estimate:
    """Mean and 95 % t interval of one value per seed.  Raises ValueError for no values."""
    values = tuple(float(value) for value in values)
    if not values:
        raise ValueError("No values to estimate a mean from.")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, math.nan, math.nan, values)
    half = stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, values)


def indistinguishable_from_best(values: dict[float, list[float]]) -> tuple[float, tuple[float, ...]]:
    """The setting with the lowest mean, and all settings whose paired difference from it has an interval over zero.

    values: setting -> one value per seed, seeds in the same order; lower is better.  With one seed only ties count.
    """
    best = min(values, key=lambda setting: float(np.mean(values[setting])))
    gaps = {setting: estimate(np.subtract(runs, values[best])) for setting, runs in values.items()}
    near = [name for name, gap in gaps.items() if name == best or (gap.low if gap.seeds > 1 else gap.mean) <= 0]
    return best, tuple(sorted(near))


def above(found: Estimate, partly: float, fully: float) -> str:
    """The verdict on an effect that is claimed to be large: its interval against two thresholds.

    "reproduced" if the whole interval lies above `fully`; "partly" if it lies above `partly`; "not reproduced" if it
    lies below `partly`; else "inconclusive" (also without an interval).
    """
    if found.low > fully:
        return "reproduced"
    if found.low > partly:
        return "partly"
    return "not reproduced" if found.high < partly else "inconclusive"


def below(found: Estimate, fully: float, partly: float) -> str:
    """Likewise on a quantity that is claimed to be small."""
    return above(Estimate(-found.mean, -found.high, -found.low, found.values), -partly, -fully)


def best_of(best: float, near: tuple[float, ...], seeds: int) -> Estimate:
    """A best setting, with the lowest and highest of those that cannot be told from it in place of an interval."""
    return Estimate(best, near[0], near[-1], (best,) * seeds)


def agreement(found: Estimate, paper: float, target: tuple[float, float] | None = None, better: int = -1) -> str:
    """The verdict on an absolute figure measured on the paper's own data.

    "reproduced" if the mean lies within the target, set before the measurement; where there is none, within 15 % of the
    paper's figure or with an interval that holds it.  Else "better" if it lies on that side (better: -1 for less, 1 for
    more), "partly" if it lies within 50 %, and "not reproduced".
    """
    distance = abs(found.mean - paper) / abs(paper)
    close = distance <= 0.15 or found.low <= paper <= found.high
    if close if target is None else target[0] <= found.mean <= target[1]:
        return "reproduced"
    if better * (found.mean - paper) > 0:
        return "better"
    return "partly" if distance <= 0.5 else "not reproduced"


def answered(found: Estimate, yes: float = 0, partly: float = 0) -> str:
    """The answer to a question that the paper leaves open, as `above`: "yes", "partly", "no" or "unclear"."""
    words = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "unclear", "partly": "partly"}
    return words[above(found, partly, yes)]


def presuming(gain: Estimate, verdict: str) -> str:
    """The verdict on an effect that presumes a gain: "uninformative" where the gain cannot be told from none."""
    return verdict if gain.low > 0 else "uninformative"


def similar(found: Estimate, scale: float) -> str:
    """The verdict on a claim that a difference is small, judged against an effect of size `scale`.

    "reproduced" if the whole interval lies within a quarter of the scale, "not reproduced" if the whole interval lies
    outside, "partly" if the mean lies within, else "inconclusive" (also without an interval).
    """
    if math.isnan(found.low):
        return "inconclusive"
    allowed = abs(scale) / 4
    if max(abs(found.low), abs(found.high)) <= allowed:
        return "reproduced"
    if found.low > allowed or found.high < -allowed:
        return "not reproduced"
    return "partly" if abs(found.mean) <= allowed else "inconclusive"
