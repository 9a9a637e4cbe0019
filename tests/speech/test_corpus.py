"""Parts of a corpus keep their frames."""

import numpy as np
import pytest
import torch

from distillation.speech.data import Utterance
from distillation.speech.recogniser.corpus import Part
from distillation.speech.recogniser.filterbanks import Features, windows_of


def part_of(speakers: str, lengths: tuple[int, ...]) -> Part:
    """Utterances of random features by these speakers, a letter each."""
    frames = torch.randn(sum(lengths), 40, generator=torch.Generator().manual_seed(0))
    silence = np.zeros(0, np.int16)
    utterances = tuple(Utterance(f"an{n}", speaker, silence, ("A",)) for n, speaker in enumerate(speakers))
    features = Features(frames, lengths)
    return Part(utterances, features, windows_of(features))


def test_chosen_utterances_keep_their_rows_and_windows() -> None:
    part = part_of("abab", (30, 4, 12, 50))
    chosen, rows = part.choose([3, 1])
    assert chosen.utterances == (part.utterances[3], part.utterances[1])
    assert chosen.features.lengths == (50, 4)
    assert rows.tolist() == [*range(46, 96), *range(30, 34)]
    assert torch.equal(part.features.frames[rows], chosen.features.frames)
    assert chosen.slices() == [slice(0, 50), slice(50, 54)]
    everything = part.windows.gatherer(torch.device("cpu"), torch.float32)(rows)
    assert torch.equal(chosen.windows.gatherer(torch.device("cpu"), torch.float32)(torch.arange(54)), everything)
    with pytest.raises(ValueError, match="utterance"):
        part.choose([])
