"""One module per data set: each returns tensors and class names, and verifies what it read."""
