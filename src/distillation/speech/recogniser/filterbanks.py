"""Log-mel filterbanks, and the windows of 26 frames that the acoustic model sees (section 4)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas

from distillation.core.data import DataError
from distillation.core.objectives import check_finite, class_labels
from distillation.speech.data import SAMPLE_RATE, Utterance

BANKS = 40
FRAME_MS, SHIFT_MS = 25, 10
PAST, FUTURE = 20, 5  # a window's frames before and after the one whose state is predicted: the 21st of 26
WIDTH = PAST + 1 + FUTURE


Play = Callable[[np.ndarray], np.ndarray]  # from samples to others of the same level


def log_mel(utterance: Utterance, play: Play = np.asarray) -> Tensor:
    """Kaldi-compatible log-mel filterbanks, (frames, 40) float32: 25 ms every 10 ms, without dither.

    play: what is done to the samples first.  Raises DataError for samples other than (samples,) int16, such as floats
    in [-1, 1], whose features would be others; for an utterance shorter than a frame; and for features not finite.
    """
    samples = np.asarray(utterance.samples)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise DataError(
            f"The samples of utterance {utterance.name} are {samples.dtype} of shape {samples.shape}; pass (samples,) "
            "int16 at 16 kHz (of floats in [-1, 1]: (32767 * samples).round().astype(np.int16))."
        )
    waveform = torch.from_numpy(np.asarray(play(samples), np.float32))[None]
    if waveform.shape[1] < SAMPLE_RATE * FRAME_MS // 1000:
        raise DataError(f"Utterance {utterance.name} has {waveform.shape[1]} samples, less than one frame of 25 ms.")
    features = kaldi.fbank(
        waveform,
        num_mel_bins=BANKS,
        frame_length=FRAME_MS,
        frame_shift=SHIFT_MS,
        dither=0.0,
        sample_frequency=SAMPLE_RATE,
    )
    if not torch.isfinite(features).all():
        raise DataError(f"The features of utterance {utterance.name} hold NaN or infinity; its samples are damaged.")
    return features


@dataclass(frozen=True)
class Features:
    """The normalised filterbanks of several utterances, one after the other.

    frames: (frames, 40) float32, zero mean and unit variance per speaker.  lengths: frames of each utterance.  Raises
    ValueError for others, and for features that are not finite.
    """

    frames: Tensor
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        check_finite(_checked_frames(self.frames, "features"), "features")
        if min(self.lengths, default=0) < 1 or sum(self.lengths) != len(self.frames):
            raise ValueError(f"Utterances of {self.lengths} frames, 1 or more each, are not {len(self.frames)} frames.")

    def per_utterance(self) -> tuple[Tensor, ...]:
        """The frames of each utterance, as views."""
        return self.frames.split(list(self.lengths))


def features_of(utterances: tuple[Utterance, ...], play: Play = np.asarray) -> Features:
    """The features of the utterances, normalised with all that is here of each speaker.

    Errors: see `log_mel`; and ValueError for no utterances.
    """
    if not utterances:
        raise ValueError("There are no utterances to compute features of; a part of a corpus needs one or more.")
    found = [log_mel(utterance, play) for utterance in utterances]
    speakers = [utterance.speaker for utterance in utterances]
    for speaker in dict.fromkeys(speakers):
        spoken = [number for number, name in enumerate(speakers) if name == speaker]
        together = torch.cat([found[number] for number in spoken])
        mean, deviation = together.mean(0), together.std(0).nan_to_num().clamp(min=1e-3)
        for number in spoken:
            found[number] = (found[number] - mean) / deviation
    return Features(torch.cat(found), tuple(len(frames) for frames in found))


def cepstra(features: Features) -> Tensor:
    """What the Gaussian mixtures see, (frames, 39): 13 cepstra of the filterbanks with first and second differences."""
    bank = torch.arange(BANKS) + 0.5
    cosines = torch.cos(torch.pi / BANKS * bank[:, None] * torch.arange(13))
    rows = []
    for frames in features.per_utterance():
        static = (frames @ cosines).T
        change = compute_deltas(static)
        rows.append(torch.cat([static, change, compute_deltas(change)]).T)
    found = torch.cat(rows)
    return (found - found.mean(0)) / found.std(0)


@dataclass(frozen=True)
class Windows:
    """Windows of 26 frames, gathered by index and never copied all at once: the inputs of `training.train`.

    frames: (padded frames, 40) float32; starts: (cases,) first row of each case's window.  Raises ValueError else.
    """

    frames: Tensor
    starts: Tensor

    def __post_init__(self) -> None:
        _checked_frames(self.frames, "padded features")
        class_labels(self.starts, len(self.frames) - WIDTH + 1, name="windows' first rows", of="windows")

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, cases: Tensor) -> "Windows":
        """The windows of some cases, of the same frames."""
        return Windows(self.frames, self.starts[cases])

    def gatherer(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """A function from case indices to a batch (len(indices), 26 * 40) on the device."""
        frames, starts = self.frames.to(device, dtype).contiguous(), self.starts.to(device)
        rows = len(frames) - WIDTH + 1
        overlapping = frames.as_strided((rows, WIDTH * BANKS), (BANKS, 1))
        return lambda index: overlapping[starts[index]]


def windows_of(features: Features) -> Windows:
    """One window per frame; each utterance is padded with copies of its first frame before and its last one after."""
    padded, starts, row = [], [], 0
    for frames in features.per_utterance():
        padded += [frames[:1].expand(PAST, -1), frames, frames[-1:].expand(FUTURE, -1)]
        starts.append(torch.arange(row, row + len(frames)))
        row += PAST + len(frames) + FUTURE
    return Windows(torch.cat(padded).contiguous(), torch.cat(starts))


def _checked_frames(frames: Tensor, name: str) -> Tensor:
    if frames.dtype != torch.float32 or frames.shape != (len(frames), BANKS):
        raise ValueError(f"The {name} are {frames.dtype} of shape {tuple(frames.shape)}; pass (frames, 40) float32.")
    return frames
