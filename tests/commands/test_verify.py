"""Verifying runs records again from nothing, and notices what does not come out again."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from distillation.commands import overview, verify, wings
from distillation.commands.verify import Published, Verdict, cost, draw, judge, prediction_interval, reseeded
from distillation.core.store import Configuration, Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist.nets import Ensemble, Net, Student
from distillation.speech.alignment import Alignment
from distillation.speech.nets import AcousticModel

BRIEF = Optimisation(epochs=1, batch_size=128)
NETS = [Net("digits", (8,), optimisation=BRIEF, seed=seed) for seed in range(3)]
STUDENT = Student(Ensemble((NETS[0], NETS[1])), (6,), optimisation=BRIEF)
RUNS = [*NETS, STUDENT]
HERE = {"device": "cpu", "matrix_units": True, "processor": "one", "torch": "2", "python": "3"}


@pytest.fixture
def published(store: Store, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A tiny published run: three nets, the seeds of a claim, and a student of two of them."""
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    sweep(RUNS, store)

    found = Published(store, frozenset(RUNS), frozenset({Alignment()}))
    monkeypatch.setattr(Published, "of", lambda profile: found)
    monkeypatch.setattr(wings, "plan", lambda _: {"02": {"nets": NETS, "student": [STUDENT]}})
    monkeypatch.setattr(verify, "CLAIMS", {"claim": ("02", "nets")})
    return found


def change(published: Published, config: Configuration, **metrics: float) -> None:
    """Another result in a published record."""
    record = published.store.read(config)
    published.store.write(config, record | {"metrics": record["metrics"] | metrics})


def test_what_is_run_again_is_identical(published: Published, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in published.store.folder.rglob("*.*")}
    assert verify.main(["4", "--draw", "1"]) == 0
    shown = capsys.readouterr().out
    for config in RUNS:
        assert f"{published.store.name(config)} ({type(config).__name__}): took" in shown
    assert shown.count("identical") == 4
    assert "4 records run again: 0 do not agree, 0 cannot be judged." in shown
    assert {path: path.read_bytes() for path in published.store.folder.rglob("*.*")} == before


def test_a_student_is_run_again_with_its_teachers(published: Published, tmp_path: Path) -> None:
    again = Store(tmp_path / "again")
    verify.run_again(STUDENT, published, again)
    rows = verify.compared(published, again)
    assert sorted(rows["kind"]) == ["Net", "Net", "Student"]
    assert rows["ok"].all()


