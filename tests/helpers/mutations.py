"""Files that are not what they were."""

import numpy as np


def mutated(packed: bytes, seed: int) -> bytes:
    """With a few bytes altered, cut out or put in."""
    random = np.random.default_rng(seed)
    content = bytearray(packed)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(len(content)))
        what = random.integers(3)
        if what == 0:
            content[place] ^= int(random.integers(1, 256))
        elif what == 1:
            del content[place : place + int(random.integers(1, 600))]
        else:
            content[place:place] = random.bytes(5)
    return bytes(content)
