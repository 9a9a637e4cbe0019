"""The paper's figures of section 5, as data (arXiv:1503.02531)."""

from types import MappingProxyType

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
SPECIALISTS_COVERAGE = 61 * 300 / 15_000  # specialists that hold a class, on average
