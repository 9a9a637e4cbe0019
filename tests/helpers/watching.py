"""Which records and examples are read meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distillation.core import examples
from distillation.core.store import Configuration, Store
from distillation.core.sweep import Results


@contextmanager
def watched() -> Iterator[set[Path]]:
    """Gives the set of the files that are read meanwhile; it fills as they are."""
    found: set[Path] = set()
    read_record, read_cases = Store.read, examples.read

    def record(store: Store, config: Configuration) -> dict:
        found.add(store.path(config))
        return read_record(store, config)

    def cases(results: Results, name: str, nets: list[Configuration]) -> examples.Cases:
        found.add(examples.path_of(results, name))
        found.update(map(results.store.path, nets))
        return read_cases(results, name, nets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "read", record)
        patch.setattr(examples, "read", cases)
        yield found
