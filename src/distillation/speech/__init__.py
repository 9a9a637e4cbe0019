"""Sections 4 and 6: notebooks 03 and 05."""
