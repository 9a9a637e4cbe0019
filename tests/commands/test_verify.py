"""The audit runs records again from nothing, and notices what does not come out again."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from distillation.commands import verify as audit
from distillation.commands.published import Published, Run
from distillation.commands.verify import Verdict, cost, draw, judge, prediction_interval, reseeded
from distillation.core.training import Optimisation
from distillation.mnist import nets as mnist
from distillation.mnist.nets import Ensemble, Net, Student
from distillation.speech import alignment
from distillation.speech import nets as speech

BRIEF = Optimisation(epochs=1, batch_size=128)
NETS = [Net("digits", (8,), optimisation=BRIEF, seed=seed) for seed in range(3)]
STUDENT = Student(Ensemble((NETS[0], NETS[1])), (6,), optimisation=BRIEF)
HERE = {"device": "cpu", "matrix_units": True, "processor": "one", "torch": "2", "python": "3"}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set]:
    """A tiny published run: three nets, and a student of two of them."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    found = {"mnist": {*NETS, STUDENT}}
    mnist.run_all([*NETS, STUDENT], Published().store("mnist"), name="test")
    monkeypatch.setattr(Published, "runs", lambda self: found)
    monkeypatch.setattr(Published, "claims", lambda self: {"nets": [Run("mnist", net) for net in NETS]})
    return found


def change(config, **metrics) -> None:
    """Another result in a published record."""
    record = Published().store("mnist").read(config)
    record["metrics"] |= metrics
    Published().store("mnist").write(config, record)


def test_what_is_run_again_is_identical(published: dict, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in Published().store("mnist").folder.iterdir()}
    assert audit.main(["4", "--draw", "1"]) == 0
    shown = capsys.readouterr().out
    for config in published["mnist"]:
        assert f"{Published().name(Run('mnist', config))} " in shown
    assert shown.count("identical") == 4
    assert "4 records run again: 0 do not agree, 0 cannot be judged." in shown
    assert {path: path.read_bytes() for path in Published().store("mnist").folder.iterdir()} == before


def test_a_student_is_run_again_with_its_teachers(published: dict, tmp_path: Path) -> None:
    again = Published(folder=tmp_path / "again")
    audit.run_again(Run("mnist", STUDENT), Published(), again)
    rows = audit.compared(Published(), again)
    assert sorted(rows["kind"]) == ["Net", "Net", "Student"]
    assert rows["ok"].all()


