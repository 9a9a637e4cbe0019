"""What every part shares: the objectives, the training loop, records, sweeps, statistics and the look of figures."""
