"""A claim of the paper is one row: its text, the paper's figure, and what finds ours and judges it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from distillation.core.data import REPOSITORY
from distillation.core.statistics import Estimate

NOTEBOOK_NAMES = {path.name[:2]: path.stem for path in sorted((REPOSITORY / "notebooks").glob("0[1-6]_*.ipynb"))}
COLUMNS = ("id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook")


@dataclass(frozen=True)
class Finding:
    """Our figure with its interval, the verdict by the claim's rule, and the data set, if it is not the profile's."""

    ours: Estimate
    verdict: str
    dataset: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim.

    kind: "identity", "figure", "effect", "context" or "beyond".  questions: of the plan, whose records the finding
    follows from.  paper: its figure, a range as text, or "" if it gives none.  find: from the results and this claim.
    target: what counts as reproduced, set before the run, where `find` needs it.
    """

    id: str
    notebook: str
    kind: str
    questions: tuple[str, ...]
    text: str
    unit: str
    paper: float | str
    find: Callable[[Any, "Claim"], Finding]
    target: Any = None


@dataclass(frozen=True)
class Findings:
    """What claims came out as, by id; each is computed from its own records, and only when asked for."""

    claims: tuple[Claim, ...]
    results: Any

    def claim(self, name: str) -> Claim:
        """The claim of that id."""
        return {claim.id: claim for claim in self.asked}[name]

    @property
    def asked(self) -> list[Claim]:
        """The claims whose questions are all in the plan; of several with one id the last."""
        questions = {"examples", *self.results.questions}
        return list({claim.id: claim for claim in self.claims if questions.issuperset(claim.questions)}.values())

    def __getitem__(self, name: str) -> Finding:
        claim = self.claim(name)
        return claim.find(self.results, claim)

    def table(self, notebook: str | None = None) -> pd.DataFrame:
        """All findings, or those of one notebook, a row each, as in headline.csv.  Columns: `COLUMNS`."""
        rows = []
        for claim in self.asked:
            if notebook in (None, claim.notebook):
                found = self[claim.id]
                ours = (found.ours.mean, found.ours.low, found.ours.high, found.ours.seeds)
                place = (found.dataset or self.results.profile.dataset, found.verdict, NOTEBOOK_NAMES[claim.notebook])
                rows.append((claim.id, claim.paper, *ours, *place))
        return pd.DataFrame(rows, columns=COLUMNS)
