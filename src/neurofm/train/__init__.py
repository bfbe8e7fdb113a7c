"""Losses, optimiser, the loop, and pre-training."""
