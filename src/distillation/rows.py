"""The rows of headline.csv: a claim's id, the paper's figure, ours, and the verdict."""

from distillation.statistics import Estimate, verdict

COLUMNS = ("id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook")
NOTEBOOKS = {
    "01": "01_temperature_and_logit_matching",
    "02": "02_mnist",
    "03": "03_speech_acoustic_model",
    "04": "04_specialists",
    "05": "05_soft_targets_as_regularizers",
    "06": "06_open_questions",
}


def row(name: str, paper: float | str, found: Estimate, judged: str, notebook: str) -> tuple:
    """One row without its data set, from an estimate with its interval."""
    return name, paper, found.mean, found.low, found.high, found.seeds, "", judged, NOTEBOOKS[notebook]


def above(found: Estimate, partly: float, fully: float) -> str:
    """The verdict on an effect that is claimed to be large."""
    return verdict(found.low, found.high, partly, fully)


def below(found: Estimate, fully: float, partly: float) -> str:
    """The verdict on a quantity that is claimed to be small."""
    return verdict(-found.high, -found.low, -partly, -fully)
