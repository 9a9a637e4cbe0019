"""The frozen alignment: no speaker is aligned by a net that learnt from it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_speech import made_up, share_exact
from torch import Tensor, nn

from distillation.core.figures import PUBLISHED
from distillation.core.store import Store, StoreError
from distillation.core.training import Diverged, Optimisation
from distillation.speech import alignment
from distillation.speech.alignment import Alignment, fold_of
from distillation.speech.data import Utterance
from distillation.speech.profiles import AN4, SMOKE
from distillation.speech.recogniser.corpus import PARTS, Corpus, Part
from distillation.speech.recogniser.corpus import corpus as corpus_of
from distillation.speech.recogniser.filterbanks import Features, windows_of
from distillation.speech.recogniser.flat_start import Rounds, align_all
from distillation.speech.recogniser.hmm import monophones
from distillation.speech.recogniser.scoring import Labels

CONFIG = Alignment(
    "small",
    leaves=60,
    rounds=Rounds(monophones=((1, 4), (2, 1)), triphones=((1, 1),)),
    hidden=(64,),
    optimisation=Optimisation(epochs=4, batch_size=128, precision="float32"),
    folds=2,
    network_rounds=1,
    threads=1,
)


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread() -> Iterator[None]:
    """As the products are small, threads would mostly wait for each other, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def spoken() -> tuple[Corpus, dict[str, list[str]]]:
    """Made-up features, and the phones that are in them."""
    return made_up((10, 2, 2), 8)


@pytest.fixture(scope="module")
def corpus(spoken: tuple[Corpus, dict[str, list[str]]]) -> Corpus:
    return spoken[0]


def part_of(speakers: str, lengths: tuple[int, ...]) -> Part:
    """Utterances of random features by these speakers, a letter each."""
    frames = torch.randn(sum(lengths), 40, generator=torch.Generator().manual_seed(0))
    silence = np.zeros(0, np.int16)
    utterances = tuple(Utterance(f"an{n}", speaker, silence, ("A",)) for n, speaker in enumerate(speakers))
    features = Features(frames, lengths)
    return Part(utterances, features, windows_of(features))


@pytest.mark.parametrize("folds", [2, 3, 4])
def test_folds_share_no_speaker_and_cover_all_utterances(folds: int) -> None:
    part = part_of("aabcbddeacef", (5,) * 12)
    insides = [fold_of(part, folds, fold, inside=True) for fold in range(folds)]
    assert sorted(number for inside in insides for number in inside) == list(range(12))
    sizes = []
    for fold, inside in enumerate(insides):
        outside = fold_of(part, folds, fold, inside=False)
        assert sorted(inside + outside) == list(range(12))
        speakers, others = ({part.utterances[number].speaker for number in numbers} for numbers in (inside, outside))
        assert not speakers & others
        sizes.append(len(speakers))
    assert max(sizes) - min(sizes) <= 1


