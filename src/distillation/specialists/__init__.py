"""Sections 5, 6.1, 7 and 8: notebooks 04 and 06."""
