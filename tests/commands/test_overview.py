"""What the published run cost, from its records."""

import json
from pathlib import Path

import pytest

from distillation.commands import overview


def test_costs_are_those_of_every_core(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "speech"
    folder.mkdir(parents=True)
    for number, threads in enumerate((1, 2)):
        environment = {"peak_memory_mb": 100 + number, "device": "cpu"}
        record = {"seconds": 3600.0, "config": {"threads": threads}, "environment": environment}
        (folder / f"{number}.json").write_text(json.dumps(record))
    (row,) = overview.costs(tmp_path).to_dict("records")
    assert row["core-hours"] == pytest.approx(3)
    assert (row["runs"], row["largest memory, MB"]) == (2, 101)
