"""Runs that take no time, where workers can import them."""

import os
from dataclasses import dataclass

from distillation.core.store import Store


@dataclass(frozen=True)
class Coin:
    seed: int
    threads: int = 1


def look(config: Coin, store: Store) -> dict:
    """What a run sees of its surroundings."""
    return {"metrics": {"folder": os.getcwd(), "data": os.environ.get("DISTILLATION_DATA")}, "history": []}


def fail(config: Coin, store: Store) -> dict:
    raise RuntimeError(f"no coin {config.seed}")
