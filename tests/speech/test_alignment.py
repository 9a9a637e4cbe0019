"""The frozen alignment: no speaker is aligned by a net that learnt from it."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distillation.core.store import Store, StoreError
from distillation.core.training import Optimisation
from distillation.speech import alignment
from distillation.speech.alignment import Alignment, exact_phones, fold_of
from distillation.speech.data import Utterance
from distillation.speech.data.synthetic_speech import load_synthetic_speech
from distillation.speech.recogniser.corpus import PARTS, Corpus, Part, from_speech
from distillation.speech.recogniser.filterbanks import Features, windows_of
from distillation.speech.recogniser.flat_start import Rounds, align_all
from distillation.speech.recogniser.hmm import States, monophones
from distillation.speech.recogniser.scoring import Labels

spoken = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeak-ng is not here: pip install espeakng-loader"
)
LEXICON = {"A": (("EY",), ("AH",)), "BEE": (("B", "IY"),)}
CONFIG = Alignment(
    "small",
    leaves=150,
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
def corpus() -> Corpus:
    return from_speech(load_synthetic_speech((10, 2, 2), 8))


def agreement(part: Part, states: States, labels: Tensor) -> float:
    phones = np.array(states.phones)[labels.numpy()]
    return float(np.mean(phones == np.array(exact_phones(part))))


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


def test_exact_phone_of_a_frame_is_the_one_in_its_middle() -> None:
    part = part_of("ab", (5, 3))
    phones = (
        (("SIL", 0, 360), ("B", 360, 519), ("IY", 519, 681), ("SIL", 681, 2_000)),
        (("SIL", 0, 521), ("AH", 521, 999)),
    )
    utterances = tuple(replace(u, phones=said) for u, said in zip(part.utterances, phones, strict=True))
    found = exact_phones(replace(part, utterances=utterances))  # the middles are 200, 360, 520, 680, 840
    assert found == ["SIL", "B", "IY", "IY", "SIL", "SIL", "SIL", "SIL"]


def test_phone_agreement_counts_frames_and_needs_exact_phones() -> None:
    part = part_of("a", (4,))
    states = monophones(LEXICON)
    labels = Labels(states, dict.fromkeys(PARTS, torch.tensor(states.of(("EY",)) + states.silence[:1])))
    assert alignment.phone_agreement(Corpus("none", dict.fromkeys(PARTS, part), LEXICON), labels) is None
    said = (("SIL", 0, 300), ("EY", 300, 5_000))
    exact = replace(part, utterances=(replace(part.utterances[0], phones=said),))
    found = alignment.phone_agreement(Corpus("exact", dict.fromkeys(PARTS, exact), LEXICON), labels)
    assert found == dict.fromkeys(PARTS, 50)


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


@spoken
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
        share = 100 * agreement(corpus[name], found.states, found.of[name])
        assert share == pytest.approx(metrics["phone_agreement_percent"][-1][name], abs=1e-3)
    quiet = torch.isin(found.of["train"], torch.tensor(found.states.silence)).float().mean()
    assert metrics["silence_percent"] == pytest.approx(100 * float(quiet))
    assert float(found.log_priors().exp().sum()) == pytest.approx(1, abs=0.01)


@spoken
def test_labels_of_a_run_are_paths_of_the_transcripts(corpus: Corpus, finished: tuple) -> None:
    found = alignment.read(CONFIG, finished[0])
    states = found.states
    for name in PARTS:
        part = corpus[name]
        hot = nn.functional.one_hot(found.of[name], len(states)).float() - 1
        again = align_all(
            lambda rows, hot=hot: hot[rows], part.utterances, part.features.lengths, corpus.lexicon, states
        )
        assert torch.equal(again, found.of[name])


@spoken
def test_mixtures_and_nets_find_the_phones_in_every_part(finished: tuple) -> None:
    metrics, history = finished[1]["metrics"], finished[1]["history"]
    by_mixtures, by_nets = metrics["phone_agreement_percent"]
    assert min(by_mixtures.values()) > 60
    assert min(by_nets.values()) > 50
    assert len(history) == 1
    assert all(0 < history[0]["changed_percent"][name] < 100 for name in PARTS)


@spoken
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


@spoken
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