@pytest.fixture(scope="module")
def finished(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict, list[tuple[set[str], Part]]]:
    """A small run, written; and for each time a net was used: the speakers that it learnt from, and the part."""
    learnt: dict[int, set[str]] = {}
    used: list[tuple[set[str], Part]] = []
    train = corpus["train"]
    # by a frame of theirs, wherever it lies: the nets know nothing of utterances
    marks = {
        frames[len(frames) // 2].numpy().tobytes(): utterance.speaker
        for utterance, frames in zip(train.utterances, train.features.per_utterance(), strict=True)
    }
    really_train, really_use = alignment.train, alignment.log_posteriors

    def spy_train(net: nn.Module, inputs, loss: Callable, settings: Optimisation) -> list[dict]:
        rows = {row.tobytes() for row in inputs.frames.numpy()}
        learnt[id(net)] = {speaker for mark, speaker in marks.items() if mark in rows}
        return really_train(net, inputs, loss, settings)

    def spy_use(net: nn.Module, part: Part) -> Tensor:
        used.append((learnt[id(net)], part))
        return really_use(net, part)

    store = Store(tmp_path_factory.mktemp("results") / "records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "corpus", lambda name: {"small": corpus}[name])
        patch.setattr(alignment, "train", spy_train)
        patch.setattr(alignment, "log_posteriors", spy_use)
        record = CONFIG.run(store)
    store.write(CONFIG, record)
    return store, record, used


def test_labels_are_read_as_they_were_written(corpus: Corpus, finished: tuple) -> None:
    store, record, _ = finished
    found = alignment.read(CONFIG, store)
    metrics = record["metrics"]
    assert len(found.states) == metrics["states"]
    assert {" ".join(map(str, key)): state for key, state in found.states.ids.items()} == metrics["leaves"]
    assert set(found.states.ids) == set(monophones(corpus.lexicon).ids)
    assert all(found.states.phones[state] == key[1] for key, state in found.states.ids.items())
    for name in PARTS:
        assert found.of[name].dtype == torch.int64
        assert torch.equal(found.of[name], store.tensors(CONFIG)[name].long())
        assert len(found.of[name]) == metrics["frames"][name] == len(corpus[name].windows)
    quiet = torch.isin(found.of["train"], torch.tensor(found.states.silence)).float().mean()
    assert metrics["silence_percent"] == pytest.approx(100 * float(quiet))
    assert float(found.log_priors().exp().sum()) == pytest.approx(1, abs=0.01)


def test_labels_of_a_run_are_paths_of_the_transcripts(corpus: Corpus, finished: tuple) -> None:
    found = alignment.read(CONFIG, finished[0])
    states = found.states
    for name in PARTS:
        part = corpus[name]
        hot = nn.functional.one_hot(found.of[name], len(states)).float() - 1
        again = align_all(
            lambda rows, wanted, hot=hot: hot[rows][:, wanted],
            part.utterances,
            part.features.lengths,
            corpus.lexicon,
            states,
        )
        assert torch.equal(again, found.of[name])


def test_mixtures_and_nets_find_the_exact_phones_in_every_part(
    spoken: tuple[Corpus, dict[str, list[str]]], finished: tuple
) -> None:
    corpus, exact = spoken
    states, by_mixtures = alignment.by_mixtures(CONFIG, corpus)
    by_nets = alignment.read(CONFIG, finished[0])
    for name in PARTS:
        assert share_exact(states, by_mixtures[name], exact[name]) > 0.98
        assert share_exact(by_nets.states, by_nets.of[name], exact[name]) > 0.97
        assert share_exact(by_nets.states, by_nets.of[name].roll(1), exact[name]) < 0.95  # a frame too late
        changed = 100 * float((by_nets.of[name] != by_mixtures[name]).float().mean())
        assert finished[1]["history"][0]["changed_percent"][name] == pytest.approx(changed)
        assert 0 < changed < 10


class Interruption(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_is_stopped_goes_on_with_the_fold_that_it_was_at(
    stop: int, corpus: Corpus, finished: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, calls, really = Store(tmp_path / "records"), [], alignment.by_network

    def interrupted(*arguments) -> None:
        calls.append(arguments[3:5])
        if len(calls) == stop:
            raise Interruption
        really(*arguments)

    monkeypatch.setattr(alignment, "corpus", lambda name: corpus)
    monkeypatch.setattr(alignment, "by_network", interrupted)
    with pytest.raises(Interruption):
        CONFIG.run(store)
    monkeypatch.setattr(alignment, "by_mixtures", lambda *_: pytest.fail("begun again"))
    assert CONFIG.run(store) == finished[1]
    assert calls[stop] == calls[stop - 1]  # the fold that it was at; those before are kept
    assert len(calls) == CONFIG.network_rounds * CONFIG.folds + 1
    for name in PARTS:
        assert torch.equal(store.tensors(CONFIG)[name], finished[0].tensors(CONFIG)[name])
    assert not store.checkpoint(CONFIG).exists()


def test_a_damaged_checkpoint_is_told_and_not_continued(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "1.checkpoint.safetensors"
    states = monophones(corpus.lexicon)
    labels = {name: torch.zeros(4, dtype=torch.long) for name in PARTS}
    alignment._save(path, Labels(states, labels), [], {}, 0)
    found, history, again, folds = alignment._restore(path)
    assert found.states == states
    assert (history, again, folds) == ([], {}, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert alignment._restore(path) is None
    assert "is damaged; the alignment starts again" in capsys.readouterr().out


def test_a_fold_that_diverges_starts_again_at_half_the_rate(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rates = []

    def diverging(net: nn.Module, inputs, loss: Callable, settings: Optimisation) -> None:
        rates.append(settings.learning_rate)
        if len(rates) < 3:
            raise Diverged("The loss became nan.")

    monkeypatch.setattr(alignment, "train", diverging)
    alignment.trained(CONFIG, corpus["train"], torch.zeros(1, dtype=torch.long), 3, 0, 1)
    full = CONFIG.optimisation.learning_rate
    assert rates == [full, full / 2, full / 4]
    assert "fold 2 in round 1 starts again at half the rate" in capsys.readouterr().out
    monkeypatch.setattr(alignment, "train", lambda *_: (_ for _ in ()).throw(Diverged("The loss became nan.")))
    with pytest.raises(Diverged):
        alignment.trained(CONFIG, corpus["train"], torch.zeros(1, dtype=torch.long), 3, 0, 1)


def test_no_speaker_is_aligned_by_a_net_that_learnt_from_it(corpus: Corpus, finished: tuple) -> None:
    used = finished[2]
    assert len(used) == CONFIG.folds * len(PARTS)
    training = {utterance.speaker for utterance in corpus["train"].utterances}
    aligned: list[str] = []
    for learnt, part in used:
        assert len(learnt) == 5
        assert learnt < training
        assert not learnt & {utterance.speaker for utterance in part.utterances}
        aligned += [utterance.name for utterance in part.utterances]
    everyone = [utterance.name for name in PARTS for utterance in corpus[name].utterances]
    assert sorted(aligned) == sorted(everyone)


def test_run_is_the_same_again(
    corpus: Corpus, finished: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "corpus", lambda name: corpus)
    again = Store(tmp_path / "records")
    torch.manual_seed(123)  # of no consequence
    assert CONFIG.run(again) == finished[1]
    for name, labels in finished[0].tensors(CONFIG).items():
        assert torch.equal(again.tensors(CONFIG)[name], labels)


def test_missing_alignment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        alignment.read(CONFIG, Store(tmp_path / "records"))


def test_few_minutes_of_speech_are_aligned_much_as_all_of_it() -> None:
    """The test speakers of the embedded speech, by its own 22 training speakers and by AN4's 66 as published."""
    part = corpus_of(SMOKE.dataset)["test"]
    states, labels = alignment.by_mixtures(SMOKE.alignment, corpus_of(SMOKE.dataset))
    store = Store(PUBLISHED / "records")
    published, told = alignment.read(AN4.alignment, store), store.metrics(AN4.alignment)["test_utterances"]
    each = published.of["test"].split([utterance["frames"] for utterance in told])
    by_name = dict(zip((utterance["name"] for utterance in told), each, strict=True))
    phones = [published.states.phones[n] for utterance in part.utterances for n in by_name[utterance.name].tolist()]
    assert share_exact(states, labels["test"], phones) > 0.75  # 0.85 when written
