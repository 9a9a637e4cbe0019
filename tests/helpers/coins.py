"""Runs that take no time, where workers can import them."""

import os
from dataclasses import dataclass
from typing import ClassVar

from distillation.core.store import Configuration, Store


@dataclass(frozen=True)
class Coin(Configuration):
    experiment: ClassVar[str] = "coins"
    has_tensors: ClassVar[bool] = False

    seed: int
    threads: int = 1

    def run(self, store: Store) -> dict:
        """What a run sees of its surroundings."""
        return {"metrics": {"folder": os.getcwd(), "data": os.environ.get("DISTILLATION_DATA")}, "history": []}


@dataclass(frozen=True)
class LostCoin(Coin):
    def run(self, store: Store) -> dict:
        raise RuntimeError(f"no coin {self.seed}")
