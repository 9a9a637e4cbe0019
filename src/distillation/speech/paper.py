"""The paper's figures of sections 4 and 6, as data (arXiv:1503.02531)."""

from types import MappingProxyType

# Section 4, table 1, in percent; the temperature of its distilled model; (60.8 - 58.9) / (61.1 - 58.9).
SPEECH = MappingProxyType(
    {
        "baseline": {"frame_accuracy": 58.9, "wer": 10.9},
        "ensemble": {"frame_accuracy": 61.1, "wer": 10.7},
        "distilled": {"frame_accuracy": 60.8, "wer": 10.7},
    }
)
SPEECH_TEMPERATURE = 2
SPEECH_GAIN = 2.2
SPEECH_GAIN_KEPT = 86

# Section 6, table 5: test frame accuracy in percent (training: 63.4, 67.3 and 65.4); (57.0 - 44.5) / (58.9 - 44.5).
THREE_PERCENT = MappingProxyType({"full": 58.9, "hard3": 44.5, "soft3": 57.0})
THREE_PERCENT_TRAINING = MappingProxyType({"full": 63.4, "hard3": 67.3, "soft3": 65.4})
THREE_PERCENT_GAIN = 12.5
THREE_PERCENT_RECOVERED = 87
THREE_PERCENT_HOURS = 60  # of 2,000, about
