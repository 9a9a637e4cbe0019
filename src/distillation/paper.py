"""The paper's figures, as data (arXiv:1503.02531)."""

from types import MappingProxyType

CITATION = "Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, arXiv:1503.02531 (2015)"

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

# id: (the paper's claim in our words, unit), for the claims that the notebooks settle.
CLAIMS = MappingProxyType(
    {
        "loss.gradient": ("the softened cross-entropy's gradient is (q - p) / T: largest deviation", "absolute"),
        "loss.t2_scaling": ("soft gradients scale as 1/T²: exponent of T", "exponent"),
        "loss.logit_limit": ("high temperature matches logits: relative deviation at 100 logit ranges", "ratio"),
        "soft.gradient_variance": ("soft targets: less gradient noise to signal, soft over hard", "ratio"),
        "soft.learning_rate": ("soft targets: a higher learning rate, soft over hard", "ratio"),
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
        "mnist.unlabelled": ("unlabelled transfer set", "errors"),
        "ensemble.mean": ("geometric less arithmetic mean of an ensemble", "errors"),
    }
)