def test_a_record_that_does_not_come_out_again_fails(published: Published, capsys: pytest.CaptureFixture) -> None:
    change(published, NETS[2], train_errors=-1)
    assert verify.main(["4"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("DIFFERS on the same machine") == 1
    assert "1 do not agree" in shown


@pytest.fixture
def aligned(store: Store) -> Published:
    """Published by hand: an alignment and a model on it."""
    frozen = Alignment()
    model = AcousticModel(frozen)
    for config, seconds in ((frozen, 100.0), (model, 5.0)):
        store.write(config, {"metrics": {}, "history": [], "seconds": seconds, "environment": HERE})
    store.write_tensors(frozen, {})
    return Published(store, frozenset({frozen, model}), frozenset({frozen}))


def test_alignment_is_priced_and_run_apart_from_those_that_share_it(
    aligned: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """They start from a copy of the published one, which would stand in the place of its second run."""
    (model,), (frozen,) = aligned.runs - aligned.frozen, aligned.frozen
    assert (cost(frozen, aligned), cost(model, aligned)) == (100, 5)
    folders = {}
    monkeypatch.setattr(verify, "draw", lambda *_: [(model, 5.0), (frozen, 100.0)])
    monkeypatch.setattr(verify, "run_again", lambda config, _, again: folders.update({config.experiment: again.folder}))
    monkeypatch.setattr(verify, "compared", lambda *_: pd.DataFrame({"run": ["one"], "ok": [True]}))
    assert verify.verify(aligned, 2) == 0
    assert folders["alignment"] != folders["speech"]
    assert "2 records run again" in capsys.readouterr().out


def test_runs_on_a_corpus_that_is_not_here_are_not_drawn(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    alignments = Alignment(), Alignment(dataset="speechocean762")
    models = [AcousticModel(each) for each in alignments]
    for config in (*alignments, *models):
        store.write(config, {"metrics": {}, "history": [], "seconds": 1.0, "environment": HERE})
    published = Published(store, frozenset({*alignments, *models}), frozenset(alignments))
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    assert {config for config, _ in verify.draw(published, 4, False, 0)} == {alignments[0], models[0]}
    assert "speechocean762 is not here: 2 records of it are not drawn." in capsys.readouterr().out
    (tmp_path / "speechocean762" / "WAVE").mkdir(parents=True)
    assert {config for config, _ in verify.draw(published, 4, False, 0)} == published.runs
    assert capsys.readouterr().out == ""


def aligned_again(config: Alignment, store: Store) -> dict:
    store.write_tensors(config, {})
    return {"metrics": {"made": "again"}, "history": []}


def test_what_starts_from_the_alignment_starts_from_a_copy_of_it(
    aligned: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,), (frozen,) = aligned.runs - aligned.frozen, aligned.frozen
    again = Store(tmp_path / "again")
    monkeypatch.setenv("DISTILLATION_JOBS", "1")
    monkeypatch.setattr(AcousticModel, "run", lambda *_: {"metrics": {}, "history": []})
    monkeypatch.setattr(AcousticModel, "has_tensors", False)
    monkeypatch.setattr(Alignment, "run", aligned_again)
    verify.run_again(model, aligned, again)
    assert again.read(frozen) == aligned.store.read(frozen)
    assert verify.compared(aligned, again)["kind"].tolist() == ["AcousticModel"]  # a copy tells nothing
    verify.run_again(frozen, aligned, Store(tmp_path / "apart"))
    assert Store(tmp_path / "apart").metrics(frozen) == {"made": "again"}


def test_fresh_seeds(published: Published, capsys: pytest.CaptureFixture) -> None:
    assert verify.main(["--claim", "claim", "--seeds", "2"]) == 0
    assert "claim: published" in capsys.readouterr().out
    for number, net in enumerate(NETS):
        change(published, net, errors=number)
    assert verify.main(["--claim", "claim", "--seeds", "2"]) == 1
    assert "it does NOT" in capsys.readouterr().out


@pytest.mark.parametrize("claim", sorted(verify.CLAIMS))
def test_seeds_of_a_claim_are_those_that_it_is_the_mean_of(claim: str) -> None:
    store, row = Store.of("paper"), overview.headline().set_index("id").loc[claim]
    figures = [config.main_figure(store.metrics(config)) for config in verify.seeds_of(claim, "paper")]
    assert len(figures) == row["seeds"]
    assert float(f"{np.mean(figures):.6g}") == row["ours"]


def test_published_are_the_planned_runs_and_all_they_start_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    found = Published.of("smoke")
    assert found.store == Store(tmp_path / "smoke" / "records")
    planned = {config for _, _, config in wings.planned("smoke")}
    assert planned < found.runs
    assert {part for config in planned for part in config.starts_from(found.store)} <= found.runs
    assert [config for config in found.runs if isinstance(config, Alignment)] == [*found.frozen]


def test_what_is_missing_is_said_in_a_sentence(published: Published, capsys: pytest.CaptureFixture) -> None:
    published.store.path(NETS[2]).unlink()
    assert verify.main(["4"]) == 1
    assert "is missing: run ./run_all.sh" in capsys.readouterr().err
    for wrong in (["0"], ["--claim", "nobody"], ["many"]):
        with pytest.raises(SystemExit) as stopped:
            verify.main(wrong)
        assert stopped.value.code == 2


def test_draws(published: Published) -> None:
    store = published.store
    for number, net in enumerate(NETS):
        store.write(net, store.read(net) | {"seconds": 200.0 * 10.0**-number})
    assert cost(STUDENT, published) == pytest.approx(200 + 20 + store.read(STUDENT)["seconds"])
    # The student needs the first.
    assert {config for config, _ in draw(published, 9, True, None)} == {NETS[1], NETS[2]}
    assert draw(published, 2, False, 5) == draw(published, 2, False, 5)
    drawn = {config for seed in range(30) for config, _ in draw(published, 1, False, seed)}
    assert drawn == set(RUNS)


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
    frozen = Alignment()
    model = reseeded(AcousticModel(frozen), 7)
    assert (model.seed, model.alignment) == (7, frozen)


def test_siblings_differ_by_their_seeds_alone(published: Published) -> None:
    other = replace(NETS[0], hidden=(9,))
    errors = [published.store.metrics(net)["errors"] for net in NETS]
    assert sorted(verify.siblings_of(NETS[0], published)) == sorted(errors)
    assert verify.without_seeds(other) != verify.without_seeds(NETS[0])
    assert verify.without_seeds(NETS[1]) == verify.without_seeds(NETS[0])
