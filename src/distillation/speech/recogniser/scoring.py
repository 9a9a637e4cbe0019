"""How a system is scored: frame accuracy against the frozen alignment, and word errors of the decoder."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distillation.core.objectives import check_finite, class_labels
from distillation.speech.data import speechocean
from distillation.speech.recogniser import decoding
from distillation.speech.recogniser.corpus import Corpus, Part
from distillation.speech.recogniser.decoding import Weights, WordLoop
from distillation.speech.recogniser.filterbanks import SHIFT_MS
from distillation.speech.recogniser.hmm import States

# Tried on the development split for every system alike.
GRID = decoding.grid((6.0, 11.0, 18.0), (-75.0, -50.0, -25.0), (0.5, 1.0))
# Corpora whose sentences are nearly all said once: their words follow from no others, and half of them are wrong.
FRAMES_ALONE = (speechocean.NAME,)


@dataclass(frozen=True)
class Labels:
    """A frozen alignment: the states, and the label of every frame of each part, (frames,) int64."""

    states: States
    of: dict[str, Tensor]

    def log_priors(self) -> Tensor:
        """Logarithms of the states' shares of the training frames, (states,); one frame where there is none.

        Raises ValueError for labels that are no states, and for none at all.
        """
        labels = class_labels(self.of["train"], len(self.states), name="training frames' labels", of="states")
        if len(labels) == 0:
            raise ValueError("The alignment has no training frames, which tell the shares of the states.")
        counts = torch.bincount(labels, minlength=len(self.states)).clamp(min=1)
        return (counts / len(labels)).log()


def score(log_probabilities: dict[str, Tensor], speech: Corpus, labels: Labels) -> dict:
    """Frame accuracy on test, in percent, from log-posteriors (frames, states) of both parts, and `word_scores`.

    Words are not scored on a corpus of `FRAMES_ALONE`.  Also per test utterance: correct_frames.  Raises ValueError for
    numbers of frames that do not fit, labels that are no states, and log-probabilities that are not finite.
    """
    correct = is_right(log_probabilities["test"], labels.of["test"])
    found = {
        "frame_accuracy": 100 * correct.double().mean().item(),
        "development_frame_accuracy": frame_accuracy(log_probabilities["development"], labels.of["development"]),
        "correct_frames": [int(correct[rows].sum()) for rows in speech["test"].slices()],
    }
    return found if speech.name in FRAMES_ALONE else found | word_scores(log_probabilities, speech, labels)


def word_scores(log_probabilities: dict[str, Tensor], speech: Corpus, labels: Labels) -> dict:
    """Word error rate on test, in percent, and word_errors per test utterance.

    The decoder's weights are those of `GRID` with the fewest word errors on development (the first of equals), and the
    test set is decoded once, with these.  Arguments and errors: see `score`.
    """
    loop = word_loop_of(speech, labels)
    held_out = log_probabilities["development"], speech["development"]
    rates = [decoding.word_error_rate(_decode(*held_out, loop, labels, weights)) for weights in GRID]
    chosen = int(np.argmin(rates))
    started = time.monotonic()
    errors = _decode(log_probabilities["test"], speech["test"], loop, labels, GRID[chosen])
    seconds = time.monotonic() - started
    return {
        "wer": decoding.word_error_rate(errors),
        "development_wer": rates[chosen],
        "words": int(errors["words"].sum()),
        **{name: int(errors[name].sum()) for name in ("substitutions", "deletions", "insertions")},
        "decoder": vars(GRID[chosen]),
        "real_time_factor": seconds / (len(labels.of["test"]) * SHIFT_MS / 1000),
        "word_errors": errors["errors"].tolist(),
    }


def _decode(log_probabilities: Tensor, part: Part, loop: WordLoop, labels: Labels, weights: Weights) -> pd.DataFrame:
    frames = len(part.features.frames)
    if len(log_probabilities) != frames:
        raise ValueError(f"There are log-probabilities of {len(log_probabilities)} frames, but features of {frames}.")
    log_priors = labels.log_priors().numpy()
    found = [decoding.decode(log_probabilities[rows].numpy(), log_priors, loop, weights)[0] for rows in part.slices()]
    return decoding.word_errors([utterance.words for utterance in part.utterances], found)


def word_loop_of(speech: Corpus, labels: Labels) -> WordLoop:
    """The word loop with a bigram model of the training transcripts."""
    return decoding.word_loop(speech.lexicon, labels.states, [u.words for u in speech["train"].utterances])


def frame_accuracy(log_probabilities: Tensor, labels: Tensor) -> float:
    """Frames whose most probable state is the alignment's, in percent."""
    return 100 * is_right(log_probabilities, labels).double().mean().item()


def is_right(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether a frame's most probable state is the alignment's, (frames,) bool.  Errors: see `score`."""
    frames, states = check_finite(log_probabilities, "log-probabilities").shape
    return log_probabilities.argmax(-1) == class_labels(labels, states, cases=frames, of="states")
