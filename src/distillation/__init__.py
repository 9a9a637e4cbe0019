"""A reproduction of 'Distilling the Knowledge in a Neural Network' (Hinton, Vinyals & Dean, 2015)."""
