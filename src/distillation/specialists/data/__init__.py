"""The picture data sets."""
