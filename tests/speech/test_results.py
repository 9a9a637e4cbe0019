"""What is measured on the runs of sections 4 and 6, from made-up records whose results are known."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from intervals import interval

from distillation.core.statistics import estimate
from distillation.core.store import Configuration, StoreError
from distillation.core.training import Optimisation
from distillation.speech.measurements import GradientNoise
from distillation.speech.nets import AcousticModel, Config, Ensemble, Stretched
from distillation.speech.plan import plan
from distillation.speech.profiles import SMOKE, Profile, Section1, baseline, ensemble, student
from distillation.speech.results import (
    REPORTED,
    SpeechResults,
    absolute,
    best_hard_weights,
    best_temperatures,
    gain_kept,
    gap,
    gradient_ratio,
    gradients_along,
    kept_by_length,
    learning_rate_ratio,
    lengths,
    rates,
    recovered,
    soft_gain,
    worsening,
)

PROFILE = replace(
    SMOKE,
    name="made up",
    headline_seeds=3,
    seeds=3,
    temperatures=(1, 2, 5),
    hard_weights=(0.0, 0.5),
    section6=replace(SMOKE.section6, shares=tuple(replace(of, draws=3) for of in SMOKE.section6.shares)),
    student=replace(SMOKE.student, epochs=3),
    section1=Section1(2, (0.1, 0.2, 0.4, 0.8), (2, 5), epochs=1),
    ensemble_size=3,
    resampled=3,
)
SPEAKERS = ("ann", "ann", "ann", "bob", "bob", "cy", "dee", "dee", "dee", "dee")
FRAMES = np.array([100, 200, 150, 100, 250, 400, 100, 300, 200, 150])
WORDS = np.array([2, 4, 3, 1, 5, 6, 2, 4, 4, 3])


@dataclass
class MadeUp:
    """A profile whose records are written by hand; what is not said is 50 % frames and a third of the words wrong."""

    profile: Profile = PROFILE
    metrics: dict[Configuration, dict] = field(default_factory=dict)

    @property
    def runs(self) -> SpeechResults:
        return SpeechResults(self.profile, plan(self.profile))

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

    def write(self) -> SpeechResults:
        """All records."""
        utterances = [
            {"name": f"an{n}", "speaker": speaker, "frames": int(frames), "words": int(words)}
            for n, (speaker, frames, words) in enumerate(zip(SPEAKERS, FRAMES, WORDS, strict=True))
        ]
        store = self.runs.store
        store.write(self.profile.alignment, {"metrics": {"test_utterances": utterances}, "history": []})
        default = {"frame_accuracy": 50.0, "wer": 33.0, "development_frame_accuracy": 50.0}
        default |= {"correct_frames": (FRAMES // 2).tolist(), "word_errors": (WORDS // 3).tolist()}
        default["early_stopped"] = {"frame_accuracy": 30.0, "epoch": 2}
        for config in chain.from_iterable(self.runs.questions.values()):
            if config != self.profile.alignment:
                record = {"metrics": default | self.metrics.get(config, {}), "history": [], "seconds": 1.0}
                store.write(config, record)
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


# Systems on the same utterances


def test_per_utterance_counts_are_those_of_the_records(made_up: MadeUp) -> None:
    made_up.say("distilled", correct_frames=lambda c, n: FRAMES - n, word_errors=lambda c, n: WORDS - 1 + n)
    runs = made_up.write()
    assert runs.per_utterance("distilled", "frame_accuracy").tolist() == [(FRAMES - n).tolist() for n in range(3)]
    assert runs.per_utterance("distilled", "wer").tolist() == [(WORDS - 1 + n).tolist() for n in range(3)]
    one = runs.per_utterance("distilled", "wer", runs.configs("distilled")[1:2])
    assert one.tolist() == [WORDS.tolist()]
    assert runs.test_utterances()["speaker"].tolist() == list(SPEAKERS)
    accuracies = [record["metrics"]["frame_accuracy"] for record in runs.records("distilled")]
    assert runs["distilled"]["frame_accuracy"].tolist() == accuracies


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
    made_up.say("distilled, more speech", correct_frames=share(45))
    runs = made_up.write()
    assert interval(gain_kept(runs)) == pytest.approx((80, 80, 80))
    assert interval(gain_kept(runs, "distilled, more speech")) == pytest.approx((-50, -50, -50))
    assert interval(gain_kept(runs, "distilled, more speech", over="distilled")) == pytest.approx((-130, -130, -130))
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


def test_draws_are_matched_whatever_the_order_of_the_runs(made_up: MadeUp) -> None:
    made_up.say("full", frame_accuracy=lambda c, n: 60.0 + c.seed)
    made_up.say("hard", early_stopped=lambda c, n: {"frame_accuracy": 20.0 + 10 * c.subset})
    made_up.say("soft", frame_accuracy=lambda c, n: 50.0 - 3 * c.subset)
    runs = made_up.write()
    before = recovered(runs, 0.03)
    assert len(set(before.values)) == 3
    backwards = runs.plan["05"] | {name: runs.configs(name)[::-1] for name in ("soft", "full")}
    again = SpeechResults(runs.profile, {"05": backwards})
    assert again["soft"]["subset"].tolist() == [2, 1, 0] * 2
    assert recovered(again, 0.03) == before


# The tables


def test_missing_records_name_the_command_that_makes_them(made_up: MadeUp) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        made_up.runs["baseline"]


def test_tables_are_of_the_runs_of_that_name(made_up: MadeUp) -> None:
    runs = made_up.write()
    assert [type(config) for config in runs.configs("baseline")] == [AcousticModel] * 3
    assert [type(config) for config in runs.configs("ensemble")] == [Ensemble] * 2
    assert runs["hard"]["share"].tolist() == [0.03] * 3 + [0.1] * 3
    assert runs["soft"]["hard_weight"].tolist() == [0.0] * 6
    assert runs.curves("hard").empty
    with pytest.raises(KeyError):
        runs["specialists"]


def test_soft_gain_is_of_the_last_epoch_over_the_best_on_hard_targets(made_up: MadeUp) -> None:
    made_up.say("hard", early_stopped=lambda c, n: {"frame_accuracy": 30.0 + c.subset})
    made_up.say("soft", frame_accuracy=lambda c, n: (50.0 if c.share == 0.03 else 40.0) + 3 * c.subset)
    runs = made_up.write()
    assert interval(soft_gain(runs, 0.03)) == pytest.approx(interval(estimate([20, 22, 24])))
    assert interval(soft_gain(runs, 0.1)) == pytest.approx(interval(estimate([10, 12, 14])))


def test_worsening_is_from_the_best_scored_epoch_to_the_last(made_up: MadeUp) -> None:
    runs = made_up.write()
    for config in runs.configs("hard"):
        scores = [(40.0, 2.0), (60.0, 1.5), (55.0 - config.subset, 3.5 + config.subset)]
        rows = [{"development_frame_accuracy": a, "development_cross_entropy": c} for a, c in scores]
        history = [{}, rows[0], {}, rows[1], {}, rows[2]]
        runs.store.write(config, {"metrics": {}, "history": history, "seconds": 1.0})
    assert worsening(runs, "hard", "cross_entropy", 0.03).tolist() == [2, 3, 4]
    assert worsening(runs, "hard", "accuracy", 0.1).tolist() == [5, 6, 7]


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_of_the_lengths_the_best_on_development_is_marked(kind: str, made_up: MadeUp) -> None:
    def said(config: Config) -> dict:
        epochs = config.optimisation.epochs
        return {"development_frame_accuracy": 50.0 - abs(epochs - 3) + config.subset, "frame_accuracy": 10.0 + epochs}

    if kind == "hard":
        made_up.say("lengths, hard", early_stopped=lambda c, n: said(c))
    else:
        made_up.say("lengths, soft", **{name: lambda c, n, of=name: said(c)[of] for name in said(EARLY)})
    found = lengths(made_up.write(), kind)
    assert found.to_dict("list") == {
        "share": [0.03, 0.03],
        "epochs": [3, 6],
        "development": [50, 47],
        "test": [13, 16],
        "draws": [1, 1],
        "best": [True, False],
    }


# Section 1


@pytest.fixture
def gradients(made_up: MadeUp) -> SpeechResults:
    """Soft targets at T = 2 have a quarter of the noise at the start, and as much after an epoch."""

    def along(config: GradientNoise, number: int) -> list[dict]:
        soft = getattr(config.net, "temperature", None) == 2
        ratios = (25.0, 400.0) if soft else (100.0, 400.0)
        factor = 10.0**config.net.subset
        return [{"noise": 1.0, "ratio": factor * ratio, "signal": 16.0 if soft else 4.0} for ratio in ratios]

    made_up.say("gradients along training", along=along, entropy=lambda config, number: 1.5)

    def development(config: Config, number: int) -> float | None:
        rate = config.optimisation.learning_rate
        if isinstance(config, AcousticModel):
            return {0.1: 40.0, 0.2: 50.0, 0.4: 46.0, 0.8: 44.0}[rate]  # nine tenths of the best: 45
        return {0.1: 60.0, 0.2: 53.0, 0.4: None, 0.8: 59.0}[rate]  # what lies beyond a worse one does not count

    made_up.say("largest learning rate", development_frame_accuracy=development)
    return made_up.write()


def test_gradients_along_training_are_tabled_epoch_by_epoch(gradients: SpeechResults) -> None:
    found = gradients_along(gradients)
    assert len(found) == 3 * 2 * 2
    assert found["epoch"].tolist() == [0, 1] * 6
    hard = found[found["temperature"].isna()]
    assert hard["ratio"].tolist() == [100, 400, 1000, 4000]
    assert set(found["temperature"].dropna()) == {2, 5}


def test_noise_is_compared_draw_by_draw_in_the_geometric_mean(gradients: SpeechResults) -> None:
    assert gradient_ratio(gradients, 2).values == pytest.approx((0.5, 0.5))
    assert gradient_ratio(gradients, 5).mean == pytest.approx(1)


def test_the_largest_learning_rate_is_counted_from_the_best_on(gradients: SpeechResults) -> None:
    assert learning_rate_ratio(gradients, equal=False).values == pytest.approx((0.25, 0.25))
    # The soft gradients are twice as long at the start.
    assert learning_rate_ratio(gradients).values == pytest.approx((0.5, 0.5))


EARLY = baseline(PROFILE, 7, share=0.3, evaluate_every=2, optimisation=Optimisation(5))


def test_table_has_a_row_per_run(made_up: MadeUp) -> None:
    on_share = student(PROFILE, 0, teacher=baseline(PROFILE), share=0.5, subset=2, temperature=5.0)
    configs = [baseline(PROFILE), ensemble(PROFILE), student(PROFILE, 0), on_share, EARLY]
    runs = SpeechResults(PROFILE, {"03": {"some": configs}})
    records = [
        {"metrics": {name: 100.0 * run + n for n, name in enumerate(REPORTED)}, "history": [], "seconds": run + 0.5}
        for run in range(5)
    ]
    early = {name: 1000.0 + n for n, name in enumerate(REPORTED[:5])} | {"epoch": 4}
    records[4]["metrics"]["early_stopped"] = early
    for config, record in zip(configs, records, strict=True):
        runs.store.write(config, record)
    found = runs["some"]
    settings = ["seed", "share", "subset", "resample", "temperature", "hard_weight"]
    early_columns = [*(f"early_{name}" for name in REPORTED[:5]), "early_epoch"]
    assert list(found) == [
        "targets",
        "size",
        "epochs",
        "learning_rate",
        "mean",
        "seconds",
        *settings,
        *REPORTED,
        *early_columns,
    ]
    assert found["targets"].tolist() == ["hard", "ensemble", "soft", "soft", "hard"]
    assert found["size"].tolist() == ["2x64"] * 5
    assert found["epochs"].tolist() == [3, 3, 3, 3, 5]
    assert found["mean"].tolist()[1] == "arithmetic"
    assert found["share"].fillna(-1).tolist() == [1, -1, 1, 0.5, 0.3]
    assert found["temperature"].fillna(-1).tolist() == [-1, -1, 2, 5, -1]
    assert found["subset"].tolist()[3] == 2
    for row, record in zip(found.to_dict("records"), records, strict=True):
        assert all(row[name] == record["metrics"][name] for name in REPORTED)
        assert row["seconds"] == record["seconds"]
    assert found["early_epoch"].isna().tolist() == [True] * 4 + [False]
    assert found[early_columns].iloc[4].tolist() == list(early.values())


def test_curves_have_a_row_per_evaluation(made_up: MadeUp) -> None:
    soft = student(PROFILE, 0, teacher=baseline(PROFILE), hard_weight=0.2, share=0.2, subset=1, evaluate_every=1)
    runs = SpeechResults(PROFILE, {"05": {"some": [EARLY, soft, baseline(PROFILE)]}})

    def record(evaluated: dict[int, tuple[float, float]], epochs: int) -> dict:
        columns = ("development_frame_accuracy", "development_cross_entropy")
        found = {epoch: dict(zip(columns, values, strict=True)) for epoch, values in evaluated.items()}
        history = [{"loss": 1.0} | found.get(epoch, {}) for epoch in range(1, epochs + 1)]
        return {"metrics": {}, "history": history}

    runs.store.write(EARLY, record({2: (10.0, 3.0), 4: (30.0, 2.0), 5: (20.0, 2.5)}, 5))
    runs.store.write(soft, record({1: (11.0, 3.1), 2: (12.0, 3.2)}, 2))
    runs.store.write(baseline(PROFILE), record({}, 2))
    found = runs.curves("some")
    assert list(found) == ["targets", "share", "subset", "hard_weight", "epochs", "epoch", "accuracy", "cross_entropy"]
    assert found.to_records(index=False).tolist() == [
        ("hard", 0.3, 0, 1.0, 5, 2, 10.0, 3.0),
        ("hard", 0.3, 0, 1.0, 5, 4, 30.0, 2.0),
        ("hard", 0.3, 0, 1.0, 5, 5, 20.0, 2.5),
        ("soft", 0.2, 1, 0.2, 3, 1, 11.0, 3.1),
        ("soft", 0.2, 1, 0.2, 3, 2, 12.0, 3.2),
    ]


def test_a_model_on_more_speech_has_its_own_settings_in_its_row(made_up: MadeUp) -> None:
    config = Stretched(baseline(PROFILE, 107))
    runs = replace(made_up.runs, plan={"03": {"hard, more speech": [config]}})
    record = runs.store.read(made_up.write().configs("baseline")[0])
    runs.store.write(config, {name: record[name] for name in ("metrics", "history", "seconds")})
    (row,) = runs["hard, more speech"].to_dict("records")
    assert (row["targets"], row["seed"], row["share"]) == ("hard", 107, 1)
    assert row["epochs"] == PROFILE.member.epochs


def test_what_is_kept_is_told_for_each_length_in_those_of_a_member(made_up: MadeUp) -> None:
    gained = {3: 0.05, 6: 0.08}  # of the frames, by epochs; the ensemble gains a tenth
    made_up.say("ensemble", correct_frames=lambda config, number: FRAMES * 0.6)
    made_up.say("baseline", correct_frames=lambda config, number: FRAMES * 0.5)
    made_up.say("length", correct_frames=lambda config, number: FRAMES * (0.5 + gained[config.optimisation.epochs]))
    found = kept_by_length(made_up.write()).set_index("epochs")
    assert found["times"].tolist() == [1, 2]
    assert found["mean"].tolist() == pytest.approx([50, 80])
    assert found["seeds"].tolist() == [3, 3]


def test_rates_are_told_by_temperature(made_up: MadeUp) -> None:
    made_up.say("learning rate", development_frame_accuracy=lambda config, number: 50.0 + number)
    found = rates(made_up.write())
    assert found.loc[0.1].tolist() == [50.0, 51.0]
    assert found.columns.tolist() == [1, 2]
