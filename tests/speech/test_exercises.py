"""The solutions of the exercises of notebooks 03 and 05, and what they let one see."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from distillation.core.models import mlp
from distillation.core.objectives import arithmetic_mean, distillation_loss, geometric_mean, soften
from distillation.core.training import Optimisation, logits_of, train
from distillation.mnist.data import Images, load_stand_in
from distillation.speech import alignment, nets
from distillation.speech.alignment import log_posteriors
from distillation.speech.examples import SpeechExamples
from distillation.speech.recogniser.corpus import corpus
from distillation.speech.recogniser.decoding import Weights, WordLoop, decode
from distillation.speech.recogniser.scoring import word_loop_of
from distillation.speech.results import results


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread() -> Iterator[None]:
    """Of the processor, as the live cells: the products are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_DEVICE", "cpu")
        yield
    torch.set_num_threads(threads)


# Notebook 03


def test_averaging_logits_makes_the_geometric_mean_and_it_keeps_the_promise_for_every_state() -> None:
    logits = 2 * torch.randn(10, 5, dtype=torch.float64)
    log_p = logits.log_softmax(-1)
    of_logits = logits.mean(0).softmax(-1)
    # What a softmax takes off all of a model's logits, it takes off the mean of all states alike.
    torch.testing.assert_close(of_logits, geometric_mean(log_p))
    for mean in (of_logits, arithmetic_mean(log_p.exp())):
        assert (mean.log() >= log_p.mean(0)).all()


def log_probability(words: tuple[str, ...], loop: WordLoop) -> float:
    """Of the words by the loop's language model."""
    table, beginning = loop.model.table(), len(loop.vocabulary)
    numbers = [loop.vocabulary.index(word) for word in words]
    histories = [beginning, *numbers]
    following = sum(table[history, word] for history, word in zip(histories[:-1], numbers, strict=True))
    return float(following + loop.model.log_end[histories[-1]])


def test_a_heavier_language_model_makes_words_likelier_until_they_leave_the_sound() -> None:
    runs, speech = results("paper").of_words, corpus("an4 (embedded)")
    labels, config = alignment.read(runs.profile.alignment, runs.store), runs.configs("distilled")[0]
    net = nets.build(config, len(labels.states))
    net.load_state_dict(load_file(runs.folder / "models" / "acoustic_distilled.safetensors"))
    heard, log_priors = log_posteriors(net, speech["test"]).numpy(), labels.log_priors().numpy()
    loop, chosen = word_loop_of(speech, labels), Weights(**runs.store.metrics(config)["decoder"])
    changed = dict.fromkeys((1, 2, 4, 10), 0)
    for rows in speech["test"].slices():
        found = {}
        for times in changed:
            weights = replace(chosen, language_model=times * chosen.language_model)
            found[times] = decode(heard[rows], log_priors, loop, weights)[0]
            changed[times] += found[times] != found[1]
        # The search is exact: what it gives up in sound it gains in likelier words.
        likelihoods = [log_probability(words, loop) for words in found.values()]
        assert all(more >= less - 0.01 for less, more in pairwise(likelihoods))
    utterances = len(speech["test"].utterances)
    assert changed[2] < utterances / 4
    assert changed[10] > utterances / 2


def test_the_student_sides_with_the_ensemble() -> None:
    agrees = {"baseline": 0, "ensemble": 0}
    for example in SpeechExamples.load(results("paper")).utterances:
        says = {system: found.argmax(1) for system, found in example.posteriors.items()}
        differ = says["baseline"] != says["ensemble"]
        for system in agrees:
            agrees[system] += int((says["distilled"] == says[system])[differ].sum())
    assert agrees["ensemble"] > 2 * agrees["baseline"] > 0


# Notebook 05


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_stand_in()


@pytest.fixture(scope="module")
def teacher_logits(digits: Images) -> Tensor:
    """What the live cell's teacher says of the training digits."""
    torch.manual_seed(0)
    images, labels = digits.train_images.double() / 255, digits.train_labels
    large = mlp((784, 128, 128, 10), input_dropout=0.2, hidden_dropout=0.5).double()
    settings = Optimisation(15, 128, 0.1, jitter=2, max_norm=3.5, precision="float64")
    train(large, images, lambda z, batch: F.cross_entropy(z, labels[batch]), settings)
    return logits_of(large, images, precision="float64")


def watched(digits: Images, number: int, loss: Callable[[Tensor, Tensor], Tensor], rate: float = 0.1) -> list[float]:
    """The live cell's small net on so many digits: its cross-entropy on the test digits after each epoch."""
    torch.manual_seed(10)
    net, curve = mlp((784, 64, 64, 10)).double(), []

    def look(net: torch.nn.Module) -> dict:
        logits = logits_of(net, digits.test_images.double() / 255, precision="float64")
        curve.append(F.cross_entropy(logits, digits.test_labels).item())
        return {}

    settings = Optimisation(150, 128, rate, precision="float64")
    train(net, digits.train_images[:number].double() / 255, loss, settings, after_epoch=look)
    return curve


def on_labels(digits: Images, number: int) -> list[float]:
    return watched(digits, number, lambda z, batch: F.cross_entropy(z, digits.train_labels[batch]))


def on_soft_targets(
    digits: Images, logits: Tensor, temperature: float = 2.0, rate: float = 0.1, hard_weight: float = 0.0
) -> list[float]:
    soft, labels = soften(logits, temperature), digits.train_labels

    def loss(z: Tensor, batch: Tensor) -> Tensor:
        return distillation_loss(z, soft[batch], labels[batch], temperature=temperature, hard_weight=hard_weight)

    return watched(digits, 150, loss, rate)


def rise(curve: list[float]) -> float:
    """From the best epoch to the last."""
    return curve[-1] - min(curve)


def test_twice_the_labels_over_fit_still_and_do_not_catch_up(digits: Images, teacher_logits: Tensor) -> None:
    twice, soft = on_labels(digits, 300), on_soft_targets(digits, teacher_logits)
    assert rise(twice) > 0.1 > 5 * rise(soft)
    assert min(twice) > soft[-1] + 0.1


def test_soft_targets_of_other_temperatures_do_not_over_fit(digits: Images, teacher_logits: Tensor) -> None:
    plain, halved, full = (
        on_soft_targets(digits, teacher_logits, temperature, rate)
        for temperature, rate in ((1, 0.1), (4, 0.05), (4, 0.1))
    )
    assert max(rise(plain), rise(halved)) < 0.05
    assert halved[-1] < plain[-1] < 0.6
    # The factor T² makes the steps of T = 4 too long for this learning rate.
    assert full[-1] > halved[-1] + 0.1


def test_with_labels_back_in_the_curve_is_still_that_of_soft_targets(digits: Images, teacher_logits: Tensor) -> None:
    both, soft, hard = (
        on_soft_targets(digits, teacher_logits, hard_weight=0.5),
        on_soft_targets(digits, teacher_logits),
        on_labels(digits, 150),
    )
    assert rise(both) < rise(hard) / 4
    assert abs(both[-1] - soft[-1]) < abs(both[-1] - hard[-1])
