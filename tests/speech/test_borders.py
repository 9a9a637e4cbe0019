"""What compiled loops and features are given: shapes, types and ranges are checked before anything is read."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from distillation.core.data import DataError
from distillation.core.store import Store
from distillation.speech import averages, nets
from distillation.speech.alignment import Alignment, cross_entropy
from distillation.speech.data import Utterance
from distillation.speech.recogniser.corpus import Part, from_speech
from distillation.speech.recogniser.decoding import Weights, bigram, decode, word_errors, word_loop
from distillation.speech.recogniser.filterbanks import Features, Windows, features_of, log_mel, windows_of
from distillation.speech.recogniser.flat_start import align_all
from distillation.speech.recogniser.gmm import mixtures, single_gaussians, statistics
from distillation.speech.recogniser.hmm import Graph, align, monophones, transcript_graph, viterbi
from distillation.speech.recogniser.scoring import Labels, frame_accuracy

LEXICON = {"A": (("EY",), ("AH",)), "BEE": (("B", "IY"),)}
STATES = monophones(LEXICON)  # 15
GRAPH = transcript_graph(("A",), {"A": (("EY",),)}, monophones({"A": (("EY",),)}))  # of 6 states
LOOP = word_loop(LEXICON, STATES, [["A", "BEE"], ["BEE"]])
PRIORS = np.full(15, math.log(1 / 15))
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32]


def scores(frames: int = 20, states: int = 6, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(frames).standard_normal((frames, states)).astype(dtype)


def utterance(samples: np.ndarray, name: str = "an9-odd") -> Utterance:
    return Utterance(name, "ann", samples, ("A",))


def noise(samples: int = 4_000) -> np.ndarray:
    return (3_000 * np.random.default_rng(0).standard_normal(samples)).astype(np.int16)


# Compiled loops


@pytest.mark.parametrize("columns", [0, 3, 5])
def test_scores_of_too_few_states_are_not_aligned(columns: int) -> None:
    """The loop would read beyond them, whatever lies there."""
    with pytest.raises(ValueError, match=r"an9-odd .*(lie from 0 to 5, but there are [35] columns|\(20, 0\); pass)"):
        align(scores(states=columns), GRAPH, "an9-odd")


@pytest.mark.parametrize(
    "bad", [scores()[0], scores()[None], scores(0), scores().astype(int), scores() > 0, scores().astype(complex)]
)
def test_scores_of_another_shape_or_type_are_not_searched(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"scores of an9-odd are \w+ \([^)]*\); pass floats \(frames, states\)"):
        align(bad, GRAPH, "an9-odd")
    with pytest.raises(ValueError, match="pass floats"):
        decode(bad, PRIORS, LOOP, Weights())


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("emissions", GRAPH.emissions.astype(float)),
        ("emissions", GRAPH.emissions - 1),
        ("emissions", GRAPH.emissions + 1),
        ("emissions", GRAPH.emissions[:-1]),
        ("emissions", GRAPH.emissions[:0]),
        ("emissions", GRAPH.emissions[None]),
        ("emissions", GRAPH.emissions > 1),
        ("sources", GRAPH.sources - 1),
        ("sources", GRAPH.sources + 2),
        ("sources", GRAPH.sources[:-1]),
        ("sources", GRAPH.sources.astype(np.float32)),
        ("offsets", GRAPH.offsets[:-1]),
        ("offsets", GRAPH.offsets + 1),
        ("offsets", GRAPH.offsets[::-1].copy()),
        ("offsets", GRAPH.offsets * 1.0),
        ("starts", GRAPH.starts[:-1]),
        ("starts", GRAPH.starts.astype(int)),
        ("ends", GRAPH.ends[:, None]),
        ("ends", GRAPH.ends.astype(float)),
    ],
)
def test_graphs_that_do_not_fit_are_not_searched(name: str, bad: np.ndarray) -> None:
    graph = dataclasses.replace(GRAPH, **{name: bad})
    with pytest.raises(ValueError, match=r"^(?=.* of the graph of an9-odd)[^\n]+$"):
        align(scores(), graph, "an9-odd")
    with pytest.raises(ValueError, match="of the graph of the utterance"):
        viterbi(scores(), **vars(graph))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_not_searched(bad: float) -> None:
    damaged = scores()
    damaged[3, 2] = bad
    with pytest.raises(ValueError, match="scores of the utterance hold NaN or infinity"):
        viterbi(damaged, **vars(GRAPH))


def test_integers_of_any_size_and_arrays_of_any_order_are_searched_alike() -> None:
    expected = viterbi(scores(), **vars(GRAPH))
    kinds = {"emissions": np.uint8, "sources": np.int16, "offsets": np.int32, "starts": bool, "ends": bool}
    other = Graph(**{name: getattr(GRAPH, name).astype(kind) for name, kind in kinds.items()})
    path, score = viterbi(np.asfortranarray(scores()), **vars(other))
    assert (path.tolist(), score) == (expected[0].tolist(), expected[1])
    assert align(scores(), other).tolist() == align(scores(), GRAPH).tolist()


def test_scores_of_halves_are_searched_in_float32() -> None:
    half = scores(30, 15, np.float16)
    graph = transcript_graph(("A", "BEE"), LEXICON, STATES)
    assert align(half, graph).tolist() == align(half.astype(np.float32), graph).tolist()
    priors = PRIORS.astype(np.float16)
    full = decode(half.astype(np.float32), priors.astype(np.float32), LOOP, Weights(1, 1, 0.7))
    assert decode(half, priors, LOOP, Weights(1, 1, 0.7)) == full


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("emissions", LOOP.emissions.astype(float)),
        ("emissions", LOOP.emissions - 1),
        ("emissions", LOOP.emissions + 1),
        ("emissions", LOOP.emissions[:-1]),
        ("offsets", LOOP.offsets[:-1]),
        ("offsets", LOOP.offsets + 1),
        ("offsets", np.array([0, 1, 2, len(LOOP.emissions)])),  # chains shorter than their silence
        ("offsets", LOOP.offsets.astype(float)),
        ("words", LOOP.words - 1),
        ("words", LOOP.words + 1),
        ("words", LOOP.words[:0]),
        ("words", LOOP.words.astype(float)),
        ("silence", LOOP.silence - 15),
        ("silence", LOOP.silence + 1),
        ("silence", LOOP.silence[:0]),
        ("model", dataclasses.replace(LOOP.model, log_words=LOOP.model.log_words[:-1])),
        ("model", dataclasses.replace(LOOP.model, log_words=LOOP.model.log_words * math.nan)),
        ("model", dataclasses.replace(LOOP.model, log_back_off=LOOP.model.log_back_off[:-1])),
        ("model", dataclasses.replace(LOOP.model, log_end=LOOP.model.log_end[:-1])),
        ("model", dataclasses.replace(LOOP.model, log_end=LOOP.model.log_end + math.inf)),
        ("model", dataclasses.replace(LOOP.model, histories=LOOP.model.histories + len(LOOP.vocabulary) + 1)),
        ("model", dataclasses.replace(LOOP.model, histories=LOOP.model.histories[:-1])),
        ("model", dataclasses.replace(LOOP.model, log_pairs=LOOP.model.log_pairs[:-1])),
        ("model", dataclasses.replace(LOOP.model, offsets=LOOP.model.offsets + 1)),
        ("model", dataclasses.replace(LOOP.model, offsets=LOOP.model.offsets[:-1])),
        ("vocabulary", LOOP.vocabulary[:1]),
    ],
)
def test_word_loops_that_do_not_fit_are_not_searched(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*(word loop|bigram model)[^\n]*$"):
        decode(scores(states=15), PRIORS, dataclasses.replace(LOOP, **{name: bad}), Weights())


@pytest.mark.parametrize("bad", [PRIORS[:-1], PRIORS[None], np.zeros(15, int), PRIORS * math.nan, PRIORS - math.inf])
def test_priors_that_do_not_fit_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="priors"):
        decode(scores(states=15), bad, LOOP, Weights())


@pytest.mark.parametrize("bad", [Weights(math.nan), Weights(1, math.inf), Weights(1, 1, math.nan)])
def test_weights_that_are_not_finite_are_refused(bad: Weights) -> None:
    with pytest.raises(ValueError, match=r"Weights\(.*hold NaN or infinity"):
        decode(scores(states=15), PRIORS, LOOP, bad)


def test_utterances_with_fewer_scores_than_frames_are_refused_by_name() -> None:
    few = torch.zeros(25, 15)  # slices of it end early
    with pytest.raises(ValueError, match="an9-odd has 20 frames, but there are scores of 13"):
        align_all(
            lambda rows, wanted: few[rows][:, wanted],
            (utterance(noise(), "an9"), utterance(noise())),
            (12, 20),
            LEXICON,
            STATES,
        )


# Speech


@pytest.mark.parametrize(
    "samples",
    [
        noise() / np.float32(32768),
        noise().astype(np.float32),
        noise().astype(np.int32),
        noise().astype(np.uint16),
        noise() > 0,
        np.stack([noise(), noise()], 1),
    ],
)
def test_samples_of_another_type_are_refused_by_name_with_the_remedy(samples: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"^The samples of utterance an9-odd are \w+ of shape [^;]+; pass .*int16.*$"):
        log_mel(utterance(samples))
    with pytest.raises(DataError, match=r"\(32767 \* samples\)\.round\(\)\.astype\(np\.int16\)"):
        features_of((utterance(noise(), "fine"), utterance(samples)))


def test_the_remedy_for_floats_remedies() -> None:
    samples = noise() / np.float32(32767)
    again = utterance((32767 * samples).round().astype(np.int16))
    assert torch.equal(log_mel(again), log_mel(utterance(noise())))


def test_speech_at_another_speed_is_not_rounded_and_keeps_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (utterance(noise(), "one"), utterance(noise(6_000), "two"))
    features = features_of(said)
    monkeypatch.setattr(nets, "corpus", lambda name: {"train": Part(said, features, windows_of(features))})
    nets.at_speeds.cache_clear()
    part = nets.at_speeds("some", (0.8,))
    nets.at_speeds.cache_clear()
    played = features_of(said, lambda samples: nets.at_speed(samples, 0.8))
    assert torch.equal(part.features.frames, torch.cat([features.frames, played.frames]))
    rounded = features_of(said, lambda samples: nets.at_speed(samples, 0.8).round().astype(np.int16))
    assert not torch.equal(rounded.frames, played.frames)
    assert [each.samples.dtype for each in part.utterances] == [np.int16] * 4
    for speed in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="a speed is positive and finite"):
            nets.at_speed(noise(), speed)


def test_a_part_without_utterances_has_no_features() -> None:
    with pytest.raises(ValueError, match="no utterances"):
        features_of(())
    empty = SimpleNamespace(name="none", train=(), development=(), test=(), lexicon={})
    with pytest.raises(ValueError, match="one or more"):
        from_speech(empty)


@pytest.mark.parametrize(
    ("frames", "lengths"),
    [
        (torch.zeros(10, 39), (10,)),
        (torch.zeros(10), (10,)),
        (torch.zeros(10, 40).half(), (10,)),
        (torch.zeros(10, 40, dtype=torch.int64), (10,)),
        (torch.full((10, 40), math.nan), (10,)),
        (torch.zeros(10, 40), (4, 5)),
        (torch.zeros(10, 40), (10, 0)),
        (torch.zeros(0, 40), ()),
    ],
)
def test_features_of_another_form_are_refused(frames: Tensor, lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features|frames"):
        Features(frames, lengths)


def test_windows_lie_within_their_frames() -> None:
    frames = torch.randn(40, 80)[:, :40]  # not side by side in memory
    windows = Windows(frames, torch.arange(15, dtype=torch.int32))
    found = windows.gatherer(torch.device("cpu"), torch.float32)(torch.arange(15))
    assert torch.equal(found[3], frames[3:29].flatten())
    for starts in (torch.tensor([15]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor([True])):
        with pytest.raises(ValueError, match="windows' first rows"):
            Windows(frames, starts)
    with pytest.raises(ValueError, match=r"pass \(frames, 40\) float32"):
        Windows(torch.zeros(40, 80), torch.arange(3))  # the windows would be of other frames


def test_words_and_phones_in_one_text_are_refused() -> None:
    """Letters are words of AN4: the transcript would be spelled."""
    with pytest.raises(ValueError, match=r"words of utterance an9 are the text 'A BEE'; .*\('A', 'BEE'\)"):
        Utterance("an9", "ann", noise(), "A BEE")
    with pytest.raises(ValueError, match="words of an9"):
        transcript_graph("A", LEXICON, STATES, "an9")
    with pytest.raises(ValueError, match="phones of BEE"):
        monophones({"BEE": ("B", "IY")})
    with pytest.raises(ValueError, match="words of a sentence"):
        bigram(["AA"], ("A",))
    for pair in ((["A A"], [["A"]]), ([["A"]], ["A"])):
        with pytest.raises(ValueError, match="one by one"):
            word_errors(*pair)


# Labels


FRAMES = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(200) % 15
LOG_PROBABILITIES = torch.randn(200, 15, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
TAKE_LABELS = {
    "statistics": lambda labels: statistics(FRAMES, labels, 15)[1],
    "single_gaussians": lambda labels: single_gaussians(FRAMES, labels, 15).variances,
    "mixtures": lambda labels: mixtures(FRAMES.repeat(8, 1), torch.cat([labels] * 8), 15, 2).means,
    "log_priors": lambda labels: Labels(STATES, {"train": labels}).log_priors(),
    "frame_accuracy": lambda labels: torch.tensor(frame_accuracy(LOG_PROBABILITIES, labels)),
    "cross_entropy": lambda labels: cross_entropy(labels)(LOG_PROBABILITIES, torch.arange(200)),
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", TAKE_LABELS)
def test_labels_of_any_integer_type_give_the_same(name: str, dtype: torch.dtype) -> None:
    assert torch.equal(TAKE_LABELS[name](LABELS.to(dtype)), TAKE_LABELS[name](LABELS))


@pytest.mark.parametrize("name", TAKE_LABELS)
def test_labels_that_are_no_states_are_refused(name: str) -> None:
    for wrong in (LABELS.float(), LABELS > 0, LABELS[:, None]):
        with pytest.raises(ValueError, match=r"are torch\.\w+ of shape \(\d+,( 1)?\); pass "):
            TAKE_LABELS[name](wrong)
    if name != "cross_entropy":  # torch itself refuses them there, in the first step
        for wrong in (LABELS - 1, LABELS + 1):
            with pytest.raises(ValueError, match=r"lie from -?\d+ to \d+, but there are 15 states"):
                TAKE_LABELS[name](wrong)


def test_labels_of_other_numbers_of_frames_are_refused() -> None:
    for one in (LABELS[:1], LABELS[:-1]):  # comparing would repeat the one for all
        with pytest.raises(ValueError, match="pass 200 integers"):
            frame_accuracy(LOG_PROBABILITIES, one)
        with pytest.raises(ValueError, match="pass 200 integers"):
            statistics(FRAMES, one, 15)
    with pytest.raises(ValueError, match="no training frames"):
        Labels(STATES, {"train": LABELS[:0]}).log_priors()


def test_more_states_than_labels_can_hold_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stored as int16: ask for 32,767 leaves at most, not 40000"):
        Alignment("an4", leaves=40_000).run(Store(tmp_path))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_posteriors_of_halves_are_averaged_in_float32(mean: str) -> None:
    halves = (20 * torch.randn(9, 50, 15)).log_softmax(-1).half()
    found = averages.average(halves, mean)
    assert found.dtype == torch.float32
    assert torch.equal(found, averages.average(halves.float(), mean))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_posteriors_and_frames_that_are_not_finite_are_named(bad: float) -> None:
    damaged = LOG_PROBABILITIES.clone()
    damaged[5, 2] = bad
    with pytest.raises(ValueError, match="log-probabilities hold NaN or infinity"):
        frame_accuracy(damaged, LABELS)
    for mean in ("arithmetic", "geometric"):
        with pytest.raises(ValueError, match=r"members' (log-)?probabilities hold NaN"):
            averages.average(damaged[None], mean)
    with pytest.raises(ValueError, match="frames hold NaN or infinity"):
        statistics(FRAMES * bad, LABELS, 15)
