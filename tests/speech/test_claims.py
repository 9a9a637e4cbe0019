"""The claims of sections 4 and 6, from made-up records whose verdicts are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from distillation.core.claims import COLUMNS, Claim, Findings
from distillation.core.store import Configuration, StoreError
from distillation.speech.claims import CLAIMS, larger_note
from distillation.speech.plan import plan
from distillation.speech.profiles import SMOKE
from distillation.speech.results import SpeechResults, recovered

SHARES = tuple(replace(of, draws=3) for of in SMOKE.section6.shares)
_ALONE = replace(
    SMOKE,
    name="made up",
    headline_seeds=3,
    seeds=3,
    temperatures=(1, 2, 5),
    section6=replace(SMOKE.section6, shares=SHARES),
    ensemble_size=3,
)
PROFILE = replace(_ALONE, beside=replace(_ALONE, alignment=replace(SMOKE.alignment, dataset="an4")))
UTTERANCES = [
    {"name": "an1", "speaker": "ann", "frames": 400, "words": 12},
    {"name": "an2", "speaker": "bob", "frames": 200, "words": 8},
]
SECTION_4 = [
    *(
        f"speech.{system}.{value}"
        for system in ("baseline", "ensemble", "distilled")
        for value in ("frame_accuracy", "wer")
    ),
    *("speech.ensemble.gain", "speech.gain_kept", "speech.gain_kept_larger"),
    "speech.best_temperature",
]
SECTION_6 = [
    *("reg.full.frame_accuracy", "reg.hard3.frame_accuracy", "reg.soft3.frame_accuracy"),
    *("reg.soft3.gain", "reg.soft3.recovered", "reg.soft3.recovered.an4", "reg.no_early_stopping"),
]

Metrics = Callable[[Configuration], dict]


def right(percent: float) -> Metrics:
    """So much of the frames of each utterance is right; a quarter of the words is wrong."""
    counts = {"correct_frames": [4 * percent, 2 * percent], "word_errors": [3, 2]}
    return lambda config: counts | {"frame_accuracy": percent, "wer": 25.0}


AS_LONG = "hard, as long as soft"

# A world in which everything is as the paper says.
TOLD: dict[str, Metrics] = {
    "alignment": lambda config: {"test_utterances": UTTERANCES},
    "baseline": right(50),
    "ensemble": right(60),
    "distilled": right(58.5),
    "distilled, more speech": right(59.5),
    "temperature": lambda c: {"development_frame_accuracy": 60 - abs(c.temperature - 2) + c.seed % 3},
    "full": right(50),
    **{
        question: lambda config: {"early_stopped": {"frame_accuracy": 30 + config.subset / 10}}
        for question in ("hard", AS_LONG)
    },
    "soft": lambda config: {"frame_accuracy": 48 + config.subset / 10},
    "an4: alignment": lambda config: {"test_utterances": UTTERANCES},
    "an4: baseline": right(60),
    "an4: ensemble": right(70),
    "an4: distilled": right(66),
    "an4: distilled, more speech": right(67),
    "an4: temperature": lambda c: {"development_frame_accuracy": 60 - abs(c.temperature - 5) + c.seed % 3},
    "an4: full": right(60),
    "an4: hard": lambda config: {"early_stopped": {"frame_accuracy": 20 + config.subset / 10}},
    "an4: soft": lambda config: {"frame_accuracy": 36 + config.subset / 10},
}
LOSSES = {"hard": (2.0, 1.5, 4.0), AS_LONG: (2.0, 1.5, 4.0), "soft": (2.0, 1.2, 1.21)}  # on development, epoch by epoch


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpeechResults:
    """Without any record."""
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    return SpeechResults(PROFILE, plan(PROFILE))


def tell(runs: SpeechResults, told: dict[str, Metrics], losses: dict[str, tuple[float, ...]] = LOSSES) -> Findings:
    """Write the records of these questions."""
    for question, metrics in told.items():
        rows = [
            {"development_cross_entropy": loss, "development_frame_accuracy": 50.0} for loss in losses.get(question, ())
        ]
        for config in runs.configs(question):
            runs.store.write(config, {"metrics": metrics(config), "history": rows, "seconds": 1.0})
    return Findings(CLAIMS, runs)


def test_table_has_a_row_per_claim(runs: SpeechResults) -> None:
    findings = tell(runs, TOLD)
    found = findings.table()
    assert list(found) == list(COLUMNS)
    assert found["id"].tolist() == SECTION_4 + SECTION_6
    rows = found.set_index("id")
    on_an4 = [name for name in rows.index if name.endswith((".an4", ".wer"))]
    assert set(rows.drop(on_an4)["dataset"]) == {"an4 (embedded)"}
    assert set(rows.loc[on_an4, "dataset"]) == {"an4"}
    effects = [*SECTION_4[6:], *SECTION_6[3:]]
    assert (rows.drop(effects)["verdict"] == "context").all()
    verdicts = [
        "reproduced",
        "reproduced",
        "yes",
        "reproduced",
        "reproduced",
        "reproduced",
        "not reproduced",
        "reproduced",
    ]
    assert rows.loc[effects, "verdict"].tolist() == verdicts
    table_1, table_5 = [58.9, 10.9, 61.1, 10.7, 60.8, 10.7], [58.9, 44.5, 57.0]
    assert rows["paper"].tolist() == [*table_1, 2.2, 86, "", 2, *table_5, 12.5, 87, 87, ""]
    assert rows.loc["speech.ensemble.gain", ["ours", "low", "high"]].tolist() == pytest.approx([10, 10, 10])
    assert rows.loc["speech.gain_kept_larger", ["ours", "low", "high"]].tolist() == pytest.approx([10, 10, 10])
    assert rows.loc["speech.ensemble.wer", "ours"] == pytest.approx(25)
    assert rows.loc["speech.distilled.frame_accuracy", "ours"] == pytest.approx(58.5)
    assert rows.loc["speech.gain_kept", ["ours", "low", "high"]].tolist() == pytest.approx([85, 85, 85])
    assert rows.loc["speech.best_temperature", ["ours", "low", "high", "seeds"]].tolist() == [2, 2, 2, 3]
    assert rows.loc["reg.full.frame_accuracy", "ours"] == pytest.approx(50)
    assert rows.loc["reg.hard3.frame_accuracy", "ours"] == pytest.approx(30.1)
    assert rows.loc["reg.soft3.frame_accuracy", "ours"] == pytest.approx(48.1)
    assert rows.loc["reg.soft3.gain", "ours"] == pytest.approx(18)
    assert rows.loc["reg.soft3.recovered", "ours"] == recovered(runs, 0.03).mean
    assert rows.loc["reg.soft3.recovered.an4", ["ours", "dataset"]].tolist() == [
        recovered(runs.beside, 0.03).mean,
        "an4",
    ]
    assert rows.loc["reg.no_early_stopping", "ours"] == pytest.approx(2.5 - 0.01)
    assert set(rows["notebook"].str[:2][: len(SECTION_4)]) == {"03"}
    assert set(rows["notebook"].str[:2][len(SECTION_4) :]) == {"05"}
    for notebook, ids in {"03": SECTION_4, "05": SECTION_6}.items():
        part = findings.table(notebook)
        pd.testing.assert_frame_equal(part, found[found["id"].isin(ids)].reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_finding_follows_from_the_records_of_its_questions_alone(claim: Claim, runs: SpeechResults) -> None:
    tell(runs, {question: TOLD[question] for question in claim.questions})
    alone = claim.find(runs, claim)
    for question in claim.questions:
        path = runs.store.path(runs.configs(question)[0])
        record = path.read_bytes()
        path.unlink()
        with pytest.raises(StoreError, match="is missing"):
            claim.find(runs, claim)
        path.write_bytes(record)
    tell(runs, TOLD)
    assert claim.find(runs, claim) == alone


@pytest.mark.parametrize(("distilled", "verdict"), [(58.5, "reproduced"), (56, "partly"), (53, "not reproduced")])
def test_verdict_on_the_gain_kept(distilled: float, verdict: str, runs: SpeechResults) -> None:
    findings = tell(runs, TOLD | {"distilled": right(distilled)})
    assert findings["speech.gain_kept"].verdict == verdict


def test_what_a_larger_transfer_set_keeps_is_told_beside_the_table(runs: SpeechResults) -> None:
    tell(runs, TOLD | {"distilled, more speech": right(59.5)})
    assert "keeps 95 % (95 to 95) of the ensemble's gain, 10 points (10 to 10) more" in larger_note(runs)
    assert "(3 seeds, notebook 03)" in larger_note(runs)


@pytest.mark.parametrize(("soft", "verdict"), [(48, "reproduced"), (42, "partly"), (38, "not reproduced")])
def test_verdict_on_what_is_recovered(soft: float, verdict: str, runs: SpeechResults) -> None:
    findings = tell(runs, TOLD | {"soft": lambda config: {"frame_accuracy": soft + config.subset / 10}})
    assert findings["reg.soft3.recovered"].verdict == verdict


@pytest.mark.parametrize(("soft", "verdict"), [(48, "reproduced"), (35, "partly"), (25, "not reproduced")])
def test_verdict_on_the_gain_of_soft_targets(soft: float, verdict: str, runs: SpeechResults) -> None:
    findings = tell(runs, TOLD | {"soft": lambda config: {"frame_accuracy": soft + config.subset / 10}})
    assert findings["reg.soft3.gain"].verdict == verdict


@pytest.mark.parametrize(
    ("hard", "soft", "verdict"),
    [
        ((1, 3), (1, 1.1), "reproduced"),  # rises by 2 and 0.1 nats
        ((1, 3), (1, 1.3), "partly"),  # the soft one over-fits, too
        ((1, 1.1), (1, 3), "not reproduced"),
    ],
)
def test_verdict_on_early_stopping(hard: tuple, soft: tuple, verdict: str, runs: SpeechResults) -> None:
    findings = tell(runs, TOLD, {"hard": hard, AS_LONG: hard, "soft": soft})
    assert findings["reg.no_early_stopping"].verdict == verdict


@pytest.mark.parametrize(
    ("at_two", "verdict"),
    [
        ((65, 66, 64), "reproduced"),  # better for every seed
        ((60, 61, 62), "partly"),  # best in the mean alone
        ((59, 64, 55), "partly"),
        ((50,) * 3, "not reproduced"),
    ],
)
def test_verdict_on_the_best_temperature(at_two: tuple[int, ...], verdict: str, runs: SpeechResults) -> None:
    def development(config: Configuration) -> dict:
        others = 59.5 + config.seed % 3 - config.temperature / 10
        return {"development_frame_accuracy": at_two[config.seed - 100] if config.temperature == 2 else others}

    findings = tell(runs, TOLD | {"temperature": development})
    assert findings["speech.best_temperature"].verdict == verdict


def test_missing_records_name_the_command_that_makes_them(runs: SpeechResults) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        Findings(CLAIMS, runs).table()
