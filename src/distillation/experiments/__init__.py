"""One module per section of the paper: a frozen configuration in, one record out."""
