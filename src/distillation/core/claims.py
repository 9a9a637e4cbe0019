"""The rows of headline.csv: what each claim came out as, and the verdict, computed when it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from distillation.core.statistics import Estimate, verdict

NOTEBOOK_NAMES = {
    "01": "01_temperature_and_logit_matching",
    "02": "02_mnist",
    "03": "03_speech_acoustic_model",
    "04": "04_specialists",
    "05": "05_soft_targets_as_regularizers",
    "06": "06_open_questions",
}


@dataclass(frozen=True)
class Finding:
    """The paper's figure (or a range of them, or "" if it gives none), ours with its interval, and the verdict."""

    paper: float | str
    ours: Estimate
    verdict: str


COLUMNS = ("id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook")


@dataclass(frozen=True)
class Claims(Mapping[str, Finding]):
    """The findings of one data set by the ids of their claims.

    finders: notebook ("02") -> id -> what finds it.  Each is computed from its own records, and only when asked for.
    """

    dataset: str
    finders: Mapping[str, Mapping[str, Callable[[], Finding]]]

    def __getitem__(self, name: str) -> Finding:
        return {each: find for of in self.finders.values() for each, find in of.items()}[name]()

    def __contains__(self, name: object) -> bool:
        return any(name in of for of in self.finders.values())

    def __iter__(self) -> Iterator[str]:
        return (name for of in self.finders.values() for name in of)

    def __len__(self) -> int:
        return sum(map(len, self.finders.values()))

    def table(self, notebook: str | None = None) -> pd.DataFrame:
        """All findings, or those of one notebook, a row each.  Columns: `COLUMNS`."""
        rows = []
        for number, of in self.finders.items():
            if notebook in (None, number):
                for name, find in of.items():
                    found = find()
                    ours = (found.ours.mean, found.ours.low, found.ours.high, found.ours.seeds)
                    rows.append((name, found.paper, *ours, self.dataset, found.verdict, NOTEBOOK_NAMES[number]))
        return pd.DataFrame(rows, columns=COLUMNS)


def above(found: Estimate, partly: float, fully: float) -> str:
    """The verdict on an effect that is claimed to be large."""
    return verdict(found.low, found.high, partly, fully)


def below(found: Estimate, fully: float, partly: float) -> str:
    """The verdict on a quantity that is claimed to be small."""
    return verdict(-found.high, -found.low, -partly, -fully)


def best_of(best: float, near: tuple[float, ...], seeds: int) -> Estimate:
    """A best setting, with the lowest and highest of those that cannot be told from it in place of an interval."""
    return Estimate(best, near[0], near[-1], (best,) * seeds)
