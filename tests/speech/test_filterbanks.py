"""The filterbanks are Kaldi's, each speaker's are normalised alone, and windows keep to their utterance."""

from functools import cache

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dct
from torch import Tensor

from distillation.core.data import DataError, data_folder
from distillation.core.training import batches_of, device
from distillation.speech.data import SAMPLE_RATE, Utterance, an4
from distillation.speech.data.embedded import load_embedded
from distillation.speech.recogniser.filterbanks import BANKS, WIDTH, Features, cepstra, features_of, log_mel, windows_of

CPU = torch.device("cpu")


def noise(samples: int = 8_000, *, seed: int = 0, name: str = "noise", speaker: str = "nobody") -> Utterance:
    """Dull noise with a tone and an offset, as loud as speech."""
    random = np.random.default_rng(seed)
    sound = np.cumsum(random.normal(0, 300, samples)) + 2_000 * np.sin(np.arange(samples) / (5 + seed)) + 100 * seed
    return Utterance(name, speaker, sound.clip(-32_768, 32_767).astype(np.int16), ("A",))


@cache
def random_features(lengths: tuple[int, ...], seed: int = 0) -> Features:
    frames = torch.randn(sum(lengths), BANKS, generator=torch.Generator().manual_seed(seed))
    return Features(frames, lengths)


def by_kaldi(samples: np.ndarray) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = 25, 10
    options.frame_opts.dither, options.frame_opts.preemph_coeff = 0, 0.97
    options.frame_opts.window_type, options.frame_opts.snip_edges = "povey", True
    options.frame_opts.remove_dc_offset = options.frame_opts.round_to_power_of_two = True
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 40, 20, 0
    options.use_energy, options.use_power, options.use_log_fbank = False, True, True
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, samples.astype(np.float32).tolist())
    bank.input_finished()
    return np.array([bank.get_frame(frame) for frame in range(bank.num_frames_ready)])


def check_with_kaldi(utterance: Utterance) -> None:
    expected = by_kaldi(utterance.samples)
    found = log_mel(utterance)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape == (len(expected), 40)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.01)  # both in float32, and a logarithm near zero
    assert np.abs(found.numpy() - expected).mean() < 1e-3


@pytest.mark.parametrize("samples", [400, 1_000, 8_000])
def test_filterbanks_of_noise_agree_with_kaldi(samples: int) -> None:
    check_with_kaldi(noise(samples))


def test_filterbanks_of_speech_agree_with_kaldi() -> None:
    check_with_kaldi(load_embedded().train[0])


@pytest.mark.skipif(not (data_folder() / "an4" / an4.ARCHIVE).exists(), reason="the AN4 archive is not on this disk")
def test_filterbanks_of_an4_agree_with_kaldi() -> None:
    utterances = an4.load_an4().test
    for utterance in (utterances[0], utterances[50], utterances[-1]):
        check_with_kaldi(utterance)


@given(st.integers(400, 4_000))
def test_a_frame_of_25_ms_begins_every_10_ms(samples: int) -> None:
    assert len(log_mel(noise(samples))) == 1 + (samples - 400) // 160


def test_utterance_shorter_than_a_frame_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"an1-short.*399 samples"):
        log_mel(noise(399, name="an1-short"))
    with pytest.raises(DataError, match="an1-none"):
        features_of((noise(), noise(0, name="an1-none")))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    samples = noise().samples.astype(np.float32)
    samples[5_000] = bad
    with pytest.raises(DataError, match="an1-damaged"):
        features_of((noise(), Utterance("an1-damaged", "nobody", samples, ("A",))))


