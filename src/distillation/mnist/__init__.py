"""Sections 2 and 3: notebooks 01 and 02."""
