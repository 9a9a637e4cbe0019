"""From state posteriors to words: a bigram language model, exact Viterbi over the word loop, word errors."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jiwer
import numpy as np
import pandas as pd

from distillation.core.data import DataError
from distillation.speech.data import check_not_text
from distillation.speech.recogniser.compiled import compiled
from distillation.speech.recogniser.hmm import States, checked_offsets, checked_scores, indices

Lexicon = dict[str, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Weights:
    """How scores are combined; chosen on the development split.

    A path scores sum(log posterior - prior_scale * log prior) + language_model * log P(words) + insertion * words.
    """

    language_model: float = 8.0
    insertion: float = 0.0
    prior_scale: float = 1.0


def grid(language_models: Sequence[float], insertions: Sequence[float], prior_scales: Sequence[float]) -> list[Weights]:
    """All combinations."""
    return [Weights(lm, word, prior) for prior in prior_scales for lm in language_models for word in insertions]


@dataclass(frozen=True)
class Bigram:
    """A Witten-Bell smoothed bigram model, natural logarithms: of pairs that were seen, and a back-off for the others.

    log P(word | history) is log_pairs of a seen pair, else log_back_off[history] + log_words[word], which is less.  The
    last history is the beginning of the sentence.  histories, log_pairs: (pairs,), those of a word side by side;
    offsets: (words + 1,) where each word's begin.  log_words: (words,); log_back_off, log_end: (words + 1,), of the
    histories; log_end is log P(end | history).
    """

    log_words: np.ndarray
    log_back_off: np.ndarray
    offsets: np.ndarray
    histories: np.ndarray
    log_pairs: np.ndarray
    log_end: np.ndarray

    def table(self) -> np.ndarray:
        """log P(word | history), (words + 1, words)."""
        found = self.log_back_off[:, None] + self.log_words
        found[self.histories, np.repeat(np.arange(len(self.log_words)), np.diff(self.offsets))] = self.log_pairs
        return found


def bigram(sentences: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> Bigram:
    """The model of some sentences.  A history's probabilities, the end included, sum to one; none is zero.

    Raises ValueError for a sentence in one text.
    """
    index = {word: number for number, word in enumerate(vocabulary)}
    size = len(vocabulary)  # the number of the end among words, and of the beginning among histories
    counted: Counter = Counter()
    for sentence in sentences:
        check_not_text(sentence, "words of a sentence")
        numbers = [size, *(index[word] for word in sentence), size]
        counted.update(pairwise(numbers))
    pairs = np.array(sorted(counted, key=lambda pair: pair[::-1]), np.int64).reshape(-1, 2)
    histories, words = pairs[:, 0], pairs[:, 1]
    counts = np.array([counted[pair] for pair in map(tuple, pairs.tolist())], float)
    kinds, total = np.bincount(histories, minlength=size + 1), np.bincount(histories, counts, size + 1)
    as_word = np.bincount(words, counts, size + 1)
    smoothing = (as_word > 0).sum()
    unigram = (as_word + smoothing / (size + 1)) / (as_word.sum() + smoothing) if smoothing else np.ones(1) / (size + 1)
    unigram = np.broadcast_to(unigram, size + 1)
    # A history that was never seen says what all words say.
    back_off = np.where(kinds > 0, kinds / np.maximum(total + kinds, 1), 1.0)
    seen = (counts + kinds[histories] * unigram[words]) / (total + kinds)[histories]
    ends = np.log(back_off * unigram[size])
    ends[histories[words == size]] = np.log(seen[words == size])
    inner = words < size
    offsets = np.searchsorted(words[inner], np.arange(size + 1))
    return Bigram(np.log(unigram[:size]), np.log(back_off), offsets, histories[inner], np.log(seen[inner]), ends)


@dataclass(frozen=True)
class WordLoop:
    """Every word of the lexicon after every other, in any pronunciation, with optional silence between.

    emissions: (nodes,) the states of the pronunciations' phones, each followed by those of its own silence.  offsets:
    (pronunciations + 1,) where each begins.  words: (pronunciations,) the word of each.  silence: its states.
    """

    vocabulary: tuple[str, ...]
    emissions: np.ndarray
    offsets: np.ndarray
    words: np.ndarray
    silence: np.ndarray
    model: Bigram


def word_loop(lexicon: Lexicon, states: States, sentences: Sequence[Sequence[str]]) -> WordLoop:
    """The word loop of a lexicon with a bigram model of the sentences."""
    vocabulary = tuple(sorted(lexicon))
    chains = [(number, states.of(phones)) for number, word in enumerate(vocabulary) for phones in lexicon[word]]
    nodes = [(*chain, *states.silence) for _, chain in chains]
    return WordLoop(
        vocabulary,
        np.concatenate(nodes),
        np.cumsum([0] + [len(node) for node in nodes]),
        np.array([number for number, _ in chains]),
        np.array(states.silence),
        bigram(sentences, vocabulary),
    )


def decode(
    log_posteriors: np.ndarray, log_priors: np.ndarray, loop: WordLoop, weights: Weights
) -> tuple[tuple[str, ...], float]:
    """The words of the best path through the word loop, and its score.

    log_posteriors: (frames, states) float32; log_priors: (states,).  The search is exact: nothing is pruned.  Raises
    DataError for posteriors that are not finite, and ValueError where the numbers of states differ, for other types and
    shapes, and for a word loop, priors or weights that are not as said there.
    """
    log_posteriors, log_priors = checked_scores(log_posteriors, "an utterance"), np.asarray(log_priors)
    if log_priors.dtype == np.float16:
        log_priors = log_priors.astype(np.float32)
    if log_posteriors.shape[1:] != log_priors.shape or log_priors.dtype.kind != "f":
        raise ValueError(
            f"The priors are {log_priors.dtype} of shape {log_priors.shape}; pass floats for each of the "
            f"{log_posteriors.shape[1]} states of the posteriors."
        )
    graph, model = _checked(loop, len(log_priors)), loop.model
    if not np.isfinite(log_posteriors).all():
        raise DataError("The posteriors hold NaN or infinity; a training run has diverged. Lower its learning rate.")
    if weights.language_model < 0:
        raise ValueError(f"{weights}: a negative weight of the language model would let back-off beat what was seen.")
    scores = (log_posteriors - weights.prior_scale * log_priors).astype(np.float32)
    words, pairs = (weights.language_model * each + weights.insertion for each in (model.log_words, model.log_pairs))
    back_off, leave = (weights.language_model * each for each in (model.log_back_off, model.log_end))
    told = [each.astype(np.float32) for each in (words, back_off, pairs, leave)]
    if not all(np.isfinite(each).all() for each in (scores, *told)):
        raise ValueError(f"The priors, the bigram model or {weights} hold NaN or infinity.")
    found, score = _search(scores, *graph, *told)
    return tuple(loop.vocabulary[number] for number in found), float(score)


def _checked(loop: WordLoop, states: int) -> tuple[np.ndarray, ...]:
    """The emissions, offsets, words and silence of a loop, and its model's pairs, as compiled code wants them."""
    emissions = indices(loop.emissions, states, "emissions of the word loop", "states")
    words = indices(loop.words, len(loop.vocabulary), "words of the word loop", "in the vocabulary")
    silence = indices(loop.silence, states, "silence of the word loop", "states")
    if len(silence) == 0:
        raise ValueError("The word loop has no states of silence.")
    # A chain has a state or more before those of its silence.
    offsets = checked_offsets(loop.offsets, len(words), len(emissions), 1 + len(silence), "offsets of the word loop")
    model, kinds = loop.model, len(loop.vocabulary)
    shapes = [np.shape(each) for each in (model.log_words, model.log_back_off, model.log_end, model.log_pairs)]
    if shapes != [(kinds,), (kinds + 1,), (kinds + 1,), np.shape(model.histories)]:
        raise ValueError(f"The word loop's bigram model is not of its {kinds} words; make both with `word_loop`.")
    histories = indices(model.histories, kinds + 1, "histories of the bigram model", "histories")
    pairs = checked_offsets(model.offsets, kinds, len(histories), 0, "offsets of the bigram model")
    return emissions, offsets, words, silence, pairs, histories