def test_each_speaker_has_zero_mean_and_unit_variance_over_all_utterances() -> None:
    said = [("ann", 8_000), ("bob", 4_000), ("ann", 6_000), ("bob", 10_000), ("ann", 3_000)]
    utterances = tuple(noise(samples, seed=n, speaker=speaker) for n, (speaker, samples) in enumerate(said))
    features = features_of(utterances)
    assert features.lengths == tuple(1 + (samples - 400) // 160 for _, samples in said)
    parts = features.per_utterance()
    for name in ("ann", "bob"):
        raw = torch.cat([log_mel(utterance) for utterance in utterances if utterance.speaker == name]).double()
        together = torch.cat([part for part, (speaker, _) in zip(parts, said, strict=True) if speaker == name])
        expected = (raw - raw.mean(0)) / raw.std(0)
        torch.testing.assert_close(together.double(), expected, atol=1e-3, rtol=1e-3)
    assert parts[0].mean(0).abs().max() > 0.1  # not by utterance
    alone = features_of(tuple(utterance for utterance in utterances if utterance.speaker == "bob"))
    torch.testing.assert_close(torch.cat([parts[1], parts[3]]), alone.frames)


def test_features_of_digital_silence_are_finite() -> None:
    assert features_of((Utterance("quiet", "nobody", np.zeros(4_000, np.int16), ("A",)),)).frames.isfinite().all()


def window_by_window(features: Features) -> Tensor:
    rows = []
    for frames in features.per_utterance():
        for at in range(len(frames)):
            rows.append(torch.cat([frames[min(max(near, 0), len(frames) - 1)] for near in range(at - 20, at + 6)]))
    return torch.stack(rows)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple), st.integers(0, 9))
def test_windows_hold_20_frames_before_and_5_after_within_the_utterance(lengths: tuple[int, ...], seed: int) -> None:
    features = random_features(lengths, seed)
    windows, expected = windows_of(features), window_by_window(features)
    assert len(windows) == sum(lengths)
    everything = torch.arange(len(windows))
    assert torch.equal(windows.gatherer(CPU, torch.float32)(everything), expected)
    some = torch.randint(len(windows), (7,), generator=torch.Generator().manual_seed(seed))
    batch = batches_of(windows, 0, torch.float32)(some.to(device()))
    assert torch.equal(batch.cpu(), expected[some])
    assert torch.equal(windows.gatherer(CPU, torch.bfloat16)(some), expected[some].bfloat16())
    subset = windows[some]
    assert len(subset) == 7
    assert torch.equal(subset.gatherer(CPU, torch.float32)(torch.arange(7)), expected[some])


def test_predicted_frame_is_the_21st_of_26() -> None:
    features = random_features((50, 30))
    gathered = windows_of(features).gatherer(CPU, torch.float32)(torch.arange(80))
    assert gathered.shape == (80, 26 * 40)
    assert torch.equal(gathered.reshape(80, 26, 40)[:, 20], features.frames)


def test_windows_are_not_copied_26_times() -> None:
    features = random_features((2_000, 3_000))
    windows = windows_of(features)
    subset = windows[torch.arange(0, 5_000, 2)]
    stored = windows.frames.untyped_storage().nbytes() + windows.starts.untyped_storage().nbytes()
    assert stored < 1.2 * features.frames.nbytes
    assert subset.frames.data_ptr() == windows.frames.data_ptr()
    gather = subset.gatherer(CPU, torch.float32)
    windows.frames.zero_()  # shows in the batches, unless they come from a copy
    assert not gather(torch.arange(64)).any()


def differences(frames: np.ndarray) -> np.ndarray:
    """The regression over two frames on either side, with copies of the edges."""
    last = len(frames) - 1
    return np.array(
        [
            sum(n * (frames[min(at + n, last)] - frames[max(at - n, 0)]) for n in (1, 2)) / 10
            for at in range(len(frames))
        ]
    )


def test_cepstra_are_cosines_with_differences_within_each_utterance() -> None:
    features = random_features((30, 1, 25))
    found = cepstra(features)
    rows = []
    for frames in features.per_utterance():
        static = dct(frames.double().numpy(), type=2, axis=1)[:, :13]
        rows.append(np.hstack([static, differences(static), differences(differences(static))]))
    expected = np.concatenate(rows)
    expected = (expected - expected.mean(0)) / expected.std(0, ddof=1)
    assert found.shape == (56, 39)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_the_width_of_a_window_is_26_frames() -> None:
    assert (WIDTH, BANKS) == (26, 40)
