"""An estimate as what tests compare."""

from distillation.core.statistics import Estimate


def interval(found: Estimate) -> tuple[float, float, float]:
    """Mean and both ends of the 95 % interval."""
    return found.mean, found.low, found.high
