"""Recordings: reading, storing, binning, splitting. Needs no torch."""
