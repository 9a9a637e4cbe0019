"""The speech data sets."""