def test_a_record_that_does_not_come_out_again_fails(published: dict, capsys: pytest.CaptureFixture) -> None:
    change(NETS[2], train_errors=-1)
    assert audit.main(["4"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("DIFFERS on the same machine") == 1
    assert "1 do not agree" in shown


def test_alignment_is_priced_and_run_apart_from_those_that_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """They start from a copy of the published one, which would stand in the place of its second run."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    published = Published("smoke")
    aligned = Run("alignment", published.alignment)
    model = Run("speech", speech.AcousticModel(published.alignment))
    for run, seconds in ((aligned, 100.0), (model, 5.0)):
        published.store(run.experiment).write(run.config, {"metrics": {}, "history": [], "seconds": seconds})
    of = {run.config: run.experiment for run in (aligned, model)}
    assert (cost(aligned, published, of), cost(model, published, of)) == (100, 5)
    folders = {}
    monkeypatch.setattr(audit, "draw", lambda *_: [(model, 5.0), (aligned, 100.0)])
    monkeypatch.setattr(audit, "run_again", lambda run, _, again: folders.update({run.experiment: again.folder}))
    monkeypatch.setattr(audit, "compared", lambda *_: pd.DataFrame({"run": ["one"], "ok": [True]}))
    assert audit.verify(published, 2) == 0
    assert folders["alignment"] != folders["speech"]
    assert "2 records run again" in capsys.readouterr().out


def test_fresh_seeds(published: dict, capsys: pytest.CaptureFixture) -> None:
    assert audit.main(["--claim", "nets", "--seeds", "2"]) == 0
    assert "nets: published" in capsys.readouterr().out
    for number, net in enumerate(NETS):
        change(net, errors=number)
    assert audit.main(["--claim", "nets", "--seeds", "2"]) == 1
    assert "it does NOT" in capsys.readouterr().out


def test_what_is_missing_is_said_in_a_sentence(published: dict, capsys: pytest.CaptureFixture) -> None:
    Published().store("mnist").path(NETS[2]).unlink()
    assert audit.main(["4"]) == 1
    assert "is missing: run ./run_all.sh paper" in capsys.readouterr().err
    for wrong in (["0"], ["--claim", "nobody"], ["many"]):
        with pytest.raises(SystemExit) as stopped:
            audit.main(wrong)
        assert stopped.value.code == 2


def test_draws(published: dict) -> None:
    for number, net in enumerate(NETS):
        Published().store("mnist").write(net, Published().store("mnist").read(net) | {"seconds": 200.0 * 10.0**-number})
    of = dict.fromkeys(published["mnist"], "mnist")
    alone = Published().store("mnist").read(STUDENT)["seconds"]
    assert cost(Run("mnist", STUDENT), Published(), of) == pytest.approx(200 + 20 + alone)
    # The student needs the first.
    assert {run.config for run, _ in draw(Published(), 9, True, None)} == {
        NETS[1],
        NETS[2],
    }
    assert draw(Published(), 2, False, 5) == draw(Published(), 2, False, 5)
    drawn = {run.config for seed in range(30) for run, _ in draw(Published(), 1, False, seed)}
    assert drawn == published["mnist"]


def record(value: float, **environment) -> dict:
    return {"metrics": {"errors": value, "seconds": value}, "history": [], "environment": HERE | environment}


def test_verdicts() -> None:
    def verdict(before: dict, after: dict, siblings: list[float]) -> Verdict:
        return judge(before, after, (before["metrics"]["errors"], after["metrics"]["errors"]), siblings)

    seeds = [70.0, 74.0, 78.0]
    timed = record(70)
    timed["metrics"]["seconds"] = 5
    assert verdict(record(70), timed, seeds).ok is True
    assert verdict(record(70), record(71), seeds).ok is False
    elsewhere = {"processor": "two"}
    assert verdict(record(70), record(71, **elsewhere), seeds).ok is True
    assert verdict(record(70), record(120, **elsewhere), seeds).ok is False
    assert verdict(record(70), record(71, **elsewhere), [70.0]).ok is None
    with_history = record(70) | {"history": [{"loss": 1.0}]}
    assert verdict(record(70), with_history, seeds).ok is False


def test_prediction_interval_holds_what_it_says() -> None:
    random = np.random.default_rng(0)
    for seeds, number in ((3, 1), (10, 2)):
        drawn = random.normal(5, 2, (4000, seeds + number))
        inside = [low <= fresh.mean() <= high for *_, fresh, (low, high) in split(drawn, seeds, number)]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert prediction_interval([3.0]) == (-math.inf, math.inf)
    low, high = prediction_interval([1.0, 3.0])
    assert (low + high) / 2 == 2
    assert high - 2 == pytest.approx(stats.t.ppf(0.975, 1) * math.sqrt(2) * math.sqrt(1.5))


def split(drawn: np.ndarray, seeds: int, number: int) -> list[tuple]:
    return [(row[seeds:], prediction_interval(row[:seeds].tolist(), number)) for row in drawn]


def test_fresh_seeds_leave_the_frozen_alignment_alone() -> None:
    assert reseeded(STUDENT, 1000).seed == 1000
    assert [member.seed for member in reseeded(STUDENT, 1000).teacher.members] == [1000, 1001]
    assert reseeded(STUDENT, 0) == STUDENT
    frozen = alignment.Alignment()
    model = reseeded(speech.AcousticModel(frozen), 7)
    assert (model.seed, model.alignment) == (7, frozen)


def test_siblings_differ_by_their_seeds_alone(published: dict) -> None:
    other = replace(NETS[0], hidden=(9,))
    assert len(audit.siblings_of(Run("mnist", NETS[0]), Published(), published["mnist"])) == 3
    assert audit.without_seeds(other) != audit.without_seeds(NETS[0])
    assert audit.without_seeds(NETS[1]) == audit.without_seeds(NETS[0])