@compiled
def _search(scores, emissions, offsets, words, silence, pairs, histories, unigram, back_off, pair, leave):
    """Token passing: each node holds its best score and the frame at which its word was entered.

    Into a word leads the best of the histories that it was seen after, or that with the best back-off of all.  The last
    history is the beginning, whose silence is a chain of its own.  back[t, w] is the history that word w, entered at
    frame t, came from, and entered[t, w] the frame at which that was entered.
    """
    nothing = np.float32(-np.inf)
    frames, nodes, kinds, quiet = len(scores), len(emissions), len(unigram), len(silence)
    score, before = np.full(nodes, nothing), np.full(nodes, nothing)
    token, token_before = np.zeros(nodes, np.int32), np.zeros(nodes, np.int32)
    opening = np.full(quiet, nothing)
    exits, exit_token = np.full(kinds + 1, nothing), np.zeros(kinds + 1, np.int32)
    entry, source = np.empty(kinds, np.float32), np.zeros(kinds, np.int32)
    back, entered = np.zeros((frames, kinds), np.int32), np.zeros((frames, kinds), np.int32)
    exits[kinds] = 0
    for frame in range(frames):
        known, best = 0, nothing
        for history in range(kinds + 1):
            if exits[history] + back_off[history] > best:
                known, best = history, exits[history] + back_off[history]
        for word in range(kinds):
            entry[word], source[word] = best + unigram[word], known
            for number in range(pairs[word], pairs[word + 1]):
                value = exits[histories[number]] + pair[number]
                if value > entry[word]:
                    entry[word], source[word] = value, histories[number]
        back[frame] = source
        entered[frame] = exit_token[source]
        score, before = before, score
        token, token_before = token_before, token
        for node in range(1, nodes):  # plain selects, which the compiler vectorises
            moves = before[node - 1] > before[node]
            score[node] = before[node - 1] if moves else before[node]
            token[node] = token_before[node - 1] if moves else token_before[node]
        for chain in range(len(words)):
            first = offsets[chain]
            enters = entry[words[chain]] > before[first]
            score[first] = entry[words[chain]] if enters else before[first]
            token[first] = frame if enters else token_before[first]
        for node in range(nodes):
            score[node] += scores[frame, emissions[node]]
        exits[:] = nothing
        for chain in range(len(words)):
            word, last = words[chain], offsets[chain + 1] - 1
            for node in (last - quiet, last):
                if score[node] > exits[word]:
                    exits[word], exit_token[word] = score[node], token[node]
        for state in range(quiet - 1, -1, -1):
            arriving = opening[state - 1] if state > 0 else np.float32(0 if frame == 0 else -np.inf)
            opening[state] = max(opening[state], arriving) + scores[frame, silence[state]]
        exits[kinds] = opening[quiet - 1]
    best, word = nothing, -1
    for history in range(kinds + 1):
        if exits[history] + leave[history] > best:
            best, word = exits[history] + leave[history], history
    found = []
    frame = exit_token[word]
    while 0 <= word < kinds:
        found.append(word)
        word, frame = back[frame, word], entered[frame, word]
    return found[::-1], best


def word_errors(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Per utterance: words of the reference, substitutions, deletions, insertions and their sum, `errors` (jiwer)."""
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        check_not_text(reference, "words of a reference")
        check_not_text(hypothesis, "words of a hypothesis")
        found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        counts = {name: getattr(found, name) for name in ("substitutions", "deletions", "insertions")}
        rows.append({"words": len(reference)} | counts | {"errors": sum(counts.values())})
    return pd.DataFrame(rows)


def word_error_rate(errors: pd.DataFrame) -> float:
    """Errors in percent of the words of the references."""
    total = int(errors["words"].sum())
    return 100 * int(errors["errors"].sum()) / total if total else math.nan
