"""What is measured on the runs of sections 4 and 6, from made-up records whose results are known."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distillation.core import paper
from distillation.core.claims import COLUMNS
from distillation.core.statistics import estimate
from distillation.core.store import StoreError
from distillation.speech import claims as speech_headline
from distillation.speech import plan as speech_plans
from distillation.speech.claims import (
    SpeechRuns,
    absolute,
    best_hard_weights,
    best_temperatures,
    gain_kept,
    gap,
    recipe_note,
    recovered,
)
from distillation.speech.nets import AcousticModel, Config, Ensemble
from distillation.speech.plan import SMOKE, SpeechProfile, section4, section6

PROFILE = replace(
    SMOKE,
    name="made up",
    headline_seeds=3,
    seeds=3,
    temperatures=(1, 2, 5),
    hard_weights=(0.0, 0.5),
    subsets=3,
    ensemble_size=3,
    resampled=3,
)
SPEAKERS = ("ann", "ann", "ann", "bob", "bob", "cy", "dee", "dee", "dee", "dee")
FRAMES = np.array([100, 200, 150, 100, 250, 400, 100, 300, 200, 150])
WORDS = np.array([2, 4, 3, 1, 5, 6, 2, 4, 4, 3])
SECTION_4 = [
    *(
        f"speech.{system}.{value}"
        for system in ("baseline", "ensemble", "distilled")
        for value in ("frame_accuracy", "wer")
    ),
    "speech.gain_kept",
    "speech.best_temperature",
]
SECTION_6 = ["reg.full.frame_accuracy", "reg.hard3.frame_accuracy", "reg.soft3.frame_accuracy", "reg.soft3.recovered"]


@dataclass
class MadeUp:
    """A profile whose records are written by hand; what is not said is 50 % frames and a third of the words wrong."""

    profile: SpeechProfile = PROFILE
    metrics: dict[Config, dict] = field(default_factory=dict)

    @property
    def runs(self) -> SpeechRuns:
        return SpeechRuns(self.profile)

    def say(self, name: str, **of: Callable[[Config, int], object]) -> None:
        """Metrics of the runs of that name, from the configuration and its place among them."""
        for number, config in enumerate(self.runs.configs(name)):
            said = {key: value(config, number) for key, value in of.items()}
            if (correct := said.get("correct_frames")) is not None:
                said["correct_frames"] = np.asarray(correct).tolist()
                said["frame_accuracy"] = 100 * float(np.sum(correct)) / int(FRAMES.sum())
            if (errors := said.get("word_errors")) is not None:
                said["word_errors"] = np.asarray(errors).tolist()
                said["wer"] = 100 * float(np.sum(errors)) / int(WORDS.sum())
            self.metrics[config] = self.metrics.get(config, {}) | said

    def write(self) -> SpeechRuns:
        """All records."""
        utterances = [
            {"name": f"an{n}", "speaker": speaker, "frames": int(frames), "words": int(words)}
            for n, (speaker, frames, words) in enumerate(zip(SPEAKERS, FRAMES, WORDS, strict=True))
        ]
        aligned = {"metrics": {"test_utterances": utterances}, "history": []}
        self.profile.store("alignment").write(self.profile.alignment, aligned)
        default = {"frame_accuracy": 50.0, "wer": 33.0, "development_frame_accuracy": 50.0}
        default |= {"correct_frames": (FRAMES // 2).tolist(), "word_errors": (WORDS // 3).tolist()}
        default["early_stopped"] = {"frame_accuracy": 30.0, "epoch": 2}
        for config in chain.from_iterable((section4(self.profile) | section6(self.profile)).values()):
            record = {"metrics": default | self.metrics.get(config, {}), "history": [], "seconds": 1.0}
            self.profile.store("speech").write(config, record)
        return self.runs


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    return MadeUp()


def share(of: float) -> Callable:
    """So many percent of the frames of each utterance."""
    return lambda config, number: FRAMES * of / 100


def noisy(of: float, seed: int) -> Callable:
    """As many at random, in each utterance of each run."""
    random = np.random.default_rng(seed)
    return lambda config, number: random.binomial(FRAMES, of / 100)


def interval(found) -> tuple[float, float, float]:
    return found.mean, found.low, found.high


# Systems on the same utterances


def test_per_utterance_counts_are_those_of_the_records(made_up: MadeUp) -> None:
    made_up.say("distilled", correct_frames=lambda c, n: FRAMES - n, word_errors=lambda c, n: WORDS - 1 + n)
    runs = made_up.write()
    assert runs.per_utterance("distilled", "frame_accuracy").tolist() == [(FRAMES - n).tolist() for n in range(3)]
    assert runs.per_utterance("distilled", "wer").tolist() == [(WORDS - 1 + n).tolist() for n in range(3)]
    one = runs.per_utterance("distilled", "wer", runs.configs("distilled")[1:2])
    assert one.tolist() == [WORDS.tolist()]
    assert runs.test_utterances()["speaker"].tolist() == list(SPEAKERS)
    assert [found["frame_accuracy"] for found in runs.metrics("distilled")] == runs["distilled"][
        "frame_accuracy"
    ].tolist()


def test_gap_is_the_difference_of_the_mean_percentages(made_up: MadeUp) -> None:
    made_up.say("baseline", correct_frames=noisy(50, 1), word_errors=lambda c, n: np.minimum(WORDS, n + 1))
    made_up.say("distilled", correct_frames=noisy(60, 2), word_errors=lambda c, n: np.zeros(10, int))
    made_up.say("ensemble", correct_frames=lambda c, n: FRAMES * (7 if c.mean == "arithmetic" else 9) / 10)
    runs = made_up.write()
    accuracies = {name: np.mean(runs[name]["frame_accuracy"]) for name in ("baseline", "distilled")}
    found = gap(runs, "distilled", "baseline", "frame_accuracy")
    assert found.mean == pytest.approx(accuracies["distilled"] - accuracies["baseline"])
    assert found.low < found.mean < found.high
    assert found.clear
    assert found.seeds == 3
    words = [np.minimum(WORDS, n + 1).sum() for n in range(3)]
    assert gap(runs, "distilled", "baseline", "wer").mean == pytest.approx(-100 * np.mean(words) / WORDS.sum())
    arithmetic = gap(runs, "ensemble", "baseline", "frame_accuracy")
    assert arithmetic.mean == pytest.approx(70 - accuracies["baseline"])  # of the two ensembles the first
    back = gap(runs, "baseline", "distilled", "frame_accuracy")
    assert (back.mean, back.low, back.high) == pytest.approx((-found.mean, -found.high, -found.low), abs=0.5)


def test_identical_systems_have_no_gap_and_no_interval_around_it(made_up: MadeUp) -> None:
    same = np.random.default_rng(0).binomial(FRAMES, 0.5)
    for name in ("baseline", "distilled", "ensemble"):
        made_up.say(name, correct_frames=lambda c, n: same, word_errors=lambda c, n: WORDS // 2)
    runs = made_up.write()
    for first, second in (("distilled", "baseline"), ("ensemble", "baseline"), ("distilled", "distilled")):
        for value in ("frame_accuracy", "wer"):
            assert interval(gap(runs, first, second, value)) == (0, 0, 0)
    alone = absolute(runs, "ensemble", "frame_accuracy")
    assert alone.low < alone.mean < alone.high  # though the utterances differ


def test_systems_are_paired_by_utterance(made_up: MadeUp) -> None:
    easy = np.array([9, 8, 2, 5, 1, 7, 3, 6, 4, 2]) / 10 * FRAMES  # the difficulty of the utterances, common to both
    made_up.say("baseline", correct_frames=lambda c, n: easy)
    made_up.say("distilled", correct_frames=lambda c, n: easy + FRAMES / 10)
    runs = made_up.write()
    assert interval(gap(runs, "distilled", "baseline", "frame_accuracy")) == pytest.approx((10, 10, 10))


def test_runs_are_resampled_too(made_up: MadeUp) -> None:
    made_up.say("baseline", correct_frames=share(50))
    made_up.say("distilled", correct_frames=lambda c, n: FRAMES * (50 + 10 * n) / 100)
    found = gap(made_up.write(), "distilled", "baseline", "frame_accuracy")
    assert interval(found) == pytest.approx((10, 0, 20))  # of three runs 10 points apart: all first, all last


def test_an_absolute_figure_has_its_interval_over_seeds_or_over_speakers(made_up: MadeUp) -> None:
    made_up.say("distilled", correct_frames=noisy(60, 3), word_errors=lambda c, n: WORDS // (n + 1))
    by_speaker = np.array([90 if speaker in ("ann", "cy") else 50 for speaker in SPEAKERS]) * FRAMES / 100
    made_up.say("ensemble", correct_frames=lambda c, n: by_speaker)
    runs = made_up.write()
    for value in ("frame_accuracy", "wer"):
        assert absolute(runs, "distilled", value) == estimate(runs["distilled"][value])
    found = absolute(runs, "ensemble", "frame_accuracy")
    assert found.mean == pytest.approx(100 * by_speaker.sum() / FRAMES.sum())
    assert (found.low, found.high) == pytest.approx((50, 90))  # one speaker four times is not rare
    assert found.seeds == 1


# What of the ensemble's gain is kept


def test_gain_kept_by_hand(made_up: MadeUp) -> None:
    made_up.say("baseline", correct_frames=share(50))
    made_up.say("ensemble", correct_frames=share(60))
    made_up.say("distilled", correct_frames=share(58))
    made_up.say("distilled, same speech", correct_frames=share(45))
    runs = made_up.write()
    assert interval(gain_kept(runs)) == pytest.approx((80, 80, 80))
    assert interval(gain_kept(runs, "distilled, same speech")) == pytest.approx((-50, -50, -50))
    assert "-50 % (-50 to -50): not reproduced (3 seeds," in recipe_note(runs)
    assert gain_kept(runs).seeds == 3


def test_gain_kept_is_a_ratio_of_means_with_an_interval(made_up: MadeUp) -> None:
    made_up.say("baseline", correct_frames=noisy(50, 1))
    made_up.say("ensemble", correct_frames=noisy(70, 2))
    made_up.say("distilled", correct_frames=noisy(65, 3))
    runs = made_up.write()
    found = gain_kept(runs)
    one, ten, student = (
        np.mean(frame["frame_accuracy"]) for frame in (runs["baseline"], runs["ensemble"][:1], runs["distilled"])
    )
    assert found.mean == pytest.approx(100 * (student - one) / (ten - one))
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("ensemble", [50, 49])
def test_without_a_gain_nothing_can_be_kept(ensemble: float, made_up: MadeUp) -> None:
    made_up.say("ensemble", correct_frames=share(ensemble))
    found = gain_kept(made_up.write())
    assert all(np.isnan(interval(found)))
    assert not found.clear


def test_a_gain_that_some_speakers_lack_has_no_interval(made_up: MadeUp) -> None:
    lost = np.array([speaker == "cy" for speaker in SPEAKERS])
    made_up.say("ensemble", correct_frames=lambda c, n: FRAMES * np.where(lost, 20, 80) / 100)
    made_up.say("distilled", correct_frames=share(55))
    found = gain_kept(made_up.write())
    ensemble = (FRAMES * np.where(lost, 20, 80)).sum() / FRAMES.sum()
    assert found.mean == pytest.approx(100 * 5 / (ensemble - 50))
    assert np.isnan(found.low)
    assert np.isnan(found.high)


# What is chosen


def test_best_settings_are_those_best_on_development(made_up: MadeUp) -> None:
    held_out = {1: 61, 2: 60, 5: 40}
    on_test = {1: 40, 2: 50, 5: 90}

    def development(config: Config, number: int) -> float:
        wobble = (config.seed % 3 - 1) * (3 if config.temperature == 2 else 1)
        return held_out[config.temperature] + wobble

    made_up.say(
        "temperature",
        development_frame_accuracy=development,
        correct_frames=lambda config, n: FRAMES * on_test[config.temperature] / 100,
    )
    assert best_temperatures(made_up.write()) == (1, (1, 2))
    made_up.say(
        "hard weight",
        development_frame_accuracy=lambda config, n: 70 - 10 * config.hard_weight + config.seed % 3,
        correct_frames=lambda config, n: FRAMES * (0.4 + config.hard_weight),
    )
    assert best_hard_weights(made_up.write()) == (0, (0,))


def test_recovered_is_measured_draw_by_draw(made_up: MadeUp) -> None:
    made_up.say("full", frame_accuracy=lambda c, n: 60.0 + c.seed)
    made_up.say("hard", early_stopped=lambda c, n: {"frame_accuracy": 100 * c.share + 10 * c.subset})
    made_up.say("hard", frame_accuracy=lambda c, n: 1.0)  # without early stopping
    made_up.say("soft", frame_accuracy=lambda c, n: 45.0 + 100 * c.share + 2 * c.subset)
    made_up.say("soft", early_stopped=lambda c, n: {"frame_accuracy": 99.0})
    runs = made_up.write()
    for fraction, percent in ((0.03, 3), (0.1, 10)):
        by_hand = [100 * (45 - 8 * draw) / (60 + draw - percent - 10 * draw) for draw in range(3)]
        found = recovered(runs, fraction)
        assert found.values == pytest.approx(by_hand)
        assert interval(found) == pytest.approx(interval(estimate(by_hand)))


def test_draws_are_matched_whatever_the_order_of_the_runs(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.say("full", frame_accuracy=lambda c, n: 60.0 + c.seed)
    made_up.say("hard", early_stopped=lambda c, n: {"frame_accuracy": 20.0 + 10 * c.subset})
    made_up.say("soft", frame_accuracy=lambda c, n: 50.0 - 3 * c.subset)
    runs = made_up.write()
    before = recovered(runs, 0.03)
    assert len(set(before.values)) == 3
    plan = section6(made_up.profile)
    backwards = plan | {name: plan[name][::-1] for name in ("soft", "full")}
    monkeypatch.setattr(speech_plans, "section6", lambda profile: backwards)
    assert made_up.runs["soft"]["subset"].tolist() == [2, 1, 0] * 2
    assert recovered(made_up.runs, 0.03) == before


# The table


def told(made_up: MadeUp) -> MadeUp:
    """A world in which everything is as the paper says."""
    made_up.say("baseline", correct_frames=share(50))
    made_up.say("ensemble", correct_frames=share(60), word_errors=lambda c, n: WORDS // 4)
    made_up.say("distilled", correct_frames=share(58))
    made_up.say("temperature", development_frame_accuracy=lambda c, n: 60 - abs(c.temperature - 2) + c.seed % 3)
    made_up.say("hard", early_stopped=lambda c, n: {"frame_accuracy": 30 + c.subset / 10})
    made_up.say("soft", frame_accuracy=lambda c, n: 48 + c.subset / 10)
    return made_up


def test_table_has_a_row_per_claim(made_up: MadeUp) -> None:
    runs = told(made_up).write()
    found = speech_headline.table(made_up.profile)
    assert list(found) == list(COLUMNS)
    assert found["id"].tolist() == SECTION_4 + SECTION_6
    assert set(found["id"]) <= set(paper.CLAIMS)
    assert set(found["dataset"]) == {"synthetic speech"}
    rows = found.set_index("id")
    effects = ["speech.gain_kept", "speech.best_temperature", "reg.soft3.recovered"]
    assert (rows.drop(effects)["verdict"] == "context").all()
    assert (rows.loc[effects, "verdict"] == "reproduced").all()
    assert rows["paper"].tolist() == [58.9, 10.9, 61.1, 10.7, 60.8, 10.7, 86, 2, 58.9, 44.5, 57.0, 87]
    assert rows.loc["speech.ensemble.wer", "ours"] == pytest.approx(100 * (WORDS // 4).sum() / WORDS.sum())
    assert rows.loc["speech.distilled.frame_accuracy", "ours"] == pytest.approx(58)
    assert rows.loc["speech.gain_kept", ["ours", "low", "high"]].tolist() == pytest.approx([80, 80, 80])
    assert rows.loc["speech.best_temperature", ["ours", "low", "high", "seeds"]].tolist() == [2, 2, 2, 3]
    assert rows.loc["reg.full.frame_accuracy", "ours"] == pytest.approx(50)
    assert rows.loc["reg.hard3.frame_accuracy", "ours"] == pytest.approx(30.1)
    assert rows.loc["reg.soft3.frame_accuracy", "ours"] == pytest.approx(48.1)
    assert rows.loc["reg.soft3.recovered", "ours"] == recovered(runs, 0.03).mean
    assert set(rows["notebook"].str[:2][: len(SECTION_4)]) == {"03"}
    assert set(rows["notebook"].str[:2][len(SECTION_4) :]) == {"05"}
    for notebook, ids in {"03": SECTION_4, "05": SECTION_6}.items():
        part = speech_headline.table(made_up.profile, notebook)
        pd.testing.assert_frame_equal(part, found[found["id"].isin(ids)].reset_index(drop=True))


@pytest.mark.parametrize(("distilled", "verdict"), [(58, "reproduced"), (56, "partly"), (53, "not reproduced")])
def test_verdict_on_the_gain_kept(distilled: float, verdict: str, made_up: MadeUp) -> None:
    told(made_up).say("distilled", correct_frames=share(distilled))
    made_up.write()
    assert judged(made_up, "speech.gain_kept") == verdict


@pytest.mark.parametrize(("soft", "verdict"), [(48, "reproduced"), (42, "partly"), (38, "not reproduced")])
def test_verdict_on_what_is_recovered(soft: float, verdict: str, made_up: MadeUp) -> None:
    told(made_up).say("soft", frame_accuracy=lambda c, n: soft + c.subset / 10)
    made_up.write()
    assert judged(made_up, "reg.soft3.recovered") == verdict


@pytest.mark.parametrize(
    ("at_two", "verdict"),
    [
        ((65, 66, 64), "reproduced"),  # better for every seed
        ((60, 61, 62), "partly"),  # best in the mean alone
        ((59, 64, 55), "partly"),
        ((50,) * 3, "not reproduced"),
    ],
)
def test_verdict_on_the_best_temperature(at_two: tuple[int, ...], verdict: str, made_up: MadeUp) -> None:
    def development(config: Config, number: int) -> float:
        return (
            at_two[config.seed - 100] if config.temperature == 2 else 59.5 + config.seed % 3 - config.temperature / 10
        )

    told(made_up).say("temperature", development_frame_accuracy=development)
    made_up.write()
    assert judged(made_up, "speech.best_temperature") == verdict


def judged(made_up: MadeUp, name: str) -> str:
    return speech_headline.table(made_up.profile).set_index("id").loc[name, "verdict"]


def test_missing_records_name_the_command_that_makes_them(made_up: MadeUp) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        made_up.runs["baseline"]
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        speech_headline.table(made_up.profile)


def test_tables_are_of_the_runs_of_that_name(made_up: MadeUp) -> None:
    runs = made_up.write()
    assert [type(config) for config in runs.configs("baseline")] == [AcousticModel] * 3
    assert [type(config) for config in runs.configs("ensemble")] == [Ensemble] * 2
    assert runs["hard"]["share"].tolist() == [0.03] * 3 + [0.1] * 3
    assert runs["soft"]["hard_weight"].tolist() == [0.0] * 6
    assert runs.curves("hard").empty
    with pytest.raises(KeyError):
        runs["specialists"]
