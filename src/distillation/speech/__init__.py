"""From samples to words: filterbanks, Gaussian mixtures, HMM alignment, decoding."""
