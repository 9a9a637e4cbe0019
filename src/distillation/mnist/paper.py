"""The paper's figures of section 3, as data (arXiv:1503.02531)."""

from types import MappingProxyType

# Section 3: errors on the 10,000 test images, unless said.
TEACHER_ERRORS = 67
PLAIN_ERRORS = 146
DISTILLED_ERRORS = 74
ADVANTAGE_KEPT = round(100 * (PLAIN_ERRORS - DISTILLED_ERRORS) / (PLAIN_ERRORS - TEACHER_ERRORS))  # percent
TRANSFER_TEMPERATURE = 20
BEST_TEMPERATURES_30_UNITS = (2.5, 4.0)
FLAT_ABOVE_TEMPERATURE = 8

NO_THREES = MappingProxyType(
    {"errors": 206, "errors_on_threes": 133, "test_threes": 1010, "shift": 3.5, "corrected": 109, "percent": 98.6}
    | {"corrected_on_threes": 14}
)
ONLY_SEVENS_AND_EIGHTS = MappingProxyType({"error_percent": 47.3, "shift": 7.6, "corrected_percent": 13.2})
