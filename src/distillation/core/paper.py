"""The paper's figures, as data (arXiv:1503.02531)."""

from types import MappingProxyType

# Section 3: errors on the 10,000 test images, unless said.
TEACHER_ERRORS = 67
PLAIN_ERRORS = 146
DISTILLED_ERRORS = 74
TRANSFER_TEMPERATURE = 20
BEST_TEMPERATURES_30_UNITS = (2.5, 4.0)
FLAT_ABOVE_TEMPERATURE = 8

NO_THREES = MappingProxyType(
    {"errors": 206, "errors_on_threes": 133, "test_threes": 1010, "shift": 3.5, "corrected": 109, "percent": 98.6}
    | {"corrected_on_threes": 14}
)
ONLY_SEVENS_AND_EIGHTS = MappingProxyType({"error_percent": 47.3, "shift": 7.6, "corrected_percent": 13.2})

# Section 4, table 1, in percent; the temperature of its distilled model; (60.8 - 58.9) / (61.1 - 58.9).
SPEECH = MappingProxyType(
    {
        "baseline": {"frame_accuracy": 58.9, "wer": 10.9},
        "ensemble": {"frame_accuracy": 61.1, "wer": 10.7},
        "distilled": {"frame_accuracy": 60.8, "wer": 10.7},
    }
)
SPEECH_TEMPERATURE = 2
SPEECH_GAIN_KEPT = 86

# Section 6, table 5: test frame accuracy in percent (training: 63.4, 67.3 and 65.4); (57.0 - 44.5) / (58.9 - 44.5).
THREE_PERCENT = MappingProxyType({"full": 58.9, "hard3": 44.5, "soft3": 57.0})
THREE_PERCENT_TRAINING = MappingProxyType({"full": 63.4, "hard3": 67.3, "soft3": 65.4})
THREE_PERCENT_RECOVERED = 87

# Section 5, tables 3 and 4, in percent: the generalist alone and with 61 specialists; by the number of specialists that
# cover the right class, the cases, the change in correct ones, and the relative change in accuracy.
SPECIALISTS = MappingProxyType(
    {
        "baseline": {"accuracy": 25.0, "conditional": 43.1},
        "combined": {"accuracy": 26.1, "conditional": 45.9},
    }
)
SPECIALISTS_RELATIVE_GAIN = 4.4
SPECIALISTS_SLOPE = 1.4  # of the relative change per specialist, unweighted
COVERAGE = (
    *((0, 350_037, 0, 0.0), (1, 141_993, 1_421, 3.4), (2, 67_161, 1_572, 7.4), (3, 38_801, 1_124, 8.8)),
    *((4, 26_298, 835, 10.5), (5, 16_474, 561, 11.1), (6, 10_682, 362, 11.3), (7, 7_376, 232, 12.8)),
    *((8, 4_703, 182, 13.6), (9, 4_706, 208, 16.6), (10, 9_082, 324, 14.1)),
)

# id: (the paper's claim in our words, unit), for the claims that the notebooks settle.
CLAIMS = MappingProxyType(
    {
        "loss.gradient": ("the softened cross-entropy's gradient is (q - p) / T: largest deviation", "absolute"),
        "loss.t2_scaling": ("soft gradients scale as 1/T²: exponent of T", "exponent"),
        "loss.logit_limit": ("high temperature matches logits: relative deviation at 100 logit ranges", "ratio"),
        "soft.gradient_variance": ("soft targets: less gradient noise to signal, soft over hard", "ratio"),
        "soft.learning_rate": ("soft targets: a higher learning rate, soft over hard (in steps of 2)", "ratio"),
        "soft.less_data": ("soft targets: less data, share at which soft equals hard on all", "ratio"),
        "mnist.teacher": ("large net 2x1200 with dropout, max-norm and jitter", "errors"),
        "mnist.plain": ("small net 2x800 on hard targets", "errors"),
        "mnist.distilled": ("small net 2x800 on soft targets at T = 20", "errors"),
        "mnist.temperature_300": ("300 units or more, T >= 8: largest difference", "errors"),
        "mnist.temperature_30": ("30 units: best temperature", "temperature"),
        "mnist.no3.errors": ("no 3s in the transfer set", "errors"),
        "mnist.no3.errors_on_threes": ("no 3s: errors on the threes", "errors"),
        "mnist.no3.corrected_errors": ("no 3s, bias of 3 corrected", "errors"),
        "mnist.no3.corrected_threes": ("no 3s, bias corrected: threes recognised", "percent"),
        "mnist.only78.error": ("only 7s and 8s in the transfer set", "percent"),
        "mnist.only78.corrected_error": ("only 7s and 8s, biases corrected", "percent"),
        "mnist.hard_weight": ("best weight of the hard targets", "weight"),
        "mnist.unlabelled": ("images new to the teacher, unlabelled (judged: minus those that it learnt)", "errors"),
        "ensemble.mean": ("geometric minus arithmetic mean of an ensemble", "errors"),
        "speech.baseline.frame_accuracy": ("acoustic model: test frame accuracy", "percent"),
        "speech.baseline.wer": ("acoustic model: word error rate", "percent"),
        "speech.ensemble.frame_accuracy": ("ensemble of 10: test frame accuracy", "percent"),
        "speech.ensemble.wer": ("ensemble of 10: word error rate", "percent"),
        "speech.distilled.frame_accuracy": (
            "distilled single model (larger transfer set): test frame accuracy",
            "percent",
        ),
        "speech.distilled.wer": ("distilled single model (larger transfer set): word error rate", "percent"),
        "speech.gain_kept": ("share of the ensemble's gain in frame accuracy kept (larger transfer set)", "percent"),
        "speech.best_temperature": ("acoustic model: best temperature of 1, 2, 5, 10", "temperature"),
        "specialists.baseline.accuracy": ("generalist: test accuracy", "percent"),
        "specialists.combined.accuracy": ("generalist with specialists: test accuracy", "percent"),
        "specialists.baseline.conditional": ("generalist: conditional test accuracy", "percent"),
        "specialists.combined.conditional": ("generalist with specialists: conditional test accuracy", "percent"),
        "specialists.relative_gain": ("specialists: relative change in accuracy", "percent"),
        "specialists.more_is_better": ("specialists: relative change per specialist that covers the class", "percent"),
        "reg.full.frame_accuracy": ("hard targets, all of the data: test frame accuracy", "percent"),
        "reg.hard3.frame_accuracy": ("hard targets, 3 % of the data, stopped early", "percent"),
        "reg.soft3.frame_accuracy": ("soft targets, 3 % of the data", "percent"),
        "reg.soft3.recovered": ("soft targets, 3 %: share of the lost accuracy recovered", "percent"),
        "open.soft_specialists": (
            "smallest share of special pictures, accuracy on them: full softmax minus dustbin",
            "points",
        ),
        "open.moe": ("accuracy: generalist and specialists minus a mixture of experts", "points"),
        "open.distil_back": ("distilled back into one net: share of the specialists' gain kept", "percent"),
    }
)
